"""Publish answers of an OPC UA server: the bytes of each change as received, and nothing but the contract's errors."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import BadFrame, MeterError, Refused
from drivers.opcua_changes import has_overflowed, published
from tests.drivers.opcua_frames import data_value, listed, scalar

_HEADER = struct.pack("<qIIB", 0, 7, 0, 0) + struct.pack("<i", -1) + b"\x00\x00\x00"
VALUES = [data_value(scalar(7, number)) for number in (5, 6)]


def answer(*notifications: bytes, kind: int = 829, sequence: int = 3) -> bytes:
    """A PublishResponse of subscription 9."""
    message = struct.pack("<IiBIq", 9, -1, 0, sequence, 0) + listed(*notifications)
    return struct.pack("<BBH", 1, 0, kind) + _HEADER + message + struct.pack("<ii", -1, -1)


def notification(body: bytes, kind: int = 811) -> bytes:
    """A notification in its ExtensionObject."""
    return struct.pack("<BBHBi", 1, 0, kind, 1, len(body)) + body


CHANGES = answer(notification(listed(*(struct.pack("<I", place) + value for place, value in enumerate(VALUES))) + b"\xff" * 4))


def test_each_change_has_the_bytes_that_were_received() -> None:
    message = published(CHANGES)
    assert (message.subscription, message.sequence, message.notifications) == (9, 3, 1)
    assert message.changes == ((0, VALUES[0]), (1, VALUES[1]))


def test_a_message_without_a_notification_is_a_sign_of_life() -> None:
    assert published(answer()).notifications == 0


def test_a_subscription_that_the_server_has_ended_is_refused_with_its_reason() -> None:
    with pytest.raises(Refused, match="has ended the subscription"):
        published(answer(notification(struct.pack("<IB", 0x800A0000, 0), kind=820)))


def test_the_answer_to_something_else_is_none() -> None:
    with pytest.raises(BadFrame, match="no PublishResponse"):
        published(answer(kind=634))


@pytest.mark.parametrize(("status", "lost"), [(0x480, True), (0x80, False), (0x400, False), (0x40900480, True)])
def test_only_the_overflow_bit_of_a_data_values_info_says_that_others_were_lost(status: int, lost: bool) -> None:
    assert has_overflowed(b"\x03" + scalar(7, 5) + struct.pack("<I", status)) is lost


@given(st.integers(0, len(CHANGES) - 1), st.integers(0, 255), st.booleans())
def test_a_damaged_answer_gives_nothing_but_the_contracts_errors(at: int, byte: int, cut: bool) -> None:
    damaged = CHANGES[:at] if cut else CHANGES[:at] + bytes([byte]) + CHANGES[at + 1 :]
    try:
        message = published(damaged)
    except MeterError:
        return
    assert not cut
    assert all(value in damaged for _, value in message.changes)
