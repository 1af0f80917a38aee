"""Plant files read and checked against the meter models: what a plant says that no simulated meter can do.

What this file does not know: lines and frames.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import cast

from agent.clock import Clock
from agent.simulate_faults import COMMON
from agent.simulate_instrument import NotFitting, Now
from agent.simulate_meter import Meter
from agent.simulate_protocols import SIMULATED, AnsweringMeter, is_simulated
from config.language import _
from config.library import is_generic, read_bytes, unknown_model, with_points
from config.mistake import ConfigError, did_you_mean
from config.mistake import Path as Place
from config.modbus import ModbusModel
from config.model import Finding, ModelFile
from config.plant import Listen, Plant, SimulatedMeter, plant_findings
from config.protocols import PROTOCOLS
from config.registers import point_findings
from config.text import read_text
from config.typed import typed


def load_plant(path: Path | str, models: Mapping[str, ModelFile] | None = None) -> Plant:
    """The plant in a file; with `models`, also checked against them.

    Raises:
        ConfigError: with every mistake that was found, in the order of the lines.
    """
    document = read_text(read_bytes(Path(path)), str(path))
    plant, mistakes = typed(Plant, document)
    if plant is not None:
        mistakes += [document.mistake(place, message) for place, message in plant_findings(plant)]
        if models is not None:
            mistakes += [document.mistake(place, message) for place, message in fitting_findings(plant, models)]
    if plant is None or mistakes:
        raise ConfigError(mistakes)
    return plant


def meter_of(declared: SimulatedMeter, model: ModelFile, clock: Now) -> AnsweringMeter:
    """A simulated meter at work, its address in the one spelling of its protocol.

    Raises:
        KeyError: `start` or `hold` names what the model does not have.
        NotFitting: something does not fit into the meter.
        ValueError: its address is none.
    """
    protocol = model.declared.protocol
    declared = declared.model_copy(update={"address": PROTOCOLS[protocol].address(declared.address)})
    if protocol == "modbus":
        chosen = with_points(model, declared.points) if declared.points else model
        return Meter(declared, cast("ModbusModel", chosen.declared), clock)
    return SIMULATED[protocol].meter(declared, model.declared, clock)


def fitting_findings(plant: Plant, models: Mapping[str, ModelFile]) -> Iterator[Finding]:
    """What is wrong between a plant's meters, their lines and their models."""
    places: dict[tuple[str, str, str], str] = {}
    speaking = [(meter.on, models[meter.model].declared.protocol) for meter in plant.meters if meter.model in models]
    for index, declared in enumerate(plant.meters):
        place = ("meters", index)
        if declared.model not in models:
            yield (*place, "model"), unknown_model(declared.model, models)
            continue
        model = models[declared.model]
        protocol = model.declared.protocol
        if not is_simulated(model.declared):
            yield (*place, "model"), _("there are no simulated meters that speak {title}", title=PROTOCOLS[protocol].title)
            continue
        try:
            address = PROTOCOLS[protocol].address(declared.address)
        except ValueError as error:
            yield (*place, "address") if declared.address else place, str(error)
            continue
        other = places.setdefault((declared.on, protocol, address), declared.id)
        if other != declared.id:
            yield (
                (*place, "address"),
                _("address {address} on {on} is already that of {other}", address=address, on=declared.on, other=other),
            )
        listen = plant.listen.get(declared.on)
        if listen is not None:
            yield from _line_findings(place, declared, listen, protocol, (declared.on, "modbus") in speaking)
        yield from _model_findings(place, declared, model)


def _line_findings(place: Place, declared: SimulatedMeter, listen: Listen, protocol: str, modbus_too: bool) -> Iterator[Finding]:
    """What is wrong between a meter and its line, and faults that it cannot play there."""
    tcp = listen.frames == "tcp"
    if declared.baud and not listen.pty:
        yield (*place, "baud"), _("only on a pty have meters speeds of their own; take baud out")
    if tcp and modbus_too and protocol != "modbus":
        title = PROTOCOLS[protocol].title
        yield (
            (*place, "on"),
            _("{on} is Modbus TCP, which carries no {title}; write  framing: rtu  under listen", on=declared.on, title=title),
        )
    for number, fault in enumerate(declared.faults):
        kind = (*place, "faults", number, "kind")
        if protocol != "modbus":
            played = (*COMMON, *SIMULATED[protocol].faults)
            if fault.kind not in played:
                yield (
                    kind,
                    _(
                        "{title} meters do not play {kind}; they play {played}",
                        title=PROTOCOLS[protocol].title,
                        kind=fault.kind,
                        played=", ".join(played),
                    ),
                )
        elif fault.kind == "wrong_transaction" and not tcp:
            yield kind, _("only Modbus TCP has transaction numbers; take wrong_unit or late here")
        elif fault.kind == "checksum" and tcp:
            yield kind, _("Modbus TCP has no checksum; take short or wrong_transaction here")


def _model_findings(place: Place, declared: SimulatedMeter, model: ModelFile) -> Iterator[Finding]:
    """What is wrong between a meter and its model."""
    if is_generic(declared.model) and not declared.points:
        yield place, _("points is missing: {model} knows no registers; write them as in a site file", model=declared.model)
    elif declared.points and not is_generic(declared.model):
        yield (
            (*place, "points"),
            _("only generic models take points; {model} has its own: take points out", model=declared.model),
        )
    else:
        wrong = list(point_findings(declared.points, cast("ModbusModel", model.declared).modbus)) if declared.points else []
        yield from (((*place, *path), message) for path, message in wrong)
        if not wrong:
            yield from _meter_findings(place, declared, model)


def _meter_findings(place: Place, declared: SimulatedMeter, model: ModelFile) -> Iterator[Finding]:
    try:
        meter_of(declared, model, Clock())
    except KeyError as error:
        name = str(error.args[0])
        key = "start" if name in declared.start else "hold"
        watched = () if key == "start" else (*model.declared.identity, *model.declared.attest)
        known = [*(point.quantity for point in model.declared.points), *(watch.name for watch in watched)]
        yield (*place, key, name), f"{declared.model} does not tell {name}.{did_you_mean(name, known)}".removesuffix(".")
    except NotFitting as error:
        if error.name in declared.hold:
            yield (*place, "hold", error.name), str(error)
        else:
            yield (*place, "serial") if error.name.startswith("serial") else place, str(error)
