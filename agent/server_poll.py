"""Polling a server that holds many meters: at each instant one Read asks for all that is due, and each meter gets its part.

 1. Instants lie on the wall clock as those of a line (`agent.poll`). What is due at the same instant is asked for together.
 2. Whatever goes wrong with a session ends it, and a new one is opened (`agent.line`): those that were missing are read
    at once for the instant that is running. An instant that passes meanwhile is missed, with the reason why the server
    could not be read, and is sealed as missed then.
 3. A server numbers its namespaces anew as it likes. Its table comes with every answer; when it has changed, all is asked
    for again by the new numbers. What was asked for by the old ones is kept and never taken for a value.
 4. Servers do not wait for each other, and none waits while values are computed and written.

What this file does not know: connections and certificates (`drivers.opcua_session`), bytes (`drivers.opcua`), records.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

from agent.attestation import settings_read
from agent.book import Book
from agent.changes import Changes
from agent.clock import Clock
from agent.line import Line, Way
from agent.polled import Polled
from agent.progress import Progress
from agent.reading import tells
from agent.schedule import SECOND, first_due, newest_due, next_due
from agent.server_changes import Kept, follow_changes
from agent.server_changes import Session as Following
from agent.server_schedule import MeterOfServer, Scheduled
from agent.telling import Overruns, Telling, tell_reading
from drivers import Exchange, Request
from drivers.debt import checked
from drivers.errors import LinkDown, MeterError
from drivers.opcua_read import divided, namespaces_in, resolved

_LONGEST_NAP = 5.0
_DAY_S = 86_400


class Session(Way, Following, Protocol):
    """A session with a server: see `drivers.opcua_session.Session`."""

    heard: asyncio.Event
    busy_s: float
    most: int

    @property
    def down(self) -> LinkDown:
        """Why it has ended."""

    async def read(self, requests: Sequence[bytes]) -> list[Exchange]:
        """The exchange of each request, in order. Raises LinkDown."""


class ServerReaders:
    """Who reads meters of a server by hand: at any time, for a server answers many requests at once."""

    def __init__(self, session: Session, line: Line) -> None:
        self._session = session
        self._line = line

    async def ask(self, meter: Polled, requests: Sequence[Request]) -> list[Exchange]:
        """The exchanges of a meter's requests. Raises LinkDown."""
        await self._line.until_open()
        return await ask_server(self._session, meter, requests)


async def ask_server(session: Session, _: Polled, requests: Sequence[Request]) -> list[Exchange]:
    """The exchanges of a meter's requests, over a session that is open. Raises LinkDown."""
    return await session.read(_as_sent(session, [request.data for request in requests]))


def _as_sent(session: Session, requests: Sequence[bytes]) -> list[bytes]:
    """Requests by the server's numbers, none with more nodes than it takes at once."""
    return [part for each in requests for part in divided(resolved(each, session.namespaces), session.most)]


class ServerPoller:
    """Polls the meters of one server until it is cancelled.

    Attributes:
        line: whether the server can be read, and since when.
        by_hand: who reads its meters by hand.
        progress: how far it has got.
    """

    def __init__(self, session: Session, polled: Sequence[Polled], clock: Clock, book: Book, log: Any) -> None:
        self._session = session
        self._clock = clock
        self._book = book
        self._log = log
        self.line = Line(session, clock, log, 0.0)
        self.by_hand = ServerReaders(session, self.line)
        self._meters = {each.id: MeterOfServer() for each in polled}
        self._schedules = [Scheduled(each, _requests(each), self._meters[each.id], Kept(each, log)) for each in polled]
        self._due: list[tuple[int, int]] = []
        self._overruns = Overruns(session.settings.name, log)
        self.progress = Progress(session.settings.name, log, len(polled))
        self._epoch = -1
        self._opened = 0
        self._finishing = False

    async def run(self) -> None:
        """Polls until `finish` is called, or for ever."""
        following = [each.changes for each in self._schedules]
        try:
            async with asyncio.TaskGroup() as tasks:
                keeping = tasks.create_task(self.line.keep_open(self._needed_in, self._session.heard))
                following_changes = tasks.create_task(follow_changes(self._session, self.line, following))
                await self._poll()
                keeping.cancel()
                following_changes.cancel()
        finally:
            await Telling.all_of(each.telling for each in self._meters.values())
            await self._session.close()

    def finish(self) -> None:
        """Begins nothing new: `run` returns when what is under way has ended and is written."""
        self._finishing = True
        self._session.heard.set()

    def live(self) -> dict[str, Any]:
        """How the server stands at this moment, for people."""
        failures: dict[str, int] = {}
        for each in self._schedules:
            failures[each.polled.id] = max(failures.get(each.polled.id, 0), each.failures)
        return {
            "open": self._session.is_open,
            "down": self.line.is_down,
            "busy_percent": self.line.busy_percent(),
            "waiting": sum(each.due_ns is not None for each in self._schedules),
            "overruns": self._overruns.count,
            "meters": {name: {"failures": count, "dead": False, "left_out": []} for name, count in failures.items()},
        }

    def stalled_s(self) -> float:
        """For how many seconds nothing has moved, where that is too long; else 0."""
        return self.progress.stalled_s(self._session.heard_at)

    async def _poll(self) -> None:
        while not self._finishing:
            self.progress.turned()
            if self._book.steps.pending():
                await self._book.clock_was_set()
            if self._epoch != self._book.steps.count:
                self._begin_anew()
            self._take_up()
            waiting = [each for each in self._schedules if each.due_ns is not None]
            if waiting and self.line.is_open:
                await self._read(waiting)
            elif waiting and self.line.ready_at() <= time.monotonic():
                for schedule in waiting:
                    self._lapse(schedule)
            else:
                await self._rest(waiting=bool(waiting))

    def _begin_anew(self) -> None:
        """At the start, and when the clock was set: the first instants from now on."""
        self._epoch = self._book.steps.count
        now_ns = self._clock.now_ns()
        for schedule in self._schedules:
            schedule.due_ns = None
        self._due = [(first_due(each.every_ns, now_ns), order) for order, each in enumerate(self._schedules)]
        heapq.heapify(self._due)

    def _take_up(self) -> None:
        """Lets wait whose instant has come; an older instant of it that still waits is missed."""
        now_ns = self._clock.now_ns()
        if self.line.times_opened != self._opened:
            self._opened = self.line.times_opened
            for meter in self._meters.values():
                meter.asked_s = None
            for schedule in self._schedules:
                behind = self._book.is_behind(schedule.polled.id, schedule.polled.every_ms, now_ns)
                if (schedule.missing or behind) and schedule.due_ns is None:
                    schedule.due_ns = newest_due(schedule.every_ns, now_ns)
        while self._due and self._due[0][0] <= now_ns:
            due, order = self._due[0]
            schedule = self._schedules[order]
            newest = max(due, newest_due(schedule.every_ns, now_ns))
            heapq.heapreplace(self._due, (next_due(newest, schedule.every_ns, now_ns), order))
            if schedule.due_ns is not None and schedule.due_ns < newest:
                self._lapse(schedule)
            if (unasked := (newest - due) // schedule.every_ns) and self._session.is_open:
                self._overruns.add(unasked)
            elif unasked:
                self._miss(schedule, due, self._down)  # they came while the server did not answer
            schedule.due_ns = newest

    def _lapse(self, schedule: Scheduled) -> None:
        """The instant that waits was not read."""
        if schedule.due_ns is not None:
            due_ns, schedule.due_ns = schedule.due_ns, None
            self._miss(schedule, due_ns, self._down)

    @property
    def _down(self) -> LinkDown:
        """Why the server cannot be read; its line may not have noticed yet that the session has ended."""
        return self._session.down if self.line.is_open else self.line.down

    def _needed_in(self) -> float:
        """In how many seconds the server is needed next."""
        if any(each.due_ns is not None for each in self._schedules):
            return 0.0
        return max(0.0, (self._due[0][0] - self._clock.now_ns()) / SECOND) if self._due else _LONGEST_NAP

    async def _rest(self, *, waiting: bool) -> None:
        """Returns when something may have come up: an instant, or a session."""
        self._session.heard.clear()
        if not waiting:
            self.progress.rests()
        naps = [(self._due[0][0] - self._clock.now_ns()) / SECOND] if self._due else []
        naps += [self.line.ready_at() - time.monotonic()] if waiting else []
        await self._clock.wait(self._session.heard, max(0.0, min([*naps, _LONGEST_NAP])))

    # --- what is done in it -----------------------------------------------------------------------------------

    async def _read(self, waiting: Sequence[Scheduled]) -> None:
        """Reads all that waits, and tells the book of each."""
        due = [(each, each.due_ns or 0) for each in waiting]
        for schedule in waiting:
            schedule.due_ns = None
        epoch, busy_s = self._epoch, self._session.busy_s
        try:
            made = await self._asked(waiting)
            await self._settle(waiting, made)
        except LinkDown as error:
            for schedule, due_ns in due:
                self._miss(schedule, due_ns, error, epoch=epoch)
            return
        finally:
            self.line.used(self._session.busy_s - busy_s, None)
        for (schedule, due_ns), exchanges in zip(due, made, strict=True):
            self._finish(schedule, due_ns, epoch, exchanges)
        if self._session.is_open:
            await self.line.heard(anything=True)
        for schedule in waiting:
            await schedule.meter.telling.let_write(schedule.polled.every_ms)

    async def _asked(self, waiting: Sequence[Scheduled]) -> list[list[Exchange]]:
        """The exchanges of each schedule; twice those of all, if the server has changed its table in between."""
        made = await self._exchanges(waiting)
        table = self._table(made)
        if table and table != self._session.namespaces:
            self._session.namespaces = table
            again = await self._exchanges(waiting)
            made = [before + after for before, after in zip(made, again, strict=True)]
        return made

    async def _exchanges(self, waiting: Sequence[Scheduled]) -> list[list[Exchange]]:
        asked = [_as_sent(self._session, each.requests) for each in waiting]
        exchanges = iter(await self._session.read([request for each in asked for request in each]))
        return [[_judged(schedule.polled, next(exchanges)) for _ in each] for schedule, each in zip(waiting, asked, strict=True)]

    async def _settle(self, waiting: Sequence[Scheduled], made: Sequence[Sequence[Exchange]]) -> None:
        """Asks meters how they are set, before what was read of them is sealed: in each session, and every day."""
        now = self._clock.monotonic()
        for schedule, exchanges in zip(waiting, made, strict=True):
            polled, meter = schedule.polled, schedule.meter
            asked = meter.asked_s is not None and now - meter.asked_s < _DAY_S
            if asked or not polled.watches or not self._session.is_open or any(each.error for each in exchanges):
                continue
            requests = [each.data for watch in polled.watches for each in polled.driver.requests(polled.target, [watch])]
            told = [_judged(polled, each) for each in await self._session.read(_as_sent(self._session, requests))]
            if not any(each.error for each in told):
                await settings_read(self._book, polled, told, self._log)
                meter.asked_s = now

    def _table(self, made: Sequence[Sequence[Exchange]]) -> tuple[str, ...]:
        """The server's namespaces by the newest answer; empty where none tells them."""
        good = next((each for exchanges in reversed(made) for each in reversed(exchanges) if not each.error), None)
        return tuple(namespaces_in(good.answer) or ()) if good else ()

    def _finish(self, schedule: Scheduled, due_ns: int, epoch: int, exchanges: Sequence[Exchange]) -> None:
        """A poll is over: its answers become a reading, or its instant is missed."""
        polled = schedule.polled
        if tells(polled.driver, polled.target, polled.points, exchanges):
            schedule.missing, schedule.failures = False, 0
            self.progress.read()
            changes = schedule.changes.take(exchanges)
            schedule.meter.telling.begin(self._tell(schedule, due_ns, epoch, exchanges, changes))
            return
        error = next((each.error for each in reversed(exchanges) if each.error), None)
        self._miss(schedule, due_ns, error or self._down, exchanges, epoch)

    async def _tell(
        self, schedule: Scheduled, due_ns: int, epoch: int, exchanges: Sequence[Exchange], changes: Changes | None
    ) -> None:
        if not await tell_reading(self._book, schedule.polled, due_ns, epoch, exchanges, changes=changes):
            schedule.changes.not_sealed(changes)

    def _miss(
        self, schedule: Scheduled, due_ns: int, error: MeterError, exchanges: Sequence[Exchange] = (), epoch: int | None = None
    ) -> None:
        polled = schedule.polled
        schedule.missing = True
        self.progress.missed()
        schedule.failures += 1
        epoch = self._epoch if epoch is None else epoch
        hint = f"{polled.id} on {self._session.settings.name}: {error}. {error.hint}"
        missed = self._book.missed(polled.id, polled.every_ms, due_ns, error.cause, hint, epoch, tuple(exchanges))
        schedule.meter.telling.begin(missed)


def _requests(polled: Polled) -> tuple[bytes, ...]:
    return tuple(request.data for request in polled.driver.requests(polled.target, polled.points))


def _judged(polled: Polled, exchange: Exchange) -> Exchange:
    """An exchange whose answer is no sound one to its request is a failed one."""
    if exchange.error:
        return exchange
    error = checked(polled.driver, exchange.request, exchange.answer, polled.target.framing)
    return replace(exchange, error=error) if error else exchange
