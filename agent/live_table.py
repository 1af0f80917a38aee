"""The live table: what each meter shows now, as rows for a terminal or as plain lines. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent.columns import columns
from agent.findings import printable
from agent.ledger_file import LedgerReader
from agent.record import RecordError, parse
from agent.timeline import milliseconds
from config.cause_words import cause_words
from config.language import _

_LOOKED_AT = 200


@dataclass(frozen=True, slots=True)
class Row:
    """One value of one meter.

    Attributes:
        meter, quantity: which.
        shown: value and unit, or why there is none.
        quality: `good`, `uncertain` or `bad`, with the cause.
        time: when it was read, UTC; empty where it never was.
        age_s: seconds since then; -1 where it never was.
    """

    meter: str
    quantity: str
    shown: str
    quality: str
    time: str
    age_s: int


def rows_of(meter: str, values: Sequence[Mapping[str, str]], time: str, age_s: int) -> list[Row]:
    """The rows of a meter's values as they stand in records."""
    return [Row(meter, value["quantity"], _shown(value), _quality(value), time, age_s) for value in values]


def sealed_rows(reader: LedgerReader, meter: str, now_ms: int) -> list[Row]:
    """The rows of a meter's newest sealed reading; one that says so where it was never read, or is not read now."""
    for looked, (_n, payload) in enumerate(reader.meter_records(meter, newest_first=True)):
        if looked >= _LOOKED_AT:
            break
        fields = _fields(payload)
        if fields.get("kind") == "gap" and fields["state"] == "opened" and not looked:
            age_s = max(0, now_ms - milliseconds(fields["since"])) // 1000
            why = _("not read: {cause}", cause=cause_words(fields["cause"]))
            return [Row(meter, "", why, "bad", fields["since"], age_s)]
        if fields.get("kind") == "reading":
            age_s = max(0, now_ms - milliseconds(fields["time"])) // 1000
            return rows_of(meter, fields["values"], fields["time"], age_s)
    return [Row(meter, "", _("not read yet"), "", "", -1)]


def _fields(payload: bytes) -> Mapping[str, Any]:
    try:
        return parse(payload)
    except RecordError:
        return {}  # `meterseal verify` tells


def _shown(value: Mapping[str, str]) -> str:
    if "value" not in value:
        return _("no value: {cause}", cause=cause_words(value.get("cause", "")))
    return value["value"] if value["unit"] == "1" else f"{value['value']} {value['unit']}"


def _quality(value: Mapping[str, str]) -> str:
    quality = value.get("quality", "good")
    return f"{_(quality)}: {cause_words(value['cause'])}" if quality == "uncertain" else _(quality)


def table(rows: Sequence[Row], height: int) -> list[str]:
    """The rows as a table no higher than a terminal; what has no room is counted."""
    lines = [(_("METER"), _("QUANTITY"), _("VALUE"), _("QUALITY"), _("AGE"))]
    lines += [(row.meter, row.quantity, row.shown, row.quality, f"{row.age_s} s" if row.age_s >= 0 else "") for row in rows]
    made = columns(lines)
    if len(made) > height > 3:
        made = [*made[: height - 1], _("and {count} more: name the meters that you want to see", count=len(made) - height + 1)]
    return made


def plain(rows: Sequence[Row]) -> list[str]:
    """The rows as lines for a file or another program: time, meter, quantity, value and quality between tabs."""
    cells = ((row.time, row.meter, row.quantity, row.shown, row.quality) for row in rows)
    return ["\t".join(map(printable, line)) for line in cells]
