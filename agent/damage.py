"""Whether a ledger's file is damaged so that it must be saved before the agent can go on, and having that done.

Damage is what a disk does: no file where one was, a file that SQLite cannot read, one that ends before its file of leaf
hashes does. Records that can be read and are not what was sealed are no damage of this kind: the agent then does not begin,
and a person looks (`meterseal verify`, `meterseal salvage`).
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from agent.clock import Clock
from agent.leaf_file import count_leaves
from agent.ledger import Ledger
from agent.ledger_file import LedgerError, LedgerReader
from agent.salvage import Salvaged, finish, salvage
from config.language import _

_MARK = ".damaged"
_LOOK_SECONDS = 5.0


def mark(path: Path) -> None:
    """Notes that the file was found damaged at work: the next start saves it."""
    path.with_name(path.name + _MARK).touch()


def damage(path: Path) -> str:
    """What is wrong with the file, a cause of a `loss` record; empty where it can be gone on with."""
    sealed = count_leaves(path)
    if path.exists() and not path.is_file():
        return "no_file"
    if not path.exists():
        return "missing" if sealed else ""
    if path.stat().st_size == 0:
        return "empty" if sealed else ""
    if path.with_name(path.name + _MARK).exists():
        return "damaged_pages"
    try:
        with closing(LedgerReader(path)) as reader:
            size = reader.size()
            for n in range(max(0, size - 64), size):
                for _unused in reader.payloads(n, n + 1):
                    reader.leaf(n)
            reader.tree(), reader.newest_checkpoint(), reader.cursors(), reader.newest_counted()
            sum(1 for _unused in reader.kind_records("key"))
    except LedgerError as error:
        return "damaged_pages" if error.damaged or sealed else ""
    return "cut_off" if size < sealed else ""


def begin(path: Path, now_ns: int) -> Salvaged | None:
    """Has a damaged ledger saved before it is opened; None where there is nothing to save.

    Raises:
        LedgerError: it could not be saved; nothing was lost by trying.
    """
    finish(path)
    cause = damage(path)
    return forced(path, cause, now_ns) if cause else None


async def end_if_damaged(ledger: Ledger, clock: Clock) -> None:
    """Returns never; notes damage that is found at work, and ends the agent by it: the next start saves the ledger.

    Raises:
        LedgerError: the ledger's file is damaged.
    """
    while True:
        if ledger.error and ledger.error.damaged:
            mark(ledger.path)
            raise ledger.error
        await clock.sleep(_LOOK_SECONDS)


def forced(path: Path, cause: str, now_ns: int, *, thorough: bool = False) -> Salvaged:
    """Has a ledger saved whatever is wrong with it; `thorough`: see `salvage`. Raises LedgerError."""
    try:
        salvaged = salvage(path, cause, now_ns, thorough=thorough)
    except (OSError, sqlite3.Error) as error:
        hint = _("Free space on the disk of the state directory, or put in another disk with a copy of it; delete nothing.")
        raise LedgerError(_("{path} is damaged and could not be saved: {error}", path=path, error=error), hint) from None
    path.with_name(path.name + _MARK).unlink(missing_ok=True)
    return salvaged
