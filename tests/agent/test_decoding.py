"""agent.decoding: the encoding that a meter truly has comes first, of all that come near the number on its display."""

import random
import struct
from dataclasses import dataclass
from decimal import Decimal

import pytest

from agent.decoding import Decoding, decodings

FORMATS = {"u16": ">H", "i16": ">h", "u32": ">I", "i32": ">i", "f32": ">f", "u64": ">Q", "i64": ">q", "f64": ">d"}


def words_of(kind: str, number: float, word_order: str, byte_order: str) -> list[int]:
    """A number in registers, by another way than the program's."""
    data = struct.pack(FORMATS[kind], number if kind[0] == "f" else round(number))
    words = [int.from_bytes(data[i : i + 2], "big" if byte_order == "big" else "little") for i in range(0, len(data), 2)]
    return words if word_order == "big" else words[::-1]


@dataclass(frozen=True)
class Image:
    """Registers around an address, and what truly is there."""

    registers: list[int]
    first: int
    address: int
    kind: str
    word_order: str
    byte_order: str
    scale: str
    shown: Decimal
    given: int


def image(seed: int) -> Image:
    """Three values side by side in one of the encodings that meters have: phases that are nearly the same, or counters.

    Where the low register comes first and the address is one off, the upper half of a number and the lower half of the
    next make a number as good as the true one: no look at the display tells them apart, and such images are not made.
    """
    chance = random.Random(seed)
    kind = chance.choice(["f32"] * 6 + ["u32", "i32"] * 3 + ["u16"] * 3 + ["i16", "u64", "i64", "f64"])
    word_order = "big" if kind[1:] == "16" else chance.choice(["big", "big", "little"])
    byte_order = "little" if kind == "f32" and word_order == "big" and chance.random() < 0.15 else "big"
    scale = chance.choice(["1"] * 6 + ["0.001"]) if kind[0] == "f" else chance.choice(["0.1", "0.01", "0.001", "1"])
    small = kind[1:] == "16"
    base = chance.uniform(215, 245) if small or chance.random() < 0.4 else chance.uniform(2_000, 900_000)
    if small and scale == "0.001":
        base = chance.uniform(5, 30)  # amperes: 65.535 is all there is room for
    if kind[1:] == "32" and kind[0] in "ui" and base / float(scale) < 70_000:
        base = 70_000 * float(scale) * chance.uniform(1.1, 9)  # that the upper register counts at all
    if kind in ("u32", "i32"):
        base = min(base, 4e8 * float(scale))  # five times as much still has room
    plain = (word_order, byte_order) == ("big", "big")
    one_based = plain and chance.random() < 0.3  # every third manual counts registers from 1
    near = not one_based or kind in ("f32", "u16", "i16")
    values = [base * factor for factor in ((1, 0.97, 1.03) if near else (3.1, 1.7, 5.3))]
    words = [word for value in values for word in words_of(kind, value / float(scale), word_order, byte_order)]
    width = len(words) // 3
    which = 1
    padding = [chance.choice([0, 0, chance.randrange(65536)]) for _ in range(4)]
    first = chance.randrange(0, 4000)
    address = first + 4 + which * width
    seen = Decimal(f"{values[which] * chance.uniform(0.999, 1.001):.5g}")
    return Image(padding + words + padding, first, address, kind, word_order, byte_order, scale, seen, address + one_based)


def is_right(found: Decoding, truth: Image) -> bool:
    order = (found.word_order, found.byte_order) == (truth.word_order, truth.byte_order) or truth.kind[1:] == "16"
    return (
        found.address == truth.address
        and truth.kind in (found.type, *found.alike)
        and order
        and Decimal(found.scale) == Decimal(truth.scale)
    )


def test_of_200_register_images_the_right_decoding_comes_first() -> None:
    wrong = []
    for seed in range(200):
        truth = image(seed)
        found = decodings(truth.registers, truth.first, truth.given, truth.shown, Decimal("0.02"))
        if not found or not is_right(found[0], truth):
            place = next((index for index, each in enumerate(found) if is_right(each, truth)), None)
            wrong.append(f"{seed}: {truth} is number {place}, first is {found[:1]}")
    assert wrong == []


@pytest.mark.parametrize(
    ("word_order", "byte_order"), [("big", "big"), ("little", "big"), ("big", "little"), ("little", "little")]
)
def test_all_four_orders_of_a_binary32_are_told_apart(word_order: str, byte_order: str) -> None:
    found = decodings(words_of("f32", 231.25, word_order, byte_order), 72, 72, Decimal("231.2"), Decimal("0.02"))
    assert (found[0].word_order, found[0].byte_order, found[0].value) == (word_order, byte_order, Decimal("231.25"))


def test_registers_that_could_not_be_read_are_left_out() -> None:
    assert decodings([None, None], 72, 72, Decimal(230), Decimal("0.02")) == []
    assert decodings([None, 2301], 72, 73, Decimal("230.1"), Decimal("0.02"))[0].type == "u16"


def test_types_that_differ_below_zero_only_are_one_candidate() -> None:
    found = decodings(words_of("u32", 1234567, "big", "big"), 0, 0, Decimal("12345.67"), Decimal("0.001"))
    assert (found[0].type, found[0].alike, found[0].scale) == ("u32", ("i32",), "0.01")


def test_a_number_of_zero_is_no_hint() -> None:
    assert all(each.value == 0 for each in decodings([0, 0, 0], 0, 0, Decimal(0), Decimal("0.02")))
