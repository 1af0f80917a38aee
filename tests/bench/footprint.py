"""Memory of the running agent, its growth with the number of records, and what it takes to say `--help`.

The agent runs as a user starts it, on the simulated plant of `config/plant.example.yaml`; the bare side is an interpreter
that has imported the same libraries and does nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

from agent.ledger_file import LedgerError, LedgerReader
from agent.simulate import Simulator, load_plant, site_for
from agent.state import LEDGER_FILE
from config.library import load_models
from tests.bench.growth import resident
from tests.bench.ratio import Line, cpu_ratios, rounds

_RECORDS = 100_000
_HELP_ROUNDS = 11
_PATIENCE = 60.0
_LIBRARIES = (
    "asyncio, sqlite3, logging, click, cryptography.hazmat.primitives.asymmetric.ed25519, paho.mqtt.client, pydantic_settings, "
    "pymodbus.framer, pymodbus.pdu.mei_message, pymodbus.pdu.register_message, serial, structlog, tenacity, yaml"
)
_BARE = f"import {_LIBRARIES}; print(open('/proc/self/status').read())"
_OUR_HELP = ("-c", "from agent.cli import main; main(prog_name='meterseal')", "--help")
_BARE_HELP = ("-c", "import click; click.Group('bare', help='Does nothing.')()", "--help")


def lines(folder: Path) -> list[Line]:
    """Memory after the start, memory after many records, and `--help`."""
    bare = resident(_run("-c", _BARE))
    agent = asyncio.run(_agent_memory(folder))
    grown = json.loads(_run("-m", "tests.bench.growth", str(folder / "growth.sqlite"), str(_RECORDS)))
    helped = rounds(_HELP_ROUNDS, lambda: _run(*_OUR_HELP), lambda: _run(*_BARE_HELP))
    ours, theirs = (1000 * statistics.median(side) for side in ([r.ours.cpu for r in helped], [r.bare.cpu for r in helped]))
    return [
        Line(
            "memory, polling", [agent / bare], f"{agent / 1000:.1f} MB with 20 meters; its libraries alone {bare / 1000:.1f} MB"
        ),
        Line(
            "memory, after 100 000 records",
            [grown["after"] / grown["before"]],
            f"{grown['after'] / 1000:.1f} MB; after the first 10 000 {grown['before'] / 1000:.1f} MB",
        ),
        Line("--help", cpu_ratios(helped), f"{ours:.0f} ms of processor; an empty click program {theirs:.0f} ms"),
    ]


def _run(*words: str, environment: dict[str, str] | None = None) -> str:
    """What a Python program prints."""
    done = subprocess.run([sys.executable, *words], check=True, capture_output=True, text=True, env=environment)
    return done.stdout


async def _agent_memory(folder: Path) -> int:
    """What the agent holds when it has read every meter of the simulated plant."""
    plant_file = folder / "plant.yaml"
    plant_file.write_bytes((files("config") / "plant.example.yaml").read_bytes())
    plant = load_plant(plant_file)
    surroundings = os.environ | {"METERSEAL_SITE": str(folder / "site.yaml"), "METERSEAL_STATE": str(folder / "state")}
    async with Simulator(plant, load_models(), folder) as simulator:
        (folder / "site.yaml").write_text(site_for(plant, simulator), "utf-8")
        meterseal = ("-c", "from agent.cli import main; main()")
        await asyncio.to_thread(_run, *meterseal, "init", environment=surroundings)
        with (folder / "agent.log").open("wb") as journal:
            process = await asyncio.create_subprocess_exec(sys.executable, *meterseal, "run", env=surroundings, stderr=journal)
        try:
            await _all_read(folder / "state" / LEDGER_FILE, {declared.id for declared in plant.meters})
            return resident(Path(f"/proc/{process.pid}/status").read_text("ascii"))
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            await process.wait()


async def _all_read(ledger: Path, meters: set[str]) -> None:
    """Returns when every meter has a reading."""
    async with asyncio.timeout(_PATIENCE):
        while not _has_all(ledger, meters):
            await asyncio.sleep(0.1)


def _has_all(ledger: Path, meters: set[str]) -> bool:
    try:
        with contextlib.closing(LedgerReader(ledger)) as reader:
            return all(any(True for _ in reader.meter_records(meter, "reading")) for meter in meters)
    except LedgerError:  # the agent is still making it
        return False
