"""How long a healthy serial line takes to read all its meters, over the least time that the wire allows.

Ten meters answer behind a line that is paced to its baud rate (`tests/peers/paced_line.py`), five milliseconds after each
request. The agent runs as a user starts it, sealing and committing while it polls; times are those at which characters
were on the wire. pymodbus' own client reads the same registers on the same line, in a process of its own:

    python -m tests.bench.line PORT BAUD CYCLES
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from pymodbus import FramerType
from pymodbus.client import AsyncModbusSerialClient

from agent.keys import make_key
from tests.bench.ratio import Line
from tests.peers.paced_line import Frame, PacedLine, compiled_units, paced_line, units

METERS = range(1, 11)
MODEL = "eastron-sdm120"
# The model's default points in the fewest reads that it bears: the energies lie 46 registers behind the rest.
READS = ((0, 26), (72, 8))
EVERY_S = {9600: 2, 19200: 1}  # the shortest whole seconds in which a cycle ends
_CYCLES = 7
_BEFORE = 14.0  # seconds that do not count: serial numbers and settings are read and sealed first
_BITS = 10  # 8N1
_SILENT_CHARACTERS = 3.5  # Serial Line V1.02, 2.5.1.1; above 19200 baud it would be 1.75 ms
_PATIENCE = 30.0

Cycle = list[Frame]


def lines(folder: Path) -> list[Line]:
    """A line of print for each speed; none where there is no C compiler for the meters."""
    program = compiled_units(folder)
    return [] if program is None else [_measured(folder / f"baud-{baud}", program, baud) for baud in EVERY_S]


def _measured(folder: Path, program: Path, baud: int) -> Line:
    with paced_line(baud, _BITS) as line, units(program, line.ports[1], *map(str, METERS)):
        _agent(folder, line)
        ours = _cycles(line)
        subprocess.run([sys.executable, "-m", "tests.bench.line", line.ports[0], str(baud), str(_CYCLES)], check=True)
        theirs = _cycles(line)
    ratios = [_took(cycle) / _least(cycle, baud) for cycle in ours]
    bare = statistics.median(_took(cycle) / _least(cycle, baud) for cycle in theirs)
    took, least = (1000 * statistics.median(times) for times in (map(_took, ours), [_least(cycle, baud) for cycle in ours]))
    return Line(
        f"cycle, {baud} baud", ratios, f"{took:.1f} ms; the wire's least {least:.1f} ms; pymodbus' client {bare:.2f} of it"
    )


def _agent(folder: Path, line: PacedLine) -> None:
    """Runs an agent on the line until as many cycles as are wanted have passed."""
    every, state = EVERY_S[line.baud], folder / "state"
    meters = "".join(f"  - {{id: EM-{address}, link: line-1, model: {MODEL}, address: {address}}}\n" for address in METERS)
    link = f"  line-1: {{serial: {line.ports[0]}, baud: {line.baud}, format: 8N1}}\n"
    make_key(state, "bench/gw1")
    site = folder / "site.yaml"
    site.write_text(f"gateway: bench/gw1\nevery: {every}s\ncommit_seconds: 0.1\nlinks:\n{link}meters:\n{meters}", "utf-8")
    surroundings = os.environ | {"METERSEAL_SITE": str(site), "METERSEAL_STATE": str(state)}
    command = [sys.executable, "-c", "from agent.cli import main; main()", "run"]
    with (folder / "agent.log").open("wb") as log, subprocess.Popen(command, env=surroundings, stderr=log) as agent:
        try:
            _wait_for_first(line)
            time.sleep(_BEFORE + (_CYCLES + 1) * every)  # nobody disturbs the line meanwhile
        finally:
            agent.terminate()


def _wait_for_first(line: PacedLine) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not line.traffic().frames:
        if time.monotonic() > deadline:
            raise TimeoutError("the agent asked nothing")
        time.sleep(0.05)


def _cycles(line: PacedLine) -> list[Cycle]:
    """The newest whole cycles a line carried: from the first request to the last answer, each request once."""
    cycles: list[Cycle] = [[]]
    for frame in line.traffic().frames:
        if frame.station == 0 and any(frame.data == earlier.data for earlier in cycles[-1]):
            cycles.append([])
        cycles[-1].append(frame)
    whole = [cycle for cycle in cycles if [frame.station for frame in cycle] == [0, 1] * (len(READS) * len(METERS))]
    if len(whole) < _CYCLES:
        raise RuntimeError(f"{len(whole)} whole cycles, the others had {sorted({len(cycle) for cycle in cycles})} frames")
    return whole[-_CYCLES:]


def _took(cycle: Cycle) -> float:
    return cycle[-1].end - cycle[0].begin


def _least(cycle: Cycle, baud: int) -> float:
    """Characters of the fewest requests and answers, the silence in front of each request, and the time the meters took."""
    characters = len(METERS) * sum(8 + 5 + 2 * count for _, count in READS)
    silences = len(METERS) * len(READS) - 1
    turns = sum(answer.begin - request.end for request, answer in zip(cycle[::2], cycle[1::2], strict=True))
    return (characters + _SILENT_CHARACTERS * silences) * _BITS / baud + turns


async def _pymodbus(port: str, baud: int, cycles: int) -> None:
    """Reads all meters over and over with pymodbus' own client, as its documentation shows."""
    client = AsyncModbusSerialClient(port, framer=FramerType.RTU, baudrate=baud, timeout=1, retries=0)
    await client.connect()
    for _ in range(cycles + 1):
        for meter in METERS:
            for address, count in READS:
                answer = await client.read_input_registers(address, count=count, device_id=meter)
                assert len(answer.registers) == count
        await asyncio.sleep(0.2)  # as the agent does between two cycles
    client.close()


def main(words: Sequence[str]) -> None:
    """pymodbus' side."""
    port, baud, cycles = words
    asyncio.run(_pymodbus(port, int(baud), int(cycles)))


if __name__ == "__main__":
    main(sys.argv[1:])
