"""The JSON Schemas that editors use: current, complete, and agreeing with what is loaded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from config.check import load_site
from config.schema import FILES, schema_text, write

CONFIG = Path(__file__).parent.parent.parent / "config"
HERE = Path(__file__).parent
BAD = HERE / "bad"


def _schema(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((CONFIG / name).read_text("utf-8"))
    return loaded


def _as_an_editor_sees(path: Path) -> Any:
    """YAML 1.2 as editors read it is near enough to what this gives: numbers are numbers."""
    return yaml.safe_load(path.read_text("utf-8"))


def _errors(path: Path, name: str = "site.schema.json") -> list[str]:
    found = jsonschema.Draft202012Validator(_schema(name)).iter_errors(_as_an_editor_sees(path))
    return [error.message for error in found]


@pytest.mark.parametrize("name", FILES)
def test_the_schema_files_are_current(name: str) -> None:
    assert (CONFIG / name).read_text("utf-8") == schema_text(FILES[name]), "run: python -m config.schema"


def test_writing_makes_both_files(tmp_path: Path) -> None:
    write(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_the_schemas_are_valid_draft_2020_12(name: str) -> None:
    schema = _schema(name)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    jsonschema.Draft202012Validator.check_schema(schema)


def _properties(name: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    schema = _schema(name)
    for block, content in {"": schema, **schema["$defs"]}.items():
        for key, field in content.get("properties", {}).items():
            yield block, key, field


@pytest.mark.parametrize("name", FILES)
def test_every_key_has_a_description_for_the_editor(name: str) -> None:
    assert [(block, key) for block, key, field in _properties(name) if len(field.get("description", "")) < 8] == []


@pytest.mark.parametrize("name", FILES)
def test_no_word_of_pydantic_is_left_in_a_schema(name: str) -> None:
    content = (CONFIG / name).read_text("utf-8")
    assert '"ge"' not in content
    assert '"title": "' not in content
    assert '"type": "null"' not in content


def test_the_example_validates_and_names_its_schema() -> None:
    example = CONFIG / "site.example.yaml"
    first = example.read_text("utf-8").splitlines()[0]
    assert first == "# yaml-language-server: $schema=site.schema.json"
    assert (CONFIG / first.rpartition("=")[2]).is_file()
    assert _errors(example) == []
    assert load_site(example)


def test_a_good_site_file_and_good_models_validate() -> None:
    assert _errors(HERE / "site.yaml") == []
    for path in sorted((HERE / "models").glob("*.yaml")):
        assert _errors(path, "model.schema.json") == []


@pytest.mark.parametrize(
    "name",
    [
        "every_without_a_unit_word",
        "framing_unknown",
        "gateway_with_capital_letters",
        "key_misspelt",
        "key_unknown",
        "meters_empty",
        "meters_not_a_list",
        "number_too_large",
        "password_in_the_site_file",
        "port_missing_behind_the_host",
        "quantity_unknown",
        "quantity_with_wrong_phase",
        "serial_port_of_windows",
        "topic_with_a_wildcard",
        "true_where_text_is_needed",
    ],
)
def test_an_editor_marks_mistakes_of_single_keys(name: str) -> None:
    assert _errors(BAD / f"{name}.yaml") != []


@pytest.mark.parametrize("name", ["type_unknown", "trust_level_unknown", "examples_missing", "trust_without_a_source"])
def test_an_editor_marks_mistakes_of_single_keys_in_model_files(name: str) -> None:
    assert _errors(BAD / "models" / f"{name}.yaml", "model.schema.json") != []


@pytest.mark.parametrize(
    "change",
    [
        {"every": 900},
        {"every": "15m"},
        {"commit_seconds": 0.5},
        {"timezone": "UTC"},
        {"links": {"1": {"tcp": "gw:502"}}},
        {"meters": [{"id": 7, "link": "line1", "model": "x-1", "address": "007", "serial": 23110788, "ct": 1, "vt": "1"}]},
        {
            "meters": [
                {
                    "id": "m",
                    "link": "l",
                    "model": "x",
                    "address": 1,
                    "points": [
                        {
                            "quantity": "voltage.l1",
                            "at": {"address": 72, "type": "u16", "bits": 3, "missing": [7, "7fff"]},
                            "scale": 0.01,
                            "range": [0, "300"],
                        }
                    ],
                }
            ]
        },
    ],
)
def test_numbers_and_texts_are_accepted_where_an_editor_may_see_either(change: dict[str, Any]) -> None:
    whole = _as_an_editor_sees(HERE / "site.yaml") | change
    assert list(jsonschema.Draft202012Validator(_schema("site.schema.json")).iter_errors(whole)) == []
