"""agent.counter and agent.plausible: what a fall or a jump of a counter was, and what it adds."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.counter import Counter, Decision, Stand
from agent.plausible import Limits, is_counter, limits_of
from config.library import read_model
from tests.agent.ledgers import MODEL

QUARTER_MS = 900_000
MODULUS = Decimal("10000.00")
KNOWN = Limits(MODULUS, Decimal(40))  # 10 in a quarter of an hour, and 10 more because a meter's value may be as old as that


def course(limits: Limits, *values: str) -> tuple[Counter, list[Decision]]:
    """What a counter makes of values that are read every quarter of an hour."""
    counter, decisions = Counter(limits), []
    for number, value in enumerate(values):
        at = number * QUARTER_MS
        decision, _ = counter.take(Stand(number, at, at, "b", at, Decimal(value)))
        decisions += [decision] if decision else []
    return counter, decisions


@pytest.mark.parametrize(
    ("limits", "values", "what", "why", "added", "total"),
    [
        (KNOWN, "9998.00 3.00 4.00", "rollover", "passed_modulus", "5.00", "6.00"),
        (KNOWN, "5000.00 3.00 4.00", "reset", "began_at_zero", "3.00", "4.00"),
        (KNOWN, "5000.00 900.00 901.00", "reset", "began_elsewhere", "0", "1.00"),
        (KNOWN, "5000.00 0.00 5001.00", "spurious_zero", "not_confirmed", "0", "1.00"),
        (KNOWN, "5000.00 4711.00 5001.00", "spurious", "not_confirmed", "0", "1.00"),
        (KNOWN, "5000.00 5300.00 5001.00", "spurious", "not_confirmed", "0", "1.00"),
        (KNOWN, "5000.00 5300.00 5301.00", "jump", "faster_than_possible", "0", "1.00"),
        (Limits(MODULUS), "9998.00 3.00 4.00", "rollover", "passed_modulus", "5.00", "6.00"),
        (Limits(MODULUS), "5000.00 3.00 4.00", "reset", "began_elsewhere", "0", "1.00"),
        (Limits(), "9998.00 3.00 4.00", "reset", "began_elsewhere", "0", "1.00"),
    ],
)
def test_a_fall_or_a_jump_is_decided_by_the_next_reading(
    limits: Limits, values: str, what: str, why: str, added: str, total: str
) -> None:
    counter, (decision,) = course(limits, *values.split())
    assert (decision.what, decision.why, decision.added) == (what, why, Decimal(added))
    assert (decision.before.n, decision.after.n, decision.confirmed.n) == (0, 1, 2)
    assert counter.total == Decimal(total)


def test_until_then_nothing_is_counted_and_nothing_decided() -> None:
    counter, decisions = course(KNOWN, "5000.00", "0.00")
    assert (counter.total, decisions) == (0, [])
    assert counter.held


def test_two_wild_readings_in_a_row_are_two_decisions_and_the_level_stays() -> None:
    counter, decisions = course(KNOWN, "5000.00", "0.00", "7777.00", "5003.00")
    assert [decision.what for decision in decisions] == ["spurious_zero", "spurious"]
    assert counter.total == Decimal("3.00")


def test_a_day_without_readings_lets_a_counter_rise_by_a_day() -> None:
    counter = Counter(KNOWN)
    counter.take(Stand(0, 0, 0, "b", 0, Decimal(0)))
    day = 96 * QUARTER_MS
    assert counter.take(Stand(1, day, day, "b", day, Decimal(960)))[0] is None
    assert counter.total == 960


def test_a_clock_that_was_set_lets_no_counter_jump() -> None:
    counter = Counter(KNOWN)
    counter.take(Stand(0, 0, 0, "b", 0, Decimal(0)))
    a_year_ahead = 365 * 96 * QUARTER_MS
    counter.take(Stand(1, a_year_ahead, a_year_ahead, "b", QUARTER_MS, Decimal(5000)))
    assert counter.held


@settings(deadline=None)
@given(st.lists(st.integers(0, 1_000_000).map(lambda cents: Decimal(cents).scaleb(-2)), min_size=1, max_size=30))
def test_whatever_is_read_consumption_never_falls_and_never_exceeds_what_can_flow(values: list[Decimal]) -> None:
    counter = Counter(KNOWN)
    before = counter.total
    for number, value in enumerate(values):
        at = number * QUARTER_MS
        counter.take(Stand(number, at, at, "b", at, value))
        assert counter.total >= before
        before = counter.total
    assert counter.total <= 40 * Decimal(len(values) * QUARTER_MS + len(values) * 900_000) / 3_600_000


# --- limits ---------------------------------------------------------------------------------------------------


def test_a_current_transformer_bounds_the_rise_of_energy() -> None:
    point = read_model(MODEL, "test").declared.point("active_energy_import")
    assert limits_of(point, {"ct": "400/5"}).rate == Decimal("573.672")  # 400 A x 690 V x 1.2 x 1.7321, rounded up
    assert limits_of(point, {"ct": "400/5", "vt": "10000/100"}).rate == Decimal("8314.08")
    assert limits_of(point, {}).rate is None


def test_the_modulus_of_a_meter_counts_behind_the_ratio_that_the_agent_applies() -> None:
    text = (Path(__file__).parents[2] / "config" / "models" / "acrel-dtsd1352.yaml").read_bytes()
    point = read_model(text, "model").declared.point("active_energy_import")
    assert limits_of(point, {"ct": "400/5"}).modulus == Decimal("3435973836.80")
    assert limits_of(point, {"ct": "1"}).modulus == Decimal("42949672.96")


def test_a_pipe_bounds_the_rise_of_volume() -> None:
    text = (Path(__file__).parents[2] / "config" / "models" / "cjt188-water-2004.yaml").read_bytes()
    point = read_model(text, "model").declared.point("volume_forward")
    assert limits_of(point, {"pipe_mm": 50}).rate == Decimal("70.686")
    assert limits_of(point, {}).rate is None


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("active_energy_import", True),
        ("active_energy_import.l1.t2", True),
        ("active_energy_import.m0", False),
        ("voltage.l1", False),
    ],
)
def test_what_a_settlement_day_stood_at_is_no_counter(name: str, counts: bool) -> None:
    assert is_counter(name) is counts


# --- another meter --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("last_of_old", "total"), [("103.00", "5.00"), (None, "2.00"), ("99.00", "2.00"), ("5000.00", "2.00")])
def test_a_counter_goes_on_from_the_last_of_the_old_meter_with_the_first_of_the_new(last_of_old: str | None, total: str) -> None:
    counter = Counter(KNOWN)
    counter.take(Stand(0, 0, 0, "b", 0, Decimal("100.00")))
    noon = QUARTER_MS // 2
    counter.replaced(Stand(1, noon, noon, "b", noon, Decimal("7.00")), Decimal(last_of_old) if last_of_old else None)
    counter.take(Stand(2, QUARTER_MS, QUARTER_MS, "b", QUARTER_MS, Decimal("9.00")))
    assert counter.total == Decimal(total)
