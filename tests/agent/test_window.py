"""agent.window and agent.pause: the cursor never passes what is not acknowledged, and no attempt waits too long."""

from hypothesis import given
from hypothesis import strategies as st

from agent.mqtt import Message
from agent.pause import LONGEST, Pause
from agent.window import Window

ANY = Message("t", b"", "text/plain")


@given(st.permutations(range(12)), st.integers(0, 12))
def test_the_cursor_stands_at_the_first_record_without_an_answer_whatever_their_order(order: list[int], answered: int) -> None:
    window = Window(size=20, cursor=100)
    for n in range(12):
        window.sent(n + 1, ANY, 100 + n)
    for n in order[:answered]:
        window.take(100 + n)
    missing = set(range(12)) - set(order[:answered])
    assert window.cursor == 100 + min(missing, default=12)


def test_records_cut_out_of_the_ledgers_file_do_not_stop_the_cursor() -> None:
    window = Window(size=20, cursor=5)
    for n in (5, 8, 9):
        window.sent(n, ANY, n)
        window.take(n)
    assert window.cursor == 10


def test_one_record_left_without_an_answer_stops_the_rest_after_a_window() -> None:
    window = Window(size=3, cursor=0)
    for n in range(3):
        window.sent(n + 1, ANY, n)
    for n in (1, 2):
        del window.flights[n + 1]
        window.take(n)
    assert window.room == 0
    assert window.cursor == 0


def test_retained_copies_take_room_and_move_no_cursor() -> None:
    window = Window(size=3, cursor=7)
    window.sent(1, ANY, None)
    assert (window.room, window.cursor, window.records) == (2, 7, 0)


def test_after_a_rewind_answers_still_to_come_only_make_room() -> None:
    window = Window(size=3, cursor=0)
    window.sent(1, ANY, 0)
    window.sent(2, ANY, 1)
    window.rewind()
    assert (window.room, window.records) == (1, 0)
    assert [window.flights.pop(mid).n for mid in (1, 2)] == [None, None]
    assert (window.room, window.cursor) == (3, 0)


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
