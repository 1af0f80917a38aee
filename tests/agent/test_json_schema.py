"""docs/record.schema.json: made from the one definition, and it judges records exactly as that does."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from agent.record import RecordError
from agent.schema import KINDS, check_record, json_schema
from agent.seal import unsigned
from agent.shape import as_json_schema, day, time
from tests.agent.ledgers import good_gateway
from tests.agent.test_schema import EXAMPLES

FILE = Path(__file__).parents[2] / "docs" / "record.schema.json"
VALIDATOR = Draft202012Validator(json_schema())
OF_KIND = {kind: Draft202012Validator(json_schema() | {"oneOf": [{"$ref": f"#/$defs/{kind}"}]}) for kind in KINDS}
SIGNATURE = "A" * 86


def check_passes(fields: dict[str, Any]) -> bool:
    try:
        check_record(fields)
    except RecordError:
        return False
    return True


def test_the_file_in_docs_is_the_one_the_definition_gives_today() -> None:
    stale = "run: python -m agent.schema > docs/record.schema.json"
    assert json.loads(FILE.read_text("utf-8")) == json_schema(), stale


def test_the_schema_is_a_valid_one_for_every_kind_of_record() -> None:
    Draft202012Validator.check_schema(json_schema())
    assert set(json_schema()["$defs"]) == set(KINDS)


def test_it_accepts_every_record_of_a_ledger_as_stored() -> None:
    for payload in good_gateway().log.records:
        VALIDATOR.validate(json.loads(payload))
        VALIDATOR.validate(json.loads(payload) | {"x": {"any": [1.5, None]}})


def test_it_rejects_a_record_without_a_signature() -> None:
    fields = json.loads(good_gateway().log.records[0])
    assert not VALIDATOR.is_valid(unsigned(fields))


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    return [path, *(place for key, each in inner for place in _places(each, (*path, key)))]


STRANGE = [
    None, True, -1, 0, 2**53, 1.5, "", "a", "A-1", "\n", "x\n", "\x7f", "\u4e2d", "\u4e2d" * 401, "2026-02-30T00:00:00.000Z",
    "2026-03-01T00:00:00.000Z\n", "0123456789abcdef", "ab", [], {}, {"a": 1}, ["a"], 10**6,
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_at_every_place_it_rejects_what_the_check_rejects_and_nothing_else(kind: str) -> None:
    fields = copy.deepcopy(EXAMPLES[kind])
    for path in _places(EXAMPLES[kind])[1:]:
        holder: Any = fields
        for step in path[:-1]:
            holder = holder[step]
        before = holder[path[-1]]
        for strange in STRANGE:
            holder[path[-1]] = strange
            valid = OF_KIND[kind].is_valid(fields | {"sig": SIGNATURE})
            assert valid == check_passes(fields), (path, strange)
        if isinstance(path[-1], str):
            del holder[path[-1]]
            assert OF_KIND[kind].is_valid(fields | {"sig": SIGNATURE}) == check_passes(fields), path
        holder[path[-1]] = before
        if isinstance(before, dict):
            before["unknown"] = 1
            assert not OF_KIND[kind].is_valid(fields | {"sig": SIGNATURE})
            del before["unknown"]
        fields = copy.deepcopy(EXAMPLES[kind])


DIGITS = st.text("0123456789", min_size=2, max_size=2)


@given(year=st.text("0123456789", min_size=4, max_size=4), month=DIGITS, of_month=DIGITS, hour=DIGITS, minute=DIGITS)
@settings(max_examples=400, deadline=None)
def test_a_day_and_a_time_are_the_same_for_both(year: str, month: str, of_month: str, hour: str, minute: str) -> None:
    for check, text in (
        (day, f"{year}-{month}-{of_month}"),
        (day, f"{year}-02-29"),
        (time, f"{year}-{month}-{of_month}T{hour}:{minute}:00.000Z"),
        (time, f"2026-06-{of_month}T{hour}:{minute}:59.999Z"),
    ):
        try:
            check(text, ("text",))
            passes = True
        except RecordError:
            passes = False
        assert Draft202012Validator(as_json_schema(check)).is_valid(text) == passes, text
