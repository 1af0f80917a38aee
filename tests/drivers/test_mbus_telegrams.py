"""M-Bus telegrams: every published record gives its published value, and no bytes give a value that they do not justify."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.mbus import UNITS, MbusAt, MbusPoint
from config.quantity import QUANTITIES
from drivers import Target, mbus
from drivers.errors import MeterError, NoValue
from drivers.formula import evaluate
from drivers.mbus_date import moment
from drivers.mbus_record import Record, Telegram, Unreadable, read_telegram
from drivers.mbus_vif import FIRST, FIXED, PRIMARY, SECOND
from tests.drivers.mbus_frames import (
    ACK,
    FRAMES,
    PUBLISHED,
    TELEGRAMS,
    long,
    model,
    point,
    resealed,
    short,
    target,
    telegram,
    watch,
)
from tests.drivers.mbus_oracle import Beyond, Seen, seen_in

KINDS = {
    "Energy": "energy",
    "Volume": "volume",
    "Mass": "mass",
    "Power": "power",
    "Volume flow": "volume_flow",
    "Mass flow": "mass_flow",
    "Flow temperature": "flow_temperature",
    "Return temperature": "return_temperature",
    "External temperature": "external_temperature",
    "Temperature difference": "temperature_difference",
    "Pressure": "pressure",
    "On time": "on_time",
    "Operating time": "operating_time",
    "Averaging Duration": "averaging_duration",
    "Actuality Duration": "actuality_duration",
    "Voltage": "voltage",
    "Current": "current",
    "Fabrication No": "fabrication_number",
    "Time point (date)": "date",
    "Time point (date & time)": "date_time",
    "H.C.A.": "heat_cost_units",
    "Error flags": "error_flags",
    "Digital Input": "digital_input",
    "Digital Output": "digital_output",
    "Firmware version": "firmware_version",
    "Software version": "software_version",
    "Model / Version": "model_version",
    "Parameter set identification": "parameter_set",
    "Customer location": "customer_location",
    "Reset counter": "reset_counter",
    "Dimensionless": "dimensionless",
    "Manufacturer specific": "manufacturer",
    "Bus Address": "bus_address",
    "Special supplier information": "supplier_information",
}
# libmbus' units in those of the project.
WORTH = {"Wh": Fraction(1, 1000), "J": Fraction(1, 3_600_000), "s": Fraction(1, 3600), "kg": Fraction(1, 1000)}
WORTH |= {"kg/h": Fraction(1, 1000)}
QUANTITY_OF = {"kWh": "thermal_energy", "h": "operating_time", "m3": "volume_forward", "W": "active_power", "t": "mass"}
QUANTITY_OF |= {"m3/h": "volume_flow", "Cel": "temperature", "K": "temperature_difference", "bar": "pressure", "V": "voltage"}
QUANTITY_OF |= {"A": "current", "1": "pulse_count", "t/h": "mass_flow"}
BARE = ("dimensionless", "manufacturer", "text")
GOLDEN = [one for one in PUBLISHED if "records" in one]


def place_of(record: Record, telegram: Telegram, **more: object) -> MbusAt | None:
    """The place that names a record and no other of its telegram; None for what no model can ask for."""
    fields = _fields(record)
    alike = [one for one in telegram.records if _fields(one) == fields]
    try:
        return MbusAt.model_validate(fields | {"nth": 0 if len(alike) == 1 else alike.index(record) + 1} | more)
    except ValueError:
        return None


def _fields(record: Record) -> dict[str, object]:
    return {
        "kind": record.meaning.kind,
        "function": record.function,
        "storage": record.storage,
        "tariff": record.tariff,
        "subunit": record.subunit,
        "qualifiers": sorted(record.qualifiers),
        "maker": record.maker,
        "text": record.text,
    }


def value_in(frame: bytes, wanted: MbusPoint) -> str | None:
    """The value of a point in one telegram that came from primary address 5. Raises NoValue."""
    request, meter = short(0x7B, frame[5]), Target(model(), str(frame[5]), "own")
    return evaluate(mbus.locate(meter, [request], wanted, [frame]), [frame]).value


def point_at(place: MbusAt, kind: str) -> MbusPoint | None:
    units = ("1",) if kind in BARE else UNITS.get(kind, ())
    quantity = next((QUANTITY_OF[unit] for unit in units if unit in QUANTITY_OF), None)
    return MbusPoint(quantity=quantity, at=place) if quantity else None


# --- published frames -----------------------------------------------------------------------------------------


def test_there_are_as_many_published_frames_as_were_found() -> None:
    assert len(TELEGRAMS) == 66
    assert sum(len(one["records"]) for one in GOLDEN) > 630


@pytest.mark.parametrize("one", GOLDEN, ids=lambda one: str(one["name"]))
def test_every_published_record_is_what_libmbus_says_it_is(one: dict[str, object]) -> None:
    told = read_telegram(FRAMES[str(one["name"])])
    published = one["records"]
    assert isinstance(published, list)
    assert len(told.records) == len(published)
    if "number" in one:
        assert told.header.digits == one["number"]
        assert told.more == one["more"]
    for record, (name, _, _, function, storage, tariff, subunit) in zip(told.records, published, strict=True):
        assert (record.function, record.storage, record.tariff, record.subunit) == (function, storage, tariff, subunit)
        assert record.meaning.kind == KINDS.get(name, "text"), name
        assert record.meaning.kind != "text" or record.text == name.strip()


# libmbus leaves out what these VIFEs say: the data is a date or a duration, not what the VIF alone would make of it.
NOT_WHAT_THEY_SAY = ("date_", "duration_", "per_")


@pytest.mark.parametrize("one", GOLDEN, ids=lambda one: str(one["name"]))
def test_every_published_value_is_the_one_a_formula_gives(one: dict[str, object]) -> None:
    frame = FRAMES[str(one["name"])]
    frame = resealed(frame[:5] + b"\x05" + frame[6:])  # any primary address
    told = read_telegram(frame)
    bad = {index for index, _ in one.get("invalid", [])}  # type: ignore[attr-defined]  # a list of pairs
    for index, (record, published) in enumerate(zip(told.records, one["records"], strict=True)):  # type: ignore[call-overload]
        place = place_of(record, told)
        wanted = place and point_at(place, record.meaning.kind)
        if not wanted or any(word.startswith(NOT_WHAT_THEY_SAY) for word in record.qualifiers):
            continue
        if record.form in ("text", "bytes"):
            with pytest.raises(NoValue, match="not_a_number"):
                value_in(frame, wanted)
            continue
        value = value_in(frame, wanted)
        if index in bad:
            assert value is None
            continue
        assert value is not None
        expected = Fraction(published[1]) * WORTH.get(published[2], Fraction(1))
        assert abs(Fraction(value) - expected) <= abs(expected) / 10**6 + Fraction(1, 10**6), (record, published)


@pytest.mark.parametrize("name", ["ELS_Elster-F96-Plus", "abb_f95"])
def test_digits_that_are_none_are_never_a_number(name: str) -> None:
    frame = resealed(FRAMES[name][:5] + b"\x05" + FRAMES[name][6:])
    power = point("thermal_power", "power", function="error")
    formula = mbus.locate(target(), [short(0x7B, 5)], power, [frame])
    assert evaluate(formula, [frame]).cause == "bad_bcd"
    with pytest.raises(NoValue, match="error_value"):
        value_in(frame, point("thermal_power", "power"))


@pytest.mark.parametrize(
    ("name", "wanted", "value"),
    [
        ("frame2", point("volume_forward", "volume"), "12.565"),
        ("frame2", point("volume_flow", "volume_flow", function="maximum", storage=5), "0.113"),
        ("frame2", point("thermal_energy", "energy", subunit=1, tariff=2), "218.37"),
        ("kamstrup_multical_601", point("thermal_energy", "energy"), "37351"),
        ("kamstrup_multical_601", point("thermal_energy", "energy", storage=1), "33361"),
        ("kamstrup_multical_601", point("thermal_power", "power", function="maximum"), "44.8"),
        ("SLB_CF-Compact-Integral-MK-MaXX", point("temperature_difference", "temperature_difference"), "-0.18"),
        ("landis+gyr_ultraheat_t230", point("temperature_difference", "temperature_difference"), "-0.2"),
        ("gas meter reply ACW address 0x40", point("volume_forward", "volume"), "3.777"),
        ("GWF-MTKcoder", point("volume_forward", "volume"), "269"),
        ("manual_frame2", point("volume_forward", "volume"), "0.001"),
        ("manual_frame2", point("volume_forward", "volume", storage=1), "0.135"),
        ("THI_cma10", point("voltage_thd", "text", text="%RH"), "46.60"),
        ("example_plain_text_placement", point("pulse_count", "text", text="ABC", qualifiers=[]), None),
        ("EDC", point("thermal_energy", "energy", qualifiers=["forward"]), "35"),
        ("EDC", point("cooling_energy", "energy", qualifiers=["backward"]), "465"),
        ("EDC", point("volume_flow", "volume_flow"), "0.0007070391"),
        ("SEN_Pollustat", point("active_power", "power"), "-170.72178"),
        ("nzr_dhz_5_63", point("active_energy_import", "energy", maker=""), "1.274"),
    ],
)
def test_what_people_published_in_words(name: str, wanted: MbusPoint, value: str | None) -> None:
    frame = resealed(FRAMES[name][:5] + b"\x05" + FRAMES[name][6:])
    if value is None:
        with pytest.raises(NoValue):
            value_in(frame, wanted)
        return
    told = value_in(frame, wanted)
    assert told is not None
    assert abs(Fraction(told) - Fraction(value)) <= abs(Fraction(value)) / 10**6
    assert told == value or "." in told


# --- tables ---------------------------------------------------------------------------------------------------


def test_every_code_of_the_tables_has_its_meaning_or_none() -> None:
    free = {code for code in range(0x80) if code not in PRIMARY}
    assert free == {0x6F, 0x7B, 0x7C, 0x7D, 0x7E, 0x7F}
    assert {code for code in range(0x78) if code not in SECOND} == {0x77}
    assert {code for code in range(0x40) if code not in FIXED} == {0x3A, 0x3B, 0x3C, 0x3D, 0x3E}
    assert {0x06, 0x07, 0x0A, 0x0B, 0x12, 0x13, 0x22, 0x50, 0x7F} & set(FIRST) == {0x7F}


@pytest.mark.parametrize("code", [*range(0x6C), *(0x100 + vife for vife in range(0x40, 0x60))])
@pytest.mark.parametrize("data", ["64000000", "9cffffff"])
def test_every_measuring_code_gives_the_value_that_a_second_reader_gives(code: int, data: str) -> None:
    vif = f"fd{code - 0x100:02x}" if code >= 0x100 else f"{code:02x}"
    frame = telegram(f"04{vif}{data}")
    (seen,) = seen_in(frame)
    (record,) = read_telegram(frame).records
    assert record.meaning.kind == seen.kind
    place = place_of(record, read_telegram(frame))
    assert place
    wanted = point_at(place, seen.kind)
    assert wanted
    value = value_in(frame, wanted)
    assert value is not None
    assert same(value, seen)


def same(value: str, seen: Seen) -> bool:
    """Whether a value is the second reader's, told in the project's unit; quotients are rounded at 34 digits."""
    assert seen.value is not None
    expected = seen.value / (1000 if seen.kind in ("energy", "mass", "mass_flow") else 1)
    # The shortest decimal of a binary32 is not its exact value.
    tolerance = abs(expected) / 2**24 + Fraction(1, 2**140) if len(seen.data) == 4 else abs(expected) / 10**33
    return abs(Fraction(value) - expected) <= tolerance


@pytest.mark.parametrize(
    ("vif", "quantity", "kind", "value"),
    [
        ("fb00", "thermal_energy", "energy", "10000"),
        ("fb01", "thermal_energy", "energy", "100000"),
        ("fb08", "thermal_energy", "energy", "2777.777777777777777777777777777778"),
        ("fb09", "thermal_energy", "energy", "27777.77777777777777777777777777778"),
        ("fb02", "reactive_energy_import", "reactive_energy", "100"),
        ("fb8275", "reactive_energy_import", "reactive_energy", "10.0"),
        ("fb04", "apparent_energy_total", "apparent_energy", "100"),
        ("fb10", "volume_forward", "volume", "10000"),
        ("fb11", "volume_forward", "volume", "100000"),
        ("fb14", "reactive_power", "reactive_power", "100"),
        ("fb9772", "reactive_power", "reactive_power", "10.0"),
        ("fb17", "reactive_power", "reactive_power", "100000"),
        ("fb18", "mass", "mass", "10000"),
        ("fb20", "volume_forward", "volume", "2.831684659200"),
        ("fb21", "volume_forward", "volume", "0.2831684659200"),
        ("fb28", "thermal_power", "power", "10000"),
        ("fb29", "thermal_power", "power", "100000"),
        ("fb2b", "phase_angle", "phase_current_angle", "10.0"),
        ("fb2e", "frequency", "frequency", "10.0"),
        ("fb30", "thermal_power", "power", "2777.777777777777777777777777777778"),
        ("fb34", "apparent_power", "apparent_power", "100"),
        ("fb37", "apparent_power", "apparent_power", "100000"),
        ("8374", "thermal_energy", "energy", "0.00100"),
        ("8076", "thermal_energy", "energy", "0.000100"),
        ("8077", "thermal_energy", "energy", "0.00100"),
        ("807d", "thermal_energy", "energy", "0.100"),
        ("8600", "thermal_energy", "energy", "100"),
    ],
)
def test_extensions_and_the_shifted_decimal_point(vif: str, quantity: str, kind: str, value: str) -> None:
    told = value_in(telegram(f"04{vif}64000000"), point(quantity, kind))
    assert told is not None
    assert Fraction(told) == Fraction(value)


@pytest.mark.parametrize(
    ("record", "value"),
    [
        ("010605", "5"),
        ("0106fb", "-5"),
        ("02060501", "261"),
        ("0306050100", "261"),
        ("060605000000ffff", "-4294967291"),
        ("0706050000000000ffff", "-281474976710651"),
        ("09 06 12", "12"),
        ("0a 06 3412", "1234"),
        ("0b 06 563412", "123456"),
        ("0c 06 78563412", "12345678"),
        ("0e 06 785634120000", "12345678"),
        ("0a 06 34f2", "-234"),
        ("0d 06 c2 3412", "1234"),
        ("0d 06 d2 3412", "-1234"),
        ("0d 06 e3 010000", "1"),
        ("0d 06 e3 ffffff", "-1"),
        ("05 06 0000c841", "25"),
    ],
)
def test_every_way_to_write_a_number(record: str, value: str) -> None:
    assert value_in(telegram(record.replace(" ", "")), point("thermal_energy", "energy")) == value


@pytest.mark.parametrize(
    ("record", "cause"),
    [
        ("0106 80", "not_available"),
        ("0206 0080", "not_available"),
        ("0306 000080", "not_available"),
        ("0406 00000080", "not_available"),
        ("0606 000000000080", "not_available"),
        ("0706 0000000000000080", "not_available"),
        ("0506 0000c07f", "not_a_number"),
        ("0506 0000807f", "not_a_number"),
        ("0c06 ffffffff", "not_available"),
        ("0c06 7856341a", "bad_bcd"),
        ("0c06 78563fff", "bad_bcd"),
        ("0c06 785634ff", "bad_bcd"),
        ("0c06 7f563412", "bad_bcd"),
        ("0d06 d2 34f2", "bad_bcd"),
    ],
)
def test_what_stands_for_an_invalid_number_is_no_value(record: str, cause: str) -> None:
    frame = telegram(record.replace(" ", ""))
    formula = mbus.locate(target(), [short(0x7B, 5)], point("thermal_energy", "energy"), [frame])
    assert evaluate(formula, [frame]).cause == cause


@pytest.mark.parametrize(
    ("record", "cause"),
    [
        ("0006", "no_data"),
        ("0806", "no_data"),
        ("0d06 00", "no_data"),
        ("0d06 03 616263", "not_a_number"),
        ("0d06 e9 010000000000000000", "not_a_number"),
        ("0d06 f0 01000000000000000000000000000000", "not_a_number"),
        ("048615 64000000", "no_data"),
        ("048616 64000000", "data_overflow"),
        ("048617 64000000", "data_underflow"),
        ("048618 64000000", "data_error"),
        ("04860b 64000000", "record_error"),
        ("04860c 64000000", "record_error"),
        ("3406 64000000", "error_value"),
        ("1406 64000000", "no_record"),
        ("2406 64000000", "no_record"),
        ("4406 64000000", "no_record"),
        ("841006 64000000", "no_record"),
        ("844006 64000000", "no_record"),
        ("04863c 64000000", "no_record"),
        ("0486ff01 64000000", "no_record"),
        ("0486fc01 64000000", "no_record"),
        ("048622 64000000", "no_record"),
        ("04863d 64000000", "no_record"),
        ("04ff06 64000000", "no_record"),
        ("047e 64000000", "no_record"),
        ("04fd77 64000000", "no_record"),
        ("04fb0d 64000000", "no_record"),
        ("0406 64000000 0406 65000000", "ambiguous_record"),
        ("0406 64000000 0407 0a000000", "ambiguous_record"),
        ("2f2f 0406 64000000 0c06 00010000", "ambiguous_record"),
    ],
)
def test_a_record_that_is_not_exactly_the_one_meant_is_no_value(record: str, cause: str) -> None:
    with pytest.raises(NoValue) as raised:
        value_in(telegram(record.replace(" ", "")), point("thermal_energy", "energy"))
    assert raised.value.cause == cause


def test_an_average_and_flags_of_the_standards_content_are_qualified_and_no_errors_of_their_records() -> None:
    frame = telegram("042b10270000" + "04ab12d2040000" + "04ab14e8030000" + "02fd971d0400")
    assert value_in(frame, point("active_power", "power")) == "10000"
    assert value_in(frame, point("active_power", "power", qualifiers=["average"])) == "1234"
    flags = mbus.locate(target(), [short(0x7B, 5)], watch("error_flags", qualifiers=["standard_conform"]), [frame])
    assert evaluate(flags, [frame]).value == "4"


@pytest.mark.parametrize("code", ["13", "14", "1e", "1f"])
def test_a_profile_or_a_deviation_is_never_taken_for_the_quantity_itself(code: str) -> None:
    with pytest.raises(NoValue) as raised:
        value_in(telegram(f"0483{code}64000000"), point("active_energy_import", "energy"))
    assert raised.value.cause == "no_record"


def test_one_of_several_records_is_taken_by_its_place_among_them() -> None:
    frame = telegram("0bfd47000023" + "0bfd47010023" + "0bfd47020023")
    told = [value_in(frame, point("voltage.l1", "voltage", nth=nth)) for nth in (1, 2, 3)]
    assert told == ["2300.00", "2300.01", "2300.02"]
    with pytest.raises(NoValue, match="no_record"):
        value_in(frame, point("voltage.l1", "voltage", nth=4))
    with pytest.raises(NoValue, match="ambiguous_record"):
        value_in(frame, point("voltage.l1", "voltage"))


def test_a_record_without_data_does_not_make_one_with_data_ambiguous() -> None:
    assert value_in(telegram("0006" + "040664000000"), point("thermal_energy", "energy")) == "100"


def test_phases_quadrants_and_directions_are_told_apart() -> None:
    frame = telegram("02fdc8fc010108" + "02fdc8fc020208" + "0483fc0864000000")
    assert value_in(frame, point("voltage.l1", "voltage", qualifiers=["phase_l1"])) == "204.9"
    assert value_in(frame, point("voltage.l2", "voltage", qualifiers=["phase_l2"])) == "205.0"
    assert value_in(frame, point("reactive_energy_q1", "energy", qualifiers=["quadrant_q1"])) == "0.100"
    with pytest.raises(NoValue, match="no_record"):
        value_in(frame, point("voltage.l3", "voltage", qualifiers=["phase_l3"]))


def test_data_presented_without_sign_is_read_without_sign() -> None:
    assert value_in(telegram("0286fc11ffef"), point("thermal_energy", "energy")) == "61439"
    assert value_in(telegram("0286fc11ffff"), point("thermal_energy", "energy")) is None


def test_a_unit_that_is_not_the_quantitys_is_no_value() -> None:
    frame = telegram("040664000000")
    with pytest.raises(NoValue, match="unknown_unit"):
        value_in(frame, point("volume_forward", "energy"))


def test_plate_ratio_and_scale_of_the_model_are_part_of_the_formula() -> None:
    meter = Target(model(), "5", "own", ct="400/5", vt="10000/100")
    frame = telegram("040364000000")
    wanted = point("active_energy_import", "energy", ratio="ct_vt", scale="0.5")
    formula = mbus.locate(meter, [short(0x7B, 5)], wanted, [frame])
    assert formula == "0@21:i32le!80000000*0.0005*400/5*10000/100"
    assert evaluate(formula, [frame]).value == "400.0000"


def test_joules_become_kilowatt_hours_by_one_exact_fraction() -> None:
    meter, energy = target(), point("thermal_energy", "energy")
    frame = telegram("040e64000000")
    formula = mbus.locate(meter, [short(0x7B, 5)], energy, [frame])
    assert formula == "0@21:i32le!80000000*5/18"
    assert evaluate(formula, [frame]).value == "27.77777777777777777777777777777778"


def test_the_maker_of_a_header_is_three_letters() -> None:
    header = read_telegram(FRAMES["kamstrup_multical_601"]).header
    assert (header.manufacturer, header.version, header.medium, header.digits) == ("KAM", 8, 4, "06855817")


@pytest.mark.parametrize(
    ("limits", "fits"),
    [
        ({}, True),
        ({"manufacturer": ["KAM"], "version": [8], "medium": [4]}, True),
        ({"manufacturer": ["SEN", "KAM"]}, True),
        ({"manufacturer": ["SEN"]}, False),
        ({"version": [7, 9]}, False),
        ({"medium": [7]}, False),
    ],
)
def test_nothing_is_read_from_the_telegram_of_another_make(limits: dict[str, object], fits: bool) -> None:
    meter, frame = target(header=limits), telegram("040664000000")
    energy = point("thermal_energy", "energy")
    if fits:
        assert evaluate(mbus.locate(meter, [short(0x7B, 5)], energy, [frame]), [frame]).value == "100"
    else:
        with pytest.raises(NoValue, match="other_model"):
            mbus.locate(meter, [short(0x7B, 5)], energy, [frame])


# --- fixed structure ------------------------------------------------------------------------------------------


def fixed(status: int, units: str, counters: str) -> bytes:
    return long(0x08, 5, 0x73, bytes.fromhex("78563412"), 1, status, bytes.fromhex(units + counters))


@pytest.mark.parametrize(
    ("frame", "quantity", "at", "value"),
    [
        (fixed(0x00, "e97e", "0100000035010000"), "volume_forward", {"kind": "volume"}, "0.001"),
        (fixed(0x00, "e97e", "0100000035010000"), "volume_forward", {"kind": "volume", "storage": 1}, "0.135"),
        (fixed(0x01, "2c85", "e803000010270000"), "volume_forward", {"kind": "volume"}, "1000"),
        (fixed(0x01, "2c85", "e803000010270000"), "thermal_energy", {"kind": "energy"}, "10000"),
        (fixed(0x01, "2c85", "e8030000feffffff"), "thermal_energy", {"kind": "energy"}, "-2"),
        (fixed(0x02, "2c05", "0100000002000000"), "thermal_energy", {"kind": "energy", "storage": 1}, "2"),
        (
            fixed(0x00, "1111", "0100000002000000"),
            "thermal_energy",
            {"kind": "energy", "nth": 2},
            "555.5555555555555555555555555555556",
        ),
    ],
)
def test_the_two_counters_of_the_fixed_structure(frame: bytes, quantity: str, at: dict[str, object], value: str) -> None:
    told = value_in(frame, point(quantity, str(at.pop("kind")), **at))
    assert told == value


def test_the_medium_of_the_fixed_structure_stands_in_four_bits() -> None:
    assert read_telegram(FRAMES["manual_frame2"]).header.medium == 7
    assert read_telegram(fixed(0, "0545", "0000000000000000")).header.medium == 4


def test_bad_digits_of_the_fixed_structure_are_no_number() -> None:
    frame = fixed(0x00, "2c05", "0a00000002000000")
    formula = mbus.locate(target(), [short(0x7B, 5)], point("volume_forward", "volume"), [frame])
    assert evaluate(formula, [frame]).cause == "bad_bcd"


# --- watches --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("header_number", "12345678"),
        ("header_manufacturer", "2d2c"),
        ("header_version", "8"),
        ("header_medium", "4"),
        ("header_status", "4"),
        ("fabrication_number", "00345678"),
        ("firmware_version", "258"),
        ("customer", "tsuc"),
        ("model_version", "010203"),
        ("parameter_set", "WFH21"),
        ("identification", "A10 3xV"),
    ],
)
def test_what_identifies_a_meter_is_told_as_it_stands(kind: str, text: str) -> None:
    records = "0c7878563400" + "02fd0e0201" + "0dfd1104" + b"cust".hex() + "0bfd0c030201" + "0dfd0b05" + b"12HFW".hex()
    records += "0d7907" + b"Vx3 01A".hex()
    frame = telegram(records, status=4)
    formula = mbus.locate(target(), [short(0x7B, 5)], watch(kind), [frame])
    assert evaluate(formula, [frame]).value == text


def test_flags_and_addresses_are_watched_as_numbers() -> None:
    frame = telegram("027a0d00" + "04fd17" + "01000000")
    assert evaluate(mbus.locate(target(), [short(0x7B, 5)], watch("error_flags"), [frame]), [frame]).value == "1"
    assert evaluate(mbus.locate(target(), [short(0x7B, 5)], watch("bus_address"), [frame]), [frame]).value == "13"


# --- dates ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("bf1c", "2013-12-31"),
        ("ff0c", "2007-12-31"),
        ("0000", None),
        ("ffff", None),
        ("0a0ccd13", "2014-03-13T12:10"),
        ("1a2f6511", "2011-01-05T15:26"),
        ("8a0ccd13", None),
        ("0a1fcd13", None),
        ("000008162700", "2016-07-22T08:00:00"),
        ("1e1e0c", "12:30:30"),
        ("00", None),
    ],
)
def test_dates_of_every_type_are_told_or_marked_invalid(data: str, text: str | None) -> None:
    assert moment(bytes.fromhex(data)) == text


def test_every_published_date_is_the_one_libmbus_tells() -> None:
    compared = 0
    for one in GOLDEN:
        frame = FRAMES[one["name"]]
        for record, published in zip(read_telegram(frame).records, one["records"], strict=True):
            data = frame[record.data : record.data + record.length]
            if record.meaning.kind in ("date", "date_time") and record.length in (2, 4) and (told := moment(data)):
                assert published[1].removesuffix("Z").removesuffix(":00") == told, (one["name"], published)
                compared += 1
    assert compared > 60


# --- telegrams that contradict themselves ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "records",
    [
        "04",
        "0406",
        "0406640000",
        "84",
        "8480808080808080808080800006",
        "0486",
        "04868686868686868686868686868606" + "64000000",
        "04fb",
        "04fd",
        "0d06",
        "0d06ff",
        "0d06f7",
        "0d06ca00",
        "0d06050102",
        "3f",
        "4f0406",
        "7f",
        "047c",
        "047c0541",
        "047c00" + "64000000",
        "04fc",
        "04fcff",
        "02fc033b3b3b3b3b",
    ],
)
def test_a_telegram_that_contradicts_itself_is_refused_whole(records: str) -> None:
    frame = telegram("040664000000" + records)
    with pytest.raises(Unreadable):
        read_telegram(frame)
    with pytest.raises(MeterError) as raised:
        mbus.check(short(0x7B, 5), frame)
    assert raised.value.cause == "bad_records"
    with pytest.raises((NoValue, KeyError)):
        value_in(frame, point("thermal_energy", "energy"))


def test_too_many_extensions_as_published_are_refused() -> None:
    with pytest.raises(Unreadable):
        read_telegram(FRAMES["too_many_vife"])


@pytest.mark.parametrize("mode", [1, 2, 4, 5, 7, 8, 9, 13, 15])
def test_an_encrypted_telegram_is_said_to_be_one_and_never_read(mode: int) -> None:
    frame = telegram("040664000000", configuration=f"40{mode:02x}")
    mbus.check(short(0x7B, 5), frame)
    with pytest.raises(NoValue, match="encrypted"):
        value_in(frame, point("thermal_energy", "energy"))
    with pytest.raises(NoValue, match="encrypted"):
        mbus.locate(target(), [short(0x7B, 5)], watch("fabrication_number"), [frame])
    assert mbus.locate(target(), [short(0x7B, 5)], watch("header_number"), [frame]) == "0@7:digits4le"


def test_the_signature_field_of_older_meters_is_no_encryption() -> None:
    frame = resealed(FRAMES["example_data_01"][:5] + b"\x05" + FRAMES["example_data_01"][6:])
    assert read_telegram(frame).header.encrypted is False
    assert value_in(frame, point("thermal_energy", "energy")) is not None


# --- fuzzing --------------------------------------------------------------------------------------------------

ASKED = [
    point(quantity, kind, function=function, storage=storage, tariff=tariff)
    for kind, units in UNITS.items()
    for quantity in [next((QUANTITY_OF[unit] for unit in units if unit in QUANTITY_OF), None)]
    if quantity
    for function, storage, tariff in [
        ("instantaneous", 0, 0),
        ("maximum", 0, 0),
        ("instantaneous", 1, 0),
        ("instantaneous", 0, 1),
    ]
]


def justified(frame: bytes, wanted: MbusPoint, value: str) -> bool:
    """Whether the second reader comes to the same value by the same record."""
    try:
        seen = seen_in(frame)
    except Beyond:
        return frame[6] == 0x73 or b"\x7c" in frame or b"\xfc" in frame or any(byte & 0x0F == 0x0D for byte in frame[19:])
    at = wanted.at
    mine = [
        one
        for one in seen
        if (one.kind, one.function, one.storage, one.tariff, one.subunit, one.added)
        == (at.kind, at.function, at.storage, at.tariff, at.subunit, ())
        and one.data
    ]
    if not mine and any(one.added[:1] == (0xFC,) or 0x7C in one.added for one in seen):
        return True  # type C and D are beyond the second reader
    return len(mine) == 1 and mine[0].value is not None and same(value, mine[0])


def mutated(chance: random.Random, frame: bytes) -> bytes:
    body = bytearray(frame)
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(4, len(body) - 2)
        match chance.randrange(4):
            case 0:
                body[place] = chance.randrange(256)
            case 1:
                body[place] ^= 1 << chance.randrange(8)
            case 2:
                del body[place : place + chance.randint(1, 3)]
            case _:
                body[place:place] = chance.randbytes(chance.randint(1, 3))
        if len(body) < 10:
            return bytes(frame)
    body[5] = 5
    return resealed(bytes(body))


@settings(max_examples=500, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_ten_thousand_mutated_telegrams_give_no_value_that_their_bytes_do_not_justify(seed: int) -> None:
    values_of_mutated(random.Random(seed), 20)


def test_mutated_telegrams_do_give_values() -> None:
    assert values_of_mutated(random.Random(13757), 1000) > 150


def values_of_mutated(chance: random.Random, count: int) -> int:
    """How many values so many mutated telegrams give, each justified by the second reader."""
    frames, values = list(TELEGRAMS.values()), 0
    meter = target()
    for _ in range(count):
        frame = mutated(chance, chance.choice(frames))
        try:
            mbus.check(short(0x7B, 5), frame)
        except MeterError:
            continue
        for wanted in chance.sample(ASKED, 6):
            try:
                formula = mbus.locate(meter, [short(0x7B, 5)], wanted, [frame])
            except (NoValue, KeyError):
                continue
            value = evaluate(formula, [frame]).value
            if value is not None:
                values += 1
                assert justified(frame, wanted, value), (frame.hex(), wanted, formula, value)
    return values


@settings(max_examples=1500, deadline=None)
@given(st.binary(max_size=60), st.sampled_from([short(0x7B, 5), short(0x5B, 5), short(0x40, 5), short(0x7B, 0xFD), b"", b"\x10"]))
def test_no_bytes_raise_anything_but_the_contracts_errors(data: bytes, request: bytes) -> None:
    for answer in (data, long(8, 5, 0x72, data) if data else ACK, long(8, 5, 0x73, data), long(8, 5, 0x70, data)):
        for address in ("5", "12345678", "123456782D2C0804"):
            meter = target(address=address)
            try:
                mbus.check(request, answer)
            except MeterError as error:
                assert error.cause  # noqa: PT017  the contract's own errors, with a word
            mbus.answer_span(request, answer)
            mbus.fault(request, answer, "own")
            mbus.following(meter, request, answer)
            mbus.prescribes(meter, meter.model.points, request)
            mbus.station(request, "own")
            mbus.identification(answer, "own")
            mbus.own_number_matches(meter, [answer])
            mbus.status_words([answer])
            mbus.frame_serial(meter, [request], [answer])
            for wanted in ASKED[:3]:
                try:
                    evaluate(mbus.locate(meter, [request], wanted, [answer]), [answer])
                except (NoValue, KeyError):
                    continue


def test_every_quantity_the_tests_ask_for_exists() -> None:
    assert {name.partition(".")[0] for name in QUANTITY_OF.values()} <= set(QUANTITIES)
