"""Bytes written to the device for each sealed record, from the loop device's own counters; needs root.

    make wear

Readings of one meter are sealed, so many in a commit as come together within `commit_seconds` at ten readings a second: one
(0 s), ten (1 s, the default), a hundred (10 s). Beside it the same payloads into bare SQLite, the same table, journal and
fsync; and into a file that is appended to and fsynced as often.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from agent.ledger_connection import writable
from agent.ledger_file import LedgerReader
from tests.bench.faults import NotHereError, small_disk
from tests.bench.faults_writer import Writer

RECORDS = 2000
_SECTOR = 512
POLICIES = {1: "0 s", 10: "1 s", 100: "10 s"}


def written(mounted: Path) -> int:
    """Bytes that the device under a file system has written since it was made, all that waits among them."""
    os.sync()
    device = os.stat(mounted).st_dev
    stat = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat").read_text().split()
    return int(stat[6]) * _SECTOR


async def ours(state: Path, batch: int) -> None:
    """Seals the records."""
    writer = Writer(state)
    ledger = await writer.begin()
    readings = writer.readings()
    for _ in range(RECORDS // batch):
        await ledger.append(*(next(readings) for _ in range(batch)))
    await ledger.close()


def bare(state: Path, batch: int, rows: list[tuple[int, bytes, bytes]]) -> None:
    """Inserts the same payloads."""
    with closing(writable(state / "bare.sqlite")) as database:
        for start in range(0, RECORDS, batch):
            database.execute("BEGIN IMMEDIATE")
            for n, leaf, payload in rows[start : start + batch]:
                database.execute("INSERT INTO record VALUES (?, ?, 'reading', 'rtu-1', ?)", (n, leaf, payload))
            database.execute("COMMIT")


def appended(state: Path, batch: int, rows: list[tuple[int, bytes, bytes]]) -> None:
    """Appends the same payloads to a file."""
    with (state / "records.jsonl").open("ab") as file:
        for start in range(0, RECORDS, batch):
            file.write(b"".join(payload + b"\n" for _, _, payload in rows[start : start + batch]))
            file.flush()
            os.fsync(file.fileno())


def measured(make: Callable[[Path], None]) -> tuple[float, list[tuple[int, bytes, bytes]]]:
    """Bytes a record on a fresh file system, and the records where a ledger was written."""
    with tempfile.TemporaryDirectory() as folder, small_disk(Path(folder), 64 << 20) as mounted:
        before = written(mounted)
        make(mounted)
        each = (written(mounted) - before) / RECORDS
        rows: list[tuple[int, bytes, bytes]] = []
        if (mounted / "ledger.sqlite").exists():
            with closing(LedgerReader(mounted / "ledger.sqlite")) as reader:
                rows = [(n, reader.leaf(n), payload) for n, payload in reader.payloads()][-RECORDS:]
        return each, rows


def main() -> int:
    """Prints one line for each policy."""
    try:
        for batch, policy in POLICIES.items():
            mine, rows = measured(lambda state, many=batch: asyncio.run(ours(state, many)))
            sqlite, _ = measured(lambda state, many=batch, given=rows: bare(state, many, given))
            file, _ = measured(lambda state, many=batch, given=rows: appended(state, many, given))
            size = sum(len(payload) for _, _, payload in rows) / RECORDS
            print(
                f"commit_seconds {policy:>4}, {batch:>3} in a commit: {mine / 1000:6.1f} kB a record of {size / 1000:.1f} kB;"
                f" bare SQLite {sqlite / 1000:5.1f} kB ({mine / sqlite:.2f}x), append-only file {file / 1000:5.1f} kB",
                flush=True,
            )
    except (NotHereError, subprocess.SubprocessError) as why:
        print(f"left out: {why}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
