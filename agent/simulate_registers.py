"""Numbers and texts as a Modbus meter keeps them in its registers, and which registers it lets be read.

The inverse of a formula's encodings, written from the meaning of `config.model.At`, not from the decoder, so that
reading a simulated meter tests both. The most significant byte comes first; `word_order: little` swaps words,
`byte_order: little` the bytes in each word.

What this file does not know: how a value moves, and who asks.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal

from config.language import _
from config.modbus import At, ModbusLimits, ModbusPoint
from drivers.formula import shortest_decimal
from drivers.modbus_map import words_of

_NOT_A_NUMBER = {"f32": "7fc00000", "f64": "7ff8000000000000"}
_MOST_BITS = 2000
WIDE = Context(prec=60)
_QUOTIENT = Context(prec=34)
ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE = 1, 2, 3


def quotient(dividend: Decimal, divisor: Decimal) -> Decimal:
    """A quotient as wide as a formula's, so that what a meter holds has the digits of a correct reading."""
    return _QUOTIENT.divide(dividend, divisor)


@dataclass(frozen=True, slots=True)
class Cell:
    """One place of a meter, with the model's defaults filled in."""

    at: At
    function: int
    word_order: str
    byte_order: str

    @classmethod
    def of(cls, at: At, limits: ModbusLimits) -> Cell:
        """The cell of a place in a model."""
        return cls(at, at.function or limits.function, at.word_order or limits.word_order, at.byte_order or limits.byte_order)

    @property
    def words(self) -> int:
        """How many registers it spans (bits for functions 1 and 2)."""
        return words_of(self.at)

    @property
    def end(self) -> int:
        """The first address behind it."""
        return self.at.address + self.words

    @property
    def is_text(self) -> bool:
        """Whether it holds a text instead of a number."""
        return self.at.type in ("ascii", "hex")

    @property
    def key(self) -> tuple[int, int, str, str | None]:
        """What makes two places one."""
        return self.function, self.at.address, self.at.type, self.at.bits

    @property
    def field(self) -> tuple[int, int] | None:
        """Lowest and highest bit of a bit field, None where the whole place is the value."""
        if self.at.bits is None:
            return (0, 0) if self.at.type == "bit" else None
        low, _unused, high = self.at.bits.partition("-")
        return int(low), int(high or low)

    @property
    def bounds(self) -> tuple[int, int] | None:
        """The least and the greatest whole number that fits; None for floating point, which holds fractions."""
        kind = self.at.type
        if self.field:
            low, high = self.field
            return 0, 2 ** (high - low + 1) - 1
        if kind in ("bcd", "mod10"):
            return 0, 10 ** (4 * self.words) - 1
        if kind[0] == "f" or self.is_text:
            return None
        bits = int(kind[1:])
        return (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if kind[0] == "i" else (0, 2**bits - 1)

    def nearest(self, wanted: Decimal, rolls: bool) -> Decimal:
        """The number nearest to the wanted one that fits; beyond the bounds it starts again at 0, or stays at them."""
        if self.bounds is None:
            packed = struct.pack(">f" if self.at.type == "f32" else ">d", float(wanted))
            return shortest_decimal(packed)
        least, greatest = self.bounds
        whole = int(wanted.to_integral_value(ROUND_HALF_EVEN))
        if rolls and whole > greatest:
            whole %= greatest + 1
        return Decimal(min(max(whole, least), greatest))

    def number(self, number: Decimal) -> bytes:
        """A number from `nearest` as bytes on the wire (for a coil: one byte, 0 or 1)."""
        kind = self.at.type
        if kind in ("f32", "f64"):
            return self._ordered(struct.pack(">f" if kind == "f32" else ">d", float(number)))
        whole = int(number)
        if self.field:
            whole <<= self.field[0]
        if self.function in (1, 2):
            return bytes([whole & 1])
        if kind == "bcd":
            return self._ordered(bytes.fromhex(f"{whole:0{4 * self.words}d}"))
        if kind == "mod10":
            digits = f"{whole:0{4 * self.words}d}"
            words = [int(digits[i : i + 4]).to_bytes(2, "big") for i in range(0, len(digits), 4)]
            return b"".join(reversed(words) if self.word_order == "little" else words)
        if kind in ("u8", "i8"):
            return bytes([0, whole & 0xFF])
        length = 2 * self.words
        return self._ordered((whole % 2 ** (8 * length)).to_bytes(length, "big"))

    def text(self, text: str) -> bytes:
        """A text as bytes on the wire. Raises ValueError if it does not fit or is none of the place's type."""
        length = 2 * self.words
        data = text.encode("ascii") if self.at.type == "ascii" else bytes.fromhex(text).rjust(length, b"\0")
        if len(data) > length:
            raise ValueError(_("{text} is longer than {length} bytes", text=text, length=length))
        return data.ljust(length, b"\0")

    def missing(self) -> bytes:
        """What stands there while the value is not available. Raises ValueError where the meter has no word for it."""
        sentinel = next(iter(self.at.missing), _NOT_A_NUMBER.get(self.at.type))
        if sentinel is None:
            raise ValueError(_("the meter model names no bytes that mean not available"))
        data = bytes.fromhex(sentinel)
        if self.is_text or self.at.type in ("u8", "i8"):
            return data.rjust(2 * self.words, b"\0")
        return self._ordered(data)

    def _ordered(self, data: bytes) -> bytes:
        words = [data[i : i + 2] for i in range(0, len(data), 2)]
        if self.word_order == "little":
            words.reverse()
        if self.byte_order == "little":
            words = [word[::-1] for word in words]
        return b"".join(words)


@dataclass(frozen=True, slots=True)
class Told:
    """A point ready to be filled in: its cells with their scales, and what stands between them and the value."""

    point: ModbusPoint
    cells: tuple[tuple[Cell, Decimal], ...]
    power: Decimal
    plates: tuple[tuple[Decimal, Decimal], ...]

    @property
    def factor(self) -> Decimal:
        """What a register's number counts in the quantity's unit, apart from its scale."""
        made = self.power
        for primary, secondary in self.plates:
            made = WIDE.divide(WIDE.multiply(made, primary), secondary)
        return made

    def stated(self, numbers: list[Decimal]) -> Decimal:
        """The value that the numbers in its cells state."""
        total = Decimal(0)
        for (_unused, scale), number in zip(self.cells, numbers, strict=True):
            value = WIDE.multiply(WIDE.multiply(number, scale), self.power)
            for primary, secondary in self.plates:
                value = quotient(WIDE.multiply(value, primary), secondary)
            total = WIDE.add(total, value)
        return total


class Blocks:
    """Which reads a meter allows: declared cells, joined over holes of at most `max_gap`, within the model's limits."""

    def __init__(self, cells: Iterable[Cell], limits: ModbusLimits) -> None:
        self._cells = list(cells)
        self._limits = limits
        self._joined = {function: self._join(function) for function in (1, 2, 3, 4)}

    def refusal(self, function: int, address: int, count: int) -> int:
        """The exception code for a read (Application Protocol V1.1b3, section 7), 0 where it is answered."""
        limits = self._limits
        registers = function in (3, 4)
        if not 1 <= count <= (limits.max_registers if registers else _MOST_BITS):
            return ILLEGAL_VALUE
        end = address + count
        if not any(first <= address and end <= behind for first, behind in self._joined[function]):
            return ILLEGAL_ADDRESS
        for span in limits.forbid:
            if (span.function or function) == function and span.address < end and address < span.address + span.count:
                return ILLEGAL_ADDRESS
        for first, words in self._alone(function):
            if first < end and address < first + words:
                return 0 if (address, count) == (first, words) else ILLEGAL_ADDRESS
        if limits.align == 2 and registers and (address % 2 or count % 2):
            return ILLEGAL_ADDRESS
        return 0

    def _alone(self, function: int) -> list[tuple[int, int]]:
        """Start and count of what is only read by itself."""
        single = [(c.at.address, c.words) for c in self._cells if c.function == function and c.at.address in self._limits.single]
        whole = [(s.address, s.count) for s in self._limits.whole if (s.function or self._limits.function) == function]
        return single + whole

    def _join(self, function: int) -> list[tuple[int, int]]:
        spans = [(cell.at.address, cell.end) for cell in self._cells if cell.function == function]
        spans += [(first, first + count) for first, count in self._alone(function)]
        if self._limits.align == 2 and function in (3, 4):
            spans = [(first - first % 2, end + end % 2) for first, end in spans]
        joined: list[tuple[int, int]] = []
        for first, end in sorted(spans):
            if joined and first - joined[-1][1] <= (self._limits.max_gap or 0):
                joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
            else:
                joined.append((first, end))
        return joined
