"""How far the poller of a link has got: when its loop last came round, and what it read and missed in each round.

A round is over when all that was due has been dealt with; on a line that is never at rest, when as many polls were dealt
with as it has schedules. Each is one line of the journal at the level `debug`: its link,
how many polls were read and missed, how long it took.
"""

from __future__ import annotations

import time
from typing import Any

_PATIENCE_S = 120.0
_LONGEST_ANSWERS = 3


class Progress:
    """One poller's.

    Attributes:
        turned_at: when its loop last came round, monotonic seconds.
        rounds: how many are over.
        patience_s: after how many seconds without a turn of the loop, or a byte heard, something is wrong with it.
    """

    def __init__(self, link: str, log: Any, schedules: int, longest_answer_s: float = 0.0) -> None:
        """Args: longest_answer_s: how late the slowest meter may answer."""
        self._schedules = schedules
        self._link = link
        self._log = log
        self.patience_s = _PATIENCE_S + _LONGEST_ANSWERS * longest_answer_s
        self.turned_at = time.monotonic()
        self.rounds = 0
        self._read = self._missed = 0
        self._began = self.turned_at

    def turned(self) -> None:
        """The loop came round."""
        self.turned_at = time.monotonic()
        if self._read + self._missed >= self._schedules:
            self.rests()

    def read(self) -> None:
        """A poll had a usable answer."""
        self._begin()
        self._read += 1

    def missed(self) -> None:
        """A poll had none."""
        self._begin()
        self._missed += 1

    def _begin(self) -> None:
        if not self._read + self._missed:
            self._began = self.turned_at

    def rests(self) -> None:
        """All that was due has been dealt with: the round is over, if there was any."""
        if not self._read + self._missed:
            return
        self.rounds += 1
        took_ms = round(1000 * (time.monotonic() - self._began))
        self._log.debug("poll.round", link=self._link, read=self._read, missed=self._missed, took_ms=took_ms)
        self._read = self._missed = 0

    def stalled_s(self, heard_at: float) -> float:
        """For how many seconds it has stood still, where that is longer than anything should take; else 0.

        `heard_at`: when something was heard on the link last, monotonic seconds.
        """
        still_s = time.monotonic() - max(self.turned_at, heard_at)
        return still_s if still_s > self.patience_s else 0.0
