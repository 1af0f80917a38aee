"""CJ/T 188: frames found in public sources, who answered what, units, layouts, and ten thousand damaged frames.

What a value has to be is derived here a second time, from the standard's table of units and with fractions.
"""

from __future__ import annotations

import ast
import json
import random
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config.cjt188 import Cjt188Model, Cjt188Place, Cjt188Point, Cjt188Watch
from config.library import load_models
from config.model import Point, Watch
from drivers import PROTOCOLS, Target, cjt188, load
from drivers.cjt188_frame import read_frame
from drivers.errors import BadFrame, FormulaError, MeterError, NoValue, Refused
from drivers.formula import evaluate

ROOT = Path(__file__).resolve().parents[2]
VECTORS: list[dict[str, Any]] = json.loads((Path(__file__).parent / "vectors" / "cjt188.json").read_text("utf-8"))["frames"]
MODELS = {name: file.declared for name, file in load_models().items() if file.declared.protocol == "cjt188"}
OWN = "own"
each_model = pytest.mark.parametrize("name", sorted(MODELS))


def vectors(kind: str, *, valid: bool = True, telling: str = "name") -> pytest.MarkDecorator:
    """The published frames of a kind that tell something, such as a status word."""
    chosen = [vector for vector in VECTORS if vector["kind"] == kind and vector["valid"] is valid and telling in vector]
    return pytest.mark.parametrize("vector", chosen, ids=[vector["name"] for vector in chosen])


def model_of(name: str) -> Cjt188Model:
    return cast("Cjt188Model", MODELS[name])


def target_of(name: str, address: str = "78330123456789") -> Target:
    return Target(model_of(name), address, OWN)


def bytes_of(vector: dict[str, Any]) -> bytes:
    return bytes.fromhex(vector["frame"])


def bare(frame: bytes) -> bytes:
    return frame.lstrip(b"\xfe")


def closed(body: bytes) -> bytes:
    return body + bytes([sum(body) % 256, 0x16])


def framed(kind: int, address: str, control: int, data: bytes) -> bytes:
    return closed(bytes([0x68, kind]) + bytes.fromhex(address)[::-1] + bytes([control, len(data)]) + data)


def request_to(answer: bytes) -> bytes:
    """The request that an answer with an identifier is to."""
    return b"\xfe\xfe" + closed(answer[:9] + bytes([answer[9] & 0x3F, 3]) + answer[11:14])


def value_of(target: Target, quantity: str, request: bytes, answer: bytes) -> str | None:
    outcome = evaluate(cjt188.locate(target, [request], target.model.point(quantity), [answer]), [answer])
    return outcome.value or outcome.cause


def cause_of(request: bytes, answer: bytes) -> str:
    with pytest.raises(MeterError) as caught:
        cjt188.check(request, answer, OWN)
    return caught.value.cause


def water(
    current: str = "00 77 66 55 2C", settled: str = "00 77 66 55 2C", clock: str = "31 01 22 11 05 15 20", order: str = "1F 90"
) -> bytes:
    return framed(0x10, "78330123456789", 0x81, bytes.fromhex(f"{order} 00 {current} {settled} {clock} 21 84"))


WATER = target_of("cjt188-water-2018")
ASKED = cjt188.requests(WATER, WATER.model.points[:1])[0].data


# --- frames found in public sources ---------------------------------------------------------------------------


@vectors("answer")
def test_a_published_answer_is_found_behind_its_wake_up_bytes_and_accepted(vector: dict[str, Any]) -> None:
    data = bytes_of(vector)
    request = request_to(bare(data))
    start = len(data) - len(bare(data))
    assert cjt188.answer_span(request, data, OWN) == (start, len(data))
    cjt188.check(request, bare(data), OWN)


@vectors("answer")
def test_a_published_answer_decodes_to_its_values_and_to_nothing_else(vector: dict[str, Any]) -> None:
    answer = bare(bytes_of(vector))
    target = target_of(vector["model"], f"{vector['type']}-{vector['address']}")
    held, causes = {}, {}
    for point in target.model.points:
        try:
            outcome = evaluate(cjt188.locate(target, [request_to(answer)], point, [answer]), [answer])
        except KeyError:
            continue
        except NoValue as error:
            causes[point.quantity] = error.cause
            continue
        if outcome.value is None:
            causes[point.quantity] = outcome.cause
        else:
            held[point.quantity] = outcome.value
    assert held == vector.get("values", {})
    assert causes.items() >= vector.get("causes", {}).items()
    assert held or causes


def clock_in(answer: bytes) -> Cjt188Watch:
    """The clock in a block of current data: in front of the status word."""
    return Cjt188Watch(name="clock", at=Cjt188Place(identifier="901F", first=answer[10] - 12, bytes=7, type="clock"))


@vectors("answer", telling="clock")
def test_a_published_clock_is_told_as_its_digits(vector: dict[str, Any]) -> None:
    answer = bare(bytes_of(vector))
    target = target_of(vector["model"], f"{vector['type']}-{vector['address']}")
    formula = cjt188.locate(target, [request_to(answer)], clock_in(answer), [answer])
    assert evaluate(formula, [answer]).value == vector["clock"]


def test_a_published_clock_that_is_no_moment_is_not_available() -> None:
    without = [vector for vector in VECTORS if vector["kind"] == "answer" and "status" in vector and "clock" not in vector]
    assert len(without) >= 10
    for vector in without:
        answer = bare(bytes_of(vector))
        target = target_of(vector["model"], f"{vector['type']}-{vector['address']}")
        with pytest.raises(NoValue, match="not_available"):
            cjt188.locate(target, [request_to(answer)], clock_in(answer), [answer])


@vectors("answer", telling="status")
def test_a_published_status_word_is_kept_as_its_bytes(vector: dict[str, Any]) -> None:
    answer = bare(bytes_of(vector))
    target = target_of(vector["model"], f"{vector['type']}-{vector['address']}")
    (watch,) = target.model.attest
    assert evaluate(cjt188.locate(target, [request_to(answer)], watch, [answer]), [answer]).value == vector["status"]


@vectors("answer", valid=False)
def test_a_published_answer_with_a_wrong_checksum_is_refused(vector: dict[str, Any]) -> None:
    data = bytes_of(vector)
    request = request_to(bare(data))
    assert cjt188.answer_span(request, data, OWN) is None
    assert cjt188.fault(request, data, OWN)[0] == "bad_checksum"
    assert cause_of(request, bare(data)) == "bad_checksum"
    right = bare(data)[:-2] + bytes.fromhex(vector["right_checksum"]) + b"\x16"
    cjt188.check(request, right, OWN)


@vectors("request")
def test_a_published_request_is_what_is_sent_for_its_meter(vector: dict[str, Any]) -> None:
    data = bytes_of(vector)
    model = model_of(vector["model"])
    limits = model.cjt188.model_copy(update={"sequence": vector["sequence"], "wake_up": len(data) - len(bare(data))})
    target = Target(model.model_copy(update={"cjt188": limits}), f"{vector['type']}-{vector['address']}", OWN)
    if vector["control"] == "03":
        made = cjt188.identification_request(target)
    else:
        (made,) = cjt188.requests(target, [point for point in model.points if point.default])
        assert cjt188.prescribes(target, model.points, data)
    assert made.data == data


@vectors("address")
def test_a_published_answer_with_an_address_tells_the_number_on_the_plate(vector: dict[str, Any]) -> None:
    answer = bare(bytes_of(vector))
    cjt188.check(request_to(answer), answer, OWN)
    said, following = cjt188.identification(answer, OWN)
    assert said == {"address": vector["address"], "type": "10H cold water"}
    assert following is None


@vectors("abnormal")
def test_a_published_abnormal_answer_is_a_refusal_that_names_its_status(vector: dict[str, Any]) -> None:
    answer = bare(bytes_of(vector))
    request = closed(answer[:9] + bytes([1, 3]) + answer[11:14])
    with pytest.raises(Refused, match=f"C1H.*status {vector['refused']}") as caught:
        cjt188.check(request, answer, OWN)
    assert caught.value.cause == "abnormal"


def test_the_abnormal_answer_of_the_standards_form_names_valve_and_battery() -> None:
    with pytest.raises(Refused, match="status 05 00: valve closed, battery low"):
        cjt188.check(ASKED, framed(0x10, "78330123456789", 0xC1, bytes.fromhex("00 05 00")), OWN)


def test_every_known_order_type_and_position_of_units_is_among_the_published_answers() -> None:
    answers = [vector for vector in VECTORS if vector["kind"] == "answer" and vector["valid"]]
    assert {vector["identifier_bytes"] for vector in answers} >= {"901F", "1F90", "D120"}
    assert {vector["type"] for vector in answers} >= {"10", "20", "25", "27", "30"}
    assert {vector["model"] for vector in answers} >= {"cjt188-heat-unit-first", "cjt188-heat", "cjt188-heat-and-cooling"}
    assert len(answers) >= 25


# --- what is sent ---------------------------------------------------------------------------------------------


def test_one_request_fetches_all_current_data_and_one_each_month() -> None:
    quantities = ("volume_forward.m12", "volume_forward", "volume_forward.m1", "volume_forward.m0")
    points = [WATER.model.point(quantity) for quantity in quantities]
    sent = cjt188.requests(WATER, points)
    assert [bare(request.data)[11:13].hex() for request in sent] == ["1f90", "20d1", "2bd1"]
    assert sent == cjt188.requests(WATER, points[::-1], 0)
    assert all(cjt188.following(WATER, request.data, b"") is None for request in sent)
    assert all(cjt188.numbered(request, 7, OWN) is request for request in sent)


def test_a_request_waits_as_long_as_the_model_says() -> None:
    limits = model_of("cjt188-water-2018").cjt188.model_copy(
        update={"timeout_ms": 1500, "pause_ms": 40, "longest_answer_ms": 4000}
    )
    target = Target(WATER.model.model_copy(update={"cjt188": limits}), WATER.address, OWN)
    (request,) = cjt188.requests(target, target.model.points[:1])
    assert (request.timeout_s, request.pause_s, request.longest_answer_s) == (1.5, 0.04, 4.0)
    assert request.longest_bytes >= len(water()) + 4


@each_model
def test_prescribed_is_what_is_sent_with_any_sequence_number_and_nothing_else(name: str) -> None:
    target = target_of(name)
    points = target.model.points
    for request in cjt188.requests(target, points):
        assert cjt188.prescribes(target, points, request.data)
        frame = bytearray(bare(request.data))
        for position in range(len(frame)):
            changed = bytearray(frame)
            changed[position] ^= 0x11
            whole = b"\xfe" * 4 + closed(bytes(changed[:-2])) if position < len(frame) - 2 else b"\xfe" * 4 + bytes(changed)
            assert cjt188.prescribes(target, points, whole) is (position == 13), position
        assert not cjt188.prescribes(target, points, request.data[1:])
    assert not cjt188.prescribes(target, points, cjt188.identification_request(target).data)
    assert not cjt188.prescribes(target, points, b"")
    assert (
        not cjt188.prescribes(target, points[:1], cjt188.requests(target, points)[-1].data)
        or len(model_of(name).cjt188.lengths) == 1
    )


@each_model
def test_only_the_two_reading_functions_are_ever_sent(name: str) -> None:
    target = target_of(name)
    sent = [*cjt188.requests(target, target.model.points), cjt188.identification_request(target)]
    assert {bare(request.data)[9] for request in sent} == {1, 3}
    assert {bare(request.data)[10] for request in sent} == {3}


@pytest.mark.parametrize("function", [0, 2, 4, 0x0F, 0x15, 0x16, 0x81])
def test_no_frame_is_made_for_a_function_that_is_no_read(function: int) -> None:
    with pytest.raises(ValueError, match="no function that reads"):
        read_frame(function, bytes(8), b"\x90\x1f", 0, 0)


def test_no_number_of_a_writing_function_stands_in_the_program() -> None:
    forbidden = {0x04, 0x15, 0x16, 0x84, 0x95, 0x96}
    found = []
    for path in sorted((ROOT / "drivers").glob("cjt188*.py")):
        text = path.read_text("utf-8")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Constant) and isinstance(node.value, int) and node.value in forbidden:
                found.append((path.name, ast.get_source_segment(text, node), text.splitlines()[node.lineno - 1].strip()))
    allowed = ("_END = 0x16", "_WAKE_UP", "status[0] & 4", "range(4, 14, 2)", "digits[:4]")
    assert [each for each in found if not any(line in each[2] for line in allowed)] == []


def test_the_driver_is_found_by_its_name() -> None:
    assert "cjt188" in PROTOCOLS
    assert load("cjt188") is cast("Any", cjt188)


def test_every_answer_repeats_type_and_address_unless_any_meter_was_asked() -> None:
    assert cjt188.station(ASKED, OWN) == bytes.fromhex("10 89 67 45 23 01 33 78")
    for address in ("AAAAAAAAAAAAAA", "AA-78330123456789", "AA-AAAAAAAAAAAAAA"):
        (request,) = cjt188.requests(target_of("cjt188-water-2018", address), WATER.model.points[:1])
        assert cjt188.station(request.data, OWN) == b""
    assert cjt188.station(b"", OWN) == b""


# --- whose answer it is ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "cause"),
    [
        ({1: 0x11}, "wrong_unit"),
        ({2: 0x88}, "wrong_unit"),
        ({8: 0x77}, "wrong_unit"),
        ({9: 0x83}, "wrong_function"),
        ({9: 0xA1}, "wrong_function"),
        ({9: 0x01}, "wrong_function"),
        ({11: 0x20, 12: 0xD1}, "wrong_identifier"),
        ({11: 0x90, 12: 0x1F}, "wrong_identifier"),
        ({13: 0x01}, "wrong_sequence"),
    ],
    ids=str,
)
def test_an_answer_that_is_not_to_exactly_this_request_is_refused(changed: dict[int, int], cause: str) -> None:
    frame = bytearray(water())
    for position, byte in changed.items():
        frame[position] = byte
    answer = closed(bytes(frame[:-2]))
    cjt188.check(ASKED, water(), OWN)
    assert cause_of(ASKED, answer) == cause


def test_an_identifier_in_the_other_order_names_the_model_of_the_other_edition() -> None:
    with pytest.raises(BadFrame) as caught:
        cjt188.check(ASKED, water(order="90 1F"), OWN)
    assert "other edition" in caught.value.hint


@pytest.mark.parametrize(
    ("data", "cause"),
    [("", "wrong_length"), ("1F", "wrong_length"), ("1F 90", "wrong_length"), ("90 1F 00", "wrong_identifier")],
)
def test_an_answer_without_identifier_and_number_is_refused(data: str, cause: str) -> None:
    assert cause_of(ASKED, framed(0x10, "78330123456789", 0x81, bytes.fromhex(data))) == cause


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        ("00 00 00", "abnormal"),
        ("1F 90 00 02", "abnormal"),
        ("1F 90 00", "abnormal"),
        ("", "abnormal"),
        ("01 00 00", "wrong_sequence"),
    ],
)
def test_an_abnormal_answer_counts_only_with_the_number_of_the_request(data: str, cause: str) -> None:
    assert cause_of(ASKED, framed(0x10, "78330123456789", 0xC1, bytes.fromhex(data))) == cause


def test_a_late_answer_for_one_month_is_never_taken_for_another() -> None:
    first, second = cjt188.requests(WATER, [WATER.model.point("volume_forward.m1"), WATER.model.point("volume_forward.m2")])
    late = framed(0x10, "78330123456789", 0x81, bytes.fromhex("20 D1 00 11 11 11 11 2C"))
    cjt188.check(first.data, late, OWN)
    assert cause_of(second.data, late) == "wrong_identifier"
    with pytest.raises(KeyError):
        cjt188.locate(WATER, [first.data], WATER.model.point("volume_forward.m2"), [late])


def test_any_meter_may_answer_where_any_was_asked_and_its_address_is_in_the_answer() -> None:
    target = target_of("cjt188-water-2018", "AAAAAAAAAAAAAA")
    (request,) = cjt188.requests(target, target.model.points[:1])
    cjt188.check(request.data, water(), OWN)
    assert value_of(target, "volume_forward", request.data, water()) == "556677.00"
    serial = cjt188.frame_serial(target, [request.data], [water()])
    assert serial
    assert evaluate(serial, [water()]).value == "78330123456789"
    other_type = framed(0x11, "78330123456789", 0x81, water()[11:-2])
    assert cause_of(request.data, other_type) == "wrong_unit"


def test_the_type_in_an_address_goes_before_the_models() -> None:
    target = target_of("cjt188-heat-and-cooling", "25-11110059200991")
    (request,) = cjt188.requests(target, target.model.points)
    assert bare(request.data)[1:9] == bytes.fromhex("25 91 09 20 59 00 11 11")


# --- where the answer lies ------------------------------------------------------------------------------------


def test_an_answer_is_found_byte_by_byte_and_not_before_it_is_complete() -> None:
    whole = b"\xfe\xfe" + water()
    for length in range(len(whole)):
        assert cjt188.answer_span(ASKED, whole[:length], OWN) is None
    assert cjt188.answer_span(ASKED, whole, OWN) == (2, len(whole))


@pytest.mark.parametrize(
    "front",
    [
        b"\x00\xff\x00",
        b"\x68",
        b"\x68\x68",
        b"\x16\x10\x1b",
        b"\x68\x10\x89",
        ASKED,
        b"\xfe" * 30,
        ASKED[2:] + b"\xfe",
        water()[:20],
    ],
    ids=lambda front: front.hex(),
)
def test_noise_echo_and_wake_up_bytes_in_front_are_passed_over(front: bytes) -> None:
    data = front + water() + b"\x00\x68"
    span = cjt188.answer_span(ASKED, data, OWN)
    assert span
    assert data[slice(*span)] == water()


def test_start_and_end_characters_inside_the_data_end_no_frame() -> None:
    inner = water("68 16 10 16 2C", "16 16 68 68 2C", "16 68 16 68 16 68 16")
    assert cjt188.answer_span(ASKED, inner, OWN) == (0, len(inner))
    assert value_of(WATER, "volume_forward", ASKED, inner) == "161016.68"


def test_nothing_inside_an_answer_that_is_still_arriving_is_taken_for_one() -> None:
    small = framed(0x10, "78330123456789", 0x81, bytes.fromhex("1F 90 00"))
    outer = framed(0x10, "78330123456789", 0x81, bytes.fromhex("1F 90 00") + small + b"\0" * 9)
    assert cjt188.answer_span(ASKED, outer[:-1], OWN) is None
    assert cjt188.answer_span(ASKED, outer, OWN) == (0, len(outer))


def test_two_answers_in_one_piece_give_the_first() -> None:
    assert cjt188.answer_span(ASKED, water() + water("01 00 00 00 2C"), OWN) == (0, len(water()))


@pytest.mark.parametrize(
    ("arrived", "cause"),
    [
        (b"", "no_answer"),
        (ASKED, "only_echo"),
        (b"\xfe\xfe", "short_answer"),
        (water()[:-1], "short_answer"),
        (ASKED + water()[:12], "short_answer"),
        (water()[:-2] + b"\x00\x16", "bad_checksum"),
        (water()[:-1] + b"\x17", "wrong_length"),
        (b"\x01\x03\x02\x00\x00\xb8\x44", "noise"),
        (b"\x68\x11\x11\x11\x11\x11\x11\x68\x91", "noise"),
    ],
    ids=lambda each: each if isinstance(each, str) else each.hex(),
)
def test_what_arrived_without_a_frame_is_told_by_its_cause(arrived: bytes, cause: str) -> None:
    assert cjt188.answer_span(ASKED, arrived, OWN) is None
    told, words = cjt188.fault(ASKED, arrived, OWN)
    assert told == cause
    assert words


@pytest.mark.parametrize("cut", range(len(water())))
def test_a_truncated_answer_is_never_accepted(cut: int) -> None:
    with pytest.raises(BadFrame):
        cjt188.check(ASKED, water()[:cut], OWN)


# --- units and layouts ----------------------------------------------------------------------------------------

_J, _WH = Fraction(1, 3_600_000), Fraction(1, 1000)


def _row(unit: str, first: int, base: Fraction, steps: int = 3) -> dict[int, tuple[str, Fraction]]:
    return {first + step: (unit, base * 10**step) for step in range(steps)}


# CJ/T 188-2004 table 13: a second writing of the unit bytes, from what each of them is in the unit of the quantity.
UNITS: dict[int, tuple[str, Fraction]] = {
    **_row("kWh", 0x01, _J, 1),
    **_row("kWh", 0x02, _WH),
    **_row("kWh", 0x05, _WH * 1000),
    **_row("kWh", 0x08, _WH * 10**6),
    **_row("kWh", 0x0B, _J * 1000),
    **_row("kWh", 0x0E, _J * 10**6),
    **_row("kWh", 0x11, _J * 10**9),
    **_row("kW", 0x14, Fraction(1, 1000)),
    **_row("kW", 0x17, Fraction(1)),
    **_row("kW", 0x1A, Fraction(1000)),
    **_row("m3", 0x29, Fraction(1, 1000)),
    **_row("m3", 0x2C, Fraction(1)),
    **_row("m3/h", 0x32, Fraction(1, 1000)),
    **_row("m3/h", 0x35, Fraction(1)),
    **_row("kW", 0x40, _J, 1),
    **_row("kW", 0x43, _J * 1000),
    **_row("kW", 0x46, _J * 10**6),
    **_row("kW", 0x49, _J * 10**9),
}
FIELDS = {"thermal_energy": (5, 2), "thermal_power": (10, 2), "volume_flow": (15, 4), "volume_forward": (20, 2)}


def heat_answer(fields: dict[int, bytes], order: str = "1F 90") -> bytes:
    """A heat meter's answer: units as they mostly are, but for some fields."""
    block = bytearray.fromhex("00 01 00 00 05 00 02 00 00 05 00 03 00 00 17 00 04 00 00 35 00 05 00 00 2C" + " 00" * 18)
    for first, data in fields.items():
        block[first : first + len(data)] = data
    return framed(0x20, "78330123456789", 0x81, bytes.fromhex(order) + b"\0" + bytes(block))


def nearly(text: str, wanted: Fraction) -> bool:
    """Whether a value is exact, or where it has no end, right to its 34 digits."""
    exact = Fraction(text)
    return exact == wanted or (len(text.replace(".", "").lstrip("0")) == 34 and abs(exact / wanted - 1) < Fraction(1, 10**33))


@pytest.mark.parametrize("quantity", sorted(FIELDS))
def test_every_unit_byte_gives_the_value_in_the_unit_of_its_quantity_or_none(quantity: str) -> None:
    target = target_of("cjt188-heat")
    first, decimals = FIELDS[quantity]
    point = target.model.point(quantity)
    plain = f"0@{14 + first}:bcd4le!80000000*0.{'0' * (decimals - 1)}1"
    for code in range(256):
        answer = heat_answer({first: bytes.fromhex("67 45 23 01") + bytes([code])})
        unit, factor = UNITS.get(code, ("", Fraction(0)))
        if unit != point.unit:
            with pytest.raises(NoValue, match="unknown_unit"):
                cjt188.locate(target, [request_to(answer)], point, [answer])
            continue
        formula = cjt188.locate(target, [request_to(answer)], point, [answer])
        assert nearly(evaluate(formula, [answer]).value or "", Fraction(1234567, 10**decimals) * factor), hex(code)
        assert formula.startswith(plain)
        assert (formula == plain) is (factor == 1)


@pytest.mark.parametrize(
    ("unit", "tail", "value"),
    [
        (0x2C, "", "12345.67"),
        (0x29, "*0.001", "12.34567"),
        (0x2D, "*10", "123456.70"),
    ],
)
def test_the_formula_shows_the_factor_of_the_unit(unit: int, tail: str, value: str) -> None:
    answer = water(f"67 45 23 01 {unit:02X}")
    formula = cjt188.locate(WATER, [ASKED], WATER.model.point("volume_forward"), [answer])
    assert formula == f"0@14:bcd4le*0.01{tail}"
    assert evaluate(formula, [answer]).value == value


def test_five_gigajoules_are_their_kilowatt_hours() -> None:
    answer = heat_answer({5: bytes.fromhex("00 05 00 00 11")})
    assert (
        value_of(target_of("cjt188-heat"), "thermal_energy", request_to(answer), answer) == "1388.888888888888888888888888888889"
    )


@pytest.mark.parametrize(
    ("current", "outcome"),
    [
        ("FF FF FF FF 2C", "not_available"),
        ("FF FF FF FF FF", "not_available"),
        ("FF FF FF FF 00", "not_available"),
        ("00 FF FF 00 2C", "bad_bcd"),
        ("0A 00 00 00 2C", "bad_bcd"),
        ("00 00 00 00 2C", "0.00"),
    ],
)
def test_filled_and_damaged_numbers_are_no_values_and_zero_is_one(current: str, outcome: str) -> None:
    assert value_of(WATER, "volume_forward", ASKED, water(current)) == outcome
    assert value_of(WATER, "volume_forward.m0", ASKED, water(current)) == "556677.00"


def test_a_unit_that_nobody_knows_costs_its_own_field_only() -> None:
    answer = water(settled="00 77 66 55 99")
    assert value_of(WATER, "volume_forward", ASKED, answer) == "556677.00"
    with pytest.raises(NoValue, match="unknown_unit"):
        cjt188.locate(WATER, [ASKED], WATER.model.point("volume_forward.m0"), [answer])


@pytest.mark.parametrize(
    "vector", [vector for vector in VECTORS if vector.get("model") == "cjt188-heat-unit-first" and vector["kind"] == "answer"]
)
def test_units_in_front_are_never_read_as_digits_by_a_model_with_units_behind(vector: dict[str, Any]) -> None:
    answer = bare(bytes_of(vector))
    target = target_of("cjt188-heat-2004", f"20-{vector['address']}")
    for point in target.model.points[:8]:
        with pytest.raises(NoValue) as caught:
            cjt188.locate(target, [request_to(answer)], point, [answer])
        assert caught.value.cause == "other_layout"


def test_units_in_front_are_refused_even_where_the_last_digits_look_like_a_unit() -> None:
    # 05 19 28 53 05 is 55328.19 kWh with the unit in front; 532819.05 kWh would be read with it behind.
    field = bytes.fromhex("05 19 28 53 05")
    block = {
        0: field,
        5: field,
        10: bytes.fromhex("17 00 00 00 00"),
        15: bytes.fromhex("35 21 43 00 00"),
        20: bytes.fromhex("2C 42 33 18 00"),
    }
    answer = heat_answer(block, "90 1F")
    right, wrong = target_of("cjt188-heat-unit-first"), target_of("cjt188-heat-2004")
    assert value_of(right, "thermal_energy", request_to(answer), answer) == "55328.19"
    with pytest.raises(NoValue, match="other_layout"):
        cjt188.locate(wrong, [request_to(answer)], wrong.model.point("thermal_energy"), [answer])
    behind = heat_answer({}, "90 1F")
    assert value_of(wrong, "thermal_energy", request_to(behind), behind) == "2.00"
    with pytest.raises(NoValue, match="other_layout"):
        cjt188.locate(right, [request_to(behind)], right.model.point("thermal_energy"), [behind])


@pytest.mark.parametrize("length", [0, 4, 18, 20, 43, 200])
def test_a_block_of_another_length_than_the_model_says_gives_nothing(length: int) -> None:
    answer = framed(0x10, "78330123456789", 0x81, bytes.fromhex("1F 90 00") + b"\0" * length)
    cjt188.check(ASKED, answer, OWN)
    items: list[Point | Watch] = [WATER.model.point("volume_forward"), *WATER.model.attest]
    for item in items:
        with pytest.raises(NoValue, match="wrong_length"):
            cjt188.locate(WATER, [ASKED], item, [answer])


def own_model(at: dict[str, Any], **more: Any) -> Target:
    """The water model with one point drawn otherwise, as a maker's own file would."""
    point = Cjt188Point(quantity="volume_forward", at=Cjt188Place(identifier="901F", **at), **more)
    return Target(WATER.model.model_copy(update={"points": (point,)}), WATER.address, OWN)


@pytest.mark.parametrize(
    ("at", "formula", "value"),
    [
        ({"first": 0, "bytes": 4, "unit": "behind"}, "0@14:bcd4le*0.001", "1704.700"),
        ({"first": 0, "bytes": 4, "decimals": 2, "unit": "behind", "units": {"29": "0.1"}}, "0@14:bcd4le*0.01*0.1", "1704.700"),
        ({"first": 0, "bytes": 4, "unit": "behind", "units": {"29": "1"}}, "0@14:bcd4le", "1704700"),
        ({"first": 0, "bytes": 2, "order": "high_first"}, "0@14:bcd2be", "47"),
        ({"first": 0, "bytes": 4, "type": "binary", "decimals": 3}, "0@14:u32le*0.001", "24135.424"),
        ({"first": 2, "bytes": 1, "type": "binary", "signed": True}, "0@16:i8", "112"),
        ({"first": 3, "bytes": 1, "type": "bits", "bits": "0-1"}, "0@17:u8[0-1]", "1"),
        ({"first": 0, "bytes": 4, "missing": ["01 70 47 00"]}, "0@14:bcd4le!01704700", "not_available"),
        ({"first": 0, "bytes": 4, "signed": True}, "0@14:bcd4les", "1704700"),
    ],
    ids=str,
)
def test_a_maker_s_own_drawing_is_one_place_in_a_file(at: dict[str, Any], formula: str, value: str) -> None:
    target = own_model(at)
    answer = water("00 47 70 01 29")
    told = cjt188.locate(target, [ASKED], target.model.points[0], [answer])
    assert told == formula
    outcome = evaluate(told, [answer])
    assert (outcome.value or outcome.cause) == value


def test_an_integer_part_and_a_fraction_are_one_value() -> None:
    target = target_of("rd-w10", "12345678")
    (request,) = cjt188.requests(target, target.model.points)
    data = bytes.fromhex("90 1F 00 34 12 00 00 90 78 56") + b"\0" * 12
    answer = framed(0x10, "00000012345678", 0x81, data)
    formula = cjt188.locate(target, [request.data], target.model.points[0], [answer])
    assert formula == "0@14:bcd4le+0@18:bcd3le*0.000001"
    assert evaluate(formula, [answer]).value == "1234.567890"


@pytest.mark.parametrize(
    ("clock", "told"),
    [
        ("31 01 22 11 05 15 20", "20150511220131"),
        ("59 59 23 29 02 24 20", "20240229235959"),
        ("00 00 00 29 02 23 20", None),
        ("60 00 00 01 01 20 20", None),
        ("00 60 00 01 01 20 20", None),
        ("00 00 24 01 01 20 20", None),
        ("00 00 00 00 00 00 00", None),
        ("00 00 00 01 13 20 20", None),
        ("60 20 20 00 00 00 00", None),
        ("FF FF FF FF FF FF FF", None),
        ("99 99 99 99 99 99 99", None),
        ("0A 00 00 01 01 20 20", None),
    ],
)
def test_a_clock_is_a_moment_that_exists_or_nothing(clock: str, told: str | None) -> None:
    answer = water(clock=clock)
    watch = Cjt188Watch(name="clock", at=Cjt188Place(identifier="901F", first=10, bytes=7, type="clock"))
    if told is None:
        with pytest.raises(NoValue, match="not_available"):
            cjt188.locate(WATER, [ASKED], watch, [answer])
    else:
        assert evaluate(cjt188.locate(WATER, [ASKED], watch, [answer]), [answer]).value == told


def test_single_bits_of_the_status_word_can_be_watched() -> None:
    at = Cjt188Place(identifier="901F", first=17, bytes=1, type="bits", bits="0-1")
    valve = Cjt188Watch(name="valve", at=at)
    assert evaluate(cjt188.locate(WATER, [ASKED], valve, [water()]), [water()]).value == "1"


# --- a poll -----------------------------------------------------------------------------------------------------


def test_values_point_into_their_own_answer_of_a_poll_and_failed_ones_are_masked() -> None:
    points = [WATER.model.point("volume_forward"), WATER.model.point("volume_forward.m3")]
    requests = [request.data for request in cjt188.requests(WATER, points)]
    month = framed(0x10, "78330123456789", 0x81, bytes.fromhex("22 D1 00 11 22 33 44 2C"))
    answers = [water(), month]
    assert cjt188.locate(WATER, requests, points[1], answers) == "1@14:bcd4le*0.01"
    assert cjt188.frame_serial(WATER, requests, answers) == "0@2:digits7le"
    masked = [b"", *requests[1:]], [b"", month]
    assert cjt188.frame_serial(WATER, *masked) == "1@2:digits7le"
    assert cjt188.locate(WATER, masked[0], points[1], masked[1]) == "1@14:bcd4le*0.01"
    with pytest.raises(KeyError):
        cjt188.locate(WATER, masked[0], points[0], masked[1])
    again = [b"", requests[1], requests[0]], [b"", month, water()]
    assert cjt188.locate(WATER, again[0], points[0], again[1]) == "2@14:bcd4le*0.01"


def test_a_point_is_located_without_an_answer_so_that_a_failure_can_be_told_for_it() -> None:
    point = WATER.model.point("volume_forward")
    assert cjt188.locate(WATER, [ASKED], point, [b""]) == "0@14:bcd4le*0.01"
    assert cjt188.locate(WATER, [ASKED], point) == "0@14:bcd4le*0.01"


def test_requests_of_another_meter_fetch_nothing_of_this_one() -> None:
    other = target_of("cjt188-water-2018", "11-78330123456789")
    with pytest.raises(KeyError):
        cjt188.locate(other, [ASKED], other.model.points[0], [water()])


def test_an_address_that_is_no_decimal_number_has_no_serial_formula() -> None:
    answer = framed(0x20, "20691530F1FFFF", 0x81, bytes.fromhex("1F 90 00"))
    assert cjt188.frame_serial(WATER, [b"x"], [answer]) is None
    assert cjt188.frame_serial(WATER, [b""], [b""]) is None


def test_a_serial_keeps_its_leading_zeros() -> None:
    answer = framed(0x10, "00201510270588", 0x81, bytes.fromhex("90 1F 01"))
    formula = cjt188.frame_serial(WATER, [b"x"], [answer])
    assert formula
    assert evaluate(formula, [answer]).value == "00201510270588"


# --- damaged frames -----------------------------------------------------------------------------------------------


def derived(model: Cjt188Model, point: Cjt188Point, answer: bytes) -> Fraction | None:
    """A point's value once more, from the bytes alone; None where they justify none."""
    limits = {name.upper(): length for name, length in model.cjt188.lengths.items()}
    block, total = answer[14:-2], Fraction(0)
    if answer[10] != limits[point.at.identifier.upper()] or len(block) != answer[10] - 3:
        return None
    for at, scale in [(point.at, point.scale), *((part.at, part.scale) for part in point.plus)]:
        field = block[at.first : at.first + at.bytes + (at.unit != "none")]
        number = field[1:] if at.unit == "in_front" else field[: at.bytes]
        digits = number[::-1].hex()
        if not digits.isdecimal() or digits in [text.replace(" ", "").lower() for text in at.missing]:
            return None
        factor = Fraction(1)
        if at.unit != "none":
            unit, factor = UNITS.get(field[0] if at.unit == "in_front" else field[-1], ("", Fraction(0)))
            if unit != point.unit:
                return None
        total += Fraction(int(digits), 10**at.decimals) * factor * Fraction(scale)
    return total


def tried(target: Target, request: bytes, data: bytes) -> Iterator[tuple[Cjt188Point, bytes, str]]:
    """What a poll would make of arrived bytes: the values taken from them. Nothing but the contract's errors is let through."""
    span = cjt188.answer_span(request, data, OWN)
    if span is None:
        cause, words = cjt188.fault(request, data, OWN)
        assert cause
        assert words
        return
    answer = data[slice(*span)]
    assert answer[:1] == b"\x68"
    try:
        cjt188.check(request, answer, OWN)
    except (BadFrame, Refused):
        return
    cjt188.identification(answer, OWN)
    cjt188.frame_serial(target, [request], [answer])
    for point in target.model.points:
        try:
            outcome = evaluate(cjt188.locate(target, [request], point, [answer]), [answer])
        except (KeyError, NoValue):
            continue
        if outcome.value is not None:
            yield cast("Cjt188Point", point), answer, outcome.value


PAIRS = [
    (target_of(vector["model"], f"{vector['type']}-{vector['address']}"), request_to(bare(bytes_of(vector))), bytes_of(vector))
    for vector in VECTORS
    if vector["kind"] == "answer" and vector["valid"]
]


def damaged(data: bytes, source: random.Random) -> bytes:
    """A frame with bytes changed, cut out or put in, its checksum put right again more often than not."""
    frame = bytearray(bare(data))
    for _ in range(source.randint(1, 4)):
        position = source.randrange(len(frame))
        match source.randrange(6):
            case 0:
                del frame[position]
            case 1:
                frame.insert(position, source.randrange(256))
            case _:
                frame[position] = source.choice([source.randrange(256), 0xFF, 0x68, 0x16, 0x00, 0x2C, 0x05])
        if len(frame) < 14:
            break
    if source.random() < 0.7 and len(frame) > 13:
        if source.random() < 0.5:
            frame[10] = max(0, len(frame) - 13) % 256
        frame = bytearray(closed(bytes(frame[:-2])))
    return bytes(frame)


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(min_value=0, max_value=2**32), st.sampled_from(range(len(PAIRS))))
def test_no_damaged_frame_gives_a_value_that_its_bytes_do_not_justify(seed: int, which: int) -> None:
    source = random.Random(seed)
    target, request, data = PAIRS[which]
    for _ in range(20):  # ten thousand frames in all
        for point, answer, value in tried(target, request, damaged(data, source)):
            wanted = derived(cast("Cjt188Model", target.model), point, answer)
            assert wanted is not None, (point.quantity, answer.hex())
            assert nearly(value, wanted), (point.quantity, answer.hex())


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=120), st.sampled_from(range(len(PAIRS))))
def test_no_bytes_whatever_raise_anything_but_the_contracts_errors(data: bytes, which: int) -> None:
    target, request, _ = PAIRS[which]
    list(tried(target, request, data))
    for asked in (request, data, b""):
        cjt188.answer_span(asked, data, OWN)
        cjt188.fault(asked, data, OWN)
        cjt188.station(data, OWN)
        cjt188.prescribes(target, target.model.points, data)
        with suppress(MeterError):
            cjt188.check(asked, data, OWN)
    for point in target.model.points[:2]:
        with suppress(KeyError, NoValue, FormulaError):
            evaluate(cjt188.locate(target, [request], point, [data]), [data])


def test_undamaged_frames_do_give_values() -> None:
    found = [value for target, request, data in PAIRS for _, _, value in tried(target, request, data)]
    assert len(found) > 100


def test_the_moments_used_here_are_real() -> None:
    clocks = [vector["clock"] for vector in VECTORS if "clock" in vector]
    assert all(datetime.strptime(f"{clock}+0000", "%Y%m%d%H%M%S%z") for clock in clocks)
    assert len(clocks) >= 10
