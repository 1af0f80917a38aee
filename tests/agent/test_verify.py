"""agent.verify: what is checked of a record's content, of its meter's account, and how the result is told."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent import checkpoint
from agent.findings import CLASSES, KEPT, CannotCheck
from agent.record import RecordError, leaf_hash, parse, signed_part
from agent.seal import base64url
from tests.agent.both import verify
from tests.agent.ledgers import (
    DIGEST,
    EVERY_MS,
    EVERY_S,
    FAST_MS,
    MODEL,
    ORIGIN,
    START,
    TWO_SCHEDULES,
    Gateway,
    MemoryLog,
    asked,
    classes,
    frame,
    good_gateway,
    new_key,
    rtu,
    stamp,
    tcp,
    told,
)

Fields = dict[str, Any]


def after_one_reading(meter: str, change: Callable[[Fields], object], **registers: int) -> Gateway:
    """A gateway whose first reading of a meter was sealed as `change` left it: a faulty agent, or a lying owner."""
    gateway = Gateway().begin().after(0.3)
    made = json.loads(gateway.reading(meter, **registers).payload)
    gateway.log.records.pop()
    change(made)
    header = ("sig", "n", "prev", "key", "gateway", "meterseal", "kind", "time", "clock")
    fields = {name: value for name, value in made.items() if name not in header}
    gateway.prev = _leaf_before(gateway)
    gateway.append("reading", **fields)
    return gateway


def _leaf_before(gateway: Gateway) -> bytes:
    return leaf_hash(signed_part(parse(gateway.log.records[-1])))


def found(gateway: Gateway) -> dict[str, list[str]]:
    """What was found, by class."""
    kept = verify(gateway.log, key=gateway.key_line).findings.kept
    return {kind: [each.what for each in findings] for kind, findings in kept.items()}


def value(number: int, **changes: Any) -> Callable[[Fields], object]:
    """Changes fields of one value; None takes a field out."""

    def change(fields: Fields) -> None:
        fields["values"][number].update(changes)
        for name, new in changes.items():
            if new is None:
                del fields["values"][number][name]

    return change


# --- values ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("meter", ["rtu-1", "tcp-2"])
def test_a_reading_that_follows_from_its_bytes_is_in_order(meter: str) -> None:
    assert found(after_one_reading(meter, lambda f: None)) == {}


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        (value(0, value="14737885.61"), "VALUE", "states 14737885.61, the bytes give 14737885.60"),
        (value(0, value="14737885.6"), "VALUE", "states 14737885.6, the bytes give 14737885.60"),
        (
            value(0, value=None, unit=None, quality="bad", cause="no_answer"),
            "VALUE",
            "states no value, the bytes give 14737885.60",
        ),
        (value(0, unit="MWh"), "UNIT", "is stated in MWh, its unit is kWh"),
        (value(0, unit=None), "UNIT", "is stated in no unit, its unit is kWh"),
        (value(0, formula="0@3:u32be*0.01*400/50"), "FORMULA", "the model gives 0@3:u32be*0.01*400/5"),
        (value(0, formula="1@3:u16be*0.01"), "FORMULA", "states formula 1@3:u16be*0.01"),
        (value(0, formula="0@900:u32be"), "FORMULA", "states formula 0@900:u32be"),
        (value(0, formula=None), "FORMULA", "states formula none, the model gives 0@3:u32be*0.01*400/5"),
        (value(1, quality="uncertain", cause="out_of_range"), "QUALITY", "is marked uncertain out_of_range, it follows good"),
        (value(1, quality="bad", cause="no_answer"), "QUALITY", "is marked bad no_answer, it follows good"),
        (value(1, quality="uncertain"), "QUALITY", "is marked uncertain, it follows good"),
        (value(0, quantity="active_energy_export"), "DECLARATION", "is not among the quantities declared"),
        (value(0, quantity="no_such_quantity"), "DECLARATION", "there is no such quantity"),
        (lambda f: f["values"].pop(2), "VALUE", "voltage.l1 is declared, yet nothing is said about it"),
        (lambda f: f["values"].append(f["values"][0]), "VALUE", "active_energy_import is stated twice"),
        (lambda f: f.update(values=[]), "VALUE", "active_power is declared, yet nothing is said about it"),
    ],
)
def test_a_value_that_does_not_follow_from_its_bytes_is_found(change: Callable[[Fields], object], kind: str, words: str) -> None:
    told_of = found(after_one_reading("rtu-1", change))
    assert any(words in what for what in told_of[kind]), told_of


def test_a_value_out_of_the_models_range_must_be_marked() -> None:
    assert found(after_one_reading("rtu-1", lambda f: None, power=2300)) == {}
    unmarked = found(after_one_reading("rtu-1", value(1, quality=None, cause=None), power=2300))
    assert unmarked == {"QUALITY": ["active_power: is marked good, it follows uncertain out_of_range"]}


def test_no_value_may_stand_where_the_meter_gave_none() -> None:
    assert found(after_one_reading("rtu-1", lambda f: None, voltage=0xFFFF)) == {}
    made_up = found(after_one_reading("rtu-1", value(2, value="6553.5", unit="V", quality=None, cause=None), voltage=0xFFFF))
    assert made_up == {"VALUE": ["voltage.l1: states 6553.5, the bytes give none"]}
    wrong_cause = found(after_one_reading("rtu-1", value(2, cause="bad_bcd"), voltage=0xFFFF))
    assert wrong_cause == {"QUALITY": ["voltage.l1: is marked bad bad_bcd, it follows bad not_available"]}


# --- frames and requests --------------------------------------------------------------------------------------


def answer(number: int, data: bytes) -> Callable[[Fields], object]:
    return lambda fields: fields["frames"][number].update(answer=data.hex())


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (rtu(told(b"\x01\x19\x1a\x55"))[:-1] + b"\0", "the checksum is wrong"),
        (rtu(told(b"\x01\x19\x1a\x55"), unit=7), "address 7 answered"),
        (rtu(b"\x04\x04\x01\x19\x1a\x55"), "function 4 answered"),
        (rtu(told(b"\x01\x19")), "asked for 4 bytes"),
        (rtu(b"\x83\x02"), "no such register"),
        (b"", "the checksum is wrong"),
    ],
)
def test_an_answer_that_is_none_is_found(data: bytes, words: str) -> None:
    told_of = found(after_one_reading("rtu-1", answer(0, data)))
    assert any(words in what for what in told_of["FRAME"]), told_of


def test_an_answer_to_another_request_is_found_where_the_framing_numbers_them() -> None:
    gateway = after_one_reading("tcp-2", answer(0, tcp(told((18422357).to_bytes(4, "big")), 999)))
    assert found(gateway) == {"FRAME": ["frame 0: the answer belongs to another request"]}


def test_a_question_that_the_model_does_not_prescribe_is_found() -> None:
    """Register 30 holds something else; frame and value fit each other, the model knows nothing of it."""

    def change(fields: Fields) -> None:
        fields["frames"][0]["request"] = rtu(asked(30, 2)).hex()

    told_of = found(after_one_reading("rtu-1", change))
    assert "is not a request that the model prescribes" in told_of["REQUEST"][0]
    assert "no good frame holds it" in told_of["FORMULA"][0]
    assert "but no good frame holds it" in told_of["VALUE"][0]


def test_a_question_to_another_meters_address_is_found() -> None:
    def change(fields: Fields) -> None:
        fields["frames"] = [
            frame(rtu(asked(0, 2), unit=9), rtu(told((18422357).to_bytes(4, "big")), unit=9)),
            *fields["frames"][1:],
        ]

    told_of = found(after_one_reading("rtu-1", change))
    assert {"REQUEST", "FORMULA", "VALUE"} <= set(told_of)


def test_a_write_among_the_frames_is_found() -> None:
    def change(fields: Fields) -> None:
        write = rtu(bytes.fromhex("060000002a"))
        fields["frames"].append(frame(write, write))

    told_of = found(after_one_reading("rtu-1", change))
    assert "REQUEST" in told_of
    assert "FRAME" in told_of


def test_a_frame_with_a_fault_is_evidence_only_and_a_second_try_may_follow() -> None:
    """The first try came back damaged; values come from the second."""

    def change(fields: Fields) -> None:
        damaged = frame(rtu(asked(0, 2)), b"\x01\x03\x04\x00", fault="short_answer")
        fields["frames"].insert(0, damaged)
        for index, stated in enumerate(fields["values"]):
            stated["formula"] = str(index + 1) + stated["formula"][1:]

    assert found(after_one_reading("rtu-1", change)) == {}


def test_a_value_taken_from_a_frame_with_a_fault_is_found() -> None:
    def change(fields: Fields) -> None:
        fields["frames"][0]["fault"] = "bad_checksum"

    told_of = found(after_one_reading("rtu-1", change))
    assert "is marked bad_checksum, yet it is a good answer" in told_of["FRAME"][0]
    assert "no good frame holds it" in told_of["FORMULA"][0]
    assert "states 14737885.60, but no good frame holds it" in told_of["VALUE"][0]


def test_a_value_whose_frame_failed_is_bad_with_the_frames_fault() -> None:
    def failed(fields: Fields) -> None:
        fields["frames"][2].update(answer=rtu(b"\x83\x04").hex(), fault="device_failure")
        fields["values"][2] = {"quantity": "voltage.l1", "quality": "bad", "cause": "device_failure"}

    assert found(after_one_reading("rtu-1", failed)) == {}

    def failed_otherwise(fields: Fields) -> None:
        failed(fields)
        fields["values"][2]["cause"] = "meter_in_repair"

    assert set(found(after_one_reading("rtu-1", failed_otherwise))) == {"QUALITY"}


def test_a_good_answer_that_is_not_used_is_a_hidden_value() -> None:
    hidden = value(2, value=None, unit=None, formula=None, quality="bad", cause="no_answer")
    told_of = found(after_one_reading("rtu-1", hidden))
    assert told_of["FORMULA"] == ["voltage.l1: states formula none, the model gives 2@3:u16be!ffff*0.1"]
    assert told_of["VALUE"] == ["voltage.l1: states no value, the bytes give 231.1"]


# --- meters ---------------------------------------------------------------------------------------------------


def source(**changes: Any) -> Callable[[Fields], object]:
    return lambda fields: fields["meter"].update(changes)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (source(serial="EM-78"), "states serial number EM-78, declared is EM-77"),
        (source(serial=""), "states serial number none, declared is EM-77"),
        (source(serial_from="register"), "as read from the meter, but no record shows that the meter told it"),
        (source(serial_from="frame"), "as read from the meter, but no record shows that the meter told it"),
        (source(declared=base64url(bytes(32))), "quotes another declaration than the one in force (record 3)"),
        (source(id="other"), "this meter was never declared"),
    ],
)
def test_a_reading_that_does_not_fit_its_meters_declaration_is_found(change: Callable[[Fields], object], words: str) -> None:
    told_of = found(after_one_reading("rtu-1", change))
    assert any(words in what for what in told_of["DECLARATION"]), told_of


def test_a_reading_quotes_the_declaration_in_force_not_an_older_one() -> None:
    gateway = Gateway().begin().after(0.3)
    older = gateway.declared["rtu-1"]
    gateway.reading("rtu-1")
    gateway.declare("rtu-1", serial="EM-77", framing="rtu", address="1", ct="400/5", place="hall 4")
    gateway.after(EVERY_S).reading("rtu-1")
    assert found(gateway) == {}
    gateway.declared["rtu-1"] = older
    gateway.after(EVERY_S).reading("rtu-1")
    assert set(found(gateway)) == {"DECLARATION"}


def test_an_exchanged_meter_is_found_where_its_readings_go_on() -> None:
    gateway = Gateway().begin().after(0.3)
    gateway.identify("tcp-2", serial=999, expected=202311045)
    assert found(gateway) == {}, "the record of the mismatch itself is in order"
    gateway.reading("tcp-2")
    assert "but the meter told 999" in found(gateway)["DECLARATION"][0]


def test_the_plates_number_does_not_stand_against_what_the_meter_told() -> None:
    gateway = Gateway().begin().after(0.3)
    gateway.identify("tcp-2", serial=999, expected=202311045)
    gateway.sources["tcp-2"]["serial_from"] = "plate"
    gateway.reading("tcp-2")
    assert "from the plate, but the meter told 999" in found(gateway)["DECLARATION"][0]


def test_a_meter_declared_without_serial_number_states_the_one_it_told() -> None:
    gateway = Gateway()
    gateway.append("key", action="enrol", algorithm="ed25519", public=base64url(gateway.key.public), who="x")
    gateway.declare("tcp-2", serial="", framing="tcp", address="2", ct="1")
    gateway.after(0.3).reading("tcp-2")
    gateway.append(
        "identity",
        meter=gateway.source("tcp-2"),
        expected="",
        found="77",
        match=True,
        formula="0@9:u32be",
        frames=[gateway.exchange("tcp-2", 100, (77).to_bytes(4, "big"))],
    )
    gateway.sources["tcp-2"] |= {"serial": "0077", "serial_from": "register"}
    gateway.after(EVERY_S).reading("tcp-2")
    assert found(gateway) == {}
    gateway.sources["tcp-2"] |= {"serial": "78"}
    gateway.after(EVERY_S).reading("tcp-2")
    assert set(found(gateway)) == {"DECLARATION"}


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"found": "202311046"}, "VALUE", "states serial number 202311046, the bytes give 202311045"),
        ({"match": False}, "VALUE", "do not match"),
        ({"expected": "1"}, "DECLARATION", "expects serial number 1, declared is 202311045"),
        ({"formula": "0@11:u16be"}, "FORMULA", "states 0@11:u16be, the model gives 0@9:u32be"),
        ({"formula": "0@90:u32be"}, "FORMULA", "points past the end"),
        ({"frames": []}, "FORMULA", "the model gives none"),
    ],
)
def test_an_identity_record_that_its_frame_does_not_bear_out_is_found(changes: Fields, kind: str, words: str) -> None:
    gateway = Gateway().begin()
    fields = {
        "meter": gateway.source("tcp-2"),
        "expected": "202311045",
        "found": "202311045",
        "match": True,
        "formula": "0@9:u32be",
        "frames": [gateway.exchange("tcp-2", 100, (202311045).to_bytes(4, "big"))],
    }
    gateway.append("identity", **fields | changes)
    told_of = found(gateway)
    assert any(words in what for what in told_of[kind]), told_of


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"digest": "00" * 32}, "MODEL", "is not in this log"),
        ({"revision": 1}, "DECLARATION", "declares test-meter revision 1, its model file is another"),
        ({"trust": "A"}, "DECLARATION", "its model file is another"),
        ({"model": "other-meter"}, "DECLARATION", "its model file is another"),
        (
            {"schedules": [{"every_ms": EVERY_MS, "quantities": ["frequency"]}]},
            "DECLARATION",
            "declares frequency, which the model does not tell",
        ),
        ({"address": "hall 3"}, "DECLARATION", "nothing can be asked of a meter declared like this"),
    ],
)
def test_a_declaration_that_does_not_fit_its_model_is_found(changes: Fields, kind: str, words: str) -> None:
    gateway = Gateway().begin()
    gateway.declare("rtu-1", **{"serial": "EM-77", "framing": "rtu", "address": "1"} | changes)
    told_of = found(gateway)
    assert any(words in what for what in told_of[kind]), told_of


def test_a_model_file_that_is_no_model_is_found() -> None:
    gateway = Gateway().begin()
    text = MODEL.replace(b"revision: 2", b"revision: two")
    digest = hashlib.sha256(text).hexdigest()
    gateway.log.files[digest] = text
    gateway.declare("rtu-1", serial="EM-77", framing="rtu", address="1", digest=digest)
    assert "cannot be read" in found(gateway)["MODEL"][0]


def test_values_are_recomputed_as_far_as_possible_when_the_model_is_missing() -> None:
    gateway = after_one_reading("rtu-1", value(0, value="1.00"))
    gateway.log.files.clear()
    told_of = found(gateway)
    assert set(told_of) == {"MODEL", "VALUE"}


# --- polls, gaps and counts -----------------------------------------------------------------------------------


def test_the_account_of_a_good_log_adds_up() -> None:
    gateway = good_gateway()
    report = verify(gateway.log, key=gateway.key_line)
    line, net = report.meters["rtu-1"].total, report.meters["tcp-2"].total
    assert (line.read, line.missed, line.expected, line.completeness) == (10, 2, 12, "83.33")
    assert (net.read, net.missed, net.expected, net.completeness) == (12, 0, 12, "100.00")
    assert line.causes == {"no_answer": 2}
    assert (report.meters["rtu-1"].gaps, report.meters["rtu-1"].gap_open) == (1, False)


def test_a_gap_still_open_at_the_end_goes_up_to_the_logs_last_time() -> None:
    gateway = Gateway().begin().after(0.3)
    gateway.reading("rtu-1")
    gateway.after(EVERY_S).gap("rtu-1", "opened", gateway.due, gateway.due, 1)
    report = verify(gateway.log, key=gateway.key_line)
    account = report.meters["rtu-1"]
    assert (report.findings.counts, account.total.missed, account.gap_open) == ({}, 1, True)
    assert "1 (1 still open), 1 poll missed" in report.text()
    gateway.after(4 * EVERY_S).append("stop", reason="test")
    assert verify(gateway.log, key=gateway.key_line).meters["rtu-1"].total.causes == {"no_answer": 5}
    gateway.after(EVERY_S - 0.301).append("stop", reason="test")
    assert verify(gateway.log, key=gateway.key_line).meters["rtu-1"].total.causes == {"no_answer": 5}
    gateway.after(0.001).append("stop", reason="test")
    assert verify(gateway.log, key=gateway.key_line).meters["rtu-1"].total.causes == {"no_answer": 6}


def test_a_gap_that_ends_in_time_for_its_first_instant_has_missed_none() -> None:
    gateway = Gateway().begin().after(0.3)
    gateway.reading("rtu-1")
    since = gateway.after(EVERY_S).due
    gateway.gap("rtu-1", "opened", since, since, 1)
    gateway.after(60).gap("rtu-1", "closed", since, since, 0)
    gateway.reading("rtu-1")
    report = verify(gateway.log, key=gateway.key_line)
    account = report.meters["rtu-1"]
    assert (report.findings.counts, account.total.read, account.total.expected, account.gaps) == ({}, 2, 2, 1)


def test_the_instant_of_a_gap_that_missed_none_is_not_accounted_for_by_it() -> None:
    gateway = Gateway().begin().after(0.3)
    gateway.reading("rtu-1")
    since = gateway.after(EVERY_S).due
    gateway.gap("rtu-1", "opened", since, since, 1)
    gateway.gap("rtu-1", "closed", since, since, 0)
    gateway.after(EVERY_S).reading("rtu-1")
    assert found(gateway) == {"GAP": ["nothing is said about 1 scheduled polls before 2026-03-01T00:30:00.000Z"]}


def test_polls_that_fell_into_a_stop_of_the_agent_are_counted_as_off() -> None:
    gateway = Gateway().begin().after(0.3)
    gateway.reading("rtu-1")
    since = gateway.due + timedelta(seconds=EVERY_S)
    gateway.after(4 * EVERY_S).started("crash")
    gateway.hole("rtu-1", since, gateway.due, "agent_stopped")
    gateway.reading("rtu-1")
    report = verify(gateway.log, key=gateway.key_line)
    total = report.meters["rtu-1"].total
    assert (report.findings.counts, total.off, total.missed, total.expected) == ({}, 3, 0, 5)
    assert (report.starts, report.crashes) == (2, 1)


def test_a_gap_that_changes_its_cause_is_closed_and_opened_again() -> None:
    gateway = Gateway().begin().after(0.3)
    gateway.reading("rtu-1")
    first = gateway.after(EVERY_S).due
    gateway.gap("rtu-1", "opened", first, first, 1)
    second = gateway.after(2 * EVERY_S).due
    gateway.gap("rtu-1", "closed", first, second, 2)
    gateway.gap("rtu-1", "opened", second, second, 1, cause="connection_lost")
    gateway.after(EVERY_S).gap("rtu-1", "closed", second, gateway.due, 1, cause="connection_lost")
    gateway.reading("rtu-1")
    report = verify(gateway.log, key=gateway.key_line)
    total = report.meters["rtu-1"].total
    assert (report.findings.counts, total.causes, total.expected) == ({}, {"no_answer": 2, "connection_lost": 1}, 5)


def two_schedules() -> Gateway:
    """An hour of a meter that is read every 15 minutes, its power every minute; the power is missing for three minutes."""
    gateway = Gateway().begin()
    gateway.declare("rtu-1", serial="EM-77", framing="rtu", address="1", ct="400/5", schedules=TWO_SCHEDULES)
    gateway.after(0.3)
    for minute in range(60):
        if minute % 15 == 0:
            gateway.slow("rtu-1")
        if minute == 20:
            since = gateway.due_at(FAST_MS)
            gateway.gap("rtu-1", "opened", since, since, 1, every_ms=FAST_MS)
        elif minute == 23:
            gateway.gap("rtu-1", "closed", since, gateway.due_at(FAST_MS), 3, every_ms=FAST_MS)
        if not 20 <= minute < 23:
            gateway.fast("rtu-1")
        gateway.after(60)
    return gateway


def test_each_schedule_of_a_meter_has_an_account_of_its_own() -> None:
    gateway = two_schedules()
    report = verify(gateway.log, key=gateway.key_line)
    account = report.meters["rtu-1"]
    assert report.findings.counts == {}
    slow, fast = account.schedules[EVERY_MS], account.schedules[FAST_MS]
    assert (slow.read, slow.expected, slow.completeness) == (4, 4, "100.00")
    assert (fast.read, fast.expected, fast.causes) == (57, 60, {"no_answer": 3})
    assert "rtu-1  61/64 polls read, 95.31 %" in report.text()
    assert "         every 1 min: 57/60, 95.00 %\n         every 15 min: 4/4, 100.00 %\n" in report.text()
    assert [each["every_ms"] for each in report.fields()["meters"][0]["schedules"]] == [FAST_MS, EVERY_MS]


def test_a_meter_with_one_schedule_has_one_line_in_the_report() -> None:
    gateway = good_gateway()
    assert "every 15 min" not in verify(gateway.log, key=gateway.key_line).text()


@pytest.mark.parametrize(
    ("told", "kind", "words"),
    [
        (lambda g: g.after(60).fast("rtu-1"), "GAP", "nothing is said about 1 scheduled polls before 2026-03-01T01:01:00.000Z"),
        (lambda g: g.fast("rtu-1", every_ms=30_000), "DECLARATION", "is read every 30000 ms, which is not declared"),
        (lambda g: g.fast("rtu-1", due=stamp(g.now)), "GAP", "is no instant of a schedule of 60000 ms"),
        (lambda g: g.fast("rtu-1", values=[]), "VALUE", "active_power is declared, yet nothing is said about it"),
    ],
)
def test_what_is_wrong_with_one_of_two_schedules_is_found(told: Callable[[Gateway], object], kind: str, words: str) -> None:
    gateway = two_schedules()
    told(gateway)
    told_of = found(gateway)
    assert any(words in what for what in told_of[kind]), told_of


def test_an_interval_that_was_changed_while_the_agent_was_off_is_accounted_for_on_both_sides() -> None:
    gateway = Gateway().begin().after(0.3)
    gateway.reading("rtu-1")
    missing = gateway.after(EVERY_S).due
    gateway.gap("rtu-1", "opened", missing, missing, 1)
    gateway.after(3 * EVERY_S).append("stop", reason="sigterm")
    off = gateway.due + QUARTER
    gateway.after(2 * EVERY_S).started()
    gateway.declare("rtu-1", serial="EM-77", framing="rtu", address="1", ct="400/5", schedules=TWO_SCHEDULES[1:])
    gateway.gap("rtu-1", "closed", missing, off, 4)
    gateway.hole("rtu-1", off, gateway.due + QUARTER, "agent_stopped")
    gateway.hole("rtu-1", gateway.due + QUARTER, gateway.due + QUARTER, "taken_out")
    gateway.after(60).fast("rtu-1")
    report = verify(gateway.log, key=gateway.key_line)
    assert report.findings.counts == {}
    before, now = report.meters["rtu-1"].schedules[EVERY_MS], report.meters["rtu-1"].schedules[FAST_MS]
    assert (before.read, before.causes) == (1, {"no_answer": 4, "agent_stopped": 2})
    assert (now.read, now.expected) == (1, 1)
    assert (report.meters["rtu-1"].gaps, report.meters["rtu-1"].gap_open) == (2, False)


def test_a_schedule_that_was_taken_out_begins_anew_when_it_comes_back() -> None:
    gateway = Gateway().begin().after(0.3)
    gateway.reading("rtu-1")
    gateway.after(60).started()
    gateway.hole("rtu-1", gateway.due + QUARTER, gateway.due + QUARTER, "taken_out")
    gateway.after(40 * EVERY_S).started()
    gateway.reading("rtu-1")
    report = verify(gateway.log, key=gateway.key_line)
    assert (report.findings.counts, report.meters["rtu-1"].total.expected) == ({}, 2)


def test_a_gap_left_open_by_a_schedule_that_is_not_declared_any_more_ends_with_the_declaration() -> None:
    gateway = Gateway().begin().after(0.3)
    gateway.gap("rtu-1", "opened", gateway.due, gateway.due, 1)
    gateway.after(2 * EVERY_S).started("crash")
    gateway.declare("rtu-1", serial="EM-77", framing="rtu", address="1", ct="400/5", schedules=TWO_SCHEDULES[1:])
    gateway.after(40 * EVERY_S).append("stop", reason="test")
    account = verify(gateway.log, key=gateway.key_line).meters["rtu-1"]
    assert (account.total.causes, account.gap_open) == ({"no_answer": 3}, False)


QUARTER = timedelta(seconds=EVERY_S)


@pytest.mark.parametrize(
    ("records", "words"),
    [
        (lambda g: g.gap("rtu-1", "closed", g.due, g.due + QUARTER, 1), "that never opened"),
        (lambda g: g.after(3 * EVERY_S).reading("rtu-1"), "nothing is said about 2 scheduled polls"),
        (lambda g: g.after(60).reading("rtu-1"), "was accounted for already"),
        (lambda g: g.after(EVERY_S).gap("rtu-1", "opened", g.due, g.due, 5), "counts 5 missed polls"),
        (lambda g: g.after(EVERY_S).gap("rtu-1", "opened", g.due, g.due, 1) and g.reading("rtu-1"), "was never closed"),
        (lambda g: g.after(EVERY_S).gap("rtu-1", "opened", g.due, g.due - QUARTER, 0), "counts 0 missed polls"),
        (
            lambda g: g.after(EVERY_S).gap("rtu-1", "opened", g.due + 2 * QUARTER, g.due + 2 * QUARTER, 1),
            "nothing is said about 2",
        ),
    ],
)
def test_an_account_that_does_not_add_up_is_found(records: Callable[[Gateway], object], words: str) -> None:
    gateway = Gateway().begin().after(0.3)
    gateway.reading("rtu-1")
    records(gateway)
    told_of = found(gateway)
    assert any(words in what for what in told_of["GAP"]), told_of


def open_gap(gateway: Gateway) -> tuple[Gateway, Any]:
    gateway.begin().after(0.3)
    gateway.reading("rtu-1")
    since = gateway.after(EVERY_S).due
    gateway.gap("rtu-1", "opened", since, since, 1)
    gateway.after(2 * EVERY_S)
    return gateway, since


def test_a_gap_may_not_end_by_another_cause_than_it_began_by() -> None:
    gateway, since = open_gap(Gateway())
    gateway.gap("rtu-1", "closed", since, gateway.due, 2, cause="agent_stopped")
    assert found(gateway)["GAP"] == [
        "closes a gap since 2026-03-01T00:15:00.000Z by agent_stopped, the open one began 2026-03-01T00:15:00.000Z by no_answer"
    ]


@pytest.mark.parametrize(
    ("state", "shift", "missed", "words"),
    [
        ("closed", 0, 3, "counts 3 missed polls"),
        ("closed", 1, 1, "the open one began"),
        ("closed", 3, 0, "counts 0 missed polls"),
        ("opened", 2, 1, "opens a gap while the one since"),
    ],
)
def test_a_gap_that_does_not_fit_the_open_one_is_found(state: str, shift: int, missed: int, words: str) -> None:
    gateway, since = open_gap(Gateway())
    gateway.gap("rtu-1", state, since + shift * QUARTER, gateway.due, missed)
    told_of = found(gateway)
    assert any(words in what for what in told_of["GAP"]), told_of


def test_a_poll_that_was_answered_properly_may_not_be_counted_as_missed() -> None:
    gateway = Gateway().begin().after(0.3)
    times = {
        "every_ms": EVERY_MS,
        "since": stamp(START),
        "due": stamp(START),
        "missed": 1,
        "cause": "no_answer",
        "state": "opened",
    }
    gateway.append("gap", meter=gateway.source("rtu-1"), frames=gateway.frames("rtu-1", 1, 1, 1), **times)
    assert found(gateway)["GAP"] == ["a poll that the meter answered properly is counted as missed"]


def test_a_gap_may_hold_the_good_answer_of_another_meter_to_the_question_who_it_is() -> None:
    gateway = Gateway().begin().after(0.3)
    gateway.identify("tcp-2", serial=999, expected=202311045)
    gateway.sources["tcp-2"]["serial_from"] = "plate"
    times = {
        "every_ms": EVERY_MS,
        "since": stamp(START),
        "due": stamp(START),
        "missed": 1,
        "cause": "other_meter",
        "state": "opened",
    }
    frames = [gateway.exchange("tcp-2", 100, (999).to_bytes(4, "big"))]
    gateway.append("gap", meter=gateway.source("tcp-2"), frames=frames, **times)
    assert found(gateway) == {}


def test_a_meters_count_begins_at_0_and_never_jumps() -> None:
    gateway = Gateway().begin().after(0.3)
    gateway.counts["rtu-1"] = 4
    gateway.reading("rtu-1")
    gateway.counts["rtu-1"] = 7
    gateway.after(EVERY_S).reading("rtu-1")
    gateway.counts["rtu-1"] = 2
    gateway.after(EVERY_S).reading("rtu-1")
    assert found(gateway)["METER-COUNT"] == [
        "begins with 5",
        "count 8 after 5: 2 records of this meter are missing",
        "count 3 after 8: counts back",
    ]


def test_a_reading_far_from_the_instant_it_answers_for_is_found() -> None:
    gateway = Gateway().begin().after(3 * EVERY_S)
    gateway.reading("rtu-1", due=stamp(START))
    assert "too far from 2026-03-01T00:00:00.000Z" in found(gateway)["CLOCK"][0]


# --- the clock ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [3600, -3600, 2, -30 * 86400])
def test_a_step_of_the_clock_with_its_record_is_in_order(seconds: int) -> None:
    gateway = Gateway().begin().after(0.3)
    gateway.reading("tcp-2")
    gateway.after(60).step(seconds)
    gateway.append("stop", reason="test")
    assert found(gateway) == {}


@pytest.mark.parametrize("milliseconds", [1001, -1001, 3_600_000])
def test_a_step_of_the_clock_without_its_record_is_found(milliseconds: int) -> None:
    gateway = Gateway().begin()
    gateway.now += timedelta(milliseconds=milliseconds)
    gateway.append("stop", reason="test")
    assert f"the time jumped by {milliseconds} ms" in found(gateway)["CLOCK"][0]


def test_a_drift_of_a_second_between_records_is_no_step() -> None:
    gateway = Gateway().begin()
    for _ in range(5):
        gateway.after(60).now += timedelta(milliseconds=1000)
        gateway.append("stop", reason="test")
    assert found(gateway) == {}


def test_a_clock_record_that_states_another_step_is_found() -> None:
    gateway = Gateway().begin()
    gateway.now += timedelta(hours=1)
    gateway.append("clock", step_ms=60_000, before=stamp(START), after=stamp(gateway.now))
    assert found(gateway)["CLOCK"] == ["states a step of 60000 ms, the clocks show 3600000 ms"]


def test_after_the_clock_was_set_back_the_same_instants_may_be_told_again() -> None:
    gateway = Gateway().begin().after(0.3)
    for _ in range(4):
        gateway.reading("rtu-1")
        gateway.after(EVERY_S)
    gateway.step(-3 * EVERY_S)
    gateway.reading("rtu-1")
    report = verify(gateway.log, key=gateway.key_line)
    assert (report.findings.counts, report.meters["rtu-1"].total.expected) == ({}, 5)


def test_instants_that_the_clock_jumped_over_were_never_due() -> None:
    gateway = Gateway().begin().after(0.3)
    gateway.reading("rtu-1")
    gateway.after(60).step(3 * 3600)
    gateway.after(EVERY_S).reading("rtu-1")
    report = verify(gateway.log, key=gateway.key_line)
    assert (report.findings.counts, report.meters["rtu-1"].total.expected) == ({}, 2)


def test_a_gap_is_closed_before_the_clock_is_set() -> None:
    gateway = Gateway().begin().after(0.3)
    since = gateway.due
    gateway.gap("rtu-1", "opened", since, since, 1)
    gateway.after(2 * EVERY_S + 60).gap("rtu-1", "closed", since, gateway.due + QUARTER, 3)
    gateway.step(-3600)
    gateway.after(EVERY_S).gap("rtu-1", "opened", gateway.due, gateway.due, 1)
    report = verify(gateway.log, key=gateway.key_line)
    assert (report.findings.counts, report.meters["rtu-1"].total.causes) == ({}, {"no_answer": 4})


@pytest.mark.parametrize("seconds", [3600, -3600])
def test_an_instant_after_the_clock_was_set_that_nobody_speaks_of_is_found(seconds: int) -> None:
    gateway = Gateway().begin().after(0.3)
    for _ in range(8):
        gateway.reading("rtu-1")
        gateway.after(EVERY_S)
    gateway.step(seconds)
    gateway.after(2 * EVERY_S).reading("rtu-1")
    assert "nothing is said about 1 scheduled polls" in found(gateway)["GAP"][0]


# --- checkpoints ----------------------------------------------------------------------------------------------


def test_a_checkpoint_signed_by_another_key_is_found() -> None:
    gateway = good_gateway()
    gateway.log.notes.append(checkpoint.write(ORIGIN, 30, gateway.frontier.root(), new_key("attacker")))
    assert "the gateway's key did not sign it" in found(gateway)["CHECKPOINT"][0]


def test_a_checkpoint_of_another_gateway_is_found() -> None:
    gateway = good_gateway()
    note = checkpoint.write("meterseal/plant/gw2", 30, gateway.frontier.root(), gateway.key)
    assert classes(gateway.log, gateway.key_line, outside=[note]) == {"CHECKPOINT"}


def test_checkpoints_in_the_wrong_order_are_found() -> None:
    gateway = good_gateway()
    gateway.log.notes.reverse()
    assert "the log's checkpoint number 2 (size 26) covers 26 records, the one before it 28" in found(gateway)["CHECKPOINT"][0]


def test_an_outside_checkpoint_that_agrees_is_told() -> None:
    gateway = good_gateway()
    report = verify(gateway.log, key=gateway.key_line, outside=[gateway.log.notes[0]])
    assert (report.exit_code, report.outside) == (0, 1)
    assert "1 checkpoint held elsewhere was given" in report.text()


def test_text_that_is_no_checkpoint_is_found() -> None:
    gateway = good_gateway()
    for note in ("", "hello", "meterseal/plant/gw1\n\u00b2\n\n\n", "meterseal/plant/gw1\n5\nAAAA\n\n\n"):
        assert classes(gateway.log, gateway.key_line, outside=[note]) == {"CHECKPOINT"}


# --- how it is told -------------------------------------------------------------------------------------------


def test_of_each_class_the_first_findings_are_told_and_the_rest_counted() -> None:
    gateway = good_gateway()
    for n in range(len(gateway.log.records)):
        gateway.log.edit(n, lambda f: f.pop("sig"))
    report = verify(gateway.log, key=gateway.key_line)
    assert len(report.findings.kept["UNSIGNED"]) == KEPT == 20
    assert "UNSIGNED  30 findings." in report.text()
    assert "    and 10 more\n" in report.text()


def test_every_class_has_a_meaning_and_what_to_do() -> None:
    for meaning in CLASSES.values():
        assert meaning.means.endswith(".")
        assert meaning.then.endswith(".")


def test_the_report_says_what_was_not_checked_even_when_all_is_well() -> None:
    gateway = good_gateway()
    text = verify(gateway.log, key=gateway.key_line).text()
    assert "NOT CHECKED\n  whether each meter itself told the truth" in text
    assert text.rstrip().splitlines()[-1].startswith("VERDICT  IN ORDER")


def test_the_verdict_of_a_fast_look_says_what_it_left_out() -> None:
    gateway = good_gateway()
    text = verify(gateway.log, key=gateway.key_line, fast=True).text()
    assert "VERDICT  IN ORDER AS FAR AS --fast LOOKS" in text
    assert "NOT checked: each record's own signature, its frames, formulas and values." in text


def test_the_json_report_holds_what_the_text_says() -> None:
    gateway = good_gateway()
    gateway.log.edit(10, lambda f: f["values"][0].update(value="1.00"))
    fields = json.loads(verify(gateway.log, key=gateway.key_line).json())
    assert fields["exit"] == 1
    assert fields["findings"]["VALUE"]["first"][0]["n"] == 10
    assert fields["meters"][0]["completeness_percent"] == "83.33"
    assert fields["confirmed"] is True
    assert fields["key"] == gateway.key.name


def test_a_record_cannot_write_on_the_auditors_terminal() -> None:
    gateway = Gateway().begin()
    gateway.append("config", digest="ab" * 32, who="\u009b2J\u202ewang")
    gateway.declare("evil", serial="\u009b31m", framing="rtu", address="\u202e1")
    text = verify(gateway.log, key=gateway.key_line).text()
    assert all(letter.isprintable() or letter == "\n" for letter in text)


@pytest.mark.parametrize("line", ["", "nonsense", "meterseal/plant/gw1+00000000+AAAA", "a+b+\u00fc"])
def test_a_key_line_that_is_none_cannot_be_checked_with(line: str) -> None:
    with pytest.raises(CannotCheck, match="--key"):
        verify(good_gateway().log, key=line)


def test_what_stands_in_x_is_counted_and_changes_nothing() -> None:
    gateway = good_gateway()
    gateway.log.edit(7, lambda f: f.update(x={"seen_by": "node-red", "factor": 0.5, "none": None}))
    report = verify(gateway.log, key=gateway.key_line)
    assert (report.findings.counts, report.with_x) == ({}, 1)
    assert "1 record with additions in `x`" in report.text()


# --- nothing breaks it ----------------------------------------------------------------------------------------

_BASE = good_gateway()
_LEAVES = st.one_of(
    st.integers(-(2**53) + 1, 2**53 - 1),
    st.booleans(),
    st.none(),
    st.text(max_size=12),
    st.sampled_from(
        ["0@3:u32be*400/0", "9999-12-31T23:59:59.999Z", "0001-01-01T00:00:00.000Z", "ff", "00" * 300, "tcp", "ascii"]
    ),
    st.lists(st.integers(0, 3), max_size=3),
    st.dictionaries(st.sampled_from(["id", "count", "n"]), st.integers(0, 3), max_size=2),
)


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    return [path, *(deeper for key, each in inner for deeper in _paths(each, (*path, key)))]


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_no_edit_of_a_log_breaks_the_verifier_and_none_goes_unseen(data: st.DataObject) -> None:
    log = MemoryLog(list(_BASE.log.records), list(_BASE.log.notes), dict(_BASE.log.files))
    n = data.draw(st.integers(0, len(log.records) - 1))
    fields = log.fields(n)
    path = data.draw(st.sampled_from([path for path in _paths(fields) if path]))
    before, holder = copy.deepcopy(fields), fields
    for step in path[:-1]:
        holder = holder[step]
    holder[path[-1]] = data.draw(_LEAVES)
    log.records[n] = json.dumps(fields).encode()
    report = verify(log, key=_BASE.key_line)
    same = json.dumps(fields, sort_keys=True) == json.dumps(before, sort_keys=True)
    assert same == (report.findings.total == 0)
    report.text()
    verify(log, key=_BASE.key_line, fast=True)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_no_content_that_the_key_signed_breaks_the_verifier(data: st.DataObject) -> None:
    """A faulty agent, or an owner who seals nonsense: whatever passes the schema is judged, never a traceback."""
    gateway = Gateway().begin().after(0.3)
    gateway.reading("rtu-1")
    made = json.loads(gateway.log.records[data.draw(st.integers(0, len(gateway.log.records) - 1))])
    for name in ("sig", "n", "prev", "key", "gateway", "meterseal"):
        made.pop(name)
    path = data.draw(st.sampled_from([path for path in _paths(made) if path]))
    holder = made
    for step in path[:-1]:
        holder = holder[step]
    holder[path[-1]] = data.draw(_LEAVES)
    try:
        gateway.append(**{**made, "kind": made["kind"]})
    except (RecordError, TypeError):
        return
    verify(gateway.log, key=gateway.key_line).text()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=200), max_size=4))
def test_no_bytes_break_the_verifier(records: list[bytes]) -> None:
    assert verify(MemoryLog(records), key=_BASE.key_line).exit_code == 1


def test_a_unit_without_a_value_and_a_value_without_a_formula_are_found() -> None:
    def unit_alone(fields: Fields) -> None:
        del fields["values"][0]["value"]

    def value_alone(fields: Fields) -> None:
        fields["frames"][0] |= {"fault": "no_answer", "answer": ""}
        del fields["values"][0]["formula"]

    assert set(found(after_one_reading("rtu-1", unit_alone))) == {"UNIT", "VALUE"}
    assert {"FORMULA", "VALUE"} <= set(found(after_one_reading("rtu-1", value_alone)))


def test_the_meters_of_a_log_need_not_share_a_model_file() -> None:
    """The same model under another digest (a comment was added) is another file and both are checked."""
    gateway = Gateway().begin().after(0.3)
    text = b"# commented\n" + MODEL
    digest = hashlib.sha256(text).hexdigest()
    assert digest != DIGEST
    gateway.log.files[digest] = text
    gateway.declare("rtu-1", serial="EM-77", framing="rtu", address="1", ct="400/5", digest=digest)
    gateway.reading("rtu-1")
    gateway.reading("tcp-2")
    assert found(gateway) == {}
