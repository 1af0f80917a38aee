"""What somebody can do to a log, and the classes of findings that name it. Each attack is really carried out.

R: found from the records alone. C: found only by a checkpoint that somebody else kept.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent import checkpoint
from agent.bundle import Bundle
from agent.export import export
from agent.ledger import Ledger
from agent.ledger_file import LedgerReader
from agent.seal import base64url
from tests.agent.both import verify
from tests.agent.ledgers import (
    DIGEST,
    EVERY_S,
    GATEWAY,
    Gateway,
    MemoryLog,
    classes,
    good_gateway,
    new_key,
    rtu,
    told,
)

Fields = dict[str, Any]


def change_value(log: MemoryLog) -> None:
    log.edit(log.find("reading", 4), lambda f: f["values"][0].update(value="9900.50"))


def change_frame_and_value(log: MemoryLog) -> None:
    """Everything fits afterwards, the checksum too; only the signature does not."""

    def change(fields: Fields) -> None:
        fields["frames"][0]["answer"] = rtu(told((18422000).to_bytes(4, "big"))).hex()
        fields["values"][0]["value"] = "14737600.00"

    log.edit(next(n for n in range(len(log.records)) if _is_of(log, n, "rtu-1")), change)


def change_frame_only(log: MemoryLog) -> None:
    """One bit of an answer."""

    def change(fields: Fields) -> None:
        answer = fields["frames"][0]["answer"]
        fields["frames"][0]["answer"] = answer[:9] + f"{int(answer[9], 16) ^ 1:x}" + answer[10:]

    log.edit(next(n for n in range(len(log.records)) if _is_of(log, n, "rtu-1")), change)


def _is_of(log: MemoryLog, n: int, meter: str) -> bool:
    fields = log.fields(n)
    return bool(fields["kind"] == "reading" and fields["meter"]["id"] == meter)


def delete_one(log: MemoryLog) -> None:
    del log.records[log.find("reading", 5)]


def delete_first(log: MemoryLog) -> None:
    del log.records[0]


def swap_two(log: MemoryLog) -> None:
    n = log.find("reading", 6)
    log.records[n], log.records[n + 1] = log.records[n + 1], log.records[n]


def replay_one(log: MemoryLog) -> None:
    log.records.insert(log.find("reading", 9), log.records[log.find("reading", 3)])


def append_old_one(log: MemoryLog) -> None:
    log.records.append(log.records[log.find("reading", 3)])


def take_signature_away(log: MemoryLog) -> None:
    log.edit(log.find("reading", 2), lambda f: f.pop("sig"))


def add_a_field(log: MemoryLog) -> None:
    log.edit(log.find("reading", 2), lambda f: f.update(approved_by="me"))


def break_a_record(log: MemoryLog) -> None:
    n = log.find("reading", 2)
    log.records[n] = log.records[n][:-20]


def alter_model(log: MemoryLog) -> None:
    log.files[DIGEST] = log.files[DIGEST].replace(b"scale: 0.01", b"scale: 0.10")


def remove_model(log: MemoryLog) -> None:
    del log.files[DIGEST]


def change_time(log: MemoryLog) -> None:
    log.edit(log.find("reading", 7), lambda f: f.update(time=f["time"].replace("T0", "T1")))


def change_declaration(log: MemoryLog) -> None:
    log.edit(log.find("meter", 0), lambda f: f["meter"].update(ct="200/5"))


def hide_a_gap(log: MemoryLog) -> None:
    """The owner of the database takes out both records of the outage."""
    log.records = [payload for payload in log.records if json.loads(payload)["kind"] != "gap"]


def forge_checkpoint(log: MemoryLog) -> None:
    log.notes[0] = log.notes[0].replace("\n" + log.notes[0].split("\n")[1] + "\n", "\n5\n", 1)


ATTACKS: dict[str, tuple[Callable[[MemoryLog], None], set[str]]] = {
    "a value is edited": (change_value, {"SIGNATURE", "VALUE", "PREV-HASH", "CHECKPOINT"}),
    "frame and value are edited together with the checksum": (change_frame_and_value, {"SIGNATURE", "PREV-HASH", "CHECKPOINT"}),
    "one bit of a frame is edited": (change_frame_only, {"SIGNATURE", "FRAME", "VALUE", "PREV-HASH", "CHECKPOINT"}),
    "a record is deleted": (delete_one, {"SEQUENCE", "PREV-HASH", "METER-COUNT", "GAP", "CHECKPOINT"}),
    "the enrolment is deleted": (delete_first, {"SEQUENCE", "PREV-HASH", "KEY", "CHECKPOINT"}),
    "two records are swapped": (swap_two, {"SEQUENCE", "PREV-HASH", "CHECKPOINT"}),
    "a record is replayed": (replay_one, {"SEQUENCE", "PREV-HASH", "METER-COUNT", "GAP", "CLOCK", "CHECKPOINT"}),
    "an old record is appended again": (append_old_one, {"SEQUENCE", "PREV-HASH", "METER-COUNT", "GAP", "CLOCK"}),
    "a signature is taken away": (take_signature_away, {"UNSIGNED"}),
    "a field is added outside x": (add_a_field, {"FORMAT", "SIGNATURE", "PREV-HASH", "METER-COUNT", "GAP", "CHECKPOINT"}),
    "a record is cut short": (break_a_record, {"FORMAT", "METER-COUNT", "GAP"}),
    "the meter model is altered": (alter_model, {"MODEL"}),
    "the meter model is removed": (remove_model, {"MODEL"}),
    "a reading is dated to another time": (change_time, {"SIGNATURE", "CLOCK", "PREV-HASH", "CHECKPOINT"}),
    "a declaration is edited": (
        change_declaration,
        {"SIGNATURE", "PREV-HASH", "DECLARATION", "FORMULA", "VALUE", "CHECKPOINT"},
    ),
    "an outage is taken out": (hide_a_gap, {"SEQUENCE", "PREV-HASH", "METER-COUNT", "GAP", "CHECKPOINT"}),
    "a checkpoint is edited": (forge_checkpoint, {"CHECKPOINT", "CHECKPOINT-MISSING"}),
    "a checkpoint is taken out": (lambda log: log.notes.pop(3), {"CHECKPOINT-MISSING"}),
}


def test_a_good_log_has_no_findings() -> None:
    gateway = good_gateway()
    report = verify(gateway.log, key=gateway.key_line)
    assert (report.findings.counts, report.exit_code) == ({}, 0)
    assert report.verdict.startswith("IN ORDER: all 30 records")


@pytest.mark.parametrize("attack", ATTACKS)
def test_whoever_can_write_the_log_but_has_no_key_is_found(attack: str) -> None:
    gateway = good_gateway()
    edit, expected = ATTACKS[attack]
    edit(gateway.log)
    report = verify(gateway.log, key=gateway.key_line)
    assert (set(report.findings.counts), report.exit_code) == (expected, 1)


@pytest.mark.parametrize("attack", [name for name, (_, found) in ATTACKS.items() if "PREV-HASH" in found])
def test_whatever_breaks_the_chain_is_found_by_the_fast_look_too(attack: str) -> None:
    gateway = good_gateway()
    ATTACKS[attack][0](gateway.log)
    report = verify(gateway.log, key=gateway.key_line, fast=True)
    assert report.findings.counts["PREV-HASH"]
    assert report.exit_code == 1


def test_a_finding_names_the_record_the_meter_and_what_is_wrong() -> None:
    gateway = good_gateway()
    n = gateway.log.find("reading", 4)
    change_value(gateway.log)
    found = verify(gateway.log, key=gateway.key_line).findings.kept["VALUE"][0]
    assert (found.n, found.meter) == (n, gateway.log.fields(n)["meter"]["id"])
    assert "states 9900.50, the bytes give " in found.what


# --- keys -----------------------------------------------------------------------------------------------------


def test_everything_sealed_again_with_another_key_is_found() -> None:
    gateway = good_gateway()
    gateway.key = new_key("attacker")
    enrolment = gateway.log.fields(0)
    enrolment["public"] = base64url(gateway.key.public)
    gateway.log.records[0] = json.dumps(enrolment).encode()
    gateway.reseal()
    gateway.log.notes.clear()
    report = verify(gateway.log, key=gateway.key_line)
    assert report.findings.counts["SIGNATURE"] == 30
    assert "the log enrols key " in report.findings.kept["KEY"][0].what
    assert report.exit_code == 1


def test_the_same_forgery_is_not_confirmed_when_nobody_gives_the_key() -> None:
    gateway = Gateway(new_key("attacker")).begin()
    report = verify(gateway.log, key=None)
    assert (report.exit_code, report.findings.total) == (2, 0)
    assert report.verdict.startswith("NOT CONFIRMED")


def test_after_a_rotation_only_the_new_key_signs() -> None:
    gateway = good_gateway()
    gateway.rotate(new_key("second"))
    gateway.checkpoint()
    gateway.append("stop", reason="test")
    gateway.checkpoint()
    assert classes(gateway.log, gateway.key_line) == set()
    assert verify(gateway.log, key=gateway.key_line).keys == 2


def test_an_expired_key_that_signs_on_is_found() -> None:
    gateway = good_gateway()
    old = gateway.key
    gateway.rotate(new_key("second"))
    gateway.checkpoint()
    gateway.key = old
    gateway.append("stop", reason="test")
    report = verify(gateway.log, key=gateway.key_line)
    assert set(report.findings.counts) == {"KEY"}
    assert "expired before record 31" in report.findings.kept["KEY"][0].what


def test_a_newer_key_that_vouches_for_older_records_is_found() -> None:
    gateway = good_gateway()
    old, newer = gateway.key, new_key("second")
    gateway.checkpoint()
    gateway.key = newer
    gateway.append("stop", reason="test")
    gateway.key = old
    gateway.rotate(newer)
    report = verify(gateway.log, key=gateway.key_line)
    assert set(report.findings.counts) == {"KEY", "SIGNATURE"}
    assert "has signed records from 30 on already" in report.findings.kept["KEY"][1].what


def test_a_key_that_does_not_prove_itself_is_not_taken_into_force() -> None:
    gateway = good_gateway()
    new = new_key("second")
    proof = base64url(new.sign(b"something else"))
    gateway.append("key", action="rotate", algorithm="ed25519", public=base64url(new.public), proof=proof, who="nobody")
    assert classes(gateway.log, gateway.key_line) == {"KEY"}
    gateway.append("stop", reason="test")
    assert classes(gateway.log, gateway.key_line) == {"KEY"}, "the old key goes on"
    gateway.key = new
    gateway.append("stop", reason="test")
    assert classes(gateway.log, gateway.key_line) == {"KEY", "SIGNATURE"}


def test_a_second_enrolment_is_found() -> None:
    gateway = good_gateway()
    gateway.append("key", action="enrol", algorithm="ed25519", public=base64url(new_key("second").public), who="nobody")
    assert classes(gateway.log, gateway.key_line) == {"KEY"}


def test_a_forged_rotation_brings_no_key_into_force() -> None:
    gateway = good_gateway()
    gateway.key = new_key("attacker")
    gateway.rotate(new_key("attacker's second"))
    gateway.append("stop", reason="test")
    report = verify(gateway.log, key=gateway.key_line)
    assert report.keys == 1
    assert report.findings.counts["SIGNATURE"] == 2


def test_the_key_line_of_another_gateway_is_found() -> None:
    gateway = good_gateway()
    line = checkpoint.verifier_key("meterseal/plant/gw2", gateway.key.public)
    assert "KEY" in classes(gateway.log, line)


# --- what the owner of the key can do -------------------------------------------------------------------------


def test_a_cut_off_tail_is_found_by_an_outside_checkpoint_only() -> None:
    gateway = good_gateway()
    kept = gateway.checkpoint()
    del gateway.log.records[-3:]
    gateway.log.notes = [note for note in gateway.log.notes if int(note.split("\n")[1]) <= len(gateway.log.records)]
    assert classes(gateway.log, gateway.key_line) == set()
    report = verify(gateway.log, key=gateway.key_line, outside=[kept])
    assert (set(report.findings.counts), report.exit_code) == ({"TRUNCATED"}, 1)
    assert "3 records more" in report.findings.kept["TRUNCATED"][0].what


def test_a_cut_off_tail_is_found_by_the_logs_own_checkpoint_where_that_was_forgotten() -> None:
    gateway = good_gateway()
    gateway.checkpoint()
    del gateway.log.records[-3:]
    assert classes(gateway.log, gateway.key_line) == {"TRUNCATED"}


def test_a_record_forged_with_the_key_and_all_chained_again_is_found_by_an_outside_checkpoint_only() -> None:
    gateway = good_gateway()
    kept = gateway.checkpoint()
    change_frame_and_value(gateway.log)
    gateway.log.notes.clear()
    gateway.reseal()
    gateway.checkpoint()
    assert classes(gateway.log, gateway.key_line) == set()
    report = verify(gateway.log, key=gateway.key_line, outside=[kept])
    assert set(report.findings.counts) == {"CHECKPOINT"}
    assert "are not the ones it was signed over" in report.findings.kept["CHECKPOINT"][0].what


def test_an_outage_removed_with_the_key_leaves_a_hole_in_the_schedule() -> None:
    """Without its readings even the owner of the key cannot make the missed polls vanish; with forged ones he can."""
    gateway = good_gateway()
    hide_a_gap(gateway.log)
    counts: dict[str, int] = {}
    for n in range(len(gateway.log.records)):
        fields = gateway.log.fields(n)
        if "count" in fields.get("meter", {}):
            meter = fields["meter"]["id"]
            counts[meter] = fields["meter"]["count"] = counts.get(meter, -1) + 1
            gateway.log.records[n] = json.dumps(fields).encode()
    gateway.log.notes.clear()
    gateway.reseal()
    report = verify(gateway.log, key=gateway.key_line)
    assert set(report.findings.counts) == {"GAP"}
    assert "nothing is said about 2 scheduled polls" in report.findings.kept["GAP"][0].what


def test_a_record_appended_with_an_older_time_since_boot_is_found() -> None:
    gateway = good_gateway()
    gateway.after(-2 * EVERY_S)
    gateway.append("stop", reason="test")
    report = verify(gateway.log, key=gateway.key_line)
    assert set(report.findings.counts) == {"CLOCK"}
    assert "older than a record in front of it" in report.findings.kept["CLOCK"][0].what


def test_a_record_dated_back_with_the_time_since_boot_left_as_it_is_is_found() -> None:
    gateway = good_gateway()
    gateway.uptime_ms += 2 * EVERY_S * 1000
    gateway.append("stop", reason="test")
    assert classes(gateway.log, gateway.key_line) == {"CLOCK"}


def test_a_boot_that_had_ended_and_comes_back_is_found() -> None:
    gateway = good_gateway()
    gateway.boot, gateway.uptime_ms = "11111111", 5_000
    gateway.append("start", version="0.1.0", config="ab" * 32, after="crash")
    assert classes(gateway.log, gateway.key_line) == set()
    gateway.boot = "3f9c1d2a"
    gateway.append("stop", reason="test")
    assert classes(gateway.log, gateway.key_line) == {"CLOCK"}


# --- no input -------------------------------------------------------------------------------------------------


def test_a_log_without_records_fails() -> None:
    report = verify(MemoryLog(), key=good_gateway().key_line)
    assert (set(report.findings.counts), report.exit_code) == ({"EMPTY"}, 1)


def test_a_log_without_records_and_without_key_fails() -> None:
    assert verify(MemoryLog(), key=None).exit_code == 1


def test_an_emptied_log_is_told_by_an_outside_checkpoint() -> None:
    gateway = good_gateway()
    kept = gateway.checkpoint()
    assert classes(MemoryLog(), gateway.key_line, outside=[kept]) == {"EMPTY", "TRUNCATED"}


def test_a_damaged_time_in_the_last_record_is_a_finding_and_no_traceback() -> None:
    gateway = good_gateway()
    gateway.log.edit(len(gateway.log.records) - 1, lambda f: f.update(time=f["time"].replace("T0", "TX")))
    assert "FORMAT" in classes(gateway.log, gateway.key_line)


def test_records_without_any_signature_fail() -> None:
    gateway = good_gateway()
    for n in range(len(gateway.log.records)):
        gateway.log.edit(n, lambda f: f.pop("sig"))
    report = verify(gateway.log, key=gateway.key_line)
    assert (report.findings.counts["UNSIGNED"], report.exit_code) == (30, 1)
    assert verify(gateway.log, key=gateway.key_line, fast=True).exit_code == 1


def test_plain_json_lines_fail() -> None:
    log = MemoryLog(records=[b'{"meter":"EM-014","kwh":"184223.57"}'] * 3)
    assert {"FORMAT", "UNSIGNED"} <= classes(log, good_gateway().key_line)


def test_the_tail_that_no_checkpoint_covers_is_covered_by_the_last_records_signature_in_the_fast_look() -> None:
    gateway = good_gateway()
    change_value_of_last(gateway.log)
    report = verify(gateway.log, key=gateway.key_line, fast=True)
    assert set(report.findings.counts) == {"SIGNATURE"}


def change_value_of_last(log: MemoryLog) -> None:
    log.edit(len(log.records) - 1, lambda f: f["values"][0].update(value="9900.50"))


# --- the same on the real files -------------------------------------------------------------------------------


async def real_ledger(path: Path, gateway: Gateway) -> Path:
    """The same log written by the ledger itself: the same drafts must give the same bytes."""
    ledger = await Ledger.open(path, GATEWAY, gateway.key, 0.0)
    await ledger.keep_model(DIGEST, gateway.log.files[DIGEST])
    for payload in gateway.log.records:
        fields = json.loads(payload)
        header = ("sig", "n", "prev", "key", "gateway", "meterseal")
        (record,) = await ledger.append({name: value for name, value in fields.items() if name not in header})
        assert record.payload == payload
        if fields["n"] in (20, 27):
            await ledger.checkpoint()
    await ledger.close()
    return path


def without_triggers(path: Path, *statements: tuple[str, tuple[Any, ...]]) -> None:
    """What an attacker with write access to the file does."""
    database = sqlite3.connect(path)
    for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        database.execute(f"DROP TRIGGER {name}")
    for statement, values in statements:
        database.execute(statement, values)
    database.commit()
    database.close()


async def test_the_ledgers_file_is_verified_as_it_lies_on_disk(tmp_path: Path) -> None:
    gateway = good_gateway()
    reader = LedgerReader(await real_ledger(tmp_path / "ledger.sqlite", gateway))
    report = verify(reader, key=gateway.key_line)
    reader.close()
    assert (report.findings.counts, report.records, report.checkpoint) == ({}, 30, 30)


STATEMENTS: dict[str, tuple[tuple[str, tuple[Any, ...]], set[str]]] = {
    "a row is deleted": (
        ("DELETE FROM record WHERE n = 12", ()),
        {"SEQUENCE", "PREV-HASH", "METER-COUNT", "GAP", "CHECKPOINT"},
    ),
    "a value is edited in place": (
        ("UPDATE record SET payload = CAST(replace(CAST(payload AS TEXT), '187300', '187400') AS BLOB) WHERE n = 8", ()),
        {"SIGNATURE", "VALUE", "PREV-HASH", "CHECKPOINT"},
    ),
    "all rows are deleted": (("DELETE FROM record", ()), {"EMPTY", "TRUNCATED"}),
    "the newest rows are deleted": (("DELETE FROM record WHERE n > 24", ()), {"TRUNCATED"}),
    "the model is edited in place": (
        ("UPDATE model SET text = CAST(replace(CAST(text AS TEXT), 'scale: 0.01', 'scale: 0.02') AS BLOB)", ()),
        {"MODEL"},
    ),
    "a row is renumbered": (("UPDATE record SET n = 100 WHERE n = 29", ()), {"SEQUENCE"}),
    "a checkpoint is edited": (("UPDATE checkpoint SET note = replace(note, 'A', 'B') WHERE size = 28", ()), {"CHECKPOINT"}),
}


@pytest.mark.parametrize("attack", STATEMENTS)
async def test_whoever_edits_the_ledgers_file_can_at_most_make_verify_fail(attack: str, tmp_path: Path) -> None:
    gateway = good_gateway()
    path = await real_ledger(tmp_path / "ledger.sqlite", gateway)
    statement, expected = STATEMENTS[attack]
    without_triggers(path, statement)
    reader = LedgerReader(path)
    report = verify(reader, key=gateway.key_line)
    reader.close()
    assert (set(report.findings.counts), report.exit_code) == (expected, 1)


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_found_in_a_bundle_as_well(attack: str, tmp_path: Path) -> None:
    gateway = good_gateway()
    edit, expected = ATTACKS[attack]
    edit(gateway.log)
    export(gateway.log, tmp_path / "bundle.zip")
    bundle = Bundle(tmp_path / "bundle.zip")
    report = verify(bundle, key=gateway.key_line)
    bundle.close()
    assert (set(report.findings.counts), report.exit_code) == (expected, 1)
