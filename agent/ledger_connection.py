"""The one read-write connection to a ledger's file, which is made where there is none."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from agent.ledger_file import LedgerError, newer
from agent.ledger_tables import AHEAD, FORMAT, GONE, PACKED, SCHEMA


def writable(path: Path) -> sqlite3.Connection:
    """A connection to the ledger at a path, as careful with the disk as SQLite can be.

    Raises:
        LedgerError: it is of a newer meterseal.
        sqlite3.Error, OSError: it cannot be opened.
    """
    if not path.exists() or path.stat().st_size == 0:
        _make(path)
    database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        if (version := int(database.execute("PRAGMA user_version").fetchone()[0])) > FORMAT:
            raise newer(path, version)
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        there = {name for (name,) in database.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        if version < FORMAT or "block" not in there:
            _bring_up(database, there)
    except (LedgerError, sqlite3.Error):
        database.close()
        raise
    return database


def _bring_up(database: sqlite3.Connection, there: set[str]) -> None:
    """Gives a ledger begun by an older meterseal the tables of this one, all of it or nothing. Raises sqlite3.Error."""
    made = AHEAD + ("" if "kept" in there else GONE)
    if "block" not in there:
        triggers = "DROP TRIGGER IF EXISTS record_is_never_changed;DROP TRIGGER IF EXISTS record_is_never_deleted;"
        made += triggers + PACKED
    database.executescript(f"BEGIN IMMEDIATE;{made}PRAGMA user_version = {FORMAT};COMMIT;")
    database.execute("PRAGMA wal_checkpoint(PASSIVE)")  # an older package looks at the head of the file itself


def _make(path: Path) -> None:
    """An empty ledger, complete before it has its name: nobody ever opens one that is half made."""
    unfinished = path.with_name(f"{path.name}.new")
    unfinished.unlink(missing_ok=True)
    database = sqlite3.connect(unfinished, isolation_level=None)
    database.executescript(f"BEGIN;{SCHEMA}COMMIT;")
    database.close()
    unfinished.replace(path)
