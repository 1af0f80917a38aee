"""Consumption as a page for a person: one line a period, and under it what it rests on where that is not plain."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, tzinfo

from agent.columns import columns
from agent.consumption import Edge, Period
from agent.findings import printable
from config.cause_words import cause_words
from config.language import N_, _

_HEAD = (N_("PERIOD"), N_("METER"), N_("COUNTER"), N_("CONSUMED"), "", N_("FROM RECORD"), N_("TO RECORD"), "")
_RIGHT = (3, 5, 6)


def consumption_text(periods: Sequence[Period], zone: tzinfo, name: str) -> str:
    """The page. `name`: the zone's."""
    lines = [_("Days of {name}. Recomputed from the readings; records by their numbers.", name=name), ""]
    rows = [tuple(_(name) for name in _HEAD), *(_row(period) for period in periods)]
    for line, period in zip(columns(rows, _RIGHT), [None, *periods], strict=True):
        lines.append(line)
        lines += [f"    {note}" for note in _notes(period, zone)] if period else []
    open_ends = sum(period.over and not period.complete for period in periods)
    if open_ends:
        where = _("they begin or end where the lines under them say, and nothing is made up")
        lines += [
            "",
            _("{open_ends} of {periods} are not exact: {where}.", open_ends=open_ends, periods=len(periods), where=where),
        ]
    return printable("\n".join(lines))


def _row(period: Period) -> tuple[str, ...]:
    opening = str(period.opening.n) if period.opening else "-"
    closing = str(period.closing.n) if period.closing else "-"
    mark = "" if period.complete else _("NOT EXACT") if period.over else _("NOT OVER")
    return period.name, period.meter, period.quantity, period.consumption or "-", period.unit, opening, closing, mark


def _notes(period: Period, zone: tzinfo) -> Iterator[str]:
    """What a line rests on, where that is not plain."""
    if period.closing is None:
        yield _("no reading says anything about it")
        return
    yield from _edges(period, zone)
    if period.uncorrected:
        yield _("{uncorrected} {unit} as it was read; corrected:", uncorrected=period.uncorrected, unit=period.unit)
    for n, words in period.corrections:
        yield _("record {n} corrects {words}", n=n, words=words)
    if period.rounded:
        yield _("the corrected ratio leaves no end of digits: rounded")
    for n, what in period.decisions:
        yield _("the counter's reading in record {n} was taken for a {what}: see its counter record", n=n, what=cause_words(what))
    yield from (_("the meter was replaced: record {n}", n=n) for n in period.replacements)
    yield from (_("another series of numbers begins (record {n}): nothing is counted across it", n=n) for n in period.series)
    if period.unsure:
        yield _("{unsure} of its readings were stamped by a clock that was not known to be right", unsure=period.unsure)


def _edges(period: Period, zone: tzinfo) -> Iterator[str]:
    """Where a period truly begins and ends, if not at midnight."""
    for which, edge, after, midnight in (
        (N_("begins"), period.opening, period.after_opening, period.from_ms),
        (N_("ends"), period.closing, period.after_closing, period.to_ms),
    ):
        if edge is None or edge.exact:
            continue
        at = _local(midnight + edge.away_ms, zone)
        if after:
            behind = _(
                "; the next one, record {n}, {away} it at {value} {unit}",
                n=after.n,
                away=_away(after),
                value=after.value,
                unit=period.unit,
            )
            yield _(
                "{which} with record {n}, read {away} midnight ({at}){behind}",
                which=_(which),
                n=edge.n,
                away=_away(edge),
                at=at,
                behind=behind,
            )
        elif which == "ends":
            yield _("goes up to record {n}, the newest that counts ({at})", n=edge.n, at=at)
        else:
            yield _("{which} with record {n}, the first there is ({at})", which=_(which), n=edge.n, at=at)


def _away(edge: Edge) -> str:
    """How far from midnight: `15 min 3 s before`."""
    seconds = (abs(edge.away_ms) + 500) // 1000
    parts = ((seconds // 86_400, "d"), (seconds // 3600 % 24, "h"), (seconds // 60 % 60, "min"), (seconds % 60, "s"))
    words = " ".join(f"{count} {unit}" for count, unit in parts if count) or "0 s"
    return _("{span} before", span=words) if edge.away_ms < 0 else _("{span} after", span=words)


def _local(ms: int, zone: tzinfo) -> str:
    return f"{datetime.fromtimestamp(ms / 1000, UTC).astimezone(zone):%Y-%m-%d %H:%M:%S}"
