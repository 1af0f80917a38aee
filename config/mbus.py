"""Wired M-Bus (EN 13757-2 and -3) in a model file: which record of a telegram is meant, and what a meter bears.

A meter sends all its records at once and each says what it is, so a place names a record by what it says: its kind,
whether it is an instantaneous value, a minimum, a maximum or one from an error, and its storage, tariff and subunit
numbers. Decimal point and unit stand in the telegram too; they are never written here.

What this file does not know: bytes. The words here are those of the tables in `drivers.mbus_vif`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal, get_args

from pydantic import Field

from config.language import N_, _
from config.map_rules import map_findings
from config.mistake import Path, shown
from config.model import Declared, Finding, MeterModel, Place, Point, Watch
from config.scalar import FreeText, Shape, Whole

# What a record can measure, and the units of the project that the driver converts it to. Older meters have no codes for
# reactive and apparent quantities: they send them as energy and power of another subunit.
UNITS: dict[str, tuple[str, ...]] = {
    "energy": ("kWh", "kvarh", "kVAh"),
    "reactive_energy": ("kvarh",),
    "apparent_energy": ("kVAh",),
    "volume": ("m3",),
    "mass": ("t",),
    "power": ("W", "kW", "var", "VA"),
    "reactive_power": ("var",),
    "apparent_power": ("VA",),
    "volume_flow": ("m3/h",),
    "mass_flow": ("t/h",),
    "flow_temperature": ("Cel",),
    "return_temperature": ("Cel",),
    "external_temperature": ("Cel",),
    "temperature": ("Cel",),
    "temperature_difference": ("K",),
    "pressure": ("bar",),
    "on_time": ("h",),
    "operating_time": ("h",),
    "voltage": ("V",),
    "current": ("A",),
    "frequency": ("Hz",),
    "phase_voltage_angle": ("deg",),
    "phase_current_angle": ("deg",),
    "relative_humidity": ("%",),
    "heat_cost_units": ("1",),
}
# Numbers whose unit the telegram does not tell: `scale` makes them what the quantity says.
BARE = ("dimensionless", "manufacturer", "text")

Kind = Literal[
    "energy",
    "reactive_energy",
    "apparent_energy",
    "volume",
    "mass",
    "power",
    "reactive_power",
    "apparent_power",
    "volume_flow",
    "mass_flow",
    "flow_temperature",
    "return_temperature",
    "external_temperature",
    "temperature",
    "temperature_difference",
    "pressure",
    "on_time",
    "operating_time",
    "voltage",
    "current",
    "frequency",
    "phase_voltage_angle",
    "phase_current_angle",
    "relative_humidity",
    "dimensionless",
    "heat_cost_units",
    "manufacturer",
    "text",
    "fabrication_number",
    "identification",
    "bus_address",
    "device_type",
    "maker_code",
    "parameter_set",
    "model_version",
    "hardware_version",
    "firmware_version",
    "software_version",
    "customer_location",
    "customer",
    "error_flags",
    "error_mask",
    "digital_input",
    "digital_output",
    "reset_counter",
    "cumulation_counter",
    "header_number",
    "header_manufacturer",
    "header_version",
    "header_medium",
    "header_status",
]
Function = Literal["instantaneous", "maximum", "minimum", "error"]
Qualifier = Literal[
    "phase_l1",
    "phase_l2",
    "phase_l3",
    "neutral",
    "phase_l1l2",
    "phase_l2l3",
    "phase_l3l1",
    "quadrant_q1",
    "quadrant_q2",
    "quadrant_q3",
    "quadrant_q4",
    "import_less_export",
    "forward",
    "backward",
    "absolute",
    "to_meter",
    "from_meter",
    "at_base_conditions",
    "uncorrected",
    "leakage",
    "overflow",
    "future",
    "average",
    "standard_conform",
]

_MAKER_LETTERS = Shape(r"[A-Z]{3}", N_("is not a maker's three letters, such as KAM"))
_Byte = Annotated[Whole, Field(ge=0, le=255)]


class MbusAt(Place):
    """Which record holds a value, by what the record says of itself."""

    kind: Kind
    """What it measures, such as energy, volume, flow_temperature; header_... are fields in front of the records."""
    function: Function = "instantaneous"
    """instantaneous, maximum, minimum, or error for a value kept from a fault."""
    storage: Annotated[Whole, Field(ge=0, le=(1 << 41) - 1)] = 0
    """Storage number: 0 is the present value, others are set days and months."""
    tariff: Annotated[Whole, Field(ge=0, le=(1 << 20) - 1)] = 0
    """Tariff number; 0 is the total."""
    subunit: Annotated[Whole, Field(ge=0, le=1023)] = 0
    """Subunit of the meter; some makers count phases or inputs by it."""
    nth: Annotated[Whole, Field(ge=0, le=200)] = 0
    """0: only one such record may stand in the telegram. 1: the first of several, 2: the second, and so on."""
    qualifiers: tuple[Qualifier, ...] = ()
    """What the record adds to its kind, in any order, such as phase_l1 or backward."""
    maker: Annotated[str, Shape(r"([0-9a-fA-F]{2}){0,10}", N_("is not hexadecimal; write pairs of digits such as 01"))] | None = (
        None
    )
    """The bytes that the maker has put behind its mark (VIF or VIFE 7F or FF), as hexadecimal digits, such as 01 for phase 1
    with Saia and Finder. Not given: the record has no such mark."""
    text: FreeText = ""
    """For kind text: the unit as the meter writes it, such as %RH."""


class MbusPoint(Point):
    """One quantity of an M-Bus meter and the record it is read from."""

    at: MbusAt
    """Which record tells it."""


class MbusWatch(Watch):
    """A record or a field of the header that identifies the meter or that changes what its counters mean."""

    at: MbusAt
    """Which record or field it is."""


class MbusHeader(Declared):
    """What must stand in front of the records for this model to be the right one."""

    manufacturer: tuple[Annotated[str, _MAKER_LETTERS], ...] = ()
    """Three letters of the maker, such as KAM; several where one meter is sold under several names."""
    version: tuple[_Byte, ...] = ()
    """Generations of the meter, 0 to 255."""
    medium: tuple[_Byte, ...] = ()
    """Media by their codes, such as 2 electricity, 4 heat, 7 water."""


class MbusLimits(Declared):
    """What one M-Bus meter bears."""

    header: MbusHeader = MbusHeader()
    """What the header must say; nothing is read from the telegram of another meter."""
    timeout_ms: Annotated[Whole, Field(ge=10, le=60000)] = 1000
    """How long the meter may take to begin its answer, in milliseconds."""
    pause_ms: Annotated[Whole, Field(ge=0, le=10000)] = 20
    """Silence the meter needs in front of a request, in milliseconds."""
    longest_answer_ms: Annotated[Whole, Field(ge=10, le=120000)] | None = None
    """How late an answer may still come, counted from the request, in milliseconds: after a timeout nothing is sent before."""


class MbusModel(MeterModel):
    """The model of an M-Bus meter."""

    protocol: Literal["mbus"]
    """How it is spoken to: mbus."""
    mbus: MbusLimits = MbusLimits()
    """What the meter bears."""
    identity: tuple[MbusWatch, ...] = ()
    """Records that say which meter this is, such as its fabrication number."""
    attest: tuple[MbusWatch, ...] = ()
    """Settings of the meter that change what its counters mean."""
    points: Annotated[tuple[MbusPoint, ...], Field(min_length=1)]
    """What it tells, and in which record."""


def mbus_address(text: str) -> str:
    """An M-Bus address in its one spelling: `5`, `12345678`, or `123456782D2C0804` (number, maker, version, medium).

    Behind the number, F stands for whatever there is: FFFF any maker, FF any version, FF any medium; nothing is the same.

    Raises:
        ValueError: what is wrong with it.
    """
    if not text:
        raise ValueError(_("address is missing; write for example  address: 5  or  address: 12345678"))
    packed = re.sub(r"[ .-]", "", text).upper()
    if re.fullmatch("[0-9]{1,3}", packed):
        if not 1 <= int(packed) <= 250:
            raise ValueError(
                _(
                    "{text} is not a primary M-Bus address (1 to 250); a meter that was never given one (0) is reached "
                    "by the 8 digits on its plate",
                    text=shown(text),
                )
            )
        return str(int(packed))
    if not re.fullmatch("[0-9]{8}([0-9A-F]{8})?", packed):
        raise ValueError(
            _(
                "{text} is not an M-Bus address; write 1 to 250, or the 8 digits on the meter's plate, or 16 digits: "
                "number, maker, version and medium, such as 123456782D2C0804",
                text=shown(text),
            )
        )
    return packed[:8] if packed[8:] == 8 * "F" else packed


def mbus_both(one: str, other: str) -> bool:
    """Whether a meter may answer to both addresses: what one leaves out or fills with F behind the number, it leaves open.

    A primary and a secondary address can be of one meter too, which nothing here can tell.
    """
    if len(one) < 8 or len(other) < 8 or one[:8] != other[:8]:
        return one == other
    parts = [(one[first:end] or "F", other[first:end] or "F") for first, end in ((8, 12), (12, 14), (14, 16))]
    return all(mine == its or {"F"} in (set(mine), set(its)) for mine, its in parts)


def mbus_findings(model: MbusModel) -> Iterator[Finding]:
    """What is wrong with a whole model although each of its keys is well formed."""
    yield from map_findings(model)
    yield from _place_findings("points", [point.at for point in model.points])
    for index, point in enumerate(model.points):
        kind = point.at.kind
        if kind not in BARE and point.unit not in UNITS.get(kind, ()):
            yield (
                ("points", index, "at", "kind"),
                _("{kind} is not told in {unit}, as {quantity} is", kind=kind, unit=point.unit, quantity=point.quantity),
            )
    for section, watches in (("identity", model.identity), ("attest", model.attest)):
        yield from _place_findings(section, [watch.at for watch in watches])


def _place_findings(section: str, places: Sequence[MbusAt]) -> Iterator[Finding]:
    first: dict[MbusAt, int] = {}
    for index, at in enumerate(places):
        path: Path = (section, index, "at")
        if (at.kind == "text") != bool(at.text):
            yield (*path, "text"), _("kind text and the unit's text go together, such as  {kind: text, text: '%RH'}")
        if at.kind == "manufacturer" and at.maker is None:
            yield (*path, "maker"), _("kind manufacturer needs the bytes behind the maker's mark, such as  maker: 68")
        if at.kind.startswith("header_") and at != MbusAt(kind=at.kind):
            yield path, _("a field of the header has no function, storage, tariff, subunit or number")
        if at in first:
            yield path, _("is the same record as entry {first}", first=first[at] + 1)
        first.setdefault(at, index)


assert set(UNITS) <= set(get_args(Kind))  # noqa: S101  a table that names what cannot be written is a slip of ours
