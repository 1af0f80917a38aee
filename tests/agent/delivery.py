"""A ledger that grows and forwarders that deliver it, for tests of the way from the ledger to a subscriber."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import structlog
from structlog.testing import LogCapture

from agent.clock import Clock
from agent.forward import Forwarder
from agent.ledger import Ledger
from agent.ledger_file import LedgerReader
from agent.seal import Key, base64url
from config.site import Mqtt, Site
from tests.agent.gateway import GATEWAY, StillClock, begun, new_key
from tests.brokers import Seen, Subscriber

BASE = f"meterseal/v1/{GATEWAY}"
RECORDS = ("reading", "gap", "event")
RECORD_TYPE = "application/vnd.meterseal.record.v1+json"
MODEL = b"model: test-meter\nrevision: 1\n"
DIGEST = hashlib.sha256(MODEL).hexdigest()


class FastClock(Clock):
    """The machine's clock, a number of times faster."""

    def __init__(self, times: float = 60.0) -> None:
        super().__init__()
        self.times = times

    def monotonic(self) -> float:
        return time.monotonic() * self.times

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self.times)


class Plant:
    """A ledger that grows, and forwarders that deliver it."""

    def __init__(self, ledger: Ledger, key: Key) -> None:
        self.ledger = ledger
        self.key = key
        self.path = ledger.path
        self.clock = StillClock()
        self.declared = ""
        self.events = LogCapture()
        self.log = structlog.wrap_logger(None, processors=[self.events], wrapper_class=structlog.make_filtering_bound_logger(0))

    async def declare(self, *meters: str) -> None:
        await self.ledger.keep_model(DIGEST, MODEL)
        fields = {"serial": "77", "model": "test-meter", "revision": 1, "digest": DIGEST, "trust": "B", "link": "line1"}
        schedule = {"every_ms": 900_000, "quantities": ["active_power"]}
        fields |= {"framing": "rtu", "address": "1", "place": "hall 3", "schedules": [schedule]}
        records = await self.ledger.append(*(self._draft("meter", meter={"id": meter, **fields}) for meter in meters))
        self.declared = base64url(records[-1].leaf)

    async def read(self, count: int, *meters: str) -> None:
        """Seals readings, of the meters in turn, in commits of five."""
        for start in range(0, count, 5):
            turns = range(start, min(start + 5, count))
            await self.ledger.append(*(self.reading((meters or ("em-1",))[turn % max(1, len(meters))]) for turn in turns))

    def reading(self, meter: str) -> dict[str, Any]:
        """A reading of a meter, not yet sealed."""
        source = {"id": meter, "serial": "77", "serial_from": "plate", "declared": self.declared}
        value = {"quantity": "active_power", "value": "1873", "unit": "W", "formula": "0@3:i16be"}
        frame = {"request": "0103000a0001a408", "answer": "01030207513a28", "ms": 31}
        told = {"every_ms": 900_000, "due": "2026-03-01T00:00:00.000Z", "frames": [frame], "values": [value]}
        return self._draft("reading", meter=source, **told)

    def _draft(self, kind: str, **fields: Any) -> dict[str, Any]:
        clock = {"state": "synchronized", "error_ms": 8, "boot": self.clock.boot, "uptime_ms": 5_000_000}
        return {"kind": kind, "time": "2026-03-01T00:00:00.000Z", "clock": clock, **fields}

    def forwarder(
        self, port: int, clock: Clock | None = None, password: str | None = None, site_file: Site | None = None, **site: Any
    ) -> Forwarder:
        destination = Mqtt(**({"host": "127.0.0.1", "port": port, "keepalive": 30} | site))
        return Forwarder(destination, self.ledger, GATEWAY, clock or FastClock(), password, self.log, site_file)

    def told(self, name: str) -> list[dict[str, Any]]:
        """What stands in the journal under a name."""
        return [dict(entry) for entry in self.events.entries if entry["event"] == name]

    def payloads(self) -> list[bytes]:
        reader = LedgerReader(self.path)
        kept = [payload for _, payload in reader.payloads()]
        reader.close()
        return kept


@contextlib.asynccontextmanager
async def running(forwarder: Forwarder) -> AsyncIterator[Forwarder]:
    """Runs a forwarder; at the end it is cancelled and must be done within a second."""
    task = asyncio.create_task(forwarder.run())
    try:
        yield forwarder
    finally:
        assert not task.done(), task.result()
        cancelled = time.monotonic()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert time.monotonic() - cancelled < 1.0


@contextlib.asynccontextmanager
async def planted(folder: Path) -> AsyncIterator[Plant]:
    """A plant with three records: the key and two declared meters, em-1 and em-2."""
    key = new_key()
    ledger = await begun(folder / "ledger.sqlite", key, StillClock())
    plant = Plant(ledger, key)
    await plant.declare("em-1", "em-2")
    yield plant
    await ledger.close()


def records_of(seen: list[Seen]) -> list[Seen]:
    return [message for message in seen if message.topic.removeprefix(f"{BASE}/").split("/")[0] in RECORDS]


def numbers(subscriber: Subscriber) -> list[int]:
    """The n of the records seen, in the order in which they came."""
    return [json.loads(message.payload)["n"] for message in records_of(subscriber.seen)]


def in_order(seen: list[int]) -> int:
    """How far one gets who takes only what is next, and for whom nothing may come before what is next."""
    following = 0
    for n in seen:
        assert n <= following, f"{n} came before {following}"
        following = max(following, n + 1)
    return following


def caught_up(forwarder: Forwarder, plant: Plant) -> bool:
    return forwarder.state.next_n == plant.ledger.size


def has_all(subscriber: Subscriber, plant: Plant) -> bool:
    return set(numbers(subscriber)) >= set(range(plant.ledger.size))
