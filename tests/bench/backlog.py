"""A long backlog drained while new records keep coming: how fast it drains, and how late the new ones are.

    make backlog                                                 a week of 100 meters at one minute: a million records
    .venv/bin/python -m tests.bench.backlog --records 20000 --paced-seconds 10

Three rows over one ledger, one mosquitto and one window: the forwarder as the site file has it by default (500 records a
second of backlog; measured for some time only), the forwarder without that limit, and bare paho, which publishes the same
messages from memory. New records are sealed ten times a second. How late one is, is told by mosquitto_sub in a process of
its own, from the moment it was on disk (for paho: handed over) to its arrival; both clocks are this machine's.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from agent import topics
from agent.clock import Clock
from agent.ledger_file import LedgerReader
from agent.mqtt import Message
from config.site import Mqtt
from tests.agent.delivery import BASE, Plant, planted
from tests.agent.gateway import GATEWAY
from tests.bench.publishing import Publisher
from tests.brokers import Mosquitto, program, until

WINDOW = 20
LIVE = "live"
_LIVE_SECONDS = 0.1
_AT_ONCE = 2000
_PATIENCE = 7200.0


@dataclass
class Row:
    """What came of one way of draining: records of backlog, seconds, and how late each new record was, in seconds."""

    name: str
    records: int
    seconds: float
    late: list[float]

    @property
    def rate(self) -> float:
        """Records of backlog a second."""
        return self.records / self.seconds

    @property
    def p99(self) -> float:
        """The lateness that 99 of 100 new records do not exceed, in seconds (nearest rank)."""
        return sorted(self.late)[-(-99 * len(self.late) // 100) - 1]

    def __str__(self) -> str:
        half = statistics.median(self.late) * 1000
        late = f"{half:.0f} ms (median), {self.p99 * 1000:.0f} ms (p99), {max(self.late) * 1000:.0f} ms (most)"
        late = f"{len(self.late)} new records late by {late}"
        return f"{self.name:34} {self.records:8} records in {self.seconds:7.1f} s: {self.rate:6.0f}/s; {late}"


@dataclass
class _Arrivals:
    """When each new record arrived, by n, in seconds since 1970."""

    at: dict[int, float] = field(default_factory=dict)


@contextlib.asynccontextmanager
async def _arrivals(broker: Mosquitto) -> AsyncIterator[_Arrivals]:
    """A mosquitto_sub that prints when each new record came."""
    words = [program("mosquitto_sub"), "-V", "5", "-h", broker.host, "-p", str(broker.port), "-F", "%U %t %p"]
    process = await asyncio.create_subprocess_exec(
        *words, "-t", f"{BASE}/reading/{LIVE}", "-t", "$SYS/broker/version", stdout=asyncio.subprocess.PIPE, limit=2**22
    )
    made, subscribed = _Arrivals(), asyncio.Event()

    async def read() -> None:
        assert process.stdout
        async for line in process.stdout:
            at, topic, payload = line.decode().split(" ", 2)
            if topic.startswith("$SYS"):
                subscribed.set()
            else:
                made.at.setdefault(json.loads(payload)["n"], float(at))

    reading = asyncio.create_task(read())
    await asyncio.wait_for(subscribed.wait(), 60)
    try:
        yield made
    finally:
        process.terminate()
        await process.wait()
        await reading


async def _fill(plant: Plant, records: int) -> None:
    """Seals a backlog, in commits as large as the ledger makes them."""
    meters = itertools.cycle(range(1, 101))
    while plant.ledger.size < records:
        count = min(_AT_ONCE, records - plant.ledger.size)
        await plant.ledger.append(*(plant.reading(f"em-{next(meters)}") for _ in range(count)))


async def _seal_on(plant: Plant, sealed: dict[int, float]) -> None:
    """Seals a new record ten times a second, and notes when it was on disk."""
    while True:
        (record,) = await plant.ledger.append(plant.reading(LIVE))
        sealed[record.n] = time.time()
        await asyncio.sleep(_LIVE_SECONDS)


async def ours(plant: Plant, broker: Mosquitto, name: str, rate: int, seconds: float) -> Row:
    """The forwarder drains the whole ledger, or as much as it does in so many seconds."""
    backlog, sealed = plant.ledger.size, dict[int, float]()
    key = f"round-{rate}"
    forwarder = plant.forwarder(broker.port, Clock(), name=key, window=WINDOW, backlog_per_second=rate)
    async with _arrivals(broker) as arrivals:
        began = time.monotonic()
        tasks = [asyncio.create_task(forwarder.run())]
        try:
            await until(lambda: forwarder.state.connected, 60, "the broker is connected")  # what is sealed before is backlog
            tasks.append(asyncio.create_task(_seal_on(plant, sealed)))
            end = began + seconds
            await until(lambda: forwarder.state.next_n >= backlog or time.monotonic() > end, _PATIENCE, "it is drained")
            row = Row(name, min(backlog, forwarder.state.next_n), time.monotonic() - began, [])
            tasks[1].cancel()
            await asyncio.wait(tasks[1:])
            await until(lambda: arrivals.at.keys() >= sealed.keys(), 60, "the new records have arrived")
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    row.late = [arrivals.at[n] - at for n, at in sealed.items()]
    return row


async def bare(plant: Plant, broker: Mosquitto, backlog: int) -> Row:
    """paho publishes the same messages as fast as its window lets it, and a new one ten times a second beside them."""
    tree = topics.tree_of(Mqtt(host=broker.host), GATEWAY)
    with contextlib.closing(LedgerReader(plant.path)) as reader:
        old = [topics.record(tree, payload) for _, payload in reader.payloads(0, backlog)]
    new = next(message for message in old[::-1] if message.topic.startswith(f"{BASE}/reading/"))
    sent: dict[int, float] = {}
    done = threading.Event()
    async with _arrivals(broker) as arrivals:
        publisher = Publisher(broker.port)
        beside = threading.Thread(target=_new_ones, args=(publisher, new, sent, done))
        began = time.monotonic()
        await asyncio.to_thread(publisher.publish, old, beside.start, lambda: _end(done, beside))
        row = Row("bare paho, no limit", backlog, time.monotonic() - began, [])
        await until(lambda: arrivals.at.keys() >= sent.keys(), 60, "the new messages have arrived")
    row.late = [arrivals.at[n] - at for n, at in sent.items()]
    return row


def _new_ones(publisher: Publisher, like: Message, sent: dict[int, float], done: threading.Event) -> None:
    for number in itertools.count():
        payload = like.payload.replace(b'"n":', b'"n":%d,"was":' % number, 1)
        sent[number] = time.time()
        publisher.one(Message(f"{BASE}/reading/{LIVE}", payload, like.content_type))
        if done.wait(_LIVE_SECONDS):
            return


def _end(done: threading.Event, beside: threading.Thread) -> None:
    done.set()
    beside.join()


async def measure(folder: Path, records: int, paced_seconds: float) -> list[Row]:
    """All three rows."""
    with Mosquitto(folder, quiet=True) as broker:
        async with planted(folder) as plant:
            began = time.monotonic()
            await _fill(plant, records)
            print(f"{records} records sealed in {time.monotonic() - began:.0f} s; window {WINDOW}", flush=True)
            rows = []
            for name, rate, seconds in (
                ("ours, 500/s as by default", 500, paced_seconds),
                ("ours, no limit", 100_000, _PATIENCE),
            ):
                rows.append(await ours(plant, broker, name, rate, seconds))
                print(rows[-1], flush=True)
            rows.append(await bare(plant, broker, records))
            print(rows[-1], flush=True)
    return rows


def _told(rows: list[Row]) -> Iterator[str]:
    by_default, unlimited, paho = rows
    yield f"drain rate over bare paho: {unlimited.rate / paho.rate:.2f}; live p99 over bare paho: {unlimited.p99 / paho.p99:.2f}"
    for row in (by_default, unlimited):
        if row.p99 > 1:
            yield f"TOO LATE: {row.name}: p99 of {row.p99:.2f} s, more than a second"


def main() -> int:
    """Measures and prints; 1 if new records were late by more than a second (p99)."""
    words = argparse.ArgumentParser(description="A backlog drained while new records keep coming.")
    words.add_argument("--records", type=int, default=1_008_000)
    words.add_argument("--paced-seconds", type=float, default=120.0, help="how long the default limit is measured")
    given = words.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        lines = list(_told(asyncio.run(measure(Path(folder), given.records, given.paced_seconds))))
    print("\n".join(lines))
    return int(len(lines) > 1)


if __name__ == "__main__":
    sys.exit(main())
