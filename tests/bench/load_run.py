"""One run of the real agent on a plant under load: what was planned, read, sealed and delivered, and what it took.

What was read is counted from the ledger after the agent has ended: due instants of the measured time that have a sealed
reading with every value good. What was delivered is counted by a subscriber of a real broker. Processor time and memory
are the kernel's figures for the agent's process (proc(5)), between the first and the last measured instant.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from agent.ledger_file import LedgerReader
from agent.state import LEDGER_FILE
from tests.bench.growth import resident
from tests.bench.load_plant import Plant, served, write_site

_PATIENCE = 120.0
_SETTLE = 3.0
_GRACE = 3.0
_BROKER = "listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n"


@dataclass(slots=True)
class Outcome:
    """What a run came to.

    Attributes:
        seconds: how long was measured.
        planned, read, told: polls that were due, that have a complete reading, and that a gap record tells to be missing.
        late_ms: how long after its due instant each reading's first answer came, sorted.
        cpu: the agent's processor time in the measured time, seconds.
        idle: the part of all processors' time that nobody used, percent.
        memory: resident kB at its begin, middle and end.
        sealed, readings, delivered: records in the ledger, readings among them, and readings the subscriber got.
        behind: how many records were on disk and not with the subscriber when the measured time ended.
        size: bytes of the ledger's files.
        journal: warnings and worse that the agent told.
    """

    plant: Plant
    seconds: float
    planned: int = 0
    read: int = 0
    told: int = 0
    late_ms: list[int] = field(default_factory=list)
    cpu: float = 0.0
    idle: float = 0.0
    memory: list[int] = field(default_factory=list)
    sealed: int = 0
    readings: int = 0
    delivered: int = 0
    behind: int = 0
    size: int = 0
    journal: list[str] = field(default_factory=list)

    @property
    def completeness(self) -> float:
        """Of the planned polls, the part that was read."""
        return self.read / self.planned

    @property
    def rate(self) -> float:
        """Values read, sealed and on disk in each second."""
        return self.read * self.plant.values / self.seconds


def run(plant: Plant, seconds: float, keep: Path | None = None, settle: float = _SETTLE, grace: float = _GRACE) -> Outcome:
    """Runs the agent on a plant for a while.

    Args:
        plant: what to read.
        seconds: how long to measure.
        keep: where the ledger is moved to; None: it is thrown away.
        settle, grace: so many seconds the agent runs before and after that.
    """
    with tempfile.TemporaryDirectory(prefix="meterseal-load-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        ports = stack.enter_context(served(plant.links, folder))
        broker = stack.enter_context(_broker(folder))
        seen = stack.enter_context(_subscriber(broker, folder))
        site = write_site(plant, ports, broker, folder)
        outcome, begin, end = _measured(plant, seconds, site, folder / "state", seen, settle, grace)
        _take_readings(outcome, folder / "state" / LEDGER_FILE, begin, end)
        _count(outcome, folder / "state" / LEDGER_FILE, seen)
        if keep:
            shutil.move(folder / "state", keep)
            shutil.move(folder / "journal", keep)
        return outcome


# --- the programs around it ---------------------------------------------------------------------------------


def _program(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    assert found, f"{name} is missing: apt install mosquitto mosquitto-clients"
    return found


def _free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


@contextlib.contextmanager
def _broker(folder: Path) -> Iterator[int]:
    """The port of a mosquitto on 127.0.0.1 that keeps nothing on disk and drops nothing for the subscriber."""
    port = _free_port()
    rights = "user root\n" if os.geteuid() == 0 else ""  # else it gives up its rights and cannot read this file
    (folder / "mosquitto.conf").write_text(_BROKER.format(port=port) + rights)
    quiet: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([_program("mosquitto"), "-c", str(folder / "mosquitto.conf")], **quiet) as process:
        try:
            deadline = time.monotonic() + _PATIENCE
            while True:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                    break
                assert process.poll() is None, "mosquitto ended"
                assert time.monotonic() < deadline, "mosquitto does not listen"
                time.sleep(0.01)
            yield port
        finally:
            process.terminate()


@contextlib.contextmanager
def _subscriber(port: int, folder: Path) -> Iterator[Path]:
    """The file in which a subscriber writes the topic of each message it gets."""
    path = folder / "delivered"
    words = ["-V", "5", "-h", "127.0.0.1", "-p", str(port), "-q", "1", "-c", "-i", "load", "-x", "3600"]
    words += ["-t", "meterseal/v1/#", "-t", "$SYS/broker/version", "-F", "%t"]
    with path.open("wb") as file, subprocess.Popen([_program("mosquitto_sub"), *words], stdout=file) as process:
        try:
            _wait_for(lambda: b"version" in path.read_bytes(), "the subscriber")
            yield path
        finally:
            process.terminate()


def _wait_for(condition: Any, what: str) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"{what} is not there in time"
        time.sleep(0.02)


# --- the agent ----------------------------------------------------------------------------------------------


def _measured(
    plant: Plant, seconds: float, site: Path, state: Path, seen: Path, settle: float, grace: float
) -> tuple[Outcome, int, int]:
    """The agent started, watched and stopped; processor time and memory, and from when until when (ms since 1970)."""
    surroundings = os.environ | {"METERSEAL_SITE": str(site), "METERSEAL_STATE": str(state)}
    words = [sys.executable, "-m", "agent"]
    done = subprocess.run([*words, "init"], capture_output=True, text=True, env=surroundings, check=False)
    assert done.returncode == 0, done.stderr
    journal = site.with_name("journal")
    with journal.open("wb") as file, subprocess.Popen([*words, "run"], stderr=file, env=surroundings) as agent:
        try:
            _wait_for(lambda: b"agent.started" in journal.read_bytes() or agent.poll() is not None, "the agent")
            assert agent.poll() is None, journal.read_text()
            begin = -(-(_now_ms() + round(1000 * settle)) // plant.every_ms) * plant.every_ms
            outcome = Outcome(plant, max(1, round(seconds * 1000 / plant.every_ms)) * plant.every_ms / 1000)
            end = begin + round(outcome.seconds * 1000)
            outcome.cpu -= _at(begin, agent, outcome, journal)
            outcome.idle -= _idle()
            _at((begin + end) // 2, agent, outcome, journal)
            outcome.cpu += _at(end, agent, outcome, journal)
            outcome.idle = 100 * (outcome.idle + _idle()) / outcome.seconds / (os.cpu_count() or 1)
            outcome.behind = _behind(state / LEDGER_FILE, seen)
            time.sleep(grace)
            agent.send_signal(signal.SIGTERM)
            agent.wait(_PATIENCE)
        finally:
            agent.kill()
    lines = journal.read_text().splitlines()
    outcome.journal = [line for line in lines if '"info"' not in line]
    return outcome, begin, end


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _at(moment_ms: int, agent: subprocess.Popen[bytes], outcome: Outcome, journal: Path) -> float:
    """Waits for a moment, notes the agent's memory, and returns its processor time so far in seconds."""
    time.sleep(max(0.0, (moment_ms - _now_ms()) / 1000))
    assert agent.poll() is None, f"the agent ended: {journal.read_text()[-2000:]}"
    process = Path(f"/proc/{agent.pid}")
    outcome.memory.append(resident((process / "status").read_text("ascii")))
    user, system = (process / "stat").read_text("ascii").rsplit(")", 1)[1].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _idle() -> float:
    """Seconds in which a processor had nothing to do, since boot (proc(5)), all of them together."""
    idle, waiting = Path("/proc/stat").read_text("ascii").split()[4:6]
    return (int(idle) + int(waiting)) / os.sysconf("SC_CLK_TCK")


def _behind(ledger: Path, seen: Path) -> int:
    """How many records are on disk that the subscriber has not got."""
    with contextlib.closing(LedgerReader(ledger)) as reader:
        return max(0, reader.size() - _delivered(seen, b"reading", b"gap", b"event"))


def _delivered(seen: Path, *kinds: bytes) -> int:
    """How many messages of some kinds the subscriber got."""
    topics = seen.read_bytes()
    return sum(topics.count(b"/%s/" % kind) for kind in kinds)


# --- counting -----------------------------------------------------------------------------------------------


def _take_readings(outcome: Outcome, ledger: Path, begin: int, end: int) -> None:
    """Counts the ledger's readings and gaps of the measured time."""
    every = outcome.plant.every_ms
    outcome.planned = outcome.plant.meters * ((end - begin) // every)
    read: set[tuple[str, int]] = set()
    opened: dict[str, int] = {}
    with contextlib.closing(LedgerReader(ledger)) as reader:
        for _, payload in reader.payloads():
            outcome.sealed += 1
            record = json.loads(payload)
            if record["kind"] == "reading":
                outcome.readings += 1
                due = _milliseconds(record["due"])
                if begin <= due < end and _is_complete(record, outcome.plant):
                    read.add((record["meter"]["id"], due))
                    outcome.late_ms.append(_milliseconds(record["time"]) - due)
            elif record["kind"] == "gap" and record["state"] == "opened":
                opened[record["meter"]["id"]] = _milliseconds(record["since"])
            elif record["kind"] == "gap":
                opened.pop(record["meter"]["id"], None)
                outcome.told += _instants(_milliseconds(record["since"]), _milliseconds(record["due"]), begin, end, every)
    outcome.told += sum(_instants(since, end, begin, end, every) for since in opened.values())
    outcome.read = len(read)
    outcome.late_ms.sort()


def _is_complete(record: dict[str, Any], plant: Plant) -> bool:
    return len(record["values"]) == plant.values and not any("quality" in value for value in record["values"])


def _instants(since: int, until: int, begin: int, end: int, every: int) -> int:
    """How many due instants of the measured time lie in a gap."""
    return max(0, min(until, end) - max(since, begin)) // every


def _milliseconds(stamp: str) -> int:
    return round(datetime.fromisoformat(stamp).timestamp() * 1000)


def _count(outcome: Outcome, ledger: Path, seen: Path) -> None:
    """What the subscriber got, and what the ledger takes on disk."""
    deadline = time.monotonic() + _GRACE
    while _delivered(seen, b"reading") < outcome.readings and time.monotonic() < deadline:
        time.sleep(0.05)
    outcome.delivered = _delivered(seen, b"reading")
    outcome.size = sum(path.stat().st_size for path in ledger.parent.glob(f"{LEDGER_FILE}*"))
