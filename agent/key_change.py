"""Changing the gateway's key while the agent is stopped: rotation, and revocation by the recovery key.

1. The state directory's lock is held throughout: the ledger has one writer (docs/decisions/0008).
2. The new key is on disk as `key.next.pem` before the record that brings it into force is sealed, and takes the place of
   `key.pem` after it. Cut short anywhere, the next start finds out from the ledger which of the two is in force.
3. The old private key is overwritten by the new one's file. On flash memory its bytes may survive for a while.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from agent import draft
from agent.clock import Clock
from agent.keyring import KeyRing
from agent.keys import NEXT_FILE, KeyFileError, load_key, new_key_file, write_recovery
from agent.ledger import Ledger
from agent.ledger_file import LedgerReader
from agent.ledger_head import ring_of
from agent.seal import Key, Record, key_name
from agent.state import LEDGER_FILE, only_agent
from config.language import _


def keys_in_ledger(state: Path) -> KeyRing | None:
    """The keys of the ledger in a state directory; None where there is none, or it has no key record yet.

    Raises:
        LedgerError: the ledger or one of its key records is damaged.
    """
    path = state / LEDGER_FILE
    if not path.exists() or path.stat().st_size == 0:
        return None
    reader = LedgerReader(path)
    try:
        ring, _unused = ring_of(reader)
    finally:
        reader.close()
    return ring if ring.terms else None


def key_in_force(state: Path) -> Key:
    """The private key that signs the next record of the ledger in a state directory.

    Raises:
        KeyFileError, LedgerError: there is none.
    """
    ring = keys_in_ledger(state)
    return load_key(state, ring.terms[-1].public if ring else None)


async def rotate(state: Path, gateway: str, who: str, clock: Clock) -> Record:
    """Puts a new key into force, signed for by the old one; the record that does it.

    Raises:
        AgentRunningError, KeyFileError, LedgerError: nothing was changed.
    """
    with only_agent(state):
        ring = _begun(state)
        old = load_key(state, ring.terms[-1].public)
        new = _next_key(state)
        record = await _seal(state, gateway, old, new, draft.rotation(clock, gateway, old.name, new, who))
        load_key(state, new.public)  # puts it in its place
    return record


async def revoke(
    state: Path, gateway: str, who: str, clock: Clock, recovery: Key, following: Key, since: int | None = None
) -> Record:
    """Revokes the key in force, also one that was lost, and puts a new one into force; the record that does it.

    Args:
        state, gateway, who, clock: as for `rotate`.
        recovery: the recovery key, as on paper.
        following: the recovery key from now on; its private half must have been written down before.
        since: the first record that the revoked key may have signed in other hands (`check_since`).

    Raises:
        AgentRunningError, KeyFileError, LedgerError: nothing was changed.
    """
    with only_agent(state):
        ring = _begun(state)
        check_recovery(ring, recovery)
        new = _next_key(state)
        told = draft.revocation(clock, gateway, ring.terms[-1].name, new, who, following.public, since)
        record = await _seal(state, gateway, recovery, new, told)
        write_recovery(state, gateway, following.public)
        load_key(state, new.public)
    return record


def check_since(state: Path, ring: KeyRing, since: int | None) -> None:
    """Returns if a record, where one is given, is one that the key in force has signed. Raises KeyFileError."""
    with closing(LedgerReader(state / LEDGER_FILE)) as log:
        size = log.size()
    first = ring.terms[-1].first
    if since is not None and not first <= since < size:
        what = _(
            "the key in force has signed records {first} to {last}, not record {since}", first=first, last=size - 1, since=since
        )
        raise KeyFileError(what, _("Look up with `meterseal trace` which record was the first that you do not trust."))


def check_recovery(ring: KeyRing, recovery: Key) -> None:
    """Returns if this is the recovery key of the log. Raises KeyFileError."""
    if ring.recovery is None:
        raise KeyFileError(_("this log has no recovery key"), _("Begin a new log: `meterseal init` with a new --state."))
    if recovery.public != ring.recovery:
        raise KeyFileError(
            _(
                "this is recovery key {name}; the one of this log is {key_name}",
                name=recovery.name,
                key_name=key_name(ring.recovery),
            ),
            _("Look for the sheet with that name on it; after a revocation the newest sheet counts."),
        )


def _begun(state: Path) -> KeyRing:
    ring = keys_in_ledger(state)
    if ring is None:
        raise KeyFileError(_("the log has not begun, so there is no key in force to change"), _("Run the agent once first."))
    return ring


def _next_key(state: Path) -> Key:
    (state / NEXT_FILE).unlink(missing_ok=True)  # of a change that never reached the ledger
    return new_key_file(state / NEXT_FILE)


async def _seal(state: Path, gateway: str, signer: Key, new: Key, told: draft.Fields) -> Record:
    ledger = await Ledger.open(state / LEDGER_FILE, gateway, signer, 0.0)
    try:
        (record,) = await ledger.append(told, successor=new)
    finally:
        await ledger.close()
    return record
