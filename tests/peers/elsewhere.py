"""A serial server with a thread of its own: it goes on talking while the client's event loop stands still."""

from __future__ import annotations

import contextlib
import math
import socket
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType

from tests.peers.hostile import now_ns

ON_THE_NEXT_CONNECTION = math.inf  # as a pause: the bytes are kept until somebody connects again, as serial servers do

# About a request, by the number of its connection and its own number on it: pauses in seconds and the bytes after them.
Script = Callable[[int, int, bytes], Sequence[tuple[float, bytes]]]


class Elsewhere:
    """The server, for one client after another, while it is entered. Requests have eight bytes.

    Attributes:
        endpoint: where it listens, as `host:port`.
        sent_ns: when each piece was handed over, CLOCK_BOOTTIME.
    """

    def __init__(self, script: Script) -> None:
        self._script = script
        self._kept = b""
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"127.0.0.1:{self._listening.getsockname()[1]}"
        self.sent_ns: list[int] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        connection = 0
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with client, contextlib.suppress(ConnectionError):
                    client.sendall(self._kept)
                    self._kept = b""
                    self._talk(client, connection)
                connection += 1

    def _talk(self, client: socket.socket, connection: int) -> None:
        number = 0
        while request := client.recv(8, socket.MSG_WAITALL):
            for pause, data in self._script(connection, number, request):
                if pause == ON_THE_NEXT_CONNECTION:
                    self._kept += data
                    continue
                time.sleep(pause)
                self.sent_ns.append(now_ns())
                client.sendall(data)
            number += 1

    def __enter__(self) -> Elsewhere:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join()
