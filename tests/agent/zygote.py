"""Starts programs by forking a process that has everything imported: so a hundred of them can live and die in a minute.

    python -m tests.agent.zygote agent SITE STATE [OFFSET]      agents, on a clock that is wrong by what stands in a file
    python -m tests.agent.zygote collector FILE STATE           collectors

For each line read it forks one, and prints its process id; when that has ended it prints `ended`. It is the real program
in a process of its own: SIGKILL ends it at any instruction.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from agent.clock import Clock
from agent.collect import CollectorAtWork
from agent.journal import configure, journal
from agent.run import run_agent
from agent.state import only_agent
from agent.terminal import until_stopped
from config.beside import load_declared
from config.check import load_site
from config.collect import CollectFile
from config.settings import load_settings
from drivers import Instant

_LOOK_SECONDS = 0.1


class SetClock(Clock):
    """The machine's clock, with a wall clock that is wrong by what stands in a file."""

    def __init__(self, offset: Path) -> None:
        super().__init__()
        self._offset, self._ns, self._looked = offset, 0, float("-inf")

    def instant(self) -> Instant:
        if time.monotonic() - self._looked > _LOOK_SECONDS:
            self._looked = time.monotonic()
            self._ns = int(float(self._offset.read_text() or "0") * 1e9)
        now = super().instant()
        return Instant(now.wall_ns + self._ns, now.uptime_ns)


def agents(site: str, state: str, offset: str = "") -> Callable[[], Coroutine[Any, Any, None]]:
    """Agents on a site file and a state directory."""
    loaded, settings = load_site(Path(site)), load_settings(site=Path(site), state=Path(state))
    return lambda: run_agent(loaded, Path(state), settings, journal(), SetClock(Path(offset)) if offset else None)


def collectors(file: str, state: str) -> Callable[[], Coroutine[Any, Any, None]]:
    """Collectors on a file and a state directory."""
    declared = load_declared(CollectFile, Path(file))

    async def collect() -> None:
        with only_agent(Path(state)):
            await until_stopped(CollectorAtWork(declared, Path(state), Clock(), None, journal()).run())

    return collect


def main(kind: str, *paths: str) -> None:
    work = {"agent": agents, "collector": collectors}[kind](*paths)
    configure("error")
    for _ in sys.stdin:
        child = os.fork()
        if child == 0:
            asyncio.run(work())
            os._exit(0)
        print(child, flush=True)
        os.waitpid(child, 0)
        print("ended", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
