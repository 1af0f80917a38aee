"""The story of one reading: everything in its log that bears on it, collected in one pass. Pure.

The reading's signature by the key in force, its frames and values against its meter's declaration, the records next
to it in the log and in its meter's own count, the last step of the clock, and a checkpoint that covers it with the
proof of inclusion, whose hashes are made while the log goes by.

What this file does not know: how a reading is chosen (`agent.trace`), how its story is told (`agent.trace_text`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from agent import checkpoint
from agent.checkpoint import Checkpoint, CheckpointError
from agent.declaration import Declaration, Fields
from agent.evidence import Evidence
from agent.findings import CannotCheck
from agent.keyring import KeyRing, KeyTerm
from agent.log import Log
from agent.merkle import Frontier, proof_ranges, root_from_proof
from agent.record import EMPTY_LOG, RecordError, leaf_hash, parse, parsed_body
from agent.schema import COUNTED, check_record
from agent.seal import base64url, unsigned
from config.language import _

_KIND = re.compile(rb'"kind"\s*:\s*"([a-z]+)"')
_SIGNATURE = re.compile(rb',"sig":"[A-Za-z0-9_-]{86}"')
_COUNTED = tuple(kind.encode() for kind in COUNTED)


@dataclass(slots=True)
class Cover:
    """The checkpoint that covers a record, and the record's proof of inclusion.

    Attributes:
        claim: what the checkpoint says.
        outside: whether it was kept elsewhere.
        proof: hashes of the audit path, nearest first.
        problem: why it proves nothing; empty if it does.
    """

    note: str
    claim: Checkpoint
    outside: bool
    proof: list[bytes] = field(default_factory=list)
    problem: str = ""


@dataclass(slots=True)
class Story:
    """A reading and everything that was found to bear on it.

    Attributes:
        n, fields, body: the record.
        problems: what is wrong, as class and sentence.
        declaration: in force for it; None where it is not at hand.
        enrolled: the record that enrolled the log's first key; None where it is not at hand.
        term: the key in force for it.
        confirmed: whether somebody gave the key from elsewhere.
        stepped: the last clock record in front of it.
        before, after: the meter's records next to it that carry a count.
        size: how many records the log has; 0 for a single record.
        cover: the checkpoint that covers it.
    """

    n: int
    fields: Fields
    body: bytes
    problems: list[tuple[str, str]] = field(default_factory=list)
    declaration: Declaration | None = None
    enrolled: Fields | None = None
    term: KeyTerm | None = None
    confirmed: bool = False
    stepped: Fields | None = None
    before: Fields | None = None
    after: Fields | None = None
    size: int = 0
    cover: Cover | None = None

    @property
    def exit_code(self) -> int:
        """0: traced and in order. 1: something is wrong. 2: nothing wrong found, but nobody has confirmed the key."""
        if self.problems:
            return 1
        return 0 if self.confirmed else 2


def kind_of(payload: bytes) -> bytes:
    """What kind of record this seems to be, before it is read."""
    found = _KIND.search(payload)
    return found[1] if found else b""


def reading_in(payload: bytes) -> Fields:
    """The fields of a reading. Raises CannotCheck: it is none."""
    try:
        fields = parse(payload)
        check_record(unsigned(fields))
    except RecordError as error:
        raise CannotCheck(_("this is not a record: {error}", error=error)) from None
    if fields["kind"] != "reading":
        raise CannotCheck(
            _("record {n} is a {kind} record, not a reading; only readings are traced", n=fields["n"], kind=fields["kind"])
        )
    return fields


def leaf_of(payload: bytes) -> bytes:
    """The leaf hash of a record, empty where it cannot be read. Cut out where it is canonical: the root tells if not."""
    if payload.startswith(b'{"') and b'"x":' not in payload and len(cut := _SIGNATURE.split(payload)) == 2:
        return leaf_hash(b"".join(cut))
    try:
        return leaf_hash(parsed_body(parse(payload)))
    except RecordError:
        return b""


class Path:
    """The audit path of a record, made while a log goes by. `ranges`: the runs of leaves whose roots it is made of."""

    def __init__(self, ranges: Sequence[tuple[int, int]]) -> None:
        self._edges = [Frontier() for _unused in ranges]
        self._order = sorted((first, end, number) for number, (first, end) in enumerate(ranges))
        self._at = 0

    def take(self, n: int, size: int, hashed: bytes) -> None:
        """Takes a leaf hash, or the root over `size` leaves from n on."""
        while self._at < len(self._order) and self._order[self._at][1] <= n:
            self._at += 1
        if self._at < len(self._order) and self._order[self._at][0] <= n:
            number = self._order[self._at][2]
            edge = self._edges[number]
            self._edges[number] = edge.append(hashed) if size == 1 else edge.append_block(hashed, size)

    def proof(self) -> list[bytes]:
        """The hashes, nearest first."""
        return [edge.root() for edge in self._edges]


class Search:
    """The pass that collects what bears on the reading at place `target`."""

    def __init__(self, log: Log, target: int, ring: KeyRing, evidence: Evidence) -> None:
        self._log = log
        self._target = target
        self._ring = ring
        self._evidence = evidence
        ((_unused, payload),) = log.payloads(target, target + 1)
        fields = reading_in(payload)
        self._story = Story(target, fields, parsed_body(fields), size=log.size())
        self._meter = fields["meter"]["id"]
        self._needle = f'"{self._meter}"'.encode()
        self._neighbours: dict[str, bytes] = {}
        self._torn = False

    def collect(self, notes: Sequence[tuple[str, bool]]) -> Story:
        """The story; `notes` are checkpoints, each with whether it was kept elsewhere."""
        story = self._story
        origin = checkpoint.origin_of(str(story.fields["gateway"]))
        cover = story.cover = _choose(notes, origin, self._target, story.size)
        ranges = proof_ranges(self._target, cover.claim.size) if cover else []
        path = Path(ranges)
        gone = iter(self._log.kept())
        missing = next(gone, None)
        prev: bytes | None = EMPTY_LOG
        for n, payload in self._log.payloads():
            while missing and missing[0] < n:
                path.take(*missing)
                prev = missing[2] if missing[1] == 1 else None
                missing = next(gone, None)
                self._torn = True
            leaf = leaf_of(payload)
            self._chain(n, leaf, prev, payload)
            path.take(n, 1, leaf)
            self._take(n, payload, leaf)
            prev = leaf
        self._neighbour_records()
        if cover:
            self._prove(cover, path.proof(), origin)
        story.problems += [("STOLEN", str(each)) for each in self._ring.stolen if each.first <= self._target < each.end]
        return story

    def _chain(self, n: int, leaf: bytes, prev: bytes | None, payload: bytes) -> None:
        problems, fields = self._story.problems, self._story.fields
        if n == self._target:
            if fields["n"] != n:
                problems.append(("SEQUENCE", _("the record calls itself {n} and stands at place {n_2}", n=fields["n"], n_2=n)))
            if prev is not None and fields["prev"] != base64url(prev):
                problems.append(("PREV-HASH", _("the record does not continue the one in front of it")))
        elif n == self._target + 1:
            after = _fields(payload).get("prev")
            if after != base64url(leaf_hash(self._story.body)):
                problems.append(("PREV-HASH", _("the record behind it does not continue it")))

    def _take(self, n: int, payload: bytes, leaf: bytes) -> None:
        kind = kind_of(payload)
        if n == self._target:
            self._judge()
        elif kind == b"key":
            self._key(n, payload)
        elif kind == b"clock" and n < self._target:
            self._neighbours["stepped"] = payload
        elif self._needle in payload:
            if kind in (b"meter", b"identity") and n < self._target:
                self._declared(n, payload, leaf)
            if kind in _COUNTED and (n < self._target or "after" not in self._neighbours):
                self._neighbours["before" if n < self._target else "after"] = payload

    def _key(self, n: int, payload: bytes) -> None:
        fields = _fields(payload)
        found = list(self._ring.first_record(fields)) if n == 0 else []
        found += self._ring.check(n, fields, parsed_body(fields))
        if n == 0:
            self._story.enrolled = fields
        elif not found and "action" in fields:
            found += self._ring.take(n, fields)
        self._story.problems += [(kind, _("key record {n}: {what}", n=n, what=what)) for kind, what in found]

    def _declared(self, n: int, payload: bytes, leaf: bytes) -> None:
        try:
            fields = parse(payload)
            check_record(unsigned(fields))
        except RecordError:
            return  # the reading then quotes a declaration that is not there, which is found
        if fields["meter"]["id"] != self._meter:
            return
        if fields["kind"] == "meter":
            self._story.problems += self._evidence.declare(n, fields, base64url(leaf))
        else:
            self._story.problems += [
                (kind, _("record {n}: {what}", n=n, what=what)) for kind, what in self._evidence.identity(fields)
            ]

    def _judge(self) -> None:
        """The reading itself, by the keys and declarations in force."""
        story = self._story
        story.term = self._ring.in_force
        story.problems += self._ring.check(story.n, story.fields, story.body)
        story.problems += self._evidence.reading(story.fields)
        story.declaration = self._evidence.in_force.get(self._meter)

    def _neighbour_records(self) -> None:
        story = self._story
        read: dict[str, Fields] = {}
        for name, payload in self._neighbours.items():
            try:
                fields = parse(payload)
                check_record(unsigned(fields))
                read[name] = fields
            except RecordError as error:
                story.problems.append(("FORMAT", _("a record next to it ({name}) is malformed: {error}", name=name, error=error)))
        story.stepped, story.before, story.after = read.get("stepped"), read.get("before"), read.get("after")
        count = story.fields["meter"]["count"]
        for other, expected in ((story.before, count - 1), (story.after, count + 1)):
            if other and other["meter"]["id"] == self._meter and other["meter"]["count"] != expected and not self._torn:
                what = _(
                    "the meter's record next to it has count {count}, not {expected}",
                    count=other["meter"]["count"],
                    expected=expected,
                )
                story.problems.append(("METER-COUNT", what))

    def _prove(self, cover: Cover, proof: list[bytes], origin: str) -> None:
        cover.proof = proof
        term = next((term for term in reversed(self._ring.terms) if term.first <= cover.claim.size), None)
        try:
            checkpoint.read(cover.note, origin, term.public if term else b"")
            if root_from_proof(self._target, cover.claim.size, leaf_hash(self._story.body), proof) != cover.claim.root:
                cover.problem = _("the records here do not lead to its root: history was rewritten")
        except CheckpointError as error:
            cover.problem = str(error)
        if cover.problem:
            self._story.problems.append(
                ("CHECKPOINT", _("checkpoint of size {size}: {problem}", size=cover.claim.size, problem=cover.problem))
            )


def _fields(payload: bytes) -> Fields:
    try:
        return parse(payload)
    except RecordError:
        return {}


def _choose(notes: Sequence[tuple[str, bool]], origin: str, n: int, size: int) -> Cover | None:
    """The newest checkpoint that covers a record, one kept elsewhere before the log's own."""
    return max(_covers(notes, origin, n, size), key=lambda cover: (cover.outside, cover.claim.size), default=None)


def _covers(notes: Sequence[tuple[str, bool]], origin: str, n: int, size: int) -> Iterator[Cover]:
    for note, outside in notes:
        try:
            claim = checkpoint.claimed(note, origin)
        except CheckpointError:
            continue
        if n < claim.size <= size:
            yield Cover(note, claim, outside)
