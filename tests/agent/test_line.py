"""The agent on serial lines as slow as real ones: dead and sick meters take nothing from the others, and no pulled plug stops it.

One agent runs for some seconds on five lines at once, each with a fault of its own; what it sealed is held against what
passed over the wires. Meters count their answers in a register, so a value read once and told twice would be seen.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import structlog

from agent.clock import Clock, from_stamp
from agent.keys import make_key
from agent.ledger_file import LedgerReader
from agent.record import parse
from agent.run import run_agent
from agent.state import LEDGER_FILE
from config.check import load_site
from config.settings import load_settings
from tests.agent.gateway import GATEWAY, SECOND, FastClock
from tests.agent.plants import with_crc
from tests.peers.paced_line import COUNTER, Frame, PacedLine, Traffic, compiled_units, paced_line, units
from tests.peers.ptys import Pty

PATIENCE = 20.0
ROOT = Path(__file__).parents[2]

# --- five lines, one agent ------------------------------------------------------------------------------------

EVERY_S = 1
TIMEOUT_S = 0.3
PLANNED = 16  # instants that are looked at on every line
AT_REST = 6.0  # seconds after which it is known who is dead


@dataclass(frozen=True, slots=True)
class Faults:
    """A line and what is odd about its units. Who is `apart` may be talked into, as it is a station of its own."""

    baud: int
    told: tuple[str, ...]
    apart: str = ""

    @property
    def units(self) -> dict[int, str]:
        """What is odd about each unit, by address; empty for a healthy one."""
        every = [*self.told, self.apart] if self.apart else self.told
        return {int(unit.partition(":")[0]): unit.partition(":")[2] for unit in every}

    @property
    def healthy(self) -> list[int]:
        return [address for address, odd in self.units.items() if not odd]

    @property
    def dead(self) -> list[int]:
        return [address for address, odd in self.units.items() if odd == "dead"]


def ten(**odd: str) -> tuple[str, ...]:
    return tuple(f"{address}:{odd[name]}" if (name := f"unit_{address}") in odd else str(address) for address in range(1, 11))


LINES = {
    "one-dead": Faults(19200, ten(unit_4="dead")),
    "three-dead": Faults(19200, ten(unit_1="dead", unit_5="dead", unit_6="dead")),
    "one-every-second-time": Faults(19200, ten(unit_7="every=2")),
    "one-of-three-dead": Faults(9600, ("1", "2:dead", "3")),
    "one-too-late": Faults(19200, ("1", "2", "4", "5"), apart=f"3:late={1000 * TIMEOUT_S:.0f}"),
}
POINTS = ", ".join(
    f"{{quantity: {quantity}, at: {{address: {COUNTER + 2 * index}, type: {kind}}}}}"
    for index, (quantity, kind) in enumerate(
        [("active_energy_import", "u32"), ("voltage.l1", "f32"), ("voltage.l2", "f32"), ("voltage.l3", "f32")]
        + [(f"current.l{phase}", "f32") for phase in (1, 2, 3)]
    )
)


def meter_id(line: str, address: int) -> str:
    return f"{line}-{address}"


def site_text(lines: dict[str, PacedLine]) -> str:
    links = [
        f"  {name}: {{serial: {line.ports[0]}, baud: {line.baud}, format: 8N1, timeout_ms: {int(TIMEOUT_S * 1000)}}}"
        for name, line in lines.items()
    ]
    meters = [
        f"  - {{id: {meter_id(name, address)}, link: {name}, model: generic-modbus, address: {address}, points: [{POINTS}]}}"
        for name in lines
        for address in LINES[name].units
    ]
    head = [f"gateway: {GATEWAY}", f"every: {EVERY_S}s", "commit_seconds: 0.1"]
    return "\n".join([*head, "links:", *links, "meters:", *meters, ""])


def count_in(answer: Frame) -> int:
    """The meter's count of its answers, in one of them: all requests begin with it."""
    return int.from_bytes(answer.data[3:7], "big")


@dataclass(frozen=True, slots=True)
class Reading:
    """What is looked at of a sealed reading: wall clock in nanoseconds, and the count of the meter's answers in it."""

    due_ns: int
    answered_ns: int
    count: int


class Run:
    """What passed over the wires, and what the ledger says of it."""

    def __init__(self, ledger: Path, traffic: dict[str, Traffic]) -> None:
        self.traffic = traffic
        self.ahead_ns = time.time_ns() - time.monotonic_ns()
        with contextlib.closing(LedgerReader(ledger)) as past:
            records = {
                meter: {kind: [parse(payload) for _, payload in past.meter_records(meter, kind)] for kind in ("reading", "gap")}
                for line, faults in LINES.items()
                for meter in (meter_id(line, address) for address in faults.units)
            }
        self.readings = {meter: [self._reading(fields) for fields in told["reading"]] for meter, told in records.items()}
        self.gaps = {meter: told["gap"] for meter, told in records.items()}

    @staticmethod
    def _reading(fields: dict[str, Any]) -> Reading:
        values = {value["quantity"]: value for value in fields["values"]}
        assert all("quality" not in value for value in values.values())
        return Reading(from_stamp(fields["due"]), from_stamp(fields["time"]), int(values["active_energy_import"]["value"]))

    def on_the_wire(self, wall_ns: int) -> float:
        """A moment of the wall clock on the line's clock."""
        return (wall_ns - self.ahead_ns) / SECOND

    def requests(self, line: str) -> list[Frame]:
        return [frame for frame in self.traffic[line].frames if frame.station == 0]

    def answers(self, line: str) -> list[Frame]:
        return [frame for frame in self.traffic[line].frames if frame.station]

    def planned(self, line: str) -> list[int]:
        """The instants from the first request on: before it, the line is listened to."""
        first = -(-(self.ahead_ns + int(self.requests(line)[0].begin * SECOND)) // (EVERY_S * SECOND))
        return [(first + number) * EVERY_S * SECOND for number in range(PLANNED)]

    def kept(self, line: str) -> tuple[int, int]:
        """How many planned readings of healthy units there are, of how many."""
        planned = self.planned(line)
        found = [{r.due_ns for r in self.readings[meter_id(line, unit)]} & set(planned) for unit in LINES[line].healthy]
        return sum(len(dues) for dues in found), len(planned) * len(found)

    def latest_s(self, line: str) -> float:
        """The longest time from a planned instant to the answer of a healthy unit."""
        planned = self.planned(line)
        of_healthy = [r for unit in LINES[line].healthy for r in self.readings[meter_id(line, unit)] if r.due_ns in planned]
        return max((reading.answered_ns - reading.due_ns) / SECOND for reading in of_healthy)

    def share_of_dead(self, line: str) -> float:
        """Which part of the line's time went to dead units, once it was known who is dead.

        From a request to one until the next request; but where nothing else was to be asked, no longer than a timeout.
        The last such request is left out: the share it is weighed against lies behind the end.
        """
        asked = self.requests(line)
        since, until = asked[0].begin + AT_REST, asked[-1].begin
        lost = [
            min(following.begin - frame.begin, frame.end - frame.begin + TIMEOUT_S)
            for frame, following in pairwise(asked)
            if frame.begin >= since and frame.data[0] in LINES[line].dead
        ]
        return sum(lost[:-1]) / (until - since)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("lines")
    program = compiled_units(folder)
    if program is None:
        pytest.skip("no C compiler: apt-get install gcc")
    state = folder / "state"
    make_key(state, GATEWAY)
    with ExitStack() as stack:
        lines = {name: stack.enter_context(paced_line(faults.baud, stations=3)) for name, faults in LINES.items()}
        for name, line in lines.items():
            stack.enter_context(units(program, line.ports[1], *LINES[name].told))
            if LINES[name].apart:
                stack.enter_context(units(program, line.ports[2], LINES[name].apart))
        (folder / "site.yaml").write_text(site_text(lines), "utf-8")
        command = [sys.executable, "-c", "from agent.cli import main; main()", "run"]
        places = {"METERSEAL_SITE": str(folder / "site.yaml"), "METERSEAL_STATE": str(state)}
        with (
            (folder / "agent.log").open("wb") as log,
            subprocess.Popen(command, env=os.environ | places, stderr=log, cwd=ROOT) as agent,
        ):
            try:
                traffic = recorded(lines, agent)
                agent.send_signal(signal.SIGTERM)
                assert agent.wait(PATIENCE) == 0
            finally:
                agent.kill()
                print((folder / "agent.log").read_text("utf-8"))  # for who looks into a failure
        yield Run(state / LEDGER_FILE, traffic)


def recorded(lines: dict[str, PacedLine], agent: subprocess.Popen[bytes]) -> dict[str, Traffic]:
    """What passes from the first request on each line, until all planned instants are over by an interval."""
    deadline = time.monotonic() + PATIENCE
    heard: dict[str, list[Traffic]] = {name: [] for name in lines}
    while not all(any(part.frames for part in parts) for parts in heard.values()):
        assert agent.poll() is None, "the agent has ended"
        assert time.monotonic() < deadline, "a line was never asked"
        time.sleep(0.2)  # a line is only asked now and then what it heard: telling keeps it from listening
        for name, line in lines.items():
            heard[name].append(line.traffic())
    time.sleep((PLANNED + 1.5) * EVERY_S)  # the span that is measured
    for name, line in lines.items():
        heard[name].append(line.traffic())
    return {
        name: Traffic(
            tuple(frame for part in parts for frame in part.frames),
            sum(part.busy_s for part in parts),
            sum(part.collisions for part in parts),
            (0.0, max(part.late_s[1] for part in parts)),
        )
        for name, parts in heard.items()
    }


@pytest.mark.parametrize(
    ("line", "share"),
    [
        ("one-dead", 0.95),
        ("three-dead", 0.90),
        ("one-every-second-time", 0.90),
        ("one-of-three-dead", 1.0),
        ("one-too-late", 0.85),
    ],
)
def test_healthy_meters_keep_their_planned_readings_whoever_else_is_dead(run: Run, line: str, share: float) -> None:
    kept, planned = run.kept(line)
    assert planned == PLANNED * len(LINES[line].healthy)
    assert kept >= share * planned, f"{kept} of {planned}"


@pytest.mark.parametrize("line", LINES)
def test_no_reading_of_a_healthy_meter_is_late_by_more_than_an_interval(run: Run, line: str) -> None:
    assert run.latest_s(line) <= EVERY_S


@pytest.mark.parametrize("line", LINES)
def test_every_reading_of_a_healthy_meter_is_an_exchange_of_its_own(run: Run, line: str) -> None:
    for address in LINES[line].healthy:
        counts = [reading.count for reading in run.readings[meter_id(line, address)]]
        assert len(counts) > PLANNED / 2
        assert counts == sorted(set(counts))


@pytest.mark.parametrize("line", LINES)
def test_every_reading_is_what_the_meter_answered_to_the_newest_request(run: Run, line: str) -> None:
    for address in LINES[line].units:
        asked = [frame for frame in run.requests(line) if frame.data[0] == address]
        told = {count_in(frame): frame for frame in run.answers(line) if frame.data[0] == address}
        for reading in run.readings[meter_id(line, address)]:
            if run.on_the_wire(reading.answered_ns) > run.requests(line)[-1].begin:
                break  # the agent was read for a moment longer than the wire
            newest = max(frame.begin for frame in asked if frame.begin < run.on_the_wire(reading.answered_ns))
            assert newest < told[reading.count].begin < run.on_the_wire(reading.answered_ns) + 0.01


@pytest.mark.parametrize("line", [name for name, faults in LINES.items() if faults.dead])
def test_dead_meters_take_a_tenth_of_the_lines_time_at_most_and_are_still_asked(run: Run, line: str) -> None:
    assert run.share_of_dead(line) <= 0.10
    asked = run.requests(line)
    assert any(frame.data[0] in LINES[line].dead for frame in asked if frame.begin > asked[0].begin + AT_REST)


@pytest.mark.parametrize("line", LINES)
def test_what_a_dead_meter_misses_is_sealed_as_its_silence(run: Run, line: str) -> None:
    for address in LINES[line].dead:
        gaps = run.gaps[meter_id(line, address)]
        assert [gap["cause"] for gap in gaps if gap["state"] == "opened"][-1] == "no_answer"
        assert not run.readings[meter_id(line, address)]


@pytest.mark.parametrize("line", [name for name, faults in LINES.items() if not faults.apart])
def test_nobody_ever_talks_into_anothers_word(run: Run, line: str) -> None:
    assert run.traffic[line].collisions == 0


# --- the plug -------------------------------------------------------------------------------------------------

UNPLUGGED = 100
SPEED = 50.0


class Adapter:
    """A serial adapter that is plugged in and pulled, behind a link such as /dev/serial/by-id has, and a meter on its line."""

    def __init__(self, link: Path) -> None:
        self.link = link
        self.answers = 0
        self.names: list[str] = []
        self._plugged: Pty | None = None
        self._heard = bytearray()

    def plug(self, elsewhere: bool = False) -> None:
        """`elsewhere`: under another name than the last time."""
        kept = [Pty()] if elsewhere else []
        self._plugged = Pty()
        for pty in kept:
            pty.unplug()
        self.names.append(self._plugged.name)
        asyncio.get_running_loop().add_reader(self._plugged.end, self._hear, self._plugged.end)
        self.link.symlink_to(self._plugged.name)

    def pull(self) -> None:
        assert self._plugged
        asyncio.get_running_loop().remove_reader(self._plugged.end)
        self.link.unlink()
        self._plugged.unplug()

    def _hear(self, end: int) -> None:
        self._heard += os.read(end, 256)
        while len(self._heard) >= 8:
            request = bytes(self._heard[:8])
            del self._heard[:8]
            count = int.from_bytes(request[4:6], "big")
            self.answers += 1
            os.write(end, with_crc(request[:2] + bytes([2 * count]) + self.answers.to_bytes(4, "big").ljust(2 * count, b"\0")))


@asynccontextmanager
async def agent_on(link: Path, folder: Path, clock: Clock, told: list[dict[str, Any]]) -> AsyncIterator[LedgerReader]:
    """An agent that reads one meter through an adapter; its ledger."""

    def tell(_: Any, level: str, event: Any) -> Any:
        told.append(event)
        raise structlog.DropEvent

    site, state = folder / "site.yaml", folder / "state"
    point = f"{{quantity: active_energy_import, at: {{address: {COUNTER}, type: u32}}}}"
    port = f"{{serial: {link}, baud: 115200, format: 8N1, timeout_ms: 30, longest_answer_ms: 30}}"
    meter = f"{{id: EM-1, link: line-1, model: generic-modbus, address: 1, points: [{point}]}}"
    head = f"gateway: {GATEWAY}\nevery: 1s\ncommit_seconds: 0\n"
    site.write_text(f"{head}links:\n  line-1: {port}\nmeters:\n  - {meter}\n", "utf-8")
    make_key(state, GATEWAY)
    log = structlog.wrap_logger(None, processors=[tell])
    settings = load_settings(site=site, state=state)
    running = asyncio.create_task(run_agent(load_site(site), state, settings, log, clock))
    try:
        await until(lambda: running.done() or any(event["event"] == "link.up" for event in told))
        with contextlib.closing(LedgerReader(state / LEDGER_FILE)) as past:
            yield past
    finally:
        if not running.done():
            os.kill(os.getpid(), signal.SIGTERM)
        await running


def times(told: list[dict[str, Any]], name: str) -> int:
    return sum(event["event"] == name for event in told)


async def until(condition: Any) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.002)


def newest_count(past: LedgerReader) -> int:
    for _, payload in past.meter_records("EM-1", "reading", newest_first=True):
        return int(parse(payload)["values"][0]["value"])
    return 0


async def test_an_adapter_may_be_pulled_a_hundred_times_and_is_read_again_each_time(tmp_path: Path) -> None:
    (tmp_path / "by-id").mkdir()
    adapter = Adapter(tmp_path / "by-id" / "usb-FTDI_USB-RS485-if00-port0")
    told: list[dict[str, Any]] = []
    adapter.plug()
    async with agent_on(adapter.link, tmp_path, FastClock(SPEED), told) as past:
        held: list[tuple[int, int]] = []
        for number in range(UNPLUGGED):
            answered = adapter.answers
            await until(lambda answered=answered: newest_count(past) > answered)
            held.append((len(os.listdir("/proc/self/fd")), threading.active_count()))
            missed = times(told, "link.down")
            adapter.pull()
            if number % 2:  # put back after it was missed, else at once
                await until(lambda missed=missed: times(told, "link.down") > missed)
            adapter.plug(elsewhere=number % 3 == 0)
        answered = adapter.answers
        await until(lambda: newest_count(past) > answered)
        adapter.pull()
    assert times(told, "link.up") == UNPLUGGED + 1
    assert len(set(adapter.names)) > 1
    files = [count for count, _ in held]
    # Whoever looks at the ledger now and then has it open for a moment, and SQLite keeps one such descriptor for later.
    assert min(files[-25:]) <= min(files[10:35]) + 1, str(files)
    assert held[-1][1] <= held[10][1], held
