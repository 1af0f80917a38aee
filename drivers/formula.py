"""The formula of a value: which bytes of which answer, in which encoding, times what. One evaluator, exact.

    0@3:u32be*0.01             answer 0, from byte 3, unsigned 32 bit, high byte first, times 0.01
    0@3:i32ws!7fffffff*0.1     low word first; 7FFFFFFF is the meter's word for "not available"
    0@9:u32be*0.01*400/5       secondary value times the plate ratio of the current transformer
    0@3:i32ws*1+0@7:f32ws*1    integer part plus fraction
    0@3:u16be*10^(1@3:u8-4)    the decimal point stands in another register
    0h@3:u16be                 Modbus ASCII: the answer is hexadecimal text, offsets count decoded bytes
    0@10:bcd4le33s*0.01        packed BCD, low byte first, each byte minus 33H, top bit is the sign (DL/T 645)

Grammar (RFC 5234 style); numbers are decimal, offsets count from 0:

    formula  = term *( "+" term )
    term     = source *( ( "*" / "/" ) factor )
    factor   = ["-"] 1*DIGIT [ "." 1*DIGIT ] / "10^(" source [ ( "+" / "-" ) 1*DIGIT ] ")"
    source   = 1*DIGIT ["h"] "@" 1*DIGIT ":" encoding *( "!" 1*( 2HEXDIG ) )
    encoding = ("u8" / "i8") [field] / ("u" / "i") bits order [field] / ("f32" / "f64") order
             / "bcd" 1*DIGIT order ["33"] ["s"] / "mod10x" 1*DIGIT order / "ascii" 1*DIGIT / "hex" 1*DIGIT
    bits     = "16" / "24" / "32" / "40" / "48" / "56" / "64"
    order    = "be" (ABCD) / "ws" (CDAB, low word first) / "bs" (BADC) / "le" (DCBA)
    field    = "[" bit [ "-" bit ] "]"           bit 0 is the least significant

The digits behind "!" are lower case, as many bytes as the encoding, high byte first whatever the order. A number
behind "bcd", "ascii" and "hex" counts bytes (at most 16 for bcd, 999), behind "mod10x" registers (2 to 4).

Arithmetic is exact decimal arithmetic. A binary32 or binary64 number enters as the shortest decimal that reads
back as the same bits, the nearest one if there are several, written without an exponent or superfluous zeros
(100, not 1E+2 and not 100.0). A product has as many digits after the point as its factors together, where 10^n
counts as -n digits, a sum as many as its longest term. A quotient is exact where it ends within 34 significant
digits, with the dividend's digits after the point less the divisor's, or as many more as it needs; else it is
rounded half to even to 34 significant digits.

Bytes that no number can be made of (a sentinel, NaN, an infinity, a nibble above 9) give no value, never zero.

What this file does not know: protocols, units, meters.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_HALF_EVEN, Context, Decimal
from functools import lru_cache
from math import isfinite

from drivers.errors import FormulaError

_EXACT = Context(prec=2000, Emax=999999, Emin=-999999)
_QUOTIENT = Context(prec=34, rounding=ROUND_HALF_EVEN, Emax=999999, Emin=-999999)
# The nearest decimal of so many digits, and the next one above: below a power of two the interval is the narrower one.
_DIGITS = [Context(prec=digits, rounding=way) for digits in range(1, 10) for way in (ROUND_HALF_EVEN, ROUND_CEILING)]
LONGEST_FORMULA = 300
_MAX_EXPONENT = 30


class _Unusable(Exception):
    """Bytes that are no value; its text is the cause."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a formula gives: the value as plain decimal digits (or text), or the reason there is none.

    Attributes:
        value: such as `184223.57`, never with an exponent; None where the bytes are no value.
        cause: `not_available`, `not_a_number`, `bad_bcd`, `bad_digits`, `bad_text` or `bad_exponent`; empty with a value.
    """

    value: str | None
    cause: str = ""


def _ordered(data: bytes, order: str) -> bytes:
    """The same bytes with the most significant first."""
    if order == "le":
        return data[::-1]
    if order in ("ws", "bs"):
        words = [data[i : i + 2] for i in range(0, len(data), 2)]
        return b"".join(reversed(words)) if order == "ws" else b"".join(word[::-1] for word in words)
    return data


def shortest_decimal(data: bytes) -> Decimal:
    """The shortest decimal that reads back as the same binary32 (4 bytes) or binary64 (8 bytes), high byte first.

    Of several equally short ones the nearest. Without superfluous zeros, and with an exponent of at most 0.

    Raises:
        ValueError: the bytes are NaN or an infinity.
    """
    number = struct.unpack(">f" if len(data) == 4 else ">d", data)[0]
    if not isfinite(number):
        raise ValueError("not a number")
    found = Decimal(repr(number)) if len(data) == 8 else _shortest_of_binary32(data, number)
    found = found.normalize(_EXACT)
    return found.quantize(Decimal(1), context=_EXACT) if found == found.to_integral_value(context=_EXACT) else found


def _shortest_of_binary32(data: bytes, number: float) -> Decimal:
    """The same for a finite binary32: tried digit by digit against the exact interval that is read back as it."""
    bits = int.from_bytes(data, "big")
    if not bits & 0x7FFFFFFF:
        return Decimal(0)
    exact = Decimal(number).copy_abs()
    low, high = (Decimal((abs(number) + abs(_neighbour(bits, step))) / 2) for step in (-1, 1))  # exact: 25 bits in 53
    closed = bits % 2 == 0  # halfway cases are read as the even one
    for context in _DIGITS:
        found = context.plus(exact)
        if low < found < high or (closed and found in (low, high)):
            return found.copy_sign(Decimal(number))
    raise AssertionError("nine digits always suffice for a binary32")


def _neighbour(bits: int, step: int) -> float:
    """The binary32 number next to another in magnitude; behind the largest one the power of two that would follow."""
    bits = (bits & 0x7FFFFFFF) + step
    return 2.0**128 if bits == 0x7F800000 else float(struct.unpack(">f", bits.to_bytes(4, "big"))[0])


def _integer(data: bytes, signed: bool, low: int, high: int | None) -> Decimal:
    number = int.from_bytes(data, "big", signed=signed)
    if high is not None:
        number = (number >> low) & ((1 << (high - low + 1)) - 1)
    return Decimal(number)


def _float(data: bytes) -> Decimal:
    try:
        return shortest_decimal(data)
    except ValueError:
        raise _Unusable("not_a_number") from None


def _bcd(data: bytes, offset33: bool, signed: bool) -> Decimal:
    if offset33:
        data = bytes((byte - 0x33) & 0xFF for byte in data)
    if set(data) == {0xFF}:
        raise _Unusable("not_available")
    negative = signed and bool(data[0] & 0x80)
    digits = (bytes([data[0] & 0x7F]) + data[1:] if signed else data).hex()
    if not digits.isdecimal():
        raise _Unusable("bad_bcd")
    return Decimal(f"-{digits}" if negative else digits)


def _mod10(data: bytes) -> Decimal:
    words = [int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2)]
    if max(words) > 9999:
        raise _Unusable("bad_digits")
    return Decimal("".join(f"{word:04d}" for word in words))


def _ascii(data: bytes) -> str:
    text = data.rstrip(b"\x00 ").lstrip(b" ")
    if not text or not all(0x20 <= byte < 0x7F for byte in text):
        raise _Unusable("not_available" if not text else "bad_text")
    return text.decode("ascii")


@dataclass(frozen=True, slots=True)
class _Source:
    answer: int
    hexadecimal: bool
    offset: int
    length: int
    order: str
    missing: tuple[bytes, ...]
    decode: Callable[[bytes], Decimal | str]

    def read(self, answers: Sequence[bytes]) -> Decimal | str:
        if self.answer >= len(answers):
            raise FormulaError(f"the formula points at answer {self.answer}, there are {len(answers)}")
        frame = answers[self.answer]
        if self.hexadecimal:
            try:
                frame = bytes.fromhex(frame[1:].decode("ascii"))
            except ValueError:
                raise FormulaError(f"answer {self.answer} is not hexadecimal text") from None
        data = frame[self.offset : self.offset + self.length]
        if len(data) != self.length:
            raise FormulaError(f"the formula points past the end of answer {self.answer}")
        ordered = _ordered(data, self.order)
        if ordered in self.missing:
            raise _Unusable("not_available")
        return self.decode(ordered)


@dataclass(frozen=True, slots=True)
class _Power:
    source: _Source
    shift: int


_Term = tuple[_Source, tuple[tuple[str, Decimal | _Power], ...]]

_NUMBER = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,20})?")
_SOURCE = re.compile(r"([0-9]{1,3})(h?)@([0-9]{1,4}):([a-z0-9]+)(?:\[([0-9]{1,2})(?:-([0-9]{1,2}))?\])?((?:![0-9a-f]+)*)")
_SHIFT = re.compile(r"[+-][0-9]{1,2}")
_INTEGER = re.compile(r"([ui])(?:(8)|(16|24|32|40|48|56|64)(be|le|ws|bs))")
_FLOAT = re.compile(r"f(32|64)(be|le|ws|bs)")
_BCD = re.compile(r"bcd([1-9]|1[0-6])(be|le|ws|bs)(33)?(s)?")
_MOD10 = re.compile(r"mod10x([2-4])(be|le|ws|bs)")
_TEXT = re.compile(r"(ascii|hex)([1-9][0-9]{0,2})")


def _encoding(text: str, low: str | None, high: str | None) -> tuple[int, str, Callable[[bytes], Decimal | str]]:
    """Length in bytes, order and decoder of an encoding."""
    if found := _INTEGER.fullmatch(text):
        length = int(found[2] or found[3]) // 8
        first = int(low or 0)
        last = int(high) if high else (first if low else None)
        if last is not None and not first <= last < 8 * length:
            raise FormulaError(f"{text} has no bits {first} to {last}")
        return length, found[4] or "be", lambda data: _integer(data, found[1] == "i" and last is None, first, last)
    if low is not None:
        raise FormulaError(f"{text} has no bits to take")
    if found := _FLOAT.fullmatch(text):
        return int(found[1]) // 8, found[2], _float
    if found := _BCD.fullmatch(text):
        return int(found[1]), found[2], lambda data: _bcd(data, bool(found[3]), bool(found[4]))
    if found := _MOD10.fullmatch(text):
        return 2 * int(found[1]), found[2], _mod10
    if found := _TEXT.fullmatch(text):
        return int(found[2]), "be", _ascii if found[1] == "ascii" else bytes.hex
    raise FormulaError(f"{text} is not an encoding")


class _Reader:
    """Reads a formula from left to right."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def fail(self) -> FormulaError:
        return FormulaError(f"cannot read the formula {self.text!r} from character {self.at + 1}")

    def take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        found = pattern.match(self.text, self.at)
        if found:
            self.at = found.end()
        return found

    def literal(self, text: str) -> bool:
        if self.text.startswith(text, self.at):
            self.at += len(text)
            return True
        return False

    def source(self) -> _Source:
        found = self.take(_SOURCE)
        if not found:
            raise self.fail()
        length, order, decode = _encoding(found[4], found[5], found[6])
        if length % 2 and order in ("ws", "bs"):
            raise FormulaError(f"{found[4]}: {length} bytes are no whole registers")
        try:
            missing = tuple(bytes.fromhex(text) for text in found[7].split("!") if text)
        except ValueError:
            raise self.fail() from None
        if any(len(sentinel) != length for sentinel in missing):
            raise FormulaError(f"{found[4]} has {length} bytes, what stands for a missing value must have as many")
        return _Source(int(found[1]), found[2] == "h", int(found[3]), length, order, missing, decode)

    def factor(self) -> Decimal | _Power:
        if self.literal("10^("):
            source = self.source()
            shift = self.take(_SHIFT)
            if not self.literal(")"):
                raise self.fail()
            return _Power(source, int(shift[0]) if shift else 0)
        number = self.take(_NUMBER)
        if not number:
            raise self.fail()
        return Decimal(number[0])

    def term(self) -> _Term:
        source = self.source()
        factors: list[tuple[str, Decimal | _Power]] = []
        while self.at < len(self.text) and self.text[self.at] in "*/":
            operator = self.text[self.at]
            self.at += 1
            factor = self.factor()
            if operator == "/" and (isinstance(factor, _Power) or factor == 0):
                raise self.fail()
            factors.append((operator, factor))
        return source, tuple(factors)


@lru_cache(maxsize=4096)
def _parsed(formula: str) -> tuple[_Term, ...]:
    if len(formula) > LONGEST_FORMULA:
        raise FormulaError(f"a formula has at most {LONGEST_FORMULA} characters")
    reader = _Reader(formula)
    terms = [reader.term()]
    while reader.literal("+"):
        terms.append(reader.term())
    if reader.at != len(formula):
        raise reader.fail()
    return tuple(terms)


def _power(power: _Power, answers: Sequence[bytes]) -> Decimal:
    read = power.source.read(answers)
    if isinstance(read, str):
        raise FormulaError("an exponent is a number")
    if read != read.to_integral_value() or abs(read + power.shift) > _MAX_EXPONENT:
        raise _Unusable("bad_exponent")
    return Decimal(1).scaleb(int(read) + power.shift)


def _product(term: _Term, answers: Sequence[bytes]) -> Decimal:
    source, factors = term
    value = source.read(answers)
    if isinstance(value, str):
        raise FormulaError("text cannot be multiplied or added")
    for operator, factor in factors:
        number = _power(factor, answers) if isinstance(factor, _Power) else factor
        value = _EXACT.multiply(value, number) if operator == "*" else _QUOTIENT.divide(value, number)
    return value


def plain(value: Decimal) -> str:
    """A decimal as digits without an exponent, all its digits kept; zero has no sign."""
    return format(value.copy_abs() if value.is_zero() else value, "f")


def evaluate(formula: str, answers: Sequence[bytes]) -> Outcome:
    """The value of a formula over answer frames as they were received.

    Raises:
        FormulaError: the formula is malformed or points outside the frames.
    """
    terms = _parsed(formula)
    try:
        source, factors = terms[0]
        if len(terms) == 1 and not factors:
            read = source.read(answers)
            return Outcome(read if isinstance(read, str) else plain(read))
        total = _product(terms[0], answers)
        for term in terms[1:]:
            total = _EXACT.add(total, _product(term, answers))
        return Outcome(plain(total))
    except _Unusable as unusable:
        return Outcome(None, str(unusable))
