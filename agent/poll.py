"""Polling: one task a link asks its meters in the order they are due, and tells the book what came of it.

 1. A failed exchange is asked again once, as a new exchange that is recorded too; a refusal is not.
 2. A meter that was silent gets one request a turn, without a second try, until it answers again.
 3. After a link was opened, and after a meter was silent, the meter is identified before anything is sealed: it may
    have been exchanged. Another serial number under the same address is never sealed as the old meter.
 4. A link that is gone is opened again by itself, first at once, then ever more slowly up to once a minute.

The line goes on while the disk is still writing: what is told to the book is awaited only when a meter has several
of its polls still unwritten.

What this file does not know: bytes (drivers do), records (the book does).
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Coroutine, Sequence
from typing import Any

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_exponential_jitter

from agent.book import Book
from agent.clock import Clock
from agent.polled import Polled
from agent.reading import Reading, values_of
from agent.schedule import SECOND, first_due, next_due
from config.model import Watch
from drivers import Exchange, Request
from drivers.errors import LinkDown, MeterError, NoAnswer, Refused
from drivers.formula import evaluate
from drivers.link import Link

_LONGEST_NAP = 5.0
_PATIENCE_FOR_LINK = 2.0
_MOST_UNWRITTEN = 4


class LinkPoller:
    """Polls the meters of one link until it is cancelled."""

    def __init__(self, link: Link, meters: Sequence[Polled], clock: Clock, book: Book, log: Any) -> None:
        self._link = link
        self._meters = tuple(meters)
        self._clock = clock
        self._book = book
        self._log = log
        self._open = asyncio.Event()
        self._down = LinkDown("not_open", f"{link.settings.name} is not open yet")
        self._down_since = time.monotonic()
        self._known: set[str] = set()
        self._silent: set[str] = set()
        self._refusals: dict[str, str] = {}
        self._telling: dict[str, list[asyncio.Task[None]]] = {}

    async def run(self) -> None:
        """Polls for ever."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._keep_open())
                tasks.create_task(self._poll())
        finally:
            await asyncio.gather(*(task for tasks in self._telling.values() for task in tasks))
            await self._link.close()

    async def _keep_open(self) -> None:
        name = self._link.settings.name
        while True:
            tries = AsyncRetrying(
                retry=retry_if_exception_type(LinkDown),
                wait=wait_exponential_jitter(initial=1, max=60),
                sleep=self._clock.sleep,
                before_sleep=self._cannot_open,
            )
            async for attempt in tries:
                with attempt:
                    await self._link.open()
            self._known.clear()
            self._open.set()
            self._log.info("link.up", link=name)
            why = await self._link.lost()
            self._open.clear()
            self._down_since = time.monotonic()
            self._down = LinkDown("connection_lost", why)
            self._log.warning("link.down", link=name, reason=why, hint=self._down.hint)

    def _cannot_open(self, attempt: RetryCallState) -> None:
        error = attempt.outcome.exception() if attempt.outcome else None
        if isinstance(error, LinkDown):
            if attempt.attempt_number == 1:
                self._log.warning("link.down", link=self._link.settings.name, reason=str(error), hint=error.hint)
            self._down = error

    async def _poll(self) -> None:
        now = self._clock.now_ns()
        due = [(first_due(meter.every_s * SECOND, now), order) for order, meter in enumerate(self._meters)]
        heapq.heapify(due)
        while True:
            instant, order = due[0]
            await self._until(instant)
            meter = self._meters[order]
            await self._turn(meter, instant)
            heapq.heapreplace(due, (next_due(instant, meter.every_s * SECOND, self._clock.now_ns()), order))

    async def _until(self, instant: int) -> None:
        """Returns when the wall clock shows the instant, also if it was stepped meanwhile."""
        while (rest := (instant - self._clock.now_ns()) / SECOND) > 0:
            await self._clock.sleep(min(rest, _LONGEST_NAP))
            if rest > 2 * 86400:  # the clock was set back by days: the schedule must begin anew
                return

    async def _turn(self, meter: Polled, due_ns: int) -> None:
        try:
            if not self._open.is_set():
                # A line that has just gone may be back at once; one that stays away must not hold up every turn.
                async with asyncio.timeout(max(0.0, self._down_since + _PATIENCE_FOR_LINK - time.monotonic())):
                    await self._open.wait()
            await self._ask(meter, due_ns)
        except (TimeoutError, LinkDown) as error:
            down = error if isinstance(error, LinkDown) else self._down
            self._known.discard(meter.id)
            await self._tell(meter, self._book.missed(meter.id, due_ns, down.cause, f"{down}. {down.hint}"))

    async def _ask(self, meter: Polled, due_ns: int) -> None:
        if not await self._is_itself(meter, due_ns):
            return
        exchanges: list[Exchange] = []
        for request in meter.driver.requests(meter.target, meter.points):
            tried = await self._exchange(meter, request)
            exchanges += tried
            if isinstance(tried[-1].error, NoAnswer):
                break  # the rest of this turn would only wait for the same silence
        usable = [exchange for exchange in exchanges if exchange.error is None]
        if not usable:
            await self._failed(meter, due_ns, exchanges)
            return
        self._silent.discard(meter.id)
        self._tell_refusals(meter, exchanges)
        values = values_of(meter.driver, meter.target, meter.points, exchanges)
        await self._tell(meter, self._book.taken(Reading(meter.id, due_ns, usable[0].first, tuple(exchanges), values)))

    async def _tell(self, meter: Polled, told: Coroutine[Any, Any, None]) -> None:
        """Lets the book write while the line goes on; waits where a meter's polls come faster than the disk takes them."""
        earlier = self._telling.get(meter.id, [])
        for task in earlier:
            if task.done():
                task.result()  # the book tells what the disk refuses; anything else is a fault of ours and is raised here
        pending = [task for task in earlier if not task.done()]
        self._telling[meter.id] = [*pending, asyncio.create_task(told)]
        if len(pending) >= _MOST_UNWRITTEN:
            await pending[0]

    async def _exchange(self, meter: Polled, request: Request) -> list[Exchange]:
        """One exchange, and a second one if the first failed and the meter was not silent before."""
        tried = [await self._link.exchange(meter.driver, request)]
        error = tried[0].error
        if error and not isinstance(error, Refused) and meter.id not in self._silent:
            tried.append(await self._link.exchange(meter.driver, request))
        return tried

    async def _failed(self, meter: Polled, due_ns: int, exchanges: list[Exchange]) -> None:
        error = exchanges[-1].error or MeterError("no_answer", "no answer")
        if isinstance(error, NoAnswer):
            self._silent.add(meter.id)
            self._known.discard(meter.id)
        hint = f"{meter.id} at address {meter.target.address} on {self._link.settings.name}: {error}. {error.hint}"
        await self._tell(meter, self._book.missed(meter.id, due_ns, error.cause, hint, exchanges))

    async def _is_itself(self, meter: Polled, due_ns: int) -> bool:
        """Whether the meter may be read; reads its serial number where it has not yet been since it was connected."""
        watch = meter.serial
        if watch is None or meter.id in self._known:
            return True
        exchanges = await self._exchange(meter, meter.driver.requests(meter.target, [watch])[0])
        error = exchanges[-1].error
        if isinstance(error, NoAnswer):
            await self._failed(meter, due_ns, exchanges)
            return False
        found, formula = _serial_in(meter, watch, exchanges)
        if not found:
            reason = str(error) if error else "the register is empty"
            self._log.warning("meter.unidentified", meter=meter.id, reason=reason, hint="The plate's number is taken instead.")
        elif not await self._book.identified(meter.id, found, formula, exchanges):
            words = f"serial number {found} answers"
            await self._tell(meter, self._book.missed(meter.id, due_ns, "other_meter", words, exchanges))
            return False
        self._known.add(meter.id)
        return True

    def _tell_refusals(self, meter: Polled, exchanges: list[Exchange]) -> None:
        refused = next((exchange.error for exchange in exchanges if isinstance(exchange.error, Refused)), None)
        cause = refused.cause if refused else ""
        if refused and self._refusals.get(meter.id) != cause:
            self._log.warning("meter.refused", meter=meter.id, cause=cause, reason=str(refused), hint=refused.hint)
        self._refusals[meter.id] = cause


def _serial_in(meter: Polled, watch: Watch, exchanges: list[Exchange]) -> tuple[str, str]:
    """The serial number in the last exchange and its formula; empty where it holds none. Zero is no serial number."""
    if exchanges[-1].error:
        return "", ""
    requests = [b"" if exchange.error else exchange.request for exchange in exchanges]
    answers = [b"" if exchange.error else exchange.answer for exchange in exchanges]
    formula = meter.driver.locate(meter.target, requests, watch, answers)
    found = evaluate(formula, answers).value or ""
    return ("", "") if not found.strip("0 ") else (found, formula)
