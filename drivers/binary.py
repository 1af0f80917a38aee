"""Binary floating point numbers as decimals: the shortest decimal that reads back as the same bits. Pure."""

from __future__ import annotations

import struct
from decimal import ROUND_CEILING, ROUND_HALF_EVEN, Context, Decimal
from math import isfinite

_EXACT = Context(prec=2000, Emax=999999, Emin=-999999)
# The nearest decimal of so many digits, and the next one above: below a power of two the interval is the narrower one.
_DIGITS = [Context(prec=digits, rounding=way) for digits in range(1, 10) for way in (ROUND_HALF_EVEN, ROUND_CEILING)]
# A decimal of up to six digits that reads back as a normal number is the nearest of six digits (10^6 < 2^23).
_DIGITS_OF_NORMAL = [context for context in _DIGITS if context.prec >= 6]


def shortest_decimal(data: bytes) -> Decimal:
    """The shortest decimal that reads back as the same binary32 (4 bytes) or binary64 (8 bytes), high byte first.

    Of several equally short ones the nearest, of two as near the one whose last digit is even.
    Without superfluous zeros, and with an exponent of at most 0.

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
    for context in _DIGITS_OF_NORMAL if bits & 0x7F800000 else _DIGITS:
        found = context.plus(exact)
        if low < found < high or (closed and found in (low, high)):
            return found.copy_sign(Decimal(number))
    raise AssertionError("nine digits always suffice for a binary32")


def _neighbour(bits: int, step: int) -> float:
    """The binary32 number next to another in magnitude; behind the largest one the power of two that would follow."""
    bits = (bits & 0x7FFFFFFF) + step
    return 2.0**128 if bits == 0x7F800000 else float(struct.unpack(">f", bits.to_bytes(4, "big"))[0])
