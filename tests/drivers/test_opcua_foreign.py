"""drivers.opcua against another implementation of OPC UA: asyncua writes the bytes, our reader finds the same in them.

asyncua puts both times in front of both picoseconds, the standard each behind its own (OPC 10000-6, table 26); where a
value has picoseconds only the hand-made bytes of `tests.drivers.opcua_frames` are held against.
"""

from __future__ import annotations

import datetime
import random
import re
import struct
import uuid
from typing import Any

import pytest

from drivers import opcua
from drivers.errors import MeterError, NoValue
from drivers.formula import evaluate
from drivers.opcua_binary import NodeId, Reader, encoded_node_id
from drivers.opcua_read import Batch, batches, nodes_of, read_response, resolved
from drivers.opcua_status import NAMES, OVERRIDDEN
from tests.drivers.opcua_frames import METERS, SERVER, TABLE, listed, point, shortest, target

pytest.importorskip("asyncua", reason="install the extra opcua: pip install 'meterseal[opcua]'")

from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import nodeid_from_binary, struct_from_binary, struct_to_binary

T = ua.VariantType
MOMENT = datetime.datetime(2026, 11, 22, 8, 15)  # noqa: DTZ001 - asyncua takes times without a zone for UTC

NUMBERS: list[tuple[Any, Any]] = [
    (T.Boolean, True),
    (T.SByte, -128),
    (T.Byte, 200),
    (T.Int16, -32768),
    (T.UInt16, 65535),
    (T.Int32, -(2**31)),
    (T.UInt32, 2**32 - 1),
    (T.Int64, -(2**63)),
    (T.UInt64, 2**64 - 1),
    (T.Float, 0.5),
    (T.Double, 12345.710000000001),
    (T.Double, 5e-324),
    (T.String, "184223.50"),
]
OTHERS: list[tuple[Any, Any]] = [
    (T.DateTime, MOMENT),
    (T.Guid, uuid.UUID("72962b91-fa75-4ae6-8d28-b404dc7daf63")),
    (T.ByteString, b"\x00\x01"),
    (T.XmlElement, ua.XmlElement("<a/>")),
    (T.NodeId, ua.NodeId("Energy", 2)),
    (T.NodeId, ua.NodeId(uuid.UUID(int=5), 2)),
    (T.NodeId, ua.NodeId(b"\x01\x02", 2)),
    (T.NodeId, ua.NodeId(70000, 2)),
    (T.ExpandedNodeId, ua.ExpandedNodeId("Energy", 0, NamespaceUri=METERS, ServerIndex=3)),
    (T.StatusCode, ua.StatusCode(ua.StatusCodes.BadSensorFailure)),
    (T.QualifiedName, ua.QualifiedName("name", 3)),
    (T.LocalizedText, ua.LocalizedText("text", "en")),
    (T.LocalizedText, ua.LocalizedText("text")),
    (T.ExtensionObject, ua.EUInformation(NamespaceUri="http://unece", UnitId=4937544)),
    (T.DataValue, ua.DataValue(ua.Variant(7.0, T.Double), SourceTimestamp=MOMENT)),
]


def data_value(variant: Any, **more: Any) -> bytes:
    made: bytes = struct_to_binary(ua.DataValue(variant, SourceTimestamp=MOMENT, ServerTimestamp=MOMENT, **more))
    return made


def answer(*values: bytes) -> bytes:
    table, server = (data_value(ua.Variant(list(texts), T.String, is_array=True)) for texts in (TABLE, [SERVER]))
    return listed(table, server, *values)


def text_of(value: Any) -> str:
    return shortest(value) if isinstance(value, float) else str(int(value)) if not isinstance(value, str) else value


@pytest.mark.parametrize(("kind", "value"), NUMBERS)
def test_numbers_that_asyncua_writes_are_read_as_they_are(kind: Any, value: Any) -> None:
    for variant, at in (
        (ua.Variant(value, kind), {}),
        (ua.Variant([value, value], kind), {"index": 1}),
        (ua.Variant([value, value], kind, Dimensions=[2]), {"index": 1}),
    ):
        meter = target(point(type=kind.name, **at))
        got = answer(data_value(variant))
        requests = [resolved(each.data, TABLE) for each in opcua.requests(meter, meter.model.points)]
        opcua.check(requests[0], got, "own")
        formula = opcua.locate(meter, requests, meter.model.points[0], [got])
        assert evaluate(formula, [got]).value == text_of(value)


@pytest.mark.parametrize(("kind", "value"), OTHERS)
def test_all_other_values_are_passed_over_to_the_byte(kind: Any, value: Any) -> None:
    behind = data_value(ua.Variant(7.5, T.Double))
    for variant in (ua.Variant(value, kind), ua.Variant([value, value, value], kind)):
        before = data_value(variant)
        first, second = opcua.values_in(listed(before, behind))
        assert (first.start, first.end, second.end) == (4, 4 + len(before), 4 + len(before) + len(behind))
        meter = target(point(index=0) if isinstance(variant.Value, list) else point())
        requests = [resolved(each.data, TABLE) for each in opcua.requests(meter, meter.model.points)]
        with pytest.raises(NoValue, match="unsupported_type"):
            opcua.locate(meter, requests, meter.model.points[0], [answer(before)])


@pytest.mark.parametrize(
    "variant",
    [
        ua.Variant([[1.0, 2.0], [3.0, 4.0]], T.Double),
        ua.Variant([[[1], [2]], [[3], [4]]], T.Int64),
        ua.Variant([ua.Variant(1.0, T.Double), ua.Variant("x", T.String)], T.Variant),
    ],
)
def test_tables_and_lists_of_mixed_values_are_refused(variant: Any) -> None:
    meter = target(point(index=0))
    requests = [resolved(each.data, TABLE) for each in opcua.requests(meter, meter.model.points)]
    got = answer(data_value(variant))
    opcua.check(requests[0], got, "own")
    with pytest.raises(NoValue, match="unsupported_type"):
        opcua.locate(meter, requests, meter.model.points[0], [got])


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("kind", [T.Float, T.Double])
def test_what_is_no_number_is_none(kind: Any, number: float) -> None:
    meter = target()
    requests = [resolved(each.data, TABLE) for each in opcua.requests(meter, meter.model.points)]
    got = answer(data_value(ua.Variant(number, kind)))
    assert evaluate(opcua.locate(meter, requests, meter.model.points[0], [got]), [got]).cause == "not_a_number"


def test_status_and_times_are_read_as_asyncua_writes_them() -> None:
    for code in (None, 0, 0x40900000, 0x808C0000):
        for times in ({}, {"SourceTimestamp": MOMENT}, {"ServerTimestamp": MOMENT}):
            status = None if code is None else ua.StatusCode(code)
            bare = ua.DataValue(ua.Variant(1.0, T.Double), status, **times)
            (found,) = opcua.values_in(listed(struct_to_binary(bare)))
            assert found.status == (code or 0)
            assert (found.source, found.server) == tuple(
                134_398_089_000_000_000 if name in times else None for name in ("SourceTimestamp", "ServerTimestamp")
            )


def test_node_ids_are_written_as_asyncua_reads_them() -> None:
    nodes = [("i", 84), ("i", 2255), ("i", 70000), ("s", "电能".encode()), ("g", uuid.UUID(int=7).bytes_le), ("b", b"\x00\xff")]
    for namespace in (0, 2, 255, 256, 65535):
        for kind, identifier in nodes:
            written = encoded_node_id(NodeId(namespace, kind, identifier), namespace)
            read = nodeid_from_binary(Buffer(written))
            assert read.NamespaceIndex == namespace
            assert Reader(written).node_id() == NodeId(namespace, kind, identifier)
            expected = {"s": lambda raw: raw.decode(), "g": lambda raw: uuid.UUID(bytes_le=raw)}.get(kind, lambda raw: raw)
            assert read.Identifier == expected(identifier)


def whole(batch: Batch) -> Any:
    """A batch as asyncua's list of ReadValueId."""
    return [struct_from_binary(ua.ReadValueId, Buffer(node)) for node in batch.nodes]


def test_the_nodes_of_a_read_are_what_asyncua_sends_for_them() -> None:
    meter = target(point(), point("active_power", f"nsu={METERS};i=17"), point("frequency", "i=2258"))
    (batch,) = batches([resolved(each.data, TABLE) for each in opcua.requests(meter, meter.model.points)], 0)
    parameters = ua.ReadParameters(MaxAge=0, TimestampsToReturn=ua.TimestampsToReturn.Both, NodesToRead=whole(batch))
    assert struct_to_binary(parameters) == struct.pack("<dI", 0, 2) + batch.array
    assert [node.NodeId.NamespaceIndex for node in whole(batch)] == [0, 0, 2, 2, 0]
    assert {node.AttributeId for node in whole(batch)} == {ua.AttributeIds.Value}
    assert nodes_of(batch.array) == nodes_of(batch.requests[0])


def response(values: list[Any], **header: Any) -> bytes:
    made = ua.ReadResponse(ResponseHeader=ua.ResponseHeader(**header), Results=values)
    body: bytes = struct_to_binary(made)
    return body


def test_a_read_response_of_asyncua_is_cut_into_the_bytes_of_its_values() -> None:
    values = [ua.DataValue(ua.Variant(value, kind), SourceTimestamp=MOMENT) for kind, value in (*NUMBERS, *OTHERS)]
    values.append(ua.DataValue(None, ua.StatusCode(ua.StatusCodes.BadNodeIdUnknown)))
    diagnosis = ua.DiagnosticInfo(SymbolicId=1, NamespaceURI=2, Locale=3, LocalizedText=4, AdditionalInfo="why")
    for header in ({}, {"ServiceDiagnostics": diagnosis, "StringTable": ["a", "b"]}):
        assert read_response(response(values, **header)) == [struct_to_binary(value) for value in values]


def test_damaged_answers_that_we_accept_hold_the_value_that_asyncua_finds() -> None:
    dice = random.Random(4840)
    meter = target()
    requests = [resolved(each.data, TABLE) for each in opcua.requests(meter, meter.model.points)]
    accepted = 0
    for _ in range(4000):
        kind, value = dice.choice(NUMBERS)
        last = bytearray(data_value(ua.Variant(value, kind)))
        last[dice.randrange(len(last))] = dice.randrange(256)
        got = answer(bytes(last))
        try:
            opcua.check(requests[0], got, "own")
            formula = opcua.locate(meter, requests, meter.model.points[0], [got])
        except (MeterError, NoValue):
            continue
        found = evaluate(formula, [got]).value
        theirs = struct_from_binary(ua.DataValue, Buffer(bytes(last))).Value.Value
        if found is not None and not formula.endswith("f32le"):  # asyncua has a binary32 as the binary64 it lies in
            accepted += 1
            assert found == text_of(theirs).strip()
    assert accepted > 500


def test_status_codes_have_the_names_that_asyncua_gives_them() -> None:
    for code, name in NAMES.items():
        theirs = ua.status_codes.code_to_name_doc[code][0]
        assert re.sub("(?<!^)([A-Z])", r"_\1", theirs).lower() == name
    for code, name in OVERRIDDEN.items():
        theirs = ua.status_codes.code_to_name_doc[code][0].partition("_")[0]
        assert re.sub("(?<!^)([A-Z])", r"_\1", theirs).lower() == name
