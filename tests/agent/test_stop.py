"""agent.run: told to stop in the middle of the start, it ends in order."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import structlog

from agent.keys import make_key
from agent.ledger_file import LedgerReader
from agent.record import parse
from agent.run import run_agent
from agent.state import LEDGER_FILE
from config.check import load_site
from config.settings import load_settings
from tests.agent.gateway import GATEWAY, FastClock

SITE = """gateway: {gateway}
commit_seconds: 0
links:
  hall: {{tcp: "127.0.0.1:9"}}
meters:
  - {{id: EM-1, link: hall, model: eastron-sdm120, address: 1}}
"""


def dropped(_: Any, level: str, event: Any) -> Any:
    raise structlog.DropEvent


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_an_agent_told_to_stop_before_it_polls_seals_its_end(tmp_path: Path, number: signal.Signals) -> None:
    site, state = tmp_path / "site.yaml", tmp_path / "state"
    site.write_text(SITE.format(gateway=GATEWAY), "utf-8")
    make_key(state, GATEWAY)
    lost: list[str] = []

    async def tell_to_stop_while_the_ledger_is_opened() -> None:
        while not (state / LEDGER_FILE).exists():
            await asyncio.sleep(0)
        os.kill(os.getpid(), number)

    # Where nobody listens yet, the signal would end this very process: let that be a failure of this test alone.
    asyncio.get_running_loop().add_signal_handler(number, lost.append, "lost")
    settings, log = load_settings(site=site, state=state), structlog.wrap_logger(None, processors=[dropped])
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        tasks.create_task(tell_to_stop_while_the_ledger_is_opened())
        tasks.create_task(run_agent(load_site(site), state, settings, log, FastClock(20.0)))
    assert not lost
    with contextlib.closing(LedgerReader(state / LEDGER_FILE)) as past:
        (stop,) = [parse(payload) for _, payload in past.kind_records("stop")]
    assert stop["reason"] == number.name.lower()
