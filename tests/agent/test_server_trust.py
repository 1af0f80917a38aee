"""Who answers as an OPC UA server: nothing is read from one that is not the one confirmed, and the journal says what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

pytest.importorskip("asyncua", reason="asyncua is not installed: pip install 'meterseal[opcua]'")

from agent.ledger_file import LedgerReader
from agent.opcua_certificate import fingerprint_of, make_certificate
from agent.record import parse
from agent.state import LEDGER_FILE
from tests.agent.at_work import at_work, until
from tests.agent.gateway import GATEWAY, FastClock
from tests.agent.heard import Heard
from tests.agent.servers import SPEED, accounted, keep_own, secured, site
from tests.peers.opcua_meters import PASSWORD, SERVER, USER, Peer, serving, start


@pytest.fixture(scope="module")
def shared() -> Iterator[Peer]:
    """A server that no test stops."""
    with serving("--meters", "3", "--points", "6") as peer:
        yield peer


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


def agent_declarations(folder: Path) -> list[dict[str, dict[str, str]]]:
    with closing(LedgerReader(folder / "state" / LEDGER_FILE)) as past:
        return [parse(payload)["meter"] for _, payload in past.meter_records("m1", "meter")]


async def told(folder: Path, text: str, cause: str) -> dict[str, str]:
    """What the journal says of a link that cannot be used, once it is sealed as the reason of a gap."""
    async with at_work(folder, text, FastClock(SPEED)) as agent:
        await until(lambda: cause in agent.causes("m1"))
        assert not agent.readings("m1")
        (down,) = agent.events("link.down")
    assert {"m1", "m2"} <= {event["meter"] for event in agent.events("meter.silent")}
    return down


async def test_a_server_that_nobody_has_confirmed_is_not_read(tmp_path: Path, heard: Heard) -> None:
    keep_own(tmp_path)
    peer, _ = secured(tmp_path)
    try:
        words = await told(tmp_path, site(peer, "mode: SignAndEncrypt"), "untrusted_certificate")
    finally:
        peer.stop()
    heard.tells(words, "MS-210")
    assert "`meterseal trust scada`" in words["hint"]


async def test_another_certificate_is_a_gap_with_that_cause_until_the_right_one_is_back(tmp_path: Path) -> None:
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
    keep_own(tmp_path)
    trusted = make_certificate(tmp_path / "trusted", GATEWAY)
    peer, pin = secured(tmp_path, "--trusted", str(trusted.path))
    try:
        words = await told(tmp_path, site(peer, pin), "certificate_refused")
    finally:
        peer.stop()
    assert "opcua/own.der" in words["hint"]


async def test_a_wrong_password_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep_own(tmp_path)
    monkeypatch.setenv("METERSEAL_OPCUA_PASSWORD_SCADA", "wrong")
    peer, pin = secured(tmp_path, "--login")
    try:
        words = await told(tmp_path, site(peer, f"{pin}, user: {USER}"), "login_refused")
    finally:
        peer.stop()
    assert "password" in words["hint"]


async def test_security_that_the_server_does_not_offer_is_told_with_what_it_offers(shared: Peer, tmp_path: Path) -> None:
    keep_own(tmp_path)
    words = await told(tmp_path, site(shared, f'certificate: "sha256:{"0" * 64}"'), "no_endpoint")
    assert "It offers: None." in words["hint"]
