"""Records at rest: the payloads of 256 records as one packed block, from which their rows are read.

 1. A block is an xz file (LZMA2, preset 1, CRC-64) of the payloads of records `first` to `first` + 255, a line end behind each.
 2. Records go into a block only as a whole, in one transaction in which it was written, read back, unpacked, and found to hold
    the bytes that the rows hold. The rows stay, with their leaf hashes; only their payloads are empty then.
 3. A block goes when no row relies on it any more.
 4. A block is trusted with nothing: what comes out of it has to have the leaf hash of its row like any other record.

What this file does not know: which records are packed, and when (`agent.packing`); where blocks lie in a file that SQLite cannot
read any more (`agent.carve`).
"""

from __future__ import annotations

import lzma
import sqlite3
from collections.abc import Sequence
from contextlib import suppress

from agent.prune import BLOCK
from agent.record import LONGEST
from config.language import _

_PRESET = 1  # by xz's manual up to 9 MB of memory; 6, which is a tenth smaller, up to 94 MB
_MEMORY = 32 << 20  # nobody makes a reader take more, whatever a block's head says
_MOST = BLOCK * (LONGEST + 1)
_HELD = 4
_STEP = 64
_PACKED = "SELECT payload, (SELECT data FROM block WHERE first = ?) FROM record WHERE n = ?"


class DamagedBlockError(sqlite3.DatabaseError):
    """A block cannot be unpacked; to be treated as what SQLite says of damaged pages."""

    sqlite_errorcode = sqlite3.SQLITE_CORRUPT

    def __init__(self, first: int) -> None:
        super().__init__(_("the packed block of records {first} to {last} is damaged", first=first, last=first + BLOCK - 1))


def pack(payloads: Sequence[bytes]) -> bytes:
    """The block that holds these payloads."""
    return lzma.compress(b"".join(payload + b"\n" for payload in payloads), format=lzma.FORMAT_XZ, preset=_PRESET)


def unpack(first: int, data: object) -> list[bytes]:
    """The 256 payloads that a block holds. Raises DamagedBlockError."""
    with suppress(lzma.LZMAError, EOFError):
        if isinstance(data, bytes):
            unpacking = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MEMORY)
            lines = unpacking.decompress(data, _MOST).split(b"\n")
            if unpacking.eof and len(lines) == BLOCK + 1 and not lines.pop():
                return lines
    raise DamagedBlockError(first)


def salvaged(data: bytes) -> list[bytes]:
    """The payloads of a damaged block up to where it cannot be unpacked any more; some may not be what was packed."""
    unpacking = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MEMORY)
    text = bytearray()
    with suppress(lzma.LZMAError, EOFError):
        for at in range(0, len(data), _STEP):
            text += unpacking.decompress(data[at : at + _STEP], _MOST - len(text) + 1)
            if len(text) > _MOST:
                break
    return bytes(text).split(b"\n")[:BLOCK]


class Packed:
    """The packed records of a ledger's file; the blocks that were read last are held unpacked."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self._held: dict[int, list[bytes]] = {}

    def payload(self, n: int) -> bytes | None:
        """The payload of a record whose row was empty; None where the record has gone meanwhile; empty where no block has it.

        Raises:
            DamagedBlockError, sqlite3.Error: its block cannot be read.
        """
        first = n - n % BLOCK
        held = self._held.get(first)
        if held is None:
            row = self._database.execute(_PACKED, (first, n)).fetchone()  # one statement, so row and block are of one moment
            if row is None:
                return None
            payload, data = row
            if payload or data is None:
                return bytes(payload)
            held = unpack(first, data)
            if len(self._held) >= _HELD:
                self._held.pop(next(iter(self._held)), None)
            self._held[first] = held
        return held[n - first]


def put(database: sqlite3.Connection, first: int, data: bytes) -> None:
    """Puts 256 records into their block, inside the caller's transaction.

    Raises:
        ValueError: the block does not hold what the rows hold.
        sqlite3.Error: it could not be written or read back.
    """
    span = first, first + BLOCK
    database.execute("INSERT INTO block VALUES (?, ?)", (first, data))
    (stored,) = database.execute("SELECT data FROM block WHERE first = ?", (first,)).fetchone()
    rows = database.execute("SELECT n, leaf, kind, meter, payload FROM record WHERE n >= ? AND n < ? ORDER BY n", span).fetchall()
    try:
        is_right = unpack(first, stored) == [row[-1] for row in rows]
    except DamagedBlockError:
        is_right = False  # of a block that is not relied on yet
    if not is_right:
        raise ValueError(_("the block of records {first} to {last} does not hold what they hold", first=first, last=span[1] - 1))
    # Rows that became shorter leave their pages half empty; where rows are deleted, SQLite joins pages and frees them.
    database.execute("DELETE FROM record WHERE n >= ? AND n < ?", span)
    database.executemany("INSERT INTO record VALUES (?, ?, ?, ?, x'')", [row[:-1] for row in rows])


def take_out(database: sqlite3.Connection, first: int, staying: Sequence[int]) -> None:
    """Takes the records that stay out of their block, inside the caller's transaction. Where they are in none, nothing is done.

    Raises:
        DamagedBlockError, sqlite3.Error: it cannot be read.
    """
    row = database.execute("SELECT data FROM block WHERE first = ?", (first,)).fetchone()
    if row and staying:
        lines = unpack(first, row[0])
        update = "UPDATE record SET payload = ? WHERE n = ?"
        database.executemany(update, [(lines[n - first], n) for n in staying])
