"""Weeks of a plant with everything that happens to one: verified clean, consumption to the last digit, and frauds named.

`make year` does the same for 50 meters and a whole year.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import date
from decimal import Decimal

import pytest

from agent import checkpoint
from tests.agent.both import verify
from tests.agent.frauds import BY_OTHERS, FRAUDS, ORIGIN, Fraud
from tests.agent.ledgers import MemoryLog
from tests.agent.long_run import LongRun

DAYS = 8


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> LongRun:
    """Two weeks, over the change to summer time and the end of a month."""

    async def whole() -> LongRun:
        made = LongRun(tmp_path_factory.mktemp("run") / "ledger.sqlite", 4, DAYS, date(2026, 3, 25))
        await made.run()
        return made

    return asyncio.run(whole())


@pytest.fixture(scope="module")
def log(run: LongRun) -> MemoryLog:
    with run.plant.past() as past:
        return MemoryLog([payload for _, payload in past.payloads()], past.checkpoints(), files=past.models())


def key_line(run: LongRun) -> str:
    return checkpoint.verifier_key(ORIGIN, run.keys[0].public)


def test_all_of_it_is_verified_clean_by_the_key_of_the_form(run: LongRun, log: MemoryLog) -> None:
    report = verify(log, key=key_line(run))
    assert report.findings.total == 0, report.text()
    assert report.exit_code == 0
    happened = ["correction", "crash", "outage", "replacement", "reset", "rollover", "rotation", "silence", "spurious zero"]
    assert sorted(run.tale.happened) == happened


def test_consumption_per_month_is_what_truly_flowed_to_the_last_digit(run: LongRun) -> None:
    true, told = run.months(), run.told()
    assert len(true) == 4
    assert told == true


def test_closed_days_add_up_to_the_months(run: LongRun) -> None:
    days = [day for day in run.plant.records("day") if day["day"].startswith("2026-03") and day["meter"]["id"] == "EM-00"]
    total = sum(Decimal(counter["consumption"]) for day in days for counter in day["counters"] if "consumption" in counter)
    assert total == run.months()["EM-00", date(2026, 3, 1)]
    assert {day["day"]: day["expected"] for day in days}["2026-03-29"] == 92


# --- ten frauds and one more ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("commit", "resealed", "named"), FRAUDS, ids=[each[0].__name__ for each in FRAUDS])
def test_a_fraud_is_found_and_named(
    run: LongRun, log: MemoryLog, commit: Callable[[Fraud], None], resealed: bool, named: str
) -> None:
    fraud = Fraud(log.records, run.keys)
    commit(fraud)
    # Only what needs one is judged by a checkpoint from outside: the other frauds are found in the records alone.
    outside = [log.notes[-3]] if named in BY_OTHERS else []
    lines, notes = fraud.resealed() if resealed else (fraud.lines(), log.notes)
    cut = [note for note in notes if int(note.split("\n")[1]) <= len(lines)]
    report = verify(MemoryLog(lines, cut, files=log.files), key=key_line(run), outside=outside)
    assert named in report.findings.counts, report.text()
    assert report.exit_code == 1


def test_what_is_sealed_anew_without_a_change_is_in_order(run: LongRun, log: MemoryLog) -> None:
    lines, notes = Fraud(log.records, run.keys).resealed()
    assert lines == log.records
    assert verify(MemoryLog(lines, notes, files=log.files), key=key_line(run)).findings.total == 0
