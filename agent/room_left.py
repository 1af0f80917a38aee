"""For how many days a ledger has room left, by what it took in its newest week."""

from __future__ import annotations

import os
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from agent.ledger_file import LedgerReader
from agent.ledger_room import MEGABYTE, floor_of
from agent.prune import BLOCK
from agent.record import RecordError, parse
from agent.retention import FULL
from agent.timeline import milliseconds
from config.keep import Keep
from config.language import _

_DAY_MS = 86_400_000
_NEWEST = 20_000
_MONTH_DAYS = 31


@dataclass(frozen=True, slots=True)
class RoomLeft:
    """A ledger's room.

    Attributes:
        used_megabytes, budget_megabytes: what it takes, and what it may take.
        days: until the oldest readings go to make room; None where nothing tells how fast it grows.
        months: readings that are older go anyway.
    """

    used_megabytes: int
    budget_megabytes: int
    days: int | None
    months: int

    def text(self) -> str:
        """As one line of the status."""
        told = _("{used} of {budget} MB", used=self.used_megabytes, budget=self.budget_megabytes)
        if self.days is None:
            return told
        return _(
            "{told}, room for {days} days; then the oldest readings go (at the latest after {months} months)",
            told=told,
            days=self.days,
            months=self.months,
        )


def room_left(reader: LedgerReader, path: Path, keep: Keep) -> RoomLeft:
    """A ledger's room as it stands. `path`: its file."""
    used, size = reader.bytes_used()
    disk = os.statvfs(path.parent)
    budget = size + max(0, disk.f_bavail * disk.f_frsize - floor_of(path))
    budget = budget if keep.megabytes is None else min(budget, keep.megabytes * MEGABYTE)
    days = _days(reader, used, max(0, budget * FULL[0] // FULL[1] - used))
    return RoomLeft(used // MEGABYTE, budget // MEGABYTE, days, keep.months)


def _days(reader: LedgerReader, used: int, left: int) -> int | None:
    """For how many days `left` bytes last, by the pace of the newest records; None if they do not tell.

    A record takes its whole room until its month is closed, and that of a packed one from then on.
    """
    size, there = reader.size(), reader.count()
    times = [time for n in (max(0, size - _NEWEST), size - 1) if (time := _time(reader, n)) is not None]
    span = times[-1] - times[0] if len(times) == 2 else 0
    if span <= 0 or not there:
        return None
    plain, packed = _bytes_each(reader, used, size, there)
    a_day = Fraction(min(size, _NEWEST) * _DAY_MS, span)
    at_least = int(left / (a_day * plain))
    month = a_day * _MONTH_DAYS * (plain - packed)
    return max(at_least, int((left - month) / (a_day * packed)))


def _bytes_each(reader: LedgerReader, used: int, size: int, there: int) -> tuple[Fraction, Fraction]:
    """What a record takes, with all that lies beside it, and what a packed one takes; the same where none is packed."""
    count, taken = reader.packed()
    if not count:
        return Fraction(used, there), Fraction(used, there)
    newest = [len(payload) for _unused, payload in reader.payloads(max(0, size - BLOCK))]
    payload = Fraction(sum(newest), max(1, len(newest)))
    beside = max(Fraction(1), (used - taken - (there - count) * payload) / there)
    return payload + beside, min(payload, Fraction(taken, count)) + beside


def _time(reader: LedgerReader, n: int) -> int | None:
    for _unused, payload in reader.payloads(n):
        try:
            return milliseconds(parse(payload)["time"])
        except (RecordError, KeyError, ValueError):
            continue
    return None
