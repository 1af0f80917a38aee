"""Time: the wall clock, the time since boot, and whether the wall clock can be believed.

Everything in the agent takes its time from a `Clock`, so that tests can let it run faster. Nothing is counted by
the wall clock: it may be stepped at any moment.
"""

from __future__ import annotations

import asyncio
import ctypes
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from drivers import Instant

State = Literal["synchronized", "unsynchronized", "unknown"]

# The kernel's bound on its own error grows by 500 ppm while nothing disciplines it; chronyd without `rtcsync`
# leaves the UNSYNC flag set although it keeps the bound at some milliseconds. So the bound decides, not the flag.
_BELIEVED_MS = 1000
STEP_NS = 1_000_000_000  # less than this is no step: records carry the error bound anyway


class _Timex(ctypes.Structure):
    """The head of `struct timex` (adjtimex(2)) as the C library lays it out, padded generously."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("rest", ctypes.c_byte * 512),
    )


@dataclass(frozen=True, slots=True)
class Trust:
    """How far the wall clock can be believed: its state and the kernel's bound on its error in milliseconds."""

    state: State
    error_ms: int | None


class Clock:
    """The machine's clocks."""

    def __init__(self) -> None:
        self.boot = _boot_id()

    def instant(self) -> Instant:
        """This moment."""
        return Instant(time.time_ns(), time.clock_gettime_ns(time.CLOCK_BOOTTIME))

    def now_ns(self) -> int:
        """The wall clock, nanoseconds since 1970 UTC."""
        return self.instant().wall_ns

    def monotonic(self) -> float:
        """Seconds that never step, for measuring spans."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Returns after a span of this clock's time."""
        await asyncio.sleep(seconds)

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        """Returns once an event is set, at the latest after a span of this clock's time."""
        waiting = {asyncio.ensure_future(event.wait()), asyncio.ensure_future(self.sleep(seconds))}
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waiting:
                each.cancel()

    def trust(self) -> Trust:
        """Whether the wall clock is kept by NTP, PTP or GPS, as far as the kernel knows."""
        try:
            timex = _Timex()
            failed = _adjtimex()(ctypes.byref(timex)) == -1
        except (OSError, AttributeError):
            failed = True
        if failed:
            return Trust("unknown", None)
        error_ms = -(-int(timex.maxerror) // 1000)
        return Trust("synchronized" if error_ms < _BELIEVED_MS else "unsynchronized", error_ms)


class ClockSteps:
    """Watches whether the wall clock is set while time goes on.

    Attributes:
        count: how often it was.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset_ns = _offset_ns(clock.instant())
        self.count = 0

    def pending(self) -> tuple[Instant, Instant] | None:
        """This moment by the clock as it was and as it is, if it was set and nobody has dealt with it yet."""
        now = self._clock.instant()
        if abs(_offset_ns(now) - self._offset_ns) <= STEP_NS:
            self._offset_ns = _offset_ns(now)  # a clock that is led gently to the right time is not set
            return None
        return Instant(now.uptime_ns + self._offset_ns, now.uptime_ns), now

    def accept(self, after: Instant) -> None:
        """What was pending is dealt with."""
        self._offset_ns = _offset_ns(after)
        self.count += 1

    def take_back(self, before: Instant) -> None:
        """It could not be dealt with: it is pending again. `before`: the clock as it was."""
        self._offset_ns = _offset_ns(before)


def _offset_ns(moment: Instant) -> int:
    return moment.wall_ns - moment.uptime_ns


@lru_cache(maxsize=1)
def _adjtimex() -> Any:
    """adjtimex(2) of the C library, looked up once: each record asks.

    It never waits, so the interpreter's lock is kept: to give it away means to wait for the ledger's thread to give it back.
    """
    return ctypes.PyDLL(None).adjtimex


def _boot_id() -> str:
    """The first 8 hexadecimal digits of the kernel's boot id; zeros where there is none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip().replace("-", "")[:8]
    except OSError:
        return "00000000"


def stamp(wall_ns: int) -> str:
    """RFC 3339 in UTC with milliseconds, cut, not rounded: `2026-03-01T00:16:00.123Z`."""
    moment = datetime.fromtimestamp(wall_ns // 1_000_000_000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{wall_ns // 1_000_000 % 1000:03d}Z"


def from_stamp(text: str) -> int:
    """Nanoseconds since 1970 of a time written by `stamp`. Raises ValueError."""
    moment = datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    return int(moment.replace(microsecond=0).timestamp()) * 1_000_000_000 + moment.microsecond * 1000
