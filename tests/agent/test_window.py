"""agent.window, ranges, lane, backlog_pace and pause: nothing is passed over, and no attempt waits too long."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent.backlog_pace import BacklogPace
from agent.lane import Lane
from agent.mqtt import Message
from agent.pause import LONGEST, Pause
from agent.ranges import Ranges
from agent.window import Parcel, Recent, Window

ANY = Message("t", b"", "text/plain")


# --- which records somebody has --------------------------------------------------------------------------------------


@given(st.integers(0, 20), st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40))))
def test_ranges_hold_exactly_the_numbers_that_were_added(cursor: int, spans: list[tuple[int, int]]) -> None:
    has, model = Ranges(cursor), set(range(cursor))
    for first, stop in spans:
        has.add(first, stop)
        model |= set(range(first, stop))
    first_missing = next(n for n in range(99) if n not in model)
    assert [n for n in range(60) if n in has] == sorted(model)
    assert has.cursor == first_missing
    assert [has.missing(n) for n in range(50)] == [next(m for m in range(n, 99) if m not in model) for n in range(50)]
    assert [n for first, stop in has.ahead for n in range(first, stop)] == sorted(n for n in model if n > first_missing)
    assert all(left[1] < right[0] for left, right in zip(has.ahead, has.ahead[1:], strict=False))
    assert has.beyond == len([n for n in model if n > first_missing])
    again = Ranges(has.cursor, has.ahead)
    assert (again.cursor, again.ahead) == (has.cursor, has.ahead)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 40), st.integers(0, 40))))
def test_numbers_taken_out_of_ranges_are_missing_and_those_that_were_there_are_told(steps: list[tuple[bool, int, int]]) -> None:
    has, model = Ranges(), set[int]()
    for adds, first, stop in steps:
        span = set(range(first, stop))
        if adds:
            has.add(first, stop)
            model |= span
        else:
            assert {n for begin, end in has.remove(first, stop) for n in range(begin, end)} == model & span
            model -= span
        assert [n for n in range(60) if n in has] == sorted(model)
        assert has.cursor == next(n for n in range(99) if n not in model)


# --- what is on its way ------------------------------------------------------------------------------------------------


def test_copies_and_backlog_take_room_each_and_are_counted_apart() -> None:
    window = Window(size=3)
    window.sent(1, Parcel(ANY), 1.0)
    window.sent(2, Parcel(ANY, (7,), (ANY,), live=False), 2.0)
    assert (window.room, window.records, window.backlog, window.oldest) == (1, 1, 1, 1.0)
    assert window.answered(1) is not None
    assert (window.room, window.records, window.backlog, window.oldest) == (2, 1, 1, 2.0)
    assert window.answered(1) is None
    assert window.answered(2) is not None
    assert (window.room, window.records, window.backlog, window.oldest) == (3, 0, 0, None)


def test_an_acknowledgement_is_recent_for_three_times_as_long_as_it_took() -> None:
    recent = Recent()
    recent.add((1, 2), sent_at=10.0, now=11.0)
    recent.add((3,), sent_at=10.9, now=11.0)
    assert list(recent.numbers(11.1)) == [1, 2, 3]
    assert list(recent.numbers(11.5)) == [1, 2]
    assert list(recent.numbers(14.0)) == []


# --- what has yet to be sent -------------------------------------------------------------------------------------------


def lane(has: Ranges, kept: list[int], first: int = 0, stop: int | None = None) -> Lane:
    """A lane over a ledger that has kept these records, read three at a time."""
    return Lane(first, stop, has, lambda begin: [(n, Message("t", b"12", "")) for n in kept if n >= begin][:3])


def taken(from_lane: Lane, size: int) -> list[int]:
    found = []
    while from_lane.load(size):
        found.append(from_lane.take()[0])
    return found


@given(st.sets(st.integers(0, 30)), st.sets(st.integers(0, 30)), st.integers(0, 31), st.integers(0, 31))
def test_a_lane_hands_out_what_is_missing_and_counts_what_is_not_kept_any_more_as_there(
    has: set[int], kept: set[int], first: int, stop: int
) -> None:
    ranges = Ranges()
    for n in has:
        ranges.add(n, n + 1)
    found = taken(lane(ranges, [*sorted(kept), 31], first, stop), 31)
    assert found == [n for n in sorted(kept - has) if first <= n < stop]
    assert all(n in ranges for n in range(first, stop) if n not in kept)


def test_a_lane_passes_over_nothing_as_long_as_no_later_record_shows_that_it_is_gone() -> None:
    has = Ranges()
    behind = lane(has, [])  # the ledger says that there are four, and its file does not show them
    assert taken(behind, 4) == []
    assert has.cursor == 0


def test_a_lane_without_an_end_goes_on_when_the_ledger_has_grown() -> None:
    has = Ranges(2)
    endless = lane(has, list(range(10)), 2)
    assert taken(endless, 4) == [2, 3]
    assert taken(endless, 4) == []
    assert taken(endless, 7) == [4, 5, 6]


def test_a_lane_reads_on_until_so_many_bytes_are_at_hand() -> None:
    full = lane(Ranges(), list(range(20)))
    assert full.load(20, 9)
    assert full.bytes == 12  # three records at a time of two bytes each
    assert full.first[0] == full.take()[0] == 0
    assert full.bytes == 10


# --- how fast a backlog is sent ------------------------------------------------------------------------------------------


def test_a_backlog_is_held_to_its_rate() -> None:
    pace = BacklogPace(records_per_second=100, window=20, now=0.0)
    sent = 0
    for millisecond in range(10_000):
        while pace.may_send(millisecond / 1000, 0):
            pace.sent(1)
            sent += 1
    assert 1000 <= sent <= 1100


def test_a_quarter_of_the_window_stays_free_for_what_is_new() -> None:
    pace = BacklogPace(100_000, window=20, now=0.0)
    for _ in range(100):
        pace.answered(0.0, 0.01)
    assert pace.share == 15
    assert pace.may_send(1.0, 14)
    assert not pace.may_send(1.0, 15)
    assert BacklogPace(100_000, window=1, now=0.0).share == 1


def test_a_line_that_the_backlog_fills_is_given_less_of_it_and_one_that_is_only_far_away_is_not() -> None:
    pace = BacklogPace(100_000, window=100, now=0.0)
    for at in range(200):
        pace.answered(at, at + 0.6)  # a satellite: always so long
    assert pace.share == 75
    for at in range(1000, 1150, 10):
        pace.answered(at, at + 3.0)
    assert pace.share == 1
    pace.answered(1200.0, 1200.6)
    assert pace.share == 2


def test_what_was_sent_before_the_share_was_cut_does_not_cut_it_again() -> None:
    pace = BacklogPace(100_000, window=100, now=0.0)
    for _ in range(100):
        pace.answered(0.0, 0.1)
    for late in range(20):
        pace.answered(1.0, 3.0 + late / 100)
    assert pace.share == 52


# --- how long to wait between attempts -----------------------------------------------------------------------------------


def test_pauses_grow_from_a_second_to_at_most_a_minute_and_begin_again_after_a_reset() -> None:
    pause = Pause()
    spans = [pause.next() for _ in range(200)]
    for attempt, span in enumerate(spans):
        shortest = min(2.0**attempt, LONGEST - 5)
        assert shortest <= span <= shortest + 5
    pause.reset()
    assert pause.next() <= 6


def test_gateways_that_lost_their_broker_together_do_not_come_back_in_step() -> None:
    assert len({round(Pause().next(), 3) for _ in range(50)}) > 25
