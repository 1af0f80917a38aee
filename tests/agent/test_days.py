"""agent.days and agent.stretch: what became of each poll, by calendar day, from the records alone."""

from __future__ import annotations

import contextlib
import random
import sqlite3
from collections import Counter
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from agent.account import READ, UNTOLD, Tally, interval, percent
from agent.bundle import Bundle
from agent.coverage import Coverage, Told
from agent.days import Completeness, Days, completeness, last_day
from agent.days_text import days_text
from agent.export import export
from agent.glance import glance
from agent.ledger_file import LedgerReader
from agent.stretch import MARKS, account, stretch, take
from agent.timeline import milliseconds
from tests.agent.both import verify
from tests.agent.desk import EVERY_MS as MINUTE_MS
from tests.agent.desk import FAST_MS, Desk
from tests.agent.gateway import SECOND, StillClock
from tests.agent.ledgers import EVERY_MS, Gateway, MemoryLog, good_gateway
from tests.agent.test_simulated_day import PLANT, Day, Trouble, lived
from tests.agent.test_verify import two_schedules

SHANGHAI = timezone(timedelta(hours=8))
FIRST = date(2026, 3, 1)


def counted(log: MemoryLog, zone: tzinfo = UTC, first: date = FIRST, days: int = 1) -> Completeness:
    return completeness(log, zone, "here", first, first + timedelta(days=days - 1))


def ms(text: str) -> int:
    return milliseconds(text)


# --- days -----------------------------------------------------------------------------------------------------


def test_a_poll_belongs_to_the_day_of_its_instant_midnight_to_the_new_one() -> None:
    days = Days(SHANGHAI, date(2026, 2, 28), FIRST)
    told = days.of("EM-1")
    told(EVERY_MS, READ, ms("2026-02-28T15:45:00.000Z"), 1)
    told(EVERY_MS, READ, ms("2026-02-28T16:00:00.000Z"), 1)
    assert {key: tally.read for key, tally in days.tallies.items()} == {
        (date(2026, 2, 28), "EM-1", EVERY_MS): 1,
        (FIRST, "EM-1", EVERY_MS): 1,
    }


def test_a_gap_over_days_is_divided_at_their_midnights() -> None:
    days = Days(SHANGHAI, FIRST, date(2026, 3, 3))
    days.of("EM-1")(EVERY_MS, "no_answer", ms("2026-02-27T00:00:00.000Z"), 96 * 6)
    assert {key[0].day: tally.causes for key, tally in days.tallies.items()} == {day: {"no_answer": 96} for day in (1, 2, 3)}, (
        "what lies before and behind the days asked for is left out"
    )


@pytest.mark.parametrize(
    ("zone", "day", "instants"),
    [
        ("Europe/Berlin", date(2026, 3, 29), 92),
        ("Europe/Berlin", date(2026, 10, 25), 100),
        ("America/Sao_Paulo", date(2018, 11, 4), 92),  # the clock jumped from midnight to one
        ("America/Havana", date(2026, 11, 1), 100),  # midnight comes twice
        ("Australia/Lord_Howe", date(2026, 4, 5), 98),  # half an hour
        ("Asia/Kathmandu", date(2026, 4, 5), 96),
    ],
)
def test_a_day_on_which_the_zones_clock_is_changed_has_as_many_polls_as_it_has_quarters(
    zone: str, day: date, instants: int
) -> None:
    days = Days(ZoneInfo(zone), day, day)
    begin = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1000 - 86_400_000
    days.of("one")(EVERY_MS, READ, begin, 3 * 96)
    for number in range(3 * 96):
        days.of("each")(EVERY_MS, READ, begin + number * EVERY_MS, 1)
    assert {key: tally.read for key, tally in days.tallies.items()} == {
        (day, "one", EVERY_MS): instants,
        (day, "each", EVERY_MS): instants,
    }


def test_shares_are_cut_and_never_rounded_up_to_all() -> None:
    assert percent(99_999, 100_000) == "99.99"
    assert percent(1, 3) == "33.33"
    assert percent(7, 7) == "100.00"
    assert percent(0, 0) == "0.00"


@pytest.mark.parametrize(("read", "missed", "low"), [(9, 1, False), (89, 11, True), (90, 10, False), (0, 1, True), (0, 0, False)])
def test_less_than_ninety_per_cent_is_low(read: int, missed: int, low: bool) -> None:
    tally = Tally()
    tally.add(READ, read)
    tally.add("no_answer", missed)
    assert tally.low is low


@pytest.mark.parametrize(("every_ms", "text"), [(900_000, "15 min"), (3_600_000, "1 h"), (5000, "5 s"), (100, "100 ms")])
def test_an_interval_is_said_in_the_unit_of_a_person(every_ms: int, text: str) -> None:
    assert interval(every_ms) == text


# --- a log's days ---------------------------------------------------------------------------------------------


def test_each_meter_and_schedule_has_a_line_a_day() -> None:
    seen = counted(two_schedules().log)
    told = {(meter, every_ms): (tally.read, tally.expected) for (_, meter, every_ms), tally in seen.tallies.items()}
    assert told == {("rtu-1", 60_000): (57, 60), ("rtu-1", EVERY_MS): (4, 4)}
    assert seen.total.expected == 64
    assert seen.low == []


def test_a_gap_still_open_goes_up_to_the_ledgers_last_time_and_no_further() -> None:
    gateway = Gateway().begin().after(0.3)
    gateway.gap("rtu-1", "opened", gateway.due, gateway.due, 1)
    gateway.after(30 * 3600).reading("tcp-2")
    seen = counted(gateway.log, days=4)
    assert [(key[0].day, tally.causes) for key, tally in seen.tallies.items() if key[1] == "rtu-1"] == [
        (1, {"no_answer": 96}),
        (2, {"no_answer": 25}),
    ]


def test_what_nobody_speaks_of_is_due_all_the_same() -> None:
    """A record was taken out: an audit finds it, and the account does not show a day better than it was."""
    gateway = good_gateway()
    gateway.log.records.pop(gateway.log.find("reading", 6))
    tallies = counted(gateway.log).tallies
    assert sum(tally.untold for tally in tallies.values()) == 1
    assert sum(tally.expected for tally in tallies.values()) == 24
    assert "untold" in days_text(counted(gateway.log), UTC)


def test_a_record_that_cannot_be_read_is_passed_over() -> None:
    gateway = good_gateway()
    gateway.log.records[gateway.log.find("reading", 6)] = b"\xff rubbish"
    assert counted(gateway.log).total.untold == 1
    gateway.log.records[-1] = b""
    assert last_day(gateway.log, UTC) == FIRST


def test_a_log_without_records_has_no_day() -> None:
    assert last_day(MemoryLog(), UTC) is None


def test_a_step_of_the_clock_is_told_with_the_day_it_was_set_from_and_the_one_it_was_set_to() -> None:
    gateway = good_gateway()
    gateway.step(86_400)
    for day in (1, 2):
        assert [step.n for step in counted(gateway.log, first=date(2026, 3, day)).steps] == [30]
    assert counted(gateway.log, first=date(2026, 3, 3)).steps == []


# --- only the stretch that is needed --------------------------------------------------------------------------


async def changeful(folder: Path, seed: int) -> Day:
    """Some hours with everything in it, then days on which the agent was off now and then and the clock was set meanwhile."""
    day = await lived(folder, seed, 6)
    for _ in range(4):
        if day.random.random() < 0.5:
            await day.desk.stop()
        else:
            await day.desk.ledger.close()
        day.clock.move(day.random.randrange(60, 3 * 86_400))
        if day.random.random() < 0.3:
            day.clock.boot, day.clock.uptime_ns = f"{day.random.getrandbits(32):08x}", 20 * SECOND
        if day.random.random() < 0.3:
            day.clock.step(day.random.choice([-1, 1]) * day.random.randrange(5, 100_000))
        await day.desk.open(schedules=PLANT)
        day.trouble = Trouble()
        for _ in range(20):
            await day.minute()
    await day.desk.stop()
    return day


def within(instants: Counter[tuple[int, str, int]], begin: int, end: int) -> Told:
    """Counts every instant of a span."""

    def told(every_ms: int, outcome: str, first: int, count: int) -> None:
        for instant in range(first, first + count * every_ms, every_ms):
            if begin <= instant < end:
                instants[every_ms, outcome, instant] += 1

    return told


def whole(log: LedgerReader, meter: str) -> Counter[tuple[int, str, int]]:
    """A meter's instants by an account that every record has gone by."""
    instants: Counter[tuple[int, str, int]] = Counter()
    coverage = Coverage(meter, within(instants, 0, 2**62))
    for _, payload in log.payloads():
        fields = glance(payload)
        if fields["kind"] in MARKS or fields.get("meter", {}).get("id") == meter:
            take(coverage, fields)
    coverage.close(fields["time"])
    return instants


@pytest.mark.parametrize("seed", [11, 12, 27, 40])
async def test_the_account_of_a_stretch_is_the_one_that_the_whole_ledger_gives(tmp_path: Path, seed: int) -> None:
    day = await changeful(tmp_path, seed)
    chance = random.Random(seed)
    with day.desk.past() as log:
        all_of = {meter: whole(log, meter) for meter in log.meters()}
        times = [ms(glance(payload)["time"]) for _, payload in log.payloads()]
        for _ in range(20):
            begin = chance.randrange(min(times) - 3_600_000, max(times) + 3_600_000)
            end = begin + chance.choice([60_000, 3_600_000, 86_400_000, 5 * 86_400_000])
            for meter, every in all_of.items():
                seen: Counter[tuple[int, str, int]] = Counter()
                account(log, meter, stretch(log, begin, end), within(seen, begin, end))
                assert seen == Counter({key: count for key, count in every.items() if begin <= key[2] < end})


async def test_a_ledger_and_its_bundle_have_the_same_days_and_the_sum_that_an_audit_counts(tmp_path: Path) -> None:
    day = await changeful(tmp_path, 5)
    with day.desk.past() as log:
        export(log, tmp_path / "evidence.zip")
        last = last_day(log, SHANGHAI)
        assert last is not None
        both = []
        with contextlib.closing(Bundle(tmp_path / "evidence.zip")) as bundle:
            for each in (log, bundle):
                both.append(completeness(each, SHANGHAI, "Asia/Shanghai", last - timedelta(days=40), last + timedelta(days=3)))
        report = verify(log, key=None)
    assert both[0] == both[1]
    for meter, told in report.meters.items():
        for every_ms, tally in told.schedules.items():
            of = [each for key, each in both[0].tallies.items() if key[1:] == (meter, every_ms)]
            assert sum(of, Tally()) == tally, (meter, every_ms)
    some = completeness(MemoryLog([]), UTC, "UTC", FIRST, FIRST)
    assert some.tallies == {}


async def test_days_without_a_record_between_a_gaps_opening_and_its_end_are_full_of_it(tmp_path: Path) -> None:
    desk = await Desk(tmp_path / "ledger.sqlite", StillClock()).open()
    await desk.miss(0)
    await desk.read(5 * 1440)
    with desk.past() as log:
        for day in range(1, 6):
            seen = completeness(log, UTC, "UTC", date(2026, 3, day), date(2026, 3, day))
            assert [tally.causes for tally in seen.tallies.values()] == [{"no_answer": 1440}]
        assert completeness(log, UTC, "UTC", date(2026, 3, 6), date(2026, 3, 6)).total.read == 1
        assert completeness(log, UTC, "UTC", date(2026, 2, 28), date(2026, 2, 28)).tallies == {}
    await desk.ledger.close()


async def test_days_on_which_the_agent_was_off_are_told_by_its_next_start(tmp_path: Path) -> None:
    desk = await Desk(tmp_path / "ledger.sqlite", StillClock()).open(MINUTE_MS, FAST_MS)
    await desk.read(0)
    await desk.read(0, FAST_MS)
    await desk.stop()
    desk.at(4 * 1440 + 0.5)
    await desk.open(MINUTE_MS, FAST_MS)
    with desk.past() as log:
        seen = completeness(log, UTC, "UTC", date(2026, 3, 3), date(2026, 3, 3))
    assert [tally.causes for tally in seen.tallies.values()] == [{"agent_stopped": 8640}, {"agent_stopped": 1440}]
    await desk.ledger.close()


async def test_some_meters_of_many(tmp_path: Path) -> None:
    desk = await Desk(tmp_path / "ledger.sqlite", StillClock()).open(meters=("EM-1", "EM-2", "EM-3"))
    for meter in ("EM-1", "EM-2", "EM-3"):
        await desk.read(0, meter=meter)
    with desk.past() as log:
        seen = completeness(log, UTC, "UTC", FIRST, FIRST, ["EM-3", "EM-1"])
    assert [key[1] for key in seen.tallies] == ["EM-1", "EM-3"]
    assert seen.meters == ["EM-1", "EM-2", "EM-3"]
    await desk.ledger.close()


@pytest.mark.parametrize("seed", range(6))
async def test_a_ledger_that_somebody_edited_is_counted_as_far_as_it_can_be_read(tmp_path: Path, seed: int) -> None:
    day = await lived(tmp_path, seed, 1)
    await day.desk.stop()
    chance = random.Random(seed)
    with contextlib.closing(sqlite3.connect(day.desk.path, isolation_level=None)) as ledger:
        for (name,) in ledger.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            ledger.execute(f"DROP TRIGGER {name}")
        rows = ledger.execute("SELECT n, payload FROM record").fetchall()
        for n, payload in chance.sample(rows, 40):
            at = chance.randrange(len(payload))
            ledger.execute("UPDATE record SET payload = ? WHERE n = ?", (payload[:at] + b"9" + payload[at + 1 :], n))
        ledger.execute("DELETE FROM record WHERE n % 7 = 3")
    with day.desk.past() as log:
        newest = last_day(log, UTC)
        assert newest is not None
        seen = completeness(log, UTC, "UTC", FIRST, date(2026, 3, 3))
        assert seen.total.untold > 0
        assert days_text(seen, UTC)


# --- the page -------------------------------------------------------------------------------------------------


def test_the_page_can_be_read_at_night() -> None:
    gateway = good_gateway()
    gateway.gap("rtu-1", "opened", gateway.due, gateway.due, 1)
    gateway.after(18 * 3600).reading("tcp-2", due=(datetime(2026, 3, 1, 3, tzinfo=UTC)).strftime("%Y-%m-%dT%H:%M:%S.000Z"))
    text = days_text(completeness(gateway.log, SHANGHAI, "Asia/Shanghai", FIRST, date(2026, 3, 2)), SHANGHAI)
    assert text.splitlines() == [
        "plant/gw1: records until 2026-03-02 05:00:00, days of Asia/Shanghai",
        "",
        "DAY         METER      EVERY  READ  DUE       %       MISSED",
        "2026-03-01  rtu-1     15 min    10   64   15.62  LOW  no_answer 54",
        "2026-03-01  tcp-2     15 min    13   13  100.00",
        "2026-03-02  rtu-1     15 min     0   21    0.00  LOW  no_answer 21",
        "",
        "TOTAL       2 meters            23   98   23.46  LOW  no_answer 75",
        "",
        "LOW: 2 of 3 lines are below 90 %, the least that the monitoring of key energy users asks for.",
        "What each cause means and what to do: docs/causes.md",
        "2026-03-02 is counted up to 05:00:00.",
    ]


def test_a_page_of_days_on_which_nothing_was_due_says_so() -> None:
    seen = counted(good_gateway().log, first=date(2027, 1, 1), days=2)
    assert "No poll was due from 2027-01-01 to 2027-01-02, as far as these records tell." in days_text(seen, UTC)
    assert "records until never" in days_text(counted(MemoryLog()), UTC)


def test_the_data_hold_what_the_page_says() -> None:
    fields = counted(good_gateway().log).fields()
    assert fields["days"][0] == {
        "day": "2026-03-01",
        "meter": "rtu-1",
        "every_ms": EVERY_MS,
        "expected": 12,
        "read": 10,
        "missed": {"no_answer": 2},
        "off": 0,
        UNTOLD: 0,
        "completeness_percent": "83.33",
        "low": True,
    }
    assert fields["total"]["expected"] == 24
    assert (fields["gateway"], fields["zone"], fields["first_day"]) == ("plant/gw1", "here", "2026-03-01")


def test_a_step_of_the_clock_stands_below_the_page() -> None:
    gateway = good_gateway()
    gateway.step(-3600)
    text = days_text(counted(gateway.log), UTC)
    assert text.splitlines()[-1] == "The clock was set from 2026-03-01 03:00:00 to 2026-03-01 02:00:00 (record 30)."
