"""Corrections: what was read stays as it was read, and what is computed from it is put right by a record that says so. Pure.

A `ct` or `vt` correction tells that all energies of a meter that were read in a span of time were computed with a wrong
ratio: they count `new / old` of themselves. A `time` correction tells that a span was stamped by a wrong clock: its readings
belong so much later, or earlier.

What this file does not know: readings (`agent.consumption` applies corrections).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from agent.record import RecordError
from agent.shape import time as check_time
from agent.timeline import milliseconds
from config.language import _

_RATIO = re.compile(r"([1-9][0-9]{0,8})(?:/([1-9][0-9]{0,8}))?")
ENERGIES = ("kWh", "kvarh", "kVAh")


@dataclass(frozen=True, slots=True)
class Correction:
    """A correction in force.

    Attributes:
        n: its record.
        meter: id of the meter.
        from_ms, to_ms: the readings that were due in it, milliseconds since 1970, `to_ms` not included.
        factor: what increments of energies are multiplied with.
        shift_ms: how much later they happened than they say.
        words: what it says, for people.
    """

    n: int
    meter: str
    from_ms: int
    to_ms: int
    factor: Fraction
    shift_ms: int
    words: str

    def covers(self, due_ms: int) -> bool:
        """Whether a reading that was due at an instant is corrected."""
        return self.from_ms <= due_ms < self.to_ms


def ratio_of(text: str) -> Fraction:
    """A transformer ratio such as `400/5` as a number. Raises ValueError: a sentence."""
    found = _RATIO.fullmatch(text)
    if not found:
        raise ValueError(_("{text} is not a ratio; write it as on the plate, such as 400/5", text=text[:40]))
    return Fraction(int(found[1]), int(found[2] or 1))


def factor_and_shift(what: str, old: str, new: str) -> tuple[Fraction, int]:
    """What a correction does: the factor of energies, and by how many milliseconds readings move.

    Raises:
        ValueError: old or new is not what it should be, as a sentence.
    """
    if what == "time":
        try:
            for each in (old, new):
                check_time(each, ("time",))
        except RecordError:
            raise ValueError(
                _("a corrected time is written like 2026-03-01T00:16:00.000Z, the shown one and the true one")
            ) from None
        return Fraction(1), milliseconds(new) - milliseconds(old)
    return ratio_of(new) / ratio_of(old), 0


def correction_of(n: int, fields: Mapping[str, Any]) -> Correction | None:
    """The correction that a record makes; None where it makes none that can be applied."""
    try:
        factor, shift_ms = factor_and_shift(fields["what"], fields["old"], fields["new"])
    except ValueError:
        return None
    words = f"{fields['what']} {fields['old']} is {fields['new']}: {fields['reason']} ({fields['who']})"
    span = milliseconds(fields["from"]), milliseconds(fields["to"])
    return Correction(n, fields["meter"]["id"], *span, factor, shift_ms, words)
