"""A book on a real ledger, and what is told to it, for tests of what it seals."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import structlog

from agent import draft
from agent.account import MeterAccount
from agent.book import Book
from agent.clock import from_stamp, stamp
from agent.ledger_file import LedgerReader
from agent.reading import Reading, Value
from agent.record import parse
from agent.seal import base64url
from drivers import Exchange, Instant
from drivers.errors import BadFrame, NoAnswer
from tests.agent.both import verify
from tests.agent.gateway import SECOND, START, StillClock, begun, new_key
from tests.agent.ledgers import DIGEST, MODEL, asked, rtu, told

MINUTE = 60 * SECOND
QUESTION = rtu(asked(20, 1))
ANSWER = rtu(told((2311).to_bytes(2, "big")))
EVERY_MS = 60_000
FAST_MS = 10_000


class Desk:
    """A book on a real ledger, with meters that are read every minute and, on request, a second time every ten seconds."""

    def __init__(self, path: Path, clock: StillClock) -> None:
        self.path = path
        self.clock = clock
        self.key = new_key()
        self.told: list[dict[str, Any]] = []

    async def open(
        self,
        *intervals_ms: int,
        serial: str = "",
        meters: tuple[str, ...] = ("EM-1",),
        schedules: Mapping[str, tuple[int, ...]] | None = None,
        begin: bool = True,
    ) -> Desk:
        """The agent begins: its start and the declarations are sealed, the book is opened. `schedules`: of each meter."""
        each = schedules or dict.fromkeys(meters, intervals_ms or (EVERY_MS,))
        self.ledger = await begun(self.path, self.key, self.clock)
        await self.ledger.append(draft.start(self.clock, "0.1.0", "ab" * 32, "crash"))
        with self.past() as past:
            log = structlog.wrap_logger(None, processors=[lambda _, level, event: self.told.append(event) or _drop()])
            self.book = Book(self.ledger, self.clock, log)
            for meter, intervals in each.items():
                leaf = await self._declare(meter, serial, intervals, past)
                self.book.enter(meter, self.book.resumed(meter, serial, base64url(leaf), intervals, past))
            if begin:
                await self.book.begin(past)
        return self

    async def _declare(self, meter: str, serial: str, intervals_ms: tuple[int, ...], past: LedgerReader) -> bytes:
        schedules = [{"every_ms": every_ms, "quantities": ["voltage.l1"]} for every_ms in intervals_ms]
        fields = {"id": meter, "serial": serial, "model": "test-meter", "revision": 2, "digest": DIGEST, "trust": "B"}
        fields |= {"link": "line1", "framing": "rtu", "address": "1", "place": "", "schedules": schedules}
        for n, payload in past.meter_records(meter, "meter", newest_first=True):
            if parse(payload)["meter"] == fields:
                return past.leaf(n)
            break
        await self.ledger.keep_model(DIGEST, MODEL)
        return (await self.ledger.append(draft.declared(self.clock, fields)))[0].leaf

    async def stop(self) -> None:
        """The agent ends in order."""
        await self.ledger.append(draft.stop(self.clock, "sigterm"))
        await self.ledger.close()

    def at(self, minute: float) -> None:
        """Lets time pass until a minute, on both clocks."""
        passed = instant(minute) - self.clock.wall_ns
        self.clock.wall_ns += passed
        self.clock.uptime_ns += passed

    async def read(self, minute: float, every_ms: int = EVERY_MS, meter: str = "EM-1") -> None:
        """A reading for an instant, told at that instant."""
        self.at(minute)
        await self.answered(minute, every_ms, meter)

    async def answered(
        self,
        minute: float,
        every_ms: int = EVERY_MS,
        meter: str = "EM-1",
        epoch: int | None = None,
        ms: int = 0,
        damaged: int = 0,
    ) -> None:
        """A reading for an instant, told now, `ms` after it was asked for; before it so many answers that were damaged."""
        moment = self.clock.instant()
        asked_at = Instant(moment.wall_ns - ms * 1_000_000, moment.uptime_ns - ms * 1_000_000)
        due, epoch = instant(minute), self.book.steps.count if epoch is None else epoch
        bad = Exchange(QUESTION, ANSWER[:-1] + b"\0", asked_at, moment, moment, BadFrame("bad_checksum", "the checksum is wrong"))
        good = Exchange(QUESTION, ANSWER, asked_at, moment, moment)
        value = Value("voltage.l1", "V", "231.1", f"{damaged}@3:u16be!ffff*0.1", "good", "")
        await self.book.taken(Reading(meter, every_ms, due, moment, (*([bad] * damaged), good), (value,), epoch))

    async def miss(self, minute: float, cause: str = "no_answer", every_ms: int = EVERY_MS, meter: str = "EM-1") -> None:
        """A silence for an instant, told at that instant."""
        self.at(minute)
        moment = self.clock.instant()
        exchange = Exchange(QUESTION, b"", moment, None, None, NoAnswer(cause, "no answer"))
        due = instant(minute)
        await self.book.missed(meter, every_ms, due, cause, "look at it", self.book.steps.count, (exchange,))

    @contextlib.contextmanager
    def past(self) -> Iterator[LedgerReader]:
        with contextlib.closing(LedgerReader(self.path)) as reader:
            yield reader

    def records(self) -> list[dict[str, Any]]:
        """What was told of meters, and the steps of the clock."""
        with self.past() as past:
            told = [parse(payload) for _, payload in past.payloads()]
        return [fields for fields in told if fields["kind"] in ("reading", "gap", "identity", "clock")]

    def summary(self, every_ms: int = EVERY_MS, meter: str = "EM-1") -> list[tuple[Any, ...]]:
        return [
            ("clock", fields["step_ms"] // 1000)
            if fields["kind"] == "clock"
            else ("reading", minute_of(fields["due"]))
            if fields["kind"] == "reading"
            else (fields["state"], fields["cause"], minute_of(fields["since"]), minute_of(fields["due"]), fields["missed"])
            for fields in self.records()
            if fields["kind"] == "clock" or (fields.get("every_ms"), fields["meter"]["id"]) == (every_ms, meter)
        ]

    def account(self) -> dict[str, MeterAccount]:
        """What an audit makes of it, which finds nothing wrong."""
        with self.past() as past:
            report = verify(past, key=None)
        assert not report.findings.total, report.text()
        return report.meters


def _drop() -> Any:
    raise structlog.DropEvent


def instant(minute: float) -> int:
    """A minute since the beginning, also a part of one, as nanoseconds since 1970 in whole milliseconds."""
    return START + round(60_000 * minute) * 1_000_000


def minute_of(text: str) -> float:
    minute = (from_stamp(text) - START) / MINUTE
    assert stamp(instant(minute)) == text
    return minute
