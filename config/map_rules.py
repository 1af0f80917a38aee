"""What the map of every meter model must keep to, whatever its protocol: names once, scales and ranges that make sense.

Each rule yields the path of keys to the place and a sentence. What this file does not know: places (`at`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal

from config.language import _
from config.mistake import Path
from config.model import Finding, MeterModel, Point, Watch

GENERIC = "generic-"

_DIGITS = 20  # a formula's numbers have at most so many in front of and behind the point


def map_findings(model: MeterModel) -> Iterator[Finding]:
    """What is wrong with a whole model's points, watches and examples, places apart."""
    yield from points_findings(model.points)
    names: dict[str, str] = {}
    for section, watches in (("identity", model.identity), ("attest", model.attest)):
        for index, watch in enumerate(watches):
            if watch.name in names:
                yield (
                    (section, index, "name"),
                    _("{name} stands twice, first under {names}", name=watch.name, names=names[watch.name]),
                )
            names.setdefault(watch.name, section)
            yield from scale_findings((section, index, "scale"), watch.scale)
    yield from _source_findings(model)
    told = {point.quantity for point in model.points}
    for index, example in enumerate(model.examples):
        for quantity in example.values:
            if quantity not in told and not is_generic(model.model):
                yield (
                    ("examples", index, "values", quantity),
                    _("{quantity} is not among this model's points", quantity=quantity),
                )


def _source_findings(model: MeterModel) -> Iterator[Finding]:
    """Sources that are quoted by a key that none of them has, and keys that two of them have."""
    keys: set[str] = set()
    for index, source in enumerate(model.trust.sources):
        if source.key in keys:
            yield ("trust", "sources", index, "key"), _("{key} is already another source's key", key=source.key)
        keys |= {source.key} if source.key else set()
    sections: list[tuple[str, Sequence[Point | Watch]]] = [
        ("points", model.points), ("identity", model.identity), ("attest", model.attest)
    ]  # fmt: skip
    for section, entries in sections:
        for index, entry in enumerate(entries):
            for number, key in enumerate(entry.sources):
                if key not in keys:
                    yield (section, index, "sources", number), _("no source under trust has the key {key}", key=key)


def points_findings(points: Sequence[Point]) -> Iterator[Finding]:
    """What is wrong with a list of points, places apart."""
    first: dict[str, int] = {}
    for index, point in enumerate(points):
        path: Path = ("points", index)
        if point.quantity in first:
            yield (
                (*path, "quantity"),
                _("{quantity} stands twice, first as entry {first}", quantity=point.quantity, first=first[point.quantity] + 1),
            )
        first.setdefault(point.quantity, index)
        if point.range and point.range[0] >= point.range[1]:
            yield (*path, "range"), _("write the lowest value first, then the highest, such as [0, 300]")
        yield from scale_findings((*path, "scale"), point.scale)


def scale_findings(path: Path, scale: Decimal) -> Iterator[Finding]:
    """What is wrong with a scale."""
    if scale == 0:
        yield path, _("0 would make every value 0; write what one count is worth in the quantity's unit")
        return
    whole, _unused, fraction = f"{abs(scale):f}".partition(".")
    if len(whole) > _DIGITS or len(fraction) > _DIGITS:
        yield path, _("has more than {digits} digits in front of or behind the point", digits=_DIGITS)


def is_generic(name: str) -> bool:
    """Whether a model is a generic one."""
    return name.startswith(GENERIC)
