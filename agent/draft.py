"""What goes into a record of each kind, before it has a number and a signature. Pure, but for the clock it asks."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from agent.clock import Clock, stamp
from agent.reading import Reading, frame_fields
from agent.seal import Key, base64url, rotation_statement
from config.model import MeterModel, ModelFile, ratio_applied
from config.plate import same_serial
from config.ratio import known_ratios
from config.site import Link, Meter
from drivers import Exchange, Instant

Fields = dict[str, Any]

_PAPERS = ("pipe_mm", "accuracy_class", "measuring_range", "verification_months", "seal", "installed")


def _head(kind: str, clock: Clock, moment: Instant | None = None) -> Fields:
    """Kind, time and clock state of a record about `moment`, by default now."""
    at = moment or clock.instant()
    trust = clock.trust()
    state: Fields = {"state": trust.state, "boot": clock.boot, "uptime_ms": at.uptime_ns // 1_000_000}
    if trust.error_ms is not None:
        state["error_ms"] = trust.error_ms
    return {"kind": kind, "time": stamp(at.wall_ns), "clock": state}


def enrolment(clock: Clock, key: Key, who: str, recovery: bytes | None = None) -> Fields:
    """The first record of a log: its key, and the public half of the recovery key that may revoke it."""
    return _new_key(clock, "enrol", key, who) | ({"recovery": base64url(recovery)} if recovery else {})


def rotation(clock: Clock, gateway: str, old: str, key: Key, who: str) -> Fields:
    """Another key comes into force; the key in force, named `old`, signs the record."""
    proof = key.sign(rotation_statement(gateway, old, key.public))
    return _new_key(clock, "rotate", key, who) | {"proof": base64url(proof)}


def revocation(clock: Clock, gateway: str, old: str, key: Key, who: str, recovery: bytes, since: int | None = None) -> Fields:
    """The key named `old` is revoked and another comes into force, and another recovery key; the recovery key signs.

    `since`: the first record that it may have signed in other hands.
    """
    proof = key.sign(rotation_statement(gateway, old, key.public, "revocation"))
    fields = {"revoked": old, "recovery": base64url(recovery), "proof": base64url(proof)}
    return _new_key(clock, "revoke", key, who) | fields | ({} if since is None else {"since": since})


def _new_key(clock: Clock, action: str, key: Key, who: str) -> Fields:
    return _head("key", clock) | {"action": action, "algorithm": "ed25519", "public": base64url(key.public), "who": who}


def start(clock: Clock, version: str, digest: str, after: str) -> Fields:
    """The agent began; `after` says how it ended before: `first`, `stop` or `crash`."""
    return _head("start", clock) | {"version": version, "config": digest, "after": after}


def stop(clock: Clock, reason: str) -> Fields:
    """The agent ended in order."""
    return _head("stop", clock) | {"reason": reason}


def prune(clock: Clock, first: int, end: int, blocks: Sequence[str], why: str, undelivered: int = 0) -> Fields:
    """Readings and gaps from n = first up to, not including, end were taken away; `blocks`: the roots kept of them."""
    told: Fields = {"first": first, "end": end, "blocks": list(blocks), "why": why}
    return _head("prune", clock) | told | ({"undelivered": undelivered} if undelivered else {})


def loss(clock: Clock, lost: Fields) -> Fields:
    """Records were lost with a damaged file; `lost`: what `agent.salvage` found."""
    return _head("loss", clock) | lost


def configuration(clock: Clock, digest: str, who: str, before: str = "", changed: Sequence[Fields] = ()) -> Fields:
    """A site file came into force; while the agent ran, in place of the one with the digest `before`, with these changes."""
    reloaded = {"before": before, "changed": list(changed)} if before else {}
    return _head("config", clock) | {"digest": digest, "who": who} | reloaded


def declaration(
    meter: Meter,
    model: ModelFile,
    framing: str,
    schedules: Sequence[tuple[int, Sequence[str]]],
    link: Link | None = None,
) -> Fields:
    """What is declared of a meter: everything needed to judge and recompute its readings.

    Args:
        meter: as the site file has it.
        model: the one in force for it.
        framing: how Modbus frames are carried; `own` for other protocols.
        schedules: intervals in milliseconds, each with the quantities that are read at it.
        link: the link it hangs on; None where it is no OPC UA server.
    """
    return {
        "id": meter.id,
        "serial": meter.serial,
        "model": model.declared.model,
        "revision": model.declared.revision,
        "digest": model.digest,
        "trust": model.declared.trust.level,
        "link": meter.link,
        "framing": framing,
        "address": meter.address,
        "place": meter.place,
        "maker": meter.maker or model.declared.maker,
        "product": meter.product or model.declared.product,
        "medium": meter.medium or model.declared.medium,
        "schedules": [{"every_ms": every_ms, "quantities": list(quantities)} for every_ms, quantities in schedules],
        **known_ratios(meter),
        **_server(link),
        **_papers(meter),
        **_applied(model.declared, {name for _, quantities in schedules for name in quantities}),
    }


def _server(link: Link | None) -> Fields:
    """The OPC UA server behind a link, as far as it is known by name or certificate."""
    if link is None:
        return {}
    certificate = (link.certificate or "").removeprefix("sha256:").lower()
    known = {name: text for name, text in (("uri", link.server), ("certificate", certificate)) if text}
    return {"server": known} if known else {}


def _papers(meter: Meter) -> Fields:
    """What only the meter's plate and its papers say, as far as the site file has it."""
    columns = {name: getattr(meter, name) for name in _PAPERS}
    if meter.certificate:
        columns["certificate"] = {"number": meter.certificate.number, "valid_until": meter.certificate.valid_until}
    return {name: column for name, column in columns.items() if column is not None}


def _applied(model: MeterModel, quantities: Collection[str]) -> Fields:
    applied = ratio_applied(point.ratio for point in model.points if point.quantity in quantities)
    return {"ratio_applied": applied} if applied else {}


def declared(clock: Clock, fields: Fields, frames: Sequence[Fields] = ()) -> Fields:
    """A meter's declaration came into force; `frames`: in which it told the settings that are declared."""
    told = {"frames": list(frames)} if frames else {}
    return _head("meter", clock) | {"meter": fields} | told


def alarm(clock: Clock, source: Fields, settings: Sequence[Fields], frames: Sequence[Fields]) -> Fields:
    """A meter's settings are not those that are in force."""
    told = {"settings": list(settings), "frames": list(frames)}
    return _head("alarm", clock) | {"meter": source, "cause": "settings_changed", **told}


def reading(clock: Clock, source: Fields, taken: Reading, doubt: str = "") -> Fields:
    """One poll of a meter, with its frames and values; `doubt`: why it is not evidence grade."""
    return _head("reading", clock, taken.answered) | {
        "meter": source,
        "every_ms": taken.every_ms,
        "due": stamp(taken.due_ns),
        "frames": frame_fields(taken.exchanges),
        "values": [value.fields() for value in taken.values],
        **({"changes": taken.changes.fields()} if taken.changes else {}),
        **({"doubt": doubt} if doubt else {}),
    }


def spot(clock: Clock, source: Fields, taken: Reading, asked: Fields) -> Fields:
    """A meter was read because somebody asked for it; `asked`: the nonce, who and under which account."""
    read = {"frames": frame_fields(taken.exchanges), "values": [value.fields() for value in taken.values]}
    return _head("spot", clock, taken.answered) | {"meter": source, **read, **asked}


def gap(
    clock: Clock,
    source: Fields,
    every_ms: int,
    state: str,
    cause: str,
    since_ns: int,
    due_ns: int,
    *,
    missed: int,
    frames: Sequence[Fields] = (),
    moment: Instant | None = None,
) -> Fields:
    """Polls of a meter are missing: `opened` or `closed`, why, since when, how many. `moment`: when, by default now."""
    return _head("gap", clock, moment) | {
        "meter": source,
        "every_ms": every_ms,
        "state": state,
        "cause": cause,
        "since": stamp(since_ns),
        "due": stamp(due_ns),
        "missed": missed,
        "frames": list(frames),
    }


def counter(clock: Clock, decided: Fields) -> Fields:
    """What a falling or jumping counter was."""
    return _head("counter", clock) | decided


def day(clock: Clock, closed: Fields) -> Fields:
    """A meter's day was closed."""
    return _head("day", clock) | closed


def by_person(clock: Clock, kind: str, fields: Fields) -> Fields:
    """What a person had sealed by hand, such as a correction."""
    return _head(kind, clock) | fields


def clock_set(clock: Clock, before: Instant, after: Instant) -> Fields:
    """The wall clock was set: what it would have shown, and shows."""
    # In whole milliseconds, as every record has its time.
    step_ms = after.wall_ns // 1_000_000 - before.wall_ns // 1_000_000
    times = {"step_ms": step_ms, "before": stamp(before.wall_ns), "after": stamp(after.wall_ns)}
    return _head("clock", clock, after) | times


def identity(clock: Clock, source: Fields, expected: str, found: str, formula: str, exchanges: Sequence[Exchange]) -> Fields:
    """The serial number read from a meter, beside the one on its plate."""
    return _head("identity", clock) | {
        "meter": source,
        "expected": expected,
        "found": found,
        "match": not expected or same_serial(expected, found),
        "formula": formula,
        "frames": frame_fields(exchanges),
    }
