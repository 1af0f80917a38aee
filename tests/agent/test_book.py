"""agent.book: every poll that was due ends in a sealed reading or inside a sealed gap."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from agent.clock import stamp
from agent.reading import Reading, Value
from tests.agent.desk import EVERY_MS, FAST_MS, MINUTE, QUESTION, Desk
from tests.agent.gateway import SECOND, START, StillClock
from tests.agent.heard import Heard


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    made = await Desk(tmp_path / "ledger.sqlite", StillClock()).open()
    yield made
    await made.ledger.close()


# --- readings and gaps ----------------------------------------------------------------------------------------


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
    assert opened["frames"] == [{"request": QUESTION.hex(), "answer": "", "ms": 0, "fault": "no_answer"}]


async def test_expected_polls_are_readings_plus_missed_ones(desk: Desk) -> None:
    told = {0: "read", 1: "miss", 2: "read", 5: "read", 6: "miss", 9: "miss", 12: "read"}
    for minute, what in told.items():
        await (desk.read(minute) if what == "read" else desk.miss(minute))
    total = desk.account()["EM-1"].total
    assert (total.read, total.causes, total.expected) == (4, {"no_answer": 7, "overrun": 2}, 13)


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


async def test_an_instant_that_is_missed_for_two_reasons_keeps_the_first(desk: Desk) -> None:
    await desk.miss(0, "no_answer")
    await desk.miss(0, "connection_lost")
    await desk.read(1)
    assert desk.summary() == [("opened", "no_answer", 0, 0, 1), ("closed", "no_answer", 0, 1, 1), ("reading", 1)]


async def test_a_meter_that_comes_back_in_time_for_the_instant_of_its_gap_has_missed_none(desk: Desk) -> None:
    await desk.read(0)
    await desk.miss(1)
    desk.clock.move(20)
    await desk.answered(1)
    assert desk.summary() == [
        ("reading", 0),
        ("opened", "no_answer", 1, 1, 1),
        ("closed", "no_answer", 1, 1, 0),
        ("reading", 1),
    ]
    total = desk.account()["EM-1"].total
    assert (total.read, total.expected) == (2, 2)


async def test_a_meter_that_comes_back_for_a_later_instant_of_its_gap_has_missed_those_before(desk: Desk) -> None:
    for minute in range(3):
        await desk.miss(minute)
    desk.clock.move(20)
    await desk.answered(2)
    assert desk.summary()[1:] == [("closed", "no_answer", 0, 2, 2), ("reading", 2)]
    assert desk.account()["EM-1"].total.expected == 3


async def test_no_instant_is_sealed_twice(desk: Desk) -> None:
    await desk.read(1)
    await desk.answered(1)
    await desk.answered(0)
    await desk.miss(1)
    assert desk.summary() == [("reading", 1)]


async def test_instants_nobody_tried_are_counted_as_overrun(desk: Desk) -> None:
    await desk.read(0)
    await desk.read(4)
    assert desk.summary() == [("reading", 0), ("opened", "overrun", 1, 4, 3), ("closed", "overrun", 1, 4, 3), ("reading", 4)]
    assert ("meter.overrun", 3) in [(event["event"], event.get("missed")) for event in desk.told]


async def test_instants_nobody_tried_before_a_silence_are_a_gap_of_their_own(desk: Desk) -> None:
    await desk.read(0)
    await desk.miss(3)
    assert desk.summary()[1:] == [
        ("opened", "overrun", 1, 3, 2),
        ("closed", "overrun", 1, 3, 2),
        ("opened", "no_answer", 3, 3, 1),
    ]


async def test_a_gap_still_open_counts_up_to_the_ledgers_last_time(tmp_path: Path) -> None:
    desk = await Desk(tmp_path / "ledger.sqlite", StillClock()).open(meters=("EM-1", "EM-2"))
    await desk.miss(0)
    for minute in range(8):
        await desk.read(minute, meter="EM-2")
    assert desk.account()["EM-1"].total.causes == {"no_answer": 8}
    assert desk.account()["EM-1"].gap_open
    desk.at(9.5)
    await desk.stop()
    assert desk.account()["EM-1"].total.causes == {"no_answer": 10}


async def test_two_schedules_of_a_meter_are_accounted_for_apart(tmp_path: Path) -> None:
    desk = await Desk(tmp_path / "ledger.sqlite", StillClock()).open(EVERY_MS, FAST_MS)
    await desk.read(0)
    await desk.read(0, FAST_MS)
    await desk.miss(1 / 6, every_ms=FAST_MS)
    await desk.read(1)
    await desk.read(1, FAST_MS)
    await desk.miss(2)
    await desk.read(2, FAST_MS)
    assert desk.summary() == [("reading", 0), ("reading", 1), ("opened", "no_answer", 2, 2, 1)]
    assert desk.summary(FAST_MS)[2][-1] == 5
    account = desk.account()["EM-1"]
    assert (account.schedules[EVERY_MS].read, account.schedules[EVERY_MS].expected) == (2, 3)
    assert (account.schedules[FAST_MS].read, account.schedules[FAST_MS].causes) == (3, {"no_answer": 5, "overrun": 5})
    assert [fields["meter"]["count"] for fields in desk.records()] == list(range(10))
    await desk.ledger.close()


# --- restarts -------------------------------------------------------------------------------------------------


async def test_the_time_the_agent_was_off_is_a_gap_that_is_sealed_when_it_begins(desk: Desk) -> None:
    await desk.read(0)
    desk.at(2.5)
    await desk.stop()
    desk.at(10.5)
    await desk.open()
    assert desk.summary()[1:] == [("opened", "agent_stopped", 1, 11, 10), ("closed", "agent_stopped", 1, 11, 10)]
    await desk.read(11)
    assert desk.account()["EM-1"].total.off == 10


async def test_an_agent_that_was_killed_before_it_had_sealed_the_hole_seals_it_when_the_meter_is_told_of(desk: Desk) -> None:
    await desk.read(0)
    await desk.miss(1)
    await desk.stop()
    for minute in (3.5, 5.5):
        desk.at(minute)
        await desk.ledger.close()
        await desk.open(begin=False)
    await desk.read(7)
    assert desk.summary()[2:] == [
        ("closed", "no_answer", 1, 2, 1),
        ("opened", "agent_stopped", 2, 7, 5),
        ("closed", "agent_stopped", 2, 7, 5),
        ("reading", 7),
    ]
    assert desk.account()["EM-1"].total.expected == 8


async def test_each_start_seals_the_hole_before_it_although_no_meter_was_told_of_between(desk: Desk) -> None:
    await desk.read(0)
    await desk.ledger.close()
    desk.at(4.5)
    await desk.open()
    await desk.ledger.close()
    desk.at(9.5)
    await desk.open()
    await desk.read(12)
    assert desk.summary()[1:] == [
        ("opened", "agent_stopped", 1, 5, 4),
        ("closed", "agent_stopped", 1, 5, 4),
        ("opened", "agent_stopped", 5, 10, 5),
        ("closed", "agent_stopped", 5, 10, 5),
        ("opened", "agent_stopped", 10, 12, 2),
        ("closed", "agent_stopped", 10, 12, 2),
        ("reading", 12),
    ]
    assert desk.account()["EM-1"].total.expected == 13


async def test_a_restart_between_two_instants_leaves_no_trace_in_the_account(desk: Desk) -> None:
    await desk.read(0)
    desk.at(0.4)
    await desk.stop()
    desk.at(0.6)
    await desk.open()
    await desk.read(1)
    assert desk.summary() == [("reading", 0), ("reading", 1)]


async def test_a_gap_that_was_open_ends_where_the_agent_did(desk: Desk) -> None:
    await desk.read(0)
    await desk.miss(1)
    desk.at(3.5)
    await desk.stop()
    desk.at(7.5)
    await desk.open()
    await desk.miss(8)
    await desk.read(9)
    assert desk.summary() == [
        ("reading", 0),
        ("opened", "no_answer", 1, 1, 1),
        ("closed", "no_answer", 1, 4, 3),
        ("opened", "agent_stopped", 4, 8, 4),
        ("closed", "agent_stopped", 4, 8, 4),
        ("opened", "no_answer", 8, 8, 1),
        ("closed", "no_answer", 8, 9, 1),
        ("reading", 9),
    ]
    assert desk.account()["EM-1"].total.causes == {"no_answer": 4, "agent_stopped": 4}


async def test_after_a_crash_a_gap_ends_with_the_last_time_that_the_ledger_knows(tmp_path: Path) -> None:
    desk = await Desk(tmp_path / "ledger.sqlite", StillClock()).open(meters=("EM-1", "EM-2"))
    await desk.miss(0)
    for minute in range(3):
        await desk.read(minute, meter="EM-2")
    await desk.ledger.close()
    desk.at(5.5)
    await desk.open(meters=("EM-1", "EM-2"))
    await desk.miss(6)
    assert desk.summary() == [
        ("opened", "no_answer", 0, 0, 1),
        ("closed", "no_answer", 0, 3, 3),
        ("opened", "agent_stopped", 3, 6, 3),
        ("closed", "agent_stopped", 3, 6, 3),
        ("opened", "no_answer", 6, 6, 1),
    ]
    assert desk.account()["EM-1"].total.expected == 7
    await desk.ledger.close()


async def test_an_interval_that_was_changed_at_a_restart_is_accounted_for_on_both_sides(desk: Desk) -> None:
    await desk.read(0)
    await desk.miss(1)
    desk.at(2.5)
    await desk.stop()
    desk.at(5.5)
    await desk.open(FAST_MS)
    assert desk.summary()[2:] == [
        ("closed", "no_answer", 1, 3, 2),
        ("opened", "agent_stopped", 3, 6, 3),
        ("closed", "agent_stopped", 3, 6, 3),
        ("opened", "taken_out", 6, 6, 0),
        ("closed", "taken_out", 6, 6, 0),
    ]
    await desk.read(6, FAST_MS)
    account = desk.account()["EM-1"]
    assert (account.schedules[EVERY_MS].expected, account.schedules[FAST_MS].expected) == (6, 1)
    assert not account.gap_open


async def test_an_interval_that_comes_back_begins_anew(desk: Desk) -> None:
    await desk.read(0)
    desk.at(0.5)
    for intervals in ((FAST_MS,), (FAST_MS,), (EVERY_MS,)):
        await desk.stop()
        desk.clock.move(3600)
        await desk.open(*intervals)
    await desk.read(200)
    assert [row for row in desk.summary() if row[1] == "taken_out"] == [
        ("opened", "taken_out", 61, 61, 0),
        ("closed", "taken_out", 61, 61, 0),
    ]
    assert desk.account()["EM-1"].schedules[EVERY_MS].causes == {"agent_stopped": 60}


async def test_a_meter_that_is_taken_out_of_the_site_leaves_no_gap_open(tmp_path: Path) -> None:
    desk = await Desk(tmp_path / "ledger.sqlite", StillClock()).open(meters=("EM-1", "EM-2"), serial="0077")
    await desk.miss(0)
    await desk.read(0, meter="EM-2")
    for minute in (5.5, 9.5):
        desk.at(minute)
        await desk.stop()
        await desk.open(meters=("EM-2",), serial="0077")
    assert desk.summary()[1:] == [
        ("closed", "no_answer", 0, 6, 6),
        ("opened", "taken_out", 6, 6, 0),
        ("closed", "taken_out", 6, 6, 0),
    ]
    desk.clock.move(86_400)
    await desk.read(1500, meter="EM-2")
    account = desk.account()["EM-1"]
    assert (account.total.expected, account.gap_open) == (6, False)
    await desk.stop()
    await desk.open(meters=("EM-1", "EM-2"), serial="0077")
    await desk.read(1502)
    assert desk.account()["EM-1"].total.expected == 7
    await desk.ledger.close()


async def test_counts_of_a_meter_have_no_holes_over_restarts(desk: Desk) -> None:
    await desk.read(0)
    await desk.miss(1)
    await desk.ledger.close()
    await desk.open()
    await desk.read(2)
    assert [fields["meter"]["count"] for fields in desk.records()] == list(range(4))


async def test_a_clock_that_was_set_back_while_the_agent_was_off_lets_the_schedule_begin_anew(desk: Desk) -> None:
    desk.at(60)
    await desk.read(60)
    await desk.miss(61)
    desk.at(62.5)
    await desk.stop()
    desk.clock.step(-3600)
    await desk.open()
    desk.clock.move(30)
    await desk.answered(3)
    assert desk.summary() == [
        ("reading", 60),
        ("opened", "no_answer", 61, 61, 1),
        ("clock", -3600),
        ("closed", "no_answer", 61, 63, 2),
        ("reading", 3),
    ]
    assert desk.account()["EM-1"].total.expected == 4


async def test_a_machine_without_battery_begins_in_the_past_and_is_set_later(desk: Desk) -> None:
    await desk.read(0)
    await desk.miss(1)
    await desk.ledger.close()
    desk.clock.boot, desk.clock.uptime_ns = "00000001", 20 * SECOND
    desk.clock.wall_ns = START - 1_000_000 * MINUTE + 30 * SECOND
    await desk.open()
    await desk.read(-999_999)
    desk.clock.step(60 * 1_000_099.5)
    assert await desk.book.clock_was_set()
    await desk.read(102)
    assert desk.summary() == [
        ("reading", 0),
        ("opened", "no_answer", 1, 1, 1),
        ("closed", "no_answer", 1, 2, 1),
        ("reading", -999_999),
        ("clock", 60 * 1_000_099 + 30),
        ("opened", "overrun", 101, 102, 1),
        ("closed", "overrun", 101, 102, 1),
        ("reading", 102),
    ]
    assert desk.account()["EM-1"].total.expected == 5


# --- the clock is set -----------------------------------------------------------------------------------------


async def test_a_clock_set_forward_closes_the_open_gap_by_the_old_time_and_begins_anew(desk: Desk, heard: Heard) -> None:
    await desk.read(0)
    await desk.miss(1)
    desk.at(3.5)
    desk.clock.step(3600)
    assert await desk.book.clock_was_set()
    assert not await desk.book.clock_was_set()
    await desk.read(64)
    assert desk.summary() == [
        ("reading", 0),
        ("opened", "no_answer", 1, 1, 1),
        ("closed", "no_answer", 1, 4, 3),
        ("clock", 3600),
        ("reading", 64),
    ]
    closed = next(fields for fields in desk.records() if fields.get("state") == "closed")
    assert closed["time"] == stamp(START + 7 * MINUTE // 2), "stamped by the old time"
    heard.tells(next(event for event in desk.told if event["event"] == "clock.set"), "MS-601")
    assert desk.account()["EM-1"].total.expected == 5


async def test_a_clock_set_back_lets_the_same_instants_be_told_again(desk: Desk) -> None:
    for minute in range(61, 65):
        await desk.read(minute)
    await desk.miss(65)
    desk.at(65.5)
    desk.clock.step(-180)
    assert await desk.book.clock_was_set()
    for minute in (63, 64, 65):
        await desk.read(minute)
    assert desk.summary()[4:] == [
        ("opened", "no_answer", 65, 65, 1),
        ("closed", "no_answer", 65, 66, 1),
        ("clock", -180),
        ("reading", 63),
        ("reading", 64),
        ("reading", 65),
    ]
    assert desk.account()["EM-1"].total.expected == 8


async def test_polls_under_way_when_the_clock_is_set_are_missing_by_that(desk: Desk) -> None:
    await desk.read(0)
    desk.at(2.5)
    epoch = desk.book.steps.count
    desk.clock.step(3600)
    await desk.answered(2, epoch=epoch)
    await desk.answered(2, epoch=epoch)
    await desk.read(63)
    assert desk.summary() == [
        ("reading", 0),
        ("opened", "clock_set", 1, 3, 2),
        ("closed", "clock_set", 1, 3, 2),
        ("clock", 3600),
        ("reading", 63),
    ]
    assert desk.account()["EM-1"].total.causes == {"clock_set": 2}


async def test_a_clock_that_is_set_before_anything_was_told_since_the_start_keeps_the_cause_of_the_hole(desk: Desk) -> None:
    await desk.read(0)
    await desk.ledger.close()
    desk.at(2.5)
    await desk.open()
    desk.at(3.5)
    desk.clock.step(60)
    assert await desk.book.clock_was_set()
    assert [row[1:] for row in desk.summary() if row[0] == "closed"] == [("agent_stopped", 1, 3, 2), ("agent_stopped", 3, 4, 1)]


async def test_all_schedules_of_all_meters_are_closed_before_one_record_of_the_step(tmp_path: Path) -> None:
    desk = await Desk(tmp_path / "ledger.sqlite", StillClock()).open(EVERY_MS, FAST_MS, meters=("EM-1", "EM-2"))
    for meter in ("EM-1", "EM-2"):
        await desk.miss(0, meter=meter)
        await desk.miss(0, every_ms=FAST_MS, meter=meter)
    desk.at(0.45)
    desk.clock.step(-3600)
    assert await desk.book.clock_was_set()
    kinds = [(fields["kind"], fields.get("state")) for fields in desk.records()]
    assert kinds == [("gap", "opened")] * 4 + [("gap", "closed")] * 4 + [("clock", None)]
    assert all(account.total.expected == 4 and not account.gap_open for account in desk.account().values())
    await desk.ledger.close()


async def test_a_step_to_just_behind_an_instant_loses_no_instant_by_the_milliseconds_that_records_cut(desk: Desk) -> None:
    """The step's record says 01:00:00.000, so the instant 01:00 is due, although the clock showed some microseconds more."""
    await desk.read(0)
    desk.at(0.5)
    desk.clock.step(3570)
    desk.clock.wall_ns += 400_000
    assert await desk.book.clock_was_set()
    await desk.read(61)
    assert desk.summary()[1:] == [
        ("clock", 3570),
        ("opened", "overrun", 60, 61, 1),
        ("closed", "overrun", 60, 61, 1),
        ("reading", 61),
    ]
    desk.account()


@pytest.mark.parametrize("seconds", [3600, -3600])
async def test_a_restart_right_after_the_clock_was_set_goes_on_by_the_new_time(desk: Desk, seconds: int) -> None:
    desk.at(90)
    await desk.read(90)
    await desk.miss(91)
    desk.at(91.5)
    desk.clock.step(seconds)
    assert await desk.book.clock_was_set()
    now = 91.5 + seconds / 60
    for minute in (now + 2, now + 4):
        await desk.ledger.close()
        desk.at(minute)
        await desk.open()
    await desk.read(now + 5.5)
    total = desk.account()["EM-1"].total
    assert (total.read, total.causes) == (2, {"no_answer": 1, "agent_stopped": 5})


@pytest.mark.parametrize("seconds", [3600, -3600])
async def test_a_step_that_only_the_ledger_noticed_ends_an_open_gap_by_the_old_time(desk: Desk, seconds: int) -> None:
    """The clock was set, and the agent was stopped before any poll came up."""
    desk.at(90)
    await desk.miss(90)
    desk.at(92.5)
    desk.clock.step(seconds)
    await desk.stop()
    now = 92.5 + seconds / 60
    desk.at(now + 3)
    await desk.open()
    await desk.read(now + 3.5)
    assert desk.summary() == [
        ("opened", "no_answer", 90, 90, 1),
        ("clock", seconds),
        ("closed", "no_answer", 90, 93, 3),
        ("opened", "agent_stopped", now + 0.5, now + 3.5, 3),
        ("closed", "agent_stopped", now + 0.5, now + 3.5, 3),
        ("reading", now + 3.5),
    ]
    assert desk.account()["EM-1"].total.expected == 7


async def test_a_clock_that_is_led_gently_is_not_set(desk: Desk) -> None:
    for minute in range(10):
        await desk.read(minute)
        desk.clock.step(0.9)
    assert not await desk.book.clock_was_set()
    assert desk.account()["EM-1"].total.expected == 10


# --- whose numbers --------------------------------------------------------------------------------------------


async def test_the_first_serial_number_read_is_taken_and_another_one_is_not(desk: Desk) -> None:
    assert await desk.book.identified("EM-1", "21012345", "0@3:u32be", (), "register")
    await desk.read(0)
    assert not await desk.book.identified("EM-1", "99999999", "0@3:u32be", (), "register")
    assert not await desk.book.identified("EM-1", "99999999", "0@3:u32be", (), "register")
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


async def test_a_number_that_stands_in_every_frame_is_stated_so(desk: Desk) -> None:
    assert await desk.book.identified("EM-1", "21012345", "0@3:u32be", (), "frame")
    await desk.read(0)
    assert desk.records()[-1]["meter"]["serial_from"] == "frame"


async def test_a_number_in_the_frames_that_is_the_address_leaves_the_plates_number(tmp_path: Path) -> None:
    desk = await Desk(tmp_path / "ledger.sqlite", StillClock()).open(serial="EM-77")
    assert await desk.book.own_number("EM-1", "000001", "0@3:u32be", (), "1")
    await desk.read(0)
    assert (desk.records()[-1]["meter"]["serial"], desk.records()[-1]["meter"]["serial_from"]) == ("EM-77", "plate")
    assert not await desk.book.own_number("EM-1", "000002", "0@3:u32be", (), "1")
    await desk.ledger.close()


async def test_an_exchanged_meter_stays_refused_after_a_restart(desk: Desk) -> None:
    assert await desk.book.identified("EM-1", "21012345", "0@3:u32be", (), "register")
    assert not await desk.book.identified("EM-1", "99999999", "0@3:u32be", (), "register")
    await desk.ledger.close()
    await desk.open()
    assert not await desk.book.identified("EM-1", "99999999", "0@3:u32be", (), "register")
    assert await desk.book.identified("EM-1", "21012345", "0@3:u32be", (), "register")


async def test_leading_zeros_on_the_plate_do_not_make_another_meter(tmp_path: Path) -> None:
    desk = await Desk(tmp_path / "ledger.sqlite", StillClock()).open(serial="0021012345")
    assert await desk.book.identified("EM-1", "21012345", "0@3:u32be", (), "register")
    await desk.read(0)
    assert desk.records()[-1]["meter"]["serial"] == "0021012345"
    await desk.ledger.close()


# --- what cannot be sealed ------------------------------------------------------------------------------------


async def test_a_reading_that_is_no_record_is_told_and_becomes_part_of_a_gap(desk: Desk) -> None:
    await desk.read(0)
    moment = desk.clock.instant()
    value = Value("active_energy_import", "kWh", "not digits", "0@0:u8", "good", "")
    await desk.book.taken(Reading("EM-1", EVERY_MS, START + MINUTE, moment, (), (value,)))
    await desk.read(2)
    assert desk.summary()[1] == ("opened", "refused_by_ledger", 1, 2, 1)
    assert "ledger.refused" in [event["event"] for event in desk.told]


async def test_a_ledger_that_cannot_be_written_is_told_once_and_the_agent_goes_on(desk: Desk, heard: Heard) -> None:
    await desk.read(0)
    await desk.ledger.close()
    for minute in range(1, 4):
        await desk.read(minute)
    (told,) = desk.told
    assert told["event"] == "ledger.failed"
    heard.tells(told, "MS-401")


async def test_a_full_disk_is_told_in_words_and_with_its_code(small_disk: Path, heard: Heard) -> None:
    desk = await Desk(small_disk / "ledger.sqlite", StillClock()).open()
    with (small_disk / "ballast").open("wb", buffering=0) as ballast, suppress(OSError):
        while True:
            ballast.write(bytes(4096))
    for minute in range(200):
        await desk.read(minute)
        if desk.told:
            break
    (told,) = desk.told
    assert "Free space" in told["hint"]
    heard.tells(told, "MS-401")
    await desk.ledger.close()
