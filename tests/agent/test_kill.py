"""SIGKILL at any moment: no committed record is lost, no n is used twice, and everything reaches the subscriber."""

import asyncio
import contextlib
import json
import os
import random
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.keys import make_key
from agent.ledger_file import LedgerError, LedgerReader
from agent.simulate import Simulator
from config.library import load_models
from tests.agent.both import verify
from tests.agent.plants import plant_of
from tests.brokers import Mosquitto, Seen, Subscriber, until

KILLS = 100
METERS = 12
ROOT = Path(__file__).parents[2]


class Agents:
    """One agent after the other on the same state directory, or one collector."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.pid = 0

    @classmethod
    @contextlib.asynccontextmanager
    async def on(cls, *words: str) -> AsyncIterator["Agents"]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.agent.zygote", *words),
            cwd=ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        agents = cls(process)
        try:
            yield agents
        finally:
            with contextlib.suppress(ProcessLookupError):
                if agents.pid:
                    os.kill(agents.pid, signal.SIGKILL)
                process.kill()
            await process.wait()

    async def start(self) -> None:
        assert self._process.stdin
        self._process.stdin.write(b"go\n")
        self.pid = int(await self._line())

    async def end(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)
        assert await self._line() == b"ended"
        self.pid = 0

    def send(self, number: signal.Signals) -> None:
        """Sends a signal to the program."""
        os.kill(self.pid, number)

    async def _line(self) -> bytes:
        assert self._process.stdout
        async with asyncio.timeout(120):
            return (await self._process.stdout.readline()).strip()


def site_text(simulator: Simulator, broker: int) -> str:
    lines = [f"  line-{index}: {{tcp: '{simulator.address_of(f'line-{index}')}'}}" for index in range(3)]
    meters = [
        f"  - {{id: M-{index}, link: line-{index % 3}, model: eastron-sdm120, address: {index + 1}}}" for index in range(METERS)
    ]
    head = ["gateway: plant/gw1", "every: 1s", "commit_seconds: 0.02"]
    return "\n".join([*head, "links:", *lines, "meters:", *meters, "mqtt:", f"  - {{host: 127.0.0.1, port: {broker}}}", ""])


def on_disk(path: Path) -> dict[int, bytes]:
    """What is committed, by n. Opened only to read, beside whatever the killed agent left."""
    try:
        reader = LedgerReader(path)
    except LedgerError:
        return {}
    try:
        return dict(reader.payloads())
    except LedgerError:
        return {}  # killed before the tables were committed
    finally:
        reader.close()


@pytest.mark.timeout(400)
async def test_an_agent_killed_at_a_hundred_random_moments_loses_nothing_and_repeats_no_number(tmp_path: Path) -> None:
    chance = random.Random(7)
    listen = {f"line-{index}": {"tcp": "127.0.0.1:0"} for index in range(3)}
    meters = [
        {"id": f"M-{index}", "on": f"line-{index % 3}", "address": index + 1, "model": "eastron-sdm120"}
        for index in range(METERS)
    ]
    key = make_key(tmp_path / "state", "plant/gw1")
    ledger = tmp_path / "state" / "ledger.sqlite"
    with Mosquitto(tmp_path) as broker:
        async with (
            Simulator(plant_of(*meters, **listen), load_models(), tmp_path) as simulator,
            Subscriber(broker, "meterseal/v1/plant/gw1/#", session="collector") as subscriber,
        ):
            (tmp_path / "site.yaml").write_text(site_text(simulator, broker.port), "utf-8")
            async with Agents.on("agent", str(tmp_path / "site.yaml"), str(tmp_path / "state")) as agents:
                committed: dict[int, bytes] = {}
                for _ in range(KILLS):
                    await agents.start()
                    await asyncio.sleep(chance.uniform(0.02, 1.1))  # the moment of the kill is what this test varies
                    await agents.end(signal.SIGKILL)
                    now = on_disk(ledger)
                    assert {n: now.get(n) for n in committed} == committed
                    committed = now
                await agents.start()
                await asyncio.sleep(2)
                await agents.end(signal.SIGTERM)
            final = on_disk(ledger)
            assert {n: final.get(n) for n in committed} == committed
            await until(lambda: len(received(subscriber.seen)) >= len(final), 20, "every record at the subscriber")
            assert received(subscriber.seen) == {n: {payload} for n, payload in final.items()}
    assert len(final) > KILLS
    reader = LedgerReader(ledger)
    report = verify(reader, key=(tmp_path / "state" / "key.vkey").read_text("utf-8"))
    reader.close()
    assert report.exit_code == 0, report.text()
    assert key.name in report.text()


def received(seen: list[Seen]) -> dict[int, set[bytes]]:
    """The payloads that came for each n; retained copies stand under topics of their own and are left out."""
    by_number: dict[int, set[bytes]] = {}
    for message in seen:
        if "/reading/" in message.topic or "/gap/" in message.topic or "/event/" in message.topic:
            by_number.setdefault(json.loads(message.payload)["n"], set()).add(message.payload)
    return by_number
