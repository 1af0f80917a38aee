"""Reading the ledger's SQLite file. Nothing here writes.

The file is not trusted: whoever edits it can at most make `verify` fail. The database itself refuses UPDATE and
DELETE on what is sealed; an attacker can drop the triggers, and the signatures then tell.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, TypeVar

from agent.block import Packed
from agent.ledger_tables import APPLICATION_ID, FORMAT
from agent.prune import BLOCK
from agent.schema import COUNTED
from config.language import _

# Leaf hashes by n, of records and of those that are gone; takes start and stop twice.
LEAVES = """SELECT n, leaf FROM record WHERE n >= ? AND n < ?
UNION ALL SELECT first, hash FROM kept WHERE size = 1 AND first >= ? AND first < ? ORDER BY 1"""
_NONE_GONE = "CREATE TEMP TABLE kept (first, size, hash); CREATE TEMP TABLE owed (one, loss);"
_FORMATS = 1000  # a larger number than any ledger's form will have: there the file's head is damaged
_OFTEN = ("reading", "gap")
_RARE = "kind NOT IN ('reading', 'gap')"  # in the words of the index, or SQLite does not see that it is meant

T = TypeVar("T", bytes, str)
_WORDS = {bytes: "blob", str: "text"}


class LedgerError(Exception):
    """The ledger's file is damaged, full or cannot be read; sealing stops, nothing is written past it.

    Attributes:
        hint: what a person can do.
        code: the fault it is told under: MS-402 it cannot be used, MS-401 it cannot be written.
        damaged: whether the file itself is damaged, so that what is readable must be saved out of it.
    """

    def __init__(self, message: str, hint: str = "", code: str = "MS-402", *, damaged: bool = False) -> None:
        super().__init__(message)
        self.hint = hint
        self.code = code
        self.damaged = damaged


def is_damage(error: Exception) -> bool:
    """Whether an error says that the file itself is damaged, not that the disk refuses."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _unreadable(error: Exception) -> LedgerError:
    """What SQLite said to a reader, with what a person can do."""
    hint = _("Stop the agent and run `meterseal salvage --force`: it saves all that is not damaged.")
    told = _("the ledger cannot be read: {error}", error=error)
    return LedgerError(told, hint if is_damage(error) else "", damaged=is_damage(error))


def newer(path: Path, version: int) -> LedgerError:
    """Why a ledger of a newer meterseal is not touched: what is not understood must not be written past."""
    message = _(
        "{path} was written by a newer meterseal (its tables are of format {version}, this one knows {known})",
        path=path,
        version=version,
        known=FORMAT,
    )
    return LedgerError(message, _("Install the newer version again; nothing was changed in the ledger."))


def refuse_newer(path: Path) -> None:
    """Raises LedgerError if the ledger at a path is of a newer meterseal: what is not understood there is no damage."""
    if not path.is_file():
        return
    with suppress(sqlite3.Error), closing(sqlite3.connect(f"file:{path.absolute()}?mode=ro", uri=True)) as database:
        known = database.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID
        version = int(database.execute("PRAGMA user_version").fetchone()[0])
        if known and FORMAT < version < _FORMATS:
            raise newer(path, version)


class LedgerReader:
    """Reads a ledger file, also while the agent writes it. Never changes it.

    `still`: all that is read is of one moment, that of the first look. Not for long: the file's WAL grows meanwhile.

    Raises:
        LedgerError: there is no such file, it is no ledger, or it is of a newer meterseal.
    """

    def __init__(self, path: Path, *, still: bool = False) -> None:
        if not path.is_file():
            raise LedgerError(_("there is no ledger at {path}", path=path), _("Check --state, or run the agent once."))
        try:
            self._database = sqlite3.connect(f"file:{path.absolute()}?mode=ro", uri=True, check_same_thread=False)
        except sqlite3.Error as error:
            raise LedgerError(_("{path} cannot be read: {error}", path=path, error=error)) from None
        try:
            known = self._database.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID
            version = int(self._database.execute("PRAGMA user_version").fetchone()[0])
            if not self._database.execute("SELECT 1 FROM sqlite_schema WHERE name = 'kept'").fetchone():
                self._database.executescript(_NONE_GONE)  # a ledger of an older meterseal
            if still:
                self._database.execute("BEGIN")
        except sqlite3.Error as error:
            self.close()
            raise LedgerError(_("{path} cannot be read: {error}", path=path, error=error), damaged=is_damage(error)) from None
        self._packed = Packed(self._database)
        if not known:
            self.close()
            raise LedgerError(_("{path} is not a meterseal ledger", path=path))
        if version > FORMAT:
            self.close()
            raise newer(path, version)

    def close(self) -> None:
        """Lets go of the file."""
        self._database.close()

    def _rows(self, query: str, *values: Any) -> Iterator[Any]:
        try:
            yield from self._database.execute(query, values)
        except sqlite3.Error as error:
            raise _unreadable(error) from None

    def _values(self, kind: type[T], query: str, *values: Any) -> Iterator[tuple[Any, T]]:
        """Rows of a name and one value, which somebody who rebuilt the table could have made anything."""
        for name, value in self._rows(query, *values):
            if type(value) is not kind:
                raise LedgerError(_("the ledger was tampered with: at {name} there is no {words}", name=name, words=_WORDS[kind]))
            yield name, value

    def _records(self, query: str, *values: Any) -> Iterator[tuple[int, bytes]]:
        """Rows of n and payload, taken out of its block where it is packed; without those that went while this was read."""
        for n, payload in self._values(bytes, query, *values):
            if payload or not isinstance(n, int):
                yield n, payload
                continue
            try:
                packed = self._packed.payload(n)
            except sqlite3.Error as error:
                raise _unreadable(error) from None
            if packed is not None:
                yield n, packed

    def size(self) -> int:
        """How many records there are with those that are gone, taken from the largest n."""
        query = "SELECT max((SELECT coalesce(max(n) + 1, 0) FROM record), (SELECT coalesce(max(first + size), 0) FROM kept))"
        return int(next(self._rows(query))[0])

    def payload(self, n: int) -> bytes:
        """Record n as sealed. Raises KeyError."""
        for _unused, payload in self._records("SELECT n, payload FROM record WHERE n = ?", n):
            return payload
        raise KeyError(n)

    def leaf(self, n: int) -> bytes:
        """The stored leaf hash of record n. Raises KeyError."""
        for _unused, leaf in self._values(bytes, "SELECT n, leaf FROM record WHERE n = ?", n):
            return leaf
        raise KeyError(n)

    def payloads(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, bytes]]:
        """Records from n = start up to, not including, stop, in order."""
        last = 2**62 if stop is None else stop
        yield from self._records("SELECT n, payload FROM record WHERE n >= ? AND n < ? ORDER BY n", start, last)

    def meter_records(
        self, meter: str, kind: str | None = None, newest_first: bool = False, start: int = 0, stop: int | None = None
    ) -> Iterator[tuple[int, bytes]]:
        """A meter's records, its declarations among them, optionally of one kind, from n = start up to, not including, stop."""
        within = "n >= ? AND n < ? ORDER BY n " + ("DESC" if newest_first else "ASC")
        span = start, 2**62 if stop is None else stop
        if kind is None:
            yield from self._records(f"SELECT n, payload FROM record WHERE meter = ? AND {within}", meter, *span)  # noqa: S608  fixed text
        elif kind in _OFTEN:
            query = f"SELECT n, payload FROM record WHERE meter = ? AND kind = ? AND {within}"  # noqa: S608  fixed text
            yield from self._records(query, meter, kind, *span)
        else:
            query = f"SELECT n, payload FROM record WHERE {_RARE} AND kind = ? AND +meter = ? AND {within}"  # noqa: S608  fixed text
            yield from self._records(query, kind, meter, *span)

    def kind_records(self, kind: str, newest_first: bool = True) -> Iterator[tuple[int, bytes]]:
        """All records of one kind."""
        rare = "" if kind in _OFTEN else f"{_RARE} AND "
        order = "DESC" if newest_first else "ASC"
        query = f"SELECT n, payload FROM record WHERE {rare}kind = ? ORDER BY n {order}"  # noqa: S608  fixed text
        yield from self._records(query, kind)

    def meters(self) -> list[str]:
        """The ids of all meters that have records, in alphabetical order."""
        following = "SELECT min(meter) FROM record WHERE meter > id"  # one look into the index each, however many records
        query = f"WITH RECURSIVE each(id) AS (VALUES ('') UNION SELECT ({following}) FROM each) SELECT id FROM each WHERE id > ''"  # noqa: S608  fixed text
        return [row[0] for row in self._rows(query)]

    def leaves(self, start: int, stop: int) -> list[bytes]:
        """The stored leaf hashes of the records from n = start up to, not including, stop."""
        return list(self.known_leaves(start, stop).values())

    def known_leaves(self, start: int, stop: int) -> dict[int, bytes]:
        """The same by n, with those kept of records that are gone; none of a block of which only the root is kept."""
        return dict(self._values(bytes, LEAVES, start, stop, start, stop))

    def kept(self) -> list[tuple[int, int, bytes]]:
        """What is kept of records that are gone, in order: the first n, how many records (1 or 256), leaf hash or root."""
        rows = self._rows("SELECT first, size, hash FROM kept ORDER BY first")
        return [(int(first), int(size), bytes(kept)) for first, size, kept in rows]

    def count(self) -> int:
        """How many records are there."""
        return int(next(self._rows("SELECT count(*) FROM record"))[0])

    def packed_end(self) -> int:
        """The n behind the last packed record; 0 where none is."""
        return int(next(self._rows("SELECT coalesce(max(first) + 256, 0) FROM block"))[0]) if self._has("block") else 0

    def packed(self) -> tuple[int, int]:
        """How many records are packed, and how many bytes their blocks take."""
        if not self._has("block"):
            return 0, 0
        blocks, taken = next(self._rows("SELECT count(*), coalesce(sum(length(data)), 0) FROM block"))
        return BLOCK * int(blocks), int(taken)

    def _has(self, table: str) -> bool:
        """Whether there is a table; a ledger that was last written by an older meterseal lacks some."""
        return bool(list(self._rows("SELECT 1 FROM sqlite_schema WHERE name = ?", table)))

    def bytes_used(self) -> tuple[int, int]:
        """The bytes of the file that hold something, and all of them."""
        pages, unused, page = (
            int(next(self._rows(f"PRAGMA {name}"))[0]) for name in ("page_count", "freelist_count", "page_size")
        )
        return (pages - unused) * page, pages * page

    def gone_behind(self, n: int) -> int:
        """How many records behind record n are gone."""
        return int(next(self._rows("SELECT coalesce(sum(size), 0) FROM kept WHERE first > ?", n))[0])

    def owed(self) -> dict[str, Any] | None:
        """The content of a `loss` record that must be sealed before anything else; None where nothing is owed."""
        for _unused, text in self._values(str, "SELECT one, loss FROM owed"):
            fields: dict[str, Any] = json.loads(text)
            return fields
        return None

    def tiles(self, start: int, stop: int) -> list[bytes]:
        """The stored roots over 256 leaves each, from tile `start` up to, not including, stop."""
        query = "SELECT number, root FROM tile WHERE number >= ? AND number < ? ORDER BY number"
        return [root for _unused, root in self._values(bytes, query, start, stop)]

    def checkpoints(self) -> list[str]:
        """The signed notes, oldest first, each with the witnesses' lines below the gateway's."""
        lines: dict[int, list[str]] = {}
        for size, line in self._values(str, "SELECT size, line FROM cosignature ORDER BY size, time, witness"):
            lines.setdefault(size, []).append(f"{line}\n")
        notes = self._values(str, "SELECT size, note FROM checkpoint ORDER BY size")
        return [note + "".join(lines.get(size, ())) for size, note in notes]

    def cosignatures(self, witness: str) -> Iterator[tuple[int, str]]:
        """A witness's lines, each with the size of the checkpoint that it stands under, the newest first."""
        query = "SELECT size, line FROM cosignature WHERE witness = ? ORDER BY size DESC, time DESC"
        yield from self._values(str, query, witness)

    def checkpoint(self, size: int) -> str | None:
        """The signed note over this many records, without witnesses' lines."""
        return next((note for _unused, note in self._values(str, "SELECT size, note FROM checkpoint WHERE size = ?", size)), None)

    def checkpoints_between(self, first: int, last: int, most: int) -> list[str]:
        """The signed notes over more than `first` and at most `last` records, without witnesses' lines, the oldest ones."""
        query = "SELECT size, note FROM checkpoint WHERE size > ? AND size <= ? ORDER BY size LIMIT ?"
        return [note for _unused, note in self._values(str, query, first, last, most)]

    def timestamps(self) -> dict[int, bytes]:
        """RFC 3161 responses by the size of the checkpoint that they are over."""
        return dict(self._values(bytes, "SELECT size, response FROM timestamp ORDER BY size"))

    def newest_checkpoint(self) -> str | None:
        """The last signed note."""
        for _unused, note in self._values(str, "SELECT size, note FROM checkpoint ORDER BY size DESC LIMIT 1"):
            return note
        return None

    def models(self) -> dict[str, bytes]:
        """The model files by digest."""
        return dict(self._values(bytes, "SELECT digest, text FROM model ORDER BY digest"))

    def tree(self) -> tuple[int, bytes]:
        """Size and hashes (32 bytes each, largest subtree first) of the stored edge of the Merkle tree."""
        for size, hashes in self._values(bytes, "SELECT size, hashes FROM tree"):
            return size, hashes
        return 0, b""

    def newest_counted(self) -> dict[str, int]:
        """For each meter the n of its newest record that carries a count."""
        kinds = ", ".join("?" for _unused in COUNTED)
        query = f"SELECT n FROM record WHERE meter = ? AND kind IN ({kinds}) ORDER BY n DESC LIMIT 1"  # noqa: S608  fixed text
        return {meter: row[0] for meter in self.meters() for row in self._rows(query, meter, *COUNTED)}

    def cursors(self) -> dict[str, int]:
        """How far each destination has acknowledged: the next n to deliver."""
        return {row[0]: row[1] for row in self._rows("SELECT destination, next FROM cursor")}

    def delivered_ahead(self, destination: str) -> list[tuple[int, int]]:
        """What a destination has acknowledged behind its cursor: spans from a first n up to, not including, a last."""
        if not self._has("ahead"):
            return []
        return list(self._rows("SELECT first, stop FROM ahead WHERE destination = ? ORDER BY first", destination))
