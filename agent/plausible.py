"""How a counter of a declared meter can behave: where it begins again at 0, and how fast it can rise at most. Pure.

 1. What the model says (`counter.modulus`, `max_rate`) holds in the meter; where the agent applies the transformers' ratios, so
    it does to both.
 2. Where the model says no rate: energies of a meter with a current transformer rise no faster than its primary current allows.
    120 % of it flow for ever (IEC 61869-2, extended range); the voltage is that of the voltage transformer's primary side,
    without one 690 V between two lines, the highest of low voltage; three lines at once.
 3. Volumes of a meter in a pipe of known diameter rise no faster than at 10 m/s.
 4. Else nothing is known, and only a fall is out of order.

The bounds are generous on purpose: what exceeds them cannot be, what lies below them need not be.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Context, Decimal
from fractions import Fraction
from typing import Any

from agent.correction import ENERGIES, ratio_of
from config.model import Point
from config.quantity import quantity_of

WIDE = Context(prec=60)
_OVERLOAD = Fraction(12, 10)
_LOW_VOLTAGE = 690
_THREE_LINES = Fraction(17321, 10000)  # the square root of 3, rounded up
_FASTEST_FLOW = Fraction(31416 * 10 * 3600, 4 * 10000 * 1_000_000)  # m3/h for 1 mm2 of the diameter's square, at 10 m/s


@dataclass(frozen=True, slots=True)
class Limits:
    """How a counter can behave, in its quantity's unit.

    Attributes:
        modulus: the value at which it begins again at 0; None: not known.
        rate: the fastest rise that can be, an hour; None: not known.
        steps_back: whether it may fall a little in normal use.
    """

    modulus: Decimal | None = None
    rate: Decimal | None = None
    steps_back: bool = False


def is_counter(name: str) -> bool:
    """Whether a quantity counts up now: a counter, and not what it stood at on a settlement day."""
    try:
        return quantity_of(name).kind == "counter" and not any(part[0] == "m" for part in name.split(".")[1:])
    except KeyError:
        return False


def limits_of(point: Point, declared: Mapping[str, Any]) -> Limits:
    """The limits of a counter. `declared`: the meter's declaration."""
    times = applied(point, declared)
    counter = point.counter
    modulus = scaled(counter.modulus, times) if counter and counter.modulus is not None else None
    rate = scaled(point.max_rate, times) if point.max_rate is not None else _rate_of(point, declared)
    return Limits(modulus, rate, bool(counter and counter.may_step_back))


def applied(point: Point, declared: Mapping[str, Any]) -> Fraction:
    """What the agent multiplies a point with, for the transformers of a declared meter."""
    names = {"ct": ["ct"], "vt": ["vt"], "ct_vt": ["ct", "vt"]}.get(point.ratio, [])
    product = Fraction(1)
    for name in names:
        product *= _ratio(declared.get(name)) or 1
    return product


def _rate_of(point: Point, declared: Mapping[str, Any]) -> Decimal | None:
    if point.unit in ENERGIES and (amperes := _primary(declared.get("ct"))):
        volts = _primary(declared.get("vt")) or _LOW_VOLTAGE
        return _rounded_up(amperes * volts * _OVERLOAD * _THREE_LINES / 1000)
    if point.unit == "m3" and declared.get("pipe_mm"):
        return _rounded_up(_FASTEST_FLOW * declared["pipe_mm"] ** 2)
    return None


def _ratio(text: object) -> Fraction | None:
    try:
        return ratio_of(str(text)) if text else None
    except ValueError:
        return None


def _primary(text: object) -> int:
    """The primary side of a ratio; 0 for a meter without a transformer."""
    return int(str(text).split("/", 1)[0]) if _ratio(text) and "/" in str(text) else 0


def scaled(value: Decimal, times: Fraction) -> Decimal:
    """A value times a ratio, to 60 digits."""
    return WIDE.divide(WIDE.multiply(value, Decimal(times.numerator)), Decimal(times.denominator))


def _rounded_up(value: Fraction) -> Decimal:
    return Decimal(-(-value.numerator * 1000 // value.denominator)).scaleb(-3)
