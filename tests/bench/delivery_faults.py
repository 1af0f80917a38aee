"""Nothing lost between the ledger and the collector's copy, whatever is killed, frozen or set in between.

    make delivery-faults              the collector killed 50 times; broker, collector and agent killed at random, also at once
    make soak MINUTES=30 SEED=1       a fault every few seconds; in the second half agent and collector live on and are measured

The broker is mosquitto without persistence: killed, it forgets whatever it has acknowledged. The agent and the collector are
the real programs in processes of their own, the meters are simulated. At the end the copy has to be the gateway's ledger byte
for byte, and both have to verify. The seed is printed: the same seed does the same things, at moments that the machine decides.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from agent.collect import KEY, folder_of
from agent.keys import make_key
from agent.ledger_file import LedgerError, LedgerReader
from agent.simulate import Simulator
from agent.source import open_log
from agent.state import LEDGER_FILE
from agent.verify import verify
from config.library import load_models
from tests.agent.plants import plant_of
from tests.agent.test_kill import Agents as Programs
from tests.brokers import Mosquitto, until

GATEWAY = "plant/gw1"
_LINES, _METERS = 2, 8
_PATIENCE = 120.0
_SAMPLE_SECONDS = 5.0


class Scene:
    """A plant whose records go to a collector, and everything that can happen to it.

    Attributes:
        happened: how often what was done.
        samples: resident memory in KiB and open descriptors of agent and collector, by name.
    """

    def __init__(self, folder: Path, broker: Mosquitto, seed: int) -> None:
        self.folder, self.broker = folder, broker
        self.chance = random.Random(seed)
        self.happened: Counter[str] = Counter()
        self.samples: dict[str, list[tuple[int, int]]] = {"agent": [], "collector": []}
        self.offset = folder / "offset"
        self.programs: dict[str, Programs] = {}

    @contextlib.asynccontextmanager
    async def at_work(self) -> AsyncIterator[Scene]:
        """Everything runs."""
        make_key(self.folder / "state", GATEWAY)
        line = KEY.make(self.folder / "collector", "plant-it/collector")
        self.offset.write_text("0")
        listen = {f"line-{index}": {"tcp": "127.0.0.1:0"} for index in range(_LINES)}
        meters = [
            {"id": f"M-{index}", "on": f"line-{index % _LINES}", "address": index + 1, "model": "eastron-sdm120"}
            for index in range(_METERS)
        ]
        async with Simulator(plant_of(*meters, **listen), load_models(), self.folder) as simulator:
            self._write(simulator, line)
            agent = "agent", *map(str, (self.folder / "site.yaml", self.folder / "state", self.offset))
            collector = "collector", *map(str, (self.folder / "collect.yaml", self.folder / "collector"))
            async with Programs.on(*agent) as self.programs["agent"], Programs.on(*collector) as self.programs["collector"]:
                for program in self.programs.values():
                    await program.start()
                yield self

    def _write(self, simulator: Simulator, collector: str) -> None:
        links = [f"  line-{index}: {{tcp: '{simulator.address_of(f'line-{index}')}'}}" for index in range(_LINES)]
        meters = [
            f"  - {{id: M-{index}, link: line-{index % _LINES}, model: eastron-sdm120, address: {index + 1}}}"
            for index in range(_METERS)
        ]
        broker = f"  - {{host: 127.0.0.1, port: {self.broker.port}, collector: {collector}}}"
        head = [f"gateway: {GATEWAY}", "every: 1s", "commit_seconds: 0.05"]
        (self.folder / "site.yaml").write_text("\n".join([*head, "links:", *links, "meters:", *meters, "mqtt:", broker, ""]))
        key = (self.folder / "state" / "key.vkey").read_text().strip()
        (self.folder / "collect.yaml").write_text(f"mqtt: {{host: 127.0.0.1, port: {self.broker.port}}}\ngateways:\n  - {key}\n")

    # --- what can happen --------------------------------------------------------------------------------------

    async def kill(self, *names: str) -> None:
        """Kills programs or the broker at once, and starts them again in any order, a moment apart."""
        self.happened[f"{' and '.join(sorted(names))} killed"] += 1
        for name in names:
            if name == "broker":
                self.broker.kill()
            else:
                await self.programs[name].end(signal.SIGKILL)
        again = list(names)
        self.chance.shuffle(again)
        for name in again:
            await asyncio.sleep(self.chance.uniform(0, 0.5))
            if name == "broker":
                await asyncio.to_thread(self.broker.start)
            else:
                await self.programs[name].start()

    async def freeze(self, name: str) -> None:
        """Stops a program or the broker for some seconds, as a machine does that swaps."""
        self.happened[f"{name} frozen"] += 1
        stop, go = (self.broker.freeze, self.broker.thaw) if name == "broker" else self._signals(name)
        stop()
        try:
            await asyncio.sleep(self.chance.uniform(0.5, 6))
        finally:
            go()

    def _signals(self, name: str) -> tuple[Callable[[], None], Callable[[], None]]:
        program = self.programs[name]
        return (lambda: program.send(signal.SIGSTOP)), (lambda: program.send(signal.SIGCONT))

    async def set_clock(self) -> None:
        """Sets the gateway's wall clock, back or forth."""
        self.happened["clock set"] += 1
        seconds = float(self.offset.read_text()) + self.chance.choice([-1, 1]) * self.chance.choice([2, 30, 400])
        self.offset.write_text(str(seconds))
        await asyncio.sleep(0)

    async def any_fault(self, *, spare_programs: bool) -> None:
        """One of them. `spare_programs`: agent and collector are not killed."""
        programs = [] if spare_programs else ["agent", "collector"]
        targets = self.chance.sample(["broker", *programs], self.chance.randint(1, 1 + len(programs)))
        faults: list[tuple[int, Callable[[], Any]]] = [
            (4, lambda: self.kill(*targets)),
            (2, lambda: self.freeze(self.chance.choice(["agent", "collector", "broker"]))),
            (2, self.set_clock),
        ]
        await self.chance.choices([fault for _, fault in faults], [weight for weight, _ in faults])[0]()

    # --- what has to come of it -------------------------------------------------------------------------------

    def records(self, path: Path) -> list[bytes]:
        """What a ledger file holds."""
        try:
            with closing(LedgerReader(path)) as reader:
                return [payload for _, payload in reader.payloads()]
        except LedgerError:
            return []

    def count(self, path: Path) -> int:
        """How many records a ledger file holds; 0 where there is none yet."""
        with contextlib.suppress(LedgerError), closing(LedgerReader(path)) as reader:
            return reader.size()
        return 0

    async def seals_on(self, size: int) -> None:
        """Returns when the ledger holds more than so many records."""
        await until(lambda: self.count(self.ledger) > size, _PATIENCE, "the agent seals")

    @property
    def ledger(self) -> Path:
        return self.folder / "state" / LEDGER_FILE

    @property
    def copy(self) -> Path:
        return folder_of(self.folder / "collector", GATEWAY) / LEDGER_FILE

    async def settle(self) -> int:
        """Returns when the copy is the ledger, with all its checkpoints that belong there; how many records there are.

        The agent is stopped in order, so that the ledger does not grow; what it could not deliver before, it does after a start.
        """
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            await asyncio.sleep(5)
            await self.programs["agent"].end(signal.SIGTERM)
            with contextlib.suppress(AssertionError):
                await until(lambda: self.records(self.copy) == self.records(self.ledger), 5)
                report = self.verified(self.copy)
                if "CHECKPOINT-MISSING" not in report.findings.counts:
                    return len(self.records(self.copy))
            await self.programs["agent"].start()
        one, other = self.records(self.ledger), self.records(self.copy)
        same = next(
            (n for n, (left, right) in enumerate(zip(one, other, strict=False)) if left != right), min(len(one), len(other))
        )
        named = self.verified(self.copy).findings.kept if other else {}
        lacking = f"; of the copy verify says {next(iter(named.values()))[0]}" if named else ""
        told = f"the ledger has {len(one)} records, the copy {len(other)}; the first {same} are the same{lacking}"
        raise AssertionError(told)

    def found(self) -> str:
        """Where the agent was killed, as ledger and copy tell: what is committed, what is stored, what is known to be stored."""
        with contextlib.suppress(LedgerError), closing(LedgerReader(self.ledger)) as reader:
            size, known, stored = reader.size(), reader.cursors().get("broker", 0), self.count(self.copy)
            if size > stored:
                return "killed between commit and the collector's disk"
            return "killed between the collector's disk and the receipt" if size > known else "killed with all received"
        return "killed before the first commit"

    def verified(self, path: Path) -> Any:
        """The report over a ledger file, held against the gateway's key."""
        with closing(open_log(path)) as log:
            return verify(log, key=(self.folder / "state" / "key.vkey").read_text().strip())

    def check(self) -> None:
        """Raises AssertionError unless ledger and copy verify."""
        for path in (self.ledger, self.copy):
            report = self.verified(path)
            assert report.exit_code == 0, f"{path.parent.name}\n{report.text()}"

    def sample(self) -> None:
        """Notes the memory and the descriptors that agent and collector have now."""
        for name, program in self.programs.items():
            status = Path(f"/proc/{program.pid}/status").read_text()
            resident = int(status.split("VmRSS:")[1].split()[0])
            self.samples[name].append((resident, len(list(Path(f"/proc/{program.pid}/fd").iterdir()))))


@contextlib.asynccontextmanager
async def scene(folder: Path, seed: int) -> AsyncIterator[Scene]:
    """A scene in a folder, at work."""
    with Mosquitto(folder) as broker:
        async with Scene(folder, broker, seed).at_work() as made:
            yield made


async def collector_killed(folder: Path, seed: int, kills: int) -> str:
    """The collector is killed so many times at random moments; one line of what came of it."""
    async with scene(folder, seed) as made:
        for _ in range(kills):
            await asyncio.sleep(made.chance.uniform(0.05, 1.5))
            await made.kill("collector")
        return await _ended(made)


async def agent_killed(folder: Path, seed: int, kills: int) -> str:
    """The agent is killed so many times at random moments, the ledger compared each time; one line of what came of it."""
    async with scene(folder, seed) as made:
        before: list[bytes] = []
        for _ in range(kills):
            if made.chance.random() < 0.8:  # else it is killed while it begins
                await made.seals_on(len(before))
            await asyncio.sleep(made.chance.uniform(0, 1.0))
            await made.programs["agent"].end(signal.SIGKILL)
            now = made.records(made.ledger)
            assert now[: len(before)] == before, "what was committed is not there any more, or not what it was"
            made.happened[made.found()] += 1
            before = now
            await made.programs["agent"].start()
        return await _ended(made)


async def all_killed(folder: Path, seed: int, rounds: int) -> str:
    """Broker, collector and agent are killed, each by itself and together; one line of what came of it."""
    async with scene(folder, seed) as made:
        for _ in range(rounds):
            await asyncio.sleep(made.chance.uniform(0.05, 2))
            await made.kill(*made.chance.sample(["broker", "collector", "agent"], made.chance.randint(1, 3)))
        return await _ended(made)


async def soak(folder: Path, seed: int, minutes: float) -> str:
    """A fault every few seconds; in the second half agent and collector live on and are measured."""
    async with scene(folder, seed) as made:
        began = time.monotonic()
        sampled = half = began + 30 * minutes
        while (now := time.monotonic()) < began + 60 * minutes:
            await asyncio.sleep(min(made.chance.uniform(1, 8), max(0.0, began + 60 * minutes - now)))
            await made.any_fault(spare_programs=time.monotonic() >= half)
            if time.monotonic() >= max(half, sampled):
                made.sample()
                sampled = time.monotonic() + _SAMPLE_SECONDS
        flat = [_flat(name, samples) for name, samples in made.samples.items() if len(samples) >= 8]
        return "\n".join([await _ended(made), *flat])


def _flat(name: str, samples: list[tuple[int, int]]) -> str:
    """Memory and descriptors in each quarter of what was sampled. The agent's newest records fill 4 MB first (`agent.newest`)."""
    quarters = [samples[len(samples) * part // 4 : len(samples) * (part + 1) // 4] for part in range(4)]
    parts = []
    for at, unit in ((0, "KiB resident"), (1, "descriptors")):
        medians = " -> ".join(f"{statistics.median(each[at] for each in quarter):.0f}" for quarter in quarters)
        parts.append(f"{medians} {unit} (at most {max(each[at] for each in samples)})")
    return f"  {name}: {', '.join(parts)}, {len(samples)} samples"


async def _ended(made: Scene) -> str:
    settling = time.monotonic()
    count = await made.settle()
    made.check()
    done = ", ".join(f"{what} {times}" for what, times in sorted(made.happened.items()))
    took = f"{time.monotonic() - settling:.0f} s to settle"
    return f"{count} records, the copy is the ledger byte for byte, both verify ({took}); {done}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["faults", "soak"])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    runs: dict[str, Callable[[Path], Any]] = {
        "soak": lambda folder: soak(folder, given.seed, given.minutes),
        "collector killed": lambda folder: collector_killed(folder, given.seed, given.kills),
        "broker, collector and agent killed": lambda folder: all_killed(folder, given.seed, given.kills),
    }
    for name, run in runs.items():
        if (name == "soak") == (given.what == "soak"):
            with tempfile.TemporaryDirectory() as folder:
                print(f"{name}: {asyncio.run(run(Path(folder)))}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
