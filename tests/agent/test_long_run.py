"""Weeks of a plant with everything that happens to one: verified clean, consumption to the last digit, and frauds named.

`make year` does the same for 50 meters and a whole year.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from agent import checkpoint
from agent.merkle import Frontier
from agent.record import EMPTY_LOG
from agent.seal import Key, base64url, rotation_statement, seal
from agent.verify import verify
from tests.agent.gateway import GATEWAY
from tests.agent.ledgers import MemoryLog, crc
from tests.agent.long_run import LongRun

DAYS = 8
ORIGIN = f"meterseal/{GATEWAY}"
Fields = dict[str, Any]


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


# --- ten frauds -----------------------------------------------------------------------------------------------


class Fraud:
    """A log in the hands of somebody; with `resealed`, of somebody who has all its keys."""

    def __init__(self, run: LongRun, log: MemoryLog) -> None:
        self.run, self.notes, self.files = run, log.notes, log.files
        self.records: list[Fields] = [json.loads(payload) for payload in log.records]
        self.outside = log.notes[-3]

    def find(self, kind: str, **wanted: Any) -> int:
        return next(self.all(kind, **wanted))

    def all(self, kind: str, **wanted: Any) -> Iterator[int]:
        for n, fields in enumerate(self.records):
            if fields["kind"] == kind and all(fields[name] == value for name, value in wanted.items()):
                yield n

    def drop(self, n: int) -> None:
        """Takes a record out, and puts all numbers right that others say of those behind it."""
        del self.records[n]
        for fields in self.records:
            for stand in _stands(fields):
                stand["n"] -= stand["n"] > n

    def log(self, *, resealed: bool) -> MemoryLog:
        if not resealed:
            lines = [json.dumps(fields, sort_keys=True, separators=(",", ":")).encode() for fields in self.records]
            return MemoryLog(lines, self.notes, files=self.files)
        return self._resealed()

    def _resealed(self) -> MemoryLog:
        keys: Iterator[Key] = iter(self.run.keys)
        key, prev, declared, made = next(keys), EMPTY_LOG, {}, MemoryLog([], [], files=self.files)
        frontier = Frontier()
        for n, before in enumerate(self.records):
            fields = {name: value for name, value in before.items() if name not in _GIVEN}
            if "declared" in fields.get("meter", {}):
                fields["meter"] = fields["meter"] | {"declared": declared[fields["meter"]["id"]]}
            successor = next(keys) if before["kind"] == "key" and before["action"] == "rotate" else None
            if successor:
                statement = rotation_statement(GATEWAY, key.name, successor.public)
                fields["proof"] = base64url(successor.sign(statement))
            record = seal(fields, gateway=GATEWAY, n=n, prev=prev, key=key)
            made.records.append(record.payload)
            prev, frontier, key = record.leaf, frontier.append(record.leaf), successor or key
            if before["kind"] == "meter":
                declared[before["meter"]["id"]] = base64url(record.leaf)
        made.notes.append(checkpoint.write(ORIGIN, len(made.records), frontier.root(), key))
        return made


_GIVEN = ("sig", "n", "prev", "key", "gateway", "meterseal")


def _stands(fields: Fields) -> Iterator[Fields]:
    if fields["kind"] == "counter":
        yield from (fields[name] for name in ("before", "after", "confirmed"))
    if fields["kind"] == "day":
        yield from (counter[name] for counter in fields["counters"] for name in ("opening", "closing") if name in counter)


def _register(fields: Fields, change: int) -> None:
    """Another register in the frame, its checksum computed anew, and the value that follows from it."""
    frame = bytes.fromhex(fields["frames"][0]["answer"])
    register = int.from_bytes(frame[3:7], "big") + change
    body = frame[:3] + register.to_bytes(4, "big")
    fields["frames"][0]["answer"] = (body + crc(body)).hex()
    value = fields["values"][0]
    value["value"] = (
        f"{Decimal(register) * 80 / 100:.2f}" if "400/5" in value["formula"] else f"{Decimal(register) * 40 / 100:.2f}"
    )


def a_value_is_raised_in_the_database(fraud: Fraud) -> None:
    fraud.records[fraud.find("reading") + 400]["values"][0]["value"] = "1.00"


def bytes_and_value_are_lowered_together_and_everything_is_sealed_anew(fraud: Fraud) -> None:
    closing = fraud.records[list(fraud.all("day"))[30]]["counters"][0]["closing"]["n"]
    _register(fraud.records[closing], -10)


def a_reset_is_called_a_rollover(fraud: Fraud) -> None:
    fraud.records[fraud.find("counter", decision="reset")] |= {
        "decision": "rollover",
        "why": "passed_modulus",
        "added": "7000000.00",
    }


def a_decision_about_a_counter_is_taken_out(fraud: Fraud) -> None:
    fraud.drop(fraud.find("counter", decision="rollover"))


def a_days_consumption_is_lowered(fraud: Fraud) -> None:
    counter = fraud.records[list(fraud.all("day"))[32]]["counters"][0]
    counter["consumption"] = f"{Decimal(counter['consumption']) - 100:.2f}"


def a_bad_day_is_left_out(fraud: Fraud) -> None:
    fraud.drop(list(fraud.all("day"))[32])


def an_outage_is_taken_out(fraud: Fraud) -> None:
    opened = fraud.find("gap", cause="agent_stopped", state="opened")
    fraud.drop(opened + 1)
    fraud.drop(opened)


def a_reading_is_dated_back(fraud: Fraud) -> None:
    reading = fraud.records[list(fraud.all("reading"))[2000]]
    reading["time"] = f"2026-02-01{reading['time'][10:]}"


def an_old_key_signs_what_came_after_it(fraud: Fraud) -> None:
    fraud.run = _WithKeys([fraud.run.keys[0], fraud.run.keys[0], fraud.run.keys[0]])  # type: ignore[assignment]  # only its keys are asked for


def the_end_is_cut_off(fraud: Fraud) -> None:
    del fraud.records[-1000:]
    fraud.notes = []


def the_correction_that_cost_money_is_taken_out(fraud: Fraud) -> None:
    fraud.drop(fraud.find("correction"))


class _WithKeys:
    def __init__(self, keys: list[Key]) -> None:
        self.keys = keys


FRAUDS: list[tuple[Callable[[Fraud], None], bool, str]] = [
    (a_value_is_raised_in_the_database, False, "SIGNATURE"),
    (bytes_and_value_are_lowered_together_and_everything_is_sealed_anew, True, "DAY"),
    (a_reset_is_called_a_rollover, True, "COUNTER"),
    (a_decision_about_a_counter_is_taken_out, True, "COUNTER"),
    (a_days_consumption_is_lowered, True, "DAY"),
    (a_bad_day_is_left_out, True, "DAY"),
    (an_outage_is_taken_out, True, "GAP"),
    (a_reading_is_dated_back, True, "CLOCK"),
    (an_old_key_signs_what_came_after_it, True, "KEY"),
    (the_end_is_cut_off, False, "TRUNCATED"),
    (the_correction_that_cost_money_is_taken_out, True, "CHECKPOINT"),
]


@pytest.mark.parametrize(("commit", "resealed", "named"), FRAUDS, ids=[each[0].__name__ for each in FRAUDS])
def test_a_fraud_is_found_and_named(
    run: LongRun, log: MemoryLog, commit: Callable[[Fraud], None], resealed: bool, named: str
) -> None:
    fraud = Fraud(run, log)
    commit(fraud)
    # Only what needs one is judged by a checkpoint from outside: the other frauds are found in the records alone.
    outside = [fraud.outside] if named in ("TRUNCATED", "CHECKPOINT") else []
    report = verify(fraud.log(resealed=resealed), key=key_line(run), outside=outside)
    assert named in report.findings.counts, report.text()
    assert report.exit_code == 1


def test_what_is_sealed_anew_without_a_change_is_in_order(run: LongRun, log: MemoryLog) -> None:
    again = Fraud(run, log).log(resealed=True)
    assert again.records == log.records
    assert verify(again, key=key_line(run)).findings.total == 0
