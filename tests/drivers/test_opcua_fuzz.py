"""OPC UA answers that are damaged in every way: nothing but the contract's errors, and no value that the bytes do not hold.

Where a damaged answer still gives a value, the bytes that its formula points at are looked up by hand: they must stand
behind the type byte of a number, inside the DataValue of the very node that was asked for.
"""

from __future__ import annotations

import random
import re
import struct
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers import opcua
from drivers.errors import FormulaError, MeterError, NoValue
from drivers.formula import evaluate
from drivers.opcua_binary import DEEPEST, Malformed, Reader
from drivers.opcua_read import nodes_of, read_response, resolved
from tests.drivers.opcua_frames import FORMS, METERS, SERVER, TABLE, answer, array, data_value, plain, point, scalar, target

ROUNDS = 10_000
ENCODINGS = {
    "u8": (1, 3), "i8": (2,), "i16le": (4,), "u16le": (5,), "i32le": (6,), "u32le": (7,), "i64le": (8,), "u64le": (9,),
    "f32le": (10,), "f64le": (11,),
}  # fmt: skip
POINTS = (
    point("active_energy_import", max_age="10m"),
    point("active_power", f"nsu={METERS};i=17", index=1),
    point("voltage.l1", f"nsu={METERS};s=Text"),
    point("current.l1", f"nsu={METERS};s=Texts", index=2),
    point("frequency", "i=2258"),
)
VARIANTS = [
    *(scalar(kind, 7) for kind in FORMS),
    *(array(kind, [1, 0, 1]) for kind in FORMS),
    scalar(12, "184223.57"),
    array(12, ["1", "22", "-333.5"]),
    array(11, [1.0, 2.0, 3.0, 4.0], (2, 2)),
    b"\x00",
    b"\x16\x01\x02\x10\x00\x01\x04\x00\x00\x00abcd",
    b"\x97" + struct.pack("<i", 1) + data_value(scalar(11, 7.0)),
    b"\x15\x03\x02\x00\x00\x00en\x01\x00\x00\x005",
]


def damaged(dice: random.Random, frame: bytes) -> bytes:
    """A frame with some bytes changed, taken out, put in, or cut off."""
    made = bytearray(frame)
    for _ in range(dice.choice((0, 1, 1, 1, 2, 4))):
        at = dice.randrange(len(made)) if made else 0
        match dice.randrange(6):
            case 0 if made:
                made[at] ^= 1 << dice.randrange(8)
            case 1 if made:
                made[at] = dice.choice((0, 1, 0x7F, 0x80, 0xFF, dice.randrange(256)))
            case 2:
                del made[at : at + dice.randrange(1, 9)]
            case 3:
                made[at:at] = dice.randbytes(dice.randrange(1, 9))
            case 4:
                del made[at:]
            case 5:
                made[at : at + 4] = struct.pack("<i", dice.choice((-2, -1, 0, 1, 2**31 - 1, -(2**31), dice.randrange(40))))
    return bytes(made)


def by_hand(got: bytes, offset: int, encoding: str, index: int | None) -> str | None:
    """What stands at an offset as a number, if a type byte of that number stands where it must."""
    if encoding.startswith("dec"):
        length = int(encoding[3:])
        assert got[offset - 4 : offset] == struct.pack("<i", length)
        text = got[offset : offset + length].decode("ascii", "replace").rstrip(" \0").lstrip(" ")
        return (
            format(abs(Decimal(text)) if not Decimal(text) else Decimal(text), "f")
            if re.fullmatch(r"[+-]?\d+(\.\d+)?", text)
            else None
        )
    kinds = ENCODINGS[encoding]
    size = struct.calcsize(FORMS[kinds[0]])
    begins = offset - 1 if index is None else offset - 1 - 4 - index * size
    flag = 0 if index is None else 0x80
    assert got[begins] & ~0x40 in {*(kind | flag for kind in kinds), *({1 | flag} if encoding == "u8" else set())}
    if encoding.startswith("f"):
        return None  # the decimal of a binary number is the formula's own matter (test_formula)
    return str(struct.unpack(FORMS[kinds[-1]], got[offset : offset + size])[0])


def test_no_damaged_answer_gives_another_error_or_a_value_that_it_does_not_hold() -> None:
    dice = random.Random(20261122)
    meter = target(*POINTS)
    (request,) = [resolved(each.data, TABLE) for each in opcua.requests(meter, meter.model.points)]
    told = refused = 0
    for _ in range(ROUNDS):
        values = [data_value(dice.choice(VARIANTS), dice.choice((None, 0, 0x40900000, 0x808C0000))) for _ in POINTS]
        got = damaged(dice, answer(*values))
        try:
            opcua.check(request, got, "own")
        except MeterError:
            refused += 1
            continue
        spans = [(value.start, value.end) for value in opcua.values_in(got)]
        for place, each in enumerate(meter.model.points, 2):
            try:
                formula = opcua.locate(meter, [request], each, [got])
                assert re.fullmatch("[a-z0-9_]*", opcua.doubt(meter, [request], each, [got]))
            except (KeyError, NoValue):
                continue
            found = re.fullmatch(r"0@(\d+):([a-z0-9]+)", formula)
            assert found
            offset, outcome = int(found[1]), evaluate(formula, [got])
            assert spans[place][0] < offset < spans[place][1]
            expected = by_hand(got, offset, found[2], each.at.index)
            assert outcome.value == expected or found[2].startswith("f")
            told += 1
    assert told > 2000
    assert refused > 2000


@given(data=st.binary(max_size=300))
@settings(max_examples=500, deadline=None)
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for read in (read_response, nodes_of, opcua.values_in):
        try:
            read(data)
        except MeterError:
            continue
    for method in ("data_value", "variant", "expanded_node_id", "diagnostic_info", "extension_object"):
        reader = Reader(data)
        try:
            getattr(reader, method)()
        except Malformed:
            continue
        assert 0 < reader.at <= len(data)


@pytest.mark.parametrize(
    ("inner", "step"),
    [
        (b"\x00", lambda inside: b"\x98" + struct.pack("<i", 1) + inside),
        (b"\x00", lambda inside: b"\x17\x01" + inside),
    ],
)
def test_nesting_ends(inner: bytes, step: Any) -> None:
    deep = inner
    for _ in range(50):
        deep = step(deep)
    Reader(deep).variant()
    for _ in range(2000):
        deep = step(deep)
    with pytest.raises(Malformed, match=f"deeper than {DEEPEST}"):
        Reader(deep).variant()
    with pytest.raises(Malformed, match=f"deeper than {DEEPEST}"):
        Reader(b"\x40" * 5000).diagnostic_info()


def test_a_length_that_is_not_there_costs_nothing() -> None:
    for kind in range(1, 26):
        with pytest.raises(Malformed):
            Reader(bytes([kind | 0x80]) + struct.pack("<i", 2**31 - 1) + bytes(100)).variant()
    got = answer(data_value(b"\x8b" + struct.pack("<i", 2**31 - 1)))
    with pytest.raises(MeterError):
        opcua.check(b"", got, "own")


def test_a_formula_of_an_answer_is_never_used_over_a_shorter_one() -> None:
    meter = target()
    (request,) = [resolved(each.data, TABLE) for each in opcua.requests(meter, meter.model.points)]
    got = answer(data_value(scalar(11, 7.0)))
    formula = opcua.locate(meter, [request], meter.model.points[0], [got])
    with pytest.raises(FormulaError):
        evaluate(formula, [got[:-30]])
    assert plain(12, SERVER) in got
