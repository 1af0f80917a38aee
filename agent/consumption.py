"""What a meter's counters consumed in days, months or years, recomputed from the readings in the log.

 1. A period goes from the last accepted reading that was due at its first midnight or before to the one at its last midnight,
    like a closed day (`agent.course`); nothing is interpolated. Of both it is said which record they are and how far from
    midnight they were read; where that is more than a minute, the period is not exact, and the next reading is named too.
 2. Corrections in the log are applied to what they cover, wherever they stand, and named.
 3. Of a ledger only what bears on the periods is read: from the newest day closed before them on.

What this file does not know: how it is shown, and whether the records are genuine (`agent.verify` tells).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta, tzinfo
from decimal import Decimal, localcontext
from fractions import Fraction
from itertools import accumulate
from typing import Any, Literal

from agent.clock import stamp
from agent.correction import ENERGIES, Correction, correction_of
from agent.counter import Stand, Step
from agent.course import Course
from agent.courses import Courses
from agent.ledger_file import LedgerReader
from agent.log import Log
from agent.midnight import begin_of, day_of
from agent.plausible import WIDE
from agent.record import RecordError, leaf_hash, parse, parsed_body
from agent.schema import check_record
from agent.seal import base64url, unsigned
from agent.story import kind_of
from agent.stretch import last_time
from agent.timeline import milliseconds
from config.quantity import quantity_of

Fields = Mapping[str, Any]
Per = Literal["day", "month", "year"]
EXACT_MS = 60_000
_DAY = timedelta(days=1)
_MOST_DIGITS = 40  # of 60 that are reckoned with; no counter of a meter has so many
_KINDS = (b"meter", b"reading", b"day", b"replacement", b"counter", b"correction")


@dataclass(frozen=True, slots=True)
class Edge:
    """A reading at the edge of a period.

    Attributes:
        n, value: the record and what the counter stood at.
        away_ms: how far from midnight it was read, negative if before it.
    """

    n: int
    value: str
    away_ms: int

    @property
    def exact(self) -> bool:
        """Whether it is midnight's own reading."""
        return abs(self.away_ms) <= EXACT_MS

    def fields(self) -> dict[str, Any]:
        """For `--json`."""
        return {"n": self.n, "value": self.value, "away_ms": self.away_ms}


@dataclass(slots=True)
class Period:
    """One counter's period.

    Attributes:
        meter, quantity, unit: which counter.
        name: `2026-11-22`, `2026-11` or `2026`.
        from_ms, to_ms: its midnights.
        over: whether the log goes on behind it.
        consumption: digits; empty where no reading says anything.
        uncorrected: the same without corrections, where there are any.
        rounded: a correction's ratio leaves digits without an end.
        opening, closing: the readings it rests on; None where there is none.
        after_opening, after_closing: the next reading behind midnight, where midnight has none of its own.
        decisions: the `counter` records of these readings, by what they decided.
        corrections: that were applied.
        replacements, series: record numbers of replacements, and of declarations that began another series.
        unsure: readings by a clock that was not known to be right.
    """

    meter: str
    quantity: str
    unit: str
    name: str
    from_ms: int
    to_ms: int
    over: bool = True
    consumption: str = ""
    uncorrected: str = ""
    rounded: bool = False
    opening: Edge | None = None
    closing: Edge | None = None
    after_opening: Edge | None = None
    after_closing: Edge | None = None
    decisions: list[tuple[int, str]] = field(default_factory=list)
    corrections: list[tuple[int, str]] = field(default_factory=list)
    replacements: list[int] = field(default_factory=list)
    series: list[int] = field(default_factory=list)
    unsure: int = 0

    @property
    def complete(self) -> bool:
        """Whether it begins and ends with midnight's own readings, and one series goes from the one to the other."""
        return bool(self.opening and self.closing and self.opening.exact and self.closing.exact and not self.series)

    def fields(self) -> dict[str, Any]:
        """For `--json`."""
        edges = ("opening", "closing", "after_opening", "after_closing")
        made: dict[str, Any] = {name: getattr(self, name) for name in ("meter", "quantity", "unit", "name")}
        made |= {"from": stamp(self.from_ms * 1_000_000), "to": stamp(self.to_ms * 1_000_000)}
        made |= {"consumption": self.consumption, "complete": self.complete, "rounded": self.rounded, "over": self.over}
        made |= {"uncorrected": self.uncorrected} if self.uncorrected else {}
        made |= {name: edge.fields() for name in edges if (edge := getattr(self, name))}
        made |= {"decisions": [{"n": n, "decision": what} for n, what in self.decisions]}
        made |= {"corrections": [{"n": n, "says": words} for n, words in self.corrections]}
        return made | {"replacements": self.replacements, "series": self.series, "unsure": self.unsure}


@dataclass(slots=True)
class _Course:
    """One counter's accepted readings in the log's order, corrected where corrections cover them."""

    stands: list[Stand] = field(default_factory=list)
    added: list[Fraction] = field(default_factory=list)
    raw: list[Decimal] = field(default_factory=list)
    applied: list[Correction | None] = field(default_factory=list)
    unsure: list[bool] = field(default_factory=list)
    decisions: list[tuple[int, int, str]] = field(default_factory=list)
    earliest: list[int] = field(default_factory=list)

    def last_until(self, midnight: int) -> int | None:
        """The last accepted reading, in the log's order, that was due at a midnight or before."""
        if len(self.earliest) != len(self.stands):  # what a reading and all behind it were due at the earliest: that never falls
            self.earliest = list(accumulate((stand.due_ms for stand in reversed(self.stands)), min))[::-1]
        at = bisect_right(self.earliest, midnight)
        return at - 1 if at else None


def consumption(log: Log, meters: list[str], zone: tzinfo, first: date, last: date, per: Per) -> list[Period]:
    """The periods from the one that `first` lies in to the one that `last` lies in, of all counters of some meters, in order."""
    bounds = list(_bounds(zone, first, last, per))
    made: list[Period] = []
    until = last_time(log)
    for meter in meters:
        made += _of_meter(log, meter, bounds)
    for period in made:
        period.over = bool(until) and milliseconds(until) >= period.to_ms
    return made


def _of_meter(log: Log, meter: str, bounds: list[tuple[str, int, int]]) -> list[Period]:
    corrections = [each for each in _corrections(log) if each.meter == meter]
    # A corrected time may bring a reading into the first period from before it.
    earliest = bounds[0][1] - max([0, *(abs(each.shift_ms) for each in corrections)])
    courses = Courses(models=log.models())
    course = courses.of(meter)
    counters: dict[str, _Course] = {}
    happened: list[tuple[int, int, str]] = []
    for n, fields, leaf in _records(log, meter, earliest, course):
        course.steps, anew = [], course.anew
        decided = courses.take(n, fields, leaf)
        at = milliseconds(fields["due"] if fields["kind"] == "reading" else fields["time"])
        if course.anew != anew:
            happened.append((n, at, "series"))
        if fields["kind"] == "replacement":
            happened.append((n, at, "replacement"))
        for each in decided:
            of = counters.setdefault(each["quantity"], _Course())
            of.decisions.append((each["after"]["n"], milliseconds(fields["due"]), each["decision"]))
        for quantity, step in course.steps:
            _enter(counters.setdefault(quantity, _Course()), quantity, step, corrections, fields["clock"]["state"])
    return [_period(meter, quantity, *bound, of, happened) for quantity, of in sorted(counters.items()) for bound in bounds]


def _enter(of: _Course, quantity: str, step: Step, corrections: list[Correction], state: str) -> None:
    stand = step.stand
    found = next((each for each in reversed(corrections) if each.covers(stand.due_ms)), None)
    factor = found.factor if found and quantity_of(quantity).unit in ENERGIES else Fraction(1)
    if found and found.shift_ms:
        shift = found.shift_ms
        stand = Stand(stand.n, stand.due_ms + shift, stand.wall_ms + shift, stand.boot, stand.uptime_ms, stand.value)
    of.stands.append(stand)
    of.added.append(Fraction(step.added) * factor)
    of.raw.append(step.added)
    of.applied.append(found if found and (factor != 1 or found.shift_ms) else None)
    of.unsure.append(state == "unsynchronized")


def _period(
    meter: str, quantity: str, name: str, begin: int, end: int, of: _Course, happened: list[tuple[int, int, str]]
) -> Period:
    made = Period(meter, quantity, quantity_of(quantity).unit, name, begin, end)
    first, last = of.last_until(begin), of.last_until(end)
    if last is None:
        return made
    start = 0 if first is None else first
    made.opening, made.closing = _edge(of.stands, start, begin), _edge(of.stands, last, end)
    if not made.opening.exact and made.opening.away_ms < 0:
        made.after_opening = _edge(of.stands, start + 1, begin) if start + 1 < len(of.stands) else None
    if not made.closing.exact:
        made.after_closing = _edge(of.stands, last + 1, end) if last + 1 < len(of.stands) else None
    span = range(start + 1, last + 1)
    with localcontext(WIDE):
        made.consumption, made.rounded = _digits(sum((of.added[i] for i in span), Fraction()), [of.raw[i] for i in span])
        applied = {each.n: each.words for i in span if (each := of.applied[i])}
        if applied:
            made.uncorrected = f"{sum((of.raw[i] for i in span), Decimal(0)):f}"
    made.corrections = sorted(applied.items())
    made.unsure = sum(of.unsure[i] for i in span)
    made.decisions = [(n, what) for n, at, what in of.decisions if begin < at <= end]
    made.replacements = [n for n, at, what in happened if what == "replacement" and begin < at <= end]
    made.series = [n for n, at, what in happened if what == "series" and begin < at <= end]
    return made


def _edge(stands: list[Stand], at: int, midnight: int) -> Edge:
    stand = stands[at]
    return Edge(stand.n, f"{stand.value:f}", stand.wall_ms - midnight)


def _digits(total: Fraction, raw: list[Decimal]) -> tuple[str, bool]:
    """A sum with all its digits, and whether they had to be cut."""
    rest = total.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    places = max([0, *(-int(each.as_tuple().exponent) for each in raw)])
    value = WIDE.divide(Decimal(total.numerator), Decimal(total.denominator))
    if value.adjusted() + places > _MOST_DIGITS:
        return f"{value:f}", rest != 1
    if rest == 1:
        return f"{value.quantize(Decimal(1).scaleb(min(-places, int(value.as_tuple().exponent)))):f}", False
    return f"{+value.quantize(Decimal(1).scaleb(-places - 6)):f}", True


def _bounds(zone: tzinfo, first: date, last: date, per: Per) -> Iterator[tuple[str, int, int]]:
    """Name and midnights of each period."""
    day = first if per == "day" else first.replace(day=1) if per == "month" else first.replace(month=1, day=1)
    while day <= last:
        following = _next(day, per)
        name = day.isoformat()[: {"day": 10, "month": 7, "year": 4}[per]]
        yield name, begin_of(day, zone), begin_of(following, zone)
        day = following


def _next(day: date, per: Per) -> date:
    if per == "day":
        return day + _DAY
    if per == "year":
        return date(day.year + 1, 1, 1)
    return date(day.year + day.month // 12, day.month % 12 + 1, 1)


# --- reading the log ------------------------------------------------------------------------------------------


def _corrections(log: Log) -> list[Correction]:
    rows = (
        log.kind_records("correction", newest_first=False) if isinstance(log, LedgerReader) else _of_kind(log, (b"correction",))
    )
    found = [(n, fields) for n, payload in rows if (fields := _read(payload)) and fields["kind"] == "correction"]
    return [each for n, fields in found if (each := correction_of(n, fields))]


def _records(log: Log, meter: str, from_ms: int, course: Course) -> Iterator[tuple[int, Fields, str]]:
    """A meter's records that bear on periods from an instant on."""
    rows: Iterator[tuple[int, bytes]]
    if isinstance(log, LedgerReader):
        rows = _since(log, meter, from_ms, course)
    else:
        needle = f'"{meter}"'.encode()
        rows = ((n, payload) for n, payload in _of_kind(log, _KINDS) if needle in payload)
    for n, payload in rows:
        fields = _read(payload) if kind_of(payload) in _KINDS else None
        if fields and fields["meter"]["id"] == meter and fields["kind"] != "correction":
            yield n, fields, base64url(leaf_hash(parsed_body(fields))) if fields["kind"] == "meter" else ""


def _since(log: LedgerReader, meter: str, from_ms: int, course: Course) -> Iterator[tuple[int, bytes]]:
    """A meter's records from the newest day that was closed before an instant on, its declaration before them first."""
    start = 0
    for _, payload in log.meter_records(meter, "day", newest_first=True):
        day = _read(payload)
        if day and milliseconds(day["to"]) <= from_ms and any("closing" in each for each in day["counters"]):
            course.resume(0, day)
            start = min(each["closing"]["n"] for each in day["counters"] if "closing" in each)
            break
    if start:
        yield from (row for row, _ in zip(log.meter_records(meter, "meter", newest_first=True, stop=start), "1", strict=False))
    yield from log.meter_records(meter, start=start)


def _of_kind(log: Log, kinds: tuple[bytes, ...]) -> Iterator[tuple[int, bytes]]:
    for n, payload in log.payloads():
        if kind_of(payload) in kinds:
            yield n, payload


def _read(payload: bytes) -> Fields | None:
    """A record's fields; None where it cannot be read, which is for an audit to tell."""
    try:
        fields = parse(payload)
        check_record(unsigned(fields))
    except RecordError:
        return None
    return fields


def first_day(log: Log, zone: tzinfo) -> date:
    """The day of a log's first record; the first of all days where it cannot be read."""
    for _, payload in log.payloads(0, 1):
        if fields := _read(payload):
            return day_of(milliseconds(fields["time"]), zone)
    return date(1970, 1, 1)


def meters_in(log: Log) -> list[str]:
    """The ids of all meters that were ever declared."""
    rows = log.kind_records("meter") if isinstance(log, LedgerReader) else _of_kind(log, (b"meter",))
    return sorted({fields["meter"]["id"] for _, payload in rows if (fields := _read(payload))})
