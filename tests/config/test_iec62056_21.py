"""config.iec62056_21: addresses as on a plate, and what is told of a model that no meter could be read with."""

from __future__ import annotations

from typing import Any

import pytest

from config.iec62056_21 import iec62056_21_address
from config.iec62056_21_units import UNITS, OtherKind, worth
from config.library import read_model
from config.mistake import ConfigError
from config.protocols import PROTOCOLS
from config.quantity import UNITS as QUANTITY_UNITS

MODEL = """\
model: tried
revision: 1
maker: any
product: any
medium: electricity
protocol: iec62056_21
trust: {level: C, sources: [{url: none, kind: community}], questions: [all]}
iec62056_21: {LIMITS}
attest: [{name: error, at: {obis: F.F}WATCH}]
points:
  - {quantity: active_energy_import, at: {obis: 1.8.0, unit: kWh}}
  - {POINT}
examples: [{origin: none, frames: [{answer: 2F}], values: {}}]
"""


def mistakes(
    limits: str = "mode: C", point: str = "quantity: voltage.l1, at: {obis: 32.7.0, unit: V}", watch: str = ""
) -> list[str]:
    text = MODEL.replace("LIMITS", limits).replace("POINT", point).replace("WATCH", watch)
    try:
        read_model(text.encode(), "tried.yaml")
    except ConfigError as error:
        return [str(mistake) for mistake in error.mistakes]
    return []


@pytest.mark.parametrize(
    ("written", "address"), [("", ""), ("12345678", "12345678"), ("  00012 ", "00012"), ("1EMH0012", "1EMH0012"), ("a b", "a b")]
)
def test_an_address_is_taken_as_it_stands_on_the_plate(written: str, address: str) -> None:
    assert iec62056_21_address(written) == address
    assert PROTOCOLS["iec62056_21"].address(written) == address


@pytest.mark.parametrize("written", ["1/2", "12!", "?1", "ä", "1" * 33, "1\t2", "12-34"])
def test_what_is_no_address_is_refused_with_what_to_write(written: str) -> None:
    with pytest.raises(ValueError, match="is not an IEC 62056-21 address; write at most 32 letters, digits and spaces"):
        iec62056_21_address(written)


def test_a_model_with_all_keys_is_read() -> None:
    limits = "mode: C, fixed_baud: 9600, eight_bits: true, wake_up: true, manufacturer: [LGZ], number: ['0-0:96.1.0*255', C.1.0]"
    assert mistakes(limits + ", longest_bytes: 65536, timeout_ms: 5000, pause_ms: 0, longest_answer_ms: 9000") == []


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        ({"limits": "mode: E"}, "iec62056_21.mode"),
        ({"limits": "fixed_baud: 1000"}, "iec62056_21.fixed_baud"),
        ({"limits": "mode: B, fixed_baud: 300"}, "a meter of mode B changes its speed by itself; take fixed_baud out"),
        ({"limits": "mode: D, fixed_baud: 300"}, "a meter of mode D is not asked; take fixed_baud out"),
        ({"limits": "mode: D, wake_up: true"}, "a meter of mode D is not asked; take wake_up out"),
        ({"limits": "manufacturer: [LG]"}, "is no maker's sign; write the three letters"),
        ({"limits": "number: [serial]"}, "is not a code of the readout; write it as the meter does"),
        (
            {"point": "quantity: voltage.l1, at: {obis: 32.7.0, unit: kWh}"},
            "kWh is a unit of active energy, voltage.l1 is stated in V",
        ),
        ({"point": "quantity: voltage.l1, at: {obis: 32.7.0, unit: Volt}"}, "Volt is no unit that is known here"),
        ({"point": "quantity: voltage.l1, at: {obis: 32/7/0}"}, "is not a code of the readout"),
        ({"point": "quantity: voltage.l1, at: {obis: 32.7.0, group: 0}"}, "points[1].at.group"),
        ({"point": "quantity: voltage.l1, at: {obis: 1.8.0}"}, "1.8.0 is already where active_energy_import stands"),
        ({"watch": ", scale: 0.1"}, "a line is told as text, it cannot be multiplied; take scale out"),
    ],
)
def test_what_no_meter_could_be_read_with_is_told_in_plain_words(written: dict[str, Any], sentence: str) -> None:
    (told,) = mistakes(**written)
    assert sentence in told


def test_every_unit_of_a_quantity_is_known_and_is_one_of_itself() -> None:
    assert set(UNITS) >= QUANTITY_UNITS
    assert {worth(unit, unit) for unit in QUANTITY_UNITS} == {1}


def test_units_of_one_kind_are_converted_exactly_and_others_are_not() -> None:
    assert worth("GJ", "kWh") * 36 == 10_000
    assert worth("Wh", "kWh") * 1000 == 1
    assert worth("min", "h") * 60 == 1
    assert worth("kPa", "bar") * 100 == 1
    with pytest.raises(OtherKind, match="kvarh measures reactive energy, kWh active energy"):
        worth("kvarh", "kWh")
    for unit in ("mWh", "kwH", "Gcal", "", "m", "kWh "):
        with pytest.raises(KeyError):
            worth(unit, "kWh")
