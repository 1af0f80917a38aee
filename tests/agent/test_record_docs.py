"""docs/record.md and docs/verify.md: the specification's examples verify, its recipe runs, its tables are the schema."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
from pathlib import Path
from shutil import which
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from agent import checkpoint
from agent.findings import CLASSES
from agent.merkle import inclusion_proof, root_from_proof
from agent.record import leaf_hash, parse, signed_part
from agent.schema import CHANGED, CHANGES, CLOCK, CLOSED, DECLARATION, FRAME, HEADER, KINDS, READ_OFF, SETTING, SOURCE, VALUE
from agent.seal import base64url, check_signature
from agent.trace import trace_record
from drivers.formula import evaluate
from tests.agent.ledgers import Gateway, new_key

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "record.md").read_text("utf-8")
BLOCKS = re.findall(r"```([a-z]+)\n(.*?)```", TEXT, re.DOTALL)


def block(language: str, beginning: str) -> str:
    found = [content for name, content in BLOCKS if name == language and content.startswith(beginning)]
    assert len(found) == 1
    return str(found[0])


RECORD = block("json", "{").strip()
KEY_LINE = block("text", "meterseal/plant/gw1+").strip()
NOTE = block("text", "meterseal/plant/gw1\n")


def example() -> Gateway:
    """The log that the examples come from."""
    gateway = Gateway().begin().after(0.3)
    gateway.reading("rtu-1")
    gateway.after(0.2).reading("tcp-2")
    gateway.checkpoint()
    return gateway


# --- the examples ---------------------------------------------------------------------------------------------


def test_the_example_is_what_the_code_seals_today() -> None:
    gateway = example()
    assert gateway.log.records[6].decode() == RECORD
    assert gateway.key_line == KEY_LINE
    assert gateway.log.notes[0] == NOTE
    assert f"(one line, {len(RECORD)} bytes)" in TEXT


def test_the_example_verifies_with_the_key_line_beside_it() -> None:
    origin, public = checkpoint.read_verifier_key(KEY_LINE)
    fields = parse(RECORD.encode())
    body = check_signature(fields, public)
    assert origin == f"meterseal/{fields['gateway']}"
    assert f"Its leaf hash is `{leaf_hash(body).hex()}`" in TEXT
    assert f"example the length is {len(body)})" in TEXT
    assert trace_record(RECORD.encode(), key=KEY_LINE).exit_code == 0


def test_the_checkpoint_and_its_proof_cover_the_example() -> None:
    origin, public = checkpoint.read_verifier_key(KEY_LINE)
    seen = checkpoint.read(NOTE, origin, public)
    proof = [bytes.fromhex(line) for line in re.search(r"nearest hash first\):\n\n```text\n(.*?)```", TEXT, re.DOTALL)[1].split()]  # type: ignore[index]  # the test fails where it is not there
    leaves = [leaf_hash(signed_part(json.loads(payload))) for payload in example().log.records]
    assert proof == inclusion_proof(6, leaves)
    assert root_from_proof(6, seen.size, leaf_hash(signed_part(parse(RECORD.encode()))), proof) == seen.root


@pytest.mark.parametrize("indent", [None, 4])
def test_the_recipe_verifies_the_example_however_it_is_formatted(indent: int | None, tmp_path: Path) -> None:
    ran = run_recipe(tmp_path, json.dumps(json.loads(RECORD) | {"x": {"a": 1.5, "b": None}}, indent=indent))
    assert ran.returncode == 0, ran.stderr
    assert "Signature Verified Successfully" in ran.stdout
    assert leaf_hash(signed_part(json.loads(RECORD))).hex() in ran.stdout


def test_the_recipe_refuses_a_changed_digit(tmp_path: Path) -> None:
    ran = run_recipe(tmp_path, RECORD.replace("14737885.60", "14737885.61"))
    assert "Signature Verification Failure" in ran.stdout
    assert ran.returncode != 0


def run_recipe(folder: Path, record: str) -> subprocess.CompletedProcess[str]:
    for program in ("jq", "openssl", "sha256sum"):
        if not which(program):
            pytest.skip(f"install {program} to run this test")
    (folder / "record.json").write_text(record, "utf-8")
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block("bash", "jq -cjS")],
        cwd=folder,
        env={"KEY": KEY_LINE, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )


# --- the tables -----------------------------------------------------------------------------------------------


def table(heading: str) -> list[list[str]]:
    """The rows of the table whose first column has this heading."""
    found = re.search(rf"^\| {re.escape(heading)} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", TEXT, re.MULTILINE)
    assert found, heading
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in found[1].strip().split("\n")]


def fields_in(rows: list[list[str]]) -> set[str]:
    """Field names, with `?` where the table has them in brackets."""
    names: set[str] = set()
    for row in rows:
        for bracket, name in re.findall(r"(\(?)`([a-z_]+)`", row[0]):
            names.add(f"{name}?" if bracket else name)
    return names


def fields_of(check: Any) -> set[str]:
    """The fields that a check of the schema knows, from the places where it is made."""
    cells = dict(zip(check.__code__.co_freevars, (cell.cell_contents for cell in check.__closure__), strict=True))
    return {name if name in cells["required"] else f"{name}?" for name in cells["checks"]}


def section(kind: str) -> list[list[str]]:
    """The first table behind a kind's heading."""
    behind = TEXT[TEXT.index(f"\n### `{kind}`\n") :]
    found = re.search(r"^\| field \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", behind, re.MULTILINE)
    assert found, kind
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in found[1].strip().split("\n")]


@pytest.mark.parametrize(
    "kind",
    [
        *("key", "reading", "gap", "identity", "counter", "day", "correction", "synchronization", "clock"),
        *("alarm", "spot", "replacement", "manual", "audit", "prune"),
    ],
)
def test_a_kinds_table_has_exactly_the_fields_of_the_schema(kind: str) -> None:
    assert fields_in(section(kind)) == set(KINDS[kind])


@pytest.mark.parametrize(
    ("heading", "check"),
    [
        ("field of `clock`", CLOCK),
        ("field of `meter`", DECLARATION),
        ("field of a *source*", SOURCE),
        ("field of a *frame*", FRAME),
        ("field of a *value*", VALUE),
        ("field of *changes*", CHANGES),
        ("field of a *changed part*", CHANGED),
        ("field of a *setting*", SETTING),
        ("field of a *read off*", READ_OFF),
        ("field of a *closing*", CLOSED),
    ],
)
def test_an_inner_objects_table_has_exactly_the_fields_of_the_schema(heading: str, check: Any) -> None:
    assert fields_in(table(heading)) == fields_of(check)


@pytest.mark.parametrize("kind", ["start", "stop", "config"])
def test_the_tables_of_the_small_kinds_have_exactly_the_fields_of_the_schema(kind: str) -> None:
    assert fields_in(table(f"field of `{kind}`")) == set(KINDS[kind])


def test_the_header_table_has_exactly_the_fields_of_the_schema() -> None:
    assert fields_in(table("field")) == {*HEADER, "sig"}


def test_every_kind_is_described() -> None:
    described = set(re.findall(r"^### (.*)$", TEXT, re.MULTILINE))
    named = {name for heading in described for name in re.findall(r"`([a-z]+)`", heading)}
    assert named == set(KINDS)


# --- formulas -------------------------------------------------------------------------------------------------

VECTORS = [[cell.strip("` ") for cell in row] for row in table("formula")]


@pytest.mark.parametrize(("formula", "answers", "expected"), VECTORS)
def test_a_vector_evaluates_to_what_is_written(formula: str, answers: str, expected: str) -> None:
    outcome = evaluate(formula, [bytes.fromhex(answer) for answer in answers.split()])
    assert (outcome.value or outcome.cause) == expected


def test_every_cause_of_a_missing_value_is_in_the_table() -> None:
    causes = {row[1].strip("`") for row in table("no value because")}
    source = (DOCS.parent / "drivers" / "formula.py").read_text("utf-8")
    assert causes == set(re.findall(r'_Unusable\("([a-z_]+)"', source)) | set(re.findall(r'else "(bad_text)"', source))


# --- verify.md ------------------------------------------------------------------------------------------------


def test_every_class_of_findings_is_explained_and_no_other() -> None:
    text = (DOCS / "verify.md").read_text("utf-8")
    rows = re.findall(r"^\| ([A-Z-]+) \| (.*?) \| (.*?) \|$", text, re.MULTILINE)
    assert {kind: (means, then) for kind, means, then in rows} == {
        kind: (meaning.means, meaning.then) for kind, meaning in CLASSES.items()
    }


def test_every_class_named_in_the_specification_exists() -> None:
    checks = TEXT[TEXT.index("## What a verifier checks") : TEXT.index("## The bundle")]
    named = set(re.findall(r"\b([A-Z][A-Z-]{2,})\b", checks))
    assert named == set(CLASSES) - {"EMPTY"}


def test_the_chain_in_the_example_is_unbroken() -> None:
    records = [json.loads(payload) for payload in example().log.records]
    assert base64url(leaf_hash(signed_part(records[5]))) == json.loads(RECORD)["prev"]


# --- a second verifier ----------------------------------------------------------------------------------------


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def base64_bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def tree_root(leaves: list[bytes]) -> bytes:
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << ((len(leaves) - 1).bit_length() - 1)
    return sha256(b"\x01" + tree_root(leaves[:split]) + tree_root(leaves[split:]))


def test_a_verifier_written_from_the_page_alone_agrees() -> None:
    """Uses nothing of meterseal but the log to verify: what the page says is enough, and is true."""
    gateway = example()
    gateway.rotate(new_key("second"))
    gateway.append("stop", reason="test")
    gateway.checkpoint()
    origin, key_hash, encoded = KEY_LINE.split("+", 2)
    public = base64.b64decode(encoded)[1:]
    assert sha256(f"{origin}\n\x01".encode() + public)[:4].hex() == key_hash
    prev, leaves = sha256(b""), []
    for n, payload in enumerate(gateway.log.records):
        fields = json.loads(payload)
        signature = base64_bytes(fields.pop("sig"))
        body = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        data = b"DSSEv1 40 application/vnd.meterseal.record.v1+json %d " % len(body) + body
        Ed25519PublicKey.from_public_bytes(public).verify(signature, data)
        assert (fields["n"], base64_bytes(fields["prev"])) == (n, prev)
        assert fields["key"] == sha256(public).hex()[:16]
        if fields["kind"] == "key" and fields["action"] == "rotate":
            new = base64_bytes(fields["public"])
            statement = f"meterseal key rotation v1\n{fields['gateway']}\n{fields['key']}\n{fields['public']}\n"
            Ed25519PublicKey.from_public_bytes(new).verify(base64_bytes(fields["proof"]), statement.encode())
            public = new
        prev = sha256(b"\0" + body)
        leaves.append(prev)
    text, _, line = gateway.log.notes[-1].partition("\n\n")
    assert text.split("\n") == [origin, str(len(leaves)), base64.b64encode(tree_root(leaves)).decode()]
    signature = base64.b64decode(line.split(" ")[2])
    assert signature[:4] == sha256(f"{origin}\n\x01".encode() + public)[:4]
    Ed25519PublicKey.from_public_bytes(public).verify(signature[4:], f"{text}\n".encode())
