"""The meters of one protocol and one speed on a line: what they take for a request, and what they say to it.

Every group hears all that its line carries and finds its own requests in it, so that meters of several protocols share
a line as they do on RS-485. Among Modbus meters the one with the address answers; on Modbus TCP an address that nobody
has is refused with exception 0BH, as a gateway does. Meters of other protocols know by themselves whether a request is
meant for them.

What this file does not know: ports and time; it gives delays, bytes and speeds.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import cast

from agent.simulate_faults import Own, Script, pieces
from agent.simulate_frames import Heard, after_silence, framed, requests_in
from agent.simulate_meter import Meter
from agent.simulate_modbus_faults import modbus_faults
from agent.simulate_protocols import SIMULATED, AnsweringMeter, FrameMeter, Simulated
from config.site import Framing

_GATEWAY_TARGET_SILENT = 0x0B
_CHANGE_S = 0.3  # what a meter leaves the other side to change the speed within an answer (IEC 62056-21: 0.2 to 1.5 s)


class Station:
    """A meter on a line with its script of faults and the count of requests it got."""

    def __init__(self, meter: AnsweringMeter) -> None:
        self.meter = meter
        self.requests = 0
        self.script = Script(meter.declared.faults, meter.declared.seed)


@dataclass(frozen=True, slots=True)
class Said:
    """Bytes that leave a meter: how many seconds after the request, and at which speed (0: as fast as they can).

    `gap`: so many seconds behind what leaves in front of them.
    """

    delay: float
    data: bytes
    baud: int
    gap: float = 0.0


class Group(ABC):
    """The meters of one protocol and one speed on a line.

    Attributes:
        baud: their speed; 0: any.
        silence_s: the silence after which what is no whole request is dropped.
        stations: the meters.
    """

    silence_s: float

    def __init__(self, baud: int, played: list[tuple[str, int, str]]) -> None:
        self.baud = baud
        self.stations: list[Station] = []
        self._played = played

    @abstractmethod
    def hear(self, buffer: bytearray) -> Iterator[tuple[int, list[Said]]]:
        """Takes the complete requests out of what has arrived: of each one its length, and what is said to it.

        Raises:
            NotModbus: the connection carries something else (Modbus TCP only).
        """

    @abstractmethod
    def fell_silent(self, buffer: bytearray) -> Iterator[tuple[int, list[Said]]]:
        """The same for what the line had carried when it fell silent."""

    def unasked(self) -> Iterator[Said]:
        """What meters tell now that nobody asks."""
        yield from ()

    def _say(self, station: Station, request: bytes, answer: bytes, own: Own, baud: int) -> list[Said]:
        """What leaves a meter that got a request and would answer so: with the fault that strikes, if one does."""
        declared = station.meter.declared
        station.requests += 1
        fault = station.script.strikes(station.requests)
        if fault:
            self._played.append((declared.id, station.requests, fault.kind))
        usual = declared.answer_ms / 1000
        said = pieces(fault, request, answer, own, station.script.random)
        return [Said(usual + delay, data, baud) for delay, data in said]


class ModbusGroup(Group):
    """Modbus meters on a line of one framing."""

    silence_s = 0.05

    def __init__(self, framing: Framing, baud: int, played: list[tuple[str, int, str]]) -> None:
        super().__init__(baud, played)
        self._framing = framing

    def hear(self, buffer: bytearray) -> Iterator[tuple[int, list[Said]]]:
        """See `Group`."""
        for heard in requests_in(buffer, self._framing):
            yield len(heard.data), self._answers(heard)

    def fell_silent(self, buffer: bytearray) -> Iterator[tuple[int, list[Said]]]:
        """A request of an unknown function ends where the line falls silent."""
        for heard in after_silence(buffer, self._framing):
            yield len(heard.data), self._answers(heard)

    def _answers(self, heard: Heard) -> list[Said]:
        station = next((one for one in self.stations if one.meter.declared.address == str(heard.unit)), None)
        if station is None:
            if self._framing != "tcp":
                return []
            refused = bytes([heard.pdu[0] | 0x80, _GATEWAY_TARGET_SILENT])
            return [Said(0.0, framed(self._framing, heard.unit, refused, heard.transaction), self.baud)]
        answer = cast("Meter", station.meter).answer(heard.pdu)
        frame = framed(self._framing, heard.unit, answer, heard.transaction)
        return self._say(station, heard.data, frame, modbus_faults(heard, answer, self._framing), self.baud)


class FrameGroup(Group):
    """Meters of a protocol that knows one kind of frame."""

    silence_s = 0.5

    def __init__(self, protocol: Simulated, baud: int, played: list[tuple[str, int, str]]) -> None:
        super().__init__(baud, played)
        self._protocol = protocol

    def hear(self, buffer: bytearray) -> Iterator[tuple[int, list[Said]]]:
        """See `Group`."""
        while (request := self._protocol.take(buffer)) is not None:
            yield len(request), [said for station in self.stations for said in self._answers(station, request)]

    def fell_silent(self, buffer: bytearray) -> Iterator[tuple[int, list[Said]]]:
        """What is no whole request after so long is none."""
        buffer.clear()
        yield from ()

    def _answers(self, station: Station, request: bytes) -> list[Said]:
        answered = cast("FrameMeter", station.meter).answer(request)
        if answered is None:
            return []
        parts = answered if isinstance(answered, list) else [answered]
        *front, (answer, baud) = [part if isinstance(part, tuple) else (part, self.baud) for part in parts]
        baud = baud if self.baud else 0  # on a line that understands every speed, none matters
        own: Own = {kind: partial(changed, request, answer) for kind, changed in self._protocol.faults.items()}
        said = self._say(station, request, answer, own, baud)
        if not front:
            return said
        usual = station.meter.declared.answer_ms / 1000
        return [*(Said(usual, *part) for part in front), *(replace(each, gap=_CHANGE_S) for each in said)]

    def unasked(self) -> Iterator[Said]:
        """See `Group`."""
        if self._protocol.unasked:
            told = map(self._protocol.unasked, (station.meter for station in self.stations))
            yield from (Said(0.0, data, self.baud) for data in told if data is not None)


def group_of(protocol: str, framing: Framing, baud: int, played: list[tuple[str, int, str]]) -> Group:
    """An empty group for meters of a protocol. Raises KeyError where they cannot be simulated."""
    if protocol == "modbus":
        return ModbusGroup(framing, baud, played)
    return FrameGroup(SIMULATED[protocol], baud, played)
