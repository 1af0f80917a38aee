"""A whole agent at work, from a site file to its ledger, in the test's own process and on the test's clock."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import structlog

from agent.clock import Clock, from_stamp
from agent.keys import make_key
from agent.ledger_file import LedgerReader
from agent.record import parse
from agent.run import run_agent
from agent.source import open_log
from agent.state import LEDGER_FILE
from config.check import load_site
from config.settings import load_settings
from tests.agent.both import verify
from tests.agent.gateway import GATEWAY, SECOND, FastClock

PATIENCE = 30.0


class AtWork:
    """What an agent seals and tells."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.told: list[dict[str, Any]] = []
        self.past: LedgerReader | None = None

    def hear(self, _: Any, level: str, event: Any) -> Any:
        """For structlog. What is told at level debug comes with every round, and is nobody's news."""
        if level != "debug":
            self.told.append(event)
        raise structlog.DropEvent

    def events(self, name: str) -> list[dict[str, Any]]:
        """What was told under a name."""
        return [event for event in self.told if event["event"] == name]

    def records(self, meter: str, kind: str, every_s: float | None = None) -> list[dict[str, Any]]:
        """A meter's records of one kind, of one of its schedules or all."""
        assert self.past
        found = [parse(payload) for _, payload in self.past.meter_records(meter, kind)]
        return [fields for fields in found if every_s in (None, fields.get("every_ms", 0) / 1000)]

    def readings(self, meter: str, every_s: float | None = None) -> list[dict[str, Any]]:
        """A meter's readings."""
        return self.records(meter, "reading", every_s)

    def causes(self, meter: str) -> list[str]:
        """Why its gaps opened."""
        return [gap["cause"] for gap in self.records(meter, "gap") if gap["state"] == "opened"]


def late_s(reading: dict[str, Any]) -> float:
    """Seconds from the instant that a reading answers for to its first answer."""
    return (from_stamp(reading["time"]) - from_stamp(reading["due"])) / SECOND


def values(reading: dict[str, Any]) -> dict[str, Any]:
    """A reading's values by quantity; None where there is none."""
    return {value["quantity"]: value.get("value") for value in reading["values"]}


async def until(condition: Callable[[], object]) -> None:
    """Returns once a condition holds."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def at_work(folder: Path, site: str, clock: Clock | None = None) -> AsyncIterator[AtWork]:
    """An agent with a site file of these lines below `gateway:`; afterwards its ledger has no finding.

    `clock`: without one time runs twenty times as fast.
    """
    path, state = folder / "site.yaml", folder / "state"
    path.write_text(f"gateway: {GATEWAY}\n{site}", "utf-8")
    if not state.exists():
        make_key(state, GATEWAY)
    agent = AtWork(state)
    log = structlog.wrap_logger(None, processors=[agent.hear])
    running = asyncio.create_task(
        run_agent(load_site(path), state, load_settings(site=path, state=state), log, clock or FastClock(20.0))
    )
    try:
        await until(lambda: running.done() or agent.events("agent.started"))
        with contextlib.closing(LedgerReader(state / LEDGER_FILE)) as agent.past:
            yield agent
    finally:
        if not running.done():
            os.kill(os.getpid(), signal.SIGTERM)
        await running
    with contextlib.closing(open_log(state)) as audited:
        report = verify(audited, key=None)
        assert not report.findings.total, report.text()
