"""DL/T 645 in a model file: under which data identifiers a meter keeps its values, and what it bears.

Identifiers are written as in the standard and in manuals, high byte first: 00010000, in the edition of 1997 9010.
How long their data is, and whether it has a sign, follows from the standard's tables (`config.dlt645_identifiers`);
a model says it only where its meter deviates, or where the identifier is the maker's own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from config.dlt645_identifiers import Item, item_of, members_of
from config.language import N_, _
from config.map_rules import is_generic, map_findings
from config.mistake import Path, shown
from config.model import Declared, Finding, MeterModel, Place, Point, Watch
from config.scalar import Shape, Whole, YesNo, as_whole

Identifier = Annotated[
    str,
    Shape(
        "[0-9A-Fa-f]{4}([0-9A-Fa-f]{4})?",
        N_("is not a data identifier; write its 8 hexadecimal digits, such as 00010000 (edition of 1997: its 4, such as 9010)"),
    ),
    AfterValidator(str.upper),
]
Edition = Annotated[Literal[1997, 2007], BeforeValidator(as_whole)]
_DIGITS = {2007: 8, 1997: 4}
_MOST_DATA = 196


class Dlt645At(Place):
    """Where a DL/T 645 meter keeps a value: the identifier it is read with."""

    id: Identifier
    """Data identifier, high byte first, such as 00010000 or, in the edition of 1997, 9010. Never a block: see blocks."""
    type: Literal["bcd", "digits"] = "bcd"
    """bcd: a number; digits: a number kept as text with its leading zeros, such as the one on the plate."""
    length: Annotated[Whole, Field(ge=1, le=16)] | None = None
    """Bytes of the value, where the standard does not say it or this meter deviates."""
    offset: Annotated[Whole, Field(ge=0, le=_MOST_DATA - 1)] = 0
    """Bytes of the identifier's data in front of the value: 3 for the time of a greatest demand."""
    size: Annotated[Whole, Field(ge=1, le=_MOST_DATA)] | None = None
    """Bytes of all the identifier's data, where the value is a part of it and the standard does not say it."""
    signed: YesNo | None = None
    """true: the highest bit is a minus; false: it belongs to a digit. Else as the standard says."""

    @property
    def item(self) -> Item | None:
        """The value's length, all of the data's, and whether it is signed; None where neither model nor standard say it."""
        known = item_of(self.id)
        value = self.length or (known.value if known else None)
        if value is None:
            return None
        # A length of its own deviates from the standard, or picks a part of what the standard puts under the identifier.
        standard = known.size if known and (self.length is None or self.offset) else 0
        signed = bool(known and known.signed and not self.offset) if self.signed is None else self.signed
        return Item(value, self.size or standard or self.offset + value, signed)


class Dlt645Point(Point):
    """One quantity of a DL/T 645 meter and the identifier it is read with."""

    at: Dlt645At
    """Where the meter keeps it."""


class Dlt645Watch(Watch):
    """A parameter that identifies the meter or that changes what its counters mean."""

    at: Dlt645At
    """Where it stands."""


class Dlt645Limits(Declared):
    """What one DL/T 645 meter bears: edition, wake-up bytes, blocks and times."""

    edition: Edition
    """2007 (identifiers of four bytes) or 1997 (of two). A meter speaks one of them."""
    wake: Annotated[Whole, Field(ge=0, le=4)] = 4
    """How many bytes FE wake the meter in front of a request."""
    blocks: tuple[Identifier, ...] = ()
    """Blocks the meter answers, such as 0001FF00 (all tariffs) or 0201FF00 (all phases): read instead of several members."""
    timeout_ms: Annotated[Whole, Field(ge=10, le=60000)] = 1000
    """How long the meter may take to begin its answer, in milliseconds; the standard allows it 500."""
    pause_ms: Annotated[Whole, Field(ge=0, le=10000)] = 30
    """Silence the meter needs in front of a request, in milliseconds."""
    longest_answer_ms: Annotated[Whole, Field(ge=10, le=120000)] | None = None
    """How late an answer may still come, counted from the request, in milliseconds: after a timeout nothing is sent before."""


class Dlt645Model(MeterModel):
    """The model of a DL/T 645 meter."""

    protocol: Literal["dlt645"]
    """How it is spoken to: dlt645."""
    dlt645: Dlt645Limits
    """What the meter bears."""
    identity: tuple[Dlt645Watch, ...] = ()
    """What says which meter this is, beside the address that stands in every answer."""
    attest: tuple[Dlt645Watch, ...] = ()
    """Settings of the meter that change what its counters mean."""
    points: Annotated[tuple[Dlt645Point, ...], Field(min_length=1)]
    """What it tells, and where."""


def dlt645_address(text: str) -> str:
    """A meter's address as the 12 digits of its plate, leading zeros filled in; AA in front stands for any two digits.

    Raises:
        ValueError: it is none, in plain words.
    """
    if not text:
        raise ValueError(_('address is missing; write the 12 digits on the meter\'s plate, for example  address: "000012345670"'))
    found = re.fullmatch("((?:AA)*)([0-9]*)", text.upper())
    if not found or len(text) > 12 or (found[1] and len(text) != 12):
        raise ValueError(
            _(
                "{text} is not a DL/T 645 address; write the 12 digits on the meter's plate, or AAAAAAAAAAAA where "
                "it is the only meter on its line",
                text=shown(text),
            )
        )
    if set(text) == {"9"} and len(text) == 12:
        raise ValueError(_("999999999999 calls all meters at once and is never used; write the number on the meter's plate"))
    return text.upper().rjust(12, "0")


def dlt645_both(one: str, other: str) -> bool:
    """Whether a meter may answer to both addresses: AA in either one stands for any two digits."""
    pairs = [(one[at : at + 2], other[at : at + 2]) for at in range(0, 12, 2)]
    return len(one) == len(other) and all(first == second or "AA" in (first, second) for first, second in pairs)


# --- what a map must keep to ----------------------------------------------------------------------------------


def dlt645_findings(model: Dlt645Model) -> Iterator[Finding]:
    """What is wrong with a whole model although each of its keys is well formed."""
    yield from map_findings(model)
    if is_generic(model.model):
        yield ("model",), _("a model that begins with generic- takes its points from the site file, which only Modbus ones can")
    yield from _block_findings(model.dlt645)
    for index, point in enumerate(model.points):
        path: Path = ("points", index, "at")
        if point.at.type == "digits":
            yield (*path, "type"), _("digits is text, not a number; it can only stand under identity or attest")
        yield from _place_findings(path, point.at, model.dlt645)
    for section, watches in (("identity", model.identity), ("attest", model.attest)):
        for index, watch in enumerate(watches):
            if watch.at.type == "digits" and watch.scale != 1:
                yield (section, index, "scale"), _("digits is text, it cannot be multiplied; take scale out")
            yield from _place_findings((section, index, "at"), watch.at, model.dlt645)


def _block_findings(limits: Dlt645Limits) -> Iterator[Finding]:
    for index, block in enumerate(limits.blocks):
        path = ("dlt645", "blocks", index)
        if len(block) != _DIGITS[limits.edition]:
            yield path, _wrong_edition(block, limits)
        elif not members_of(block):
            yield (
                path,
                _(
                    "{block} is no block whose members the standard puts in order; write one such as 0001FF00 or 901F",
                    block=block,
                ),
            )
        elif block in limits.blocks[:index]:
            yield path, _("{block} stands twice", block=block)


def _place_findings(path: Path, at: Dlt645At, limits: Dlt645Limits) -> Iterator[Finding]:
    item = at.item
    if len(at.id) != _DIGITS[limits.edition]:
        yield (*path, "id"), _wrong_edition(at.id, limits)
    elif members_of(at.id):
        yield (
            (*path, "id"),
            _("{id} is a block; write the member's own identifier here and the block under dlt645.blocks", id=at.id),
        )
    elif item is None:
        yield (
            (*path, "length"),
            _("is missing: the standard's tables have no {id}; write how many bytes its value has", id=at.id),
        )
    elif at.offset + item.value > item.size:
        yield (
            (*path, "offset"),
            _("the value ends behind byte {size}, where the data of {id} ends", size=item.size, id=at.id),
        )
    if at.type == "digits" and at.signed:
        yield (*path, "signed"), _("text has no sign; take signed out")


def _wrong_edition(identifier: str, limits: Dlt645Limits) -> str:
    digits = _DIGITS[limits.edition]
    return _(
        "{identifier} has not {digits} digits, as identifiers of the edition of {edition} have",
        identifier=identifier,
        digits=digits,
        edition=limits.edition,
    )
