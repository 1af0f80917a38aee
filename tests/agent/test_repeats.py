"""agent.repeats: what repeats is told a few times and then counted."""

from agent.repeats import Repeats

SILENT = {"event": "meter.silent", "meter": "EM-1", "cause": "no_answer", "level": "warning"}


def test_the_first_five_of_a_minute_are_told_and_the_others_counted() -> None:
    repeats = Repeats()
    assert [repeats.may_be_told(SILENT, now) for now in range(8)] == [True] * 5 + [False] * 3
    assert repeats.over(59.0) == []
    assert repeats.over(60.0) == [{**SILENT, "repeated": 3}]
    assert repeats.over(61.0) == []
    assert repeats.may_be_told(SILENT, 62.0)


def test_another_meter_or_another_reason_is_no_repetition() -> None:
    repeats = Repeats()
    for _ in range(6):
        repeats.may_be_told(SILENT, 0.0)
    assert repeats.may_be_told(SILENT | {"meter": "EM-2"}, 0.0)
    assert repeats.may_be_told(SILENT | {"cause": "crc"}, 0.0)


def test_numbers_in_it_may_differ_and_the_newest_ones_are_told() -> None:
    repeats = Repeats()
    told = [repeats.may_be_told({"event": "clock.set", "seconds": seconds, "level": "warning"}, 0.0) for seconds in range(7)]
    assert told == [True] * 5 + [False] * 2
    assert repeats.over(60.0) == [{"event": "clock.set", "seconds": 6, "level": "warning", "repeated": 2}]


def test_what_comes_seldom_is_always_told() -> None:
    repeats = Repeats()
    assert all(repeats.may_be_told(SILENT, 20.0 * turn) for turn in range(100))


def test_at_the_end_all_that_was_counted_is_told() -> None:
    repeats = Repeats()
    for _ in range(10):
        repeats.may_be_told(SILENT, 0.0)
    assert repeats.over(1.0, all_of_them=True) == [{**SILENT, "repeated": 5}]


def test_it_does_not_grow_for_ever() -> None:
    repeats = Repeats()
    for number in range(30_000):
        repeats.may_be_told(SILENT | {"meter": f"EM-{number}"}, 0.0)
    assert len(repeats._kinds) <= 10_001
