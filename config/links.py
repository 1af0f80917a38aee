"""The links of a site file, read by themselves: what is needed before the first meter can be written.

Whoever looks for the nodes of an OPC UA server has no meters yet, and a site file without meters is no site file.
Here only the gateway's name and the links have to be right; what is wrong elsewhere, `meterseal check` tells.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import ConfigDict, Field

from config.library import read_bytes
from config.mistake import ConfigError
from config.model import Declared
from config.rules import link_findings
from config.scalar import Name
from config.site import GatewayName, Link
from config.text import read_text
from config.typed import typed


class Links(Declared):
    """The ways to meters that a site file declares."""

    model_config = ConfigDict(extra="ignore")

    gateway: GatewayName
    """Site and gateway, as in every record."""
    links: Annotated[dict[Name, Link], Field(min_length=1)]
    """The ways to the meters, by name."""


def load_links(path: Path) -> Links:
    """Gateway and links of a site file.

    Raises:
        ConfigError: with every mistake in these two, or one by which the file cannot be read.
    """
    document = read_text(read_bytes(path), str(path))
    made, mistakes = typed(Links, document)
    if made is not None:
        mistakes += [document.mistake(place, message) for place, message in link_findings(dict(made.links))]
    if made is None or mistakes:
        raise ConfigError(mistakes)
    return made
