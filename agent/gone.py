"""The records of a log that are not there any more: taken away to make room, or lost with a damaged file. Pure.

 1. What is kept of them fills their place in the tree: the leaf hash of each, or the root over a whole block of 256.
    Kept hashes are claims like everything else; checkpoints tell whether they are the right ones.
 2. Which records are gone, and why, a `prune` or `loss` record behind them states, signed. What is gone and not stated
    is missing.
 3. A lost record whose hash is not known either counts in the tree as the leaf hash of an empty record, from the `loss`
    record on: no checkpoint over the place signed before it can be held against the records.

What this file does not know: how hashes are kept (`agent.ledger_file`, `agent.bundle`), when records are taken away.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any

from agent.record import leaf_hash

Piece = tuple[int, int, bytes]
EMPTY_LEAF = leaf_hash(b"")
STATED = ("prune", "loss")


class Gone:
    """What is gone from a log, while its records go by. `kept`: first n, how many records (1 or 256), hash."""

    def __init__(self, kept: Iterable[Piece]) -> None:
        self._kept = {first: (size, hashed) for first, size, hashed in kept}
        self._holes: list[tuple[int, int]] = []
        self._pruned: list[tuple[int, int]] = []
        self._lost: list[tuple[int, int]] = []
        self._blind: list[tuple[int, int]] = []

    @property
    def is_blind(self) -> bool:
        """Whether the tree cannot be that of the signer: hashes are not known, and no record behind has said so yet."""
        return bool(self._blind)

    def fill(self, first: int, end: int) -> list[Piece] | None:
        """What is kept of the records from n = first up to, not including, end; None where that is not all of them."""
        pieces: list[Piece] = []
        at = first
        while at < end:
            size, hashed = self._kept.get(at, (0, b""))
            if not size or len(hashed) != 32 or (size > 1 and (at % size or at + size > end)):
                return None
            pieces.append((at, size, hashed))
            at += size
        self._holes.append((first, end))
        unknown = [at for at, _, hashed in pieces if hashed == EMPTY_LEAF]
        self._blind += _ranges(unknown)
        return pieces

    def stated(self, fields: Mapping[str, Any]) -> None:
        """Takes a `prune` or `loss` record."""
        if fields["kind"] == "prune":
            self._pruned.append((fields["first"], fields["end"]))
            return
        self._lost += [(each["first"], each["end"]) for each in fields["ranges"]]
        known = [(each["first"], each["end"]) for each in fields.get("unhashed", ())]
        self._blind = [hole for hole in self._blind if not _within(hole, known)]

    def unstated(self) -> Iterator[tuple[int, int]]:
        """The ranges that are gone and of which no record says so."""
        known = united([*self._pruned, *self._lost])
        for first, end in self._holes:
            if not _within((first, end), known):
                yield first, end

    def counts(self) -> dict[str, int]:
        """How many records are gone, by the kind of record that says so; one that both state counts as lost."""
        lost = sum(_common(hole, each) for hole in self._holes for each in united(self._lost))
        gone = sum(end - first for first, end in self._holes)
        return {"pruned": gone - lost, "lost": lost}

    def lost_ranges(self) -> list[tuple[int, int]]:
        """The ranges that `loss` records state."""
        return united(self._lost)


def _ranges(numbers: Iterable[int]) -> list[tuple[int, int]]:
    return united((n, n + 1) for n in numbers)


def united(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ranges in order, those that touch made one."""
    made: list[tuple[int, int]] = []
    for first, end in sorted(ranges):
        if made and first <= made[-1][1]:
            made[-1] = made[-1][0], max(made[-1][1], end)
        else:
            made.append((first, end))
    return made


def _within(hole: tuple[int, int], ranges: Iterable[tuple[int, int]]) -> bool:
    return any(first <= hole[0] and hole[1] <= end for first, end in united(ranges))


def _common(one: tuple[int, int], other: tuple[int, int]) -> int:
    return max(0, min(one[1], other[1]) - max(one[0], other[0]))


def missing_ranges(there: Iterable[int], size: int) -> list[tuple[int, int]]:
    """The ranges of n below `size` that are not among those given, which are in order."""
    borders = [-1, *there, size]
    return [(before + 1, after) for before, after in pairwise(borders) if after > before + 1]
