"""A meter's answers to values, and to sealed records, over the codec of pymodbus turning the same answers to floats."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Sequence
from decimal import Decimal

from pymodbus.client.mixin import ModbusClientMixin
from pymodbus.framer import FramerRTU
from pymodbus.pdu import DecodePDU

from agent import draft
from agent.clock import Clock
from agent.record import EMPTY_LOG
from agent.seal import Key, seal
from tests.agent.gateway import GATEWAY, START, new_key
from tests.bench.polls import Frames, Polled, polled, source
from tests.bench.ratio import Line, cpu_ratios, per_cpu_second, rounds

_POLLS = 150
_ROUNDS = 11


def lines() -> list[Line]:
    """Values read, and values sealed, over values decoded by pymodbus."""
    meter, chance, codec = polled(), random.Random(1), Codec(polled())
    polls = [meter.frames(chance) for _ in range(_POLLS)]
    _same_numbers(meter, codec, polls[0])
    key, clock = new_key(), Clock()
    return [
        _line("values read", meter, lambda: _read(meter, polls, clock), lambda: [codec.floats(frames) for frames in polls]),
        _line(
            "values read and sealed",
            meter,
            lambda: _seal(meter, polls, clock, key),
            lambda: [codec.floats(frames) for frames in polls],
        ),
    ]


def _line(name: str, meter: Polled, ours: Callable[[], object], bare: Callable[[], object]) -> Line:
    measured, count = rounds(_ROUNDS, ours, bare), _POLLS * len(meter.points)
    mine, theirs = per_cpu_second(count, [r.ours for r in measured]), per_cpu_second(count, [r.bare for r in measured])
    return Line(name, cpu_ratios(measured), f"{mine} values a CPU second; pymodbus {theirs}")


def _read(meter: Polled, polls: list[Frames], clock: Clock) -> None:
    for frames in polls:
        meter.reading(frames, START, clock)


def _seal(meter: Polled, polls: list[Frames], clock: Clock, key: Key) -> None:
    named, prev = source(meter, EMPTY_LOG) | {"count": 0}, EMPTY_LOG
    for n, frames in enumerate(polls):
        taken = meter.reading(frames, START, clock)
        prev = seal(draft.reading(clock, named, taken), gateway=GATEWAY, n=n, prev=prev, key=key).leaf


class Codec:
    """What a script around pymodbus does with a poll's answers; where each point stands is known beforehand."""

    def __init__(self, meter: Polled) -> None:
        self._framer = FramerRTU(DecodePDU(False))
        starts = [int.from_bytes(request[2:4], "big") for request in meter.requests]
        self._places = []
        for point in meter.points:
            index = max(i for i, start in enumerate(starts) if start <= point.at.address)
            self._places.append((index, point.at.address - starts[index]))

    def floats(self, frames: Frames) -> list[float]:
        """The points' numbers."""
        held: list[Sequence[int]] = []
        for _, answer in frames:
            _, pdu = self._framer.handleFrame(answer, 1, 0)
            assert pdu is not None
            held.append(pdu.registers)
        convert, kind = ModbusClientMixin.convert_from_registers, ModbusClientMixin.DATATYPE.FLOAT32
        return [convert(held[index][at : at + 2], kind) for index, at in self._places]  # type: ignore[misc]  # one float each


def _same_numbers(meter: Polled, codec: Codec, frames: Frames) -> None:
    """Both sides find the same numbers: else they would not do the same work."""
    ours = [struct.pack(">f", Decimal(value.value or "nan")) for value in meter.reading(frames, START, Clock()).values]
    assert ours == [struct.pack(">f", number) for number in codec.floats(frames)]
