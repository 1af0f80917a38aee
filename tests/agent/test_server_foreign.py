"""The agent on a server of another make (node-opcua): encrypted, with a user, restarted with its namespaces in another order."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("asyncua", reason="asyncua is not installed: pip install 'meterseal[opcua]'")

from agent.opcua_certificate import fingerprint_of, load_certificate
from drivers.opcua_connect import endpoints_of, first_certificate
from drivers.opcua_settings import ServerSettings
from tests.agent.at_work import at_work, until
from tests.agent.gateway import FastClock
from tests.agent.servers import accounted, keep_own
from tests.peers.opcua_server import PLANT, plant_server

NODES = {"active_energy_import": "Count", "active_power": "Doubtful", "voltage.l1": "Broken", "frequency": "Energy"}


async def test_a_server_of_another_make_is_read_encrypted_and_after_it_has_renumbered_its_namespaces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_own(tmp_path)
    monkeypatch.setenv("METERSEAL_OPCUA_PASSWORD_SCADA", "secret")
    own = load_certificate(tmp_path / "state")
    with plant_server(tmp_path / "server", strict=True, trusted=(own.certificate,)) as server:
        (offered, *_) = await endpoints_of(ServerSettings("scada", server.url))
        pin = fingerprint_of(first_certificate(offered.ServerCertificate))
        points = [f'{{quantity: {name}, at: {{node: "nsu={PLANT};s=Press1.{node}"}}}}' for name, node in NODES.items()]
        lines = [
            "every: 1s\ncommit_seconds: 0\nlinks:",
            f'  scada: {{opcua: "{server.url}", user: meter, certificate: "sha256:{pin}", server: "{server.uri}"}}',
            f"meters:\n  - {{id: press-1, link: scada, model: generic-opcua, points: [{', '.join(points)}]}}",
        ]
        async with at_work(tmp_path, "\n".join(lines) + "\n", FastClock(2.0)) as agent:
            await until(lambda: len(agent.readings("press-1")) > 1)
            server.kill()
            await until(lambda: agent.causes("press-1"))
            server.namespaces = [PLANT, "http://other.example/things"]
            before = len(agent.readings("press-1"))
            server.start()
            await until(lambda: len(agent.readings("press-1")) > before + 1)
            accounted(agent, "press-1")
            told = [[(value.get("value"), value.get("cause")) for value in each["values"]] for each in agent.readings("press-1")]
    expected = [
        ("9007199254740993", None),
        ("7.5", "uncertain_last_usable_value"),
        (None, "bad_sensor_failure"),
        ("12345.67", None),
    ]
    assert all(values == expected for values in told), told
