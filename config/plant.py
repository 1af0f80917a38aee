"""The plant file: simulated meters, where they listen, what load hangs on them and which faults they play.

Used by tests, by the demo and by installers who want to try a site file before they stand in the hall. Load and
counters are stated as records state them: in the quantity's unit, on the primary side.

What this file does not know: what a fault looks like on the wire (`agent.simulate_faults`), what a meter tells and which
protocol it speaks (its meter model), and so which addresses and faults there are (`agent.simulate_plant`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from config.language import _
from config.mistake import did_you_mean, shown
from config.modbus import ModbusPoint
from config.model import Declared, Finding
from config.quantity import quantity_of
from config.scalar import Exact, Name, PlainText, PlateRatio, QuantityName, Whole, YesNo
from config.site import Address, Endpoint, Framing, UsedName

FaultKind = Literal[
    "late",
    "short",
    "short_data",
    "wrong_unit",
    "wrong_function",
    "wrong_transaction",
    "noise",
    "echo",
    "exception",
    "silence",
    "slow",
    "checksum",
    "trailing",
]
Milliseconds = Annotated[Whole, Field(ge=0, le=600_000)]
Nth = Annotated[Whole, Field(ge=1)]


class Listen(Declared):
    """Where simulated meters answer: a TCP address or a pseudo-terminal."""

    tcp: Endpoint | None = None
    """host:port; port 0 takes any free one."""
    pty: Name | None = None
    """Name of a link to a pseudo-terminal, made in the run directory."""
    framing: Framing | None = None
    """How Modbus is framed: tcp (Modbus TCP), rtu or ascii; without it tcp on TCP and rtu on a pty."""
    baud: Annotated[Whole, Field(ge=0, le=921_600)] = 0
    """Speed at which bytes leave, as on RS-485; a pty set to another speed hears nothing. 0: as fast as they can, at any."""

    @property
    def frames(self) -> Framing:
        """The framing in force."""
        return self.framing or ("tcp" if self.tcp else "rtu")


class Fault(Declared):
    """One scripted fault of a meter; exactly one of `every`, `at` and `chance` says when it strikes."""

    kind: FaultKind
    """What happens; the kinds are told in agent/simulate_faults.py."""
    every: Nth | None = None
    """Each so many requests to the meter."""
    at: tuple[Nth, ...] = ()
    """The requests it strikes, counted from 1."""
    chance: Annotated[Exact, Field(ge=0, le=1)] | None = None
    """0.1 strikes every tenth request on average, the same ones for the same seed."""
    delay_ms: Milliseconds | None = None
    """How late an answer is (500 without it); the gap between the bytes of a slow one (20)."""
    count: Annotated[Whole, Field(ge=1, le=250)] | None = None
    """Bytes that are cut off (2 without it) or put in front or behind (3); registers too few (1)."""
    code: Annotated[Whole, Field(ge=1, le=255)] = 4
    """The code of an exception, as its protocol counts them."""


class SimulatedMeter(Declared):
    """One simulated meter."""

    id: Name
    """Its name."""
    on: UsedName
    """Where it answers, as named under listen."""
    model: UsedName
    """Its model: the name of a file in config/models."""
    address: Address
    """Its address, as in a site file."""
    baud: Annotated[Whole, Field(ge=0, le=921_600)] = 0
    """Its speed on a pty that carries meters of several speeds; 0: the line's."""
    serial: PlainText = ""
    """Its serial number; one is made up from the id if it is missing."""
    ct: PlateRatio | None = None
    """Current transformer ratio, where its model tells secondary values."""
    vt: PlateRatio | None = None
    """Voltage transformer ratio, where its model tells secondary values."""
    points: tuple[ModbusPoint, ...] = ()
    """For generic models only: the meter's registers."""
    load: dict[QuantityName, Exact] = Field(default_factory=dict)
    """Averages: a power, a flow, or for a counter its rise in an hour."""
    start: dict[QuantityName, Exact] = Field(default_factory=dict)
    """Where its counters stand in the beginning."""
    hold: dict[str, PlainText] = Field(default_factory=dict)
    """Quantities, and registers of the model's identity and attest, that stay at one value; missing: not available."""
    frozen: YesNo = False
    """true: every value stays as it is in the beginning."""
    seed: Whole = 0
    """Of its noise and its chances."""
    answer_ms: Milliseconds = 0
    """How long it takes to begin an answer."""
    faults: tuple[Fault, ...] = ()
    """What goes wrong, and when."""


class Plant(Declared):
    """A whole plant file."""

    listen: Annotated[dict[Name, Listen], Field(min_length=1)]
    """Where meters answer, by name."""
    meters: Annotated[tuple[SimulatedMeter, ...], Field(min_length=1)]
    """The meters."""


def accumulates(quantity: str) -> bool:
    """Whether a quantity sums up over time: counters, and net sums, which may also fall."""
    return quantity_of(quantity).kind == "counter" or quantity.partition(".")[0].endswith("_net")


def plant_findings(plant: Plant) -> Iterator[Finding]:
    """What is wrong in a plant although every key is well formed: the path of keys to the place, and a sentence."""
    for name, listen in plant.listen.items():
        if (listen.tcp is None) == (listen.pty is None):
            yield ("listen", name), _("write either  tcp: 127.0.0.1:0  or  pty: line-1, one of the two")
        elif listen.frames == "tcp" and listen.pty:
            yield ("listen", name, "framing"), _("a pty carries rtu or ascii; tcp goes with a TCP address")
    ptys = [listen.pty for listen in plant.listen.values() if listen.pty]
    for name, listen in plant.listen.items():
        if listen.pty and ptys.count(listen.pty) > 1:
            yield ("listen", name, "pty"), _("{pty} stands twice; give each pty a name of its own", pty=listen.pty)
    yield from _meter_findings(plant)


def _meter_findings(plant: Plant) -> Iterator[Finding]:
    ids: set[str] = set()
    for index, meter in enumerate(plant.meters):
        if meter.id in ids:
            yield ("meters", index, "id"), _("{id} stands twice; give each meter an id of its own", id=meter.id)
        ids.add(meter.id)
        for name in meter.start:
            if not accumulates(name):
                yield ("meters", index, "start", name), _("{name} is no counter; write it under load or hold", name=name)
        if meter.on not in plant.listen:
            message = _(
                "{name} is not under listen.{hint}", name=shown(meter.on), hint=did_you_mean(meter.on, plant.listen)
            ).rstrip(".。")
            yield ("meters", index, "on"), message
        for number, fault in enumerate(meter.faults):
            if sum((fault.every is not None, bool(fault.at), fault.chance is not None)) != 1:
                yield ("meters", index, "faults", number), _("say when: exactly one of  every: 50,  at: [3, 4]  and  chance: 0.1")
