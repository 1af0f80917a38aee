"""Which checkpoints a copy lacks, by the rule that tells from the records alone where the gateway signs one (`agent.rhythm`).

Only the newest checkpoint is published by itself, so others are asked for. Nobody can leave one out unnoticed on the way.
What the gateway itself does not have after some questions is passed over: `meterseal verify` finds it here as there.
"""

from __future__ import annotations

from agent.collect_copy import Store
from agent.record import parse
from agent.rhythm import Rhythm

_MOST_LOOKED_AT = 5000
_QUESTIONS = 5


class Notes:
    """The checkpoints of one store's settled records."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._covered = self._next = store.noted()
        self._rhythm = Rhythm()
        self._lacking: tuple[int, int] | None = None
        self._asked = 0

    def lacking(self, size: int) -> tuple[int, int] | None:
        """The first stretch that lacks a checkpoint: one over more records than the first number, at most the second."""
        while True:
            due = self._due(size)
            if due is None:
                return None
            found = self._store.note_between(self._covered, due)
            if found is None:
                self._lacking = (self._covered, due)
                return self._lacking
            self._go_on_at(found)

    def asked(self) -> None:
        """The gateway was asked for what is lacking; after some times it is taken not to be there."""
        self._asked += 1
        if self._asked >= _QUESTIONS and self._lacking:
            self._go_on_at(self._lacking[1])

    def _go_on_at(self, size: int) -> None:
        self._covered = self._next = size
        self._rhythm, self._asked, self._lacking = Rhythm(), 0, None
        self._store.keep_noted(size)

    def _due(self, size: int) -> int | None:
        """The first record from where we stand on before which there must be a checkpoint."""
        for n, payload in self._store.settled(self._next, min(size, self._next + _MOST_LOOKED_AT)):
            fields = parse(payload)
            if self._rhythm.is_due(fields):
                return n
            self._rhythm, self._next = self._rhythm.after(fields), n + 1
        return None
