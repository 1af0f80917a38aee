"""A gateway's records on the collector's own disk: a ledger file that every verb reads as it reads the gateway's.

What stands in `record` has no hole and was checked in order. What came before its turn waits in a table beside it, and what
contradicts it is kept in another one: nothing is ever put in the place of what is stored. When a transaction has ended
without an error, it is on disk (SQLite WAL, `synchronous=FULL`).

The file is not trusted: whoever edits it can at most make `verify` fail.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from agent.block import Packed
from agent.collect_check import REPLAYED, Row
from agent.ledger_connection import writable
from agent.ledger_file import LEAVES
from agent.merkle import Frontier
from agent.state import LEDGER_FILE
from agent.tiles import keep_tiles, root_at
from config.language import _

_BESIDE = """
CREATE TABLE IF NOT EXISTS waiting (    -- records that came before their turn: those before them are missing
    n INTEGER PRIMARY KEY,
    payload BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS aside (      -- records of the gateway's key that contradict what is stored: evidence
    n INTEGER NOT NULL,
    payload BLOB NOT NULL,
    why TEXT NOT NULL,
    PRIMARY KEY (n, payload)
) STRICT;
"""


class StoreError(Exception):
    """Records cannot be stored or read. `hint` says what a person can do."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


class Store(Protocol):
    """Where one gateway's records are kept. Everything raises StoreError."""

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is done inside is on disk afterwards, or none of it."""

    def leads(self) -> bool:
        """Whether this collector is the one that goes on in order and gives receipts."""

    def hold(self, rows: Sequence[Row]) -> list[tuple[Row, bytes]]:
        """Keeps records under their numbers; those whose number is taken by other bytes, with these."""

    def following(self, n: int, most: int) -> list[bytes]:
        """Records that were held, from n on without a hole."""

    def settle(self, rows: Sequence[Row], frontier: Frontier) -> None:
        """Records that were checked in order are part of the copy now."""

    def set_aside(self, row: Row, why: str) -> None:
        """Keeps a record as evidence, and frees its number if it was held under it and not settled."""

    def edge(self) -> tuple[Frontier, bytes]:
        """The tree's edge of what is settled, and the newest leaf hash."""

    def replayed(self) -> Iterator[bytes]:
        """The settled records of kinds `REPLAYED`, in order."""

    def newest(self) -> int:
        """One more than the largest number that is held or settled."""

    def first_held(self, n: int) -> int | None:
        """The smallest number from n on that is held and not settled."""

    def count_aside(self) -> int:
        """How many records are kept as evidence."""

    def root(self, size: int) -> bytes:
        """The root over the first `size` settled records."""

    def settled(self, start: int, stop: int) -> Iterator[tuple[int, bytes]]:
        """Settled records from n = start up to, not including, stop."""

    def keep_checkpoint(self, size: int, note: str) -> None:
        """Keeps a checkpoint that the settled records lead to."""

    def note_between(self, first: int, last: int) -> int | None:
        """The largest size above `first` and up to `last` over which a checkpoint is kept."""

    def noted(self) -> int:
        """Up to which size no checkpoint is missing."""

    def keep_noted(self, size: int) -> None:
        """Remembers up to which size no checkpoint is missing."""

    def keep_model(self, digest: str, text: bytes) -> None:
        """Keeps a model file."""

    def models(self) -> dict[str, bytes]:
        """The model files by digest."""

    def close(self) -> None:
        """Lets go of it."""


class Copy:
    """A store that is a ledger file in a folder of its own. Satisfies `Store`."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / LEDGER_FILE
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._database = writable(self._path)
            self._database.executescript(_BESIDE)
            self._packed = Packed(self._database)
        except (OSError, sqlite3.Error) as error:
            raise self._error(error) from None

    def close(self) -> None:
        """Lets go of the file."""
        self._database.close()

    def _error(self, error: Exception) -> StoreError:
        full = "full" in str(error)
        hint = (
            _("Free space on its disk; the collector goes on by itself.") if full else _("Check its disk (dmesg) and its rights.")
        )
        return StoreError(f"{self._path}: {error}", hint)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is done inside is on disk afterwards, or none of it."""
        try:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._database.rollback()
                raise
            self._database.execute("COMMIT")
        except sqlite3.Error as error:
            if self._database.in_transaction:
                self._database.rollback()
            raise self._error(error) from None

    def leads(self) -> bool:
        """Always: nobody else writes this file."""
        return True

    def hold(self, rows: Sequence[Row]) -> list[tuple[Row, bytes]]:
        """Keeps records under their numbers; those whose number is taken by other bytes, with these."""
        taken = []
        size = self._size()
        for row in rows:
            insert = "INSERT INTO waiting VALUES (?, ?) ON CONFLICT DO NOTHING"
            if row.n >= size and self._database.execute(insert, (row.n, row.payload)).rowcount:
                continue
            table = "record" if row.n < size else "waiting"
            stored = self._one(f"SELECT payload FROM {table} WHERE n = ?", row.n)  # noqa: S608  our own words
            stored = bytes(stored or self._packed.payload(row.n) or b"")
            if stored != row.payload:
                taken.append((row, stored))
        return taken

    def following(self, n: int, most: int) -> list[bytes]:
        """Records that were held, from n on without a hole."""
        rows = self._database.execute("SELECT n, payload FROM waiting WHERE n >= ? ORDER BY n LIMIT ?", (n, most))
        return [payload for at, (number, payload) in enumerate(rows) if number == n + at]

    def settle(self, rows: Sequence[Row], frontier: Frontier) -> None:
        """Records that were checked in order are part of the copy now."""
        written = ((row.n, row.leaf, row.kind, row.meter, row.payload) for row in rows)
        self._database.executemany("INSERT INTO record VALUES (?, ?, ?, ?, ?)", written)
        self._database.execute("DELETE FROM waiting WHERE n < ?", (frontier.size,))
        keep_tiles(self._database, frontier.size - len(rows), frontier.size)
        self._database.execute(
            "INSERT INTO tree VALUES (1, ?, ?) ON CONFLICT DO UPDATE SET size = excluded.size, hashes = excluded.hashes",
            (frontier.size, b"".join(frontier.hashes)),
        )

    def set_aside(self, row: Row, why: str) -> None:
        """Keeps a record as evidence, and frees its number if it was held under it and not settled."""
        self._database.execute("INSERT INTO aside VALUES (?, ?, ?) ON CONFLICT DO NOTHING", (row.n, row.payload, why))
        self._database.execute("DELETE FROM waiting WHERE n = ? AND payload = ?", (row.n, row.payload))

    def edge(self) -> tuple[Frontier, bytes]:
        """The tree's edge of what is settled, and the newest leaf hash."""
        try:
            row = self._database.execute("SELECT size, hashes FROM tree").fetchone()
            if row is None:
                return Frontier(), Frontier().root()
            return Frontier.stored(*row), self._one("SELECT leaf FROM record WHERE n = ?", row[0] - 1)
        except sqlite3.Error as error:
            raise self._error(error) from None

    def replayed(self) -> Iterator[bytes]:
        """The settled records of kinds `REPLAYED`, in order."""
        kinds = ", ".join(f"'{kind}'" for kind in REPLAYED)
        rare = "kind NOT IN ('reading', 'gap')"  # in the words of the index
        query = f"SELECT n, payload FROM record WHERE {rare} AND kind IN ({kinds}) ORDER BY n"  # noqa: S608  our own words
        return (payload for _unused, payload in self._records(query))

    def newest(self) -> int:
        """One more than the largest number that is held or settled."""
        return max(self._size(), int(self._one("SELECT coalesce(max(n) + 1, 0) FROM waiting")))

    def first_held(self, n: int) -> int | None:
        """The smallest number from n on that is held and not settled."""
        found: int | None = self._one("SELECT min(n) FROM waiting WHERE n >= ?", n)
        return found

    def count_aside(self) -> int:
        """How many records are kept as evidence."""
        return int(self._one("SELECT count(*) FROM aside"))

    def root(self, size: int) -> bytes:
        """The root over the first `size` settled records."""
        return root_at(self, size)

    def leaves(self, start: int, stop: int) -> list[bytes]:
        """Leaf hashes from n = start up to, not including, stop."""
        return [row[1] for row in self._database.execute(LEAVES, (start, stop, start, stop))]

    def tiles(self, start: int, stop: int) -> list[bytes]:
        """Roots over 256 leaves each."""
        return self._column("SELECT root FROM tile WHERE number >= ? AND number < ? ORDER BY number", start, stop)

    def keep_checkpoint(self, size: int, note: str) -> None:
        """Keeps a checkpoint that the settled records lead to."""
        self._database.execute("INSERT INTO checkpoint VALUES (?, ?) ON CONFLICT DO NOTHING", (size, note))

    def settled(self, start: int, stop: int) -> Iterator[tuple[int, bytes]]:
        """Settled records from n = start up to, not including, stop."""
        yield from self._records("SELECT n, payload FROM record WHERE n >= ? AND n < ? ORDER BY n", start, stop)

    def note_between(self, first: int, last: int) -> int | None:
        """The largest size above `first` and up to `last` over which a checkpoint is kept."""
        found: int | None = self._one("SELECT max(size) FROM checkpoint WHERE size > ? AND size <= ?", first, last)
        return found

    def noted(self) -> int:
        """Up to which size no checkpoint is missing."""
        return int(self._one("SELECT coalesce(max(next), 0) FROM cursor WHERE destination = 'checkpoints'"))

    def keep_noted(self, size: int) -> None:
        """Remembers up to which size no checkpoint is missing."""
        insert = "INSERT INTO cursor VALUES ('checkpoints', ?) ON CONFLICT DO UPDATE SET next = excluded.next"
        self._database.execute(insert, (size,))

    def keep_model(self, digest: str, text: bytes) -> None:
        """Keeps a model file."""
        self._database.execute("INSERT INTO model VALUES (?, ?) ON CONFLICT DO NOTHING", (digest, text))

    def models(self) -> dict[str, bytes]:
        """The model files by digest."""
        return dict(self._database.execute("SELECT digest, text FROM model"))

    def _records(self, query: str, *values: int) -> Iterator[tuple[int, bytes]]:
        """Rows of n and payload, taken out of its block where it is packed: the file may be a copy of the gateway's own."""
        for n, payload in self._database.execute(query, values):
            yield n, payload or self._packed.payload(n) or b""

    def _size(self) -> int:
        return int(self._one("SELECT coalesce(max(n) + 1, 0) FROM record"))

    def _one(self, query: str, *values: int) -> Any:
        row = self._database.execute(query, values).fetchone()
        return row[0] if row else None

    def _column(self, query: str, *values: int) -> list[bytes]:
        return [row[0] for row in self._database.execute(query, values)]
