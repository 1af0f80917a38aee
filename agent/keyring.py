"""Which key is in force for which records of a log. Pure.

 1. Record 0 enrols the first key and is signed by it. Whether that key is the gateway's, no record can say: somebody
    outside confirms it (the enrolment form).
 2. A `rotate` record is signed by the key in force and carries the new key's own signature over
    `agent.seal.rotation_statement`. From the next record on only the new key signs.
 3. A `revoke` record is signed by the recovery key that record 0 (or the last revocation) commits to, and brings a new
    key as a rotation does: the way on when a key was lost or stolen.
 4. A key vouches only for its own range of n: an old key that signs later and a new key that signs earlier are found.
 5. A checkpoint of size s is signed by the key that would sign record s.

The algorithm comes from the key's record, never from a message.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from agent.seal import from_base64url, key_name, pre_authentication, rotation_statement, signed
from config.language import _

Problem = tuple[str, str]
IsSigned = Callable[[bytes, str, bytes], bool]


@dataclass(frozen=True, slots=True)
class KeyTerm:
    """A key and the first record it signs."""

    name: str
    public: bytes
    first: int


@dataclass(frozen=True, slots=True)
class Stolen:
    """Records that a key may have signed in other hands: from n = first up to, not including, end, its revocation."""

    name: str
    first: int
    end: int

    def __str__(self) -> str:
        return _(
            "records {first} to {last} are signed by key {name}, which by the word of its revocation (record {end}) may have "
            "been in other hands by then",
            first=self.first,
            last=self.end - 1,
            name=self.name,
            end=self.end,
        )


class KeyRing:
    """The keys of one log, as its records bring them up.

    Args:
        anchor: the first key where somebody confirmed it.
        is_signed: whether a signature over bytes is a key's; None: `agent.seal.signed`.

    Attributes:
        terms: the keys in the order in which they came into force.
        recovery: public half of the recovery key that may revoke the key in force; None where there is none.
        stolen: what keys may have signed in other hands, as their revocations say.
    """

    def __init__(self, anchor: bytes | None, is_signed: IsSigned | None = None) -> None:
        self._signed = is_signed or signed
        self.terms: list[KeyTerm] = []
        self.strangers: dict[str, int] = {}
        self.recovery: bytes | None = None
        self.stolen: list[Stolen] = []
        self._anchor = anchor
        if anchor is not None:
            self.terms.append(KeyTerm(key_name(anchor), anchor, 0))

    @property
    def in_force(self) -> KeyTerm | None:
        """The key that signs the next record."""
        return self.terms[-1] if self.terms else None

    def at(self, n: int) -> KeyTerm | None:
        """The key that signs record n, unless that is a revocation."""
        return next((term for term in reversed(self.terms) if term.first <= n), None)

    def first_record(self, fields: Mapping[str, Any]) -> Iterator[Problem]:
        """Takes the log's first record; problems if it does not enrol the confirmed key."""
        public = _bytes_of(fields, "public") if fields.get("kind") == "key" and fields.get("action") == "enrol" else None
        if public is None:
            yield "KEY", _("the log does not begin with the enrolment of a key")
            return
        self.recovery = _bytes_of(fields, "recovery")
        if self._anchor is None:
            self.terms.append(KeyTerm(key_name(public), public, 0))
        elif public != self._anchor:
            yield (
                "KEY",
                _(
                    "the log enrols key {key_name}; the confirmed key is {key_name_2}",
                    key_name=key_name(public),
                    key_name_2=key_name(self._anchor),
                ),
            )

    def check(self, n: int, fields: Mapping[str, Any], body: bytes) -> Iterator[Problem]:
        """Problems with the signature of record n."""
        signature, name = fields.get("sig"), fields.get("key")
        term = self.in_force
        if not isinstance(signature, str):
            yield "UNSIGNED", _("there is no signature")
            return
        if term is None:
            yield "SIGNATURE", _("there is no enrolled key to check the signature with")
            return
        data = pre_authentication(body)
        if fields.get("kind") == "key" and fields.get("action") == "revoke":
            if self.recovery is None or name != key_name(self.recovery) or not self._signed(data, signature, self.recovery):
                yield (
                    "KEY",
                    _("the revocation is not signed by the recovery key, {recovery_name}", recovery_name=self._recovery_name()),
                )
                yield "SIGNATURE", _("the signature is not the recovery key's over this content")
            return
        if name == term.name:
            if not self._signed(data, signature, term.public):
                yield "SIGNATURE", _("the signature is not key {name}'s over this content", name=name)
            return
        former = next((old for old in self.terms if old.name == name), None)
        if former is None:
            self.strangers.setdefault(str(name), n)
            yield (
                "KEY",
                _(
                    "signed under the name of key {name}, which is not enrolled here; in force is {name_2}",
                    name=str(name)[:16],
                    name_2=term.name,
                ),
            )
            yield "SIGNATURE", _("the signature is not of any key enrolled up to here")
            return
        yield "KEY", _("signed by key {name}, which expired before record {first}", name=former.name, first=term.first)
        if not self._signed(data, signature, former.public):
            yield "SIGNATURE", _("the signature is not key {name}'s over this content either", name=name)

    def take(self, n: int, fields: Mapping[str, Any]) -> Iterator[Problem]:
        """Takes a key record after the first, whose signature was good; problems if it brings no new key into force."""
        term, public = self.in_force, _bytes_of(fields, "public")
        if fields["action"] == "enrol":
            yield "KEY", _("a second enrolment; later keys come by rotation or revocation only")
            return
        revokes = fields["action"] == "revoke"
        act = "revocation" if revokes else "rotation"
        if term is None or public is None:
            yield "KEY", _("the {act} carries no usable key", act=act)
            return
        if revokes and fields.get("revoked") != term.name:
            yield "KEY", _("revokes key {fields}; in force is {name}", fields=fields.get("revoked"), name=term.name)
            return
        name = key_name(public)
        statement = rotation_statement(str(fields["gateway"]), term.name, public, act)
        if not signed(statement, str(fields.get("proof", "")), public):
            yield "KEY", _("the new key {name} has not proven itself; it is not taken into force", name=name)
            return
        if any(old.name == name for old in self.terms) or public == self.recovery:
            yield (
                "KEY",
                _("key {name} was in force before, or is the recovery key, and may not come into force", name=name),
            )
            return
        self.terms.append(KeyTerm(name, public, n + 1))
        if revokes:
            self.recovery = _bytes_of(fields, "recovery") or self.recovery
            yield from self._since(n, fields.get("since", n), term)
        if name in self.strangers:
            yield (
                "KEY",
                _(
                    "key {name} comes into force here and has signed records from {strangers} on already",
                    name=name,
                    strangers=self.strangers[name],
                ),
            )

    def _since(self, n: int, since: int, term: KeyTerm) -> Iterator[Problem]:
        """Takes from which record on a revoked key is said to have been in other hands."""
        if not term.first <= since <= n:
            told = _("record {since}", since=since)
            yield "KEY", _("says that key {name} was stolen since {told}, which it did not sign", name=term.name, told=told)
        elif since < n:
            self.stolen.append(Stolen(term.name, since, n))

    def _recovery_name(self) -> str:
        return key_name(self.recovery) if self.recovery else _("of which this log has none")


def _bytes_of(fields: Mapping[str, Any], name: str) -> bytes | None:
    try:
        public = from_base64url(str(fields.get(name, "")))
    except ValueError:
        return None
    return public if len(public) == 32 else None
