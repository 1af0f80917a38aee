"""Polling: one task a link asks its meters, in the order of `agent.agenda`, and tells the book what came of it.

 1. One request is a slice; between two of them whoever is more urgent comes first. Somebody who reads a meter by hand is
    served before all others.
 2. After a link was opened, and after a meter was silent, the meter is identified before anything is sealed: it may
    have been exchanged. Another serial number under the same address is never sealed as the old meter.
 3. The line goes on while values are computed and the disk is still writing. It waits only for a meter that has many of
    its polls still unwritten.

What this file does not know: bytes (drivers do), records (the book does), when to open the link (`agent.line`).
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

from agent.agenda import Agenda, Lapsed, PolledMeter, Schedule
from agent.attestation import must_settle, settle
from agent.book import LINE_OPENING, OVERRUN, Book
from agent.by_hand import Readers
from agent.clock import Clock
from agent.line import Line
from agent.polled import Polled
from agent.progress import Progress
from agent.reading import serial_in, tells
from agent.schedule import SECOND
from agent.telling import Overruns, Telling, tell_reading
from agent.turn import Turn, take_slice
from config.language import _
from config.model import Watch
from drivers import Exchange
from drivers.errors import LinkDown, MeterError, NoAnswer, Refused
from drivers.link import Link

_LONGEST_NAP = 5.0
_UNREAD = 3
_DAY_S = 86_400


class LinkPoller:
    """Polls the meters of one link until it is cancelled.

    Attributes:
        line: its line.
        by_hand: who reads meters by hand over it.
        progress: how far it has got.
    """

    def __init__(self, link: Link, polled: Sequence[Polled], clock: Clock, book: Book, log: Any) -> None:
        self._link = link
        self._clock = clock
        self._book = book
        self._log = log
        asked = [(each.driver, first) for each in polled for first in each.driver.requests(each.target, each.points)[:1]]
        self._opening_s = max((link.opening_s(driver, request) for driver, request in asked), default=0.0)
        self.line = Line(link, clock, log, self._opening_s)
        self._agenda = Agenda(polled, link.settings.hole_bytes)
        self.by_hand = Readers(link, self.line)
        self._wake = link.heard
        self._epoch = -1
        self._opened = 0
        self._overruns = Overruns(link.settings.name, log)
        self._finishing = False
        longest_s = max((link.settings.times(request)[1] for _unused, request in asked), default=0.0)
        self.progress = Progress(link.settings.name, log, len(polled), longest_s)

    async def run(self) -> None:
        """Polls until `finish` is called, or for ever."""
        try:
            async with asyncio.TaskGroup() as tasks:
                keeping = tasks.create_task(self.line.keep_open(self._needed_in, self._wake))
                await self._poll()
                keeping.cancel()
        finally:
            await Telling.all_of(meter.telling for meter in self._agenda.meters.values())
            await self._link.close()

    def finish(self) -> None:
        """Begins nothing new: `run` returns when what is under way has ended and is written."""
        self._finishing = True
        self._wake.set()

    def live(self) -> dict[str, Any]:
        """How the line stands at this moment, for people."""
        meters = {
            name: {"failures": meter.health.failures, "dead": meter.health.dead, "left_out": self._left_out(meter)}
            for name, meter in self._agenda.meters.items()
        }
        return {
            "open": self._link.is_open,
            "down": self.line.is_down,
            "busy_percent": self.line.busy_percent(),
            "waiting": sum(schedule.turn is not None for schedule in self._agenda.schedules),
            "overruns": self._overruns.count,
            "meters": meters,
        }

    def stalled_s(self) -> float:
        """For how many seconds nothing has moved, where that is too long; else 0."""
        return self.progress.stalled_s(self._link.heard_at)

    def _left_out(self, meter: PolledMeter) -> list[str]:
        return sorted(name for each in self._agenda.schedules if each.meter is meter for name in each.plan.left_out)

    async def _poll(self) -> None:
        while True:
            self.progress.turned()
            if self._book.steps.pending():
                await self._book.clock_was_set()
            if self._epoch != self._book.steps.count:
                # At the start, instants in the time in which the line is listened to could not be kept.
                opening_ns = int(self._opening_s * SECOND) if self._epoch < 0 else 0
                self._epoch = self._book.steps.count
                self._agenda.begin_anew(self._clock.now_ns() + opening_ns, self._epoch)
            if self._finishing and not (self._agenda.ends() or self.by_hand):
                return
            if not self._finishing:
                self._take_up()
            now_ns, now = self._clock.now_ns(), self._clock.monotonic()
            if self.by_hand and self.by_hand.ready_at() <= time.monotonic():
                await self.by_hand.serve()
            elif schedule := self._agenda.next(now_ns, now, self._is_ready, self.line.port):
                await self._slice(schedule)
            else:
                await self._rest()

    def _take_up(self) -> None:
        now_ns, now = self._clock.now_ns(), self._clock.monotonic()
        for lapsed in self._agenda.take_up(now_ns):
            self._lapse(lapsed)
        if self.line.times_opened != self._opened:
            self._opened = self.line.times_opened
            for schedule in self._agenda.schedules:
                schedule.missing |= self._book.is_behind(schedule.polled.id, schedule.polled.every_ms, now_ns)
            self._agenda.reopened(now_ns, now)
        if self.line.is_open:
            self._agenda.probe(now, now_ns)

    def _lapse(self, lapsed: Lapsed) -> None:
        schedule, turn, health = lapsed.schedule, lapsed.turn, lapsed.schedule.meter.health
        if lapsed.unasked:
            self._overruns.add(lapsed.unasked)
            return
        schedule.missing = True
        if turn is not None and turn.begun:
            self._finish(schedule, turn)
        elif health.failing:
            self._miss(schedule, lapsed.due_ns, self._epoch, health.cause, health.hint)
        elif turn is not None and not self.line.is_open:
            down = self.line.down
            self._miss(schedule, turn.due_ns, turn.epoch, down.cause, f"{down}. {down.hint}")
        elif turn is not None and self.line.is_opening(turn.due_ns):
            self._miss(schedule, turn.due_ns, turn.epoch, LINE_OPENING, _("its line was just opened and is listened to first"))
        elif turn is not None:
            self._overruns.add(1)
            self._miss(schedule, turn.due_ns, turn.epoch, OVERRUN, _("its line had no time for it"))

    def _is_ready(self, schedule: Schedule) -> bool:
        return self._ready_at(schedule) <= time.monotonic()

    def _ready_at(self, schedule: Schedule) -> float:
        """From when on the next request of a schedule's turn waits for nothing."""
        turn, meter = schedule.turn, schedule.meter
        if turn is None:
            return 0.0
        pending = turn.pending if turn.probe or meter.known else meter.number or turn.pending
        ready_at = self._link.ready_at(schedule.polled.driver, pending[0]) if pending else 0.0
        return max(self.line.ready_at(), ready_at)

    def _needed_in(self) -> float:
        """In how many seconds the line is needed next."""
        if self.by_hand or self._agenda.is_wanted:
            return 0.0
        silent = self._agenda.silent_in(self._clock.monotonic()) if self.line.is_open else _LONGEST_NAP
        return max(0.0, min(silent, self._agenda.due_in(self._clock.now_ns())))

    async def _rest(self) -> None:
        """Returns when something may have come up: an instant, an answer that is no longer owed, a reader by hand."""
        self._wake.clear()
        if not self._agenda.is_wanted:
            self.progress.rests()
        now_ns, now = self._clock.now_ns(), self._clock.monotonic()
        ready_at = [self._ready_at(schedule) for schedule in self._agenda.waiting(now_ns, now)]
        ready_at += [self.by_hand.ready_at()] if self.by_hand else []
        naps = [at - time.monotonic() for at in ready_at]
        naps += [self._agenda.silent_in(now)] if self.line.is_open else []
        naps += [] if self._finishing else [self._agenda.due_in(now_ns)]
        nap = min([*naps, _LONGEST_NAP])
        await self._clock.wait(self._wake, max(0.0, nap))

    # --- what is done in it -----------------------------------------------------------------------------------

    async def _slice(self, schedule: Schedule) -> None:
        turn, meter = schedule.turn, schedule.meter
        if turn is None:
            return
        begun, busy_s = time.monotonic(), self._link.busy_s
        if meter.asked_s is not None and self._clock.monotonic() - meter.asked_s > _DAY_S:
            meter.forget()
        try:
            self.line.must_be_open()
            if not (turn.probe or meter.known) and (watch := turn.meter.serial):
                await self._identify(schedule, turn, watch)
            elif turn.pending:
                await take_slice(turn, self._link, schedule.plan, meter.health)
            if not turn.pending and must_settle(turn, meter, self._book):
                await settle(turn, meter, self._book, self._link, self._clock.monotonic(), self._log)
        except LinkDown as error:
            self._lost(schedule, turn, error)
            return
        finally:
            used_s = self._link.busy_s - busy_s
            turn.used_s += used_s
            self.line.used(used_s, turn.meter.port)
        if not turn.pending:
            if schedule.turn is turn:
                schedule.turn = None
                self._finish(schedule, turn)
            await schedule.meter.telling.let_write(schedule.polled.every_ms)
        if used_s:
            await self.line.heard(anything=self._link.heard_at >= begun)

    def _lost(self, schedule: Schedule, turn: Turn, error: LinkDown) -> None:
        """The link went away in a turn: what was read in it before is sealed, or its instant is missed."""
        schedule.turn = None
        if not turn.probe and self._tells(turn):
            self._finish(schedule, turn)
        elif not turn.probe:
            schedule.missing = True
            tried = [*turn.unidentified, *turn.exchanges]
            self._miss(schedule, turn.due_ns, turn.epoch, error.cause, f"{error}. {error.hint}", tried)
        schedule.meter.forget()

    def _tells(self, turn: Turn) -> bool:
        """Whether a turn brought an answer that can be used."""
        if turn.probe:
            return bool(turn.usable or turn.refused)
        polled = turn.meter
        return bool(turn.usable) and tells(polled.driver, polled.target, polled.points, turn.exchanges)

    def _finish(self, schedule: Schedule, turn: Turn) -> None:
        """A turn is over: its answers become a reading, or its instant is missed."""
        health = schedule.meter.health
        if not self._tells(turn):
            self._failed(schedule, turn)
            return
        was_dead, was_failing = health.dead, health.failing
        health.answered()
        schedule.took_ns = turn.took_ns
        if not turn.probe:
            self._taken(schedule, turn)
        if was_dead:
            self._agenda.returned(schedule.meter, self._clock.now_ns())
        elif was_failing:
            self._agenda.catch_up(schedule.meter, self._clock.now_ns())

    def _taken(self, schedule: Schedule, turn: Turn) -> None:
        schedule.missing = False
        self.progress.read()
        self._tell_refusals(schedule, turn)
        left_out = frozenset(schedule.plan.left_out)
        schedule.meter.telling.begin(tell_reading(self._book, turn.meter, turn.due_ns, turn.epoch, turn.exchanges, left_out))

    def _failed(self, schedule: Schedule, turn: Turn) -> None:
        tried = [*turn.unidentified, *turn.exchanges]
        error = next((each.error for each in reversed(tried) if each.error), None)
        error = error or Refused("nothing_to_read", _("it has refused all that is read from it"))
        where = {"address": turn.meter.target.address, "link": self._link.settings.name}
        place = _("{meter} at address {address} on {link}", meter=turn.meter.id, **where)
        hint = f"{place}: {error}. {error.hint}"
        if isinstance(error, NoAnswer):
            schedule.meter.forget()
        if not isinstance(error, Refused):
            schedule.meter.health.failed(self._clock.monotonic(), error.cause, hint)
            self._agenda.spent(self._clock.monotonic(), turn.used_s)
        if not turn.probe:
            schedule.missing = True
            self._miss(schedule, turn.due_ns, turn.epoch, error.cause, hint, tried)

    def _miss(
        self, schedule: Schedule, due_ns: int, epoch: int, cause: str, hint: str, exchanges: Sequence[Exchange] = ()
    ) -> None:
        polled = schedule.polled
        self.progress.missed()
        told = self._book.missed(polled.id, polled.every_ms, due_ns, cause, hint, epoch, tuple(exchanges))
        schedule.meter.telling.begin(told)

    # --- who it is --------------------------------------------------------------------------------------------

    async def _identify(self, schedule: Schedule, turn: Turn, watch: Watch) -> None:
        """Reads a meter's serial number where it has not yet been since it was connected; ends the turn if it is another's."""
        polled, meter = turn.meter, schedule.meter
        asking = Turn(polled, turn.due_ns, turn.before_ns, turn.epoch, deque(meter.number), put_back=turn.put_back)
        while asking.pending:
            await take_slice(asking, self._link, schedule.plan, meter.health)
            if asking.put_back and not turn.put_back:
                turn.put_back, turn.before_ns, turn.unidentified = True, asking.before_ns, asking.exchanges
                return  # silent or damaged once: others go first
        exchanges = asking.exchanges
        found, formula = serial_in(polled.driver, polled.target, watch, exchanges)
        if not found and self._may_tell_yet(meter, exchanges[-1].error):
            turn.unidentified += exchanges
            turn.pending.clear()
            return
        if not found:
            reason = str(exchanges[-1].error or _("the register is empty"))
            self._log.warning(
                "meter.unidentified", meter=polled.id, reason=reason, hint=_("The plate's number is taken instead.")
            )
        elif not await self._book.identified(polled.id, found, formula, exchanges, "register"):
            schedule.turn, schedule.missing = None, True
            turn.pending.clear()
            self._miss(
                schedule,
                turn.due_ns,
                turn.epoch,
                "other_meter",
                _("serial number {found} answers", found=found),
                exchanges,
            )
            return
        meter.known, meter.unread = True, 0
        if not polled.watches:
            meter.asked_s = self._clock.monotonic()

    def _may_tell_yet(self, meter: PolledMeter, error: MeterError | None) -> bool:
        """Whether a serial number that was not told may be the next time. A meter that never tells it is read nevertheless."""
        if error is None or isinstance(error, Refused):
            return False
        meter.unread += meter.health.alive
        return meter.unread < _UNREAD

    def _tell_refusals(self, schedule: Schedule, turn: Turn) -> None:
        meter, refused = schedule.meter, turn.refused
        new = schedule.plan.left_out - meter.left_out
        meter.left_out |= new
        if refused is None or (refused.lasting and not new):
            return  # a block that was refused and then read in parts has cost no value
        if new or meter.refusal != refused.cause:
            left = {"left_out": ", ".join(sorted(new))} if new else {}
            words = {"cause": refused.cause, "reason": str(refused), "hint": refused.hint}
            self._log.warning("meter.refused", meter=turn.meter.id, **words, **left)
        meter.refusal = refused.cause
