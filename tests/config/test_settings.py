"""Settings of the machine and passwords: the environment, systemd credentials, secrets folders."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from config.mistake import ConfigError
from config.settings import SYSTEM_SITE, load_settings, mqtt_password, unused_passwords


@pytest.fixture(autouse=True)
def _clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder and none of our variables."""
    for variable in list(os.environ):
        if variable.upper().startswith("METERSEAL_") or variable == "CREDENTIALS_DIRECTORY":
            monkeypatch.delenv(variable)
    monkeypatch.chdir(tmp_path)


def _told(caught: pytest.ExceptionInfo[ConfigError]) -> list[str]:
    return str(caught.value).splitlines()


def test_without_anything_the_system_places_are_in_force() -> None:
    settings = load_settings()
    assert (settings.site, settings.state, settings.log_level) == (SYSTEM_SITE, Path("/var/lib/meterseal"), "info")


def test_a_site_file_in_the_current_folder_comes_before_the_systems(tmp_path: Path) -> None:
    (tmp_path / "site.yaml").touch()
    assert load_settings().site == Path("site.yaml")


def test_the_environment_comes_before_the_current_folder_and_the_command_line_before_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "site.yaml").touch()
    monkeypatch.setenv("METERSEAL_SITE", "/srv/a.yaml")
    monkeypatch.setenv("METERSEAL_STATE", "/srv/state")
    monkeypatch.setenv("METERSEAL_LOG_LEVEL", "Warning")
    settings = load_settings()
    assert (str(settings.site), str(settings.state), settings.log_level) == ("/srv/a.yaml", "/srv/state", "warning")
    assert load_settings(site=Path("b.yaml"), state=Path("s")).site == Path("b.yaml")
    assert load_settings(site=Path("b.yaml"), state=Path("s")).state == Path("s")


def test_an_empty_variable_is_as_if_it_were_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METERSEAL_SITE", "")
    monkeypatch.setenv("METERSEAL_MQTT_PASSWORD", "")
    assert load_settings().site == SYSTEM_SITE
    assert mqtt_password(load_settings(), "broker") is None


def test_misspelt_variables_and_wrong_values_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METERSEAL_STTE", "/srv")
    monkeypatch.setenv("METERSEAL_LOG_LEVEL", "loud")
    with pytest.raises(ConfigError) as caught:
        load_settings()
    assert _told(caught) == [
        "environment: METERSEAL_LOG_LEVEL: loud is not possible here; write debug, info, warning or error",
        "environment: METERSEAL_STTE: meterseal has no such setting. Did you mean METERSEAL_STATE?",
    ]


def test_a_misspelt_password_variable_is_told_without_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METERSEAL_MQTT_PASWORD", "hunter2")
    with pytest.raises(ConfigError) as caught:
        load_settings()
    assert _told(caught) == [
        "environment: METERSEAL_MQTT_PASWORD: meterseal has no such setting. Did you mean METERSEAL_MQTT_PASSWORD?"
    ]


def test_a_secrets_folder_that_does_not_exist_is_a_mistake_and_no_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METERSEAL_SECRETS_DIR", "/nowhere/secrets")
    with pytest.raises(ConfigError) as caught:
        load_settings()
    assert _told(caught) == [
        "environment: METERSEAL_SECRETS_DIR: there is no folder /nowhere/secrets; make it, or take this variable out"
    ]


def test_a_password_comes_from_the_environment_then_systemd_then_the_secrets_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("secrets", "credentials"):
        (tmp_path / folder).mkdir()
    monkeypatch.setenv("METERSEAL_SECRETS_DIR", str(tmp_path / "secrets"))
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "credentials"))
    found = []
    assert mqtt_password(load_settings(), "broker") is None
    (tmp_path / "secrets" / "mqtt_password").write_text("from the folder\n", "utf-8")
    found.append(mqtt_password(load_settings(), "broker"))
    (tmp_path / "credentials" / "mqtt_password").write_text("from systemd", "utf-8")
    found.append(mqtt_password(load_settings(), "broker"))
    monkeypatch.setenv("METERSEAL_MQTT_PASSWORD", "from the environment")
    found.append(mqtt_password(load_settings(), "broker"))
    assert [each.get_secret_value() for each in found if each] == ["from the folder", "from systemd", "from the environment"]


def test_a_named_broker_has_a_variable_and_a_file_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METERSEAL_SECRETS_DIR", str(tmp_path))
    (tmp_path / "mqtt_password_cloud_1").write_text("one", "utf-8")
    found = mqtt_password(load_settings(), "cloud-1")
    assert found is not None
    assert found.get_secret_value() == "one"
    monkeypatch.setenv("METERSEAL_MQTT_PASSWORD_CLOUD_1", "two")
    found = mqtt_password(load_settings(), "cloud-1")
    assert found is not None
    assert found.get_secret_value() == "two"
    assert mqtt_password(load_settings(), "broker") is None


def test_a_password_is_not_shown_when_settings_or_secret_are_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METERSEAL_MQTT_PASSWORD", "hunter2")
    settings = load_settings()
    assert "hunter2" not in f"{settings!r} {mqtt_password(settings, 'broker')!r} {mqtt_password(settings, 'broker')}"


@pytest.mark.parametrize("content", [b"", b"\n", b"two\nlines\n", b"\xff\xfe"])
def test_a_password_file_that_is_no_single_line_of_text_is_a_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.setenv("METERSEAL_SECRETS_DIR", str(tmp_path))
    (tmp_path / "mqtt_password").write_bytes(content)
    with pytest.raises(ConfigError, match="must hold the password as one line of text, and nothing else"):
        mqtt_password(load_settings(), "broker")


def test_a_password_file_that_cannot_be_read_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METERSEAL_SECRETS_DIR", str(tmp_path))
    (tmp_path / "mqtt_password").mkdir()
    with pytest.raises(ConfigError, match=r"cannot be read \(is a directory\)"):
        mqtt_password(load_settings(), "broker")


def test_a_password_for_a_broker_that_does_not_exist_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METERSEAL_MQTT_PASSWORD_CLUOD", "hunter2")
    (mistake,) = unused_passwords(["cloud"], [])
    assert mistake.path == "METERSEAL_MQTT_PASSWORD_CLUOD"
    assert mistake.message == "the site file has no broker of that name. Did you mean METERSEAL_MQTT_PASSWORD_CLOUD?"
    assert unused_passwords(["cluod"], []) == []
