"""One counter's course: what it adds from one reading to the next, and what a fall or an impossible jump was. Pure.

 1. A reading that rises from the last accepted one, no faster than can be, is accepted; what it rises by is consumption.
 2. One that falls or jumps is held back until the next reading tells which of both levels is true.
     - The next one goes on from the level before: the one between was wrong, `spurious_zero` or `spurious`. Nothing is added.
     - It goes on from the new level, which is lower: `rollover` where the counter may have passed its modulus meanwhile; the way
       over it is added. Else `reset`: what it stands at is added, if it can have counted that far from 0 meanwhile, else nothing.
     - It goes on from the new level, which is higher: `jump`. Nothing is added for it: what cannot have flowed is not counted.
     - Neither: the one held back was `spurious`, and the next one is held back in its place.
 3. So nothing is ever subtracted, and nothing is added that cannot have flowed. Every decision becomes a `counter` record.

A meter may show a value that is up to 15 minutes old, so that much more time is allowed for a rise. Time is the time since boot
within one boot, for the wall clock may be set; else the wall clock.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal, localcontext
from fractions import Fraction

from agent.plausible import WIDE, Limits, scaled

SLACK_MS = 900_000
_HOUR_MS = 3_600_000
_ZERO = Decimal(0)
_NEAR = Decimal("0.9")  # of the modulus: where a rollover is believed without a known rate


@dataclass(frozen=True, slots=True)
class Stand:
    """What a counter stood at.

    Attributes:
        n: the reading.
        due_ms: the instant it answers for.
        wall_ms, boot, uptime_ms: when it was read.
        value: in the quantity's unit.
    """

    n: int
    due_ms: int
    wall_ms: int
    boot: str
    uptime_ms: int
    value: Decimal


@dataclass(frozen=True, slots=True)
class Decision:
    """What a fall or a jump was.

    Attributes:
        what: `rollover`, `reset`, `spurious_zero`, `spurious` or `jump`.
        why: a word, see `docs/record.md`.
        before, after, confirmed: the last accepted reading, the one held back, and the one that decided.
        added: what is counted from `before` to `after`.
    """

    what: str
    why: str
    before: Stand
    after: Stand
    confirmed: Stand
    added: Decimal


@dataclass(frozen=True, slots=True)
class Step:
    """An accepted reading, and what was counted up to it since the one before."""

    stand: Stand
    added: Decimal


class Counter:
    """One counter while its readings go by.

    Attributes:
        last: the last accepted reading.
        held: the one held back.
        total: all that was counted since the first one.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.last: Stand | None = None
        self.held: Stand | None = None
        self.total = _ZERO

    def take(self, stand: Stand) -> tuple[Decision | None, list[Step]]:
        """Takes a good reading: what is decided by it, and what is accepted by it, in order."""
        with localcontext(WIDE):
            return self._take(stand)

    def _take(self, stand: Stand) -> tuple[Decision | None, list[Step]]:
        last, held = self.last, self.held
        if last is None:
            return None, [self._accept(stand, _ZERO)]
        if held is None:
            if self._rises(last, stand):
                return None, [self._accept(stand, stand.value - last.value)]
            if self._steps_back(last, stand):
                return None, [Step(stand, _ZERO)]
            self.held = stand
            return None, []
        if self._rises(last, stand):
            return self._spurious(last, held, stand), [self._accept(stand, stand.value - last.value)]
        if self._rises(held, stand):
            decision = self._new_level(last, held, stand)
            first = self._accept(held, decision.added)
            return decision, [first, self._accept(stand, stand.value - held.value)]
        self.held = stand
        return self._spurious(last, held, stand), []

    def begin_anew(self) -> None:
        """The next reading begins another series: nothing is counted up to it."""
        self.last = self.held = None

    def rescale(self, times: Fraction) -> None:
        """Values are multiplied with another ratio from now on."""
        self.last = self.last and replace(self.last, value=scaled(self.last.value, times))
        self.held = self.held and replace(self.held, value=scaled(self.held.value, times))

    def replaced(self, at: Stand, last_of_old: Decimal | None) -> Step:
        """The meter was replaced: `last_of_old` is what the old one stood at in the end, `at` what the new one began with."""
        with localcontext(WIDE):
            added = _ZERO
            if last_of_old is not None and self.last is not None:
                ends = Stand(at.n, at.due_ms, at.wall_ms, at.boot, at.uptime_ms, last_of_old)
                added = last_of_old - self.last.value if self._rises(self.last, ends) else _ZERO
            self.held = None
            return self._accept(at, added)

    def _accept(self, stand: Stand, added: Decimal) -> Step:
        self.total += added
        self.last, self.held = stand, None
        return Step(stand, added)

    def _can_add(self, added: Decimal, since: Stand, until: Stand) -> bool:
        """Whether so much can have flowed between two readings. True where no rate is known."""
        if self.limits.rate is None:
            return True
        same_boot = since.boot == until.boot
        passed = until.uptime_ms - since.uptime_ms if same_boot else until.wall_ms - since.wall_ms
        return added * _HOUR_MS <= self.limits.rate * (max(0, passed) + SLACK_MS)

    def _rises(self, since: Stand, until: Stand) -> bool:
        return until.value >= since.value and self._can_add(until.value - since.value, since, until)

    def _steps_back(self, last: Stand, stand: Stand) -> bool:
        known = self.limits.steps_back and self.limits.rate is not None
        return known and stand.value < last.value and self._can_add(last.value - stand.value, last, stand)

    def _spurious(self, last: Stand, held: Stand, stand: Stand) -> Decision:
        what = "spurious" if held.value else "spurious_zero"
        return Decision(what, "not_confirmed", last, held, stand, _ZERO)

    def _new_level(self, last: Stand, held: Stand, stand: Stand) -> Decision:
        if held.value > last.value:
            return Decision("jump", "faster_than_possible", last, held, stand, _ZERO)
        modulus = self.limits.modulus
        if modulus is not None and last.value < modulus and self._passed(modulus, last, held):
            return Decision("rollover", "passed_modulus", last, held, stand, modulus - last.value + held.value)
        if self.limits.rate is not None and self._can_add(held.value, last, held):
            return Decision("reset", "began_at_zero", last, held, stand, held.value)
        return Decision("reset", "began_elsewhere", last, held, stand, _ZERO)

    def _passed(self, modulus: Decimal, last: Stand, held: Stand) -> bool:
        if self.limits.rate is not None:
            return self._can_add(modulus - last.value + held.value, last, held)
        return last.value >= _NEAR * modulus and held.value <= modulus - _NEAR * modulus
