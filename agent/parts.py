"""The agent's running parts: who polls which line, who delivers where, and what is done beside.

Each is a task under a name, so that one can be ended and begun anew while the others go on. None ends by itself: what ends so is
a fault of ours, and ends the agent.

What this file does not know: when a part has to be another one (`agent.reload`), what goes before and behind (`agent.run`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from agent.book import Book
from agent.clock import Clock
from agent.control import Poller
from agent.forward import Forwarder
from agent.ledger import Ledger
from agent.polled import Polled
from agent.ways import poller_of
from config.settings import Settings, mqtt_password
from config.site import Mqtt, Site
from drivers.link import Link

if TYPE_CHECKING:
    from agent.server_poll import Session

_FINISH_SECONDS = 10.0
Work = Coroutine[Any, Any, None]


class Parts:
    """What runs.

    Attributes:
        pollers, meters: who polls, and what, by the link's name.
        forwarders: who delivers, by the destination's name.
        ended: done when a part has ended by itself.
    """

    def __init__(self, settings: Settings, ledger: Ledger, clock: Clock, book: Book, log: Any) -> None:
        self._settings = settings
        self._ledger = ledger
        self._clock = clock
        self._book = book
        self._log = log
        self.pollers: dict[str, Poller] = {}
        self.meters: dict[str, Sequence[Polled]] = {}
        self.forwarders: dict[str, Forwarder] = {}
        self._tasks: dict[tuple[str, str], asyncio.Task[None]] = {}
        self.ended = asyncio.Event()

    # --- lines ------------------------------------------------------------------------------------------------

    def poll(self, name: str, way: Link | Session, polled: Sequence[Polled]) -> None:
        """Has the meters of a line polled over a way that is not open yet."""
        self.pollers[name] = poller_of(way, polled, self._clock, self._book, self._log)
        self.meters[name] = polled
        self._begin("line", name, self.pollers[name].run())

    async def take_down(self, names: Iterable[str]) -> None:
        """Ends the polling of lines when what is under way on them is written, and gives their ports back."""
        tasks = []
        for name in names:
            self.pollers.pop(name).finish()
            del self.meters[name]
            tasks.append(self._tasks.pop(("line", name)))
        if tasks:
            _, slow = await asyncio.wait(tasks, timeout=_FINISH_SECONDS)
            await _cancel(slow)
            for task in tasks:
                if not task.cancelled():
                    task.result()  # a fault of ours is raised here

    # --- destinations -----------------------------------------------------------------------------------------

    def deliver(self, destination: Mqtt, site: Site) -> None:
        """Has the ledger delivered to a destination. `site`: where the meters stand, for topics that go by places."""
        password = password_of(self._settings, destination.name)
        made = Forwarder(destination, self._ledger, self._ledger.gateway, self._clock, password, self._log, site)
        self.forwarders[destination.name] = made
        self._begin("destination", destination.name, made.run())

    async def deliver_no_more(self, names: Iterable[str]) -> None:
        """Ends the delivery to destinations; each is told that we leave."""
        tasks = []
        for name in names:
            del self.forwarders[name]
            tasks.append(self._tasks.pop(("destination", name)))
        await _cancel(tasks)

    # --- beside -----------------------------------------------------------------------------------------------

    def beside(self, works: Iterable[Work]) -> None:
        """Has all this done beside polling and delivery."""
        for number, work in enumerate(works):
            self._begin("beside", str(number), work)

    async def end_beside(self) -> None:
        """Ends it."""
        await self._end("beside")

    # --- the end ----------------------------------------------------------------------------------------------

    def broken(self) -> list[asyncio.Task[None]]:
        """Those that ended by themselves."""
        return [task for task in self._tasks.values() if task.done() and not task.cancelled()]

    async def end_polling(self) -> None:
        """Ends the polling of all lines at once."""
        await self._end("line")

    async def end_all(self) -> None:
        """Ends all that is left."""
        await _cancel([task for task in self._tasks.values() if not task.done()])

    async def _end(self, kind: str) -> None:
        await _cancel([self._tasks.pop(key) for key in tuple(self._tasks) if key[0] == kind])

    def _begin(self, kind: str, name: str, work: Work) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks[kind, name] = task
        task.add_done_callback(self._has_ended)

    def _has_ended(self, task: asyncio.Task[None]) -> None:
        if task in self._tasks.values():
            self.ended.set()


def password_of(settings: Settings, name: str) -> str | None:
    """A destination's password, None where there is none."""
    secret = mqtt_password(settings, name)
    return secret.get_secret_value() if secret else None


async def _cancel(tasks: Iterable[asyncio.Task[Any]]) -> None:
    tasks = list(tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
