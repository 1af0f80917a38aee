"""Units as meters write them behind a value (`*kWh`), and how many of a quantity's unit one of them is. Exact.

Upper and lower case count, because mW is not MW; beside the spelling of IEC 62056-6-1 stand those that meters were seen
to use. What is not in the table is no unit: a value in it is never guessed. Gigajoules become kilowatt-hours as
3.6 MJ = 1 kWh; calories are left out, there are several of them.

What this file does not know: telegrams, and which unit a quantity has (`config.quantity`).
"""

from __future__ import annotations

from fractions import Fraction

# What is measured, and its units with what one is worth in the first of them.
_TABLE = """
active energy: kWh=1 KWH=1 KWh=1 kwh=1 Wh=1/1000 WH=1/1000 MWh=1000 MWH=1000 GWh=1000000
active energy: J=1/3600000 kJ=1/3600 KJ=1/3600 MJ=10/36 GJ=10000/36 TJ=10000000/36
reactive energy: kvarh=1 kVArh=1 kVARh=1 kVarh=1 KVARH=1 varh=1/1000 VArh=1/1000 VARh=1/1000 Mvarh=1000 MVArh=1000 MVARh=1000
apparent energy: kVAh=1 kVAH=1 KVAH=1 VAh=1/1000 VAH=1/1000 MVAh=1000 MVAH=1000
active power: W=1 kW=1000 KW=1000 MW=1000000 GW=1000000000
reactive power: var=1 VAr=1 VAR=1 Var=1 kvar=1000 kVAr=1000 kVAR=1000 kVar=1000 KVAR=1000 Mvar=1000000 MVAr=1000000 MVAR=1000000
apparent power: VA=1 kVA=1000 KVA=1000 MVA=1000000
voltage: V=1 mV=1/1000 kV=1000 KV=1000
current: A=1 mA=1/1000 kA=1000 KA=1000
angle: deg=1 Deg=1 DEG=1
frequency: Hz=1 HZ=1
part: %=1
number: 1=1
volume: m3=1 m^3=1 M3=1 dm3=1/1000 l=1/1000 L=1/1000
volume flow: m3/h=1 m3ph=1 M3/h=1 l/h=1/1000 L/h=1/1000 lph=1/1000
mass: t=1 kg=1/1000
mass flow: t/h=1 kg/h=1/1000
temperature: Cel=1 C=1 degC=1
temperature difference: K=1
pressure: bar=1 Bar=1 mbar=1/1000 Pa=1/100000 hPa=1/1000 kPa=1/100 MPa=10
velocity: m/s=1
time: h=1 d=24 min=1/60 s=1/3600
"""


def _read(table: str) -> dict[str, tuple[str, Fraction]]:
    rows = (row.split(": ") for row in table.strip().splitlines())
    entries = ((kind, *entry.rsplit("=", 1)) for kind, row in rows for entry in row.split())
    return {unit: (kind, Fraction(worth)) for kind, unit, worth in entries}


UNITS: dict[str, tuple[str, Fraction]] = _read(_TABLE)


class OtherKind(ValueError):
    """A unit of something else, such as kvarh for active energy."""


def kind_of(unit: str) -> str:
    """What a unit measures, such as `active energy`. Raises KeyError for a text that is no unit."""
    return UNITS[unit][0]


def worth(unit: str, wanted: str) -> Fraction:
    """How many `wanted` one `unit` is: Wh in kWh is 1/1000.

    Raises:
        KeyError: `unit` is no unit that meters are known to use.
        OtherKind: it measures something else.
    """
    kind, of_base = UNITS[unit]
    wanted_kind, wanted_of_base = UNITS[wanted]
    if kind != wanted_kind:
        raise OtherKind(f"{unit} measures {kind}, {wanted} {wanted_kind}")
    return of_base / wanted_of_base
