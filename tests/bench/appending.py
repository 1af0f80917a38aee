"""Appends to the ledger over bare SQLite: the same table, payloads as long, as many in a commit, WAL and FULL too.

The bare side only inserts. What ours does more is its work: numbers, counts, canonical bytes, hashes, a signature, the
tree's edge, a checkpoint every 256 records, and another thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sqlite3
from itertools import islice
from pathlib import Path

from agent import draft
from agent.ledger import Ledger
from agent.ledger_file import LedgerReader
from agent.ledger_tables import SCHEMA
from tests.agent.gateway import StillClock, begun, new_key
from tests.bench.polls import declaration, polled, readings, source
from tests.bench.ratio import Line, Round, cpu_ratios, per_cpu_second, per_second, rounds

_RECORDS = {1: 300, 10: 1_000, 50: 1_500}  # in a round, by how many there are in a commit
_ROUNDS = 7


def lines(folder: Path) -> list[Line]:
    """Appends one, ten and fifty in a commit; CPU time and bytes written."""
    made: list[Line] = []
    for batch, records in _RECORDS.items():
        (folder / str(batch)).mkdir()
        measured = _measured(folder / str(batch), batch, records)
        commit = f"{batch} in a commit"
        made.append(Line(f"appends, {commit}", cpu_ratios(measured), _speeds(measured, records)))
        if measured[0].bare.written:
            made.append(_written(f"bytes written, {commit}", measured, records))
    return made


def _measured(folder: Path, batch: int, records: int) -> list[Round]:
    with asyncio.Runner() as runner, contextlib.closing(_bare_ledger(folder / "bare.sqlite")) as database:
        ledger, drafts = runner.run(_begun(folder / "ours.sqlite", records))
        try:
            rows = _rows(ledger, records)
            return rounds(_ROUNDS, lambda: runner.run(_append(ledger, drafts, batch)), lambda: _insert(database, rows, batch))
        finally:
            runner.run(ledger.close())


async def _begun(path: Path, records: int) -> tuple[Ledger, list[draft.Fields]]:
    """A ledger with one reading, and readings to append."""
    clock, meter = StillClock(), polled()
    ledger = await begun(path, new_key(), clock)
    declared = (await ledger.append(draft.declared(clock, declaration(meter))))[0]
    drafts = list(islice(readings([meter], [source(meter, declared.leaf)], clock, random.Random(2)), records))
    await ledger.append(drafts[0])
    return ledger, drafts


async def _append(ledger: Ledger, drafts: list[draft.Fields], batch: int) -> None:
    for start in range(0, len(drafts), batch):
        await ledger.append(*drafts[start : start + batch])


def _rows(ledger: Ledger, count: int) -> list[tuple[bytes, str, str, bytes]]:
    """Rows like our records but for their numbers."""
    with contextlib.closing(LedgerReader(ledger.path)) as reader:
        n = ledger.size - 1
        return [(reader.leaf(n), "reading", "EM-001", reader.payload(n))] * count


def _bare_ledger(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    database.executescript(f"BEGIN;{SCHEMA}COMMIT;")
    return database


def _insert(database: sqlite3.Connection, rows: list[tuple[bytes, str, str, bytes]], batch: int) -> None:
    for start in range(0, len(rows), batch):
        database.execute("BEGIN IMMEDIATE")
        for row in rows[start : start + batch]:
            database.execute("INSERT INTO record VALUES (NULL, ?, ?, ?, ?)", row)
        database.execute("COMMIT")


def _speeds(measured: list[Round], records: int) -> str:
    ours, bare = [each.ours for each in measured], [each.bare for each in measured]
    mine = f"{per_cpu_second(records, ours)} records a CPU second ({per_second(records, ours)} a second on this disk)"
    return f"{mine}; SQLite {per_cpu_second(records, bare)} ({per_second(records, bare)})"


def _written(name: str, measured: list[Round], records: int) -> Line:
    """All rounds together: in which of them SQLite moves its WAL into the file is chance."""
    ours, bare = sum(each.ours.written for each in measured), sum(each.bare.written for each in measured)
    count = len(measured) * records
    return Line(name, [ours / bare], f"{ours / count / 1000:.1f} kB a record; SQLite {bare / count / 1000:.1f} kB")
