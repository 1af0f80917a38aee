"""IEC 62056-21: published readouts give the published values, whatever arrives otherwise is refused or gives none.

The frames in `vectors/iec62056_21.json` were published with the sources named there. Where a block check or a CRC was
published with them it is the published one; where only the text was, it was computed with another program.
"""

from __future__ import annotations

import contextlib
import json
import random
import re
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.iec62056_21 import Iec62056Model, Iec62056Watch
from config.quantity import quantity_of
from drivers import PROTOCOLS, Request, Target, load
from drivers import iec62056_21 as driver
from drivers.errors import BadFrame, FormulaError, MeterError, NoValue, Refused
from drivers.formula import Outcome, evaluate
from drivers.iec62056_21_frame import block_check, crc, with_parity

VECTORS = json.loads((Path(__file__).parent / "vectors" / "iec62056_21.json").read_text("utf-8"))
READOUTS: list[dict[str, Any]] = VECTORS["readouts"]
SIGN_ON = b"/?!\r\n"
OPTION = b"\x06050\r\n"
NAME = b"/ABC5XYZ\r\n"

each_readout = pytest.mark.parametrize("vector", READOUTS, ids=[vector["name"] for vector in READOUTS])


def h(text: str) -> bytes:
    return bytes.fromhex(text)


def target(
    *points: dict[str, Any], address: str = "", medium: str = "electricity", ct: str | None = None, **limits: Any
) -> Target:
    usual: tuple[dict[str, Any], ...] = points or ({"quantity": "active_energy_import", "at": {"obis": "1.8.0", "unit": "kWh"}},)
    declared = {
        "model": "tried",
        "revision": 1,
        "maker": "any",
        "product": "any",
        "medium": medium,
        "protocol": "iec62056_21",
        "trust": {"level": "C", "sources": [{"url": "none", "kind": "community"}]},
        "iec62056_21": limits,
        "points": list(usual),
        "examples": [{"origin": "none", "frames": [{"answer": "00"}], "values": {}}],
    }
    return Target(Iec62056Model.model_validate(declared), address, "own", ct)


def block(*lines: str, end: str = "!\r\n") -> bytes:
    """A readout by arithmetic of our own."""
    text = ("".join(f"{line}\r\n" for line in lines) + end).encode("ascii") + b"\x03"
    check = 0
    for byte in text:
        check ^= byte
    return b"\x02" + text + bytes([check])


def told(*lines: str, name: str = "/ABC3XYZ") -> bytes:
    return (f"{name}\r\n\r\n" + "".join(f"{line}\r\n" for line in lines) + "!\r\n").encode("ascii")


def outcome(meter: Target, readout: bytes, name: bytes = NAME) -> Outcome | str:
    """The value of a meter's first point in a readout, or why there is none."""
    return outcome_of(meter, [SIGN_ON, OPTION], [name, readout])


def outcome_of(meter: Target, requests: Sequence[bytes], answers: Sequence[bytes]) -> Outcome | str:
    try:
        return evaluate(driver.locate(meter, requests, meter.model.points[0], answers), answers)
    except NoValue as error:
        return error.cause


def cause_of(request: bytes, answer: bytes) -> str:
    with pytest.raises(MeterError) as raised:
        driver.check(request, answer, "own")
    assert str(raised.value)
    assert raised.value.hint
    return raised.value.cause


def meter_of(vector: dict[str, Any]) -> Target:
    points = []
    for quantity, (code, _, *unit) in vector["values"].items():
        obis, _, group = code.partition("/")
        at: dict[str, Any] = {"obis": obis, "group": int(group or 1)} | ({"unit": unit[0]} if unit else {})
        points.append({"quantity": quantity, "at": at})
    return target(*points, medium=vector["medium"], mode=vector["mode"])


def frames_of(vector: dict[str, Any]) -> tuple[list[bytes], list[bytes]]:
    return [h(request) for request, _ in vector["frames"]], [h(answer) for _, answer in vector["frames"]]


# --- published frames ---------------------------------------------------------------------------------------


@each_readout
def test_published_answers_are_found_and_accepted(vector: dict[str, Any]) -> None:
    meter = meter_of(vector)
    for request, answer in zip(*frames_of(vector), strict=True):
        assert driver.answer_span(request, answer, "own") == (0, len(answer))
        driver.check(request, answer, "own")
        assert driver.prescribes(meter, meter.model.points, request)


@each_readout
def test_published_readouts_give_the_published_values(vector: dict[str, Any]) -> None:
    meter = meter_of(vector)
    requests, answers = frames_of(vector)
    for point in meter.model.points:
        formula = driver.locate(meter, requests, point, answers)
        assert evaluate(formula, answers) == Outcome(vector["values"][point.quantity][1]), point.quantity


@each_readout
def test_published_readouts_give_the_same_values_where_the_line_carries_8_bits(vector: dict[str, Any]) -> None:
    meter = meter_of(vector)
    requests, answers = ([with_parity(frame) for frame in frames] for frames in frames_of(vector))
    eight = target(
        *(point.model_dump(exclude_none=True) for point in meter.model.points),
        medium=vector["medium"],
        mode=vector["mode"],
        eight_bits=True,
    )
    for request, answer in zip(requests, answers, strict=True):
        assert driver.answer_span(request, answer, "own") == (0, len(answer))
        driver.check(request, answer, "own")
        assert driver.prescribes(eight, eight.model.points, request)
    for point in eight.model.points:
        formula = driver.locate(eight, requests, point, answers)
        assert "p@" in formula
        assert evaluate(formula, answers) == Outcome(vector["values"][point.quantity][1]), point.quantity


@pytest.mark.parametrize("vector", VECTORS["refused"], ids=[vector["name"] for vector in VECTORS["refused"]])
def test_published_frames_of_the_programming_mode_are_no_readout(vector: dict[str, Any]) -> None:
    frame = h(vector["frame"])
    assert block_check(frame[1:-1]) == int(vector["bcc"], 16)
    assert driver.answer_span(OPTION, frame, "own") == (0, len(frame))
    assert cause_of(OPTION, frame) == vector["cause"]


def test_requests_are_the_published_ones() -> None:
    signed_on, selected = VECTORS["sent"]
    meter = target(address=signed_on["address"])
    assert [request.data for request in driver.requests(meter, meter.model.points)] == [h(signed_on["frame"])]
    following = driver.following(meter, h(signed_on["frame"]), b"/MCS5\\@0050010067967\r\n")
    assert following is not None
    assert (following.data, following.answer_baud) == (h(selected["frame"]), selected["speed"])


def test_characters_with_parity_are_the_ones_a_meter_was_seen_to_send() -> None:
    # github.com/pwitab/iec62056-21, issue 16: a ZMD over a line of 8 bits.
    assert with_parity(b"8.0*00(0000.0000*kvarh)\r\n") == h("b82e30aa303028303030302e30303030aaebf6e172e8a98d0a")


def test_the_checksum_of_dsmr_telegrams_is_crc_16_with_its_published_check_value() -> None:
    assert crc(b"123456789") == 0xBB3D  # CRC-16/ARC


# --- conversations ------------------------------------------------------------------------------------------


def only(requests: Sequence[Request]) -> Request:
    (request,) = requests
    return request


def test_mode_c_signs_on_at_300_baud_and_asks_for_the_readout_at_the_speed_offered() -> None:
    meter = target(address="0012")
    first = only(driver.requests(meter, meter.model.points))
    assert (first.data, first.baud, first.character, first.answer_baud) == (b"/?0012!\r\n", 300, "7E1", None)
    assert (first.pause_s, first.timeout_s, first.longest_answer_s, first.gap_s) == (0.3, 3.0, 6.0, 1.5)
    second = driver.following(meter, first.data, b"/ABC5XYZ\r\n")
    assert second is not None
    assert (second.data, second.baud, second.character, second.answer_baud) == (b"\x06050\r\n", 300, "7E1", 9600)
    assert (second.pause_s, second.longest_bytes) == (0.2, 8192)
    assert second.again == first
    assert driver.following(meter, second.data, block("1.8.0(1*kWh)")) is None


@pytest.mark.parametrize(
    ("character", "speed"), [("0", 300), ("1", 600), ("2", 1200), ("3", 2400), ("4", 4800), ("5", 9600), ("6", 19200)]
)
def test_every_speed_of_mode_c_is_answered_with_itself(character: str, speed: int) -> None:
    following = driver.following(target(), SIGN_ON, f"/ABC{character}XYZ\r\n".encode())
    assert following is not None
    assert following.data == f"\x060{character}0\r\n".encode()
    assert (following.baud, following.answer_baud) == (300, None if speed == 300 else speed)


@pytest.mark.parametrize("character", "789ABCFI")
def test_a_speed_that_there_is_not_in_mode_c_is_answered_with_the_first_one(character: str) -> None:
    following = driver.following(target(), SIGN_ON, f"/ABC{character}XYZ\r\n".encode())
    assert following is not None
    assert (following.data, following.answer_baud) == (b"\x06000\r\n", None)


def test_a_meter_whose_third_letter_is_small_is_answered_sooner() -> None:
    following = driver.following(target(), SIGN_ON, b"/ISk5MT174-0001\r\n")
    assert following is not None
    assert following.pause_s == 0.02


@pytest.mark.parametrize(("speed", "data"), [(300, b"\x06000\r\n"), (9600, b"\x06050\r\n"), (2400, b"\x06030\r\n")])
def test_where_the_speed_is_fixed_everything_is_sent_at_it_and_nothing_switches(speed: int, data: bytes) -> None:
    meter = target(fixed_baud=speed)
    first = only(driver.requests(meter, meter.model.points))
    assert (first.baud, first.answer_baud) == (speed, None)
    second = driver.following(meter, first.data, b"/ABC6XYZ\r\n")
    assert second is not None
    assert (second.data, second.baud, second.answer_baud) == (data, speed, None)


def test_mode_b_listens_at_the_speed_of_the_letter() -> None:
    meter = target(mode="B", medium="heat")
    for character, speed in zip("ABCDEF", (600, 1200, 2400, 4800, 9600, 19200), strict=True):
        following = driver.following(meter, SIGN_ON, f"/LUG{character}UH50\r\n".encode())
        assert following is not None
        assert (following.data, following.baud, following.character) == (b"", speed, "7E1")
        assert following.again == only(driver.requests(meter, meter.model.points))


def test_in_mode_a_the_readout_comes_with_the_identification_and_nothing_is_asked_any_more() -> None:
    meter = target(mode="A")
    answer = b"/ABC*XYZ\r\n" + block("1.8.0(00012.5*kWh)")
    first = only(driver.requests(meter, meter.model.points))
    assert first.longest_bytes == 8192
    assert driver.answer_span(first.data, answer[:-1], "own") is None
    assert driver.answer_span(first.data, b"\0\xff" + first.data + answer + b"\0", "own") == (7, 7 + len(answer))
    driver.check(first.data, answer, "own")
    assert driver.following(meter, first.data, answer) is None
    assert outcome_of(meter, [first.data], [answer]) == Outcome("12.5")


def test_a_meter_of_mode_c_that_is_left_alone_is_read_as_one_of_mode_a() -> None:
    meter = target(mode="A")
    following = driver.following(meter, SIGN_ON, NAME)
    assert following is not None
    assert (following.data, following.baud) == (b"", 300)
    answers = [NAME, block("1.8.0(00012.5*kWh)")]
    driver.check(b"", answers[1], "own")
    assert outcome_of(meter, [SIGN_ON, b""], answers) == Outcome("12.5")


def test_mode_d_is_listened_to_with_the_lines_own_settings() -> None:
    meter = target(mode="D", timeout_ms=10_000)
    request = only(driver.requests(meter, meter.model.points))
    assert (request.data, request.baud, request.character, request.timeout_s) == (b"", None, None, 10.0)
    assert driver.following(meter, b"", told("1.8.0(1*kWh)")) is None


def test_a_battery_meter_is_woken_up_before_each_conversation_and_not_answered_for() -> None:
    meter = target(mode="B", wake_up=True, medium="heat")
    zeros, sign_on = driver.requests(meter, meter.model.points)
    assert zeros.data == bytes(66)
    assert 2.1 <= len(zeros.data) * 10 / 300 <= 2.3
    assert 1.5 <= zeros.timeout_s <= 1.7
    assert (zeros.silent, zeros.baud, sign_on.silent, sign_on.data) == (True, 300, False, SIGN_ON)
    driver.check(zeros.data, b"", "own")
    assert driver.answer_span(zeros.data, b"\0\0/ABC5XYZ\r\n", "own") is None
    assert cause_of(zeros.data, b"\xff") == "noise"
    assert driver.following(meter, zeros.data, b"") is None


def test_on_a_line_of_8_bits_requests_carry_the_parity_themselves() -> None:
    meter = target(eight_bits=True, address="12")
    first = only(driver.requests(meter, meter.model.points))
    assert (first.data, first.character) == (h("af3fb1b2218d0a"), "8N1")
    second = driver.following(meter, first.data, with_parity(NAME))
    assert second is not None
    assert (second.data, second.character, second.answer_baud) == (h("063035308d0a"), "8N1", 9600)


def test_another_makers_meter_is_not_asked_for_its_readout() -> None:
    meter = target(manufacturer=["LGZ", "isk"])
    assert driver.following(meter, SIGN_ON, b"/ABC5XYZ\r\n") is None
    assert driver.following(meter, SIGN_ON, b"/ISk5MT174\r\n") is not None


def test_nothing_is_asked_for_no_points_and_nothing_follows_on_damaged_answers() -> None:
    meter = target()
    assert driver.requests(meter, []) == []
    assert not driver.prescribes(meter, [], SIGN_ON)
    for answer in (b"", b"/", b"/ABC\r\n", b"/?!\r\n", bytes(20), block("1.8.0(1*kWh)"), b"/A1C5XYZ\r\n"):
        assert driver.following(meter, SIGN_ON, answer) is None


CONVERSATIONS: list[tuple[dict[str, Any], list[bytes]]] = [
    (
        {"mode": mode, "eight_bits": eight, "wake_up": wake, **more},
        [b"/ABC5XYZ\r\n", b"/ABC0XYZ\r\n", b"/LUGCUH\r\n", b"/ABC*\r\n"],
    )
    for mode in "ABC"
    for eight in (False, True)
    for wake in (False, True)
    for more in ({}, {"fixed_baud": 1200})
    if not (more and mode == "B")
]


@pytest.mark.parametrize(("limits", "names"), CONVERSATIONS)
def test_exactly_what_conversations_send_is_prescribed(limits: dict[str, Any], names: list[bytes]) -> None:
    meter = target(address="77", **limits)
    sent = {request.data for request in driver.requests(meter, meter.model.points)}
    sign_on = driver.requests(meter, meter.model.points)[-1]
    for name in names:
        following = driver.following(meter, sign_on.data, with_parity(name) if limits["eight_bits"] else name)
        if following is not None:
            sent |= {following.data, *([following.again.data] if following.again else [])}
    assert all(driver.prescribes(meter, meter.model.points, data) for data in sent)
    for data in (SIGN_ON, b"/?78!\r\n", b"/?77!\r", b"\x06051\r\n", b"\x06052\r\n", b"\x06150\r\n", b"\x01B0\x03q", b"\0", b"x"):
        assert not driver.prescribes(meter, meter.model.points, data), data


def test_a_fixed_speed_does_not_prescribe_asking_for_another_one() -> None:
    meter = target(fixed_baud=300)
    assert driver.prescribes(meter, meter.model.points, b"\x06000\r\n")
    assert not driver.prescribes(meter, meter.model.points, b"\x06050\r\n")


def test_no_request_can_do_anything_but_read() -> None:
    sent: set[bytes] = set()
    for limits, names in CONVERSATIONS:
        meter = target(**limits)
        for request in driver.requests(meter, meter.model.points):
            sent |= {request.data}
            for name in names:
                following = driver.following(meter, request.data, with_parity(name) if limits["eight_bits"] else name)
                sent |= {following.data} if following else set()
    plain = {bytes(byte & 0x7F for byte in data) for data in sent}
    assert all(re.fullmatch(rb"\0*|/\?[0-9A-Za-z ]*!\r\n|\x060[0-6]0\r\n", data) for data in plain)


# --- where an answer lies -----------------------------------------------------------------------------------

READOUT = block("F.F(00)", "1.8.0(0000123.45*kWh)", "C.1.0(12345678)")
BEGUN = [
    (SIGN_ON, NAME),
    (OPTION, READOUT),
    (b"", READOUT),
    (b"", told("1.8.0(1*kWh)")),
    (b"", b"/ABC3XYZ\r\n" + READOUT),
    (SIGN_ON, b"/ABC*XYZ\r\n" + READOUT),
]


@pytest.mark.parametrize("in_front", [b"", b"\0\0\0", b"\xff\x7f\0", b"!\r\n", "echo"])
@pytest.mark.parametrize(("request_", "answer"), BEGUN)
def test_an_answer_is_found_byte_by_byte_and_at_once_in_the_same_place(
    request_: bytes, answer: bytes, in_front: bytes | str
) -> None:
    before = request_ if isinstance(in_front, str) else in_front
    buffer = before + answer + b"\0/"
    span = (len(before), len(before) + len(answer))
    assert driver.answer_span(request_, buffer, "own") == span
    for length in range(span[1]):
        assert driver.answer_span(request_, buffer[:length], "own") is None, length
    assert driver.answer_span(request_, buffer[: span[1]], "own") == span


@pytest.mark.parametrize("noise", [b"\x02", b"\x01", b"\x02\x01\x02", b"ab\x02cd\r\n"])
def test_noise_that_looks_like_a_beginning_does_not_hide_the_readout_whose_check_fits(noise: bytes) -> None:
    assert driver.answer_span(OPTION, noise + READOUT, "own") == (len(noise), len(noise) + len(READOUT))


@pytest.mark.parametrize("check", [0x03, 0x02, 0x2F, 0x21, 0x0D, 0x0A, 0x15, 0x06, 0x01])
def test_a_block_check_that_looks_like_another_character_ends_the_readout(check: int) -> None:
    plain = block("1.8.0(1*kWh)", "0.0.0(@)")
    readout = block("1.8.0(1*kWh)", f"0.0.0({chr(0x40 ^ plain[-1] ^ check)})")
    if readout[-1] != check or not 0x20 <= 0x40 ^ plain[-1] ^ check < 0x7F:
        readout = block("1.8.0(1*kWh)", f"0.0.0({chr(0x20 | (0x40 ^ plain[-1] ^ check) & 0x1F)}{chr(0x60)})")
    for request in (OPTION, b""):
        assert driver.answer_span(request, readout + b"x", "own") == (0, len(readout))


def test_listening_that_begins_in_the_middle_of_a_telegram_waits_for_the_next_one() -> None:
    telegram = told("1-0:1.8.0*255(000001.5*kWh)", "8.26(0*m3/h)")
    for cut in range(1, len(telegram)):
        assert driver.answer_span(b"", telegram[cut:], "own") is None
        buffer = telegram[cut:] + telegram
        assert driver.answer_span(b"", buffer, "own") == (len(telegram) - cut, len(buffer))


def test_a_telegram_that_is_cut_off_by_the_next_one_is_left_out() -> None:
    telegram = told("1.8.0(1*kWh)")
    assert driver.answer_span(b"", telegram[:-8] + telegram, "own") == (len(telegram) - 8, 2 * len(telegram) - 8)


def test_a_readout_of_many_kilobytes_is_found_quickly_in_every_piece() -> None:
    readout = block(*[f"1.8.0*{number:02d}(0000000.000*kWh)" for number in range(99)] * 20)
    assert len(readout) > 50_000
    for length in range(0, len(readout), 50):
        assert driver.answer_span(OPTION, readout[:length], "own") is None
    assert driver.answer_span(OPTION, readout, "own") == (0, len(readout))


# --- whose answer it is -------------------------------------------------------------------------------------


def spoilt(readout: bytes, at: int, byte: int) -> bytes:
    return readout[:at] + bytes([byte]) + readout[at + 1 :]


@pytest.mark.parametrize(
    ("request_", "answer", "cause"),
    [
        (OPTION, spoilt(READOUT, -1, READOUT[-1] ^ 1), "bad_checksum"),
        (OPTION, spoilt(READOUT, 20, 0x39), "bad_checksum"),
        (OPTION, READOUT[:-1], "wrong_format"),
        (OPTION, NAME, "wrong_format"),
        (OPTION, b"/ABC5XYZ\r\n" + READOUT, "wrong_format"),
        (OPTION, b"", "wrong_format"),
        (OPTION, b"\x15", "wrong_format"),
        (OPTION, block("1.8.0(1*kWh)", end=""), "wrong_format"),
        (OPTION, block("1.8.0(1*kWh"), "wrong_format"),
        (OPTION, block("1.8.0 1*kWh)"), "wrong_format"),
        (OPTION, block("1.8.0(1*kWh)x"), "wrong_format"),
        (OPTION, block("1.8.0((1)*kWh)"), "wrong_format"),
        (OPTION, block("1.8.0(1\n*kWh)"), "wrong_format"),
        (OPTION, block("1.8.0(\x7f)"), "wrong_format"),
        (OPTION, block("x" * 40 + "(1)"), "wrong_format"),
        (OPTION, block(), "wrong_format"),
        (OPTION, block("(ERROR)", end=""), "meter_error"),
        (OPTION, block("(ERROR)"), "meter_error"),
        (OPTION, with_parity(READOUT), "bad_parity"),
        (OPTION, spoilt(with_parity(READOUT), 20, 0x39 ^ 0x80), "bad_parity"),
        (SIGN_ON, READOUT, "wrong_format"),
        (SIGN_ON, b"/A55XYZ\r\n", "wrong_format"),
        (SIGN_ON, b"/ABC\r\n", "wrong_format"),
        (SIGN_ON, b"/ABC*XYZ\r\n", "wrong_format"),
        (SIGN_ON, b"/ABC5XYZ\r\n" + READOUT, "wrong_format"),
        (SIGN_ON, b"/ABC5\x01YZ\r\n", "wrong_format"),
        (SIGN_ON, with_parity(NAME), "bad_parity"),
        (with_parity(SIGN_ON), NAME, "bad_parity"),
        (b"", NAME, "wrong_format"),
        (b"", told("1.8.0(1*kWh)")[:-3], "wrong_format"),
        (b"", told("1.8.0(1*kWh)")[:-2] + b"0000\r\n", "bad_checksum"),
        (b"", told("1.8.0(1*kWh"), "wrong_format"),
        (b"/!1\r\n", READOUT, "bad_request"),
        (b"\x01R1\x02", READOUT, "bad_request"),
    ],
)
def test_everything_that_is_not_the_answer_is_refused_by_its_own_cause(request_: bytes, answer: bytes, cause: str) -> None:
    assert cause_of(request_, answer) == cause


def test_errors_and_passwords_are_the_meters_no() -> None:
    for answer in (block("(ERR04)", end=""), h("015030022831323334353637290350")):
        with pytest.raises(Refused):
            driver.check(OPTION, answer, "own")
    with pytest.raises(BadFrame, match="ended the conversation"):
        driver.check(OPTION, b"\x01B0\x03q", "own")


@pytest.mark.parametrize("answer", [READOUT, told("1.8.0(0000123.45*kWh)"), with_parity(READOUT)])
def test_no_single_changed_bit_is_accepted_where_there_is_a_check(answer: bytes) -> None:
    request = b"" if answer.startswith(b"/") else with_parity(OPTION) if answer[1] & 0x80 or answer[2] & 0x80 else OPTION
    if answer.startswith(b"/"):
        answer = answer[:-2] + f"{crc(answer[:-2]):04X}\r\n".encode()
    for at in range(len(answer)):
        for bit in range(8):
            changed = spoilt(answer, at, answer[at] ^ 1 << bit)
            if changed.upper() == answer.upper() and at >= len(answer) - 6:
                continue  # a small letter among the CRC's digits is the same number
            with pytest.raises(MeterError):
                driver.check(request, changed, "own")


def test_a_cut_answer_is_never_accepted() -> None:
    for request, answer in BEGUN:
        for length in range(len(answer)):
            with pytest.raises(MeterError):
                driver.check(request, answer[:length], "own")


FAULTS = [
    (SIGN_ON, b"", "no_answer", "no answer"),
    (SIGN_ON, SIGN_ON, "only_echo", "echo"),
    (SIGN_ON, b"\xff\xfe\xfd", "noise", "speed"),
    (SIGN_ON, SIGN_ON + b"/ABC5", "short_answer", "identification ended after 5 bytes"),
    (SIGN_ON, b"/ABC*XYZ\r\n\x021.8.0(", "short_answer", "no end"),
    (OPTION, b"", "no_answer", "no answer"),
    (OPTION, OPTION, "only_echo", "echo"),
    (OPTION, b"\x15", "not_understood", "did not understand"),
    (OPTION, b"\0\x15\0", "not_understood", "did not understand"),
    (OPTION, READOUT[:-9], "short_answer", f"no end: it stopped after {len(READOUT) - 9} bytes"),
    (OPTION, b"\xf0\xf1", "noise", "speed"),
    (b"", told("1.8.0(1*kWh)")[:-9], "short_answer", "no end"),
    (b"", b"1.8.0(1*kWh)\r\n!\r\n", "noise", "format"),
]


@pytest.mark.parametrize(("request_", "buffer", "cause", "words"), FAULTS)
def test_what_arrived_without_an_end_is_told_in_plain_words(request_: bytes, buffer: bytes, cause: str, words: str) -> None:
    assert driver.answer_span(request_, buffer, "own") is None
    assert driver.fault(request_, buffer, "own")[0] == cause
    assert words in driver.fault(request_, buffer, "own")[1]


def test_no_answer_repeats_the_address_and_no_request_has_a_number() -> None:
    request = only(driver.requests(target(), target().model.points))
    assert driver.station(request.data, "own") == b""
    assert driver.numbered(request, 7, "own") is request


def test_the_protocol_is_known_by_its_name() -> None:
    assert "iec62056_21" in PROTOCOLS
    assert load("iec62056_21").station(b"", "own") == b""


def test_an_identification_tells_maker_and_product_and_is_never_asked_for_alone() -> None:
    assert driver.identification(b"/LGZ5\\2ZMD3104107.B40\r\n", "own") == ({"maker": "LGZ", "product": "\\2ZMD3104107.B40"}, None)
    assert driver.identification(b"nonsense", "own") == ({}, None)
    assert driver.identification_request(target()) is None


# --- which line a code means --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "line", "medium", "found"),
    [
        ("1.8.0", "1.8.0", "electricity", True),
        ("1.8.0", "1-0:1.8.0", "electricity", True),
        ("1.8.0", "1-1:1.8.0*255", "electricity", True),
        ("1.8.0", "0-0:1.8.0", "electricity", True),
        ("1.8.0", "7-0:1.8.0", "electricity", False),
        ("1.8.0", "1.8", "electricity", True),
        ("1.8.0", "1.8.1", "electricity", False),
        ("1.8.0", "1.8.0*12", "electricity", False),
        ("1.8.0", "1.8.0&12", "electricity", False),
        ("1.8.0", "1.8.0*00", "electricity", False),
        ("1.8.0", "11.8.0", "electricity", False),
        ("1.8.0", "21.8.0", "electricity", False),
        ("1.8.0*12", "1.8.0*12", "electricity", True),
        ("1.8.0*12", "1.8.0&12", "electricity", False),
        ("1.8.0*12", "1.8.0", "electricity", False),
        ("1.8.0*00", "1.8.0*00", "electricity", True),
        ("1-0:1.8.0*255", "1.8.0", "electricity", True),
        ("1-0:1.8.0*255", "1-1:1.8.0", "electricity", False),
        ("0-1:24.2.1", "0-1:24.2.1", "electricity", True),
        ("0-1:24.2.1", "0-2:24.2.1", "electricity", False),
        ("7-0:3.2.0", "3.2.0", "electricity", False),
        ("7-0:3.2.0", "3.2.0", "gas", True),
        ("6.8", "6.8", "heat", True),
        ("6.8", "6.8.1", "heat", False),
        ("6.8", "6.8*01", "heat", False),
        ("6.8", "6-0:6.8.0", "heat", True),
        ("8.1.0", "9-0:8.1.0", "water", True),
        ("F.F", "1-1:F.F", "electricity", True),
        ("F.F", "F.F.0", "electricity", True),
        ("F.F", "1-0:97.97.0*255", "electricity", True),
        ("C.1.0", "0-0:C.1.0*255", "electricity", True),
        ("C.1.0", "0-0:96.1.0*255", "electricity", True),
        ("C.1.0", "C.1", "electricity", True),
        ("C.1.0", "C.1.1", "electricity", False),
        ("L.1", "L.1.0", "electricity", True),
        ("P.01", "P.01", "electricity", True),
        ("P.01", "P.1", "electricity", False),
        ("0.5.1.2", "0.5.1.2", "electricity", True),
        ("0.5.1.2", "1-1:0.5.1.2", "electricity", False),
        ("1.1.1.8.0.255", "1.1.1.8.0.255", "electricity", True),
        ("F", "F", "heat", True),
    ],
)
def test_a_code_means_the_lines_that_leave_out_only_what_is_usual(wanted: str, line: str, medium: str, found: bool) -> None:
    meter = target({"quantity": "active_energy_import", "at": {"obis": wanted}}, medium=medium)
    assert outcome(meter, block("99.9.9(1*kWh)", f"{line}(5*kWh)")) == (Outcome("5") if found else "not_in_answer")


def test_of_several_lines_the_one_that_is_written_alike_counts() -> None:
    meter = target()
    assert outcome(meter, block("1-0:1.8.0(7*kWh)", "1.8.0(5*kWh)")) == Outcome("5")
    assert outcome(meter, block("1-0:1.8.0(7*kWh)", "1-1:1.8.0(5*kWh)")) == "ambiguous"
    assert outcome(meter, block("1.8.0(7*kWh)", "1.8.0(5*kWh)")) == "ambiguous"
    assert outcome(meter, block("1.8.0(5*kWh)", "1.8.0(5*kWh)")) == Outcome("5")


@pytest.mark.parametrize(
    ("line", "at", "expected"),
    [
        ("1.8.0(0001234.50*kWh)", {}, Outcome("1234.50")),
        ("1.8.0(0001234.50)(kWh)", {}, Outcome("1234.50")),
        ("1.8.0(0001234.50)", {"unit": "kWh"}, Outcome("1234.50")),
        ("1.8.0(0001234.50*)", {"unit": "kWh"}, Outcome("1234.50")),
        ("1.8.0(0001234.50)", {}, "no_unit"),
        ("1.8.0(0001234.50)(0001234.50)", {"unit": "kWh"}, Outcome("1234.50")),
        ("1.8.0(0001234.50)(2611191145)", {"unit": "kWh"}, Outcome("1234.50")),
        ("1.8.0(0001234.50)(hl)", {"unit": "kWh"}, "unknown_unit"),
        ("1.8.0(1234*Wh)", {"unit": "kWh"}, Outcome("1.234")),
        ("1.8.0(1234*MWh)", {"unit": "kWh"}, Outcome("1234000")),
        ("1.8.0(3.6*MJ)", {}, Outcome("1.0")),
        ("1.8.0(1234* Wh)", {}, "unknown_unit"),
        ("1.8.0(1234*kvarh)", {"unit": "kWh"}, "other_unit"),
        ("1.8.0(1234*kW)", {"unit": "kWh"}, "other_unit"),
        ("1.8.0(1234*kwH)", {"unit": "kWh"}, "unknown_unit"),
        ("1.8.0(1234*kWh*x)", {"unit": "kWh"}, "unknown_unit"),
        ("1.8.0( 001.67*kWh)", {}, Outcome("1.67")),
        ("1.8.0(-000.82*kWh)", {}, Outcome("-0.82")),
        ("1.8.0(+000.82*kWh)", {}, Outcome("0.82")),
        ("1.8.0()", {}, "not_available"),
        ("1.8.0(   )", {}, "not_available"),
        ("1.8.0(*kWh)", {}, "not_available"),
        ("1.8.0(------*kWh)", {}, Outcome(None, "bad_digits")),
        ("1.8.0(12,5*kWh)", {}, Outcome(None, "bad_digits")),
        ("1.8.0(0x10*kWh)", {}, Outcome(None, "bad_digits")),
        ("1.8.0(1E3*kWh)", {}, Outcome(None, "bad_digits")),
        (f"1.8.0({'0' * 40}1*kWh)", {}, "bad_digits"),
        ("1.8.0(2611191145)(5*kWh)", {"group": 2}, Outcome("5")),
        ("1.8.0(2611191145)(5)(kWh)", {"group": 2}, Outcome("5")),
        ("1.8.0(5*kWh)", {"group": 2}, "not_in_answer"),
        ("1.8.0(5*kWh)6.26(3*m3)", {}, Outcome("5")),
        ("0.0(1)1.8.0(5*kWh)6.26(3*m3)", {}, Outcome("5")),
    ],
)
def test_a_value_is_what_stands_in_its_brackets_times_what_its_unit_is_worth(line: str, at: Any, expected: Outcome | str) -> None:
    meter = target({"quantity": "active_energy_import", "at": {"obis": "1.8.0", **at}})
    assert outcome(meter, block("F.F(00)", line, "C.1.0(12345678)")) == expected


def test_brackets_at_the_beginning_of_a_line_belong_to_the_line_before() -> None:
    meter = target({"quantity": "volume_base", "at": {"obis": "0-1:24.3.0", "group": 7, "unit": "m3"}})
    lines = ("0-1:24.3.0(161107190000)(00)(60)(1)(0-1:24.2.1)(m3)", "(00001.001)", "0-1:24.4.0(1)")
    assert outcome(meter, block(*lines)) == Outcome("1.001")


@pytest.mark.parametrize(
    ("quantity", "text", "expected"),
    [
        ("active_power", "03.214*kW", "3214.000"),
        ("active_power", "3214*W", "3214"),
        ("thermal_power", "0022.4*kW", "22.4"),
        ("thermal_power", "22400*W", "22.400"),
        ("thermal_energy", "0328.871*GJ", "91353.05555555555555555555555555556"),
        ("volume_forward", "1500*l", "1.500"),
        ("volume_flow", "0.312*m3ph", "0.312"),
        ("operating_time", "90*min", "1.5"),
        ("power_factor", "0.98", "0.98"),
        ("pressure", "250*kPa", "2.50"),
        ("temperature", "21.5*C", "21.5"),
        ("mass", "1500*kg", "1.500"),
    ],
)
def test_units_become_the_quantitys_own(quantity: str, text: str, expected: str) -> None:
    assert outcome(target({"quantity": quantity, "at": {"obis": "1.8.0"}}), block(f"1.8.0({text})")) == Outcome(expected)


def test_scale_and_plate_ratios_are_applied_behind_the_unit() -> None:
    point = {"quantity": "active_energy_import", "at": {"obis": "1.8.0"}, "scale": "0.5", "ratio": "ct"}
    assert outcome(target(point, ct="400/5"), block("1.8.0(0010.5*MWh)")) == Outcome("420000.00")


def test_a_watch_is_the_text_in_its_brackets() -> None:
    meter = target()
    answers = [NAME, block("F.F(00000040)", "0.2.0(ver.03,432F*x)", "C.5.0()")]

    def text_of(code: str) -> str | None:
        watch = Iec62056Watch.model_validate({"name": "line", "at": {"obis": code}})
        return evaluate(driver.locate(meter, [SIGN_ON, OPTION], watch, answers), answers).value

    assert text_of("F.F") == "00000040"
    assert text_of("0.2.0") == "ver.03,432F"
    with pytest.raises(NoValue, match="not_available"):
        text_of("C.5.0")


@pytest.mark.parametrize(
    ("lines", "number"),
    [
        (("0.0.0(001LGZ0056859504)", "C.1.0(1)"), "001LGZ0056859504"),
        (("0.0.0()", "C.1.0(54800102)"), "54800102"),
        (("0.0.0(00000000)", "C.1.0(54800102)"), "54800102"),
        (("0.0(          120858)", "1.8.0(1*kWh)"), "120858"),
        (("1-0:96.1.0*255(001LOG0065282495)",), "001LOG0065282495"),
        (("1.8.0(1*kWh)",), None),
        (("0.0.0(1)", "1-0:0.0.0(2)"), "1"),
        (("1-1:0.0.0(1)", "1-0:0.0.0(2)"), None),
    ],
)
def test_the_meters_own_number_is_the_first_line_that_holds_one(lines: tuple[str, ...], number: str | None) -> None:
    answers = [NAME, block(*lines)]
    formula = driver.frame_serial(target(), [SIGN_ON, OPTION], answers)
    assert (evaluate(formula, answers).value if formula else None) == number


def test_a_model_says_which_line_holds_the_number_or_that_none_does() -> None:
    answers = [NAME, block("0.0.0(1)", "9.20(66153690)")]
    formula = driver.frame_serial(target(number=["9.20"]), [SIGN_ON, OPTION], answers)
    assert formula == "1@16:ascii8"
    assert driver.frame_serial(target(number=[]), [SIGN_ON, OPTION], answers) is None
    assert driver.frame_serial(target(), [SIGN_ON, b""], [NAME, b""]) is None


def test_values_are_taken_from_the_last_readout_of_this_meter_only() -> None:
    meter = target(address="1")
    mine, first, second = b"/?1!\r\n", block("1.8.0(1*kWh)"), block("1.8.0(2*kWh)")
    assert outcome_of(meter, [mine, OPTION, mine, OPTION], [NAME, first, NAME, second]) == Outcome("2")
    assert outcome_of(meter, [mine, OPTION, mine, b""], [NAME, first, NAME, b""]) == Outcome("1")
    with pytest.raises(KeyError):
        outcome_of(meter, [b"/?2!\r\n", b"\x06051\r\n"], [NAME, first])
    with pytest.raises(KeyError):
        outcome_of(meter, [mine], [NAME])
    with pytest.raises(KeyError):
        outcome_of(meter, [b"", b""], [b"", b""])


def test_another_makers_readout_holds_no_value() -> None:
    meter = target(manufacturer=["LGZ"])
    assert outcome(meter, READOUT) == "other_maker"
    assert outcome(meter, READOUT, b"/LGZ5ZMD\r\n") == Outcome("123.45")
    assert outcome_of(meter, [OPTION], [READOUT]) == "other_maker"


def test_a_line_beyond_ten_thousand_bytes_is_reached() -> None:
    lines = [f"1.8.0*{number:02d}(0000000.000*kWh)" for number in range(99)] * 20
    assert outcome(target(), block(*lines, "1.8.0(0000007.000*kWh)")) == Outcome("7.000")


# --- ten thousand damaged readouts --------------------------------------------------------------------------


UNITS_WORTH: dict[str, dict[str, Fraction]] = {
    "kWh": {
        **dict.fromkeys(("Wh", "WH"), Fraction(1, 1000)),
        **dict.fromkeys(("kWh", "KWH", "KWh", "kwh"), Fraction(1)),
        **dict.fromkeys(("MWh", "MWH"), Fraction(1000)),
        "GWh": Fraction(1_000_000),
        "J": Fraction(1, 3_600_000),
        **dict.fromkeys(("kJ", "KJ"), Fraction(1, 3600)),
        "MJ": Fraction(10, 36),
        "GJ": Fraction(2500, 9),
        "TJ": Fraction(2_500_000, 9),
    },
    "V": {"V": Fraction(1), "mV": Fraction(1, 1000), "kV": Fraction(1000), "KV": Fraction(1000)},
}


def derived(frame: bytes, code: str, wanted: str) -> set[Fraction]:
    """What the numbers behind a code are in a unit, by other means than the driver's: all that may be told."""
    units = UNITS_WORTH[wanted]
    text = bytes(byte & 0x7F for byte in frame).decode("ascii")
    found = set()
    for number, unit in re.findall(rf"(?:^|[\x02\r\n):]){re.escape(code)}\(([^()*]*)\*([^()]*)\)", text):
        if unit in units:
            try:
                found.add(Fraction(Decimal(number.strip(" \0"))) * units[unit])
            except ArithmeticError:
                continue
    return found


def damaged(source: random.Random, answer: bytes) -> bytes:
    """An answer with some bytes changed, moved, left out or doubled; often with a block check or parity that fits again."""
    data = bytearray(answer)
    for _ in range(source.choice((0, 1, 1, 1, 2, 3, 8))):
        at = source.randrange(len(data) or 1)
        match source.randrange(6):
            case 0:
                data[at : at + 1] = bytes([source.randrange(256)])
            case 1:
                del data[at : at + source.randrange(1, 9)]
            case 2:
                data[at:at] = data[source.randrange(len(data) or 1) :][: source.randrange(1, 30)]
            case 3:
                data[at:at] = source.choice((b"\x02", b"\x03", b"\x01", b"/", b"!", b"(", b")", b"*", b"\r\n", b"1.8.0(9*kWh)"))
            case 4:
                data[at : at + 1] = bytes([source.choice(b"0123456789.-+ *()kWhVM")])
            case _:
                data[at : at + 1] = bytes([data[at] ^ 1 << source.randrange(8)]) if data else b"\0"
    if source.random() < 0.6 and b"\x03" in data:
        end = data.rindex(b"\x03")
        start = max(data.find(b"\x02"), 0)
        check = 0
        for byte in data[start + 1 : end + 1]:
            check ^= byte & 0x7F
        data[end + 1 :] = bytes([check])
    return with_parity(bytes(byte & 0x7F for byte in data)) if source.random() < 0.1 else bytes(data)


@lru_cache(maxsize=1)
def _tried() -> list[tuple[str, bytes, list[bytes], list[bytes]]]:
    tried = []
    for vector in READOUTS:
        requests, answers = frames_of(vector)
        if len(answers[-1]) < 1500:
            tried.append((vector["mode"], requests[-1], requests, answers))
    return tried


@settings(max_examples=500, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_ten_thousand_damaged_answers_give_a_justified_value_or_an_error_of_ours(seed: int) -> None:
    accepted_of_damaged(random.Random(seed), 20)


def test_damaged_answers_are_accepted_where_their_check_fits() -> None:
    assert accepted_of_damaged(random.Random(62056), 1000) > 100


def accepted_of_damaged(source: random.Random, count: int) -> int:
    """How many of so many damaged answers have a check that fits; each value in them is justified by its bytes."""
    points = [
        {"quantity": "active_energy_import", "at": {"obis": "1.8.0"}},
        {"quantity": "voltage.l1", "at": {"obis": "32.7.0"}},
        {"quantity": "thermal_energy", "at": {"obis": "6.8"}},
    ]
    meters = {mode: target(*points, mode=mode) for mode in "BCD"}
    accepted = 0
    for _ in range(count):
        mode, request, requests, answers = source.choice(_tried())
        arrived = damaged(source, answers[-1])
        span = driver.answer_span(request, arrived, "own")
        assert span is None or 0 <= span[0] < span[1] <= len(arrived)
        assert all(driver.fault(request, arrived, "own"))
        for answer in (arrived, arrived[slice(*span)] if span else b""):
            made = [*answers[:-1], answer]
            try:
                driver.check(request, answer, "own")
            except MeterError:
                continue
            accepted += 1
            formula = driver.frame_serial(meters[mode], requests, made)
            assert formula is None or isinstance(evaluate(formula, made), Outcome)
            for point in meters[mode].model.points:
                check_value(meters[mode], requests, made, point, answer)
    return accepted


def check_value(meter: Target, requests: list[bytes], answers: list[bytes], point: Any, answer: bytes) -> None:
    try:
        value = evaluate(driver.locate(meter, requests, point, answers), answers).value
    except NoValue:
        return
    if value is None:
        return
    unit = "V" if point.quantity.startswith("voltage") else "kWh"
    short = point.at.obis.removesuffix(".0")
    codes = (short, f"{short}.0", f"{short}*255", f"{short}.0*255")
    justified = {fraction for code in codes for fraction in derived(answer, code, unit)}
    assert any(abs(Fraction(value) - fraction) <= abs(fraction) / 10**30 for fraction in justified), (value, answer)


def test_random_bytes_never_raise_anything_but_our_errors() -> None:
    source = random.Random(1107)
    meter = target()
    alphabet: list[Callable[[], bytes]] = [
        lambda: source.randbytes(source.randrange(40)),
        lambda: bytes(source.choice(b"/?!\r\n\x01\x02\x03\x06\x15()*.:0159ABkWh&-") for _ in range(source.randrange(60))),
    ]
    for _ in range(3_000):
        arrived = source.choice(alphabet)()
        for request in (SIGN_ON, OPTION, b"", bytes(66), with_parity(SIGN_ON), arrived):
            driver.answer_span(request, arrived, "own")
            assert all(driver.fault(request, arrived, "own"))
            driver.identification(arrived, "own")
            driver.following(meter, request, arrived)
            driver.prescribes(meter, meter.model.points, arrived)
            driver.frame_serial(meter, [request], [arrived])
            with contextlib.suppress(MeterError):
                driver.check(request, arrived, "own")
            try:
                evaluate(driver.locate(meter, [request], meter.model.points[0], [arrived]), [arrived])
            except (KeyError, NoValue):
                continue


# --- the parity flag of formulas ----------------------------------------------------------------------------


def all_parities(text: bytes) -> Iterator[bytes]:
    yield text
    yield with_parity(text)
    yield bytes(byte | 0x80 for byte in text)


def test_a_formula_marked_p_reads_characters_without_their_eighth_bit() -> None:
    for data in all_parities(b"(001234.50*kWh)"):
        assert evaluate("0p@1:dec9*1000", [data]) == Outcome("1234500.00")
        assert evaluate("0p@11:ascii3", [data]) == Outcome("kWh")
    assert evaluate("0@1:dec9", [with_parity(b"(001234.50*kWh)")]) == Outcome(None, "bad_text")
    with pytest.raises(FormulaError):
        evaluate("0q@1:dec9", [b"(001234.50*kWh)"])


def test_every_quantity_has_units_that_meters_write() -> None:
    for vector in READOUTS:
        assert all(quantity_of(name).unit for name in vector["values"])
