"""Frauds upon a plant's log: what somebody with write access, or with all of its keys, does to the records of a long run.

A fraud has the end of a log in its hands, or all of it. It edits what it likes; then the lines are written as they are, or sealed
anew with the keys, numbers, hashes and all. `tests.agent.test_long_run` commits each upon days, `make year` upon a year.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from agent import checkpoint
from agent.merkle import Frontier
from agent.record import EMPTY_LOG
from agent.rhythm import Rhythm
from agent.seal import Key, base64url, rotation_statement, seal
from tests.agent.gateway import GATEWAY
from tests.agent.ledgers import crc

ORIGIN = f"meterseal/{GATEWAY}"
Fields = dict[str, Any]
_GIVEN = ("sig", "n", "prev", "key", "gateway", "meterseal")


@dataclass
class Before:
    """What stands in front of the records that are in somebody's hands.

    Attributes:
        size: how many records.
        prev: the leaf hash of the last one.
        declared: the leaf hash of each meter's declaration in force.
        rotations: how often the key was changed.
    """

    size: int = 0
    prev: bytes = EMPTY_LOG
    declared: dict[str, str] = field(default_factory=dict)
    rotations: int = 0


class Fraud:
    """Records in the hands of somebody who has all the keys. `keeps_old_key`: he signs on with a key that was replaced."""

    def __init__(self, payloads: Iterable[bytes], keys: list[Key], before: Before | None = None) -> None:
        self.records: list[Fields] = [json.loads(payload) for payload in payloads]
        self.before = before or Before()
        self.keeps_old_key = False
        self._keys = keys

    def find(self, kind: str, **wanted: Any) -> int:
        return next(self.all(kind, **wanted))

    def all(self, kind: str, **wanted: Any) -> Iterator[int]:
        for place, fields in enumerate(self.records):
            if fields["kind"] == kind and all(fields[name] == value for name, value in wanted.items()):
                yield place

    def one(self, kind: str, more: int = 0) -> int:
        """A record of a kind, further behind than the middle."""
        found = list(self.all(kind))
        return found[len(found) * 6 // 10 + more]

    def drop(self, place: int) -> None:
        """Takes a record out, and puts all numbers right that others say of those behind it."""
        del self.records[place]
        n = self.before.size + place
        for fields in self.records:
            for stand in _stands(fields):
                stand["n"] -= stand["n"] > n

    def lines(self) -> list[bytes]:
        """The records as they are now, with the signatures they had."""
        return [json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() for fields in self.records]

    def resealed(self) -> tuple[list[bytes], list[str]]:
        """The records sealed anew, and their checkpoints, which are right where nothing stands in front of them."""
        before = self.before
        key, prev, declared = self._keys[before.rotations], before.prev, dict(before.declared)
        following = iter(self._keys[before.rotations + 1 :])
        frontier, rhythm = Frontier(), Rhythm()
        made: list[bytes] = []
        notes: list[str] = []
        for n, was in enumerate(self.records, before.size):
            fields = {name: value for name, value in was.items() if name not in _GIVEN}
            if "declared" in fields.get("meter", {}):
                fields["meter"] = fields["meter"] | {"declared": declared[fields["meter"]["id"]]}
            successor = next(following) if was["kind"] == "key" and was["action"] == "rotate" else None
            if successor:
                fields["proof"] = base64url(successor.sign(rotation_statement(GATEWAY, key.name, successor.public)))
            if rhythm.is_due(fields):
                notes.append(checkpoint.write(ORIGIN, n, frontier.root(), key))
                rhythm = Rhythm()
            record = seal(fields, gateway=GATEWAY, n=n, prev=prev, key=key)
            made.append(record.payload)
            prev, frontier, rhythm = record.leaf, frontier.append(record.leaf), rhythm.after(fields)
            key = successor if successor and not self.keeps_old_key else key
            if was["kind"] == "meter":
                declared[was["meter"]["id"]] = base64url(record.leaf)
        notes.append(checkpoint.write(ORIGIN, before.size + len(made), frontier.root(), key))
        return made, notes


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
    times = 80 if "400/5" in value["formula"] else 40
    value["value"] = f"{Decimal(register) * times / 100:.2f}"


# --- what they do ---------------------------------------------------------------------------------------------


def a_value_is_raised_in_the_database(fraud: Fraud) -> None:
    fraud.records[fraud.one("reading")]["values"][0]["value"] = "1.00"


def bytes_and_value_are_lowered_together_and_everything_is_sealed_anew(fraud: Fraud) -> None:
    closing = fraud.records[fraud.one("day")]["counters"][0]["closing"]["n"]
    _register(fraud.records[closing - fraud.before.size], -10)


def a_reset_is_called_a_rollover(fraud: Fraud) -> None:
    called = {"decision": "rollover", "why": "passed_modulus", "added": "7000000.00"}
    fraud.records[fraud.find("counter", decision="reset")] |= called


def a_decision_about_a_counter_is_taken_out(fraud: Fraud) -> None:
    fraud.drop(fraud.find("counter"))


def a_days_consumption_is_lowered(fraud: Fraud) -> None:
    counter = fraud.records[fraud.one("day", 2)]["counters"][0]
    counter["consumption"] = f"{Decimal(counter['consumption']) - 100:.2f}"


def a_bad_day_is_left_out(fraud: Fraud) -> None:
    fraud.drop(fraud.one("day", 2))


def an_outage_is_taken_out(fraud: Fraud) -> None:
    opened = fraud.find("gap", cause="agent_stopped", state="opened")
    fraud.drop(opened + 1)
    fraud.drop(opened)


def a_reading_is_dated_back(fraud: Fraud) -> None:
    reading = fraud.records[fraud.one("reading", 1)]
    reading["time"] = f"2026-02-01{reading['time'][10:]}"


def an_old_key_signs_what_came_after_it(fraud: Fraud) -> None:
    fraud.keeps_old_key = True


def the_end_is_cut_off(fraud: Fraud) -> None:
    del fraud.records[-(len(fraud.records) // 20) :]


def the_correction_that_cost_money_is_taken_out(fraud: Fraud) -> None:
    fraud.drop(fraud.find("correction"))


# What is done, whether everything is sealed anew behind it, and the class it must be named by. Those of the last two are found
# only by a checkpoint that somebody else has kept.
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
BY_OTHERS = ("TRUNCATED", "CHECKPOINT")
