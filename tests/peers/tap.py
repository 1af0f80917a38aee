"""A tap on a line: it stands between a program and simulated meters and keeps every byte that the program sends.

A pty is tapped by another pty in front of it. The speed that the program sets on the front one is set on the line before
a byte is carried, and looked at every few milliseconds in between, so that a change of speed within a conversation passes.
"""

from __future__ import annotations

import asyncio
import os
import termios
import tty
from contextlib import suppress
from pathlib import Path

_LOOK = 0.003
_MOST = 4096


class PtyTap:
    """A port `name` in front of the pty `line`; `sent`: what the program has written to it."""

    def __init__(self, line: str, name: Path) -> None:
        self.sent = bytearray()
        self.address = str(name)
        self._near, self._kept = os.openpty()
        tty.setraw(self._kept)
        self._line = os.open(line, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        name.symlink_to(os.ttyname(self._kept))
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._near, self._asked)
        self._loop.add_reader(self._line, self._answered)
        self._timer = self._loop.call_soon(self._look)

    def _look(self) -> None:
        self._follow()
        self._timer = self._loop.call_later(_LOOK, self._look)

    def _follow(self) -> None:
        speed, line = termios.tcgetattr(self._kept)[5], termios.tcgetattr(self._line)
        if line[5] != speed:
            line[4] = line[5] = speed
            termios.tcsetattr(self._line, termios.TCSANOW, line)

    def _asked(self) -> None:
        data = os.read(self._near, _MOST)
        self.sent += data
        self._follow()
        os.write(self._line, data)

    def _answered(self) -> None:
        with suppress(BlockingIOError):
            os.write(self._near, os.read(self._line, _MOST))

    async def close(self) -> None:
        """Takes it away."""
        self._timer.cancel()
        for end in (self._near, self._line):
            self._loop.remove_reader(end)
        for end in (self._near, self._kept, self._line):
            os.close(end)
        Path(self.address).unlink()


class TcpTap:
    """A listener in front of `host:port`; `sent`: what programs have written to it, connection after connection."""

    def __init__(self, line: str) -> None:
        self.sent = bytearray()
        self.address = ""
        self._line = line
        self._server: asyncio.Server | None = None
        self._carrying: set[asyncio.Task[None]] = set()

    async def open(self) -> TcpTap:
        """Listens."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = self._line.rpartition(":")
        far_reader, far_writer = await asyncio.open_connection(host, int(port))
        carrying = [
            asyncio.create_task(_carry(reader, far_writer, self.sent)),
            asyncio.create_task(_carry(far_reader, writer, bytearray())),
        ]
        self._carrying.update(carrying)

    async def close(self) -> None:
        """Stops listening and drops all connections."""
        if self._server:
            self._server.close()
        for task in self._carrying:
            task.cancel()
        await asyncio.gather(*self._carrying, return_exceptions=True)


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kept: bytearray) -> None:
    try:
        with suppress(ConnectionError):
            while data := await reader.read(_MOST):
                kept += data
                writer.write(data)
    finally:
        writer.close()
