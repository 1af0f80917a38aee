"""DL/T 645 frames: published ones decode to what was published, and an answer that is not the one asked for is refused."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from config.library import load_models
from config.model import Point, Watch
from drivers import Target, dlt645, load
from drivers.dlt645_frame import Asked, request_frame
from drivers.errors import BadFrame, MeterError, NoValue, Refused
from drivers.formula import evaluate
from tests.peers.dlt645 import METER, answer, frame, place, target

VECTORS = json.loads((Path(__file__).parent / "vectors" / "dlt645.json").read_text("utf-8"))
ENERGY, POWER = "00010000", "02030000"
ASKED = bytes.fromhex("FE FE FE FE") + frame(METER, 0x11, "00000100")
TOLD = answer(ENERGY, "00123456")


def told(kind: str) -> list[Any]:
    """Published frames with something stated about them."""
    return [pytest.param(row, id=row["name"]) for row in VECTORS if kind in row]


def found(request: bytes, arrived: bytes) -> bytes:
    """The answer in what has arrived, accepted as one to the request."""
    span = dlt645.answer_span(request, arrived, "own")
    assert span is not None
    dlt645.check(request, arrived[slice(*span)], "own")
    return arrived[slice(*span)]


def cause(request: bytes, arrived: bytes) -> str:
    with pytest.raises(MeterError) as raised:
        dlt645.check(request, arrived, "own")
    return raised.value.cause


# --- published frames ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", told("value"))
def test_a_published_value_is_read_from_its_published_frame(row: dict[str, Any]) -> None:
    point = place(row["identifier"], scale=row["scale"], signed=row.get("signed"))
    meter = target(point, address=row["address"], edition=row["edition"])
    request = dlt645.requests(meter, meter.model.points)[0].data
    whole = found(request, bytes.fromhex(row["frame"]))
    assert evaluate(dlt645.locate(meter, [request], meter.model.points[0], [whole]), [whole]).value == row["value"]


@pytest.mark.parametrize("row", told("members"))
def test_the_members_of_a_published_block_are_read_at_their_places(row: dict[str, Any]) -> None:
    points = [place(member, f"active_energy_import.ch{index}") for index, member in enumerate(row["members"])]
    meter = target(*points, address=row["address"], edition=1997, blocks=[row["identifier"]])
    (request,) = dlt645.requests(meter, meter.model.points)
    whole = found(request.data, bytes.fromhex(row["frame"]))
    values = [evaluate(dlt645.locate(meter, [request.data], point, [whole]), [whole]).value for point in meter.model.points]
    assert values == list(row["members"].values())


@pytest.mark.parametrize("row", told("digits"))
def test_published_digits_are_read_with_their_leading_zeros(row: dict[str, Any]) -> None:
    watch = {"name": "told", "at": {"id": row["identifier"], "type": "digits"}}
    meter = target(place("9010"), address=row["address"], edition=1997, identity=[watch])
    (request,) = dlt645.requests(meter, meter.model.identity)
    whole = found(request.data, bytes.fromhex(row["frame"]))
    formula = dlt645.locate(meter, [request.data], meter.model.identity[0], [whole])
    assert evaluate(formula, [whole]).value == row["digits"]


@pytest.mark.parametrize("row", told("refused"))
def test_a_published_refusal_is_one_whatever_was_asked(row: dict[str, Any]) -> None:
    point = place("9010" if row["edition"] == 1997 else ENERGY)
    meter = target(point, address=row["address"], edition=row["edition"])
    request = dlt645.requests(meter, meter.model.points)[0].data
    arrived = bytes.fromhex(row["frame"])
    span = dlt645.answer_span(request, arrived, "own")
    assert span
    with pytest.raises(Refused, match=r"no data under this identifier \(bit 1\)") as raised:
        dlt645.check(request, arrived[slice(*span)], "own")
    assert raised.value.cause == row["refused"]


@pytest.mark.parametrize("row", told("fault"))
def test_a_published_frame_with_a_wrong_sum_is_never_taken(row: dict[str, Any]) -> None:
    request = request_frame(4, Asked(bytes.fromhex("017200720000"), 0x11, ENERGY))
    arrived = bytes.fromhex(row["frame"])
    assert dlt645.answer_span(request, arrived, "own") is None
    assert dlt645.fault(request, arrived, "own")[0] == row["fault"] == cause(request, arrived)


# One of the published requests is to all meters, which this program has no means to make.
TO_ONE = [row for row in VECTORS if row.get("request", {}).get("address", "9" * 12) != "9" * 12]


@pytest.mark.parametrize("row", TO_ONE, ids=lambda row: str(row["name"]))
def test_published_requests_are_built_byte_for_byte(row: dict[str, Any]) -> None:
    told = row["request"]
    wanted = bytes.fromhex(row["frame"])
    wake = len(wanted) - len(wanted.lstrip(b"\xfe"))
    if told["identifier"]:
        meter = target(place(told["identifier"]), address=told["address"], wake=wake)
        assert dlt645.requests(meter, meter.model.points)[0].data == wanted
    else:
        request = dlt645.identification_request(target(place(ENERGY), address=told["address"], wake=wake))
        assert request
        assert request.data == wanted


@pytest.mark.parametrize("row", [row for row in VECTORS if "address" in row], ids=lambda row: str(row["name"]))
def test_the_number_in_a_published_frame_is_the_meters_own(row: dict[str, Any]) -> None:
    arrived = bytes.fromhex(row["frame"])
    whole = arrived[arrived.index(0x68) :]
    formula = dlt645.frame_serial(target(place(ENERGY)), [b"", b"asked"], [b"", whole])
    assert formula == "1@1:digits6le"
    assert evaluate(formula, [b"", whole]).value == row["address"]


@pytest.mark.parametrize("name", ["read address reply", "read address reply 2"])
def test_a_meter_tells_its_address_to_whoever_is_alone_with_it(name: str) -> None:
    row = next(row for row in VECTORS if row["name"] == name)
    request = dlt645.identification_request(target(place(ENERGY), address="A" * 12))
    assert request
    whole = found(request.data, bytes.fromhex(row["frame"]))
    assert dlt645.identification(whole, "own") == ({"address": row["address"]}, None)


def test_a_meter_of_1997_is_asked_for_its_number_instead() -> None:
    row = next(row for row in VECTORS if row.get("identifier") == "C032")
    request = dlt645.identification_request(target(place("9010"), address=row["address"], edition=1997))
    assert request
    whole = found(request.data, bytes.fromhex(row["frame"]))
    assert dlt645.identification(whole, "own") == ({"meter number": "201708176934"}, None)


# --- whose answer it is -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arrived", "wanted"),
    [
        (answer(POWER, "003312"), "wrong_identifier"),  # a late answer to the request before
        (answer("00010100", "00123456"), "wrong_identifier"),
        (answer(ENERGY, "00123456", address="000012345671"), "wrong_unit"),
        (answer(ENERGY, "00123456", address="999999999999"), "wrong_unit"),
        (answer(ENERGY, "00123456", control=0x11), "wrong_function"),  # a request
        (answer(ENERGY, "00123456", control=0x92), "wrong_function"),
        (answer(ENERGY, "00123456", control=0x94), "wrong_function"),  # an answer to somebody's write
        (answer(ENERGY, "00123456", control=0x81), "wrong_function"),
        (frame(METER, 0x93, "705634120000"), "wrong_function"),
        (frame(METER, 0x91, "000001"), "wrong_identifier"),
        (frame(METER, 0x91), "wrong_identifier"),
        (answer(ENERGY), "wrong_length"),
        (TOLD[:-1], "not_dlt645"),
        (TOLD[:-2] + b"\x00\x16", "bad_checksum"),
        (TOLD[:9] + b"\x09" + TOLD[10:], "wrong_length"),
        (TOLD + b"\x16", "wrong_length"),
        (b"\xfe" + TOLD, "not_dlt645"),
        (b"", "not_dlt645"),
        (frame("00001234567A", 0x91, "0000010056341200"), "wrong_unit"),
    ],
)
def test_what_is_not_the_answer_to_this_request_is_refused_by_its_cause(arrived: bytes, wanted: str) -> None:
    assert cause(ASKED, arrived) == wanted
    dlt645.check(ASKED, TOLD, "own")


def test_an_answer_is_refused_where_nothing_was_asked() -> None:
    for request in (b"", b"\xfe\xfe", TOLD, ASKED[:-1], frame(METER, 0x14, "00000100"), frame(METER, 0x11, "000001")):
        assert cause(request, TOLD) == "bad_request"


@pytest.mark.parametrize(
    ("code", "wanted", "words"),
    [
        (0x01, "other_error", "bit 0"),
        (0x02, "no_such_data", "bit 1"),
        (0x04, "not_authorised", "bit 2"),
        (0x08, "baud_fixed", "bit 3"),
        (0x10, "too_many_zones", "bit 4"),
        (0x20, "too_many_periods", "bit 5"),
        (0x40, "too_many_tariffs", "bit 6"),
        (0x80, "other_error", "bit 7"),
        (0x06, "no_such_data", "bit 1.*bit 2"),
        (0x00, "other_error", "no reason"),
    ],
)
def test_a_refusal_is_named_by_its_bits(code: int, wanted: str, words: str) -> None:
    for control, request in ((0xD1, ASKED), (0xC1, frame(METER, 0x01, "1090")), (0xD3, frame(METER, 0x13))):
        with pytest.raises(Refused, match=words) as raised:
            dlt645.check(request, frame(METER, control, bytes([code])), "own")
        assert raised.value.cause == wanted
    assert cause(ASKED, frame(METER, 0xD1)) == "other_error"
    assert cause(ASKED, frame(METER, 0xD2, b"\x02")) == "wrong_function"
    assert cause(ASKED, frame("000012345671", 0xD1, b"\x02")) == "wrong_unit"


@pytest.mark.parametrize(
    ("asked", "own", "accepted"),
    [
        ("AAAAAAAAAAAA", "202311045678", True),
        ("AAAAAAAA5678", "202311045678", True),
        ("AAAAAAAA5678", "202311045679", False),
        ("AAAAAAAAAAAA", "AAAAAAAAAAAA", False),  # no meter's own number
        ("AAAAAAAAAAAA", "999999999999", False),
        ("AAAAAAAAAA78", "AAAAAAAAAA78", False),
    ],
)
def test_a_request_with_aa_in_its_address_takes_the_answer_of_a_meter_it_stands_for(asked: str, own: str, accepted: bool) -> None:
    meter = target(place(ENERGY), address=asked)
    (request,) = dlt645.requests(meter, meter.model.points)
    arrived = answer(ENERGY, "00123456", address=own)
    if accepted:
        assert found(request.data, arrived) == arrived
        formula = dlt645.frame_serial(meter, [request.data], [arrived])
        assert formula
        assert evaluate(formula, [arrived]).value == own
    else:
        assert cause(request.data, arrived) == "wrong_unit"


def test_an_address_answer_that_tells_another_address_than_its_own_is_refused() -> None:
    request = frame("A" * 12, 0x13)
    assert cause(request, frame(METER, 0x93, "715634120000")) == "wrong_unit"
    assert cause(request, frame(METER, 0xB3, "705634120000")) == "wrong_unit"
    dlt645.check(request, frame(METER, 0x93, "705634120000"), "own")


def test_the_station_is_the_address_unless_it_stands_for_several() -> None:
    assert dlt645.station(ASKED, "own") == bytes.fromhex("705634120000")
    assert dlt645.station(frame("AAAAAAAA5678", 0x11, "00000100"), "own") == b""
    assert dlt645.station(b"", "own") == b""


# --- frames in what has arrived -----------------------------------------------------------------------------


NASTY = answer(ENERGY, "E3356816", address="166816681668")  # 68 and 16 in address and data


@pytest.mark.parametrize(
    "before",
    [b"", b"\xfe" * 4, b"\xfe" * 9, b"\x68", b"\x68\x16\x68", b"\x00\xff\x68\x00\x68", ASKED, ASKED[4:], b"\xff\x68" + ASKED],
)
def test_an_answer_is_found_behind_noise_wake_up_bytes_and_echo_as_soon_as_it_is_whole(before: bytes) -> None:
    stream = before + b"\xfe\xfe" + TOLD
    start = len(stream) - len(TOLD)
    for count in range(len(stream)):
        assert dlt645.answer_span(ASKED, stream[:count], "own") is None
    assert dlt645.answer_span(ASKED, stream, "own") == (start, len(stream))
    assert dlt645.answer_span(ASKED, stream + TOLD + b"\x68", "own") == (start, len(stream))


def test_start_and_end_characters_inside_a_frame_do_not_divide_it() -> None:
    request = frame("166816681668", 0x11, "00000100")
    assert dlt645.answer_span(request, b"\xfe" + NASTY, "own") == (1, 1 + len(NASTY))
    for count in range(len(NASTY)):
        assert dlt645.answer_span(request, NASTY[:count], "own") is None
    inside = answer(ENERGY, "00000001")
    data = bytes((byte - 0x33) % 256 for byte in inside)
    outer = frame(METER, 0x91, bytes.fromhex("00000100") + data)
    assert dlt645.answer_span(ASKED, outer[: 10 + 4 + len(inside)], "own") is None  # a whole frame in data still arriving
    assert dlt645.answer_span(ASKED, outer, "own") == (0, len(outer))


def test_a_damaged_frame_does_not_hide_the_whole_one_behind_it() -> None:
    damaged = TOLD[:-2] + b"\x00\x16"
    assert dlt645.answer_span(ASKED, damaged + TOLD, "own") == (len(damaged), len(damaged) + len(TOLD))
    assert dlt645.answer_span(ASKED, damaged, "own") is None


def test_another_meters_answer_is_found_and_then_refused() -> None:
    other = answer(ENERGY, "00123456", address="000012345671")
    assert dlt645.answer_span(ASKED, other + TOLD, "own") == (0, len(other))
    assert cause(ASKED, other) == "wrong_unit"


@pytest.mark.parametrize(
    ("arrived", "wanted"),
    [
        (b"", "no_answer"),
        (ASKED, "only_echo"),
        (ASKED[4:], "only_echo"),
        (b"\xfe" * 4, "short_answer"),
        (TOLD[:-1], "short_answer"),
        (TOLD[:5], "short_answer"),
        (b"\xfe\xfe" + TOLD[:12], "short_answer"),
        (ASKED + TOLD[:12], "short_answer"),
        (TOLD[:-2] + b"\x00\x16", "bad_checksum"),
        (TOLD[:-1] + b"\x15", "bad_checksum"),
        (b"\x00" * 30, "noise"),
        (b"\x68" * 30, "noise"),
        (answer(ENERGY, "00123456", address="000012345671")[:-1], "noise"),
        (b"\x01\x03\x02\x00\x01\x79\x84", "noise"),
    ],
)
def test_what_came_without_a_whole_answer_is_named(arrived: bytes, wanted: str) -> None:
    assert dlt645.fault(ASKED, arrived, "own")[0] == wanted
    assert dlt645.answer_span(ASKED, arrived, "own") is None


# --- what is sent -------------------------------------------------------------------------------------------

READING = {0x01, 0x02, 0x11, 0x12, 0x13}


def test_no_shipped_model_makes_anything_be_sent_but_reads_to_one_address() -> None:
    sent = []
    for name, loaded in load_models().items():
        if loaded.declared.protocol != "dlt645":
            continue
        for address in (METER, "AAAAAAAAAAAA"):
            meter = Target(loaded.declared, address, "own")
            items: list[Point | Watch] = [*meter.model.points, *meter.model.identity, *meter.model.attest]
            made = [*dlt645.requests(meter, items), *dlt645.requests(meter, items, 0), dlt645.identification_request(meter)]
            edition = meter.model.dlt645.edition  # type: ignore[attr-defined]  # a Dlt645Model
            block = frame(address, 0x11 if edition == 2007 else 0x01, "00FF0100" if edition == 2007 else "1F90")
            made.append(dlt645.following(meter, block, frame(METER, 0xB1 if edition == 2007 else 0xA1, "00FF010000")))
            assert None not in made, name
            sent += [request.data for request in made if request]
    for data in sent:
        assert data[:4] == b"\xfe" * 4
        assert data[4] == data[11] == 0x68
        assert data[5:11] in (bytes.fromhex("705634120000"), b"\xaa" * 6)
        assert data[12] in READING
        assert data[-2] == sum(data[4:-2]) & 0xFF
    assert {data[12] for data in sent} == READING


def test_a_function_that_does_not_read_cannot_even_be_framed() -> None:
    for function in set(range(256)) - READING:
        with pytest.raises(KeyError):
            request_frame(0, Asked(bytes(6), function, ENERGY))


def test_a_request_carries_the_models_times_and_wake_up_bytes() -> None:
    meter = target(place(ENERGY), wake=2, timeout_ms=700, pause_ms=40, longest_answer_ms=3000)
    (request,) = dlt645.requests(meter, meter.model.points)
    assert request.data == b"\xfe\xfe" + ASKED[4:]
    assert (request.timeout_s, request.pause_s, request.longest_answer_s) == (0.7, 0.04, 3.0)
    assert dlt645.requests(target(place(ENERGY)), meter.model.points)[0].longest_answer_s == 2.0
    assert dlt645.numbered(request, 7, "own") is request
    assert dlt645.answer_length(request.data, "own") == len(TOLD)
    assert dlt645.answer_length(frame(METER, 0x11, "00FF0100"), "own") is None
    assert load("dlt645") is dlt645


def test_no_value_is_taken_from_a_bad_nibble_or_from_ff() -> None:
    meter = target(place(ENERGY), place(POWER, "active_power", "0.1"))
    energy, power = meter.model.points
    for value, wanted in (
        ("FFFFFFFF", "not_available"),
        ("0012345A", "bad_bcd"),
        ("A0123456", "bad_bcd"),
        ("FF123456", "bad_bcd"),
    ):
        whole = answer(ENERGY, value)
        outcome = evaluate(dlt645.locate(meter, [ASKED], energy, [whole]), [whole])
        assert (outcome.value, outcome.cause) == (None, wanted)
    asked = dlt645.requests(meter, [power])[0].data
    for value, read in (("FFFFFF", None), ("803312", "-331.2"), ("003312", "331.2"), ("8000FF", None), ("799999", "79999.9")):
        whole = answer(POWER, value)
        assert evaluate(dlt645.locate(meter, [asked], power, [whole]), [whole]).value == read


def test_only_combined_energies_have_a_sign() -> None:
    for identifier, wanted in (("00000000", "-12.34"), ("00030000", "-12.34"), ("00040100", "-12.34"), ("00170000", "-12.34"),
                               ("00010000", "800012.34"), ("00020000", "800012.34"), ("00050000", "800012.34")):  # fmt: skip
        meter = target(place(identifier))
        request = dlt645.requests(meter, meter.model.points)[0].data
        whole = answer(identifier, "80001234")
        assert evaluate(dlt645.locate(meter, [request], meter.model.points[0], [whole]), [whole]).value == wanted


def test_plate_ratios_are_applied_exactly() -> None:
    meter = target(place(ENERGY, ratio="ct_vt"), ct="400/5", vt="10000/100")
    formula = dlt645.locate(meter, [ASKED], meter.model.points[0], [TOLD])
    assert formula == "0@14:bcd4le33*0.01*400/5*10000/100"
    assert evaluate(formula, [TOLD]).value is not None
    assert Decimal(str(evaluate(formula, [TOLD]).value)) == Decimal("1234.56") * 80 * 100


def test_data_of_another_length_than_the_identifiers_is_no_value() -> None:
    meter = target(place(ENERGY))
    for values in (("0123",), ("00123456", "00"), ("00123456", "00000000")):
        with pytest.raises(NoValue) as raised:
            dlt645.locate(meter, [ASKED], meter.model.points[0], [answer(ENERGY, *values)])
        assert raised.value.cause == "wrong_length"


def test_every_cause_of_this_protocol_is_a_word_for_records() -> None:
    causes = [cause(ASKED, each) for each in (TOLD[:-1], frame(METER, 0xD1, b"\x40"), answer(POWER, "003312"))]
    assert all(each.replace("_", "").isalnum() and each.islower() for each in causes)
    assert isinstance(BadFrame("x", "y"), MeterError)
