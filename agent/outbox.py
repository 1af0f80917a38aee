"""What is to be sent over one connection, and in what turn.

1. What was sealed while the connection stands goes first, in the order of n; what had piled up before, the backlog, is
   sent beside it, in the order of n too, as fast as `agent.backlog_pace` allows.
2. Retained copies take turns with the records: many of them never hold the records up, and none blocks.
3. A refused record is the only one that is tried, until the broker takes it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from agent import batch, topics
from agent.backlog_pace import BacklogPace
from agent.lane import Lane, Numbered
from agent.ledger_file import LedgerReader
from agent.mqtt import Connected, Message
from agent.newest import Newest
from agent.ranges import Ranges, Span
from agent.window import Parcel, Window
from config.site import Mqtt

_PACKET_BYTES = 1024
_LONG_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Supply:
    """Where the records of a gateway come from, and under which topics they go."""

    tree: topics.Tree
    newest: Newest
    reader: LedgerReader

    def read(self, first: int) -> list[Numbered]:
        """The next records from n = first on, as messages."""
        return topics.records(self.tree, first, self.newest, self.reader)


def _first_new(size: int, has: Ranges, window: int, per_second: int) -> int:
    """Where new records begin at a connection, and what had piled up before ends.

    What fits into the window needs no second lane. Of a backlog that takes long the newest count as new: how things stand
    is then known at once.
    """
    waiting = size - has.cursor - has.beyond
    if waiting <= window:
        return has.cursor
    return size - window if waiting > _LONG_SECONDS * per_second else size


class Outbox:
    """Hands out the messages of one connection, one after the other.

    Attributes:
        copies: retained messages that wait for their turn.
        hurry: a batch is sent now, however little is in it.
    """

    def __init__(
        self, destination: Mqtt, supply: Supply, limits: Connected, has: Ranges, size: int, window: Window, now: float
    ) -> None:
        begin = _first_new(size, has, window.size, destination.backlog_per_second)
        self._destination = destination
        self._supply = supply
        self._window = window
        self._largest = limits.largest_packet
        self._live = Lane(begin, None, has, supply.read)
        self._backlog = deque([Lane(has.cursor, begin, has, supply.read)])
        self._has = has
        self._pace = BacklogPace(destination.backlog_per_second, window.size, now)
        self._gathered_since: float | None = None
        self._refused: deque[Parcel] = deque()
        self._refused_until: float | None = None
        self._tried_again: Parcel | None = None
        self._copy_is_next = True
        self._copies_from = size if limits.retains else 2**62
        self._copy_retained = partial(topics.copies, supply.tree.base, reader=supply.reader)
        self.copies: deque[Message] = deque()
        self.hurry = False

    def next(self, size: int, now: float) -> Parcel | None:
        """The next message, of a ledger with so many records; None while nothing may be sent."""
        copy = self._copy() if self._copy_is_next else None
        found = copy or self._record(size, now) or self._copy()
        self._copy_is_next = bool(found and found.numbers)
        return found

    def again(self, spans: Iterable[Span]) -> None:
        """Sends what was taken once more: before the rest of the backlog, and like it."""
        self._backlog.extendleft(Lane(first, stop, self._has, self._supply.read) for first, stop in spans)

    def waits(self, size: int) -> bool:
        """Whether backlog is held back by its pace alone."""
        return self._refused_until is None and self._old(size) is not None

    def _old(self, size: int) -> Lane | None:
        """Where the next record of the backlog is."""
        while self._backlog and not self._backlog[0].load(size):
            self._backlog.popleft()
        return self._backlog[0] if self._backlog else None

    def answered(self, parcel: Parcel, sent_at: float, now: float) -> None:
        """A message was taken."""
        self._pace.answered(sent_at, now)
        if parcel is self._tried_again:
            self._tried_again = self._refused_until = None

    @property
    def refuses(self) -> bool:
        """Whether a refused record holds up all others."""
        return self._refused_until is not None

    def refused(self, parcel: Parcel, until: float) -> None:
        """A message with records was refused: it is tried again then, and nothing else before it is taken."""
        self._refused = deque(sorted([*self._refused, parcel], key=lambda each: each.numbers))
        self._refused_until = until

    def too_large(self, parcel: Parcel) -> bool:
        """Whether the broker has said that it takes no message of this size."""
        return parcel.message.size > self._largest

    # ------------------------------------------------------------------------------------------------------------

    def _copy(self) -> Parcel | None:
        return Parcel(self.copies.popleft()) if self.copies else None

    def _record(self, size: int, now: float) -> Parcel | None:
        if self._refused_until is not None and (self._window.records or now < self._refused_until):
            return None
        if self._refused:
            self._tried_again = self._refused.popleft()
            return self._tried_again
        if self._live.load(size) and self._is_due(size, now):
            self._gathered_since = None
            return self._parcel(self._live, live=True)
        old = self._old(size)
        if old and self._pace.may_send(now, self._window.backlog):
            if self._destination.batch:
                old.load(size, self._most_bytes)
            parcel = self._parcel(old, live=False)
            self._pace.sent(len(parcel.numbers))
            return parcel
        return None

    def _is_due(self, size: int, now: float) -> bool:
        """Whether what is live is sent now: at once, or as a batch when its time has come or it is full."""
        if not self._destination.batch:
            return True
        self._live.load(size, self._most_bytes)
        if self._gathered_since is None:
            self._gathered_since = now
        age = now - self._gathered_since
        full = self._live.bytes >= self._most_bytes
        return self.hurry or full or age >= self._destination.batch.seconds

    @property
    def _most_bytes(self) -> int:
        """How many bytes of records go into one batch."""
        return min(batch.LARGEST, self._largest - _PACKET_BYTES)

    def _parcel(self, lane: Lane, live: bool) -> Parcel:
        taken = [lane.take()]
        if self._destination.batch and not topics.is_damaged(self._supply.tree, taken[0][1]):
            room = self._most_bytes - len(taken[0][1].payload) - 1
            while lane.load(0) and len(taken) < batch.MOST_RECORDS:
                message = lane.first[1]
                room -= len(message.payload) + 1
                if room < 0 or topics.is_damaged(self._supply.tree, message):
                    break
                taken.append(lane.take())
        for n, message in taken:
            if n >= self._copies_from:
                self.copies.extend(self._copy_retained(message))
                self._copies_from = n + 1
        return self._packed(taken, live)

    def _packed(self, taken: list[Numbered], live: bool) -> Parcel:
        numbers, messages = tuple(n for n, _ in taken), tuple(message for _, message in taken)
        if not self._destination.batch or topics.is_damaged(self._supply.tree, messages[0]):
            return Parcel(messages[0], numbers, messages, live)
        packed = batch.pack([message.payload for message in messages], self._destination.batch.compress)
        return Parcel(topics.batch(self._supply.tree, *packed), numbers, messages, live)
