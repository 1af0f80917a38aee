"""Lines of an IEC 62056-21 readout: which one a model means, and the formula of what stands in it.

A code is medium-channel:quantity.kind.tariff*past (A-B:C.D.E*F of IEC 62056-6-1), and a meter leaves out what is usual.
Model and meter may leave out different parts: what only one of them says has to be the usual one, which is the meter's
own medium (or 0, no medium) for A, 0 for E and 255, the value of now, for F. C, F, L and P are 96, 97, 98 and 99. Two
lines that fit and differ give no value.

    1.8.0(001234.50*kWh)          unit behind the value
    1.8.0(001234.50)(kWh)         in brackets of its own: it begins with a letter or %
    1.6.1(0.50*kW)(2211120730)    other brackets tell other things; a model says which ones hold the value
    32.7.0(230)                   none: the model says which

What this file does not know: messages and their checks.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import cast

from config.iec62056_21 import Iec62056Model, ReadoutLine
from config.iec62056_21_units import OtherKind, worth
from config.model import MeterModel, Point, Watch
from drivers import Target
from drivers.errors import NoValue
from drivers.factor import times_exactly
from drivers.formula import plain
from drivers.iec62056_21_frame import DataSet, Message, stripped

_CODE = re.compile(r"(?:([0-9]{1,3})-([0-9]{1,3}):)?([0-9A-Z]{1,3})(?:\.([0-9A-Z]{1,3}))?(?:\.([0-9A-Z]{1,3}))?([*&][0-9]{1,3})?")
_UNIT = re.compile(rb"[A-Za-z%][!-~]{0,15}")
_MEDIA = {"electricity": ("1",), "heat": ("6", "4"), "cooling": ("5", "6"), "gas": ("7",), "water": ("8", "9")}
_LETTERS = {"C": "96", "F": "97", "L": "98", "P": "99"}
_NO_MEDIUM = "0"
_NOW = "*255"
_LONGEST_NUMBER, _LONGEST_TEXT = 32, 128  # what formulas take, and what a value has at most (6.3.14)


@dataclass(frozen=True, slots=True)
class _Code:
    """A code taken apart; parts that are left out are None, of tariff and past what is usual."""

    medium: str | None
    channel: str | None
    quantity: tuple[str, str | None]
    tariff: str
    past: str


@lru_cache(maxsize=4096)
def _code(text: str) -> _Code | None:
    """A code taken apart; None for a text of another form, which can only be met by itself."""
    found = _CODE.fullmatch(text)
    if found is None:
        return None
    medium, channel, measured, kind, tariff, past = found.groups()
    quantity = _LETTERS.get(measured, measured), _LETTERS.get(kind, kind)
    return _Code(medium, channel, quantity, tariff or "0", past or _NOW)


def _fits(wanted: str, code: str, model: MeterModel) -> bool:
    """Whether a line's code is the one a model means."""
    one, other = _code(wanted), _code(code)
    if one is None or other is None:
        return wanted == code
    if (one.quantity, one.tariff, one.past) != (other.quantity, other.tariff, other.past):
        return False
    if one.medium is not None and other.medium is not None:
        return (one.medium, one.channel) == (other.medium, other.channel)
    stated = one.medium or other.medium
    return stated is None or stated in (_NO_MEDIUM, *_MEDIA.get(model.medium, ()))


def _groups(data: bytes, found: Message, wanted: str, model: MeterModel) -> tuple[tuple[int, int], ...]:
    """The brackets of the one line that a code means.

    Raises:
        NoValue: no line has it, or several that differ.
    """
    fitting = [each for each in found.sets if each.code == wanted] or [
        each for each in found.sets if _fits(wanted, each.code, model)
    ]
    if not fitting:
        raise NoValue("not_in_answer")
    if len({_text(data, each) for each in fitting}) > 1:
        raise NoValue("ambiguous")
    return fitting[0].groups


def _text(data: bytes, each: DataSet) -> tuple[bytes, ...]:
    return tuple(data[slice(*group)] for group in each.groups)


@dataclass(frozen=True, slots=True)
class _Value:
    """Where a value's characters are, and the unit behind them; None where there is none."""

    start: int
    end: int
    unit: str | None


def _value(data: bytes, found: Message, at: ReadoutLine, model: MeterModel) -> _Value:
    groups = _groups(data, found, at.obis, model)
    if len(groups) < at.group:
        raise NoValue("not_in_answer")
    start, end = groups[at.group - 1]
    number, star, unit = data[start:end].partition(b"*")
    if not number.strip():
        raise NoValue("not_available")
    if not star and len(groups) > at.group:
        behind = data[slice(*groups[at.group])]
        unit = behind if _UNIT.fullmatch(behind) else b""
    return _Value(start, start + len(number), unit.decode("ascii") or None)


def formula_of(target: Target, index: int, answer: bytes, found: Message, point: Point | Watch) -> str:
    """The formula of a point over the readout in answer `index`.

    Raises:
        NoValue: the readout holds no value of it; the cause says why.
    """
    at = cast("ReadoutLine", point.at)
    value = _value(stripped(answer), found, at, target.model)
    if not isinstance(point, Point):
        return _source(index, found, value, "ascii", _LONGEST_TEXT)
    factor = _factor(value.unit or at.unit, point.unit)
    tail = "".join(f"*{ratio}" for ratio in target.ratios(point))
    scale = "" if point.scale == 1 else f"*{plain(point.scale)}"
    return _source(index, found, value, "dec", _LONGEST_NUMBER) + times_exactly(factor) + scale + tail


def _source(index: int, found: Message, value: _Value, encoding: str, longest: int) -> str:
    length = value.end - value.start
    if length > longest:
        raise NoValue("bad_digits" if encoding == "dec" else "bad_text")
    return f"{index}{'p' if found.parity else ''}@{value.start}:{encoding}{length}"


def _factor(unit: str | None, wanted: str) -> Fraction:
    """What a number in a unit is multiplied with. Raises NoValue."""
    if unit is None:
        if wanted == "1":
            return Fraction(1)
        raise NoValue("no_unit")
    try:
        return worth(unit, wanted)
    except KeyError:
        raise NoValue("unknown_unit") from None
    except OtherKind:
        raise NoValue("other_unit") from None


def number_of(target: Target, index: int, answer: bytes, found: Message) -> str | None:
    """The formula of the meter's own number, from the first of the model's lines that holds one; zeros are none."""
    data = stripped(answer)
    model = cast("Iec62056Model", target.model)
    for code in model.iec62056_21.number:
        try:
            value = _value(data, found, ReadoutLine(obis=code), model)
        except NoValue:
            continue
        if data[value.start : value.end].strip(b" 0"):
            return _source(index, found, value, "ascii", _LONGEST_TEXT)
    return None
