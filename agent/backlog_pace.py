"""How fast a backlog is sent, so that what is sealed meanwhile is hardly held up by it. Pure.

1. No more than so many records a second.
2. A quarter of the window, one message at least, is never used by the backlog: a live record finds room.
3. As long as acknowledgements come soon, one more backlog message may be in flight after each of them. When one takes
   half a second longer than the quickest did, the backlog is what fills the line: its share is cut by a third, and from
   then on grows by one only when a whole share was acknowledged in time (much as TCP does, RFC 5681).
"""

from __future__ import annotations

_LATE_SECONDS = 0.5
_FIRST_SHARE = 4
_LESS = 0.7


class BacklogPace:
    """Says when the next message of a backlog may be sent. Times are those of one monotonic clock, in seconds."""

    def __init__(self, records_per_second: int, window: int, now: float) -> None:
        self._rate = records_per_second
        self._allowed = float(records_per_second)
        self._at = now
        self._most = max(1, window - max(1, window // 4))
        self._quickest: float | None = None
        self._cut_at = now
        self._share = float(min(_FIRST_SHARE, self._most))
        self._was_late = False

    @property
    def share(self) -> int:
        """How many messages of the backlog may be in flight."""
        return int(self._share)

    def may_send(self, now: float, in_flight: int) -> bool:
        """Whether another message of the backlog may be sent, with so many of it in flight."""
        self._allowed = min(float(self._rate), self._allowed + (now - self._at) * self._rate)
        self._at = now
        return in_flight < self.share and self._allowed >= 1

    def sent(self, records: int) -> None:
        """A message with so many records was sent."""
        self._allowed -= records

    def answered(self, sent_at: float, now: float) -> None:
        """Any message was acknowledged."""
        took = now - sent_at
        self._quickest = took if self._quickest is None else min(took, self._quickest)
        if took - self._quickest <= _LATE_SECONDS:
            self._share = min(float(self._most), self._share + (1 / self._share if self._was_late else 1))
        elif sent_at >= self._cut_at:  # it was sent with the share in force: those before say nothing about that
            self._share = max(1.0, self._share * _LESS)
            self._cut_at, self._was_late = now, True
