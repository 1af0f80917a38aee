"""A Modbus RTU meter that misbehaves by plan, on TCP and on pseudo-terminals.

It has frame code and a checksum of its own and imports nothing of the program under test. Registers come in pairs:
at address a (even), request number n reads the 32-bit word a * 65536 + n, so that every answer tells which register
and which request it was given to. Each request and what was done about it is kept in `served`.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

UNIT = 17

# What can be planned for one request: the word, and what a careful client must make of it ("" is a value).
DEEDS = {
    "right": "",
    "slow": "",  # byte by byte
    "noise": "",
    "echo": "",
    "noise_and_echo": "",
    "late": "no_answer",
    "late_with_noise": "no_answer",
    "silence": "no_answer",
    "only_echo": "only_echo",
    "short": "short_answer",
    "torn": "short_answer",  # cut, and the rest comes late
    "short_data": "wrong_length",
    "long_data": "wrong_length",
    "wrong_unit": "wrong_unit",
    "wrong_unit_then_late": "wrong_unit",
    "wrong_function": "wrong_function",
    "bad_checksum": "bad_checksum",
    "exception": "illegal_address",
    "busy": "busy",
    "gateway": "gateway_target",
}
GOOD = frozenset(deed for deed, cause in DEEDS.items() if not cause)
_EXCEPTION = {"exception": 2, "busy": 6, "gateway": 11}


def _checksum_table() -> Iterator[int]:
    for byte in range(256):
        for _ in range(8):
            byte = (byte >> 1) ^ (0xA001 if byte & 1 else 0)  # noqa: PLW2901  the register being shifted
        yield byte


_TABLE = tuple(_checksum_table())


def sealed(data: bytes) -> bytes:
    """The bytes with the CRC-16 of Modbus over serial line V1.02, 6.2.2, behind them."""
    register = 0xFFFF
    for byte in data:
        register = (register >> 8) ^ _TABLE[(register ^ byte) & 0xFF]
    return data + bytes([register & 0xFF, register >> 8])


def word(address: int, number: int) -> int:
    """What the pair of registers at an address holds for one request."""
    return address << 16 | number & 0xFFFF


@dataclass(slots=True)
class Served:
    """One request and what was done about it.

    Attributes:
        number: counted from 0.
        request: its eight bytes.
        deed: what was planned.
        seen_ns: when it was read, CLOCK_BOOTTIME.
        written_ns: when each piece of the answer was handed over.
    """

    number: int
    request: bytes
    deed: str
    seen_ns: int
    written_ns: list[int] = field(default_factory=list)

    @property
    def address(self) -> int:
        """The first register asked for."""
        return int.from_bytes(self.request[2:4], "big")


def now_ns() -> int:
    """This moment by the clock that exchanges are stamped with."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class HostileMeter:
    """The meter. `late_s` is when a late answer comes; `plan` says what to do about request n."""

    def __init__(self, plan: Callable[[int], str], late_s: float, seed: int, unit: int = UNIT) -> None:
        self.unit = unit
        self._plan = plan
        self._late_s = late_s
        self._random = random.Random(seed)
        self._arrived = bytearray()
        self.served: list[Served] = []

    def received(self, data: bytes, write: Callable[[bytes], None]) -> None:
        """Takes bytes of the line; answers with `write` now or later."""
        self._arrived += data
        while len(self._arrived) >= 8:
            request = bytes(self._arrived[:8])
            del self._arrived[:8]
            self.asked(request, write)

    def asked(self, request: bytes, write: Callable[[bytes], None]) -> None:
        """Takes one whole request to this meter."""
        number = len(self.served)
        served = Served(number, request, self._plan(number), now_ns())
        self.served.append(served)
        self._answer(served, write)

    def _answer(self, served: Served, write: Callable[[bytes], None]) -> None:
        loop = asyncio.get_running_loop()

        def send(data: bytes) -> None:
            served.written_ns.append(now_ns())
            write(data)

        for delay, data in self.pieces(served):
            if delay:
                loop.call_later(delay, send, data)
            else:
                send(data)

    def pieces(self, served: Served) -> list[tuple[float, bytes]]:
        """What is sent about a request: seconds of delay, and bytes."""
        request, deed, late = served.request, served.deed, self._late_s
        value = word(served.address, served.number).to_bytes(4, "big")
        right = sealed(bytes([self.unit, request[1], 4]) + value)
        noise = self._random.randbytes(self._random.randint(1, 4))
        if deed in _EXCEPTION:
            return [(0, sealed(bytes([self.unit, request[1] | 0x80, _EXCEPTION[deed]])))]
        planned: dict[str, list[tuple[float, bytes]]] = {
            "right": [(0, right)],
            "slow": [(0.0005 * index, right[index : index + 1]) for index in range(len(right))],
            "noise": [(0, noise + right)],
            "echo": [(0, request), (0.002, right)],
            "noise_and_echo": [(0, noise + request + right)],
            "late": [(late, right)],
            "late_with_noise": [(late, noise + right)],
            "silence": [],
            "only_echo": [(0, request)],
            "short": [(0, right[: self._random.randint(3, len(right) - 1)])],
            "torn": [(0, right[:5]), (late + 0.05, right[5:])],
            "short_data": [(0, sealed(bytes([self.unit, request[1], 2]) + value[:2]))],
            "long_data": [(0, sealed(bytes([self.unit, request[1], 6]) + value + value[:2]))],
            "wrong_unit": [(0, sealed(bytes([self.unit + 1, request[1], 4]) + value))],
            "wrong_unit_then_late": [(0, sealed(bytes([self.unit + 1, request[1], 4]) + value)), (late, right)],
            "wrong_function": [(0, sealed(bytes([self.unit, 7 - request[1], 4]) + value))],
            "bad_checksum": [(0, right[:-1] + bytes([right[-1] ^ 0x10]))],
        }
        return planned[deed]


class HostileLine:
    """Several hostile meters on one line, each with a unit and a plan of its own. Late answers come among others' answers."""

    def __init__(self, *meters: HostileMeter) -> None:
        self.meters = {meter.unit: meter for meter in meters}
        self._arrived = bytearray()

    def received(self, data: bytes, write: Callable[[bytes], None]) -> None:
        """Takes bytes of the line; whoever is meant answers."""
        self._arrived += data
        while len(self._arrived) >= 8:
            request = bytes(self._arrived[:8])
            del self._arrived[:8]
            self.meters[request[0]].asked(request, write)


class OnTcp(asyncio.Protocol):
    """One client's connection to a hostile meter."""

    def __init__(self, meter: HostileMeter | HostileLine) -> None:
        self._meter = meter
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def listen(cls, meter: HostileMeter | HostileLine) -> tuple[asyncio.Server, str]:
        """A server on a free port, and its address as `host:port`."""
        server = await asyncio.get_running_loop().create_server(lambda: cls(meter), "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        return server, f"{host}:{port}"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: a client connected."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes arrived."""
        self._meter.received(data, self._write)

    def _write(self, data: bytes) -> None:
        if self._transport and not self._transport.is_closing():
            self._transport.write(data)


class OnPty:
    """A hostile meter at the far end of a pseudo-terminal."""

    def __init__(self, meter: HostileMeter, end: int) -> None:
        self._meter = meter
        self._end = end
        asyncio.get_running_loop().add_reader(end, self._read)

    def _read(self) -> None:
        self._meter.received(os.read(self._end, 4096), self._write)

    def _write(self, data: bytes) -> None:
        if self._end >= 0:  # an answer planned for later may outlive the line
            os.write(self._end, data)

    def close(self) -> None:
        """Hears and says nothing any more."""
        asyncio.get_running_loop().remove_reader(self._end)
        self._end = -1
