"""How much room the ledger has: a floor under the disk's free space, and a limit on the pages of the file.

 1. Nothing is sealed while the disk has less free space than the floor: what is there then is for taking records away,
    for the last words of the agent, and for the operating system.
 2. A file beside the ledger holds a quarter of the floor in reserve: it is given back before records are taken away on
    a disk that others have filled to the last byte.
 3. The file never grows beyond its limit of pages. A transaction that takes records away may go a little beyond it: it
    must write before it can free anything.

What this file does not know: which records go (`agent.retention`).
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from agent.ledger_file import LedgerError, is_damage
from config.language import _

MEGABYTE = 1_000_000
_FLOOR = 16 * MEGABYTE
_SPARE_PAGES = 512  # 2 MB beyond the limit, for taking records away


class NoRoomError(OSError):
    """The disk, or the limit of the file, has no room for more records."""


@dataclass(frozen=True, slots=True)
class Use:
    """What a ledger takes of its disk, in bytes.

    Attributes:
        used: the file's pages that hold something.
        size: the file, with the pages that are free inside it.
        free: the disk's free space.
        budget: the most that the ledger may take.
    """

    used: int
    size: int
    free: int
    budget: int


class Room:
    """The room of one ledger.

    Args:
        path: its file.
        budget: the most that it may take, in bytes; None: what the disk has, less the floor.
        floor: free space of the disk that is left alone, in bytes; None: 16 MB, on a small disk a sixteenth of it.
    """

    def __init__(self, path: Path, budget: int | None = None, floor: int | None = None) -> None:
        self._path = path
        self._reserve = path.with_suffix(".reserve")
        self._budget = budget
        self._floor = floor_of(path) if floor is None else floor

    def limit(self, database: sqlite3.Connection) -> None:
        """Sets the limit of pages. Raises sqlite3.Error."""
        self._set(database, self.use(database).budget // _page_size(database))

    def open_spare(self, database: sqlite3.Connection) -> None:
        """Lets the next transaction, which takes records away, go a little beyond the limit. Raises sqlite3.Error."""
        self._set(database, self.use(database).budget // _page_size(database) + _SPARE_PAGES)

    def hold(self) -> None:
        """Keeps the reserve: space on the disk that nobody else can take, for taking records away when it is full."""
        if self._reserve.exists() or _free(self._path) < self._floor:
            return
        with suppress(OSError):
            descriptor = os.open(self._reserve, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o640)
            try:
                os.posix_fallocate(descriptor, 0, max(self._floor // 4, 1))
            finally:
                os.close(descriptor)

    def give(self) -> None:
        """Gives the reserve back where the disk has less free space than the floor."""
        if _free(self._path) < self._floor:
            with suppress(OSError):
                self._reserve.unlink()

    def check(self) -> None:
        """Returns while the disk has more free space than the floor. Raises NoRoomError."""
        free = _free(self._path)
        if free < self._floor:
            told = _("{free} MB free, {floor} MB are left alone", free=free // MEGABYTE, floor=self._floor // MEGABYTE)
            raise NoRoomError(_("the disk is full: {told}", told=told))

    def use(self, database: sqlite3.Connection) -> Use:
        """What the ledger takes now. Raises sqlite3.Error."""
        pages, unused = (int(database.execute(f"PRAGMA {name}").fetchone()[0]) for name in ("page_count", "freelist_count"))
        page = _page_size(database)
        free = _free(self._path)
        most = pages * page + max(0, free - self._floor)
        return Use((pages - unused) * page, pages * page, free, most if self._budget is None else min(self._budget, most))

    @staticmethod
    def _set(database: sqlite3.Connection, pages: int) -> None:
        database.execute(f"PRAGMA max_page_count = {max(pages, _SPARE_PAGES)}")


def floor_of(path: Path) -> int:
    """Free space of a ledger's disk that is left alone, in bytes: 16 MB, on a small disk a sixteenth of it."""
    disk = os.statvfs(path.parent)
    return min(_FLOOR, disk.f_blocks * disk.f_frsize // 16)


def _page_size(database: sqlite3.Connection) -> int:
    return int(database.execute("PRAGMA page_size").fetchone()[0])


def _free(path: Path) -> int:
    disk = os.statvfs(path.parent)
    return disk.f_bavail * disk.f_frsize


def refused(error: Exception, told: str) -> LedgerError:
    """What the disk said to the ledger's writer, told in these words, with what a person can do."""
    return LedgerError(told, _hint(error), "MS-401", damaged=is_damage(error))


def _hint(error: Exception) -> str:
    if isinstance(error, NoRoomError) or "full" in str(error):
        return _("Free space on the disk of the state directory, or let the ledger keep less (keep: in site.yaml).")
    if is_damage(error):
        return _("The agent starts anew and saves what can be read; the damaged file is kept.")
    return _("Check the disk of the state directory (dmesg). Sealing goes on by itself when it takes records again.")
