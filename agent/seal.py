"""Sealing: the one place where signed bytes are made and checked. Pure; no clock, no disk, no network.

    body  = canonical bytes of the record without `sig` and `x`          (agent.record)
    signs = "DSSEv1 " len(type) " " type " " len(body) " " body          (DSSE pre-authentication encoding)
    sig   = Ed25519 over it, base64url without padding                   (RFC 8032)
    leaf  = SHA-256(00 || body), the next record's `prev`                (RFC 9162)

The algorithm comes from the enrolled key's record, never from the message. The key file is trusted: whoever
copies it can forge readings from that day on. Everything else is not.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from agent.record import FORMAT, LONGEST, UNSIGNED, RecordError, encode_around_signature, leaf_hash, signed_part
from agent.schema import check_record
from config.language import _

PAYLOAD_TYPE = "application/vnd.meterseal.record.v1+json"
_SIGNATURE_BYTES = len('"sig":"",') + 86


def base64url(data: bytes) -> str:
    """Base64url without padding (RFC 4648, section 5)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def from_base64url(text: str) -> bytes:
    """The bytes of base64url text without padding. Raises ValueError for anything else, also for stray bits."""
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if base64url(data) != text:
        raise ValueError(_("not base64url without padding"))
    return data


def key_name(public: bytes) -> str:
    """The name of a public key (32 bytes): the first 8 bytes of its SHA-256, hexadecimal."""
    return hashlib.sha256(public).hexdigest()[:16]


def pre_authentication(body: bytes, kind: str = PAYLOAD_TYPE) -> bytes:
    """The bytes that are signed for a canonical body of a type (DSSE v1); without one, for a record's."""
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode("ascii"), len(body), body)


@dataclass(frozen=True, slots=True)
class Key:
    """A gateway's signing key."""

    private: Ed25519PrivateKey

    @property
    def public(self) -> bytes:
        """The 32 bytes of the public key."""
        return self.private.public_key().public_bytes_raw()

    @property
    def name(self) -> str:
        """The key's name in records."""
        return key_name(self.public)

    def sign(self, data: bytes) -> bytes:
        """The 64 bytes of an Ed25519 signature."""
        return self.private.sign(data)


@dataclass(frozen=True, slots=True)
class Record:
    """A sealed record.

    Attributes:
        n: its index in the gateway's log, from 0.
        payload: canonical bytes with the signature: what the ledger keeps and MQTT carries.
        leaf: its leaf hash.
        fields: its content.
    """

    n: int
    payload: bytes
    leaf: bytes
    fields: Mapping[str, Any]


def seal(draft: Mapping[str, Any], *, gateway: str, n: int, prev: bytes, key: Key) -> Record:
    """The draft as record number `n` of a gateway's log, signed.

    Args:
        draft: the kind's own fields with `kind`, `time` and `clock`.
        gateway: `site/gateway`.
        prev: leaf hash of record n-1, or the hash of the empty log for n = 0.
        key: the key in force.

    Raises:
        RecordError: the draft is no record of its kind; nothing was signed.
    """
    header = {"meterseal": FORMAT, "gateway": gateway, "n": n, "prev": base64url(prev), "key": key.name}
    fields = {**draft, **header}
    check_record(fields)
    before, behind = encode_around_signature(fields)
    body = before + behind
    if (length := len(body) + _SIGNATURE_BYTES) > LONGEST:
        raise RecordError(_("it has {length} bytes, a record at most {longest}", length=length, longest=LONGEST))
    signature = base64url(key.sign(pre_authentication(body)))
    return Record(n, b'%s"sig":"%s",%s' % (before, signature.encode("ascii"), behind), leaf_hash(body), fields)


def unsigned(fields: Mapping[str, Any]) -> dict[str, Any]:
    """A record's fields without `sig` and `x`."""
    return {name: value for name, value in fields.items() if name not in UNSIGNED}


def check_signature(fields: Mapping[str, Any], public: bytes) -> bytes:
    """The canonical signed bytes of a record, if its signature is the key's. Use these bytes, not the message.

    Args:
        fields: as parsed, with `sig`.
        public: 32 bytes of the enrolled key.

    Raises:
        RecordError: no signature, a malformed one, or not this key's over this content.
    """
    body = signed_part(fields)
    signature = fields.get("sig")
    if not isinstance(signature, str):
        raise RecordError(_("there is no signature"))
    if not signed(pre_authentication(body), signature, public):
        raise RecordError(_("the signature does not belong to this content and key"))
    return body


def signed(data: bytes, signature: str, public: bytes) -> bool:
    """Whether a signature (base64url) over `data` is the key's (32 bytes)."""
    try:
        _verifier(public).verify(from_base64url(signature), data)
    except (InvalidSignature, ValueError):
        return False
    return True


@lru_cache(maxsize=64)
def _verifier(public: bytes) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(public)


def rotation_statement(gateway: str, old: str, public: bytes, act: str = "rotation") -> bytes:
    """What the new key signs as the `proof` of a `rotate` or `revoke` record, so that nobody enrols a key he does not have.

    Args:
        gateway: `site/gateway`.
        old: name of the key in force, which the new one follows.
        public: 32 bytes of the new key.
        act: `rotation` or `revocation`.
    """
    parts = act.encode(), gateway.encode(), old.encode(), base64url(public).encode()
    return b"meterseal key %s v1\n%s\n%s\n%s\n" % parts
