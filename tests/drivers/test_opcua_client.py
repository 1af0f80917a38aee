"""drivers.opcua_client against a foreign server: why it does not open a channel reaches the caller."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from asyncua import ua
from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256
from asyncua.crypto.uacrypto import CertProperties

from agent.opcua_certificate import OwnCertificate, make_certificate
from drivers.opcua_client import TellingClient
from tests.peers.opcua_server import PlantServer, plant_server


async def connected(server: PlantServer, own: OwnCertificate) -> TellingClient:
    client = TellingClient(server.url, 5)
    client.application_uri = own.application
    await client.set_security(SecurityPolicyBasic256Sha256, CertProperties(own.path), CertProperties(own.key_path, "pem"))
    await client.connect()
    return client


async def test_a_strict_server_lets_in_whom_it_trusts_and_tells_the_others_why_not(tmp_path: Path) -> None:
    trusted, unknown = (make_certificate(tmp_path / name, "plant-1/gw1") for name in ("trusted", "unknown"))
    tomorrows = make_certificate(tmp_path / "tomorrow", "plant-1/gw1", now=datetime.now(UTC) + timedelta(days=3))
    with plant_server(tmp_path / "server", strict=True, trusted=(trusted.certificate, tomorrows.certificate)) as server:
        client = await connected(server, trusted)
        assert await client.get_node("ns=3;s=Press1.Running").read_value() is True
        await client.disconnect()
        with pytest.raises(ua.uaerrors.BadSecurityChecksFailed):
            await connected(server, unknown)
        with pytest.raises(ua.uaerrors.BadCertificateTimeInvalid):
            await connected(server, tomorrows)
