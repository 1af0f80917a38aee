"""The ledger: sealed records in the order they were made, on disk before anybody is told.

 1. One thread writes. It takes what is waiting, seals it, writes it in one transaction and commits it with fsync
    (SQLite WAL, `synchronous=FULL`); only then does `append` return.
 2. n, prev and the meter counts are given in that thread, inside that transaction: what a crash undoes was never
    known to anybody, so no n is ever used twice with different content.
 3. A clock that was stepped, or is kept no more, or again, is itself a record, sealed before the first one that shows it.
 4. A checkpoint is signed where `agent.rhythm` says, and whenever `checkpoint` asks for one.
 5. What follows from a record (`follow`) is sealed right behind it, in the same transaction.
 6. After an error of the disk nothing is sealed until a later transaction succeeds: readings then become gaps with their
    cause, the agent stays up and says so, and goes on by itself when the disk takes records again.
 7. Records are taken away only by `prune`, which seals what is kept of them in the same transaction.

Exactly one read-write connection exists for the file: SQLite before 3.51.3 can lose a reset WAL with two.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from agent.block import put
from agent.leaf_file import NOT_KNOWN, LeafFile, count_leaves
from agent.ledger_connection import writable
from agent.ledger_file import LedgerError, LedgerReader
from agent.ledger_head import Head, head_of
from agent.ledger_room import Room, Use, refused
from agent.ledger_writing import Chain, Delivered, Draft, Follow, Job, Memory, Writing
from agent.merkle import Frontier
from agent.newest import Newest
from agent.ranges import Span
from agent.record import EMPTY_LOG
from agent.rhythm import Rhythm
from agent.seal import Key, Record
from config.language import _

_MOST_IN_ONE_COMMIT = 2000
_AGAIN_SECONDS = 1.0  # after an error, the disk is tried so often at most

_Answer = tuple[asyncio.Future[Any], Exception | None, Any]


class Ledger:
    """The writer of a ledger file. Create with `Ledger.open`."""

    def __init__(self, path: Path, gateway: str, key: Key, commit_seconds: float, room: Room) -> None:
        self.path = path
        self._room = room
        self._leaves = LeafFile(path)
        self._again = 0.0
        self._closing = False
        self.gateway = gateway
        self._key = key
        self.commit_seconds = commit_seconds
        """How long others may join a commit; may be changed at any time."""
        self._jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._head = Head(Frontier(), EMPTY_LOG, {}, "", "", 0, Rhythm())
        self._thread = threading.Thread(target=self._work, name="ledger", daemon=True)
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._error: LedgerError | None = None
        self._cursors: dict[str, Delivered] = {}
        self.newest = Newest()
        self.follow: Follow | None = None
        """What has to be sealed right behind a record; asked in the writing thread. Set before the first record of a meter."""
        self.memory: Memory | None = None
        """What `follow` keeps in mind; set with it."""
        self._grown: weakref.WeakSet[asyncio.Event] = weakref.WeakSet()
        self._asked: dict[int, float] = {}

    @classmethod
    async def open(cls, path: Path, gateway: str, key: Key, commit_seconds: float = 1.0, room: Room | None = None) -> Ledger:
        """The ledger at `path`, made if there is none, its tail checked. `room`: how much it may take; None: the disk.

        Raises:
            LedgerError: the file is damaged, belongs to another gateway or key, or cannot be opened.
        """
        ledger = cls(path, gateway, key, commit_seconds, room or Room(path))
        ledger._thread.start()
        await ledger._opened
        return ledger

    @property
    def size(self) -> int:
        """How many records are on disk."""
        return self._head.frontier.size

    @property
    def error(self) -> LedgerError | None:
        """Why nothing is sealed at this time; None while all is well."""
        return self._error

    async def append(self, *drafts: Draft, successor: Key | None = None, chains: Sequence[Chain] = ()) -> list[Record]:
        """Seals drafts, in this order and in one transaction. When it returns, the records are on disk.

        `successor`: the key that signs whatever comes after them, where they bring it into force. `chains`: what they build
        upon: they are refused where anything was that came before them in one of these.

        Raises:
            RecordError: a draft is no record; none of them was sealed.
            LedgerError: the disk refused; none of them was sealed.
        """
        job = await self._do(Job(self._loop.create_future(), drafts=drafts, successor=successor, chains=chains))
        return job.result

    async def append_made(self, make: Callable[[], Sequence[Draft]]) -> list[Record]:
        """The same for drafts that are made in the writing thread, when all before them is sealed. `follow` is not asked."""
        job = await self._do(Job(self._loop.create_future(), make=make))
        return job.result

    async def prune(self, first: int, end: int, make: Callable[[list[str]], Draft]) -> Record:
        """Takes the readings and gaps of whole blocks away, and seals a `prune` record in the same transaction.

        Args:
            first, end: the range of n, multiples of 256, `end` not included.
            make: the record's draft from the roots of the blocks.

        Raises:
            LedgerError: the disk refused; nothing was taken away.
        """
        job = await self._do(Job(self._loop.create_future(), prune=(first, end), make_prune=make))
        return job.result[0]

    async def pack(self, first: int, data: bytes) -> None:
        """Puts 256 records from n = `first` on into a block; see `agent.block`. When it returns, that is on disk.

        Raises:
            ValueError: the block does not hold what was sealed; nothing was changed.
            LedgerError: the disk refused; nothing was changed.
        """
        await self._do(Job(self._loop.create_future(), pack=(first, data)))

    async def use(self) -> Use:
        """What the ledger takes of its disk. Raises LedgerError."""
        job = await self._do(Job(self._loop.create_future(), asks=True))
        if job.use is None:
            raise self._error or LedgerError(_("the ledger cannot be read"))
        return job.use

    def found(self, error: LedgerError) -> None:
        """Takes note of what a reader found: where the file is damaged, nothing more may be built upon it."""
        if error.damaged:
            self._error = error

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
        await self._do(Job(self._loop.create_future(), kept=(table, values)))

    def delivered(self, destination: str, next_n: int, ahead: Sequence[Span] = ()) -> None:
        """Remembers that a destination has acknowledged every record before `next_n`, and behind it these spans.

        Written with the next commit, not by one of its own: a crash before it only repeats a delivery.
        """
        self._cursors[destination] = next_n, tuple(ahead)

    async def checkpoint(self) -> None:
        """Signs a checkpoint over all that is on disk, if there is none of this size yet."""
        await self._do(Job(self._loop.create_future(), checkpoint=True))

    async def close(self) -> None:
        """Writes what is waiting, checkpoints the WAL and closes the file."""
        if self._thread.is_alive():
            if not self._closing:
                await self._do(Job(self._loop.create_future(), stop=True))
            await asyncio.to_thread(self._thread.join)

    async def _do(self, job: Job) -> Job:
        if self._closing or not self._thread.is_alive():
            raise self._error or LedgerError(_("the ledger is closed"))
        self._closing = job.stop
        self._asked[id(job)] = time.monotonic()
        self._jobs.put(job)
        try:
            await job.done
        finally:
            del self._asked[id(job)]
        return job

    def waited_s(self) -> float:
        """For how many seconds the oldest of what is to be written has been waiting; 0 where nothing is."""
        return max(0.0, time.monotonic() - min(self._asked.values(), default=time.monotonic()))

    # --- the writing thread -----------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            with closing(writable(self.path)) as database:
                self._head = head_of(self.path, self.gateway, self._key.public)
                self._fill_in_leaves()
                self._room.limit(database)
                self._answer([(self._opened, None, None)])
                self._write(database)
        except (LedgerError, sqlite3.Error, OSError) as error:
            self._error = (
                error
                if isinstance(error, LedgerError)
                else LedgerError(_("{path} cannot be opened: {error}", path=self.path, error=error))
            )
            self._answer([(self._opened, self._error, None)])

    def _fill_in_leaves(self) -> None:
        """Brings the file of leaf hashes up to the ledger's end."""
        with closing(LedgerReader(self.path)) as reader:
            for start in range(count_leaves(self.path), self.size, _MOST_IN_ONE_COMMIT):
                stop = min(start + _MOST_IN_ONE_COMMIT, self.size)
                known = reader.known_leaves(start, stop)
                self._leaves.write(start, [known.get(n, NOT_KNOWN) for n in range(start, stop)], lasting=stop == self.size)

    def _write(self, database: sqlite3.Connection) -> None:
        """Commits what is waiting until it is told to stop."""
        stopping = False
        while not stopping:
            jobs = self._waiting()
            stopping = any(job.stop for job in jobs)
            self._commit(database, [job for job in jobs if not job.pack])
            for job in jobs:
                if job.pack:
                    self._pack(database, job, *job.pack)

    def _waiting(self) -> list[Job]:
        """All jobs of one commit: the first one, and what joins it within the commit interval."""
        jobs = [self._jobs.get()]
        if self.commit_seconds and not jobs[0].stop and not jobs[0].checkpoint:
            time.sleep(self.commit_seconds)  # others join this commit: fewer bytes written to flash
        while not self._jobs.empty() and len(jobs) < _MOST_IN_ONE_COMMIT:
            jobs.append(self._jobs.get())
        return jobs

    def _commit(self, database: sqlite3.Connection, jobs: list[Job]) -> None:
        jobs = [job for job in jobs if not self._is_told(database, job)]
        freeing = any(job.prune or job.stop for job in jobs)
        if not jobs:
            return
        if self._error and self._error.damaged:
            self._refuse(jobs, self._error)
            return
        if self._error and not freeing and time.monotonic() < self._again:
            self._refuse(jobs, self._error)
            return
        if self.memory:
            self.memory.begin()
        try:
            if freeing:
                self._room.give()
                self._room.open_spare(database)
            else:
                self._room.check()
            database.execute("BEGIN IMMEDIATE")
            writing = Writing(database, self._head, self.gateway, self._key, self.follow, self.memory)
            refusals = [writing.take(job) for job in jobs]
            head = writing.finish(dict(self._cursors))
            database.execute("COMMIT")
        except (sqlite3.Error, OSError) as error:
            self._failed(database, jobs, error)
            return
        self._error = None
        with suppress(sqlite3.Error, OSError):  # the records are on disk: what fails from here on refuses none of them
            if freeing:
                self._room.limit(database)
            self._room.hold()
        first, self._head, self._key = self.size, head, writing.key
        self._leaves.write(first, [record.leaf for record in writing.sealed], lasting=writing.has_signed)
        self.newest.add(writing.sealed)
        self._answer([(job.done, refusal, job) for job, refusal in zip(jobs, refusals, strict=True)])

    def _pack(self, database: sqlite3.Connection, job: Job, first: int, data: bytes) -> None:
        """Packs a block in a transaction of its own, behind what is sealed: what is wrong with it refuses nothing else."""
        refusal: Exception | None = self._error
        if not refusal:
            try:
                self._room.check()
                self._room.open_spare(database)
                database.execute("BEGIN IMMEDIATE")
                put(database, first, data)
                database.execute("COMMIT")
            except (sqlite3.Error, OSError) as error:
                refusal = refused(error, _("the disk says {error}", error=error))
                self._error = refusal if refusal.damaged else None
            except ValueError as error:
                refusal = error
            if database.in_transaction:
                database.rollback()
            with suppress(sqlite3.Error, OSError):
                self._room.limit(database)
        self._answer([(job.done, refusal, job)])

    def _is_told(self, database: sqlite3.Connection, job: Job) -> bool:
        """Whether a job only asked what the ledger takes, which it is told."""
        if job.asks:
            with suppress(sqlite3.Error, OSError):
                job.use = self._room.use(database)
            self._answer([(job.done, None, job)])
        return job.asks

    def _failed(self, database: sqlite3.Connection, jobs: list[Job], error: Exception) -> None:
        """Undoes a transaction that the disk refused. The same connection goes on, so what was refused never comes back."""
        self._error = refused(error, _("nothing is sealed: the disk says {error}", error=error))
        self._again = time.monotonic() + _AGAIN_SECONDS
        if database.in_transaction:
            database.rollback()
        if self.memory:
            self.memory.take_back()
        self._refuse(jobs, self._error)

    def _refuse(self, jobs: list[Job], error: LedgerError) -> None:
        self._answer([(job.done, None if job.stop else job.refuse(error), job) for job in jobs])

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
