"""Whether what arrives is a gateway's own record, and whether it continues what is stored. Pure.

 1. On arrival, in whatever order: it has its kind's fields, is this gateway's, and the key in force signed it. Whatever else
    comes on a gateway's topics is dropped: nobody without its key can take a number's place.
 2. In the order of n, once there is no hole before it: `prev`, the key in force at its n, the keys it brings into force.
    What fails here is set aside; what stands before it is not touched.
 3. Its frames, formulas and values against the declared model, where that is at hand (`agent.evidence`). What fails here is
    a finding: the gateway said it, so it is stored and told.

Bytes are taken as the gateway sealed them: `x`, spaces and an order of keys that a flow downstream may have changed stand
outside of the signature, and the canonical form is the sealed one.

What this file does not know: accounts of polls, courses and days, which need a whole log: `meterseal verify`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from agent.evidence import Evidence
from agent.keyring import KeyRing
from agent.merkle import Frontier
from agent.record import EMPTY_LOG, RecordError, encode, leaf_hash, parse
from agent.schema import COUNTED, check_record
from agent.seal import base64url, key_name, pre_authentication, signed, unsigned
from config.language import _
from config.library import read_model
from drivers import load

REPLAYED = ("key", "meter", "identity")
"""The kinds of records on which the check of others rests."""
Problem = tuple[str, str]


class NoContinuation(Exception):
    """A record of the gateway's own key that does not continue what is stored."""


@dataclass(frozen=True, slots=True)
class Row:
    """A record as it is stored: `payload` is what the gateway's ledger holds, byte for byte."""

    n: int
    leaf: bytes
    kind: str
    meter: str | None
    payload: bytes
    fields: Mapping[str, Any]
    body: bytes


def arrived(payload: bytes, gateway: str) -> Row:
    """A record of this gateway, as far as it says. Raises RecordError."""
    fields = parse(payload)
    own, signature = unsigned(fields), fields.get("sig")
    check_record(own)
    if own["gateway"] != gateway:
        raise RecordError(_("it is gateway {gateway}'s", gateway=own["gateway"]))
    if not isinstance(signature, str):
        raise RecordError(_("there is no signature"))
    body = encode(own)
    meter = own["meter"]["id"] if "meter" in own else None
    return Row(own["n"], leaf_hash(body), own["kind"], meter, encode(own | {"sig": signature}), fields, body)


class Continuation:
    """Where a gateway's stored records stand, and the check of those that follow.

    Args:
        public: 32 bytes of the log's first key, as on the enrolment form.
        models: the model files by digest; looked at again whenever they have become more.
    """

    def __init__(self, public: bytes, models: Mapping[str, bytes]) -> None:
        self.frontier = Frontier()
        self._prev = EMPTY_LOG
        self._ring = KeyRing(public, self._is_signed)
        self._models = models
        self._good: set[tuple[bytes, str, bytes]] = set()
        self.quoted: set[str] = set()
        """The digests of all models that declarations quote."""
        self._evidence = self._new_evidence()

    @property
    def size(self) -> int:
        """How many records stand without a hole, each checked."""
        return self.frontier.size

    @property
    def unchecked(self) -> frozenset[str]:
        """The digests of models that declarations quote and that are not at hand."""
        return frozenset(digest for digest in self.quoted if digest not in self._models)

    @property
    def publics(self) -> list[bytes]:
        """The keys that were ever in force."""
        return [term.public for term in self._ring.terms]

    def resume(self, frontier: Frontier, prev: bytes, before: Iterable[bytes]) -> None:
        """Takes up what is stored: the tree's edge, the newest leaf hash, and the records of kinds `REPLAYED` in order.

        Raises:
            RecordError: one of them is not what it was when it was stored.
        """
        for payload in before:
            fields = parse(payload)
            body, n = encode(unsigned(fields)), fields["n"]
            if fields["kind"] == "key":
                problems = list(self._ring.first_record(fields)) if n == 0 else []
                problems += self._ring.check(n, fields, body)
                problems += self._ring.take(n, fields) if n and not problems else []
                if problems:
                    raise RecordError(_("record {n}: {what}", n=n, what=problems[0][1]))
            else:
                self._evident(n, fields, leaf_hash(body))
        self.frontier, self._prev = frontier, prev

    def renew(self, before: Iterable[bytes]) -> None:
        """Takes the declarations anew, because there are models now that were missing."""
        self._evidence = self._new_evidence()
        for payload in before:
            fields = parse(payload)
            if fields["kind"] != "key":
                self._evident(fields["n"], fields, leaf_hash(encode(unsigned(fields))))

    def is_signed(self, row: Row) -> bool:
        """Whether the key in force signed a record that is to follow, or one of the gateway's keys one that is stored."""
        data, signature = pre_authentication(row.body), str(row.fields["sig"])
        publics = self.publics if row.n < self.size else [term.public for term in self._ring.terms[-1:]]
        if row.kind == "key" and self._ring.recovery:
            publics = [*publics, self._ring.recovery]
        for public in publics:
            if key_name(public) == row.fields["key"] and signed(data, signature, public):
                self._good.add((data, signature, public))
                return True
        return False

    def take(self, row: Row) -> list[Problem]:
        """Takes the record that follows; what is wrong with what it says.

        Raises:
            NoContinuation: it does not follow, or the key in force did not sign it. Nothing was taken.
        """
        n, fields = row.n, row.fields
        if n != self.size or fields["prev"] != base64url(self._prev):
            raise NoContinuation(_("record {n} does not continue the {size} records before it", n=n, size=self.size))
        problems = list(self._ring.first_record(fields)) if n == 0 else []
        problems = problems or list(self._ring.check(n, fields, row.body))
        if problems:
            raise NoContinuation(_("record {n}: {what}", n=n, what=problems[0][1]))
        if n and row.kind == "key":
            problems = list(self._ring.take(n, fields))
        problems += self._evident(n, fields, row.leaf)
        self.frontier, self._prev = self.frontier.append(row.leaf), row.leaf
        return problems

    def forget_signatures(self) -> None:
        """Lets go of what was found signed on arrival."""
        self._good.clear()

    def _new_evidence(self) -> Evidence:
        return Evidence(self._models, load, read_model, alone=True)

    def _is_signed(self, data: bytes, signature: str, public: bytes) -> bool:
        return (data, signature, public) in self._good or signed(data, signature, public)

    def _evident(self, n: int, fields: Mapping[str, Any], leaf: bytes) -> list[Problem]:
        """What a record says against its frames; nothing where its meter's model is not at hand."""
        if fields["kind"] == "meter":
            return list(self._declared(n, fields, leaf))
        if fields["kind"] in COUNTED:
            problems: Iterator[Problem] = getattr(self._evidence, fields["kind"])(fields)
            return list(problems)
        return []

    def _declared(self, n: int, fields: Mapping[str, Any], leaf: bytes) -> Iterator[Problem]:
        digest = fields["meter"]["digest"]
        missing = digest not in self._models
        self.quoted.add(digest)
        for kind, what in self._evidence.declare(n, fields, base64url(leaf)):
            if not (missing and kind == "MODEL"):
                yield kind, what
