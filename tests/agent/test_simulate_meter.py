"""agent.simulate_meter, simulate_registers, simulate_load: what a simulated meter holds, and what it lets be read."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from agent.simulate_load import Load
from agent.simulate_meter import Meter
from agent.simulate_registers import Cell
from config.library import with_points
from config.modbus import At, ModbusLimits
from config.plant import SimulatedMeter
from config.quantity import QUANTITIES
from drivers import Target, load
from drivers.formula import evaluate
from tests.agent.gateway import SECOND, StillClock
from tests.agent.plants import models, simulator_of, with_crc

HOUR = 3600.0
MODBUS = load("modbus")
MODBUS_MODELS = sorted(
    name for name, model in models().items() if model.declared.protocol == "modbus" and name != "generic-modbus"
)


def meter_of(model: str, clock: StillClock | None = None, **keys: Any) -> Meter:
    declared = SimulatedMeter.model_validate({"id": "M", "on": "hall", "address": "7", "model": model} | keys)
    chosen = with_points(models()[model], declared.points) if declared.points else models()[model]
    return Meter(declared, chosen.declared, clock or StillClock())


def generic(*points: dict[str, Any], **keys: Any) -> Meter:
    return meter_of("generic-modbus", points=list(points), **keys)


def read(meter: Meter, function: int, address: int, count: int) -> bytes:
    """The data of an answer, or the exception's code as one byte."""
    answer = meter.answer(bytes([function]) + address.to_bytes(2, "big") + count.to_bytes(2, "big"))
    return answer[1:] if answer[0] & 0x80 else answer[2:]


# --- encodings ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at", "number", "data"),
    [
        ({"type": "f32"}, "230.5", "43668000"),
        ({"type": "f32", "word_order": "little"}, "230.5", "80004366"),
        ({"type": "f32", "byte_order": "little"}, "230.5", "66430080"),
        ({"type": "f32", "word_order": "little", "byte_order": "little"}, "230.5", "00806643"),
        ({"type": "f64"}, "230.5", "406cd00000000000"),
        ({"type": "u16"}, "513", "0201"),
        ({"type": "u16", "byte_order": "little"}, "513", "0102"),
        ({"type": "i16"}, "-2", "fffe"),
        ({"type": "i32", "word_order": "little"}, "-2", "fffeffff"),
        ({"type": "u48"}, "12345678901", "0002dfdc1c35"),
        ({"type": "u64"}, "12345678901", "00000002dfdc1c35"),
        ({"type": "i64", "word_order": "little"}, "-1", "ffffffffffffffff"),
        ({"type": "u8"}, "200", "00c8"),
        ({"type": "i8"}, "-1", "00ff"),
        ({"type": "bcd", "count": "2"}, "12345678", "12345678"),
        ({"type": "bcd", "count": "2", "word_order": "little"}, "12345678", "56781234"),
        ({"type": "mod10", "count": "3"}, "123456789", "000109291a85"),
        ({"type": "mod10", "count": "2", "word_order": "little"}, "12345678", "162e04d2"),
        ({"type": "u16", "bits": "4-7"}, "9", "0090"),
        ({"type": "bit", "bits": "3"}, "1", "0008"),
    ],
)
def test_a_number_stands_in_its_registers_as_the_model_says(at: dict[str, str], number: str, data: str) -> None:
    cell = Cell.of(At.model_validate({"address": "0"} | at), ModbusLimits())
    assert cell.number(cell.nearest(Decimal(number), rolls=False)).hex() == data


@pytest.mark.parametrize(
    ("at", "text", "data"),
    [({"type": "ascii", "count": "3"}, "AB1", "414231000000"), ({"type": "hex", "count": "2"}, "010203", "00010203")],
)
def test_a_text_stands_in_its_registers_padded(at: dict[str, str], text: str, data: str) -> None:
    assert Cell.of(At.model_validate({"address": "0"} | at), ModbusLimits()).text(text).hex() == data


def test_a_counter_rolls_over_at_the_end_of_its_register_and_a_gauge_stays_there() -> None:
    cell = Cell.of(At.model_validate({"address": "0", "type": "u16"}), ModbusLimits())
    assert cell.nearest(Decimal(65537), rolls=True) == 1
    assert cell.nearest(Decimal(65537), rolls=False) == 65535
    assert cell.nearest(Decimal(-5), rolls=False) == 0


# --- register maps ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "model", ["acrel-adl3000", "acrel-dtsd1352", "eastron-sdm120", "siemens-pac3200", "tuf-2000m", "wirenboard-wb-mcm8"]
)
def test_a_meter_held_at_a_models_example_answers_with_the_examples_bytes(model: str) -> None:
    example = models()[model].declared.examples[0]
    meter = meter_of(model, hold=dict(example.values), ct=example.ct, vt=example.vt)
    for frame in example.frames:
        request, answer = bytes.fromhex(frame.request), bytes.fromhex(frame.answer)
        assert meter.answer(request[1:-2]).hex() == answer[1:-2].hex()


@pytest.mark.parametrize("framing", ["tcp", "rtu", "ascii"])
@pytest.mark.parametrize("model", MODBUS_MODELS)
def test_what_a_driver_reads_of_a_model_is_what_the_meter_holds(model: str, framing: str) -> None:
    declared = models()[model].declared
    clock = StillClock()
    meter = meter_of(model, clock, ct="400/5", vt="10000/100", seed="3")
    meter.truth(declared.points[0].quantity)
    clock.move(HOUR)
    target = Target(declared, "7", framing, "400/5", "10000/100")
    requests = [request.data for request in MODBUS.requests(target, declared.points)]
    answers = [framed_by_hand(framing, meter.answer(pdu_of(request, framing))) for request in requests]
    for request, answer in zip(requests, answers, strict=True):
        MODBUS.check(request, answer, framing)
    for point in declared.points:
        assert evaluate(MODBUS.locate(target, requests, point), answers).value == meter.truth(point.quantity), point.quantity


def pdu_of(request: bytes, framing: str) -> bytes:
    return {"tcp": lambda: request[7:], "rtu": lambda: request[1:-2], "ascii": lambda: bytes.fromhex(request[3:-4].decode())}[
        framing
    ]()


def framed_by_hand(framing: str, pdu: bytes) -> bytes:
    body = b"\x07" + pdu
    if framing == "rtu":
        return with_crc(body)
    if framing == "tcp":
        return b"\0\0\0\0" + len(body).to_bytes(2, "big") + body
    return b":" + (body + bytes([-sum(body) & 0xFF])).hex().upper().encode() + b"\r\n"


def test_the_identity_tells_the_serial_number_and_the_settings_what_the_model_expects() -> None:
    meter = meter_of("siemens-pac3200", serial="LQN/1205")
    block = read(meter, 3, 64001, 27)
    assert block[:2] == (42).to_bytes(2, "big")
    assert block[22:38] == b"LQN/1205".ljust(16, b"\0")
    assert read(meter_of("eastron-sdm630", serial="21012345"), 3, 0xFC00, 2) == (21012345).to_bytes(4, "big")
    assert read(meter_of("acrel-adl3000", ct="400/5", vt="1"), 3, 0x014B, 2) == (80).to_bytes(4, "big")


def test_a_decimal_exponent_in_another_register_fits_the_value() -> None:
    exponent = {"at": {"address": "9", "type": "u16", "bits": "8-15"}, "offset": "-4"}
    volts = {"quantity": "voltage.l1", "at": {"address": "0", "type": "u16"}, "exponent": exponent}
    meter = generic(volts, load={"voltage.l1": "5774"}, frozen=True)
    shift = read(meter, 3, 9, 1)
    assert shift[1] == 0
    assert Decimal(int.from_bytes(read(meter, 3, 0, 1), "big")).scaleb(shift[0] - 4) == Decimal(5774)
    assert Decimal(meter.truth("voltage.l1")) == 5774


def test_a_value_of_an_integer_and_a_fraction_is_split_between_them() -> None:
    fraction = {"at": {"address": "2", "type": "u16"}, "scale": "0.001"}
    meter = generic(
        {"quantity": "volume_forward", "at": {"address": "0", "type": "u32"}, "plus": [fraction]},
        start={"volume_forward": "1203.457"},
    )
    assert read(meter, 3, 0, 2) + read(meter, 3, 2, 1) == (1203).to_bytes(4, "big") + (457).to_bytes(2, "big")
    assert meter.truth("volume_forward") == "1203.457"


def test_a_total_is_the_sum_of_its_tariffs() -> None:
    meter = meter_of("siemens-pac3200", start={"active_energy_import": "1730551.3"})
    total, first, second = (Decimal(meter.truth(f"active_energy_import{part}")) for part in ("", ".t1", ".t2"))
    assert (total, first + second) == (Decimal("1730551.3"), total)
    assert min(first, second) > 0


def test_coils_and_inputs_are_bits() -> None:
    meter = generic(
        {"quantity": "pulse_count.ch1", "at": {"address": "3", "type": "bit", "function": "1"}},
        {"quantity": "pulse_count.ch2", "at": {"address": "4", "type": "bit", "function": "1"}},
        hold={"pulse_count.ch1": "0", "pulse_count.ch2": "1"},
    )
    assert read(meter, 1, 3, 2) == b"\x02"
    assert read(meter, 2, 3, 1) == b"\x02"  # exception: no such input


# --- what is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "function", "address", "count", "code"),
    [
        ("eastron-sdm630", 4, 0, 81, 3),  # at most 80 at once
        ("eastron-sdm630", 4, 0, 0, 3),
        ("eastron-sdm630", 4, 1, 2, 2),  # odd start
        ("eastron-sdm630", 4, 0, 3, 2),  # odd count
        ("eastron-sdm630", 4, 2000, 2, 2),
        ("eastron-sdm630", 3, 24, 2, 2),  # the password
        ("eastron-sdm630", 2, 0, 1, 2),
        ("siemens-pac3200", 3, 64012, 8, 2),  # only as one block
        ("carlo-gavazzi-em340", 3, 0x000A, 2, 2),  # only alone
        ("carlo-gavazzi-em340", 4, 0x0036, 12, 2),  # a hole of 8, 6 at most
        ("acrel-dtsd1352", 3, 0, 125, 2),
    ],
)
def test_a_read_that_the_model_does_not_allow_is_refused(model: str, function: int, address: int, count: int, code: int) -> None:
    assert read(meter_of(model), function, address, count) == bytes([code])


def test_a_hole_no_wider_than_the_model_allows_reads_as_zero() -> None:
    data = read(meter_of("carlo-gavazzi-em340", start={"active_energy_import.t2": "12.5"}), 4, 0x0048, 8)
    assert data[4:12] == bytes(8)
    assert data[:4] == bytes.fromhex("007d0000")


@pytest.mark.parametrize(
    ("request_pdu", "code"),
    [("06 0000 0001", 1), ("10 0000 0001 02 0001", 1), ("2B 0D 01 00", 1), ("2B 0E 05 00", 3), ("03 00", 3)],
)
def test_a_request_that_is_no_read_is_refused(request_pdu: str, code: int) -> None:
    request = bytes.fromhex(request_pdu)
    assert meter_of("eastron-sdm630").answer(request) == bytes([request[0] | 0x80, code])


def test_device_identification_tells_maker_product_and_revision() -> None:
    declared = models()["abb-b23"].declared
    answer = meter_of("abb-b23").answer(bytes.fromhex("2B0E0100"))
    texts = [declared.maker.encode(), declared.product.encode()[:60], str(declared.revision).encode()]
    assert answer == bytes.fromhex("2B0E01810000 03") + b"".join(bytes([n, len(text)]) + text for n, text in enumerate(texts))
    assert (
        meter_of("abb-b23").answer(bytes.fromhex("2B0E0400"))
        == bytes.fromhex("2B0E0481000001") + bytes([0, len(texts[0])]) + texts[0]
    )
    assert meter_of("abb-b23").answer(bytes.fromhex("2B0E0409")) == b"\xab\x02"


# --- held values --------------------------------------------------------------------------------------------------


def test_a_held_value_stays_until_it_is_released() -> None:
    clock = StillClock()
    meter = meter_of("acrel-dtsd1352", clock, ct="1", vt="1", start={"active_energy_import": "100"})
    meter.hold("active_energy_import", "5.25")
    clock.move(HOUR)
    assert meter.truth("active_energy_import") == "5.25"
    assert read(meter, 3, 10, 2) == (525).to_bytes(4, "big")
    meter.release("active_energy_import")
    assert Decimal(meter.truth("active_energy_import")) >= 100


def test_a_held_serial_number_is_another_meter() -> None:
    meter = meter_of("eastron-sdm630", serial="21012345")
    meter.hold("serial", "99")
    assert read(meter, 3, 0xFC00, 2) == (99).to_bytes(4, "big")


def test_a_missing_value_is_told_with_the_models_sentinel_or_as_not_a_number() -> None:
    meter = meter_of("carlo-gavazzi-em340", hold={"voltage.l2": "missing"})
    assert read(meter, 4, 2, 2) == bytes.fromhex("ffff7fff")
    assert meter.truth("voltage.l2") == "missing"
    assert read(meter_of("eastron-sdm630", hold={"voltage.l2": "missing"}), 4, 2, 2) == bytes.fromhex("7fc00000")


@pytest.mark.parametrize(("name", "value"), [("serial", "AB12"), ("serial", "4294967296"), ("voltage.l1", "high")])
def test_a_value_that_does_not_fit_is_refused_and_changes_nothing(name: str, value: str) -> None:
    meter = meter_of("eastron-sdm630", serial="21012345", frozen=True)
    before = (read(meter, 3, 0xFC00, 2), meter.truth("voltage.l1"))
    with pytest.raises(ValueError, match=f"{value} cannot stand in the registers of {name}"):
        meter.hold(name, value)
    assert (read(meter, 3, 0xFC00, 2), meter.truth("voltage.l1")) == before
    with pytest.raises(KeyError):
        meter.hold("colour", "1")


# --- the load -----------------------------------------------------------------------------------------------------


def three_phase(seed: int = 1, frozen: bool = False, **load_of: str) -> Load:
    names = [
        f"{base}{part}"
        for base in ("active_power", "active_energy_import", "voltage", "current")
        for part in ("", ".l1", ".l2", ".l3")
    ]
    numbers = {name: Decimal(value) for name, value in load_of.items()}
    return Load(names, numbers, {"active_energy_import": Decimal("184223.5")}, seed, frozen)


def test_the_phases_add_up_to_the_total() -> None:
    flow = three_phase(active_power="42000")
    flow.advance(1_772_323_200 * SECOND)
    parts = sum(flow.value(f"active_power.l{phase}") for phase in (1, 2, 3))
    assert abs(parts - flow.value("active_power")) <= flow.value("active_power") / 10_000
    power = flow.value("active_power.l1")
    apparent = flow.value("voltage.l1") * flow.value("current.l1")
    assert abs(power / apparent - Decimal("0.93")) < Decimal("0.001")


def test_an_energy_counter_rises_by_the_power_over_time() -> None:
    flow = three_phase(active_power="42000")
    start = 1_772_323_200 * SECOND
    flow.advance(start)
    summed = Decimal(0)
    for second in range(0, 3600, 10):
        flow.advance(start + (second + 5) * SECOND)
        summed += flow.value("active_power") / 1000 * 10 / 3600
    flow.advance(start + 3600 * SECOND)
    rise = flow.value("active_energy_import") - Decimal("184223.5")
    assert abs(rise - summed) < summed / 1000
    assert 15 < rise < 70


def test_a_counter_does_not_depend_on_how_often_it_is_read() -> None:
    seldom, often = three_phase(), three_phase()
    for hour in range(25):
        often.advance((1_772_323_200 + hour * 3600) * SECOND)
    seldom.advance(1_772_323_200 * SECOND)
    seldom.advance((1_772_323_200 + 24 * 3600) * SECOND)
    assert abs(seldom.value("active_energy_import") - often.value("active_energy_import")) <= Decimal("0.00001")


def test_a_clock_that_is_set_back_never_turns_a_counter_back() -> None:
    flow = three_phase()
    values = []
    for hour in (0, 1, -5, -4):
        flow.advance((1_772_323_200 + hour * 3600) * SECOND)
        values.append(flow.value("active_energy_import"))
    assert values[0] < values[1] == values[2] < values[3]


def test_a_meter_that_exports_counts_export_only() -> None:
    clock = StillClock()
    meter = meter_of("schneider-iem3000", clock, load={"active_power": "-41000"}, start={"active_energy_export": "96214.118"})
    assert meter.truth("active_energy_export") == "96214.118"
    clock.move(HOUR)
    assert Decimal(meter.truth("active_energy_export")) > Decimal("96214.118")
    assert Decimal(meter.truth("active_energy_import")) == 0
    assert Decimal(meter.truth("active_power")) < 0


def test_a_frozen_meter_holds_every_value() -> None:
    clock = StillClock()
    meter = meter_of(
        "eastron-sdm630", clock, frozen=True, load={"active_power": "42000"}, start={"active_energy_import": "184223.5"}
    )
    before = {point.quantity: meter.truth(point.quantity) for point in meter.model.points}
    clock.move(5 * HOUR)
    assert {point.quantity: meter.truth(point.quantity) for point in meter.model.points} == before
    assert (before["active_power"], before["active_energy_import"]) == ("42000", "184223.5")


def test_every_quantity_of_the_table_has_a_value() -> None:
    flow = Load(QUANTITIES, {}, {}, 1, frozen=False)
    flow.advance(1_772_323_200 * SECOND)
    flow.advance(1_772_330_400 * SECOND)
    for name in QUANTITIES:
        assert flow.value(name).is_finite(), name


def test_meters_of_different_seeds_differ_and_of_one_seed_agree(tmp_path: Path) -> None:
    meters = [
        {"id": f"M{n}", "address": str(n), "model": "eastron-sdm630", "seed": seed} for n, seed in ((1, "1"), (2, "1"), (3, "2"))
    ]
    simulator = simulator_of(tmp_path, *meters)
    one, same, other = (simulator.truth(f"M{n}", "active_power") for n in (1, 2, 3))
    assert one == same != other
