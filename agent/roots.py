"""Checkpoints against the records' own Merkle tree, as the records go by. Pure.

A checkpoint that the gateway's key signed is a promise: the first `size` records have this root. One kept by somebody
else holds the gateway's owner to it; one that lies in the log itself only shows that the log agrees with itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agent import checkpoint
from agent.anchors import Anchors
from agent.checkpoint import Checkpoint, CheckpointError
from agent.findings import Findings
from agent.keyring import KeyTerm
from agent.record import EMPTY_LOG
from config.language import _


@dataclass(frozen=True, slots=True)
class _Note:
    text: str
    claim: Checkpoint
    name: str


class Roots:
    """The checkpoints of one log, waiting for the records they cover. `sizes`: of all of them.

    Args:
        origin: of the log.
        own: the notes that came with it, oldest first.
        outside: notes that were kept elsewhere.
        findings: where problems go.
        anchors: told which cosignatures there are and which checkpoints the records lead to.
    """

    def __init__(self, origin: str, own: Sequence[str], outside: Sequence[str], findings: Findings, anchors: Anchors) -> None:
        self.newest: int | None = None
        self.unproven: list[str] = []
        self._findings = findings
        self._anchors = anchors
        self._origin = origin
        notes: list[_Note] = []
        size = -1
        for index, text in enumerate(own):
            note = self._read(text, _("the log's checkpoint number {index}", index=index + 1))
            if note and note.claim.size <= size:
                findings.add(
                    "CHECKPOINT",
                    None,
                    _(
                        "{name} covers {size} records, the one before it {size_2}",
                        name=note.name,
                        size=note.claim.size,
                        size_2=size,
                    ),
                )
            if note:
                size = note.claim.size
                notes.append(note)
        notes += [
            note
            for index, text in enumerate(outside)
            if (note := self._read(text, _("outside checkpoint {index}", index=index + 1)))
        ]
        self.sizes = frozenset(note.claim.size for note in notes)
        for note in notes:
            anchors.cosigned(note.claim.size, note.text, note.name)
        self._waiting = sorted(notes, key=lambda note: -note.claim.size)

    def _read(self, text: str, name: str) -> _Note | None:
        try:
            claim = checkpoint.claimed(text, self._origin)
        except CheckpointError as error:
            self._findings.add("CHECKPOINT", None, f"{name}: {error}")
            return None
        return _Note(text, claim, _("{name} (size {size})", name=name, size=claim.size))

    def wanted(self, size: int) -> bool:
        """Whether a checkpoint waits for this many records."""
        return bool(self._waiting) and self._waiting[-1].claim.size <= size

    def reach(self, size: int, root: bytes, term: KeyTerm | None) -> None:
        """Checks the checkpoints up to this size; `term` is the key that signs the next record."""
        while self.wanted(size):
            note = self._waiting.pop()
            if not self._signed(note, term):
                continue
            if note.claim.root != (root if note.claim.size == size else EMPTY_LOG):
                what = _(
                    "{name}: the first {size} records here are not the ones it was signed over",
                    name=note.name,
                    size=note.claim.size,
                )
                self._findings.add("CHECKPOINT", size - 1, what)
            else:
                self.newest = note.claim.size
                self._anchors.reached(note.claim.size)

    def pass_over(self, size: int, before: int | None = None) -> None:
        """Leaves out the checkpoints up to a size: their root cannot be made of what is there. `before`: only those below."""
        while self.wanted(size if before is None else before - 1):
            self.unproven.append(self._waiting.pop().name)

    def end(self, size: int, term: KeyTerm | None) -> None:
        """Takes the end of the log: what still waits was signed over more records than there are."""
        for note in reversed(self._waiting):
            if self._signed(note, term):
                missing = note.claim.size - size
                self._findings.add(
                    "TRUNCATED",
                    None,
                    _("{name} covers {missing} records more than there are here", name=note.name, missing=missing),
                )

    def _signed(self, note: _Note, term: KeyTerm | None) -> bool:
        if term is None:
            self._findings.add("CHECKPOINT", None, _("{name}: there is no key to check it with", name=note.name))
            return False
        try:
            checkpoint.read(note.text, self._origin, term.public)
        except CheckpointError as error:
            self._findings.add("CHECKPOINT", None, f"{note.name}: {error}")
            return False
        return True
