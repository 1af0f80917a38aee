"""A meter model: what one make of meter tells, where, in which encoding, and how far that map is trusted.

One YAML file a model in `config/models/`, with its sources and its own example frames. The file is quoted
by its SHA-256 in every meter declaration, so a shipped model never changes meaning: a correction that moves
a value is a new `revision`, and the ledger keeps the text that was used.

Addresses are the ones on the wire, counted from 0 (a manual's 40001 or 30001 is address 0, its "register 1"
is address 0 as well). `scale` is an exact decimal into the unit of the quantity.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from config.quantity import quantity_of
from config.scalar import Exact as Exact
from config.scalar import FreeText, PlateRatio, SerialFormat, Shape, YesNo, as_whole
from config.scalar import Hex as Hex
from config.scalar import QuantityName as QuantityName
from config.scalar import Whole as Whole

TRUST_WORDS = {
    "A": "maker's document and an independent implementation agree",
    "B": "two independent implementations agree",
    "C": "one source only: community",
    "D": "contradicted or unconfirmed: community",
}

Register = Annotated[Whole, Field(ge=0, le=65535)]
ModelName = Annotated[
    str,
    Shape(
        r"(?=.{1,48}$)[a-z0-9]+(-[a-z0-9]+)*",
        "is not a model name; write small letters, digits and dashes, such as eastron-sdm630",
    ),
]
# The kind of table: 1 coils, 2 discrete inputs, 3 holding registers, 4 input registers.
FunctionCode = Annotated[Literal[1, 2, 3, 4], BeforeValidator(as_whole)]

# What a register block can hold. `mod10`: each register holds 0..9999 (Schneider); `hex`: bytes as text.
RegisterType = Literal[
    "u8", "i8", "u16", "i16", "u32", "i32", "u48", "u64", "i64", "f32", "f64", "bcd", "mod10", "ascii", "hex", "bit"
]
# Order of the words and of the bytes in each word: ABCD, CDAB, BADC, DCBA for four bytes.
Order = Literal["big", "little"]


class Declared(BaseModel):
    """What every part of a YAML file has in common: no unknown keys, nothing changed after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class At(Declared):
    """Where a Modbus meter keeps a value: function, address on the wire (from 0) and how it is encoded."""

    address: Register
    """Register address on the wire, counted from 0: a manual's 40001 or 30001 is 0. 0x0048 may be written too."""
    type: RegisterType
    """What the registers hold, such as u32 (unsigned, two registers) or f32 (IEEE 754, two registers)."""
    function: FunctionCode | None = None
    """Modbus function that reads it: 3 holding registers, 4 input registers, 1 coils, 2 inputs. Else the model's."""
    count: Annotated[Whole, Field(ge=1, le=125)] | None = None
    """Number of registers; only for ascii, hex, bcd and mod10."""
    word_order: Order | None = None
    """big: the high register comes first. Else the model's."""
    byte_order: Order | None = None
    """big: the high byte of each register comes first. Else the model's."""
    bits: Annotated[str, Shape(r"(1[0-5]|[0-9])(-(1[0-5]|[0-9]))?", "is no range of bits; write 3 or 0-3")] | None = None
    """Only these bits of the register, 0 is the lowest: 3 or 0-3."""
    missing: tuple[Hex, ...] = ()
    """What the meter sends for "not available", as bytes with the high byte first, such as 7fffffff."""


class Exponent(Declared):
    """A decimal exponent that the meter keeps in a register of its own: the value counts 10^(register + offset)."""

    at: At
    """Where the exponent stands."""
    offset: Annotated[Whole, Field(ge=-99, le=99)] = 0
    """Added to the exponent that was read."""


class Part(Declared):
    """A second place whose value is added: a fraction beside an integer part, or a second tariff."""

    at: At
    """Where it stands."""
    scale: Exact = Decimal(1)
    """What it is multiplied with, to come into the quantity's unit."""


class Counter(Declared):
    """How a counter behaves: where it rolls over, and whether it may fall for other reasons."""

    modulus: Exact | None = None
    """The value at which it begins again at 0, in the quantity's unit."""
    resettable: YesNo = False
    """true: it can be set to 0 at the meter."""
    may_step_back: FreeText | None = None
    """Why it may fall a little in normal use, where it may."""


Ratio = Literal["none", "ct", "vt", "ct_vt", "already_primary"]


class Point(Declared):
    """One quantity of a meter model and the place it is read from."""

    quantity: QuantityName
    """What is measured, such as active_energy_import or voltage.l1. Its unit is fixed by its name."""
    at: At
    """Where the meter keeps it."""
    scale: Exact = Decimal(1)
    """What the register's number is multiplied with to come into the quantity's unit: 0.01 where it counts 10 Wh."""
    exponent: Exponent | None = None
    """Where the meter keeps a decimal exponent for it, if it does."""
    plus: tuple[Part, ...] = ()
    """Further places whose values are added."""
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
    note: FreeText = ""
    """A remark for people."""

    @property
    def unit(self) -> str:
        """The unit its values are stated in."""
        return quantity_of(self.quantity).unit


class Watch(Declared):
    """A register that identifies the meter or that changes what its counters mean."""

    name: Annotated[str, Shape(r"[a-z][a-z0-9_]{0,31}", "is not a name; write small letters, digits and _, such as ct_ratio")]
    """What it is, such as serial, firmware or ct_ratio."""
    at: At
    """Where it stands."""
    scale: Exact = Decimal(1)
    """What the register's number is multiplied with."""
    expect: tuple[FreeText, ...] = ()
    """The values under which the register map is valid."""
    note: FreeText = ""
    """A remark for people."""


class Span(Declared):
    """A run of registers: `count` from `address`."""

    address: Register
    """The first register, counted from 0."""
    count: Annotated[Whole, Field(ge=1, le=125)]
    """How many."""
    function: FunctionCode | None = None
    """Modbus function; else the model's."""
    why: FreeText = ""
    """The reason, for people."""


class ModbusLimits(Declared):
    """What one Modbus meter bears: function and orders by default, read sizes, pauses and timeouts."""

    function: FunctionCode = 3
    """Function of all points that name none: 3 holding registers, 4 input registers."""
    word_order: Order = "big"
    """big: the high register of a value comes first."""
    byte_order: Order = "big"
    """big: the high byte of each register comes first (nearly all meters)."""
    max_registers: Annotated[Whole, Field(ge=1, le=125)] = 125
    """The most registers the meter answers at once."""
    max_gap: Annotated[Whole, Field(ge=0, le=124)] = 0
    """How many registers that nobody asked for one read may bridge."""
    align: Annotated[Literal[1, 2], BeforeValidator(as_whole)] = 1
    """2: start and count of every read must be even."""
    single: tuple[Register, ...] = ()
    """Addresses that are answered only when read alone."""
    whole: tuple[Span, ...] = ()
    """Blocks that are answered only when read whole."""
    forbid: tuple[Span, ...] = ()
    """Registers that are never read: those cleared by reading, and passwords."""
    timeout_ms: Annotated[Whole, Field(ge=10, le=60000)] = 1000
    """How long the meter may take to begin its answer, in milliseconds."""
    pause_ms: Annotated[Whole, Field(ge=0, le=10000)] = 0
    """Silence the meter needs in front of a request, in milliseconds."""
    longest_answer_ms: Annotated[Whole, Field(ge=10, le=120000)] | None = None
    """How late an answer may still come, counted from the request, in milliseconds: after a timeout nothing is sent before."""


class SerialDefaults(Declared):
    """How the meter's port is set when it leaves the factory."""

    baud: Annotated[Whole, Field(ge=300, le=921600)]
    """Bits per second, such as 9600."""
    format: SerialFormat
    """Data bits, parity and stop bits, such as 8N1."""


class Source(Declared):
    """Where a fact of the model was read."""

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
    """One exchange of an example, with the frame's checksum: RTU bytes as on a serial line."""

    request: Hex
    """The request's bytes, such as 01 03 00 00 00 02 C4 0B."""
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
    medium: Literal["electricity", "water", "heat", "cooling", "gas", "steam", "compressed_air", "oil", "pulse", "other"]
    """What flows through the meter."""
    protocol: Literal["modbus"]
    """How it is spoken to."""
    trust: Trust
    """How well the map is founded, and on what."""
    serial: SerialDefaults | None = None
    """How its port is set when it leaves the factory; used where a link does not say."""
    modbus: ModbusLimits = ModbusLimits()
    """What the meter bears."""
    identity: tuple[Watch, ...] = ()
    """Registers that say which meter this is, such as its serial number."""
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
