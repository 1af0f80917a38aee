"""Whether a ledger's file is damaged so that it must be saved before the agent can go on, and having that done.

Damage is what a disk does: no file where one was, a file that SQLite cannot read, one that ends before its file of leaf
hashes does. Records that can be read and are not what was sealed are no damage of this kind: the agent then does not begin,
and a person looks (`meterseal verify`, `meterseal salvage`).
"""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from agent.clock import Clock
from agent.leaf_file import count_leaves
from agent.ledger import Ledger
from agent.ledger_file import LedgerError, LedgerReader, refuse_newer
from agent.merkle import Frontier
from agent.record import RecordError, leaf_hash, parse, parsed_body
from agent.salvage import Salvaged, finish, public_keys, salvage
from agent.seal import from_base64url, pre_authentication, signed
from agent.tiles import TILE
from config.language import _

_MARK = ".damaged"
_LOOK_SECONDS = 5.0
_TAIL = 64


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
            reader.newest_checkpoint(), reader.cursors(), reader.newest_counted()
            if not _is_tree_right(reader, size) or _is_tail_damaged(reader, size, path):
                return "damaged_pages"
    except LedgerError as error:
        return "damaged_pages" if error.damaged or sealed else ""
    return "cut_off" if size < sealed else ""


def _is_tree_right(reader: LedgerReader, size: int) -> bool:
    """Whether the tree's edge is the one that tiles and leaf hashes lead to."""
    edge, whole = Frontier(), size // TILE * TILE
    for root in reader.tiles(0, size // TILE):
        edge = edge.append_block(root, TILE)
    for leaf in reader.leaves(whole, size):
        edge = edge.append(leaf)
    return reader.tree() == (size, b"".join(edge.hashes))


def _is_tail_damaged(reader: LedgerReader, size: int, path: Path) -> bool:
    """Whether some of the newest records are not what was sealed while others are. If none is, the ledger is another key's."""
    keys = public_keys(path) + [key for _unused, payload in reader.kind_records("key") for key in _keys_in(payload)]
    good = bad = 0
    for n, payload in reader.payloads(max(0, size - _TAIL)):
        try:
            fields = parse(payload)
            body = parsed_body(fields)
            right = fields.get("n") == n and leaf_hash(body) == reader.leaf(n)
        except RecordError:
            right = False
        if right and keys:
            data, signature = pre_authentication(body), str(fields.get("sig"))
            right = any(signed(data, signature, key) for key in keys)
        good, bad = good + right, bad + (not right)
    return good > 0 and bad > 0


def _keys_in(payload: bytes) -> list[bytes]:
    with suppress(ValueError):
        fields = parse(payload)
        return [from_base64url(str(fields[name])) for name in ("public", "recovery") if name in fields]
    return []


def begin(path: Path, now_ns: int) -> Salvaged | None:
    """Has a damaged ledger saved before it is opened; None where there is nothing to save.

    Raises:
        LedgerError: it could not be saved, or is of a newer meterseal; nothing was lost by trying.
    """
    refuse_newer(path)
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
