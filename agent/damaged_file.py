"""A damaged ledger's file, read as far as SQLite still reaches; and the file of leaf hashes beside it. Nothing here writes."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Iterator
from contextlib import closing, suppress
from pathlib import Path

from agent.leaf_file import LEAF, NOT_KNOWN, read_leaves
from agent.tiles import TILE

NEWEST = 5000


class DamagedFile:
    """A damaged ledger, read as far as it can be."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.leaves = read_leaves(path)
        self.pieces: list[tuple[int, int, bytes]] = []
        self.broken = not path.is_file()
        numbers = [len(self.leaves) // LEAF]
        for query in (
            "SELECT max(n) + 1 FROM record",
            "SELECT max(n) + 1 FROM record WHERE meter IS NOT NULL",
            "SELECT max(next) FROM cursor",
            "SELECT max(size) FROM checkpoint",
            "SELECT size FROM tree",
            "SELECT max(first + size) FROM kept",
        ):
            numbers += [value for (value,) in self.rows(query) if isinstance(value, int)]
        for first, size, kept in self.rows("SELECT first, size, hash FROM kept ORDER BY first"):
            if isinstance(first, int) and size in (1, TILE) and isinstance(kept, bytes) and len(kept) == LEAF:
                self.pieces.append((first, size, kept))
        self.most = (numbers[0] or (path.stat().st_size // 100 if path.is_file() else 0)) + NEWEST
        self.size = max(number for number in numbers if number <= self.most)  # a number in a damaged page may be anything
        self.pieces = [each for each in self.pieces if 0 <= each[0] <= self.size - each[1]]

    def rows(self, query: str, *values: int) -> Iterator[tuple[object, ...]]:
        """The rows of a query up to where the file is damaged."""
        if not self.path.is_file():
            return
        try:
            with closing(sqlite3.connect(f"file:{self.path.absolute()}?mode=ro", uri=True)) as database:
                yield from database.execute(query, values)
        except (sqlite3.Error, OverflowError):
            self.broken = True

    def records(self) -> Iterator[tuple[int, bytes]]:
        """Every record that SQLite still reaches, in order."""
        if not self.path.is_file():
            return
        try:
            with closing(sqlite3.connect(f"file:{self.path.absolute()}?mode=ro", uri=True)) as database:
                at = 0
                while at < self.size:
                    for n, payload in _run(database, at):
                        yield n, payload
                        at = n + 1
                    at = yield from _next_readable(database, at, self.size)
        except sqlite3.Error:
            return

    def blocks(self) -> Iterator[bytes]:
        """Every packed block that SQLite still reaches, in order."""
        if self.path.is_file():
            with suppress(sqlite3.Error), closing(sqlite3.connect(f"file:{self.path.absolute()}?mode=ro", uri=True)) as database:
                for first in range(0, self.size, TILE):
                    with suppress(sqlite3.Error):
                        for (data,) in database.execute("SELECT data FROM block WHERE first = ?", (first,)):
                            yield bytes(data)

    def cut_off(self, size: int) -> int:
        """About how many records lay in the part of the file that was cut off, where `size` are known in the rest."""
        if not self.path.is_file():
            return 0
        with self.path.open("rb") as file:
            head = file.read(32)
        page, pages = int.from_bytes(head[16:18], "big"), int.from_bytes(head[28:32], "big")
        there = self.path.stat().st_size
        return size * max(0, page * pages - there) // there if there and head.startswith(b"SQLite format 3") else 0

    def leaf(self, n: int) -> bytes | None:
        """The leaf hash of record n by the file of leaf hashes."""
        leaf = self.leaves[n * LEAF : (n + 1) * LEAF]
        return leaf if len(leaf) == LEAF and leaf != NOT_KNOWN else None


def _run(database: sqlite3.Connection, at: int) -> Iterator[tuple[int, bytes]]:
    """The records from n = at on, up to where the file is damaged."""
    with suppress(sqlite3.Error):
        yield from database.execute("SELECT n, payload FROM record WHERE n >= ? ORDER BY n", (at,))


def _next_readable(database: sqlite3.Connection, at: int, size: int) -> Generator[tuple[int, bytes], None, int]:
    """The next record from n = at on that can be read, looked for one by one; returns the number behind it."""
    while at < size:
        with suppress(sqlite3.Error):
            for row in database.execute("SELECT n, payload FROM record WHERE n = ?", (at,)):
                yield row
                return at + 1
        at += 1
    return at
