"""The recovery key as a person keeps it: a code on paper, in the safe, away from the gateway. Pure.

    ABCD-EFGH-...    32 bytes of an Ed25519 private key and 4 bytes of their SHA-256, in base32, groups of four

Its public half stands in the log's first record. It signs one thing only: the revocation of a key that was lost or
stolen. Whoever has it can put a key of his own into force, so it is worth as much as the gateway's key.
"""

from __future__ import annotations

import base64
import hashlib

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.seal import Key
from config.language import _

_CHECKSUM = 4
_MISREAD = str.maketrans("0189", "OILB")  # digits that base32 does not have, for the letters they look like


class RecoveryCodeError(ValueError):
    """What was typed is no recovery code."""


def new_recovery_key() -> Key:
    """A new recovery key."""
    return Key(Ed25519PrivateKey.generate())


def recovery_code(key: Key) -> str:
    """The code of a recovery key: 58 letters and digits in groups of four."""
    private = key.private.private_bytes_raw()
    text = base64.b32encode(private + hashlib.sha256(private).digest()[:_CHECKSUM]).decode().rstrip("=")
    return "-".join(text[at : at + 4] for at in range(0, len(text), 4))


def read_recovery_code(text: str) -> Key:
    """The recovery key of a code as somebody typed it: case, blanks and dashes do not matter.

    Raises:
        RecoveryCodeError: a letter is wrong or missing.
    """
    letters = "".join(text.replace("-", "").split()).upper().translate(_MISREAD)
    try:
        data = base64.b32decode(letters + "=" * (-len(letters) % 8))
    except ValueError:
        data = b""
    private, checksum = data[:-_CHECKSUM], data[-_CHECKSUM:]
    written = base64.b32encode(data).decode().rstrip("=")  # the last letter has bits that decoding does not look at
    if written != letters or len(private) != 32 or hashlib.sha256(private).digest()[:_CHECKSUM] != checksum:
        raise RecoveryCodeError(_("this is not a recovery code: a letter is wrong or missing; compare it with the paper"))
    return Key(Ed25519PrivateKey.from_private_bytes(private))
