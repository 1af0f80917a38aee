"""One turn of a meter on its line: the requests of one poll, asked one after the other in short slices.

 1. A damaged answer is asked for again once, at once. After a silence, or where the right answer may still come, the
    meter's turn is put back, once: others go first. Only a meter that was heard and was well is asked again at all.
 2. A conversation (a request and all that must follow it, and what wakes the meter up before it) is not interrupted.
 3. A refused block is asked for in smaller parts, and so is one that stays silent while the meter answers others, see
    `agent.plan`. Two silences in a row end the turn.

What this file does not know: when a turn is due, and what becomes of its answers.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from agent.by_hand import MOST_FOLLOWING, next_after, set_for
from agent.health import Health
from agent.plan import Plan
from agent.polled import Polled
from agent.schedule import MILLISECOND, SECOND
from drivers import Exchange, Request
from drivers.errors import BadFrame, LinkDown, MeterError, NoAnswer, Refused
from drivers.link import Link

LATEST_NS = 60 * SECOND  # however long the interval: a boundary reading belongs into its minute
_MOST_SILENCES = 2


@dataclass(slots=True, eq=False)
class Turn:
    """What is asked of one meter for one instant.

    Attributes:
        meter: whose turn it is.
        due_ns: the instant it answers for.
        before_ns: the time by which it should be dealt with, wall clock: whose is earliest comes first.
        epoch: how often the wall clock had been set when it came up.
        pending: what is still to be asked.
        exchanges: what was asked and answered.
        probe: a single question to a meter that has fallen silent.
        put_back: whether a silence was tried again.
        silences: in a row, since its last answer.
        cut: whether a silent block was asked for in parts, although nothing else was answered in it.
        unidentified: what was asked to know which meter it is, and not answered.
        settled: whether the meter's settings were asked for in it.
        used_s: for how many seconds it had the line.
    """

    meter: Polled
    due_ns: int
    before_ns: int
    epoch: int
    pending: deque[Request] = field(default_factory=deque)
    exchanges: list[Exchange] = field(default_factory=list)
    probe: bool = False
    put_back: bool = False
    silences: int = 0
    cut: bool = False
    unidentified: list[Exchange] = field(default_factory=list)
    settled: bool = False
    used_s: float = 0.0

    @property
    def begun(self) -> bool:
        """Whether anything was asked in it."""
        return bool(self.exchanges or self.unidentified)

    @property
    def took_ns(self) -> int:
        """How long the line was needed for what was answered in it."""
        return sum(each.last.uptime_ns - each.sent.uptime_ns for each in self.usable if each.last)

    @property
    def usable(self) -> list[Exchange]:
        """The exchanges with answers that were checked and are the meter's."""
        return [exchange for exchange in self.exchanges if exchange.error is None and exchange.answer]

    @property
    def refused(self) -> Refused | None:
        """The first refusal, if the meter refused something."""
        return next((exchange.error for exchange in self.exchanges if isinstance(exchange.error, Refused)), None)


async def take_slice(turn: Turn, link: Link, plan: Plan, health: Health) -> None:
    """Asks the next request of a turn with all that belongs to it; several at once where the meter takes them so.

    Raises:
        LinkDown: the port or connection was lost.
    """
    batch = [turn.pending.popleft()]
    woken: list[Request] = []
    while batch[0].silent and turn.pending:
        woken.append(batch[0])
        turn.exchanges += await _ask(turn, link, health, batch)
        batch = [turn.pending.popleft()]
    while batch[0].together > len(batch) and turn.pending:
        batch.append(turn.pending.popleft())
    again: list[Request] = []
    for request, exchange in zip(batch, await _ask(turn, link, health, batch), strict=True):
        turn.exchanges.append(exchange)
        later = await _continue(turn, link, plan, health, request, exchange)
        again += [*woken, *later] if later else []
    turn.pending.extendleft(reversed(again))


async def _ask(turn: Turn, link: Link, health: Health, requests: Sequence[Request]) -> list[Exchange]:
    """Asks a request, or several at once, and learns from the answers how the meter is."""
    driver, first = turn.meter.driver, requests[0]
    if late_s := link.late_s(driver, first):
        health.late(late_s)
    try:
        made = await link.exchanges(driver, [set_for(each, turn.meter) for each in requests], _timeout_s(link, health, first))
    except LinkDown as error:
        if turn.usable and error.request:  # what was answered before is sealed, with the reason why it is not all
            sent = turn.usable[-1].last or turn.usable[-1].sent
            turn.exchanges.append(Exchange(error.request, b"", sent, None, None, error))
        raise
    for exchange in made:
        _learn(turn, health, exchange)
    return made


async def _continue(
    turn: Turn, link: Link, plan: Plan, health: Health, request: Request, exchange: Exchange
) -> Sequence[Request]:
    """Goes on with a conversation to its end; what is to be asked later because of it."""
    once = health.failing
    for _ in range(MOST_FOLLOWING):
        error = exchange.error
        if error is None:
            plan.answered(request)
            following = next_after(turn.meter, request, exchange)
            if following is None:
                return ()
            request = following
        elif isinstance(error, LinkDown):
            raise error
        elif isinstance(error, Refused) and error.lasting:
            return plan.refused(request)
        elif isinstance(error, BadFrame) and not once and _is_ready(turn, link, request.again or request):
            once = True
            request = request.again or request
        elif not once and _is_worth_it(turn, health, error):
            turn.put_back = True
            turn.before_ns += min(turn.meter.every_ms * MILLISECOND, LATEST_NS) // 2
            return (request.again or request,)
        else:
            return _after_failure(turn, plan, health, request, error)
        exchange = (await _ask(turn, link, health, [request]))[0]
        turn.exchanges.append(exchange)
    return ()


def _is_ready(turn: Turn, link: Link, request: Request) -> bool:
    return link.ready_at(turn.meter.driver, request) <= time.monotonic()


def _is_worth_it(turn: Turn, health: Health, error: MeterError) -> bool:
    """Whether a turn is put back to ask the same again: not for a meter of which nothing was heard."""
    heard = health.heard_of or not isinstance(error, NoAnswer)
    return heard and not (turn.put_back or turn.probe)


def _after_failure(turn: Turn, plan: Plan, health: Health, request: Request, error: MeterError) -> Sequence[Request]:
    """What a second silence, damaged answer or passing refusal leaves to be asked."""
    silent = isinstance(error, NoAnswer)
    if turn.probe or isinstance(error, Refused):
        return ()
    parts: Sequence[Request] = ()
    if turn.usable:
        parts = plan.silent(request)
    elif health.alive and not turn.cut and not plan.was_answered(request):
        turn.cut = True  # it answers other questions, but has never answered this one
        parts = plan.silent(request)
    elif silent:
        turn.pending.clear()  # the rest of this turn would only meet the same silence
    if silent and turn.silences > _MOST_SILENCES:
        turn.pending.clear()
    return parts


def _timeout_s(link: Link, health: Health, request: Request) -> float | None:
    """How long an answer is worth waiting for; who only listens waits as long as the meter may stay silent."""
    return health.timeout_s(link.settings.times(request)[0]) if request.data else None


def _learn(turn: Turn, health: Health, exchange: Exchange) -> None:
    if isinstance(exchange.error, NoAnswer):
        health.unheard()
        turn.silences += 1
    elif exchange.answer:
        turn.silences = 0
        sound = exchange.error is None or isinstance(exchange.error, Refused)
        if sound and exchange.request and exchange.first:
            health.heard((exchange.first.uptime_ns - exchange.sent.uptime_ns) / SECOND)
