"""Taking a ledger's readings and gaps away, block by block, inside the writer's transaction.

Of a block of 256 records its root in the log's tree is kept. Records of other kinds stay, because later records rest on
them: keys, declarations, closed days, what people had sealed. Of a block in which one stays, the leaf hashes of the
others are kept instead, so that the one can still be proven.

What this file does not know: when and why (`agent.retention`).
"""

from __future__ import annotations

import sqlite3

from agent.block import take_out
from agent.ledger_file import LEAVES
from agent.merkle import root_of
from agent.prune import BLOCK
from agent.seal import base64url
from config.language import _

GOES = ("reading", "gap")


def take_away(database: sqlite3.Connection, first: int, end: int) -> list[str]:
    """Takes away what goes of the blocks from n = first up to, not including, end; the roots of the blocks, base64url.

    Raises:
        ValueError: the range is not whole blocks of which all hashes are at hand.
    """
    if first % BLOCK or end % BLOCK or not 0 <= first < end:
        raise ValueError(_("records {first} to {end} are not whole blocks", first=first, end=end - 1))
    return [base64url(_block(database, start)) for start in range(first, end, BLOCK)]


def _block(database: sqlite3.Connection, start: int) -> bytes:
    span = start, start + BLOCK
    gone = database.execute("SELECT hash FROM kept WHERE first = ? AND size = 256", (start,)).fetchone()
    if gone:
        return bytes(gone[0])
    rows = database.execute(LEAVES, (*span, *span)).fetchall()
    if len(rows) != BLOCK:
        raise ValueError(_("of records {start} to {start_2} some hashes are missing", start=start, start_2=start + BLOCK - 1))
    root = root_of([leaf for _unused, leaf in rows])
    marks = ", ".join("?" for _unused in GOES)
    what = f"n >= ? AND n < ? AND kind IN ({marks})"
    rare = database.execute(f"SELECT n FROM record WHERE n >= ? AND n < ? AND kind NOT IN ({marks})", (*span, *GOES))  # noqa: S608  our own words
    staying = [n for (n,) in rare]
    take_out(database, start, staying)
    if staying:
        database.execute(f"INSERT INTO kept SELECT n, 1, leaf FROM record WHERE {what}", (*span, *GOES))  # noqa: S608  our own words
    else:
        database.execute("DELETE FROM kept WHERE first >= ? AND first < ?", span)
        database.execute("INSERT INTO kept VALUES (?, 256, ?)", (start, root))
    database.execute(f"DELETE FROM record WHERE {what}", (*span, *GOES))  # noqa: S608  our own words
    database.execute("DELETE FROM block WHERE first = ?", (start,))
    return root
