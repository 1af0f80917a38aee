"""Frames in words: every byte is told once, whatever the frame is; and what is said of published frames is right."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.explain import pieces_of
from config.language import CHINESE, speaking
from drivers import PROTOCOLS
from drivers.opcua_binary import NodeId
from drivers.opcua_read import portable, resolved
from drivers.words import Piece
from tests.drivers.test_fuzz import frame as modbus_frame

VECTORS = Path(__file__).parent / "vectors"


def published(protocol: str) -> list[bytes]:
    """The frames of a protocol's vectors, as bytes."""
    text = (VECTORS / f"{protocol}.json").read_text("utf-8")
    found = re.findall(r'"(?:frame|readout|answer|request)": *"((?:[0-9A-Fa-f]{2} ?)+)"', text)
    return [bytes.fromhex(each) for each in found]


OPCUA_REQUEST = resolved(portable([NodeId("urn:plant", "s", b"Press1.Energy")]), ["urn:ua", "urn:plant"])
OPCUA_ANSWER = (
    struct.pack("<i", 3)
    + b"\x01\x8c"
    + struct.pack("<i", 2)
    + b"".join(struct.pack("<i", len(text)) + text for text in (b"urn:ua", b"urn:plant"))
    + b"\x01\x8c"
    + struct.pack("<ii", 1, 9)
    + b"urn:scada"
    + b"\x0f\x0b"
    + struct.pack("<dIqq", 184223.57, 0x40900000, 134_000_000_000_000_000, 134_000_000_000_000_000)
)
FRAMES = {
    "modbus": [modbus_frame(bytes.fromhex(text), "rtu") for text in ("010300000002", "01030401191a55", "018302", "112b0e0100")],
    "opcua": [OPCUA_REQUEST, OPCUA_ANSWER],
} | {protocol: published(protocol) for protocol in ("dlt645", "cjt188", "mbus", "iec62056_21")}


def joined(pieces: list[Piece]) -> bytes:
    """The bytes of pieces; that they stand one behind the other is asserted."""
    at = 0
    for piece in pieces:
        assert piece.start == at
        assert piece.data
        assert piece.field
        assert len(piece.plain) in (0, len(piece.data))
        at = piece.end
    return b"".join(piece.data for piece in pieces)


def told(protocol: str, request: bytes, answer: bytes, framing: str = "own", fault: str = "") -> list[tuple[str, str, str]]:
    """Field, bytes and words of each piece of an answer (of a request where no answer is given)."""
    asked, came = pieces_of(protocol, framing, request, answer, fault)
    return [(piece.field, piece.data.hex(" "), piece.says) for piece in (came if answer else asked)]


def test_every_protocol_has_its_words() -> None:
    assert set(FRAMES) == set(PROTOCOLS)
    assert all(frames for frames in FRAMES.values())


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_pieces_of_a_published_frame_are_the_frame(protocol: str) -> None:
    for frame in FRAMES[protocol]:
        for fault in ("", "bad_checksum"):
            asked, came = pieces_of(protocol, "rtu" if protocol == "modbus" else "own", frame, frame, fault)
            assert joined(asked) == joined(came) == frame


@settings(max_examples=250, deadline=None)
@given(st.data(), st.sampled_from(PROTOCOLS), st.sampled_from(["", "bad_checksum"]))
def test_any_bytes_are_told_from_the_first_to_the_last(data: st.DataObject, protocol: str, fault: str) -> None:
    framing = data.draw(st.sampled_from(["rtu", "tcp", "ascii"])) if protocol == "modbus" else "own"
    request, answer = (data.draw(damaged(protocol, framing)) for _ in range(2))
    answer = data.draw(st.sampled_from([answer, request + answer, b"\xfe\x00" + answer]))
    asked, came = pieces_of(protocol, framing, request, answer, fault)
    assert joined(asked) == request
    assert joined(came) == answer


@st.composite
def damaged(draw: st.DrawFn, protocol: str, framing: str) -> bytes:
    """A frame that was published, cut, changed or lengthened; or any bytes."""
    if draw(st.integers(0, 4)) == 0:
        return draw(st.binary(max_size=60))
    frame = draw(st.sampled_from(FRAMES[protocol]))
    if protocol == "modbus":
        frame = modbus_frame(frame[:-2], framing)
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(frame)))
        frame = frame[:at] + draw(st.binary(max_size=3)) + frame[at + draw(st.integers(0, 3)) :]
    return frame


# --- what is said -------------------------------------------------------------------------------------------------


def test_modbus_rtu_names_its_fields_as_the_specification_does() -> None:
    request, answer = modbus_frame(bytes.fromhex("0103000a0001"), "rtu"), modbus_frame(bytes.fromhex("0103020751"), "rtu")
    assert told("modbus", request, b"", "rtu")[2:4] == [
        ("starting address", "00 0a", "register 10"),
        ("quantity", "00 01", "1 register"),
    ]
    assert [field for field, _, _ in told("modbus", request, answer, "rtu")] == [
        "unit address",
        "function code",
        "byte count",
        "register value",
        "CRC-16",
    ]


def test_a_wrong_checksum_is_told_with_the_right_one() -> None:
    request = modbus_frame(bytes.fromhex("0103000a0001"), "rtu")
    assert told("modbus", request, bytes.fromhex("01030207517b89"), "rtu")[-1] == ("CRC-16", "7b 89", "7b 88 would be right")


def test_an_answer_that_ends_early_says_how_many_bytes_are_missing() -> None:
    request = modbus_frame(bytes.fromhex("010300000002"), "rtu")
    assert told("modbus", request, bytes.fromhex("01030401"), "rtu", "short_answer")[-1] == (
        "register value",
        "01",
        "cut short: 3 bytes missing",
    )


def test_a_refusal_is_told_in_words_and_another_meters_answer_too() -> None:
    request = modbus_frame(bytes.fromhex("010300000002"), "rtu")
    assert ("exception code", "02", "the meter has no such register") in told(
        "modbus", request, modbus_frame(bytes.fromhex("018302"), "rtu"), "rtu"
    )
    other = told("modbus", request, modbus_frame(bytes.fromhex("02030401191a55"), "rtu"), "rtu")
    assert other[0] == ("unit address", "02", "meter 2: asked was 1")


def test_the_echo_and_noise_in_front_of_an_answer_are_told_apart() -> None:
    request, answer = modbus_frame(bytes.fromhex("0103000a0001"), "rtu"), modbus_frame(bytes.fromhex("0103020751"), "rtu")
    found = told("modbus", request, request + b"\xff\x00" + answer, "rtu", "noise")
    assert [field for field, _, _ in found][:3] == ["echo", "noise", "unit address"]


def test_modbus_ascii_is_told_in_pairs_of_characters() -> None:
    request, answer = (modbus_frame(bytes.fromhex(text), "ascii") for text in ("0103000a0001", "0103020751"))
    found = told("modbus", request, answer, "ascii")
    assert found[0] == ("start", "3a", "colon")
    assert found[4] == ("register value", "30 37 35 31", "")
    assert [field for field, _, _ in found[-2:]] == ["LRC", "end"]


def test_dl_t_645_shows_its_data_less_33h() -> None:
    frame = bytes.fromhex("68610100000000689106333434353443 1016".replace(" ", ""))
    request = bytes.fromhex("68 61 01 00 00 00 00 68 11 04 33 34 34 35 17 16")
    _, came = pieces_of("dlt645", "own", request, frame)
    by_field = {piece.field: piece for piece in came}
    assert by_field["address A0 to A5"].says == "meter 000000000161, low digits first"
    assert by_field["data identifier DI0 to DI3"].says == "identifier 02010100, low byte first"
    assert by_field["data"].plain == bytes.fromhex("0110")
    assert by_field["checksum CS"].state == "right"


def test_cj_t_188_tells_that_the_most_copied_frame_has_a_wrong_checksum() -> None:
    text = "FE FE FE FE 68 10 44 33 22 11 00 33 78 81 16 1F 90 00 00 77 66 55 2C 00 77 66 55 2C 31 01 22 11 05 15 20 21 84 08 16"
    found = told("cjt188", b"", bytes.fromhex(text))
    assert found[0] == ("wake-up", "fe fe fe fe", "for the meter's receiver")
    assert found[3] == ("address A0 to A6", "44 33 22 11 00 33 78", "meter 78330011223344, low digits first")
    assert found[-2] == ("checksum CS", "08", "13 would be right")


def test_m_bus_tells_dif_vif_and_data_of_each_record() -> None:
    text = "68 1F 1F 68 08 02 72 78 56 34 12 24 40 01 07 55 00 00 00 03 13 15 31 00 DA 02 3B 13 01 8B 60 04 37 18 02 18 16"
    found = told("mbus", bytes.fromhex("107b027d16"), bytes.fromhex(text))
    assert ("identification number", "78 56 34 12", "12345678") in found
    at = found.index(("DIF", "03", "instantaneous, integer, 3 bytes"))
    assert found[at + 1 : at + 3] == [("VIF", "13", "volume, in 0.001 m3"), ("data", "15 31 00", "")]
    assert ("DIF, DIFE", "8b 60", "instantaneous, tariff 2, subunit 1, BCD, 3 bytes") in found
    assert found[-2] == ("checksum", "18", "right")


def test_iec_62056_21_tells_code_value_and_unit_of_each_line() -> None:
    body = b"\x021.8.0(001234.50*kWh)\r\n!\r\n\x03"
    check = 0
    for byte in body[1:]:
        check ^= byte
    found = told("iec62056_21", b"/?!\r\n", b"/LGZ5\\2ZMD\r\n" + body + bytes([check]))
    assert found[1:3] == [("manufacturer", "4c 47 5a", "LGZ"), ("baud rate identification", "35", "mode C, up to 9600 baud")]
    assert ("address", b"1.8.0(".hex(" "), "1.8.0") in found
    assert ("value", b"001234.50".hex(" "), "001234.50") in found
    assert ("unit", b"*kWh)".hex(" "), "kWh") in found
    assert found[-1] == ("block check BCC", f"{check:02x}", "right")


def test_opc_ua_tells_each_nodes_value_status_and_times() -> None:
    found = told("opcua", OPCUA_REQUEST, OPCUA_ANSWER)
    assert ("NodeId", "01 00 cf 08", "") not in found
    assert ("value", struct.pack("<d", 184223.57).hex(" "), "") in found
    assert ("StatusCode", "00 00 90 40", "uncertain last usable value") in found
    assert told("opcua", OPCUA_REQUEST, b"")[-4][2] == "ns=1;s=Press1.Energy"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_is_right_and_wrong_in_a_frame_is_the_same_in_both_languages(protocol: str) -> None:
    framing = "rtu" if protocol == "modbus" else "own"

    def judged() -> list[tuple[bytes, str]]:
        pairs = ((asked, came) for asked in FRAMES[protocol] for came in FRAMES[protocol])
        told = (piece for asked, came in pairs for pieces in pieces_of(protocol, framing, asked, came, "") for piece in pieces)
        return [(piece.data, piece.state) for piece in told]

    english = judged()
    with speaking(CHINESE):
        assert judged() == english


def test_the_pieces_of_an_answer_to_another_question_are_wrong_in_chinese_too() -> None:
    asked = bytes.fromhex("6810000704153388880103901f000016")
    came = bytes.fromhex("68100007041533888881030a81010016")
    asked, came = (frame[:-2] + bytes([sum(frame[:-2]) & 0xFF]) + frame[-1:] for frame in (asked, came))
    with speaking(CHINESE):
        wrong = [(piece.field, piece.data) for piece in pieces_of("cjt188", "own", asked, came, "")[1] if piece.state == "wrong"]
    assert wrong == [("数据标识 DI", b"\x0a\x81"), ("序号 SER", b"\x01")]
