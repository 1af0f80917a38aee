"""A gateway's records in a PostgreSQL that several collectors share.

Every collector stores what it gets: `record` has the primary key (gateway, n), and what is there already is left as it is
(`ON CONFLICT DO NOTHING`). One of them, whoever holds the gateway's advisory lock, goes on in order and gives receipts; when its
connection ends, another one takes over. A transaction that has ended is where the server's `synchronous_commit` puts it: leave
that on, or a receipt says more than a power cut leaves.

How the server is reached stands in the collector's file in libpq's words; a password in PGPASSFILE or PGPASSWORD.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from hashlib import sha256
from typing import Any, LiteralString

import psycopg

from agent.collect_check import REPLAYED, Row
from agent.collect_copy import StoreError
from agent.merkle import Frontier, root_of
from agent.tiles import TILE, root_at
from config.language import _

_TABLES = """
CREATE TABLE IF NOT EXISTS record (
    gateway text NOT NULL, n bigint NOT NULL, leaf bytea NOT NULL, kind text NOT NULL, meter text, payload bytea NOT NULL,
    PRIMARY KEY (gateway, n));
CREATE TABLE IF NOT EXISTS aside (
    gateway text NOT NULL, n bigint NOT NULL, leaf bytea NOT NULL, payload bytea NOT NULL, why text NOT NULL,
    PRIMARY KEY (gateway, n, leaf));
CREATE TABLE IF NOT EXISTS tree (gateway text PRIMARY KEY, size bigint NOT NULL, hashes bytea NOT NULL, noted bigint NOT NULL);
CREATE TABLE IF NOT EXISTS tile (gateway text, number bigint, root bytea NOT NULL, PRIMARY KEY (gateway, number));
CREATE TABLE IF NOT EXISTS checkpoint (gateway text, size bigint, note text NOT NULL, PRIMARY KEY (gateway, size));
CREATE TABLE IF NOT EXISTS model (digest text PRIMARY KEY, text bytea NOT NULL);
CREATE INDEX IF NOT EXISTS record_replayed ON record (gateway, kind, n) WHERE kind IN ('key', 'meter', 'identity');
"""
_LOCK = 0x4D53_4C31  # the first half of our advisory locks; the second is the gateway's name


class Postgres:
    """A store of one gateway in a database. Satisfies `agent.collect_copy.Store`."""

    def __init__(self, reached: str, gateway: str) -> None:
        self._reached, self._gateway = reached, gateway
        self._database: psycopg.Connection[tuple[Any, ...]] | None = None

    def close(self) -> None:
        """Lets go of the connection, and with it of the lead."""
        if self._database:
            with suppress(psycopg.Error):
                self._database.close()
            self._database = None

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is done inside is committed afterwards, or none of it. A connection that was lost is made again."""
        try:
            if self._database is None:
                self._database = psycopg.connect(self._reached, connect_timeout=10, options="-c statement_timeout=60000")
                with self._database.transaction():
                    self._database.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))  # two that begin make the tables once
                    self._database.execute(_TABLES)
            with self._database.transaction():
                yield
        except psycopg.Error as error:
            self.close()
            why = str(error).strip().split("\n")[0]
            raise StoreError(
                _("the database: {why}", why=why), _("Check that it runs and lets the collector in; it is tried again by itself.")
            ) from None

    def leads(self) -> bool:
        """Whether this collector holds the gateway's lock, now or from now on."""
        held = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() AND classid = %s AND objid = %s"
        key = _LOCK, int.from_bytes(sha256(self._gateway.encode()).digest()[:4], "big") & 0x7FFF_FFFF
        return self._one(held, *key) is not None or bool(self._one("SELECT pg_try_advisory_lock(%s, %s)", *key))

    def hold(self, rows: Sequence[Row]) -> list[tuple[Row, bytes]]:
        """Keeps records under their numbers; those whose number is taken by other bytes, with these."""
        insert: LiteralString = "INSERT INTO record VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING"
        in_order = sorted(rows, key=lambda row: row.n)  # two collectors that wait for each other would wait forever
        values = [(self._gateway, row.n, row.leaf, row.kind, row.meter, row.payload) for row in in_order]
        with self._alive.cursor() as cursor:
            cursor.executemany(insert, values)
        numbers = [row.n for row in rows]
        stored = dict(self._rows("SELECT n, payload FROM record WHERE gateway = %s AND n = ANY(%s)", self._gateway, numbers))
        return [(row, stored[row.n]) for row in rows if stored[row.n] != row.payload]

    def following(self, n: int, most: int) -> list[bytes]:
        """Records that were held, from n on without a hole."""
        query: LiteralString = "SELECT n, payload FROM record WHERE gateway = %s AND n >= %s ORDER BY n LIMIT %s"
        rows = self._rows(query, self._gateway, n, most)
        return [payload for at, (number, payload) in enumerate(rows) if number == n + at]

    def settle(self, rows: Sequence[Row], frontier: Frontier) -> None:
        """Records that were checked in order are part of the copy now."""
        edge = self._gateway, frontier.size, b"".join(frontier.hashes)
        self._run(
            "INSERT INTO tree VALUES (%s, %s, %s, 0) ON CONFLICT (gateway) DO UPDATE "
            "SET size = excluded.size, hashes = excluded.hashes",
            *edge,
        )
        for number in range((frontier.size - len(rows)) // TILE, frontier.size // TILE):
            root = root_of(self.leaves(number * TILE, (number + 1) * TILE))
            self._run("INSERT INTO tile VALUES (%s, %s, %s) ON CONFLICT DO NOTHING", self._gateway, number, root)

    def set_aside(self, row: Row, why: str) -> None:
        """Keeps a record as evidence, and frees its number if it was held under it and not settled."""
        values = self._gateway, row.n, row.leaf, row.payload, why
        self._run("INSERT INTO aside VALUES (%s, %s, %s, %s, %s) ON CONFLICT DO NOTHING", *values)
        self._run(
            "DELETE FROM record WHERE gateway = %s AND n = %s AND payload = %s AND n >= %s",
            *(self._gateway, row.n, row.payload, self.edge()[0].size),
        )

    def edge(self) -> tuple[Frontier, bytes]:
        """The tree's edge of what is settled, and the newest leaf hash."""
        for size, hashes in self._rows("SELECT size, hashes FROM tree WHERE gateway = %s", self._gateway):
            if size:
                return Frontier.stored(size, hashes), self.leaves(size - 1, size)[0]
        return Frontier(), Frontier().root()

    def replayed(self) -> Iterator[bytes]:
        """The settled records of kinds `REPLAYED`, in order."""
        query: LiteralString = "SELECT n, payload FROM record WHERE gateway = %s AND kind = ANY(%s) AND n < %s ORDER BY n"
        yield from (payload for _n, payload in self._rows(query, self._gateway, list(REPLAYED), self.edge()[0].size))

    def newest(self) -> int:
        """One more than the largest number that is held or settled."""
        return int(self._one("SELECT coalesce(max(n) + 1, 0) FROM record WHERE gateway = %s", self._gateway))

    def first_held(self, n: int) -> int | None:
        """The smallest number from n on that is held and not settled."""
        found: int | None = self._one("SELECT min(n) FROM record WHERE gateway = %s AND n >= %s", self._gateway, n)
        return found

    def count_aside(self) -> int:
        """How many records are kept as evidence."""
        return int(self._one("SELECT count(*) FROM aside WHERE gateway = %s", self._gateway))

    def root(self, size: int) -> bytes:
        """The root over the first `size` settled records."""
        return root_at(self, size)

    def leaves(self, start: int, stop: int) -> list[bytes]:
        """Leaf hashes from n = start up to, not including, stop."""
        query: LiteralString = "SELECT n, leaf FROM record WHERE gateway = %s AND n >= %s AND n < %s ORDER BY n"
        return [leaf for _n, leaf in self._rows(query, self._gateway, start, stop)]

    def tiles(self, start: int, stop: int) -> list[bytes]:
        """Roots over 256 leaves each."""
        query: LiteralString = "SELECT number, root FROM tile WHERE gateway = %s AND number >= %s AND number < %s ORDER BY number"
        return [root for _number, root in self._rows(query, self._gateway, start, stop)]

    def settled(self, start: int, stop: int) -> Iterator[tuple[int, bytes]]:
        """Settled records from n = start up to, not including, stop."""
        query: LiteralString = "SELECT n, payload FROM record WHERE gateway = %s AND n >= %s AND n < %s ORDER BY n"
        yield from self._rows(query, self._gateway, start, min(stop, self.edge()[0].size))

    def keep_checkpoint(self, size: int, note: str) -> None:
        """Keeps a checkpoint that the settled records lead to."""
        self._run("INSERT INTO checkpoint VALUES (%s, %s, %s) ON CONFLICT DO NOTHING", self._gateway, size, note)

    def note_between(self, first: int, last: int) -> int | None:
        """The largest size above `first` and up to `last` over which a checkpoint is kept."""
        query: LiteralString = "SELECT max(size) FROM checkpoint WHERE gateway = %s AND size > %s AND size <= %s"
        found: int | None = self._one(query, self._gateway, first, last)
        return found

    def noted(self) -> int:
        """Up to which size no checkpoint is missing."""
        return int(self._one("SELECT coalesce(max(noted), 0) FROM tree WHERE gateway = %s", self._gateway))

    def keep_noted(self, size: int) -> None:
        """Remembers up to which size no checkpoint is missing."""
        self._run("UPDATE tree SET noted = %s WHERE gateway = %s", size, self._gateway)

    def keep_model(self, digest: str, text: bytes) -> None:
        """Keeps a model file."""
        self._run("INSERT INTO model VALUES (%s, %s) ON CONFLICT DO NOTHING", digest, text)

    def models(self) -> dict[str, bytes]:
        """The model files by digest."""
        return dict(self._rows("SELECT digest, text FROM model"))

    @property
    def _alive(self) -> psycopg.Connection[tuple[Any, ...]]:
        if self._database is None:
            raise psycopg.OperationalError(_("not connected"))
        return self._database

    def _rows(self, query: LiteralString, *values: object) -> list[tuple[Any, Any]]:
        return [(row[0], row[1]) for row in self._alive.execute(query, values).fetchall()]

    def _one(self, query: LiteralString, *values: object) -> Any:
        row = self._alive.execute(query, values).fetchone()
        return row[0] if row else None

    def _run(self, query: LiteralString, *values: object) -> None:
        self._alive.execute(query, values)


def stores(reached: str) -> Callable[[str], Postgres]:
    """Stores in one database, by gateway."""
    return lambda gateway: Postgres(reached, gateway)
