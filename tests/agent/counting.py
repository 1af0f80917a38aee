"""A gateway whose meters count: the book, the ledger and the closing of days as the agent has them, on a clock that stands still.

Each meter's own counter is turned here by exact increments, so a test knows what truly was consumed, to the last digit.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from agent import draft
from agent.book import Book
from agent.closing import AFTER_MIDNIGHT_MS, Closing
from agent.courses import Courses
from agent.ledger_file import LedgerReader
from agent.reading import Reading, values_of
from agent.record import parse
from agent.seal import Key, base64url
from config.library import read_model
from config.model import Point
from drivers import Exchange, Target, load
from drivers.errors import NoAnswer
from tests.agent.gateway import SECOND, START, StillClock, begun
from tests.agent.ledgers import asked, new_key, rtu, told

QUARTER_MS = 900_000
MODEL = b"""
model: counting-meter
revision: 1
maker: test
product: counts
medium: electricity
protocol: modbus
trust: {level: B, sources: [{url: none, kind: implementation}]}
modbus: {function: 3}
points:
  - {quantity: active_energy_import, at: {address: 0, type: u32}, scale: 0.01, ratio: ct, counter: {modulus: 100000}}
examples:
  - origin: computed
    frames: [{request: 01 03 00 00 00 02 c4 0b, answer: 01 03 04 00 00 00 01 3b f3}]
    values: {active_energy_import: '0.01'}
"""
QUANTITY = "active_energy_import"
MODULUS = 10_000_000  # of the register
DECLARED = read_model(MODEL, "counting-meter")
POINTS: tuple[Point, ...] = (DECLARED.declared.point(QUANTITY),)
DRIVER = load("modbus")
QUESTION = rtu(asked(0, 2))


@dataclass
class Plate:
    """A meter as it hangs on the wall.

    Attributes:
        register: what its counter shows, in hundredths on the secondary side.
        true: what it has counted, in the same, whatever the register did.
        place: where it hangs.
    """

    id: str
    serial: str
    ct: str | None = None
    register: int = 0
    true: int = 0
    place: str = ""

    def count(self, hundredths: int) -> None:
        """So much flows through it."""
        self.register = (self.register + hundredths) % MODULUS
        self.true += hundredths

    @property
    def ratio(self) -> Fraction:
        return Fraction(self.ct) if self.ct else Fraction(1)

    def kwh(self, hundredths: int) -> Fraction:
        return Fraction(hundredths, 100) * self.ratio


@dataclass
class Plant:
    """Meters and the gateway that reads them every quarter of an hour."""

    path: Path
    plates: list[Plate]
    zone: str = "UTC"
    clock: StillClock = field(default_factory=lambda: StillClock(START))
    key: Key = field(default_factory=new_key)
    of_courses: type[Courses] = Courses
    told: list[dict[str, Any]] = field(default_factory=list)

    async def begin(self, after: str = "crash") -> Plant:
        """The agent begins, as `agent.run` does it."""
        self.ledger = await begun(self.path, self.key, self.clock)
        with self.past() as past:
            self.courses = self.of_courses(models={DECLARED.digest: MODEL})
            self.courses.resume(past)
            log = structlog.wrap_logger(None, processors=[self._hear])
            self.ledger.follow, self.ledger.memory = partial(self.courses.follow, clock=self.clock, log=log), self.courses
            await self.ledger.append(draft.start(self.clock, "0.1.0", "ab" * 32, after))
            await self.ledger.keep_model(DECLARED.digest, MODEL)
            self.book = Book(self.ledger, self.clock, log)
            for plate in self.plates:
                leaf = await self._declare(plate, past)
                self.book.enter(plate.id, self.book.resumed(plate.id, plate.serial, base64url(leaf), [QUARTER_MS], past))
            await self.book.begin(past)
        self.closing = Closing(self.courses, self.ledger, self.clock, [plate.id for plate in self.plates], self.zone)
        await self.closing.close()
        return self

    def _hear(self, _: Any, level: str, event: Any) -> Any:
        self.told.append({**event, "level": level})
        raise structlog.DropEvent

    async def end(self) -> None:
        """The agent ends in order."""
        await self.ledger.append(draft.stop(self.clock, "sigterm"))
        await self.ledger.close()

    async def _declare(self, plate: Plate, past: LedgerReader) -> bytes:
        fields = {"id": plate.id, "serial": plate.serial, "model": "counting-meter", "revision": 1, "trust": "B"}
        fields |= {"digest": DECLARED.digest, "link": "line1", "framing": "rtu", "address": "1", "place": plate.place}
        fields |= {"schedules": [{"every_ms": QUARTER_MS, "quantities": [QUANTITY]}]} | ({"ct": plate.ct} if plate.ct else {})
        for n, payload in past.meter_records(plate.id, "meter", newest_first=True):
            if parse(payload)["meter"] == fields:
                return past.leaf(n)
            break
        return (await self.ledger.append(draft.declared(self.clock, fields)))[0].leaf

    def reading(self, plate: Plate, due_ns: int, shown: int | None = None) -> Reading:
        """What is read from a meter now; `shown`: in place of what its register truly shows."""
        now = self.clock.instant()
        register = plate.register if shown is None else shown
        exchange = Exchange(QUESTION, rtu(told(register.to_bytes(4, "big"))), now, now, now)
        target = Target(DECLARED.declared, "1", "rtu", plate.ct, None)
        values = values_of(DRIVER, target, POINTS, [exchange])
        return Reading(plate.id, QUARTER_MS, due_ns, now, (exchange,), values, self.book.steps.count)

    async def quarter(self, *flows: int, silent: bool = False, shown: int | None = None) -> None:
        """A quarter of an hour passes, so much flows through each meter, and all are read. Days are closed when they are over."""
        self.to_next()
        for plate, flow in zip(self.plates, flows, strict=True):
            plate.count(flow)
        await asyncio.gather(*(self.poll(plate, silent=silent, shown=shown) for plate in self.plates))
        self.clock.move(AFTER_MIDNIGHT_MS / 1000)
        await self.closing.close()

    async def poll(self, plate: Plate, *, silent: bool = False, shown: int | None = None) -> None:
        """A meter is asked now."""
        due_ns = self.clock.wall_ns // (QUARTER_MS * 1_000_000) * QUARTER_MS * 1_000_000
        if silent:
            now = self.clock.instant()
            error = Exchange(QUESTION, b"", now, None, None, NoAnswer("no_answer", "no answer"))
            await self.book.missed(plate.id, QUARTER_MS, due_ns, "no_answer", "", self.book.steps.count, (error,))
        else:
            await self.book.taken(self.reading(plate, due_ns, shown))

    def to_next(self) -> None:
        """Time passes until 300 ms behind the next quarter of an hour."""
        quarter_ns = QUARTER_MS * 1_000_000
        following = (self.clock.wall_ns // quarter_ns + 1) * quarter_ns + 300_000_000
        self.clock.move((following - self.clock.wall_ns) / SECOND)

    @contextlib.contextmanager
    def past(self) -> Iterator[LedgerReader]:
        with contextlib.closing(LedgerReader(self.path)) as reader:
            yield reader

    def records(self, kind: str) -> list[dict[str, Any]]:
        with self.past() as past:
            return [parse(payload) for _, payload in past.kind_records(kind, newest_first=False)]


def exact(value: Fraction) -> Decimal:
    """A fraction that ends, as a decimal."""
    made = Decimal(value.numerator) / Decimal(value.denominator)
    assert Fraction(made) == value
    return made
