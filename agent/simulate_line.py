"""Where simulated meters answer: a TCP listener or a pseudo-terminal, with all meters that hang on it.

All meters of a line hear every request, whatever its protocol; who is meant answers (`agent.simulate_group`). A line
with a baud rate is half duplex: bytes leave one after the other, 11 bits each, and not before the request has had its
own time on the wire.

What meters tell without being asked, they tell again every few seconds.

A pty keeps the other side open, so that programs may come and go. A program that sets it to another speed than a
meter's is not understood by that meter and hears nothing of it, as on a real line; parity does not exist on a pty. A
program that changes the speed right behind its request must first let the request's time on the wire pass, as on a
UART: the line sees only the speed that is set when the bytes are read.

What this file does not know: protocols, register maps, and what a fault does.
"""

from __future__ import annotations

import asyncio
import os
import termios
import tty
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from pathlib import Path

from agent.simulate_frames import NotModbus
from agent.simulate_group import Group, Said, Station, group_of
from config.plant import Listen

Send = Callable[[bytes, int], None]

_BITS_PER_CHARACTER = 11
_SILENT_CHARACTERS = 3.5
_MOST_BYTES = 4096
_UNASKED_S = 2.0  # between two telegrams that nobody asked for


class Line(ABC):
    """What TCP listeners and ptys have in common.

    Attributes:
        name: as in the plant file.
        groups: the meters on it, by protocol and speed.
    """

    def __init__(self, name: str, listen: Listen, played: list[tuple[str, int, str]]) -> None:
        self.name = name
        self.listen = listen
        self._played = played  # where faults are logged: meter, number of the request to it, kind
        self.groups: dict[tuple[str, int], Group] = {}
        self._free_at = 0.0
        self._telling: asyncio.TimerHandle | None = None

    @property
    @abstractmethod
    def address(self) -> str:
        """`host:port`, or the path of the pty's link."""

    @abstractmethod
    async def plug(self) -> None:
        """Begins to answer; nothing happens if it does already. Raises OSError if the place is taken."""

    @abstractmethod
    async def unplug(self) -> None:
        """Goes away with all connections, as if the plug was pulled."""

    @abstractmethod
    async def drop_connections(self) -> None:
        """Cuts all connections; new ones are accepted."""

    def group(self, protocol: str, baud: int = 0) -> Group:
        """The group of a protocol, at the line's speed unless another is given; made if it is not there."""
        key = protocol, baud or self.listen.baud
        if key not in self.groups:
            self.groups[key] = group_of(protocol, self.listen.frames, key[1], self._played)
        return self.groups[key]

    def attach(self, station: Station) -> None:
        """Hangs a meter on the line."""
        declared = station.meter.declared
        self.group(station.meter.model.protocol, declared.baud).stations.append(station)

    def answer(self, group: Group, length: int, answers: Iterable[Said], send: Send) -> None:
        """Lets answers to a request of so many bytes leave in their time."""
        if group.baud:
            spoken = (length + _SILENT_CHARACTERS) * _BITS_PER_CHARACTER / group.baud
            self._free_at = max(self._free_at, asyncio.get_running_loop().time()) + spoken
        for said in answers:
            if said.delay > 0:
                asyncio.get_running_loop().call_later(said.delay, self._transmit, said, send)
            else:
                self._transmit(said, send)

    def tell(self) -> None:
        """Lets meters tell what nobody asks them for, now and then again and again."""
        for group in self.groups.values():
            for said in group.unasked():
                self._transmit(said, self._send)
        loop = asyncio.get_running_loop()
        self._telling = loop.call_at(max(loop.time(), self._free_at) + _UNASKED_S, self.tell)

    def fall_silent(self) -> None:
        """Lets meters tell nothing by themselves any more."""
        if self._telling:
            self._telling.cancel()

    @abstractmethod
    def _send(self, data: bytes, baud: int) -> None:
        """Lets bytes go to everyone on the other side who understands the speed."""

    def _transmit(self, said: Said, send: Send) -> None:
        loop = asyncio.get_running_loop()
        begin = max(self._free_at, loop.time()) + said.gap
        if not said.baud:
            if said.gap:
                loop.call_at(begin, send, said.data, said.baud)
            else:
                send(said.data, said.baud)
            return
        character = _BITS_PER_CHARACTER / said.baud
        for index in range(len(said.data)):
            loop.call_at(begin + (index + 1) * character, send, said.data[index : index + 1], said.baud)
        self._free_at = begin + len(said.data) * character


class _Ear:
    """What one group of meters has heard on one connection, until it makes a request. Raises NotModbus from `hear`."""

    def __init__(self, line: Line, group: Group, send: Send) -> None:
        self._line = line
        self._group = group
        self._send = send
        self._buffer = bytearray()
        self._silence: asyncio.TimerHandle | None = None

    def hear(self, data: bytes) -> None:
        """Takes what arrived, and lets meters answer what is complete."""
        self.deafen()
        self._buffer += data
        del self._buffer[:-_MOST_BYTES]
        for length, answers in self._group.hear(self._buffer):
            self._line.answer(self._group, length, answers, self._send)
        if self._buffer:
            self._silence = asyncio.get_running_loop().call_later(self._group.silence_s, self._fell_silent)

    def deafen(self) -> None:
        """Stops waiting for silence."""
        if self._silence:
            self._silence.cancel()

    def _fell_silent(self) -> None:
        for length, answers in self._group.fell_silent(self._buffer):
            self._line.answer(self._group, length, answers, self._send)


class Ears:
    """The ears of all groups of a line on one connection."""

    def __init__(self, line: Line, send: Send) -> None:
        self._line = line
        self._send = send
        self._ears: dict[tuple[str, int], _Ear] = {}

    def hear(self, data: bytes, understood: Callable[[int], bool] | None = None) -> None:
        """Lets those groups hear what arrived whose speed is understood; without a test all. Raises NotModbus."""
        for key, group in self._line.groups.items():
            if understood is None or understood(group.baud):
                self._ears.setdefault(key, _Ear(self._line, group, self._send)).hear(data)

    def deafen(self) -> None:
        """Stops waiting for silence."""
        for ear in self._ears.values():
            ear.deafen()


class _Connection(asyncio.Protocol):
    """One client of a TCP listener."""

    def __init__(self, line: TcpLine) -> None:
        self._line = line
        self._ears = Ears(line, self.send)
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: a client is there."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  create_server makes nothing else
        self.transport = transport
        self._line.connections.add(self)

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes arrived."""
        try:
            self._ears.hear(data)
        except NotModbus:
            self.cut()

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio: the client has gone."""
        self._ears.deafen()
        self._line.connections.discard(self)

    def cut(self) -> None:
        """Drops the connection at once."""
        if self.transport:
            self.transport.abort()

    def send(self, data: bytes, _: int) -> None:
        """Lets bytes go to the client, whatever their speed."""
        if self.transport and not self.transport.is_closing():
            self.transport.write(data)


class TcpLine(Line):
    """A TCP listener: Modbus TCP, or a serial server that passes RTU or ASCII on. Keeps its port while unplugged."""

    def __init__(self, name: str, listen: Listen, played: list[tuple[str, int, str]]) -> None:
        super().__init__(name, listen, played)
        self._host, _, port = str(listen.tcp).rpartition(":")
        self._port = int(port)
        self._server: asyncio.Server | None = None
        self.connections: set[_Connection] = set()

    @property
    def address(self) -> str:
        """`host:port`; the port is known from the first `plug` on."""
        return f"{self._host}:{self._port}"

    async def plug(self) -> None:
        """Listens. Raises OSError if the port is taken."""
        if self._server is None:
            loop = asyncio.get_running_loop()
            self._server = await loop.create_server(lambda: _Connection(self), self._host, self._port)
            self._port = self._server.sockets[0].getsockname()[1]
            self.tell()

    async def unplug(self) -> None:
        """Stops listening and drops all connections."""
        if self._server is not None:
            server, self._server = self._server, None
            self.fall_silent()
            server.close()
            await self.drop_connections()

    def _send(self, data: bytes, baud: int) -> None:
        for connection in self.connections:
            connection.send(data, baud)

    async def drop_connections(self) -> None:
        """Drops all connections; returns when they are gone."""
        for connection in tuple(self.connections):
            connection.cut()
        while self.connections:
            await asyncio.sleep(0)


class PtyLine(Line):
    """A pseudo-terminal with a link of a lasting name to it."""

    def __init__(self, name: str, listen: Listen, played: list[tuple[str, int, str]], run_dir: Path) -> None:
        super().__init__(name, listen, played)
        self._link = run_dir.absolute() / str(listen.pty)
        self._ends: tuple[int, int] | None = None
        self._ears = Ears(self, self._send)

    @property
    def address(self) -> str:
        """The path of the link."""
        return str(self._link)

    async def plug(self) -> None:
        """Makes the pty and its link. Raises OSError if the link's place is taken by something else."""
        if self._ends is not None:
            return
        near, far = os.openpty()
        try:
            tty.setraw(far)
            speed = _speed(self.listen.baud)
            if speed is not None:
                settings = termios.tcgetattr(far)
                settings[4] = settings[5] = speed
                termios.tcsetattr(far, termios.TCSANOW, settings)
            os.set_blocking(near, False)
            if self._link.is_symlink() and str(self._link.readlink()).startswith("/dev/pts/"):
                self._link.unlink()  # left behind by a run that was killed
            self._link.symlink_to(os.ttyname(far))
        except OSError:
            os.close(near)
            os.close(far)
            raise
        self._ends = near, far
        asyncio.get_running_loop().add_reader(near, self._readable)
        self.tell()

    async def unplug(self) -> None:
        """Takes the pty away: who has it open gets an input/output error, as from a pulled USB adapter."""
        if self._ends is not None:
            ends, self._ends = self._ends, None
            asyncio.get_running_loop().remove_reader(ends[0])
            self.fall_silent()
            self._ears.deafen()
            self._ears = Ears(self, self._send)
            self._link.unlink(missing_ok=True)
            for end in ends:
                os.close(end)

    async def drop_connections(self) -> None:
        """Pulls the adapter and plugs it in again, if it was plugged."""
        if self._ends is not None:
            await self.unplug()
            await self.plug()

    def _readable(self) -> None:
        if self._ends is not None:
            self._ears.hear(os.read(self._ends[0], _MOST_BYTES), self._is_set_to)

    def _is_set_to(self, baud: int) -> bool:
        """Whether the program on the other side understands a speed."""
        return self._ends is not None and _speed(baud) in (None, termios.tcgetattr(self._ends[1])[5])

    def _send(self, data: bytes, baud: int) -> None:
        if self._ends is None or not self._is_set_to(baud):
            return
        try:
            os.write(self._ends[0], data)
        except BlockingIOError:
            return  # nobody has read for 4 KB: a real line loses bytes as well


def _speed(baud: int) -> int | None:
    """The terminal's word for a speed; None: any, also where it has no word for it. (B0 is no speed but a hang-up.)"""
    return getattr(termios, f"B{baud}", None) if baud else None
