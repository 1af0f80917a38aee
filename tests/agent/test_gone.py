"""Records that are gone: what is taken away is stated and kept as hashes; all verifies as before, and nothing goes silently."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from agent import draft
from agent.bundle import Bundle
from agent.export import export
from agent.ledger import Ledger
from agent.ledger_file import LedgerReader
from agent.record import parse
from agent.report import Report
from agent.trace import trace
from tests.agent.both import verify
from tests.agent.gone_ledgers import clock_behind, long_gateway, on_disk
from tests.agent.ledgers import GATEWAY, Gateway

GATEWAY_OF_A_WEEK = long_gateway(1300)


@pytest.fixture
def pruned(tmp_path: Path) -> tuple[Path, Gateway]:
    gateway = GATEWAY_OF_A_WEEK
    path = tmp_path / "ledger.sqlite"
    on_disk(gateway, path)

    async def prune() -> None:
        clock = clock_behind(gateway)
        ledger = await Ledger.open(path, GATEWAY, gateway.key, 0.0)
        await ledger.prune(0, 768, lambda blocks: draft.prune(clock, 0, 768, blocks, "age"))
        await ledger.append(draft.stop(clock, "test"))
        await ledger.close()

    asyncio.run(prune())
    return path, gateway


def judged(path: Path, gateway: Gateway, **options: object) -> Report:
    with closing(LedgerReader(path)) as reader:
        return verify(reader, key=gateway.key_line, **options)


def test_a_pruned_ledger_verifies_and_says_how_much_is_gone(pruned: tuple[Path, Gateway]) -> None:
    path, gateway = pruned
    report = judged(path, gateway, outside=gateway.log.notes[-1:])
    assert report.exit_code == 0, report.text()
    assert report.gone["pruned"] > 700
    assert "taken away to make room" in report.text()
    assert judged(path, gateway, fast=True).exit_code == 0
    with closing(LedgerReader(path)) as reader:
        kinds = {parse(payload)["kind"] for _, payload in reader.payloads(0, 768)}
        assert kinds == {"key", "start", "stop", "config", "meter", "identity"}
        blocks = [first for first, size, _ in reader.kept() if size == 256]
    assert len(blocks) == 1


def test_an_export_of_a_pruned_ledger_verifies_and_is_traced_as_the_ledger_is(
    pruned: tuple[Path, Gateway], tmp_path: Path
) -> None:
    path, gateway = pruned
    with closing(LedgerReader(path)) as reader:
        export(reader, tmp_path / "bundle.zip")
        size, rows = reader.size(), list(reader.payloads())
        last = max(n for n, payload in rows if parse(payload)["kind"] == "reading")
        told = trace(reader, n=last, key=gateway.key_line)
    with closing(Bundle(tmp_path / "bundle.zip")) as bundle:
        assert bundle.size() == size
        assert list(bundle.payloads()) == rows
        assert verify(bundle, key=gateway.key_line).exit_code == 0
        story = trace(bundle, n=last, key=gateway.key_line)
    assert story.problems == told.problems == []
    assert story.cover is not None


def test_what_is_gone_and_not_stated_is_missing(pruned: tuple[Path, Gateway]) -> None:
    path, gateway = pruned
    with closing(LedgerReader(path)) as reader:
        gateway = Gateway(gateway.key)
        rows = dict(reader.payloads())
        gateway.log.gone = reader.kept()
        stated = next(n for n, payload in rows.items() if parse(payload)["kind"] == "prune")
        gateway.log.records = [payload for n, payload in rows.items() if n < stated]
        gateway.log.rows = [n for n in rows if n < stated]
        gateway.log.notes = [note for note in reader.checkpoints() if int(note.split("\n")[1]) <= stated]
        report = verify(gateway.log, key=gateway.key_line)
    assert set(report.findings.counts) == {"SEQUENCE"}, report.text()
    assert "no record says" in report.text()


@pytest.mark.parametrize("size", [1, 256])
def test_a_kept_hash_that_was_changed_is_found_by_the_checkpoints(pruned: tuple[Path, Gateway], size: int) -> None:
    path, gateway = pruned
    with closing(sqlite3.connect(path)) as database:
        database.execute(
            "UPDATE kept SET hash = zeroblob(32) WHERE first = (SELECT max(first) FROM kept WHERE size = ?)", (size,)
        )
        database.commit()
    assert "CHECKPOINT" in judged(path, gateway).findings.counts


def test_the_database_lets_no_record_go_whose_hash_is_not_kept(pruned: tuple[Path, Gateway]) -> None:
    path, _ = pruned
    with closing(sqlite3.connect(path)) as database, pytest.raises(sqlite3.IntegrityError, match="hash is kept"):
        database.execute("DELETE FROM record WHERE n = 900")


async def test_what_is_no_whole_block_is_not_taken_away(tmp_path: Path) -> None:
    gateway = GATEWAY_OF_A_WEEK
    path = tmp_path / "ledger.sqlite"
    on_disk(gateway, path)
    clock = clock_behind(gateway)
    ledger = await Ledger.open(path, GATEWAY, gateway.key, 0.0)
    size = ledger.size
    last = size - size % 256
    with pytest.raises(ValueError, match="hashes are missing"):
        await ledger.prune(last - 256, last + 256, lambda blocks: draft.prune(clock, 0, 256, blocks, "age"))
    assert ledger.size == size
    await ledger.close()
    assert judged(path, gateway).exit_code == 0
    with closing(LedgerReader(path)) as reader:
        assert reader.kept() == []
