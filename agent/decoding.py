"""Which encoding, order, scale and address give the number on a meter's display: all of them tried, the likeliest first. Pure.

Manuals leave open what 32 bits mean: which register comes first, which byte, whether register 1 is address 0 or 1, what one
count is worth. Whoever stands before the display knows the number. Every reading of the registers around the address that
comes near it is a candidate. What tells them apart where several come near:

 1. Plainer is likelier: the address as given, high register first, a scale of 1; every step away from that costs something.
 2. Nearer is likelier: a display and a register that are read within a minute differ by little.
 3. An integer has some power of ten for nearly every number, so one that needs it is weaker evidence than a binary number
    that is right as it stands.

What this file does not know: meters, frames, who asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from drivers.formula import evaluate

# Type of register, how formulas read it, registers, and what it costs to be believed.
_TYPES = (
    ("u16", "u16", 1, 0.0), ("i16", "i16", 1, 0.3), ("u32", "u32", 2, 0.0), ("i32", "i32", 2, 0.3), ("f32", "f32", 2, 0.0),
    ("u64", "u64", 4, 1.0), ("i64", "i64", 4, 1.3), ("f64", "f64", 4, 0.5), ("mod10", "mod10x", 2, 3.0),
    ("mod10", "mod10x", 4, 3.0), ("bcd", "bcd", 2, 3.0), ("bcd", "bcd", 4, 3.5),
)  # fmt: skip
# Order of words, of bytes, what formulas call it, and its cost.
_ORDERS = (("big", "big", "be", 0.0), ("little", "big", "ws", 0.8), ("big", "little", "bs", 1.3), ("little", "little", "le", 2.5))
_SCALES_OF_INTEGERS = {"1": 1.0, "0.1": 0.8, "0.01": 0.8, "0.001": 1.2, "10": 2.0, "100": 2.6, "0.0001": 2.6, "1000": 3.0}
_SCALES_OF_BINARY = {"1": 0.0, "0.001": 2.0, "1000": 2.4, "0.1": 3.0, "0.01": 3.0, "10": 3.5, "100": 3.5}
_AWAY = {0: 0.0, -1: 1.8, 1: 3.0}  # more manuals count registers from 1 than from -1
_FARTHER = 3.5
_COARSE = 0.5  # 655.35 is all that one register has room for with two decimals: few meters do it
_HALF_EMPTY = 2.5  # an integer whose lower register is exactly zero is more likely half of another one
_USUAL_DIFFERENCE = 0.004  # of the expected number: a load that changes between two looks


@dataclass(frozen=True, slots=True)
class Decoding:
    """One way to read the registers.

    Attributes:
        address, type, count: the first register, and what the registers hold; `count` where the type does not tell it, else None.
        word_order, byte_order: `big` or `little`.
        scale: what the number is multiplied with.
        value: what comes out.
        alike: other types that give the same number from the same first register: signed ones as long as it is not negative,
            longer ones as long as it is small.
        cost: how unlikely it is; only the order of costs means something.
    """

    address: int
    type: str
    count: int | None
    word_order: str
    byte_order: str
    scale: str
    value: Decimal
    alike: tuple[str, ...]
    cost: float


def decodings(registers: Sequence[int | None], first: int, address: int, expected: Decimal, within: Decimal) -> list[Decoding]:
    """All ways to read the registers that come near a number, the likeliest first.

    Args:
        registers: consecutive registers as they were read, None where one could not be.
        first: the address of the first of them.
        address: where the value should be by the manual.
        expected: the number on the display, in its unit.
        within: how far a candidate may be off, as a share of `expected`.
    """
    found: list[Decoding] = []
    for made in sorted(_near(registers, first, address, expected, within), key=lambda each: each.cost):
        place = next((index for index, each in enumerate(found) if _alike(each, made)), None)
        if place is None:
            found.append(made)
        else:
            found[place] = replace(found[place], alike=(*found[place].alike, made.type))
    return found


def _alike(one: Decoding, other: Decoding) -> bool:
    """Whether two differ in nothing but the range of integers that they can hold."""
    integers = one.type[0] in "ui" and other.type[0] in "ui"
    orders = one.word_order == other.word_order and one.byte_order == other.byte_order
    return integers and orders and (one.address, one.scale, one.value) == (other.address, other.scale, other.value)


def _near(registers: Sequence[int | None], first: int, address: int, expected: Decimal, within: Decimal) -> Iterator[Decoding]:
    for at in range(first, first + len(registers)):
        for name, encoding, count, strange in _TYPES:
            held = registers[at - first : at - first + count]
            if len(held) < count or None in held:
                continue
            data = b"".join(register.to_bytes(2, "big") for register in held if register is not None)
            for order in _ORDERS[: 1 if count == 1 else 4] if name != "mod10" else _ORDERS[:2]:
                yield from _scaled(at, address, (name, encoding, count, strange), order, data, expected, within)


def _scaled(
    at: int,
    address: int,
    kind: tuple[str, str, int, float],
    order: tuple[str, str, str, float],
    data: bytes,
    expected: Decimal,
    within: Decimal,
) -> Iterator[Decoding]:
    name, encoding, count, strange = kind
    length = str(count if name == "mod10" else 2 * count) if name in ("mod10", "bcd") else ""
    number = evaluate(f"0@0:{encoding}{length}{order[2]}", [data]).value
    if number is None:
        return
    scales = _SCALES_OF_BINARY if name[0] == "f" else _SCALES_OF_INTEGERS
    for scale, unusual in scales.items():
        value = Decimal(number) * Decimal(scale)
        off = abs(value - expected) / abs(expected) if expected else abs(value)
        if off > within:
            continue
        doubt = min(float(off) / _USUAL_DIFFERENCE, 6.0)
        cost = strange + order[3] + unusual + _AWAY.get(at - address, _FARTHER) + 0.4 * doubt
        if name[0] in "ui":
            cost += (
                _COARSE if count == 1 and scale == "0.01" else _HALF_EMPTY if number != "0" and int(number) % 65536 == 0 else 0
            )
        counted = count if name in ("mod10", "bcd") else None
        yield Decoding(at, name, counted, order[0], order[1], scale, value, (), cost)
