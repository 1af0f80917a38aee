"""Reading meters of an OPC UA server by hand, `check`, and who needs asyncua for it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("asyncua", reason="asyncua is not installed: pip install 'meterseal[opcua]'")

from click.testing import CliRunner

from agent.cli import main
from agent.control import ask
from tests.agent.at_work import at_work, until
from tests.agent.gateway import GATEWAY, FastClock
from tests.agent.servers import SPEED, keep_own, site
from tests.peers.opcua_meters import SERVER, Peer, serving


@pytest.fixture(scope="module")
def shared() -> Iterator[Peer]:
    """A server that no test stops."""
    with serving("--meters", "3", "--points", "6") as peer:
        yield peer


async def test_a_meter_is_read_by_hand_through_the_agent_that_holds_the_session(shared: Peer, tmp_path: Path) -> None:
    async with at_work(tmp_path, site(shared, every="15m"), FastClock(1.0)) as agent:
        answer = await asyncio.to_thread(ask, agent.state, {"do": "read", "meter": "m2", "introduce": True})
        live = await asyncio.to_thread(ask, agent.state, {"do": "live"})
    assert answer
    assert answer["complete"]
    assert "active_power          21 W" in answer["text"]
    assert live
    assert live["links"]["scada"]["open"]


async def test_by_hand_a_server_that_is_not_there_is_told_with_what_to_do(tmp_path: Path) -> None:
    with serving() as gone:
        text = site(gone, every="15m")
    async with at_work(tmp_path, text, FastClock(1.0)) as agent:
        answer = await asyncio.to_thread(ask, agent.state, {"do": "read", "meter": "m2", "introduce": False})
    assert answer
    assert "refuses the connection" in answer["error"]
    assert "network cable" in answer["hint"]


def on_the_command_line(folder: Path, text: str, *words: str) -> tuple[int, str]:
    """Exit code and what is printed, without an agent."""
    (folder / "site.yaml").write_text(f"gateway: {GATEWAY}\n{text}", "utf-8")
    done = CliRunner().invoke(main, [*words, "--site", str(folder / "site.yaml"), "--state", str(folder / "state")])
    return done.exit_code, done.output


def test_a_meter_is_read_by_hand_without_an_agent(shared: Peer, tmp_path: Path) -> None:
    code, printed = on_the_command_line(tmp_path, site(shared), "read", "m2")
    assert code == 0, printed
    assert "active_power          21 W" in printed
    assert printed.startswith("m2  any a meter whose values an OPC UA server holds, on scada\n")


def test_check_tells_of_each_server_how_it_is_protected_and_who_it_must_be(shared: Peer, tmp_path: Path) -> None:
    code, printed = on_the_command_line(tmp_path, site(shared), "check")
    assert code == 0, printed
    assert "scada: not protected, without a login: anybody on the network can read and alter what it says" in printed
    assert "  4 nodes in one request every 1 s" in printed
    code, printed = on_the_command_line(tmp_path, site(shared, f"user: meterseal, server: {SERVER}"), "check")
    assert "scada: Basic256Sha256, SignAndEncrypt, as user meterseal" in printed
    assert "Run `meterseal init --opcua`" in printed
    keep_own(tmp_path)
    code, printed = on_the_command_line(tmp_path, site(shared, f"user: meterseal, server: {SERVER}"), "check")
    assert "nobody has confirmed the server's certificate yet, so it is not read: run `meterseal trust scada`" in printed
    assert f"it must be {SERVER}" in printed
    assert "there is no password for meterseal: METERSEAL_OPCUA_PASSWORD_SCADA is not set" in printed
    pin = f'certificate: "sha256:{"ab" * 32}"'
    code, printed = on_the_command_line(tmp_path, site(shared, pin), "check")
    assert f"it must show the certificate sha256:{'ab' * 32}" in printed


def test_without_asyncua_one_message_says_what_to_install(shared: Peer, tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text(f"gateway: {GATEWAY}\n{site(shared)}", "utf-8")
    code = "import sys; sys.modules['asyncua'] = None; from agent.cli import main; main()"
    words = ["read", "m1", "--site", str(tmp_path / "site.yaml"), "--state", str(tmp_path / "state")]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith("install it with  pip install 'meterseal[opcua]' [MS-102]")
    assert "links.scada.opcua: OPC UA needs the package asyncua" in done.stderr
    assert "Traceback" not in done.stderr


_IMPORTED = "import sys; print(sorted(name for name in sys.modules if name.partition('.')[0] in ('asyncua', 'aiosqlite')))"


async def test_nobody_but_who_polls_an_opc_ua_server_imports_asyncua(shared: Peer, tmp_path: Path) -> None:
    async with at_work(tmp_path, site(shared), FastClock(SPEED)) as agent:
        await until(lambda: len(agent.readings("m1")) > 2)
    verify = f"from agent.cli import main; main(['verify', '--state', {str(agent.state)!r}], standalone_mode=False)\n"
    for code, printed in ((verify, "IN ORDER"), ("import agent.cli, agent.run, agent.ways, agent.forecast\n", "")):
        done = subprocess.run([sys.executable, "-c", code + _IMPORTED], capture_output=True, text=True, check=False)
        assert printed in done.stdout, done.stdout + done.stderr
        assert done.stdout.endswith("\n[]\n" if printed else "[]\n"), done.stdout + done.stderr
