"""Saving what can be read out of a damaged ledger, so that the gateway goes on sealing at once.

 1. The damaged file is never written and never deleted: it is put aside under a name with the date, its WAL beside it.
 2. Every record that can still be read and has the hash it was sealed with goes into a new file, under its own number,
    with checkpoints, cosignatures, models and cursors. What SQLite cannot reach is looked for in the file's bytes.
 3. Of a lost record its hash is kept, from the file of leaf hashes or from the record behind it: the tree stays the one
    that was signed. Where nobody knows it, the record counts as empty from then on, and that is said.
 4. No number is given again: the log goes on behind the largest that anything still tells of, and well behind it where
    the newest records are lost.
 5. What was lost is owed as a `loss` record: the agent seals it before anything else.

A cut at any moment leaves either the damaged file in its place or the new one complete; the next start goes on from there.

What this file does not know: signatures (`verify` tells), when to do this (`agent.damage`).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agent import checkpoint
from agent.block import DamagedBlockError, salvaged, unpack
from agent.carve import NUMBER, carved, carved_blocks
from agent.checkpoint import CheckpointError, read_verifier_key
from agent.damaged_file import NEWEST, DamagedFile
from agent.gone import EMPTY_LEAF, missing_ranges, united
from agent.keys import PUBLIC_FILE
from agent.leaf_file import NOT_KNOWN, leaf_path
from agent.ledger_room import MEGABYTE
from agent.ledger_tables import SCHEMA
from agent.ledger_writing import row_of
from agent.merkle import Frontier, root_of
from agent.pruning import GOES
from agent.record import RecordError, leaf_hash, parse, parsed_body
from agent.seal import Record, from_base64url, pre_authentication, signed
from agent.tiles import TILE

_BEHIND_BLOCKS = 10  # more records than one commit and a checkpoint's distance, in which the hashes might lag behind
_MOST_RANGES = 1000
_MOST_CHECKED = 100_000
_BESIDE = ("checkpoint", "cosignature", "timestamp", "model", "cursor", "ahead")
_SAVED = ".saved"


@dataclass(frozen=True, slots=True)
class Salvaged:
    """What came of a damaged ledger.

    Attributes:
        aside: where the damaged file lies now; None where there was none.
        saved, lost: how many records.
        ranges: where records are lost, first and end.
        cause: what was wrong, see `loss` in docs/record.md.
    """

    aside: Path | None
    saved: int
    lost: int
    ranges: tuple[tuple[int, int], ...]
    cause: str


def finish(path: Path) -> None:
    """Puts a saved ledger into its place where a cut came between the two renamings."""
    saved = path.with_name(path.name + _SAVED)
    if saved.exists() and not path.exists():
        saved.replace(path)
    saved.unlink(missing_ok=True)


def salvage(path: Path, cause: str, now_ns: int, *, thorough: bool = False) -> Salvaged:
    """Saves what can be read of the ledger at a path into a new one in its place. Nobody else may have it open.

    Signatures are checked in ledgers of up to 100 000 records; `thorough`: in larger ones too, which takes minutes.

    Raises:
        OSError, sqlite3.Error: the disk refused; the damaged file is in its place, or the next start finishes it.
    """
    finish(path)
    old = DamagedFile(path)
    aside = _free_name(path, now_ns) if path.exists() else None
    new = path.with_name(f"{path.name}.saving")
    new.unlink(missing_ok=True)
    made = _New(new, old, only_rare=not _is_room(path), thorough=thorough)
    salvaged = made.fill(aside, cause)
    _on_disk(new)
    saved = path.with_name(path.name + _SAVED)
    new.replace(saved)
    if aside:
        path.replace(aside)
    for suffix in ("-wal", "-shm"):
        beside = path.with_name(path.name + suffix)
        if beside.exists() and aside and suffix == "-wal":
            beside.replace(aside.with_name(aside.name + suffix))
        beside.unlink(missing_ok=True)
    saved.replace(path)
    leaf_path(path).write_bytes(b"".join(leaf or NOT_KNOWN for leaf in made.leaves))
    _on_disk(path.parent)
    return salvaged


class _New:
    """The ledger that is made of it. `only_rare`: the disk has no room for all, so readings but the newest stay aside."""

    def __init__(self, path: Path, old: DamagedFile, *, only_rare: bool, thorough: bool) -> None:
        self._old = old
        self._only_rare = only_rare
        self._path = path
        self.leaves: list[bytes | None] = [old.leaf(n) for n in range(old.size)]
        self._there: set[int] = set()
        self._away: set[int] = set()
        self._pieces: list[tuple[int, int, bytes]] = []
        self._keys = set(public_keys(old.path))
        self._checks = thorough or old.size <= _MOST_CHECKED

    def fill(self, aside: Path | None, cause: str) -> Salvaged:
        """Writes it, with what is owed."""
        with closing(sqlite3.connect(self._path, isolation_level=None)) as database:
            database.executescript(f"PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;{SCHEMA}")
            database.execute("BEGIN")
            self._take_records(database, self._old.records())
            self._take_blocks(database, self._old.blocks())
            self._pieces = [each for each in self._old.pieces if self._there.isdisjoint(range(each[0], each[0] + each[1]))]
            self._away = {n for first, size, _ in self._pieces for n in range(first, first + size)}
            if len(self._there | self._away) < max(1, self._old.size):
                self._take_records(database, carved(self._old.path))
                self._take_blocks(database, carved_blocks(self._old.path))
            behind = self._behind()
            self.leaves += [None] * behind
            there = sorted(self._there | self._away)
            lost = missing_ranges(there, len(self.leaves))
            unhashed = self._keep(database, lost)
            checkpoints_lost = self._copy(database)
            self._tree(database)
            told: dict[str, Any] = {"ranges": _as_ranges(lost), "cause": cause}
            told |= {"unhashed": _as_ranges(unhashed)} if unhashed else {}
            told |= {"checkpoints": True} if checkpoints_lost or lost else {}
            if aside:
                told |= {"aside": aside.name} | ({"digest": _digest(self._old.path)} if self._old.path.is_file() else {})
            database.execute("INSERT INTO owed VALUES (1, ?)", (json.dumps(told),))
            database.execute("COMMIT")
        return Salvaged(aside, len(self._there), sum(end - first for first, end in lost), tuple(lost), cause)

    def _take_records(self, database: sqlite3.Connection, found: Iterable[tuple[object, object]]) -> None:
        """Takes records that are what was sealed: their hash is the one kept of them, where one is."""
        for n, payload in found:
            if isinstance(n, int) and isinstance(payload, bytes) and (record := self._genuine(n, payload)):
                self._put(database, [record])

    def _take_blocks(self, database: sqlite3.Connection, found: Iterable[bytes]) -> None:
        """Takes the records in packed blocks: packed, where all of a block are what was sealed; else each by itself."""
        for data in found:
            try:
                lines, whole = unpack(0, data), True
            except DamagedBlockError:
                lines, whole = salvaged(data), False
            numbered = [(int(mark[1]), line) for line in lines if (mark := NUMBER.search(line))]
            records = [record for n, line in numbered if (record := self._genuine(n, line))]
            numbers = [record.n for record in records]
            if whole and numbers and numbers[0] % TILE == 0 and numbers == list(range(numbers[0], numbers[0] + TILE)):
                database.execute("INSERT INTO block VALUES (?, ?)", (numbers[0], data))
                self._put(database, records, packed=True)
            else:
                self._put(database, records)

    def _genuine(self, n: int, payload: bytes) -> Record | None:
        """A record that is missing yet, if it is what was sealed. What was taken away stays so, though its bytes may be there."""
        if n in self._there or n in self._away or not 0 <= n < self._old.most:
            return None
        try:
            fields = parse(payload)
            leaf = leaf_hash(parsed_body(fields))
            record = Record(n, payload, leaf, fields)
            kind = row_of(record)[2]
        except (RecordError, KeyError, TypeError):
            return None
        self._reach(n)
        if fields.get("n") != n or self.leaves[n] not in (None, leaf):
            return None
        if self._checks and not self._is_signed(fields):
            return None
        return None if self._only_rare and kind in GOES and n < self._old.size - NEWEST else record

    def _put(self, database: sqlite3.Connection, records: Iterable[Record], *, packed: bool = False) -> None:
        """Writes records into the new file; `packed`: without their payloads, which lie in a block."""
        for record in records:
            if record.n in self._there:
                continue  # a damaged block tells one twice
            *known, payload = row_of(record)
            database.execute("INSERT INTO record VALUES (?, ?, ?, ?, ?)", (*known, b"" if packed else payload))
            self._there.add(record.n)
            self.leaves[record.n] = record.leaf
            if record.n and self.leaves[record.n - 1] is None:
                with suppress(ValueError):
                    self.leaves[record.n - 1] = from_base64url(record.fields["prev"])

    def _is_signed(self, fields: Mapping[str, Any]) -> bool:
        """Whether some key of this log signed a record: a damaged signature is not covered by the hash."""
        if fields.get("kind") == "key":
            for name in ("public", "recovery"):
                with suppress(ValueError):
                    self._keys |= {from_base64url(str(fields[name]))} if name in fields else set()
        data, signature = pre_authentication(parsed_body(fields)), fields.get("sig")
        return isinstance(signature, str) and (not self._keys or any(signed(data, signature, key) for key in self._keys))

    def _reach(self, n: int) -> None:
        self.leaves += [None] * (n + 1 - len(self.leaves))

    def _behind(self) -> int:
        """How many numbers are left out because the newest records are lost, and nobody knows how many there were."""
        size = len(self.leaves)
        if not size or (size - 1 in self._there and self._old.leaves):
            return 0
        cut = 0 if self._old.leaves else self._old.cut_off(size)  # with no hash file, as many as the file's length tells
        return ((size + cut) // TILE + _BEHIND_BLOCKS) * TILE - size

    def _keep(self, database: sqlite3.Connection, lost: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        """Keeps the hashes of what is gone; the ranges of which none is known."""
        unknown = []
        for first, size, kept in self._pieces:
            database.execute("INSERT OR IGNORE INTO kept VALUES (?, ?, ?)", (first, size, kept))
            if size == 1:
                self.leaves[first] = kept
        for first, end in lost:
            for n in range(first, end):
                if self.leaves[n] is None:
                    unknown.append((n, n + 1))
                    self.leaves[n] = EMPTY_LEAF
                database.execute("INSERT OR IGNORE INTO kept VALUES (?, 1, ?)", (n, self.leaves[n]))
        return united(unknown)

    def _copy(self, database: sqlite3.Connection) -> bool:
        """Copies what lies beside the records, row by row as far as it can be read; whether checkpoints may be lost."""
        lost = False
        for table in _BESIDE:
            for row in self._old.rows(f"SELECT * FROM {table}"):  # noqa: S608  our own words
                if table == "checkpoint" and not self._is_checkpoint(row):
                    lost = True
                    continue
                with suppress(sqlite3.Error):
                    database.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)  # noqa: S608  the same

        return lost or self._old.broken

    def _is_checkpoint(self, row: tuple[object, ...]) -> bool:
        """Whether a note is still what some key of this log signed."""
        note = str(row[1])
        for key in self._keys:
            with suppress(CheckpointError):
                return checkpoint.read(note, note.partition("\n")[0], key).size == row[0]
        return not self._keys

    def _tree(self, database: sqlite3.Connection) -> None:
        """Makes the tree's edge and the roots of its tiles anew."""
        blocks = {first: kept for first, size, kept in self._pieces if size == TILE}
        edge, size = Frontier(), len(self.leaves)
        for start in range(0, size, TILE):
            leaves = [leaf or EMPTY_LEAF for leaf in self.leaves[start : start + TILE]]
            if len(leaves) < TILE:
                for leaf in leaves:
                    edge = edge.append(leaf)
                break
            root = blocks.get(start) or root_of(leaves)
            database.execute("INSERT INTO tile VALUES (?, ?)", (start // TILE, root))
            edge = edge.append_block(root, TILE)
        database.execute("INSERT INTO tree VALUES (1, ?, ?)", (size, b"".join(edge.hashes)))


def public_keys(path: Path) -> list[bytes]:
    """The public key that lies in the state directory, as `meterseal init` wrote it; empty where there is none."""
    with suppress(OSError, ValueError):
        return [read_verifier_key(path.with_name(PUBLIC_FILE).read_text("utf-8"))[1]]
    return []


def _as_ranges(ranges: Sequence[tuple[int, int]]) -> list[dict[str, int]]:
    """Ranges as a record has them; so many that it would be too long become one."""
    if len(ranges) > _MOST_RANGES:
        ranges = [(ranges[0][0], ranges[-1][1])]
    return [{"first": first, "end": end} for first, end in ranges]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _free_name(path: Path, now_ns: int) -> Path:
    """A name with the date for the damaged file, that nothing has yet."""
    moment = datetime.fromtimestamp(now_ns // 1_000_000_000, UTC)
    name = f"{path.name}.damaged-{moment:%Y%m%dT%H%M%SZ}"
    names = [path.with_name(name), *(path.with_name(f"{name}-{number}") for number in range(2, 1000))]
    return next(each for each in names if not each.exists())


def _is_room(path: Path) -> bool:
    """Whether the disk has room for the file once more."""
    size = path.stat().st_size if path.is_file() else 0
    return shutil.disk_usage(path.parent).free > size + size // 10 + 8 * MEGABYTE


def _on_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
