"""The completeness of meters' days as a page for a person: one line a meter and day, what is low and why, a line of totals."""

from __future__ import annotations

from datetime import date, datetime, tzinfo

from agent.account import ASKED_PERCENT, UNTOLD, Tally, interval
from agent.days import Completeness
from agent.findings import printable
from config.language import _

_HEAD = ("DAY", "METER", "EVERY", "READ", "DUE", "%", "", "MISSED")
_RIGHT = (False, False, True, True, True, True, False, False)


def days_text(told: Completeness, zone: tzinfo) -> str:
    """The page."""
    until = _local(told.until, zone)
    lines = [
        _(
            "{gateway}: records until {until}, days of {zone}",
            gateway=told.gateway or _("a ledger without records"),
            until=until or "never",
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
    rows: list[tuple[str, ...]] = [_HEAD]
    rows += [_row(str(day), meter, interval(every_ms), tally) for (day, meter, every_ms), tally in told.tallies.items()]
    meters = len({meter for _day, meter, _every_ms in told.tallies})
    rows.append(_row("TOTAL", f"{meters} meter" + "s" * (meters > 1), "", told.total))
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD) - 1)]
    lines = [_line(row, widths) for row in rows]
    return [*lines[:-1], "", lines[-1]]


def _row(day: str, meter: str, every: str, tally: Tally) -> tuple[str, ...]:
    low = "LOW" if tally.low else ""
    return day, meter, every, str(tally.read), str(tally.expected), tally.completeness, low, causes_text(tally)


def _line(row: tuple[str, ...], widths: list[int]) -> str:
    cells = [
        cell.rjust(width) if right else cell.ljust(width) for cell, width, right in zip(row, [*widths, 0], _RIGHT, strict=True)
    ]
    return "  ".join(cells).rstrip()


def _low(told: Completeness) -> list[str]:
    low = len(told.low)
    if not low:
        return [_("No line is below {asked_percent} %.", asked_percent=ASKED_PERCENT)]
    asked = _("below {asked_percent} %, the least that the monitoring of key energy users asks for", asked_percent=ASKED_PERCENT)
    of = f"{low} of {len(told.tallies)} lines {'is' if low == 1 else 'are'}"
    return [f"LOW: {of} {asked}.", _("What each cause means and what to do: docs/causes.md")]


def _span(told: Completeness) -> str:
    return f"on {told.first}" if told.first == told.last else f"from {told.first} to {told.last}"


def _local(time: str, zone: tzinfo) -> str:
    """A record's time in a zone, without fractions: `2026-11-22 14:32:10`."""
    return f"{datetime.fromisoformat(time).astimezone(zone):%Y-%m-%d %H:%M:%S}" if time else ""


def _day(time: str, zone: tzinfo) -> date:
    return datetime.fromisoformat(time).astimezone(zone).date()
