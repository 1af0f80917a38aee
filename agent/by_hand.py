"""Reading a meter by hand over its link: directly, or through the agent that holds the link, between its polls."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from agent.line import Line
from agent.polled import Polled
from drivers import Exchange, Request
from drivers.errors import LinkDown
from drivers.link import Link

MOST_FOLLOWING = 64  # telegrams of one conversation; more is a meter that never ends

# Requests to a meter that nobody may come between, with all that follows from them: what was asked and answered, in order.
Asked = Callable[[Polled, Sequence[Request]], Awaitable[list[Exchange]]]


async def conversation(link: Link, meter: Polled, requests: Sequence[Request]) -> list[Exchange]:
    """Requests and all that follows from them, without second tries; ends with the first failure. Raises LinkDown."""
    made: list[Exchange] = []
    for request in requests:
        following: Request | None = request
        while following is not None and len(made) < MOST_FOLLOWING:
            exchange = await link.exchange(meter.driver, set_for(following, meter))
            made.append(exchange)
            if exchange.error:
                return made
            following = next_after(meter, following, exchange)
    return made


def next_after(meter: Polled, request: Request, exchange: Exchange) -> Request | None:
    """What is asked next to complete a request that was answered, None if it is complete. Behind a wake-up nothing is."""
    if request.silent and not exchange.answer:
        return None
    return meter.driver.following(meter.target, exchange.request, exchange.answer)


def together(requests: Iterable[Request]) -> Iterator[list[Request]]:
    """Requests in conversations: one that wakes a meter up, or makes it listen, with the one that it is for."""
    begun: list[Request] = []
    for request in requests:
        begun.append(request)
        if not request.silent:
            yield begun
            begun = []
    if begun:
        yield begun


def set_for(request: Request, meter: Polled) -> Request:
    """The request with the settings of the meter's own port, where it has some and the protocol does not set others."""
    if meter.port is None:
        return request
    baud, character = meter.port
    return replace(request, baud=request.baud or baud, character=request.character or character)


@dataclass(frozen=True, slots=True)
class _Asking:
    meter: Polled
    requests: Sequence[Request]
    answered: asyncio.Future[list[Exchange]]


class Readers:
    """Who reads meters by hand over a line that the agent holds: one conversation after the other, between its polls."""

    def __init__(self, link: Link, line: Line) -> None:
        self._link = link
        self._line = line
        self._waiting: deque[_Asking] = deque()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    async def ask(self, meter: Polled, requests: Sequence[Request]) -> list[Exchange]:
        """The exchanges of one conversation, made as soon as the line is free. Raises LinkDown."""
        asking = _Asking(meter, requests, asyncio.get_running_loop().create_future())
        self._waiting.append(asking)
        self._link.heard.set()
        return await asking.answered

    def ready_at(self) -> float:
        """From when on the next one can be served, monotonic seconds: its meter may still owe a late answer."""
        next_one = self._waiting[0]
        return max(self._line.ready_at(), self._link.ready_at(next_one.meter.driver, next_one.requests[0]))

    async def serve(self) -> None:
        """Serves the next one."""
        asking = self._waiting.popleft()
        busy_s = self._link.busy_s
        try:
            self._line.must_be_open()
            exchanges = await conversation(self._link, asking.meter, asking.requests)
        except LinkDown as error:
            if not asking.answered.done():
                asking.answered.set_exception(error)
        else:
            if not asking.answered.done():
                asking.answered.set_result(exchanges)
        finally:
            self._line.used(self._link.busy_s - busy_s, asking.meter.port)
