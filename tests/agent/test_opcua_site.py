"""agent.opcua_site: what a person has confirmed about a server is declared and checked as if it stood in the site file."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from agent import draft
from agent.opcua_site import with_trusted_servers
from agent.opcua_trust import TrustedServer, keep_trusted
from agent.polled import target_of
from agent.schema import DECLARATION
from config.check import SiteFile, load_site

CERTIFICATE = b"any bytes stand for a certificate here"
FINGERPRINT = hashlib.sha256(CERTIFICATE).hexdigest()
PINNED = "ab" * 32
URL = "opc.tcp://192.168.1.30:4840"


def site(folder: Path, link: str = "") -> SiteFile:
    text = (
        f'gateway: plant/gw1\nlinks:\n  line1: {{serial: /dev/ttyUSB0}}\n  scada: {{opcua: "{URL}"{link}}}\nmeters:\n'
        "  - {id: pump, link: line1, model: eastron-sdm120, address: 2}\n"
        "  - id: press-1\n    link: scada\n    model: generic-opcua\n"
        "    points: [{quantity: active_power, at: {node: 'nsu=urn:m;s=P'}}]\n"
    )
    (folder / "site.yaml").write_text(text, "utf-8")
    return load_site(folder / "site.yaml")


def declared(loaded: SiteFile, name: str = "press-1") -> draft.Fields:
    meter = next(meter for meter in loaded.site.meters if meter.id == name)
    fields = draft.declaration(meter, loaded.model_of(meter), "own", [(60_000, ["active_power"])], loaded.link_of(meter))
    DECLARATION(fields, ("meter",))
    server = fields.get("server", {})
    assert isinstance(server, dict)
    assert target_of(loaded, meter).server == server.get("uri")
    return server


def confirmed(state: Path, certificate: bytes = CERTIFICATE) -> None:
    keep_trusted(state, TrustedServer("scada", URL, "urn:plant:scada", certificate, "wang.li", "2026-11-22T08:15:00Z"))


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        ("", {"uri": "urn:plant:scada", "certificate": FINGERPRINT}),
        (f", certificate: 'sha256:{PINNED.upper()}'", {"uri": "urn:plant:scada", "certificate": PINNED}),
        (", server: urn:mine", {"uri": "urn:mine", "certificate": FINGERPRINT}),
        (", security: None", {"uri": "urn:plant:scada"}),
    ],
)
def test_what_was_confirmed_is_declared_where_the_site_file_pins_nothing(
    link: str, expected: dict[str, str], tmp_path: Path
) -> None:
    confirmed(tmp_path)
    assert declared(with_trusted_servers(site(tmp_path, link), tmp_path)) == expected


def test_nothing_is_declared_of_a_server_that_nobody_has_confirmed(tmp_path: Path) -> None:
    assert declared(with_trusted_servers(site(tmp_path), tmp_path)) == {}
    assert declared(with_trusted_servers(site(tmp_path, ", server: urn:mine"), tmp_path)) == {"uri": "urn:mine"}


def test_links_that_are_no_servers_and_the_files_digest_stay_as_they_are(tmp_path: Path) -> None:
    confirmed(tmp_path)
    before = site(tmp_path)
    after = with_trusted_servers(before, tmp_path)
    assert after.site.links["line1"] == before.site.links["line1"]
    assert declared(after, "pump") == {}
    assert after.digest == before.digest
