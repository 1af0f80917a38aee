"""Where simulated meters answer: a TCP listener or a pseudo-terminal, with all meters that hang on it.

All meters of a line hear every request, the one with the address answers; on Modbus TCP an address that nobody has is
refused with exception 0BH, as a gateway does, elsewhere the line stays silent. A line with a baud rate is half duplex:
bytes leave one after the other, 11 bits each, and not before the request has had its own time on the wire.

A pty keeps the other side open, so that programs may come and go. A program that sets it to another speed than the
line's is not understood, as on a real one; parity does not exist on a pty.

What this file does not know: register maps, and what a fault does.
"""

from __future__ import annotations

import asyncio
import os
import termios
import tty
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

from agent.simulate_faults import Script, pieces
from agent.simulate_frames import Heard, NotModbus, after_silence, framed, requests_in
from agent.simulate_meter import Meter
from config.plant import Listen

Send = Callable[[bytes], None]

_BITS_PER_CHARACTER = 11
_SILENT_CHARACTERS = 3.5
_END_OF_REQUEST = 0.05
_GATEWAY_TARGET_SILENT = 0x0B
_MOST_BYTES = 4096


class Station:
    """A meter on a line with its script of faults and the count of requests it got."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter
        self.requests = 0
        self.script = Script(meter.declared.faults, meter.declared.seed)


class Line(ABC):
    """What TCP listeners and ptys have in common.

    Attributes:
        name: as in the plant file.
        stations: the meters on it, by address.
        played: where faults are logged: meter, number of the request to it, kind.
    """

    def __init__(self, name: str, listen: Listen, played: list[tuple[str, int, str]]) -> None:
        self.name = name
        self.listen = listen
        self.played = played
        self.stations: dict[str, Station] = {}
        self._character = _BITS_PER_CHARACTER / listen.baud if listen.baud else 0.0
        self._free_at = 0.0

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

    def serve(self, heard: Heard, send: Send) -> None:
        """Lets the meter that is meant answer a request."""
        framing = self.listen.frames
        if self._character:
            spoken = (len(heard.data) + _SILENT_CHARACTERS) * self._character
            self._free_at = max(self._free_at, asyncio.get_running_loop().time()) + spoken
        station = self.stations.get(str(heard.unit))
        if station is None:
            if framing == "tcp":
                refused = bytes([heard.pdu[0] | 0x80, _GATEWAY_TARGET_SILENT])
                send(framed(framing, heard.unit, refused, heard.transaction))
            return
        station.requests += 1
        fault = station.script.strikes(station.requests)
        if fault:
            self.played.append((station.meter.declared.id, station.requests, fault.kind))
        answer = station.meter.answer(heard.pdu)
        for delay, data in pieces(fault, heard, answer, framing, station.script.random):
            self._later(delay + station.meter.declared.answer_ms / 1000, data, send)

    def _later(self, delay: float, data: bytes, send: Send) -> None:
        if delay > 0:
            asyncio.get_running_loop().call_later(delay, self._transmit, data, send)
        else:
            self._transmit(data, send)

    def _transmit(self, data: bytes, send: Send) -> None:
        if not self._character:
            send(data)
            return
        loop = asyncio.get_running_loop()
        begin = max(self._free_at, loop.time())
        for index in range(len(data)):
            loop.call_at(begin + (index + 1) * self._character, send, data[index : index + 1])
        self._free_at = begin + len(data) * self._character


class Ear:
    """What one connection has carried, until it makes a request. Raises NotModbus from `hear`."""

    def __init__(self, line: Line, send: Send) -> None:
        self._line = line
        self._send = send
        self._buffer = bytearray()
        self._silence: asyncio.TimerHandle | None = None

    def hear(self, data: bytes) -> None:
        """Takes what arrived, and lets meters answer what is complete."""
        self.deafen()
        self._buffer += data
        del self._buffer[:-_MOST_BYTES]
        for heard in requests_in(self._buffer, self._line.listen.frames):
            self._line.serve(heard, self._send)
        if self._buffer:
            self._silence = asyncio.get_running_loop().call_later(_END_OF_REQUEST, self._fell_silent)

    def deafen(self) -> None:
        """Stops waiting for silence."""
        if self._silence:
            self._silence.cancel()

    def _fell_silent(self) -> None:
        for heard in after_silence(self._buffer, self._line.listen.frames):
            self._line.serve(heard, self._send)


class _Connection(asyncio.Protocol):
    """One client of a TCP listener."""

    def __init__(self, line: TcpLine) -> None:
        self._line = line
        self._ear = Ear(line, self._send)
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: a client is there."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  create_server makes nothing else
        self.transport = transport
        self._line.connections.add(self)

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes arrived."""
        try:
            self._ear.hear(data)
        except NotModbus:
            self.cut()

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio: the client has gone."""
        self._ear.deafen()
        self._line.connections.discard(self)

    def cut(self) -> None:
        """Drops the connection at once."""
        if self.transport:
            self.transport.abort()

    def _send(self, data: bytes) -> None:
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

    async def unplug(self) -> None:
        """Stops listening and drops all connections."""
        if self._server is not None:
            server, self._server = self._server, None
            server.close()
            await self.drop_connections()

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
        self._link = run_dir / str(listen.pty)
        self._ends: tuple[int, int] | None = None
        self._ear = Ear(self, self._send)
        # None: any speed is understood; B0 is no speed but a hang-up.
        self._speed: int | None = getattr(termios, f"B{listen.baud}", None) if listen.baud else None

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
            if self._speed is not None:
                settings = termios.tcgetattr(far)
                settings[4] = settings[5] = self._speed
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

    async def unplug(self) -> None:
        """Takes the pty away: who has it open gets an input/output error, as from a pulled USB adapter."""
        if self._ends is not None:
            ends, self._ends = self._ends, None
            asyncio.get_running_loop().remove_reader(ends[0])
            self._ear.deafen()
            self._ear = Ear(self, self._send)
            self._link.unlink(missing_ok=True)
            for end in ends:
                os.close(end)

    async def drop_connections(self) -> None:
        """Pulls the adapter and plugs it in again, if it was plugged."""
        if self._ends is not None:
            await self.unplug()
            await self.plug()

    def _readable(self) -> None:
        if self._ends is None:
            return
        near, far = self._ends
        data = os.read(near, _MOST_BYTES)
        if self._speed is None or termios.tcgetattr(far)[5] == self._speed:
            self._ear.hear(data)

    def _send(self, data: bytes) -> None:
        if self._ends is None:
            return
        try:
            os.write(self._ends[0], data)
        except BlockingIOError:
            return  # nobody has read for 4 KB: a real line loses bytes as well
