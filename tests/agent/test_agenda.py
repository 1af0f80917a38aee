"""agent.agenda: whose turn it is, on lines with time enough, on lines without, and on lines with dead meters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from agent.agenda import Agenda, Schedule
from agent.polled import Polled
from drivers import Exchange, Instant, Request, load
from drivers.errors import NoAnswer
from tests.peers.registers import point, target

DRIVER = load("modbus")
SECOND = 1_000_000_000
START = 1_772_323_200 * SECOND  # 2026-03-01T00:00:00Z
QUANTITIES = [f"{quantity}.{phase}" for quantity in ("voltage", "current", "active_power") for phase in ("l1", "l2", "l3")]


def polled(name: str, every_s: float, requests: int = 1, unit: int = 1, **more: Any) -> Polled:
    """A schedule that takes so many requests."""
    points = [point(quantity, 200 * number, "f32") for number, quantity in enumerate(QUANTITIES[:requests])]
    meter = target(*points, address=unit)
    return Polled(name, DRIVER, meter, meter.model.points, int(1000 * every_s), **more)


class Bus:
    """A line on which an exchange takes `slice_s` and a silence `timeout_s`, and what became of every instant on it."""

    def __init__(self, *schedules: Polled, slice_s: float = 0.1, timeout_s: float = 1.0, began_ns: int = START) -> None:
        self.agenda = Agenda(schedules, 0)
        self.slice_s, self.timeout_s = slice_s, timeout_s
        self.now_ns, self.began_ns = began_ns, began_ns
        self.silent: set[str] = set()
        self.asked: list[tuple[float, str]] = []
        self.read: dict[tuple[str, int], list[tuple[int, float]]] = {}
        self.lapsed: Counter[tuple[str, int]] = Counter()
        self.silent_s = 0.0
        self.probes: Counter[str] = Counter()
        self.agenda.begin_anew(self.now_ns, 0)

    @property
    def now(self) -> float:
        """Seconds since the beginning."""
        return (self.now_ns - self.began_ns) / SECOND

    def run(self, seconds: float, also: Callable[[], object] = lambda: None) -> None:
        """Lets time pass, with all that is asked meanwhile. `also` is done before each step."""
        until = self.now + seconds
        while self.now < until:
            also()
            for each in self.agenda.take_up(self.now_ns):
                key = (each.schedule.polled.id, each.schedule.polled.every_ms)
                self.lapsed[key] += each.unasked or 1
                if not each.unasked:
                    each.schedule.missing = True
            self.agenda.probe(self.now, self.now_ns)
            schedule = self.agenda.next(self.now_ns, self.now, lambda each: True, None)
            if schedule:
                self._slice(schedule)
            else:
                nap = min(self.agenda.due_in(self.now_ns), self.agenda.silent_in(self.now), until - self.now)
                assert nap > 0, "nothing is to be done and there is no time to rest"
                self.now_ns += max(1000, round(nap * SECOND))

    def _slice(self, schedule: Schedule) -> None:
        turn, health, name = schedule.turn, schedule.meter.health, schedule.polled.id
        assert turn
        self.asked.append((self.now, name))
        self.probes[name] += turn.probe
        silent = name in self.silent
        spent = self.timeout_s if silent else self.slice_s
        turn.exchanges.append(exchange(turn.pending.popleft(), silent, int(spent * SECOND)))
        self.now_ns += int(spent * SECOND)
        if silent:
            turn.pending.clear()
            self.silent_s += spent
        else:
            health.heard(spent)
        if turn.pending:
            return
        schedule.turn = None
        if silent:
            health.failed(self.now, "no_answer", "")
            self.agenda.spent(self.now, spent)
            schedule.missing = True
        else:
            was_dead, was_failing = health.dead, health.failing
            health.answered()
            schedule.took_ns = turn.took_ns
            if not turn.probe:
                schedule.missing = False
                self.read.setdefault((name, schedule.polled.every_ms), []).append((turn.due_ns, self.now))
            if was_dead:
                self.agenda.returned(schedule.meter, self.now_ns)
            elif was_failing:
                self.agenda.catch_up(schedule.meter, self.now_ns)

    def readings(self, name: str, every_s: float) -> list[tuple[int, float]]:
        """The instants read, and when, of one schedule."""
        return self.read.get((name, int(1000 * every_s)), [])


def exchange(request: Request, silent: bool, took_ns: int) -> Exchange:
    sent, last = Instant(0, 0), Instant(took_ns, took_ns)
    error = NoAnswer("no_answer", "no answer") if silent else None
    return Exchange(request.data, b"" if silent else b"answer", sent, None if silent else last, None if silent else last, error)


# --- when, and who first --------------------------------------------------------------------------------------


def test_all_are_due_at_whole_multiples_of_their_interval_whenever_the_agent_began() -> None:
    bus = Bus(polled("A", 15, unit=1), polled("B", 15, unit=2), polled("C", 60, unit=3), began_ns=START + 7 * SECOND)
    bus.run(120)
    for name, every_s in (("A", 15), ("B", 15), ("C", 60)):
        dues = [due for due, _ in bus.readings(name, every_s)]
        first = START + every_s * SECOND
        assert dues == [first + number * every_s * SECOND for number in range(len(dues))]
        assert len(dues) == len(range(every_s, 127, every_s))
    assert not bus.lapsed


def test_a_fast_meter_is_served_between_the_requests_of_a_slow_one() -> None:
    bus = Bus(polled("slow", 60, requests=9, unit=1), polled("fast", 1, unit=2), slice_s=0.3)
    bus.run(10)
    assert len(bus.readings("fast", 1)) == 10
    assert len(bus.readings("slow", 60)) == 1
    order = "".join(name[0] for at, name in bus.asked if at < 4)
    assert "sfs" in order
    assert all(at - due <= 0.6 for due, at in [((due - START) / SECOND, at) for due, at in bus.readings("fast", 1)])


def test_both_schedules_of_a_meter_get_all_their_instants() -> None:
    fast, slow = polled("A", 1, unit=1), polled("A", 30, requests=5, unit=1)
    bus = Bus(fast, slow, slice_s=0.15)
    bus.run(90)
    assert len(bus.readings("A", 1)) == 90
    assert len(bus.readings("A", 30)) == 3
    assert not bus.lapsed


def test_of_two_that_are_equally_urgent_the_one_comes_first_for_which_the_port_is_set() -> None:
    ports = {name: (baud, "8N1") for name, baud in (("A", 2400), ("B", 9600), ("C", 2400), ("D", 9600))}
    agenda = Agenda([polled(name, 1, unit=unit, port=port) for unit, (name, port) in enumerate(ports.items(), 1)], 0)
    agenda.begin_anew(START, 0)
    agenda.take_up(START)
    order, port = [], (9600, "8N1")
    while schedule := agenda.next(START, 0.0, lambda each: True, port):
        order.append(schedule.polled.id)
        schedule.turn, port = None, ports[schedule.polled.id]
    assert order in (["B", "D", "A", "C"], ["D", "B", "A", "C"])


def test_who_has_to_wait_for_a_late_answer_is_passed_over_meanwhile() -> None:
    agenda = Agenda([polled("A", 1, unit=1), polled("B", 1, unit=2)], 0)
    agenda.begin_anew(START, 0)
    agenda.take_up(START)
    found = agenda.next(START, 0.0, lambda each: each.polled.id != "A", None)
    assert found
    assert found.polled.id == "B"


# --- lines without time enough --------------------------------------------------------------------------------


def test_on_a_line_that_is_too_slow_every_schedule_gets_its_share_and_every_instant_is_told_once() -> None:
    meters = [polled(f"EM-{unit}", 1, requests=2, unit=unit) for unit in range(1, 7)]
    bus = Bus(*meters, polled("slow", 60, requests=9, unit=9), slice_s=0.2)
    bus.run(600)
    shares = [len(bus.readings(f"EM-{unit}", 1)) / 600 for unit in range(1, 7)]
    assert min(shares) > 0.9 * max(shares)
    assert sum(shares) == pytest.approx(2, abs=0.1)  # two turns fit into a second; a third would end too late
    assert len(bus.readings("slow", 60)) >= 9, "60 s are enough for who has such a deadline"
    for unit in range(1, 7):
        told = len(bus.readings(f"EM-{unit}", 1)) + bus.lapsed[f"EM-{unit}", 1000]
        assert told in (599, 600, 601)
        dues = [due for due, _ in bus.readings(f"EM-{unit}", 1)]
        assert len(set(dues)) == len(dues)


def test_no_reading_is_late_by_more_than_its_interval_even_on_a_line_that_is_too_slow() -> None:
    bus = Bus(*[polled(f"EM-{unit}", 1, requests=3, unit=unit) for unit in range(1, 10)], slice_s=0.1)
    bus.run(300)
    late = [at - (due - START) / SECOND for read in bus.read.values() for due, at in read[1:]]
    assert max(late) <= 1.0 + 0.2  # what has begun is ended, with the requests of others between


def test_who_was_passed_over_keeps_its_deadline_and_so_comes_before_those_that_were_not() -> None:
    agenda = Agenda([polled("A", 1, unit=1), polled("B", 1, unit=2)], 0)
    for meter in agenda.meters.values():
        meter.health.heard(0.01)
    agenda.begin_anew(START, 0)
    agenda.take_up(START)
    first, second = agenda.schedules
    first.turn = None  # A was read
    assert second.turn
    before = second.turn.before_ns
    lapsed = agenda.take_up(START + SECOND)
    assert [(each.schedule.polled.id, each.due_ns, each.unasked) for each in lapsed] == [("B", START, 0)]
    assert first.turn
    assert first.turn.before_ns == START + 2 * SECOND
    assert second.turn.due_ns == START + SECOND
    assert second.turn.before_ns == before == START + SECOND


def test_an_instant_in_which_a_schedules_last_turn_still_goes_on_is_told_as_one_that_nobody_asked_for() -> None:
    bus = Bus(polled("A", 1, requests=9), slice_s=0.3)
    bus.run(30)
    assert len(bus.readings("A", 1)) == 10
    assert bus.lapsed["A", 1000] == 20


def test_instants_that_went_by_while_the_machine_stood_still_are_counted() -> None:
    bus = Bus(polled("A", 1))
    bus.run(3)
    bus.now_ns += 10 * SECOND
    bus.run(3)
    assert len(bus.readings("A", 1)) + bus.lapsed["A", 1000] == 16


def test_a_turn_that_would_end_after_its_time_is_not_begun_any_more() -> None:
    agenda = Agenda([polled("A", 1)], 0)
    agenda.begin_anew(START, 0)
    agenda.take_up(START)
    agenda.schedules[0].took_ns = SECOND // 4
    assert agenda.next(START + SECOND * 3 // 4, 0.75, lambda each: True, None)
    assert agenda.next(START + SECOND * 3 // 4 + 1, 0.75, lambda each: True, None) is None


def test_however_long_the_interval_a_poll_is_dealt_with_within_its_minute() -> None:
    agenda = Agenda([polled("A", 900)], 0)
    agenda.meters["A"].health.heard(0.01)
    agenda.begin_anew(START, 0)
    agenda.take_up(START)
    turn = agenda.schedules[0].turn
    assert turn
    assert turn.before_ns == START + 60 * SECOND


# --- dead meters ----------------------------------------------------------------------------------------------


def test_a_dead_meter_has_no_turns_and_its_instants_are_told() -> None:
    bus = Bus(polled("A", 1, unit=1), polled("dead", 1, unit=2), slice_s=0.05, timeout_s=0.3)
    bus.silent = {"dead"}
    bus.run(30)
    told = bus.lapsed.copy()
    asked = len([name for _, name in bus.asked if name == "dead"])
    bus.run(30)
    assert bus.lapsed["dead", 1000] == told["dead", 1000] + 30
    assert len([name for _, name in bus.asked if name == "dead"]) - asked <= 3
    assert len(bus.readings("A", 1)) == 60


@pytest.mark.parametrize("dead", [1, 3, 40])
def test_all_dead_meters_of_a_line_together_take_a_tenth_of_its_time_at_most(dead: int) -> None:
    meters = [polled(f"dead-{unit}", 1, unit=unit) for unit in range(1, dead + 1)]
    bus = Bus(*meters, polled("A", 1, unit=200), slice_s=0.05)
    bus.silent = {each.id for each in meters}
    bus.run(10 + 2 * dead)  # until it is known who is dead
    begun, spent = bus.now, bus.silent_s
    bus.run(3600)
    assert 0 < (bus.silent_s - spent) <= 0.1 * (bus.now - begun) + bus.timeout_s


def test_of_many_dead_meters_none_is_forgotten() -> None:
    meters = [polled(f"dead-{unit}", 900, unit=unit) for unit in range(1, 61)]
    bus = Bus(*meters)
    bus.silent = {each.id for each in meters}
    bus.run(4 * 3600)
    counts = [bus.probes[each.id] for each in meters]
    assert min(counts) >= 15
    assert max(counts) <= 2 * min(counts)


def test_meters_that_were_silent_since_the_line_was_opened_are_in_that_tenth_from_their_first_silence_on() -> None:
    meters = [polled(f"dead-{unit}", 1, unit=unit) for unit in range(1, 4)]
    bus = Bus(*meters, polled("A", 1, unit=9), slice_s=0.05)
    bus.silent = {each.id for each in meters}
    bus.run(30)
    assert len(bus.readings("A", 1)) >= 30 - 3 - 3


def test_a_burst_of_noise_over_a_whole_line_does_not_keep_its_meters_from_being_read() -> None:
    meters = [polled(f"EM-{unit}", 1, unit=unit) for unit in range(1, 11)]
    bus = Bus(*meters, slice_s=0.05, timeout_s=0.1)
    bus.run(10)
    bus.silent = {each.id for each in meters}
    bus.run(1)
    bus.silent = set()
    bus.run(2)
    for each in meters:
        assert bus.readings(each.id, 1)[-1][0] >= START + 11 * SECOND


def test_a_meter_that_returns_is_read_at_once_for_the_instant_that_is_running() -> None:
    bus = Bus(polled("A", 900, requests=3))
    bus.silent = {"A"}
    bus.run(100)
    bus.silent = set()
    bus.run(250)
    probed = next(at for at, _ in bus.asked if at > 100)
    ((due, at),) = bus.readings("A", 900)
    assert due == START
    assert at == pytest.approx(probed + 4 * bus.slice_s)


def test_a_meter_that_returns_comes_before_all_others() -> None:
    bus = Bus(polled("back", 60, requests=2, unit=1), *[polled(f"EM-{unit}", 1, unit=unit) for unit in range(2, 6)], slice_s=0.2)
    bus.silent = {"back"}
    bus.run(300)
    assert bus.agenda.meters["back"].health.dead
    bus.silent, asked = set(), len(bus.asked)
    bus.run(400)
    probed = next(number for number, (_, name) in enumerate(bus.asked) if number >= asked and name == "back")
    assert [name for _, name in bus.asked[probed : probed + 3]] == ["back"] * 3


def test_what_was_learned_of_a_dead_meter_is_forgotten_when_it_returns() -> None:
    agenda = Agenda([polled("A", 1, requests=2)], 0)
    schedule = agenda.schedules[0]
    schedule.plan.refused(schedule.plan.begin(START)[0])
    assert schedule.plan.left_out
    agenda.returned(agenda.meters["A"], START)
    assert not schedule.plan.left_out


def test_when_a_line_is_opened_again_its_meters_are_read_at_once_and_dead_ones_tried_soon() -> None:
    agenda = Agenda([polled("A", 900, unit=1), polled("dead", 900, unit=2)], 0)
    agenda.begin_anew(START, 0)
    agenda.take_up(START)
    well, dead = agenda.schedules
    for schedule in (well, dead):
        schedule.turn, schedule.missing = None, True
        schedule.meter.known = True
    for now in (0.0, 10.0, 20.0, 29.0):
        dead.meter.health.failed(now, "no_answer", "")
    agenda.reopened(START + 30 * SECOND, 30.0)
    assert well.turn
    assert (well.turn.due_ns, well.turn.before_ns) == (START, 0)
    assert dead.turn is None
    assert dead.meter.health.next_try == 30.0
    assert not well.meter.known
    assert not dead.meter.known


def test_the_clock_being_set_lets_all_schedules_begin_anew() -> None:
    agenda = Agenda([polled("A", 60)], 0)
    agenda.begin_anew(START, 0)
    agenda.take_up(START)
    agenda.begin_anew(START - 3600 * SECOND + 1, 1)
    assert not agenda.is_wanted
    assert agenda.due_in(START - 3600 * SECOND + 1) == pytest.approx(60)
    agenda.take_up(START - 3540 * SECOND)
    turn = agenda.schedules[0].turn
    assert turn
    assert (turn.due_ns, turn.epoch) == (START - 3540 * SECOND, 1)


def test_a_dead_meter_is_asked_the_shortest_question() -> None:
    agenda = Agenda([polled("A", 1, requests=9)], 0)
    agenda.begin_anew(START, 0)
    for now in (0.0, 2.0, 4.0):
        agenda.meters["A"].health.failed(now, "no_answer", "")
    agenda.probe(1000.0, START)
    turn = agenda.schedules[0].turn
    assert turn
    assert turn.probe
    assert len(turn.pending) == 1
