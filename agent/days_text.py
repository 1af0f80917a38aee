"""The completeness of meters' days as a page for a person: one line a meter and day, what is low and why, a line of totals."""

from __future__ import annotations

from datetime import date, datetime, tzinfo

from agent.account import ASKED_PERCENT, UNTOLD, Tally, interval
from agent.columns import columns
from agent.days import Completeness
from agent.findings import printable
from config.language import N_, _

_HEAD = (N_("DAY"), N_("METER"), N_("EVERY"), N_("READ"), N_("DUE"), "%", "", N_("MISSED"))
_RIGHT = (2, 3, 4, 5)


def days_text(told: Completeness, zone: tzinfo) -> str:
    """The page."""
    until = _local(told.until, zone)
    lines = [
        _(
            "{gateway}: records until {until}, days of {zone}",
            gateway=told.gateway or _("a ledger without records"),
            until=until or _("never"),
            zone=told.zone,
        ),
        "",
    ]
    if not told.tallies:
        lines.append(_("No poll was due {span}, as far as these records tell.", span=_span(told)))
    else:
        lines += [*_table(told), "", *_low(told)]
    if told.total.untold:
        lines.append(
            _("{untold}: nothing is said about these polls, and that should not be: run `meterseal verify`.", untold=UNTOLD)
        )
    if until and told.first <= _day(told.until, zone) <= told.last:
        lines.append(_("{day} is counted up to {until}.", day=_day(told.until, zone), until=until[11:]))
    for step in told.steps:
        lines.append(
            _(
                "The clock was set from {local} to {local_2} (record {n}).",
                local=_local(step.before, zone),
                local_2=_local(step.after, zone),
                n=step.n,
            )
        )
    return printable("\n".join(lines))


def causes_text(tally: Tally) -> str:
    """Missed polls by cause, most frequent first: `no_answer 12, agent_stopped 4`."""
    causes = [*tally.causes.most_common(), *([(UNTOLD, tally.untold)] if tally.untold else [])]
    return ", ".join(f"{cause} {count}" for cause, count in causes)


def _table(told: Completeness) -> list[str]:
    rows: list[tuple[str, ...]] = [tuple(_(name) for name in _HEAD)]
    rows += [_row(str(day), meter, interval(every_ms), tally) for (day, meter, every_ms), tally in told.tallies.items()]
    meters = len({meter for _day, meter, _every_ms in told.tallies})
    rows.append(_row(_("TOTAL"), _("1 meter") if meters == 1 else _("{count} meters", count=meters), "", told.total))
    lines = columns(rows, _RIGHT)
    return [*lines[:-1], "", lines[-1]]


def _row(day: str, meter: str, every: str, tally: Tally) -> tuple[str, ...]:
    low = _("LOW") if tally.low else ""
    return day, meter, every, str(tally.read), str(tally.expected), tally.completeness, low, causes_text(tally)


def _low(told: Completeness) -> list[str]:
    low = len(told.low)
    if not low:
        return [_("No line is below {asked_percent} %.", asked_percent=ASKED_PERCENT)]
    asked = _("below {asked_percent} %, the least that the monitoring of key energy users asks for", asked_percent=ASKED_PERCENT)
    lines = len(told.tallies)
    said = (
        _("LOW: 1 of {lines} lines is {asked}.", lines=lines, asked=asked)
        if low == 1
        else _("LOW: {low} of {lines} lines are {asked}.", low=low, lines=lines, asked=asked)
    )
    return [said, _("What each cause means and what to do: docs/causes.md")]


def _span(told: Completeness) -> str:
    if told.first == told.last:
        return _("on {day}", day=told.first)
    return _("from {first} to {last}", first=told.first, last=told.last)


def _local(time: str, zone: tzinfo) -> str:
    """A record's time in a zone, without fractions: `2026-11-22 14:32:10`."""
    return f"{datetime.fromisoformat(time).astimezone(zone):%Y-%m-%d %H:%M:%S}" if time else ""


def _day(time: str, zone: tzinfo) -> date:
    return datetime.fromisoformat(time).astimezone(zone).date()
