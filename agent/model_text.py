"""A meter model as text for people, and what is different between two of them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

from agent.columns import columns
from config.language import N_, _
from config.model import TRUST_WORDS, MeterModel, ModelFile, Point, Watch
from config.protocols import PROTOCOLS

_MEDIA = (
    *(N_("electricity"), N_("water"), N_("heat"), N_("cooling"), N_("gas"), N_("steam"), N_("compressed_air"), N_("oil")),
    *(N_("pulse"), N_("other")),
)


def described(file: ModelFile, where: str) -> str:
    """A model: what it is, how far it is trusted and on what, what it tells and where. `where`: its file."""
    model = file.declared
    words = TRUST_WORDS[model.trust.level]
    title = PROTOCOLS[model.protocol].title
    lines = [
        _(
            "{model}, revision {revision}: {maker} {product}",
            model=model.model,
            revision=model.revision,
            maker=model.maker,
            product=model.product,
        ),
        f"  {_(model.medium)}, {title}{_port(model)}",
        _("  file    {where}", where=where),
        f"  SHA-256 {file.digest}",
        _("  trust   {level}: {words}", level=model.trust.level, words=_(words)),
        *(_("    source    {kind}: {url}", kind=source.kind, url=source.url) for source in model.trust.sources),
        *(_("    open      {question}", question=question) for question in model.trust.questions),
    ]
    for title, watches in ((_("says who it is"), model.identity), (_("settings that are watched"), model.attest)):
        lines += [f"  {title}: {', '.join(watch.name for watch in watches)}"] if watches else []
    lines += ["", *_table(_point_row(point) for point in model.points)]
    lines += ["", *(f"  {note}" for note in model.notes)] if model.notes else []
    count = len(model.examples)
    origins = "; ".join(example.origin for example in model.examples)
    lines += [
        "",
        _("  1 example: {origins}", origins=origins)
        if count == 1
        else _("  {count} examples: {origins}", count=count, origins=origins),
    ]
    return "\n".join(lines)


def _port(model: MeterModel) -> str:
    return _(", port as delivered: {baud} {value}", baud=model.serial.baud, value=model.serial.format) if model.serial else ""


def place_words(place: Any) -> str:
    """Where a value stands, as in its file: `address 52, type f32`."""
    written = place.model_dump(mode="json", exclude_defaults=True, exclude_none=True)
    return ", ".join(f"{key} {value}" for key, value in written.items())


def _point_row(point: Point) -> tuple[str, ...]:
    scale = "" if point.scale == 1 else f"x {point.scale}"
    ratio = {"none": "", "already_primary": _("primary already")}.get(point.ratio, f"x {point.ratio.replace('_', ' x ')}")
    unit = "" if point.unit == "1" else point.unit
    return point.quantity, unit, place_words(point.at), scale, ratio, "" if point.default else _("on request")


def _table(rows: Iterable[tuple[str, ...]]) -> list[str]:
    made = [(_("QUANTITY"), _("UNIT"), _("WHERE"), _("SCALE"), _("RATIO"), ""), *rows]
    return [f"  {line}" for line in columns(made)]


def differences(ours: MeterModel, other: MeterModel) -> Iterator[str]:
    """What one model says otherwise than another one, in words."""
    for name, one, two in (("protocol", ours.protocol, other.protocol), ("medium", ours.medium, other.medium)):
        if one != two:
            yield _("{name}: {one}, there {two}", name=name, one=one, two=two)
    for kind in ("identity", "attest"):
        yield from _named(kind, {each.name: _watch(each) for each in getattr(ours, kind)}, getattr(other, kind))
    here = {point.quantity: _point(point) for point in ours.points}
    there = {point.quantity: _point(point) for point in other.points}
    yield from _parts(here, there)


def _named(kind: str, here: dict[str, str], watches: Iterable[Watch]) -> Iterator[str]:
    for line in _parts(here, {each.name: _watch(each) for each in watches}):
        yield f"{kind}: {line}"


def _parts(here: dict[str, str], there: dict[str, str]) -> Iterator[str]:
    for name in [*here, *(name for name in there if name not in here)]:
        if name not in there:
            yield _("{name}: only here ({here})", name=name, here=here[name])
        elif name not in here:
            yield _("{name}: only there ({there})", name=name, there=there[name])
        elif here[name] != there[name]:
            yield _("{name}: {here}; there {there}", name=name, here=here[name], there=there[name])


def _watch(watch: Watch) -> str:
    expect = _(", expected {values}", values=", ".join(watch.expect)) if watch.expect else ""
    return place_words(watch.at) + expect


def _point(point: Point) -> str:
    parts = [place_words(point.at), *(f"+ {place_words(part.at)}" for part in getattr(point, "plus", ()))]
    parts += [_("scale {scale}", scale=f"{point.scale.normalize():f}")] if point.scale != Decimal(1) else []
    parts += [_("ratio {ratio}", ratio=point.ratio)] if point.ratio != "none" else []
    return ", ".join(parts)
