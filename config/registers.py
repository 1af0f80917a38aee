"""What a register map must keep to beyond its single keys, so that no value is taken from a wrong place.

Each rule yields the path of keys to the place and a sentence. They hold for model files and for the points that a
site file gives to a generic meter alike.

What this file does not know: frames, and how a value is decoded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from config.language import _
from config.map_rules import map_findings, points_findings, scale_findings
from config.mistake import Path
from config.modbus import At, ModbusLimits, ModbusModel, ModbusPoint, Span
from config.model import Finding

_FIXED = {"u8": 1, "i8": 1, "u16": 1, "i16": 1, "bit": 1, "u32": 2, "i32": 2, "f32": 2, "u48": 3, "u64": 4, "i64": 4, "f64": 4}
_FREE = {"bcd": (1, 8, 2), "mod10": (2, 4, 4), "ascii": (1, 125, 1), "hex": (1, 125, 1)}  # fewest, most, unless said
_WITH_BITS = ("u8", "i8", "u16", "i16", "u32", "i32", "u48", "u64", "i64", "bit")
_TEXTS = ("ascii", "hex")


def registers_of(at: At) -> int:
    """How many registers (coils for functions 1 and 2) a place takes."""
    return _FIXED.get(at.type) or at.count or _FREE[at.type][2]


def model_findings(model: ModbusModel) -> Iterator[Finding]:
    """What is wrong with a whole model although each of its keys is well formed."""
    yield from map_findings(model)
    yield from _places_findings(model.points, model.modbus)
    for section, watches in (("identity", model.identity), ("attest", model.attest)):
        for index, watch in enumerate(watches):
            if watch.at.type in _TEXTS and watch.scale != 1:
                yield (
                    (section, index, "scale"),
                    _("{type} is text, it cannot be multiplied; take scale out", type=watch.at.type),
                )
            yield from _at_findings((section, index, "at"), watch.at, model.modbus)


def point_findings(points: Sequence[ModbusPoint], limits: ModbusLimits) -> Iterator[Finding]:
    """What is wrong with a list of points."""
    yield from points_findings(points)
    yield from _places_findings(points, limits)


def _places_findings(points: Sequence[ModbusPoint], limits: ModbusLimits) -> Iterator[Finding]:
    for index, point in enumerate(points):
        path: Path = ("points", index)
        if point.at.type in _TEXTS:
            yield (
                (*path, "at", "type"),
                _("{type} is text, not a number; it can only stand under identity or attest", type=point.at.type),
            )
        yield from _at_findings((*path, "at"), point.at, limits)
        yield from _part_findings(path, point, limits)


def _part_findings(path: Path, point: ModbusPoint, limits: ModbusLimits) -> Iterator[Finding]:
    for number, part in enumerate(point.plus):
        inner = (*path, "plus", number)
        if part.at.type in _TEXTS:
            yield (*inner, "at", "type"), _("{type} is text, it cannot be added", type=part.at.type)
        yield from scale_findings((*inner, "scale"), part.scale)
        yield from _at_findings((*inner, "at"), part.at, limits)
    if point.exponent:
        inner = (*path, "exponent", "at")
        yield from _at_findings(inner, point.exponent.at, limits)
        if point.exponent.at.type not in _WITH_BITS:
            yield (
                (*inner, "type"),
                _("an exponent is a whole number; {type} is not possible here", type=point.exponent.at.type),
            )


def _at_findings(path: Path, at: At, limits: ModbusLimits) -> Iterator[Finding]:
    function = at.function or limits.function
    count = registers_of(at)
    yield from _count_findings(path, at)
    if (at.type == "bit") != (function in (1, 2)) and (function in (1, 2) or (at.bits is None)):
        yield (*path, "type"), _bit_sentence(at, function)
    if at.bits is not None:
        yield from _bits_findings((*path, "bits"), at, function)
    if at.address + count > 65536:
        yield (
            (*path, "address"),
            _("{count} registers from {address} go beyond the last one, 65535", count=count, address=at.address),
        )
    if at.type != "bit":
        yield from _missing_findings(path, at, count)
    elif at.missing:
        yield (*path, "missing"), _("a bit has no value that means not available")
    for span in limits.forbid:
        if _meet(span, at, function, count):
            yield (
                (*path, "address"),
                _("register {address} is among those that are never read (modbus.forbid)", address=at.address),
            )


def _bit_sentence(at: At, function: int) -> str:
    if at.type == "bit":
        return _(
            "function {function} reads registers: add which bit, such as bits: 3, or function: 1 for a coil", function=function
        )
    return _("function {function} reads single bits; write type: bit, or function: 3 or 4 for registers", function=function)


def _count_findings(path: Path, at: At) -> Iterator[Finding]:
    if at.count is None:
        return
    if at.type in _FIXED:
        if at.count != _FIXED[at.type]:
            yield (*path, "count"), _("{type} always takes {fixed}; take count out", type=at.type, fixed=_FIXED[at.type])
        return
    fewest, most, _unused = _FREE[at.type]
    if not fewest <= at.count <= most:
        yield (
            (*path, "count"),
            _("{type} takes {fewest} to {most} registers, not {count}", type=at.type, fewest=fewest, most=most, count=at.count),
        )


def _bits_findings(path: Path, at: At, function: int) -> Iterator[Finding]:
    low, _unused, high = (at.bits or "").partition("-")
    if high and int(high) < int(low):
        yield path, _("write the lower bit first: {high}-{low}", high=high, low=low)
    if at.type not in _WITH_BITS:
        yield path, _("{type} has no bits to take; use u16 or u32", type=at.type)
    elif at.type in ("u8", "i8") and int(high or low) > 7:
        yield path, _("{type} has bits 0 to 7", type=at.type)
    elif at.type == "bit" and (function in (1, 2) or high):
        yield path, _("a coil has no bits: take this out") if function in (1, 2) else _("bit takes one bit; use u16 for several")


def _missing_findings(path: Path, at: At, count: int) -> Iterator[Finding]:
    length = 1 if at.type in ("u8", "i8") else 2 * count
    for index, missing in enumerate(at.missing):
        given = len(bytes.fromhex(missing))
        if given != length:
            yield (
                (*path, "missing", index),
                _(
                    "{missing} has {given} bytes, {type} has {length} here: it would never be recognised",
                    missing=missing,
                    given=given,
                    type=at.type,
                    length=length,
                ),
            )


def _meet(span: Span, at: At, function: int, count: int) -> bool:
    same = (span.function or function) == function
    return same and span.address < at.address + count and at.address < span.address + span.count
