"""`meterseal status --health`: one line and an exit code, from real agents in real trouble."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from agent import condition
from agent.cli import main
from agent.clock import Trust
from agent.control import SOCKET_FILE
from agent.keys import make_key
from agent.state import only_agent
from tests.agent.at_work import AtWork, at_work, until
from tests.agent.gateway import GATEWAY, FastClock
from tests.agent.heard import Heard
from tests.agent.plants import simulator_of
from tests.brokers import Line, Mosquitto

HALL = {"tcp": "127.0.0.1:0", "framing": "rtu"}
METER = {"model": "eastron-sdm120", "serial": "70000007", "answer_ms": 1}


def site(endpoint: str, *more: str) -> str:
    lines = [
        "every: 1s",
        "commit_seconds: 0",
        "links:",
        f"  hall: {{tcp: '{endpoint}', framing: rtu, timeout_ms: 100, longest_answer_ms: 100}}",
    ]
    return "\n".join([*lines, "meters:", "  - {id: EM-1, link: hall, model: eastron-sdm120, address: 7}", *more, ""])


def asked(folder: Path) -> tuple[int, str]:
    """The exit code and the line, as the program prints them."""
    words: Sequence[str] = ["status", "--health", "--site", str(folder / "site.yaml"), "--state", str(folder / "state")]
    done = CliRunner().invoke(main, words)
    return done.exit_code, done.output


async def ask(folder: Path) -> tuple[int, str]:
    return await asyncio.to_thread(asked, folder)


async def becomes(folder: Path, name: str) -> str:
    """The line, once it is about this ailment."""
    async with asyncio.timeout(60):
        while True:
            code, line = await ask(folder)
            if line.startswith(f"{name}: "):
                assert code == 1
                return line
            await asyncio.sleep(0.02)


def nobody() -> str:
    """An address at which nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


class UnkeptClock(FastClock):
    """A clock that nothing keeps."""

    def trust(self) -> Trust:
        return Trust("unsynchronized", 16_000)


async def test_a_healthy_agent_is_told_as_one(tmp_path: Path) -> None:
    async with simulator_of(tmp_path, METER, hall=HALL) as plant, at_work(tmp_path, site(plant.address_of("hall"))):
        async with asyncio.timeout(60):
            while (told := await ask(tmp_path))[0]:
                await asyncio.sleep(0.02)
        assert told[1].startswith("healthy: 1 of 1 meters answer, ")


async def test_where_no_agent_runs_the_line_says_how_to_start_it(tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text(f"gateway: {GATEWAY}\n{site('127.0.0.1:1')}")
    make_key(tmp_path / "state", GATEWAY)
    code, line = asked(tmp_path)
    assert (code, line.split(":")[0]) == (1, "not_running")
    assert "systemctl start meterseal" in line


async def test_a_key_that_others_may_read_is_named_before_the_start(tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text(f"gateway: {GATEWAY}\n{site('127.0.0.1:1')}")
    make_key(tmp_path / "state", GATEWAY)
    (tmp_path / "state" / "key.pem").chmod(0o644)
    code, line = asked(tmp_path)
    assert (code, line.split(":")[0]) == (1, "key_unreadable")
    assert "chmod 600" in line


async def test_a_mistake_in_the_site_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text("gateway: a/b\nmeterz: []\n")
    (tmp_path / "state").mkdir()
    code, line = asked(tmp_path)
    assert (code, line.split(":")[0]) == (1, "site_mistake")
    assert "meterz" in line
    assert line.count("\n") == 1


async def test_an_agent_that_just_starts_does_not_answer_yet(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    with only_agent(tmp_path / "state"):
        code, line = asked(tmp_path)
    assert (code, line.split(":")[0]) == (1, "not_answering")


async def test_an_agent_that_is_held_is_told_as_not_answering(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.cli_health._PATIENCE_S", 0.5)
    (tmp_path / "site.yaml").write_text(f"gateway: {GATEWAY}\n{site(nobody())}")
    make_key(tmp_path / "state", GATEWAY)
    places = {"METERSEAL_SITE": str(tmp_path / "site.yaml"), "METERSEAL_STATE": str(tmp_path / "state")}
    run = (sys.executable, "-c", "from agent.cli import main; main()", "run")
    process = await asyncio.create_subprocess_exec(*run, env=os.environ | places, stderr=asyncio.subprocess.DEVNULL)
    try:
        await until((tmp_path / "state" / SOCKET_FILE).exists)
        process.send_signal(signal.SIGSTOP)
        assert "did not answer in time" in await becomes(tmp_path, "not_answering")
    finally:
        process.kill()
        await process.wait()


async def test_before_the_first_poll_round_is_over_it_is_not_called_healthy(tmp_path: Path) -> None:
    async with simulator_of(tmp_path, METER, hall=HALL) as plant:
        text = site(plant.address_of("hall")).replace("every: 1s", "every: 24h")
        async with at_work(tmp_path, text, FastClock(1.0)):
            assert "first readings" in await becomes(tmp_path, "first_round")


async def test_a_line_of_silent_meters_is_told(tmp_path: Path) -> None:
    other = METER | {"address": "8"}
    async with (
        simulator_of(tmp_path, other, hall=HALL) as plant,
        at_work(tmp_path, site(plant.address_of("hall")), FastClock(2.0)),
    ):
        assert "hall: none of its 1 meters answers" in await becomes(tmp_path, "line_silent")


async def test_a_connection_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    async with at_work(tmp_path, site(nobody())):
        assert "hall cannot be opened" in await becomes(tmp_path, "line_down")


async def test_a_clock_that_nothing_keeps_is_told(tmp_path: Path, heard: Heard) -> None:
    async with (
        simulator_of(tmp_path, METER, hall=HALL) as plant,
        at_work(tmp_path, site(plant.address_of("hall")), UnkeptClock(20.0)),
    ):
        line = await becomes(tmp_path, "clock_unsynchronised")
    assert "time server" in line
    heard.prints(line, "MS-602")


async def test_a_broker_that_is_not_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(condition, "UNREACHED_S", 0.0)
    host, port = nobody().split(":")
    broker = ["mqtt:", f"  - {{name: plant, host: {host}, port: {port}}}"]
    async with simulator_of(tmp_path, METER, hall=HALL) as plant, at_work(tmp_path, site(plant.address_of("hall"), *broker)):
        assert "broker plant: nothing listens" in await becomes(tmp_path, "broker_unreachable")


async def test_records_that_a_broker_does_not_take_for_long_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, heard: Heard
) -> None:
    monkeypatch.setattr(condition, "BEHIND_S", 0.1)
    with Mosquitto(tmp_path) as broker:
        async with (
            Line(broker.port) as slow,
            simulator_of(tmp_path, METER, hall=HALL) as plant,
            at_work(
                tmp_path,
                site(plant.address_of("hall"), "mqtt:", f"  - {{name: plant, host: 127.0.0.1, port: {slow.port}}}"),
                FastClock(2.0),
            ) as agent,
        ):
            await until(lambda: slow.connections and agent.events("forward.connected"))
            slow.holds = True
            line = await becomes(tmp_path, "delivery_behind")
            slow.release()
    assert "records wait for it" in line
    heard.prints(line, "MS-511")


async def test_a_disk_without_room_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, heard: Heard) -> None:
    monkeypatch.setattr(condition, "_FEW_BYTES", 2**60)
    async with simulator_of(tmp_path, METER, hall=HALL) as plant, at_work(tmp_path, site(plant.address_of("hall"))):
        line = await becomes(tmp_path, "disk_nearly_full")
    assert "MB left" in line
    heard.prints(line, "MS-405")


async def test_a_writer_that_stands_still_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, heard: Heard) -> None:
    monkeypatch.setattr(condition, "WRITER_PATIENCE_S", 0.3)
    hold, ledgers = threading.Event(), _ledgers(monkeypatch)

    def stands() -> list[Any]:
        hold.wait(60)
        return []

    async with simulator_of(tmp_path, METER, hall=HALL) as plant, at_work(tmp_path, site(plant.address_of("hall"))) as agent:
        standing = asyncio.ensure_future(ledgers[0].append_made(stands))
        try:
            line = await becomes(tmp_path, "writer_stalled")
            await _told(agent, "agent.stalled")
        finally:
            hold.set()
            await standing
    assert "the disk hangs" in line
    heard.prints(line, "MS-907")
    heard.tells(agent.events("agent.stalled")[0], "MS-907")


def _ledgers(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The ledgers that agents open from now on."""
    from agent.ledger import Ledger

    opened: list[Any] = []
    opening = Ledger.open.__func__  # type: ignore[attr-defined]  # the function below the class method

    async def seen(*words: Any) -> Any:
        opened.append(await opening(Ledger, *words))
        return opened[-1]

    monkeypatch.setattr(Ledger, "open", seen)
    return opened


async def _told(agent: AtWork, event: str) -> None:
    await until(lambda: agent.events(event))


async def test_a_ledger_that_the_disk_refuses_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sqlite3

    ledgers = _ledgers(monkeypatch)

    def refuses() -> list[Any]:
        raise sqlite3.OperationalError("disk I/O error")

    async with simulator_of(tmp_path, METER, hall=HALL) as plant, at_work(tmp_path, site(plant.address_of("hall"))):
        with pytest.raises(Exception, match="disk I/O error"):
            await ledgers[0].append_made(refuses)
        assert "disk I/O error" in await becomes(tmp_path, "ledger_failed")
