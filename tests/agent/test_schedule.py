"""agent.schedule: when a meter is due."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from agent.schedule import SECOND, first_due, instants_between, next_due

QUARTER = 900 * SECOND


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * SECOND


def test_a_quarter_of_an_hour_begins_at_the_quarters_of_the_clock() -> None:
    assert first_due(QUARTER, at("2026-03-01T10:07:31")) == at("2026-03-01T10:15:00")
    assert first_due(QUARTER, at("2026-03-01T10:15:00")) == at("2026-03-01T10:15:00")
    assert next_due(at("2026-03-01T10:15:00"), QUARTER, at("2026-03-01T10:15:02")) == at("2026-03-01T10:30:00")


def test_whoever_is_late_by_more_than_an_interval_goes_on_with_the_newest_instant() -> None:
    assert next_due(at("2026-03-01T10:15:00"), QUARTER, at("2026-03-01T11:07:00")) == at("2026-03-01T11:00:00")


def test_a_small_backward_step_repeats_no_instant() -> None:
    assert next_due(at("2026-03-01T10:15:00"), QUARTER, at("2026-03-01T10:14:58")) == at("2026-03-01T10:30:00")


@given(every=st.sampled_from([1, 5, 60, 900, 3600]), due=st.integers(10**6, 10**9), late=st.integers(0, 10**13))
def test_the_next_instant_is_aligned_later_and_never_skips_one_that_is_still_ahead(every: int, due: int, late: int) -> None:
    every_ns = every * SECOND
    instant = due * every_ns
    following = next_due(instant, every_ns, instant + late)
    assert following % every_ns == 0
    assert following > instant
    assert following <= max(instant + late, instant + every_ns)


def test_instants_are_counted_from_since_up_to_the_due_one() -> None:
    since = at("2026-03-01T10:15:00")
    assert instants_between(since, at("2026-03-01T11:00:00"), QUARTER) == 3
    assert instants_between(since, since, QUARTER) == 0
    assert instants_between(since, since - QUARTER, QUARTER) == 0
