"""The tables of a ledger's SQLite file.

The database itself refuses UPDATE and DELETE on what is sealed. A row gives up its payload only where the block that holds it
lies beside it, and a block goes only where no row relies on it any more.
"""

from __future__ import annotations

APPLICATION_ID = 0x4D53_4C31  # "MSL1"
PAGE = 4096  # bytes, of the file: what SQLite takes where nobody says otherwise
FORMAT = 3  # of the tables: 2 can hold records that are gone, 3 packed ones. An older meterseal refuses a newer one
_REFUSALS = "".join(
    f"""
CREATE TRIGGER {table}_is_never_{verb} BEFORE {action} ON {table} BEGIN
    SELECT RAISE(ABORT, 'the ledger is append-only: {table} rows are never {verb}');
END;"""
    for table in ("checkpoint", "cosignature", "timestamp", "model")
    for verb, action in (("changed", "UPDATE"), ("deleted", "DELETE"))
)
AHEAD = """CREATE TABLE IF NOT EXISTS ahead (  -- what a destination has acknowledged behind its cursor: n >= first, n < stop
    destination TEXT NOT NULL,
    first INTEGER NOT NULL,
    stop INTEGER NOT NULL,
    PRIMARY KEY (destination, first)
) STRICT;
"""
GONE = """
CREATE TABLE kept (             -- what is kept of records that are gone: their leaf hash, or the root over a block of 256
    first INTEGER PRIMARY KEY,
    size INTEGER NOT NULL CHECK (size IN (1, 256)),
    hash BLOB NOT NULL CHECK (length(hash) = 32)
) STRICT;
CREATE TABLE owed (             -- a loss that is not sealed yet: the content of its record
    one INTEGER PRIMARY KEY CHECK (one = 1),
    loss TEXT NOT NULL
) STRICT;
"""
PACKED = """
CREATE TABLE block (            -- the payloads of 256 records from `first` on, packed by agent.block; their rows have none
    first INTEGER PRIMARY KEY CHECK (first % 256 = 0),
    data BLOB NOT NULL
) STRICT;
CREATE TRIGGER block_is_never_changed BEFORE UPDATE ON block BEGIN
    SELECT RAISE(ABORT, 'the ledger is append-only: block rows are never changed');
END;
CREATE TRIGGER block_is_never_deleted BEFORE DELETE ON block WHEN EXISTS (
    SELECT 1 FROM record WHERE n >= OLD.first AND n < OLD.first + 256 AND length(payload) = 0
) BEGIN
    SELECT RAISE(ABORT, 'the ledger is append-only: block rows are never deleted, but where no record is in them any more');
END;
CREATE TRIGGER record_is_never_changed BEFORE UPDATE ON record WHEN
    NEW.n IS NOT OLD.n OR NEW.leaf IS NOT OLD.leaf OR NEW.kind IS NOT OLD.kind OR NEW.meter IS NOT OLD.meter
    OR length(OLD.payload) > 0 OR NOT EXISTS (SELECT 1 FROM block WHERE first = OLD.n - OLD.n % 256)
BEGIN
    SELECT RAISE(ABORT, 'the ledger is append-only: record rows are never changed, but taken out of their block');
END;
CREATE TRIGGER record_is_never_deleted BEFORE DELETE ON record WHEN NOT EXISTS (
    SELECT 1 FROM kept WHERE first = OLD.n OR (size = 256 AND first = OLD.n - OLD.n % 256)
) AND NOT (length(OLD.payload) > 0 AND EXISTS (SELECT 1 FROM block WHERE first = OLD.n - OLD.n % 256))
BEGIN
    SELECT RAISE(ABORT, 'the ledger is append-only: record rows go only where their hash is kept or a block has them');
END;
"""
SCHEMA = f"""
CREATE TABLE record (           -- the log: payload is canonical JSON with its signature; empty where a block holds it
    n INTEGER PRIMARY KEY,
    leaf BLOB NOT NULL CHECK (length(leaf) = 32),
    kind TEXT NOT NULL,
    meter TEXT,
    payload BLOB NOT NULL
) STRICT;
CREATE INDEX record_of_meter ON record (meter, n) WHERE meter IS NOT NULL;
CREATE INDEX record_of_rare_kind ON record (kind, n, meter) WHERE kind NOT IN ('reading', 'gap');
CREATE TABLE checkpoint (       -- signed notes over the log's size and root
    size INTEGER PRIMARY KEY,
    note TEXT NOT NULL
) STRICT;
CREATE TABLE cosignature (      -- witnesses' signature lines under a checkpoint; time in seconds since 1970
    size INTEGER NOT NULL,
    witness TEXT NOT NULL,
    time INTEGER NOT NULL,
    line TEXT NOT NULL,
    PRIMARY KEY (size, witness, time)
) STRICT;
CREATE TABLE timestamp (        -- RFC 3161 responses over a checkpoint's note
    size INTEGER PRIMARY KEY,
    response BLOB NOT NULL
) STRICT;
CREATE TABLE tile (             -- roots over 256 leaves each, for proofs; can be recomputed from the records
    number INTEGER PRIMARY KEY,
    root BLOB NOT NULL
) STRICT;
CREATE TABLE model (            -- the meter model files that declarations quote by digest
    digest TEXT PRIMARY KEY,
    text BLOB NOT NULL
) STRICT;
CREATE TABLE tree (             -- right edge of the Merkle tree; can be recomputed from the records
    one INTEGER PRIMARY KEY CHECK (one = 1),
    size INTEGER NOT NULL,
    hashes BLOB NOT NULL
) STRICT;
CREATE TABLE cursor (           -- how far each destination has acknowledged: the next n to deliver
    destination TEXT PRIMARY KEY,
    next INTEGER NOT NULL
) STRICT;
{AHEAD}{_REFUSALS}{GONE}{PACKED}
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {FORMAT};
"""
