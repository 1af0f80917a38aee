"""Answers that may still come: to which request of which station, and until when. They must never meet another request."""

from __future__ import annotations

import time
from dataclasses import dataclass

from drivers import Driver, Request
from drivers.errors import BadFrame, MeterError
from drivers.link_settings import LinkSettings
from drivers.wire import Wire


@dataclass(frozen=True, slots=True)
class Debt:
    """An answer that may still come.

    Attributes:
        driver, request, framing: what was asked.
        station: what its answer repeats; empty: nothing.
        sent_at, begins_until, until: when it was asked, until when its answer may begin to come, and until when it may
            be coming; monotonic seconds.
        between_s: the longest pause within it.
    """

    driver: Driver
    request: bytes
    framing: str
    station: bytes
    sent_at: float
    begins_until: float
    until: float
    between_s: float

    def waits_until(self, heard_at: float) -> float:
        """Until when it may come on a line on which the newest byte was heard at some time: what is coming goes on."""
        return max(self.begins_until, min(self.until, heard_at + self.between_s))

    def is_in(self, buffer: bytes) -> int:
        """Where it ends, if it is the first frame in what has arrived; else 0."""
        span = self.driver.answer_span(self.request, buffer, self.framing)
        if span is None:
            return 0
        error = checked(self.driver, self.request, buffer[slice(*span)], self.framing)
        return 0 if isinstance(error, BadFrame) else span[1]  # a refusal is an answer too

    def is_behind(self, buffer: bytes) -> int:
        """Where it ends in what has arrived, whatever frames stand in front of it; 0 if it has not come."""
        start = 0
        while span := self.driver.answer_span(self.request, buffer[start:], self.framing):
            if end := self.is_in(buffer[start:]):
                return start + end
            start += span[1]
        return 0

    def concerns(self, driver: Driver, station: bytes | None) -> bool:
        """Whether its answer could be taken for one of a station; of another protocol's it cannot.

        To the very same question as before it is no answer either: it tells an older value.
        """
        same = station == self.station or not station or not self.station
        return station is not None and driver is self.driver and same


class Debts:
    """What a line's meters still owe."""

    def __init__(self) -> None:
        self._all: list[Debt] = []
        self._late: dict[tuple[int, bytes], float] = {}

    def owe(self, driver: Driver, request: Request, settings: LinkSettings) -> None:
        """A request is about to be sent."""
        station = driver.station(request.data, settings.framing)
        if station is not None:
            now = time.monotonic()
            self._all = [debt for debt in self._all if debt.until > now]
            begins, ends = now + settings.begins_s(request), now + settings.times(request)[1]
            between_s = settings.between_s(request)
            self._all.append(Debt(driver, request.data, settings.framing, station, now, begins, ends, between_s))

    def settle(self, driver: Driver, request: bytes) -> None:
        """A request was answered."""
        self._all = [debt for debt in self._all if debt.driver is not driver or debt.request != request]

    def forget(self, driver: Driver, station: bytes) -> None:
        """The time is over in which a station could answer."""
        self._all = [debt for debt in self._all if not debt.concerns(driver, station)]

    def until(self, driver: Driver, station: bytes, heard_at: float) -> float | None:
        """Until when something stands in the way of a request to a station, monotonic seconds; None where nothing does.

        `heard_at`: when the newest byte was heard on the line.
        """
        mine = (debt for debt in self._all if debt.concerns(driver, station))
        return max((debt.waits_until(heard_at) for debt in mine), default=None)

    def late_s(self, driver: Driver, station: bytes) -> float | None:
        """How long the newest late answer of a station took, told once; None: none came since."""
        return self._late.pop((id(driver), station), None)

    def take_note(self, wire: Wire) -> None:
        """Ends the debts whose answers are in what arrived while nothing was asked, and discards that."""
        while self._all and wire.received:
            buffer = bytes(wire.received)
            come = [(end, debt) for debt in self._all if (end := debt.is_behind(buffer))]
            if not come:
                return
            end, debt = min(come, key=lambda each: each[0])
            self._end(debt, wire, end)

    def take_out(self, wire: Wire, driver: Driver, request: bytes) -> None:
        """Discards late answers to other requests, with what stands in front of them, from what has arrived for this one."""
        while len(self._all) > 1 and wire.received:
            buffer = bytes(wire.received)
            others = (debt for debt in self._all if debt.driver is not driver or debt.request != request)
            found = next(((debt, end) for debt in others if (end := debt.is_in(buffer))), None)
            if found is None:
                return
            self._end(found[0], wire, found[1])

    def _end(self, debt: Debt, wire: Wire, end: int) -> None:
        wire.drop(end)
        self._all.remove(debt)
        self._late[id(debt.driver), debt.station] = time.monotonic() - debt.sent_at


def checked(driver: Driver, request: bytes, answer: bytes, framing: str) -> MeterError | None:
    """Why an answer is none to a request; None if it is."""
    try:
        driver.check(request, answer, framing)
    except MeterError as error:
        return error
    return None
