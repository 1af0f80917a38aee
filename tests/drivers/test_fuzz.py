"""Whatever bytes arrive: a value that those bytes justify, or an error of ours. Never anything else."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.model import Point
from drivers import Target, modbus
from drivers.errors import MeterError
from drivers.formula import evaluate
from tests.peers.hostile import sealed
from tests.peers.registers import place, target

UNIT = 17
POINTS = [
    place("u32", 0x0300, missing=["ffffffff"]),
    place("i16", 0x0303, scale="0.1"),
    place("f32", 0x0304, word_order="little"),
    place("bcd", 0x0306, count=2),
    place("u16", 0x0308, exponent={"at": {"address": 0x0309, "type": "i8"}}),
    place("bit", 0x0300, function=1),
    place("bit", 0x0310, function=1),
]
FRAMINGS = st.sampled_from(["rtu", "tcp", "ascii"])


def meter_of(framing: str) -> Target:
    return target(
        {"quantity": "voltage", "at": {"address": 0, "type": "u16"}}, address=UNIT, framing=framing, max_gap=20, ct="400/5"
    )


def frame(data: bytes, framing: str, transaction: bytes = b"\0\1") -> bytes:
    if framing == "tcp":
        return transaction + b"\0\0" + len(data).to_bytes(2, "big") + data
    return sealed(data) if framing == "rtu" else b":" + (data + bytes([-sum(data) & 0xFF])).hex().upper().encode() + b"\r\n"


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, bytes, Point]:
    """A framing, a request the driver makes, and a point it fetches."""
    framing = draw(FRAMINGS)
    point = draw(st.sampled_from(POINTS))
    others = draw(st.lists(st.sampled_from(POINTS), max_size=4))
    meter = meter_of(framing)
    made = [modbus.numbered(request, 1, framing).data for request in modbus.requests(meter, [point, *others])]
    fetching = [request for request in made if fetches(meter, request, point)]
    return framing, fetching[0], point


def fetches(meter: Target, request: bytes, point: Point) -> bool:
    try:
        modbus.locate(meter, [request], point)
    except KeyError:
        return False
    return True


@st.composite
def answers(draw: st.DrawFn, request: bytes, framing: str) -> bytes:
    """Something like an answer: right, nearly right, spoilt, in pieces, behind other frames, or plain noise."""
    pdu = bytes.fromhex(request[1:-2].decode())[:-1] if framing == "ascii" else request[6:] if framing == "tcp" else request[:-2]
    function, count = pdu[1], int.from_bytes(pdu[4:6], "big")
    length = (count + 7) // 8 if function < 3 else 2 * count
    data = draw(st.binary(min_size=length, max_size=length))
    right = frame(bytes([UNIT, function, length]) + data, framing)
    other = frame(
        bytes([draw(st.sampled_from([UNIT, UNIT + 1])), draw(st.integers(0, 255)), draw(st.integers(0, 255))])
        + draw(st.binary(max_size=40)),
        framing,
        draw(st.sampled_from([b"\0\1", b"\0\2"])),
    )
    parts = draw(
        st.lists(st.sampled_from([right, right, right, other, request, draw(st.binary(max_size=30))]), min_size=1, max_size=4)
    )
    stream = bytearray(b"".join(parts))
    for _ in range(draw(st.integers(0, 2))):
        if stream:
            at = draw(st.integers(0, len(stream) - 1))
            match draw(st.sampled_from(["change", "cut", "insert", "drop"])):
                case "change":
                    stream[at] ^= draw(st.integers(1, 255))
                case "cut":
                    del stream[at:]
                case "insert":
                    stream[at:at] = draw(st.binary(min_size=1, max_size=5))
                case "drop":
                    del stream[at]
    return bytes(stream)


def is_justified(request: bytes, answer: bytes, framing: str) -> bool:
    """Whether a frame is an answer to a request, by rules written down a second time."""
    if framing == "ascii":
        if (
            answer[:1] != b":"
            or answer[-2:] != b"\r\n"
            or len(answer) % 2 == 0
            or set(answer[1:-2]) - set(b"0123456789ABCDEFabcdef")
        ):
            return False
        asked, told = (bytes.fromhex(text[1:-2].decode()) for text in (request, answer))
        if sum(told) % 256:
            return False
        asked, told = asked[:-1], told[:-1]
    elif framing == "rtu":
        asked, told = request[:-2], answer[:-2]
        if sealed(told) != answer:
            return False
    else:
        asked, told = request[6:], answer[6:]
        if answer[:4] != request[:4] or int.from_bytes(answer[4:6], "big") != len(told):
            return False
    count = int.from_bytes(asked[4:6], "big")
    length = -(-count // 8) if asked[1] < 3 else 2 * count
    return told[:3] == asked[:2] + bytes([length]) and len(told) == 3 + length


@settings(max_examples=1200)
@given(st.data())
def test_a_fuzzed_answer_gives_a_value_its_bytes_justify_or_an_error_of_ours(data: st.DataObject) -> None:
    framing, request, point = data.draw(requests())
    stream = data.draw(answers(request, framing))
    span = modbus.answer_span(request, stream, framing)
    if span is None:
        cause, words = modbus.fault(request, stream, framing)
        assert cause
        assert words
        return
    start, end = span
    assert 0 <= start < end <= len(stream)
    answer = stream[start:end]
    try:
        modbus.check(request, answer, framing)
    except MeterError as error:
        assert not is_justified(request, answer, framing), error  # noqa: PT017  a right frame must not be refused either
        return
    assert is_justified(request, answer, framing)
    assert framing == "tcp" or answer != request
    outcome = evaluate(modbus.locate(meter_of(framing), [request], point), [answer])
    assert (outcome.value is None) == bool(outcome.cause)


@settings(max_examples=2000)
@given(FRAMINGS, st.binary(max_size=40), st.binary(max_size=300))
def test_any_bytes_at_all_are_handled(framing: str, request: bytes, buffer: bytes) -> None:
    span = modbus.answer_span(request, buffer, framing)
    assert span is None or 0 <= span[0] < span[1] <= len(buffer)
    if span is None:
        assert all(modbus.fault(request, buffer, framing))
    for answer in (buffer, buffer[slice(*span)] if span else b""):
        with pytest.raises(MeterError):
            modbus.check(request, answer, framing)


@given(FRAMINGS)
def test_a_line_that_only_repeats_the_end_of_a_frame_is_read_to_its_end(framing: str) -> None:
    request = modbus.numbered(modbus.requests(meter_of(framing), POINTS[:1])[0], 1, framing).data
    for piece in (b"\r\n", b":", b"\x11\x03", b"\x11\x83", b"\0\1\0\0\0\3", request[:4]):
        stream = piece * 4096
        modbus.answer_span(request, stream, framing)
        assert all(modbus.fault(request, stream, framing))


@settings(max_examples=500)
@given(FRAMINGS, st.binary(max_size=60))
def test_identification_answers_are_refused_or_read(framing: str, body: bytes) -> None:
    request = modbus.numbered(modbus.identification_request(meter_of(framing)), 1, framing).data
    answer = frame(bytes([UNIT, 0x2B, 0x0E, 1]) + body, framing)
    try:
        modbus.check(request, answer, framing)
    except MeterError:
        return
    objects, following = modbus.identification(answer, framing)
    assert len(objects) <= body[3]
    assert following is None or 0 <= following <= 255
