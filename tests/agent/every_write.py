"""A ledger's process that ends, or is refused by the disk, at every write of one transaction in turn.

    python -m tests.agent.every_write pack|upgrade killed|refused LEDGER FOLDER

For each place up to which its files may grow, a copy of the ledger is opened by a process of its own: one that packs its first
block, or brings up a ledger of an older meterseal. It is killed at the first write behind the place (RLIMIT_FSIZE, SIGXFSZ), or
is told by that write that there is no room, and does it again when there is. After each the records have to be what they were,
and what was not done has to be possible. It prints how often it ended there, and how often it was done or undone.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import sqlite3
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

from agent.block import put
from agent.ledger_connection import writable
from agent.ledger_file import LedgerError, LedgerReader
from agent.ledger_tables import FORMAT
from agent.packing import Block, next_block

_FRAME = 4096 + 24
_STEP = {"pack": 2 * _FRAME - 900, "upgrade": 512}
_FAR = 20 * _FRAME
_EVER = 2**62


Deed = Callable[[Path, Callable[[], None]], None]


def packs(block: Block, path: Path, limited: Callable[[], None]) -> None:
    """Packs a block, where that is not done."""
    with closing(writable(path)) as database:
        if database.execute("SELECT 1 FROM block").fetchone():
            return
        limited()
        database.execute("BEGIN IMMEDIATE")
        put(database, block.first, block.data)
        database.execute("COMMIT")
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def brings_up(path: Path, limited: Callable[[], None]) -> None:
    """Opens a ledger of an older meterseal."""
    limited()
    writable(path).close()


def deed_of(what: str, ledger: Path) -> Deed:
    """What is done to copies of a ledger."""
    block = next_block(ledger, _EVER, [], 0)
    assert block
    return partial(packs, block) if what == "pack" else brings_up


def state(path: Path) -> tuple[list[tuple[int, bytes]], tuple[int, int]]:
    """The records, and what tells whether it was done: how many are packed, and the format."""
    with closing(LedgerReader(path)) as reader, closing(sqlite3.connect(path)) as database:
        return list(reader.payloads()), (reader.packed()[0], int(database.execute("PRAGMA user_version").fetchone()[0]))


def child(deed: Deed, path: Path, place: int, how: str) -> None:
    """Does it with files that may grow up to a place; never returns."""
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL if how == "killed" else signal.SIG_IGN)

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (place, resource.RLIM_INFINITY))

    try:
        try:
            deed(path, limited)
        except (sqlite3.Error, LedgerError):
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            deed(path, lambda: None)
        os._exit(0)
    finally:
        os._exit(1)


def main(what: str, how: str, ledger: Path, folder: Path) -> None:
    """Goes through all places."""
    before, undone = state(ledger)
    deed = deed_of(what, ledger)
    size, came = ledger.stat().st_size, Counter[str]()
    path, place = folder / "ledger.sqlite", 0
    while place < size + _FAR:
        for suffix in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                path.with_name(path.name + suffix).unlink()
        shutil.copy(ledger, path)
        pid = os.fork()
        if pid == 0:
            child(deed, path, place, how)
        ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert ended in ((0, -signal.SIGXFSZ) if how == "killed" else (0,)), f"at {place}: ended with {ended}"
        now, done = state(path)
        assert now == before, f"at {place}: the records are not what they were"
        came["ended" if ended else "through"] += 1
        came["undone" if done == undone else "done"] += 1
        step = _STEP[what] if done == undone else _FAR  # what is done is only carried over from the WAL any more
        if done == undone:
            deed(path, lambda: None)
            now, done = state(path)
        assert now == before
        assert done == ((256, FORMAT) if what == "pack" else (0, FORMAT)), f"at {place}: {done}"
        place += step
    print(" ".join(f"{name}={came[name]}" for name in ("ended", "through", "undone", "done")))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
