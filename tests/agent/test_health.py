"""agent.health: what a meter's answers say of it, and when it is asked again."""

from __future__ import annotations

import pytest

from agent.health import Health


def failing(times: list[float]) -> Health:
    health = Health("EM-1")
    for now in times:
        health.failed(now, "no_answer", "Power at the meter?")
    return health


def answering(*seconds: float) -> Health:
    health = Health("EM-1")
    for each in seconds:
        health.heard(each)
    return health


# --- dead or alive --------------------------------------------------------------------------------------------


def test_a_meter_is_failing_from_its_first_failed_poll_on_until_one_is_answered() -> None:
    health = Health("EM-1")
    assert not health.failing
    health.failed(0.0, "no_answer", "")
    assert health.failing
    health.answered()
    assert not health.failing


@pytest.mark.parametrize(
    ("times", "dead"),
    [
        ([0.0], False),
        ([0.0, 10.0], False),  # long enough, but too seldom
        ([0.0, 1.0, 2.9], False),  # often, but not for long
        ([0.0, 1.0, 3.0], True),
        ([0.0, 0.1, 0.2, 0.3, 0.4, 0.5], False),
        ([0.0, 0.1, 0.2, 3.1], True),
        ([0.0, 900.0, 1800.0], True),
    ],
)
def test_dead_takes_both_three_failures_and_three_seconds(times: list[float], dead: bool) -> None:
    assert failing(times).dead is dead


def test_the_time_a_meter_has_been_failing_begins_again_with_each_answer() -> None:
    health = failing([0.0, 1.0])
    health.answered()
    for now in (2.0, 2.5, 3.5):
        health.failed(now, "no_answer", "")
    assert not health.dead
    health.failed(5.0, "no_answer", "")
    assert health.dead


def test_it_remembers_why_the_newest_poll_failed() -> None:
    health = failing([0.0])
    health.failed(1.0, "bad_checksum", "Shield and termination?")
    assert (health.cause, health.hint) == ("bad_checksum", "Shield and termination?")


def test_whether_it_is_alive_is_what_came_after_the_newest_failed_poll() -> None:
    health = Health("EM-1")
    assert not health.alive
    health.heard(0.01)
    assert health.alive
    health.failed(0.0, "no_answer", "")
    assert not health.alive


def test_an_opened_line_makes_it_unheard_of_and_has_it_tried_at_once() -> None:
    health = failing([0.0, 10.0, 20.0, 30.0])
    health.heard(0.01)
    assert health.next_try > 40.0
    health.opened(31.0)
    assert health.next_try == 31.0
    assert not health.heard_of
    assert health.dead, "it is tried, not polled"


# --- when it is tried again -----------------------------------------------------------------------------------


def test_a_silent_meter_is_tried_ever_more_seldom_from_two_seconds_to_five_minutes_with_a_fifth_of_jitter() -> None:
    for seed in range(20):
        health, now = Health(f"EM-{seed}"), 0.0
        for number in range(14):
            health.failed(now, "no_answer", "")
            pause = min(300.0, 2.0 * 2**number)
            assert 0.8 * pause <= health.next_try - now <= 1.2 * pause
            now = health.next_try


def test_the_dead_meters_of_a_line_are_not_tried_all_at_once() -> None:
    tries = set()
    for seed in range(20):
        health = Health(f"EM-{seed}")
        health.failed(0.0, "no_answer", "")
        tries.add(health.next_try)
    assert len(tries) == 20


# --- how long an answer is worth waiting for ------------------------------------------------------------------


STATED = 1.0


def test_a_meter_that_is_not_known_yet_has_the_time_that_is_stated() -> None:
    assert answering(*[0.1] * 7).timeout_s(STATED) == STATED


def test_a_known_meter_has_three_times_its_longest_answer() -> None:
    assert answering(*[0.1] * 7, 0.3).timeout_s(STATED) == pytest.approx(0.9)


def test_a_known_meter_has_no_more_than_what_is_stated() -> None:
    assert answering(*[0.5] * 8).timeout_s(STATED) == STATED


def test_a_quick_meter_still_has_a_fifth_of_a_second_if_that_much_is_stated() -> None:
    assert answering(*[0.005] * 8).timeout_s(STATED) == 0.2
    assert answering(*[0.005] * 8).timeout_s(0.1) == 0.1


def test_only_the_newest_answers_count() -> None:
    assert answering(0.3, *[0.1] * 64).timeout_s(STATED) == pytest.approx(0.3)


def test_after_a_wait_cut_short_for_nothing_the_next_one_is_as_long_as_stated() -> None:
    health = answering(*[0.1] * 8)
    health.unheard()
    assert health.timeout_s(STATED) == STATED
    health.heard(0.1)
    assert health.timeout_s(STATED) < STATED


def test_a_failing_meter_has_the_time_that_is_stated() -> None:
    health = answering(*[0.1] * 8)
    health.failed(0.0, "bad_checksum", "")
    assert health.timeout_s(STATED) == STATED


def test_an_answer_that_came_too_late_tells_how_long_the_meter_takes_be_it_longer_than_stated() -> None:
    health = answering(*[0.01] * 8)
    health.late(0.4)
    assert health.timeout_s(STATED) == pytest.approx(0.6)
    assert health.timeout_s(0.3) == pytest.approx(0.6)
    health.failed(0.0, "no_answer", "")
    assert health.timeout_s(0.3) == pytest.approx(0.6)


def test_a_late_answer_is_forgotten_after_many_that_were_not() -> None:
    health = answering(*[0.01] * 8)
    health.late(0.4)
    for _ in range(63):
        health.heard(0.01)
    assert health.timeout_s(0.3) == pytest.approx(0.6)
    health.heard(0.01)
    assert health.timeout_s(0.3) == 0.2
