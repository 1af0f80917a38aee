"""agent.clock: moments, stamps and how far the wall clock is believed."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.clock import Clock, ClockSteps, from_stamp, stamp
from tests.agent.gateway import SECOND, START, StillClock


def test_a_moment_has_the_wall_clock_and_the_time_since_boot() -> None:
    before = time.time_ns(), time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    moment = Clock().instant()
    after = time.time_ns(), time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    assert before[0] <= moment.wall_ns <= after[0]
    assert before[1] <= moment.uptime_ns <= after[1]


def test_the_boot_is_named_by_eight_hexadecimal_digits() -> None:
    assert len(bytes.fromhex(Clock().boot)) == 4


def test_the_kernels_error_bound_decides_whether_the_clock_is_believed() -> None:
    trust = Clock().trust()
    assert trust.state in ("synchronized", "unsynchronized", "unknown")
    if trust.error_ms is not None:
        assert (trust.error_ms < 1000) == (trust.state == "synchronized")


def test_a_stamp_is_utc_with_milliseconds_cut_not_rounded() -> None:
    assert stamp(1_772_324_160_123_999_999) == "2026-03-01T00:16:00.123Z"


@given(st.integers(0, 4_102_444_800_000))
def test_a_stamp_reads_back_as_the_same_millisecond(milliseconds: int) -> None:
    assert from_stamp(stamp(milliseconds * 1_000_000)) == milliseconds * 1_000_000


@pytest.mark.parametrize("text", ["", "2026-03-01", "2026-03-01T00:16:00Z", "yesterday"])
def test_anything_else_is_no_stamp(text: str) -> None:
    with pytest.raises(ValueError, match="does not match"):
        from_stamp(text)


def test_a_clock_that_is_set_is_noticed_once_with_the_time_it_would_have_shown() -> None:
    clock = StillClock()
    steps = ClockSteps(clock)
    clock.move(90)
    assert steps.pending() is None
    clock.step(-3600)
    clock.move(5)
    noticed = steps.pending()
    assert noticed is not None
    before, after = noticed
    assert (before.wall_ns, after.wall_ns) == (START + 95 * SECOND, START + (95 - 3600) * SECOND)
    assert before.uptime_ns == after.uptime_ns == clock.uptime_ns
    assert (steps.pending(), steps.count) == (noticed, 0), "until somebody has dealt with it"
    steps.accept(after)
    assert (steps.pending(), steps.count) == (None, 1)


@pytest.mark.parametrize(("seconds", "is_step"), [(1.0, False), (-1.0, False), (1.001, True), (-1.001, True)])
def test_more_than_a_second_is_a_step(seconds: float, is_step: bool) -> None:
    clock = StillClock()
    steps = ClockSteps(clock)
    clock.step(seconds)
    assert (steps.pending() is not None) is is_step


def test_a_clock_that_is_led_to_the_right_time_little_by_little_is_not_set() -> None:
    clock = StillClock()
    steps = ClockSteps(clock)
    for _ in range(10):
        clock.step(0.8)
        assert steps.pending() is None
