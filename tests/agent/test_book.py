"""agent.book: every poll that was due ends in a sealed reading or inside a sealed gap."""

from pathlib import Path
from typing import Any

import pytest
import structlog

from agent.book import Book
from agent.clock import stamp
from agent.ledger_file import LedgerReader
from agent.reading import Reading, Value
from agent.record import parse
from drivers import Exchange
from drivers.errors import NoAnswer
from tests.agent.gateway import SECOND, START, StillClock, begun, new_key

MINUTE = 60 * SECOND


class Desk:
    """A book on a real ledger, with one meter read every minute."""

    def __init__(self, path: Path, clock: StillClock) -> None:
        self.path = path
        self.clock = clock
        self.key = new_key()
        self.told: list[dict[str, Any]] = []

    async def open(self, serial: str = "") -> "Desk":
        self.ledger = await begun(self.path, self.key, self.clock)
        past = LedgerReader(self.path)
        log = structlog.wrap_logger(None, processors=[lambda _, level, event: self.told.append(event) or _drop()])
        self.book = Book(self.ledger, self.clock, log)
        self.book.enter("EM-1", serial, "A" * 43, 60, past)
        past.close()
        return self

    async def read(self, minute: int) -> None:
        self.clock.wall_ns = START + minute * MINUTE
        moment = self.clock.instant()
        exchange = Exchange(b"\x01", b"\x02", moment, moment, moment)
        value = Value("active_energy_import", "kWh", "1.5", "0@0:u8", "good", "")
        await self.book.taken(Reading("EM-1", START + minute * MINUTE, moment, (exchange,), (value,)))

    async def miss(self, minute: int, cause: str = "no_answer") -> None:
        moment = self.clock.instant()
        exchange = Exchange(b"\x01", b"", moment, None, None, NoAnswer(cause, "no answer"))
        await self.book.missed("EM-1", START + minute * MINUTE, cause, "look at it", (exchange,))

    def records(self) -> list[dict[str, Any]]:
        reader = LedgerReader(self.path)
        try:
            return [fields for _, payload in reader.payloads(1) if (fields := parse(payload))["kind"] != "clock"]
        finally:
            reader.close()

    def summary(self) -> list[tuple[Any, ...]]:
        return [
            ("reading", minute_of(f["due"]))
            if f["kind"] == "reading"
            else (f["state"], f["cause"], minute_of(f["since"]), minute_of(f["due"]), f["missed"])
            for f in self.records()
            if f["kind"] in ("reading", "gap")
        ]


def _drop() -> Any:
    raise structlog.DropEvent


def minute_of(text: str) -> int:
    return next(minute for minute in range(-10, 10_000) if stamp(START + minute * MINUTE) == text)


@pytest.fixture
async def desk(tmp_path: Path) -> Desk:
    return await Desk(tmp_path / "ledger.sqlite", StillClock()).open()


async def test_readings_in_a_row_leave_no_gap(desk: Desk) -> None:
    for minute in range(4):
        await desk.read(minute)
    assert desk.summary() == [("reading", minute) for minute in range(4)]


async def test_a_silent_meter_is_one_gap_however_long_with_its_frames_kept(desk: Desk) -> None:
    await desk.read(0)
    for minute in range(1, 31):
        await desk.miss(minute)
    await desk.read(31)
    assert desk.summary() == [
        ("reading", 0),
        ("opened", "no_answer", 1, 1, 1),
        ("closed", "no_answer", 1, 31, 30),
        ("reading", 31),
    ]
    opened = next(fields for fields in desk.records() if fields["kind"] == "gap")
    assert opened["frames"] == [{"request": "01", "answer": "", "ms": 0, "fault": "no_answer"}]


async def test_expected_polls_are_readings_plus_missed_ones(desk: Desk) -> None:
    told = {0: "read", 1: "miss", 2: "read", 5: "read", 6: "miss", 9: "miss", 12: "read"}
    for minute, what in told.items():
        await (desk.read(minute) if what == "read" else desk.miss(minute))
    summary = desk.summary()
    read = sum(1 for row in summary if row[0] == "reading")
    missed = sum(row[4] for row in summary if row[0] == "closed")
    assert read + missed == 13


async def test_another_cause_is_another_gap(desk: Desk) -> None:
    await desk.read(0)
    await desk.miss(1, "no_answer")
    await desk.miss(2, "no_connection")
    await desk.read(3)
    assert desk.summary() == [
        ("reading", 0),
        ("opened", "no_answer", 1, 1, 1),
        ("closed", "no_answer", 1, 2, 1),
        ("opened", "no_connection", 2, 2, 1),
        ("closed", "no_connection", 2, 3, 1),
        ("reading", 3),
    ]


async def test_instants_nobody_tried_are_counted_as_overrun(desk: Desk) -> None:
    await desk.read(0)
    await desk.read(4)
    assert desk.summary() == [("reading", 0), ("opened", "overrun", 1, 4, 3), ("closed", "overrun", 1, 4, 3), ("reading", 4)]


async def test_the_time_the_agent_was_off_is_a_gap_of_its_own(desk: Desk) -> None:
    await desk.read(0)
    await desk.ledger.close()
    await desk.open()
    await desk.read(10)
    assert desk.summary()[1:3] == [("opened", "agent_stopped", 1, 10, 9), ("closed", "agent_stopped", 1, 10, 9)]


async def test_a_gap_that_was_open_goes_on_after_a_restart(desk: Desk) -> None:
    await desk.read(0)
    await desk.miss(1)
    await desk.ledger.close()
    await desk.open()
    await desk.miss(5)
    await desk.read(8)
    assert desk.summary() == [("reading", 0), ("opened", "no_answer", 1, 1, 1), ("closed", "no_answer", 1, 8, 7), ("reading", 8)]


async def test_counts_of_a_meter_have_no_holes_over_restarts(desk: Desk) -> None:
    await desk.read(0)
    await desk.miss(1)
    await desk.ledger.close()
    await desk.open()
    await desk.read(2)
    assert [fields["meter"]["count"] for fields in desk.records()] == list(range(4))


async def test_the_first_serial_number_read_is_taken_and_another_one_is_not(desk: Desk) -> None:
    assert await desk.book.identified("EM-1", "21012345", "0@3:u32be", ())
    await desk.read(0)
    assert not await desk.book.identified("EM-1", "99999999", "0@3:u32be", ())
    assert not await desk.book.identified("EM-1", "99999999", "0@3:u32be", ())
    reading, strange = desk.records()[1:3]
    assert (reading["meter"]["serial"], reading["meter"]["serial_from"]) == ("21012345", "register")
    assert (strange["kind"], strange["match"], strange["expected"], strange["found"]) == (
        "identity",
        False,
        "21012345",
        "99999999",
    )
    assert [event["event"] for event in desk.told].count("meter.exchanged") == 1
    assert len([fields for fields in desk.records() if fields["kind"] == "identity"]) == 2


async def test_an_exchanged_meter_stays_refused_after_a_restart(desk: Desk) -> None:
    assert await desk.book.identified("EM-1", "21012345", "0@3:u32be", ())
    assert not await desk.book.identified("EM-1", "99999999", "0@3:u32be", ())
    await desk.ledger.close()
    await desk.open()
    assert not await desk.book.identified("EM-1", "99999999", "0@3:u32be", ())
    assert await desk.book.identified("EM-1", "21012345", "0@3:u32be", ())


async def test_leading_zeros_on_the_plate_do_not_make_another_meter(tmp_path: Path) -> None:
    desk = await Desk(tmp_path / "ledger.sqlite", StillClock()).open(serial="0021012345")
    assert await desk.book.identified("EM-1", "21012345", "0@3:u32be", ())
    await desk.read(0)
    assert desk.records()[-1]["meter"]["serial"] == "0021012345"


async def test_a_reading_that_is_no_record_is_told_and_becomes_part_of_a_gap(desk: Desk) -> None:
    await desk.read(0)
    moment = desk.clock.instant()
    value = Value("active_energy_import", "kWh", "not digits", "0@0:u8", "good", "")
    await desk.book.taken(Reading("EM-1", START + MINUTE, moment, (), (value,)))
    await desk.read(2)
    assert desk.summary()[1] == ("opened", "refused_by_ledger", 1, 2, 1)
    assert "ledger.refused" in [event["event"] for event in desk.told]


async def test_a_ledger_that_cannot_be_written_is_told_once_and_the_agent_goes_on(desk: Desk) -> None:
    await desk.read(0)
    await desk.ledger.close()
    for minute in range(1, 4):
        await desk.read(minute)
    assert [event["event"] for event in desk.told] == ["ledger.failed"]
