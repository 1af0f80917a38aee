"""The account of a meter's polls and of its records: every scheduled poll is a reading, or counted as missed. Pure.

 1. Per meter, the count in readings, gaps and identity records goes up by one, from 0.
 2. Due instants rise by the declared interval. A gap opens with `since` (its first missed instant) and closes with
    `due` (the first instant that is not part of it) and the number of all instants between.
 3. So between two instants told none is left over. Instants that nobody speaks of are a finding, and so are instants
    told twice, except where the clock was set: then the schedule begins anew.

What this file does not know: frames, values, signatures.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from agent.report import MeterAccount
from agent.timeline import milliseconds

Problem = tuple[str, str]
OFF = "agent_stopped"
EARLY_MS = 1000
LATE_MS = 120_000


@dataclass(slots=True)
class _Gap:
    since: str
    missed: int
    off: bool


class Coverage:
    """One meter's account while its records go by. `clock_set`: how often the clock was set before the first."""

    def __init__(self, meter: str, clock_set: int) -> None:
        self.account = MeterAccount(meter)
        self._count = -1
        self._last_due: int | None = None
        self._gap: _Gap | None = None
        self._clock_set = clock_set

    def declared(self, meter: Mapping[str, Any]) -> None:
        """Takes a declaration."""
        self.account.serial = meter["serial"]
        self.account.model = f"{meter['model']} revision {meter['revision']}, trust {meter['trust']}"

    def count(self, stated: int) -> Iterator[Problem]:
        """Takes a record's count."""
        if stated != self._count + 1:
            missing = f"{stated - self._count - 1} records of this meter are missing" if stated > self._count else "counts back"
            yield "METER-COUNT", f"count {stated} after {self._count}: {missing}" if self._count >= 0 else f"begins with {stated}"
        self._count = stated

    def reading(self, fields: Mapping[str, Any], every_s: int, clock_set: int) -> Iterator[Problem]:
        """Takes a reading.

        Args:
            fields: of the record.
            every_s: the declared interval.
            clock_set: how often the clock was set up to here.
        """
        due, time = milliseconds(fields["due"]), milliseconds(fields["time"])
        if clock_set == self._clock_set and not -EARLY_MS <= time - due <= 1000 * every_s + LATE_MS:
            yield "CLOCK", f"was read at {fields['time']}, too far from {fields['due']}, which it answers for"
        yield from self._advance(fields["due"], due, every_s, clock_set)
        if self._gap:
            yield "GAP", f"is a reading, but the gap since {self._gap.since} was never closed"
            self._settle(self._gap.missed)
        self.account.readings += 1
        self._last_due = due

    def gap(self, fields: Mapping[str, Any], every_s: int, clock_set: int) -> Iterator[Problem]:
        """Takes a gap record; arguments as for `reading`."""
        since, due = milliseconds(fields["since"]), milliseconds(fields["due"])
        between = max(0, (due - since) // (1000 * every_s))
        if fields["state"] == "opened":
            yield from self._opened(fields, since, due, between, every_s, clock_set)
            return
        if self._gap is None:
            yield "GAP", f"closes a gap since {fields['since']} that never opened"
            self.account.gaps += 1
        elif fields["since"] != self._gap.since:
            yield "GAP", f"closes a gap since {fields['since']}, the open one began {self._gap.since}"
        if fields["missed"] != max(1, between):
            yield "GAP", f"counts {fields['missed']} missed polls from {fields['since']} to {fields['due']}, there are {between}"
        self._gap = self._gap or _Gap(fields["since"], 0, fields["cause"] == OFF)
        self._settle(fields["missed"])
        self._last_due = due - 1000 * every_s
        self._clock_set = clock_set

    def _opened(
        self, fields: Mapping[str, Any], since: int, due: int, between: int, every_s: int, clock_set: int
    ) -> Iterator[Problem]:
        yield from self._advance(fields["since"], since, every_s, clock_set)
        if self._gap:
            yield "GAP", f"opens a gap while the one since {self._gap.since} is open"
            self._settle(self._gap.missed)
        if fields["missed"] not in (between, between + 1):
            yield "GAP", f"counts {fields['missed']} missed polls from {fields['since']} to {fields['due']}, there are {between}"
        self.account.gaps += 1
        self._gap = _Gap(fields["since"], fields["missed"], fields["cause"] == OFF)
        self._last_due = due

    def _advance(self, told: str, due: int, every_s: int, clock_set: int) -> Iterator[Problem]:
        """Moves the account on to an instant; problems if some are left over or told twice."""
        self.account.first_due = self.account.first_due or told
        self.account.last_due = max(self.account.last_due, told)
        set_since, self._clock_set = clock_set != self._clock_set, clock_set
        if self._last_due is None:
            return
        left = (due - self._last_due) // (1000 * every_s) - 1
        if due <= self._last_due and not set_since:
            yield "GAP", f"{told} was accounted for already"
        elif left > 0:
            yield "GAP", f"nothing is said about {left} scheduled polls before {told}"
            self.account.unaccounted += left

    def _settle(self, missed: int) -> None:
        """Enters the open gap's misses and forgets it."""
        if self._gap and self._gap.off:
            self.account.off += missed
        else:
            self.account.missed += missed
        self._gap = None

    def close(self) -> MeterAccount:
        """The account at the end of the log; a gap still open counts with what its opening said."""
        self.account.gap_open = self._gap is not None
        if self._gap:
            self._settle(self._gap.missed)
        return self.account
