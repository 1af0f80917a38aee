"""The RFC 9162 Merkle tree over a log's leaf hashes: frontier, root, proofs. Pure.

The frontier holds one hash for every one-bit of the size, largest subtree first: all that is needed to append
and to compute the root, at most log2(n) hashes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from agent.record import EMPTY_LOG


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(01 || left || right), RFC 9162 section 2.1.1."""
    return hashlib.sha256(b"\x01" + left + right).digest()


@dataclass(frozen=True, slots=True)
class Frontier:
    """The right edge of a tree of `size` leaves: its perfect subtrees, largest first."""

    size: int = 0
    hashes: tuple[bytes, ...] = ()

    @classmethod
    def stored(cls, size: int, hashes: bytes) -> Frontier:
        """One as it is kept on disk: its hashes one behind the other, 32 bytes each."""
        return cls(size, tuple(hashes[at : at + 32] for at in range(0, len(hashes), 32)))

    def append(self, leaf: bytes) -> Frontier:
        """The frontier with one more leaf."""
        hashes = list(self.hashes)
        size = self.size
        while size & 1:
            leaf = node_hash(hashes.pop(), leaf)
            size >>= 1
        return Frontier(self.size + 1, (*hashes, leaf))

    def append_block(self, root: bytes, leaves: int) -> Frontier:
        """The frontier with a whole subtree more, of which only the root is known; the size is a multiple of its leaves."""
        hashes = list(self.hashes)
        at = self.size // leaves
        while at & 1:
            root = node_hash(hashes.pop(), root)
            at >>= 1
        return Frontier(self.size + leaves, (*hashes, root))

    def root(self) -> bytes:
        """The tree's root hash; of an empty tree the SHA-256 of nothing."""
        if not self.hashes:
            return EMPTY_LOG
        root = self.hashes[-1]
        for left in reversed(self.hashes[:-1]):
            root = node_hash(left, root)
        return root


def root_of(leaves: Sequence[bytes]) -> bytes:
    """The root over leaf hashes."""
    frontier = Frontier()
    for leaf in leaves:
        frontier = frontier.append(leaf)
    return frontier.root()


def inclusion_proof(index: int, leaves: Sequence[bytes]) -> list[bytes]:
    """The audit path of leaf `index` in the tree over `leaves`, RFC 9162 section 2.1.3.1."""
    if len(leaves) <= 1:
        return []
    split = 1 << ((len(leaves) - 1).bit_length() - 1)
    if index < split:
        return [*inclusion_proof(index, leaves[:split]), root_of(leaves[split:])]
    return [*inclusion_proof(index - split, leaves[split:]), root_of(leaves[:split])]


def proof_ranges(index: int, size: int) -> list[tuple[int, int]]:
    """The runs of leaves [first, end) whose roots are the audit path of leaf `index`, nearest first.

    They cover all leaves but this one, so that a proof can be made while a long log goes by.
    """
    ranges: list[tuple[int, int]] = []
    first, end = 0, size
    while end - first > 1:
        split = first + (1 << ((end - first - 1).bit_length() - 1))
        if index < split:
            ranges.append((split, end))
            end = split
        else:
            ranges.append((first, split))
            first = split
    return ranges[::-1]


def root_from_proof(index: int, size: int, leaf: bytes, proof: Sequence[bytes]) -> bytes | None:
    """The root that an audit path leads to, None where the path does not fit; RFC 9162 section 2.1.3.2."""
    if not 0 <= index < size:
        return None
    node, last, result = index, size - 1, leaf
    for step in proof:
        if last == 0:
            return None
        if node & 1 or node == last:
            result = node_hash(step, result)
            while not node & 1 and node:
                node >>= 1
                last >>= 1
        else:
            result = node_hash(result, step)
        node >>= 1
        last >>= 1
    return result if last == 0 else None


def consistency_ranges(old: int, new: int) -> list[tuple[int, int]]:
    """The runs of leaves [first, end) whose roots prove that a tree of `new` leaves begins with the first `old`.

    RFC 9162 section 2.1.4.1; empty for old = 0 and old = new. Each run is a subtree of the new tree, so that roots can
    be made from larger pieces that are at hand.
    """
    ranges: list[tuple[int, int]] = []
    first, end, whole = 0, new, True
    if not 0 < old < new:
        return []
    while old != end:
        split = first + (1 << ((end - first - 1).bit_length() - 1))
        if old <= split:
            ranges.append((split, end))
            end = split
        else:
            ranges.append((first, split))
            first, whole = split, False
    if not whole:
        ranges.append((first, end))
    return ranges[::-1]


def consistency_proof(old: int, leaves: Sequence[bytes]) -> list[bytes]:
    """The proof that the tree over `leaves` begins with its first `old` ones, RFC 9162 section 2.1.4.1."""
    return [root_of(leaves[first:end]) for first, end in consistency_ranges(old, len(leaves))]


def is_consistent(old: int, old_root: bytes, new: int, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether a proof shows that the tree of `new` leaves and this root begins with the old one; RFC 9162 section 2.1.4.2."""
    if old == new:
        return not proof and old_root == new_root
    if not 0 < old < new or not proof:
        return old == 0 and not proof and old_root == EMPTY_LOG
    steps = list(proof) if old & (old - 1) else [old_root, *proof]
    node, last = old - 1, new - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    before = after = steps[0]
    for step in steps[1:]:
        if last == 0:
            return False
        if node & 1 or node == last:
            before, after = node_hash(step, before), node_hash(step, after)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            after = node_hash(after, step)
        node, last = node >> 1, last >> 1
    return last == 0 and before == old_root and after == new_root
