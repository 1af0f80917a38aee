"""Simulated meters: a plant file at work, for tests, for the demo and for installers who want to try a site file.

Meters are made from their meter models, so a simulated one answers what the model says of the real one, and plays the
faults that the plant file writes for it. Whoever wrote a wrong model finds no fault here: the simulation believes it.

What this file does not know: registers (`agent.simulate_meter`), faults (`agent.simulate_faults`), lines
(`agent.simulate_line`).
"""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self, cast

import click

from agent.clock import Clock
from agent.simulate_line import Line, PtyLine, Station, TcpLine
from agent.simulate_meter import Meter, NotFitting, Now
from config.library import is_generic, load_models, read_bytes, unknown_model, with_points
from config.mistake import ConfigError, Mistake, did_you_mean, path_text
from config.modbus import ModbusModel
from config.model import Finding, ModelFile
from config.plant import Plant, SimulatedMeter, plant_findings
from config.registers import point_findings
from config.text import read_text
from config.typed import typed

_FRAMING = {"tcp": "Modbus TCP", "rtu": "Modbus RTU", "ascii": "Modbus ASCII"}


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
            mistakes += [document.mistake(place, message) for place, message in _model_findings(plant, models)]
    if plant is None or mistakes:
        raise ConfigError(mistakes)
    return plant


def _model_findings(plant: Plant, models: Mapping[str, ModelFile]) -> Iterator[Finding]:
    """What is wrong between a plant's meters and their models."""
    for index, declared in enumerate(plant.meters):
        place = ("meters", index)
        if declared.model not in models:
            yield (*place, "model"), unknown_model(declared.model, models)
            continue
        if is_generic(declared.model) and not declared.points:
            yield place, f"points is missing: {declared.model} knows no registers; write them as in a site file"
            continue
        if declared.points and not is_generic(declared.model):
            yield (*place, "points"), f"only generic models take points; {declared.model} has its own: take points out"
            continue
        wrong = list(point_findings(declared.points, cast("ModbusModel", models[declared.model].declared).modbus))
        yield from (((*place, *path), message) for path, message in wrong)
        if not wrong:
            yield from _meter_findings(place, declared, models[declared.model])


def _meter_findings(place: tuple[str, int], declared: SimulatedMeter, model: ModelFile) -> Iterator[Finding]:
    try:
        _meter(declared, model, Clock())
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


def _meter(declared: SimulatedMeter, model: ModelFile, clock: Now) -> Meter:
    chosen = with_points(model, declared.points) if declared.points else model
    return Meter(declared, cast("ModbusModel", chosen.declared), clock)


class Simulator:
    """The meters of a plant, answering while the `async with` block lasts.

    Args:
        plant: what to simulate.
        models: the meter models by name, such as `config.library.load_models()` gives.
        run_dir: where the links to ptys are made; it is made if it is not there.
        clock: where the meters take their time from; the machine's clock unless given.

    Attributes:
        played: the faults that struck, in order: meter, number of the request to it (from 1), kind.

    Raises:
        ConfigError: the plant and the models do not fit; or, when entered, a TCP port or a pty's name is taken.
    """

    def __init__(self, plant: Plant, models: Mapping[str, ModelFile], run_dir: Path, clock: Now | None = None) -> None:
        findings = [*plant_findings(plant), *_model_findings(plant, models)]
        if findings:
            raise ConfigError(Mistake("plant", 0, 0, path_text(path), message) for path, message in findings)
        self.plant = plant
        self.played: list[tuple[str, int, str]] = []
        self._run_dir = run_dir
        self._lines: dict[str, Line] = {}
        for name, listen in plant.listen.items():
            on_tcp = listen.tcp is not None
            self._lines[name] = TcpLine(name, listen, self.played) if on_tcp else PtyLine(name, listen, self.played, run_dir)
        self._stations: dict[str, Station] = {}
        for declared in plant.meters:
            station = Station(_meter(declared, models[declared.model], clock or Clock()))
            self._stations[declared.id] = station
            self._lines[declared.on].stations[declared.address] = station

    async def __aenter__(self) -> Self:
        self._run_dir.mkdir(parents=True, exist_ok=True)
        try:
            for name in self._lines:
                await self.plug(name)
        except BaseException:
            await self._unplug_all()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._unplug_all()

    async def _unplug_all(self) -> None:
        for line in self._lines.values():
            await line.unplug()

    # --- lines: all of these raise KeyError for a name that is not under `listen` ------------------------------

    def address_of(self, name: str) -> str:
        """Where a line answers: `host:port`, or the path of the link to its pty."""
        return self._lines[name].address

    async def plug(self, name: str) -> None:
        """Lets a line answer (again), at the address it had. Raises ConfigError if that is taken."""
        try:
            await self._lines[name].plug()
        except OSError as error:
            message = f"{self.address_of(name)} cannot be used: {error.strerror or error}"
            raise ConfigError([Mistake("plant", 0, 0, f"listen.{name}", message)]) from None

    async def unplug(self, name: str) -> None:
        """Takes a line away: nobody can connect, and who was connected is cut off."""
        await self._lines[name].unplug()

    async def drop_connections(self, name: str) -> None:
        """Cuts off who is connected; the line goes on answering."""
        await self._lines[name].drop_connections()

    # --- meters: all of these raise KeyError for an id or a name that there is not ------------------------------

    def meter(self, meter_id: str) -> Meter:
        """A meter at work."""
        return self._stations[meter_id].meter

    def requests(self, meter_id: str) -> int:
        """How many requests a meter has got."""
        return self._stations[meter_id].requests

    def truth(self, meter_id: str, quantity: str) -> str:
        """The value a meter's registers state now, plate ratios applied, in the quantity's unit; or `missing`."""
        return self.meter(meter_id).truth(quantity)

    def hold(self, meter_id: str, name: str, value: str) -> None:
        """Keeps a quantity, or a register of the model's identity or attest such as `serial`, at a value.

        `missing` gives what the model says stands for "not available". Raises ValueError if the value does not fit.
        """
        self.meter(meter_id).hold(name, value)

    def release(self, meter_id: str, name: str) -> None:
        """Lets what was held move again."""
        self.meter(meter_id).release(name)


def site_for(plant: Plant, simulator: Simulator, gateway: str = "demo/simulated") -> str:
    """The text of a site file that fits a running simulator: its links, its meters, every 5 seconds."""
    lines = ["# A site file for simulated meters, made by meterseal.", f"gateway: {gateway}", "every: 5s", "links:"]
    for name, listen in plant.listen.items():
        address = json.dumps(simulator.address_of(name))
        place = f"tcp: {address}" if listen.tcp else f"serial: {address}, baud: {listen.baud or 9600}, format: 8N1"
        framing = "" if listen.framing is None else f", framing: {listen.framing}"
        lines.append(f"  {name}: {{{place}{framing}}}")
    lines.append("meters:")
    lines += [_site_meter(simulator.meter(declared.id)) for declared in plant.meters]
    return "\n".join(lines) + "\n"


def _site_meter(meter: Meter) -> str:
    declared = meter.declared
    keys = {"id": declared.id, "link": declared.on, "model": declared.model, "address": str(declared.address)}
    text = "  - {" + ", ".join(f"{key}: {json.dumps(value)}" for key, value in keys.items())
    text += f", serial: {json.dumps(meter.serial)}"
    for key, ratio in (("ct", declared.ct), ("vt", declared.vt)):
        if any(point.ratio in (key, "ct_vt") for point in meter.model.points):
            text += f", {key}: {json.dumps(ratio or '1')}"
    if declared.points:
        points = [point.model_dump(mode="json", exclude_defaults=True) for point in declared.points]
        text += f", points: {json.dumps(points, ensure_ascii=False)}"
    return text + "}"


async def run_plant(path: Path, run_dir: Path, stop_event: asyncio.Event | None = None) -> None:
    """Simulates a plant until the event is set (without one: until SIGINT or SIGTERM), telling which meter answers where.

    A site file that fits is written to `simulated-site.yaml` in the run directory.

    Raises:
        ConfigError: mistakes in the plant file, or an address that is taken.
        OSError: the run directory cannot be written.
    """
    stop = stop_event or _stopped_by_signal()
    models = load_models()
    plant = load_plant(path, models)
    async with Simulator(plant, models, run_dir) as simulator:
        for name, listen in plant.listen.items():
            speed = f" at {listen.baud} baud" if listen.baud else ""
            click.echo(f"{simulator.address_of(name)}  ({name}, {_FRAMING[listen.frames]}{speed})")
            for declared in plant.meters:
                if declared.on == name:
                    serial = simulator.meter(declared.id).serial
                    click.echo(f"  address {declared.address:>3}  {declared.id:<12} {declared.model}, serial number {serial}")
        site = run_dir / "simulated-site.yaml"  # never site.yaml, which may be a person's own work
        site.write_text(site_for(plant, simulator), "utf-8")
        click.echo(f"A site file that fits: {site}  (meterseal run --site {site}). Stop with Ctrl-C.")
        await stop.wait()


def _stopped_by_signal() -> asyncio.Event:
    """An event that SIGINT and SIGTERM set, so that links to ptys are taken away before the program ends."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop
