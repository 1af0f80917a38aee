"""A gateway's key, clock and drafts for tests of what comes behind them."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent import draft
from agent.clock import Clock, Trust
from agent.ledger import Ledger
from agent.seal import Key
from drivers import Instant

GATEWAY = "plant/gw1"
SECOND = 1_000_000_000
START = 1_772_323_200 * SECOND  # 2026-03-01T00:00:00Z


class StillClock(Clock):
    """A clock that stands until it is moved. The time since boot moves with it, a step of the wall clock does not."""

    def __init__(self, wall_ns: int = START) -> None:
        super().__init__()
        self.boot = "0badcafe"
        self.wall_ns = wall_ns
        self.uptime_ns = 5_000 * SECOND

    def instant(self) -> Instant:
        return Instant(self.wall_ns, self.uptime_ns)

    def trust(self) -> Trust:
        return Trust("synchronized", 8)

    def move(self, seconds: float) -> None:
        self.wall_ns += int(seconds * SECOND)
        self.uptime_ns += int(seconds * SECOND)

    def step(self, seconds: float) -> None:
        self.wall_ns += int(seconds * SECOND)


def new_key() -> Key:
    return Key(Ed25519PrivateKey.generate())


async def begun(path: Path, key: Key, clock: Clock, commit_seconds: float = 0.0) -> Ledger:
    """A ledger with its enrolment sealed."""
    ledger = await Ledger.open(path, GATEWAY, key, commit_seconds)
    if ledger.size == 0:
        await ledger.append(draft.enrolment(clock, key, "tester"))
    return ledger


def stop(clock: Clock, reason: str = "test") -> dict[str, Any]:
    return draft.stop(clock, reason)


class FastClock(Clock):
    """A clock that runs `speed` times as fast as real time, for the wall as for the time since boot."""

    def __init__(self, speed: float, wall_ns: int = START) -> None:
        super().__init__()
        self._speed = speed
        self._wall_ns = wall_ns
        self._began = time.monotonic_ns()

    def _passed_ns(self) -> int:
        return int((time.monotonic_ns() - self._began) * self._speed)

    def instant(self) -> Instant:
        passed = self._passed_ns()
        return Instant(self._wall_ns + passed, 5_000 * SECOND + passed)

    def monotonic(self) -> float:
        return self._passed_ns() / SECOND

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self._speed)

    def trust(self) -> Trust:
        return Trust("synchronized", 8)
