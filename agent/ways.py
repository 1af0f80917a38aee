"""The ways to a site's meters, as its file describes them: links, and sessions with OPC UA servers; and who polls over which.

What OPC UA needs is imported when the first such link is made, and not before: it takes memory that other sites need not have.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.book import Book
from agent.by_hand import Asked, conversation
from agent.clock import Clock
from agent.control import Poller
from agent.link_settings import settings_of
from agent.poll import LinkPoller
from agent.polled import Polled
from config.check import SiteFile
from config.settings import Settings
from drivers.link import Link

if TYPE_CHECKING:
    from agent.server_poll import Session


def way_to(site: SiteFile, name: str, state: Path, settings: Settings, clock: Clock) -> Link | Session:
    """The way of a link of the site, not opened yet.

    Args:
        site: the site file.
        name: the link's name in it.
        state: the state directory, with our own certificate and what was confirmed of servers.
        settings: where passwords are.
        clock: when things happen.

    Raises:
        ConfigError, KeyFileError: as `agent.server_way.session_with`.
    """
    if not site.site.links[name].opcua:
        return Link(settings_of(site, name), clock)
    from agent.server_way import session_with

    return session_with(site, name, state, settings, clock)


def poller_of(way: Link | Session, polled: Sequence[Polled], clock: Clock, book: Book, log: Any) -> Poller:
    """Who polls these meters over this way."""
    if isinstance(way, Link):
        return LinkPoller(way, polled, clock, book, log)
    from agent.server_poll import ServerPoller

    return ServerPoller(way, polled, clock, book, log)


@asynccontextmanager
async def directly(way: Link | Session) -> AsyncIterator[Asked]:
    """Opens a way that no agent holds, for as long as the block lasts; what asks meters over it. Raises LinkDown."""
    await way.open()
    try:
        if isinstance(way, Link):
            yield partial(conversation, way)
        else:
            from agent.server_poll import ask_server

            yield partial(ask_server, way)
    finally:
        await way.close()
