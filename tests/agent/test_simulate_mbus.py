"""Simulated M-Bus meters: what they hold is what the driver reads, telegram by telegram, alone and on shared lines."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import pytest
import serial

from agent.simulate_instrument import NotFitting
from agent.simulate_mbus import MbusMeter
from agent.simulate_mbus_frames import FAULTS, take
from config.mbus import MbusModel, mbus_address
from config.plant import Fault, SimulatedMeter
from drivers import Target, load, mbus
from drivers.errors import BadFrame, MeterError, NoValue, Refused
from drivers.formula import evaluate
from drivers.mbus_search import Search, asked, heard, search
from tests.agent.conversations import poll
from tests.agent.gateway import StillClock
from tests.agent.plants import link_to, models, simulator_of
from tests.drivers.mbus_frames import ACK, long, model, short

DRIVER = load("mbus")
OWN = "own"
NAMES = sorted(name for name, model in models().items() if model.declared.protocol == "mbus")
SECONDARY = "12345678"
each_model = pytest.mark.parametrize("name", NAMES)
each_address = pytest.mark.parametrize("address", ["5", SECONDARY])


def model_of(name: str) -> MbusModel:
    return cast("MbusModel", models()[name].declared)


def meter_of(name: str = "mbus-heat", clock: StillClock | None = None, **declared: Any) -> MbusMeter:
    return meter_with(model_of(name), clock, **declared)


def meter_with(made: MbusModel, clock: StillClock | None = None, **declared: Any) -> MbusMeter:
    usual = {"id": "M", "on": "hall", "model": made.model, "address": "5"}
    simulated = SimulatedMeter.model_validate(usual | declared)
    return MbusMeter(simulated.model_copy(update={"address": mbus_address(simulated.address)}), made, clock or StillClock())


def target_of(meter: MbusMeter) -> Target:
    return Target(meter.model, meter.declared.address, OWN, ct=meter.declared.ct, vt=meter.declared.vt)


def conversation(meter: MbusMeter) -> tuple[list[bytes], list[bytes]]:
    """All requests of a poll and their answers, as a poller would come to them."""
    target, requests, answers = target_of(meter), [], []
    pending = list(mbus.requests(target, target.model.points))
    while pending:
        request = pending.pop(0)
        frame = take(bytearray(request.data))
        assert frame == request.data
        answer = meter.answer(frame)
        if request.silent and answer is None:
            continue
        assert answer is not None
        mbus.check(request.data, answer)
        requests.append(request.data)
        answers.append(answer)
        following = mbus.following(target, request.data, answer)
        pending = ([following] if following else []) + pending
    return requests, answers


def read(meter: MbusMeter) -> dict[str, str]:
    """All of a meter's values as the driver finds them; the cause where there is none."""
    target = target_of(meter)
    requests, answers = conversation(meter)
    found = {}
    for point in target.model.points:
        try:
            outcome = evaluate(mbus.locate(target, requests, point, answers), answers)
            found[point.quantity] = outcome.value or outcome.cause
        except NoValue as none:
            found[point.quantity] = none.cause
    return found


# --- what it holds ------------------------------------------------------------------------------------------------


@each_address
@each_model
def test_what_the_driver_reads_is_what_the_meter_holds_to_the_digit(name: str, address: str) -> None:
    clock = StillClock()
    meter = meter_of(name, clock, seed="3", address=address)
    before = read(meter)
    clock.move(7261)
    after = read(meter)
    assert after == {point.quantity: meter.truth(point.quantity) for point in meter.model.points}
    first = meter.model.points[0].quantity
    assert Decimal(after[first]) > Decimal(before[first])


def test_a_counter_begins_where_the_plant_says_in_steps_that_have_room_for_it() -> None:
    assert read(meter_of(start={"thermal_energy": "4711.25"}, frozen=True))["thermal_energy"] == "4711.25"
    assert read(meter_of(start={"thermal_energy": "4711000.2"}, frozen=True))["thermal_energy"] == "4711000"


def test_a_counter_rolls_over_behind_its_eighth_digit() -> None:
    meter = meter_of(start={"thermal_energy": "99999"}, load={"thermal_energy": "1000000"}, frozen=False)
    clock = meter._clock
    assert isinstance(clock, StillClock)
    read(meter)
    for _ in range(2):
        clock.move(3600)
        value = Decimal(read(meter)["thermal_energy"])
    assert value == Decimal(meter.truth("thermal_energy")) < 1_000_000


@each_model
def test_a_held_value_stays_and_a_missing_one_is_said_to_be(name: str) -> None:
    meter = meter_of(name)
    first = meter.model.points[0].quantity
    meter.hold(first, "12")
    assert Decimal(read(meter)[first]) == 12 == Decimal(meter.truth(first))
    meter.hold(first, "missing")
    assert read(meter)[first] == "not_available"
    assert meter.truth(first) == "missing"
    meter.release(first)
    assert Decimal(read(meter)[first]) == Decimal(meter.truth(first))


POINTS: list[dict[str, Any]] = [
    {"quantity": "active_energy_import", "at": {"kind": "energy", "qualifiers": ["forward"]}, "ratio": "ct"},
    {"quantity": "active_energy_export", "at": {"kind": "energy", "qualifiers": ["backward"]}},
    {"quantity": "active_energy_import.t3", "at": {"kind": "energy", "tariff": 11, "storage": 37, "subunit": 5}},
    *({"quantity": f"active_energy_export.t{n}", "at": {"kind": "energy", "tariff": n, "subunit": 1}} for n in range(1, 10)),
    {"quantity": "reactive_energy_total", "at": {"kind": "reactive_energy"}},
    {"quantity": "apparent_energy_total", "at": {"kind": "apparent_energy"}},
    {"quantity": "active_power", "at": {"kind": "power", "maker": "e1ff01"}, "scale": "10"},
    {"quantity": "active_power_demand_max", "at": {"kind": "power", "function": "maximum"}},
    {"quantity": "reactive_power", "at": {"kind": "reactive_power"}},
    {"quantity": "apparent_power", "at": {"kind": "apparent_power"}},
    *({"quantity": f"voltage.l{n}", "at": {"kind": "voltage", "nth": n}} for n in (1, 3)),
    *({"quantity": f"current.l{n}", "at": {"kind": "current", "qualifiers": [f"phase_l{n}"]}} for n in (1, 2, 3)),
    {"quantity": "frequency", "at": {"kind": "frequency"}},
    {"quantity": "power_factor", "at": {"kind": "manufacturer", "maker": "34"}, "scale": "0.001"},
    {"quantity": "voltage_thd", "at": {"kind": "text", "text": "%THD"}, "scale": "0.1"},
    {"quantity": "pulse_count", "at": {"kind": "dimensionless"}},
    {"quantity": "temperature", "at": {"kind": "external_temperature"}},
    {"quantity": "pressure", "at": {"kind": "pressure"}},
    {"quantity": "mass", "at": {"kind": "mass"}},
    {"quantity": "mass_flow", "at": {"kind": "mass_flow"}},
    {"quantity": "phase_angle", "at": {"kind": "phase_current_angle"}},
]
WATCHES: tuple[dict[str, Any], ...] = (
    {"name": "serial", "at": {"kind": "header_number"}},
    {"name": "status", "at": {"kind": "header_status"}},
    {"name": "fabrication", "at": {"kind": "fabrication_number"}},
    {"name": "customer", "at": {"kind": "customer"}, "expect": ["hall 3"]},
    {"name": "firmware", "at": {"kind": "firmware_version"}, "expect": ["17"]},
)


@each_address
def test_every_kind_of_record_is_simulated_as_it_is_read(address: str) -> None:
    meter = meter_with(model(*POINTS, watches=WATCHES), address=address, ct="400/5", serial=SECONDARY)
    requests, answers = conversation(meter)
    assert len([answer for answer in answers if answer != ACK]) == 2  # they do not fit into one telegram
    told = read(meter)
    assert {name: Decimal(text) for name, text in told.items()} == {name: Decimal(meter.truth(name)) for name in told}
    watched = {}
    for watch in meter.model.identity:
        watched[watch.name] = evaluate(mbus.locate(target_of(meter), requests, watch, answers), answers).value
    assert watched == {"serial": SECONDARY, "status": "0", "fabrication": SECONDARY, "customer": "hall 3", "firmware": "17"}
    meter.hold("status", "20")
    assert [word for word, _ in mbus.status_words(conversation(meter)[1])] == ["low_battery", "temporary_error"]


def test_the_values_of_one_conversation_belong_together() -> None:
    clock = StillClock()
    meter = meter_with(model(*POINTS), clock)
    first, second = (cast("bytes", meter.answer(short(control, 5))) for control in (0x7B, 0x5B))
    assert first != second
    clock.move(3600)
    assert meter.answer(short(0x5B, 5)) == second  # the same frame count bit: the same telegram once more
    assert meter.answer(short(0x7B, 5)) != first  # all over again, an hour later


def test_what_has_no_room_or_is_unknown_is_refused_and_changes_nothing() -> None:
    meter = meter_of(hold={"volume_forward": "5"})
    for value in ("-1", "many", "1000000000"):
        with pytest.raises(NotFitting):
            meter.hold("volume_forward", value)
    assert Decimal(read(meter)["volume_forward"]) == 5
    with pytest.raises(KeyError):
        meter_of(hold={"voltage": "230"})
    with pytest.raises(KeyError):
        meter_of(start={"mass": "1"})
    with pytest.raises(NotFitting):
        meter_of(address=SECONDARY, serial="4711")
    with pytest.raises(NotFitting):
        meter_of(serial="A12")
    assert meter_of(serial="4711").serial == "00004711"


# --- requests -----------------------------------------------------------------------------------------------------


def test_only_the_meter_that_is_meant_answers() -> None:
    meter = meter_of(address="5")
    assert meter.answer(short(0x40, 5)) == ACK
    assert meter.answer(short(0x40, 6)) is None
    assert meter.answer(short(0x7B, 6)) is None
    assert meter.answer(short(0x7B, 0xFD)) is None
    assert meter.answer(short(0x5A, 5)) is None
    assert meter.answer(long(0x53, 5, 0x51, bytes.fromhex("017a08"))) is None


@pytest.mark.parametrize(
    ("pattern", "selected"),
    [
        ("78563412ffffffff", True),
        ("ffffffffffffffff", True),
        ("7ff6f412ffffff04", True),
        ("785634122d2c0804", True),
        ("785634122d2c0904", False),
        ("79563412ffffffff", False),
        ("785634122d2dffff", False),
    ],
)
def test_a_meter_is_selected_by_what_fits_it(pattern: str, selected: bool) -> None:
    meter = meter_of("kamstrup-multical-601", address=SECONDARY)
    assert meter.answer(long(0x73, 0xFD, 0x52, bytes.fromhex(pattern))) == (ACK if selected else None)
    assert (meter.answer(short(0x7B, 0xFD)) is not None) is selected
    assert meter.answer(short(0x40, 0xFD)) == (ACK if selected else None)
    assert meter.answer(short(0x7B, 0xFD)) is None


def test_maker_version_and_medium_of_a_full_address_are_the_meters() -> None:
    meter = meter_of(address="12345678AE4C0E0C")
    target = target_of(meter)
    _, answers = conversation(meter)
    assert mbus.own_number_matches(target, answers)
    (telegram,) = (answer for answer in answers if answer != ACK)
    assert mbus.identification(telegram, OWN)[0] == {"number": SECONDARY, "maker": "SEN", "version": "14", "medium": "12"}


def test_the_search_finds_simulated_meters_with_colliding_numbers() -> None:
    meters = [meter_of(address=address) for address in ("12345678", "12345679", "12345678AE4C0E0C", "99999999")]
    state = search()
    while (request := asked(state)) is not None:
        said = [answer for meter in meters if (answer := meter.answer(cast("bytes", take(bytearray(request)))))]
        mixed = said[0] if len(set(said)) == 1 else bytes(byte ^ 0x55 for one in said for byte in one)
        state = heard(state, mixed if said else b"")
    assert {found.secondary[:8] for found in state.found} == {"12345678", "12345679", "99999999"}
    assert len(state.found) == 4


def searched(port: str) -> Search:
    """A whole search over a serial port: each request, and all that comes until the line is silent."""
    state = search()
    with serial.Serial(port, timeout=0.05) as line:
        while (request := asked(state)) is not None:
            line.write(request)
            arrived = bytearray()
            while some := line.read(300):
                arrived += some
            state = heard(state, bytes(arrived))
    return state


async def test_the_search_finds_meters_whose_answers_collide_on_a_real_port(tmp_path: Path) -> None:
    addresses = ["12345678", "12445678", "99999999"]
    meters = [{"id": f"M{n}", "model": "mbus-water", "address": address} for n, address in enumerate(addresses)]
    heat = {"id": "H", "model": "kamstrup-multical-601", "address": "17", "serial": "13345670"}
    async with simulator_of(tmp_path, *meters, heat, hall={"pty": "bus"}) as simulator:
        found = await asyncio.to_thread(searched, simulator.address_of("hall"))
    assert sorted(each.secondary[:8] for each in found.found) == sorted([*addresses, "13345670"])
    assert [(each.primary, each.manufacturer) for each in found.found if each.secondary.startswith("13345670")] == [(17, "KAM")]
    assert not found.unresolved


def test_requests_are_taken_out_of_noise_and_only_when_they_are_whole() -> None:
    request = long(0x73, 0xFD, 0x52, bytes.fromhex("78563412ffffffff"))
    buffer = bytearray()
    for byte in b"\x68\x0b\x10\x40" + request:
        assert take(buffer) is None
        buffer.append(byte)
    buffer += b"\x01" + short(0x7B, 5) + b"\x10"
    assert take(buffer) == request
    assert take(buffer) == short(0x7B, 5)
    assert take(buffer) is None
    assert buffer == b"\x10"


# --- faults -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "error", "cause"),
    [
        ("exception", Refused, "application_busy"),
        ("wrong_unit", BadFrame, "wrong_unit"),
        ("wrong_function", BadFrame, "no_data"),
        ("short_data", BadFrame, "bad_records"),
    ],
)
def test_faults_made_from_frames_are_frames_and_are_refused(kind: str, error: type[MeterError], cause: str) -> None:
    meter, request = meter_of(), short(0x7B, 5)
    whole = cast("bytes", meter.answer(request))
    changed = FAULTS[kind](request, whole, Fault.model_validate({"kind": kind, "every": "1", "code": "8"}))
    with pytest.raises(error) as caught:
        mbus.check(request, changed)
    assert caught.value.cause == cause
    assert FAULTS["wrong_unit"](short(0x40, 5), ACK, Fault.model_validate({"kind": kind, "every": "1"})) == ACK


# --- on a line ----------------------------------------------------------------------------------------------------

HEAT = {"id": "H", "model": "kamstrup-multical-601", "address": "17", "start": {"thermal_energy": "55328"}, "frozen": True}
WATER = {"id": "W", "model": "mbus-water", "address": SECONDARY, "start": {"volume_forward": "1203.4"}, "frozen": True}
POWER = {"id": "P", "model": "eastron-sdm120", "address": "1"}


async def test_meters_of_two_protocols_share_a_line_and_a_dead_one_starves_nobody(tmp_path: Path) -> None:
    async with simulator_of(tmp_path, HEAT, WATER, POWER, hall={"tcp": "127.0.0.1:0", "framing": "rtu"}) as simulator:
        async with link_to(simulator) as link:
            for _ in range(2):
                heat = await poll(link, "kamstrup-multical-601", "17")
                assert heat.value("thermal_energy") == simulator.truth("H", "thermal_energy")
                dead = await poll(link, "mbus-heat", "99")
                assert (dead.cause, len(dead.exchanges)) == ("no_answer", 1)
                water = await poll(link, "mbus-water", SECONDARY)
                assert water.value("volume_forward") == "1203.400"
        assert simulator.requests("P") == 0


async def test_scripted_faults_strike_and_no_wrong_value_comes_of_them(tmp_path: Path) -> None:
    kinds = ["echo", "noise", "checksum", "short", "silence", "wrong_unit", "exception", "slow", "trailing", "wrong_function"]
    faults = [{"kind": kind, "at": [str(2 * number)], "delay_ms": "1"} for number, kind in enumerate(kinds, 1)]
    async with simulator_of(tmp_path, HEAT | {"faults": faults}, hall={"tcp": "127.0.0.1:0", "framing": "rtu"}) as simulator:
        values, causes = [], []
        async with link_to(simulator, timeout_s=0.2) as link:
            for _ in kinds:
                conversation = await poll(link, "kamstrup-multical-601", "17")
                if conversation.cause:
                    causes.append(conversation.cause)
                else:
                    values.append(conversation.value("thermal_energy"))
                await asyncio.sleep(0)
    assert set(values) == {"55328.00"} or set(values) == {"55328.0"}
    assert len(values) >= 3
    assert len(causes) >= 5
