"""A log's chain and tree while its records go by, with what is kept of records that are gone put into their place. Pure.

What this file does not know: what records say, and which of them are findings.
"""

from __future__ import annotations

from agent.gone import EMPTY_LEAF, Gone
from agent.keyring import KeyTerm
from agent.merkle import Frontier
from agent.prune import Blocks
from agent.record import EMPTY_LOG
from agent.roots import Roots
from agent.seal import base64url, from_base64url

_ANY = ""  # the leaf hash of a record that is gone, where it is not kept


class Chain:
    """The chain of one log.

    Attributes:
        gone: what is not there any more.
        blocks: the roots of the whole blocks so far.
        torn: how many records are gone so far.
    """

    def __init__(self) -> None:
        self.gone = Gone(())
        self.blocks = Blocks()
        self.torn = 0
        self._frontier = Frontier()
        self._prev: str | None = base64url(EMPTY_LOG)

    def unreadable(self) -> None:
        """The next record cannot be read: the one behind it stands for its leaf hash."""
        self._prev = None

    def take(self, n: int, prev: object, leaf: bytes) -> bool:
        """Takes record n with the leaf hash it states of the one before; whether it continues that."""
        continues = self._prev in (None, _ANY, prev)
        if self._prev is None:
            self._frontier = self._frontier.append(_hash(prev))  # of the unreadable record before: the roots will tell
        self._frontier = self._frontier.append(leaf)
        self.blocks.take(n, leaf)
        self._prev = base64url(leaf)
        return continues

    def reach(self, roots: Roots, size: int, term: KeyTerm | None) -> None:
        """Holds the checkpoints up to a size against the records so far; `term`: the key in force."""
        if not roots.wanted(size):
            return
        if self.gone.is_blind:
            roots.pass_over(size)
        else:
            roots.reach(size, self._frontier.root(), term)

    def fill(self, first: int, end: int, roots: Roots, term: KeyTerm | None) -> bool:
        """Puts what is kept of records `first` up to, not including, `end` into their place; whether it is all there."""
        pieces = self.gone.fill(first, end)
        if pieces is None:
            return False
        if self._prev is None:
            self._frontier = self._frontier.append(b"")  # the record in front cannot be read: the roots will tell
        for at, size, kept in pieces:
            self.reach(roots, at, term)
            if size == 1:
                self._frontier = self._frontier.append(kept)
                self.blocks.take(at, kept)
            else:
                roots.pass_over(at + size - 1)
                self._frontier = self._frontier.append_block(kept, size)
                self.blocks.take_root(at // size, kept)
        self.reach(roots, end, term)
        _, size, kept = pieces[-1]
        self._prev = base64url(kept) if size == 1 and kept != EMPTY_LEAF else _ANY
        self.torn += end - first
        return True


def _hash(text: object) -> bytes:
    try:
        return from_base64url(str(text))
    except ValueError:
        return b""
