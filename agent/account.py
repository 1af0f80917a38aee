"""What became of scheduled polls: how many were read, how many were missed and why, how complete that is. Pure.

Expected = read + missed + untold, by definition: what nobody speaks of is counted too, so that it cannot hide.

What this file does not know: how polls are told of (`agent.coverage`), days and zones (`agent.days`).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

READ, UNTOLD, LOST = "read", "untold", "records_lost"
OFF = "agent_stopped"
# What the online monitoring of key energy users asks for at least (its part 6, end devices).
ASKED_PERCENT = 90


def percent(part: int, whole: int) -> str:
    """A share in per cent, cut, not rounded, to two decimals: `99.98`. 0.00 of nothing."""
    hundredths = 10_000 * part // whole if whole else 0
    return f"{hundredths // 100}.{hundredths % 100:02d}"


def interval(every_ms: int) -> str:
    """An interval in the unit a person would say it in: `15 min`, `5 s`, `100 ms`."""
    for unit, length in (("h", 3_600_000), ("min", 60_000), ("s", 1000)):
        if every_ms % length == 0:
            return f"{every_ms // length} {unit}"
    return f"{every_ms} ms"


def age(seconds: int) -> str:
    """How long ago something was, in the largest unit of which it is two: `12 s`, `3 min`."""
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


@dataclass(slots=True)
class Tally:
    """What became of some scheduled polls.

    Attributes:
        read: ended in a reading.
        causes: missed, by the cause of their gap; `agent_stopped` among them.
        untold: of which nothing is said (each is a finding of an audit).
    """

    read: int = 0
    causes: Counter[str] = field(default_factory=Counter)
    untold: int = 0

    def add(self, outcome: str, count: int) -> None:
        """Counts polls. `outcome`: `read`, `untold` or the cause of a gap."""
        if outcome == READ:
            self.read += count
        elif outcome == UNTOLD:
            self.untold += count
        elif count:
            self.causes[outcome] += count

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.read + other.read, self.causes + other.causes, self.untold + other.untold)

    @property
    def off(self) -> int:
        """Missed because the gateway's agent was not running."""
        return self.causes[OFF]

    @property
    def missed(self) -> int:
        """Missed while it was running."""
        return self.causes.total() - self.off

    @property
    def expected(self) -> int:
        """How many polls were due."""
        return self.read + self.causes.total() + self.untold

    @property
    def completeness(self) -> str:
        """Read ones in per cent of the expected ones: `99.98`."""
        return percent(self.read, self.expected)

    @property
    def low(self) -> bool:
        """Whether that is less than what is asked for."""
        return 100 * self.read < ASKED_PERCENT * self.expected

    def fields(self) -> dict[str, Any]:
        """For `--json`. `missed`: by cause, those of a stopped agent too."""
        return {
            "expected": self.expected,
            "read": self.read,
            "missed": dict(self.causes.most_common()),
            "off": self.off,
            "untold": self.untold,
            "completeness_percent": self.completeness,
        }


@dataclass(slots=True)
class MeterAccount:
    """What became of one meter's scheduled polls.

    Attributes:
        id, serial, model: as declared last; `model` with revision and trust level.
        schedules: its polls by the interval at which they were due, in milliseconds.
        gaps: how many gaps were opened.
        gap_open: whether one is still open.
        first_due, last_due: the first and last scheduled instant told.
    """

    id: str
    serial: str = ""
    model: str = ""
    schedules: dict[int, Tally] = field(default_factory=dict)
    gaps: int = 0
    gap_open: bool = False
    first_due: str = ""
    last_due: str = ""

    def of(self, every_ms: int) -> Tally:
        """The tally of one schedule, made if there is none."""
        if every_ms not in self.schedules:
            self.schedules[every_ms] = Tally()
        return self.schedules[every_ms]

    @property
    def total(self) -> Tally:
        """All schedules together."""
        return sum(self.schedules.values(), Tally())

    def fields(self) -> dict[str, Any]:
        """For `--json`."""
        total = self.total
        names = ("id", "serial", "model", "gaps", "gap_open", "first_due", "last_due")
        return {name: getattr(self, name) for name in names} | {
            "readings": total.read,
            "missed": total.missed,
            "off": total.off,
            "unaccounted": total.untold,
            "expected": total.expected,
            "completeness_percent": total.completeness,
            "schedules": [{"every_ms": every_ms, **tally.fields()} for every_ms, tally in sorted(self.schedules.items())],
        }
