"""The engineering units that OPC UA servers state, and what one of them is worth in the units of our quantities.

A server names a unit by a number: the letters of its common code in UNECE Recommendation 20, read as one number
(OPC 10000-8, 5.6.3.3); `KWH` is 4937544. Only factors that are exact decimals are given: a megajoule is 0.2777... kWh, so
it has none, and a model that is to read one says itself how it rounds.

What this file does not know: what is measured. Several quantities share a unit; a person says which one it is.
"""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

from config.language import _
from config.quantity import QUANTITIES, quantity_of

# Code: what kind of unit, and what one is worth in the kind's first unit.
_TABLE = """
WHR energy 1|KWH energy 1000|MWH energy 1000000|GWH energy 1000000000|JOU energy 1/3600
KJO energy 1000/3600|3B energy 1000000/3600
GV energy 1000000000/3600|K3 reactive_energy 1|C79 apparent_energy 1|WTT power 1|KWT power 1000|MAW power 1000000
D44 reactive_power 1|KVR reactive_power 1000|MAR reactive_power 1000000|D46 apparent_power 1|KVA apparent_power 1000
MVA apparent_power 1000000|VLT voltage 1|KVT voltage 1000|2Z voltage 1/1000|AMP current 1|4K current 1/1000|B22 current 1000
HTZ frequency 1|DD angle 1|P1 percent 1|C62 one 1|MTQ volume 1|LTR volume 1/1000|DMQ volume 1/1000|HLT volume 1/10
MQH flow 1|MQS flow 3600|LD flow 1/24000|E32 flow 1/1000|L2 flow 60/1000|G51 flow 3600/1000
TNE mass 1|KGM mass 1/1000|E18 mass_flow 1|E93 mass_flow 1/1000|KGS mass_flow 3600/1000
CEL temperature 1|KEL difference 1|BAR pressure 1|MBR pressure 1/1000|PAL pressure 1/100000|A97 pressure 1/1000
KPA pressure 1/100|MPA pressure 10|MTS speed 1|HUR time 1|MIN time 1/60|SEC time 1/3600
"""
_OURS = {
    "kWh": ("energy", 1000), "kvarh": ("reactive_energy", 1), "kVAh": ("apparent_energy", 1), "W": ("power", 1),
    "kW": ("power", 1000), "var": ("reactive_power", 1), "VA": ("apparent_power", 1), "V": ("voltage", 1), "A": ("current", 1),
    "Hz": ("frequency", 1), "deg": ("angle", 1), "%": ("percent", 1), "1": ("one", 1), "m3": ("volume", 1), "m3/h": ("flow", 1),
    "t": ("mass", 1), "t/h": ("mass_flow", 1), "Cel": ("temperature", 1), "K": ("difference", 1), "bar": ("pressure", 1),
    "m/s": ("speed", 1), "h": ("time", 1),
}  # fmt: skip


def _number(code: str) -> int:
    return int.from_bytes(code.encode("ascii"), "big")


def _units() -> dict[int, tuple[str, Fraction]]:
    rows = (row.split() for row in _TABLE.strip().replace("\n", "|").split("|"))
    return {_number(code): (kind, Fraction(worth)) for code, kind, worth in rows}


_UNITS = _units()


def is_known(unit_id: int) -> bool:
    """Whether the unit is in the table."""
    return unit_id in _UNITS


def scale_into(unit_id: int, quantity: str) -> Decimal:
    """What one of the server's units is worth in the unit of a quantity.

    Raises:
        KeyError: the unit is not known here.
        ValueError: it cannot become the quantity's unit, or not by an exact decimal factor; the text says so in plain words.
    """
    kind, worth = _UNITS[unit_id]
    unit = quantity_of(quantity).unit
    ours, of_one = _OURS[unit]
    if kind != ours:
        raise ValueError(
            _(
                "{quantity} is in {unit}, and the server's unit is none of {ours}",
                quantity=quantity,
                unit=unit,
                ours=ours.replace("_", " "),
            )
        )
    found = _exact(worth / of_one)
    if found is None:
        raise ValueError(
            _("the server's unit is not an exact decimal part of {unit}; write the scale you want yourself", unit=unit)
        )
    return found


def quantities_in(unit_id: int) -> list[str]:
    """The quantities that can be stated in a unit; empty where it is not known."""
    kind = _UNITS[unit_id][0] if unit_id in _UNITS else ""
    return [name for name, quantity in QUANTITIES.items() if _OURS[quantity.unit][0] == kind]


def _exact(value: Fraction) -> Decimal | None:
    rest = value.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    return Decimal(value.numerator) / Decimal(value.denominator) if rest == 1 else None
