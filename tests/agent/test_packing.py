"""Closed months at rest: packed records are read, verified, exported, pruned and saved as if they lay in their rows."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from datetime import UTC, date
from pathlib import Path
from typing import Any

import pytest

from agent import damage, draft, topics
from agent.block import DamagedBlockError, pack, salvaged, unpack
from agent.collect_copy import Copy
from agent.consumption import consumption
from agent.export import export
from agent.ledger import Ledger
from agent.ledger_file import LedgerError, LedgerReader
from agent.newest import Newest
from agent.packing import keep_packed, month_begin, next_block
from agent.retention import MONTH_MS
from agent.retention import take_away as tidy
from agent.room_left import room_left
from agent.run import _aside
from agent.topics import Tree
from agent.trace import trace
from config.check import load_site
from config.keep import Keep
from config.settings import load_settings
from tests.agent.both import verify
from tests.agent.gateway import FastClock, stop
from tests.agent.gone_ledgers import clock_behind, long_gateway, on_disk
from tests.agent.ledgers import DIGEST, GATEWAY, MODEL, Gateway

LONG: Gateway = long_gateway(1300)
SIZE = len(LONG.log.records)
EVER = 2**62


class Told:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.heard = asyncio.Event()

    def info(self, event: str, **fields: Any) -> None:
        self.events.append((event, fields))
        self.heard.set()

    warning = error = info


async def opened(path: Path) -> Ledger:
    return await Ledger.open(path, GATEWAY, LONG.key, 0.0)


async def packed(path: Path, most: int = SIZE) -> int:
    """Packs what can be packed of the long log as a ledger; how many records are packed."""
    on_disk(LONG, path)
    path.with_name("key.vkey").write_text(LONG.key_line, "utf-8")
    ledger = await opened(path)
    while (block := next_block(path, EVER, [], 0)) and block.first < most:
        await ledger.pack(block.first, block.data)
    await ledger.close()
    with closing(LedgerReader(path)) as reader:
        return reader.packed()[0]


def contents(reader: LedgerReader) -> list[object]:
    """What a ledger says to whoever asks for records, in each way that there is."""
    return [
        list(reader.payloads()),
        list(reader.payloads(250, 300)),
        [list(reader.meter_records("rtu-1", kind, newest_first=True)) for kind in (None, "reading", "meter")],
        [list(reader.kind_records(kind)) for kind in ("reading", "start", "key")],
        [reader.payload(n) for n in (0, 255, 256, SIZE - 1)],
    ]


async def test_packed_records_are_read_verified_exported_traced_and_summed_up_as_before(tmp_path: Path) -> None:
    plain, path = tmp_path / "plain.sqlite", tmp_path / "ledger.sqlite"
    on_disk(LONG, plain)
    count = await packed(path)
    assert count == (SIZE - 512) // 256 * 256
    with closing(LedgerReader(plain)) as before, closing(LedgerReader(path)) as after:
        assert after.packed_end() == count
        assert after.bytes_used()[0] < before.bytes_used()[0] * 2 // 3
        assert contents(after) == contents(before)
        report = verify(after, key=LONG.key_line)
        assert report.exit_code == 0, report.text()
        assert report.records == SIZE
        days = [room_left(log, plain, Keep(months=36, megabytes=64)).days or 0 for log in (before, after)]
        assert days[1] > 2 * days[0] > 0
        again = [topics.records(Tree("base"), n, Newest(), log) for log in (before, after) for n in (0, 700)]
        assert again[:2] == again[2:]
        exports = [export(log, tmp_path / f"{name}.zip").sha256 for name, log in (("one", before), ("two", after))]
        assert exports[0] == exports[1]
        assert trace(after, meter="tcp-2", n=40, key=LONG.key_line) == trace(before, meter="tcp-2", n=40, key=LONG.key_line)
        span = date(2026, 3, 1), date(2026, 3, 6)
        summed = [consumption(log, ["rtu-1", "tcp-2"], UTC, *span, "day") for log in (before, after)]
        assert summed[0] == summed[1]


async def test_only_closed_months_that_every_destination_has_are_packed(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    on_disk(LONG, path)
    clock = clock_behind(LONG)
    assert next_block(path, month_begin(clock, UTC), [], 0) is None
    clock.move(31 * 86_400)  # type: ignore[attr-defined]  # a clock for tests
    assert next_block(path, month_begin(clock, UTC), ["broker"], 0) is None
    ledger = await opened(path)
    ledger.delivered("broker", 300)
    await ledger.checkpoint()
    await ledger.close()
    block = next_block(path, month_begin(clock, UTC), ["broker"], 0)
    assert block is not None
    assert block.first == 0
    assert next_block(path, month_begin(clock, UTC), ["broker"], 256) is None


async def test_the_agents_part_packs_by_itself_and_says_what_it_saved(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    on_disk(LONG, path)
    ledger, told = await opened(path), Told()
    clock = FastClock(1000, clock_behind(LONG).now_ns() + 40 * 86_400 * 1_000_000_000)
    work = asyncio.create_task(keep_packed(ledger, UTC, [], clock, told))
    async with asyncio.timeout(60):
        await told.heard.wait()
    work.cancel()
    await ledger.close()
    event, fields = told.events[0]
    assert event == "ledger.packed"
    assert fields["records"] == (SIZE - 512) // 256 * 256
    assert fields["after"] * 3 < fields["before"]


@pytest.mark.parametrize(("keep", "packs"), [("", True), ("keep: {compress: false}\n", False)])
async def test_nothing_is_packed_where_the_site_says_so(keep: str, packs: bool, tmp_path: Path) -> None:
    text = "gateway: plant/gw1\nlinks: {line: {tcp: '127.0.0.1:502'}}\n"
    text += "meters: [{id: a, link: line, model: eastron-sdm120, address: 1}]\n"
    (tmp_path / "site.yaml").write_text(text + keep, "utf-8")
    on_disk(LONG, tmp_path / "ledger.sqlite")
    ledger = await opened(tmp_path / "ledger.sqlite")
    site = load_site(tmp_path / "site.yaml")
    made: list[Any] = list(
        _aside(site, load_settings(site=tmp_path / "site.yaml", state=tmp_path), ledger, {}, FastClock(1), Told())
    )
    assert ("keep_packed" in [work.__name__ for work in made]) == packs
    for work in made:
        work.close()
    await ledger.close()


async def test_what_does_not_hold_what_was_sealed_is_never_put_in_its_place(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    on_disk(LONG, path)
    ledger = await opened(path)
    block = next_block(path, EVER, [], 0)
    assert block is not None
    other = pack([*unpack(0, block.data)[:-1], b"{}"])
    for data in (other, block.data[:-40], b""):
        with pytest.raises(ValueError, match="does not hold what they hold"):
            await ledger.pack(0, data)
    await ledger.append(stop(clock_behind(LONG)))
    await ledger.close()
    with closing(LedgerReader(path)) as reader:
        assert reader.packed() == (0, 0)
        assert [payload for _, payload in reader.payloads(0, SIZE)] == LONG.log.records


async def test_a_block_with_a_record_that_was_changed_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    on_disk(LONG, path)
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("DROP TRIGGER record_is_never_changed")
        database.execute("UPDATE record SET payload = cast(replace(payload, 'plant/gw1', 'plant/gw2') AS BLOB) WHERE n = 9")
    block = next_block(path, EVER, [], 0)
    assert block is not None
    assert block.first == 256


async def test_the_database_gives_up_no_row_that_a_block_does_not_hold_and_no_block_that_a_row_relies_on(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    assert await packed(path) > 512
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        for statement in (
            "DELETE FROM block WHERE first = 256",
            "UPDATE block SET data = x'00' WHERE first = 256",
            "DELETE FROM record WHERE n = 300",
            f"DELETE FROM record WHERE n = {SIZE - 1}",
            f"UPDATE record SET payload = x'' WHERE n = {SIZE - 1}",
            "UPDATE record SET leaf = zeroblob(32) WHERE n = 300",
        ):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                database.execute(statement)


async def test_a_reader_in_the_middle_goes_on_while_records_are_packed_and_taken_away(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    on_disk(LONG, path)
    ledger = await opened(path)
    with closing(LedgerReader(path)) as reader:
        rows = reader.payloads()
        seen = [next(rows)[1] for _ in range(10)]
        while block := next_block(path, EVER, [], 0):
            await ledger.pack(block.first, block.data)
        clock = clock_behind(LONG)
        await ledger.prune(256, 512, lambda blocks: draft.prune(clock, 256, 512, blocks, "age", 0))
        assert [*seen, *(payload for _, payload in rows)] == LONG.log.records
        assert [n for n, _ in reader.payloads(0, 600)] != list(range(600))
    await ledger.close()


async def test_packed_readings_are_pruned_and_what_stays_of_their_blocks_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    count = await packed(path)
    clock = clock_behind(LONG)
    clock.move(MONTH_MS / 1000 - 4 * 86_400)  # type: ignore[attr-defined]  # a clock for tests
    ledger = await opened(path)
    while await tidy(ledger, 1, [], clock, Told()):
        pass
    await ledger.close()
    with closing(LedgerReader(path)) as reader:
        report = verify(reader, key=LONG.key_line)
        assert report.exit_code == 0, report.text()
        assert report.gone["pruned"] > 200
        assert 0 < reader.packed()[0] < count
        assert all(LONG.log.records[n] == payload for n, payload in reader.payloads(0, SIZE))
        assert [n for n, _ in reader.kind_records("meter", newest_first=False)][:2] == [3, 4]


def damage_block(path: Path, first: int) -> None:
    """Flips a bit in the middle of a block, past SQLite."""
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (data,) = database.execute("SELECT data FROM block WHERE first = ?", (first,)).fetchone()
    raw = bytearray(path.read_bytes())
    at = raw.index(data[:400]) + 200
    raw[at] ^= 4
    path.write_bytes(raw)


async def goes_on(path: Path) -> None:
    """The agent's next start: what is owed is sealed first."""
    clock = clock_behind(LONG)
    clock.move(60)  # type: ignore[attr-defined]  # a clock for tests
    ledger = await opened(path)
    with closing(LedgerReader(path)) as reader:
        owed = reader.owed()
    losses = [] if owed is None else [draft.loss(clock, owed)]
    await ledger.append(draft.start(clock, "0.1.0", "ab" * 32, "crash"), *losses)
    await ledger.keep_model(DIGEST, MODEL)
    await ledger.close()


async def test_a_damaged_block_loses_at_most_its_own_records_and_the_loss_is_sealed(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    count = await packed(path)
    damage_block(path, 512)
    with closing(LedgerReader(path)) as reader, pytest.raises(LedgerError, match="records 512 to 767 is damaged") as told:
        list(reader.payloads())
    assert told.value.damaged
    damage.mark(path)
    saved = damage.begin(path, 1)
    assert saved is not None
    assert 0 < saved.lost <= 256
    await goes_on(path)
    with closing(LedgerReader(path)) as reader:
        assert reader.packed()[0] == count - 256
        report = verify(reader, key=LONG.key_line)
        assert report.exit_code == 0, report.text()
        assert report.gone["lost"] == saved.lost
        assert all(LONG.log.records[n] == payload for n, payload in reader.payloads(0, SIZE))


async def test_blocks_are_found_in_bytes_that_sqlite_cannot_read(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    count = await packed(path)
    data = bytearray(path.read_bytes())
    data[:4096] = bytes(4096)
    path.write_bytes(data)
    saved = damage.begin(path, 1)
    assert saved is not None
    assert saved.lost == 0
    await goes_on(path)
    with closing(LedgerReader(path)) as reader:
        assert reader.packed()[0] == count
        assert verify(reader, key=LONG.key_line).exit_code == 0


def test_a_block_that_is_cut_off_gives_what_lies_in_front_of_the_cut() -> None:
    data = pack(LONG.log.records[:256])
    assert unpack(0, data) == LONG.log.records[:256]
    there = salvaged(data[: len(data) // 2])
    assert 50 < len(there) < 256
    assert there[:50] == LONG.log.records[:50]
    for wrong in (data[:-1], b"", None, pack(LONG.log.records[:255])):
        with pytest.raises(DamagedBlockError):
            unpack(0, wrong)


async def test_a_collector_goes_on_with_a_copy_of_a_packed_ledger(tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    folder.mkdir()
    assert await packed(folder / "ledger.sqlite") > 512
    store = Copy(folder)
    frontier, leaf = store.edge()
    assert (frontier.size, leaf) == (LONG.frontier.size, LONG.prev)
    assert [payload for _, payload in store.settled(0, SIZE)] == LONG.log.records
    assert next(store.replayed()) == LONG.log.records[0]
    store.close()


def of_format_2(path: Path) -> None:
    """Makes a ledger what the meterseal before packing wrote."""
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.executescript(
            "DROP TRIGGER record_is_never_changed; DROP TRIGGER record_is_never_deleted; DROP TRIGGER block_is_never_deleted;"
            "DROP TABLE block; PRAGMA user_version = 2;"
            "CREATE TRIGGER record_is_never_changed BEFORE UPDATE ON record BEGIN SELECT RAISE(ABORT, 'append-only'); END;"
            "CREATE TRIGGER record_is_never_deleted BEFORE DELETE ON record BEGIN SELECT RAISE(ABORT, 'append-only'); END;"
        )


async def test_a_ledger_of_an_older_meterseal_is_packed_after_it_was_opened(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    on_disk(LONG, path)
    of_format_2(path)
    with closing(LedgerReader(path)) as reader:
        assert (reader.packed(), reader.packed_end()) == ((0, 0), 0)
    ledger = await opened(path)
    block = next_block(path, EVER, [], 0)
    assert block is not None
    await ledger.pack(0, block.data)
    await ledger.close()
    with closing(LedgerReader(path)) as reader:
        assert reader.packed_end() == 256
        assert [payload for _, payload in reader.payloads()] == LONG.log.records
