"""Where things lie on this machine: set by the environment, the command line or left at their defaults.

    METERSEAL_SITE           the site file; else ./site.yaml, else /etc/meterseal/site.yaml
    METERSEAL_STATE          the folder of key and ledger; else /var/lib/meterseal
    METERSEAL_LOG_LEVEL      debug, info, warning or error; else info
    METERSEAL_SECRETS_DIR    a folder with one file a secret, as containers mount them
    METERSEAL_MQTT_PASSWORD  the password of the broker called `broker` (the one without a name)
    METERSEAL_MQTT_PASSWORD_CLOUD   the password of the broker called `cloud`
    METERSEAL_OPCUA_PASSWORD_SCADA  the password of the user of the OPC UA link called `scada`

A password may stand in a file `mqtt_password`, `mqtt_password_cloud` or `opcua_password_scada` instead: in the folder
of systemd credentials ($CREDENTIALS_DIRECTORY) or in METERSEAL_SECRETS_DIR. The environment comes first, then
credentials, then secrets.

A variable that begins with METERSEAL_ and is none of these is a mistake: a misspelt one would be ignored silently.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from config.language import _
from config.mistake import ConfigError, Mistake, did_you_mean
from config.system_words import reason_of
from config.typed import opcua_password_names, password_names, sentence_of

PREFIX = "METERSEAL_"
SITE_FILE = "site.yaml"
SYSTEM_SITE = Path("/etc/meterseal/site.yaml")
_PASSWORD = "METERSEAL_MQTT_PASSWORD"  # noqa: S105 - the name of a variable, not a password
_OPCUA_PASSWORD = "METERSEAL_OPCUA_PASSWORD"  # noqa: S105 - the same
_LONGEST_SECRET = 4096


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


class Settings(BaseSettings):
    """What the environment says. Use `load_settings`, which also finds misspelt variables."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, extra="ignore", frozen=True)

    site: Path = SYSTEM_SITE
    """The site file."""
    state: Path = Path("/var/lib/meterseal")
    """The folder of key and ledger."""
    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)] = "info"
    """How much is journalled."""
    secrets_dir: Path | None = None
    """A folder with one file a secret."""
    lang: str = ""
    """The language of messages, such as `zh`; `config.language` takes it from the environment itself."""


def load_settings(site: Path | None = None, state: Path | None = None) -> Settings:
    """The settings in force.

    Args:
        site, state: from the command line; they come before the environment.

    Raises:
        ConfigError: a variable that is none, a value that cannot be, or a secrets folder that does not exist.
    """
    given: dict[str, Any] = {key: value for key, value in (("site", site), ("state", state)) if value is not None}
    if not given.get("site") and not os.environ.get("METERSEAL_SITE") and Path(SITE_FILE).is_file():
        given["site"] = Path(SITE_FILE)
    mistakes = list(_unknown_variables())
    try:
        settings = Settings(**given)
    except ValidationError as error:
        found = error.errors(include_url=False)
        mistakes += [_mistake(f"{PREFIX}{str(each['loc'][0]).upper()}", sentence_of(each)) for each in found]
        raise ConfigError(mistakes, "MS-103") from None
    if settings.secrets_dir and not settings.secrets_dir.is_dir():
        message = _("there is no folder {secrets_dir}; make it, or take this variable out", secrets_dir=settings.secrets_dir)
        mistakes.append(_mistake("METERSEAL_SECRETS_DIR", message))
    if mistakes:
        raise ConfigError(mistakes, "MS-103")
    return settings


def _mistake(variable: str, message: str) -> Mistake:
    return Mistake("environment", 0, 0, variable, message)


def _unknown_variables() -> Iterator[Mistake]:
    known = [f"{PREFIX}{name.upper()}" for name in Settings.model_fields] + [_PASSWORD]
    for variable in os.environ:
        upper = variable.upper()
        of_its_own = variable.startswith((f"{_PASSWORD}_", f"{_OPCUA_PASSWORD}_"))
        if upper.startswith(PREFIX) and upper not in known and not of_its_own:
            yield _mistake(variable, _("meterseal has no such setting.{near}", near=did_you_mean(upper, known)).removesuffix("."))


def mqtt_password(settings: Settings, name: str) -> SecretStr | None:
    """The password of the broker called `name`, or None where there is none.

    Raises:
        ConfigError: its file cannot be read, is empty, or is no single line of text.
    """
    return _password(settings, *password_names(name))


def opcua_password(settings: Settings, link: str) -> SecretStr | None:
    """The password of the user of the OPC UA link called `link`, or None where there is none.

    Raises:
        ConfigError: its file cannot be read, is empty, or is no single line of text.
    """
    return _password(settings, *opcua_password_names(link))


def _password(settings: Settings, variable: str, file: str) -> SecretStr | None:
    if value := os.environ.get(variable):
        return SecretStr(value)
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    for folder in (Path(credentials) if credentials else None, settings.secrets_dir):
        if folder and (folder / file).exists():
            return _secret_in(folder / file)
    return None


def _secret_in(path: Path) -> SecretStr:
    try:
        with path.open("rb") as opened:
            text = opened.read(_LONGEST_SECRET).decode("utf-8").rstrip("\r\n")
    except OSError as error:
        message = _(
            "cannot be read ({strerror}); the user that runs meterseal must be able to",
            strerror=reason_of(error).lower(),
        )
        raise ConfigError([Mistake(str(path), 0, 0, "", message)], "MS-103") from None
    except UnicodeDecodeError:
        text = ""
    if not text or not text.isprintable():
        raise ConfigError(
            [Mistake(str(path), 0, 0, "", _("must hold the password as one line of text, and nothing else"))], "MS-103"
        )
    return SecretStr(text)


def unused_passwords(brokers: list[str], links: list[str]) -> list[Mistake]:
    """Password variables of brokers or OPC UA links that the site file does not have: a misspelt name would go unnoticed.

    `links`: those with an OPC UA server where the gateway logs in as a user.
    """
    wanted = {
        _PASSWORD: [password_names(name)[0] for name in brokers],
        _OPCUA_PASSWORD: [opcua_password_names(name)[0] for name in links],
    }
    whose = {_PASSWORD: _("broker"), _OPCUA_PASSWORD: _("OPC UA link with a user")}
    return [
        _mistake(
            variable,
            _("the site file has no {what} of that name.{hint}", what=whose[kind], hint=did_you_mean(variable, names)).rstrip(
                ".。"
            ),
        )
        for kind, names in wanted.items()
        for variable in os.environ
        if (variable == kind or variable.startswith(f"{kind}_")) and variable not in names
    ]
