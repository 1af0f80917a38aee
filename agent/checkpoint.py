"""Checkpoints as C2SP signed notes (`tlog-checkpoint`): size and root of a gateway's log, signed. Pure.

    meterseal/<site>/<gateway>           origin, also the key's name
    42                                   size
    <base64 root hash>

    — meterseal/<site>/<gateway> <base64: 4 bytes key hash, 64 bytes Ed25519 signature>

The key is the gateway's own; its C2SP name is the verifier key line `<origin>+<key hash>+<base64 01 || public>`.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from agent.seal import Key
from config.language import _

ED25519 = b"\x01"
_DASH = "\u2014"
_SIZE = re.compile("0|[1-9][0-9]{0,15}", re.ASCII)


class CheckpointError(ValueError):
    """Text that is no checkpoint of this log and key."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Size and root of a log at one time, as signed."""

    origin: str
    size: int
    root: bytes


def origin_of(gateway: str) -> str:
    """The log's origin for a gateway `site/gateway`."""
    return f"meterseal/{gateway}"


def key_hash(name: str, public: bytes, kind: bytes = ED25519) -> bytes:
    """The 4 bytes that a signature line names its key with (C2SP signed-note); `kind`: the signature type's byte."""
    return hashlib.sha256(name.encode() + b"\n" + kind + public).digest()[:4]


def verifier_key(origin: str, public: bytes, kind: bytes = ED25519) -> str:
    """The key as one line to print on a form and to give to `verify --key` (C2SP signed-note verifier key)."""
    return f"{origin}+{key_hash(origin, public, kind).hex()}+{base64.b64encode(kind + public).decode()}"


def read_verifier_key(line: str, kind: bytes = ED25519) -> tuple[str, bytes]:
    """Origin and public key (32 bytes) of a verifier key line. Raises CheckpointError."""
    try:
        origin, hashed, encoded = line.strip().split("+", 2)  # base64 may hold a plus itself
        data = base64.b64decode(encoded, validate=True)
    except ValueError:
        raise CheckpointError(_("not a key line of the form meterseal/site/gateway+12345678+AbCd…")) from None
    if len(data) == 33 and data[:1] != kind and key_hash(origin, data[1:], data[:1]).hex() == hashed:
        raise CheckpointError(
            _("this is a witness's key line, not a gateway's") if kind == ED25519 else _("this is no witness's key line")
        )
    if len(data) != 33 or data[:1] != kind or key_hash(origin, data[1:], kind).hex() != hashed:
        raise CheckpointError(_("the key line is damaged: its parts do not belong together"))
    return origin, data[1:]


def signature_line(name: str, data: bytes) -> str:
    """A signature line of a note, without its line feed."""
    return f"{_DASH} {name} {base64.b64encode(data).decode()}"


def signature_data(line: str, name: str, hashed: bytes, length: int) -> bytes | None:
    """What stands behind the key hash in a signature line of this name and key; None where it is another's."""
    parts = line.split(" ")
    if len(parts) != 3 or parts[0] != _DASH or parts[1] != name:
        return None
    try:
        data = base64.b64decode(parts[2], validate=True)
    except ValueError:
        return None
    return data[4:] if data[:4] == hashed and len(data) == 4 + length else None


def write(origin: str, size: int, root: bytes, key: Key) -> str:
    """A signed checkpoint."""
    text = f"{origin}\n{size}\n{base64.b64encode(root).decode()}\n"
    return f"{text}\n{signature_line(origin, key_hash(origin, key.public) + key.sign(text.encode()))}\n"


def claimed(note: str, origin: str) -> Checkpoint:
    """What a note says, whoever signed it. Raises CheckpointError: not a checkpoint of this log."""
    text, separator, _unused = note.partition("\n\n")
    lines = text.split("\n")
    if not separator or len(lines) < 3 or lines[0] != origin or not _SIZE.fullmatch(lines[1]):
        raise CheckpointError(_("not a checkpoint of {origin}", origin=origin))
    try:
        root = base64.b64decode(lines[2], validate=True)
    except ValueError:
        root = b""
    if len(root) != 32:
        raise CheckpointError(_("the root hash is damaged"))
    return Checkpoint(origin, int(lines[1]), root)


def read(note: str, origin: str, public: bytes) -> Checkpoint:
    """The checkpoint in a note, if this key signed it; other keys' signature lines are passed over.

    Raises:
        CheckpointError: not a checkpoint, another log's, or not signed by the key.
    """
    checkpoint = claimed(note, origin)
    text, _unused, signatures = note.partition("\n\n")
    if not any(is_signed_by(line, f"{text}\n", origin, public) for line in signatures.split("\n")):
        raise CheckpointError(_("the gateway's key did not sign it"))
    return checkpoint


def is_signed_by(line: str, text: str, origin: str, public: bytes) -> bool:
    """Whether a signature line is this key's (named `origin`, 32 bytes) over a note's text with its last line feed."""
    signature = signature_data(line, origin, key_hash(origin, public), 64)
    if signature is None:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, text.encode())
    except (ValueError, InvalidSignature):
        return False
    return True
