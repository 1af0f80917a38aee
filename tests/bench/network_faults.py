"""A gateway in one network namespace, a broker and its subscriber in another, and a bad way between them.

Begun by `tests.bench.broker_faults`; this process itself lives on the gateway's side. Needs root.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.agent.delivery import BASE, FastClock, planted
from tests.bench import tun_line
from tests.bench.delivery_scene import Row, Scene, connected, row, scene
from tests.brokers import Place, Subscriber, program

_NEAR_ADDRESS, _FAR_ADDRESS = "10.77.0.1", "10.77.0.2"
_PORT = 1883
_PATIENCE = 60.0
Set = Callable[[str], None]


def outside(seed: int, seconds: float, ways: Sequence[str]) -> int:
    """Makes the namespaces and runs this module inside of one; its exit code, 0 where the machine has no way to."""
    if not tun_line.possible():
        print("not done: network (needs root, `ip` and /dev/net/tun)")
        return 0
    near, far = f"near{os.getpid()}", f"far{os.getpid()}"
    relay = [sys.executable, "-m", "tests.bench.tun_line", near, _NEAR_ADDRESS, far, _FAR_ADDRESS, "--seed", str(seed)]
    with subprocess.Popen(relay, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as way:
        assert way.stdin
        assert way.stdout
        assert way.stdout.readline() == "ready\n"
        inside = [
            sys.executable,
            "-m",
            "tests.bench.network_faults",
            near,
            far,
            "--seed",
            str(seed),
            "--seconds",
            str(seconds),
            *ways,
        ]
        done = subprocess.run(inside, check=False, stdout=None, pass_fds=(way.stdin.fileno(),), env=_told(way.stdin.fileno()))
        way.stdin.close()
        way.wait(_PATIENCE)
    return done.returncode


def _told(descriptor: int) -> dict[str, str]:
    """The environment of the process inside: where it sets how bad the way is."""
    return {**os.environ, "WAY_DESCRIPTOR": str(descriptor)}


class _FarSubscriber(Subscriber):
    """A mosquitto_sub in the broker's namespace."""

    def __init__(self, broker: Place, topic: str, prefix: list[str]) -> None:
        super().__init__(broker, topic)
        self._command = [*prefix, *self._command]


async def delay(made: Scene, put: Set, seconds: float) -> None:
    """300 ms each way."""
    put("delay 0.3")
    await asyncio.sleep(seconds)
    put("delay 0")


async def loss(made: Scene, put: Set, seconds: float) -> None:
    """A fifth of the packets is lost, each way."""
    put("loss 0.2")
    await asyncio.sleep(seconds)
    put("loss 0")


async def both(made: Scene, put: Set, seconds: float) -> None:
    """300 ms, and a fifth is lost."""
    put("delay 0.3\nloss 0.2")
    await asyncio.sleep(seconds)
    put("delay 0\nloss 0")


async def blackhole(made: Scene, put: Set, seconds: float) -> None:
    """Nothing passes, and nobody is told: three times, for a part of the time that differs."""
    for _ in range(3):
        put("down 1")
        await asyncio.sleep(seconds / 3 * made.chance.uniform(0.5, 1.0))
        put("down 0")
        await made.some_go_through()


async def modem(made: Scene, put: Set, seconds: float) -> None:
    """64 kbit/s, 150 ms each way and a queue of three seconds that the backlog could fill: how late are new records?"""
    put("rate 64000\ndelay 0.15")
    await connected(made)
    begin, left = time.monotonic(), made.forwarder.state.next_n
    await made.until(lambda: time.monotonic() - begin > seconds)
    new = [n for n, at in made.sealed.items() if begin < at < begin + seconds - 5]
    await made.until(lambda: all(n in made.taker.arrived for n in new))
    late = sorted(made.taker.arrived[n] - made.sealed[n] for n in new)
    drained = made.forwarder.state.next_n - left
    print(
        f"     modem: {drained} of a backlog drained; {len(new)} new records late by {late[len(late) // 2]:.2f} s (median),",
        end=" ",
    )
    print(f"{late[-(-99 * len(late) // 100) - 1]:.2f} s (p99), {late[-1]:.2f} s (most)", flush=True)
    put("rate 0\ndelay 0")


WAYS = {"modem": modem, "delay": delay, "loss": loss, "delay-and-loss": both, "blackholes": blackhole}


async def _row(name: str, folder: Path, far: Place, prefix: list[str], chance: random.Random, seconds: float) -> Row:
    descriptor = int(os.environ["WAY_DESCRIPTOR"])
    began = time.monotonic()
    async with planted(folder) as plant:
        await plant.read(3000 if name == "modem" else 300, "em-1", "em-2")
        heard = _FarSubscriber(far, f"{BASE}/#", prefix)
        clock = FastClock(1 if seconds >= 60 or name == "modem" else 10)
        every = 1.0 if name == "modem" else 0.02
        async with scene(
            plant, far, chance, clock, host=far.host, port=far.port, publish=prefix, subscriber=heard, every=every
        ) as made:
            if name != "modem":
                await made.some_go_through()
            await WAYS[name](made, lambda setting: os.write(descriptor, f"{setting}\n".encode()) and None, seconds)
            return await row(name, made, 1, began)


def main() -> int:
    """Lives in the gateway's namespace from here on; 1 if anything was lost."""
    words = argparse.ArgumentParser(description="The network's part of tests.bench.broker_faults.")
    words.add_argument("near")
    words.add_argument("far")
    words.add_argument("ways", nargs="+", choices=list(WAYS))
    words.add_argument("--seed", default="0")
    words.add_argument("--seconds", type=float, required=True)
    given = words.parse_args()
    tun_line.enter(given.near)
    prefix = ["ip", "netns", "exec", given.far]
    lost = False
    with tempfile.TemporaryDirectory() as folder:
        settings = Path(folder) / "mosquitto.conf"
        settings.write_text(f"listener {_PORT} {_FAR_ADDRESS}\nallow_anonymous true\nuser root\nlog_type error\n")
        broker = subprocess.Popen([*prefix, program("mosquitto"), "-c", str(settings)], stderr=subprocess.DEVNULL)
        try:
            for number, name in enumerate(given.ways):
                place = Path(folder) / str(number)
                place.mkdir()
                chance = random.Random(f"{given.seed} {name}")
                made = asyncio.run(_row(name, place, Place(_FAR_ADDRESS, _PORT), prefix, chance, given.seconds))
                print(made, flush=True)
                lost |= bool(made.missing or made.wrong)
        finally:
            broker.terminate()
            broker.wait(_PATIENCE)
    return int(lost)


if __name__ == "__main__":
    sys.exit(main())
