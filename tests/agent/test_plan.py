"""agent.plan: a meter is asked by the fewest requests that it has shown to bear, and no value is lost for another one."""

from __future__ import annotations

import random
from typing import Any

import pytest

from agent.plan import Plan
from drivers import Request, load
from drivers.modbus_frame import asked_in
from tests.peers.registers import point, target

DRIVER = load("modbus")
SECOND = 1_000_000_000
HOUR = 3600 * SECOND
PHASES = [f"{quantity}.{phase}" for quantity in ("voltage", "current", "active_power") for phase in ("l1", "l2", "l3")]


def plan_of(*addresses: int, hole: int | None = 40, **limits: Any) -> Plan:
    """A plan for binary32 values at some addresses."""
    points = [point(name, address, "f32") for name, address in zip(PHASES, addresses, strict=False)]
    meter = target(*points, **limits)
    return Plan(DRIVER, meter, meter.model.points, hole)


def spans(requests: list[Request]) -> list[tuple[int, int]]:
    """First register and count of each request."""
    found = [asked_in(request.data, "rtu") for request in requests]
    return [(asked.address, asked.count) for asked in found if asked]


class Meter:
    """What answers to requests: it refuses those that reach into registers it does not have."""

    def __init__(self, *missing: int, silent: bool = False) -> None:
        self.missing = set(missing)
        self.silent = silent
        self.asked = 0

    def bears(self, request: Request) -> bool:
        (address, count), *_ = spans([request])
        self.asked += 1
        return not self.missing & set(range(address, address + count))

    def poll(self, plan: Plan) -> set[int]:
        """All that is asked for one instant; the registers that were read."""
        pending, read = list(plan.begin(0)), set()
        while pending:
            request = pending.pop(0)
            if self.bears(request):
                plan.answered(request)
                (address, count), *_ = spans([request])
                read |= set(range(address, address + count))
            else:
                pending[:0] = plan.silent(request) if self.silent else plan.refused(request)
        return read


# --- holes ----------------------------------------------------------------------------------------------------


def test_a_hole_that_costs_less_than_a_request_is_read_over() -> None:
    assert spans(plan_of(0, 20, 100).begin(0)) == [(0, 22), (100, 2)]  # 36 bytes and 156 bytes apart, 40 cost a request


def test_a_hole_is_never_wider_than_the_model_says_that_the_meter_bears() -> None:
    assert spans(plan_of(0, 4, 20, max_gap=2).begin(0)) == [(0, 6), (20, 2)]


def test_a_refused_block_with_holes_is_asked_for_without_them_at_once_and_from_then_on() -> None:
    plan = plan_of(0, 20, 100)
    whole, other = plan.begin(0)
    assert spans(plan.refused(whole)) == [(0, 2), (20, 2)]
    assert sorted(spans(plan.begin(SECOND))) == [(0, 2), (20, 2), (100, 2)]
    assert not plan.left_out
    assert other in plan.begin(SECOND)


# --- registers that the meter does not have -------------------------------------------------------------------


def test_the_one_register_that_is_missing_is_found_within_one_poll_and_all_others_are_read() -> None:
    plan, meter = plan_of(0, 2, 4, 6, 8, 10, 12, 14), Meter(6)
    assert meter.poll(plan) == {*range(16)} - {6, 7}
    assert plan.left_out == {PHASES[3]}


def test_what_is_left_out_is_not_asked_for_again_and_the_rest_is_joined_around_it() -> None:
    plan, meter = plan_of(0, 2, 4, 6, 8, 10, 12, 14), Meter(6)
    meter.poll(plan)
    assert spans(plan.begin(SECOND)) == [(0, 6), (8, 8)]
    asked = meter.asked
    assert meter.poll(plan) == {*range(16)} - {6, 7}
    assert meter.asked == asked + 2


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("silent", [False, True])
def test_whatever_registers_are_missing_all_others_are_read_within_some_polls(seed: int, silent: bool) -> None:
    chance = random.Random(seed)
    addresses = sorted(chance.sample(range(0, 120, 2), 9))
    missing = set(chance.sample(range(122), chance.randrange(40)))
    plan, meter = plan_of(*addresses), Meter(*missing, silent=silent)
    for _ in range(20):
        read = meter.poll(plan)
    there = {address for address in addresses if not missing & {address, address + 1}}
    assert there <= read
    assert plan.left_out == (set() if silent else {PHASES[addresses.index(gone)] for gone in {*addresses} - there})


def test_a_meter_that_has_nothing_of_it_is_asked_nothing_any_more() -> None:
    plan, meter = plan_of(0, 2, 4), Meter(*range(10))
    meter.poll(plan)
    assert plan.left_out == set(PHASES[:3])
    assert plan.begin(SECOND) == []


def test_a_refusal_of_a_request_that_is_none_of_the_plans_changes_nothing() -> None:
    plan, other = plan_of(0, 2, 4), plan_of(50).begin(0)[0]
    before = plan.begin(0)
    assert plan.refused(other) == []
    assert plan.silent(other) == []
    assert plan.begin(0) == before


def test_a_block_that_is_only_answered_whole_is_never_cut() -> None:
    plan = plan_of(0, 2, 4, whole=[{"address": 0, "count": 10}])
    block = plan.begin(0)[0]
    assert spans([block]) == [(0, 10)]
    assert plan.refused(block) == []
    assert plan.begin(SECOND) == [block]
    assert not plan.left_out


# --- silence --------------------------------------------------------------------------------------------------


def test_a_block_that_was_never_answered_is_cut_at_its_first_silence() -> None:
    plan = plan_of(0, 20, 100)
    assert spans(plan.silent(plan.begin(0)[0])) == [(0, 2), (20, 2)]


def test_a_block_that_was_answered_before_is_cut_only_after_two_silences_in_a_row_and_from_the_next_poll_on() -> None:
    plan = plan_of(0, 20, 100)
    block = plan.begin(0)[0]
    for _ in range(3):
        plan.answered(block)
        assert plan.silent(block) == []
        assert block in plan.begin(0)
    assert plan.silent(block) == []
    assert block not in plan.begin(0)


def test_nothing_is_left_out_because_of_a_silence() -> None:
    plan = plan_of(0)
    block = plan.begin(0)[0]
    for _ in range(5):
        plan.silent(block)
    assert not plan.left_out
    assert plan.begin(SECOND) == [block]


# --- what was learned is not believed for ever ----------------------------------------------------------------


def test_all_is_tried_again_once_it_is_forgotten() -> None:
    plan, meter = plan_of(0, 2, 4, 6), Meter(4)
    before = plan.begin(0)
    meter.poll(plan)
    assert plan.left_out
    plan.forget()
    assert not plan.left_out
    assert plan.begin(0) == before


def test_all_is_tried_again_after_an_hour_but_not_before() -> None:
    plan, meter = plan_of(0, 2, 4, 6), Meter(4)
    before = plan.begin(0)
    meter.poll(plan)
    assert plan.begin(HOUR - SECOND) != before
    assert plan.begin(HOUR) == before


def test_all_is_tried_again_when_the_clock_was_set_back() -> None:
    plan, meter = plan_of(0, 2, 4, 6), Meter(4)
    before = plan.begin(0)
    meter.poll(plan)
    assert plan.begin(-SECOND) == before


# --- the shortest question ------------------------------------------------------------------------------------


def test_the_shortest_question_is_for_one_value_without_holes() -> None:
    assert spans(plan_of(6, 8, 10).probe()) == [(6, 2)]
