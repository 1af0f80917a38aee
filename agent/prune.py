"""What a `prune` record keeps of records that were taken away: the roots of their blocks in the log's tree. Pure.

A block is 256 records from a multiple of 256 on; its root is that of RFC 9162, section 2.1, over their leaf hashes, which is
an inner node of the log's own tree. So every checkpoint and every proof that rests on the records can still be made.

What this file does not know: when and why records are taken away.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from agent.merkle import Frontier
from agent.seal import base64url
from config.language import _

BLOCK = 256
Problem = tuple[str, str]


class Blocks:
    """The roots of a log's whole blocks while its records go by."""

    def __init__(self) -> None:
        self._roots: dict[int, str] = {}
        self._frontier = Frontier()
        self._next = 0

    def take(self, n: int, leaf: bytes) -> None:
        """Takes a record's leaf hash. A block of which a record is missing has no root here."""
        if n != self._next or n % BLOCK == 0:
            self._frontier = Frontier()
        self._next = n + 1
        if n % BLOCK != self._frontier.size:
            return
        self._frontier = self._frontier.append(leaf)
        if self._frontier.size == BLOCK:
            self._roots[n // BLOCK] = base64url(self._frontier.root())

    def take_root(self, block: int, root: bytes) -> None:
        """Takes what is kept of a block that is gone."""
        self._roots[block] = base64url(root)

    def pruned(self, n: int, fields: Mapping[str, Any]) -> Iterator[Problem]:
        """Problems with a `prune` record: its range, and its hashes where the records are still at hand."""
        first, end, stated = fields["first"], fields["end"], fields["blocks"]
        if first % BLOCK or end % BLOCK or not first < end <= n or len(stated) * BLOCK != end - first:
            yield (
                "PRUNE",
                _(
                    "keeps {stated} hashes for records {first} to {end}, which are not so many whole blocks",
                    stated=len(stated),
                    first=first,
                    end=end - 1,
                ),
            )
            return
        for block, root in enumerate(stated, first // BLOCK):
            if self._roots.get(block, root) != root:
                span = f"{block * BLOCK} to {block * BLOCK + BLOCK - 1}"
                yield "PRUNE", _("keeps another hash for records {span} than they have", span=span)
