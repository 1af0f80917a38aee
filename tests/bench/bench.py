"""What the product costs over the bare libraries it stands on, as ratios of one run, each against a stated limit.

    make bench        five minutes at most on two processors; exit code 1 if a median is over its limit

What each line measures, and why its limit is what it is, stands in `docs/bench.md`. No time is a limit here: absolute
figures are printed for people only.
"""

from __future__ import annotations

import asyncio
import os
import platform
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.agent.gateway import new_key
from tests.bench import appending, footprint, publishing, sealing, verifying
from tests.bench import line as serial_line
from tests.bench.polls import filled
from tests.bench.ratio import Line

LIMITS = {
    "values read": 8.0,
    "values read and sealed": 16.0,
    "appends, 1 in a commit": 8.0,
    "appends, 10 in a commit": 18.0,
    "appends, 50 in a commit": 28.0,
    "bytes written, 1 in a commit": 1.5,
    "bytes written, 10 in a commit": 1.3,
    "bytes written, 50 in a commit": 1.2,
    "publishing, processor": 4.5,
    "publishing, time": 4.5,
    "verify": 9.0,
    "verify --fast": 1.4,
    "memory, polling": 1.4,
    "memory, after 100 000 records": 1.12,
    "--help": 1.7,
    "cycle, 9600 baud": 1.05,
    "cycle, 19200 baud": 1.05,
}
_READINGS = 5_000
_NO_COMPILER = "the cycle of a serial line is not measured: gcc is missing (apt install gcc)"
_NO_BROKER = "publishing is not measured: mosquitto is missing (apt install mosquitto)"


def main() -> int:
    """Measures everything and prints it line by line; the exit code."""
    began = time.monotonic()
    print(
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {os.cpu_count()} processors, {platform.machine()}"
    )
    print("ours over the bare library: median of the rounds (lowest to highest), limit; less is better\n")
    with tempfile.TemporaryDirectory(prefix="meterseal-bench-") as folder:
        over = [line.name for line in _lines(Path(folder)) if not _shown(line)]
    print(f"\n{time.monotonic() - began:.0f} s; {'over the limit: ' + ', '.join(over) if over else 'nothing is over its limit'}")
    return 1 if over else 0


def _lines(folder: Path) -> Iterator[Line]:
    yield from sealing.lines()
    yield from appending.lines(folder)
    yield from _with_ledger(folder / "ledger.sqlite")
    yield from footprint.lines(folder)
    cycles = serial_line.lines(folder)
    yield from cycles
    if not cycles:
        print(_NO_COMPILER)


def _with_ledger(path: Path) -> Iterable[Line]:
    """What is measured on one ledger full of readings."""
    key = new_key()
    with asyncio.Runner() as runner:
        ledger = runner.run(filled(path, key, _READINGS))
        if publishing.program():
            yield from publishing.lines(runner, ledger)
        else:
            print(_NO_BROKER)
        runner.run(ledger.close())
    yield from verifying.lines(path, key)


def _shown(line: Line) -> bool:
    """Prints a line; whether it is within its limit."""
    limit = LIMITS[line.name]
    good = line.median <= limit
    spread = f"({min(line.ratios):.2f} to {max(line.ratios):.2f})" if len(line.ratios) > 1 else ""
    print(
        f"{'OK  ' if good else 'OVER'} {line.name:<30} {line.median:6.2f} {spread:<18} limit {limit:5.2f}   {line.figures}",
        flush=True,
    )
    return good


if __name__ == "__main__":
    sys.exit(main())
