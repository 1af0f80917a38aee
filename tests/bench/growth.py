"""Run as a program of its own: seals many small readings and prints what memory it held early and at the end."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from tests.agent.gateway import StillClock, begun, new_key

_EARLY = 10_000  # by then SQLite and the allocator hold what they are going to hold
_COMMIT = 50


def resident(status: str) -> int:
    """VmRSS of a process's status as proc(5) has it, in kB of 1024 bytes."""
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))


def _draft(clock: StillClock, number: int) -> dict[str, object]:
    source = {"id": f"em-{number % 50}", "serial": "77", "serial_from": "plate", "declared": "A" * 43}
    value = {"quantity": "active_power", "value": str(number), "unit": "W", "formula": "0@3:i16be"}
    frame = {"request": "0103000a0001a408", "answer": "01030207513a28", "ms": 31}
    at = {"state": "synchronized", "error_ms": 8, "boot": clock.boot, "uptime_ms": 5_000_000}
    time = "2026-03-01T00:00:00.000Z"
    read = {"every_ms": 900_000, "due": time, "frames": [frame], "values": [value]}
    return {"kind": "reading", "time": time, "clock": at, "meter": source} | read


async def held(path: Path, records: int) -> dict[str, int]:
    """Seals so many readings; kB of memory held early, where there were enough of them, and at the end."""
    clock = StillClock()
    ledger = await begun(path, new_key(), clock)
    memory = {}
    for start in range(0, records, _COMMIT):
        await ledger.append(*(_draft(clock, start + each) for each in range(_COMMIT)))
        if start + _COMMIT == _EARLY:
            memory["before"] = resident(Path("/proc/self/status").read_text("ascii"))
    memory["after"] = resident(Path("/proc/self/status").read_text("ascii"))
    await ledger.close()
    return memory


if __name__ == "__main__":
    print(json.dumps(asyncio.run(held(Path(sys.argv[1]), int(sys.argv[2])))))
