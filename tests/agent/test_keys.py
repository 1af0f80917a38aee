"""agent.keys: the key files."""

import os
import stat
from pathlib import Path

import pytest

from agent.checkpoint import read_verifier_key
from agent.keys import KeyFileError, load_key, make_key, new_key_file, read_recovery, write_recovery


def test_a_key_is_readable_by_its_owner_only_and_is_read_back(tmp_path: Path) -> None:
    made = make_key(tmp_path / "state", "plant/gw1")
    assert stat.S_IMODE((tmp_path / "state" / "key.pem").stat().st_mode) == 0o600
    assert load_key(tmp_path / "state").public == made.public


def test_the_public_line_names_the_key(tmp_path: Path) -> None:
    key = make_key(tmp_path, "plant/gw1")
    line = (tmp_path / "key.vkey").read_text().strip()
    assert read_verifier_key(line) == ("meterseal/plant/gw1", key.public)


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


def test_a_key_of_another_account_is_refused_with_the_command_that_mends_it(tmp_path: Path) -> None:
    make_key(tmp_path, "plant/gw1")
    if os.geteuid() != 0:
        pytest.skip("only root can give a file to another account")
    os.chown(tmp_path / "key.pem", 4242, -1)
    with pytest.raises(KeyFileError, match="belongs to another account") as caught:
        load_key(tmp_path)
    assert "chown" in caught.value.hint


def test_a_credential_that_systemd_lets_the_service_read_by_its_access_list_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = new_key_file(tmp_path / "meterseal_key")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "meterseal_key").chmod(0o440)
    assert load_key(tmp_path / "nowhere").public == key.public
    (tmp_path / "meterseal_key").chmod(0o444)
    with pytest.raises(KeyFileError, match="can be read by others"):
        load_key(tmp_path / "nowhere")


def test_of_several_keys_the_one_in_force_is_taken_and_put_in_its_place(tmp_path: Path) -> None:
    make_key(tmp_path, "plant/gw1")
    following = new_key_file(tmp_path / "key.next.pem")
    assert load_key(tmp_path, following.public).public == following.public
    assert load_key(tmp_path).public == following.public
    assert not (tmp_path / "key.next.pem").exists()


def test_a_next_key_that_never_came_into_force_is_removed_even_half_written(tmp_path: Path) -> None:
    key = make_key(tmp_path, "plant/gw1")
    (tmp_path / "key.next.pem").write_text("-----BEGIN")
    assert load_key(tmp_path, key.public).public == key.public
    assert not (tmp_path / "key.next.pem").exists()


def test_a_key_file_that_is_not_the_ledgers_is_refused_with_the_way_on(tmp_path: Path) -> None:
    make_key(tmp_path, "plant/gw1")
    with pytest.raises(KeyFileError, match="is not the key of this ledger") as caught:
        load_key(tmp_path, bytes(32))
    assert "meterseal key revoke" in caught.value.hint


def test_the_recovery_keys_public_half_is_read_back_and_another_gateways_is_refused(tmp_path: Path) -> None:
    assert read_recovery(tmp_path, "plant/gw1") is None
    public = make_key(tmp_path, "plant/gw1").public
    write_recovery(tmp_path, "plant/gw1", public)
    assert read_recovery(tmp_path, "plant/gw1") == public
    with pytest.raises(KeyFileError, match="belongs to"):
        read_recovery(tmp_path, "plant/gw2")
    (tmp_path / "recovery.vkey").write_text("nonsense")
    with pytest.raises(KeyFileError, match="damaged"):
        read_recovery(tmp_path, "plant/gw1")
