"""What witnesses add: attacks by the owner of the key that the records alone do not show (rows C of the table of attacks)."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from agent import checkpoint
from agent.cosignature import cosign, witness_key
from agent.findings import CannotCheck
from agent.report import Report
from agent.trace import trace
from agent.trace_text import trace_text
from tests.agent.both import verify
from tests.agent.ledgers import EVERY_S, ORIGIN, Gateway, new_key

PLANT, ASSESSOR = "plant-it", "assessor.example/w1"
LINES = tuple(witness_key(name, new_key(name).public) for name in (PLANT, ASSESSOR))


def seconds(moment: datetime) -> int:
    return int(moment.timestamp())


def seen(gateway: Gateway, moment: datetime, *names: str) -> None:
    """A checkpoint of now, cosigned at a moment."""
    note = gateway.checkpoint()
    gateway.log.notes[-1] += "".join(cosign(note, name, new_key(name), seconds(moment)) + "\n" for name in names)


def witnessed_gateway() -> Gateway:
    """Three hours of one meter with an outage of two polls; a checkpoint after each poll, seen by two witnesses at once."""
    gateway = Gateway().begin().after(0.3)
    for quarter in range(12):
        if quarter == 4:
            since = gateway.due
            gateway.gap("rtu-1", "opened", since, since, 1)
        if quarter == 6:
            gateway.gap("rtu-1", "closed", since, gateway.due, 2)
        if quarter not in (4, 5):
            gateway.reading("rtu-1", energy=18422357 + quarter)
        gateway.after(60)
        if quarter != 5:  # nothing was sealed since the one before
            seen(gateway, gateway.now, PLANT, ASSESSOR)
        gateway.after(EVERY_S - 60)
    return gateway


def judged(gateway: Gateway, *outside: str, witnesses: tuple[str, ...] = LINES) -> Report:
    return verify(gateway.log, key=gateway.key_line, outside=outside, witnesses=witnesses)


def found(report: Report) -> set[str]:
    return set(report.findings.counts)


def test_a_witnessed_log_says_up_to_where_who_saw_it_and_when() -> None:
    gateway = witnessed_gateway()
    gateway.reading("rtu-1")
    report = judged(gateway)
    assert report.exit_code == 0, report.text()
    size = len(gateway.log.records) - 1
    assert f"the first {size} by {PLANT}, which saw them at 2026-03-01T02:46:00Z; unanchored tail: 1 record" in report.text()
    anchors = json.loads(report.json())["anchors"]
    assert anchors == [{"by": name, "size": size, "time": "2026-03-01T02:46:00Z"} for name in (PLANT, ASSESSOR)]


def test_the_trace_of_a_value_names_who_cosigned_the_checkpoint_over_it() -> None:
    gateway = witnessed_gateway()
    text = trace_text(trace(gateway.log, meter="rtu-1", key=gateway.key_line))
    assert f"seen by {ASSESSOR} at 2026-03-01T02:46:00Z" in text
    assert f"seen by {PLANT} at 2026-03-01T02:46:00Z" in text


def delete_tail(gateway: Gateway) -> None:
    del gateway.log.records[-4:]
    del gateway.log.notes[-4:]


def forge_and_rechain(gateway: Gateway) -> None:
    gateway.log.edit(gateway.log.find("reading", 2), lambda fields: fields.update(time=fields["time"].replace(".300", ".301")))
    gateway.log.notes.clear()
    gateway.reseal()


def remove_outage(gateway: Gateway) -> None:
    """Somebody with the key takes the outage out and puts readings in its place, numbers, counts and all."""
    made = Gateway().begin().after(0.3)
    for quarter in range(12):
        made.reading("rtu-1", energy=18422357 + quarter)
        made.after(EVERY_S)
    made.checkpoint()
    gateway.log.records, gateway.log.notes = made.log.records, made.log.notes


@pytest.mark.parametrize(
    ("attack", "name"),
    [(delete_tail, "TRUNCATED"), (forge_and_rechain, "CHECKPOINT"), (remove_outage, "CHECKPOINT")],
    ids=["the tail is deleted", "a record is forged and all re-chained", "an outage is taken out"],
)
def test_what_the_owner_of_the_key_rewrites_is_named_by_a_checkpoint_that_a_witness_kept(
    attack: Callable[[Gateway], None], name: str
) -> None:
    gateway = witnessed_gateway()
    kept = gateway.log.notes[-1]
    attack(gateway)
    assert found(judged(gateway, witnesses=())) == set()  # the records alone show nothing
    assert name in found(judged(gateway, kept))


def test_a_log_that_its_witnesses_never_saw_is_not_passed_as_witnessed() -> None:
    gateway = witnessed_gateway()
    remove_outage(gateway)
    assert found(judged(gateway)) == {"WITNESS"}
    assert "has cosigned no checkpoint" in judged(gateway).text()


def test_a_reading_dated_back_behind_a_witnessed_checkpoint_is_found() -> None:
    """With the key, on a machine whose clocks say what the thief wants: nothing else in the log contradicts it."""
    gateway = witnessed_gateway()
    gateway.boot, gateway.uptime_ms = "0000cafe", 1000
    gateway.now -= timedelta(hours=1)
    gateway.started("crash")
    seen(gateway, gateway.now + timedelta(hours=1), PLANT, ASSESSOR)
    assert found(judged(gateway, witnesses=())) == set()
    assert found(judged(gateway)) == {"TIME-WINDOW"}


def test_a_record_dated_behind_the_time_at_which_it_was_seen_is_found() -> None:
    gateway = Gateway().begin()
    gateway.after(3600).started()
    seen(gateway, gateway.now - timedelta(minutes=30), PLANT)
    assert found(judged(gateway, witnesses=LINES[:1])) == {"TIME-WINDOW"}


def test_a_record_that_says_its_clock_was_not_set_is_held_to_no_window() -> None:
    gateway = Gateway()
    gateway.trusted = "unsynchronized"
    gateway.begin()
    seen(gateway, datetime(2026, 6, 1, tzinfo=UTC), PLANT)
    gateway.after(60).started()
    assert found(judged(gateway, witnesses=LINES[:1])) == set()


def test_a_line_in_a_witness_name_that_is_not_its_own_is_found() -> None:
    gateway = witnessed_gateway()
    note = gateway.log.notes[-1].split("\n")
    first = gateway.log.notes[0].split("\n")
    gateway.log.notes[-1] = "\n".join([*note[:5], first[5], *note[6:]])
    assert found(judged(gateway)) == {"WITNESS"}


def test_lines_of_witnesses_that_nobody_named_are_passed_over() -> None:
    gateway = witnessed_gateway()
    assert judged(gateway, witnesses=()).exit_code == 0
    assert judged(gateway, witnesses=()).anchors == {}


def test_a_key_line_that_is_no_witness_is_refused() -> None:
    with pytest.raises(CannotCheck, match="--witness"):
        judged(witnessed_gateway(), witnesses=(checkpoint.verifier_key(ORIGIN, new_key().public),))
