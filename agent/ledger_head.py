"""Where a log on disk stands, and whether its end can be built upon. Reads only.

Before the first new record is sealed the newest records are checked against their signatures and hashes: a log that
somebody changed is never continued.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.clock import from_stamp
from agent.keyring import KeyRing, KeyTerm
from agent.ledger_file import LedgerError, LedgerReader
from agent.merkle import Frontier
from agent.record import EMPTY_LOG, RecordError, leaf_hash, parse, parsed_body
from agent.rhythm import Rhythm
from agent.seal import check_signature, from_base64url, key_name
from config.language import N_, _

_TAIL = 64
_KEEP = N_("Keep the file and run `meterseal verify` to see what was changed; do not delete it.")
_OTHER_KEY = N_("Bring back the key file of this ledger; if it is lost, run `meterseal key revoke` with the recovery key.")


@dataclass(frozen=True, slots=True)
class Head:
    """Where the log stands: everything the next record depends on.

    Attributes:
        frontier: the Merkle tree's right edge.
        prev: the newest record's leaf hash.
        counts: the newest count of each meter.
        boot, offset_ms: the newest record's boot id, and its wall clock minus its time since boot.
        state: what the clock is worth, as the newest record says that is not about a clock that was set.
        rhythm: the newest records that no checkpoint covers.
    """

    frontier: Frontier
    prev: bytes
    counts: Mapping[str, int]
    boot: str
    state: str
    offset_ms: int
    rhythm: Rhythm


def ring_of(reader: LedgerReader) -> tuple[KeyRing, set[int]]:
    """The keys of a log on disk as its key records bring them up, none where there are none; and which records these are.

    Raises:
        LedgerError: one of these records is not in order.
    """
    ring = KeyRing(None)
    seen: set[int] = set()
    for n, payload in reader.kind_records("key", newest_first=False):
        try:
            fields = parse(payload)
            if n and not ring.terms:  # record 0 is gone: what the oldest key record brings stands for it
                ring.terms.append(KeyTerm(key_name(from_base64url(fields["public"])), from_base64url(fields["public"]), n + 1))
                seen.add(n)
                continue
            problems = list(ring.first_record(fields)) if n == 0 else []
            problems += ring.check(n, fields, parsed_body(fields))
            problems += ring.take(n, fields) if n and not problems else []
        except (RecordError, KeyError, ValueError) as error:
            raise LedgerError(_("record {n} of the ledger is damaged: {error}", n=n, error=error), _(_KEEP)) from None
        for _unused, what in problems:
            raise LedgerError(_("record {n} of the ledger is damaged or from another key: {what}", n=n, what=what), _(_KEEP))
        seen.add(n)
    return ring, seen


def head_of(path: Path, gateway: str, public: bytes) -> Head:
    """Where the log on disk stands, after checking that its newest records belong together and to this key.

    The key is the one in force; or the recovery key, to revoke that.

    Raises:
        LedgerError: they do not.
    """
    reader = LedgerReader(path)
    try:
        size = reader.size()
        frontier = _frontier_of(reader, size)
        ring, seen = ring_of(reader)
        in_force = ring.in_force
        if in_force and public not in (in_force.public, ring.recovery):
            raise LedgerError(_("the ledger is from another key: in force is {name}", name=in_force.name), _(_OTHER_KEY))
        prev = reader.known_leaves(size - 1, size).get(size - 1, EMPTY_LOG)
        boot, offset_ms, state = "", 0, ""
        for n, payload in reader.payloads(max(0, size - _TAIL)):
            term = ring.at(n)
            signer = None if n in seen else term.public if term else public
            fields = _checked(reader, n, payload, gateway, signer)
            boot = fields["clock"]["boot"]
            state = state if fields["kind"] == "clock" else fields["clock"]["state"]
            offset_ms = from_stamp(fields["time"]) // 1_000_000 - fields["clock"]["uptime_ms"]
        return Head(frontier, prev, _counts_of(reader), boot, state, offset_ms, _uncovered(reader, size))
    finally:
        reader.close()


def _uncovered(reader: LedgerReader, size: int) -> Rhythm:
    note = reader.newest_checkpoint()
    covered = int(note.split("\n")[1]) if note else 0
    if size <= covered:
        return Rhythm()
    for _unused, payload in reader.payloads(covered):
        clock = parse(payload)["clock"]
        return Rhythm(size - covered, clock["boot"], clock["uptime_ms"])
    return Rhythm(size - covered)


def _frontier_of(reader: LedgerReader, size: int) -> Frontier:
    frontier = Frontier.stored(*reader.tree())
    if frontier.size != size or len(frontier.hashes) != size.bit_count():
        raise LedgerError(
            _("the ledger holds {size} records, its tree {size_2}", size=size, size_2=frontier.size),
            _("Somebody changed the file. Keep it, run `meterseal verify`, and start with a new state directory."),
        )
    return frontier


def _checked(reader: LedgerReader, n: int, payload: bytes, gateway: str, public: bytes | None) -> dict[str, Any]:
    try:
        fields = parse(payload)
        body = check_signature(fields, public) if public else parsed_body(fields)  # key records have been checked before
    except RecordError as error:
        raise LedgerError(
            _("record {n} of the ledger is damaged or from another key: {error}", n=n, error=error), _(_KEEP)
        ) from None
    if fields.get("n") != n or leaf_hash(body) != reader.leaf(n):
        raise LedgerError(_("record {n} of the ledger is damaged", n=n), _(_KEEP))
    if fields["gateway"] != gateway:
        raise LedgerError(
            _(
                "this ledger belongs to gateway {gateway}, site.yaml says {gateway_2}",
                gateway=fields["gateway"],
                gateway_2=gateway,
            ),
            _("Correct `gateway:` in site.yaml, or take another state directory."),
        )
    return fields


def _counts_of(reader: LedgerReader) -> dict[str, int]:
    """The newest count of each meter; where records behind it are gone, as if all of them had been the meter's."""
    counts: dict[str, int] = {}
    newest = reader.newest_counted()
    for meter in reader.meters():
        n = newest.get(meter, -1)
        count = parse(reader.payload(n))["meter"]["count"] if n >= 0 else -1
        if (count := count + reader.gone_behind(n)) >= 0:
            counts[meter] = count
    return counts
