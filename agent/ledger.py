"""The ledger: sealed records in the order they were made, on disk before anybody is told.

 1. One thread writes. It takes what is waiting, seals it, writes it in one transaction and commits it with fsync
    (SQLite WAL, `synchronous=FULL`); only then does `append` return.
 2. n, prev and the meter counts are given in that thread, inside that transaction: what a crash undoes was never
    known to anybody, so no n is ever used twice with different content.
 3. A clock that was stepped, or is kept no more, or again, is itself a record, sealed before the first one that shows it.
 4. A checkpoint is signed where `agent.rhythm` says, and whenever `checkpoint` asks for one.
 5. What follows from a record (`follow`) is sealed right behind it, in the same transaction.
 6. After any error of the disk nothing more is sealed: readings then become gaps, the agent stays up and says so.

Exactly one read-write connection exists for the file: SQLite before 3.51.3 can lose a reset WAL with two.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent import checkpoint
from agent.clock import from_stamp, stamp
from agent.ledger_connection import writable
from agent.ledger_file import LedgerError
from agent.ledger_head import Head, head_of
from agent.merkle import Frontier
from agent.newest import Newest
from agent.ranges import Span
from agent.record import EMPTY_LOG, RecordError
from agent.rhythm import Rhythm
from agent.schema import COUNTED
from agent.seal import Key, Record, seal
from agent.tiles import keep_tiles

_STEP_MS = 1000
_MOST_IN_ONE_COMMIT = 2000

Draft = Mapping[str, Any]
Follow = Callable[[Record], Sequence[Draft]]
Delivered = tuple[int, tuple[Span, ...]]
Row = tuple[str, tuple[str | int | bytes, ...]]
_Answer = tuple[asyncio.Future[Any], Exception | None, Any]


@dataclass(slots=True)
class _Job:
    """Something for the writing thread: drafts to seal or to make, rows to keep beside the log, or a checkpoint."""

    done: asyncio.Future[Any]
    drafts: tuple[Draft, ...] = ()
    successor: Key | None = None
    make: Callable[[], Sequence[Draft]] | None = None
    kept: Row | None = None
    checkpoint: bool = False
    stop: bool = False
    result: list[Record] = field(default_factory=list)


class Ledger:
    """The writer of a ledger file. Create with `Ledger.open`."""

    def __init__(self, path: Path, gateway: str, key: Key, commit_seconds: float) -> None:
        self.path = path
        self.gateway = gateway
        self._key = key
        self.commit_seconds = commit_seconds
        """How long others may join a commit; may be changed at any time."""
        self._jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._head = Head(Frontier(), EMPTY_LOG, {}, "", "", 0, Rhythm())
        self._thread = threading.Thread(target=self._work, name="ledger", daemon=True)
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._error: LedgerError | None = None
        self._cursors: dict[str, Delivered] = {}
        self.newest = Newest()
        self.follow: Follow | None = None
        """What has to be sealed right behind a record; asked in the writing thread. Set before the first record of a meter."""
        self._grown: weakref.WeakSet[asyncio.Event] = weakref.WeakSet()

    @classmethod
    async def open(cls, path: Path, gateway: str, key: Key, commit_seconds: float = 1.0) -> Ledger:
        """The ledger at `path`, made if there is none, its tail checked.

        Raises:
            LedgerError: the file is damaged, belongs to another gateway or key, or cannot be opened.
        """
        ledger = cls(path, gateway, key, commit_seconds)
        ledger._thread.start()
        await ledger._opened
        return ledger

    @property
    def size(self) -> int:
        """How many records are on disk."""
        return self._head.frontier.size

    @property
    def error(self) -> LedgerError | None:
        """Why nothing is sealed any more; None while all is well."""
        return self._error

    async def append(self, *drafts: Draft, successor: Key | None = None) -> list[Record]:
        """Seals drafts, in this order and in one transaction. When it returns, the records are on disk.

        `successor`: the key that signs whatever comes after them, where they bring it into force.

        Raises:
            RecordError: a draft is no record; none of them was sealed.
            LedgerError: the disk refused; none of them was sealed.
        """
        job = await self._do(_Job(self._loop.create_future(), drafts=drafts, successor=successor))
        return job.result

    async def append_made(self, make: Callable[[], Sequence[Draft]]) -> list[Record]:
        """The same for drafts that are made in the writing thread, when all before them is sealed. `follow` is not asked."""
        job = await self._do(_Job(self._loop.create_future(), make=make))
        return job.result

    def tell_growth(self, event: asyncio.Event) -> None:
        """Has an event set whenever there may be more on disk, as long as somebody holds it."""
        self._grown.add(event)

    async def keep_model(self, digest: str, text: bytes) -> None:
        """Keeps a model file; when it returns, it is on disk."""
        await self._keep("model", digest, text)

    async def keep_cosignature(self, size: int, witness: str, seconds: int, line: str) -> None:
        """Keeps a witness's line under the checkpoint of this size; when it returns, it is on disk."""
        await self._keep("cosignature", size, witness, seconds, line)

    async def keep_timestamp(self, size: int, response: bytes) -> None:
        """Keeps an RFC 3161 response over the checkpoint of this size; when it returns, it is on disk."""
        await self._keep("timestamp", size, response)

    async def _keep(self, table: str, *values: str | int | bytes) -> None:
        await self._do(_Job(self._loop.create_future(), kept=(table, values)))

    def delivered(self, destination: str, next_n: int, ahead: Sequence[Span] = ()) -> None:
        """Remembers that a destination has acknowledged every record before `next_n`, and behind it these spans.

        Written with the next commit, not by one of its own: a crash before it only repeats a delivery.
        """
        self._cursors[destination] = next_n, tuple(ahead)

    async def checkpoint(self) -> None:
        """Signs a checkpoint over all that is on disk, if there is none of this size yet."""
        await self._do(_Job(self._loop.create_future(), checkpoint=True))

    async def close(self) -> None:
        """Writes what is waiting, checkpoints the WAL and closes the file."""
        if self._thread.is_alive():
            await self._do(_Job(self._loop.create_future(), stop=True))
            await asyncio.to_thread(self._thread.join)

    async def _do(self, job: _Job) -> _Job:
        if not self._thread.is_alive():
            raise self._error or LedgerError("the ledger is closed")
        self._jobs.put(job)
        await job.done
        return job

    # --- the writing thread -----------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            with closing(writable(self.path)) as database:
                self._head = head_of(self.path, self.gateway, self._key.public)
                self._answer([(self._opened, None, None)])
                self._write(database)
        except (LedgerError, sqlite3.Error, OSError) as error:
            self._error = error if isinstance(error, LedgerError) else LedgerError(f"{self.path} cannot be opened: {error}")
            self._answer([(self._opened, self._error, None)])

    def _write(self, database: sqlite3.Connection) -> None:
        """Commits what is waiting until it is told to stop."""
        stopping = False
        while not stopping:
            jobs = self._waiting()
            stopping = any(job.stop for job in jobs)
            self._commit(database, jobs)

    def _waiting(self) -> list[_Job]:
        """All jobs of one commit: the first one, and what joins it within the commit interval."""
        jobs = [self._jobs.get()]
        if self.commit_seconds and not jobs[0].stop and not jobs[0].checkpoint:
            time.sleep(self.commit_seconds)  # others join this commit: fewer bytes written to flash
        while not self._jobs.empty() and len(jobs) < _MOST_IN_ONE_COMMIT:
            jobs.append(self._jobs.get())
        return jobs

    def _commit(self, database: sqlite3.Connection, jobs: list[_Job]) -> None:
        if self._error:
            self._refuse(jobs, self._error)
            return
        try:
            database.execute("BEGIN IMMEDIATE")
            writing = _Writing(database, self._head, self.gateway, self._key, self.follow)
            refusals = [writing.take(job) for job in jobs]
            head = writing.finish(dict(self._cursors))
            database.execute("COMMIT")
        except (sqlite3.Error, OSError) as error:
            self._error = LedgerError(f"nothing more is sealed: the disk says {error}", _disk_hint(error), "MS-401")
            if database.in_transaction:
                database.rollback()
            self._refuse(jobs, self._error)
            return
        self._head, self._key = head, writing.key
        self.newest.add(writing.sealed)
        self._answer([(job.done, refusal, job) for job, refusal in zip(jobs, refusals, strict=True)])

    def _refuse(self, jobs: list[_Job], error: LedgerError) -> None:
        self._answer([(job.done, None if job.stop else error, job) for job in jobs])

    def _answer(self, answers: list[_Answer]) -> None:
        """Tells all who wait, by one call into their loop however many they are."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._tell, answers)

    def _tell(self, answers: list[_Answer]) -> None:
        for future, error, result in answers:
            if future.done():
                continue
            if error:
                future.set_exception(error)
            else:
                future.set_result(result)
        for event in tuple(self._grown):
            event.set()


class _Writing:
    """One transaction: drafts become records, one after the other."""

    def __init__(self, database: sqlite3.Connection, head: Head, gateway: str, key: Key, follow: Follow | None) -> None:
        self._database = database
        self._follow = follow
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

    def take(self, job: _Job) -> Exception | None:
        """Does one job; what it returns is why it was refused without harm to the others."""
        before = (self._frontier, self._prev, dict(self._counts), self._boot, self._state, self._offset_ms, self._rhythm)
        count, notes = len(self.sealed), len(self._notes)
        try:
            for draft in job.make() if job.make else job.drafts:
                job.result.append(self._append(draft))
            if self._follow and not job.make:
                for draft in [each for record in job.result for each in self._follow(record)]:
                    self._append(draft)
        except (RecordError, ValueError, KeyError, TypeError) as error:
            self._frontier, self._prev, self._counts, self._boot, self._state, self._offset_ms, self._rhythm = before
            del self.sealed[count:], self._notes[notes:]
            job.result.clear()
            return error if isinstance(error, RecordError) else RecordError(f"no record: {error!r}")
        self.key = job.successor or self.key
        if job.kept:
            table, values = job.kept
            places = ", ".join("?" * len(values))
            self._database.execute(f"INSERT INTO {table} VALUES ({places}) ON CONFLICT DO NOTHING", values)  # noqa: S608  our own words
        if job.checkpoint or job.stop:
            self._sign_checkpoint()
        return None

    def finish(self, cursors: Mapping[str, Delivered]) -> Head:
        """Writes the records, the tree's edge and the destinations' cursors; the head after the transaction."""
        self._database.executemany("INSERT INTO record VALUES (?, ?, ?, ?, ?)", map(_row, self.sealed))
        self._database.executemany("INSERT INTO checkpoint VALUES (?, ?)", self._notes)
        keep_tiles(self._database, self._frontier.size - len(self.sealed), self._frontier.size)
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


def _row(record: Record) -> tuple[int, bytes, str, str | None, bytes]:
    meter = record.fields["meter"]["id"] if "meter" in record.fields else None
    return record.n, record.leaf, record.fields["kind"], meter, record.payload


def _disk_hint(error: Exception) -> str:
    if "full" in str(error):
        return "Free space on the disk of the state directory, then restart the agent."
    return "Check the disk of the state directory (dmesg), then restart the agent."
