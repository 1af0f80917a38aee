"""Telling the book what came of a poll, while the meters of a link or a server are asked on.

What this file does not know: how meters are asked, and when.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any

from agent.book import Book
from agent.polled import Polled
from agent.reading import Reading, Sealed, meter_number, values_of
from config.language import _
from drivers import Exchange

_MOST_UNWRITTEN = 4
_UNWRITTEN_MS = 3000


class Telling:
    """What is being written of one meter."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[Any]] = []

    def begin(self, told: Coroutine[Any, Any, Any]) -> None:
        """Lets the book write while others are asked."""
        for task in self._tasks:
            if task.done():
                task.result()  # the book tells what the disk refuses; anything else is a fault of ours and is raised here
        self._tasks = [*self._unwritten(), asyncio.create_task(told)]

    async def let_write(self, every_ms: int) -> None:
        """Waits where a meter's polls come faster than the disk takes them. `every_ms`: how often it is read."""
        most = max(_MOST_UNWRITTEN, _UNWRITTEN_MS // every_ms)
        while len(pending := self._unwritten()) >= most:
            await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)

    def _unwritten(self) -> list[asyncio.Task[Any]]:
        return [task for task in self._tasks if not task.done()]

    @staticmethod
    async def all_of(tellings: Iterable[Telling]) -> None:
        """Returns when all is written."""
        await asyncio.gather(*(task for each in tellings for task in each._tasks))


async def tell_reading(
    book: Book,
    polled: Polled,
    due_ns: int,
    epoch: int,
    exchanges: Sequence[Exchange],
    left_out: frozenset[str] = frozenset(),
    changes: Sealed | None = None,
) -> bool:
    """Computes the values of a poll that was answered and has them sealed; another meter's answers are a gap.

    Returns whether a reading is on disk.

    Args:
        book: what is told.
        polled: what was read.
        due_ns, epoch: the instant it answers for, and how often the wall clock had been set then.
        exchanges: all of them; at least one is good.
        left_out: quantities that were not asked for, because the meter has refused them before.
        changes: what was told since the reading before.
    """
    made = tuple(exchanges)
    number, formula = meter_number(polled.driver, polled.target, made)
    if number and not await book.own_number(polled.id, number, formula, made, polled.target.address):
        await book.missed(polled.id, polled.every_ms, due_ns, "other_meter", f"{number} answers", epoch, made)
        return False
    values = values_of(polled.driver, polled.target, polled.points, made, left_out)
    first = next(each.first for each in made if each.error is None and each.answer)
    return await book.taken(Reading(polled.id, polled.every_ms, due_ns, first, made, values, epoch, changes))


class Overruns:
    """Polls for which a line or a server had no time; told at the first, the tenth, the hundredth.

    Attributes:
        count: how many.
    """

    def __init__(self, link: str, log: Any) -> None:
        self.count = 0
        self._link = link
        self._log = log

    def add(self, polls: int) -> None:
        """So many more."""
        before, self.count = self.count, self.count + polls
        if before == 0 or len(str(before)) < len(str(self.count)):
            hint = _("Read its meters less often, or fewer quantities, or use a faster line; `meterseal check` tells what fits.")
            self._log.warning("link.overrun", link=self._link, polls=self.count, hint=hint)
