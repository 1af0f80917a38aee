"""Sealed readings of an OPC UA server: `verify` accepts what is right and names what the owner of the key has altered.

Every attack is sealed like an honest reading, so that only the evidence itself can betray it. Requests, answers,
values and formulas are written by hand, from where the bytes lie.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from typing import Any

import pytest

from agent.trace import trace, trace_record
from agent.trace_text import trace_text
from tests.agent.both import verify
from tests.agent.ledgers import EVERY_MS, Gateway, frame, stamp
from tests.drivers.opcua_frames import METERS, NOW, SECOND, SERVER, TABLE, answer, array, data_value, listed, scalar, string

Fields = dict[str, Any]
METER = "press-1"
MODEL = f"""model: plant-scada
revision: 1
maker: Plant
product: SCADA
medium: electricity
protocol: opcua
trust: {{level: B, sources: [{{url: this test, kind: community}}]}}
points:
  - {{quantity: active_energy_import, at: {{node: "nsu={METERS};s=Energy", type: UInt64}}, scale: 0.001}}
  - {{quantity: active_power, at: {{node: "nsu={METERS};s=Power", type: Double}}, range: [-1000, 1000]}}
  - {{quantity: voltage.l1, at: {{node: "nsu={METERS};s=Voltage"}}, max_age: 10m}}
  - {{quantity: temperature.flow, at: {{node: "nsu={METERS};s=Temperature"}}}}
examples: [{{origin: none, frames: [{{answer: "00"}}], values: {{}}}}]
""".encode()
DIGEST = hashlib.sha256(MODEL).hexdigest()
NODES = {"active_energy_import": "Energy", "active_power": "Power", "voltage.l1": "Voltage", "temperature.flow": "Temperature"}
UNITS = {"active_energy_import": "kWh", "active_power": "W", "voltage.l1": "V", "temperature.flow": "Cel"}
WHOLE_VALUE = struct.pack("<IiHi", 13, -1, 0, -1)
UNCERTAIN, SENSOR_FAILURE, NODE_UNKNOWN = 0x40900000, 0x808C0000, 0x80340000

ENERGY = data_value(scalar(9, 184_223_570), 0)
POWER = data_value(scalar(11, 512.25))
VOLTAGE = data_value(scalar(10, 230.5), UNCERTAIN)
TEMPERATURE = data_value(scalar(11, 0.0), SENSOR_FAILURE)


def request(*names: str, namespace: int = 2) -> bytes:
    """What is asked for: the tables, and nodes of the meters' namespace by the number that it had."""
    tables = [b"\x01\x00\xcf\x08" + WHOLE_VALUE, b"\x01\x00\xce\x08" + WHOLE_VALUE]
    nodes = [struct.pack("<BH", 3, namespace) + string(name) + WHOLE_VALUE for name in names or NODES.values()]
    return listed(*tables, *nodes)


def at(got: bytes, value: bytes) -> int:
    """Where the number in a DataValue stands in an answer: behind its mask and its type."""
    return got.index(value) + 2


def honest() -> Fields:
    """A reading as an honest agent seals it: one value good, one good, one doubted by the server, one bad."""
    got = answer(ENERGY, POWER, VOLTAGE, TEMPERATURE)
    return {
        "frames": [frame(request(), got)],
        "values": [
            stated("active_energy_import", "184223.570", f"0@{at(got, ENERGY)}:u64le*0.001"),
            stated("active_power", "512.25", f"0@{at(got, POWER)}:f64le"),
            stated("voltage.l1", "230.5", f"0@{at(got, VOLTAGE)}:f32le", "uncertain_last_usable_value"),
            {"quantity": "temperature.flow", "quality": "bad", "cause": "bad_sensor_failure"},
        ],
    }


def stated(quantity: str, value: str, formula: str, doubt: str = "") -> Fields:
    made = {"quantity": quantity, "value": value, "unit": UNITS[quantity], "formula": formula}
    return made | ({"quality": "uncertain", "cause": doubt} if doubt else {})


def nothing(quantity: str, cause: str) -> Fields:
    return {"quantity": quantity, "quality": "bad", "cause": cause}


def sealed(fields: Fields, **declared: Any) -> Gateway:
    """A log with one reading of the meter."""
    gateway = Gateway().begin()
    gateway.log.files[DIGEST] = MODEL
    gateway.declare(
        METER,
        **{
            "serial": "",
            "model": "plant-scada",
            "revision": 1,
            "digest": DIGEST,
            "trust": "B",
            "framing": "own",
            "address": "",
            "link": "scada",
            "server": {"uri": SERVER, "certificate": "ab" * 32},
            "schedules": [{"every_ms": EVERY_MS, "quantities": list(NODES)}],
        }
        | declared,
    )
    gateway.after(0.3)
    gateway.append("reading", meter=gateway.source(METER), every_ms=EVERY_MS, due=stamp(gateway.due), **fields)
    return gateway


def findings(fields: Fields, **declared: Any) -> list[tuple[str, str]]:
    gateway = sealed(fields, **declared)
    kept = verify(gateway.log, key=gateway.key_line).findings.kept
    return [(kind, finding.what) for kind, each in kept.items() for finding in each]


def test_an_honest_reading_is_accepted() -> None:
    assert findings(honest()) == []
    assert findings(honest(), server={}) == []
    assert findings(honest(), server={"certificate": "ab" * 32}) == []


def test_an_honest_reading_is_traced_to_its_bytes() -> None:
    gateway = sealed(honest())
    assert trace_record(gateway.log.records[-1], key=gateway.key_line).exit_code == 0


def test_a_namespace_that_has_another_number_by_the_answers_own_table_is_accepted() -> None:
    fields = honest()
    table = (TABLE[0], SERVER, "urn:new", METERS)
    got = answer(ENERGY, POWER, VOLTAGE, TEMPERATURE, table=table)
    further = len(got) - len(bytes.fromhex(fields["frames"][0]["answer"]))
    fields["frames"] = [frame(request(namespace=3), got)]
    for value in fields["values"][:3]:
        offset, _, rest = value["formula"].removeprefix("0@").partition(":")
        value["formula"] = f"0@{int(offset) + further}:{rest}"
    assert findings(fields) == []


def answered(got: bytes) -> Callable[[Fields], None]:
    return lambda fields: fields["frames"][0].update(answer=got.hex())


def value(place: int, **changes: Any) -> Callable[[Fields], None]:
    return lambda fields: fields["values"][place].update(changes)


def says(place: int, said: Fields) -> Callable[[Fields], None]:
    def change(fields: Fields) -> None:
        fields["values"][place] = said

    return change


def both(*changes: Callable[[Fields], None]) -> Callable[[Fields], None]:
    def change(fields: Fields) -> None:
        for each in changes:
            each(fields)

    return change


def no_longer(place: int, *keys: str) -> Callable[[Fields], None]:
    def change(fields: Fields) -> None:
        for key in keys:
            del fields["values"][place][key]

    return change


GOT = answer(ENERGY, POWER, VOLTAGE, TEMPERATURE)
MORE = data_value(scalar(9, 184_223_571), 0)
OLD = data_value(scalar(10, 230.5), 0, source=NOW - 601 * SECOND)

ATTACKS: dict[str, tuple[Callable[[Fields], None], tuple[str, str]]] = {
    "another number in the DataValue": (
        answered(answer(MORE, POWER, VOLTAGE, TEMPERATURE)),
        ("VALUE", "active_energy_import: states 184223.570, the bytes give 184223.571"),
    ),
    "another number stated": (
        value(0, value="184223.571"),
        ("VALUE", "active_energy_import: states 184223.571, the bytes give 184223.570"),
    ),
    "two nodes swapped in the request": (
        lambda fields: fields["frames"][0].update(request=request("Power", "Energy", "Voltage", "Temperature").hex()),
        ("FORMULA", "active_energy_import: states formula"),
    ),
    "two values swapped in the answer": (
        answered(answer(POWER, ENERGY, VOLTAGE, TEMPERATURE)),
        ("FORMULA", "active_power: states formula"),
    ),
    "a node of another meter asked for": (
        lambda fields: fields["frames"][0].update(request=request("Energy2", "Power", "Voltage", "Temperature").hex()),
        ("REQUEST", "is not a request that the model prescribes for this meter"),
    ),
    "the namespace of another meter asked for": (
        lambda fields: fields["frames"][0].update(request=request(namespace=1).hex()),
        ("VALUE", "active_energy_import: states 184223.570, but no good frame holds it"),
    ),
    "another table of namespaces": (
        answered(answer(ENERGY, POWER, VOLTAGE, TEMPERATURE, table=(TABLE[0], METERS, SERVER))),
        ("VALUE", "active_energy_import: states 184223.570, but no good frame holds it"),
    ),
    "another server": (
        answered(answer(ENERGY, POWER, VOLTAGE, TEMPERATURE, server="urn:plant:other")),
        ("VALUE", "active_power: states 512.25, but no good frame holds it"),
    ),
    "a bad value sealed as good": (
        says(3, stated("temperature.flow", "0", f"0@{at(GOT, TEMPERATURE)}:f64le")),
        ("VALUE", "temperature.flow: states 0, but no good frame holds it"),
    ),
    "a bad value with another cause": (
        value(3, cause="bad_no_communication"),
        ("QUALITY", "temperature.flow: no good frame holds it: it is bad, bad_sensor_failure"),
    ),
    "an uncertain value sealed as good": (
        no_longer(2, "quality", "cause"),
        ("QUALITY", "voltage.l1: is marked good, it follows uncertain uncertain_last_usable_value"),
    ),
    "an old value sealed as good": (
        both(answered(answer(ENERGY, POWER, OLD, TEMPERATURE)), no_longer(2, "quality", "cause")),
        ("QUALITY", "voltage.l1: is marked good, it follows uncertain stale"),
    ),
    "a good value sealed as uncertain": (
        value(1, quality="uncertain", cause="uncertain_last_usable_value"),
        ("QUALITY", "active_power: is marked uncertain uncertain_last_usable_value, it follows good"),
    ),
    "a good value hidden": (
        says(1, nothing("active_power", "bad_no_communication")),
        ("FORMULA", "active_power: states formula none, the model gives"),
    ),
    "a good answer hidden behind a fault": (
        both(
            lambda fields: fields["frames"][0].update(fault="no_answer"),
            *(says(place, nothing(name, "no_answer")) for place, name in enumerate(NODES)),
        ),
        ("FRAME", "is marked no_answer, yet it is a good answer: a value may be hidden"),
    ),
    "an answer with one value less": (
        answered(answer(ENERGY, POWER, VOLTAGE)),
        ("FRAME", "5 values came for 6 nodes"),
    ),
    "an answer that ends early": (answered(GOT[:-1]), ("FRAME", "the answer is no list of values")),
    "a value of another type": (
        answered(answer(data_value(scalar(11, 184223570.0)), POWER, VOLTAGE, TEMPERATURE)),
        ("VALUE", "active_energy_import: states 184223.570, but no good frame holds it"),
    ),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_what_was_altered_is_found_and_named(name: str) -> None:
    change, (kind, what) = ATTACKS[name]
    fields = honest()
    change(fields)
    found = findings(fields)
    assert [said for named, said in found if named == kind and what in said], found


def test_a_declared_server_that_is_altered_afterwards_refuses_every_value() -> None:
    found = findings(honest(), server={"uri": "urn:plant:other"})
    assert ("VALUE", "active_power: states 512.25, but no good frame holds it") in found


@pytest.mark.parametrize(
    ("got", "causes"),
    [
        (answer(ENERGY, POWER, VOLTAGE, TEMPERATURE, server="urn:other"), ["other_server"] * 4),
        (answer(ENERGY, POWER, VOLTAGE, TEMPERATURE, table=TABLE[:2]), ["no_namespace"] * 4),
        (answer(ENERGY, POWER, VOLTAGE, TEMPERATURE, table=(TABLE[0], METERS)), ["namespace_moved"] * 4),
        (answer(*[data_value(None, NODE_UNKNOWN)] * 4), ["bad_node_id_unknown"] * 4),
    ],
)
def test_a_reading_without_a_value_says_why_and_is_accepted(got: bytes, causes: list[str]) -> None:
    values = [nothing(name, cause) for name, cause in zip(NODES, causes, strict=True)]
    assert findings({"frames": [frame(request(), got)], "values": values}) == []


def test_a_poll_that_was_answered_cannot_be_counted_as_missed() -> None:
    gateway = sealed(honest())
    gateway.after(900)
    since = stamp(gateway.due)
    told = {"every_ms": EVERY_MS, "since": since, "due": since, "cause": "no_answer", "missed": 1}
    gateway.append("gap", meter=gateway.source(METER), state="opened", frames=[frame(request(), GOT)], **told)
    found = verify(gateway.log, key=gateway.key_line).findings.kept
    assert [finding.what for finding in found["GAP"]] == ["a poll that the meter answered properly is counted as missed"]


def test_a_trace_names_server_nodes_and_times() -> None:
    gateway = sealed(honest())
    text = trace_text(trace(gateway.log, meter=METER, key=gateway.key_line))
    assert f"hall 3, scada, server {SERVER}, certificate abababababababab…, read every 900 s" in text
    assert "the answer to this request of the model, a value for each node" in text
    energy = "status 00000000, source time 2026-11-22T08:15:00.000000Z, server time 2026-11-22T08:15:00.000000Z"
    assert f"node nsu={METERS};s=Energy, UInt64, {energy}" in text
    assert f"node nsu={METERS};s=Temperature, Double, status 808C0000, source time" in text
    assert text.splitlines()[-1].startswith("VERDICT    TRACEABLE")


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (data_value(None, NODE_UNKNOWN), "no value, status 80340000"),
        (data_value(array(9, [1, 2])), "list of 2 UInt64, status 00000000"),
    ],
)
def test_a_trace_says_what_came_in_place_of_a_value(told: bytes, said: str) -> None:
    fields = honest()
    fields["frames"] = [frame(request(), answer(told, POWER, VOLTAGE, TEMPERATURE))]
    assert f"s=Energy, {said}" in trace_text(trace(sealed(fields).log, meter=METER, key=None))


@pytest.mark.parametrize(("ticks", "said"), [(None, "none"), (0, "unusable"), (-1, "unusable"), (2**63 - 1, "unusable")])
def test_a_trace_bears_times_that_are_none(ticks: int | None, said: str) -> None:
    fields = honest()
    got = answer(data_value(scalar(9, 184_223_570), 0, source=ticks), POWER, VOLTAGE, TEMPERATURE)
    fields["frames"] = [frame(request(), got)]
    text = trace_text(trace(sealed(fields).log, meter=METER, key=None))
    assert f"s=Energy, UInt64, status 00000000, source time {said}, server time 2026" in text
