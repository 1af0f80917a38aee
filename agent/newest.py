"""The newest records as they were sealed, held in memory so that delivery need not read and take apart what it has at hand.

What is not here any more stands in the ledger's file, which is not trusted: what is read from there is checked anew.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from agent.seal import Record

_MOST_BYTES = 4_000_000


@dataclass(frozen=True, slots=True)
class Sealed:
    """A record as it is delivered.

    Attributes:
        n: its number.
        kind: what it is.
        meter: id of the meter it is about; empty if it is about none.
        payload: the bytes the ledger keeps and MQTT carries.
    """

    n: int
    kind: str
    meter: str
    payload: bytes


class Newest:
    """The newest records, 4 MB of them. One thread adds, others look: each step is one of a dict or a deque."""

    def __init__(self) -> None:
        self._records: dict[int, Sealed] = {}
        self._order: deque[Sealed] = deque()
        self._bytes = 0

    def add(self, records: Iterable[Record]) -> None:
        """Takes records that are on disk, in the order of n."""
        for record in records:
            meter = record.fields["meter"]["id"] if "meter" in record.fields else ""
            sealed = Sealed(record.n, record.fields["kind"], meter, record.payload)
            self._records[sealed.n] = sealed
            self._order.append(sealed)
            self._bytes += len(sealed.payload)
            while self._bytes > _MOST_BYTES:
                oldest = self._order.popleft()
                del self._records[oldest.n]
                self._bytes -= len(oldest.payload)

    def get(self, n: int) -> Sealed | None:
        """Record n, if it is still held."""
        return self._records.get(n)
