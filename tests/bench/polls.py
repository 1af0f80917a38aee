"""What is measured with: polls of a three-phase meter (Eastron SDM630, its default points) over Modbus RTU.

Every answer holds other random binary32 numbers, as a meter's do that shows more digits than it measures: most need
seven to nine decimal digits, the dearest case for the exact decimals we make of them.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from agent import draft
from agent.clock import Clock
from agent.ledger import Ledger
from agent.reading import Reading, values_of
from agent.seal import Key, base64url
from config.library import load_models
from config.model import ModelFile, Point
from config.site import Meter
from drivers import Driver, Exchange, Target, load
from drivers.modbus import crc
from tests.agent.gateway import SECOND, START, StillClock, begun

MODEL = "eastron-sdm630"
EVERY_S = 900
METERS = 10
DOUBT = "settings_unread"  # nobody reads the settings of these meters, so their readings are not evidence grade

Frames = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Polled:
    """A meter and what is asked of it."""

    id: str
    model: ModelFile
    driver: Driver
    target: Target
    points: tuple[Point, ...]
    requests: tuple[bytes, ...]

    def frames(self, chance: random.Random) -> Frames:
        """One poll's requests and good answers."""
        counters = {point.at.address for point in self.points if point.counter}
        return [(request, _answer(request, counters, chance)) for request in self.requests]

    def reading(self, frames: Frames, due_ns: int, clock: Clock) -> Reading:
        """The way of a poll's answers to a reading: each checked against its request, values located and evaluated."""
        now = clock.instant()
        exchanges = []
        for request, answer in frames:
            self.driver.check(request, answer, self.target.framing)
            exchanges.append(Exchange(request, answer, now, now, now))
        values = values_of(self.driver, self.target, self.points, exchanges)
        return Reading(self.id, 1000 * EVERY_S, due_ns, now, tuple(exchanges), values)


def polled(number: int = 1) -> Polled:
    """Meter number `number` on the line, which is its address too."""
    model = load_models()[MODEL]
    driver = load(model.declared.protocol)
    target = Target(model.declared, str(number), "rtu")
    points = tuple(point for point in model.declared.points if point.default)
    requests = tuple(request.data for request in driver.requests(target, points))
    return Polled(f"EM-{number:03}", model, driver, target, points, requests)


def _answer(request: bytes, counters: set[int], chance: random.Random) -> bytes:
    """Any numbers, but counters that stand still: of one that jumps an audit asks what it was."""
    first, count = struct.unpack(">HH", request[2:6])
    data = b"".join(
        struct.pack(">f", 250 if register in counters else chance.uniform(0, 250)) for register in range(first, first + count, 2)
    )
    frame = request[:2] + bytes([len(data)]) + data
    return frame + crc(frame)


def source(meter: Polled, declared: bytes) -> draft.Fields:
    """The meter as named in its readings."""
    return {"id": meter.id, "serial": "21012345", "serial_from": "plate", "declared": base64url(declared)}


def declaration(meter: Polled) -> draft.Fields:
    """The meter's declaration."""
    declared = Meter(id=meter.id, link="line-1", model=MODEL, address=meter.target.address, serial="21012345", place="hall 3")
    return draft.declaration(
        declared, meter.model, meter.target.framing, [(1000 * EVERY_S, [point.quantity for point in meter.points])]
    )


def readings(
    meters: list[Polled], sources: list[draft.Fields], clock: StillClock, chance: random.Random
) -> Iterator[draft.Fields]:
    """Readings of the meters in turn without end, one of each meter in each interval; moves the clock."""
    due_ns = START
    while True:
        for meter, named in zip(meters, sources, strict=True):
            clock.move(0.1)
            yield draft.reading(clock, named, meter.reading(meter.frames(chance), due_ns, clock), DOUBT)
        due_ns += EVERY_S * SECOND
        clock.move((due_ns - clock.wall_ns) / SECOND)


async def filled(path: Path, key: Key, count: int) -> Ledger:
    """A ledger with `count` readings of ten declared meters that verifies without a finding."""
    clock = StillClock()
    ledger = await begun(path, key, clock)
    meters = [polled(number + 1) for number in range(METERS)]
    await ledger.keep_model(meters[0].model.digest, meters[0].model.text)
    declared = await ledger.append(*(draft.declared(clock, declaration(meter)) for meter in meters))
    sources = [source(meter, record.leaf) for meter, record in zip(meters, declared, strict=True)]
    every = readings(meters, sources, clock, random.Random(630))
    for start in range(0, count, 500):
        await ledger.append(*(next(every) for _ in range(start, min(start + 500, count))))
    await ledger.checkpoint()
    return ledger
