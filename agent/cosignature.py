"""Cosignatures of witnesses as C2SP `tlog-cosignature` describes them, version 1 (Ed25519, timestamped). Pure.

    signs = "cosignature/v1\ntime <seconds since 1970>\n" and the checkpoint's text up to its root's line feed
    line  = "— <name> " and base64 of 4 bytes key hash, 8 bytes time (high byte first), 64 bytes signature

A witness that cosigns says: at this time I had seen this size and root, and before it nothing that contradicts it.
The signature type is 04, so a witness's key can sign no checkpoint of a log, and a gateway's cosigns none.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from agent.checkpoint import CheckpointError, key_hash, read_verifier_key, signature_data, signature_line, verifier_key
from agent.seal import Key
from config.language import _

COSIGNATURE = b"\x04"
_LATEST = 2**40  # the year 36812: what is later was not meant


@dataclass(frozen=True, slots=True)
class Witness:
    """Somebody outside who cosigns checkpoints: his name and the 32 bytes of his public key."""

    name: str
    public: bytes


def witness_key(name: str, public: bytes) -> str:
    """A witness's key as one line, for the site file and for `verify --witness`."""
    return verifier_key(name, public, COSIGNATURE)


def read_witness_key(line: str) -> Witness:
    """The witness of a key line. Raises CheckpointError."""
    return Witness(*read_verifier_key(line, COSIGNATURE))


def body_of(note: str) -> str:
    """The text of a note that signatures cover, with its last line feed; empty where it is no note."""
    text, separator, _unused = note.partition("\n\n")
    return f"{text}\n" if separator else ""


def signature_lines(note: str) -> list[str]:
    """A note's signature lines."""
    return [line for line in note.partition("\n\n")[2].split("\n") if line]


def said_to_have_cosigned(note: str) -> list[tuple[str, str]]:
    """Names and times (UTC) of the cosignature lines of a note, unchecked: whoever has the witness's key line can check them."""
    found = []
    for line in signature_lines(note):
        words = line.split(" ")
        try:
            data = base64.b64decode(words[2], validate=True) if len(words) == 3 else b""
            seconds = int.from_bytes(data[4:12], "big")
            if len(data) == 76:
                found.append((words[1], f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"))
        except (ValueError, OverflowError, OSError):
            continue
    return found


def cosign(note: str, name: str, key: Key, seconds: int) -> str:
    """The cosignature line of a note, without a line feed; `seconds` since 1970."""
    data = key_hash(name, key.public, COSIGNATURE) + seconds.to_bytes(8, "big") + key.sign(_signed(body_of(note), seconds))
    return signature_line(name, data)


def cosigned_at(note: str, line: str, witness: Witness) -> int | None:
    """When a witness cosigned a note, in seconds since 1970; None where the line is another's.

    Raises:
        CheckpointError: the line bears the witness's name and key, and his signature is not over this note.
    """
    data = signature_data(line, witness.name, key_hash(witness.name, witness.public, COSIGNATURE), 72)
    if data is None:
        return None
    seconds = int.from_bytes(data[:8], "big")
    try:
        Ed25519PublicKey.from_public_bytes(witness.public).verify(data[8:], _signed(body_of(note), seconds))
    except (ValueError, InvalidSignature):
        raise CheckpointError(_("{name} did not cosign this", name=witness.name)) from None
    if seconds > _LATEST:
        raise CheckpointError(_("{name}'s cosignature bears an impossible time", name=witness.name))
    return seconds


def _signed(text: str, seconds: int) -> bytes:
    return b"cosignature/v1\ntime %d\n%s" % (seconds, text.encode())
