"""agent.ledger: what is told is on disk, what is on disk is never changed, and a damaged log is never continued."""

import asyncio
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import pytest

from agent import checkpoint
from agent.clock import State, Trust
from agent.ledger import Ledger
from agent.ledger_file import LedgerError, LedgerReader
from agent.merkle import root_of
from agent.record import EMPTY_LOG, RecordError, leaf_hash, parse
from agent.seal import base64url, check_signature
from tests.agent.both import verify
from tests.agent.gateway import GATEWAY, StillClock, begun, new_key, stop


def check_log(path: Path, public: bytes) -> int:
    """Walks the whole log as it is on disk; its size. Fails where anything does not fit."""
    reader = LedgerReader(path)
    prev, leaves = EMPTY_LOG, []
    for expected, (n, payload) in enumerate(reader.payloads()):
        fields = parse(payload)
        assert (fields["n"], n) == (expected, expected)
        assert fields["prev"] == base64url(prev)
        prev = leaf_hash(check_signature(fields, public))
        assert prev == reader.leaf(n)
        leaves.append(prev)
    for note in reader.checkpoints():
        seen = checkpoint.read(note, f"meterseal/{GATEWAY}", public)
        assert seen.root == root_of(leaves[: seen.size])
    assert reader.tree()[0] == len(leaves)
    reader.close()
    return len(leaves)


async def test_what_was_appended_is_on_disk_when_append_returns(tmp_path: Path) -> None:
    key, clock = new_key(), StillClock()
    ledger = await begun(tmp_path / "ledger.sqlite", key, clock)
    records = await ledger.append(stop(clock, "one"), stop(clock, "two"))
    reader = LedgerReader(tmp_path / "ledger.sqlite")
    assert [reader.payload(record.n) for record in records] == [record.payload for record in records]
    reader.close()
    await ledger.close()
    assert check_log(tmp_path / "ledger.sqlite", key.public) == 3


async def test_many_appenders_share_commits_and_every_n_is_given_once(tmp_path: Path) -> None:
    key, clock = new_key(), StillClock()
    ledger = await begun(tmp_path / "ledger.sqlite", key, clock, commit_seconds=0.05)
    made = await asyncio.gather(*(ledger.append(stop(clock, f"r{index}")) for index in range(600)))
    assert sorted(records[0].n for records in made) == list(range(1, 601))
    await ledger.close()
    assert check_log(tmp_path / "ledger.sqlite", key.public) == 601
    reader = LedgerReader(tmp_path / "ledger.sqlite")
    assert len(reader.checkpoints()) >= 2
    reader.close()


async def test_a_draft_that_is_no_record_is_refused_and_leaves_no_trace(tmp_path: Path) -> None:
    key, clock = new_key(), StillClock()
    ledger = await begun(tmp_path / "ledger.sqlite", key, clock, commit_seconds=0.02)
    good, bad, also_good = await asyncio.gather(
        ledger.append(stop(clock)),
        ledger.append(stop(clock), stop(clock) | {"reason": 5}),
        ledger.append(stop(clock)),
        return_exceptions=True,
    )
    assert isinstance(bad, RecordError)
    assert not isinstance(good, BaseException)
    assert not isinstance(also_good, BaseException)
    assert ledger.size == 3
    await ledger.close()
    assert check_log(tmp_path / "ledger.sqlite", key.public) == 3


async def test_reopening_goes_on_where_the_log_ended(tmp_path: Path) -> None:
    key, clock = new_key(), StillClock()
    for expected in range(1, 5):
        ledger = await begun(tmp_path / "ledger.sqlite", key, clock)
        assert (await ledger.append(stop(clock)))[0].n == expected
        await ledger.close()
    assert check_log(tmp_path / "ledger.sqlite", key.public) == 5


@pytest.mark.parametrize("table", ["record", "checkpoint", "model"])
@pytest.mark.parametrize("statement", ["DELETE FROM {0}", "UPDATE {0} SET rowid = rowid + 100"])
async def test_the_database_itself_refuses_to_change_what_is_sealed(tmp_path: Path, table: str, statement: str) -> None:
    key, clock = new_key(), StillClock()
    ledger = await begun(tmp_path / "ledger.sqlite", key, clock)
    await ledger.keep_model("0" * 64, b"model: x")
    await ledger.close()
    database = sqlite3.connect(tmp_path / "ledger.sqlite")
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        database.execute(statement.format(table))
    database.close()
    assert check_log(tmp_path / "ledger.sqlite", key.public) == 1


async def test_a_stepped_clock_is_a_record_before_the_first_record_that_shows_it(tmp_path: Path) -> None:
    key, clock = new_key(), StillClock()
    ledger = await begun(tmp_path / "ledger.sqlite", key, clock)
    clock.move(10)
    await ledger.append(stop(clock, "before"))
    clock.step(-3600)
    await ledger.append(stop(clock, "after"))
    clock.move(10)
    await ledger.append(stop(clock, "later"))
    await ledger.close()
    reader = LedgerReader(tmp_path / "ledger.sqlite")
    kinds = [parse(payload) for _, payload in reader.payloads()]
    reader.close()
    assert [fields["kind"] for fields in kinds] == ["key", "stop", "clock", "stop", "stop"]
    assert kinds[2]["step_ms"] == -3_600_000
    assert kinds[2]["before"] == "2026-03-01T00:00:10.000Z"


async def test_cursors_are_written_with_the_next_commit(tmp_path: Path) -> None:
    key, clock = new_key(), StillClock()
    ledger = await begun(tmp_path / "ledger.sqlite", key, clock)
    ledger.delivered("broker", 1)
    await ledger.append(stop(clock))
    reader = LedgerReader(tmp_path / "ledger.sqlite")
    assert reader.cursors() == {"broker": 1}
    ledger.delivered("broker", 2)
    await ledger.close()
    assert reader.cursors() == {"broker": 2}
    reader.close()


def damage(path: Path, statement: str) -> None:
    database = sqlite3.connect(path)
    for name in ("record_is_never_changed", "record_is_never_deleted"):
        database.execute(f"DROP TRIGGER {name}")
    database.execute(statement)
    database.commit()
    database.close()


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("DELETE FROM record WHERE n = 5", "holds 5 records, its tree 6"),
        ("UPDATE record SET payload = CAST(replace(CAST(payload AS TEXT), 'test', 'tast') AS BLOB) WHERE n = 3", "record 3"),
        ("UPDATE record SET payload = (SELECT payload FROM record WHERE n = 2) WHERE n = 4", "record 4"),
        ("UPDATE record SET leaf = zeroblob(32) WHERE n = 5", "record 5"),
        ("UPDATE record SET payload = x'7b7d' WHERE n = 5", "record 5"),
    ],
)
async def test_a_log_whose_end_was_changed_is_not_continued(tmp_path: Path, statement: str, words: str) -> None:
    path, key, clock = tmp_path / "ledger.sqlite", new_key(), StillClock()
    ledger = await begun(path, key, clock)
    for _ in range(5):
        await ledger.append(stop(clock))
    await ledger.close()
    damage(path, statement)
    with pytest.raises(LedgerError, match=words) as caught:
        await Ledger.open(path, GATEWAY, key)
    assert "verify" in caught.value.hint


async def test_another_gateways_ledger_is_refused(tmp_path: Path) -> None:
    key, clock = new_key(), StillClock()
    await (await begun(tmp_path / "ledger.sqlite", key, clock)).close()
    with pytest.raises(LedgerError, match="belongs to gateway plant/gw1"):
        await Ledger.open(tmp_path / "ledger.sqlite", "plant/gw2", key)


async def test_another_key_cannot_continue_a_ledger(tmp_path: Path) -> None:
    clock = StillClock()
    await (await begun(tmp_path / "ledger.sqlite", new_key(), clock)).close()
    with pytest.raises(LedgerError, match="another key"):
        await Ledger.open(tmp_path / "ledger.sqlite", GATEWAY, new_key())


async def test_a_file_that_is_no_ledger_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite").write_bytes(b"not a database, but long enough to look at" * 100)
    with pytest.raises(LedgerError):
        await Ledger.open(tmp_path / "ledger.sqlite", GATEWAY, new_key())
    with pytest.raises(LedgerError):
        LedgerReader(tmp_path / "ledger.sqlite")
    with pytest.raises(LedgerError, match="there is no ledger"):
        LedgerReader(tmp_path / "nowhere.sqlite")


async def test_a_table_rebuilt_without_types_is_a_finding_and_no_crash(tmp_path: Path) -> None:
    path, key, clock = tmp_path / "ledger.sqlite", new_key(), StillClock()
    ledger = await begun(path, key, clock)
    await ledger.append(stop(clock), stop(clock))
    await ledger.close()
    with closing(sqlite3.connect(path)) as database:
        database.executescript(
            "CREATE TABLE untyped (n, leaf, kind, meter, payload);"
            "DROP TRIGGER record_is_never_deleted; DROP TRIGGER block_is_never_deleted;"
            "INSERT INTO untyped SELECT * FROM record; DROP TABLE record; ALTER TABLE untyped RENAME TO record;"
            "UPDATE record SET n = 'abc' WHERE n = 2;"
        )
    with closing(LedgerReader(path)) as reader:
        assert isinstance(reader.size(), int)
        assert verify(reader, key=None).exit_code == 1


async def test_a_full_disk_stops_sealing_keeps_what_was_sealed_and_goes_on_by_itself_when_there_is_room(small_disk: Path) -> None:
    key, clock = new_key(), StillClock()
    path = small_disk / "ledger.sqlite"
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(300_000))
    ledger = await begun(path, key, clock)
    batches = 0

    async def fill() -> None:
        nonlocal batches
        while batches < 2000:
            await ledger.append(*(stop(clock, "x" * 40) for _ in range(20)))
            batches += 1

    with pytest.raises(LedgerError, match="nothing is sealed") as caught:
        await fill()
    assert "Free space" in caught.value.hint
    assert batches > 0
    with pytest.raises(LedgerError):
        await ledger.append(stop(clock))
    ballast.unlink()
    async with asyncio.timeout(30):
        while ledger.error:
            with suppress(LedgerError):
                await ledger.append(stop(clock, "room"))
            await asyncio.sleep(0.1)
    await ledger.close()
    assert check_log(path, key.public) == 2 + 20 * batches


# --- what the clock is worth ----------------------------------------------------------------------------------


class Unkept(StillClock):
    """A clock that somebody keeps, or nobody."""

    state: State = "unsynchronized"

    def trust(self) -> Trust:
        return Trust(self.state, 8 if self.state == "synchronized" else 4000)


async def test_the_loss_and_the_return_of_synchronization_are_records_also_over_a_restart(tmp_path: Path) -> None:
    clock, key = Unkept(), new_key()
    ledger = await begun(tmp_path / "ledger.sqlite", key, clock)
    await ledger.append(stop(clock))
    clock.state = "synchronized"
    clock.step(3600)  # it is set as it is found again
    await ledger.append(stop(clock))
    await ledger.append(stop(clock))
    await ledger.close()
    clock.state = "unsynchronized"
    ledger = await begun(tmp_path / "ledger.sqlite", key, clock)
    await ledger.append(stop(clock))
    await ledger.close()
    with closing(LedgerReader(tmp_path / "ledger.sqlite")) as past:
        told = [parse(payload) for _, payload in past.payloads()]
        assert verify(past, key=None).findings.total == 0
    states = [(fields["before"], fields["after"]) for fields in told if fields["kind"] == "synchronization"]
    assert states == [("unsynchronized", "synchronized"), ("synchronized", "unsynchronized")]
    kinds = [fields["kind"] for fields in told]
    assert kinds == ["key", "stop", "clock", "synchronization", "stop", "stop", "synchronization", "stop"]
