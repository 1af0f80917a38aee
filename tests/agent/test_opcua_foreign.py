"""The whole way from a foreign OPC UA server to a verified ledger: every security, a restart, a freeze, a change of server.

The installed `meterseal` runs in processes of its own, the server is node-opcua, the ledger is on disk.
"""

import json
import os
import signal
import sqlite3
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from tests.brokers import until
from tests.peers.opcua_server import PLANT, PlantServer

# About 80 s on an idle machine: servers are started and killed for real, and one is frozen for 30 s.
pytestmark = pytest.mark.timeout(300)

PROGRAM = Path(sys.executable).with_name("meterseal")
POINTS = """\
      - {quantity: active_energy_import, at: {node: "nsu=PLANT;s=Press1.Energy", type: Double}, scale: 1}
      - {quantity: pulse_count, at: {node: "nsu=PLANT;s=Press1.Count", type: UInt64}, scale: 1}
      - {quantity: pulse_count.ch1, at: {node: "nsu=PLANT;s=Press1.Live", type: UInt32}, scale: 1}
      - {quantity: active_power, at: {node: "nsu=PLANT;s=Press1.Power", type: Float}, scale: 1000}
      - {quantity: voltage.l2, at: {node: "nsu=PLANT;s=Press1.Phases", type: Double, index: 1}, scale: 1}
      - {quantity: temperature, at: {node: "nsu=PLANT;s=Press1.Signed", type: Int16}, scale: 0.1}
      - {quantity: voltage.l1, at: {node: "nsu=PLANT;s=Press1.Broken"}, scale: 1}
      - {quantity: voltage.l3, at: {node: "nsu=PLANT;s=Press1.Doubtful"}, scale: 1}
      - {quantity: frequency, at: {node: "nsu=PLANT;s=Press1.Serial"}, scale: 1}
      - {quantity: current.l1, at: {node: "nsu=PLANT;s=Press1.Built"}, scale: 1}
""".replace("PLANT", PLANT)


@dataclass
class Gateway:
    """A gateway with one link to the server."""

    folder: Path
    server: PlantServer
    link: str = ""
    points: str = POINTS
    environment: dict[str, str] = field(default_factory=dict)
    agent: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.folder.mkdir()
        self.write_site()
        kept = {name: text for name, text in os.environ.items() if not name.startswith("METERSEAL_")}
        self.environment = kept | {"METERSEAL_STATE": str(self.folder / "state")} | self.environment

    def write_site(self) -> None:
        """The site file; without points one without meters, as it is before the nodes are known."""
        meter = f"meters:\n  - id: press-1\n    link: scada\n    model: generic-opcua\n    points:\n{self.points}"
        text = f"""\
gateway: plant-1/{self.folder.name}
every: 1s
commit_seconds: 0.1
links:
  scada: {{opcua: "{self.server.url}", timeout_ms: 1000{self.link}}}
"""
        (self.folder / "site.yaml").write_text(text + (meter if self.points else ""), "utf-8")

    def type(self, *words: str, expect: int = 0) -> str:
        done = subprocess.run(
            [PROGRAM, *words], cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )
        said = done.stdout + done.stderr
        assert "Traceback" not in said, said
        assert done.returncode == expect, said
        return said

    def run(self) -> None:
        with (self.folder / "agent.log").open("ab") as log:
            self.agent = subprocess.Popen([PROGRAM, "run"], cwd=self.folder, env=self.environment, stdout=log, stderr=log)

    def stop(self) -> None:
        if self.agent and self.agent.poll() is None:
            self.agent.send_signal(signal.SIGTERM)
            assert self.agent.wait(20) == 0

    def trust(self, expect: int = 0) -> str:
        """What an electrician does: compares the fingerprint with the server's own, and keeps it."""
        certificate = x509.load_pem_x509_certificate((self.server.folder / "server.pem").read_bytes())
        return self.type("trust", "scada", "--fingerprint", certificate.fingerprint(hashes.SHA256()).hex(), expect=expect)

    def records(self, *kinds: str) -> list[dict[str, Any]]:
        path = self.folder / "state" / "ledger.sqlite"
        if not path.exists():
            return []
        database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            rows = database.execute("SELECT payload FROM record ORDER BY n").fetchall()
        except sqlite3.OperationalError:
            return []
        finally:
            database.close()
        return [fields for row in rows if (fields := json.loads(row[0]))["kind"] in kinds]

    @property
    def readings(self) -> list[dict[str, Any]]:
        return self.records("reading")

    def gap_of(self, *causes: str) -> list[dict[str, Any]]:
        return [gap for gap in self.records("gap") if gap["cause"] in causes]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PlantServer]:
    made = PlantServer(tmp_path / "server", strict=True)
    made.start()
    yield made
    made.thaw()
    made.kill()


@pytest.fixture
def gateways() -> Iterator[list[Gateway]]:
    """Those that are put here are ended with the test."""
    made: list[Gateway] = []
    yield made
    for gateway in made:
        if gateway.agent and gateway.agent.poll() is None:
            gateway.agent.kill()
            gateway.agent.wait()


def values(reading: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {value["quantity"]: value for value in reading["values"]}


async def test_every_value_is_sealed_over_a_restart_and_a_freeze_and_recomputed(
    server: PlantServer, gateways: list[Gateway], tmp_path: Path
) -> None:
    gateway = Gateway(tmp_path / "strict", server)
    gateways.append(gateway)
    assert "no mistakes" in gateway.type("check")
    gateway.type("init")
    assert "Not let in yet" in gateway.trust(expect=1)  # the server does not know us: it has put us among the rejected
    server.trust((gateway.folder / "state" / "opcua" / "own.der").read_bytes())
    server.kill()
    server.start()
    assert "lets this gateway in" in gateway.trust()
    gateway.run()
    await until(lambda: len(gateway.readings) >= 4, what="4 readings")
    of_all_kinds(gateway.readings)

    server.kill()
    await until(lambda: gateway.gap_of("connection_lost", "no_connection"), what="a gap while the server is gone")
    server.namespaces = [PLANT, "http://other.example/things"]  # it numbers them anew: the nodes stay the same
    before = len(gateway.readings)
    server.start()
    await until(lambda: len(gateway.readings) >= before + 3, what="readings after the restart")
    of_all_kinds(gateway.readings[-3:])

    known = len(gateway.gap_of(*SILENT))
    server.freeze()
    frozen = time.monotonic()
    await until(lambda: len(gateway.gap_of(*SILENT)) > known, what="a gap while the server is frozen")
    await until(lambda: time.monotonic() > frozen + FROZEN_S, seconds=2 * FROZEN_S)
    server.thaw()
    before = len(gateway.readings)
    await until(lambda: len(gateway.readings) >= before + 3, what="readings after the freeze")
    gateway.stop()
    assert max(gap["missed"] for gap in gateway.gap_of(*SILENT)) >= FROZEN_S - 5
    judged(gateway)
    tampered(gateway)


FROZEN_S = 30
SILENT = ("no_answer", "connection_lost", "no_connection")


def of_all_kinds(readings: list[dict[str, Any]]) -> None:
    """Every value is what the server holds: exact, uncertain or none."""
    for reading in readings:
        found = values(reading)
        shown = {name: (value.get("value"), value.get("quality"), value.get("cause")) for name, value in found.items()}
        assert shown["active_energy_import"] == ("12345.67", None, None)
        assert shown["pulse_count"] == (str(2**53 + 1), None, None)
        assert shown["active_power"] == ("1500.0", None, None)
        assert shown["voltage.l2"] == ("231.2", None, None)
        assert shown["temperature"] == ("-1.2", None, None)
        assert shown["voltage.l1"] == (None, "bad", "bad_sensor_failure")
        assert shown["voltage.l3"] == ("7.5", "uncertain", "uncertain_last_usable_value")
        assert shown["current.l1"] == (None, "bad", "unsupported_type")
    live = [int(values(reading)["pulse_count.ch1"]["value"]) for reading in readings]
    assert live == sorted(set(live)), "a counter that changes at each poll was read anew each time"


def judged(gateway: Gateway) -> None:
    """The auditor recomputes every value and finds nothing."""
    assert json.loads(gateway.type("verify", "--json"))["records"] > 5


def tampered(gateway: Gateway) -> None:
    """A byte of an answer that was changed afterwards is found."""
    copy = gateway.folder / "forged.sqlite"
    database, original = sqlite3.connect(copy), sqlite3.connect(gateway.folder / "state" / "ledger.sqlite")
    original.backup(database)
    original.close()
    database.execute("DROP TRIGGER record_is_never_changed")
    n, payload = database.execute("SELECT n, payload FROM record WHERE kind = 'reading' LIMIT 1").fetchone()
    energy = b"\x0b" + struct.pack("<d", 12345.67)
    assert energy.hex().encode() in payload  # the DataValue as the server sent it
    forged = payload.replace(energy.hex().encode(), (b"\x0b" + struct.pack("<d", 12355.67)).hex().encode())
    database.execute("UPDATE record SET payload = ? WHERE n = ?", (forged, n))
    database.commit()
    database.close()
    key = (gateway.folder / "state" / "key.vkey").read_text("utf-8").strip()
    said = gateway.type("verify", str(copy), "--key", key, expect=1)
    assert f"record {n}, press-1" in said


async def test_every_security_and_login_gives_the_same_values(
    server: PlantServer, gateways: list[Gateway], tmp_path: Path
) -> None:
    kinds = {
        "none": ", security: None",
        "sign": ", mode: Sign",
        "aes128": ", security: Aes128_Sha256_RsaOaep, mode: Sign",
        "user": ", security: Aes256_Sha256_RsaPss, user: meter",
    }
    for name, link in kinds.items():
        gateway = Gateway(
            tmp_path / name, server, link, environment={"METERSEAL_OPCUA_PASSWORD_SCADA": "secret"} if name == "user" else {}
        )
        gateways.append(gateway)
        gateway.type("init")
        server.trust((gateway.folder / "state" / "opcua" / "own.der").read_bytes())
    server.kill()
    server.start()
    for gateway in gateways:
        if "None" not in gateway.link:
            gateway.trust()
        gateway.run()
    for gateway in gateways:
        await until(lambda gateway=gateway: len(gateway.readings) >= 3, what=f"readings over {gateway.link}")
    for gateway in gateways:
        gateway.stop()
        of_all_kinds(gateway.readings)
        judged(gateway)


async def test_from_an_address_to_sealed_readings_by_the_commands_alone_until_another_server_answers(
    server: PlantServer, gateways: list[Gateway], tmp_path: Path
) -> None:
    gateway = Gateway(tmp_path / "gw1", server, points="")
    gateways.append(gateway)
    gateway.type("init")
    own = (gateway.folder / "state" / "opcua" / "own.der").read_bytes()
    server.trust(own)
    server.kill()
    server.start()
    gateway.trust()
    assert f"nsu={PLANT};s=Press1.Energy" in gateway.type("browse", "scada")
    picks = (
        "active_energy_import=nsu={};s=Press1.Energy",
        "voltage.l3=nsu={};s=Press1.Phases#2",
        "pulse_count=nsu={};s=Press1.Live",
    )
    lines = gateway.type("browse", "scada", *(word for pick in picks for word in ("--pick", pick.format(PLANT))))
    with (gateway.folder / "site.yaml").open("a", encoding="utf-8") as site:
        site.write(lines)
    assert "no mistakes" in gateway.type("check")
    assert "12345.67 kWh" in gateway.type("read", "meter-1")
    gateway.run()
    await until(lambda: len(gateway.readings) >= 2, what="2 readings")
    sealed = {name: value["value"] for name, value in values(gateway.readings[0]).items()}
    assert sealed | {"pulse_count": ""} == {"active_energy_import": "12345.67", "voltage.l3": "229.9", "pulse_count": ""}

    server.kill()
    server.folder = tmp_path / "somebody-else"  # the same address, another key
    server.trusted = (own,)
    server.start()
    await until(lambda: gateway.gap_of("untrusted_certificate"), what="a gap with the cause")
    last = len(gateway.readings)
    refused = gateway.type("browse", "scada", expect=2)
    assert "shows another certificate" in refused
    assert "meterseal trust scada" in refused
    assert len(gateway.readings) == last
    gateway.stop()
    judged(gateway)
