"""Captured traffic run through the drivers again: where today's results are others than those that were sealed. Pure.

Of every frame that failed it is found out again why it failed, of every other one that it is still taken; of every value what
the frames say now. The model is the one that was in force; where the model of that name has been changed since, its answer is
told as well. So a field report becomes a test: the bundle is kept, and replayed after a change.

What this file does not know: signatures (`agent.verify`), zip files (`agent.cli_dump`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from agent.declaration import Declaration, frames_of
from agent.evidence import Evidence
from agent.reading import Value, values_of
from agent.record import RecordError, parse
from config.language import _
from config.library import read_model
from config.mistake import ConfigError
from config.model import MeterModel, ModelFile
from drivers import Driver, Exchange, Instant, load
from drivers.debt import checked
from drivers.errors import BadFrame, FormulaError

_NEVER = Instant(0, 0)
_FRAMELESS = ("no_connection", "connection_lost", "no_port", "port_lost", "not_open")  # faults of a link, not of a frame


@dataclass(frozen=True, slots=True)
class Difference:
    """Where a record says something else than the drivers do now.

    Attributes:
        n, meter: the record and its meter.
        what: the quantity, or `frame 3`.
        then, now: what was sealed, and what comes out now.
    """

    n: int
    meter: str
    what: str
    then: str
    now: str


@dataclass(slots=True)
class Replayed:
    """What became of a bundle.

    Attributes:
        records, frames, values: how many were run through again.
        skipped: records that could not be, with why.
    """

    records: int = 0
    frames: int = 0
    values: int = 0
    skipped: tuple[str, ...] = ()


def replay(
    lines: Iterable[bytes], models: Mapping[str, bytes], shipped: Callable[[str], ModelFile | None], done: Replayed
) -> Iterator[Difference]:
    """The differences, in the order of the records.

    Args:
        lines: records as sealed, each meter's declaration in front of what it is for.
        models: the model files by digest.
        shipped: the model of a name as it is now; None where there is none.
        done: counts what was run through.
    """
    evidence = Evidence(models, load, read_model, alone=True)
    for line in lines:
        try:
            fields = parse(line)
        except RecordError as error:
            done.skipped += (_("a line is no record: {error}", error=error),)
            continue
        meter = str(fields["meter"]["id"])
        if fields["kind"] == "meter":
            for _kind, why in evidence.declare(fields["n"], fields, ""):
                done.skipped += (f"{meter}: {why}",)
            continue
        declaration = evidence.in_force.get(meter)
        if declaration is None or declaration.target is None or declaration.driver is None or "frames" not in fields:
            continue
        done.records += 1
        yield from _frames(fields, declaration.driver, declaration.target.framing, done)
        if "values" in fields:
            yield from _values(fields, declaration, done)
            newer = shipped(declaration.target.model.model)
            if newer and newer.digest != declaration.fields["digest"]:
                yield from _newer(fields, declaration, newer.declared)


def _frames(fields: Mapping[str, Any], driver: Driver, framing: str, done: Replayed) -> Iterator[Difference]:
    for number, frame in enumerate(fields["frames"]):
        then = frame.get("fault", "")
        if then in _FRAMELESS:
            continue
        done.frames += 1
        request, answer = bytes.fromhex(frame["request"]), bytes.fromhex(frame["answer"])
        now = _fault(driver, request, answer, framing)
        if now != then:
            yield Difference(
                fields["n"], fields["meter"]["id"], _("frame {number}", number=number), then or _("taken"), now or _("taken")
            )


def _fault(driver: Driver, request: bytes, answer: bytes, framing: str) -> str:
    """Why an answer is none to a request, by today's driver; empty where it is one."""
    error = checked(driver, request, answer, framing)
    if error is None:
        return ""
    span = driver.answer_span(request, answer, framing)
    if isinstance(error, BadFrame) and (span is None or answer[slice(*span)] != answer):
        return driver.fault(request, answer, framing)[0]
    return error.cause


def _values(fields: Mapping[str, Any], declaration: Declaration, done: Replayed) -> Iterator[Difference]:
    now = {value.quantity: value.fields() for value in _read(fields, declaration, None)}
    for then in fields["values"]:
        name = then["quantity"]
        done.values += 1
        if "value" not in then and "value" not in now.get(name, {}):
            continue  # why there is none depends on tries that are not all sealed
        if now.get(name) != then:
            yield Difference(fields["n"], fields["meter"]["id"], name, _shown(then), _shown(now.get(name, {})))


def _newer(fields: Mapping[str, Any], declaration: Declaration, model: MeterModel) -> Iterator[Difference]:
    """What the model of the same name says today."""
    now = {value.quantity: value.fields() for value in _read(fields, declaration, model)}
    for then in fields["values"]:
        told = now.get(then["quantity"], {})
        if then.get("value") != told.get("value"):
            revision = _("by revision {revision} of {model}", revision=model.revision, model=model.model)
            what = f"{then['quantity']} ({revision})"
            yield Difference(fields["n"], fields["meter"]["id"], what, _shown(then), _shown(told))


def _read(fields: Mapping[str, Any], declaration: Declaration, model: MeterModel | None) -> tuple[Value, ...]:
    assert declaration.target  # noqa: S101  asked by who calls
    assert declaration.driver  # noqa: S101  the same
    target = declaration.target
    wanted = [value["quantity"] for value in fields["values"]]
    points = declaration.points
    if model:
        target = replace(target, model=model)
        points = {point.quantity: point for point in model.points}
    frames = frames_of(fields, declaration)
    exchanges = [
        Exchange(request, answer, _NEVER, _NEVER, _NEVER, BadFrame(fault, fault) if fault else None)
        for request, answer, fault in zip(frames.plain, frames.answers, frames.faults, strict=True)
    ]
    try:
        return values_of(declaration.driver, target, [points[name] for name in wanted if name in points], exchanges)
    except (FormulaError, ConfigError):
        return ()


def _shown(value: Mapping[str, Any]) -> str:
    if not value:
        return "nothing"
    if "value" not in value:
        return _("no value ({cause})", cause=value.get("cause", ""))
    doubt = f", {value['quality']}: {value['cause']}" if "quality" in value else ""
    return f"{value['value']} {value['unit']} ({value.get('formula', '')}{doubt})"
