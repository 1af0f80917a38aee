"""Simulated CJ/T 188 meters: what they hold is what the driver reads, on lines of their own and shared ones."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import pytest

from agent.simulate_cjt188 import FAULTS, Cjt188Meter, take
from agent.simulate_instrument import NotFitting
from config.cjt188 import Cjt188Model, Cjt188Place, Cjt188Point, Cjt188Watch, cjt188_address
from config.plant import Fault, SimulatedMeter
from drivers import Target, cjt188, load
from drivers.errors import BadFrame, MeterError, Refused
from drivers.formula import evaluate
from tests.agent.conversations import poll
from tests.agent.gateway import StillClock
from tests.agent.plants import Wire, link_to, models, simulator_of

DRIVER = load("cjt188")
OWN = "own"
NAMES = sorted(name for name, model in models().items() if model.declared.protocol == "cjt188")
ADDRESS = "78330123456789"
each_model = pytest.mark.parametrize("name", NAMES)


def model_of(name: str) -> Cjt188Model:
    return cast("Cjt188Model", models()[name].declared)


def meter_of(name: str = "cjt188-water-2004", clock: StillClock | None = None, **declared: Any) -> Cjt188Meter:
    return meter_with(model_of(name), clock, **declared)


def meter_with(model: Cjt188Model, clock: StillClock | None = None, **declared: Any) -> Cjt188Meter:
    usual = {"id": "M", "on": "hall", "model": model.model, "address": ADDRESS}
    made = SimulatedMeter.model_validate(usual | declared)
    made = made.model_copy(update={"address": cjt188_address(made.address)})
    return Cjt188Meter(made, model, clock or StillClock())


def target_of(meter: Cjt188Meter) -> Target:
    return Target(meter.model, meter.declared.address, OWN)


def asked(meter: Cjt188Meter, request: bytes) -> bytes:
    """The meter's answer to a request, from its start character on."""
    frame = take(bytearray(request))
    assert frame is not None
    answer = meter.answer(frame)
    assert answer is not None
    span = cjt188.answer_span(request, answer, OWN)
    assert span is not None
    return answer[slice(*span)]


def read(meter: Cjt188Meter) -> dict[str, str]:
    """All of a meter's values as the driver finds them; the cause where there is none."""
    target = target_of(meter)
    requests = [request.data for request in cjt188.requests(target, target.model.points)]
    answers = [asked(meter, request) for request in requests]
    for request, answer in zip(requests, answers, strict=True):
        cjt188.check(request, answer, OWN)
    outcomes = {p.quantity: evaluate(cjt188.locate(target, requests, p, answers), answers) for p in target.model.points}
    return {quantity: outcome.value or outcome.cause for quantity, outcome in outcomes.items()}


# --- what it holds ------------------------------------------------------------------------------------------------


@each_model
def test_what_the_driver_reads_is_what_the_meter_holds_to_the_digit(name: str) -> None:
    clock = StillClock()
    meter = meter_of(name, clock, seed="3")
    before = read(meter)
    clock.move(7261)
    after = read(meter)
    assert after == {point.quantity: meter.truth(point.quantity) for point in meter.model.points}
    first = meter.model.points[0].quantity
    assert Decimal(after[first]) > Decimal(before[first])


@each_model
def test_a_counter_begins_where_the_plant_says_and_rolls_over_at_its_last_digit(name: str) -> None:
    model = model_of(name)
    first = model.points[0].quantity
    digits = 10 ** (8 - model.points[0].at.decimals)
    meter = meter_of(name, start={first: str(digits + 3)})
    assert Decimal(read(meter)[first]) == 3
    meter = meter_of(name, start={first: "4711.25"}, frozen=True)
    assert Decimal(read(meter)[first]) == Decimal("4711.25")


def test_settlement_days_stand_still_and_fall_with_the_months() -> None:
    clock = StillClock()
    meter = meter_of("cjt188-water-2018", clock, start={"volume_forward": "1000", "volume_forward.m2": "77.5"})
    before = read(meter)
    clock.move(3600)
    after = read(meter)
    months = [f"volume_forward.m{month}" for month in range(13)]
    assert [after[month] for month in months] == [before[month] for month in months]
    assert after["volume_forward.m2"] == "77.50"
    falling = [Decimal(after[month]) for month in months if month != "volume_forward.m2"]
    assert falling == sorted(falling, reverse=True)
    assert Decimal(after["volume_forward"]) > falling[0] > falling[-1] > 0


@each_model
def test_a_held_value_stays_and_a_missing_one_is_filled_with_ff(name: str) -> None:
    meter = meter_of(name)
    first = meter.model.points[0].quantity
    meter.hold(first, "12.5")
    assert Decimal(read(meter)[first]) == Decimal("12.5") == Decimal(meter.truth(first))
    meter.hold(first, "missing")
    assert read(meter)[first] == "not_available"
    assert meter.truth(first) == "missing"
    meter.release(first)
    assert Decimal(read(meter)[first]) == Decimal(meter.truth(first))


def test_the_status_word_can_be_held() -> None:
    meter = meter_of(hold={"status": "2184"})
    target = target_of(meter)
    (request,) = cjt188.requests(target, target.model.attest)
    answer = asked(meter, request.data)
    assert evaluate(cjt188.locate(target, [request.data], target.model.attest[0], [answer]), [answer]).value == "2184"
    meter.hold("status", "missing")
    assert asked(meter, request.data)[31:33] == b"\xff\xff"


def test_the_clock_stands_in_front_of_the_status_word() -> None:
    clock = StillClock()
    meter = meter_of("cjt188-heat", clock)
    target = target_of(meter)
    request = cjt188.requests(target, target.model.points)[0].data
    watch = Cjt188Watch(name="clock", at=Cjt188Place(identifier="901F", first=34, bytes=7, type="clock"))
    answer = asked(meter, request)
    assert evaluate(cjt188.locate(target, [request], watch, [answer]), [answer]).value == "20260301000000"


@pytest.mark.parametrize(
    ("name", "value"),
    [("volume_forward", "1000000"), ("volume_forward", "-1"), ("volume_forward", "many"), ("status", "1"), ("status", "112233")],
)
def test_what_does_not_fit_into_a_field_is_refused_and_changes_nothing(name: str, value: str) -> None:
    meter = meter_of(hold={"volume_forward": "5"})
    with pytest.raises(NotFitting):
        meter.hold(name, value)
    assert read(meter)["volume_forward"] == "5.00"


def test_unknown_names_and_numbers_that_are_not_the_address_are_refused() -> None:
    with pytest.raises(KeyError):
        meter_of(hold={"voltage": "230"})
    with pytest.raises(KeyError):
        meter_of(start={"mass": "1"})
    with pytest.raises(NotFitting):
        meter_of(serial="4711")
    with pytest.raises(NotFitting):
        meter_of(address="AA" * 7)
    assert meter_of(serial=ADDRESS).serial == meter_of().serial == ADDRESS
    assert meter_of(address="25-4711").serial == "00000000004711"


@pytest.mark.parametrize(
    ("at", "held"),
    [
        ({"first": 0, "bytes": 4, "decimals": 2, "unit": "in_front"}, "12.50"),
        ({"first": 2, "bytes": 3, "type": "binary", "decimals": 3, "order": "high_first"}, "12.500"),
        ({"first": 0, "bytes": 4, "decimals": 1, "signed": True}, "-12.5"),
        ({"first": 0, "bytes": 2, "type": "binary", "signed": True}, "-12"),
        ({"first": 0, "bytes": 4, "decimals": 2, "unit": "behind", "units": {"2C": "0.5"}}, "12.500"),
    ],
    ids=str,
)
def test_a_maker_s_own_drawing_is_simulated_as_it_is_read(at: dict[str, Any], held: str) -> None:
    point = Cjt188Point(quantity="volume_forward", at=Cjt188Place(identifier="901F", **at))
    meter = meter_with(model_of("cjt188-water-2004").model_copy(update={"points": (point,)}))
    meter.hold("volume_forward", held)
    assert read(meter) == {"volume_forward": held} == {"volume_forward": meter.truth("volume_forward")}


# --- requests -----------------------------------------------------------------------------------------------------


def test_a_request_to_another_meter_or_type_is_not_heard() -> None:
    meter = meter_of()
    for address in ("78330123456788", f"11-{ADDRESS}", "8978563412013378"[2:]):
        target = Target(meter.model, address, OWN)
        request = cjt188.requests(target, meter.model.points[:1])[0].data
        assert meter.answer(cast("bytes", take(bytearray(request)))) is None


@pytest.mark.parametrize("address", ["AA" * 7, f"AA-{ADDRESS}", "AA-" + "AA" * 7])
def test_a_request_to_any_meter_is_answered_with_the_own_address(address: str) -> None:
    meter = meter_of(address=f"11-{ADDRESS}")
    target = Target(meter.model, address if "-" in address else f"11-{address}", OWN)
    request = cjt188.requests(target, meter.model.points[:1])[0].data
    answer = asked(meter, request)
    cjt188.check(request, answer, OWN)
    assert answer[1:9] == bytes.fromhex("11 89 67 45 23 01 33 78")
    serial = cjt188.frame_serial(target, [request], [answer])
    assert serial is not None
    assert evaluate(serial, [answer]).value == ADDRESS


@each_model
def test_its_address_is_told_where_it_is_asked_for(name: str) -> None:
    meter = meter_of(name)
    request = cjt188.identification_request(target_of(meter)).data
    answer = asked(meter, request)
    cjt188.check(request, answer, OWN)
    assert cjt188.identification(answer, OWN)[0]["address"] == ADDRESS


def test_a_block_it_does_not_have_and_every_other_function_are_answered_as_abnormal() -> None:
    meter = meter_of("rd-w10")
    other = Target(model_of("cjt188-water-2004"), ADDRESS, OWN)
    request = cjt188.requests(other, [other.model.point("volume_forward.m1")])[0].data
    with pytest.raises(Refused):
        cjt188.check(request, asked(meter, request), OWN)
    for function in (0x04, 0x09, 0x15, 0x16):
        frame = bytearray(request[4:-2])
        frame[9] = function
        answer = meter.answer(bytes(frame) + bytes([sum(frame) % 256, 0x16]))
        assert answer is not None
        assert answer.lstrip(b"\xfe")[9] == function | 0xC0


def test_requests_are_taken_out_of_noise_and_only_when_they_are_whole() -> None:
    request = cjt188.requests(target_of(meter_of()), meter_of().model.points)[0].data
    buffer = bytearray()
    for byte in b"\x68\x01\x68" + request:
        assert take(buffer) is None
        buffer.append(byte)
    buffer += b"\x01" + request + b"\x68"
    assert take(buffer) == request[4:]
    assert take(buffer) == request[4:]
    assert take(buffer) is None
    assert buffer == b"\x68"
    answers = bytearray(asked(meter_of(), request))
    assert take(answers) is None, "an answer is no request"


# --- faults -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "error", "cause"),
    [
        ("exception", Refused, "abnormal"),
        ("wrong_unit", BadFrame, "wrong_unit"),
        ("wrong_function", BadFrame, "wrong_function"),
    ],
)
def test_faults_made_from_frames_are_frames_and_are_refused(kind: str, error: type[MeterError], cause: str) -> None:
    meter = meter_of(address="99999999999909")
    request = cjt188.requests(target_of(meter), meter.model.points)[0].data
    whole = meter.answer(request[4:])
    assert whole is not None
    changed = FAULTS[kind](request[4:], whole, Fault.model_validate({"kind": kind, "every": "1"}))
    span = cjt188.answer_span(request, changed, OWN)
    assert span is not None
    with pytest.raises(error) as caught:
        cjt188.check(request, changed[slice(*span)], OWN)
    assert caught.value.cause == cause


def test_a_block_that_is_cut_short_in_the_meter_gives_no_value() -> None:
    meter = meter_of()
    target = target_of(meter)
    request = cjt188.requests(target, meter.model.points)[0].data
    whole = meter.answer(request[4:])
    assert whole is not None
    changed = FAULTS["short_data"](request[4:], whole, Fault.model_validate({"kind": "short_data", "every": "1"}))
    answer = changed.lstrip(b"\xfe")
    cjt188.check(request, answer, OWN)
    with pytest.raises(Exception, match="wrong_length"):
        cjt188.locate(target, [request], meter.model.points[0], [answer])


# --- on a line ----------------------------------------------------------------------------------------------------

HEAT = {"id": "H", "model": "cjt188-heat-unit-first", "address": "42590008210438", "start": {"thermal_energy": "55328.19"}}
WATER = {"id": "W", "model": "cjt188-water-2018", "address": ADDRESS, "start": {"volume_forward": "1203.4"}, "frozen": True}
POWER = {"id": "P", "model": "eastron-sdm120", "address": "1"}


async def test_meters_of_two_protocols_share_a_line_and_a_dead_one_starves_nobody(tmp_path: Path) -> None:
    async with simulator_of(tmp_path, HEAT, WATER, POWER, hall={"tcp": "127.0.0.1:0", "framing": "rtu"}) as simulator:
        async with link_to(simulator, timeout_s=0.4) as link:
            for _ in range(2):
                heat = await poll(link, "cjt188-heat-unit-first", "42590008210438")
                assert heat.value("thermal_energy") == simulator.truth("H", "thermal_energy") == "55328.19"
                assert (await poll(link, "cjt188-water-2018", "11112222333344")).cause == "no_answer"
                assert (await poll(link, "cjt188-water-2018", ADDRESS)).value("volume_forward") == "1203.40"
        assert (simulator.requests("H"), simulator.requests("W"), simulator.requests("P")) == (2, 2, 0)


async def test_scripted_faults_strike_and_no_value_comes_of_them(tmp_path: Path) -> None:
    kinds = ["echo", "noise", "checksum", "short", "silence", "wrong_unit", "exception", "slow", "trailing"]
    faults = [{"kind": kind, "at": [str(number)], "delay_ms": "2"} for number, kind in enumerate(kinds, 1)]
    async with simulator_of(tmp_path, WATER | {"faults": faults}, hall={"tcp": "127.0.0.1:0", "framing": "rtu"}) as simulator:
        found = []
        async with link_to(simulator, timeout_s=0.2) as link:
            for _ in kinds:
                conversation = await poll(link, "cjt188-water-2018", ADDRESS)
                found.append(conversation.cause or conversation.value("volume_forward"))
        good = "1203.40"
        expected = [good, good, "bad_checksum", "short_answer", "no_answer", "wrong_unit", "abnormal", good, good]
        assert dict(zip(kinds, found, strict=True)) == dict(zip(kinds, expected, strict=True))
        assert [kind for _, _, kind in simulator.played] == kinds


async def test_every_byte_that_goes_to_a_meter_is_one_of_the_two_reads(tmp_path: Path) -> None:
    heard = bytearray()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            heard.extend(data)
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    wire = await Wire.to(f"{host}:{port}")
    sent = b""
    for name in NAMES:
        target = Target(models()[name].declared, ADDRESS, OWN)
        watches = [*target.model.attest, *target.model.identity]
        for request in (*cjt188.requests(target, [*target.model.points, *watches]), cjt188.identification_request(target)):
            wire.send(request.data)
            sent += request.data
    async with asyncio.timeout(5):
        while len(heard) < len(sent):
            await asyncio.sleep(0)
    await wire.close()
    server.close()
    frames = []
    while (frame := take(heard)) is not None:
        frames.append(frame)
    assert not heard
    assert len(frames) > 50
    assert {frame[9] for frame in frames} == {1, 3}
