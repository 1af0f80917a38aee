"""Proofs over a ledger on disk, made from roots over 256 leaves each ("tiles"), so that no proof reads the whole log.

Each tile is written with the commit that fills it. A tile that somebody changed makes proofs that nobody accepts;
`verify` looks at none.
"""

from __future__ import annotations

import sqlite3
from typing import Protocol

from agent.ledger_file import LEAVES
from agent.merkle import Frontier, consistency_ranges, node_hash, proof_ranges, root_of

TILE = 256


class Leaves(Protocol):
    """Where leaf hashes and tiles are read: a ledger's reader."""

    def leaves(self, start: int, stop: int) -> list[bytes]:
        """Leaf hashes from n = start up to, not including, stop."""

    def tiles(self, start: int, stop: int) -> list[bytes]:
        """Roots over 256 leaves each."""


def keep_tiles(database: sqlite3.Connection, before: int, after: int) -> None:
    """Writes the tiles that a log has filled by growing from `before` to `after` records, inside the caller's transaction."""
    for number in range(before // TILE, after // TILE):
        span = number * TILE, (number + 1) * TILE
        leaves = [row[1] for row in database.execute(LEAVES, (*span, *span))]
        database.execute("INSERT INTO tile VALUES (?, ?)", (number, root_of(leaves)))


def consistency_proof_of(log: Leaves, old: int, new: int) -> list[bytes]:
    """The proof that the log's first `new` records begin with its first `old` ones, RFC 9162 section 2.1.4.1."""
    return [_root(log, first, end) for first, end in consistency_ranges(old, new)]


def inclusion_proof_of(log: Leaves, index: int, size: int) -> list[bytes]:
    """The audit path of record `index` in the log's first `size` records, RFC 9162 section 2.1.3.1."""
    return [_root(log, first, end) for first, end in proof_ranges(index, size)]


def root_at(log: Leaves, size: int) -> bytes:
    """The root of the log's first `size` records; the log has as many."""
    return _root(log, 0, size)


def _root(log: Leaves, first: int, end: int) -> bytes:
    """The root over a subtree's leaves. Subtrees of 256 leaves and more begin at a tile's beginning."""
    whole = end - (end - first) % TILE if end - first >= TILE else first
    edge = Frontier()
    for root in log.tiles(first // TILE, whole // TILE) if whole > first else ():
        edge = edge.append(root)
    rest = root_of(log.leaves(whole, end)) if end > whole else None
    if rest is None:
        return edge.root()
    for left in reversed(edge.hashes):
        rest = node_hash(left, rest)
    return rest
