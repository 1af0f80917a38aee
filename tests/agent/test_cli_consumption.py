"""`meterseal consumption` and `meterseal correct`, typed: what they print, and what they refuse."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from agent.keys import load_key, make_key
from agent.state import LEDGER_FILE
from tests.agent.counting import Plant, Plate
from tests.agent.gateway import GATEWAY, START, StillClock
from tests.agent.test_cli import Terminal

MONTH = ("--from", "2026-03-01", "--to", "2026-03-02")


@pytest.fixture
def counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A terminal at a gateway with two days of a meter, a spurious zero among them."""
    monkeypatch.chdir(tmp_path)
    terminal = Terminal(tmp_path)
    make_key(terminal.state, GATEWAY)

    async def once() -> None:
        clock = StillClock(START - 300_000_000_000)
        clock.boot = "0000aaaa"  # another one than this machine's, whose clock a correction is stamped by
        key = load_key(terminal.state)
        plant = await Plant(terminal.state / LEDGER_FILE, [Plate("EM-001", "1", "400/5")], clock=clock, key=key).begin("first")
        for quarter in range(2 * 96 + 1):
            await plant.quarter(5, shown=0 if quarter == 30 else None)
        await plant.end()

    asyncio.run(once())
    return terminal


def test_consumption_by_day_names_the_records_it_rests_on(counted: Terminal) -> None:
    said = counted.type("consumption", *MONTH, expect=0)
    lines = [line.split() for line in said.splitlines()]
    assert ["2026-03-01", "EM-001", "active_energy_import", "384.00", "kWh", "3", "101"] in lines
    assert "the counter's reading in record 34 was taken for a spurious zero: see its counter record" in said
    told = json.loads(counted.type("consumption", *MONTH, "--json", expect=0))
    assert [period["consumption"] for period in told["periods"]] == ["384.00", "384.00"]
    assert told["periods"][0]["opening"] == {"n": 3, "value": "4.00", "away_ms": 300}


def test_a_month_that_is_not_over_goes_up_to_the_newest_reading(counted: Terminal) -> None:
    said = counted.type("consumption", "--per", "month", "--from", "2026-03", expect=0)
    assert "NOT OVER" in said
    assert "goes up to record" in said
    assert "2026-02" not in said
    assert "2026-02" in counted.type("consumption", "--per", "month", expect=1)


def test_a_correction_is_sealed_and_applied_and_verify_finds_nothing_wrong(counted: Terminal) -> None:
    span = ("--from", "2026-03-02T00:15", "--to", "2026-03-03T00:15")
    why = ("--reason", "the plate was misread", "--who", "wang.li")
    said = counted.type("correct", "EM-001", *span, "--ct", "400/5", "200/5", *why, expect=0)
    assert "Sealed as record" in said
    said = counted.type("consumption", *MONTH, expect=0)
    assert "192.00  kWh" in said
    assert "384.00 kWh as it was read; corrected:" in said
    assert "corrects ct 400/5 is 200/5: the plate was misread (wang.li)" in said
    assert "every value follows from the meter's bytes" in counted.type("verify", expect=0)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("EM-001", "--ct", "400/5", "400/5"), "Old and new are the same"),
        (("EM-001", "--ct", "400/5", "many"), "many is not a ratio; write it as on the plate, such as 400/5"),
        (("EM-001",), "Say what was wrong: one of --ct OLD NEW"),
        (("EM-001", "--ct", "1", "2", "--vt", "1", "2"), "Say what was wrong: one of --ct OLD NEW"),
        (("EM-009", "--ct", "400/5", "200/5"), "There is no meter EM-009 in the ledger"),
    ],
)
def test_a_correction_that_cannot_be_one_is_refused_and_nothing_is_sealed(
    counted: Terminal, words: tuple[str, ...], told: str
) -> None:
    span = ("--from", "2026-03-01", "--to", "2026-03-02")
    assert told in counted.type("correct", *words, *span, "--reason", "why", "--who", "me", expect=2)
    assert '"correction"' not in counted.type("verify", "--json", expect=0)


def test_a_correction_needs_somebody_who_says_so(counted: Terminal) -> None:
    words = ("EM-001", "--from", "2026-03-01", "--to", "2026-03-02", "--ct", "400/5", "200/5", "--reason", "why")
    assert "--who" in counted.type("correct", *words, expect=2)
    assert "Say who you are" in counted.type("correct", *words, "--who", " ", expect=2)
    assert "The correction ends before it begins" in counted.type(
        "correct", "EM-001", "--from", "2026-03-03", *words[3:], "--who", "me", expect=2
    )
