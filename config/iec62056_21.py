"""IEC 62056-21 (formerly IEC 1107) in a model file: which line of the readout holds a value, and how the meter is read.

A line is named by its OBIS code as the meter writes it: `1.8.0`, `1-0:1.8.0*255`, `C.1.0`, `1.8.0*12` (a past value).
What a code leaves out is what is usual: the meter's own medium (1 is electricity), tariff 0, the value of now. So
`1.8.0` finds `1-1:1.8.0` and `1-0:1.8.0*255` too, and never a past value.

What this file does not know: frames (`drivers.iec62056_21`), and what units are worth (`config.iec62056_21_units`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from config.iec62056_21_units import UNITS, kind_of
from config.language import N_, _
from config.map_rules import map_findings
from config.mistake import Path, did_you_mean, shown
from config.model import Declared, Finding, MeterModel, Place, Point, Watch
from config.scalar import Shape, Whole, YesNo, as_whole

ObisCode = Annotated[
    str,
    Shape(
        r"[0-9A-Z]{1,3}([.:&*-][0-9A-Z]{1,3}){0,6}",
        N_("is not a code of the readout; write it as the meter does, such as 1.8.0, 1-0:1.8.0*255 or C.1.0"),
    ),
]
Maker = Annotated[
    str, Shape(r"[A-Za-z]{3}", N_("is no maker's sign; write the three letters behind the / of the identification, such as LGZ"))
]
Speed = Annotated[Literal[300, 600, 1200, 2400, 4800, 9600, 19200], BeforeValidator(as_whole)]

_ADDRESS = re.compile(r"[0-9A-Za-z ]{0,32}")


class ReadoutLine(Place):
    """Where an IEC 62056-21 meter tells a value: a line of its readout."""

    obis: ObisCode
    """The line's code as the meter writes it, such as 1.8.0; what is left out is what is usual, never a past value."""
    unit: Annotated[str, Shape(r"[!-~]{1,16}", N_("is no unit"))] | None = None
    """The unit it is expected in, such as kWh; counts where the meter states none. One of another kind is refused."""
    group: Annotated[Whole, Field(ge=1, le=64)] = 1
    """Which brackets of the line hold the value: 2 where a time stands in the first ones."""


class Iec62056Point(Point):
    """One quantity of an IEC 62056-21 meter and the line it is read from."""

    at: ReadoutLine
    """Where the meter tells it."""


class Iec62056Watch(Watch):
    """A line that identifies the meter or that tells its state, such as F.F."""

    at: ReadoutLine
    """Where it stands."""


class Iec62056Limits(Declared):
    """How one IEC 62056-21 meter is read."""

    mode: Literal["A", "B", "C", "D"] = "C"
    """C: the readout is asked for after the identification, at a speed agreed on. B: it follows by itself at another
    speed, A: at the same speed. D: the meter sends by itself, nothing is asked."""
    fixed_baud: Speed | None = None
    """Where a serial server or the meter cannot change its speed: the one speed of everything. Else 300 in the beginning."""
    eight_bits: YesNo = False
    """true: the line carries 8 bits without parity (8N1) although the meter speaks 7E1; the parity is made here."""
    wake_up: YesNo = False
    """true: a battery meter that is woken up with zeros for 2.2 seconds before it is asked."""
    manufacturer: Annotated[tuple[Maker, ...], Field(max_length=8)] = ()
    """The maker's signs its identification may begin with, such as [LGZ]; another meter's readout is not used."""
    number: Annotated[tuple[ObisCode, ...], Field(max_length=8)] = ("0.0.0", "C.1.0")
    """The lines that may hold the meter's own number; the first one that does counts. []: none does."""
    longest_bytes: Annotated[Whole, Field(ge=64, le=65536)] = 8192
    """The most bytes its readout has; 1000 bytes take 34 seconds at 300 baud."""
    timeout_ms: Annotated[Whole, Field(ge=10, le=600_000)] = 3000
    """How long it may take to begin its answer, in milliseconds; in mode D how long the next telegram may take."""
    pause_ms: Annotated[Whole, Field(ge=0, le=10_000)] = 300
    """Silence in front of the sign-on, in milliseconds."""
    longest_answer_ms: Annotated[Whole, Field(ge=10, le=600_000)] | None = None
    """How late an answer may still begin to come, counted from the request, in milliseconds: nothing is sent before."""


class Iec62056Model(MeterModel):
    """The model of an IEC 62056-21 meter."""

    protocol: Literal["iec62056_21"]
    """How it is spoken to: iec62056_21."""
    iec62056_21: Iec62056Limits = Iec62056Limits()
    """How it is read."""
    identity: tuple[Iec62056Watch, ...] = ()
    """Lines that say which meter this is, such as its firmware."""
    attest: tuple[Iec62056Watch, ...] = ()
    """Lines that tell the meter's state, such as F.F, and what changes the meaning of its counters."""
    points: Annotated[tuple[Iec62056Point, ...], Field(min_length=1)]
    """What it tells, and where."""


def iec62056_21_address(text: str) -> str:
    """A device address as it is sent; empty for the only meter on a line, which answers the general address.

    Zeros in front are kept: the standard ignores them (clause 6.3.14), some meters do not.

    Raises:
        ValueError: it is none, in plain words.
    """
    made = text.strip()
    if not _ADDRESS.fullmatch(made):
        example = _("at most 32 letters, digits and spaces, such as 00012345, or nothing where it is the only meter on its line")
        raise ValueError(_("{text} is not an IEC 62056-21 address; write {example}", text=shown(text), example=example))
    return made


def iec62056_21_both(one: str, other: str) -> bool:
    """Whether a meter may answer to both addresses: all answer where there is none, and zeros in front do not count (6.3.14)."""
    return not one or not other or one.lstrip("0") == other.lstrip("0")


def iec62056_21_findings(model: Iec62056Model) -> Iterator[Finding]:
    """What is wrong with a whole model although each of its keys is well formed."""
    yield from map_findings(model)
    for index, point in enumerate(model.points):
        yield from _unit_findings(("points", index, "at", "unit"), point)
    yield from _once_findings(model.points)
    for section, watches in (("identity", model.identity), ("attest", model.attest)):
        for index, watch in enumerate(watches):
            if watch.scale != 1:
                yield (section, index, "scale"), _("a line is told as text, it cannot be multiplied; take scale out")
    yield from _limits_findings(("iec62056_21",), model.iec62056_21)


def _unit_findings(path: Path, point: Iec62056Point) -> Iterator[Finding]:
    unit = point.at.unit
    if unit is None:
        return
    if unit not in UNITS:
        yield (
            path,
            _("{unit} is no unit that is known here.{hint}", unit=shown(unit), hint=did_you_mean(unit, UNITS)).rstrip(".。"),
        )
    elif kind_of(unit) != kind_of(point.unit):
        yield (
            path,
            _(
                "{unit} is a unit of {kind_of}, {quantity} is stated in {unit_2}",
                unit=shown(unit),
                kind_of=kind_of(unit),
                quantity=point.quantity,
                unit_2=point.unit,
            ),
        )


def _once_findings(points: Sequence[Iec62056Point]) -> Iterator[Finding]:
    first: dict[tuple[str, int], str] = {}
    for index, point in enumerate(points):
        other = first.setdefault((point.at.obis, point.at.group), point.quantity)
        if other != point.quantity:
            yield (
                ("points", index, "at", "obis"),
                _("{obis} is already where {other} stands", obis=point.at.obis, other=other),
            )


def _limits_findings(path: Path, limits: Iec62056Limits) -> Iterator[Finding]:
    if limits.mode == "B" and limits.fixed_baud:
        yield (*path, "fixed_baud"), _("a meter of mode B changes its speed by itself; take fixed_baud out")
    if limits.mode == "D":
        for key in ("fixed_baud", "wake_up"):
            if getattr(limits, key):
                yield (
                    (*path, key),
                    _("a meter of mode D is not asked; take {key} out, its speed stands under serial", key=key),
                )
