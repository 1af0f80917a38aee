"""What is told again and again is told a few times and then counted, so that a flapping meter does not bury the rest. Pure.

Two events are the same when name, place and reason are; numbers in them may differ. The first five within a minute are told;
the others are counted, and the minute's end tells how many they were, with the newest one's fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_TOLD = 5
_WITHIN_S = 60.0
_MOST_KINDS = 10_000


@dataclass(slots=True)
class _Kind:
    began: float
    told: int = 0
    kept_back: int = 0
    newest: Mapping[str, Any] = field(default_factory=dict)


class Repeats:
    """Counts events of the same kind."""

    def __init__(self) -> None:
        self._kinds: dict[tuple[Any, ...], _Kind] = {}

    def may_be_told(self, event: Mapping[str, Any], now: float) -> bool:
        """Whether an event is told at once; else it is counted. `now`: seconds of a clock that is never set."""
        if len(self._kinds) > _MOST_KINDS:
            self._kinds.clear()  # so many kinds are no repetition
        kind = self._kinds.setdefault(_kind_of(event), _Kind(now))
        if now - kind.began >= _WITHIN_S and not kind.kept_back:
            kind.began, kind.told = now, 0
        kind.told += 1
        if kind.told <= _TOLD:
            return True
        kind.kept_back += 1
        kind.newest = event
        return False

    def over(self, now: float, *, all_of_them: bool = False) -> list[dict[str, Any]]:
        """The newest event of each kind that was counted, with `repeated`: those whose minute is over, or all."""
        made = []
        for key, kind in list(self._kinds.items()):
            if all_of_them or now - kind.began >= _WITHIN_S:
                del self._kinds[key]
                if kind.kept_back:
                    made.append({**kind.newest, "repeated": kind.kept_back})
        return made


def _kind_of(event: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(sorted((key, value) for key, value in event.items() if isinstance(value, str)))
