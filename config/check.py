"""The site file as a whole: read, every rule checked, every mistake told at once with its line and column.

A rule that needs one key stands with its type (`config.site`); here stand those that need the whole file. Where
single keys are wrong, the rules still run over the meters and links that are right, so that a person sees all
mistakes in one go.

A site that was loaded can be polled: every meter has a model with points, a link with its settings, and the ratios
that its points need. What this file does not know: whether the meters are really there.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, cast

from pydantic import BaseModel, ValidationError

from config.language import _
from config.library import (
    find_models,
    is_generic,
    load_model,
    model_folders,
    read_bytes,
    unknown_model,
    with_points,
)
from config.library import load_models as load_models
from config.library import read_model as read_model
from config.mistake import ConfigError, Mistake, shown
from config.modbus import ModbusModel, ModbusPoint
from config.model import Finding, ModelFile, Point
from config.opcua import OpcuaModel, OpcuaPoint, own_nodes_findings
from config.opcua_rules import changes_findings
from config.protocols import PROTOCOLS
from config.registers import point_findings
from config.rules import (
    fast_findings,
    format_findings,
    link_findings,
    meters_findings,
    model_findings,
    mqtt_findings,
    points_findings,
    serial_findings,
    serial_value,
    unknown_link,
)
from config.site import Link, Meter, Mqtt, Site
from config.text import Document, read_text
from config.typed import typed
from config.zone import zone_of

T = TypeVar("T", bound=BaseModel)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,47}")

__all__ = ["SiteFile", "load_model", "load_models", "load_site", "read_model"]


@dataclass(frozen=True, slots=True)
class SiteFile:
    """A site file without mistakes, with the models of its meters.

    Attributes:
        path: the file.
        text: its bytes.
        site: what it declares.
        models: the model in force for each meter, by the meter's id; a generic model has that meter's own points.
    """

    path: Path
    text: bytes
    site: Site
    models: dict[str, ModelFile]

    @property
    def digest(self) -> str:
        """SHA-256 of the file's bytes, hexadecimal."""
        return hashlib.sha256(self.text).hexdigest()

    def mistake(self, place: tuple[str | int, ...], message: str) -> Mistake:
        """A mistake of the file that only shows beside something else, at its line and column."""
        return read_text(self.text, str(self.path)).mistake(place, message)

    def link_of(self, meter: Meter) -> Link:
        """The link a meter hangs on."""
        return self.site.links[meter.link]

    def model_of(self, meter: Meter) -> ModelFile:
        """The model in force for a meter."""
        return self.models[meter.id]

    def points_of(self, meter: Meter) -> tuple[Point, ...]:
        """All that is read from a meter: the quantities it lists, in that order, or its model's defaults; then the fast ones."""
        return tuple(point for _unused, points in self.schedules_of(meter) for point in points)

    def schedules_of(self, meter: Meter) -> list[tuple[int, tuple[Point, ...]]]:
        """How often a meter is read, in milliseconds, and what each time."""
        made = [(meter.every or self.site.every, polled_points(meter, self.model_of(meter)))]
        if meter.fast:
            made.append((meter.fast.every, fast_points(meter, self.model_of(meter))))
        return [(every_ms, points) for every_ms, points in made if points]

    def serial_settings(self, link_name: str) -> tuple[int, str]:
        """Baud rate and format of a serial link: its own, or what the models of all its meters agree on."""
        link = self.site.links[link_name]
        models = [self.models[meter.id] for meter in self.site.meters if meter.link == link_name]
        return int(serial_value(link, models, "baud") or 9600), str(serial_value(link, models, "format") or "8N1")

    def port_of(self, meter: Meter) -> tuple[int, str]:
        """Baud rate and format that a meter on a serial link is spoken to with: its own, else the link's."""
        baud, character = self.serial_settings(meter.link)
        return meter.baud or baud, meter.format or character


def polled_points(meter: Meter, model: ModelFile) -> tuple[Point, ...]:
    """The points of a meter's main schedule; quantities its model does not tell are left out."""
    fast = meter.fast.quantities if meter.fast else ()
    if meter.quantities:
        told = {point.quantity: point for point in model.declared.points}
        return tuple(told[quantity] for quantity in meter.quantities if quantity in told)
    return tuple(point for point in model.declared.points if point.default and point.quantity not in fast)


def fast_points(meter: Meter, model: ModelFile) -> tuple[Point, ...]:
    """The points that a meter is read more often for."""
    told = {point.quantity: point for point in model.declared.points}
    return tuple(told[quantity] for quantity in (meter.fast.quantities if meter.fast else ()) if quantity in told)


@dataclass(slots=True)
class _Draft:
    """What could be read of a site: all of it, or the links and meters that are right by themselves."""

    document: Document
    links: dict[str, Link | None]
    meters: list[tuple[int, Meter]]
    mqtt: list[tuple[int, Mqtt]]
    folders: list[str]
    timezone: str
    every: int


def load_site(path: Path | str) -> SiteFile:
    """The site in a file, checked as a whole.

    Raises:
        ConfigError: with every mistake that was found, in the order of the lines.
    """
    text = read_bytes(Path(path))
    document = read_text(text, str(path))
    site, mistakes = typed(Site, document)
    draft = _whole(site, document) if site else _pieces(document)
    models = _models(draft, Path(path).parent, mistakes)
    draft.meters[:], unreadable = _addressed(draft.meters, models)
    mistakes += [document.mistake(place, message) for place, message in (*unreadable, *_findings(draft, models))]
    if site is None or mistakes:
        raise ConfigError(mistakes)
    meters = [meter for _unused, meter in draft.meters]
    site = site.model_copy(update={"meters": tuple(meters)})
    return SiteFile(Path(path), text, site, {meter.id: models[index] for index, meter in draft.meters})


def _addressed(meters: list[tuple[int, Meter]], models: Mapping[int, ModelFile]) -> tuple[list[tuple[int, Meter]], list[Finding]]:
    """The meters with their addresses in the one spelling of their protocol, and what is wrong with addresses."""
    made: list[tuple[int, Meter]] = []
    findings: list[Finding] = []
    for index, meter in meters:
        address = meter.address
        if index in models:
            try:
                address = PROTOCOLS[models[index].declared.protocol].address(meter.address)
            except ValueError as error:
                key = ("address",) if meter.address else ()
                findings.append((("meters", index, *key), str(error)))
        made.append((index, meter.model_copy(update={"address": address})))
    return made, findings


def _whole(site: Site, document: Document) -> _Draft:
    return _Draft(
        document,
        dict(site.links),
        list(enumerate(site.meters)),
        list(enumerate(site.mqtt)),
        list(site.models),
        site.timezone,
        site.every,
    )


def _pieces(document: Document) -> _Draft:
    """The links, meters and brokers of a site that is not right as a whole, as far as they are by themselves."""
    top = document.value if isinstance(document.value, dict) else {}
    links = top.get("links")
    named = links if isinstance(links, dict) else {}
    folders = top.get("models")
    zone = top.get("timezone")
    return _Draft(
        document,
        {name: _one(Link, content, document, ("links", name)) for name, content in named.items()},
        _each(Meter, top.get("meters"), document, "meters"),
        _each(Mqtt, top.get("mqtt"), document, "mqtt"),
        [each for each in folders if isinstance(each, str)] if isinstance(folders, list) else [],
        zone if isinstance(zone, str) and ("timezone",) not in document.refused else "UTC",
        Site.model_fields["every"].default,
    )


def _one(kind: type[T], content: object, document: Document, path: tuple[str | int, ...]) -> T | None:
    if any(refused[: len(path)] == path for refused in document.refused):
        return None
    try:
        return kind.model_validate(content)
    except ValidationError:
        return None  # told already, with its place


def _each(kind: type[T], entries: object, document: Document, key: str) -> list[tuple[int, T]]:
    listed = entries if isinstance(entries, list) else []
    made = [(index, _one(kind, content, document, (key, index))) for index, content in enumerate(listed)]
    return [(index, declared) for index, declared in made if declared is not None]


def _models(draft: _Draft, beside: Path, mistakes: list[Mistake]) -> dict[int, ModelFile]:
    """The model in force for each meter, by the meter's index. Adds to the mistakes what is wrong with them."""
    document = draft.document
    for index, name in enumerate(draft.folders):
        if not (beside / name).is_dir():
            mistakes.append(
                document.mistake(("models", index), _("there is no folder {name} beside the site file", name=shown(name)))
            )
    try:
        known = find_models([folder for folder in model_folders(beside, draft.folders) if folder.is_dir()])
    except ConfigError as error:
        mistakes += error.mistakes
        return {}
    for index, name in _named_by_wrong_meters(draft, "model"):
        if name not in known:
            mistakes.append(document.mistake(("meters", index, "model"), unknown_model(name, known)))
    loaded: dict[str, ModelFile | None] = {}
    made: dict[int, ModelFile] = {}
    for index, meter in draft.meters:
        if meter.model not in known:
            mistakes.append(document.mistake(("meters", index, "model"), unknown_model(meter.model, known)))
        elif model := _load_once(meter.model, known[meter.model], loaded, mistakes):
            made[index] = with_points(model, meter.points) if is_generic(meter.model) and meter.points else model
    return made


def _named_by_wrong_meters(draft: _Draft, key: str) -> Iterator[tuple[int, str]]:
    """What meters that are wrong for another reason name as their model or link: it can be misspelt as well."""
    top = draft.document.value
    listed = top.get("meters") if isinstance(top, dict) else None
    right = {index for index, _unused in draft.meters}
    for index, content in enumerate(listed if isinstance(listed, list) else []):
        name = content.get(key) if isinstance(content, dict) else None
        place = ("meters", index, key)
        told = any(place[: len(refused)] == refused for refused in draft.document.refused)
        if index not in right and isinstance(name, str) and _NAME.fullmatch(name) and not told:
            yield index, name


def _load_once(name: str, path: Path, loaded: dict[str, ModelFile | None], mistakes: list[Mistake]) -> ModelFile | None:
    if name not in loaded:
        loaded[name] = None
        try:
            loaded[name] = load_model(path)
        except ConfigError as error:
            mistakes += error.mistakes
    return loaded[name]


def _own_point_findings(meter: Meter, model: ModelFile) -> Iterator[Finding]:
    """What is wrong with the points that a generic meter brings along, as far as they are of its model's kind."""
    if isinstance(model.declared, OpcuaModel):
        nodes = [point for point in meter.points if isinstance(point, OpcuaPoint)]
        if len(nodes) == len(meter.points):
            yield from own_nodes_findings(nodes)
        return
    registers = [point for point in meter.points if isinstance(point, ModbusPoint)]
    if len(registers) == len(meter.points):
        yield from point_findings(registers, cast("ModbusModel", model.declared).modbus)


def _findings(draft: _Draft, models: dict[int, ModelFile]) -> Iterator[Finding]:
    """All rules over what could be read."""
    try:
        zone_of(draft.timezone)
    except KeyError as error:
        yield ("timezone",), str(error.args[0])
    yield from link_findings(draft.links)
    yield from meters_findings(draft.meters, draft.links, {index: model.declared.protocol for index, model in models.items()})
    for index, name in _named_by_wrong_meters(draft, "link"):
        if name not in draft.links:
            yield ("meters", index, "link"), unknown_link(name, draft.links)
    yield from mqtt_findings(draft.mqtt)
    for index, meter in draft.meters:
        yield from points_findings(index, meter)
        if index not in models or (is_generic(meter.model) and not meter.points):
            continue
        model = models[index]
        if is_generic(meter.model):
            for path, message in _own_point_findings(meter, model):
                yield ("meters", index, *path), message
        yield from model_findings(index, meter, model, (*polled_points(meter, model), *fast_points(meter, model)))
        yield from fast_findings(index, meter, model, meter.every or draft.every)
        read = [point.quantity for point in (*polled_points(meter, model), *fast_points(meter, model))]
        yield from changes_findings(index, meter, model.declared.protocol, read)
    for name, link in draft.links.items():
        on_link = [(index, meter) for index, meter in draft.meters if meter.link == name]
        if link is not None and all(index in models for index, _unused in on_link):
            yield from format_findings(name, link, {models[index].declared.protocol for index, _unused in on_link})
            yield from serial_findings(name, link, [(meter, models[index]) for index, meter in on_link])
