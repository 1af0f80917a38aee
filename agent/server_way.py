"""From what the site file says of an OPC UA server to a session with it, and to what `check` says of it.

Imported only where an OPC UA link is configured, and only here asyncua is imported by the agent.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from agent.clock import Clock
from agent.keys import KeyFileError
from agent.opcua_link import server_settings as link_settings
from agent.polled import Polled
from config.check import SiteFile
from config.language import N_, _
from config.mistake import ConfigError
from config.opcua import OpcuaModel, OpcuaPoint
from config.settings import Settings
from config.text import read_text
from config.typed import opcua_password_names
from drivers.opcua_settings import ServerSettings

if TYPE_CHECKING:
    from drivers.opcua_session import Session

_INSTALL = N_("OPC UA needs the package asyncua, which is not installed here; install it with  pip install 'meterseal[opcua]'")


def session_with(site: SiteFile, name: str, state: Path, settings: Settings, clock: Clock) -> Session:
    """A session with the server of an OPC UA link, not open yet.

    Raises:
        ConfigError: asyncua is not installed, or the password cannot be read.
        KeyFileError: our own certificate, or what was confirmed of the server, cannot be read.
    """
    try:
        from drivers.opcua_session import Session
    except ModuleNotFoundError as error:
        if error.name != "asyncua":
            raise
        raise ConfigError([read_text(site.text, str(site.path)).mistake(("links", name, "opcua"), _(_INSTALL))]) from None
    return Session(server_settings(site, name, state, settings), clock)


def server_settings(site: SiteFile, name: str, state: Path, settings: Settings) -> ServerSettings:
    """How the server of an OPC UA link is reached, and who it must be: pinned in the site file, else as confirmed.

    Raises:
        ConfigError: the password cannot be read.
        KeyFileError: our own certificate, or what was confirmed of the server, cannot be read.
    """
    models = [site.model_of(meter).declared for meter in site.site.meters if meter.link == name]
    timeouts = [model.opcua.timeout_ms for model in models if isinstance(model, OpcuaModel)]
    return link_settings(name, site.site.links[name], state, settings, max(timeouts, default=5000))


def described_server(site: SiteFile, name: str, polled: Sequence[Polled], state: Path, settings: Settings) -> list[str]:
    """What `check` prints of a server: how it is protected, who it must be, and how many nodes are asked for how often."""
    link = site.site.links[name]
    login = {
        "anonymous": "without a login",
        "user": _("as user {user}", user=link.user),
        "certificate": _("with our certificate"),
    }[link.identity]
    protection = f"{link.policy}, {link.protection}, {login}"
    if link.policy == "None":
        protection = _("not protected, {login}: anybody on the network can read and alter what it says", login=login)
    return [f"{name}: {protection}", *_asked(polled), *_known(site, name, state, settings)]


def _asked(polled: Sequence[Polled]) -> Iterator[str]:
    nodes: dict[int, set[str]] = {}
    for each in polled:
        asked = {point.at.node for point in each.points if isinstance(point, OpcuaPoint)}
        nodes.setdefault(each.every_ms, set()).update(asked)
    for every_ms, asked in sorted(nodes.items()):
        yield _(
            "  {asked} {asked_2} in one request every {every_ms:g} s",
            asked=len(asked),
            asked_2=_("node") if len(asked) == 1 else _("nodes"),
            every_ms=every_ms / 1000,
        )


def _known(site: SiteFile, name: str, state: Path, settings: Settings) -> Iterator[str]:
    try:
        made = server_settings(site, name, state, settings)
    except (ConfigError, KeyFileError) as error:
        yield f"  {error}. {getattr(error, 'hint', '')}".rstrip()
        return
    if made.secure and not made.pin:
        yield _("  nobody has confirmed the server's certificate yet, so it is not read: run `meterseal trust {name}`", name=name)
    elif made.secure:
        yield _("  it must show the certificate sha256:{pin}", pin=made.pin)
    if made.server:
        yield _("  it must be {server}", server=made.server)
    if made.login == "user" and not made.password:
        variable, file = opcua_password_names(name)
        yield _(
            "  there is no password for {user}: {variable} is not set, and there is no secret called {file}",
            user=made.user,
            variable=variable,
            file=file,
        )
