"""One transaction of the ledger: drafts become records, one after the other, with what is kept beside them.

What this file does not know: the disk, threads, and when a transaction is made (`agent.ledger`).
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from agent import checkpoint
from agent.clock import from_stamp, stamp
from agent.ledger_head import Head
from agent.ledger_room import Use
from agent.pruning import take_away
from agent.ranges import Span
from agent.record import RecordError
from agent.rhythm import Rhythm
from agent.schema import COUNTED
from agent.seal import Key, Record, seal
from agent.tiles import keep_tiles
from config.language import _

_STEP_MS = 1000

Draft = Mapping[str, Any]
Delivered = tuple[int, tuple[Span, ...]]
Follow = Callable[[Record], Sequence[Draft]]


@dataclass(slots=True, eq=False)
class Chain:
    """Drafts that build upon one another over several calls; `refused`: why one was not sealed, and so none behind it is."""

    refused: Exception | None = None


class Memory(Protocol):
    """What `follow` keeps in mind of the records it was asked about: it must forget those that never come to disk."""

    def begin(self) -> None:
        """A transaction begins; all before it is on disk."""

    def mark(self) -> int:
        """How much was taken in since the transaction began."""

    def take_back(self, mark: int = 0) -> None:
        """Forgets what was taken in behind a mark."""


Row = tuple[str, tuple[str | int | bytes, ...]]


@dataclass(slots=True)
class Job:
    """Something for the writing thread: drafts to seal or to make, rows to keep beside the log, a checkpoint, records to go.

    `chains`: what it builds upon.
    `pack`: a block that the records from n = its number on are put into.
    `asks`: what the ledger takes of its disk is put into `use`.
    """

    done: asyncio.Future[Any]
    drafts: tuple[Draft, ...] = ()
    successor: Key | None = None
    chains: Sequence[Chain] = ()
    make: Callable[[], Sequence[Draft]] | None = None
    kept: Row | None = None
    checkpoint: bool = False
    prune: tuple[int, int] | None = None
    make_prune: Callable[[list[str]], Draft] | None = None
    pack: tuple[int, bytes] | None = None
    asks: bool = False
    use: Use | None = None
    stop: bool = False
    result: list[Record] = field(default_factory=list)

    def refuse(self, error: Exception) -> Exception:
        """Takes why it was not done."""
        for chain in self.chains:
            chain.refused = chain.refused or error
        return error


class Writing:
    """One transaction: drafts become records, one after the other."""

    def __init__(
        self,
        database: sqlite3.Connection,
        head: Head,
        gateway: str,
        key: Key,
        follow: Follow | None = None,
        memory: Memory | None = None,
    ) -> None:
        self._database = database
        self._follow = follow
        self._memory = memory
        self._gateway = gateway
        self.key = key
        self._frontier = head.frontier
        self._prev = head.prev
        self._counts = dict(head.counts)
        self._boot = head.boot
        self._state = head.state
        self._offset_ms = head.offset_ms
        self._rhythm = head.rhythm
        self._notes: list[tuple[int, str]] = []
        self.sealed: list[Record] = []

    def take(self, job: Job) -> Exception | None:
        """Does one job; what it returns is why it was refused without harm to the others."""
        if broken := next((chain.refused for chain in job.chains if chain.refused), None):
            return job.refuse(broken)
        before = (self._frontier, self._prev, dict(self._counts), self._boot, self._state, self._offset_ms, self._rhythm)
        count, notes = len(self.sealed), len(self._notes)
        mark = self._memory.mark() if self._memory else 0
        if job.prune:
            self._database.execute("SAVEPOINT pruning")
        try:
            for draft in self._drafts(job):
                job.result.append(self._append(draft))
            if self._follow and not job.make:
                for draft in [each for record in job.result for each in self._follow(record)]:
                    self._append(draft)
        except (RecordError, ValueError, KeyError, TypeError) as error:
            self._frontier, self._prev, self._counts, self._boot, self._state, self._offset_ms, self._rhythm = before
            del self.sealed[count:], self._notes[notes:]
            if self._memory:
                self._memory.take_back(mark)
            if job.prune:
                self._database.execute("ROLLBACK TO pruning")  # nothing goes without a record of it
            job.result.clear()
            return job.refuse(error if isinstance(error, RecordError) else RecordError(_("no record: {error!r}", error=error)))
        self.key = job.successor or self.key
        self._beside(job)
        return None

    def _beside(self, job: Job) -> None:
        """Keeps what goes beside the records, and signs a checkpoint where one is asked for."""
        if job.kept:
            table, values = job.kept
            places = ", ".join("?" * len(values))
            self._database.execute(f"INSERT INTO {table} VALUES ({places}) ON CONFLICT DO NOTHING", values)  # noqa: S608  our own words
        if job.checkpoint or job.stop:
            self._sign_checkpoint()

    def _drafts(self, job: Job) -> Sequence[Draft]:
        if job.prune and job.make_prune:
            return [job.make_prune(take_away(self._database, *job.prune))]
        return job.make() if job.make else job.drafts

    @property
    def has_signed(self) -> bool:
        """Whether this transaction brings a checkpoint."""
        return bool(self._notes)

    def finish(self, cursors: Mapping[str, Delivered]) -> Head:
        """Writes the records, the tree's edge and the destinations' cursors; the head after the transaction."""
        self._database.executemany("INSERT INTO record VALUES (?, ?, ?, ?, ?)", map(row_of, self.sealed))
        self._database.executemany("INSERT INTO checkpoint VALUES (?, ?)", self._notes)
        keep_tiles(self._database, self._frontier.size - len(self.sealed), self._frontier.size)
        if any(record.fields["kind"] == "loss" for record in self.sealed):
            self._database.execute("DELETE FROM owed")
        for name, (following, ahead) in cursors.items():
            upsert = "INSERT INTO cursor VALUES (?, ?) ON CONFLICT DO UPDATE SET next = excluded.next"
            self._database.execute(upsert, (name, following))
            self._database.execute("DELETE FROM ahead WHERE destination = ?", (name,))
            self._database.executemany("INSERT INTO ahead VALUES (?, ?, ?)", [(name, *span) for span in ahead])
        hashes = b"".join(self._frontier.hashes)
        self._database.execute(
            "INSERT INTO tree VALUES (1, ?, ?) ON CONFLICT DO UPDATE SET size = excluded.size, hashes = excluded.hashes",
            (self._frontier.size, hashes),
        )
        return Head(self._frontier, self._prev, self._counts, self._boot, self._state, self._offset_ms, self._rhythm)

    def _append(self, draft: Draft) -> Record:
        """Seals a draft, and before it the step of the clock that it shows, and what else became of the clock."""
        if draft["kind"] == "key" and draft["action"] == "revoke":
            return self._insert(draft)  # what signs it signs nothing else
        clock = draft["clock"]
        offset_ms = from_stamp(draft["time"]) // 1_000_000 - clock["uptime_ms"]
        step_ms = offset_ms - self._offset_ms
        if clock["boot"] == self._boot and abs(step_ms) > _STEP_MS and draft["kind"] != "clock":
            before = stamp((clock["uptime_ms"] + self._offset_ms) * 1_000_000)
            step = {"kind": "clock", "step_ms": step_ms, "before": before, "after": draft["time"]}
            self._insert({**step, "time": draft["time"], "clock": clock})
        self._boot, self._offset_ms = clock["boot"], offset_ms
        if draft["kind"] != "clock" and clock["state"] != self._state:
            if self._state:
                told = {"kind": "synchronization", "before": self._state, "after": clock["state"]}
                self._insert({**told, "time": draft["time"], "clock": clock})
            self._state = clock["state"]
        return self._insert(draft)

    def _insert(self, draft: Draft) -> Record:
        meter: str = draft["meter"]["id"] if "meter" in draft else ""
        if draft["kind"] in COUNTED:
            count = self._counts.get(meter, -1) + 1
            draft = {**draft, "meter": {**draft["meter"], "count": count}}
            self._counts[meter] = count
        if self._rhythm.is_due(draft):
            self._sign_checkpoint()
        record = seal(draft, gateway=self._gateway, n=self._frontier.size, prev=self._prev, key=self.key)
        self.sealed.append(record)
        self._rhythm = self._rhythm.after(record.fields)
        self._frontier = self._frontier.append(record.leaf)
        self._prev = record.leaf
        return record

    def _sign_checkpoint(self) -> None:
        if self._rhythm.count:
            size = self._frontier.size
            note = checkpoint.write(checkpoint.origin_of(self._gateway), size, self._frontier.root(), self.key)
            self._notes.append((size, note))
            self._rhythm = Rhythm()


def row_of(record: Record) -> tuple[int, bytes, str, str | None, bytes]:
    """A record as a row of the ledger's table."""
    meter = record.fields["meter"]["id"] if "meter" in record.fields else None
    return record.n, record.leaf, record.fields["kind"], meter, record.payload
