"""agent.collect_gateway over ledger copies: whatever comes in whatever order, the copy is the gateway's log or its beginning."""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Literal

import pytest

from agent import checkpoint
from agent.batch import pack
from agent.collect_copy import Copy, StoreError
from agent.collect_gateway import Arrivals, Keeping, Outcome
from agent.ledger_file import LedgerReader
from agent.merkle import root_of
from agent.record import leaf_hash, parse, signed_part
from agent.state import LEDGER_FILE
from tests.agent.both import verify
from tests.agent.ledgers import DIGEST, GATEWAY, MODEL, ORIGIN, Gateway, good_gateway, new_key


class Kept:
    """A copy of one gateway's log, and what came of it."""

    def __init__(self, folder: Path, gateway: Gateway) -> None:
        self.folder, self.gateway = folder, gateway
        self.outcomes: list[Outcome] = []
        self.open()

    def open(self) -> None:
        self.store = Copy(self.folder)
        self.keeping = Keeping(GATEWAY, self.gateway.first_key.public, self.store, {})

    def again(self) -> None:
        """The collector is started anew."""
        self.store.close()
        self.open()

    def take(self, *payloads: bytes, notes: tuple[str, ...] = (), models: bool = False) -> Outcome:
        arrivals = Arrivals(list(payloads), [], [note.encode() for note in notes], {DIGEST: MODEL} if models else {})
        made = self.keeping.take(arrivals)
        self.outcomes.append(made)
        return made

    def stored(self) -> list[bytes]:
        with closing(LedgerReader(self.folder / LEDGER_FILE)) as reader:
            return [payload for _, payload in reader.payloads()]

    def findings(self) -> set[str]:
        return {kind for outcome in self.outcomes for _, kind, _ in outcome.findings}

    def alarms(self) -> list[str]:
        return [why for outcome in self.outcomes for why, _, _ in outcome.alarms]


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    made = Kept(tmp_path / "copy", good_gateway())
    yield made
    made.store.close()


def root(records: list[bytes]) -> bytes:
    return root_of([leaf_hash(signed_part(parse(payload))) for payload in records])


def test_a_log_taken_in_order_is_the_same_log_and_verifies_as_one(kept: Kept) -> None:
    log = kept.gateway.log
    outcome = kept.take(*log.records, notes=tuple(log.notes), models=True)
    assert (outcome.size, outcome.end, outcome.root) == (len(log.records), len(log.records), root(log.records))
    assert kept.stored() == log.records
    assert not kept.findings()
    with closing(LedgerReader(kept.folder / LEDGER_FILE)) as reader:
        report = verify(reader, key=kept.gateway.key_line)
    assert report.exit_code == 0, report.text()
    assert report.checkpoints == len(log.notes)


@pytest.mark.parametrize("seed", range(5))
def test_any_order_with_repetitions_and_restarts_ends_in_the_same_copy(kept: Kept, seed: int) -> None:
    chance = random.Random(seed)
    records = kept.gateway.log.records
    arrivals = [*records, *chance.choices(records, k=30)]
    chance.shuffle(arrivals)
    held: set[int] = set()
    for payload in arrivals:
        held.add(parse(payload)["n"])
        outcome = kept.take(payload, models=True)
        head = next(n for n in range(len(records) + 1) if n not in held)
        assert (outcome.size, outcome.end) == (head, max(held) + 1)
        assert outcome.hole_end == min((n for n in held if n > head), default=outcome.end)
        assert outcome.root == root(records[:head])
        if chance.random() < 0.1:
            kept.again()
    assert kept.stored() == records
    assert not kept.findings()
    assert not kept.alarms()


def test_what_a_flow_downstream_did_to_the_bytes_is_undone(kept: Kept) -> None:
    records = kept.gateway.log.records
    altered = [json.dumps(json.loads(payload) | {"x": {"seen": 1}}, indent=1).encode() for payload in records]
    kept.take(*altered)
    assert kept.take(*records).size == len(records)
    assert kept.stored() == records
    assert not kept.alarms()


def test_nobody_without_the_key_takes_a_numbers_place(kept: Kept) -> None:
    records = kept.gateway.log.records
    forger = Gateway(new_key("forger")).begin().after(5)
    for _ in range(5):
        forger.reading("rtu-1")
    kept.take(*forger.log.records, b"", b"{}", b"\xff", records[3].replace(b"hall 3", b"hall 4"))
    assert sum(kept.outcomes[0].not_taken.values()) == len(forger.log.records) + 4
    assert kept.take(*records).size == len(records)
    assert not kept.alarms()


def test_another_content_under_a_stored_number_is_kept_aside_and_told_and_changes_nothing(kept: Kept) -> None:
    records = list(kept.gateway.log.records)
    kept.take(*records)
    kept.gateway.log.edit(len(records) - 1, lambda fields: fields.update(every_ms=1000))
    kept.gateway.reseal(len(records) - 1)
    other = kept.gateway.log.records[-1]
    kept.take(other)
    assert kept.alarms() == [f"record {len(records) - 1} came with other content than is stored"]
    kept.again()
    kept.take(other)
    assert kept.store.count_aside() == 1
    assert kept.stored() == records


def test_a_record_that_does_not_continue_the_log_is_set_aside_and_the_genuine_one_is_still_taken(kept: Kept) -> None:
    """Somebody who holds a copy of the key seals a record of his own that comes first."""
    records = list(kept.gateway.log.records)
    rival = good_gateway()
    rival.log.edit(9, lambda fields: fields.update(every_ms=1000))
    rival.reseal(9)
    kept.take(*records[:12], rival.log.records[12])
    assert kept.alarms() == ["record 12 does not continue the 12 records before it"]
    assert kept.take(*records).size == len(records)
    assert kept.stored() == records


def test_a_value_that_does_not_follow_from_its_bytes_is_stored_and_told(kept: Kept) -> None:
    at = kept.gateway.log.find("reading", 3)
    kept.gateway.log.edit(at, lambda fields: fields["values"][0].update(value="1.00"))
    kept.gateway.reseal(at)
    outcome = kept.take(*kept.gateway.log.records, models=True)
    assert [(n, kind) for n, kind, _ in outcome.findings] == [(at, "VALUE")]
    assert kept.stored() == kept.gateway.log.records


def test_without_its_model_a_meter_is_stored_and_told_and_with_it_checked_from_then_on(kept: Kept) -> None:
    outcome = kept.take(*good_gateway().log.records[:8])
    assert outcome.unchecked == {DIGEST}
    assert not outcome.findings
    kept.again()
    gateway = good_gateway()
    at = gateway.log.find("reading", 9)
    gateway.log.edit(at, lambda fields: fields["values"][0].update(value="1.00"))
    gateway.reseal(at)
    outcome = kept.take(*gateway.log.records, models=True)
    assert not outcome.unchecked
    assert [(n, kind) for n, kind, _ in outcome.findings] == [(at, "VALUE")]


def test_rotations_and_revocations_are_followed_and_a_key_signs_nothing_after_it_expired(tmp_path: Path) -> None:
    gateway = Gateway(recovery=new_key("recovery")).begin().after(900)
    first = gateway.key
    gateway.reading("rtu-1")
    gateway.rotate(new_key("second"))
    gateway.after(900).reading("rtu-1")
    gateway.revoke(new_key("third"), new_key("recovery 2"))
    gateway.after(900).reading("rtu-1")
    kept = Kept(tmp_path / "copy", gateway)
    assert kept.take(*gateway.log.records, models=True).size == len(gateway.log.records)
    kept.again()
    late = Gateway(first).begin().after(900)
    for _ in range(8):
        late.reading("rtu-1")
    assert kept.take(*late.log.records[-1:]).not_taken["the gateway's key in force did not sign it"] == 1
    gateway.after(900).reading("rtu-1")
    assert kept.take(gateway.log.records[-1]).size == len(gateway.log.records)
    assert kept.stored() == gateway.log.records
    assert not kept.findings()
    kept.store.close()


def test_a_log_that_begins_with_another_key_than_the_enrolled_one_is_not_taken(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "copy", Gateway(new_key("the form's")))
    outcome = kept.take(*good_gateway().log.records)
    assert outcome.size == 0
    assert sum(outcome.not_taken.values()) == len(good_gateway().log.records)
    kept.store.close()


def test_a_checkpoint_of_the_gateway_with_another_root_is_told(kept: Kept) -> None:
    records = kept.gateway.log.records
    early, late = (checkpoint.write(ORIGIN, size, bytes(32), kept.gateway.key) for size in (7, 20))
    kept.take(*records[:10], notes=(early, late))
    kept.take(*records[10:], notes=(checkpoint.write(ORIGIN, 9, bytes(32), new_key("forger")), "nonsense"))
    assert kept.alarms() == [f"a checkpoint over {size} records has another root than those that are stored" for size in (7, 20)]
    assert sum(kept.outcomes[1].not_taken.values()) == 2


def test_a_checkpoint_over_more_than_has_come_says_what_is_missing(kept: Kept) -> None:
    records = kept.gateway.log.records
    outcome = kept.take(*records[:5], notes=(kept.gateway.checkpoint(),))
    assert (outcome.size, outcome.hole_end, outcome.end) == (5, len(records), len(records))


def test_a_copy_that_somebody_changed_is_not_gone_on_with(kept: Kept) -> None:
    records = kept.gateway.log.records
    kept.take(*records[:10])
    kept.store.close()
    path = kept.folder / LEDGER_FILE
    database = sqlite3.connect(path)
    database.execute("DROP TRIGGER record_is_never_changed")
    database.execute("UPDATE record SET payload = cast(replace(payload, 'wang.li', 'wang.lo') AS BLOB) WHERE n = 0")
    database.commit()
    database.close()
    kept.open()
    with pytest.raises(StoreError, match="was changed"):
        kept.take(records[10])


def test_a_checkpoint_that_is_missing_is_known_by_the_records_alone_until_it_comes(kept: Kept) -> None:
    log = kept.gateway.log
    sizes = [int(note.split("\n")[1]) for note in log.notes]
    outcome = kept.take(*log.records, notes=tuple(log.notes[-1:]))
    assert outcome.lacks_notes is not None
    assert outcome.lacks_notes[0] == 0
    assert outcome.lacks_notes[1] <= sizes[0] + 1
    kept.again()
    for note in log.notes:
        outcome = kept.take(notes=(note,))
    assert outcome.lacks_notes is None
    kept.again()
    assert kept.take().lacks_notes is None
    with closing(LedgerReader(kept.folder / LEDGER_FILE)) as reader:
        assert reader.checkpoints() == log.notes


def test_a_checkpoint_that_the_gateway_does_not_have_is_not_asked_for_forever(kept: Kept) -> None:
    outcome = kept.take(*kept.gateway.log.records)
    questions = 0
    while outcome.lacks_notes and questions < 1000:
        questions += 1
        kept.keeping.asked_for_notes()
        outcome = kept.take()
    assert 5 <= questions <= 5 * len(kept.gateway.log.records)


@pytest.mark.parametrize("compress", ["gzip", "none"])
def test_batches_are_taken_apart_and_what_is_none_is_dropped(kept: Kept, compress: Literal["gzip", "none"]) -> None:
    records = kept.gateway.log.records
    bomb = gzip.compress(bytes(50_000_000))
    packed = [pack(records[:20], compress)[0], pack(records[15:], compress)[0], bomb, b"\x1f\x8bx", b""]
    outcome = kept.keeping.take(Arrivals(batches=packed))
    assert outcome.size == len(records)
    assert sum(outcome.not_taken.values()) == 3
    assert kept.stored() == records


def test_a_shipped_model_is_kept_with_the_copy_and_one_that_nobody_quotes_is_not(kept: Kept) -> None:
    kept.keeping = Keeping(GATEWAY, kept.gateway.first_key.public, kept.store, {DIGEST: MODEL})
    strange = [b"model: %d" % number for number in range(50)] + [b"x" * 3_900_000, b"y" * 3_900_000]
    offered = {hashlib.sha256(text).hexdigest(): text for text in strange} | {"ab" * 32: b"another text"}
    kept.keeping.take(Arrivals(models=offered))
    kept.take(*kept.gateway.log.records)
    with kept.store.transaction():
        assert kept.store.models() == {DIGEST: MODEL}
    assert not kept.findings()


def one_by_one(kept: Kept, records: list[bytes]) -> None:
    for payload in records:
        kept.take(payload)


def test_a_full_disk_is_told_and_gone_on_with_when_there_is_room(kept: Kept) -> None:
    records = kept.gateway.log.records
    kept.take(*records[:5])
    database = sqlite3.connect(kept.folder / LEDGER_FILE)
    pages = database.execute("PRAGMA page_count").fetchone()[0]
    database.close()
    kept.store._database.execute(f"PRAGMA max_page_count = {pages + 1}")
    with pytest.raises(StoreError, match="full") as refused:
        one_by_one(kept, records[5:])
    assert "Free space" in refused.value.hint
    before = kept.stored()
    assert before == records[: len(before)]
    kept.store._database.execute("PRAGMA max_page_count = 1073741823")
    assert kept.take(*records).size == len(records)
    assert kept.stored() == records
