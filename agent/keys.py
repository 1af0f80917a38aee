"""The gateway's key file and its enrolment form.

The key file is trusted: whoever copies it can forge readings from that day on. It is made once, readable by its
owner only, and never leaves the gateway. What an auditor needs is the public key line on the enrolment form.
"""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from agent.checkpoint import origin_of, verifier_key
from agent.seal import Key

KEY_FILE = "key.pem"
PUBLIC_FILE = "key.vkey"
CREDENTIAL = "meterseal_key"


class KeyFileError(Exception):
    """The key file is missing, damaged or open to others. `hint` says what to do."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def make_key(state: Path, gateway: str) -> Key:
    """A new key in the state directory (mode 0600) with its public line beside it. Never overwrites one.

    Raises:
        KeyFileError: there is a key already.
    """
    state.mkdir(parents=True, exist_ok=True)
    key = Key(Ed25519PrivateKey.generate())
    keep_private(state / KEY_FILE, key.private, "A gateway keeps its key; for another one take another --state.")
    (state / PUBLIC_FILE).write_text(verifier_key(origin_of(gateway), key.public) + "\n", "utf-8")
    return key


def load_key(state: Path) -> Key:
    """The gateway's key: from systemd's credential `meterseal_key` if there is one, else from the state directory.

    Raises:
        KeyFileError: there is none, it is damaged, or others may read it.
    """
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    path = Path(credentials) / CREDENTIAL if credentials and (Path(credentials) / CREDENTIAL).exists() else state / KEY_FILE
    private = read_private(path, "Run `meterseal init` first.")
    if not isinstance(private, Ed25519PrivateKey):
        raise KeyFileError(f"{path} is not an Ed25519 key", "Run `meterseal init` with a new state directory.")
    return Key(private)


def keep_private(path: Path, private: PrivateKeyTypes, refused: str) -> None:
    """Writes a private key (PEM, PKCS 8, mode 0600) to disk. Never overwrites one.

    Raises:
        KeyFileError: there is a file of that name; its hint is `refused`.
    """
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise KeyFileError(f"there is a key already: {path}", refused) from None
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)
        file.flush()
        os.fsync(file.fileno())


def read_private(path: Path, missing: str) -> PrivateKeyTypes:
    """The private key in a PEM file.

    Raises:
        KeyFileError: there is none (its hint is `missing`), it is damaged, or others may read it.
    """
    try:
        if path.stat().st_mode & 0o077:
            raise KeyFileError(f"{path} can be read by others", f"Run: chmod 600 {path}")
        return load_pem_private_key(path.read_bytes(), password=None)
    except FileNotFoundError:
        raise KeyFileError(f"there is no key at {path}", missing) from None
    except PermissionError:
        raise KeyFileError(f"{path} may not be read by this user", "Run as the user the key was made by.") from None
    except ValueError as error:
        raise KeyFileError(
            f"{path} is not a key file: {error}", "Bring back the key file from where you keep its copy."
        ) from None


def enrolment_form(gateway: str, key: Key) -> str:
    """The page two people sign when a gateway is put to work: it, not the network, is the root of trust."""
    line = verifier_key(origin_of(gateway), key.public)
    return f"""METERSEAL  ENROLMENT OF A GATEWAY                                    keep this page with the plant's records

Gateway       {gateway}
Key name      {key.name}
Public key    {line}

Records of this gateway are believed because they are signed by the key above.
To verify:    meterseal verify BUNDLE.zip --key "{line}"

Installed by  ______________________   date ____________   signature ______________________

Witness       ______________________   date ____________   signature ______________________
"""
