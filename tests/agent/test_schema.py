"""agent.schema: closed kinds; a field too many, too few or malformed is named."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.record import RecordError
from agent.schema import KINDS, check_record
from agent.seal import unsigned
from tests.agent.ledgers import Gateway, good_gateway, new_key, stamp

CORRECTION = {
    "meter": {"id": "rtu-1"},
    "from": "2026-03-01T00:00:00.000Z",
    "to": "2026-03-02T00:00:00.000Z",
    "what": "ct",
    "old": "400/5",
    "new": "200/5",
    "reason": "the plate was misread",
    "who": "wang.li",
    "account": "meterseal",
}


COUNTER = {
    "meter": {"id": "rtu-1"},
    "quantity": "active_energy_import",
    "unit": "kWh",
    "before": {"n": 6, "value": "100.00"},
    "after": {"n": 7, "value": "0.00"},
    "confirmed": {"n": 8, "value": "0.25"},
    "decision": "reset",
    "why": "began_at_zero",
    "added": "0.00",
}
DAY = {
    "meter": {"id": "rtu-1"},
    "day": "2026-03-01",
    "zone": "Asia/Shanghai",
    "from": "2026-02-28T16:00:00.000Z",
    "to": "2026-03-01T16:00:00.000Z",
    "expected": 96,
    "actual": 95,
    "resets": 1,
    "replacements": 0,
    "counters": [
        {
            "quantity": "active_energy_import",
            "unit": "kWh",
            "consumption": "1.25",
            "opening": {"n": 6, "value": "100.00", "away_ms": 1200},
            "closing": {"n": 8, "value": "0.25", "away_ms": 900000},
        }
    ],
}


PERSON = {"who": "wang.li", "account": "operator"}
SETTING = {"name": "wiring", "value": "3", "formula": "0@3:u16be"}
READ_OFF = {"quantity": "active_energy_import", "value": "12.5", "record": 6}


def append_a_meters_life(gateway: Gateway) -> None:
    """One record of each kind that tells of it; only their form is right."""
    gateway.append("alarm", meter=gateway.source("rtu-1"), cause="settings_changed", settings=[SETTING], frames=[])
    gateway.append("spot", meter=gateway.source("rtu-1"), nonce="k3Jd8sPq", frames=[], values=[], **PERSON)
    about = {"meter": {"id": "rtu-1"}, **PERSON}
    gateway.append("replacement", old="1", new="2", last=[READ_OFF], first=[READ_OFF], reason="dead", **about)
    compared = {"reference": "display", "compared": 6, "agrees": True}
    gateway.append("manual", quantity="voltage.l1", value="231", unit="V", read_at=stamp(gateway.now), **compared, **about)
    gateway.append("audit", command="confirm", record=3, reason="as it should be", **about)
    gateway.append("prune", first=0, end=256, blocks=["A" * 43], why="age", undelivered=3)
    lost = {
        "ranges": [{"first": 3, "end": 5}],
        "unhashed": [{"first": 4, "end": 5}],
        "cause": "damaged_pages",
        "checkpoints": True,
    }
    gateway.append("loss", **lost, aside="ledger.sqlite.damaged-1", digest="ab" * 32)


def one_of_each_kind() -> dict[str, dict[str, Any]]:
    gateway = good_gateway()
    gateway.rotate(new_key("second"))
    gateway.step(3600)
    gateway.append("correction", **CORRECTION)
    gateway.append("counter", **COUNTER)
    gateway.append("day", **DAY)
    gateway.append("synchronization", before="unsynchronized", after="synchronized")
    append_a_meters_life(gateway)
    gateway.append("stop", reason="sigterm")
    return {fields["kind"]: unsigned(fields) for fields in map(json.loads, gateway.log.records)}


EXAMPLES = one_of_each_kind()


def test_every_kind_has_an_example_here() -> None:
    assert set(EXAMPLES) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_record_of_each_kind_passes(kind: str) -> None:
    check_record(EXAMPLES[kind])


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    return [path, *(place for key, each in inner for place in _places(each, (*path, key)))]


def _at(fields: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        fields = fields[step]
    return fields


OPTIONAL = {
    "error_ms",
    "proof",
    "ct",
    "vt",
    "fault",
    "value",
    "unit",
    "formula",
    "quality",
    "cause",
    "consumption",
    "opening",
    "closing",
    "record",
    "compared",
    "agrees",
    "why",
    "undelivered",
    "unhashed",
    "checkpoints",
    "aside",
    "digest",
}


ALWAYS = {("gap", ("cause",)), ("alarm", ("cause",)), ("loss", ("cause",)), ("counter", ("why",)), ("config", ("digest",))}
ALWAYS |= {("meter", ("meter", "digest"))}


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_that_must_be_there_is_missed(kind: str) -> None:
    for path in _places(EXAMPLES[kind]):
        may_be_absent = path and path[-1] in OPTIONAL and (kind, path) not in ALWAYS
        if not path or not isinstance(path[-1], str) or may_be_absent:
            continue
        fields = copy.deepcopy(EXAMPLES[kind])
        del _at(fields, path[:-1])[path[-1]]
        with pytest.raises(RecordError, match=r"is missing|is not a kind"):
            check_record(fields)


@pytest.mark.parametrize("kind", KINDS)
def test_an_unknown_field_is_refused_at_every_level(kind: str) -> None:
    for path in _places(EXAMPLES[kind]):
        if isinstance(_at(EXAMPLES[kind], path), dict):
            fields = copy.deepcopy(EXAMPLES[kind])
            _at(fields, path)["unknown"] = 1
            with pytest.raises(RecordError, match="unknown is not a field of this kind"):
                check_record(fields)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("wrong", [[], {}, "\u4e2d" * 500, -1, True])
def test_a_value_of_the_wrong_shape_is_refused_everywhere(kind: str, wrong: Any) -> None:
    for path in _places(EXAMPLES[kind]):
        before = _at(EXAMPLES[kind], path)
        same_type = type(before) is type(wrong) and not isinstance(wrong, str)
        if not path or same_type or path[-1] == "step_ms":
            continue
        fields = copy.deepcopy(EXAMPLES[kind])
        _at(fields, path[:-1])[path[-1]] = wrong
        with pytest.raises(RecordError):
            check_record(fields)


@pytest.mark.parametrize("kind", KINDS)
def test_what_passes_lies_inside_the_strict_profile_which_is_not_checked_again_before_signing(kind: str) -> None:
    for path in _places(EXAMPLES[kind]):
        before = _at(EXAMPLES[kind], path)
        outside: list[Any] = [None, 1.5, 2**53, -(2**53), b"a", {"A": 1}]
        if isinstance(before, str):
            outside += [before + letter for letter in ("\n", "\x1f", "\x7f", "\ud800")]
        for wrong in outside if path else []:
            fields = copy.deepcopy(EXAMPLES[kind])
            _at(fields, path[:-1])[path[-1]] = wrong
            with pytest.raises(RecordError):
                check_record(fields)


@pytest.mark.parametrize(
    ("kind", "path", "wrong"),
    [
        ("reading", ("due",), "2026-02-30T00:00:00.000Z"),
        ("reading", ("due",), "2026-02-28T00:00:00Z"),
        ("reading", ("due",), "2026-02-28T24:30:00.000Z"),
        ("reading", ("due",), "2026-02-28 00:00:00.000Z"),
        ("reading", ("values", 0, "value"), "1e3"),
        ("reading", ("values", 0, "value"), "01.5"),
        ("reading", ("values", 0, "value"), "1."),
        ("reading", ("values", 0, "value"), "+1"),
        ("reading", ("values", 0, "value"), "NaN"),
        ("reading", ("frames", 0, "answer"), "0C"),
        ("reading", ("frames", 0, "answer"), "0c0"),
        ("reading", ("prev",), "A" * 42),
        ("reading", ("meterseal",), 2),
        ("reading", ("n",), -1),
        ("reading", ("kind",), "opinion"),
        ("reading", ("gateway",), "plant"),
        ("reading", ("key",), "7514CEBF46EDEE66"),
        ("key", ("algorithm",), "rsa"),
        ("key", ("action",), "forget"),
        ("gap", ("missed",), -1),
        ("gap", ("every_ms",), 0),
        ("reading", ("every_ms",), "900000"),
        ("reading", ("every_ms",), 86_400_001),
        ("meter", ("meter", "schedules", 0, "every_ms"), 0),
        ("meter", ("meter", "schedules", 0, "quantities"), "active_power"),
    ],
)
def test_what_is_not_well_formed_is_refused(kind: str, path: tuple[Any, ...], wrong: Any) -> None:
    fields = copy.deepcopy(EXAMPLES[kind])
    _at(fields, path[:-1])[path[-1]] = wrong
    with pytest.raises(RecordError):
        check_record(fields)


def test_the_message_names_the_place() -> None:
    fields = copy.deepcopy(EXAMPLES["reading"])
    fields["values"][1]["value"] = "many"
    with pytest.raises(RecordError, match=r"reading\.values\[1\]\.value is not a decimal number"):
        check_record(fields)


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["kind", "meter", "values", "time", "n", "clock"]),
        st.recursive(
            st.one_of(st.none(), st.integers(), st.text(max_size=5)), lambda i: st.lists(i) | st.dictionaries(st.text(), i)
        ),
    )
)
def test_anything_else_is_a_record_error(fields: dict[str, Any]) -> None:
    with pytest.raises(RecordError):
        check_record(fields)
