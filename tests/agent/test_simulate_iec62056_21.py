"""agent.simulate_iec62056_21: the simulated meter keeps to the standard, as the driver and a foreign client read it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from agent.simulate_iec62056_21 import NAK, Iec62056Meter, take
from agent.simulate_instrument import NotFitting
from config.iec62056_21 import Iec62056Model
from config.plant import SimulatedMeter
from drivers import Target
from drivers import iec62056_21 as driver
from drivers.errors import MeterError
from drivers.formula import evaluate
from tests.agent.gateway import StillClock
from tests.agent.plants import Wire, models, simulator_of
from tests.peers.environment import environment

NAMES = sorted(name for name, model in models().items() if model.declared.protocol == "iec62056_21")
SIGN_ON = b"/?!\r\n"
OPTION = b"\x06050\r\n"
GENERIC = "iec62056-21-electricity"


def model_of(name: str, **limits: Any) -> Iec62056Model:
    model = models()[name].declared
    assert isinstance(model, Iec62056Model)
    return model.model_copy(update={"iec62056_21": model.iec62056_21.model_copy(update=limits)})


def meter_of(name: str = GENERIC, clock: StillClock | None = None, limits: dict[str, Any] | None = None, **declared: Any) -> Any:
    usual = {"id": "M", "on": "hall", "model": name, "address": "0012"}
    return Iec62056Meter(SimulatedMeter.model_validate(usual | declared), model_of(name, **(limits or {})), clock or StillClock())


def conversation(meter: Iec62056Meter, address: str = "12") -> tuple[Target, list[bytes], list[bytes]]:
    """What the driver asks and the meter answers, each answer found and checked as on a line."""
    target = Target(meter.model, address, "own", ct=meter.declared.ct)
    requests, answers, rest, rest_at = [], [], b"", 0
    pending = driver.requests(target, meter.model.points)
    while pending:
        request = pending.pop(0)
        answer: Any = b""
        later: Any = b"", 0
        if request.data and not request.silent:
            buffer = bytearray(b"\0\xff" + request.data)
            heard = take(buffer)
            assert heard == request.data
            assert not buffer
            answer = meter.answer(request.data)
        elif not request.silent:
            answer = rest or meter.push()
            assert not rest_at or request.baud == rest_at
        if isinstance(answer, list):
            answer, later = answer
        if isinstance(answer, tuple):
            answer, speed = answer
            assert speed == (request.answer_baud or request.baud)
        if not request.silent:
            span = driver.answer_span(request.data, answer, "own")
            assert span is not None
            answer, rest = answer[slice(*span)], answer[span[1] :] + later[0]
            rest_at = later[1]
        driver.check(request.data, answer, "own")
        requests.append(request.data)
        answers.append(answer)
        if following := driver.following(target, request.data, answer):
            pending.insert(0, following)
    return target, requests, answers


# --- the driver reads what the meter holds ------------------------------------------------------------------


@pytest.mark.parametrize("eight_bits", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_the_driver_reads_every_value_of_every_model_as_the_meter_holds_it(name: str, eight_bits: bool) -> None:
    clock = StillClock()
    meter = meter_of(name, clock, {"eight_bits": eight_bits}, serial="87654321")
    for _ in range(3):
        target, requests, answers = conversation(meter)
        for point in meter.model.points:
            formula = driver.locate(target, requests, point, answers)
            assert evaluate(formula, answers).value == meter.truth(point.quantity), point.quantity
        number = driver.frame_serial(target, requests, answers)
        assert number is not None
        assert evaluate(number, answers).value == "87654321"
        clock.move(901.7)


@pytest.mark.parametrize("mode", ["A", "B", "C", "D"])
def test_each_mode_is_played(mode: str) -> None:
    meter = meter_of(limits={"mode": mode})
    target, requests, answers = conversation(meter)
    assert len(requests) == {"A": 1, "B": 2, "C": 2, "D": 1}[mode]
    formula = driver.locate(target, requests, meter.model.points[0], answers)
    assert evaluate(formula, answers).value == meter.truth("active_energy_import")


def test_a_meter_behind_transformers_tells_its_secondary_side() -> None:
    model = model_of(GENERIC)
    points = tuple(point.model_copy(update={"ratio": "ct"}) for point in model.points)
    declared = SimulatedMeter.model_validate({"id": "M", "on": "hall", "model": GENERIC, "address": "", "ct": "400/5"})
    meter = Iec62056Meter(declared, model.model_copy(update={"points": points}), StillClock())
    target, requests, answers = conversation(meter, "")
    formula = driver.locate(target, requests, points[0], answers)
    assert formula.endswith("*400/5")
    assert evaluate(formula, answers).value == meter.truth("active_energy_import")


# --- whom it answers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("address", "answers"), [("", True), ("12", True), ("0012", True), ("000012", True), ("13", False)])
def test_it_answers_its_address_and_the_general_one(address: str, answers: bool) -> None:
    assert (meter_of().answer(f"/?{address}!\r\n".encode()) is not None) == answers


def test_the_readout_is_told_once_after_the_sign_on_at_the_speed_that_was_agreed() -> None:
    meter = meter_of()
    assert meter.answer(OPTION) is None
    assert meter.answer(SIGN_ON) == b"/SIM5SIMULATED\r\n"
    readout, speed = meter.answer(OPTION)
    assert speed == 9600
    assert (readout[:1], readout[-6:-1]) == (b"\x02", b"\n!\r\n\x03"[:5])
    assert meter.answer(OPTION) is None
    meter.answer(SIGN_ON)
    assert meter.answer(b"\x06000\r\n")[1] == 300
    meter.answer(SIGN_ON)
    assert meter.answer(b"\x06040\r\n")[1] == 300


def test_a_sign_on_to_another_meter_ends_the_conversation() -> None:
    meter = meter_of()
    meter.answer(SIGN_ON)
    assert meter.answer(b"/?99!\r\n") is None
    assert meter.answer(OPTION) is None


@pytest.mark.parametrize("asked", [b"\x06051\r\n", b"\x06052\r\n", b"\x06250\r\n"])
def test_what_asks_for_more_than_the_readout_is_not_understood(asked: bytes) -> None:
    meter = meter_of()
    meter.answer(SIGN_ON)
    assert meter.answer(asked) == NAK


def test_requests_are_taken_one_by_one_out_of_what_arrives() -> None:
    buffer = bytearray(b"\0\0\xff/?12!\r\n\x06050\r\n/?")
    assert take(buffer) == b"/?12!\r\n"
    assert take(buffer) == b"\x06050\r\n"
    assert take(buffer) is None
    assert buffer == b"/?"
    buffer += b"!\r\n"
    assert take(buffer) == b"/?!\r\n"
    noise = bytearray(bytes(66) + b"1.8.0(1*kWh)")
    assert take(noise) is None
    assert noise == b""
    assert meter_of().answer(b"\0\0") is None


# --- what is held -------------------------------------------------------------------------------------------


def test_held_values_stand_still_and_missing_ones_are_empty_brackets() -> None:
    meter = meter_of(hold={"active_energy_import": "184223.57", "voltage.l1": "missing", "error": "00000040"})
    answers = conversation(meter)[2]
    assert meter.truth("active_energy_import") == "184223.57"
    assert meter.truth("voltage.l1") == "missing"
    assert b"32.7.0()\r\n" in answers[1]
    assert b"F.F(00000040)\r\n" in answers[1]
    assert b"1.8.0(0184223.57*kWh)\r\n1.8.0*01(0000000)\r\n" in answers[1]
    meter.release("voltage.l1")
    assert meter.truth("voltage.l1").startswith("23")
    meter.hold("serial", "99999999")
    assert b"0.0.0(99999999)" in conversation(meter)[2][1]


def test_what_does_not_fit_its_line_is_refused_and_changes_nothing() -> None:
    meter = meter_of()
    before = meter.truth("voltage.l1")
    for name, value in (("voltage.l1", "12345"), ("voltage.l1", "high"), ("error", "a)b"), ("error", "x" * 33)):
        with pytest.raises(NotFitting, match=name):
            meter.hold(name, value)
    assert meter.truth("voltage.l1") == before
    for name in ("voltage", "nothing"):
        with pytest.raises(KeyError):
            meter.hold(name, "1")
    with pytest.raises(KeyError):
        meter_of(start={"volume_forward": "1"})


def test_a_full_counter_begins_again_at_zero() -> None:
    meter = meter_of(start={"active_energy_import": "9999999.99"}, load={"active_power": "3600"}, frozen=True)
    assert meter.truth("active_energy_import") == "9999999.99"
    moving = StillClock()
    meter = meter_of(clock=moving, start={"active_energy_import": "9999999.99"}, load={"active_power": "36000"})
    meter.truth("active_energy_import")
    moving.move(60)
    assert meter.truth("active_energy_import").startswith("0.")


# --- on a line ----------------------------------------------------------------------------------------------

FAULTY = {
    "exception": "meter_error",
    "wrong_unit": "",
    "wrong_function": "wrong_format",
    "checksum": "bad_parity",
    "short": None,
    "trailing": "",
    "noise": "",
}


@pytest.mark.parametrize("kind", FAULTY)
async def test_faults_are_played_on_a_line_and_seen_by_the_driver(kind: str, tmp_path: Path) -> None:
    meter = {"model": GENERIC, "address": "7", "faults": [{"kind": kind, "at": [2]}]}
    async with simulator_of(tmp_path, meter) as simulator:
        wire = await Wire.to(simulator.address_of("hall"))
        wire.send(b"/?7!\r\n")
        assert await wire.read(16) == b"/SIM5SIMULATED\r\n"
        wire.send(OPTION)
        arrived = b""
        async with asyncio.timeout(5):
            while driver.answer_span(OPTION, arrived, "own") is None and not (kind == "short" and arrived.endswith(b"!\r\n")):
                if kind == "wrong_function" and arrived.endswith(b"\r\n"):
                    break
                arrived += await wire.read(1)
        await wire.close()
        assert simulator.played == [("M", 2, kind)]
    expected = FAULTY[kind]
    span = driver.answer_span(OPTION, arrived, "own")
    if expected == "":
        assert span is not None
        driver.check(OPTION, arrived[slice(*span)], "own")
    elif span is None:
        assert driver.fault(OPTION, arrived, "own")[0] == "short_answer"
    else:
        with pytest.raises(MeterError) as raised:
            driver.check(OPTION, arrived[slice(*span)], "own")
        assert raised.value.cause == expected


# --- a foreign client ---------------------------------------------------------------------------------------

CLIENT = """
import json, sys
from iec62056_21.client import Iec6205621Client
host, port, address = sys.argv[1:]
client = Iec6205621Client.with_tcp_transport(address=(host, int(port)), device_address=address)
client.connect()
answer = client.standard_readout()
client.disconnect()
print(json.dumps([client.manufacturer_id, [[each.address, each.value, each.unit] for each in answer.data]]))
"""


@pytest.fixture(scope="module")
def foreign_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The Python of a virtual environment with somebody else's client in it."""
    return environment(tmp_path_factory.mktemp("foreign"), "iec62056-21==0.0.2")


@pytest.mark.parametrize(("address", "baud"), [("12345678", 0), ("", 9600)])
async def test_a_foreign_client_reads_the_same_values(address: str, baud: int, foreign_python: str, tmp_path: Path) -> None:
    declared = {"model": GENERIC, "address": "12345678", "serial": "87654321", "frozen": True}
    async with simulator_of(tmp_path, declared, hall={"tcp": "127.0.0.1:0", "baud": baud}) as simulator:
        host, _, port = simulator.address_of("hall").rpartition(":")
        process = await asyncio.create_subprocess_exec(
            foreign_python, "-c", CLIENT, host, port, address, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        async with asyncio.timeout(30):
            said, complained = await process.communicate()
        assert process.returncode == 0, complained.decode()
        maker, lines = json.loads(said)
        meter = simulator.meter("M")
        told = {code: (value, unit) for code, value, unit in lines}
        assert maker == "SIM"
        assert told["0.0.0"][0] == "87654321"
        for point in meter.model.points:
            value, unit = told[point.at.obis]
            worth = {"kW": 1000, "kvar": 1000}.get(unit or "", 1)
            assert float(value) * worth == pytest.approx(float(meter.truth(point.quantity))), point.quantity
