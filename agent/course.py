"""One meter's course: its counters and the closing of its days, while its records go by in the order of the log. Pure.

The agent makes `counter` and `day` records by it in the thread that writes, the verifier recomputes them by it, and
`meterseal consumption` sums up by it: all see the same records in the same order, so all come to the same.

 1. A counter's reading counts where it is good. Which meter it is follows from its declaration: where serial number or model
    change, another series begins, and nothing is counted from the last of the old to the first of the new, unless a
    `replacement` record says what both stood at. Where only the ratios change, the counter goes on in the new scale.
 2. A day ends with the last accepted reading that was due at its midnight or before; where that is not the midnight's own, it is
    said how far from it it was read. The next day begins with the same reading: days add up to what was counted in all.
 3. What is sealed after a day was closed belongs to the next one, whatever instant it answers for.

What this file does not know: frames, signatures, zones.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass
from decimal import Decimal, localcontext
from typing import Any

from agent.counter import Counter, Decision, Stand, Step
from agent.declaration import Declaration
from agent.plausible import WIDE, Limits, applied, is_counter, limits_of
from agent.timeline import milliseconds
from config.quantity import quantity_of

Fields = dict[str, Any]
_SLOT_MS = 900_000  # midnights of all zones in use are multiples of it
_MOST_KEPT = 4000
_SERIES = ("serial", "model")


@dataclass(frozen=True, slots=True)
class Bound:
    """A reading that a day begins or ends with, and the counter's total up to it."""

    stand: Stand
    total: Decimal

    def fields(self, midnight: int) -> Fields:
        """As it stands in a `day` record."""
        return {"n": self.stand.n, "value": f"{self.stand.value:f}", "away_ms": abs(self.stand.wall_ms - midnight)}


class _Kept:
    """A counter with the readings that a day not yet closed may end with."""

    def __init__(self, limits: Limits) -> None:
        self.counter = Counter(limits)
        self.opening: Bound | None = None
        self.bounds: list[Bound] = []

    def step(self, step: Step, total: Decimal) -> None:
        bound = Bound(step.stand, total)
        self.opening = self.opening or bound
        slot = -(-step.stand.due_ms // _SLOT_MS)
        if self.bounds and -(-self.bounds[-1].stand.due_ms // _SLOT_MS) == slot:
            self.bounds.pop()
        self.bounds.append(bound)
        del self.bounds[:-_MOST_KEPT]

    def closing(self, midnight: int) -> Bound | None:
        found = next((bound for bound in reversed(self.bounds) if bound.stand.due_ms <= midnight), None)
        return found or self.opening

    def close(self, midnight: int) -> None:
        self.opening = self.closing(midnight)
        if self.opening in self.bounds:
            del self.bounds[: self.bounds.index(self.opening)]

    def copied(self) -> _Kept:
        made = copy(self)
        made.counter, made.bounds = copy(self.counter), list(self.bounds)
        return made


class Course:
    """A meter's course.

    Attributes:
        steps: the accepted readings of each counter by the last record taken, for who sums up.
        closed_to: the midnight up to which its days are closed, milliseconds since 1970; None: none is.
        born_ms: when it was first declared.
        anew: the record that began another series last.
    """

    def __init__(self, meter: str) -> None:
        self.meter = meter
        self.steps: list[tuple[str, Step]] = []
        self.closed_to: int | None = None
        self.born_ms: int | None = None
        self.anew: int | None = None
        self._declared: Declaration | None = None
        self._counters: dict[str, _Kept] = {}
        self._read: Tally[int] = Tally()
        self._happened: Tally[str] = Tally()
        self._replaced = False
        self._from: dict[str, int] = {}

    def copied(self) -> Course:
        """The course as it is now: it stays so, whatever this one takes."""
        made = copy(self)
        made.steps, made._read, made._happened = list(self.steps), self._read.copy(), self._happened.copy()
        made._counters = {name: kept.copied() for name, kept in self._counters.items()}
        return made

    # --- what goes by -----------------------------------------------------------------------------------------

    def declare(self, declaration: Declaration, time_ms: int) -> None:
        """Takes a declaration and its record's time."""
        before, self._declared = self._declared, declaration
        self.born_ms = time_ms if self.born_ms is None else self.born_ms
        for name, point in declaration.points.items():
            if is_counter(name):
                limits = limits_of(point, declaration.fields)
                if name in self._counters:
                    self._counters[name].counter.limits = limits
                else:
                    self._counters[name] = _Kept(limits)
        if before:
            self._rescale(before, declaration)
        if before and not self._replaced and any(before.fields.get(name) != declaration.fields.get(name) for name in _SERIES):
            self.anew = declaration.n
            for kept in self._counters.values():
                kept.counter.begin_anew()
        self._replaced = False

    def _rescale(self, before: Declaration, after: Declaration) -> None:
        """Lets counters go on where the transformers' ratios were declared anew."""
        for name in before.points.keys() & after.points.keys() & self._counters.keys():
            times = applied(after.points[name], after.fields) / applied(before.points[name], before.fields)
            if times != 1:
                self._counters[name].counter.rescale(times)

    def read(self, n: int, fields: Mapping[str, Any]) -> list[Fields]:
        """Takes a reading; the `counter` records that follow from it, without `kind`, time and clock."""
        due = milliseconds(fields["due"])
        self._read[due // _SLOT_MS] += 1
        self.steps = []
        decided: list[Fields] = []
        for value in fields["values"]:
            kept = self._counters.get(value["quantity"])
            if kept is None or "value" not in value or "quality" in value or n < self._from.get(value["quantity"], 0):
                continue
            stand = _stand(n, due, fields, Decimal(value["value"]))
            decision = self._step(value["quantity"], kept, stand)
            if decision:
                self._happened[decision.what] += 1
                decided.append(_decided(self.meter, value["quantity"], decision))
        return decided

    def replace(self, n: int, fields: Mapping[str, Any]) -> None:
        """Takes a replacement: the counters go on with what the new meter began with."""
        self.steps = []
        self._happened["replacement"] += 1
        self._replaced = True
        last = {each["quantity"]: each["value"] for each in fields["last"]}
        first = {each["quantity"]: each["value"] for each in fields["first"]}
        for quantity, kept in self._counters.items():
            if quantity not in first:
                kept.counter.begin_anew()
                self.anew = n
                continue
            stand = _stand(n, milliseconds(fields["time"]), fields, Decimal(first[quantity]))
            step = kept.counter.replaced(stand, Decimal(last[quantity]) if quantity in last else None)
            kept.step(step, kept.counter.total)
            self.steps.append((quantity, step))

    def resume(self, born_ms: int, day: Mapping[str, Any]) -> None:
        """What goes by next was sealed before already, from the readings on that a `day` record closed with."""
        self.born_ms = born_ms
        self._from = {each["quantity"]: each["closing"]["n"] for each in day["counters"] if "closing" in each}

    def _step(self, quantity: str, kept: _Kept, stand: Stand) -> Decision | None:
        before = kept.counter.total
        decision, steps = kept.counter.take(stand)
        with localcontext(WIDE):
            for step in steps:
                before += step.added
                kept.step(step, before)
                self.steps.append((quantity, step))
        return decision

    # --- days -------------------------------------------------------------------------------------------------

    def day(self, day: str, zone: str, begin: int, end: int) -> Fields:
        """The `day` record of a calendar day, without time and clock; midnights in milliseconds since 1970."""
        return {
            "meter": {"id": self.meter},
            "day": day,
            "zone": zone,
            "from": begin,
            "to": end,
            "expected": self._expected(begin, end),
            "actual": sum(count for slot, count in self._read.items() if begin // _SLOT_MS <= slot < end // _SLOT_MS),
            "resets": self._happened["reset"],
            "replacements": self._happened["replacement"],
            "counters": [self._closing(quantity, begin, end) for quantity in sorted(self._counters)],
        }

    def closed(self, end: int) -> None:
        """A `day` record was sealed."""
        self.closed_to = end
        self._happened.clear()
        for slot in [slot for slot in self._read if slot < end // _SLOT_MS]:
            del self._read[slot]
        for kept in self._counters.values():
            kept.close(end)

    def _expected(self, begin: int, end: int) -> int:
        """How many instants its schedules have in a day, from its first declaration on."""
        if self._declared is None:
            return 0
        begin = max(begin, self.born_ms or 0)
        intervals = [schedule["every_ms"] for schedule in self._declared.fields["schedules"]]
        return sum(max(0, -(-end // every_ms) - -(-begin // every_ms)) for every_ms in intervals)

    def _closing(self, quantity: str, begin: int, end: int) -> Fields:
        kept = self._counters[quantity]
        opening, closing = kept.opening, kept.closing(end)
        made: Fields = {"quantity": quantity}
        if opening and closing:
            with localcontext(WIDE):
                counted = closing.total - opening.total
            made |= {"unit": quantity_of(quantity).unit, "consumption": f"{counted:f}"}
            made |= {"opening": opening.fields(begin), "closing": closing.fields(end)}
        return made


def _stand(n: int, due: int, fields: Mapping[str, Any], value: Decimal) -> Stand:
    clock = fields["clock"]
    return Stand(n, due, milliseconds(fields["time"]), clock["boot"], clock["uptime_ms"], value)


def _decided(meter: str, quantity: str, decision: Decision) -> Fields:
    stands = {"before": decision.before, "after": decision.after, "confirmed": decision.confirmed}
    return {
        "meter": {"id": meter},
        "quantity": quantity,
        "unit": quantity_of(quantity).unit,
        **{name: {"n": stand.n, "value": f"{stand.value:f}"} for name, stand in stands.items()},
        "decision": decision.what,
        "why": decision.why,
        "added": f"{decision.added:f}",
    }
