"""An agent on an OPC UA server that runs in a process of its own: what it seals, and that it reads on after whatever happens.

A counter goes on by one at each read, so a value read once and told twice, or told of another instant, would be seen.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

pytest.importorskip("asyncua", reason="asyncua is not installed: pip install 'meterseal[opcua]'")

from click.testing import CliRunner

from agent.cli import main
from agent.clock import from_stamp
from agent.control import ask
from agent.opcua_certificate import fingerprint_of, make_certificate
from tests.agent.at_work import AtWork, at_work, until, values
from tests.agent.gateway import GATEWAY, FastClock
from tests.peers.opcua_meters import PASSWORD, PLANT, SERVER, USER, Peer, serving, start

SPEED = 10.0
TIMEOUT_MS = 700


def site(peer: Peer, link: str = "security: None", meters: int = 2, every: str = "1s", points: int = 2) -> str:
    """The lines of a site file below `gateway:`: each meter reads a counter and what does not change."""
    lines = [
        f"every: {every}\ncommit_seconds: 0\nlinks:",
        f'  scada: {{opcua: "{peer.url}", timeout_ms: {TIMEOUT_MS}, {link}}}',
        "meters:",
    ]
    phases = [f"{name}.l{phase}" for name in ("voltage", "current", "active_power") for phase in (1, 2, 3)]
    names = ["active_energy_import", "active_power", "frequency", *phases]
    for meter in range(1, meters + 1):
        lines.append(f"  - id: m{meter}\n    link: scada\n    model: generic-opcua\n    points:")
        for point in range(points):
            lines.append(f'      - {{quantity: {names[point]}, at: {{node: "nsu={PLANT};s=M{meter}.P{point}", type: UInt32}}}}')
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def shared() -> Iterator[Peer]:
    """A server that no test stops."""
    with serving("--meters", "3", "--points", "6") as peer:
        yield peer


@pytest.fixture
def peer() -> Iterator[Peer]:
    """A server that a test may do to as it likes."""
    with serving() as peer:
        yield peer


def counts(agent: AtWork, meter: str = "m1") -> list[int]:
    return [int(values(reading)["active_energy_import"]) for reading in agent.readings(meter)]


def accounted(agent: AtWork, meter: str, every_ms: int = 1000) -> None:
    """Every instant from the first to the last reading was read or is told of as missed."""
    readings = agent.readings(meter)
    first, last = (from_stamp(readings[place]["due"]) for place in (0, -1))
    closed = [gap for gap in agent.records(meter, "gap") if gap["state"] == "closed" and gap["missed"]]
    missed = sum(gap["missed"] for gap in closed if first < from_stamp(gap["due"]) <= last)
    assert len(readings) + missed == (last - first) // (every_ms * 1_000_000) + 1


async def test_each_instant_is_one_read_for_all_meters_and_each_seals_its_own_part(shared: Peer, tmp_path: Path) -> None:
    async with at_work(tmp_path, site(shared, meters=3), FastClock(SPEED)) as agent:
        await until(lambda: agent.readings("m3"))
        shared.tell("reads")
        await until(lambda: len(agent.readings("m3")) > 12)
        asked = [nodes for nodes in json.loads(shared.tell("reads")) if nodes > 1]
        readings = agent.readings("m2")
        assert set(asked) == {2 + 3 * 2}
        assert {fields["values"][1]["value"] for fields in readings} == {"21"}
        for fields in readings:
            (frame,) = fields["frames"]
            assert b"M2.P0" in bytes.fromhex(frame["request"])
            assert b"M1.P0" not in bytes.fromhex(frame["request"])
        for meter in ("m1", "m2", "m3"):
            assert all(later == before + 1 for before, later in pairwise(counts(agent, meter)))
            accounted(agent, meter)


async def test_what_is_read_more_often_has_readings_of_its_own(shared: Peer, tmp_path: Path) -> None:
    text = site(shared, meters=1).replace("    points:", "    fast: {every: 500ms, quantities: [active_power]}\n    points:")
    async with at_work(tmp_path, text, FastClock(SPEED)) as agent:
        await until(lambda: len(agent.readings("m1", 0.5)) > 10)
        fast, slow = agent.readings("m1", 0.5), agent.readings("m1", 1)
        assert {len(fields["values"]) for fields in [*fast, *slow]} == {1}
        assert abs(len(fast) - 2 * len(slow)) <= 2


async def test_a_server_that_was_killed_is_read_again_and_what_was_missed_is_told(peer: Peer, tmp_path: Path) -> None:
    async with at_work(tmp_path, site(peer), FastClock(SPEED)) as agent:
        await until(lambda: len(agent.readings("m2")) > 2)
        peer.kill()
        await until(lambda: "no_connection" in agent.causes("m2"))
        before = len(agent.readings("m2"))
        again = peer.again()
        try:
            await until(lambda: len(agent.readings("m2")) > before + 2)
        finally:
            accounted(agent, "m2")
            again.stop()
        (down,) = agent.events("link.down")
        assert "scada" in down["reason"]
        assert [event["link"] for event in agent.events("link.up")] == ["scada", "scada"]


async def test_a_server_that_hangs_is_a_gap_without_an_answer_and_is_read_when_it_goes_on(peer: Peer, tmp_path: Path) -> None:
    async with at_work(tmp_path, site(peer), FastClock(SPEED)) as agent:
        await until(lambda: len(agent.readings("m2")) > 2)
        peer.freeze()
        await until(lambda: agent.causes("m2"))
        before = len(agent.readings("m2"))
        peer.thaw()
        await until(lambda: len(agent.readings("m2")) > before + 2)
        accounted(agent, "m2")
        assert set(agent.causes("m2")) == {"no_answer"}
        opened = next(gap for gap in agent.records("m1", "gap") if gap["state"] == "opened")
        assert [(frame["answer"], frame["fault"]) for frame in opened["frames"]] == [("", "no_answer")]
        assert not agent.events("link.overrun")


async def test_a_session_that_the_server_forgot_is_opened_anew_for_the_same_instant(peer: Peer, tmp_path: Path) -> None:
    async with at_work(tmp_path, site(peer), FastClock(SPEED)) as agent:
        await until(lambda: len(agent.readings("m2")) > 2)
        peer.tell("forget")
        await until(lambda: agent.causes("m2"))
        before = len(agent.readings("m2"))
        await until(lambda: len(agent.readings("m2")) > before + 2)
        accounted(agent, "m2")
        assert agent.causes("m2") == ["session_closed"]
        assert [gap["missed"] for gap in agent.records("m2", "gap") if gap["state"] == "closed"] == [0]


async def test_a_server_that_numbers_its_namespaces_anew_never_makes_another_nodes_value_ours(peer: Peer, tmp_path: Path) -> None:
    async with at_work(tmp_path, site(peer), FastClock(SPEED)) as agent:
        await until(lambda: len(agent.readings("m2")) > 2)
        peer.tell("reorder")
        await until(lambda: values(agent.readings("m1")[-1])["active_power"] == "1011")
        before = len(agent.readings("m2"))
        await until(lambda: len(agent.readings("m2")) > before + 2)
        accounted(agent, "m2")
        moved = [fields for fields in agent.readings("m1") if len(fields["frames"]) == 2]
        assert [values(fields)["active_power"] for fields in moved] == ["1011"]
        told = [values(fields)["active_power"] for fields in agent.readings("m1")]
        first = told.index("1011")
        assert set(told[first:]) == {"1011"}, "none went back to the node under the old number"


async def test_namespaces_in_another_order_after_a_restart_change_no_value(peer: Peer, tmp_path: Path) -> None:
    async with at_work(tmp_path, site(peer), FastClock(SPEED)) as agent:
        await until(lambda: len(agent.readings("m2")) > 2)
        again = peer.again("--namespaces", f"http://first.example/,http://second.example/,{PLANT}")
        try:
            before = len(agent.readings("m2"))
            await until(lambda: len(agent.readings("m2")) > before + 2)
        finally:
            again.stop()
        assert {values(fields)["active_power"] for fields in agent.readings("m2")} == {"21"}


async def test_a_hundred_lost_sessions_leave_nothing_behind(peer: Peer, tmp_path: Path) -> None:
    async with at_work(tmp_path, site(peer, every="500ms"), FastClock(SPEED)) as agent:
        held: list[tuple[int, int]] = []
        for number in range(100):
            read = len(agent.readings("m1"))
            await until(lambda read=read: len(agent.readings("m1")) > read)
            held.append((len(os.listdir("/proc/self/fd")), len(asyncio.all_tasks())))
            peer.tell("hangup" if number % 2 else "forget")
        assert int(peer.tell("clients")) <= 2
        assert max(files for files, _ in held[50:]) <= max(files for files, _ in held[5:15]) + 1, held
        assert min(tasks for _, tasks in held[90:]) <= min(tasks for _, tasks in held[5:15]), held


# --- who answers ----------------------------------------------------------------------------------------------


def secured(folder: Path, *words: str, name: str = "server") -> tuple[Peer, str]:
    """A server with a certificate of its own, and the pin of it."""
    own = make_certificate(folder / name, "plant/server")
    peer = start("--certificate", str(own.path), "--key", str(own.key_path), *words)
    return peer, f'certificate: "sha256:{fingerprint_of(own.certificate)}"'


@pytest.mark.parametrize(
    "link",
    [
        "security: Basic256Sha256",
        "mode: Sign",
        "security: Aes128_Sha256_RsaOaep",
        "security: Aes256_Sha256_RsaPss",
        "login: certificate",
        f"user: {USER}",
    ],
)
async def test_with_every_security_and_login_the_readings_are_sealed(
    link: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_certificate(tmp_path / "own", GATEWAY)
    monkeypatch.setenv("METERSEAL_OPCUA_PASSWORD_SCADA", PASSWORD)
    if "user" not in link:
        monkeypatch.delenv("METERSEAL_OPCUA_PASSWORD_SCADA")
    peer, pin = secured(tmp_path, *(["--login"] if "user" in link else []))
    try:
        keep_own(tmp_path)
        async with at_work(tmp_path, site(peer, f"{pin}, server: {SERVER}, {link}"), FastClock(SPEED)) as agent:
            await until(lambda: len(agent.readings("m1")) > 2)
        (declared,) = agent_declarations(tmp_path)
        assert declared["server"]["uri"] == SERVER
        assert declared["server"]["certificate"] in pin
    finally:
        peer.stop()


def keep_own(folder: Path) -> None:
    """The agent's state with its own certificate; its key is made by `at_work`."""
    from agent.keys import make_key

    make_key(folder / "state", GATEWAY)
    (folder / "own" / "opcua").rename(folder / "state" / "opcua")


def agent_declarations(folder: Path) -> list[dict[str, dict[str, str]]]:
    from contextlib import closing

    from agent.ledger_file import LedgerReader
    from agent.record import parse
    from agent.state import LEDGER_FILE

    with closing(LedgerReader(folder / "state" / LEDGER_FILE)) as past:
        return [parse(payload)["meter"] for _, payload in past.meter_records("m1", "meter")]


async def told(folder: Path, text: str, cause: str) -> dict[str, str]:
    """What the journal says of a link that cannot be used, once it is sealed as the reason of a gap."""
    async with at_work(folder, text, FastClock(SPEED)) as agent:
        await until(lambda: cause in agent.causes("m1"))
        assert not agent.readings("m1")
        (down,) = agent.events("link.down")
    assert {"m1", "m2"} <= {event["meter"] for event in agent.events("meter.silent")}
    return {"reason": down["reason"], "hint": down["hint"]}


async def test_a_server_that_nobody_has_confirmed_is_not_read(tmp_path: Path) -> None:
    make_certificate(tmp_path / "own", GATEWAY)
    keep_own(tmp_path)
    peer, _ = secured(tmp_path)
    try:
        words = await told(tmp_path, site(peer, "mode: SignAndEncrypt"), "untrusted_certificate")
    finally:
        peer.stop()
    assert "`meterseal trust scada`" in words["hint"]


async def test_another_certificate_is_a_gap_with_that_cause_until_the_right_one_is_back(tmp_path: Path) -> None:
    make_certificate(tmp_path / "own", GATEWAY)
    keep_own(tmp_path)
    other = make_certificate(tmp_path / "other", "plant/server")
    peer, pin = secured(tmp_path)
    running = peer
    try:
        async with at_work(tmp_path, site(peer, pin), FastClock(SPEED)) as agent:
            await until(lambda: len(agent.readings("m2")) > 1)
            running = peer.again("--certificate", str(other.path), "--key", str(other.key_path))
            await until(lambda: "untrusted_certificate" in agent.causes("m2"))
            before = len(agent.readings("m2"))
            running = peer.again() if running.process.poll() is not None else _replace(running, peer)
            await until(lambda: len(agent.readings("m2")) > before + 1)
            accounted(agent, "m2")
    finally:
        running.stop()
    told_of = [event for event in agent.events("link.down") if "another certificate" in event["reason"]]
    assert len(told_of) == 1
    assert fingerprint_of(other.certificate) in told_of[0]["reason"]
    assert "`meterseal trust scada`" in told_of[0]["hint"]


def _replace(running: Peer, first: Peer) -> Peer:
    running.kill()
    return start(*first.words, port=first.port)


async def test_another_application_under_the_same_address_is_another_server(shared: Peer, tmp_path: Path) -> None:
    words = await told(tmp_path, site(shared, "security: None, server: urn:plant.example:other"), "other_server")
    assert SERVER in words["reason"]


async def test_a_server_that_does_not_trust_us_is_told_with_what_to_do_there(tmp_path: Path) -> None:
    make_certificate(tmp_path / "own", GATEWAY)
    keep_own(tmp_path)
    trusted = make_certificate(tmp_path / "trusted", GATEWAY)
    peer, pin = secured(tmp_path, "--trusted", str(trusted.path))
    try:
        words = await told(tmp_path, site(peer, pin), "certificate_refused")
    finally:
        peer.stop()
    assert "opcua/own.der" in words["hint"]


async def test_a_wrong_password_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_certificate(tmp_path / "own", GATEWAY)
    keep_own(tmp_path)
    monkeypatch.setenv("METERSEAL_OPCUA_PASSWORD_SCADA", "wrong")
    peer, pin = secured(tmp_path, "--login")
    try:
        words = await told(tmp_path, site(peer, f"{pin}, user: {USER}"), "login_refused")
    finally:
        peer.stop()
    assert "password" in words["hint"]


async def test_security_that_the_server_does_not_offer_is_told_with_what_it_offers(shared: Peer, tmp_path: Path) -> None:
    make_certificate(tmp_path / "own", GATEWAY)
    keep_own(tmp_path)
    words = await told(tmp_path, site(shared, f'certificate: "sha256:{"0" * 64}"'), "no_endpoint")
    assert "It offers: None." in words["hint"]


# --- how much is asked for at once ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("meters", "points", "limit", "most", "frames"),
    [
        (2, 6, ("--most", "5"), 5, 2),
        (2, 6, ("--takes", "11"), 11, 1),
        (1, 12, ("--takes", "11"), 11, 2),
    ],
    ids=["stated", "not stated", "not stated, one meter with more"],
)
async def test_no_read_is_larger_than_the_server_takes(
    meters: int, points: int, limit: tuple[str, str], most: int, frames: int, tmp_path: Path
) -> None:
    with serving("--meters", str(meters), "--points", str(points), *limit) as peer:
        async with at_work(tmp_path, site(peer, meters=meters, points=points), FastClock(4.0)) as agent:
            await until(lambda: agent.readings("m1"))
            peer.tell("reads")
            before = len(agent.readings("m1"))
            await until(lambda: len(agent.readings("m1")) > before + 1)
            assert max(json.loads(peer.tell("reads"))) <= most
            reading = agent.readings("m1")[-1]
    assert [value["value"] for value in reading["values"][1:]] == [str(10 + point) for point in range(1, points)]
    assert len(reading["frames"]) == frames


# --- by hand --------------------------------------------------------------------------------------------------


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
    make_certificate(tmp_path / "own", GATEWAY)
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
    assert done.stderr.splitlines()[-1].endswith("install it with  pip install 'meterseal[opcua]'")
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
