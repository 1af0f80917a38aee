"""When days are closed: a minute after local midnight, and at the start of the agent those that passed while it was off."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from datetime import date
from functools import partial

from agent.clock import Clock
from agent.courses import Courses
from agent.ledger import Ledger
from agent.ledger_file import LedgerError
from agent.midnight import day_of
from config.zone import zone_of

AFTER_MIDNIGHT_MS = 60_000  # a reading within a minute of midnight is midnight's
_LOOK_SECONDS = 20.0  # the clock may be set at any time


class Closing:
    """Closes the days of meters. `zone`: the name of the plant's time zone."""

    def __init__(self, courses: Courses, ledger: Ledger, clock: Clock, meters: Sequence[str], zone: str) -> None:
        self._ledger = ledger
        self._clock = clock
        self._courses = courses
        self._day: date | None = None
        self.go_on_with(meters, zone)

    def go_on_with(self, meters: Sequence[str], zone: str) -> None:
        """From now on days of these meters are closed, at the midnights of this zone."""
        self._zone = zone_of(zone)
        self._due = partial(self._courses.due_days, list(meters), clock=self._clock, name=zone, zone=self._zone)

    async def close(self) -> None:
        """Seals the days that are over and not closed. Raises LedgerError."""
        now_ms = self._clock.now_ns() // 1_000_000 - AFTER_MIDNIGHT_MS
        day = day_of(now_ms, self._zone)
        if day != self._day:
            await self._ledger.append_made(lambda: self._due(now_ms=now_ms))
            self._day = day

    async def run(self) -> None:
        """Closes days as they end."""
        while True:
            await self._clock.sleep(_LOOK_SECONDS)
            if self._ledger.error is None:
                with contextlib.suppress(LedgerError):  # the disk: whoever seals next tells of it, and it is tried again
                    await self.close()
