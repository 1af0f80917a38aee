"""agent.opcua_certificate and agent.opcua_trust: what a server knows us by, and what was confirmed about a server."""

import stat
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import which

import pytest
from cryptography import x509

from agent.keys import KeyFileError
from agent.opcua_certificate import application_uri, fingerprint_of, load_certificate, make_certificate
from agent.opcua_trust import TrustedServer, keep_trusted, trusted_server

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_the_certificate_names_the_gateway_and_holds_from_yesterday_for_twenty_years(tmp_path: Path) -> None:
    own = make_certificate(tmp_path, "plant-1/gw1", host="gw_1", now=NOW)
    parsed = x509.load_der_x509_certificate(own.certificate)
    names = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["urn:gw-1:meterseal:plant-1:gw1"] == [own.application]
    assert names.get_values_for_type(x509.DNSName) == ["gw-1"]
    assert parsed.not_valid_before_utc == NOW - timedelta(days=1)
    assert (own.until.year, own.until.month, own.until.day) == (2046, 3, 1)
    assert load_certificate(tmp_path) == own


@pytest.mark.skipif(which("openssl") is None, reason="openssl is not installed: apt install openssl")
def test_openssl_finds_the_certificate_whole_and_fit_for_a_client(tmp_path: Path) -> None:
    own = make_certificate(tmp_path, "plant-1/gw1")
    shown = subprocess.run(["openssl", "x509", "-in", own.path, "-text", "-noout"], capture_output=True, text=True, check=True)
    for expected in (
        "2048 bit",
        "sha256WithRSAEncryption",
        "TLS Web Client Authentication",
        f"URI:{own.application}",
        "CA:FALSE",
    ):
        assert expected in shown.stdout
    pem = subprocess.run(["openssl", "x509", "-in", own.path], capture_output=True, text=True, check=True).stdout
    (tmp_path / "own.pem").write_text(pem, "ascii")
    judged = subprocess.run(
        ["openssl", "verify", "-x509_strict", "-CAfile", "own.pem", "own.pem"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "own.pem: OK" in judged.stdout, judged.stderr


def test_the_key_is_readable_by_its_owner_only_and_refused_when_others_may_read_it(tmp_path: Path) -> None:
    own = make_certificate(tmp_path, "plant-1/gw1")
    assert stat.S_IMODE(own.key_path.stat().st_mode) == 0o600
    own.key_path.chmod(0o640)
    with pytest.raises(KeyFileError) as caught:
        load_certificate(tmp_path)
    assert "chmod 600" in caught.value.hint


def test_a_certificate_is_never_overwritten_and_a_missing_or_foreign_one_is_told(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError) as caught:
        load_certificate(tmp_path)
    assert "init --opcua" in caught.value.hint
    own = make_certificate(tmp_path, "plant-1/gw1")
    with pytest.raises(KeyFileError, match="already"):
        make_certificate(tmp_path, "plant-1/gw1")
    assert load_certificate(tmp_path) == own
    other = make_certificate(tmp_path / "other", "plant-1/gw2")
    own.path.write_bytes(other.certificate)
    with pytest.raises(KeyFileError, match="do not belong together"):
        load_certificate(tmp_path)
    own.path.write_bytes(other.certificate[:-20])
    with pytest.raises(KeyFileError, match="no certificate"):
        load_certificate(tmp_path)


def test_no_certificate_is_made_by_a_clock_that_is_not_set(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="1970-01-01"):
        make_certificate(tmp_path, "plant-1/gw1", now=datetime(1970, 1, 1, tzinfo=UTC))
    assert not (tmp_path / "opcua").exists()


def test_the_application_uri_is_a_urn_whatever_the_host_is_called() -> None:
    assert application_uri("gw 1", "a/b") == "urn:gw-1:meterseal:a:b"
    assert application_uri("", "a/b") == "urn:gateway:meterseal:a:b"


def test_what_was_confirmed_is_read_back_and_replaced(tmp_path: Path) -> None:
    assert trusted_server(tmp_path, "scada") is None
    first = TrustedServer("scada", "opc.tcp://10.0.0.9:4840", "urn:plant:scada", b"\x30\x01", "王芳", "2026-03-01T12:00:00.000Z")
    keep_trusted(tmp_path, first)
    assert trusted_server(tmp_path, "scada") == first
    assert first.fingerprint == fingerprint_of(b"\x30\x01")
    second = TrustedServer("scada", first.url, first.server, b"", "bob", first.confirmed_at)
    keep_trusted(tmp_path, second)
    assert trusted_server(tmp_path, "scada") == second
    assert second.fingerprint == ""
    assert [path.name for path in (tmp_path / "opcua" / "trusted").iterdir()] == ["scada.json"]


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"url": "", "server": "", "sha256": "", "certificate": "!", "confirmed_by": ""}']
)
def test_a_damaged_file_is_told_and_never_taken_for_nothing(tmp_path: Path, text: str) -> None:
    path = keep_trusted(tmp_path, TrustedServer("scada", "", "", b"\x30", "", ""))
    path.write_text(text, "utf-8")
    with pytest.raises(KeyFileError, match=r"scada\.json is damaged"):
        trusted_server(tmp_path, "scada")


def test_a_certificate_changed_by_hand_does_not_fit_its_fingerprint(tmp_path: Path) -> None:
    path = keep_trusted(tmp_path, TrustedServer("scada", "", "", b"\x30\x01", "", ""))
    path.write_text(path.read_text("utf-8").replace("MAE=", "MAI="), "utf-8")
    with pytest.raises(KeyFileError, match="fingerprint"):
        trusted_server(tmp_path, "scada")
