"""Following the changes of an OPC UA server's nodes: one subscription in each session, what it tells kept until it is sealed.

 1. The changes of a schedule's points are sealed with its next reading (`agent.changes`), in order of arrival.
 2. What is kept is bounded. Beyond that the oldest is dropped and counted, never silently; what a reading has no room for
    is sealed with the next one.
 3. A subscription that ends, for whatever reason, is begun anew, and the next reading says so.

What this file does not know: how a server is read, and when.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any, Protocol

from agent.changes import Changes, change_values
from agent.line import Line
from agent.polled import Polled
from config.language import _
from config.model import Point
from drivers import Exchange
from drivers.errors import BadFrame, LinkDown
from drivers.opcua_changes import Told, Watched, asked_for, framed, has_overflowed, overflows, tables_of

_MOST = 10_000  # changes of one schedule that are kept
_MOST_BYTES = 1_000_000
_ROOM = 200_000  # bytes of a record that frames and changes together may take; it holds 256 KiB
_ENTRY = 200  # bytes that a change's value takes in a record, at most
_AGAIN_S, _REFUSED_S = 0.2, 5.0


class Session(Protocol):
    """A session with a server: see `drivers.opcua_session.Session`."""

    namespaces: tuple[str, ...]

    @property
    def is_open(self) -> bool:
        """Whether it can be read from."""

    async def follow(self, watched: Sequence[Watched], told: Told) -> str:
        """Tells changes until the subscription ends. Returns why."""


class Kept:
    """The changes of one schedule of one meter that are not sealed yet."""

    def __init__(self, polled: Polled, log: Any) -> None:
        wanted = polled.changes.quantities if polled.changes else ()
        self.points = tuple(point for point in polled.points if point.quantity in wanted)
        self.cause = ""
        self._polled = polled
        self._log = log
        self._kept: list[tuple[Point, bytes, bytes]] = []
        self._bytes = 0
        self._begun = 0
        self._dropped = 0
        self._told = {"overflow": 0, "dropped": 0}

    @property
    def how(self) -> tuple[int, int]:
        """How often the server looks, in milliseconds, and how many changes it keeps of each node."""
        return (self._polled.changes.sampling, self._polled.changes.queue) if self._polled.changes else (0, 0)

    def begun(self, refused: Sequence[str]) -> None:
        """A subscription has begun. `refused`: why nodes of this schedule are not watched."""
        self._begun += 1
        self.not_begun(next(iter(refused), ""))

    def not_begun(self, cause: str) -> None:
        """Nodes are not watched for this reason; empty: all are."""
        if cause and cause != self.cause:
            hint = _("See the causes in docs/causes.md; the readings of the schedule go on.")
            self._log.warning("meter.changes_refused", meter=self._polled.id, cause=cause, hint=hint)
        self.cause = cause

    def add(self, point: Point, node: bytes, value: bytes) -> None:
        """A change has come."""
        self._kept.append((point, node, value))
        self._bytes += len(node) + len(value)
        if has_overflowed(value):
            self._tell("overflow", 1)
        self._trim()

    def take(self, exchanges: Sequence[Exchange]) -> Changes | None:
        """What is sealed with a reading of these exchanges, which is not kept any more; None where nothing is followed."""
        if not self.points:
            return None
        own = next(((each.request, each.answer) for each in reversed(exchanges) if not each.error), None)
        room = _ROOM - sum(2 * (len(each.request) + len(each.answer)) for each in exchanges) - _ENTRY * len(self._polled.points)
        room -= 2 * len(tables_of(own[1])) if own else room
        count = 0
        for _unused, node, value in self._kept if own else ():
            room -= 2 * (len(node) + len(value)) + _ENTRY
            if room < 0:
                break
            count += 1
        taken, self._kept = self._kept[:count], self._kept[count:]
        self._bytes -= sum(len(node) + len(value) for _unused, node, value in taken)
        begun, dropped, self._begun, self._dropped = self._begun, self._dropped, 0, 0
        if own is None or not taken:
            return Changes(b"", b"", (), begun, 0, dropped, self.cause)
        request, answer = framed(own, [(node, value) for _unused, node, value in taken])
        values = change_values(self._polled.target, [point for point, _unused, _unused in taken], request, answer)
        return Changes(request, answer, values, begun, overflows(answer), dropped, self.cause)

    def not_sealed(self, changes: Changes | None) -> None:
        """A reading that had taken these was not sealed: they are lost, and counted."""
        if changes is not None:
            self._begun += changes.begun
            self._dropped += changes.dropped
            self._drop(len(changes.values))

    def _trim(self) -> None:
        gone = 0
        while len(self._kept) - gone > _MOST or self._bytes > _MOST_BYTES:
            _unused, node, value = self._kept[gone]
            self._bytes -= len(node) + len(value)
            gone += 1
        del self._kept[:gone]
        self._drop(gone)

    def _drop(self, count: int) -> None:
        if count:
            self._dropped += count
            self._tell("dropped", count)

    def _tell(self, how: str, count: int) -> None:
        """Tells of the first, the tenth, the hundredth that was lost."""
        before = self._told[how]
        now = self._told[how] = before + count
        if before == 0 or len(str(before)) < len(str(now)):
            server = _("The server could not keep all changes: give it a larger queue under changes, or a longer sampling.")
            gateway = _("More changes came than could be sealed: read the meter more often, or take a longer sampling.")
            hint = server if how == "overflow" else gateway
            self._log.warning("meter.changes_lost", meter=self._polled.id, how=how, count=now, hint=hint)


async def follow_changes(session: Session, line: Line, schedules: Sequence[Kept]) -> None:
    """Follows the changes of schedules in one session after the other, for ever; nothing where there are none."""
    schedules = [each for each in schedules if each.points]
    while schedules:
        with contextlib.suppress(LinkDown):
            await line.until_open()
            if session.is_open and not await _follow(session, schedules):
                await asyncio.sleep(_REFUSED_S)
        await asyncio.sleep(_AGAIN_S)


async def _follow(session: Session, schedules: Sequence[Kept]) -> bool:
    """One subscription, from its beginning to its end. Returns whether it began, or the session has ended."""
    table = session.namespaces
    wanted = [(kept, point, asked_for(point, table)) for kept in schedules for point in kept.points]
    lacking = [kept for kept, _unused, node in wanted if not node]
    places = [each for each in wanted if each[2]]
    begun = False

    def begin(refused: dict[int, str]) -> None:
        nonlocal begun
        begun = True
        for kept in schedules:
            causes = [cause for place, cause in refused.items() if places[place][0] is kept]
            kept.begun([*causes, *(["no_namespace"] if kept in lacking else [])])

    def changed(place: int, value: bytes) -> None:
        if not 0 <= place < len(places):
            raise BadFrame(
                "wrong_format",
                _("the server tells a change of node {place}, there are {places}", place=place, places=len(places)),
            )
        kept, point, node = places[place]
        kept.add(point, node, value)

    watched = [Watched(node, *kept.how) for kept, _unused, node in places]
    why = await session.follow(watched, Told(begin, changed, lambda: session.is_open and session.namespaces == table))
    refused = bool(why) and not begun and session.is_open
    for kept in schedules if refused else ():
        kept.not_begun(why)
    return not refused
