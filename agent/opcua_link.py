"""From what the site file and the state directory say of an OPC UA link to what a session needs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from agent.opcua_certificate import load_certificate
from agent.opcua_site import trusting
from agent.opcua_trust import trusted_server
from config.settings import Settings, opcua_password
from config.site import Link
from drivers.opcua_settings import ServerSettings

_TIMEOUT_MS = 5000


def server_settings(name: str, link: Link, state: Path, settings: Settings, timeout_ms: int = _TIMEOUT_MS) -> ServerSettings:
    """How the server of an OPC UA link is reached, and who it must be: pinned in the site file, else as confirmed.

    Args:
        name, link: the link as in the site file.
        state: the state directory.
        settings: where the password is.
        timeout_ms: how long an answer may take unless the link says so.

    Raises:
        ConfigError: the password cannot be read.
        KeyFileError: our own certificate, or what was confirmed of the server, cannot be read.
    """
    link = trusting(link, trusted_server(state, name))
    password = opcua_password(settings, name) if link.identity == "user" else None
    made = ServerSettings(
        name=name,
        url=link.opcua or "",
        security=link.policy,
        mode=link.protection,
        login=link.identity,
        user=link.user or "",
        password=password.get_secret_value() if password else "",
        pin=(link.certificate or "").removeprefix("sha256:").lower(),
        server=link.server or "",
        timeout_s=(link.timeout_ms or timeout_ms) / 1000,
    )
    if not made.secure:
        return made
    own = load_certificate(state)
    return replace(made, certificate=own.path, key=own.key_path, application=own.application)
