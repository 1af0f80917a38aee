"""agent.receipt: only the collector's own word counts, in exactly one form."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.receipt import (
    LONGEST,
    NotTaken,
    Question,
    Receipt,
    collector_key,
    read_collector_key,
    read_question,
    read_receipt,
    write_question,
    write_receipt,
)
from tests.agent.ledgers import GATEWAY, new_key

NAME, KEY = "plant-it/collector", new_key("collector")
COLLECTOR = read_collector_key(collector_key(NAME, KEY.public))
RECEIPT = Receipt(42, bytes(range(32)))


@given(size=st.integers(0, 10**15), root=st.binary(min_size=32, max_size=32))
def test_a_receipt_is_read_as_it_was_written(size: int, root: bytes) -> None:
    receipt = Receipt(size, root)
    assert read_receipt(write_receipt(GATEWAY, receipt, NAME, KEY), GATEWAY, COLLECTOR) == receipt


@given(first=st.integers(0, 10**9), count=st.integers(1, 10**6), notes=st.booleans())
def test_a_question_is_read_as_it_was_written(first: int, count: int, notes: bool) -> None:
    question = Question(first, first + count, notes)
    assert read_question(write_question(GATEWAY, question, NAME, KEY), GATEWAY, COLLECTOR) == question


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (write_receipt(GATEWAY, RECEIPT, NAME, new_key("stranger")), "did not sign it"),
        (write_receipt(GATEWAY, RECEIPT, "somebody", KEY), "did not sign it"),
        (write_receipt("plant/gw2", RECEIPT, NAME, KEY), "is for gateway plant/gw2"),
        (write_receipt(GATEWAY, RECEIPT, NAME, KEY).replace(b"\n42\n", b"\n43\n"), "did not sign it"),
        (write_receipt(GATEWAY, RECEIPT, NAME, KEY).replace(b"\n42\n", b"\n042\n"), "the form"),
        (write_question(GATEWAY, Question(0, 9), NAME, KEY), "the form"),
        (b"\xff\xfe", "no text"),
        (b"", "the form"),
        (b"x" * (LONGEST + 1), "longer"),
    ],
)
def test_what_is_not_the_collectors_receipt_for_this_gateway_is_not_taken(payload: bytes, why: str) -> None:
    with pytest.raises(NotTaken, match=why):
        read_receipt(payload, GATEWAY, COLLECTOR)


def test_a_question_for_nothing_or_backwards_is_not_taken() -> None:
    for first, end in ((5, 5), (6, 5)):
        with pytest.raises(NotTaken, match="asks for nothing"):
            read_question(write_question(GATEWAY, Question(first, end), NAME, KEY), GATEWAY, COLLECTOR)


def test_a_receipt_is_no_question_though_the_collector_signed_it() -> None:
    with pytest.raises(NotTaken, match="the form"):
        read_question(write_receipt(GATEWAY, RECEIPT, NAME, KEY), GATEWAY, COLLECTOR)


@given(st.binary(max_size=300))
def test_no_bytes_end_in_anything_but_not_taken(payload: bytes) -> None:
    for read in (read_receipt, read_question):
        with pytest.raises(NotTaken):
            read(payload, GATEWAY, COLLECTOR)


@given(st.integers(0, 300), st.integers(1, 255))
def test_no_byte_of_a_receipt_can_be_changed(at: int, change: int) -> None:
    good = bytearray(write_receipt(GATEWAY, RECEIPT, NAME, KEY))
    at %= len(good) - 1  # the last line feed says nothing
    good[at] ^= change
    with pytest.raises(NotTaken):
        read_receipt(bytes(good), GATEWAY, COLLECTOR)
