"""The status as a page for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, tzinfo
from typing import Any

from agent.account import UNTOLD, interval
from agent.columns import columns, filled
from agent.condition import NO_RECEIPT, Delivery, without_receipts
from agent.faults import FAULTS, code_of_cause, with_code
from agent.findings import printable
from agent.status import MeterStatus, OpenGap, Status
from config.cause_words import cause_words
from config.language import _
from config.zone import zone_of


def as_text(status: Status) -> str:
    """The status: what each meter shows, its day, the lines, the agent, what is delivered."""
    zone = zone_of(status.zone)
    papers = [f"{meter}: {words}." for meter, words in status.papers.items()]
    parts = [_readings(status), papers, _today(status, zone), _lines(status), _agent(status)]
    return printable("\n\n".join("\n".join(lines) for lines in parts if lines))


def delivery_text(delivered: int, records: int) -> str:
    """How far a destination has acknowledged, in words."""
    if delivered >= records:
        return _("all {records} records", records=records)
    return (
        _("up to record {delivered}, {records} waiting", delivered=delivered - 1, records=records - delivered)
        if delivered
        else _("nothing yet, {records} waiting", records=records)
    )


def notes(status: Status) -> dict[str, str]:
    """What is wrong with each meter, in words; empty if it is read."""
    zone = zone_of(status.zone)
    return {each.meter: _note(each, zone, _day(status.until, zone)) for each in status.meters}


def _note(meter: MeterStatus, zone: tzinfo, today: str) -> str:
    if not meter.gaps:
        doubt = _("not evidence grade: {doubt}", doubt=cause_words(meter.doubt)) if meter.doubt else ""
        return doubt if meter.n is not None else _("not read yet")
    return "; ".join(_gap(gap, zone, today, which=len(meter.every_ms) > 1) for gap in meter.gaps)


def _gap(gap: OpenGap, zone: tzinfo, today: str, *, which: bool) -> str:
    polls = _("1 poll") if gap.missed == 1 else _("{count} polls", count=gap.missed)
    every = _(" every {span}", span=interval(gap.every_ms)) if which else ""
    told = _(
        "no reading{every} since {moment}: {cause}, {polls} missed",
        every=every,
        moment=_moment(gap.since, zone, today),
        cause=cause_words(gap.cause),
        polls=polls,
    )
    return with_code(told, code_of_cause(gap.cause))


def _readings(status: Status) -> list[str]:
    words = notes(status)
    rows: list[tuple[str, ...]] = [(_("METER"), _("VALUES"), _("AGE"), _("RECORD"), "")]
    for each in status.meters:
        age = "" if each.age_s is None else f"{each.age_s} s"
        values = "  ".join(map(value_words, each.values))
        rows.append((each.meter, values, age, "" if each.n is None else str(each.n), words[each.meter]))
    return columns(rows)


def value_words(told: str) -> str:
    """A value of a status as a person reads it: `37 W` as it is, and `active_power: no answer` in the language spoken."""
    quantity, colon, cause = told.partition(": ")
    return f"{quantity}: {cause_words(cause)}" if colon else told


def _today(status: Status, zone: tzinfo) -> list[str]:
    if not status.meters:
        return []
    today = _day(status.until, zone)
    rows: list[tuple[str, ...]] = [
        (
            *(_("TODAY"), _("READ"), _("DUE"), "%", "", _("AVAILABLE"), _("ANSWER"), "P99", _("DAMAGED"), _("SILENT")),
            *(_("LAST READING"), ""),
        )
    ]
    rows += [_day_row(each, zone, today) for each in status.meters]
    if any(each.today.low for each in status.meters) or any(each.today.missed for each in status.meters):
        rows[0] = (*rows[0][:-1], _("MISSED POLLS; FAULTS OF FRAMES"))
    since = _moment(status.since, zone, today)
    told = _("TODAY: from {since} to {moment}, {zone}", since=since, moment=_moment(status.until, zone, today), zone=status.zone)
    cut = _(" (not from midnight: there are too many records to look at)") if status.cut else ""
    sealed = _(
        "ANSWER, P99: half of the answers, and 99 of 100, had come within this time. All of it is taken from sealed records."
    )
    return [*columns(rows, right=(1, 2, 3, 5, 6, 7, 8, 9)), f"{told}{cut}.", sealed]


def _day_row(each: MeterStatus, zone: tzinfo, today: str) -> tuple[str, ...]:
    day = each.today
    missed = [f"{cause_words(cause)} {count}" for cause, count in day.missed.items()]
    missed += [f"{cause_words(UNTOLD)} {day.untold}"] * (day.untold > 0)
    faults = [f"{cause_words(cause)} {count}" for cause, count in day.faults.items()]
    return (
        each.meter,
        str(day.read),
        str(day.expected),
        day.completeness_percent or "-",
        _("LOW") if day.low else "",
        f"{day.available_percent} %" if day.available_percent else "-",
        "-" if day.answer_ms_p50 is None else f"{day.answer_ms_p50} ms",
        "-" if day.answer_ms_p99 is None else f"{day.answer_ms_p99} ms",
        str(day.frames_damaged),
        str(day.frames_silent),
        _moment(each.read_at, zone, today) if each.read_at else _("never"),
        "; ".join(filter(None, (", ".join(missed), ", ".join(faults)))),
    )


def _lines(status: Status) -> list[str]:
    live: Mapping[str, Any] = (status.live or {}).get("links", {})
    rows: list[tuple[str, ...]] = [(_("LINE"), _("BUSY"), *((_("NOW"), _("WAITING"), _("OVERRUNS")) if live else ()))]
    for line in status.lines:
        now = live.get(line.line, {})
        told = (f"{now.get('busy_percent', '-')} %", str(now.get("waiting", "-")), str(now.get("overruns", "-"))) if live else ()
        rows.append((line.line, f"{line.busy_percent} %", *told))
    if not status.lines:
        return []
    said = [_("BUSY: in the last hour, from sealed frames; waiting for meters that stay silent is not in it.")]
    if live:
        said += [
            _("NOW, WAITING (polls), OVERRUNS (polls since the start that the line had no time for): told by the running agent.")
        ]
    return [*columns(rows, right=(1, 2, 3, 4)), *said]


def _agent(status: Status) -> list[str]:
    lines = [f"{filled(_('agent'), 11)} {_('running') if status.running else with_code(_('not running'), 'MS-902')}"]
    lines.append(
        _("ledger      {records} records, checkpoint over {checkpoint}", records=status.records, checkpoint=status.checkpoint)
    )
    if status.room:
        lines.append(f"{filled(_('room'), 11)} {status.room.text()}")
    lines += [f"{filled(_('witness'), 11)} {each.text()}" for each in status.witnessed]
    for name, count in status.delivered.items():
        lines.append(f"{name:<11} {delivery_text(count, status.records)}")
        lines += [f"{'':<11} {words}" for words in (*status.delivery.get(name, ()), *_in_the_way(status, name))]
    return lines


def _in_the_way(status: Status, broker: str) -> list[str]:
    """What is in the way of the delivery to a broker, as the running agent tells it, and what to do."""
    told = (status.live or {}).get("brokers", {}).get(broker)
    if told is None:
        return []
    seen = Delivery(**told)
    if seen.why:
        what = _(FAULTS[seen.fault].title) if seen.fault in FAULTS else _("not delivered")
        return [with_code(f"{what}: {seen.why}", seen.fault), *([f"-> {seen.hint}"] if seen.hint else [])]
    if seen.lacks_receipts:
        return [with_code(without_receipts(seen), "MS-511"), f"-> {_(NO_RECEIPT)}"]
    return []


def _local(time: str, zone: tzinfo) -> datetime:
    return datetime.fromisoformat(time).astimezone(zone)


def _day(time: str, zone: tzinfo) -> str:
    return f"{_local(time, zone):%Y-%m-%d}"


def _moment(time: str, zone: tzinfo, today: str) -> str:
    """A time in a zone; without its date if that is today."""
    at = _local(time, zone)
    return f"{at:%H:%M:%S}" if f"{at:%Y-%m-%d}" == today else f"{at:%Y-%m-%d %H:%M:%S}"
