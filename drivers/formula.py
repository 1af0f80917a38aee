"""The formula of a value: which bytes of which answer, in which encoding, times what. One evaluator, exact.

    0@3:u32be*0.01             answer 0, from byte 3, unsigned 32 bit, high byte first, times 0.01
    0@3:i32ws!7fffffff*0.1     low word first; 7FFFFFFF is the meter's word for "not available"
    0@9:u32be*0.01*400/5       secondary value times the plate ratio of the current transformer
    0@3:i32ws*1+0@7:f32ws*1    integer part plus fraction
    0@3:u16be*10^(1@3:u8-4)    the decimal point stands in another register
    0h@3:u16be                 Modbus ASCII: the answer is hexadecimal text, offsets count decoded bytes
    0@10:bcd4le33s*0.01        packed BCD, low byte first, each byte minus 33H, top bit is the sign (DL/T 645)
    0@31:bcd3lef*0.001         packed BCD, low byte first, a top half byte F is a minus (EN 13757-3)
    0@7:digits4le              packed BCD, low byte first, as text that keeps its leading zeros: a number on a plate
    0@27:dec9                  nine characters of text that are a decimal number such as 001234.50 (IEC 62056-21)
    0p@27:dec9                 the same where 8 bits a character carry 7 and a parity bit, which is left out

Grammar (RFC 5234 style); numbers are decimal, offsets count from 0:

    formula  = term *( "+" term )
    term     = source *( ( "*" / "/" ) factor )
    factor   = ["-"] 1*DIGIT [ "." 1*DIGIT ] / "10^(" source [ ( "+" / "-" ) 1*DIGIT ] ")"
    source   = 1*DIGIT ["h" / "p"] "@" 1*DIGIT ":" encoding *( "!" 1*( 2HEXDIG ) )
    encoding = ("u8" / "i8") [field] / ("u" / "i") bits order [field] / ("f32" / "f64") order
             / "bcd" 1*DIGIT order ["33"] ["s" / "f"] / "digits" 1*DIGIT order ["33"]
             / "mod10x" 1*DIGIT order / "dec" 1*DIGIT / "ascii" 1*DIGIT ["le"] / "hex" 1*DIGIT
    bits     = "16" / "24" / "32" / "40" / "48" / "56" / "64"
    order    = "be" (ABCD) / "ws" (CDAB, low word first) / "bs" (BADC) / "le" (DCBA)
    field    = "[" bit [ "-" bit ] "]"           bit 0 is the least significant

The digits behind "!" are lower case, as many bytes as the encoding, high byte first whatever the order. A number
behind "bcd", "digits", "dec", "ascii" and "hex" counts bytes (at most 16 for bcd and digits, 32 for dec, 999), behind
"mod10x" registers (2 to 4). Text is what "digits", "ascii" and "hex" give, it cannot be multiplied or added.

Arithmetic is exact decimal arithmetic. A binary32 or binary64 number enters as the shortest decimal that reads
back as the same bits, the nearest one if there are several, of two as near the even one, written without an
exponent or superfluous zeros (100, not 1E+2 and not 100.0). A product has as many digits after the point as its
factors together, where 10^n counts as -n digits, a sum as many as its longest term. A quotient is exact where
it ends within 34 significant digits, with the dividend's digits after the point less the divisor's, or as many
more as it needs; else it is rounded half to even to 34 significant digits.

Bytes that no number can be made of (a sentinel, NaN, an infinity, a nibble above 9) give no value, never zero.

What this file does not know: protocols, units, meters.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal
from functools import lru_cache

from config.language import _
from drivers.binary import shortest_decimal as shortest_decimal
from drivers.errors import FormulaError

_EXACT = Context(prec=2000, Emax=999999, Emin=-999999)
_QUOTIENT = Context(prec=34, rounding=ROUND_HALF_EVEN, Emax=999999, Emin=-999999)
LONGEST_FORMULA = 300
_MAX_EXPONENT = 30
_WITHOUT_PARITY = bytes(byte & 0x7F for byte in range(256))


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


def _bcd(data: bytes, offset33: bool, sign: str | None) -> Decimal:
    """`sign`: `s` the top bit is a minus, `f` a top half byte F is one, else there is none."""
    if offset33:
        data = bytes((byte - 0x33) & 0xFF for byte in data)
    negative = bool(data[0] & 0x80) if sign == "s" else sign == "f" and data[0] >= 0xF0
    if negative and set(data) != {0xFF}:
        data = bytes([data[0] & (0x7F if sign == "s" else 0x0F)]) + data[1:]
    number = Decimal(_digits(data, False))
    return number.copy_negate() if negative else number


def _digits(data: bytes, offset33: bool) -> str:
    """Packed decimal digits as text, leading zeros kept."""
    if offset33:
        data = bytes((byte - 0x33) & 0xFF for byte in data)
    if set(data) == {0xFF}:
        raise _Unusable("not_available")
    digits = data.hex()
    if not digits.isdecimal():
        raise _Unusable("bad_bcd")
    return digits


def _decimal_text(data: bytes) -> Decimal:
    text = _ascii(data)
    if not _DECIMAL_TEXT.fullmatch(text):
        raise _Unusable("bad_digits")
    return Decimal(text)


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
    form: str
    offset: int
    length: int
    order: str
    missing: tuple[bytes, ...]
    decode: Callable[[bytes], Decimal | str]

    def read(self, answers: Sequence[bytes]) -> Decimal | str:
        if self.answer >= len(answers):
            raise FormulaError(
                _("the formula points at answer {answer}, there are {answers}", answer=self.answer, answers=len(answers))
            )
        frame = answers[self.answer]
        if self.form == "p":
            frame = frame.translate(_WITHOUT_PARITY)
        elif self.form == "h":
            try:
                frame = bytes.fromhex(frame[1:].decode("ascii") if frame.startswith(b":") else _("no colon"))
            except ValueError:
                raise FormulaError(_("answer {answer} is not hexadecimal text behind a colon", answer=self.answer)) from None
        data = frame[self.offset : self.offset + self.length]
        if len(data) != self.length:
            raise FormulaError(_("the formula points past the end of answer {answer}", answer=self.answer))
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
_SOURCE = re.compile(r"([0-9]{1,3})([hp]?)@([0-9]{1,5}):([a-z0-9]+)(?:\[([0-9]{1,2})(?:-([0-9]{1,2}))?\])?((?:![0-9a-f]+)*)")
_SHIFT = re.compile(r"[+-][0-9]{1,2}")
_INTEGER = re.compile(r"([ui])(?:(8)|(16|24|32|40|48|56|64)(be|le|ws|bs))")
_FLOAT = re.compile(r"f(32|64)(be|le|ws|bs)")
_BCD = re.compile(r"bcd([1-9]|1[0-6])(be|le|ws|bs)(33)?([sf])?")
_DIGITS_TEXT = re.compile(r"digits([1-9]|1[0-6])(be|le|ws|bs)(33)?")
_DECIMAL = re.compile(r"dec([1-9]|[12][0-9]|3[0-2])")
_DECIMAL_TEXT = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")
_MOD10 = re.compile(r"mod10x([2-4])(be|le|ws|bs)")
_TEXT = re.compile(r"(?:hex|(ascii))([1-9][0-9]{0,2})(?(1)(le)?)")


def _encoding(text: str, low: str | None, high: str | None) -> tuple[int, str, Callable[[bytes], Decimal | str]]:
    """Length in bytes, order and decoder of an encoding."""
    if found := _INTEGER.fullmatch(text):
        length = int(found[2] or found[3]) // 8
        first = int(low or 0)
        last = int(high) if high else (first if low else None)
        if last is not None and not first <= last < 8 * length:
            raise FormulaError(_("{text} has no bits {first} to {last}", text=text, first=first, last=last))
        return length, found[4] or "be", lambda data: _integer(data, found[1] == "i" and last is None, first, last)
    if low is not None:
        raise FormulaError(_("{text} has no bits to take", text=text))
    if found := _FLOAT.fullmatch(text):
        return int(found[1]) // 8, found[2], _float
    if found := _BCD.fullmatch(text):
        return int(found[1]), found[2], lambda data: _bcd(data, bool(found[3]), found[4])
    if found := _DIGITS_TEXT.fullmatch(text):
        return int(found[1]), found[2], lambda data: _digits(data, bool(found[3]))
    if found := _MOD10.fullmatch(text):
        return 2 * int(found[1]), found[2], _mod10
    if found := _DECIMAL.fullmatch(text):
        return int(found[1]), "be", _decimal_text
    if found := _TEXT.fullmatch(text):
        return int(found[2]), found[3] or "be", _ascii if found[1] else bytes.hex
    raise FormulaError(_("{text} is not an encoding", text=text))


class _Reader:
    """Reads a formula from left to right."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def fail(self) -> FormulaError:
        return FormulaError(_("cannot read the formula {text!r} from character {at}", text=self.text, at=self.at + 1))

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
            raise FormulaError(_("{found}: {length} bytes are no whole registers", found=found[4], length=length))
        try:
            missing = tuple(bytes.fromhex(text) for text in found[7].split("!") if text)
        except ValueError:
            raise self.fail() from None
        if any(len(sentinel) != length for sentinel in missing):
            raise FormulaError(
                _("{found} has {length} bytes, what stands for a missing value must have as many", found=found[4], length=length)
            )
        return _Source(int(found[1]), found[2], int(found[3]), length, order, missing, decode)

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
        raise FormulaError(_("a formula has at most {longest_formula} characters", longest_formula=LONGEST_FORMULA))
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
        raise FormulaError(_("an exponent is a number"))
    if read != read.to_integral_value() or abs(read + power.shift) > _MAX_EXPONENT:
        raise _Unusable("bad_exponent")
    return Decimal(1).scaleb(int(read) + power.shift)


def _product(term: _Term, answers: Sequence[bytes]) -> Decimal:
    source, factors = term
    value = source.read(answers)
    if isinstance(value, str):
        raise FormulaError(_("text cannot be multiplied or added"))
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
