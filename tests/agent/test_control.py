"""agent.control: commands to a running agent, first of all `meterseal read` between its own polls."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import stat
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from agent.control import SOCKET_FILE, ControlError, ask
from agent.keys import make_key
from agent.ledger_file import LedgerReader
from agent.record import parse
from agent.simulate import Simulator
from agent.state import LEDGER_FILE
from tests.agent.at_work import at_work, until
from tests.agent.gateway import GATEWAY
from tests.agent.plants import simulator_of
from tests.peers.converter import Converter

ROOT = Path(__file__).parents[2]
BY_HAND = 99  # read at midnight only, so whatever is asked of it is asked by hand
POLLED = tuple(range(1, 7))
SEAL = [sys.executable, "-c", "from agent.cli import main; main()"]


def site(endpoint: str, every: str = "1s", timeout_ms: int = 300) -> str:
    meters = [f"{{id: EM-{unit}, link: hall, model: eastron-sdm120, address: {unit}}}" for unit in POLLED]
    meters += [f"{{id: hand, link: hall, model: eastron-sdm120, address: {BY_HAND}, every: 24h}}"]
    meters += [f"{{id: dead, link: hall, model: eastron-sdm120, address: {BY_HAND + 1}, every: 24h}}"]
    link = f"  hall: {{tcp: '{endpoint}', framing: rtu, timeout_ms: {timeout_ms}, longest_answer_ms: {timeout_ms}}}"
    return "\n".join(
        [f"every: {every}", "commit_seconds: 0.1", "links:", link, "meters:", *(f"  - {each}" for each in meters), ""]
    )


@asynccontextmanager
async def plant(folder: Path) -> AsyncIterator[tuple[Simulator, Converter]]:
    """Six meters that are polled and one that is not, 25 ms an answer, behind a serial server that keeps what passes."""
    meters = [
        {"id": f"M-{unit}", "model": "eastron-sdm120", "address": str(unit), "answer_ms": 25, "serial": f"70{unit:06}"}
        for unit in (*POLLED, BY_HAND)
    ]
    async with (
        simulator_of(folder, *meters, hall={"tcp": "127.0.0.1:0", "framing": "rtu"}) as simulator,
        Converter(simulator.address_of("hall")) as server,
    ):
        yield simulator, server


def units(server: Converter) -> list[int]:
    """Who was asked, in order."""
    assert all(len(piece) == 8 or piece[1] == 0x2B for piece in server.requests)
    return [piece[0] for piece in server.requests]


@dataclass
class Program:
    """An agent in a process of its own."""

    process: asyncio.subprocess.Process
    places: dict[str, str]
    state: Path

    async def run(self, *words: str) -> tuple[int | None, str]:
        """Another command: its exit code, and what it prints, errors too."""
        process = await asyncio.create_subprocess_exec(
            *SEAL,
            *words,
            env=os.environ | self.places,
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        printed, _ = await process.communicate()
        return process.returncode, printed.decode()


@asynccontextmanager
async def program(folder: Path, text: str) -> AsyncIterator[Program]:
    (folder / "site.yaml").write_text(f"gateway: {GATEWAY}\n{text}", "utf-8")
    state = folder / "state"
    make_key(state, GATEWAY)
    places = {"METERSEAL_SITE": str(folder / "site.yaml"), "METERSEAL_STATE": str(state)}
    with (folder / "agent.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*SEAL, "run", env=os.environ | places, cwd=ROOT, stderr=log)
    try:
        await until((state / SOCKET_FILE).exists)
        yield Program(process, places, state)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.wait()


def gaps(state: Path) -> list[dict[str, Any]]:
    """Gaps of the meters that are polled."""
    with contextlib.closing(LedgerReader(state / LEDGER_FILE)) as past:
        meters = [f"EM-{unit}" for unit in POLLED]
        return [parse(payload) for meter in meters for _, payload in past.meter_records(meter, "gap")]


def readings(state: Path) -> int:
    with contextlib.closing(LedgerReader(state / LEDGER_FILE)) as past:
        return min(sum(1 for _ in past.meter_records(f"EM-{unit}", "reading")) for unit in POLLED)


# --- a meter is read by hand while the agent runs -------------------------------------------------------------


async def test_a_read_by_hand_goes_between_two_requests_of_the_running_agent_and_costs_no_poll(tmp_path: Path) -> None:
    async with plant(tmp_path) as (_, server), program(tmp_path, site(server.endpoint)) as agent:
        await until(lambda: readings(agent.state) >= 2)
        before = gaps(agent.state)
        for _ in range(5):
            # Asked while the agent asks as well: its polls take half of each second.
            polled = len(server.requests)
            await until(lambda polled=polled: len(server.requests) > polled)
            asked = len(server.requests)
            answer = await asyncio.to_thread(ask, agent.state, {"do": "read", "meter": "hand"})
            assert answer
            assert answer["complete"] is True
            first = units(server).index(BY_HAND, asked)
            assert first - asked <= 2  # one may be under way, one may begin while the question is on its way to the agent
            by_hand = [number for number, unit in enumerate(units(server)) if unit == BY_HAND and number >= asked]
            assert len(by_hand) >= 3  # blocks and the serial number
            assert all(later - earlier <= 2 for earlier, later in pairwise(by_hand))
        read = readings(agent.state)
        await until(lambda: readings(agent.state) > read)
        assert gaps(agent.state) == before
        process_id = agent.process.pid
        code, printed = await agent.run("read", "hand", "--identify")
        assert (code, agent.process.returncode, agent.process.pid) == (0, None, process_id)
        assert "active_energy_import" in printed
        assert "serial: 70000099" in printed
        assert "maker: Eastron" in printed
        assert server.connections == 1, "it went over the agent's own connection"


async def test_a_silent_meter_that_is_read_by_hand_is_told_as_such_and_costs_no_poll(tmp_path: Path) -> None:
    async with plant(tmp_path) as (_, server), program(tmp_path, site(server.endpoint, timeout_ms=100)) as agent:
        await until(lambda: readings(agent.state) >= 2)
        before = gaps(agent.state)
        code, printed = await agent.run("read", "dead")
        assert code == 1
        assert printed.count("no answer") == 1
        again = await asyncio.to_thread(ask, agent.state, {"do": "read", "meter": "dead"})
        assert again
        assert again["complete"] is False
        read = readings(agent.state)
        await until(lambda: readings(agent.state) > read)
        assert gaps(agent.state) == before


async def test_who_asks_for_a_meter_that_the_agent_does_not_know_is_told_why(tmp_path: Path) -> None:
    async with plant(tmp_path) as (_, server), program(tmp_path, site(server.endpoint, every="1h")) as agent:
        known = tmp_path / "site.yaml"
        known.write_text(known.read_text("utf-8").replace("id: hand", "id: new"), "utf-8")
        code, printed = await agent.run("read", "new")
        assert code == 2
        assert "the running agent has no meter new. Was it started with another site file?" in printed


async def test_an_agent_that_is_killed_while_it_reads_by_hand_is_told_as_one_that_gave_no_answer(tmp_path: Path) -> None:
    async with plant(tmp_path) as (_, server), program(tmp_path, site(server.endpoint, "1h", timeout_ms=1500)) as agent:
        reading = asyncio.create_task(agent.run("read", "dead"))
        await until(lambda: BY_HAND + 1 in units(server))  # it waits for the answer of a meter that there is not
        agent.process.kill()
        code, printed = await reading
        assert code == 2
        assert printed.splitlines()[-1] == "the agent gave no answer: see its journal, and try again [MS-904]"
        assert (agent.state / SOCKET_FILE).exists(), "left behind"
        assert await asyncio.to_thread(ask, agent.state, {"do": "live"}) is None


async def test_a_line_that_was_closed_because_nobody_used_it_is_opened_for_a_read_by_hand(tmp_path: Path) -> None:
    meter = {"id": "M-99", "model": "eastron-sdm120", "address": str(BY_HAND), "serial": "70000099"}
    async with (
        simulator_of(tmp_path, meter, hall={"tcp": "127.0.0.1:0", "framing": "rtu"}) as simulator,
        Converter(simulator.address_of("hall"), idle_s=0.3) as server,
    ):
        text = site(server.endpoint, "24h").replace(
            "timeout_ms: 300, longest_answer_ms: 300", "timeout_ms: 200, longest_answer_ms: 50"
        )
        async with at_work(tmp_path, text) as agent:
            await until(lambda: agent.events("link.idle"))
            assert server.open == 0
            answer = await asyncio.to_thread(ask, agent.state, {"do": "read", "meter": "hand"})
            assert answer
            assert answer["complete"] is True
            assert not agent.events("link.down")


# --- without an agent -----------------------------------------------------------------------------------------


def test_where_no_agent_ever_ran_nobody_answers(tmp_path: Path) -> None:
    assert ask(tmp_path, {"do": "live"}) is None
    assert ask(tmp_path / "nowhere", {"do": "live"}) is None


def test_where_an_agent_was_killed_nobody_answers(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(tmp_path / SOCKET_FILE))
    assert ask(tmp_path, {"do": "live"}) is None


def test_an_agent_that_closes_without_a_word_is_told(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dying:
        dying.bind(str(tmp_path / SOCKET_FILE))
        dying.listen()

        def hang_up() -> None:
            connection, _ = dying.accept()
            connection.recv(4096)
            connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        with pytest.raises(ControlError, match="gave no answer"):
            ask(tmp_path, {"do": "live"})
        thread.join()


# --- the socket -----------------------------------------------------------------------------------------------


async def test_the_socket_is_there_for_the_agents_own_account_only_and_goes_with_the_agent(tmp_path: Path) -> None:
    async with plant(tmp_path) as (_, server):
        async with at_work(tmp_path, site(server.endpoint)) as agent:
            assert stat.S_IMODE((agent.state / SOCKET_FILE).stat().st_mode) == 0o600
        assert not (agent.state / SOCKET_FILE).exists()


async def test_a_socket_left_behind_does_not_keep_the_next_agent_from_listening(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(tmp_path / "state" / SOCKET_FILE))
    make_key(tmp_path / "state", GATEWAY)
    async with plant(tmp_path) as (_, server), at_work(tmp_path, site(server.endpoint)) as agent:
        live = await asyncio.to_thread(ask, agent.state, {"do": "live"})
        assert live
        assert {*live["links"]} == {"hall"}


async def test_a_state_directory_may_lie_deeper_than_a_sockets_address_is_long(tmp_path: Path) -> None:
    deep = tmp_path / ("a" * 60) / ("b" * 60)
    deep.mkdir(parents=True)
    assert len(str(deep)) > 120
    async with plant(tmp_path) as (_, server), at_work(deep, site(server.endpoint)) as agent:
        live = await asyncio.to_thread(ask, agent.state, {"do": "live"})
        assert live
        assert {*live["links"]["hall"]["meters"]} == {*(f"EM-{unit}" for unit in POLLED), "hand", "dead"}


@pytest.mark.parametrize(
    "sent", [b"\n", b"read EM-1\n", b"[1, 2]\n", b'{"do": "write", "meter": "EM-1"}\n', b"\xff\xfe\n", b"{" * 70_000 + b"\n", b""]
)
async def test_whatever_is_sent_the_agent_lives_on(tmp_path: Path, sent: bytes) -> None:
    async with plant(tmp_path) as (_, server), at_work(tmp_path, site(server.endpoint)) as agent:
        reader, writer = await asyncio.open_unix_connection(os.path.relpath(agent.state / SOCKET_FILE))
        with contextlib.suppress(ConnectionError):
            writer.write(sent)
            writer.write_eof()
            answered = await reader.read()
            assert not answered or "error" in json.loads(answered)
        writer.transport.abort()
        assert await asyncio.to_thread(ask, agent.state, {"do": "live"})


async def test_who_does_not_wait_for_the_answer_leaves_the_agent_unharmed(tmp_path: Path) -> None:
    async with plant(tmp_path) as (_, server), at_work(tmp_path, site(server.endpoint)) as agent:
        await until(lambda: agent.readings("EM-1"))
        for _ in range(5):
            _, writer = await asyncio.open_unix_connection(os.path.relpath(agent.state / SOCKET_FILE))
            writer.write(b'{"do": "read", "meter": "hand"}\n')
            await writer.drain()
            writer.transport.abort()
        read = len(agent.readings("EM-1"))
        await until(lambda: len(agent.readings("EM-1")) > read)
        assert await asyncio.to_thread(ask, agent.state, {"do": "live"})
