"""The agent on OPC UA servers: what it reads and seals, what that takes, and what asyncua alone takes for the same nodes.

    make load-opcua                                      2 000 nodes on 5 servers every 5 s, five minutes
    .venv/bin/python -m tests.bench.load_opcua --seconds 30

The servers are asyncua's, each in a process of its own, and serve the agent and the bare client at the same time. The bare
client is a loop over `Client.read_values` on the same instants, in one process for all servers as the agent is. Processor
time and memory are the kernel's figures for each process (proc(5)). Nothing here is a limit.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.clock import from_stamp
from agent.ledger_file import LedgerReader
from agent.record import parse
from agent.state import LEDGER_FILE
from tests.bench.growth import resident
from tests.peers.opcua_meters import PLANT, serving

SERVERS, METERS, POINTS, EVERY_S = 5, 10, 40, 5
_SETTLE_S = 5.0
_PATIENCE_S = 60.0


@dataclass(slots=True)
class Run:
    """An agent that was watched.

    Attributes:
        begin_ns, end_ns: from when until when, wall clock.
        cpu_s: its processor time meanwhile.
        memory: resident kB at the begin and at the end.
        journal: warnings and worse that it told.
    """

    begin_ns: int = 0
    end_ns: int = 0
    cpu_s: float = 0.0
    memory: list[int] = field(default_factory=list)
    journal: list[str] = field(default_factory=list)


def main() -> int:
    """Measures and prints; the exit code says only whether everything could be measured."""
    words = argparse.ArgumentParser(description="The agent on OPC UA servers.")
    words.add_argument("--seconds", type=float, default=300.0, help="how long is measured")
    words.add_argument("--bare", nargs="*", metavar="URL", help=argparse.SUPPRESS)
    given = words.parse_args()
    if given.bare is not None:
        asyncio.run(_bare(given.bare, given.seconds))
        return 0
    with tempfile.TemporaryDirectory(prefix="meterseal-opcua-") as name, ExitStack() as stack:
        folder = Path(name)
        options = ("--meters", str(METERS), "--points", str(POINTS))
        urls = [stack.enter_context(serving(*options)).url for _ in range(SERVERS)]
        run, bare = _together(folder, urls, given.seconds)
        without = _memory_without(folder / "without")
        _show(folder / "state" / LEDGER_FILE, run, bare, without)
    return 0


def _show(ledger: Path, run: Run, bare: dict[str, float], without: int) -> None:
    seconds = (run.end_ns - run.begin_ns) / 1e9
    planned = SERVERS * METERS * round(seconds / EVERY_S)
    read, late_ms = _read(ledger, run)
    ours, theirs = 1e6 * run.cpu_s / (read * POINTS), 1e6 * bare["cpu"] / bare["values"]
    begin, end = (kilobytes / 1000 for kilobytes in run.memory)
    print(f"{SERVERS * METERS * POINTS} nodes on {SERVERS} servers every {EVERY_S} s, {seconds:.0f} s")
    print(f"  polls      planned {planned}, read with every value good {read} ({100 * read / planned:.2f} %)")
    print(f"  processor  {ours:.1f} us a value, sealed; asyncua alone {theirs:.1f} us; ratio {ours / theirs:.2f}")
    print(f"  answered   within {late_ms[len(late_ms) // 2]} ms (median), {late_ms[-1]} ms (all) of the due instant")
    print(f"  memory     {begin:.1f} MB at the begin, {end:.1f} MB at the end; without OPC UA {without / 1000:.1f} MB")
    print(f"  memory     asyncua alone {bare['memory'] / 1000:.1f} MB")
    for line in run.journal[:5]:
        print(f"  journal    {line}")


def _read(ledger: Path, run: Run) -> tuple[int, list[int]]:
    """How many instants were read with every value good, and how late their answers came (ms), sorted."""
    late_ms = []
    with contextlib.closing(LedgerReader(ledger)) as reader:
        for _, payload in reader.kind_records("reading"):
            fields = parse(payload)
            if run.begin_ns <= from_stamp(fields["due"]) < run.end_ns and all("value" in each for each in fields["values"]):
                late_ms.append((from_stamp(fields["time"]) - from_stamp(fields["due"])) // 1_000_000)
    return len(late_ms), sorted(late_ms)


# --- the agent ----------------------------------------------------------------------------------------------


def _together(folder: Path, urls: list[str], seconds: float) -> tuple[Run, dict[str, float]]:
    """The agent and the bare client side by side."""
    run = Run()
    with _agent(folder, _site(urls)) as (process, journal):
        now = time.time()
        begin = (now + _SETTLE_S) // EVERY_S * EVERY_S + EVERY_S - 1  # between two instants
        time.sleep(begin - now)
        command = [sys.executable, "-m", "tests.bench.load_opcua", "--seconds", str(seconds), "--bare", *urls]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as client:
            cpu_s = _used_s(process, run)
            run.begin_ns = time.time_ns()
            time.sleep(round(seconds / EVERY_S) * EVERY_S)
            run.end_ns = time.time_ns()
            run.cpu_s = _used_s(process, run) - cpu_s
            assert client.stdout is not None
            bare: dict[str, float] = json.loads(client.stdout.read())
        told = [json.loads(line) for line in journal.read_text("utf-8").splitlines()]
        run.journal = [f"{line['event']}: {line}" for line in told if line["level"] not in ("debug", "info")]
    return run, bare


@contextlib.contextmanager
def _agent(folder: Path, site: dict[str, Any]) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """An agent that runs, and its journal."""
    folder.mkdir(exist_ok=True)
    (folder / "site.yaml").write_text(json.dumps(site), "utf-8")
    surroundings = os.environ | {"METERSEAL_SITE": str(folder / "site.yaml"), "METERSEAL_STATE": str(folder / "state")}
    words = [sys.executable, "-m", "agent"]
    subprocess.run([*words, "init"], check=True, capture_output=True, env=surroundings)
    journal = folder / "journal"
    with journal.open("wb") as file, subprocess.Popen([*words, "run"], stderr=file, env=surroundings) as process:
        try:
            deadline = time.monotonic() + _PATIENCE_S
            while b"agent.started" not in journal.read_bytes():
                assert process.poll() is None, journal.read_text("utf-8")
                assert time.monotonic() < deadline, "the agent does not start"
                time.sleep(0.05)
            yield process, journal
        finally:
            process.send_signal(signal.SIGTERM)


def _used_s(process: subprocess.Popen[bytes], run: Run) -> float:
    """The processor time of a process so far; notes its memory."""
    of = Path(f"/proc/{process.pid}")
    run.memory.append(resident((of / "status").read_text("ascii")))
    user, system = (of / "stat").read_text("ascii").rsplit(")", 1)[1].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _site(urls: list[str]) -> dict[str, Any]:
    links = {f"s{number}": {"opcua": url, "security": "None"} for number, url in enumerate(urls)}
    meters = [
        {
            "id": f"{link}-m{meter}",
            "link": link,
            "model": "generic-opcua",
            "points": [_point(meter, point) for point in range(POINTS)],
        }
        for link in links
        for meter in range(1, METERS + 1)
    ]
    return {"gateway": "load/gateway-1", "every": f"{EVERY_S}s", "links": links, "meters": meters}


def _point(meter: int, point: int) -> dict[str, Any]:
    return {"quantity": f"temperature.ch{point}", "at": {"node": f"nsu={PLANT};s=M{meter}.P{point}", "type": "UInt32"}}


def _memory_without(folder: Path) -> int:
    """Resident kB of an agent that has a Modbus meter, which does not answer, and nothing of OPC UA."""
    points = [{"quantity": "active_power", "at": {"address": 0, "type": "u16"}}]
    meter = {"id": "m1", "link": "l1", "model": "generic-modbus", "address": "1", "points": points}
    site = {"gateway": "load/gateway-1", "every": f"{EVERY_S}s", "links": {"l1": {"tcp": "127.0.0.1:9"}}, "meters": [meter]}
    run = Run()
    with _agent(folder, site) as (process, _):
        time.sleep(_SETTLE_S)
        _used_s(process, run)
    return run.memory[0]


# --- asyncua alone ------------------------------------------------------------------------------------------


async def _bare(urls: list[str], seconds: float) -> None:
    """Reads the same nodes at the same instants; prints processor time, values and memory."""
    from asyncua import Client

    logging.disable(logging.CRITICAL)
    clients = [Client(url) for url in urls]
    for client in clients:
        await client.connect()
    try:
        nodes = []
        for client in clients:
            index = await client.get_namespace_index(PLANT)
            names = [f"ns={index};s=M{meter}.P{point}" for meter in range(1, METERS + 1) for point in range(POINTS)]
            nodes.append([client.get_node(name) for name in names])
        before, values = resource.getrusage(resource.RUSAGE_SELF), 0
        for _ in range(round(seconds / EVERY_S)):
            await asyncio.sleep(EVERY_S - time.time() % EVERY_S)
            read = await asyncio.gather(*(client.read_values(each) for client, each in zip(clients, nodes, strict=True)))
            values += sum(len(each) for each in read)
        after = resource.getrusage(resource.RUSAGE_SELF)
    finally:
        for client in clients:
            await client.disconnect()
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(json.dumps({"cpu": cpu, "values": values, "memory": resident(Path("/proc/self/status").read_text("ascii"))}))


if __name__ == "__main__":
    sys.exit(main())
