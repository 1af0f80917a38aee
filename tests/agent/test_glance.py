"""agent.glance: a look at a record gives what parsing it gives, or the record is parsed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.glance import frames_in, glance
from agent.record import RecordError, parse
from tests.agent.ledgers import Gateway, good_gateway
from tests.agent.test_verify import two_schedules

READING = next(payload for payload in good_gateway().log.records if b'"kind":"reading"' in payload)


def seen(payload: bytes) -> tuple[Any, ...]:
    """What an account takes from a glance."""
    fields = glance(payload)
    kind = fields["kind"]
    if kind != "reading":
        return kind, fields
    frames = [tuple(frame) for frame in frames_in(fields)]
    return kind, fields["time"], fields["due"], fields["every_ms"], fields["meter"]["id"], frames


def parsed(payload: bytes) -> tuple[Any, ...]:
    """The same from the parsed record."""
    fields = parse(payload)
    if fields["kind"] != "reading":
        return fields["kind"], fields
    frames = [(frame["ms"], frame.get("fault", ""), bool(frame["answer"])) for frame in fields["frames"]]
    return "reading", fields["time"], fields["due"], fields["every_ms"], fields["meter"]["id"], frames


@pytest.mark.parametrize("gateway", [good_gateway(), two_schedules()], ids=["one schedule", "two schedules"])
def test_a_glance_at_a_record_tells_what_the_record_says(gateway: Gateway) -> None:
    for payload in gateway.log.records:
        assert seen(payload) == parsed(payload)


@given(serial=st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20), faulty=st.booleans())
@settings(max_examples=60, deadline=None)
def test_whatever_a_plate_says_it_is_not_taken_for_something_else(serial: str, faulty: bool) -> None:
    gateway = Gateway()
    gateway.declare("rtu-1", serial=serial, framing="rtu", address="1", ct="400/5")
    frames = [
        {"request": "01", "answer": "ff", "ms": 7, "fault": "noise"},
        {"request": "01", "answer": "", "ms": 0, "fault": "x"},
    ]
    record = gateway.reading("rtu-1", frames=[*(frames if faulty else ()), *gateway.frames("rtu-1", 1, 2, 3)])
    assert seen(record.payload) == parsed(record.payload)


def test_a_reading_as_it_was_sealed_is_not_parsed() -> None:
    assert isinstance(glance(READING)["frames"], bytes)
    assert "values" not in glance(READING)


def test_a_reading_that_was_written_anew_is_parsed() -> None:
    fields = json.loads(READING)
    for payload in (json.dumps(fields, indent=2), json.dumps({"x": {"time": "2027-01-01T00:00:00.000Z"}} | fields)):
        assert isinstance(glance(payload.encode())["frames"], list)
        assert seen(payload.encode()) == parsed(READING)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"due":"2026-03-01', b'"due":"2026-02-30'),
        (b'"time":"2026-03-01T00', b'"time":"2026-03-01T24'),
        (b'"every_ms":900000', b'"every_ms":0'),
        (b'"due":"2026', b'"due":"0000'),
        (b'"values":[', b'"values":['[::-1]),
        (READING, b""),
        (READING, b'{"kind":"reading"}'),
    ],
)
def test_what_is_no_record_is_told_and_never_counted(old: bytes, new: bytes) -> None:
    assert old in READING
    with pytest.raises(RecordError):
        glance(READING.replace(old, new))
