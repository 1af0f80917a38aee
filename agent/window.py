"""What is on its way to a broker over one connection, and the cursor behind it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from agent.mqtt import Message


@dataclass(slots=True)
class Flight:
    """A message published and not yet acknowledged; `n` is None for a retained copy, and once its answer does not count."""

    message: Message
    n: int | None


@dataclass(slots=True)
class Window:
    """What is on its way over one connection.

    Attributes:
        size: how many messages may be in flight.
        cursor: the first record not acknowledged.
    """

    size: int
    cursor: int
    flights: dict[int, Flight] = field(default_factory=dict)
    _sent: dict[int, bool] = field(default_factory=dict)

    @property
    def room(self) -> int:
        """How many more messages may be published; none while one record alone is left unanswered this far behind."""
        return self.size - max(len(self.flights), len(self._sent))

    @property
    def records(self) -> int:
        """How many records are sent and not passed by the cursor."""
        return len(self._sent)

    def sent(self, mid: int, message: Message, n: int | None) -> None:
        """A message was published: record n, or a retained copy."""
        self.flights[mid] = Flight(message, n)
        if n is not None:
            self._sent[n] = False

    def take(self, n: int) -> None:
        """Record n is acknowledged: the cursor moves as far as there is no gap."""
        self._sent[n] = True
        while self._sent:
            first = next(iter(self._sent))
            if not self._sent[first]:
                return
            del self._sent[first]
            self.cursor = first + 1

    def rewind(self) -> None:
        """Everything from the cursor on will be sent again: acknowledgements still to come for it only make room."""
        self._sent.clear()
        for flight in self.flights.values():
            flight.n = None
