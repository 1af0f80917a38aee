"""One gateway's records as a collector takes them: checked on arrival, held, checked again in order, settled.

Everything here computes and waits for the disk, so it is called in a thread of its own, by one caller at a time. What it
returns is on disk. After an error the next call begins with what is stored.
"""

from __future__ import annotations

import hashlib
from collections import ChainMap, Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from agent import checkpoint
from agent.batch import BatchError, unpack
from agent.checkpoint import CheckpointError, origin_of
from agent.collect_check import Continuation, NoContinuation, Row, arrived
from agent.collect_copy import Store, StoreError
from agent.collect_notes import Notes
from agent.record import RecordError
from config.language import _

_MOST_AT_ONCE = 2000
_MOST_NOTES = 64
_MOST_OFFERED = 4_000_000  # bytes of model files that no declaration quotes yet


@dataclass(slots=True)
class Outcome:
    """What came of some arrivals.

    Attributes:
        leads: whether this collector gives the receipts; if not, the next four say nothing.
        size, root: the receipt: so many records stand without a hole, and the root over them.
        end: so many records there are as far as is known.
        hole_end: where the records that are missing from `size` on end; `end` where nothing is missing.
        settled: how many were settled by this call.
        findings: what is wrong with records of the gateway's own: their n, class and what.
        alarms: what contradicts what is stored: why, what stands there, what came.
        not_taken: how many arrivals were dropped, by why.
        unchecked: digests of models that are not at hand.
        lacks_notes: a checkpoint is missing that covers more records than the first and at most the second number.
    """

    leads: bool = True
    size: int = 0
    root: bytes = b""
    end: int = 0
    hole_end: int = 0
    settled: int = 0
    findings: list[tuple[int, str, str]] = field(default_factory=list)
    alarms: list[tuple[str, bytes, bytes]] = field(default_factory=list)
    not_taken: Counter[str] = field(default_factory=Counter)
    unchecked: frozenset[str] = frozenset()
    lacks_notes: tuple[int, int] | None = None


@dataclass(slots=True)
class Arrivals:
    """What came of one gateway and is not taken yet: records, batches of them, checkpoints, and model files by digest."""

    records: list[bytes] = field(default_factory=list)
    batches: list[bytes] = field(default_factory=list)
    notes: list[bytes] = field(default_factory=list)
    models: dict[str, bytes] = field(default_factory=dict)
    size: int = 0


class Keeping:
    """The keeping of one gateway's records.

    Args:
        gateway: `site/gateway`.
        public: 32 bytes of its log's first key.
        store: where they are kept.
        shipped: model files by digest that come with the program.
    """

    def __init__(self, gateway: str, public: bytes, store: Store, shipped: Mapping[str, bytes]) -> None:
        self._gateway = gateway
        self._public = public
        self._store = store
        self._own_models: dict[str, bytes] = {}
        self._offered: dict[str, bytes] = {}
        self._models = ChainMap(self._own_models, dict(shipped), self._offered)
        self._continuation: Continuation | None = None
        self._notes: dict[int, str] = {}
        self._noted: Notes | None = None
        self._asked_for_notes = False
        self._fresh: dict[bytes, Row] = {}

    def asked_for_notes(self) -> None:
        """The gateway was asked for the checkpoints that are missing."""
        self._asked_for_notes = True

    def take(self, arrivals: Arrivals) -> Outcome:
        """Takes what arrived, in whatever order; on disk when this returns.

        Raises:
            StoreError: nothing of it is known to be stored; the next call begins with what is.
        """
        outcome, self._fresh = Outcome(), {}
        try:
            with self._store.transaction():
                outcome.leads = self._store.leads()
                course = self._course() if outcome.leads or self._continuation is None else self._continuation
                self._offer(arrivals.models, course)
                late = self._hold(self._rows(arrivals, outcome), course, outcome)
                if outcome.leads:
                    self._settle(course, outcome)
                    while late and len(left := self._hold(late, course, outcome)) < len(late):
                        late = left  # the others were signed by a key that has come into force meanwhile
                        self._settle(course, outcome)
                    self._take_notes(arrivals.notes, course, outcome)
                    self._keep_models(course)
                    self._report(course, outcome)
                elif late:
                    late = self._hold(late, self._course(), outcome)
                self._drop(late, outcome)
            course.forget_signatures()
        except StoreError:
            self._continuation = self._noted = None
            raise
        except RecordError as error:
            self._continuation = self._noted = None
            why = _("{gateway}: what is stored was changed: {error}", gateway=self._gateway, error=error)
            raise StoreError(why, _("Run `meterseal verify` on it.")) from None
        return outcome

    def _course(self) -> Continuation:
        """Where the stored records stand; read again where another collector may have gone on with them."""
        frontier, prev = self._store.edge()
        if self._continuation is None or self._continuation.size != frontier.size:
            self._own_models.clear()
            self._own_models |= self._store.models()
            self._continuation = Continuation(self._public, self._models)
            self._continuation.resume(frontier, prev, self._store.replayed())
        return self._continuation

    def _rows(self, arrivals: Arrivals, outcome: Outcome) -> list[Row]:
        rows, payloads = [], list(arrivals.records)
        for packed in arrivals.batches:
            try:
                payloads += unpack(packed)
            except BatchError as error:
                outcome.not_taken[str(error)] += 1
        for payload in payloads:
            try:
                rows.append(arrived(payload, self._gateway))
            except RecordError as error:
                outcome.not_taken[str(error)] += 1
        return rows

    def _hold(self, rows: Sequence[Row], course: Continuation, outcome: Outcome) -> list[Row]:
        """Holds those that the gateway signed; the others."""
        good = [course.is_signed(row) for row in rows]
        self._fresh |= {row.payload: row for row, is_good in zip(rows, good, strict=True) if is_good}
        for row, stored in self._store.hold([row for row, is_good in zip(rows, good, strict=True) if is_good]):
            why = _("record {n} came with other content than is stored", n=row.n)
            self._store.set_aside(row, why)
            outcome.alarms.append((why, stored, row.payload))
        return [row for row, is_good in zip(rows, good, strict=True) if not is_good]

    def _drop(self, rows: Sequence[Row], outcome: Outcome) -> None:
        if rows:
            outcome.not_taken[_("the gateway's key in force did not sign it")] += len(rows)

    def _settle(self, course: Continuation, outcome: Outcome) -> None:
        """Goes on in order as far as there is no hole."""
        while payloads := self._store.following(course.size, _MOST_AT_ONCE):
            rows: list[Row] = []
            stopped = False
            for payload in payloads:
                row = self._fresh.get(payload) or arrived(payload, self._gateway)
                try:
                    outcome.findings += [(row.n, *problem) for problem in course.take(row)]
                except NoContinuation as error:
                    self._store.set_aside(row, str(error))
                    outcome.alarms.append((str(error), b"", row.payload))
                    stopped = True
                    break
                rows.append(row)
                self._compare(row.n + 1, course, outcome)
            self._store.settle(rows, course.frontier)
            outcome.settled += len(rows)
            if stopped:
                return

    def _compare(self, size: int, course: Continuation, outcome: Outcome) -> None:
        """Holds the records up to here against a checkpoint that came before them."""
        if note := self._notes.pop(size, None):
            self._decide(note, course.frontier.root(), outcome)

    def _decide(self, note: str, root: bytes, outcome: Outcome) -> None:
        claim = checkpoint.claimed(note, origin_of(self._gateway))
        if claim.root == root:
            self._store.keep_checkpoint(claim.size, note)
            return
        why = _("a checkpoint over {size} records has another root than those that are stored", size=claim.size)
        outcome.alarms.append((why, root.hex().encode(), note.encode()))

    def _take_notes(self, notes: Iterable[bytes], course: Continuation, outcome: Outcome) -> None:
        """Holds checkpoints of the gateway against the records, those that come later when they do."""
        for raw in notes:
            try:
                claim, note = self._claimed(raw, course)
            except (CheckpointError, UnicodeDecodeError) as error:
                outcome.not_taken[str(error)[:80]] += 1
                continue
            if claim.size <= course.size:
                self._decide(note, self._store.root(claim.size), outcome)
            elif len(self._notes) < _MOST_NOTES:
                self._notes[claim.size] = note

    def _claimed(self, raw: bytes, course: Continuation) -> tuple[checkpoint.Checkpoint, str]:
        note, origin = raw.decode("utf-8"), origin_of(self._gateway)
        for public in course.publics:
            try:
                return checkpoint.read(note, origin, public), note
            except CheckpointError:
                continue
        raise CheckpointError(_("a checkpoint that no known key of the gateway signed"))

    def _offer(self, models: Mapping[str, bytes], course: Continuation) -> None:
        """Takes model files for such time as a declaration quotes them; anybody can send some, so only so much of them."""
        for digest, text in models.items():
            room = _MOST_OFFERED - sum(map(len, self._offered.values()))
            if digest not in self._models and len(text) <= room and hashlib.sha256(text).hexdigest() == digest:
                wanted = digest in course.unchecked
                self._offered[digest] = text
                if wanted:
                    course.renew(self._store.replayed())

    def _keep_models(self, course: Continuation) -> None:
        """Keeps those that declarations quote, wherever they are from: the copy is verified with them."""
        for digest in course.quoted - self._own_models.keys() - course.unchecked:
            self._own_models[digest] = self._models[digest]
            self._store.keep_model(digest, self._models[digest])

    def _report(self, course: Continuation, outcome: Outcome) -> None:
        outcome.size, outcome.root = course.size, course.frontier.root()
        outcome.end = max(self._store.newest(), *self._notes, course.size)
        held = self._store.first_held(course.size)
        outcome.hole_end = outcome.end if held is None else held
        outcome.unchecked = course.unchecked
        self._noted = self._noted or Notes(self._store)
        if self._asked_for_notes:
            self._noted.asked()
            self._asked_for_notes = False
        outcome.lacks_notes = self._noted.lacking(course.size)
