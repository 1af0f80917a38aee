"""Modbus in a model file: where registers stand, how they are encoded, and what a meter bears.

Addresses are the ones on the wire, counted from 0 (a manual's 40001 or 30001 is address 0, its "register 1"
is address 0 as well).
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from config.language import N_, _
from config.mistake import shown
from config.model import Declared, MeterModel, Place, Point, Watch
from config.scalar import Exact, FreeText, Hex, Shape, Whole, as_whole

Register = Annotated[Whole, Field(ge=0, le=65535)]
# The kind of table: 1 coils, 2 discrete inputs, 3 holding registers, 4 input registers.
FunctionCode = Annotated[Literal[1, 2, 3, 4], BeforeValidator(as_whole)]

# What a register block can hold. `mod10`: each register holds 0..9999 (Schneider); `hex`: bytes as text.
RegisterType = Literal[
    "u8", "i8", "u16", "i16", "u32", "i32", "u48", "u64", "i64", "f32", "f64", "bcd", "mod10", "ascii", "hex", "bit"
]
# Order of the words and of the bytes in each word: ABCD, CDAB, BADC, DCBA for four bytes.
Order = Literal["big", "little"]


class At(Place):
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
    bits: Annotated[str, Shape(r"(1[0-5]|[0-9])(-(1[0-5]|[0-9]))?", N_("is no range of bits; write 3 or 0-3"))] | None = None
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


class ModbusPoint(Point):
    """One quantity of a Modbus meter and the registers it is read from."""

    at: At
    """Where the meter keeps it."""
    exponent: Exponent | None = None
    """Where the meter keeps a decimal exponent for it, if it does."""
    plus: tuple[Part, ...] = ()
    """Further places whose values are added."""


class ModbusWatch(Watch):
    """A register that identifies the meter or that changes what its counters mean."""

    at: At
    """Where it stands."""


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
    max_gap: Annotated[Whole, Field(ge=0, le=124)] | None = None
    """How many registers that nobody asked for one read may bridge. Unless said, it is tried where that is quicker, and
    left off again where the meter refuses."""
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
    open_pause_ms: Annotated[Whole, Field(ge=0, le=60000)] = 0
    """How long the meter must be left alone after a connection was made, in milliseconds."""
    together: Annotated[Whole, Field(ge=1, le=16)] = 1
    """How many requests it takes at once on Modbus TCP, each with a transaction number of its own."""
    longest_answer_ms: Annotated[Whole, Field(ge=10, le=120000)] | None = None
    """How late an answer may still come, counted from the request, in milliseconds: after a timeout nothing is sent before."""


class ModbusModel(MeterModel):
    """The model of a Modbus meter."""

    protocol: Literal["modbus"]
    """How it is spoken to: modbus."""
    modbus: ModbusLimits = ModbusLimits()
    """What the meter bears."""
    identity: tuple[ModbusWatch, ...] = ()
    """Registers that say which meter this is, such as its serial number."""
    attest: tuple[ModbusWatch, ...] = ()
    """Settings of the meter that change what its counters mean."""
    points: Annotated[tuple[ModbusPoint, ...], Field(min_length=1)]
    """What it tells, and where."""


def modbus_address(text: str) -> str:
    """A Modbus address as plain digits. Raises ValueError outside 1 to 247."""
    if not text:
        raise ValueError(_("address is missing; write for example  address: 12"))
    if not re.fullmatch("[0-9]{1,4}", text) or not 1 <= int(text) <= 247:
        raise ValueError(_("{text} is not a Modbus address (1 to 247)", text=shown(text)))
    return str(int(text))
