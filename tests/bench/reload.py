"""A site file that is changed two hundred times while the agent reads three lines by it: `make reload`.

In the end every scheduled poll must be a reading or counted as missed, none may be missing on the line that was never changed,
and none on the others that no change explains; both verifiers must find nothing.

    python -m tests.bench.reload [--times 200] [--seed 1]
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from tests.agent.at_work import AtWork, at_work, until
from tests.agent.gateway import FastClock
from tests.agent.reloads import Plant, judged, reloaded, simulated


def main() -> int:
    """Runs it; 0 if all is as it must be."""
    words = argparse.ArgumentParser(description="Reloads under load.")
    words.add_argument("--times", type=int, default=200)
    words.add_argument("--seed", type=int, default=1)
    asked = words.parse_args()
    with tempfile.TemporaryDirectory() as away:
        asyncio.run(_run(Path(away), asked.times, asked.seed))
    return 0


async def _run(folder: Path, times: int, seed: int) -> None:
    began, longest = time.monotonic(), 0.0
    told = {"site.reloaded": 0, "site.unchanged": 0}
    async with simulated(folder) as simulator:
        plant = Plant(simulator, seed, every="5s", rates=("2s", "5s", "10s"))
        async with at_work(folder, plant.text(), FastClock(2.0)) as agent:
            for _ in range(times):
                plant.change()
                asked = time.monotonic()
                told[await reloaded(agent, folder, plant.text())] += 1
                longest = max(longest, time.monotonic() - asked)
                before = _size(agent)
                await until(lambda before=before: _size(agent) >= before + 3)
            outcomes = judged(agent)
            records = _size(agent)
            up = [event["link"] for event in agent.events("link.up")]
    expected = sum(outcomes.values())
    missed = {cause: count for cause, count in outcomes.items() if cause != "read"}
    print(f"{times} reloads ({told['site.unchanged']} of them without a difference) in {time.monotonic() - began:.0f} s")
    print(
        f"  the longest took {longest:.2f} s; lines came up: {', '.join(f'{name} {up.count(name)}' for name in sorted(set(up)))}"
    )
    print(f"  {records} records; expected {expected} = read {outcomes['read']} + missed {sum(missed.values())} {missed or ''}")
    print("  every gap is explained by a change; both verifiers found nothing")


def _size(agent: AtWork) -> int:
    assert agent.past
    return agent.past.size()


if __name__ == "__main__":
    sys.exit(main())
