"""Records that have yet to be sent to one destination, in the order of n, read from the ledger a few at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from agent.mqtt import Message
from agent.ranges import Ranges

Numbered = tuple[int, Message]
Read = Callable[[int], Sequence[Numbered]]


class Lane:
    """What is missing at a destination from one n on, up to another if it has an end.

    What is not in the ledger's file any more though later records are (pruned, or cut out by somebody) counts as there:
    nobody can send it.
    """

    def __init__(self, first: int, stop: int | None, has: Ranges, read: Read) -> None:
        self._position = first
        self._stop = stop
        self._has = has
        self._read = read
        self._loaded: deque[Numbered] = deque()
        self._bytes = 0

    def load(self, size: int, most_bytes: int = 1) -> bool:
        """Reads on, as far as `size` records are in the ledger, until so many bytes are at hand; whether there is any."""
        end = size if self._stop is None else min(self._stop, size)
        while self._bytes < most_bytes and (first := self._has.missing(self._position)) < end:
            found = self._read(first)
            if not found:
                break  # nothing is there, and nothing behind it shows that it never will be
            reached = first
            for n, message in found:
                self._has.add(reached, min(n, end))
                if n >= end:
                    reached = end
                    break
                reached = n + 1
                if n not in self._has:
                    self._loaded.append((n, message))
                    self._bytes += len(message.payload)
            self._position = reached
        return bool(self._loaded)

    @property
    def first(self) -> Numbered:
        """The next record. Only after `load` found one."""
        return self._loaded[0]

    @property
    def bytes(self) -> int:
        """How many bytes of records are at hand."""
        return self._bytes

    def take(self) -> Numbered:
        """The next record, which is then no longer here."""
        n, message = self._loaded.popleft()
        self._bytes -= len(message.payload)
        return n, message
