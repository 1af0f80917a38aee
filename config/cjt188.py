"""CJ/T 188 in a model file: which data blocks a meter has, how its fields lie in them, and what it bears.

A block is what one data identifier fetches, such as 901F. Makers fill it differently under the same identifier, and
the standard's two editions send the identifier in two byte orders, so a model declares all of it: the order of the
identifier, the length of every block, the place, width and decimals of every field, and whether a field's unit byte
stands behind or in front of its number. Nothing of this is guessed while a meter is read.

    block 901F of a water or gas meter (L = 16H)        of a heat or cooling meter (L = 2EH)
     0  current volume         4 BCD + unit              0  energy on the settlement day  4 BCD + unit
     5  ... on settlement day  4 BCD + unit              5  current energy                4 BCD + unit
    10  clock                  7 BCD                    10  power                         4 BCD + unit
    17  status ST              2                        15  flow                          4 BCD + unit
                                                        20  volume                        4 BCD + unit
                                                        25  flow and return temperature   3 BCD each
                                                        31  operating hours               3 BCD
                                                        34  clock 7 BCD, status ST 2

What this file does not know: what the unit bytes mean (`drivers.cjt188_map`), frames (`drivers.cjt188_frame`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field

from config.language import N_, _
from config.map_rules import map_findings, scale_findings
from config.mistake import Path, shown
from config.model import Declared, Finding, MeterModel, Place, Point, Watch
from config.scalar import Exact, Hex, Shape, Whole, YesNo

MEASURED_UNITS = ("kWh", "kW", "m3", "m3/h")  # the units that a unit byte can be converted into
HEAD = 3  # bytes in front of a block that its length L counts: identifier and sequence number

Identifier = Annotated[
    str,
    Shape(r"[0-9A-Fa-f]{4}", N_("is not a data identifier; write its four hexadecimal digits, high byte first, such as 901F")),
]
HexByte = Annotated[str, Shape(r"[0-9A-Fa-f]{2}", N_("is not a byte; write its two hexadecimal digits, such as 2C"))]

_TYPES_WITH_DECIMALS = ("bcd", "binary")
_TEXTS = ("hex", "clock")
_ADDRESS = re.compile(r"(?:([0-9A-F]{2})-)?([0-9A-F]{1,14})")
ANY = "AA" * 7
_EVERYBODY = "99" * 7


class Cjt188Place(Place):
    """Where a CJ/T 188 meter keeps a value: the block, the first byte in it, and how the field is drawn."""

    identifier: Identifier
    """Data identifier of the block, high byte first, such as 901F (current data) or D120 (last month)."""
    first: Annotated[Whole, Field(ge=0, le=251)]
    """First byte of the field in the block, counted from 0 behind the sequence number; its unit byte belongs to the field."""
    bytes: Annotated[Whole, Field(ge=1, le=16)]
    """How many bytes the number has, without its unit byte."""
    type: Literal["bcd", "binary", "bits", "hex", "clock"] = "bcd"
    """bcd: two decimal digits a byte (nearly all); binary: a binary number; bits: some bits of one; hex: bytes as text;
    clock: seconds, minutes, hours, day, month, year and century."""
    order: Literal["low_first", "high_first"] = "low_first"
    """low_first: the low byte comes first, as the standard says; of a clock, the seconds."""
    decimals: Annotated[Whole, Field(ge=0, le=9)] = 0
    """How many of the digits stand behind the point: 2 for XXXXXX.XX."""
    signed: YesNo = False
    """true: the highest bit of a bcd number is a minus; a binary number counts below zero."""
    unit: Literal["behind", "in_front", "none"] = "none"
    """Where the field's unit byte stands: behind its number (the standard), in front of it, or nowhere."""
    units: dict[HexByte, Exact] = Field(default_factory=dict)
    """Unit bytes that this maker uses in another sense than the standard: what the number, decimals counted, is
    multiplied with for each of them, such as {'29': 0.1}."""
    bits: Annotated[str, Shape(r"[0-9]{1,2}(-[0-9]{1,2})?", N_("is no range of bits; write 2 or 0-1"))] | None = None
    """Of type bits: which ones, 0 is the lowest: 2 or 0-1."""
    missing: tuple[Hex, ...] = ()
    """What stands for "not available" beside FF in all bytes, as bytes with the high byte first, such as 99999999."""


class Cjt188Part(Declared):
    """A second field of the same block whose value is added: a fraction beside an integer part."""

    at: Cjt188Place
    """Where it stands."""
    scale: Exact = Decimal(1)
    """What it is multiplied with, to come into the quantity's unit."""


class Cjt188Point(Point):
    """One quantity of a CJ/T 188 meter and the field it is read from."""

    at: Cjt188Place
    """Where the meter keeps it."""
    plus: tuple[Cjt188Part, ...] = ()
    """Further fields of the same block whose values are added."""


class Cjt188Watch(Watch):
    """A field that identifies the meter or tells its state, such as the status word ST."""

    at: Cjt188Place
    """Where it stands."""


class Cjt188Limits(Declared):
    """What one CJ/T 188 meter is asked with, and what it bears."""

    meter_type: HexByte
    """The type byte T of its frames: 10 cold, 11 hot, 12 drinking, 13 recycled water, 20 heat, 21 cooling, 22 both, 30 gas.
    A meter's address may name another one, such as 25-00201510270588."""
    identifier_order: Literal["high_first", "low_first"]
    """Order of an identifier's bytes: high_first sends 90 1F (mostly the 2004 edition), low_first 1F 90 (the 2018 one)."""
    lengths: Annotated[dict[Identifier, Annotated[Whole, Field(ge=HEAD, le=255)]], Field(min_length=1)]
    """The length L of the answer to each identifier, such as {901F: 0x16}: an answer of another length is drawn differently."""
    sequence: Annotated[Whole, Field(ge=0, le=255)] = 0
    """The sequence number SER of every request; the answer has to repeat it."""
    wake_up: Annotated[Whole, Field(ge=0, le=40)] = 4
    """How many bytes FE go in front of a request."""
    timeout_ms: Annotated[Whole, Field(ge=10, le=60000)] = 2000
    """How long the meter may take to begin its answer, in milliseconds."""
    pause_ms: Annotated[Whole, Field(ge=0, le=10000)] = 0
    """Silence the meter needs in front of a request, in milliseconds."""
    longest_answer_ms: Annotated[Whole, Field(ge=10, le=120000)] | None = None
    """How late an answer may still come, counted from the request, in milliseconds: after a timeout nothing is sent before."""


class Cjt188Model(MeterModel):
    """The model of a CJ/T 188 meter."""

    protocol: Literal["cjt188"]
    """How it is spoken to: cjt188."""
    cjt188: Cjt188Limits
    """Its type byte, the order of identifiers, and the blocks it has."""
    identity: tuple[Cjt188Watch, ...] = ()
    """Fields that say which meter this is; the address in every answer does so already."""
    attest: tuple[Cjt188Watch, ...] = ()
    """Fields that tell the meter's state, such as the status word ST."""
    points: Annotated[tuple[Cjt188Point, ...], Field(min_length=1)]
    """What it tells, and where."""


def cjt188_address(text: str) -> str:
    """A meter's address as 14 digits, high ones first, with its type byte and a dash in front where that is named.

    Fewer digits are filled up with zeros in front, spaces are left out, `AA` seven times stands for any meter.

    Raises:
        ValueError: it is none, in plain words.
    """
    if not text:
        raise ValueError(_("address is missing; write for example  address: 78330123456789"))
    found = _ADDRESS.fullmatch(text.replace(" ", "").upper())
    if not found:
        raise ValueError(
            _(
                "{text} is not a CJ/T 188 address; write the at most 14 digits of the meter's plate, such as "
                "78330123456789, or with the type byte in front, such as 25-11110059200991",
                text=shown(text),
            )
        )
    digits = found[2].zfill(14)
    if digits == _EVERYBODY:
        raise ValueError(
            _("99999999999999 speaks to all meters at once and none answers it; write the number on the meter's plate")
        )
    if "AA" in (digits[i : i + 2] for i in range(0, 14, 2)) and digits != ANY:
        raise ValueError(
            _("{text} has AA in it, which stands for any meter; write AAAAAAAAAAAAAA or the whole number", text=shown(text))
        )
    return f"{found[1]}-{digits}" if found[1] else digits


def cjt188_both(one: str, other: str) -> bool:
    """Whether a meter may answer to both addresses: AA seven times stands for any one of whatever type, AA- for any type."""
    (kind, _unused, digits), (its_kind, _unused, its_digits) = one.rpartition("-"), other.rpartition("-")
    return ANY in (digits, its_digits) or (digits == its_digits and (kind == its_kind or "AA" in (kind, its_kind)))


# --- what a map must keep to ----------------------------------------------------------------------------------


def cjt188_findings(model: Cjt188Model) -> Iterator[Finding]:
    """What is wrong with a whole model although each of its keys is well formed."""
    yield from map_findings(model)
    for index, point in enumerate(model.points):
        yield from _point_findings(("points", index), point, model.cjt188)
    for section, watches in (("identity", model.identity), ("attest", model.attest)):
        for index, watch in enumerate(watches):
            path = (section, index, "at")
            if watch.at.type in _TEXTS and watch.scale != 1:
                yield (
                    (section, index, "scale"),
                    _("{type} is text, it cannot be multiplied; take scale out", type=watch.at.type),
                )
            if watch.at.unit != "none":
                yield (*path, "unit"), _("a unit byte belongs to a quantity; take unit out")
            yield from _place_findings(path, watch.at, model.cjt188)


def _point_findings(path: Path, point: Cjt188Point, limits: Cjt188Limits) -> Iterator[Finding]:
    for inner, at in ((path, point.at), *(((*path, "plus", number), part.at) for number, part in enumerate(point.plus))):
        if at.type in _TEXTS:
            yield (
                (*inner, "at", "type"),
                _("{type} is text, not a number; it can only stand under identity or attest", type=at.type),
            )
        if at.unit != "none" and point.unit not in MEASURED_UNITS:
            known = ", ".join(MEASURED_UNITS)
            yield (
                (*inner, "at", "unit"),
                _(
                    "unit bytes come into {known}, not into {unit}; take unit out and write decimals",
                    known=known,
                    unit=point.unit,
                ),
            )
        if at.identifier.upper() != point.at.identifier.upper():
            yield (*inner, "at", "identifier"), _("the parts of one value stand in one block; the meter counts on between two")
        yield from _place_findings((*inner, "at"), at, limits)
    for number, part in enumerate(point.plus):
        yield from scale_findings((*path, "plus", number, "scale"), part.scale)


def _place_findings(path: Path, at: Cjt188Place, limits: Cjt188Limits) -> Iterator[Finding]:
    lengths = {name.upper(): length for name, length in limits.lengths.items()}
    length = lengths.get(at.identifier.upper())
    if length is None:
        yield (
            (*path, "identifier"),
            _("cjt188.lengths does not say how long the answer to {identifier} is", identifier=at.identifier),
        )
    elif at.first + at.bytes + (at.unit != "none") > length - HEAD:
        yield (
            (*path, "first"),
            _(
                "the field reaches beyond the {length} bytes of block {identifier}",
                length=length - HEAD,
                identifier=at.identifier,
            ),
        )
    if at.unit == "none" and at.units:
        yield (*path, "units"), _("there is no unit byte here; take units out, or say where it stands with unit")
    for code, factor in at.units.items():
        yield from scale_findings((*path, "units", code), factor)
    for index, missing in enumerate(at.missing):
        if len(bytes.fromhex(missing)) != at.bytes:
            yield (
                (*path, "missing", index),
                _("{missing} has not {bytes} bytes: it would never be recognised", missing=missing, bytes=at.bytes),
            )
    yield from _type_findings(path, at)


def _type_findings(path: Path, at: Cjt188Place) -> Iterator[Finding]:
    if at.type not in _TYPES_WITH_DECIMALS:
        for key, said in (("decimals", at.decimals), ("signed", at.signed), ("unit", at.unit != "none")):
            if said:
                yield (*path, key), _("{type} has none; take {key} out", type=at.type, key=key)
    if at.type in ("binary", "bits") and at.bytes > 8:
        yield (*path, "bytes"), _("{type} has at most 8 bytes", type=at.type)
    if at.type == "clock" and at.bytes != 7:
        yield (*path, "bytes"), _("a clock has 7 bytes, from the seconds to the century")
    if at.type in _TEXTS and at.missing:
        yield (*path, "missing"), _("{type} is kept as it comes; take missing out", type=at.type)
    if (at.bits is None) == (at.type == "bits"):
        yield (
            (*path, "bits"),
            _("which bits? write for example  bits: 0-1") if at.type == "bits" else _("only type bits takes bits"),
        )
    elif at.bits is not None:
        low, _unused, high = at.bits.partition("-")
        if not int(low) <= int(high or low) < 8 * min(at.bytes, 8):
            yield (*path, "bits"), _("write the lower bit first, and none above {min}", min=8 * min(at.bytes, 8) - 1)
