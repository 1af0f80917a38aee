"""The gateway's key files: made once, readable by the agent's account only, never sent anywhere.

The key file is trusted: whoever copies it can forge readings from that day on. What an auditor needs is the public key
line on the enrolment form (`agent.enrolment`).

    key.pem        the private key (PKCS#8)
    key.next.pem   while keys are changed: the key that is about to come into force
    key.vkey       the key line of the log's first key, as on the enrolment form
    recovery.vkey  the public half of the recovery key; its private half is on paper or elsewhere, never here

Where systemd hands over a credential `meterseal_key`, that is the private key.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from agent.checkpoint import CheckpointError, origin_of, read_verifier_key, verifier_key
from agent.seal import Key, key_name
from config.language import N_, _

KEY_FILE = "key.pem"
NEXT_FILE = "key.next.pem"
PUBLIC_FILE = "key.vkey"
RECOVERY_FILE = "recovery.vkey"
CREDENTIAL = "meterseal_key"
_RECOVERY = "/recovery"
_KEPT = N_("A gateway keeps its key; `meterseal key rotate` changes it. For another gateway take another --state.")
_MAKE = N_("Run `meterseal init` first.")
_FILE_OPEN = 0o077
_CREDENTIAL_OPEN = 0o027  # systemd shows its access list for the service as a right of the group to read


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
    state.mkdir(mode=0o700, parents=True, exist_ok=True)  # `meterseal doctor` asks for it
    key = new_key_file(state / KEY_FILE)
    (state / PUBLIC_FILE).write_text(verifier_key(origin_of(gateway), key.public) + "\n", "utf-8")
    return key


def new_key_file(path: Path) -> Key:
    """A new key in a file that its owner alone may read; on disk when this returns.

    Raises:
        KeyFileError: there is such a file already.
    """
    key = Key(Ed25519PrivateKey.generate())
    keep_private(path, key.private, _KEPT)
    return key


def load_key(state: Path, in_force: bytes | None = None) -> Key:
    """The gateway's key: systemd's credential `meterseal_key`, else the file in the state directory.

    `in_force`: the 32 public bytes of the key that the ledger says is in force; then the one of the files that is this
    key, put in its place where a change of keys was cut short. None: the log has no record yet.

    Raises:
        KeyFileError: there is none, it is another, it is damaged, it belongs to another account, or others may read it.
    """
    paths = list(_present(state))
    if not paths:
        lost = "" if in_force is None else _(" If it is lost, run `meterseal key revoke` with the recovery key.")
        raise KeyFileError(_("there is no key at {state}", state=state / KEY_FILE), f"{_(_MAKE)}{lost}")
    if in_force is None:
        return read_key(paths[0])
    for path in paths:
        key = read_key(path)
        if key.public == in_force and path.name == NEXT_FILE:
            path.replace(state / KEY_FILE)
        elif key.public == in_force:
            (state / NEXT_FILE).unlink(missing_ok=True)  # of a change that never reached the ledger
        if key.public == in_force:
            return key
    raise KeyFileError(
        _("{paths} is not the key of this ledger; its key is {key_name}", paths=paths[0], key_name=key_name(in_force)),
        _("Bring back the key file that belongs to it; if it is lost, run `meterseal key revoke` with the recovery key."),
    )


def keep_private(path: Path, private: PrivateKeyTypes, refused: str) -> None:
    """Writes a private key (PEM, PKCS 8, mode 0600) to disk. Never overwrites one.

    Raises:
        KeyFileError: there is a file of that name; its hint is `refused`.
    """
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise KeyFileError(_("there is a key already: {path}", path=path), refused) from None
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)
        file.flush()
        os.fsync(file.fileno())


def read_private(path: Path, missing: str) -> PrivateKeyTypes:
    """The private key in a PEM file.

    Raises:
        KeyFileError: there is none (its hint is `missing`), it is damaged, another account's, or others may read it.
    """
    try:
        _only_ours(path)
        return load_pem_private_key(path.read_bytes(), password=None)
    except FileNotFoundError:
        raise KeyFileError(_("there is no key at {path}", path=path), _(missing)) from None
    except PermissionError:
        raise KeyFileError(
            _("{path} may not be read by this user", path=path), _("Run as the user the key was made by.")
        ) from None
    except ValueError as error:
        raise KeyFileError(
            _("{path} is not a key file: {error}", path=path, error=error),
            _("Bring back the key file from where you keep its copy."),
        ) from None


def source_of(state: Path) -> str:
    """Where the private key comes from, as words for a person."""
    paths = list(_present(state))
    if not paths:
        return _("no private key here")
    return _("systemd credential {credential}", credential=CREDENTIAL) if paths[0].name == CREDENTIAL else str(paths[0])


def write_recovery(state: Path, gateway: str, public: bytes) -> None:
    """Notes the public half of the recovery key, which the log's first record commits to."""
    (state / RECOVERY_FILE).write_text(verifier_key(origin_of(gateway) + _RECOVERY, public) + "\n", "utf-8")


def read_recovery(state: Path, gateway: str) -> bytes | None:
    """The public half of the recovery key; None where none was made.

    Raises:
        KeyFileError: the file is damaged, or another gateway's.
    """
    path = state / RECOVERY_FILE
    if not path.exists():
        return None
    try:
        origin, public = read_verifier_key(path.read_text("utf-8", "replace"))
    except CheckpointError as error:
        raise KeyFileError(
            _("{path} is damaged: {error}", path=path, error=error),
            _("Copy its line from enrolment.txt, or from the signed form."),
        ) from None
    if origin != origin_of(gateway) + _RECOVERY:
        raise KeyFileError(_("{path} belongs to {origin}", path=path, origin=origin), _("Bring back this gateway's own file."))
    return public


def readable_key(state: Path) -> Key:
    """The key that the next start would take first. Changes nothing.

    Raises:
        KeyFileError: there is none, or as `read_key`.
    """
    return read_key(next(_present(state), state / KEY_FILE))


def _present(state: Path) -> Iterator[Path]:
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    paths = [Path(credentials) / CREDENTIAL] if credentials else []
    yield from (path for path in (*paths, state / KEY_FILE, state / NEXT_FILE) if path.exists())


def read_key(path: Path, missing: str = _MAKE) -> Key:
    """The signing key in a file.

    Raises:
        KeyFileError: as `read_private`; or it is another kind of key.
    """
    private = read_private(path, missing)
    if not isinstance(private, Ed25519PrivateKey):
        raise KeyFileError(_("{path} is not an Ed25519 key", path=path), _("Run `meterseal init` with a new state directory."))
    return Key(private)


def _only_ours(path: Path) -> None:
    seen = path.stat()
    if path.name == CREDENTIAL:
        if seen.st_mode & _CREDENTIAL_OPEN:
            raise KeyFileError(
                _("{path} can be read by others", path=path), _("Let systemd hand it over: LoadCredential= in the unit.")
            )
        return
    if seen.st_mode & _FILE_OPEN:
        raise KeyFileError(_("{path} can be read by others", path=path), _("Run: chmod 600 {path}", path=path))
    if seen.st_uid != os.geteuid():
        raise KeyFileError(
            _(
                "{path} belongs to another account (number {st_uid}) than this program runs under ({geteuid})",
                path=path,
                st_uid=seen.st_uid,
                geteuid=os.geteuid(),
            ),
            _("Run as that account, or hand it over: chown {geteuid} {path}", geteuid=os.geteuid(), path=path),
        )
