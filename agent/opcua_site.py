"""A site with what a person has confirmed about its OPC UA servers filled in: it is declared and checked like the rest."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from agent.opcua_trust import TrustedServer, trusted_server
from config.check import SiteFile
from config.site import Link


def with_trusted_servers(site: SiteFile, state: Path) -> SiteFile:
    """The same site; OPC UA links without `server` or `certificate` get those that `meterseal trust` has kept.

    What the site file pins comes first. A link that is spoken to without security has no certificate.

    Raises:
        KeyFileError: a file of the state directory is damaged.
    """
    links = {name: trusting(link, trusted_server(state, name)) if link.opcua else link for name, link in site.site.links.items()}
    return replace(site, site=site.site.model_copy(update={"links": links}))


def trusting(link: Link, kept: TrustedServer | None) -> Link:
    """A link with what was confirmed of its server, where the site file does not pin it."""
    if kept is None:
        return link
    certificate = f"sha256:{kept.fingerprint}" if kept.fingerprint and link.policy != "None" else None
    return link.model_copy(update={"server": link.server or kept.server or None, "certificate": link.certificate or certificate})
