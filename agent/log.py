"""What an audit asks a log for, wherever it is kept: a ledger, or an exported bundle."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol


class Log(Protocol):
    """A gateway's records with what belongs to them: a ledger, or an exported bundle."""

    def size(self) -> int:
        """How many records there are, with those that are gone."""

    def payloads(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, bytes]]:
        """Records from n = start up to, not including, stop, in order."""

    def kept(self) -> list[tuple[int, int, bytes]]:
        """What is kept of records that are gone, in order: the first n, how many records (1 or 256), leaf hash or root."""

    def checkpoints(self) -> list[str]:
        """The signed notes, oldest first."""

    def models(self) -> dict[str, bytes]:
        """The model files by digest."""

    def timestamps(self) -> dict[int, bytes]:
        """RFC 3161 responses by the size of the checkpoint that they are over."""
