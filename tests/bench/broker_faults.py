"""Bad brokers and bad lines, over and over: at the end a subscriber that takes by n has every record, byte for byte.

    make broker-faults                                       all of it; the network's part needs root
    .venv/bin/python -m tests.bench.broker_faults killed slow --times 5 --seed 7

Each row is one kind of fault, made as many times as it says while records are sealed and delivered. The seed is printed;
what the clock and the processes make of it is new each time.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from tests.agent.delivery import BASE, FastClock, planted
from tests.agent.gateway import GATEWAY
from tests.authority import Authority
from tests.bench import network_faults
from tests.bench.delivery_scene import Row, Scene, connected, row, scene
from tests.brokers import Line, Mosquitto, Place, QuotaLine, free_port, program

_FAST = 30.0
_ALL = f"topic readwrite {BASE}/#\ntopic read $SYS/#\n"
_NAME = f"meterseal-{GATEWAY.replace('/', '-')}-broker"


@contextlib.asynccontextmanager
async def _begun(folder: Path, chance: random.Random, broker: Mosquitto | Place, **more: Any) -> AsyncIterator[Scene]:
    """A scene with a backlog to begin with, on a clock that goes faster."""
    async with planted(folder) as plant:
        await plant.read(300, "em-1", "em-2")
        async with scene(plant, broker, chance, FastClock(_FAST), **more) as made:
            await made.some_go_through()
            yield made


async def killed(folder: Path, chance: random.Random, times: int) -> Row:
    """The broker is killed in mid-stream and forgets all it had; its subscriber has to come back too."""
    began = time.monotonic()
    with Mosquitto(folder) as broker:
        async with _begun(folder, chance, broker) as made:
            for _ in range(times):
                await made.burst()
                broker.kill()
                await made.subscriber.end()
                made.taker.take(made.subscriber)
                await made.moment(0.1)
                broker.start()
                if chance.random() < 0.5:
                    await connected(made)  # the gateway is back before anybody listens
                await made.subscriber.start()
            return await row("killed", made, times, began)


async def half_open(folder: Path, chance: random.Random, times: int) -> Row:
    """The connection stands and nothing passes, in either direction."""
    began = time.monotonic()
    with Mosquitto(folder) as broker:
        async with Line(broker.port) as line, _begun(folder, chance, broker, port=line.port) as made:
            for _ in range(times):
                await made.burst()
                line.swallows = True
                await connected(made, yes=False)
                line.open()
                await connected(made)
            return await row("half-open", made, times, began)


async def slow(folder: Path, chance: random.Random, times: int) -> Row:
    """The broker gets a little processor time now and then."""
    began = time.monotonic()
    with Mosquitto(folder) as broker:
        async with _begun(folder, chance, broker) as made:
            for _ in range(times):
                await made.burst()
                broker.freeze()
                await made.moment(0.3)
                broker.thaw()
                await made.moment(0.05)
            return await row("slow", made, times, began)


async def refusing(folder: Path, chance: random.Random, times: int) -> Row:
    """A topic is denied, and allowed again; then nobody listens at the port, then somebody does."""
    began = time.monotonic()
    with Mosquitto(folder, access=_ALL) as broker:
        async with _begun(folder, chance, broker) as made:
            for _ in range(times):
                broker.allow(f"{_ALL}topic deny {BASE}/reading/em-{chance.choice((1, 2))}\n")
                await made.until(lambda: made.forwarder.state.why, "a refusal is told")
                broker.allow(_ALL)
                await made.some_go_through()
            return await row("refusing", made, times, began)


async def quota(folder: Path, chance: random.Random, times: int) -> Row:
    """Every few records the broker says that the quota is used up."""
    began = time.monotonic()
    with Mosquitto(folder) as broker:
        async with QuotaLine(broker.port) as line, _begun(folder, chance, broker, port=line.port) as made:
            for _ in range(times):
                line.refuses = chance.randrange(1, 4)
                await made.until(lambda line=line: not line.refuses, "what was refused was tried")  # type: ignore[misc]  # mypy: a lambda's default
                await made.some_go_through()
            return await row("quota", made, times, began)


async def taken_over(folder: Path, chance: random.Random, times: int) -> Row:
    """Another client connects under the gateway's client name."""
    began = time.monotonic()
    with Mosquitto(folder) as broker:
        twin = [program("mosquitto_pub"), "-V", "5", "-p", str(broker.port), "-i", _NAME, "-t", "x", "-m", "x"]
        async with _begun(folder, chance, broker) as made:
            for _ in range(times):
                await made.burst()
                await asyncio.to_thread(subprocess.run, twin, check=True, timeout=60, stderr=subprocess.DEVNULL)
            return await row("session taken over", made, times, began)


async def certificates(folder: Path, chance: random.Random, times: int) -> Row:
    """The gateway's certificate expires and is renewed: no restart."""
    began = time.monotonic()
    authority, own = Authority(folder, "plant-ca"), (folder / "own.pem", folder / "own.key")
    server, server_key = authority.certificate("127.0.0.1")
    inside = Place("127.0.0.1", free_port())
    settings = (f"certfile {server}", f"keyfile {server_key}", f"cafile {authority.file}", "require_certificate true")

    def issue(days: int) -> None:
        for made, used in zip(authority.certificate("gw1", days=days), own, strict=True):
            Path(made).rename(used)

    issue(2)
    tls = {"ca": authority.file, "certificate": str(own[0]), "key": str(own[1])}
    with Mosquitto(folder, *settings, f"listener {inside.port} {inside.host}") as broker:
        async with _begun(folder, chance, inside, port=broker.port, tls=tls) as made:
            for _ in range(times):
                await made.some_go_through()
                issue(-1)
                broker.stop()
                await connected(made, yes=False)
                broker.start()
                await made.until(lambda: "has expired" in made.forwarder.state.why, "the expiry is told")
                issue(2)
                await made.subscriber.end()
                made.taker.take(made.subscriber)
                await made.subscriber.start()
                await connected(made)
            return await row("certificate renewed", made, times, began)


FAULTS: dict[str, tuple[Callable[[Path, random.Random, int], Awaitable[Row]], int]] = {
    "killed": (killed, 50),
    "half-open": (half_open, 10),
    "slow": (slow, 200),
    "refusing": (refusing, 20),
    "quota": (quota, 50),
    "taken-over": (taken_over, 50),
    "certificates": (certificates, 10),
}


def main() -> int:
    """Makes the faults that were asked for and prints a row for each; 1 if anything was lost."""
    words = argparse.ArgumentParser(description="Bad brokers and bad lines.")
    words.add_argument("faults", nargs="*", metavar="FAULT", help=f"{', '.join([*FAULTS, *network_faults.WAYS])}; else all")
    words.add_argument("--times", type=int, help="how often each is made")
    words.add_argument("--seed", type=int, default=random.randrange(2**32))
    words.add_argument("--seconds", type=float, default=180.0, help="how long the network is bad in each of its ways")
    given = words.parse_args()
    print(f"seed {given.seed}", flush=True)
    lost = False
    wanted = given.faults or [*FAULTS, *network_faults.WAYS]
    for name in (name for name in wanted if name not in network_faults.WAYS):
        make, times = FAULTS[name]
        with tempfile.TemporaryDirectory() as folder:
            made = asyncio.run(make(Path(folder), random.Random(f"{given.seed} {name}"), given.times or times))
        print(made, flush=True)
        lost |= bool(made.missing or made.wrong)
    ways = [name for name in wanted if name in network_faults.WAYS]
    return int(lost | (bool(ways) and network_faults.outside(given.seed, given.seconds, ways) != 0))


if __name__ == "__main__":
    sys.exit(main())
