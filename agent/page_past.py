"""What the status page shows of the past of a meter: a day's values and a month's consumption, from the ledger.

Of a meter that has many readings in a day, one every five minutes is shown. What was consumed on a day is what the `day` records
state.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from itertools import islice, pairwise
from typing import Any

from agent.ledger_file import LedgerReader
from agent.page_trend import Point
from agent.record import RecordError, parse
from agent.stretch import first_from
from agent.timeline import milliseconds
from config.quantity import quantity_of

FLOWS = ("active_power", "volume_flow", "thermal_power", "mass_flow")
_DAY_MS = 86_400_000
_STEP_MS = 300_000
_MOST_LOOKED_AT = 1500
_NEAR = 50
_DAYS = 31

Fields = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Day:
    """A day of a meter.

    Attributes:
        quantity, unit: what is shown.
        per_ms: it is what a counter rose by in this time; 0: it is the value itself.
        step_ms: what is farther apart is not joined.
        begin_ms: where it begins.
        points: times and values.
    """

    quantity: str
    unit: str
    per_ms: int
    step_ms: int
    begin_ms: int
    points: Sequence[Point]


def newest_readings(reader: LedgerReader, meter: str, intervals: Sequence[int]) -> dict[int, tuple[int, Fields]]:
    """The newest reading of each schedule that has one, with its n, by the interval in milliseconds."""
    found: dict[int, tuple[int, Fields]] = {}
    for n, payload in islice(reader.meter_records(meter, "reading", newest_first=True), _MOST_LOOKED_AT):
        fields = _parsed(payload)
        if fields and fields["every_ms"] in intervals:
            found.setdefault(fields["every_ms"], (n, fields))
        if len(found) == len(intervals):
            break
    return found


def day_of_meter(reader: LedgerReader, meter: str, newest: Mapping[int, tuple[int, Fields]], now_ms: int) -> Day | None:
    """The last 24 hours of what flows through a meter, or else of its main counter; None where it has neither."""
    shown = _shown(newest)
    if shown is None:
        return None
    every_ms, quantity, unit = shown
    begin_ms, step_ms = now_ms - _DAY_MS, every_ms
    readings = _all(reader, meter, every_ms, begin_ms)
    if readings is None:
        readings, step_ms = _sampled(reader, meter, every_ms, begin_ms), max(every_ms, _STEP_MS)
    points = sorted({point for fields in readings for point in _point(fields, quantity, begin_ms)})
    is_counter = quantity_of(quantity).kind == "counter"
    if is_counter:
        near = [(one, other) for one, other in pairwise(points) if 0 < other[0] - one[0] <= 3 * step_ms // 2]
        points = [(other[0], other[1] - one[1]) for one, other in near if other[1] >= one[1]]
    return Day(quantity, unit, step_ms if is_counter else 0, 3 * step_ms // 2, begin_ms, points)


def month_of_meter(reader: LedgerReader, meter: str) -> tuple[str, str, list[tuple[str, Decimal | None]]] | None:
    """The main counter, its unit and what was consumed on each of the last 31 closed days; None where none is closed."""
    closed: dict[str, Decimal | None] = {}
    quantity = unit = ""
    for _, payload in islice(reader.meter_records(meter, "day", newest_first=True), _DAYS):
        fields = _parsed(payload)
        if not fields or not fields["counters"]:
            continue
        quantity = quantity or fields["counters"][0]["quantity"]
        main: Fields = next((each for each in fields["counters"] if each["quantity"] == quantity), {})
        unit = unit or main.get("unit", "")
        closed[fields["day"]] = Decimal(main["consumption"]) if "consumption" in main else None
    if not closed:
        return None
    last = date.fromisoformat(max(closed))
    days = [(last - timedelta(days=back)).isoformat() for back in range(_DAYS - 1, -1, -1)]
    return quantity, unit, [(day, closed.get(day)) for day in days if day >= min(closed)]


def _shown(newest: Mapping[int, tuple[int, Fields]]) -> tuple[int, str, str] | None:
    """Interval, quantity and unit of what is shown of a day."""
    told = [
        (every_ms, value) for every_ms, (_, fields) in sorted(newest.items()) for value in fields["values"] if "unit" in value
    ]
    flows = [(each, value["quantity"], value["unit"]) for each, value in told if value["quantity"] in FLOWS]
    counters = [
        (each, value["quantity"], value["unit"]) for each, value in told if quantity_of(value["quantity"]).kind == "counter"
    ]
    return next(iter([*flows, *counters]), None)


def _all(reader: LedgerReader, meter: str, every_ms: int, begin_ms: int) -> list[Fields] | None:
    """All readings of a schedule since a time; None where there are too many records to look at."""
    found: list[Fields] = []
    for looked_at, (_n, payload) in enumerate(reader.meter_records(meter, "reading", newest_first=True)):
        if looked_at >= _MOST_LOOKED_AT:
            return None
        fields = _parsed(payload)
        if fields and fields["every_ms"] == every_ms:
            if milliseconds(fields["due"]) < begin_ms:
                break
            found.append(fields)
    return found


def _sampled(reader: LedgerReader, meter: str, every_ms: int, begin_ms: int) -> list[Fields]:
    """The first reading of a schedule from each five minutes on."""
    n, size, found = 0, reader.size(), []
    for step in range(_DAY_MS // _STEP_MS):
        n = first_from(reader, n, size, begin_ms + step * _STEP_MS)
        for _n, payload in islice(reader.meter_records(meter, "reading", start=n), _NEAR):
            if (fields := _parsed(payload)) and fields["every_ms"] == every_ms:
                found.append(fields)
                break
    return found


def _point(fields: Fields, quantity: str, begin_ms: int) -> Iterator[Point]:
    for value in fields["values"]:
        due_ms = milliseconds(fields["due"])
        if value["quantity"] == quantity and "value" in value and value.get("quality") != "bad" and due_ms >= begin_ms:
            yield due_ms, Decimal(value["value"])


def _parsed(payload: bytes) -> Fields | None:
    try:
        return parse(payload)
    except RecordError:
        return None  # `meterseal verify` tells
