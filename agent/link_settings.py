"""From what the site file says of a link to what `drivers.link` needs. Pure."""

from __future__ import annotations

from config.check import SiteFile
from drivers.link_settings import LinkSettings


def settings_of(site: SiteFile, name: str) -> LinkSettings:
    """The settings of one of the site's links; serial settings come from its meters' models where the site is silent."""
    link = site.site.links[name]
    baud, character = site.serial_settings(name) if link.serial else (9600, "8N1")
    return LinkSettings(
        name=name,
        framing=link.frames,
        tcp=link.tcp,
        serial=link.serial,
        baud=baud,
        character=character,
        timeout_s=_seconds(link.timeout_ms),
        longest_answer_s=_seconds(link.longest_answer_ms),
    )


def _seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000
