"""What is different between two site files: which lines, meters and destinations came, went or were changed. Pure.

A line is disturbed where its own settings changed, or anything by which one of its meters is asked. A meter of which only the
papers changed (place, certificate, the wording of its model) is declared anew while its line goes on.

What this file does not know: how a change is applied (`agent.reload`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from agent.polled import Polled, polled_meters
from config.check import SiteFile

_APART = frozenset({"links", "meters", "mqtt"})


@dataclass(frozen=True, slots=True)
class Change:
    """One difference.

    Attributes:
        what: `line`, `meter`, `destination` or `site`.
        name: which one; empty for the site.
        how: `added`, `removed` or `changed`.
        keys: what of it was changed, as the keys stand in the site file.
    """

    what: str
    name: str
    how: str
    keys: tuple[str, ...] = ()

    def fields(self) -> dict[str, Any]:
        """As a `config` record has it."""
        keys = {"keys": list(self.keys)} if self.keys else {}
        return {"what": self.what, "name": self.name, "how": self.how, **keys}

    def __str__(self) -> str:
        name = f" {self.name}" if self.name else ""
        keys = f" ({', '.join(self.keys)})" if self.keys else ""
        return f"{self.what}{name} {self.how}{keys}"


def changes(before: SiteFile, after: SiteFile) -> list[Change]:
    """All differences of two site files, the site's own first, then lines, meters and destinations."""
    own = tuple(key for key in _differing(before.site, after.site) if key not in _APART)
    return [
        *([Change("site", "", "changed", own)] if own else []),
        *_of("line", before.site.links, after.site.links),
        *_meters(before, after),
        *_of("destination", {each.name: each for each in before.site.mqtt}, {each.name: each for each in after.site.mqtt}),
    ]


def _differing(one: BaseModel, other: BaseModel) -> list[str]:
    return [key for key in type(one).model_fields if getattr(one, key) != getattr(other, key)]


def _of(what: str, before: Mapping[str, BaseModel], after: Mapping[str, BaseModel]) -> Iterator[Change]:
    for name in [*before, *(name for name in after if name not in before)]:
        if name not in after:
            yield Change(what, name, "removed")
        elif name not in before:
            yield Change(what, name, "added")
        elif keys := _differing(before[name], after[name]):
            yield Change(what, name, "changed", tuple(keys))


def _meters(before: SiteFile, after: SiteFile) -> Iterator[Change]:
    old = {meter.id: meter for meter in before.site.meters}
    new = {meter.id: meter for meter in after.site.meters}
    told = {change.name: change for change in _of("meter", old, new)}
    for name in [*old, *(name for name in new if name not in old)]:
        change = told.get(name)
        redone = name in old and name in new and before.models[name].digest != after.models[name].digest
        if redone and not (change and "model" in change.keys):
            yield Change("meter", name, "changed", (*(change.keys if change else ()), "model"))
        elif change:
            yield change


def disturbed_lines(before: SiteFile, after: SiteFile) -> list[str]:
    """The lines of either file that cannot go on as they are. Raises ConfigError as `polled_meters`."""
    names = [*before.site.links, *(name for name in after.site.links if name not in before.site.links)]
    return [name for name in names if _way(before, name) != _way(after, name) or _asked(before, name) != _asked(after, name)]


def _way(site: SiteFile, name: str) -> object:
    """How a line is reached; None where the file has none of this name."""
    link = site.site.links.get(name)
    return (link, site.serial_settings(name) if link.serial else None) if link else None


def _asked(site: SiteFile, name: str) -> dict[tuple[str, int], tuple[Polled, str]]:
    """What is asked of each meter of a line, and which meter that is."""
    if name not in site.site.links:
        return {}
    serials = {meter.id: meter.serial for meter in site.site.meters}
    return {(each.id, each.every_ms): (each, serials[each.id]) for each in polled_meters(site, name)}
