"""Simulated meters: a plant file at work, for tests, for the demo and for installers who want to try a site file.

Meters are made from their meter models, so a simulated one answers what the model says of the real one, and plays the
faults that the plant file writes for it. Whoever wrote a wrong model finds no fault here: the simulation believes it.

What this file does not know: protocols (`agent.simulate_protocols`), faults (`agent.simulate_faults`), lines
(`agent.simulate_line`), and which plants make sense (`agent.simulate_plant`).
"""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import click

from agent.clock import Clock
from agent.simulate_group import Station
from agent.simulate_instrument import Now
from agent.simulate_line import Line, PtyLine, TcpLine
from agent.simulate_plant import fitting_findings, load_plant, meter_of
from agent.simulate_protocols import AnsweringMeter
from config.language import _
from config.library import load_models
from config.mistake import ConfigError, Mistake, path_text
from config.model import ModelFile
from config.plant import Plant, plant_findings
from config.protocols import spoken
from config.system_words import reason_of

__all__ = ["Simulator", "load_plant", "run_plant", "site_for"]


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
        findings = [*plant_findings(plant), *fitting_findings(plant, models)]
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
            station = Station(meter_of(declared, models[declared.model], clock or Clock()))
            self._stations[declared.id] = station
            self._lines[declared.on].attach(station)
        for line in self._lines.values():
            if not line.groups:
                line.group("modbus")  # where no meter hangs, a gateway still says that nobody is there

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
            message = _("{address_of} cannot be used: {strerror}", address_of=self.address_of(name), strerror=reason_of(error))
            raise ConfigError([Mistake("plant", 0, 0, f"listen.{name}", message)]) from None

    async def unplug(self, name: str) -> None:
        """Takes a line away: nobody can connect, and who was connected is cut off."""
        await self._lines[name].unplug()

    async def drop_connections(self, name: str) -> None:
        """Cuts off who is connected; the line goes on answering."""
        await self._lines[name].drop_connections()

    # --- meters: all of these raise KeyError for an id or a name that there is not ------------------------------

    def meter(self, meter_id: str) -> Any:
        """A meter at work, an object of its protocol's own class."""
        return self._stations[meter_id].meter

    def requests(self, meter_id: str) -> int:
        """How many requests a meter has got."""
        return self._stations[meter_id].requests

    def truth(self, meter_id: str, quantity: str) -> str:
        """The value a meter's registers state now, plate ratios applied, in the quantity's unit; or `missing`."""
        return self._stations[meter_id].meter.truth(quantity)

    def hold(self, meter_id: str, name: str, value: str) -> None:
        """Keeps a quantity, or a register of the model's identity or attest such as `serial`, at a value.

        `missing` gives what the model says stands for "not available". Raises ValueError if the value does not fit.
        """
        self._stations[meter_id].meter.hold(name, value)

    def release(self, meter_id: str, name: str) -> None:
        """Lets what was held move again."""
        self._stations[meter_id].meter.release(name)


def site_for(plant: Plant, simulator: Simulator, gateway: str = "demo/simulated") -> str:
    """The text of a site file that fits a running simulator: its links, its meters, every 5 seconds."""
    lines = [_("# A site file for simulated meters, made by meterseal."), f"gateway: {gateway}", "every: 5s", "links:"]
    for name, listen in plant.listen.items():
        address = json.dumps(simulator.address_of(name))
        place = f"tcp: {address}" if listen.tcp else f"serial: {address}, baud: {listen.baud or 9600}, format: 8N1"
        framing = "" if listen.framing is None else f", framing: {listen.framing}"
        lines.append(f"  {name}: {{{place}{framing}}}")
    lines.append("meters:")
    lines += [_site_meter(simulator.meter(declared.id)) for declared in plant.meters]
    return "\n".join(lines) + "\n"


def _site_meter(meter: AnsweringMeter) -> str:
    declared = meter.declared
    keys = {"id": declared.id, "link": declared.on, "model": declared.model, "address": str(declared.address)}
    text = "  - {" + ", ".join(f"{key}: {json.dumps(value)}" for key, value in keys.items())
    text += f", serial: {json.dumps(meter.serial)}"
    if declared.baud:
        text += f", baud: {declared.baud}, format: 8N1"
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
        for name in plant.listen:
            click.echo(f"{simulator.address_of(name)}  ({name}, {_carried(plant, name, models)})")
            for meter in (simulator.meter(declared.id) for declared in plant.meters if declared.on == name):
                declared = meter.declared
                click.echo(
                    _(
                        "  address {address:>3}  {id:<12} {model}, serial number {serial}",
                        address=declared.address,
                        id=declared.id,
                        model=declared.model,
                        serial=meter.serial,
                    )
                )
        site = run_dir / "simulated-site.yaml"  # never site.yaml, which may be a person's own work
        site.write_text(site_for(plant, simulator), "utf-8")
        click.echo(_("A site file that fits: {site}  (meterseal run --site {site}). Stop with Ctrl-C.", site=site))
        await stop.wait()


def _carried(plant: Plant, name: str, models: Mapping[str, ModelFile]) -> str:
    """The protocols and speeds on a line, as electricians call them."""
    listen = plant.listen[name]
    meters = [(models[each.model].declared.protocol, each.baud or listen.baud) for each in plant.meters if each.on == name]
    told = []
    for protocol, baud in dict.fromkeys(meters or [("modbus", listen.baud)]):
        title = spoken(protocol, listen.frames)
        told.append(_("{title} at {baud} baud", title=title, baud=baud) if baud else title)
    return ", ".join(told)


def _stopped_by_signal() -> asyncio.Event:
    """An event that SIGINT and SIGTERM set, so that links to ptys are taken away before the program ends."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop
