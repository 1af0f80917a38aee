"""The table of quantities: one unit each, and names with phases, places and tariffs."""

from __future__ import annotations

import re

import pytest

from config.quantity import QUANTITIES, UNITS, quantity_of


def test_every_quantity_has_a_unit_that_a_record_can_hold() -> None:
    assert QUANTITIES
    assert all(re.fullmatch(r"[A-Za-z0-9%/]{1,10}", unit) for unit in UNITS)


def test_every_quantity_has_a_ucum_code_and_a_chinese_name() -> None:
    assert all(quantity.ucum and quantity.chinese for quantity in QUANTITIES.values())


def test_energies_and_volumes_that_only_rise_are_counters_and_powers_are_gauges() -> None:
    assert QUANTITIES["active_energy_import"].kind == "counter"
    assert QUANTITIES["volume_forward"].kind == "counter"
    assert QUANTITIES["active_energy_net"].kind == "gauge"
    assert QUANTITIES["active_power"].kind == "gauge"


def test_obis_codes_are_unique_and_well_formed() -> None:
    codes = [quantity.obis for quantity in QUANTITIES.values() if quantity.obis]
    assert len(codes) == len(set(codes))
    assert all(re.fullmatch(r"[0-9]-0:[0-9]{1,2}\.[0-9]{1,2}\.0", code) for code in codes)


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("active_energy_import", "kWh"),
        ("active_energy_import.l2.t1", "kWh"),
        ("voltage.l1", "V"),
        ("voltage_ll.l3l1", "V"),
        ("temperature.return", "Cel"),
        ("pulse_count.ch3", "1"),
    ],
)
def test_a_name_with_phase_place_channel_or_tariff_keeps_its_base_unit(name: str, unit: str) -> None:
    assert quantity_of(name).unit == unit


@pytest.mark.parametrize(
    "name", ["", "voltage.", "voltage.l4", "voltage.L1", "Voltage", ".l1", "voltage.t0", "voltage.ch123", "volts"]
)
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(KeyError):
        quantity_of(name)
