"""A TCP peer that does exactly what a test says for each request, and keeps when it saw what."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from types import TracebackType

HANG_UP = b"\0hang up"
HALF_CLOSE = b"\0half close"

# About a request, counted from 0 over all connections: seconds to wait and bytes to send, or one of the words above.
Script = Callable[[int, bytes], Sequence[tuple[float, bytes]]]


class Scripted:
    """The peer, listening while it is entered. `length` is how long every request is: 8 in RTU, 12 in TCP framing.

    Attributes:
        endpoint: where it listens, as `host:port`.
        seen: monotonic time and bytes of every request.
        sent: monotonic time of every piece of an answer.
        connected: monotonic time of every connection.
    """

    def __init__(self, script: Script, length: int = 8, port: int = 0) -> None:
        self._script = script
        self._length = length
        self._port = port
        self._writers: list[asyncio.StreamWriter] = []
        self.endpoint = ""
        self.seen: list[tuple[float, bytes]] = []
        self.sent: list[float] = []
        self.connected: list[float] = []

    async def __aenter__(self) -> Scripted:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        host, port = self._server.sockets[0].getsockname()
        self.endpoint = f"{host}:{port}"
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connected.append(time.monotonic())
        self._writers.append(writer)
        try:
            while True:
                request = await reader.readexactly(self._length)
                number = len(self.seen)
                self.seen.append((time.monotonic(), request))
                for delay, data in self._script(number, request):
                    asyncio.get_running_loop().call_later(delay, self._send, writer, data)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.transport.abort()

    def _send(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        if writer.transport.is_closing():
            return
        if data == HANG_UP:
            writer.close()
        elif data == HALF_CLOSE:
            writer.write_eof()
        else:
            self.sent.append(time.monotonic())
            writer.write(data)
