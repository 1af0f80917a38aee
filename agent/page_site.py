"""What to say of a site's status page before it is served: whether it can be, and who can read it."""

from __future__ import annotations

import ipaddress
from importlib.util import find_spec

from config.check import SiteFile
from config.language import _
from config.mistake import ConfigError


def check_page(site: SiteFile) -> list[str]:
    """Who can read the page of a site file, in words; nothing without one, and where only this machine can.

    Raises:
        ConfigError: what serves it is not installed.
    """
    if site.site.page is None:
        return []
    if find_spec("h11") is None:
        message = _("what serves the page is not installed: pip install meterseal[page], or take this line out")
        raise ConfigError([site.mistake(("page",), message)], "MS-906")
    host = site.site.page.rpartition(":")[0]
    try:
        here = ipaddress.ip_address(host).is_loopback
    except ValueError:
        here = host == "localhost"
    return (
        []
        if here
        else [_("page: everybody who reaches {address} can read all values; it has no password", address=site.site.page)]
    )
