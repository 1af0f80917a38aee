"""What is on its way to a broker over one connection. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from agent.mqtt import Message


@dataclass(frozen=True, slots=True)
class Parcel:
    """A message and the records that it carries.

    Attributes:
        message: what is published.
        numbers: the n of its records, in order; none for a retained copy.
        records: each of them as a message of its own; without a batch this is the message itself.
        live: whether it was sealed while the connection stood, or right before; else it is backlog.
    """

    message: Message
    numbers: tuple[int, ...] = ()
    records: tuple[Message, ...] = ()
    live: bool = True


@dataclass(frozen=True, slots=True)
class Flight:
    """A parcel that was published and is not answered, and when that was."""

    parcel: Parcel
    at: float


@dataclass(slots=True)
class Window:
    """What is on its way over one connection.

    Attributes:
        size: how many messages may be in flight.
        flights: those that are, by packet identifier, oldest first.
        records: how many of them carry records.
        backlog: how many of them carry backlog.
    """

    size: int
    flights: dict[int, Flight] = field(default_factory=dict)
    records: int = 0
    backlog: int = 0

    @property
    def room(self) -> int:
        """How many more messages may be published."""
        return self.size - len(self.flights)

    @property
    def oldest(self) -> float | None:
        """Since when the longest of all waits for its answer."""
        return next(iter(self.flights.values())).at if self.flights else None

    def sent(self, mid: int, parcel: Parcel, at: float) -> None:
        """A parcel was published."""
        self.flights[mid] = Flight(parcel, at)
        self._count(parcel, 1)

    def answered(self, mid: int) -> Flight | None:
        """What an answer is for; None if for nothing that is in flight."""
        flight = self.flights.pop(mid, None)
        if flight:
            self._count(flight.parcel, -1)
        return flight

    def _count(self, parcel: Parcel, by: int) -> None:
        self.records += by if parcel.numbers else 0
        self.backlog += 0 if parcel.live else by


class Recent:
    """Records that were acknowledged so short a time ago that whoever says not to have them may not have seen that yet."""

    _TIMES = 3.0

    def __init__(self) -> None:
        self._until: deque[tuple[float, tuple[int, ...]]] = deque()

    def add(self, numbers: tuple[int, ...], sent_at: float, now: float) -> None:
        """Takes records that were acknowledged now. They are recent for three times as long as that took."""
        self._until.append((now + self._TIMES * (now - sent_at), numbers))
        self._forget(now)

    def numbers(self, now: float) -> Iterable[int]:
        """Those that are recent."""
        self._forget(now)
        return [n for until, numbers in self._until if until > now for n in numbers]

    def _forget(self, now: float) -> None:
        while self._until and self._until[0][0] <= now:
            self._until.popleft()
