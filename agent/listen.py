"""Listening to topics of one broker and answering: a connection of its own, made again after a loss.

Apart from the delivery of records (`agent.forward`) on purpose: whatever arrives here can neither hold a record up nor
change one. What arrives is told one by one, in order; a message that nobody can take is dropped.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence

from agent.clock import Clock
from agent.mqtt import LARGEST_ARRIVAL, Arrived, Connected, Connection, Event, Lost, Message
from agent.mqtt_words import Trouble
from agent.pause import Pause
from config.site import Mqtt

_SETTLED_SECONDS = 60.0
_BESIDE_PAYLOAD = 500


class Listener:
    """A client that is subscribed to topics.

    Args:
        tell_lost: hears why there is no connection, each reason once until there has been one again.
        most_waiting: so many bytes that arrived wait to be heard; what comes beyond is dropped.
        largest: bytes of the largest message that the broker may send.
    """

    def __init__(
        self,
        destination: Mqtt,
        client_id: str,
        password: str | None,
        topics: Sequence[str],
        clock: Clock,
        tell_lost: Callable[[Trouble], object],
        *,
        most_waiting: int = 4_000_000,
        largest: int = LARGEST_ARRIVAL,
    ) -> None:
        self._destination = destination
        self._client_id = client_id
        self._password = password
        self._topics = topics
        self._clock = clock
        self._tell_lost = tell_lost
        self._most_waiting = most_waiting
        self._largest = largest
        self._connection: Connection | None = None
        self._told = ""
        self._heard = False
        self._waiting = 0

    @property
    def connected(self) -> bool:
        """Whether the broker has taken the connection."""
        return self._connection is not None

    def say(self, message: Message) -> None:
        """Publishes a message if there is a connection; else it is lost, and whoever waits for it asks again."""
        if self._connection:
            self._connection.publish(message)

    async def run(self, hear: Callable[[Arrived], Awaitable[None]]) -> None:
        """Hears until cancelled."""
        pause = Pause()
        while True:
            began, self._heard = self._clock.monotonic(), False
            await self._listen(hear)
            if self._heard or self._clock.monotonic() - began > _SETTLED_SECONDS:
                pause.reset()
            await self._clock.sleep(pause.next())

    async def _listen(self, hear: Callable[[Arrived], Awaitable[None]]) -> None:
        """One connection from the attempt to its end."""
        loop = asyncio.get_running_loop()
        inbox: asyncio.Queue[Event] = asyncio.Queue()

        def take(event: Event) -> None:
            if self._waiting + _size(event) <= self._most_waiting or not isinstance(event, Arrived):
                self._waiting += _size(event)
                inbox.put_nowait(event)

        def tell(event: Event) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to tell
                loop.call_soon_threadsafe(take, event)

        self._waiting = 0
        connection = Connection(self._destination, self._client_id, self._password, None, tell, self._largest)
        try:
            connection.open()
            while True:
                event = await inbox.get()
                self._waiting -= _size(event)
                if isinstance(event, Lost):
                    if event.trouble.why != self._told:
                        self._told = event.trouble.why
                        self._tell_lost(event.trouble)
                    return
                if isinstance(event, Connected):
                    connection.subscribe(self._topics)
                    self._connection, self._told = connection, ""
                elif isinstance(event, Arrived):
                    self._heard = True
                    await hear(event)
        finally:
            self._connection = None
            connection.drop()


def _size(event: Event) -> int:
    """About how much memory what arrived takes while it waits."""
    return len(event.payload) + _BESIDE_PAYLOAD if isinstance(event, Arrived) else 0
