"""How things stand, read from the ledger alone: the newest readings, today's account of each meter, open gaps, lines, delivery.

 1. Today begins at the site's midnight. Of a very large ledger only the newest records are looked at, and it is said so.
 2. A gap that is open goes on: up to now if the agent runs, else up to the ledger's last time.
 3. Answer times, faults and how busy a line is come from sealed frames. Of a silence that lasts only the first try is sealed.

What only the running agent knows is given as `live` and passed on as it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, tzinfo
from itertools import islice
from pathlib import Path
from typing import Any

from agent.account import READ, Tally, percent
from agent.broker_words import broker_words, counted_by
from agent.clock import stamp
from agent.glance import frames_in, glance
from agent.ledger_file import LedgerReader
from agent.midnight import begin_of, day_of
from agent.record import RecordError, parse
from agent.room_left import RoomLeft, room_left
from agent.schedule import MILLISECOND, SECOND
from agent.schema import COUNTED
from agent.state import LEDGER_FILE, is_running
from agent.stretch import Stretch, account, newest, stretch
from agent.timeline import milliseconds
from agent.witnessed import Witnessed, witnessed
from config.check import SiteFile
from config.language import _
from config.plate import certificate_words
from config.site import Mqtt
from config.zone import zone_of

_FLOWS = ("active_power", "volume_flow", "thermal_power", "mass_flow")
_HOUR_MS = 3_600_000
_MOST_RECORDS = 200_000  # about three seconds' work
_MOST_LOOKED_AT = 20_000

Fields = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class OpenGap:
    """A schedule's open gap: its interval, since when (the first missed instant), why, how many polls are missing."""

    every_ms: int
    since: str
    cause: str
    missed: int


@dataclass(frozen=True, slots=True)
class Today:
    """A meter's day so far.

    Attributes:
        expected, read, missed, untold: polls; `missed` by cause.
        completeness_percent: `99.98`; None where no poll was due yet.
        available_percent: the share of the time that lies in no gap; None where nothing is told of this day.
        answer_ms_p50, answer_ms_p99: how long good answers took, up to their last byte: half of them at most so long, 99 of
            100 at most so long; None without one.
        frames_good, frames_damaged, frames_silent: exchanges that brought a good answer, an unusable one, none at all.
        faults: the latter two by cause.
    """

    expected: int = 0
    read: int = 0
    missed: dict[str, int] = field(default_factory=dict)
    untold: int = 0
    completeness_percent: str | None = None
    low: bool = False
    available_percent: str | None = None
    answer_ms_p50: int | None = None
    answer_ms_p99: int | None = None
    frames_good: int = 0
    frames_damaged: int = 0
    frames_silent: int = 0
    faults: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MeterStatus:
    """One meter.

    Attributes:
        meter: its id.
        every_ms: the intervals at which it is read.
        values: its newest main value and what flows right now, with units.
        read_at: time of the newest reading; empty before the first.
        age_s: seconds since then; None before the first.
        n: that reading's record number.
        gaps: those that are open, one for each schedule at most.
        today: since midnight.
        doubt: why the newest reading, or a value in it, is not evidence grade; empty if it is.
    """

    meter: str
    every_ms: tuple[int, ...]
    values: tuple[str, ...]
    read_at: str
    age_s: int | None
    n: int | None
    gaps: tuple[OpenGap, ...]
    today: Today
    doubt: str = ""

    @property
    def ok(self) -> bool:
        """Whether it is read."""
        return self.n is not None and not self.gaps


@dataclass(frozen=True, slots=True)
class LineStatus:
    """A line: how much of the last hour up to the newest record its sealed exchanges took, in per cent."""

    line: str
    busy_percent: str


@dataclass(frozen=True, slots=True)
class Status:
    """The whole picture.

    Attributes:
        running: whether an agent holds the state directory.
        records, checkpoint: how many records there are, how many of them the newest checkpoint covers.
        delivered: how many of them each broker has, up to the first that it has not.
        delivery: what counts as delivered to a broker, and what else is to be said of it.
        zone: the site's; since, until: the time that `today` is about.
        cut: whether it begins later than midnight, because there are too many records.
        witnessed: how far each witness of the site file has seen the log.
        papers: what to do about a meter's certificate, by the meter's id; none while it is valid for long.
        live: what the running agent tells of itself; None where it was not asked.
    """

    running: bool
    records: int
    checkpoint: int
    delivered: dict[str, int]
    zone: str
    since: str
    until: str
    cut: bool
    meters: tuple[MeterStatus, ...]
    lines: tuple[LineStatus, ...]
    papers: dict[str, str] = field(default_factory=dict)
    room: RoomLeft | None = None
    witnessed: tuple[Witnessed, ...] = ()
    delivery: dict[str, list[str]] = field(default_factory=dict)
    live: Mapping[str, Any] | None = None

    @property
    def ok(self) -> bool:
        """Whether the agent runs and every meter is read."""
        return self.running and all(each.ok for each in self.meters)

    def as_json(self) -> dict[str, Any]:
        """The same as plain data."""
        return asdict(self)


def status_of(reader: LedgerReader, site: SiteFile, state: Path, now_ns: int, live: Mapping[str, Any] | None = None) -> Status:
    """The status at a wall clock instant. `live`: what the running agent tells of itself."""
    note, size, cursors = reader.newest_checkpoint(), reader.size(), reader.cursors()
    running = is_running(state)
    at, midnight = _window(reader, zone_of(site.site.timezone), now_ns // MILLISECOND)
    if running or not at.until:
        at = replace(at, until=stamp(now_ns))
    until, since = milliseconds(at.until), max(midnight, at.from_ms)
    busy: Counter[str] = Counter()
    meters = []
    for meter in site.site.meters:
        seen = _Seen(since, max(at.from_ms, until - _HOUR_MS), until)
        account(reader, meter.id, at, seen.told, seen.record)
        # The meters of a server are asked for together: the time of an answer is the same for all.
        shared = site.site.links[meter.link].opcua is not None
        busy[meter.link] = max(busy[meter.link], seen.busy_ms) if shared else busy[meter.link] + seen.busy_ms
        meters.append(_meter(reader, meter.id, now_ns // MILLISECOND, until, seen.today()))
    hour = max(1, min(_HOUR_MS, until - at.from_ms))
    return Status(
        running=running,
        records=size,
        checkpoint=int(note.split("\n")[1]) if note else 0,
        delivered={broker.name: cursors.get(broker.name, 0) for broker in site.site.mqtt},
        zone=site.site.timezone,
        since=stamp(since * MILLISECOND),
        until=at.until,
        cut=since > midnight,
        meters=tuple(meters),
        lines=tuple(LineStatus(name, percent(min(busy[name], hour), hour)) for name in site.site.links),
        papers=_papers(site, now_ns),
        room=room_left(reader, state / LEDGER_FILE, site.site.keep),
        witnessed=witnessed(reader, site.site.witnesses, now_ns // SECOND),
        delivery={broker.name: _delivery(reader, broker) for broker in site.site.mqtt},
        live=live,
    )


def _delivery(reader: LedgerReader, broker: Mqtt) -> list[str]:
    beyond = sum(stop - first for first, stop in reader.delivered_ahead(broker.name))
    ahead = [_("{beyond} newer ones are there already: new records go first", beyond=beyond)] if beyond else []
    return [counted_by(broker), *ahead, *broker_words(broker)]


def _papers(site: SiteFile, now_ns: int) -> dict[str, str]:
    today = datetime.fromtimestamp(now_ns // SECOND, zone_of(site.site.timezone)).date()
    words = {meter.id: certificate_words(meter.certificate, today) for meter in site.site.meters}
    return {meter: told for meter, told in words.items() if told}


def _window(reader: LedgerReader, zone: tzinfo, now_ms: int) -> tuple[Stretch, int]:
    """The stretch of today and the last hour, the newest part of it if it is too long, and when today began."""
    midnight = begin_of(day_of(now_ms, zone), zone)
    at = stretch(reader, min(midnight, now_ms - _HOUR_MS), 2**62)
    return (newest(reader, _MOST_RECORDS) if at.stop - at.start > _MOST_RECORDS else at), midnight


class _Seen:
    """What goes by of one meter's records: polls since a time, frames since a time, frames of the last hour."""

    def __init__(self, since: int, hour: int, until: int) -> None:
        self._since = since
        self._since_stamp = stamp(since * MILLISECOND)
        self._hour_stamp = stamp(hour * MILLISECOND)
        self._until = until
        self._tally = Tally()
        self._away: list[tuple[int, int]] = []
        self._first: int | None = None
        self._ms: list[int] = []
        self._faults: Counter[str] = Counter()
        self._damaged = 0
        self.busy_ms = 0

    def told(self, every_ms: int, outcome: str, first: int, count: int) -> None:
        """Takes polls that are accounted for."""
        self._first = first if self._first is None else min(self._first, first)
        end = first + count * every_ms
        begin = max(first, first + -(-(self._since - first) // every_ms) * every_ms)
        if begin < end:
            self._tally.add(outcome, (end - begin) // every_ms)
        if outcome != READ and end > self._since:
            self._away.append((max(first, self._since), min(end, self._until)))

    def record(self, _: int, fields: Fields) -> None:
        """Takes a record of the meter."""
        if fields["kind"] not in COUNTED:
            return
        in_hour = fields["time"] >= self._hour_stamp  # times are written so that their texts compare as they do
        in_span = fields["time"] >= self._since_stamp
        for ms, fault, answered in frames_in(fields):
            self.busy_ms += ms if in_hour else 0
            if not in_span:
                continue
            if fault:
                self._faults[fault] += 1
                self._damaged += answered
            else:
                self._ms.append(ms)

    def today(self) -> Today:
        """What came of it."""
        tally, times = self._tally, sorted(self._ms)
        return Today(
            expected=tally.expected,
            read=tally.read,
            missed=dict(tally.causes.most_common()),
            untold=tally.untold,
            completeness_percent=tally.completeness if tally.expected else None,
            low=tally.low,
            available_percent=self._available(),
            answer_ms_p50=_rank(times, 50),
            answer_ms_p99=_rank(times, 99),
            frames_good=len(times),
            frames_damaged=self._damaged,
            frames_silent=self._faults.total() - self._damaged,
            faults=dict(self._faults.most_common()),
        )

    def _available(self) -> str | None:
        if self._first is None:
            return None
        begin = max(self._since, self._first)
        whole = self._until - begin
        away, reached = 0, begin
        for start, end in sorted(self._away):
            away += max(0, end - max(start, reached))
            reached = max(reached, end)
        return percent(whole - away, whole) if whole > 0 else None


def _rank(times: Sequence[int], share: int) -> int | None:
    """The shortest time that so many per cent of all do not exceed (nearest rank)."""
    return times[-(-share * len(times) // 100) - 1] if times else None


def _intervals(reader: LedgerReader, meter: str) -> tuple[int, ...]:
    """The intervals at which a meter is read, as declared last: the site file may be a newer one than the agent runs with."""
    newest = next((payload for _n, payload in reader.meter_records(meter, "meter", newest_first=True)), None)
    return tuple(schedule["every_ms"] for schedule in parse(newest)["meter"]["schedules"]) if newest else ()


def _meter(reader: LedgerReader, meter: str, now: int, until: int, today: Today) -> MeterStatus:
    """A meter's status, times in milliseconds."""
    intervals = _intervals(reader, meter)
    readings: dict[int, tuple[int, dict[str, Any]]] = {}
    states: dict[int, Fields] = {}
    for n, payload in islice(reader.meter_records(meter, newest_first=True), _MOST_LOOKED_AT):
        if len(readings) == len(intervals):
            break
        try:
            fields = glance(payload)
        except RecordError:
            continue  # `meterseal verify` tells
        every_ms = fields.get("every_ms", 0)
        if every_ms in intervals:
            states.setdefault(every_ms, fields)
            if fields["kind"] == "reading" and every_ms not in readings:
                readings[every_ms] = n, parse(payload)
    gaps = tuple(_open(fields, until) for fields in states.values() if fields.get("state") == "opened")
    if not readings:
        return MeterStatus(meter, intervals, (), "", None, None, gaps, today)
    n, fields = max(readings.values(), key=lambda read: read[0])
    values = [value for every_ms in intervals if every_ms in readings for value in readings[every_ms][1]["values"]]
    doubt = fields.get("doubt") or next((value["cause"] for value in values if value.get("quality") == "uncertain"), "")
    age_s = max(0, now - milliseconds(fields["time"])) // 1000
    return MeterStatus(meter, intervals, _values(values), fields["time"], age_s, n, gaps, today, doubt)


def _open(fields: Fields, until: int) -> OpenGap:
    reached = (until - milliseconds(fields["since"])) // fields["every_ms"] + 1
    return OpenGap(fields["every_ms"], fields["since"], fields["cause"], max(fields["missed"], reached))


def _values(values: Sequence[Mapping[str, str]]) -> tuple[str, ...]:
    """The main counter, and what flows right now where the meter tells it."""
    flows = [value for value in values[1:] if value["quantity"] in _FLOWS]
    return tuple(_shown(value) for value in [*values[:1], *(flows or list(values[1:]))[:1]])


def _shown(value: Mapping[str, str]) -> str:
    if "value" not in value:
        return f"{value['quantity']}: {value['cause'].replace('_', ' ')}"
    return value["value"] if value["unit"] == "1" else f"{value['value']} {value['unit']}"
