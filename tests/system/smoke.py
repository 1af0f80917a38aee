"""What an installed meterseal does from a meter's answer to a verified ledger, in one process: also under emulation.

Imports what it needs, reads a simulated meter over Modbus TCP until a reading is sealed, stops in order, and verifies.
Prints how long the imports and the start took and what memory it holds.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import signal
import sys
import tempfile
import time
from pathlib import Path

BEGAN = time.monotonic()


async def sealed(folder: Path) -> tuple[float, int]:
    """Reads until a reading is sealed; seconds until then, and how many records there are."""
    from agent.clock import Clock
    from agent.journal import configure, journal
    from agent.keys import make_key
    from agent.ledger_file import LedgerError, LedgerReader
    from agent.run import run_agent
    from agent.simulate import Simulator, load_plant, site_for
    from agent.state import LEDGER_FILE
    from config.check import load_models, load_site
    from config.settings import load_settings

    configure("error")
    plant_file, site_file, state = folder / "plant.yaml", folder / "site.yaml", folder / "state"
    plant_file.write_text(
        'listen: {hall: {tcp: "127.0.0.1:0"}}\n'
        'meters: [{id: EM-1, on: hall, model: eastron-sdm120, address: "1", serial: "70000001"}]\n'
    )
    plant = load_plant(plant_file)
    async with Simulator(plant, load_models(()), folder) as simulator:
        text = site_for(plant, simulator, gateway="smoke/gw1")
        site_file.write_text(
            "".join(line for line in text.splitlines(keepends=True) if not line.startswith("every:")) + "every: 1s\n"
        )
        make_key(state, "smoke/gw1")
        settings, began = load_settings(site=site_file, state=state), time.monotonic()
        running = asyncio.create_task(run_agent(load_site(site_file), state, settings, journal(), Clock()))
        async with asyncio.timeout(300):
            while not running.done():
                with contextlib.suppress(LedgerError), contextlib.closing(LedgerReader(state / LEDGER_FILE)) as reader:
                    if any(reader.meter_records("EM-1", "reading")):
                        break
                await asyncio.sleep(0.1)
        took = time.monotonic() - began
        if not running.done():
            os.kill(os.getpid(), signal.SIGTERM)
        await running
    with contextlib.closing(LedgerReader(state / LEDGER_FILE)) as reader:
        return took, reader.size()


def verified(state: Path) -> bool:
    """Whether the ledger has no finding."""
    from agent.source import open_log
    from agent.verify import verify

    with contextlib.closing(open_log(state)) as log:
        report = verify(log, key=None)
    if report.findings.total:
        print(report.text())
    return not report.findings.total


def main() -> int:
    """The exit code: 0 if a reading was sealed and the ledger verifies."""
    import agent.cli
    import agent.run

    imported = time.monotonic() - BEGAN
    if "--all" in sys.argv:
        import asyncua
        import psycopg
        import rfc3161_client

        print(f"also imported: asyncua {asyncua.__name__}, psycopg {psycopg.__version__}, {rfc3161_client.__name__}")
    with tempfile.TemporaryDirectory() as folder:
        took, size = asyncio.run(sealed(Path(folder)))
        good = verified(Path(folder) / "state")
    resident = next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    where = f"{platform.machine()}, Python {platform.python_version()}"
    print(f"{where}: modules in {imported:.2f} s, first reading sealed after {took:.2f} s, {size} records, verified: {good}")
    print(f"largest memory {int(resident) / 1000:.0f} MB, meter and verifier in the same process")
    return 0 if good and agent.cli and agent.run else 1


if __name__ == "__main__":
    sys.exit(main())
