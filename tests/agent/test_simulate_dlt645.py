"""agent.simulate_dlt645: what a simulated DL/T 645 meter holds, what it lets be read, and that our driver reads just that."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from agent.simulate_dlt645 import Dlt645Meter
from agent.simulate_dlt645_frames import take
from agent.simulate_instrument import NotFitting
from config.dlt645 import Dlt645Model
from config.plant import SimulatedMeter
from drivers import Request, Target, dlt645
from drivers.formula import evaluate
from tests.agent.gateway import SECOND, StillClock
from tests.agent.plants import models
from tests.peers.dlt645 import METER, answer, frame, part, turned

NAMES = sorted(name for name, model in models().items() if model.declared.protocol == "dlt645")
WAKE = b"\xfe" * 4


def meter_of(name: str = "dlt645-2007-single-phase", clock: StillClock | None = None, **keys: Any) -> Dlt645Meter:
    declared = SimulatedMeter.model_validate({"id": "M", "on": "line", "address": METER, "model": name} | keys)
    model = models()[name].declared
    assert isinstance(model, Dlt645Model)
    return Dlt645Meter(declared, model, clock or StillClock())


def told(meter: Dlt645Meter, control: int, data: str, address: str = METER) -> bytes | None:
    """The meter's answer without its wake-up bytes."""
    answered = meter.answer(WAKE + frame(address, control, data))
    assert answered is None or answered[:4] == WAKE
    return answered and answered[4:]


def read(meter: Dlt645Meter, hole: int | None = None) -> dict[str, str | None]:
    """Every quantity as our driver reads it, following frames and all."""
    target = Target(meter.model, meter.declared.address, "own", meter.declared.ct, meter.declared.vt)
    points = list(meter.model.points)
    requests, answers = [], []
    for first in dlt645.requests(target, points, hole):
        request: Request | None = first
        while request:
            answered = meter.answer(request.data) or b""
            span = dlt645.answer_span(request.data, answered, "own")
            assert span
            whole = answered[slice(*span)]
            dlt645.check(request.data, whole, "own")
            requests.append(request.data)
            answers.append(whole)
            request = dlt645.following(target, request.data, whole)
    return {point.quantity: evaluate(dlt645.locate(target, requests, point, answers), answers).value for point in points}


# --- what it holds ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("hole", [None, 0])
def test_our_driver_reads_from_every_model_what_its_simulated_meter_holds(name: str, hole: int | None) -> None:
    plates = {"ct": "400/5", "vt": "10000/100"} if "single" not in name else {}
    clock = StillClock()
    meter = meter_of(
        name, clock, load={"active_power": "-12000"}, start={"active_energy_import": "184223.57"}, seed="3", **plates
    )
    for _ in range(2):
        seen = read(meter, hole)
        assert seen == {quantity: meter.truth(quantity) for quantity in seen}
        clock.move(900)
    assert Decimal(meter.truth("active_energy_import")) >= Decimal("184223.57") - 80


@pytest.mark.parametrize("name", NAMES)
def test_the_models_scales_are_the_standards_as_the_simulation_has_them(name: str) -> None:
    held = {"active_energy_import": "123456.78", "active_power": "12340", "voltage.l1": "230", "current.l1": "4.99"}
    meter = meter_of(name, hold=held, ct="1", vt="1")
    assert {quantity: Decimal(read(meter)[quantity] or "0") for quantity in held} == {
        quantity: Decimal(value) for quantity, value in held.items()
    }


def test_what_is_held_stands_in_the_answer_digit_by_digit() -> None:
    meter = meter_of(hold={"active_energy_import": "1234.56", "current.l1": "-5.001", "frequency": "missing"})
    assert told(meter, 0x11, turned("00010000")) == answer("00010000", "00123456")
    assert told(meter, 0x11, turned("02020100")) == answer("02020100", "805001")
    assert told(meter, 0x11, turned("02800002")) == answer("02800002", "FFFF")
    assert meter.truth("frequency") == "missing"
    assert read(meter)["frequency"] is None
    meter.release("frequency")
    assert Decimal(meter.truth("frequency")) > 40
    with pytest.raises(NotFitting, match="1000000 cannot stand"):
        meter.hold("active_energy_import", "1000000")
    assert meter.truth("active_energy_import") == "1234.56"
    for name in ("colour", "voltage.l2"):
        with pytest.raises(KeyError):
            meter.hold(name, "1")


def test_a_counter_rolls_over_after_its_last_digit_and_moves_with_the_clock() -> None:
    clock = StillClock()
    meter = meter_of(clock=clock, load={"active_power": "10000"}, start={"active_energy_import": "999999.99"})
    assert meter.truth("active_energy_import") == "999999.99"
    clock.move(3600)
    assert Decimal(0) < Decimal(meter.truth("active_energy_import")) < 20
    clock.wall_ns -= 3600 * SECOND
    assert Decimal(meter.truth("active_energy_import")) < 20


def test_its_numbers_are_its_address_unless_it_was_given_another() -> None:
    meter = meter_of()
    assert (meter.serial, told(meter, 0x11, turned("04000402"))) == (METER, answer("04000402", METER))
    assert told(meter, 0x11, turned("04000401")) == answer("04000401", METER)
    other = meter_of(serial="20190412")
    assert (other.serial, told(other, 0x11, turned("04000402"))) == ("20190412", answer("04000402", "000020190412"))
    other.hold("meter_number", "77")
    assert told(other, 0x11, turned("04000402")) == answer("04000402", "000000000077")
    with pytest.raises(NotFitting):
        meter_of(serial="A1")


# --- requests -----------------------------------------------------------------------------------------------------


def test_it_answers_to_its_address_with_aa_for_any_two_digits_and_to_nobody_elses() -> None:
    meter = meter_of(hold={"active_energy_import": "1.00"})
    right = answer("00010000", "00000100")
    for address in (METER, "AAAAAAAAAAAA", "AAAAAAAA5670", "AAAA12345670"):
        assert told(meter, 0x11, turned("00010000"), address) == right
    for address in ("000012345671", "999999999999", "AAAAAAAA5671", "AA0000005670"):
        assert told(meter, 0x11, turned("00010000"), address) is None
    assert told(meter, 0x13, "", "AAAAAAAAAAAA") == frame(METER, 0x93, turned(METER))


@pytest.mark.parametrize(
    ("control", "data", "refused"),
    [
        (0x11, turned("00FF0000"), (0xD1, "02")),
        (0x11, turned("0001FF00"), (0xD1, "02")),  # a block its model does not name
        (0x11, "0001", (0xD1, "02")),
        (0x12, turned("00010000") + "01", (0xD2, "02")),
        (0x14, turned("04000402") + "00" * 14, (0xD4, "04")),
        (0x15, turned("000000000001"), (0xD5, "04")),
        (0x19, "00" * 8, (0xD9, "04")),
        (0x1A, "00" * 8, (0xDA, "04")),
        (0x01, "1090", (0xC1, "04")),
    ],
)
def test_what_it_does_not_have_or_does_not_do_is_refused(control: int, data: str, refused: tuple[int, str]) -> None:
    assert told(meter_of(), control, data) == frame(METER, *refused)


def test_a_block_ends_with_the_last_tariff_the_meter_has() -> None:
    held = {f"active_energy_import.t{tariff}": f"{tariff}.00" for tariff in range(1, 5)}
    meter = meter_of("dlt645-2007-three-phase-blocks", hold=held | {"active_energy_import": "10.00"}, ct="1", vt="1")
    assert told(meter, 0x11, turned("0001FF00")) == answer("0001FF00", "00001000", "00000100", "00000200", "00000300", "00000400")


def test_a_long_block_comes_in_numbered_parts_as_it_was_when_it_was_asked_for() -> None:
    clock = StillClock()
    meter = meter_of(
        "dlt645-2007-three-phase-blocks",
        clock,
        load={"active_power": "900000"},
        ct="1",
        vt="1",
        hold={"active_energy_import.t2": "2.00"},
    )
    meter.most_data = 13  # two members a frame
    before = meter.truth("active_energy_import.t4")
    first = told(meter, 0x11, turned("0001FF00"))
    assert first
    assert first[8] == 0xB1
    clock.move(3600)
    assert told(meter, 0x12, turned("0001FF00") + "02") == part("0001FF00", 2, f"{Decimal(before) * 100:08.0f}")
    second = told(meter, 0x12, turned("0001FF00") + "01")
    assert second
    assert second[8] == 0xB2
    assert second[14:18] == answer("00010200", "00000200")[14:18]
    assert told(meter, 0x12, turned("0001FF00") + "03") == frame(METER, 0xD2, "02")
    assert meter.truth("active_energy_import.t4") != before


@pytest.mark.parametrize("most", [200, 30, 13, 9, 8, 7])
def test_our_driver_reads_a_meter_that_divides_its_blocks_wherever_it_does(most: int) -> None:
    meter = meter_of("dlt645-2007-three-phase-blocks", ct="1", vt="1", load={"active_power": "-12000"}, seed="5")
    meter.most_data = most
    seen = read(meter)
    assert seen == {quantity: meter.truth(quantity) for quantity in seen}
    assert str(seen["active_power.l1"]).startswith("-")


def test_a_meter_of_1997_hands_its_parts_out_one_after_the_other() -> None:
    meter = meter_of("dlt645-1997", ct="1", vt="1", hold={"active_energy_import": "0.36"})
    model = meter.model.model_copy(update={"dlt645": meter.model.dlt645.model_copy(update={"blocks": ("901F",)})})
    meter = Dlt645Meter(meter.declared, model, StillClock())
    meter.most_data = 11
    asked = [told(meter, control, "1f90") or b"" for control in (0x01, 0x02, 0x02, 0x02)]
    assert [each[8] for each in asked] == [0xA1, 0xA2, 0x82, 0xC2]
    assert asked[0][12:16] == answer("9010", "00000036")[12:16]
    seen = read(meter)
    assert seen == {quantity: meter.truth(quantity) for quantity in seen}
    assert told(meter, 0x11, turned("00010000")) == frame(METER, 0xD1, "04")


# --- requests in a stream -----------------------------------------------------------------------------------------

ASK = frame(METER, 0x11, turned("00010000"))


def taken(stream: bytes) -> tuple[list[bytes], bytes]:
    buffer, found = bytearray(stream), []
    while (request := take(buffer)) is not None:
        found.append(request)
    return found, bytes(buffer)


@pytest.mark.parametrize("before", [b"", b"\x00\x01", b"\x68", b"\x68\x68\x16", bytes(30)])
def test_a_request_is_taken_with_its_wake_up_bytes_and_without_the_noise_in_front(before: bytes) -> None:
    assert taken(before + WAKE + ASK + ASK) == ([WAKE + ASK, ASK], b"")
    for count in range(len(ASK)):
        assert taken(before + ASK[:count])[0] == []
    buffer = bytearray()
    for byte in before + ASK:
        buffer.append(byte)
        request = take(buffer)
    assert request == ASK


def test_a_damaged_request_and_another_meters_answer_are_passed_over() -> None:
    damaged = ASK[:-2] + b"\x00\x16"
    assert taken(damaged + answer("00010000", "00000001") + ASK)[0] == [ASK]
