"""A record's time against the time since boot: what a step of the clock or a record dated back looks like. Pure.

1. Within one boot, time minus time since boot stays the same to a second, unless a clock record says by how much it
   was set.
2. Records are sealed in the order things happened, give or take two minutes: an answer that took long to come.
3. A boot that has ended does not come back.
4. What the clock is worth changes at a `synchronization` record that says so, or at a `clock` record in front of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from config.language import _

STEP_MS = 1000
BACK_MS = 120_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@lru_cache(maxsize=1024)  # meters that are read at one instant share it, and several checks ask for each
def milliseconds(time: str) -> int:
    """Milliseconds since 1970 of a record's time, such as `2026-03-01T00:16:00.123Z`."""
    since = datetime.fromisoformat(time) - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1000 + since.microseconds // 1000


class Timeline:
    """The clocks of one gateway while its records go by."""

    def __init__(self) -> None:
        self._boot = ""
        self._former: set[str] = set()
        self._offset = 0
        self._highest = 0
        self._state = ""

    def take(self, fields: Mapping[str, Any]) -> Iterator[str]:
        """Takes a record; problems with its time. A revocation is passed over: who signs it signs no clock record."""
        if fields["kind"] == "key" and fields["action"] == "revoke":
            return
        clock = fields["clock"]
        uptime: int = clock["uptime_ms"]
        offset = milliseconds(fields["time"]) - uptime
        step, stated = offset - self._offset, fields["kind"] == "clock"
        if clock["boot"] != self._boot:
            if clock["boot"] in self._former:
                yield _("belongs to boot {boot}, which had ended before", boot=clock["boot"])
            self._former.add(self._boot)
            self._boot, self._highest = clock["boot"], uptime
        elif stated and abs(step - fields["step_ms"]) > STEP_MS:
            yield _("states a step of {step_ms} ms, the clocks show {step} ms", step_ms=fields["step_ms"], step=step)
        elif not stated and abs(step) > STEP_MS:
            yield _("the time jumped by {step} ms against the time since boot, and no clock record says why", step=step)
        if uptime < self._highest - BACK_MS:
            yield _("is {highest} ms of running time older than a record in front of it", highest=self._highest - uptime)
        self._offset, self._highest = offset, max(self._highest, uptime)
        yield from self._worth(fields)

    def _worth(self, fields: Mapping[str, Any]) -> Iterator[str]:
        """Problems with what the clock is said to be worth."""
        state, before = fields["clock"]["state"], self._state
        if fields["kind"] == "synchronization":
            if (fields["before"], fields["after"]) != (before, state) or state == before:
                stated = _("{before} before and {after} now", before=fields["before"], after=fields["after"])
                yield _(
                    "states that the clock was {stated}, the records show {before} and {state}",
                    stated=stated,
                    before=before,
                    state=state,
                )
        elif fields["kind"] == "clock":
            return  # the record behind it says it
        elif before and state != before:
            yield _("the clock was {before} and is {state}, and no synchronization record says so", before=before, state=state)
        self._state = state
