"""agent.export and agent.bundle: what is exported verifies elsewhere, and a broken or hostile zip is told as such."""

from __future__ import annotations

import hashlib
import json
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from shutil import which

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent import checkpoint
from agent.bundle import Bundle
from agent.export import RECIPE, export
from agent.findings import CannotCheck
from agent.ledger_file import LedgerReader
from agent.seal import base64url
from agent.source import open_log
from agent.trace import trace
from tests.agent.both import verify
from tests.agent.ledgers import DIGEST, MODEL, Gateway, MemoryLog, good_gateway, new_key
from tests.agent.test_attacks import real_ledger


@pytest.fixture
def gateway() -> Gateway:
    return good_gateway()


@pytest.fixture
def path(tmp_path: Path, gateway: Gateway) -> Path:
    export(gateway.log, tmp_path / "evidence.zip")
    return tmp_path / "evidence.zip"


def test_a_bundle_verifies_without_the_gateway(path: Path, gateway: Gateway) -> None:
    bundle = Bundle(path)
    report = verify(bundle, key=gateway.key_line)
    assert (report.exit_code, report.records, report.checkpoint, report.findings.counts) == (0, 30, 28, {})
    assert bundle.size() == 30
    assert list(bundle.payloads(3, 5)) == list(enumerate(gateway.log.records))[3:5]
    assert bundle.checkpoints() == gateway.log.notes
    assert bundle.models() == {DIGEST: MODEL}
    bundle.close()


def test_a_bundle_without_a_confirmed_key_is_not_confirmed(path: Path) -> None:
    bundle = Bundle(path)
    assert verify(bundle, key=None).exit_code == 2
    bundle.close()


def test_the_records_are_byte_for_byte_the_sealed_ones(path: Path, gateway: Gateway) -> None:
    with zipfile.ZipFile(path) as bundle:
        assert bundle.read("records.jsonl") == b"".join(payload + b"\n" for payload in gateway.log.records)


def test_the_same_content_gives_the_same_bytes(tmp_path: Path, gateway: Gateway) -> None:
    one = export(gateway.log, tmp_path / "one.zip")
    other = export(good_gateway().log, tmp_path / "other.zip")
    assert one.sha256 == other.sha256 == hashlib.sha256((tmp_path / "one.zip").read_bytes()).hexdigest()
    assert one.size == (tmp_path / "one.zip").stat().st_size


def test_the_summary_counts_what_was_written(tmp_path: Path, gateway: Gateway) -> None:
    gateway.rotate(new_key("second"))
    summary = export(gateway.log, tmp_path / "evidence.zip")
    assert (summary.records, summary.checkpoints, summary.models, summary.keys) == (31, 11, 1, 2)
    with zipfile.ZipFile(tmp_path / "evidence.zip") as bundle:
        line = bundle.read(f"keys/{gateway.first_key.name}.vkey").decode()
        assert checkpoint.read_verifier_key(line) == ("meterseal/plant/gw1", gateway.first_key.public)
        text = bundle.read("README.txt").decode()
    assert "31 records, from record 0 on, 2026-03-01T00:00:00.000Z to " in text


def test_an_export_up_to_a_record_verifies_and_leaves_later_checkpoints_out(tmp_path: Path, gateway: Gateway) -> None:
    summary = export(gateway.log, tmp_path / "part.zip", stop=20)
    assert (summary.records, summary.checkpoints) == (20, 7)
    bundle = Bundle(tmp_path / "part.zip")
    report = verify(bundle, key=gateway.key_line)
    bundle.close()
    assert (report.exit_code, report.records, report.checkpoint) == (0, 20, 20)


def test_no_private_key_is_in_a_bundle(path: Path, gateway: Gateway) -> None:
    secret = gateway.key.private.private_bytes_raw()
    with zipfile.ZipFile(path) as bundle:
        for name in bundle.namelist():
            data = bundle.read(name)
            assert secret not in data
            assert base64url(secret).encode() not in data
            assert b"PRIVATE" not in data


def test_nothing_to_export_is_told_and_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no record to export"):
        export(MemoryLog(), tmp_path / "empty.zip")
    assert list(tmp_path.iterdir()) == []


def test_an_export_that_fails_leaves_the_old_file_as_it_was(tmp_path: Path, gateway: Gateway, path: Path) -> None:
    class Failing(MemoryLog):
        def models(self) -> dict[str, bytes]:
            raise OSError("the disk is gone")

    before = path.read_bytes()
    with pytest.raises(OSError, match="the disk is gone"):
        export(Failing(gateway.log.records), path)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["evidence.zip"]


def test_a_damaged_log_is_exported_as_it_is_and_found_there(tmp_path: Path, gateway: Gateway) -> None:
    gateway.log.records[7] = b'{"kind": "key",\n"public": 5}'
    gateway.log.notes.append("no checkpoint")
    export(gateway.log, tmp_path / "evidence.zip")
    bundle = Bundle(tmp_path / "evidence.zip")
    report = verify(bundle, key=gateway.key_line)
    bundle.close()
    assert report.records == 30
    assert {"FORMAT", "UNSIGNED", "CHECKPOINT"} <= set(report.findings.counts)


async def test_the_bundle_of_a_ledger_file_is_the_bundle_of_its_records(tmp_path: Path, gateway: Gateway) -> None:
    reader = LedgerReader(await real_ledger(tmp_path / "ledger.sqlite", gateway))
    summary = export(reader, tmp_path / "evidence.zip")
    notes = reader.checkpoints()
    reader.close()
    gateway.log.notes = notes
    assert export(gateway.log, tmp_path / "other.zip").sha256 == summary.sha256


# --- what is no bundle ----------------------------------------------------------------------------------------


def zipped(path: Path, **members: bytes) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, data in members.items():
            bundle.writestr(name.replace("_jsonl", ".jsonl"), data)


def no_file(path: Path) -> None:
    path.unlink()


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def damaged(path: Path) -> None:
    data = bytearray(path.read_bytes())
    for at in range(400, len(data) - 400, 97):
        data[at] ^= 0xFF
    path.write_bytes(data)


def bomb(path: Path) -> None:
    zipped(path, records_jsonl=b"\n" * 50_000_000)


def endless_line(path: Path) -> None:
    path.unlink()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as bundle:
        bundle.writestr("records.jsonl", b"a" * 1_000_000)


def twice(path: Path) -> None:
    with zipfile.ZipFile(path, "a") as bundle, pytest.warns(UserWarning, match="Duplicate name"):
        bundle.writestr("records.jsonl", b"")


def encrypted(path: Path) -> None:
    """Sets the encryption bit of every member in the central directory."""
    data = bytearray(path.read_bytes())
    at = -1
    while (at := data.find(b"PK\x01\x02", at + 1)) >= 0:
        (flags,) = struct.unpack_from("<H", data, at + 8)
        struct.pack_into("<H", data, at + 8, flags | 1)
    path.write_bytes(data)


def otherwise_packed(path: Path) -> None:
    zipped_with = zipfile.ZIP_LZMA
    with zipfile.ZipFile(path, "w", zipped_with) as bundle:
        bundle.writestr("records.jsonl", b"{}\n")


def large_model(path: Path) -> None:
    with zipfile.ZipFile(path, "a", zipfile.ZIP_STORED) as bundle:
        bundle.writestr(f"models/{'0' * 64}.yaml", b"#" * 5_000_000)


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def letter(path: Path) -> None:
    path.write_bytes(b"hello")


BROKEN: dict[str, tuple[Callable[[Path], None], str]] = {
    "there is no file": (no_file, "there is no file"),
    "the file is empty": (emptied, "damaged or no bundle"),
    "it is no zip": (letter, "damaged or no bundle"),
    "it is a zip of something else": (lambda path: zipped(path, letter=b"dear auditor"), "there is no records.jsonl in it"),
    "it was cut off": (cut_off, "damaged or no bundle"),
    "bytes in it are damaged": (damaged, "damaged or no bundle|unknown way|too much|no records.jsonl|no export writes"),
    "it is a bomb": (bomb, "would unpack to far too much"),
    "a line never ends": (endless_line, "longer than a record can be"),
    "a name stands twice": (twice, "one name twice"),
    "it is encrypted": (encrypted, "encrypted"),
    "it is packed in another way": (otherwise_packed, "packed in an unknown way"),
    "a model is far too large": (large_model, "is too large"),
}


@pytest.mark.parametrize("how", BROKEN)
def test_what_is_no_bundle_cannot_be_checked(how: str, path: Path, gateway: Gateway) -> None:
    break_it, words = BROKEN[how]
    break_it(path)
    with pytest.raises(CannotCheck, match=words):
        verify(Bundle(path), key=gateway.key_line)


@pytest.mark.parametrize(
    "name",
    ["../../etc/passwd", "/records.jsonl", "models/x.yaml", "checkpoints/evil.txt", "models/" + "A" * 64 + ".yaml", "notes.txt"],
)
def test_a_member_that_no_export_writes_is_refused(path: Path, name: str) -> None:
    """A renamed checkpoint would else be missing, and nobody would notice."""
    with zipfile.ZipFile(path, "a") as bundle:
        bundle.writestr(name, b"evil")
    with pytest.raises(CannotCheck, match="no export writes"):
        Bundle(path)


def test_a_bundle_without_models_or_checkpoints_is_found_wanting(tmp_path: Path, gateway: Gateway) -> None:
    zipped(tmp_path / "bare.zip", records_jsonl=b"\n".join(gateway.log.records))
    bundle = Bundle(tmp_path / "bare.zip")
    report = verify(bundle, key=gateway.key_line)
    bundle.close()
    assert (set(report.findings.counts), report.checkpoint) == ({"MODEL", "CHECKPOINT-MISSING"}, None)


def test_a_bundle_with_no_record_in_it_fails(tmp_path: Path, gateway: Gateway) -> None:
    zipped(tmp_path / "bare.zip", records_jsonl=b"")
    bundle = Bundle(tmp_path / "bare.zip")
    report = verify(bundle, key=gateway.key_line)
    bundle.close()
    assert (set(report.findings.counts), report.exit_code) == ({"EMPTY"}, 1)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_damage_to_a_bundle_ends_in_anything_but_a_finding_or_a_message(
    data: st.DataObject, path: Path, gateway: Gateway
) -> None:
    whole = path.read_bytes()
    broken = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        broken[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    other = path.with_name("broken.zip")
    other.write_bytes(broken)
    try:
        bundle = Bundle(other)
        report = verify(bundle, key=gateway.key_line)
        bundle.close()
    except CannotCheck:
        return
    with zipfile.ZipFile(path) as one, zipfile.ZipFile(other) as two:
        if report.exit_code == 0:
            assert one.read("records.jsonl") == two.read("records.jsonl")


# --- opening what was given -----------------------------------------------------------------------------------


async def test_a_state_directory_a_ledger_and_a_bundle_are_all_logs(tmp_path: Path, path: Path, gateway: Gateway) -> None:
    state = tmp_path / "state"
    state.mkdir()
    await real_ledger(state / "ledger.sqlite", gateway)
    for given_path in (state, state / "ledger.sqlite", path):
        log = open_log(given_path)
        assert verify(log, key=gateway.key_line).exit_code == 0
        assert trace(log, n=8, key=gateway.key_line).exit_code == 0
        log.close()


def test_anything_else_is_told_in_plain_words(tmp_path: Path) -> None:
    with pytest.raises(CannotCheck, match=r"there is no file .*ledger\.sqlite"):
        open_log(tmp_path)
    other = tmp_path / "letter.txt"
    other.write_text("dear auditor")
    with pytest.raises(CannotCheck, match="neither a bundle"):
        open_log(other)
    foreign = tmp_path / "foreign.sqlite"
    subprocess.run(
        [sys.executable, "-c", f"import sqlite3; sqlite3.connect({str(foreign)!r}).executescript('CREATE TABLE a (b)')"],
        check=True,
    )
    with pytest.raises(CannotCheck, match="not a meterseal ledger"):
        open_log(foreign)


# --- the README's own words -----------------------------------------------------------------------------------


def test_the_recipe_in_the_bundles_readme_works_on_the_bundle(tmp_path: Path, gateway: Gateway) -> None:
    """There is no record 42 in this small log: the line number is the only thing changed in the recipe."""
    for program in ("jq", "openssl", "sha256sum"):
        if not which(program):
            pytest.skip(f"install {program} to run this test")
    export(gateway.log, tmp_path / "evidence.zip")
    with zipfile.ZipFile(tmp_path / "evidence.zip") as bundle:
        bundle.extractall(tmp_path)
    assert "".join(f"    {line}\n" for line in RECIPE.splitlines()) in (tmp_path / "README.txt").read_text()
    script = RECIPE.replace("43p", "10p")
    ran = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path,
        env={"KEY": gateway.key_line, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert "Signature Verified Successfully" in ran.stdout
    leaf = base64url(bytes.fromhex(ran.stdout.split()[-2]))
    assert leaf == json.loads(gateway.log.records[10])["prev"]
