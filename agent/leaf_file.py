"""The leaf hashes of a ledger's records in a file of their own, 32 bytes each: record n's at 32 n.

If pages of the ledger are damaged, the hashes of the records in them are still known: the tree over all records, every
checkpoint and every proof can be made as before, and nobody can put other records in their place.

The file is written behind each commit and never waited for, so it may end before the ledger does; what is missing is
filled in when the ledger is opened. If it ends behind the ledger, the ledger has lost its end. It is not trusted: a
wrong hash in it makes `verify` fail.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

LEAF = 32
NOT_KNOWN = bytes(LEAF)


def leaf_path(ledger: Path) -> Path:
    """Where the leaf hashes of a ledger lie."""
    return ledger.with_suffix(".leaves")


def read_leaves(ledger: Path) -> bytes:
    """All of them, 32 bytes each; empty where there is no such file or it cannot be read."""
    try:
        data = leaf_path(ledger).read_bytes()
    except OSError:
        return b""
    return data[: len(data) // LEAF * LEAF]


def count_leaves(ledger: Path) -> int:
    """How many there are; 0 where there is no such file."""
    try:
        return leaf_path(ledger).stat().st_size // LEAF
    except OSError:
        return 0


class LeafFile:
    """The file as the ledger's writer keeps it. Where it cannot be written, it is left behind: the next start fills it in."""

    def __init__(self, ledger: Path) -> None:
        self._path = leaf_path(ledger)

    def write(self, first: int, leaves: Iterable[bytes], *, lasting: bool = False) -> None:
        """Writes the hashes of records from n = `first` on. `lasting`: returns when they are on disk."""
        with suppress(OSError):
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o640)
            try:
                if os.fstat(descriptor).st_size >= first * LEAF:
                    os.pwrite(descriptor, b"".join(leaves), first * LEAF)
                if lasting:
                    os.fsync(descriptor)
            finally:
                os.close(descriptor)
