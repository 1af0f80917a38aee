"""What witnesses have cosigned of a ledger, by the key lines of the site file: how far, when, and what is behind it.

A cosignature counts only where it is the witness's own over a checkpoint that the ledger holds; `meterseal verify` checks that
the records lead to that checkpoint.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from agent.account import age
from agent.checkpoint import CheckpointError
from agent.cosignature import Witness, cosigned_at, read_witness_key
from agent.ledger_file import LedgerReader
from config.language import _


@dataclass(frozen=True, slots=True)
class Witnessed:
    """How far one witness has seen the log.

    Attributes:
        witness: its name.
        size: the first so many records are what it cosigned last; 0 before the first time.
        time: when, UTC; empty before the first time.
        age_s: seconds since then; None before the first time.
        tail: how many records are behind them.
    """

    witness: str
    size: int
    time: str
    age_s: int | None
    tail: int

    def text(self) -> str:
        """As one line of the status."""
        if self.age_s is None:
            return _(
                "{name} has cosigned nothing yet: all {tail} records rest on the gateway's own key",
                name=self.witness,
                tail=self.tail,
            )
        told = _(
            "{name} has cosigned the first {size} records, {age} ago", name=self.witness, size=self.size, age=age(self.age_s)
        )
        return _("{told}; {tail} behind them not yet", told=told, tail=self.tail) if self.tail else told


def witnessed(reader: LedgerReader, key_lines: Sequence[str], now_s: int) -> tuple[Witnessed, ...]:
    """How far each witness of the site file has seen the log, at a time in seconds since 1970."""
    size, witnesses = reader.size(), [read_witness_key(line) for line in key_lines]
    return tuple(_newest(reader, witness, size, now_s) for witness in witnesses)


def _newest(reader: LedgerReader, witness: Witness, size: int, now_s: int) -> Witnessed:
    for cosigned, line in reader.cosignatures(witness.name):
        note = reader.checkpoint(cosigned)
        try:
            seconds = cosigned_at(note, line, witness) if note else None
        except CheckpointError:
            continue  # `meterseal verify` tells
        if seconds is not None and cosigned <= size:
            time = f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
            return Witnessed(witness.name, cosigned, time, max(0, now_s - seconds), size - cosigned)
    return Witnessed(witness.name, 0, "", None, size)
