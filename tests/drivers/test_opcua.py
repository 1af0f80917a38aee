"""drivers.opcua: which nodes are asked for, which answers are believed, and which bytes a value is taken from."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from drivers import Request, Target, opcua
from drivers.errors import BadFrame, NoValue, Refused
from drivers.formula import evaluate
from drivers.opcua_binary import NodeId
from drivers.opcua_read import (
    NAMESPACE_ARRAY,
    SERVER_ARRAY,
    batches,
    namespaces_in,
    nodes_of,
    read_response,
    resolved,
    server_in,
)
from drivers.opcua_status import NAMES, OVERRIDDEN, cause_of, is_bad
from tests.drivers.opcua_frames import (
    METERS,
    NOW,
    SECOND,
    SERVER,
    TABLE,
    answer,
    array,
    data_value,
    listed,
    point,
    scalar,
    string,
    target,
)

TABLE_NODES = (b"\x01\x00\xcf\x08", b"\x01\x00\xce\x08")
ENERGY = b"\x03\x02\x00" + string("Energy")
GOOD = data_value(scalar(11, 184223.57))
DOUBLE = 11
VALUE = struct.pack("<IiHi", 13, -1, 0, -1)


def asked(meter: Target, table: tuple[str, ...] = TABLE) -> list[bytes]:
    return [resolved(request.data, table) for request in opcua.requests(meter, meter.model.points)]


def value_of(meter: Target, got: bytes, table: tuple[str, ...] = TABLE) -> str | None:
    requests = asked(meter, table)
    formula = opcua.locate(meter, requests, meter.model.points[0], [got])
    return evaluate(formula, [got]).value


def cause(meter: Target, got: bytes, table: tuple[str, ...] = TABLE) -> str:
    with pytest.raises(NoValue) as caught:
        value_of(meter, got, table)
    return caught.value.cause


def doubt(meter: Target, got: bytes) -> str:
    return opcua.doubt(meter, asked(meter), meter.model.points[0], [got])


# --- what is sent -------------------------------------------------------------------------------------------


def test_a_request_is_the_two_tables_and_then_the_nodes_as_the_standard_encodes_them() -> None:
    (request,) = asked(target())
    tables = TABLE_NODES[0] + VALUE + TABLE_NODES[1] + VALUE
    assert request == struct.pack("<i", 3) + tables + ENERGY + VALUE


@pytest.mark.parametrize(
    ("node", "sent"),
    [
        ("i=2258", "0100d208"),
        ("i=84", "0054"),
        ("i=70000", "02000070110100"),
        (f"nsu={METERS};i=84", "01025400"),
        (f"nsu={METERS};i=65536", "02020000000100"),
        (f"nsu={METERS};s=电能;1", "03020008000000e794b5e883bd3b31"),
        (f"nsu={METERS};g=72962B91-FA75-4AE6-8D28-B404DC7DAF63", "040200912b967275fae64a8d28b404dc7daf63"),
        (f"nsu={METERS};b=M/RbKBsRVkePCePcx24oRA==", "0502001000000033f45b281b1156478f09e3dcc76e2844"),
        ("nsu=http://opcfoundation.org/UA/;i=84", "0054"),
    ],
)
def test_every_kind_of_node_is_sent_with_its_namespace_number_in_its_shortest_form(node: str, sent: str) -> None:
    (request,) = asked(target(point(node=node)))
    assert request.endswith(bytes.fromhex(sent) + VALUE)
    assert len(nodes_of(request)) == 3


def test_a_namespace_address_with_a_semicolon_is_written_with_its_escape() -> None:
    meter = target(point(node="nsu=http://a%3Bb%25;s=x"))
    assert asked(meter, ("", "http://a;b%"))[0].endswith(b"\x03\x01\x00" + string("x") + VALUE)


def test_a_node_whose_namespace_the_server_does_not_have_is_left_out() -> None:
    meter = target(point(), point("active_power", "i=2258"))
    (request,) = asked(meter, TABLE[:2])
    assert list(nodes_of(request)) == [NAMESPACE_ARRAY, SERVER_ARRAY, NodeId(0, "i", 2258)]
    assert opcua.prescribes(meter, meter.model.points, request)


def test_resolving_twice_changes_nothing() -> None:
    (request,) = asked(target())
    assert resolved(request, ()) == request


def test_more_nodes_than_the_model_allows_are_asked_for_in_several_parts() -> None:
    nodes = [point(f"current.ch{number}", f"nsu={METERS};i={number}") for number in range(5)]
    parts = [nodes_of(request)[2:] for request in asked(target(*nodes, opcua={"max_nodes": 2}))]
    assert [[node.identifier for node in part] for part in parts] == [[0, 1], [2, 3], [4]]


def test_two_points_of_one_node_ask_for_it_once() -> None:
    points = (point("current.l1", type="Float", index=0), point("current.l2", type="Float", index=1))
    assert len(nodes_of(asked(target(*points))[0])) == 3


@pytest.mark.parametrize(
    ("request_", "right"),
    [
        (asked(target())[0], True),
        (asked(target(), (*TABLE[:2], "http://other", METERS))[0], True),
        (opcua.requests(target(), target().model.points)[0].data, False),
        (asked(target(point(node=f"nsu={METERS};s=Other")))[0], False),
        (asked(target(point(node="i=2258")))[0], False),
        (asked(target())[0] + b"\x00", False),
        (asked(target())[0].replace(VALUE, struct.pack("<IiHi", 14, -1, 0, -1)), False),
        (listed(*(node + VALUE for node in TABLE_NODES)), True),
        (listed(*(node + VALUE for node in reversed(TABLE_NODES))), False),
        (listed(*(node + VALUE for node in (*TABLE_NODES, ENERGY, ENERGY))), False),
        (b"", False),
    ],
)
def test_only_reads_of_the_declared_nodes_are_prescribed(request_: bytes, right: bool) -> None:
    meter = target()
    assert opcua.prescribes(meter, meter.model.points, request_) is right


def test_a_node_of_namespace_0_is_not_the_one_of_the_same_number_elsewhere() -> None:
    meter = target(point(node="i=2258"))
    other = asked(target(point(node=f"nsu={METERS};i=2258")))
    assert not opcua.prescribes(meter, meter.model.points, other[0])
    with pytest.raises(KeyError):
        opcua.locate(meter, other, meter.model.points[0], [answer(GOOD)])


# --- one Read for many meters -------------------------------------------------------------------------------


def test_one_read_serves_several_meters_and_each_gets_its_own_bytes() -> None:
    first, second = target(), target(point(node=f"nsu={METERS};s=Water"), point("active_power", f"nsu={METERS};s=Energy"))
    (batch,) = batches([*asked(first), *asked(second)], 100)
    assert len(batch.nodes) == 4
    assert list(nodes_of(batch.array)) == [*nodes_of(asked(first)[0]), NodeId(2, "s", b"Water")]
    values = [data_value(array(12, TABLE)), data_value(array(12, [SERVER])), GOOD, data_value(scalar(10, 7.5))]
    one, two = batch.answers(values)
    assert one == answer(GOOD)
    assert two == answer(values[3], GOOD)
    assert value_of(first, one) == "184223.57"
    assert value_of(second, two) == "7.5"


def test_reads_are_divided_at_what_the_server_takes_and_never_within_a_meter() -> None:
    meters = [target(point(node=f"nsu={METERS};i={number}")) for number in range(7)]
    requests = [asked(meter)[0] for meter in meters]
    made = batches(requests, 5)
    assert [len(batch.nodes) for batch in made] == [5, 5, 3]
    assert [request for batch in made for request in batch.requests] == requests
    assert [len(batch.nodes) for batch in batches(requests, 0)] == [9]
    assert [len(batch.nodes) for batch in batches(requests, 1)] == [3] * 7


def test_an_answer_of_another_length_is_refused() -> None:
    (batch,) = batches(asked(target()), 100)
    with pytest.raises(BadFrame, match="2 of 3"):
        batch.answers([GOOD, GOOD])


HEADER = struct.pack("<qI", NOW, 7)
NO_MORE = b"\x00" + struct.pack("<i", 0) + b"\x00\x00\x00"


def response(*values: bytes, result: int = 0, kind: int = 634, diagnoses: bytes = struct.pack("<i", -1)) -> bytes:
    head = b"\x01\x00" + struct.pack("<H", kind) + HEADER + struct.pack("<I", result) + NO_MORE
    return head + (listed(*values) + diagnoses if kind == 634 else b"")


def test_the_values_of_a_response_are_its_own_bytes() -> None:
    values = [GOOD, data_value(None, 0x80340000, None, None), data_value(scalar(9, 2**64 - 1), pico=9999)]
    assert read_response(response(*values)) == values


def test_diagnoses_and_texts_of_the_header_are_passed_over() -> None:
    inner = b"\x71" + struct.pack("<i", 4) + string("inner") + struct.pack("<I", 0x80340000) + b"\x00"
    diagnosis = b"\x4f" + struct.pack("<4i", 0, 1, 2, 3) + inner
    head = b"\x01\x00" + struct.pack("<H", 634) + HEADER + struct.pack("<I", 0)
    texts = listed(string("no"), string(None))
    structure = b"\x01\x00\x10\x00\x01" + string("body")
    body = head + diagnosis + texts + structure + listed(GOOD) + listed(diagnosis, b"\x00")
    assert read_response(body) == [GOOD]


@pytest.mark.parametrize("kind", [634, 397])
def test_a_server_that_refuses_the_read_is_quoted(kind: int) -> None:
    with pytest.raises(Refused) as caught:
        read_response(response(result=0x80100000, kind=kind))
    assert caught.value.cause == "bad_too_many_operations"


@pytest.mark.parametrize(
    "body",
    [b"", response(GOOD)[:-1], response(GOOD) + b"\x00", response(kind=461), b"\x01\x00\x7a\x02" + bytes(5)],
)
def test_what_is_no_response_is_refused(body: bytes) -> None:
    with pytest.raises(BadFrame) as caught:
        read_response(body)
    assert caught.value.cause == "wrong_format"


# --- which answers are believed -----------------------------------------------------------------------------


def test_an_answer_with_a_value_for_each_node_is_one() -> None:
    opcua.check(asked(target())[0], answer(GOOD), "own")


@pytest.mark.parametrize(
    ("got", "why"),
    [
        (answer(), "wrong_length"),
        (answer(GOOD, GOOD), "wrong_length"),
        (answer(GOOD)[:-1], "wrong_format"),
        (answer(GOOD) + b"\x00", "wrong_format"),
        (b"", "wrong_format"),
        (listed(data_value(scalar(12, METERS)), data_value(array(12, [SERVER])), GOOD), "wrong_format"),
        (listed(data_value(array(12, TABLE)), data_value(array(9, [1])), GOOD), "wrong_format"),
        (listed(data_value(array(12, TABLE)), GOOD, GOOD), "wrong_format"),
        (
            listed(data_value(b"\x8c" + listed(struct.pack("<i", 2) + b"\xff\xff")), data_value(array(12, [SERVER])), GOOD),
            "wrong_format",
        ),
    ],
)
def test_what_is_no_answer_to_the_request_is_refused(got: bytes, why: str) -> None:
    with pytest.raises(BadFrame) as caught:
        opcua.check(asked(target())[0], got, "own")
    assert caught.value.cause == why


def test_the_servers_tables_are_read_from_the_answer() -> None:
    assert (namespaces_in(answer(GOOD)), server_in(answer(GOOD))) == (TABLE, SERVER)
    assert (namespaces_in(answer(GOOD, table=None)), server_in(answer(GOOD, server=None))) == (None, None)


# --- namespaces and servers ---------------------------------------------------------------------------------


def test_a_value_is_found_by_the_table_in_its_own_answer() -> None:
    moved = (TABLE[0], METERS, SERVER)
    assert value_of(target(), answer(GOOD, table=moved), moved) == "184223.57"


def test_a_node_that_was_asked_for_by_a_number_that_no_longer_means_its_namespace_has_no_value() -> None:
    for table in ((*TABLE[:2], "http://other", METERS), (TABLE[0], METERS, SERVER)):
        assert cause(target(), answer(GOOD, table=table)) == "namespace_moved"


@pytest.mark.parametrize("table", [None, (), TABLE[:2], (*TABLE[:2], METERS + "/")])
def test_a_node_of_a_namespace_that_the_answer_does_not_name_has_no_value(table: tuple[str, ...] | None) -> None:
    assert cause(target(), answer(GOOD, table=table)) == "no_namespace"


def test_one_identifier_in_two_namespaces_is_two_nodes() -> None:
    meter = target(point("current.l1", "nsu=urn:a;s=x"), point("current.l2", "nsu=urn:b;s=x"))
    table = ("", "urn:b", "urn:a")
    requests = asked(meter, table)
    got = answer(data_value(scalar(9, 1)), data_value(scalar(9, 2)), table=table)
    formulas = [opcua.locate(meter, requests, each, [got]) for each in meter.model.points]
    assert [evaluate(formula, [got]).value for formula in formulas] == ["1", "2"]
    swapped = answer(data_value(scalar(9, 1)), data_value(scalar(9, 2)), table=("", "urn:a", "urn:b"))
    formulas = [opcua.locate(meter, requests, each, [swapped]) for each in meter.model.points]
    assert [evaluate(formula, [swapped]).value for formula in formulas] == ["2", "1"]


def test_another_server_than_the_declared_one_has_no_value() -> None:
    assert cause(target(), answer(GOOD, server="urn:other")) == "other_server"
    assert value_of(target(), answer(GOOD, server=None)) == "184223.57"
    assert value_of(target(server=None), answer(GOOD, server="urn:other")) == "184223.57"


# --- values -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "value", "name", "expected"),
    [
        (1, True, "Boolean", "1"),
        (1, False, "Boolean", "0"),
        (2, -128, "SByte", "-128"),
        (3, 255, "Byte", "255"),
        (4, -32768, "Int16", "-32768"),
        (5, 65535, "UInt16", "65535"),
        (6, -(2**31), "Int32", "-2147483648"),
        (7, 2**32 - 1, "UInt32", "4294967295"),
        (8, -(2**63), "Int64", "-9223372036854775808"),
        (9, 2**64 - 1, "UInt64", "18446744073709551615"),
        (10, 0.1, "Float", "0.1"),
        (11, 12345.710000000001, "Double", "12345.710000000001"),
        (11, 1e300, "Double", "1" + "0" * 300),
        (11, -0.0, "Double", "0"),
        (12, "184223.50", "String", "184223.50"),
        (12, " -7 ", "String", "-7"),
    ],
)
def test_every_type_gives_its_exact_number(kind: int, value: Any, name: str, expected: str) -> None:
    got = answer(data_value(scalar(kind, value)))
    for at in ({}, {"type": name}):
        assert value_of(target(point(**at)), got) == expected
    listed_ = answer(data_value(array(kind, [value, value, value])))
    assert value_of(target(point(index=2, type=name)), listed_) == expected


def test_scale_and_ratio_stand_in_the_formula() -> None:
    meter = target(point(scale="0.001", ratio="ct"), ct="400/5")
    got = answer(data_value(scalar(9, 184223570)))
    formula = opcua.locate(meter, asked(meter), meter.model.points[0], [got])
    offset = got.rindex(struct.pack("<Q", 184223570))
    assert formula == f"0@{offset}:u64le*0.001*400/5"
    assert evaluate(formula, [got]).value == "14737885.600"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_number_gives_none(value: float) -> None:
    for kind in (10, 11):
        got = answer(data_value(scalar(kind, value)))
        formula = opcua.locate(target(), asked(target()), target().model.points[0], [got])
        assert (evaluate(formula, [got]).value, evaluate(formula, [got]).cause) == (None, "not_a_number")


@pytest.mark.parametrize(
    ("variant", "at", "why"),
    [
        (None, {}, "no_value"),
        (b"\x00", {}, "no_value"),
        (scalar(12, None), {}, "no_value"),
        (scalar(12, ""), {}, "no_value"),
        (scalar(10, 1.5), {"type": "Double"}, "other_type"),
        (scalar(12, "1"), {"type": "Double"}, "other_type"),
        (scalar(12, "1" * 33), {}, "bad_digits"),
        (b"\x01\x02", {}, "bad_digits"),
        (b"\x0d" + bytes(8), {}, "unsupported_type"),
        (b"\x0e" + bytes(16), {}, "unsupported_type"),
        (b"\x0f" + string("ab"), {}, "unsupported_type"),
        (b"\x15\x03" + string("en") + string("5"), {}, "unsupported_type"),
        (b"\x16\x01\x02\x10\x00\x01" + string("12345678"), {}, "unsupported_type"),
        (b"\x98" + listed(scalar(11, 1.0)), {"index": 0}, "unsupported_type"),
        (array(11, [1.0, 2.0, 3.0, 4.0], (2, 2)), {"index": 0}, "unsupported_type"),
        (array(11, [1.0]), {}, "list_of_values"),
        (scalar(11, 1.0), {"index": 0}, "not_a_list"),
        (array(11, [1.0]), {"index": 1}, "no_such_element"),
        (array(11, []), {"index": 0}, "no_such_element"),
        (b"\x8b" + struct.pack("<i", -1), {"index": 0}, "no_such_element"),
        (array(12, ["1", None, "3"]), {"index": 1}, "no_value"),
        (array(11, [1.0] * 12500), {"index": 12499}, "too_long"),
    ],
)
def test_what_no_value_can_be_made_of_says_why(variant: bytes | None, at: dict[str, Any], why: str) -> None:
    assert cause(target(point(**at)), answer(data_value(variant))) == why


def test_a_list_that_is_said_to_have_one_dimension_is_a_list() -> None:
    assert value_of(target(point(index=1)), answer(data_value(array(11, [1.0, 2.0], (2,))))) == "2"


def test_a_text_that_is_no_number_is_found_and_gives_none() -> None:
    got = answer(data_value(scalar(12, "12,5")))
    formula = opcua.locate(target(), asked(target()), target().model.points[0], [got])
    assert evaluate(formula, [got]).cause == "bad_digits"


def test_the_serial_number_is_asked_for_every_time_and_taken_from_its_node_as_text() -> None:
    serial = {"name": "serial", "at": {"node": f"nsu={METERS};s=Serial"}}
    meter = target(identity=[serial])
    (request,) = asked(meter)
    assert request == resolved(opcua.requests(meter, [*meter.model.points, meter.model.identity[0]])[0].data, TABLE)
    assert opcua.prescribes(meter, meter.model.points, request)
    got = answer(GOOD, data_value(scalar(12, "00012345")))
    formula = opcua.frame_serial(meter, [request], [got])
    assert formula is not None
    assert evaluate(formula, [got]).value == "00012345"
    assert opcua.requests(meter, []) == []
    assert opcua.frame_serial(meter, asked(target()), [answer(GOOD)]) is None
    assert opcua.frame_serial(target(), asked(target()), [answer(GOOD)]) is None


def test_one_identifier_in_two_namespaces_that_are_read_in_two_parts_is_found_in_its_own() -> None:
    meter = target(point("current.l1", "nsu=urn:a;s=x"), point("current.l2", "nsu=urn:b;s=x"), opcua={"max_nodes": 1})
    table = ("", "urn:b", "urn:a")
    requests = asked(meter, table)
    got = [answer(data_value(scalar(9, number)), table=table) for number in (1, 2)]
    formulas = [opcua.locate(meter, requests, each, got) for each in meter.model.points]
    assert [evaluate(formula, got).value for formula in formulas] == ["1", "2"]
    moved = [answer(data_value(scalar(9, number)), table=("", "urn:c", "urn:b", "urn:a")) for number in (1, 2)]
    one, two = meter.model.points
    with pytest.raises(NoValue, match="namespace_moved"):
        opcua.locate(meter, requests, one, moved)
    assert evaluate(opcua.locate(meter, requests, two, moved), moved).value == "1"  # number 2 means urn:b by now


def test_the_last_answer_counts_and_a_failed_one_never() -> None:
    meter = target()
    (request,) = asked(meter)
    older, newer = answer(GOOD), answer(data_value(scalar(11, 2.0)))
    assert opcua.locate(meter, [request, request], meter.model.points[0], [older, newer]).startswith("1@")
    assert opcua.locate(meter, [request, b""], meter.model.points[0], [older, b""]).startswith("0@")
    with pytest.raises(KeyError):
        opcua.locate(meter, [b""], meter.model.points[0], [b""])


# --- status and age -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [0x808C0000, 0x80340000, 0x80000000, 0xC0000000, 0x81990000, 0x808C0400])
def test_a_bad_value_is_never_taken_even_if_it_carries_a_number(status: int) -> None:
    assert cause(target(), answer(data_value(scalar(11, 0.0), status))) == cause_of(status)
    assert cause_of(status).startswith("bad")


@pytest.mark.parametrize(
    ("status", "why"),
    [
        (None, ""),
        (0, ""),
        (0x00BA0000, ""),
        (0x00000400, ""),
        (0x00000080, ""),
        (0x00000480, "overflow"),
        (0x00004000, "semantics_changed"),
        (0x00008000, "structure_changed"),
        (0x00960000, "good_local_override"),
        (0x40900000, "uncertain_last_usable_value"),
        (0x40930480, "uncertain_sensor_not_accurate"),
        (0x40000000, "uncertain"),
        (0x4FFF0000, "uncertain_4fff0000"),
    ],
)
def test_an_uncertain_value_is_taken_and_doubted_by_its_name(status: int | None, why: str) -> None:
    got = answer(data_value(scalar(11, 7.0), status))
    assert value_of(target(), got) == "7"
    assert doubt(target(), got) == why


def test_names_of_status_codes_tell_how_bad_they_are() -> None:
    assert {name.partition("_")[0] for code, name in NAMES.items() if not is_bad(code)} == {"uncertain"}
    assert {name.partition("_")[0] for code, name in NAMES.items() if is_bad(code)} == {"bad"}
    assert {code >> 30 for code in OVERRIDDEN} == {0}
    assert (cause_of(0x80AB0000), cause_of(0xDEAD1234)) == ("bad_80ab0000", "bad_dead0000")


@pytest.mark.parametrize(
    ("source", "server", "why"),
    [
        (NOW, NOW, ""),
        (NOW - 600 * SECOND, NOW, ""),
        (NOW - 600 * SECOND - 1, NOW, "stale"),
        (NOW + SECOND, NOW, ""),
        (None, NOW, "no_timestamp"),
        (NOW, None, "no_timestamp"),
    ],
)
def test_a_value_older_than_declared_by_the_servers_own_times_is_doubted(
    source: int | None, server: int | None, why: str
) -> None:
    got = answer(data_value(scalar(11, 7.0), source=source, server=server))
    assert doubt(target(point(max_age="10m")), got) == why
    assert doubt(target(), got) == ""


def test_a_status_comes_before_the_age() -> None:
    got = answer(data_value(scalar(11, 7.0), 0x40900000, source=0))
    assert doubt(target(point(max_age="10m")), got) == "uncertain_last_usable_value"


# --- what a session of its own does otherwise ---------------------------------------------------------------


def test_the_rest_of_the_contract_says_that_a_channel_is_at_work() -> None:
    meter, (request,) = target(), asked(target())
    whole = Request(request, 1, 0, 1)
    assert opcua.numbered(whole, 7, "own") is whole
    assert opcua.following(meter, request, answer(GOOD)) is None
    assert opcua.station(request, "own") is None
    assert opcua.answer_span(request, b"", "own") is None
    assert opcua.answer_span(request, answer(GOOD), "own") == (0, len(answer(GOOD)))
    assert opcua.fault(request, b"", "own")[0] == "no_answer"
    assert opcua.identification_request(meter) is None
    assert opcua.identification(answer(GOOD), "own") == ({"server": SERVER}, None)
    assert opcua.identification(b"\x01", "own") == ({}, None)


def test_the_vector_in_the_records_specification_gives_what_it_says() -> None:
    page = (Path(__file__).parents[2] / "docs" / "record.md").read_text("utf-8")
    section = page[page.index("## Frames of OPC UA") : page.index("## Units")]
    request, got = (bytes.fromhex("".join(part.split())) for part in section.split("```text\n")[1].split("```")[0].split("\n\n"))
    names = {"Energy": {"type": "UInt64", "scale": "0.001"}, "Power": {}, "Temperature": {}}
    quantities = ("active_energy_import", "active_power", "temperature.flow")
    meter = target(
        *(point(quantity, f"nsu={METERS};s={name}", **names[name]) for quantity, name in zip(quantities, names, strict=True))
    )
    opcua.check(request, got, "own")
    assert opcua.prescribes(meter, meter.model.points, request)
    energy, power, temperature = meter.model.points
    formulas = [opcua.locate(meter, [request], each, [got]) for each in (energy, power)]
    assert [f"`{formula}` = `{evaluate(formula, [got]).value}`" in section for formula in formulas] == [True, True]
    assert [opcua.doubt(meter, [request], each, [got]) for each in (energy, power)] == ["", "uncertain_last_usable_value"]
    with pytest.raises(NoValue, match="bad_sensor_failure"):
        opcua.locate(meter, [request], temperature, [got])
