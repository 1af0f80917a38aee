"""A meter model: what one make of meter tells, where, in which encoding, and how far that map is trusted.

One YAML file a model in `config/models/`, with its sources and its own example frames. The file is quoted
by its SHA-256 in every meter declaration, so a shipped model never changes meaning: a correction that moves
a value is a new `revision`, and the ledger keeps the text that was used.

Here stands what models of all protocols have in common; where a value lies (`at`) and what a meter bears is a
protocol's own matter: `config.modbus`, `config.dlt645` and so on, one file a protocol, found by `config.protocols`.
`scale` is an exact decimal into the unit of the quantity.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from config.language import N_
from config.mistake import Path
from config.quantity import quantity_of
from config.scalar import Exact as Exact
from config.scalar import FreeText, PlateRatio, SerialFormat, Shape, YesNo
from config.scalar import Hex as Hex
from config.scalar import QuantityName as QuantityName
from config.scalar import Whole as Whole

Finding = tuple[Path, str]

TRUST_WORDS = {
    "A": N_("maker's document and an independent implementation agree"),
    "B": N_("two independent implementations agree"),
    "C": N_("one source only: community"),
    "D": N_("contradicted or unconfirmed: community"),
}

ModelName = Annotated[
    str,
    Shape(
        r"(?=.{1,48}$)[a-z0-9]+(-[a-z0-9]+)*",
        N_("is not a model name; write small letters, digits and dashes, such as eastron-sdm630"),
    ),
]


Medium = Literal["electricity", "water", "heat", "cooling", "gas", "steam", "compressed_air", "oil", "pulse", "other"]


class Declared(BaseModel):
    """What every part of a YAML file has in common: no unknown keys, nothing changed after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


SourceKey = Annotated[
    str, Shape(r"[a-z0-9_]{1,32}", N_("is not the key of a source; write small letters, digits and _, as under trust, sources"))
]


class Place(Declared):
    """Where a meter keeps a value; each protocol has its own kind of place."""


class Counter(Declared):
    """How a counter behaves: where it rolls over, and whether it may fall for other reasons."""

    modulus: Exact | None = None
    """The value at which it begins again at 0, in the quantity's unit."""
    resettable: YesNo = False
    """true: it can be set to 0 at the meter."""
    may_step_back: FreeText | None = None
    """Why it may fall a little in normal use, where it may."""


Ratio = Literal["none", "ct", "vt", "ct_vt", "already_primary"]


def ratio_applied(ratios: Iterable[Ratio]) -> str:
    """Who multiplies by the transformers' ratio: `agent`, `meter`, or empty where nobody does. `ratios`: of what is read."""
    told = set(ratios)
    return "agent" if told & {"ct", "vt", "ct_vt"} else "meter" if "already_primary" in told else ""


class Point(Declared):
    """One quantity of a meter model and the place it is read from."""

    quantity: QuantityName
    """What is measured, such as active_energy_import or voltage.l1. Its unit is fixed by its name."""
    at: Place
    """Where the meter keeps it."""
    scale: Exact = Decimal(1)
    """What the meter's number is multiplied with to come into the quantity's unit: 0.01 where it counts 10 Wh."""
    ratio: Ratio = "none"
    """Which transformer ratio meterseal has to apply; already_primary: the meter has applied it."""
    range: tuple[Exact, Exact] | None = None
    """Lowest and highest value that can be true; anything outside is marked uncertain."""
    max_rate: Exact | None = None
    """For counters: the fastest rise that can be true, in the quantity's unit per hour."""
    counter: Counter | None = None
    """For counters: where it rolls over and whether it can be reset."""
    default: YesNo = True
    """false: read only where a meter lists it under quantities."""
    sources: tuple[SourceKey, ...] = ()
    """Which of the model's sources say so, by their keys; where none is named, all of them."""
    note: FreeText = ""
    """A remark for people."""

    @property
    def unit(self) -> str:
        """The unit its values are stated in."""
        return quantity_of(self.quantity).unit


class Watch(Declared):
    """A register or field that identifies the meter or that changes what its counters mean."""

    name: Annotated[str, Shape(r"[a-z][a-z0-9_]{0,31}", N_("is not a name; write small letters, digits and _, such as ct_ratio"))]
    """What it is, such as serial, firmware or ct_ratio."""
    at: Place
    """Where it stands."""
    scale: Exact = Decimal(1)
    """What the meter's number is multiplied with."""
    expect: tuple[FreeText, ...] = ()
    """The values under which the register map is valid."""
    sources: tuple[SourceKey, ...] = ()
    """Which of the model's sources say so, by their keys; where none is named, all of them."""
    note: FreeText = ""
    """A remark for people."""


class SerialDefaults(Declared):
    """How the meter's port is set when it leaves the factory."""

    baud: Annotated[Whole, Field(ge=300, le=921600)]
    """Bits per second, such as 9600."""
    format: SerialFormat
    """Data bits, parity and stop bits, such as 8N1."""


class Source(Declared):
    """Where a fact of the model was read."""

    key: SourceKey | None = None
    """A short name by which points say that they rest on it, such as manual."""
    url: FreeText
    """Address or title of the document, with version and page where it has them."""
    licence: FreeText = ""
    """Under which terms it is published."""
    kind: Literal["maker", "implementation", "extraction", "community", "standard"]
    """Who says so: the maker's document, a program that reads the meter, a copy of a document, a user, a standard."""


class Trust(Declared):
    """How well the register map is founded. C and D are "community" until a paired reading confirms them."""

    level: Literal["A", "B", "C", "D"]
    """A: maker and an independent program agree; B: two independent programs agree; C: one source; D: unconfirmed."""
    sources: Annotated[tuple[Source, ...], Field(min_length=1)]
    """What the map was taken from."""
    questions: tuple[FreeText, ...] = ()
    """What is still open."""


class ExampleFrame(Declared):
    """One exchange of an example, as on a serial line, checksums included."""

    request: Hex = ""
    """The request's bytes, such as 01 03 00 00 00 02 C4 0B; left out where the meter tells without being asked."""
    answer: Hex
    """The answer's bytes."""


class Example(Declared):
    """Frames and the values they must give. Every model has at least one; a test runs them all."""

    origin: Annotated[FreeText, Field(min_length=3)]
    """Where the frames are from: captured (meter, date), published (document), or computed."""
    frames: Annotated[tuple[ExampleFrame, ...], Field(min_length=1)]
    """The exchanges."""
    ct: PlateRatio | None = None
    """The current transformer's ratio in this example."""
    vt: PlateRatio | None = None
    """The voltage transformer's ratio in this example."""
    values: dict[QuantityName, FreeText]
    """Quantities and the exact digits they must come to."""


class MeterModel(Declared):
    """A whole meter model as its file declares it."""

    model: ModelName
    """Its name, the same as the file's: maker and type in small letters."""
    revision: Annotated[Whole, Field(ge=1)]
    """Counted up whenever a correction moves a value."""
    maker: FreeText
    """The maker as printed on the plate."""
    product: FreeText
    """The type as printed on the plate."""
    medium: Medium
    """What flows through the meter."""
    protocol: str
    """How it is spoken to."""
    trust: Trust
    """How well the map is founded, and on what."""
    serial: SerialDefaults | None = None
    """How its port is set when it leaves the factory; used where a link does not say."""
    identity: tuple[Watch, ...] = ()
    """What says which meter this is, such as its serial number."""
    attest: tuple[Watch, ...] = ()
    """Settings of the meter that change what its counters mean."""
    points: Annotated[tuple[Point, ...], Field(min_length=1)]
    """What it tells, and where."""
    examples: Annotated[tuple[Example, ...], Field(min_length=1)]
    """Frames with the values they must give."""
    notes: tuple[FreeText, ...] = ()
    """Remarks for people."""

    def point(self, quantity: str) -> Point:
        """The point that tells a quantity. Raises KeyError where the model has none."""
        for point in self.points:
            if point.quantity == quantity:
                return point
        raise KeyError(quantity)


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A meter model with the exact bytes it was read from, which the ledger keeps."""

    declared: MeterModel
    text: bytes

    @property
    def digest(self) -> str:
        """SHA-256 of the file's bytes, hexadecimal: what a meter declaration quotes."""
        return hashlib.sha256(self.text).hexdigest()
