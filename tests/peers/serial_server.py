"""A serial server that speaks RFC 2217, made of pyserial's own port manager: rfc2217:// on one side, a port on the other."""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType

import serial
import serial.rfc2217


class _Port(serial.Serial):
    """A pseudo-terminal has no modem lines; asked for them it fails."""

    cts = dsr = ri = cd = False

    def _update_dtr_state(self) -> None:
        pass

    def _update_rts_state(self) -> None:
        pass


class SerialServer:
    """The server, for one client after another, while it is entered. `url` is where it is reached."""

    def __init__(self, device: str) -> None:
        self._port = _Port(device, timeout=0.02)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._client: socket.socket | None = None
        self._ended = threading.Event()
        self.url = f"rfc2217://127.0.0.1:{self._listening.getsockname()[1]}"
        self._threads = [threading.Thread(target=call, daemon=True) for call in (self._from_network, self._from_port)]
        for thread in self._threads:
            thread.start()

    def write(self, data: bytes) -> None:
        """Sends to the client, if there is one (the port manager calls this too)."""
        with contextlib.suppress(OSError):
            if self._client:
                self._client.sendall(data)

    def _from_network(self) -> None:
        with contextlib.suppress(OSError):
            while not self._ended.is_set():
                self._client, _ = self._listening.accept()
                self._manager = serial.rfc2217.PortManager(self._port, self)  # type: ignore[arg-type]  # anything with `write` will do
                with contextlib.suppress(ConnectionError):
                    while data := self._client.recv(1024):
                        self._port.write(b"".join(self._manager.filter(data)))
                self._client.close()
                self._client = None

    def _from_port(self) -> None:
        while not self._ended.is_set():
            data = self._port.read(256)
            if data and self._client:
                self.write(b"".join(self._manager.escape(data)))

    def __enter__(self) -> SerialServer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        for open_ in (self._listening, self._client):
            with contextlib.suppress(OSError, AttributeError):
                open_.shutdown(socket.SHUT_RDWR)  # type: ignore[union-attr]  # None: nobody is connected
        for thread in self._threads:
            thread.join()
        self._listening.close()
        self._port.close()
