"""How things stand, read from the ledger alone: the newest reading of each meter, open gaps, what is delivered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from agent.clock import from_stamp
from agent.ledger_file import LedgerReader
from agent.record import parse
from agent.schedule import SECOND
from agent.state import is_running
from config.check import SiteFile

_FLOWS = ("active_power", "volume_flow", "thermal_power", "mass_flow")


@dataclass(frozen=True, slots=True)
class MeterStatus:
    """One meter's line.

    Attributes:
        meter: its id.
        values: its newest main value and what flows right now, with units.
        age_s: seconds since the newest reading; None before the first.
        n: that reading's record number.
        note: an open gap in plain words, empty if the meter is read.
    """

    meter: str
    values: tuple[str, ...]
    age_s: int | None
    n: int | None
    note: str


@dataclass(frozen=True, slots=True)
class Status:
    """The whole picture."""

    running: bool
    records: int
    checkpoint: int
    delivered: dict[str, int]
    meters: tuple[MeterStatus, ...]

    def as_json(self) -> dict[str, Any]:
        """The same as plain data."""
        return asdict(self)


def status_of(reader: LedgerReader, site: SiteFile, state: Path, now_ns: int) -> Status:
    """The status at a wall clock instant."""
    note = reader.newest_checkpoint()
    size = reader.size()
    cursors = reader.cursors()
    return Status(
        running=is_running(state),
        records=size,
        checkpoint=int(note.split("\n")[1]) if note else 0,
        delivered={broker.name: cursors.get(broker.name, 0) for broker in site.site.mqtt},
        meters=tuple(_meter(reader, meter.id, now_ns) for meter in site.site.meters),
    )


def _meter(reader: LedgerReader, meter: str, now_ns: int) -> MeterStatus:
    n, reading = _newest(reader, meter, "reading")
    gap_n, gap = _newest(reader, meter, "gap")
    note = ""
    if gap and gap["state"] == "opened" and (n is None or (gap_n or 0) > n):
        note = f"no reading since {gap['since'][11:19]} UTC: {gap['cause'].replace('_', ' ')}"
    if reading is None:
        return MeterStatus(meter, (), None, None, note or "not read yet")
    age = max(0, now_ns - from_stamp(reading["time"])) // SECOND
    return MeterStatus(meter, _values(reading["values"]), age, n, note)


def _newest(reader: LedgerReader, meter: str, kind: str) -> tuple[int | None, dict[str, Any] | None]:
    for n, payload in reader.meter_records(meter, kind, newest_first=True):
        return n, parse(payload)
    return None, None


def _values(values: Sequence[dict[str, str]]) -> tuple[str, ...]:
    """The main counter, and what flows right now where the meter tells it."""
    flows = [value for value in values[1:] if value["quantity"] in _FLOWS]
    return tuple(_shown(value) for value in [*values[:1], *(flows or list(values[1:]))[:1]])


def _shown(value: dict[str, str]) -> str:
    if "value" not in value:
        return f"{value['quantity']}: {value['cause'].replace('_', ' ')}"
    return value["value"] if value["unit"] == "1" else f"{value['value']} {value['unit']}"


def delivery_text(delivered: int, records: int) -> str:
    """How far a destination has acknowledged, in words."""
    if delivered >= records:
        return f"all {records} records"
    return f"up to record {delivered - 1}, {records - delivered} waiting" if delivered else f"nothing yet, {records} waiting"


def as_text(status: Status) -> str:
    """The status as a table for a terminal."""
    rows = [("METER", "VALUES", "AGE", "RECORD", "")]
    rows += [
        (m.meter, "  ".join(m.values), "" if m.age_s is None else f"{m.age_s} s", "" if m.n is None else str(m.n), m.note)
        for m in status.meters
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, [*widths, 0], strict=True)).rstrip() for row in rows]
    lines.append("")
    lines.append(f"agent       {'running' if status.running else 'not running'}")
    lines.append(f"ledger      {status.records} records, checkpoint over {status.checkpoint}")
    lines += [f"{name:<11} {delivery_text(count, status.records)}" for name, count in status.delivered.items()]
    return "\n".join(lines)
