"""`meterseal init`, `trust` and `browse` at a foreign OPC UA server that lets in only whom it trusts."""

import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from agent.cli import main
from agent.opcua_certificate import load_certificate, make_certificate
from agent.opcua_trust import TrustedServer, keep_trusted, trusted_server
from config.check import load_site
from tests.peers.opcua_server import PLANT, URI, PlantServer, plant_server

PROGRAM = Path(sys.executable).with_name("meterseal")


@dataclass
class Gateway:
    """A gateway with a link to the server, whose certificate the server trusts."""

    server: PlantServer
    folder: Path
    state: Path

    @property
    def fingerprint(self) -> str:
        """As a person reads it at the server."""
        certificate = x509.load_pem_x509_certificate((self.server.folder / "server.pem").read_bytes())
        return certificate.fingerprint(hashes.SHA256()).hex().upper()

    def type(self, *words: str, expect: int = 0, state: Path | None = None) -> str:
        """Runs a command; what it prints."""
        places = ["--site", str(self.folder / "site.yaml"), "--state", str(state or self.state)]
        done = CliRunner().invoke(main, [*words, *places], catch_exceptions=False)
        assert done.exit_code == expect, done.output
        return done.output

    def write(self, text: str) -> None:
        (self.folder / "site.yaml").write_text(
            f"gateway: plant-1/gw1\nlinks:\n  scada: {{opcua: '{self.server.url}'{text}}}\n", "utf-8"
        )


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlantServer]:
    folder = tmp_path_factory.mktemp("plant")
    own = make_certificate(folder / "state", "plant-1/gw1")
    with plant_server(folder / "server", strict=True, trusted=(own.certificate,)) as made:
        yield made


@pytest.fixture
def gateway(server: PlantServer, tmp_path: Path) -> Gateway:
    made = Gateway(server, tmp_path, server.folder.parent / "state")
    (made.state / "opcua" / "trusted" / "scada.json").unlink(missing_ok=True)
    made.write("")
    return made


def test_init_makes_the_certificate_where_a_link_needs_one_and_alone_where_asked(gateway: Gateway, tmp_path: Path) -> None:
    said = gateway.type("init", state=tmp_path / "new")
    own = load_certificate(tmp_path / "new")
    assert own.fingerprint in said
    assert own.application.endswith(":meterseal:plant-1:gw1")
    assert own.fingerprint in gateway.type("init", "--opcua", state=tmp_path / "new")  # kept, not made anew
    gateway.type("init", "--opcua", state=tmp_path / "other")
    assert not (tmp_path / "other" / "key.pem").exists()


def test_trust_keeps_a_certificate_only_when_its_fingerprint_was_compared(gateway: Gateway) -> None:
    said = gateway.type("trust", "scada", expect=2)
    assert "Nobody is here to compare" in said
    assert "Basic256Sha256         SignAndEncrypt  <- site.yaml" in said
    assert "Basic256               Sign            withdrawn" in said
    assert f"Application URI  {URI}" in said
    assert "nothing was kept" in gateway.type("trust", "scada", "--fingerprint", "AB" * 32, expect=2)
    assert trusted_server(gateway.state, "scada") is None
    said = gateway.type("trust", "scada", "--fingerprint", f"sha256:{gateway.fingerprint}", "--who", "Li Wei")
    assert "The server lets this gateway in." in said
    kept = trusted_server(gateway.state, "scada")
    assert kept is not None
    assert (kept.server, kept.fingerprint, kept.confirmed_by) == (URI, gateway.fingerprint.lower(), "Li Wei")
    assert "Li Wei has confirmed this server" in gateway.type("trust", "scada")


def test_trust_asks_the_person_at_the_terminal(gateway: Gateway) -> None:
    ours, theirs = pty.openpty()
    command = [PROGRAM, "trust", "scada", "--site", gateway.folder / "site.yaml", "--state", gateway.state]
    process = subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    os.write(ours, b"y\n")
    said, _ = process.communicate(timeout=30)
    os.close(ours)
    os.close(theirs)
    assert process.returncode == 0, said
    assert "show the same SHA-256" in said
    assert trusted_server(gateway.state, "scada") is not None


def test_another_certificate_than_the_one_confirmed_is_shown_beside_it(gateway: Gateway, tmp_path: Path) -> None:
    other = make_certificate(tmp_path / "other", "plant-1/gw1")
    keep_trusted(gateway.state, TrustedServer("scada", "", "urn:old", other.certificate, "Li Wei", "2026-01-02T03:04:05.000Z"))
    said = gateway.type("trust", "scada", expect=2)
    assert "THIS IS NOT THE SERVER THAT Li Wei CONFIRMED ON 2026-01-02" in said
    assert " ".join(other.fingerprint[at : at + 4] for at in range(0, 64, 4)) in said
    refused = gateway.type("browse", "scada", expect=2)
    assert f"shows another certificate (sha256:{gateway.fingerprint.lower()})" in refused
    assert f"(sha256:{other.fingerprint})" in refused


def test_a_gateway_that_the_server_does_not_trust_is_told_what_to_do_there(gateway: Gateway, tmp_path: Path) -> None:
    gateway.type("init", "--opcua", state=tmp_path / "unknown")
    said = gateway.type("trust", "scada", "--fingerprint", gateway.fingerprint, expect=1, state=tmp_path / "unknown")
    assert "Not let in yet" in said
    assert "put this gateway's certificate among the trusted ones" in said
    assert str(tmp_path / "unknown" / "opcua" / "own.der") in said


def test_trust_and_browse_say_what_is_missing_first(gateway: Gateway, tmp_path: Path) -> None:
    assert "init --opcua" in gateway.type("trust", "scada", expect=2, state=tmp_path / "none")
    assert "Did you mean scada?" in gateway.type("trust", "scade", expect=2)
    assert "meterseal trust scada" in gateway.type("browse", "scada", expect=2)
    gateway.write(", security: Aes256_Sha256_RsaPss, mode: Sign")
    assert "Aes256_Sha256_RsaPss   Sign            <- site.yaml" in gateway.type("trust", "scada", expect=2)


def test_without_security_the_application_uri_is_what_is_confirmed(gateway: Gateway, tmp_path: Path) -> None:
    gateway.write(", security: None")
    said = gateway.type("trust", "scada", "--fingerprint", URI, state=tmp_path / "none")
    assert "The server lets this gateway in." in said
    kept = trusted_server(tmp_path / "none", "scada")
    assert kept is not None
    assert (kept.server, kept.certificate) == (URI, b"")


def trusting(gateway: Gateway) -> Gateway:
    gateway.type("trust", "scada", "--fingerprint", gateway.fingerprint)
    return gateway


def test_the_tree_shows_type_value_unit_and_quality_once_and_harmless(gateway: Gateway) -> None:
    said = trusting(gateway).type("browse", "scada", "--most", "20")
    for expected in (
        f"Energy   Double   12345.67 kWh\n        nsu={PLANT};s=Press1.Energy\n",
        "Odd   Double   1.0 fur (meterseal does not know this unit)",
        "Count   UInt64   9007199254740993",
        "Phases   Double list of 3   230.1, 231.2, 229.9",
        "Broken   Double   no value   bad sensor failure",
        "Doubtful   Double   7.5   uncertain last usable value",
        "Built   structure: not supported, look for its parts below it",
        "Meters/   (shown already)",
        "?[31mRed?   Double   1.0",
        "...   (more than 20 nodes in this folder)",
        "--under 'NODE'",
    ):
        assert expected in said
    assert "\x1b" not in said
    assert "\x07" not in said
    assert said.count("Press1/") == 1


def test_a_large_folder_is_shown_in_part_or_whole_and_a_deep_one_to_its_depth(gateway: Gateway) -> None:
    many = f"nsu={PLANT};s=Many"
    assert trusting(gateway).type("browse", "scada", "--under", many, "--most", "1000").count("Tag") == 2 * 600
    said = gateway.type("browse", "scada", "--depth", "2")
    assert f"Many/   (more below)\n      {many}\n" in said
    assert "Tag0" not in said


def test_an_address_is_looked_at_without_security_and_gives_a_link_as_well(gateway: Gateway) -> None:
    pick = f"active_power=nsu={PLANT};s=Press1.Power"
    said = gateway.type("browse", gateway.server.url, "--pick", pick)
    assert f'opcua-server: {{opcua: "{gateway.server.url}", security: None}}' in said


def test_what_was_picked_is_a_meter_without_mistakes(gateway: Gateway) -> None:
    picks = [
        f"active_energy_import=nsu={PLANT};s=Press1.Energy",
        f"active_power=nsu={PLANT};s=Press1.Power",
        f"voltage.l2=nsu={PLANT};s=Press1.Phases#1",
        "pulse_count=ns=3;s=Press1.Count",
    ]
    said = trusting(gateway).type("browse", "scada", "--meter", "press-1", *(word for pick in picks for word in ("--pick", pick)))
    path = gateway.folder / "site.yaml"
    path.write_text(path.read_text("utf-8") + said, "utf-8")
    points = {point.quantity: point for point in load_site(path).points_of(load_site(path).site.meters[0])}
    assert {name: str(point.scale) for name, point in points.items()} == {
        "active_energy_import": "1", "active_power": "1000", "voltage.l2": "1", "pulse_count": "1"
    }  # fmt: skip
    assert points["pulse_count"].at.node == f"nsu={PLANT};s=Press1.Count"
    assert points["pulse_count"].at.type == "UInt64"
    assert points["voltage.l2"].at.index == 1
    assert "the server states no unit: check that one count is one V" in said


@pytest.mark.parametrize(
    ("pick", "words"),
    [
        (f"nsu={PLANT};s=Press1.Energy", "say what the node tells"),
        (f"active_power=nsu={PLANT};s=Press1.Energy", "active_power is in W"),
        (f"voltage=nsu={PLANT};s=Press1.Phases", "is a list of 3; write which element, from #0 to #2"),
        (f"voltage=nsu={PLANT};s=Press1.Phases#3", "is a list of 3"),
        (f"voltage=nsu={PLANT};s=Press1.Power#0", "is no list"),
        (f"voltage=nsu={PLANT};s=Press1.Built", "holds structure"),
        (f"voltage=nsu={PLANT};s=Press1.Serial", "holds String"),
        (f"voltage=nsu={PLANT};s=Nowhere", "bad node id unknown"),
        (f"voltage=nsu={PLANT};s=Hostile\x1b[2J", "cannot be written into site.yaml"),
        ("voltage=nsu=http://nowhere;s=Power", "the server has no namespace http://nowhere"),
        ("voltage=Power", "Power is not a node"),
    ],
)
def test_a_node_that_cannot_be_read_is_refused_with_the_reason(gateway: Gateway, pick: str, words: str) -> None:
    said = trusting(gateway).type("browse", "scada", "--pick", pick, expect=2)
    assert words in said
    assert "\x1b" not in said
