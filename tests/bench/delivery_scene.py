"""A gateway that seals on, its forwarder, and a subscriber that takes by n and asks for what it lacks: for tests of bad brokers.

The records come from a real ledger, the way there goes over a real broker, and what arrives is what mosquitto_sub prints.
A broker that is killed forgets what it has acknowledged and not passed on; nobody can see that from acknowledgements. So
the subscriber does as a collector does: what it lacks in between it asks for, signed, on the gateway's `resend` topic.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from agent.clock import Clock
from agent.forward import Forwarder
from agent.receipt import Question, collector_key, write_question
from agent.receipt_desk import ReceiptDesk
from agent.seal import Key
from agent.topics import witness_id
from config.site import Mqtt
from tests.agent.delivery import BASE, Plant, records_of
from tests.agent.gateway import GATEWAY
from tests.agent.ledgers import new_key
from tests.brokers import Mosquitto, Place, Subscriber, program, until

NAME = "bench/collector"
_PATIENCE = 900.0
_STANDS_SECONDS = 1.0
_MOST_ASKED = 1000


@dataclass
class Row:
    """What came of one kind of fault: how often it was made, how many records there were, and what that cost."""

    name: str
    faults: int
    records: int
    repeated: int
    asked: int
    seconds: float
    missing: int
    wrong: int

    def __str__(self) -> str:
        verdict = "OK  " if not (self.missing or self.wrong) else "LOST"
        counts = f"{self.faults:4} faults  {self.records:6} records  {self.repeated:5} repeated  {self.asked:3} asked for"
        return f"{verdict} {self.name:22} {counts}  {self.missing} missing  {self.wrong} other bytes  {self.seconds:6.1f} s"


class Taker:
    """Keeps what a subscriber printed, by n, and asks for what is missing in between."""

    def __init__(self, ask: Callable[[bytes], Any], key: Key) -> None:
        self.kept: dict[int, bytes] = {}
        self.arrived: dict[int, float] = {}
        self.repeated = self.wrong = self.asked = 0
        self._ask = ask
        self._key = key
        self._looked_at = 0
        self._first, self._since = 0, time.monotonic()

    def take(self, subscriber: Subscriber) -> None:
        """Takes what has come since."""
        for seen in records_of(subscriber.seen[self._looked_at :]):
            n = int(json.loads(seen.payload)["n"])
            self.repeated += n in self.kept
            self.arrived.setdefault(n, time.monotonic())
            self.wrong += self.kept.setdefault(n, seen.payload) != seen.payload
        self._looked_at = len(subscriber.seen)

    async def ask(self, size: int) -> None:
        """Asks for the first hole, if it stands for a while."""
        while self._first in self.kept:
            self._first, self._since = self._first + 1, time.monotonic()
        if self._first >= size or time.monotonic() - self._since < _STANDS_SECONDS:
            return
        first, last = self._first, min(size, self._first + _MOST_ASKED)
        end = next((n for n in range(first, last) if n in self.kept), last)
        self._since = time.monotonic()
        self.asked += 1
        await self._ask(write_question(GATEWAY, Question(first, end), NAME, self._key))


@dataclass
class Scene:
    """What a fault is done to."""

    plant: Plant
    subscriber: Subscriber
    forwarder: Forwarder
    taker: Taker
    chance: random.Random
    sealed: dict[int, float]

    async def burst(self) -> None:
        """Many records at once, so that something is under way when the fault comes; returns when a few have arrived."""
        drafts = [self.plant.reading(f"em-{self.chance.choice((1, 2))}") for _ in range(self.chance.randrange(100, 400))]
        await self.plant.ledger.append(*drafts)
        await self.some_go_through(self.chance.randrange(1, 60))

    async def some_go_through(self, count: int = 20) -> None:
        """Returns when so many more records have arrived."""
        self.taker.take(self.subscriber)
        goal = len(self.taker.kept) + count
        await self.until(lambda: len(self.taker.kept) >= goal)

    async def until(self, condition: Callable[[], object], what: str = "") -> None:
        """Returns when a condition holds; meanwhile what arrives is taken and what is missing is asked for."""
        deadline = time.monotonic() + _PATIENCE
        while not condition():
            assert time.monotonic() < deadline, f"not within {_PATIENCE} s: {what}; {self.forwarder.state}"
            self.taker.take(self.subscriber)
            await self.taker.ask(self.plant.ledger.size)
            await asyncio.sleep(0.02)

    async def moment(self, longest: float) -> None:
        """A stretch of time at random, up to so many seconds."""
        await asyncio.sleep(self.chance.uniform(0, longest))


@contextlib.asynccontextmanager
async def scene(
    plant: Plant,
    broker: Mosquitto | Place,
    chance: random.Random,
    clock: Clock,
    *,
    port: int | None = None,
    publish: Sequence[str] = (),
    subscriber: Subscriber | None = None,
    every: float = 0.02,
    **site: Any,
) -> AsyncIterator[Scene]:
    """Everything running, records being sealed all the while.

    Args:
        port: where the forwarder finds the broker, if not at its own port.
        publish: words for mosquitto_pub to reach the broker from where the subscriber is.
        subscriber: another one than a mosquitto_sub on this machine.
        every: how many seconds lie between two readings that are sealed meanwhile.
        site: more of the destination's entry in the site file.
    """
    key = new_key("collector")
    line = collector_key(NAME, key.public)
    told = Mqtt(**({"host": "127.0.0.1", "port": port or broker.port, "keepalive": 30, "collector": line} | site))
    forwarder = plant.forwarder(told.port or 0, clock, **(site | {"collector": line}))
    desk = ReceiptDesk(told, line, plant.ledger, forwarder, clock, None, plant.log)
    words = (*publish, program("mosquitto_pub"), "-V", "5", "-q", "1", "-h", broker.host, "-p", str(broker.port))
    place = f"{BASE}/collector/{witness_id(line)}/resend"

    async def ask(question: bytes) -> None:
        process = await asyncio.create_subprocess_exec(
            *words, "-t", place, "-s", stdin=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
        await process.communicate(question)

    heard = subscriber or Subscriber(broker, f"{BASE}/#")
    await heard.start()
    made = Scene(plant, heard, forwarder, Taker(ask, key), chance, {})
    tasks = [asyncio.create_task(forwarder.run()), asyncio.create_task(desk.run()), asyncio.create_task(_seal_on(made, every))]
    try:
        yield made
        for task in tasks:
            assert not task.done(), task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await heard.end()


async def _seal_on(made: Scene, every: float) -> None:
    """A reading now and then, as long as anybody looks."""
    for number in itertools.count():
        (record,) = await made.plant.ledger.append(made.plant.reading(f"em-{number % 2 + 1}"))
        made.sealed[record.n] = time.monotonic()
        await asyncio.sleep(every)


async def row(name: str, made: Scene, faults: int, began: float) -> Row:
    """Waits until the subscriber has every record that was sealed up to now, and compares them with the ledger."""
    size = made.plant.ledger.size
    with contextlib.suppress(AssertionError):  # what is missing then is told by the row
        await made.until(lambda: all(n in made.taker.kept for n in range(size)), f"{name}: all of {size} records")
    taker, sealed = made.taker, made.plant.payloads()[:size]
    missing = sum(n not in taker.kept for n in range(size))
    wrong = sum(taker.kept.get(n, payload) != payload for n, payload in enumerate(sealed)) + taker.wrong
    return Row(name, faults, size, taker.repeated, taker.asked, time.monotonic() - began, missing, wrong)


async def connected(made: Scene, yes: bool = True) -> None:
    """Returns when the forwarder has a connection, or has none."""
    await until(lambda: made.forwarder.state.connected is yes, seconds=_PATIENCE)
