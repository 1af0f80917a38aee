"""Ratios measured in one run: what our code costs, over what the bare library costs for the same work.

Absolute times say more about the machine than about the code; two costs taken right after each other share the machine,
its clock speed and its neighbours. Both sides are measured in turns, the side that begins alternates, and the median
of the rounds counts.
"""

from __future__ import annotations

import gc
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Cost:
    """What one side of one round took.

    Attributes:
        cpu: seconds of processor time of all threads of this process and of programs that it ran to their end.
        wall: seconds by the wall.
        written: bytes this process handed to the kernel to be written to files; 0 where the kernel does not count them.
    """

    cpu: float
    wall: float
    written: int


@dataclass(frozen=True, slots=True)
class Round:
    """One round: our cost and the bare library's."""

    ours: Cost
    bare: Cost


@dataclass(frozen=True, slots=True)
class Line:
    """One printed line.

    Attributes:
        name: what was measured, as in `docs/bench.md`.
        ratios: ours over bare, one for each round.
        figures: the absolute figures behind them, for people.
    """

    name: str
    ratios: Sequence[float]
    figures: str

    @property
    def median(self) -> float:
        """The ratio that counts."""
        return statistics.median(self.ratios)


def rounds(count: int, ours: Callable[[], object], bare: Callable[[], object]) -> list[Round]:
    """Both sides measured `count` times in turns, after one turn each that does not count."""
    ours()
    bare()
    measured = []
    for number in range(count):
        if number % 2:
            first = _cost(bare)
            measured.append(Round(_cost(ours), first))
        else:
            first = _cost(ours)
            measured.append(Round(first, _cost(bare)))
    return measured


def _cost(side: Callable[[], object]) -> Cost:
    gc.collect()
    written, wall, cpu = _written(), time.perf_counter(), _cpu()
    side()
    return Cost(_cpu() - cpu, time.perf_counter() - wall, _written() - written)


def _cpu() -> float:
    programs = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + programs.ru_utime + programs.ru_stime


def _written() -> int:
    """`wchar` of proc(5)."""
    try:
        counts = Path("/proc/self/io").read_text("ascii")
    except OSError:
        return 0
    return int(dict(line.split(": ") for line in counts.splitlines())["wchar"])


def cpu_ratios(measured: Sequence[Round]) -> list[float]:
    """CPU time of ours over CPU time of the bare library."""
    return [each.ours.cpu / each.bare.cpu for each in measured]


def wall_ratios(measured: Sequence[Round]) -> list[float]:
    """Time of ours over time of the bare library, waiting included."""
    return [each.ours.wall / each.bare.wall for each in measured]


def per_cpu_second(count: int, costs: Sequence[Cost]) -> str:
    """How many were done in a CPU second, in the median round."""
    return f"{count / statistics.median(cost.cpu for cost in costs):,.0f}"


def per_second(count: int, costs: Sequence[Cost]) -> str:
    """How many were done in a second by the wall, in the median round."""
    return f"{count / statistics.median(cost.wall for cost in costs):,.0f}"
