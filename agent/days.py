"""What became of each meter's scheduled polls on each calendar day, from the records alone.

A poll belongs to the day, in the zone asked for, of the instant for which it was due: that of midnight to the new day.
A gap still open goes up to the time of the log's last record.

What this file does not know: how it is shown, and whether the records are genuine (`agent.verify` tells).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta, tzinfo
from typing import Any

from agent.account import Tally
from agent.coverage import Coverage, Told
from agent.glance import glance
from agent.ledger_file import LedgerReader
from agent.log import Log
from agent.midnight import begin_of, day_of
from agent.record import RecordError
from agent.stretch import MARKS, account, last_time, stretch, take
from agent.timeline import milliseconds

Fields = Mapping[str, Any]
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Step:
    """A step of the clock: record n, and what the clock would have shown, and showed."""

    n: int
    before: str
    after: str


@dataclass(slots=True)
class Completeness:
    """Meters' days.

    Attributes:
        gateway: whose they are.
        zone: the name of the zone in which days begin.
        first, last: the days looked at.
        until: time of the log's last record; empty without one.
        tallies: by day, meter and interval in milliseconds, in this order.
        steps: of the clock, whose old or new time lies in these days.
        meters: all that the log has records of.
    """

    gateway: str
    zone: str
    first: date
    last: date
    until: str
    tallies: dict[tuple[date, str, int], Tally] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    meters: list[str] = field(default_factory=list)

    @property
    def total(self) -> Tally:
        """All of them together."""
        return sum(self.tallies.values(), Tally())

    @property
    def low(self) -> list[tuple[date, str, int]]:
        """Those that are below what is asked for."""
        return [key for key, tally in self.tallies.items() if tally.low]

    def fields(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "completeness": 1,
            "gateway": self.gateway,
            "zone": self.zone,
            "first_day": self.first.isoformat(),
            "last_day": self.last.isoformat(),
            "until": self.until,
            "days": [
                {"day": day.isoformat(), "meter": meter, "every_ms": every_ms, **tally.fields(), "low": tally.low}
                for (day, meter, every_ms), tally in self.tallies.items()
            ],
            "total": self.total.fields(),
            "clock_set": [{"n": step.n, "before": step.before, "after": step.after} for step in self.steps],
        }


class Days:
    """Tallies by day while polls are told of."""

    def __init__(self, zone: tzinfo, first: date, last: date) -> None:
        self._zone = zone
        self._from, self._to = begin_of(first, zone), begin_of(last + _DAY, zone)
        self._day = first
        self._begin, self._end = self._from, begin_of(first + _DAY, zone)
        self.tallies: dict[tuple[date, str, int], Tally] = {}

    def of(self, meter: str) -> Told:
        """What takes one meter's polls."""

        def told(every_ms: int, outcome: str, first: int, count: int) -> None:
            end = min(first + count * every_ms, self._to)
            if first < self._from:
                first += -(-(self._from - first) // every_ms) * every_ms
            while first < end:
                self._turn_to(first)
                here = -(-(min(end, self._end) - first) // every_ms)
                key = self._day, meter, every_ms
                if key not in self.tallies:
                    self.tallies[key] = Tally()
                self.tallies[key].add(outcome, here)
                first += here * every_ms

        return told

    def _turn_to(self, ms: int) -> None:
        """Turns to the day of an instant."""
        if not self._begin <= ms < self._end:
            self._day = day_of(ms, self._zone)
            self._begin, self._end = begin_of(self._day, self._zone), begin_of(self._day + _DAY, self._zone)


def last_day(log: Log, zone: tzinfo) -> date | None:
    """The day of a log's last record; None without one."""
    until = last_time(log)
    return min(day_of(milliseconds(until), zone), date.max - 2 * _DAY) if until else None


def completeness(log: Log, zone: tzinfo, name: str, first: date, last: date, meters: Collection[str] = ()) -> Completeness:
    """What became of the polls of the days from `first` to `last`, of all meters or some.

    `name`: the zone's. Of a ledger only what tells of these days is read; a bundle is read from its first to its last record.
    """
    days = Days(zone, first, last)
    span = begin_of(first, zone), begin_of(last + _DAY, zone)
    marks: Sequence[tuple[int, Fields]]
    if isinstance(log, LedgerReader):
        at = stretch(log, *span)
        known, until, marks = log.meters(), at.until, at.marks
        for meter in known:
            if not meters or meter in meters:
                account(log, meter, at, days.of(meter))
    else:
        known, until, marks = _whole(log, days, meters)
    made = Completeness(_gateway(log), name, first, last, until, dict(sorted(days.tallies.items())), meters=known)
    for n, fields in marks:
        if fields["kind"] == "clock" and any(span[0] <= milliseconds(fields[side]) < span[1] for side in ("before", "after")):
            made.steps.append(Step(n, fields["before"], fields["after"]))
    return made


def _whole(log: Log, days: Days, meters: Collection[str]) -> tuple[list[str], str, list[tuple[int, Fields]]]:
    """Lets all records of a log go by; its meters, its last time, its starts and steps of the clock."""
    coverage: dict[str, Coverage] = {}
    marks: list[tuple[int, Fields]] = []
    until = ""
    for n, payload in log.payloads():
        try:
            fields = glance(payload)
        except RecordError:
            continue
        until = fields["time"]
        if fields["kind"] in MARKS:
            marks.append((n, fields))
            for each in coverage.values():
                take(each, fields)
        elif "meter" in fields:
            meter = fields["meter"]["id"]
            if meter not in coverage:
                coverage[meter] = Coverage(meter, days.of(meter) if not meters or meter in meters else None)
            take(coverage[meter], fields)
    for each in coverage.values():
        each.close(until)
    return sorted(coverage), until, marks


def _gateway(log: Log) -> str:
    for _, payload in log.payloads(0, 1):
        try:
            return str(glance(payload).get("gateway", ""))
        except RecordError:
            return ""
    return ""
