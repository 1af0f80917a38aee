"""A serial server in front of meters: it passes bytes both ways, and has the habits that serial servers have."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType


class Converter:
    """The serial server, listening while it is entered. What is connected to it is connected to the meters behind it.

    Args:
        behind: `host:port` of the meters.
        idle_s: a connection on which nothing passes for so long is closed; None: none is.
        most: so many connections at once; one more is accepted and closed at once.

    Attributes:
        endpoint: where it listens, as `host:port`.
        connections: how many it took.
        turned_away: how many it accepted and closed at once.
        requests: what clients sent, piece by piece.
        hung: whether connections that are made while it is set pass nothing.
    """

    def __init__(self, behind: str, idle_s: float | None = None, most: int = 100) -> None:
        self._behind = behind.split(":")
        self._idle_s, self._most = idle_s, most
        self._open: list[_Connection] = []
        self.endpoint = ""
        self.connections = self.turned_away = 0
        self.requests: list[bytes] = []
        self.hung = False

    async def __aenter__(self) -> Converter:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        self.endpoint = f"{host}:{port}"
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.close()
        for connection in self._open:
            connection.cut()

    def hang(self) -> None:
        """From now on what is connected passes nothing any more, and stays connected; new connections are well."""
        for connection in self._open:
            connection.hung = True

    @property
    def open(self) -> int:
        """How many connections there are."""
        return len(self._open)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._open) >= self._most:
            self.turned_away += 1
            writer.transport.abort()
            return
        self.connections += 1
        connection = _Connection(writer, self._idle_s, self.hung)
        self._open.append(connection)
        try:
            beyond, forth = await asyncio.open_connection(self._behind[0], int(self._behind[1]))
            connection.writers.append(forth)
            back = asyncio.create_task(connection.carry(beyond, writer))
            await connection.carry(reader, forth, self.requests)
            back.cancel()
        except OSError:
            connection.cut()  # nobody is behind it
        finally:
            self._open.remove(connection)
            connection.cut()


class _Connection:
    def __init__(self, writer: asyncio.StreamWriter, idle_s: float | None, hung: bool) -> None:
        self.writers = [writer]
        self.hung = hung
        self._idle_s = idle_s
        self._idle: asyncio.TimerHandle | None = None
        self._passed()

    def _passed(self) -> None:
        if self._idle:
            self._idle.cancel()
        if self._idle_s is not None:
            self._idle = asyncio.get_running_loop().call_later(self._idle_s, self.cut)

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kept: list[bytes] | None = None) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(4096):
                self._passed()
                if kept is not None:
                    kept.append(data)
                if not self.hung:
                    writer.write(data)

    def cut(self) -> None:
        """Ends it on both sides."""
        if self._idle:
            self._idle.cancel()
        for writer in self.writers:
            writer.transport.abort()
