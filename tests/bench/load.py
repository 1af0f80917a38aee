"""The whole agent under load, as a user starts it: read, sealed, on disk, delivered. What it reaches and what it takes.

    make load                                              all of it, a quarter of an hour
    .venv/bin/python -m tests.bench.load fast --seconds 10  one plant, for a shorter time

What is measured and how stands in `docs/bench.md`. The figures are the machine's as much as the program's: nothing here
is a limit, and the exit code says only whether everything could be measured.
"""

from __future__ import annotations

import argparse
import os
import platform
import sqlite3
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tests.bench.load_plant import Plant
from tests.bench.load_run import Outcome, run

PLANTS = {
    "fast": (Plant("fast", meters=20, values=100, every_ms=100, links=20), 30.0),
    "wide": (Plant("wide", meters=250, values=40, every_ms=1000, links=250), 60.0),
    "plant": (Plant("plant", meters=1000, values=15, every_ms=15_000, links=10), 600.0),
}
SEARCH = "search"
_FIRST = Plant(SEARCH, meters=20, values=100, every_ms=1000, links=20)
_SEARCH_SECONDS = 15.0
_BISECTIONS = 2
_SUSTAINED = 0.99
_BEHIND_SECONDS = 3.0


def main() -> int:
    """Measures what was asked for and prints it; the exit code."""
    words = _words().parse_args()
    print(f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {os.cpu_count()} processors\n")
    for name in words.plants or [*PLANTS, SEARCH]:
        plant, seconds = PLANTS.get(name, (_FIRST, _SEARCH_SECONDS))
        plant = replace(plant, meters=words.meters or plant.meters, every_ms=words.every_ms or plant.every_ms)
        plant = replace(plant, commit_seconds=words.commit_seconds, links=plant.meters if plant.name != "plant" else plant.links)
        if name == SEARCH:
            _search(plant, words.seconds or seconds)
        else:
            _show(run(plant, words.seconds or seconds, words.keep))
    return 0


def _words() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="The agent under load.")
    parser.add_argument("plants", nargs="*", metavar="PLANT", help=f"{', '.join([*PLANTS, SEARCH])}; else all")
    parser.add_argument("--seconds", type=float, help="how long each is measured")
    parser.add_argument("--meters", type=int, help="so many meters instead; where the search begins")
    parser.add_argument("--every-ms", type=int, help="another interval")
    parser.add_argument("--commit-seconds", type=float, help="`commit_seconds` in the site file")
    parser.add_argument("--keep", type=Path, help="keep the ledger in this folder, which must not exist")
    return parser


def _search(plant: Plant, seconds: float) -> None:
    """Looks for the most meters that are read and delivered in time."""
    rates = {0: 0.0}

    def keeps_up(meters: int) -> bool:
        outcome = run(replace(plant, meters=meters, links=meters), seconds)
        _show(outcome)
        rates[meters] = outcome.rate
        return sustained(outcome)

    print(f"highest rate sustained: {rates[most(plant.meters, keeps_up)]:,.0f} values a second")


def most(first: int, keeps_up: Callable[[int], bool]) -> int:
    """The most that keeps up: doubled until it is too many, then twice the middle between; 0 if the first is too many."""
    best, tried = 0, first
    while keeps_up(tried):
        best, tried = tried, 2 * tried
    too_many = tried
    for _ in range(_BISECTIONS if best else 0):
        tried = (best + too_many) // 2
        if keeps_up(tried):
            best = tried
        else:
            too_many = tried
    return best


def sustained(outcome: Outcome) -> bool:
    """Whether the agent kept up: 99 % read, and the subscriber lacks no more than the last seconds' records."""
    return outcome.completeness >= _SUSTAINED and outcome.behind <= _BEHIND_SECONDS * outcome.read / outcome.seconds


def _show(outcome: Outcome) -> None:
    plant, values = outcome.plant, outcome.read * outcome.plant.values or 1
    late = outcome.late_ms or [0]
    percent, missing = 100 * outcome.completeness, outcome.planned - outcome.read
    head = f"{plant.name}: {plant.meters} meters on {plant.links} connections, {plant.values} values every {plant.every}"
    polls = f"planned {outcome.planned}, read {outcome.read} ({percent:.2f} %), missing {missing}, told by gaps {outcome.told}"
    core = 100 * outcome.cpu / outcome.seconds
    processor = (
        f"{1e6 * outcome.cpu / values:.1f} us a value, {core:.0f} % of one core; the machine was {outcome.idle:.0f} % idle"
    )
    answered = f"{late[len(late) // 2]} ms (median), {late[len(late) * 99 // 100]} ms (99 %), {late[-1]} ms (all)"
    lines = [
        f"{head}, {outcome.seconds:.0f} s",
        f"  polls      {polls}",
        f"  values     {outcome.rate:,.0f} a second of {plant.rate:,.0f} planned",
        f"  processor  {processor}",
        f"  answered   within {answered} of the due instant",
        f"  delivered  {outcome.delivered} of {outcome.readings} readings sealed; {outcome.behind} records behind at the end",
        f"  memory     {', '.join(f'{kilobytes / 1000:.1f}' for kilobytes in outcome.memory)} MB at begin, middle and end",
        f"  disk       {outcome.size / 1e6:.1f} MB for {outcome.sealed} records",
        *(f"  journal    {line}" for line in outcome.journal[:5]),
    ]
    print("\n".join(lines) + "\n", flush=True)


if __name__ == "__main__":
    sys.exit(main())
