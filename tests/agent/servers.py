"""Site files for agents on OPC UA servers, and servers with certificates, for tests."""

from __future__ import annotations

from pathlib import Path

from agent.clock import from_stamp
from agent.keys import make_key
from agent.opcua_certificate import fingerprint_of, make_certificate
from tests.agent.at_work import AtWork
from tests.agent.gateway import GATEWAY
from tests.peers.opcua_meters import PLANT, Peer, start

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


def secured(folder: Path, *words: str, name: str = "server") -> tuple[Peer, str]:
    """A server with a certificate of its own, and the pin of it."""
    own = make_certificate(folder / name, "plant/server")
    peer = start("--certificate", str(own.path), "--key", str(own.key_path), *words)
    return peer, f'certificate: "sha256:{fingerprint_of(own.certificate)}"'


def keep_own(folder: Path) -> None:
    """Makes the key and the OPC UA certificate of an agent whose state lies in `folder`."""
    make_key(folder / "state", GATEWAY)
    make_certificate(folder / "state", GATEWAY)


def accounted(agent: AtWork, meter: str, every_ms: int = 1000) -> None:
    """Every instant from the first to the last reading was read or is told of as missed."""
    readings = agent.readings(meter)
    first, last = (from_stamp(readings[place]["due"]) for place in (0, -1))
    closed = [gap for gap in agent.records(meter, "gap") if gap["state"] == "closed" and gap["missed"]]
    missed = sum(gap["missed"] for gap in closed if first < from_stamp(gap["due"]) <= last)
    assert len(readings) + missed == (last - first) // (every_ms * 1_000_000) + 1
