"""The stretch of a ledger that tells of a span of time, and one meter's account over it, without reading all before.

 1. Records lie in the order in which they were sealed. Between two starts or steps of the clock that is the order of
    their times, give or take two minutes, so the ends are found by halving.
 2. What was open at the beginning, and what is told of the span afterwards (the agent was off, a gap ends later), is
    looked up for each meter. So the account is the one that the whole ledger gives.
 3. If the clock was set back, the same time is told in two places: the stretch goes from the first to the last of them.

What this file does not know: days, what is shown of it.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import Any

from agent.account import MeterAccount
from agent.coverage import Coverage, Told
from agent.glance import glance
from agent.ledger_file import LedgerReader
from agent.log import Log
from agent.record import RecordError
from agent.timeline import milliseconds

Fields = Mapping[str, Any]
Seen = Callable[[int, Fields], None]
MARKS = ("start", "clock")
_MARGIN_MS = 600_000
_MOST_UNREADABLE = 100
_MOST_LOOKED_AT = 20_000  # a schedule that nothing is told of among so many of its meter's records is not waited for


@dataclass(frozen=True, slots=True)
class Stretch:
    """Where a ledger tells of a span of time.

    Attributes:
        start, stop: from n = start up to, not including, stop.
        from_ms, to_ms: the span, milliseconds since 1970, `to_ms` not included.
        marks: all starts of the agent and steps of the clock of the ledger, by n.
        until: time of the ledger's last record; empty without one.
    """

    start: int
    stop: int
    from_ms: int
    to_ms: int
    marks: tuple[tuple[int, Fields], ...]
    until: str


def stretch(log: LedgerReader, from_ms: int, to_ms: int) -> Stretch:
    """The stretch of a span of time. Empty if nothing in the ledger has a time in it."""
    size = log.size()
    marks = tuple(sorted((mark for kind in MARKS for mark in _marks(log, kind)), key=lambda mark: mark[0]))
    borders = sorted({0, *(n for n, _ in marks), size})
    parts = [_part(log, begin, end, from_ms - _MARGIN_MS, to_ms + _MARGIN_MS) for begin, end in pairwise(borders)]
    held = [
        part for part, (begin, end) in zip(parts, pairwise(borders), strict=True) if part[0] < part[1] or begin < part[0] < end
    ]
    # The agent was off over the whole span: what it sealed when it began again tells of it. If the clock was set meanwhile, a
    # record of that stands in front of the start.
    begun = {n for start, fields in marks if fields["kind"] == "start" for n in (start - 1, start)}
    held += [(n, n) for n, both in zip(borders[1:], pairwise(parts), strict=False) if n in begun and both == ((n, n), (n, n))]
    start, stop = (min(start for start, _ in held), max(stop for _, stop in held)) if held else (size, size)
    return Stretch(start, stop, from_ms, to_ms, marks, last_time(log))


def _part(log: LedgerReader, begin: int, end: int, from_ms: int, to_ms: int) -> tuple[int, int]:
    """What of a part of the ledger, in which times rise, lies in a span; if nothing does, where it would."""
    if _time(log, begin) >= to_ms:
        return begin, begin
    if _time(log, end - 1) < from_ms:
        return end, end
    return first_from(log, begin, end, from_ms), first_from(log, begin, end, to_ms)


def newest(log: LedgerReader, most: int) -> Stretch:
    """The stretch of the newest records, `most` of them, and of the time in which they were made."""
    whole = stretch(log, 0, 2**62)
    start = max(0, whole.stop - most)
    from_ms = _time(log, start) if whole.stop else 0
    return Stretch(start, whole.stop, from_ms, 2**62, whole.marks, whole.until)


def account(log: LedgerReader, meter: str, at: Stretch, told: Told, seen: Seen | None = None) -> MeterAccount:
    """One meter's account over a stretch.

    Args:
        log: the ledger.
        meter: its id.
        at: the stretch.
        told: hears of polls as they are accounted for, of some outside of the span too.
        seen: sees the meter's records in the stretch, as far as `agent.glance` reads them.
    """
    coverage = Coverage(meter, told)
    before = _open_at(log, meter, at.start)
    since = before[0][0] if before else at.start
    marks = ((n, fields) for n, fields in at.marks if n >= since)
    beyond = 0
    for n, fields in heapq.merge(before, _rows(log, meter, at.start), marks, key=lambda row: row[0]):
        if n >= at.stop:
            beyond += 1
            if coverage.is_told_up_to(at.to_ms) or beyond > _MOST_LOOKED_AT:
                break
        elif seen and n >= at.start and fields["kind"] not in MARKS:
            seen(n, fields)
        take(coverage, fields)
    return coverage.close(at.until)


def take(coverage: Coverage, fields: Fields) -> None:
    """Lets a record go by a meter's account. What is wrong with it is for an audit to tell."""
    kind = fields["kind"]
    if kind == "reading":
        _spend(coverage.reading(fields))
    elif kind == "gap":
        _spend(coverage.gap(fields))
    elif kind == "meter":
        coverage.declared(fields["meter"], fields["time"])
    elif kind == "clock":
        coverage.clock_set(fields["after"])
    elif kind == "start":
        coverage.started()


def _spend(problems: Iterable[object]) -> None:
    for _ in problems:
        pass


def _marks(log: LedgerReader, kind: str) -> Iterator[tuple[int, Fields]]:
    for n, payload in log.kind_records(kind, newest_first=False):
        fields = _fields(payload)
        if fields:
            yield n, fields


def _rows(log: LedgerReader, meter: str, start: int) -> Iterator[tuple[int, Fields]]:
    for n, payload in log.meter_records(meter, start=start):
        fields = _fields(payload)
        if fields:
            yield n, fields


def _fields(payload: bytes) -> Fields | None:
    """A record's fields; None where it cannot be read, which is for an audit to tell."""
    try:
        return glance(payload)
    except RecordError:
        return None


def _open_at(log: LedgerReader, meter: str, stop: int) -> list[tuple[int, Fields]]:
    """The newest record of each of a meter's schedules before n = stop, in the order of n."""
    waiting: set[int] = set()
    for _, payload in log.meter_records(meter, "meter", newest_first=True, stop=stop):
        declared = _fields(payload)
        waiting = {schedule["every_ms"] for schedule in declared["meter"]["schedules"]} if declared else set()
        break
    found: list[tuple[int, Fields]] = []
    for n, payload in islice(log.meter_records(meter, newest_first=True, stop=stop), _MOST_LOOKED_AT):
        if not waiting:
            break
        fields = _fields(payload)
        if fields and fields["kind"] in ("reading", "gap") and fields["every_ms"] in waiting:
            waiting.remove(fields["every_ms"])
            found.append((n, fields))
    return found[::-1]


def first_from(log: LedgerReader, start: int, stop: int, time_ms: int) -> int:
    """The first n of a part of the ledger, in which times rise, whose record is not older than a time; else `stop`."""
    while start < stop:
        middle = (start + stop) // 2
        if _time(log, middle) < time_ms:
            start = middle + 1
        else:
            stop = middle
    return start


def _time(log: LedgerReader, n: int) -> int:
    """The time of record n in milliseconds, or of the next one where it is missing or cannot be read."""
    for _, payload in log.payloads(n):
        fields = _fields(payload)
        if fields:
            return milliseconds(fields["time"])
    return 2**62


def last_time(log: Log) -> str:
    """The time of a log's last record that can be read; empty without one."""
    size = log.size()
    for n in range(size - 1, max(-1, size - _MOST_UNREADABLE), -1):
        for _, payload in log.payloads(n, n + 1):
            fields = _fields(payload)
            if fields:
                return str(fields["time"])
    return ""
