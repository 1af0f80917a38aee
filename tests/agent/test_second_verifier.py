"""docs/second_verifier.py: it runs alone, knows what the page prescribes and no more, and computes as the first verifier does.

That both agree on every ledger that tests judge is in `tests.agent.both`, through which they are judged.
"""

from __future__ import annotations

import ast
import json
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agent.cosignature import cosign, witness_key
from agent.declaration import watches_of
from agent.export import export
from config.library import read_model, with_points
from config.model import Counter, ModelFile
from config.quantity import QUANTITIES
from drivers.errors import FormulaError
from drivers.formula import evaluate
from tests.agent.both import second
from tests.agent.ledgers import good_gateway, new_key
from tests.agent.test_record_docs import VECTORS, table

PROGRAM = Path(__file__).parents[2] / "docs" / "second_verifier.py"
SCHEMA = PROGRAM.with_name("record.schema.json")
MODELS = PROGRAM.parents[1] / "config" / "models"


def run(*words: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs a copy of it outside of the project, without the project on its path."""
    copy = folder / "second_verifier.py"
    copy.write_bytes(PROGRAM.read_bytes())
    return subprocess.run(
        [sys.executable, "-I", str(copy), *map(str, words)],
        cwd=folder,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_it_imports_nothing_but_the_standard_library_and_cryptography() -> None:
    names = set()
    for node in ast.walk(ast.parse(PROGRAM.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(str(node.module).split(".")[0])
    assert names - set(sys.stdlib_module_names) == {"cryptography"}


def test_it_verifies_a_bundle_from_the_command_line(tmp_path: Path) -> None:
    gateway = good_gateway()
    export(gateway.log, tmp_path / "a.zip")
    ran = run("a.zip", "--key", gateway.key_line, folder=tmp_path)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.splitlines()[-1] == "VERDICT  IN ORDER"
    assert "METER rtu-1  10 of 12 scheduled polls read (83.33 %)" in ran.stdout
    (tmp_path / "form.txt").write_text(f"Enrolment\n{gateway.key_line}\n", "utf-8")
    (tmp_path / "kept.txt").write_text(gateway.log.notes[0], "utf-8")
    assert run("a.zip", "--key", "form.txt", "--checkpoint", "kept.txt", folder=tmp_path).returncode == 0


def test_it_tells_what_is_wrong_and_what_cannot_be_checked_by_its_exit_code(tmp_path: Path) -> None:
    gateway = good_gateway()
    export(gateway.log, tmp_path / "a.zip")
    assert run("a.zip", folder=tmp_path).returncode == 2
    assert run("none.zip", "--key", gateway.key_line, folder=tmp_path).returncode == 2
    assert "mistyped" in run("a.zip", "--key", gateway.key_line.replace("A", "B"), folder=tmp_path).stderr
    gateway.log.edit(10, lambda f: f["values"][0].update(value="1.00"))
    export(gateway.log, tmp_path / "b.zip")
    ran = run("b.zip", "--key", gateway.key_line, folder=tmp_path)
    assert ran.returncode == 1
    assert "VALUE  1 finding\n    n=10: active_energy_import: states 1.00" in ran.stdout


def test_it_takes_witnesses_and_names_one_that_vouches_for_nothing(tmp_path: Path) -> None:
    gateway = good_gateway()
    note = gateway.checkpoint()
    seconds = int(gateway.now.timestamp())
    gateway.log.notes[-1] += cosign(note, "plant-it", new_key("witness"), seconds) + "\n"
    export(gateway.log, tmp_path / "a.zip")
    (tmp_path / "plant-it.vkey").write_text(witness_key("plant-it", new_key("witness").public) + "\n", "utf-8")
    words = ("a.zip", "--key", gateway.key_line, "--witness")
    assert run(*words, "plant-it.vkey", folder=tmp_path).returncode == 0
    ran = run(*words, witness_key("assessor", new_key("other").public), folder=tmp_path)
    assert (ran.returncode, "assessor has cosigned no checkpoint" in ran.stdout) == (1, True)
    assert run(*words, gateway.key_line, folder=tmp_path).returncode == 2


@pytest.mark.parametrize("path", sorted(MODELS.glob("*.yaml")), ids=lambda path: path.stem)
def test_it_takes_the_same_from_every_model_as_the_first_one(path: Path) -> None:
    model = read_model(path.read_bytes(), path.stem).declared
    made = second.read_model(path.read_bytes())
    assert (made.name, made.revision, made.level, made.protocol) == (
        model.model,
        model.revision,
        model.trust.level,
        model.protocol,
    )
    assert made.watched == {watch.name: watch.expect for watch in watches_of(model)}
    for point in model.points:
        low, high = point.range or (None, None)
        counter = point.counter or Counter()
        right = second.Point(point.ratio, low, high, point.max_rate, counter.modulus, bool(counter.may_step_back))
        assert made.points[point.quantity] == right
    assert second.read_model(with_points(ModelFile(model, b""), model.points).text).points == made.points


def _fields(shape: dict[str, Any], root: dict[str, Any]) -> Any:
    """The field names of a JSON Schema object, nested, with `?` behind those that may be absent."""
    if shape.get("type") == "array":
        return [_fields(shape["items"], root)]
    if shape.get("type") != "object":
        return None
    return {
        name + "?" * (name not in shape["required"]): _fields(each, root)
        for name, each in shape["properties"].items()
        if name not in ("sig", "x")
    }


def _own(kind: str) -> Any:
    if kind.startswith("["):
        return [_own(kind[1:-1])]
    if kind not in second.SHAPES:
        return None
    return {name + "?" * (not needed): _own(inner) for name, (needed, inner) in second.SHAPES[kind].items()}


def test_its_tables_are_those_of_the_schema() -> None:
    schema = json.loads(SCHEMA.read_text("utf-8"))
    assert set(second.KINDS) == set(schema["$defs"])
    for kind, shape in schema["$defs"].items():
        assert {**_own("header"), **_own(kind)} == _fields(shape, schema), kind


def test_the_pages_units_are_those_of_the_product_and_its_own() -> None:
    rows = {name.strip("` "): row[0].strip("`") for row in table("unit") for name in row[1].split(",")}
    assert rows == {name: quantity.unit for name, quantity in QUANTITIES.items()} == second.UNIT_OF


@pytest.mark.parametrize(("formula", "answers", "expected"), VECTORS)
def test_it_evaluates_a_vector_to_what_is_written(formula: str, answers: str, expected: str) -> None:
    outcome = second.evaluate(formula, [bytes.fromhex(answer) for answer in answers.split()])
    assert (outcome.value or outcome.cause) == expected


_ORDER = st.sampled_from(["be", "le", "ws", "bs"])
_ENCODING = st.one_of(
    st.sampled_from(["u8", "i8", "u8[3]", "i8[1-6]", "ascii5", "ascii5le", "hex4", "dec5", "dec9"]),
    st.builds("{}{}{}".format, st.sampled_from("ui"), st.sampled_from(["16", "24", "32", "48", "64"]), _ORDER),
    st.builds("u16{}[{}-{}]".format, _ORDER, st.integers(0, 9), st.integers(8, 16)),
    st.builds("{}{}".format, st.sampled_from(["f32", "f64", "mod10x2", "mod10x3"]), _ORDER),
    st.builds("bcd{}{}{}{}".format, st.integers(1, 4), _ORDER, st.sampled_from(["", "33"]), st.sampled_from(["", "s", "f"])),
    st.builds("digits{}{}{}".format, st.integers(1, 4), _ORDER, st.sampled_from(["", "33"])),
)
_SOURCE = st.builds(
    "{}{}@{}:{}{}".format,
    st.sampled_from("0012"),
    st.sampled_from(["", "", "", "p", "h"]),
    st.integers(0, 6),
    _ENCODING,
    st.sampled_from(["", "", "!ffff", "!ff", "!00000000"]),
)
_FACTOR = st.one_of(
    st.sampled_from(["*0.01", "*1000", "*-2.5", "/3", "/400", "/0.5", "/0", "*0"]),
    st.builds("*10^({}{})".format, _SOURCE, st.sampled_from(["", "-4", "+2", "-99"])),
)
_TERM = st.builds(lambda source, factors: source + "".join(factors), _SOURCE, st.lists(_FACTOR, max_size=3))
_BYTES = st.one_of(
    st.binary(min_size=0, max_size=16),
    st.lists(st.sampled_from([0, 0x12, 0x99, 0xFF, 0x33, 0x20, 0x2E, 0x31]), min_size=6, max_size=16).map(bytes),
    st.from_regex(rb"[ 0]{0,3}-?[0-9]{1,4}(\.[0-9]{1,3})? {0,4}", fullmatch=True),
)


def both(formula: str, answers: list[bytes]) -> tuple[object, object]:
    """What the first and the second verifier's evaluation give; None where the formula is none."""
    made: list[object] = []
    for of in (evaluate, second.evaluate):
        try:
            outcome = of(formula, answers)
            made.append(outcome.value if outcome.value is not None else outcome.cause)
        except (FormulaError, second.Wrong):
            made.append(None)
    return made[0], made[1]


@settings(max_examples=400, deadline=None)
@given(st.lists(_TERM, min_size=1, max_size=3).map("+".join), st.lists(_BYTES, min_size=1, max_size=3))
@example("0@0:ascii5", [b"\0abc "])
@example("0@0:bcd2le33!3232", [b"\x32\x32"])
@example("0@0:u16be/10^(0@0:u8)", [b"\0\x01"])
def test_any_formula_gives_the_same_in_both(formula: str, answers: list[bytes]) -> None:
    one, other = both(formula, answers)
    # Behind a missing value the first one looks no further, the second one reads the formula to its end.
    assert one == other or (other is None and isinstance(one, str) and "_" in one)


@settings(max_examples=300, deadline=None)
@given(st.floats(width=32), st.floats(width=64))
@example(float.fromhex("0x1p-44"), 5e-324)
@example(9007199791611904.0, 9007199254740993.0)
@example(0.0, 562949953421312.75)  # as far from ...2.7 as from ...2.8
@example(-0.0, -562949953421312.25)
def test_any_binary_number_enters_as_the_same_decimal_in_both(single: float, double: float) -> None:
    for formula, data in (("0@0:f32be", struct.pack(">f", single)), ("0@0:f64be", struct.pack(">d", double))):
        one, other = both(formula, [data])
        assert one == other
