"""config.opcua_units: what a server's engineering unit is worth in ours."""

from decimal import Decimal

import pytest

from config.opcua_units import is_known, quantities_in, scale_into
from config.quantity import QUANTITIES


def number(code: str) -> int:
    return int(code.encode("ascii").hex(), 16)


@pytest.mark.parametrize(
    ("code", "quantity", "scale"),
    [
        ("KWH", "active_energy_import", "1"),
        ("WHR", "active_energy_import.t1", "0.001"),
        ("MWH", "thermal_energy", "1000"),
        ("K3", "reactive_energy_export", "1"),
        ("KWT", "active_power.l1", "1000"),
        ("KWT", "thermal_power", "1"),
        ("WTT", "thermal_power", "0.001"),
        ("4K", "current.l2", "0.001"),
        ("LTR", "volume_forward", "0.001"),
        ("L2", "volume_flow", "0.06"),
        ("G51", "volume_flow", "3.6"),
        ("KPA", "pressure", "0.01"),
        ("KGS", "mass_flow", "3.6"),
        ("CEL", "temperature.flow", "1"),
        ("C62", "pulse_count", "1"),
    ],
)
def test_a_unit_becomes_the_quantitys_by_an_exact_factor(code: str, quantity: str, scale: str) -> None:
    assert scale_into(number(code), quantity) == Decimal(scale)


def test_the_number_of_a_unit_is_its_codes_letters() -> None:
    assert (number("KWH"), number("WTT")) == (4937544, 5723220)  # as node-opcua states watt


def test_a_unit_of_another_kind_and_one_without_an_exact_factor_are_refused_in_words() -> None:
    with pytest.raises(ValueError, match="active_power is in W"):
        scale_into(number("KWH"), "active_power")
    with pytest.raises(ValueError, match="not an exact decimal part of kWh"):
        scale_into(number("3B"), "thermal_energy")
    with pytest.raises(KeyError):
        scale_into(4411, "active_power")
    with pytest.raises(ValueError, match="temperature is in Cel"):
        scale_into(number("KEL"), "temperature")


def test_the_quantities_of_a_unit_are_those_it_can_state() -> None:
    assert quantities_in(number("KWT")) == ["active_power", "active_power_demand", "active_power_demand_max", "thermal_power"]
    assert quantities_in(4411) == []
    assert not is_known(4411)


def test_every_unit_of_ours_has_a_kind() -> None:
    for name in QUANTITIES:
        try:
            scale_into(number("HTZ"), name)
        except ValueError:
            continue
        assert name == "frequency"
