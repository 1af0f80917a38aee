"""How much of a line's time its meters take: arithmetic over the requests that will be sent. Pure.

One exchange on a serial line (Serial Line V1.02, 2.5.1.1):

    request | 3.5 characters | the meter takes its time | answer | 3.5 characters, or the longer pause the meter asks for

 1. `least` counts bytes and silences alone: no meter can be faster.
 2. `usual` adds the time a meter takes before it answers, which is assumed: 30 ms; over Modbus TCP 5 ms for all of it.
 3. The bits of a character are those of its format: start, data, parity and stop, 10 for 8N1. Nobody states the format
    and the baud rate of a line behind a serial server: there the bytes count nothing.

Where a meter on Modbus TCP takes several requests at once, they share one pause and one round trip.

What this file does not know: how quick the meters are, which of them are silent (each costs its timeout), requests
asked twice, the serial numbers read once after a start, and what a conversation asks next after an answer
(`Driver.following`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Protocol, runtime_checkable

from drivers import Driver, Request
from drivers.link_settings import LinkSettings

TURNAROUND_S = 0.030
ROUND_TRIP_S = 0.005
LATEST_S = 60.0  # by when the poller wants to have dealt with a poll, however long its interval: see `agent.poll`
_LONG_ANSWER = 1000  # bytes; a driver's limit is where it gives up, meters answer with less
UNSTATED = (9600, "8N1")  # what the link takes silences from where nobody states how the line is set


@runtime_checkable
class TellsLength(Protocol):
    """A driver that knows from a request how long its answer is."""

    def answer_length(self, request: bytes, framing: str) -> int | None:
        """The bytes of the answer to a request; None: that is the meter's matter."""


@dataclass(frozen=True, slots=True)
class Need:
    """Seconds, or a share of the time: at least, and as is usual."""

    least: float = 0.0
    usual: float = 0.0

    def __add__(self, other: Need) -> Need:
        return Need(self.least + other.least, self.usual + other.usual)


def exchange_bytes(driver: Driver, request: Request, framing: str) -> tuple[int, int]:
    """The bytes of the answer to a request: at least, and as counted for `usual`.

    Both are the same where the driver can tell. Otherwise an answer has one byte at least, and is counted at its longest,
    with 1000 bytes at most: what is not known gets no configuration refused, but warned of.
    """
    if request.silent:
        return 0, 0
    told = driver.answer_length(request.data, framing) if isinstance(driver, TellsLength) else None
    return (1, min(_LONG_ANSWER, request.longest_bytes)) if told is None else (told, told)


@dataclass(frozen=True, slots=True)
class Asked:
    """What one meter is asked at one interval.

    Attributes:
        meter: its id.
        every_s: the interval in seconds.
        framing: how frames are carried, as in `Target`.
        exchanges: the requests, each with the bytes of its answer (`exchange_bytes`).
        baud, character: how the line is set for it; where `stated` is False, only what silences are taken from.
        stated: whether they are known: a port's are, those behind a serial server are not.
    """

    meter: str
    every_s: float
    framing: str
    exchanges: tuple[tuple[Request, tuple[int, int]], ...]
    baud: int = UNSTATED[0]
    character: str = UNSTATED[1]
    stated: bool = True

    @property
    def need(self) -> Need:
        """Seconds for asking it once."""
        return sum(self.slices(), Need())

    def slices(self) -> list[Need]:
        """The same, piece by piece: between two of them other meters may be asked."""
        if self.framing != "tcp":
            return [self._exchange(request, answer) for request, answer in self.exchanges]
        together = max((request.together for request, _ in self.exchanges), default=1)
        pause = max((request.pause_s for request, _ in self.exchanges), default=0.0)
        turns = math.ceil(len(self.exchanges) / together)
        return [Need(pause, pause + ROUND_TRIP_S)] * turns

    @property
    def share(self) -> Need:
        """The share of the line's time that it takes."""
        need = self.need
        return Need(need.least / self.every_s, need.usual / self.every_s)

    def _exchange(self, request: Request, answer: tuple[int, int]) -> Need:
        """Seconds on a serial line from the beginning of a request until the next one may begin."""
        silence = self._line().silence_s
        after = max(silence, request.pause_s)
        asked = self._on_the_wire(len(request.data), request.baud, request.character)
        if request.silent:
            spent = asked + request.timeout_s + after
            return Need(spent, spent)
        before = silence if self.stated else 0.0
        least, usual = (self._on_the_wire(count, request.answer_baud or request.baud, request.character) for count in answer)
        return Need(asked + before + least + after, asked + before + TURNAROUND_S + usual + after)

    def _on_the_wire(self, count: int, baud: int | None, character: str | None) -> float:
        if not self.stated and baud is None:
            return 0.0
        line = self._line(baud, character)
        return count * line.character_bits / line.baud

    def _line(self, baud: int | None = None, character: str | None = None) -> LinkSettings:
        return LinkSettings(self.meter, self.framing, baud=baud or self.baud, character=character or self.character)


@dataclass(frozen=True, slots=True)
class LineTime:
    """The time a link needs.

    Attributes:
        link: its name.
        asked: what is asked over it, the shortest intervals first.
    """

    link: str
    asked: tuple[Asked, ...]

    @classmethod
    def of(cls, link: str, asked: Iterable[Asked]) -> LineTime:
        """The time of a link with meters in any order."""
        return cls(link, tuple(sorted(asked, key=lambda each: each.every_s)))

    @property
    def round(self) -> Need:
        """Seconds until all meters have been asked once, at all their intervals."""
        return sum((each.need for each in self.asked), Need())

    @property
    def busy(self) -> Need:
        """The share of the line's time that is needed."""
        return sum((each.share for each in self.asked), Need())

    def intervals(self) -> list[tuple[float, int, Need]]:
        """Each interval in seconds, how many meters are asked at it, and the share of the time they take."""
        made = []
        for every_s, asked in groupby(self.asked, key=lambda each: each.every_s):
            same = list(asked)
            made.append((every_s, len({each.meter for each in same}), sum((each.share for each in same), Need())))
        return made

    def collides(self) -> bool:
        """Whether polls are missed when all meters are due at once, although there is time enough for all of them.

        The earliest deadline comes first, and what has begun is not interrupted: what is due up to a deadline, and the
        longest slice of what is due later, must fit in front of it (George, Rivierre and Spuri 1996: demand bound).
        """
        latest = max(LATEST_S, self.shortest_s)
        wanted = [(min(each.every_s, latest), each) for each in self.asked]
        for deadline in {until for until, _ in wanted}:
            times = ((math.floor((deadline - until) / each.every_s) + 1, each) for until, each in wanted if until <= deadline)
            due = sum(count * each.need.usual for count, each in times)
            later = (part.usual for until, each in wanted if until > deadline for part in each.slices())
            if due + max(later, default=0.0) > deadline:
                return True
        return False

    @property
    def meters(self) -> int:
        """How many meters are asked."""
        return len({each.meter for each in self.asked})

    @property
    def shortest_s(self) -> float:
        """The shortest interval in seconds."""
        return self.asked[0].every_s

    @property
    def on_tcp(self) -> bool:
        """Whether only Modbus TCP is spoken, which knows no baud rate."""
        return all(each.framing == "tcp" for each in self.asked)

    @property
    def stated(self) -> bool:
        """Whether all baud rates that matter are known."""
        return all(each.stated or each.framing == "tcp" for each in self.asked)

    @property
    def told(self) -> bool:
        """Whether the lengths of all answers are known."""
        return all(least == usual for each in self.asked for _, (least, usual) in each.exchanges)

    def if_stated(self) -> LineTime:
        """The same line if a serial server is set as its meters are supposed to be."""
        return LineTime(self.link, tuple(replace(each, stated=True) for each in self.asked))

    def at_baud(self, baud: int) -> LineTime:
        """The same line with no meter slower than this."""
        return LineTime(self.link, tuple(replace(each, baud=max(each.baud, baud)) for each in self.asked))

    def not_under(self, every_s: float) -> LineTime:
        """The same line with no shorter interval than this."""
        return LineTime.of(self.link, (replace(each, every_s=max(each.every_s, every_s)) for each in self.asked))

    def hastened(self, every_s: float) -> LineTime:
        """The same line with another interval in place of the shortest one."""
        shortest = self.shortest_s
        hastened = (replace(each, every_s=every_s) if each.every_s == shortest else each for each in self.asked)
        return LineTime.of(self.link, hastened)
