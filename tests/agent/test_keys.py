"""agent.keys: the key file and the enrolment form."""

import stat
from pathlib import Path

import pytest

from agent.checkpoint import read_verifier_key
from agent.keys import KeyFileError, enrolment_form, load_key, make_key


def test_a_key_is_readable_by_its_owner_only_and_is_read_back(tmp_path: Path) -> None:
    made = make_key(tmp_path / "state", "plant/gw1")
    assert stat.S_IMODE((tmp_path / "state" / "key.pem").stat().st_mode) == 0o600
    assert load_key(tmp_path / "state").public == made.public


def test_the_public_line_and_the_form_name_the_same_key(tmp_path: Path) -> None:
    key = make_key(tmp_path, "plant/gw1")
    line = (tmp_path / "key.vkey").read_text().strip()
    assert read_verifier_key(line) == ("meterseal/plant/gw1", key.public)
    form = enrolment_form("plant/gw1", key)
    assert line in form
    assert key.name in form


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    key = make_key(tmp_path, "plant/gw1")
    with pytest.raises(KeyFileError, match="there is a key already"):
        make_key(tmp_path, "plant/gw1")
    assert load_key(tmp_path).public == key.public


def test_a_key_that_others_can_read_is_refused_with_the_command_that_mends_it(tmp_path: Path) -> None:
    make_key(tmp_path, "plant/gw1")
    (tmp_path / "key.pem").chmod(0o644)
    with pytest.raises(KeyFileError) as caught:
        load_key(tmp_path)
    assert "chmod 600" in caught.value.hint


def test_a_missing_key_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError) as caught:
        load_key(tmp_path)
    assert "meterseal init" in caught.value.hint


def test_a_damaged_key_file_is_one_message(tmp_path: Path) -> None:
    make_key(tmp_path, "plant/gw1")
    (tmp_path / "key.pem").write_text("-----BEGIN PRIVATE KEY-----\nnonsense\n")
    with pytest.raises(KeyFileError, match="not a key file"):
        load_key(tmp_path)


def test_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    path = tmp_path / "key.pem"
    path.write_bytes(generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    path.chmod(0o600)
    with pytest.raises(KeyFileError, match="not an Ed25519 key"):
        load_key(tmp_path)


def test_systemds_credential_comes_before_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_key(tmp_path / "state", "plant/gw1")
    other = make_key(tmp_path / "other", "plant/gw1")
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (tmp_path / "other" / "key.pem").rename(credentials / "meterseal_key")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    assert load_key(tmp_path / "state").public == other.public
