"""Whose turn it is on a line: which schedules are due, and which of them comes next. Pure, times are passed in.

1. All meters are due at whole multiples of their interval on the wall clock. Of those that are due, the earliest deadline
   comes first: a fast meter is served between the requests of slow ones. Who was passed over keeps its old deadline, so
   that on a line that is too slow none waits for ever.
2. An instant that has passed before its turn came is missed. It is never asked for later, so nothing piles up.
3. A dead meter (`agent.health`) has no turns. Once in a while it is asked one short question, and all silent meters of a
   line together take at most a tenth of its time. Once it answers, it is read at once. The same tenth is for meters of
   which nobody knows yet whether they are there: silent from the first poll on after their line was opened.
4. A turn that would end after its time is not begun any more.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from agent.health import Health
from agent.plan import Plan
from agent.polled import Polled
from agent.schedule import MILLISECOND, SECOND, first_due, newest_due, next_due
from agent.telling import Telling
from agent.turn import LATEST_NS, Turn
from drivers import Request

_SILENT_SHARE = 9  # nine parts of the line's time for every one that silent meters took
_NEVER = float("inf")
_BEFORE_ALL = 0


@dataclass(slots=True, eq=False)
class PolledMeter:
    """What the poller knows of one meter, whatever its schedules.

    Attributes:
        health: how it answers.
        number: what asks for its serial number; empty where its model knows no way.
        known: whether that was read since the line was opened or it was silent.
        asked_s: when it was last asked how it is set, monotonic seconds; None: not since the line was opened or it was silent.
        unread: polls in a row in which it answered other questions, but not this one.
        unset: the same for its settings.
        refusal, left_out: what was told of its refusals; told once, however often it is found out anew.
        telling: what is being written of it.
    """

    health: Health
    number: tuple[Request, ...] = ()
    known: bool = False
    asked_s: float | None = None
    unread: int = 0
    unset: int = 0
    refusal: str = ""
    left_out: set[str] = field(default_factory=set)
    telling: Telling = field(default_factory=Telling)

    def forget(self) -> None:
        """It may have been exchanged: who it is and how it is set must be asked again."""
        self.known, self.asked_s = False, None


@dataclass(slots=True, eq=False)
class Schedule:
    """One schedule of one meter.

    Attributes:
        polled, meter, plan: what is read, from whom, by which requests.
        missing: whether the newest instant told of was missed.
        turn: its turn, if it has come up.
        took_ns: how long its newest turn took on the line.
    """

    polled: Polled
    meter: PolledMeter
    plan: Plan
    missing: bool = False
    turn: Turn | None = None
    took_ns: int = 0

    @property
    def every_ns(self) -> int:
        """The interval in nanoseconds."""
        return self.polled.every_ms * MILLISECOND


@dataclass(frozen=True, slots=True)
class Lapsed:
    """Instants that will not be read any more.

    Attributes:
        schedule, due_ns: which; of several the first.
        turn: the turn that was for it and whose time is over; None: there was none, for a dead meter has no turns.
        unasked: how many instants went by without a turn because the schedule's last one was still going on.
    """

    schedule: Schedule
    due_ns: int
    turn: Turn | None = None
    unasked: int = 0


class Agenda:
    """The schedules of one line.

    Args:
        polled: the schedules of its meters.
        hole: so many bytes nobody asked for cost less on the line than another request.
    """

    def __init__(self, polled: Sequence[Polled], hole: int) -> None:
        self.meters = {each.id: PolledMeter(Health(each.id), _number(each)) for each in polled}
        self.schedules = [
            Schedule(each, self.meters[each.id], Plan(each.driver, each.target, each.points, hole)) for each in polled
        ]
        self._due: list[tuple[int, int]] = []
        self._epoch = 0
        self._silent_from = 0.0

    def begin_anew(self, now_ns: int, epoch: int) -> None:
        """All schedules begin with their first instants from now on. `epoch`: how often the clock has been set."""
        self._epoch = epoch
        for schedule in self.schedules:
            schedule.turn = None
        self._due = [(first_due(each.every_ns, now_ns), order) for order, each in enumerate(self.schedules)]
        heapq.heapify(self._due)

    def take_up(self, now_ns: int) -> list[Lapsed]:
        """Lets come up whose instant has come; what lapses thereby."""
        lapsed: list[Lapsed] = []
        while self._due and self._due[0][0] <= now_ns:
            due, order = self._due[0]
            schedule = self.schedules[order]
            newest = max(due, newest_due(schedule.every_ns, now_ns))
            heapq.heapreplace(self._due, (next_due(newest, schedule.every_ns, now_ns), order))
            lapsed += self._come_up(schedule, newest, (newest - due) // schedule.every_ns)
        return lapsed

    def _come_up(self, schedule: Schedule, due_ns: int, unasked: int) -> list[Lapsed]:
        health, running = schedule.meter.health, schedule.turn
        if health.dead:
            return [Lapsed(schedule, due_ns)]
        soon_ns = min(schedule.every_ns, LATEST_NS)
        # Nobody who is known to answer waits for one of whom that is not known.
        before_ns = due_ns + soon_ns if health.heard_of else due_ns + 3 * soon_ns
        lapsed = []
        if running is not None and not running.probe:
            if running.begun and not running.put_back:
                return [Lapsed(schedule, due_ns, unasked=unasked + 1)]  # it goes on with what it has begun
            lapsed.append(Lapsed(schedule, running.due_ns, running))
            if not running.begun:
                before_ns = running.before_ns
        if unasked:
            lapsed.append(Lapsed(schedule, due_ns, unasked=unasked))
        self._begin(schedule, due_ns, before_ns)
        return lapsed

    def _begin(self, schedule: Schedule, due_ns: int, before_ns: int) -> None:
        schedule.turn = Turn(schedule.polled, due_ns, before_ns, self._epoch, deque(schedule.plan.begin(due_ns)))

    def reopened(self, now_ns: int, now: float) -> None:
        """The line was opened: what was learned of its meters may no longer be true, and those that were missing are read."""
        for schedule in self.schedules:
            schedule.plan.forget()
        for meter in self.meters.values():
            meter.health.opened(now)
            meter.forget()
            meter.unread = meter.unset = 0
            if not meter.health.dead:
                self.catch_up(meter, now_ns)

    def returned(self, meter: PolledMeter, now_ns: int) -> None:
        """A meter that was dead answers again: it may be another one, or changed."""
        for schedule in self.schedules:
            if schedule.meter is meter:
                schedule.plan.forget()
        self.catch_up(meter, now_ns)

    def catch_up(self, meter: PolledMeter, now_ns: int) -> None:
        """A meter that was missing can be asked again: for the instant that is running, before all others."""
        for schedule in self.schedules:
            if schedule.meter is meter and schedule.missing and (schedule.turn is None or schedule.turn.probe):
                self._begin(schedule, newest_due(schedule.every_ns, now_ns), _BEFORE_ALL)

    def next(self, now_ns: int, now: float, ready: Callable[[Schedule], bool], port: tuple[int, str] | None) -> Schedule | None:
        """The schedule whose turn's time runs out first.

        Args:
            now_ns: the wall clock.
            now: seconds of a clock that is never set.
            ready: whether a schedule's turn can be taken now; it may have to wait for a late answer.
            port: how the port is set: of two that are equally urgent, the one that needs no change comes first.
        """
        found = [(each.turn, each) for each in self.waiting(now_ns, now) if each.turn and ready(each)]
        first = min(found, key=lambda each: (each[0].before_ns, each[1].polled.port != port), default=None)
        return first[1] if first else None

    def waiting(self, now_ns: int, now: float) -> list[Schedule]:
        """Those with a turn that may go on, or begin."""
        return [each for each in self.schedules if each.turn and self._may_go_on(each, each.turn, now_ns, now)]

    def _may_go_on(self, schedule: Schedule, turn: Turn, now_ns: int, now: float) -> bool:
        if turn.begun:
            return True
        health = schedule.meter.health
        if now < self._silent_from and (turn.probe or (health.failing and not health.heard_of)):
            return False
        # One that takes longer than that may still begin in the first half of its interval.
        took_ns = min(schedule.took_ns, schedule.every_ns // 2)
        return turn.probe or now_ns + took_ns <= turn.due_ns + schedule.every_ns

    def ends(self) -> bool:
        """Takes back all turns that have not begun; whether one still goes on."""
        for schedule in self.schedules:
            if schedule.turn and not schedule.turn.begun:
                schedule.turn = None
        return self.is_wanted

    @property
    def is_wanted(self) -> bool:
        """Whether any turn has come up."""
        return any(schedule.turn for schedule in self.schedules)

    # --- silent meters ----------------------------------------------------------------------------------------

    def probe(self, now: float, now_ns: int) -> None:
        """Lets one silent meter have a turn, if its time has come and the line can spare it; a dead one one short question."""
        if now < self._silent_from:
            return
        busy = {id(schedule.meter) for schedule in self.schedules if schedule.turn}
        due = (each for each in self.schedules if id(each.meter) not in busy and each.meter.health.failing)
        # Whoever has waited longest; of its schedules one that is missing.
        found = min(due, key=lambda each: (each.meter.health.next_try, not each.missing), default=None)
        if found is None or found.meter.health.next_try > now:
            return
        if found.missing and not found.meter.health.dead:
            self._begin(found, newest_due(found.every_ns, now_ns), now_ns + LATEST_NS)
        else:
            question = deque(found.plan.probe())
            found.turn = Turn(found.polled, now_ns, now_ns + LATEST_NS, self._epoch, question, probe=True)

    def spent(self, now: float, seconds: float) -> None:
        """A silent meter has taken so much of the line's time."""
        self._silent_from = max(self._silent_from, now + _SILENT_SHARE * seconds)

    def due_in(self, now_ns: int) -> float:
        """Seconds until the next instant."""
        return (self._due[0][0] - now_ns) / SECOND if self._due else _NEVER

    def silent_in(self, now: float) -> float:
        """Seconds until a silent meter may be asked next."""
        busy = {id(each.meter) for each in self.schedules if each.turn}
        tries = [each.health.next_try for each in self.meters.values() if each.health.failing and id(each) not in busy]
        held_back = now < self._silent_from and any(each.turn and each.meter.health.failing for each in self.schedules)
        return max(now if held_back else min(tries, default=_NEVER), self._silent_from) - now


def _number(polled: Polled) -> tuple[Request, ...]:
    """What asks for a meter's serial number."""
    return tuple(polled.driver.requests(polled.target, [polled.serial])) if polled.serial else ()
