"""Counters and closed days from the book to the verifier: what is sealed, what is checked, what consumption comes to."""

from __future__ import annotations

from datetime import UTC, date
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from agent import draft
from agent.consumption import Period, consumption
from agent.consumption_text import consumption_text
from agent.courses import Courses
from tests.agent.both import verify
from tests.agent.counting import MODULUS, Plant, Plate
from tests.agent.gateway import START, StillClock
from tests.agent.heard import Heard

DAY = 96
FIRST = date(2026, 3, 1)


def periods(plant: Plant, first: date, last: date, per: Any = "day", zone: Any = UTC) -> list[Period]:
    with plant.past() as past:
        return consumption(past, [plate.id for plate in plant.plates], zone, first, last, per)


def findings(plant: Plant) -> dict[str, list[str]]:
    with plant.past() as past:
        report = verify(past, key=None)
    return {kind: [str(each) for each in found] for kind, found in report.findings.kept.items()}


async def plant_of(folder: Path, *plates: Plate, zone: str = "UTC", begin_ns: int = START) -> Plant:
    return await Plant(folder / "ledger.sqlite", [*plates], zone, StillClock(begin_ns - 300_000_000_000)).begin("first")


async def test_a_day_is_closed_from_midnight_to_midnight_with_what_truly_flowed(tmp_path: Path) -> None:
    plate = Plate("EM-1", "1", "400/5", register=1000)
    plant = await plant_of(tmp_path, plate)
    await plant.quarter(0)
    for quarter in range(2 * DAY):
        await plant.quarter(quarter % 7)
    await plant.end()
    days = plant.records("day")
    assert [(day["day"], day["expected"], day["actual"]) for day in days] == [
        ("2026-02-28", 0, 0),
        ("2026-03-01", 96, 96),
        ("2026-03-02", 96, 96),
    ]
    (closed,) = days[1]["counters"]
    assert closed["consumption"] == f"{80 * sum(quarter % 7 for quarter in range(DAY)) / 100:.2f}"
    assert (closed["opening"]["away_ms"], closed["closing"]["away_ms"]) == (300, 300)
    assert findings(plant) == {}
    told = periods(plant, FIRST, date(2026, 3, 2))
    assert [Decimal(each.consumption) for each in told] == [
        plate.kwh(sum(quarter % 7 for quarter in range(day * DAY, (day + 1) * DAY))) for day in (0, 1)
    ]
    assert all(each.complete for each in told)


async def test_days_that_passed_while_the_agent_was_off_are_closed_at_its_start(
    tmp_path: Path,
) -> None:
    plant = await plant_of(tmp_path, Plate("EM-1", "1", "400/5"))
    for _ in range(50):
        await plant.quarter(3)
    await plant.end()
    plant.clock.move(3 * 86_400)
    await plant.begin("stop")
    plant.plates[0].count(288)
    await plant.quarter(3)
    await plant.end()
    days = plant.records("day")
    assert [day["day"] for day in days] == ["2026-02-28", "2026-03-01", "2026-03-02", "2026-03-03"]
    assert [day["actual"] for day in days[1:]] == [50, 0, 0]
    assert [each["counters"][0]["consumption"] for each in days[2:]] == ["0.00", "0.00"]
    assert days[2]["counters"][0]["closing"]["away_ms"] > 86_400_000
    assert findings(plant) == {}
    text = consumption_text(periods(plant, FIRST, date(2026, 3, 4)), UTC, "UTC")
    assert "NOT EXACT" in text
    assert "the next one, record" in text


async def test_the_days_of_a_change_to_summer_time_have_23_and_25_hours(tmp_path: Path) -> None:
    for begin, day, quarters in ((1_774_652_400, "2026-03-29", 92), (1_792_792_800, "2026-10-25", 100)):
        folder = tmp_path / day
        folder.mkdir()
        plant = await plant_of(folder, Plate("EM-1", "1", "400/5"), zone="Europe/Berlin", begin_ns=begin * 1_000_000_000)
        for _ in range(3 * DAY):
            await plant.quarter(2)
        await plant.end()
        closed = {each["day"]: each for each in plant.records("day")}
        assert (closed[day]["expected"], closed[day]["actual"]) == (quarters, quarters)
        assert closed[day]["counters"][0]["consumption"] == f"{quarters * 2 * 80 / 100:.2f}"
        assert findings(plant) == {}
        (told,) = periods(plant, date.fromisoformat(day), date.fromisoformat(day), zone=ZoneInfo("Europe/Berlin"))
        assert (told.consumption, told.complete) == (closed[day]["counters"][0]["consumption"], True)


async def test_a_rollover_a_reset_and_a_spurious_zero_are_sealed_and_nothing_is_lost_or_invented(
    tmp_path: Path, heard: Heard
) -> None:
    plate = Plate("EM-1", "1", "400/5", register=MODULUS - 10)
    plant = await plant_of(tmp_path, plate)
    for _ in range(5):
        await plant.quarter(7)  # over the modulus
    await plant.quarter(7, shown=0)
    for _ in range(5):
        await plant.quarter(7)
    plate.register = 0  # somebody sets it to 0, right after a reading
    for _ in range(90):
        await plant.quarter(7)
    await plant.end()
    decided = [(each["decision"], each["added"]) for each in plant.records("counter")]
    assert decided == [("rollover", "5.60"), ("spurious_zero", "0"), ("reset", "5.60")]
    told = [event for event in plant.told if event["event"] == "counter.decided"]
    assert [event["decision"] for event in told] == [what for what, _ in decided]
    for event in told:
        heard.tells(event, "MS-306")
    assert findings(plant) == {}
    (day,) = periods(plant, FIRST, FIRST)
    assert day.consumption == f"{96 * 7 * 80 / 100:.2f}"
    assert [what for _, what in day.decisions] == ["rollover", "spurious_zero", "reset"]
    assert plant.records("day")[-1]["resets"] == 1


async def test_what_the_agent_had_held_back_is_decided_after_a_crash_in_between(tmp_path: Path) -> None:
    plate = Plate("EM-1", "1", "400/5", register=1000)
    plant = await plant_of(tmp_path, plate)
    for _ in range(DAY + 5):
        await plant.quarter(7)
    await plant.quarter(7, shown=0)
    await plant.ledger.close()
    await plant.begin("crash")
    for _ in range(DAY):
        await plant.quarter(7)
    await plant.end()
    assert [each["decision"] for each in plant.records("counter")] == ["spurious_zero"]
    assert findings(plant) == {}


# --- corrections ----------------------------------------------------------------------------------------------


async def test_a_correction_of_a_ratio_changes_what_is_computed_and_nothing_that_was_read(tmp_path: Path) -> None:
    plant = await plant_of(tmp_path, Plate("EM-1", "1", "400/5"))
    await plant.quarter(0)
    for _ in range(2 * DAY):
        await plant.quarter(1)
    before = [each.consumption for each in periods(plant, FIRST, date(2026, 3, 2))]
    fields = {"meter": {"id": "EM-1"}, "from": "2026-03-02T00:00:00.001Z", "to": "2026-03-04T00:00:00.000Z", "what": "ct"}
    fields |= {"old": "400/5", "new": "200/5", "reason": "plate misread", "who": "wang.li", "account": "root"}
    await plant.ledger.append(draft.by_person(plant.clock, "correction", fields))
    await plant.end()
    after = periods(plant, FIRST, date(2026, 3, 2))
    assert [each.consumption for each in after] == [before[0], "38.40"]
    assert after[1].uncorrected == before[1] == "76.80"
    assert "76.80 kWh as it was read" in consumption_text(after, UTC, "UTC")
    assert "ct 400/5 is 200/5: plate misread (wang.li)" in consumption_text(after, UTC, "UTC")
    assert findings(plant) == {}


# --- what verify finds ----------------------------------------------------------------------------------------


async def falling(folder: Path) -> Plant:
    plate = Plate("EM-1", "1", "400/5", register=1000)
    plant = await plant_of(folder, plate)
    for _ in range(10):
        await plant.quarter(7)
    return plant


async def test_a_fall_that_nobody_decides_is_a_finding(tmp_path: Path) -> None:
    plant = await falling(tmp_path)
    plant.ledger.follow = None
    await plant.quarter(7, shown=0)
    for _ in range(3):
        await plant.quarter(7)
    await plant.end()
    assert set(findings(plant)) == {"COUNTER"}
    assert "spurious_zero" in findings(plant)["COUNTER"][0]


@pytest.mark.parametrize(
    ("name", "value"),
    [("decision", "reset"), ("added", "1000.00"), ("why", "began_at_zero"), ("after", {"n": 4, "value": "1.00"})],
)
async def test_a_decision_that_says_otherwise_is_a_finding(tmp_path: Path, name: str, value: Any) -> None:
    plant = await falling(tmp_path)
    follow = plant.ledger.follow
    assert follow
    plant.ledger.follow = lambda record: [{**each, name: value} for each in follow(record)]
    await plant.quarter(7, shown=0)
    await plant.quarter(7)
    await plant.end()
    assert set(findings(plant)) == {"COUNTER"}
    assert f"states {name} " in findings(plant)["COUNTER"][0]


BOUND = {"n": 2, "value": "1.00", "away_ms": 0}
CHANGES: list[tuple[str, Any]] = [
    ("consumption", "12345.00"),
    ("opening", BOUND),
    ("closing", BOUND),
    ("expected", 95),
    ("actual", 97),
    ("resets", 1),
    ("from", "2026-02-28T23:00:00.000Z"),
    ("from", "0001-01-01T00:00:00.000Z"),
    ("to", "9999-12-31T23:59:59.999Z"),
    ("to", "0001-01-01T00:00:00.000Z"),
    ("day", "2026-03-02"),
    ("zone", "Asia/Shanghai"),
    ("zone", "../etc/passwd"),
]


@pytest.mark.parametrize(("name", "value"), CHANGES)
async def test_a_day_that_says_otherwise_is_a_finding(tmp_path: Path, name: str, value: Any) -> None:
    class Lying(Courses):
        def due_days(self, *args: Any, **options: Any) -> list[dict[str, Any]]:
            drafts = super().due_days(*args, **options)
            for each in drafts:
                of = each["counters"][0] if name in ("consumption", "opening", "closing") else each
                of[name] = value
            return drafts

    path = tmp_path / "ledger.sqlite"
    plant = await Plant(path, [Plate("EM-1", "1", "400/5", 1000)], clock=StillClock(START), of_courses=Lying).begin("first")
    for _ in range(DAY):
        await plant.quarter(7)
    await plant.end()
    assert set(findings(plant)) == {"DAY"}


async def test_a_day_that_is_left_out_and_days_that_are_not_closed_any_more_are_findings(tmp_path: Path) -> None:
    plant = await falling(tmp_path)
    close = plant.closing.close

    async def nothing() -> None:
        return None

    plant.closing.close = nothing  # type: ignore[method-assign]  # nobody closes days for a while
    for _ in range(2 * DAY + 30):
        await plant.quarter(7)
    assert set(findings(plant)) == {"DAY"}
    assert "was never closed" in findings(plant)["DAY"][0]
    course = plant.courses.of("EM-1")
    course.closed_to = (course.closed_to or 0) + 86_400_000
    plant.closing.close = close  # type: ignore[method-assign]  # again
    await plant.quarter(7)
    await plant.end()
    assert any("days are left out" in each for each in findings(plant)["DAY"])


# --- another meter in the same place --------------------------------------------------------------------------


async def test_a_replacement_of_which_nobody_read_the_displays_begins_another_series_and_the_sum_says_so(tmp_path: Path) -> None:
    plate = Plate("EM-1", "1", "400/5", register=1000)
    plant = await plant_of(tmp_path, plate)
    for _ in range(41):
        await plant.quarter(5)
    fields = {"meter": {"id": "EM-1"}, "old": "1", "new": "2", "last": [], "first": [], "reason": "dead"}
    fields |= {"who": "wang.li", "account": "root"}
    await plant.ledger.append(draft.by_person(plant.clock, "replacement", fields))
    await plant.end()
    plate.serial, plate.register = "2", 70
    await plant.begin("stop")
    for _ in range(DAY - 40):
        await plant.quarter(5)
    await plant.end()
    assert findings(plant) == {}
    (day,) = periods(plant, FIRST, FIRST)
    assert day.consumption == f"{95 * 5 * 80 / 100:.2f}"  # nothing between the last of the old and the first of the new
    assert (day.complete, len(day.series)) == (False, 1)
    assert "the meter was replaced: record" in consumption_text([day], UTC, "UTC")
    assert "nothing is counted across it" in consumption_text([day], UTC, "UTC")


async def test_a_ratio_that_is_declared_anew_lets_the_counter_go_on(tmp_path: Path) -> None:
    plate = Plate("EM-1", "1", "400/5", register=1000)
    plant = await plant_of(tmp_path, plate)
    for _ in range(41):
        await plant.quarter(5)
    await plant.end()
    plate.ct = "200/5"
    await plant.begin("stop")
    for _ in range(DAY - 40):
        await plant.quarter(5)
    await plant.end()
    assert findings(plant) == {}
    assert plant.records("counter") == []
    (day,) = periods(plant, FIRST, FIRST)
    assert day.consumption == f"{(40 * 80 + 56 * 40) * 5 / 100:.2f}"
