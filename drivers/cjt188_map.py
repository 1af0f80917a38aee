"""Blocks of CJ/T 188 meters: which identifiers fetch a set of points, and the formula of a field in an answer.

A number and its unit byte are one field. The unit byte of the answer chooses the factor in the formula, so that every
value comes in the unit of its quantity and the record shows what it was multiplied with:

    0@14:bcd4le*0.01                  XXXXXX.XX m3
    0@14:bcd4le*0.01*0.001            ... of litres, in m3
    0@19:bcd4le*0.01*1000/3.6         ... of GJ, in kWh
    0@15:bcd4le*0.01*1000             unit byte in front of the number: MWh, in kWh

Table of unit bytes: CJ/T 188-2004 table 13, CJ/T 188-2018 table 20. J, Wh, kWh, MWh, MWh x 100, kJ, MJ, GJ, GJ x 100,
W, kW, MW, L, m3, L/h and m3/h stand alike in four independent programs; the codes between them (x 10, x 100) and those
of heat per hour in one. A code that is not in the table gives no value, and neither does one of another kind of
quantity than the field's: `unknown_unit`.

Two signs say that a meter does not draw its block as its model does, and then nothing is taken from the block:
another length than declared (`wrong_length`), and a field whose unit byte makes no sense where the model puts it,
but does at the other end of the field (`other_layout`). Without the second one a meter that sends the unit first could
be read a hundred times too high, since 05 is a unit and two digits alike.

What this file does not know: frames, and whether a model is right.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import cast

from config.cjt188 import HEAD, Cjt188Limits, Cjt188Model, Cjt188Place, Cjt188Point, Cjt188Watch
from config.model import Point, Watch
from drivers import Target
from drivers.cjt188_frame import BLOCK
from drivers.errors import NoValue
from drivers.factor import times
from drivers.formula import plain


def _steps(unit: str, first: int, factors: str) -> dict[int, tuple[str, str]]:
    """Unit bytes from `first` on: what the number is multiplied with to come into a unit."""
    return {first + step: (unit, factor) for step, factor in enumerate(factors.split()) if factor != "-"}


# Unit byte: the unit it is converted into, and how. 1: as it stands.
_UNITS: dict[int, tuple[str, str]] = {
    **_steps("kWh", 0x01, "/3600000"),  # J
    **_steps("kWh", 0x02, "*0.001 *0.01 *0.1"),  # Wh, x 10, x 100
    **_steps("kWh", 0x05, "1 *10 *100"),  # kWh
    **_steps("kWh", 0x08, "*1000 *10000 *100000"),  # MWh
    **_steps("kWh", 0x0B, "/3600 *10/3600 *100/3600"),  # kJ
    **_steps("kWh", 0x0E, "/3.6 *10/3.6 *100/3.6"),  # MJ
    **_steps("kWh", 0x11, "*1000/3.6 *10000/3.6 *100000/3.6"),  # GJ
    **_steps("kW", 0x14, "*0.001 *0.01 *0.1"),  # W
    **_steps("kW", 0x17, "1 *10 *100"),  # kW
    **_steps("kW", 0x1A, "*1000 *10000 *100000"),  # MW
    **_steps("m3", 0x29, "*0.001 *0.01 *0.1"),  # L
    **_steps("m3", 0x2C, "1 *10 *100"),  # m3
    **_steps("m3/h", 0x32, "*0.001 *0.01 *0.1"),  # L/h
    **_steps("m3/h", 0x35, "1 *10 *100"),  # m3/h
    **_steps("kW", 0x40, "/3600000"),  # J/h
    **_steps("kW", 0x43, "/3600 *10/3600 *100/3600"),  # kJ/h
    **_steps("kW", 0x46, "/3.6 *10/3.6 *100/3.6"),  # MJ/h
    **_steps("kW", 0x49, "*1000/3.6 *10000/3.6 *100000/3.6"),  # GJ/h
}
_ORDERS = {"low_first": "le", "high_first": "be"}


def limits_of(target: Target) -> Cjt188Limits:
    """What a CJ/T 188 meter is asked with."""
    return cast("Cjt188Model", target.model).cjt188


def places_of(point: Point | Watch) -> list[Cjt188Place]:
    """The fields of a point or watch."""
    if isinstance(point, Cjt188Point):
        return [point.at, *(part.at for part in point.plus)]
    return [cast("Cjt188Watch", point).at]


def identifiers_of(points: Sequence[Point | Watch]) -> list[str]:
    """The data identifiers that fetch points, each once, in rising order: the current data come first."""
    return sorted({at.identifier.upper() for point in points for at in places_of(point)})


def wire_identifier(limits: Cjt188Limits, identifier: str) -> bytes:
    """A data identifier as its bytes are sent."""
    written = bytes.fromhex(identifier)
    return written if limits.identifier_order == "high_first" else written[::-1]


def length_of(limits: Cjt188Limits, identifier: str) -> int:
    """The length L that the model declares for the answer to an identifier. Raises KeyError where it declares none."""
    return {name.upper(): length for name, length in limits.lengths.items()}[identifier.upper()]


def formula_of(target: Target, point: Point | Watch, index: int, answer: bytes) -> str:
    """The formula of a point over answer `index`, which is to the point's identifier.

    Without an answer (empty bytes) the formula lacks what a unit byte would add to it.

    Raises:
        NoValue: the answer holds no value of it: `unknown_unit`, `not_available`, `wrong_length`, `other_layout`.
    """
    fields = places_of(point)
    block = _block(target, fields[0].identifier, answer) if answer else b""
    if not isinstance(point, Cjt188Point):
        return _watched(cast("Cjt188Watch", point), index, block)
    scales = [point.scale, *(part.scale for part in point.plus)]
    terms = [
        _source(at, index) + _decimals(at) + _factor(at, point.unit, block) + times(plain(scale))
        for at, scale in zip(fields, scales, strict=True)
    ]
    return "+".join(terms)


def _watched(watch: Cjt188Watch, index: int, block: bytes) -> str:
    at = watch.at
    if at.type == "clock" and block and not _is_time(at, block):
        raise NoValue("not_available")
    return _source(at, index) + _decimals(at) + times(plain(watch.scale))


# --- the block as a whole -----------------------------------------------------------------------------------


def _block(target: Target, identifier: str, answer: bytes) -> bytes:
    """The block in a checked answer, if it is drawn as the model says."""
    block = answer[BLOCK:-2]
    if len(block) != length_of(limits_of(target), identifier) - HEAD:
        raise NoValue("wrong_length")
    if any(_is_turned(at, unit, block) for at, unit in _united(target, identifier)):
        raise NoValue("other_layout")
    return block


def _united(target: Target, identifier: str) -> Iterator[tuple[Cjt188Place, str]]:
    """The fields with a unit byte that the model has in a block, and the units of their quantities."""
    for point in cast("Cjt188Model", target.model).points:
        for at in places_of(point):
            if at.unit != "none" and at.identifier.upper() == identifier.upper():
                yield at, point.unit


def _is_turned(at: Cjt188Place, unit: str, block: bytes) -> bool:
    """Whether a field has its unit byte at the other end, and digits for the rest. One of zeros throughout says nothing."""
    field = block[at.first : at.first + at.bytes + 1]
    here, there, digits = (field[-1], field[0], field[1:]) if at.unit == "behind" else (field[0], field[-1], field[:-1])
    misplaced = _conversion(at, unit, here) is None and _conversion(at, unit, there) is not None
    return misplaced and (at.type != "bcd" or digits.hex().isdecimal())


# --- one field ----------------------------------------------------------------------------------------------


def _number_at(at: Cjt188Place) -> int:
    """Where a field's number begins in its block."""
    return at.first + (at.unit == "in_front")


def _source(at: Cjt188Place, index: int) -> str:
    missing = "".join(f"!{''.join(text.split()).lower()}" for text in at.missing)
    return f"{index}@{BLOCK + _number_at(at)}:{_encoding(at)}{missing}"


def _encoding(at: Cjt188Place) -> str:
    order = _ORDERS[at.order]
    match at.type:
        case "bcd":
            return f"bcd{at.bytes}{order}{'s' if at.signed else ''}"
        case "clock":
            return f"digits{at.bytes}{order}"
        case "hex":
            return f"hex{at.bytes}"
        case _:
            kind = "i" if at.signed else "u"
            size = f"{kind}8" if at.bytes == 1 else f"{kind}{8 * at.bytes}{order}"
            return f"{size}[{at.bits}]" if at.bits else size


def _decimals(at: Cjt188Place) -> str:
    return f"*0.{'1'.zfill(at.decimals)}" if at.decimals else ""


def _factor(at: Cjt188Place, unit: str, block: bytes) -> str:
    """What the unit byte of a field in an answer adds to its formula."""
    if at.unit == "none" or not block:
        return ""
    begin = _number_at(at)
    number = block[begin : begin + at.bytes]
    if _stands_for_nothing(at, number):
        return ""
    conversion = _conversion(at, unit, block[at.first + at.bytes if at.unit == "behind" else at.first])
    if conversion is None:
        raise NoValue("unknown_unit")
    return "" if conversion == "1" else conversion


def _stands_for_nothing(at: Cjt188Place, number: bytes) -> bool:
    """Whether the formula itself says "not available" of the number, whatever its unit byte."""
    written = number if at.order == "high_first" else number[::-1]
    return (at.type == "bcd" and set(number) == {0xFF}) or written in [bytes.fromhex(text) for text in at.missing]


def _conversion(at: Cjt188Place, unit: str, code: int) -> str | None:
    """What a number with this unit byte is multiplied with to come into a unit; None: nothing can be said."""
    own = {name.upper(): factor for name, factor in at.units.items()}.get(f"{code:02X}")
    if own is not None:
        return f"*{plain(own)}" if own != 1 else "1"
    known, factor = _UNITS.get(code, ("", ""))
    return factor if known == unit else None


def _is_time(at: Cjt188Place, block: bytes) -> bool:
    """Whether the seven bytes of a clock are a moment that exists."""
    data = block[at.first : at.first + 7]
    digits = (data if at.order == "high_first" else data[::-1]).hex()
    if not digits.isdecimal():
        return False
    month, day, hour, minute, second = (int(digits[i : i + 2]) for i in range(4, 14, 2))
    try:
        datetime(int(digits[:4]), month, day, hour, minute, second)  # noqa: DTZ001  a meter's clock has no zone
    except ValueError:
        return False
    return True
