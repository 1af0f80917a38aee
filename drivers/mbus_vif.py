"""What an M-Bus record measures: the tables of value information (EN 13757-3, section 6.4).

    VIF         E nnnnnnn           primary table; E: another byte follows
    FB, FD      E nnnnnnn           first and second extension of it, one byte further
    7C, FC      text                the unit written out, last character first
    7F, FF      maker's own         nothing but the maker knows what it is
    VIFE        E nnnnnnn           what is added to all of these: per hour, at phase L1, times 0.001, ...

A meaning is a kind (the words of `config.mbus` where a model can ask for it), a unit and what one count is worth in that
unit. A byte that is reserved, or that the tables here do not have, gives a kind no model can ask for: never a guess.

Not taken over: units of FB that were withdrawn (gallons, degrees Fahrenheit) and Mcal, which have no exact place among
the project's units; the second level of FD (FD FD); what FC 15H to 7FH adds.

What this file does not know: data, meters, and which quantity of the project a record becomes.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from config.mbus import UNITS

UNKNOWN: Final = "unknown"


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a count of a record is.

    Attributes:
        kind: what is measured; `unknown` for a code nobody here knows.
        unit: what `factor` counts in; empty for bare numbers, text and times of day.
        factor: what one count is worth.
    """

    kind: str
    unit: str = ""
    factor: Fraction = Fraction(1)


def _row(first: int, count: int, kind: str, unit: str, exponent: int, worth: Fraction = Fraction(1)) -> dict[int, Meaning]:
    """So many codes from the first one on, each worth ten times the one before; the first one is 10^exponent."""
    return {first + n: Meaning(kind, unit, worth * Fraction(10) ** (exponent + n)) for n in range(count)}


def _times(first: int, kind: str, units: str = "s min h d") -> dict[int, Meaning]:
    """Codes for one duration in several units."""
    return {first + n: Meaning(kind, unit) for n, unit in enumerate(units.split())}


def _names(first: int, *kinds: str) -> dict[int, Meaning]:
    """Codes for bare numbers and texts."""
    return {first + n: Meaning(kind) for n, kind in enumerate(kinds)}


# Section 6.4.3: primary VIFs.
PRIMARY: dict[int, Meaning] = {
    **_row(0x00, 8, "energy", "Wh", -3),
    **_row(0x08, 8, "energy", "J", 0),
    **_row(0x10, 8, "volume", "m3", -6),
    **_row(0x18, 8, "mass", "kg", -3),
    **_times(0x20, "on_time"),
    **_times(0x24, "operating_time"),
    **_row(0x28, 8, "power", "W", -3),
    **_row(0x30, 8, "power", "J/h", 0),
    **_row(0x38, 8, "volume_flow", "m3/h", -6),
    **_row(0x40, 8, "volume_flow", "m3/min", -7),
    **_row(0x48, 8, "volume_flow", "m3/s", -9),
    **_row(0x50, 8, "mass_flow", "kg/h", -3),
    **_row(0x58, 4, "flow_temperature", "Cel", -3),
    **_row(0x5C, 4, "return_temperature", "Cel", -3),
    **_row(0x60, 4, "temperature_difference", "K", -3),
    **_row(0x64, 4, "external_temperature", "Cel", -3),
    **_row(0x68, 4, "pressure", "bar", -3),
    **_names(0x6C, "date", "date_time", "heat_cost_units"),
    **_times(0x70, "averaging_duration"),
    **_times(0x74, "actuality_duration"),
    **_names(0x78, "fabrication_number", "identification", "bus_address"),
}

# Section 6.4.4: FB, first extension.
FIRST: dict[int, Meaning] = {
    **_row(0x00, 2, "energy", "Wh", 5),
    **_row(0x02, 2, "reactive_energy", "kvarh", 0),
    **_row(0x04, 2, "apparent_energy", "kVAh", 0),
    **_row(0x08, 2, "energy", "J", 8),
    **_row(0x10, 2, "volume", "m3", 2),
    **_row(0x14, 4, "reactive_power", "var", 0),
    **_row(0x18, 2, "mass", "kg", 5),
    **_row(0x1A, 2, "relative_humidity", "%", -1),
    0x20: Meaning("volume", "m3", Fraction(28316846592, 10**12)),  # cubic foot
    0x21: Meaning("volume", "m3", Fraction(28316846592, 10**13)),
    **_row(0x28, 2, "power", "W", 5),
    0x2A: Meaning("phase_voltage_angle", "deg", Fraction(1, 10)),
    0x2B: Meaning("phase_current_angle", "deg", Fraction(1, 10)),
    **_row(0x2C, 4, "frequency", "Hz", -3),
    **_row(0x30, 2, "power", "J/h", 8),
    **_row(0x34, 4, "apparent_power", "VA", 0),
    **_row(0x74, 4, "temperature_limit", "Cel", -3),
    **_row(0x78, 8, "greatest_power", "W", -3),
}

# Section 6.4.5: FD, second extension.
SECOND: dict[int, Meaning] = {
    **_row(0x00, 4, "credit", "currency", -3),
    **_row(0x04, 4, "debit", "currency", -3),
    **_names(0x08, "access_number", "device_type", "maker_code", "parameter_set", "model_version", "hardware_version"),
    **_names(0x0E, "firmware_version", "software_version", "customer_location", "customer"),
    **_names(0x12, "access_code_user", "access_code_operator", "access_code_system_operator", "access_code_developer"),
    **_names(0x16, "password", "error_flags", "error_mask", "security_key", "digital_output", "digital_input"),
    **_names(0x1C, "baud_rate", "response_delay", "retry", "remote_control", "first_storage", "last_storage"),
    **_names(0x22, "storage_block_size", "tariff_and_subunit"),
    **_times(0x24, "storage_interval", "s min h d month a"),
    **_names(0x2A, "operator_data", "second_of_time"),
    **_times(0x2C, "since_last_readout"),
    **_names(0x30, "tariff_start"),
    **_times(0x31, "tariff_duration", "min h d"),
    **_times(0x34, "tariff_period", "s min h d month a"),
    **_names(0x3A, "dimensionless", "wireless_container"),
    **_times(0x3C, "transmission_period"),
    **_row(0x40, 16, "voltage", "V", -9),
    **_row(0x50, 16, "current", "A", -12),
    **_names(0x60, "reset_counter", "cumulation_counter", "control_signal", "day_of_week", "week_number", "day_change"),
    **_names(0x66, "parameter_activation", "supplier_information"),
    **_times(0x68, "since_last_cumulation", "h d month a"),
    **_times(0x6C, "battery_operating_time", "h d month a"),
    **_names(0x70, "battery_change", "radio_level", "daylight_saving", "listening_window", "battery_life_days"),
    **_names(0x75, "times_stopped", "maker_container"),
}

# Section 6.4.7: orthogonal VIFEs that say which part of a quantity is meant. The other codes 0 to 1F (errors), 70 to 77 and 7D
# (decimal point), 7C (FC, the table behind it) and 7F (maker's own) are read in `drivers.mbus_record`.
QUALIFIERS: dict[int, str] = {
    **dict(enumerate(("average", "inverse_compact_profile", "relative_deviation"), 0x12)),
    **dict(enumerate(("standard_conform", "compact_profile_with_registers", "compact_profile"), 0x1D)),
    **dict(enumerate(("second", "minute", "hour", "day", "week", "month", "year", "revolution"), 0x20)),
    **dict(enumerate(("pulse_in_0", "pulse_in_1", "pulse_out_0", "pulse_out_1"), 0x28)),
    **dict(enumerate(("litre", "m3", "kg", "k", "kwh", "gj", "kw", "k_litre", "v", "a"), 0x2C)),
    **dict(enumerate(("times_s", "times_s_per_v", "times_s_per_a", "start_date", "uncorrected", "forward", "backward"), 0x36)),
    0x3E: "at_base_conditions",
    0x40: "lower_limit",
    0x41: "count_below_lower_limit",
    0x48: "upper_limit",
    0x49: "count_above_upper_limit",
    0x69: "leakage",
    0x6D: "overflow",
    0x7E: "future",
}
QUALIFIERS |= {code: f"per_{word}" for code, word in QUALIFIERS.items() if 0x20 <= code <= 0x35}
_WHICH, _END, _SIDE = ("first", "last"), ("begin", "end"), ("below", "above")
QUALIFIERS |= {
    **{
        0x42 | u << 3 | f << 2 | b: f"date_{_WHICH[f]}_{_SIDE[u]}_{_END[b]}" for u in range(2) for f in range(2) for b in range(2)
    },
    **{
        0x50 | u << 3 | f << 2 | n: f"duration_{_WHICH[f]}_{_SIDE[u]}_{'smhd'[n]}"
        for u in range(2)
        for f in range(2)
        for n in range(4)
    },
    **{0x60 | f << 2 | n: f"duration_{_WHICH[f]}_{'smhd'[n]}" for f in range(2) for n in range(4)},
    **{0x68 | u << 2: f"value_while_{_SIDE[u]}" for u in range(2)},
    **{0x6A | f << 2 | b: f"date_{_WHICH[f]}_{_END[b]}" for f in range(2) for b in range(2)},
    **{0x78 | n: f"correction_10e{n - 3}" for n in range(4)},
}
FURTHER: dict[int, str] = {
    **dict(enumerate(("phase_l1", "phase_l2", "phase_l3", "neutral", "phase_l1l2", "phase_l2l3", "phase_l3l1"), 0x01)),
    **dict(enumerate(("quadrant_q1", "quadrant_q2", "quadrant_q3", "quadrant_q4", "import_less_export"), 0x08)),
    0x10: "absolute",
    0x13: "to_meter",
    0x14: "from_meter",
}
UNSIGNED = 0x11  # FC 11: data of type C, an unsigned binary number

# Section 6.4.7, 00 to 1F from a meter, those apart that `QUALIFIERS` has: why the data of this record cannot be used.
ERRORS: dict[int, str] = {
    0x15: "no_data",
    0x16: "data_overflow",
    0x17: "data_underflow",
    0x18: "data_error",
}
ERROR = "record_error"

# What a unit is worth in each of the project's units that it can become.
_WORTH: dict[tuple[str, str], Fraction] = {
    ("Wh", "kWh"): Fraction(1, 1000),
    ("Wh", "kvarh"): Fraction(1, 1000),
    ("Wh", "kVAh"): Fraction(1, 1000),
    ("J", "kWh"): Fraction(1, 3_600_000),
    ("W", "kW"): Fraction(1, 1000),
    ("W", "var"): Fraction(1),
    ("W", "VA"): Fraction(1),
    ("J/h", "W"): Fraction(1, 3600),
    ("J/h", "kW"): Fraction(1, 3_600_000),
    ("kg", "t"): Fraction(1, 1000),
    ("m3/min", "m3/h"): Fraction(60),
    ("m3/s", "m3/h"): Fraction(3600),
    ("kg/h", "t/h"): Fraction(1, 1000),
    ("s", "h"): Fraction(1, 3600),
    ("min", "h"): Fraction(1, 60),
    ("d", "h"): Fraction(24),
}

# Section 7 and annex: the units of the two counters of the fixed structure (CI 73), by their six bits.
_FIXED_ROWS = (
    (0x02, "energy", "Wh", 0),
    (0x05, "energy", "Wh", 3),
    (0x08, "energy", "Wh", 6),
    (0x0B, "energy", "J", 3),
    (0x0E, "energy", "J", 6),
    (0x11, "energy", "J", 9),
    (0x14, "power", "W", 0),
    (0x17, "power", "W", 3),
    (0x1A, "power", "W", 6),
    (0x1D, "power", "J/h", 3),
    (0x20, "power", "J/h", 6),
    (0x23, "power", "J/h", 9),
    (0x26, "volume", "m3", -6),
    (0x29, "volume", "m3", -3),
    (0x2C, "volume", "m3", 0),
    (0x2F, "volume_flow", "m3/h", -6),
    (0x32, "volume_flow", "m3/h", -3),
    (0x35, "volume_flow", "m3/h", 0),
)
FIXED: dict[int, Meaning] = {
    0x00: Meaning("time_of_day"),
    0x01: Meaning("day"),
    **{code: meaning for first, kind, unit, n in _FIXED_ROWS for code, meaning in _row(first, 3, kind, unit, n).items()},
    0x38: Meaning("temperature", "Cel", Fraction(1, 1000)),
    0x39: Meaning("heat_cost_units"),
    0x3F: Meaning("dimensionless"),
}
FIXED_HISTORIC = 0x3E  # the same as the first counter, at a set day
# Medium of the fixed structure (four bits) as the code of the variable one.
FIXED_MEDIA = (0, 1, 2, 3, 4, 5, 6, 7, 8, 0x0F, 3, 4, 6, 7, 8, 0x0F)


def worth(meaning: Meaning, unit: str) -> Fraction | None:
    """What one count is worth in a unit of the project; None: it is not told in that unit.

    A bare number takes any unit its kind allows: a model's scale makes it that.
    """
    if meaning.kind in UNITS and unit not in UNITS[meaning.kind]:
        return None
    if not meaning.unit or meaning.unit == unit:
        return meaning.factor
    found = _WORTH.get((meaning.unit, unit))
    return None if found is None else meaning.factor * found
