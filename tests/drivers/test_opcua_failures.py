"""What a person reads when an OPC UA server does not let us in: each failure made for real at a foreign server."""

import asyncio
import socket
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from agent.clock import Clock
from agent.opcua_certificate import OwnCertificate, fingerprint_of, make_certificate
from drivers.errors import LinkDown
from drivers.opcua_session import Session
from drivers.opcua_settings import ServerSettings
from tests.brokers import free_port
from tests.peers.opcua_server import URI, PlantServer, plant_server


@dataclass
class Plant:
    """A strict server, and three gateways: one it trusts, one it does not, one whose certificate begins in three days."""

    server: PlantServer
    trusted: OwnCertificate
    unknown: OwnCertificate
    tomorrows: OwnCertificate

    def settings(self, own: OwnCertificate | None = None, **more: object) -> ServerSettings:
        """What leads to an open session, but for what is given otherwise."""
        own = own or self.trusted
        certificate = x509.load_pem_x509_certificate((self.server.folder / "server.pem").read_bytes())
        pin = fingerprint_of(certificate.public_bytes(Encoding.DER))
        made = ServerSettings(
            "scada", self.server.url, certificate=own.path, key=own.key_path, application=own.application, pin=pin, server=URI,
            timeout_s=3,
        )  # fmt: skip
        return replace(made, **more)  # type: ignore[arg-type]  # the tests name the fields


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    folder = tmp_path_factory.mktemp("plant")
    trusted, unknown = (make_certificate(folder / name, "plant-1/gw1") for name in ("trusted", "unknown"))
    tomorrows = make_certificate(folder / "tomorrow", "plant-1/gw1", now=datetime.now(UTC) + timedelta(days=3))
    with plant_server(folder / "server", strict=True, trusted=(trusted.certificate, tomorrows.certificate)) as server:
        yield Plant(server, trusted, unknown, tomorrows)


async def refusal(settings: ServerSettings) -> LinkDown:
    session = Session(settings, Clock())
    with pytest.raises(LinkDown) as caught:
        await session.open()
    await session.close()
    assert "scada" in str(caught.value) or settings.url.split("/")[2].split(":")[0] in str(caught.value)
    assert caught.value.hint
    return caught.value


async def test_with_everything_right_the_session_opens_by_every_login_and_mode(plant: Plant) -> None:
    for more in ({}, {"mode": "Sign"}, {"login": "user", "user": "meter", "password": "secret"}, {"security": "None", "pin": ""}):
        session = Session(plant.settings(**more), Clock())
        await session.open()
        assert session.server == URI
        await session.close()


async def test_a_certificate_that_the_server_does_not_trust_is_to_be_moved_at_the_server(plant: Plant) -> None:
    error = await refusal(plant.settings(plant.unknown))
    assert error.cause == "certificate_refused"
    assert "trusted certificates" in error.hint


async def test_another_application_uri_than_the_certificates_is_told(plant: Plant) -> None:
    error = await refusal(plant.settings(application="urn:somebody:else"))
    assert error.cause == "wrong_application_uri"
    assert "init --opcua" in error.hint


async def test_clocks_that_differ_are_told_as_such(plant: Plant) -> None:
    error = await refusal(plant.settings(plant.tomorrows))
    assert error.cause == "clock_difference"
    assert "clocks" in error.hint


@pytest.mark.parametrize(("user", "password"), [("meter", "wrong"), ("nobody", "secret")])
async def test_a_wrong_user_or_password_is_told(plant: Plant, user: str, password: str) -> None:
    error = await refusal(plant.settings(login="user", user=user, password=password))
    assert error.cause == "login_refused"
    assert "password" in error.hint


async def test_a_host_that_nobody_knows_and_a_port_where_nobody_listens_are_told(plant: Plant) -> None:
    unknown = await refusal(plant.settings(url="opc.tcp://no-such-host.invalid:4840"))
    assert unknown.cause == "no_connection"
    assert "no-such-host.invalid is not known" in str(unknown)
    assert (await refusal(plant.settings(url=f"opc.tcp://127.0.0.1:{free_port()}"))).cause == "no_connection"


async def test_the_host_that_the_user_wrote_is_used_whatever_the_server_calls_itself(plant: Plant, tmp_path: Path) -> None:
    with plant_server(tmp_path, host="plc-7.plant.invalid") as server:
        session = Session(replace(plant.settings(), url=server.url, security="None", pin=""), Clock())
        await session.open()
        assert session.is_open
        await session.close()


async def test_another_certificate_than_the_pinned_one_and_another_server_are_refused(plant: Plant) -> None:
    other = await refusal(plant.settings(pin=plant.unknown.fingerprint))
    assert other.cause == "untrusted_certificate"
    assert plant.unknown.fingerprint in str(other)
    nobody = await refusal(plant.settings(pin=""))
    assert "meterseal trust scada" in nobody.hint
    for more in ({}, {"security": "None", "pin": ""}):
        renamed = await refusal(plant.settings(server="urn:plant:another", **more))
        assert renamed.cause == "other_server"
        assert URI in str(renamed)


async def test_a_port_that_takes_the_connection_and_says_nothing_is_told_in_time(plant: Plant) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"opc.tcp://127.0.0.1:{silent.getsockname()[1]}"
        async with asyncio.timeout(10):
            assert (await refusal(plant.settings(url=url, timeout_s=0.5))).cause == "no_answer"
