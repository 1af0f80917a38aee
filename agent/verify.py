"""Verifying a log: everything that records, checkpoints and models alone can prove, in one pass, offline.

What a log is trusted with: nothing. Its file, its checkpoints, its models and the keys it names are all claims; the one
thing taken from outside is the key line that somebody confirms. Whoever edits a log can at most make this fail; who
also holds the private key is bounded only by checkpoints that others keep (`outside`).

 1. A record's place: n without holes, `prev` the leaf hash before it, one gateway.
 2. Its signature by the key in force at its n                             (agent.keyring)
 3. Its time against the time since boot                                (agent.timeline)
 4. What it says against its frames and the declared model                 (agent.evidence)
 5. The account of polls, gaps and counts of each meter                    (agent.coverage)
 6. What its counters and closed days say                             (agent.course_audit)
 7. What became of each meter: number, settings, grade                    (agent.life)
 8. Each checkpoint's signature, and its root against the records' own tree (agent.roots)

Nothing here writes, and nothing reaches a network or a port. Checkpoints and models are held in memory, records are not.

What this file does not know: where a log is kept, whether a meter told the truth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from agent import checkpoint
from agent.anchors import Anchors
from agent.chain import Chain
from agent.checkpoint import CheckpointError
from agent.cosignature import Witness, read_witness_key
from agent.course_audit import CourseAudit
from agent.coverage import Coverage
from agent.evidence import Evidence
from agent.findings import CannotCheck
from agent.gone import STATED, Gone
from agent.keyring import IsSigned, KeyRing
from agent.life import Lives
from agent.log import Log
from agent.record import RecordError, leaf_hash, parse, parsed_body
from agent.report import Report
from agent.rhythm import Rhythm
from agent.roots import Roots
from agent.schema import COUNTED, check_record
from agent.seal import base64url, unsigned
from agent.timeline import Timeline
from config.language import _
from config.library import read_model
from config.model import ModelFile
from drivers import Driver, load

Fields = Mapping[str, Any]
_OF_A_COURSE = ("meter", "reading", "counter", "day", "replacement")


def verify(
    log: Log,
    *,
    key: str | None,
    outside: Sequence[str] = (),
    witnesses: Sequence[str] = (),
    authorities: Sequence[bytes] = (),
    fast: bool = False,
    is_signed: IsSigned | None = None,
    driver_of: Callable[[str], Driver] = load,
    model_of: Callable[[bytes, str], ModelFile] = read_model,
) -> Report:
    """What is wrong with a log, and what is in it.

    Args:
        log: records, checkpoints and models.
        key: the key line of the enrolment form (of the log's first key); None if nobody confirmed one.
        outside: checkpoints of this gateway that were kept elsewhere: what they cover can neither be cut off nor
            rewritten, not even by the owner of the key.
        witnesses: key lines of those whose cosignatures count.
        authorities: certificates (PEM) of the authorities whose timestamps count.
        fast: only the chain, the keys, the checkpoints and the signature of the last record, which covers all before.
        is_signed: whether a signature is a key's, such as of a log that checks ahead (`agent.ahead`); None: it is checked here.
        driver_of, model_of: where drivers and models come from.

    Raises:
        CannotCheck: a key line or certificate is not one.
    """
    origin, public = key_line(key) if key is not None else ("", None)
    try:
        vouching = [read_witness_key(line) for line in witnesses]
    except CheckpointError as error:
        raise CannotCheck(f"--witness: {error}") from None
    audit = _Audit(KeyRing(public, is_signed), Evidence({} if fast else log.models(), driver_of, model_of), vouching, fast)
    if authorities:
        audit.timestamped(log, authorities)
    audit.report.confirmed = public is not None
    audit.run(log, outside, origin)
    return audit.report


def key_line(line: str) -> tuple[str, bytes]:
    """Origin and public key of a key line. Raises CannotCheck."""
    try:
        return checkpoint.read_verifier_key(line)
    except CheckpointError as error:
        raise CannotCheck(f"--key: {error}") from None


class _Audit:
    """One pass over a log."""

    def __init__(self, ring: KeyRing, evidence: Evidence, witnesses: Sequence[Witness], fast: bool) -> None:
        self.report = Report(fast=fast)
        self._anchors = Anchors(witnesses, self.report.findings)
        self._ring = ring
        self._evidence = evidence
        self._fast = fast
        self._timeline = Timeline()
        self._rhythm = Rhythm()
        self._sizes: list[int] = []
        self._coverage: dict[str, Coverage] = {}
        self._courses = CourseAudit(evidence)
        self._lives = Lives()
        self._chain = Chain()
        self._uncovered: list[tuple[int, str, str]] = []
        self._roots: Roots | None = None
        self._expected = 0
        self._shift = 0
        self._newest = -1
        self._config = ""

    def timestamped(self, log: Log, authorities: Sequence[bytes]) -> None:
        """Takes the timestamps of these authorities for anchors. Raises CannotCheck."""
        from agent.timestamp import anchors_of  # the library that reads them comes with the extra `timestamp`

        for anchor in anchors_of(log, authorities, self.report.findings):
            self._anchors.add(anchor)

    def run(self, log: Log, outside: Sequence[str], origin: str) -> None:
        """The whole pass."""
        report, own = self.report, log.checkpoints()
        report.checkpoints, report.outside = len(own), len(outside)
        self._chain.gone = Gone(log.kept())
        roots: Roots | None = None
        last: tuple[int, Fields, bytes] | None = None
        for row, payload in log.payloads():
            if roots is None:
                roots = self._roots = Roots(self._origin(payload, origin), own, outside, report.findings, self._anchors)
                self._sizes = sorted(roots.sizes, reverse=True)
                self._anchors.begin()
            read = self._record(row, payload)
            self._chain.reach(roots, self._expected, self._ring.in_force)
            last = read or last
        if roots is None:
            report.findings.add("EMPTY", None, _("the log holds no record"))
            roots = Roots(origin, own, outside, report.findings, self._anchors)
        roots.end(self._expected, self._ring.in_force)
        self._anchors.end()
        report.anchors = dict(self._anchors.proven)
        if self._fast and last:
            self._add(last[0], last[1], self._ring.check(*last))
        report.checkpoint, report.keys = roots.newest, len(self._ring.terms)
        report.key = self._ring.terms[0].name if self._ring.terms else ""
        report.life = self._lives.summary()
        self._tell_gone(roots)
        report.meters = {meter: coverage.close(report.time_to) for meter, coverage in sorted(self._coverage.items())}

    def _tell_gone(self, roots: Roots) -> None:
        """What is gone by the word of signed records, and what by no word; what was signed by a stolen key."""
        report, gone = self.report, self._chain.gone
        report.size = self._expected
        for n, meter, told in self._uncovered:
            report.findings.add("CHECKPOINT-MISSING", n, told, meter)
        report.gone, report.lost_ranges, report.unproven = gone.counts(), gone.lost_ranges(), roots.unproven
        for first, end in gone.unstated():
            told = _("records {first} to {end} are missing, and no record says that they are gone", first=first, end=end - 1)
            report.findings.add("SEQUENCE", None, told)
        for each in self._ring.stolen:
            report.findings.add("STOLEN", each.first, str(each))

    def _fill(self, end: int) -> bool:
        """Puts what is kept of records that are gone into their place, up to record `end`; whether it is all there."""
        gone = end - self._expected
        if self._roots is None or not self._chain.fill(self._expected, end, self._roots, self._ring.in_force):
            return False
        self._evidence.alone = True  # what a meter refused before may be among what is gone
        self._courses.torn()
        self._lives.torn()
        self._rhythm = Rhythm()
        for coverage in self._coverage.values():
            coverage.torn(gone)
        return True

    def _origin(self, payload: bytes, origin: str) -> str:
        """The log's origin as its first record has it; a finding if the key line belongs to another."""
        try:
            gateway = str(parse(payload).get("gateway", ""))
        except RecordError:
            gateway = origin.removeprefix("meterseal/")
        self.report.gateway = gateway
        if origin and origin != checkpoint.origin_of(gateway):
            what = _("the key line belongs to {origin}, the records to {gateway}", origin=origin, gateway=gateway)
            self.report.findings.add("KEY", None, what)
        return checkpoint.origin_of(gateway)

    def _record(self, row: int, payload: bytes) -> tuple[int, Fields, bytes] | None:
        self.report.records += 1
        try:
            fields = parse(payload)
        except RecordError as error:
            self.report.findings.add("FORMAT", row + self._shift, str(error))
            self._expected += 1
            self._chain.unreadable()
            return None
        body = parsed_body(fields)
        leaf = leaf_hash(body)
        n = self._place(row, fields)
        self._links(n, fields, leaf)
        self.report.with_x += "x" in fields
        self._add(n, fields, self._anchors.problems(n, fields))
        good = self._well_formed(n, fields)
        if good or self._fast:  # else its time may be none
            self.report.time_to = str(fields.get("time", ""))[:24]
            self.report.time_from = self.report.time_from or self.report.time_to
        before, forged = self.report.findings.total, self._forged()
        if self.report.records == 1 and not (n and self._chain.torn and self._ring.terms):
            self._add(n, fields, self._ring.first_record(fields))
        if not self._fast or fields.get("kind") == "key":
            self._add(n, fields, self._ring.check(n, fields, body))
        if good:
            self._content(n, fields, leaf, genuine=before == self.report.findings.total, signed=forged == self._forged())
        self._newest = max(self._newest, n)
        return n, fields, body

    def _place(self, row: int, fields: Fields) -> int:
        """The record's number; findings if it is not the next one."""
        stated = fields.get("n")
        if type(stated) is not int or stated < 0:
            self._expected += 1
            return self._expected - 1  # its kind's fields are malformed, which is a finding of its own
        expected = self._expected
        if stated > expected and not self._fill(stated):
            missing = _("record {n}", n=expected)
            if stated > expected + 1:
                missing = _("records {first} to {last}", first=expected, last=stated - 1)
            self.report.findings.add("SEQUENCE", stated, _("{missing} should come before it", missing=missing), _meter(fields))
        elif stated < expected:
            what = _("stands where record {expected} should stand", expected=expected)
            self.report.findings.add("SEQUENCE", stated, what, _meter(fields))
        elif stated - row != self._shift:
            self.report.findings.add("SEQUENCE", stated, _("is stored as number {row}", row=row), _meter(fields))
        self._expected, self._shift = stated + 1, stated - row
        return stated

    def _links(self, n: int, fields: Fields, leaf: bytes) -> None:
        findings, prev = self.report.findings, fields.get("prev")
        if fields.get("gateway") != self.report.gateway:
            findings.add("SEQUENCE", n, _("comes from gateway {fields}", fields=str(fields.get("gateway"))[:80]), _meter(fields))
        if not self._chain.take(n, prev, leaf):
            before = _("the record in front of it") if n else _("the beginning of a log")
            findings.add("PREV-HASH", n, _("does not continue {before}", before=before), _meter(fields))

    def _well_formed(self, n: int, fields: Fields) -> bool:
        if self._fast and fields.get("kind") not in ("key", *STATED):
            return False
        try:
            check_record(unsigned(fields))
        except RecordError as error:
            self.report.findings.add("FORMAT", n, str(error), _meter(fields))
            return False
        return True

    def _content(self, n: int, fields: Fields, leaf: bytes, *, genuine: bool, signed: bool) -> None:
        kind = fields["kind"]
        if kind == "key" and genuine and self.report.records > 1:
            self._add(n, fields, self._ring.take(n, fields))
        if kind in STATED and signed:
            self._chain.gone.stated(fields)
            self._uncovered = [] if fields.get("checkpoints") else self._uncovered
        if self._fast:
            return
        self._add(n, fields, (("CLOCK", what) for what in self._timeline.take(fields)))
        self._uncovered += [(n, _meter(fields), told) for told in self._checkpoint_before(n, fields)]
        if kind == "clock":
            for coverage in self._coverage.values():
                coverage.clock_set(fields["after"])
        elif kind in ("start", "config"):
            self._add(n, fields, self._began(fields))
        elif kind == "meter":
            self._add(n, fields, self._evidence.declare(n, fields, base64url(leaf)))
            self._account_of(fields["meter"]["id"]).declared(fields["meter"], fields["time"])
        elif kind in COUNTED:
            self._add(n, fields, getattr(self._evidence, kind)(fields))
            self._add(n, fields, self._told(fields))
        if kind in _OF_A_COURSE and signed and n > self._newest:
            self._add(n, fields, self._courses.take(n, fields, base64url(leaf)))
        self._add(n, fields, self._life(n, fields))

    def _began(self, fields: Fields) -> Iterator[tuple[str, str]]:
        """Takes a start of the agent, or a site file that came into force; problems with which one it took the place of."""
        if fields["kind"] == "config":
            before, self._config = self._config, fields["digest"]
            if before and fields.get("before", before) != before:
                told, known = fields["before"][:16], before[:16]
                yield "CONFIG", _("takes the place of the site file {told}…, in force was {known}…", told=told, known=known)
            return
        for coverage in self._coverage.values():
            coverage.started()
        self.report.starts += 1
        self.report.crashes += fields["after"] == "crash"
        self._config = fields["config"]

    def _forged(self) -> int:
        """How many records so far are not what the key in force signed: what they say is nothing to reckon with."""
        return sum(count for kind, count in self.report.findings.counts.items() if kind in ("SIGNATURE", "UNSIGNED", "KEY"))

    def _life(self, n: int, fields: Fields) -> Iterator[tuple[str, str]]:
        if "meter" in fields:
            yield from self._lives.take(n, fields, self._evidence.in_force.get(fields["meter"]["id"]))
        elif fields["kind"] == "prune":
            yield from self._chain.blocks.pruned(n, fields)

    def _checkpoint_before(self, n: int, fields: Fields) -> Iterator[str]:
        """What is wrong where the gateway signs a checkpoint before record n and none is here."""
        while self._sizes and self._sizes[-1] <= n:
            self._sizes.pop()
            self._rhythm = Rhythm()
        if self._rhythm.is_due(fields):
            yield _("no checkpoint covers the records in front of it: {count}", count=self._rhythm.count)
            self._rhythm = Rhythm()
        self._rhythm = self._rhythm.after(fields)

    def _account_of(self, meter: str) -> Coverage:
        if meter not in self._coverage:
            self._coverage[meter] = Coverage(meter)
            self._coverage[meter].torn(self._chain.torn)
        return self._coverage[meter]

    def _told(self, fields: Fields) -> Iterator[tuple[str, str]]:
        """Takes a record that counts into its meter's account."""
        source = fields["meter"]
        coverage = self._account_of(source["id"])
        yield from coverage.count(source["count"])
        if source["id"] in self._evidence.in_force and fields["kind"] in ("reading", "gap"):
            yield from (coverage.reading if fields["kind"] == "reading" else coverage.gap)(fields)

    def _add(self, n: int, fields: Fields, problems: Iterable[tuple[str, str]]) -> None:
        for kind, what in problems:
            self.report.findings.add(kind, n, what, _meter(fields))


def _meter(fields: Fields) -> str:
    """The meter a record is about, as far as it says."""
    meter = fields.get("meter")
    return str(meter.get("id", ""))[:40] if isinstance(meter, dict) else ""
