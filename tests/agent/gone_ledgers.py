"""Ledgers on disk for tests of records that are gone: two meters with every kind of record that rests on others."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from agent.checkpoint import claimed
from agent.clock import Clock
from agent.ledger_connection import writable
from agent.ledger_writing import row_of
from agent.merkle import Frontier, root_of
from agent.record import leaf_hash, parse, parsed_body
from agent.seal import Record
from tests.agent.gateway import StillClock
from tests.agent.ledgers import DIGEST, EVERY_S, MODEL, ORIGIN, Gateway


def long_gateway(readings: int) -> Gateway:
    """A gateway with so many readings of two meters, gaps and starts among them, a checkpoint now and then."""
    gateway = Gateway().begin()
    gateway.after(0.3)
    for quarter in range(readings // 2):
        gateway.reading("rtu-1", energy=18422357 + quarter)
        gateway.reading("tcp-2", energy=990000 + 7 * quarter)
        if quarter % 50 == 49:
            gateway.checkpoint()
        if quarter % 200 == 70:
            gateway.append("stop", reason="sigterm")
            gateway.started()
        gateway.after(EVERY_S)
    return gateway


_MADE: dict[int, bytes] = {}


def on_disk(gateway: Gateway, path: Path) -> None:
    """Writes a gateway's log as a ledger; made once, then copied."""
    if len(gateway.log.records) not in _MADE:
        _make(gateway, path)
        _MADE[len(gateway.log.records)] = path.read_bytes()
    path.write_bytes(_MADE[len(gateway.log.records)])


def _make(gateway: Gateway, path: Path) -> None:
    leaves: list[bytes] = []
    with closing(writable(path)) as database:
        database.execute("BEGIN")
        for n, payload in enumerate(gateway.log.records):
            fields = parse(payload)
            leaves.append(leaf_hash(parsed_body(fields)))
            database.execute("INSERT INTO record VALUES (?, ?, ?, ?, ?)", row_of(Record(n, payload, leaves[-1], fields)))
        for number in range(len(leaves) // 256):
            database.execute("INSERT INTO tile VALUES (?, ?)", (number, root_of(leaves[256 * number : 256 * number + 256])))
        for note in gateway.log.notes:
            database.execute("INSERT INTO checkpoint VALUES (?, ?)", (claimed(note, ORIGIN).size, note))
        frontier = Frontier()
        for leaf in leaves:
            frontier = frontier.append(leaf)
        database.execute("INSERT INTO tree VALUES (1, ?, ?)", (frontier.size, b"".join(frontier.hashes)))
        database.execute("INSERT INTO model VALUES (?, ?)", (DIGEST, MODEL))
        database.execute("COMMIT")


def clock_behind(gateway: Gateway) -> Clock:
    """A clock that goes on where a gateway's last record stands."""
    clock = StillClock(int(gateway.now.timestamp() * 1000) * 1_000_000)
    clock.boot, clock.uptime_ns = gateway.boot, gateway.uptime_ms * 1_000_000
    return clock
