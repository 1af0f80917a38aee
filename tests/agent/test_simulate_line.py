"""agent.simulate_line and simulate_group: meters of several protocols and speeds on one line, each hearing what is its own."""

from __future__ import annotations

import asyncio
import os
import termios
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from agent.clock import Clock
from agent.reading import values_of
from agent.simulate import Simulator, load_plant, site_for
from agent.simulate_group import FrameGroup, Station
from agent.simulate_line import Line, PtyLine, TcpLine
from agent.simulate_protocols import SIMULATED, Simulated
from config.mistake import ConfigError
from config.plant import Fault, Listen, SimulatedMeter
from drivers import Exchange, Target, load
from drivers.link import Link, LinkSettings
from tests.agent.plants import DEADLINE, Wire, models, plant_of, simulator_of, with_crc
from tests.peers.dlt645 import answer, frame

LineT = TypeVar("LineT", bound=Line)

PULSES = {"id": "P", "model": "wirenboard-wb-mcm8", "address": "7", "hold": {"pulse_count.ch0": "1234567"}}
SINGLE = {"id": "E", "model": "dlt645-2007-single-phase", "address": "000012345670", "hold": {"active_energy_import": "1234.56"}}
OLD = {"id": "O", "model": "dlt645-1997", "address": "95", "ct": "1", "vt": "1", "hold": {"active_energy_import": "0.36"}}
RAW = {"tcp": "127.0.0.1:0"}
MODBUS_ASK, MODBUS_ANSWER = with_crc(bytes.fromhex("0704003C0002")), with_crc(bytes.fromhex("070404 0012D687"))
ASK, ANSWER = frame("000012345670", 0x11, "00000100"), b"\xfe" * 4 + answer("00010000", "00123456")
OLD_ASK = frame("000000000095", 0x01, "1090")
OLD_ANSWER = b"\xfe" * 4 + answer("9010", "00000036", address="000000000095")


# --- several protocols on one line ----------------------------------------------------------------------------------


async def read(link: Link, simulator: Simulator, name: str) -> dict[str, str | None]:
    """The default points of a meter, read through a link."""
    meter = simulator.meter(name)
    declared, model = meter.declared, meter.model
    target = Target(model, declared.address, "rtu" if model.protocol == "modbus" else "own", declared.ct, declared.vt)
    driver, points = load(model.protocol), [point for point in model.points if point.default]
    exchanges: list[Exchange] = [await link.exchange(driver, request) for request in driver.requests(target, points)]
    return {value.quantity: value.value for value in values_of(driver, target, points, exchanges)}


def serial_link(simulator: Simulator, name: str = "line", baud: int = 115200) -> Link:
    return Link(
        LinkSettings("line", "rtu", serial=simulator.address_of(name), baud=baud, timeout_s=0.2, longest_answer_s=0.4), Clock()
    )


async def test_modbus_rtu_and_dlt645_meters_share_one_pty(tmp_path: Path) -> None:
    async with simulator_of(tmp_path, PULSES, SINGLE, OLD, line={"pty": "line-1", "baud": "115200"}) as simulator:
        link = serial_link(simulator)
        await link.open()
        for name in ("P", "E", "O", "E", "P"):
            seen = await read(link, simulator, name)
            assert seen == {quantity: simulator.truth(name, quantity) for quantity in seen}
        await link.close()
        assert simulator.played == []
        assert simulator.truth("E", "active_energy_import") == "1234.56"


async def test_a_silent_meter_on_a_shared_line_keeps_nobody_else_from_being_read(tmp_path: Path) -> None:
    dead = SINGLE | {"id": "D", "address": "77", "faults": [{"kind": "silence", "every": "1"}]}
    async with simulator_of(tmp_path, PULSES, dead, SINGLE, line={"pty": "line-1", "baud": "115200"}) as simulator:
        link = serial_link(simulator)
        await link.open()
        driver, target = load("dlt645"), Target(models()["dlt645-2007-single-phase"].declared, "000000000077", "own")
        failed = await link.exchange(driver, driver.requests(target, [target.model.point("active_energy_import")])[0])
        assert failed.error is not None
        assert failed.error.cause == "no_answer"
        for name in ("E", "P"):
            seen = await read(link, simulator, name)
            assert seen == {quantity: simulator.truth(name, quantity) for quantity in seen}
        await link.close()


async def test_requests_of_two_protocols_are_told_apart_in_one_stream(tmp_path: Path) -> None:
    async with simulator_of(tmp_path, PULSES, SINGLE, line=RAW | {"framing": "rtu"}) as simulator:
        wire = await Wire.to(simulator.address_of("line"))
        wire.send(b"\x00\x68" + MODBUS_ASK + b"\xfe" * 4 + ASK)
        assert await wire.read(len(MODBUS_ANSWER + ANSWER)) in (MODBUS_ANSWER + ANSWER, ANSWER + MODBUS_ANSWER)
        wire.send(ASK[:9])
        wire.send(ASK[9:] + MODBUS_ASK)
        assert await wire.read(len(MODBUS_ANSWER + ANSWER)) in (MODBUS_ANSWER + ANSWER, ANSWER + MODBUS_ANSWER)
        assert (simulator.requests("P"), simulator.requests("E")) == (2, 2)
        await wire.close()


async def test_a_tcp_listener_without_modbus_meters_takes_any_bytes(tmp_path: Path) -> None:
    async with simulator_of(tmp_path, SINGLE, line=RAW) as simulator:
        wire = await Wire.to(simulator.address_of("line"))
        wire.send(b"GET / HTTP/1.1\r\n\r\n" + ASK)
        assert await wire.read(len(ANSWER)) == ANSWER
        await wire.close()


async def test_half_a_request_does_not_hide_the_whole_one_behind_it(tmp_path: Path) -> None:
    async with simulator_of(tmp_path, SINGLE, line=RAW) as simulator:
        wire = await Wire.to(simulator.address_of("line"))
        wire.send(b"\x68" + bytes(6) + b"\x68\x11\xff" + ASK)  # says that 257 bytes follow
        assert await wire.read(len(ANSWER)) == ANSWER
        await wire.close()


def test_half_a_request_is_forgotten_when_the_line_falls_silent() -> None:
    group = FrameGroup(SIMULATED["dlt645"], 0, [])
    buffer = bytearray(ASK[:-1])
    assert list(group.hear(buffer)) == []
    assert list(group.fell_silent(buffer)) == []
    assert buffer == b""


WRONG_PLANTS = [
    ([PULSES, SINGLE], r"meters\[1\]\.on: line is Modbus TCP, which carries no DL/T 645; write  framing: rtu"),
    ([SINGLE | {"baud": "2400"}], r"meters\[0\]\.baud: only on a pty have meters speeds of their own"),
    ([SINGLE, SINGLE | {"id": "F", "address": "12345670"}], r"address 000012345670 on line is already that of E"),
    ([SINGLE | {"address": "12-3"}], r"meters\[0\]\.address: 12-3 is not a DL/T 645 address"),
    ([SINGLE | {"address": ""}], r"meters\[0\](\.address)?: address is missing"),
    ([PULSES | {"address": "300"}], r"meters\[0\]\.address: 300 is not a Modbus address"),
    ([SINGLE | {"address": "A" * 12}], r"meters\[0\]: AAAAAAAAAAAA cannot stand in the registers of address"),
    ([SINGLE | {"serial": "LQN-1"}], r"meters\[0\]\.serial: LQN-1 cannot stand in the registers of serial"),
    ([SINGLE | {"hold": {"voltage.l1": "1000"}}], r"hold\.voltage\.l1: 1000 cannot stand in"),
    ([SINGLE | {"hold": {"colour": "1"}}], r"hold\.colour: dlt645-2007-single-phase does not tell colour"),
    ([SINGLE | {"faults": [{"kind": "wrong_transaction", "at": ["1"]}]}], r"DL/T 645 meters do not play wrong_transaction; they"),
]


@pytest.mark.parametrize(("meters", "told"), WRONG_PLANTS)
def test_a_plant_that_cannot_be_is_told_its_mistakes(tmp_path: Path, meters: list[dict[str, Any]], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        simulator_of(tmp_path, *meters, line=RAW)


async def test_meters_of_two_protocols_may_have_the_same_address_on_one_line(tmp_path: Path) -> None:
    meters = (PULSES, SINGLE | {"address": "7"})
    async with simulator_of(tmp_path, *meters, line=RAW | {"framing": "rtu"}) as simulator:
        wire = await Wire.to(simulator.address_of("line"))
        for _ in range(2):
            wire.send(MODBUS_ASK)
            assert await wire.read(len(MODBUS_ANSWER)) == MODBUS_ANSWER
        assert (simulator.requests("P"), simulator.requests("E")) == (2, 0)
        await wire.close()


async def test_the_site_file_that_fits_keeps_addresses_as_on_the_plate(tmp_path: Path) -> None:
    plant = plant_of(SINGLE | {"baud": "2400"}, PULSES, line={"pty": "line-1", "baud": "9600"})
    async with Simulator(plant, models(), tmp_path) as simulator:
        text = site_for(plant, simulator)
        assert 'address: "000012345670", serial: "000012345670", baud: 2400, format: 8N1}' in text
        assert 'address: "7", serial: ' in text


def test_a_plant_file_with_every_protocol_is_read(tmp_path: Path) -> None:
    path = tmp_path / "plant.yaml"
    path.write_text(
        "listen:\n  line: {pty: line-1, baud: 9600}\nmeters:\n"
        "  - {id: A, on: line, model: dlt645-2007-single-phase, address: 000012345670}\n"
        "  - {id: B, on: line, model: wirenboard-wb-mcm8, address: 1}\n",
        "utf-8",
    )
    assert [meter.address for meter in load_plant(path, models()).meters] == ["000012345670", "1"]


# --- several speeds on one pty --------------------------------------------------------------------------------------


class Port:
    """The far side of a pty, used by hand."""

    def __init__(self, name: str) -> None:
        self._file = os.open(name, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)

    def set(self, speed: int) -> None:
        settings = termios.tcgetattr(self._file)
        settings[4] = settings[5] = speed
        termios.tcsetattr(self._file, termios.TCSANOW, settings)

    def send(self, data: bytes) -> None:
        os.write(self._file, data)

    def arrived(self) -> bytes:
        try:
            return os.read(self._file, 4096)
        except BlockingIOError:
            return b""

    async def read(self, count: int) -> bytes:
        data = b""
        async with asyncio.timeout(DEADLINE):
            while len(data) < count:
                data += self.arrived()
                await asyncio.sleep(0)
        return data

    def close(self) -> None:
        os.close(self._file)


async def test_each_meter_of_a_pty_hears_its_own_speed_only(tmp_path: Path) -> None:
    meters = (SINGLE | {"baud": "2400"}, OLD | {"baud": "4800"})
    async with simulator_of(tmp_path, *meters, line={"pty": "line-1", "baud": "9600"}) as simulator:
        port = Port(simulator.address_of("line"))
        for speed, ask, told, counts in (
            (termios.B2400, ASK, ANSWER, (1, 0)),
            (termios.B4800, OLD_ASK, OLD_ANSWER, (1, 1)),
        ):
            port.set(speed)
            port.send(ask)
            assert await port.read(len(told)) == told
            assert (simulator.requests("E"), simulator.requests("O")) == counts
        port.close()


class Whistling:
    """A meter for this test: it answers `?` as it was asked, and `!` at 9600 baud."""

    def __init__(self, declared: SimulatedMeter) -> None:
        self.declared = declared
        self.model = models()["dlt645-1997"].declared
        self.serial = "1"
        self.heard: list[bytes] = []

    def truth(self, quantity: str) -> str:
        raise KeyError(quantity)

    def hold(self, name: str, value: str) -> None:
        raise KeyError(name)

    def release(self, name: str) -> None:
        raise KeyError(name)

    def answer(self, request: bytes) -> bytes | tuple[bytes, int] | None:
        self.heard.append(request)
        told: dict[bytes, bytes | tuple[bytes, int]] = {b"?": b"as asked", b"!": (b"fast", 9600)}
        return told.get(request)


def one_byte(buffer: bytearray) -> bytes | None:
    return bytes([buffer.pop(0)]) if buffer else None


def declared_with(*faults: dict[str, Any]) -> SimulatedMeter:
    keys = {"id": "W", "on": "line", "model": "x", "address": "1", "faults": list(faults)}
    return SimulatedMeter.model_validate(keys)


def heard_by(line: Line) -> list[bytes]:
    """What the whistling meter of a line was asked."""
    meter = line.groups["whistling", line.listen.baud].stations[0].meter
    assert isinstance(meter, Whistling)
    return meter.heard


@asynccontextmanager
async def whistling(line: LineT, *faults: dict[str, Any]) -> AsyncIterator[LineT]:
    """A line with one whistling meter on it, plugged."""
    group = FrameGroup(Simulated(lambda declared, model, clock: Whistling(declared), one_byte), line.listen.baud, [])
    group.stations.append(Station(Whistling(declared_with(*faults))))
    line.groups["whistling", line.listen.baud] = group
    await line.plug()
    try:
        yield line
    finally:
        await line.unplug()


async def test_an_answer_at_another_speed_is_heard_at_that_speed_only_and_the_line_has_its_own_again(tmp_path: Path) -> None:
    async with whistling(PtyLine("line", Listen(pty="line-1", baud=1200), [], tmp_path)) as line:
        port = Port(line.address)
        port.set(termios.B1200)
        port.send(b"?")
        assert await port.read(8) == b"as asked"
        port.send(b"!?")
        assert await port.read(8) == b"as asked"  # nothing of `fast`: the port was still set to 1200
        port.send(b"!")
        async with asyncio.timeout(DEADLINE):
            while heard_by(line).count(b"!") < 2:
                await asyncio.sleep(0)
        # One byte and 3.5 characters at 1200 baud take 41 ms: so long a program has to change its speed.
        port.set(termios.B9600)
        assert await port.read(4) == b"fast"
        port.set(termios.B1200)
        port.send(b"!?")
        assert await port.read(8) == b"as asked"
        assert (port.arrived(), heard_by(line)) == (b"", [b"?", b"!", b"?", b"!", b"!", b"?"])
        port.close()


async def test_on_a_line_that_understands_every_speed_an_answer_at_another_one_is_heard() -> None:
    async with whistling(TcpLine("line", Listen(tcp="127.0.0.1:0"), [])) as line:
        wire = await Wire.to(line.address)
        wire.send(b"!?")
        assert await wire.read(12) == b"fastas asked"
        await wire.close()


# --- faults that are the same bytes in every protocol ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "options", "seen"),
    [
        ("short", {}, b"as ask"),
        ("short", {"count": "5"}, b"as "),
        ("short", {"count": "200"}, b"a"),
        ("echo", {}, b"?as asked"),
        ("checksum", {}, b"as a\x8cked"),
        ("slow", {"delay_ms": "1"}, b"as asked"),
        ("late", {"delay_ms": "20"}, b"as asked"),
    ],
)
async def test_a_fault_is_played_on_the_bytes_of_any_protocol(kind: str, options: dict[str, str], seen: bytes) -> None:
    fault = {"kind": kind, "at": ["1"]} | options
    async with whistling(TcpLine("line", Listen(tcp="127.0.0.1:0"), []), fault) as line:
        wire = await Wire.to(line.address)
        wire.send(b"?")
        assert await wire.read(len(seen)) == seen
        wire.send(b"?")
        assert await wire.read(8) == b"as asked"
        await wire.close()


async def test_noise_trailing_bytes_and_silence_need_no_protocol_either() -> None:
    faults = {"kind": "noise", "at": ["1"]}, {"kind": "trailing", "at": ["2"], "count": "5"}, {"kind": "silence", "at": ["3"]}
    async with whistling(TcpLine("line", Listen(tcp="127.0.0.1:0"), []), *faults) as line:
        wire = await Wire.to(line.address)
        wire.send(b"?")
        assert (await wire.read(11))[3:] == b"as asked"
        wire.send(b"?")
        assert (await wire.read(13))[:8] == b"as asked"
        wire.send(b"??")
        assert await wire.read(8) == b"as asked"
        await wire.close()


@pytest.mark.parametrize(
    ("kind", "options", "seen"),
    [
        ("exception", {}, frame("000012345670", 0xD1, "04")),
        ("exception", {"code": "2"}, frame("000012345670", 0xD1, "02")),
        ("wrong_unit", {}, answer("00010000", "00123456", address="000012345671")),
        ("wrong_function", {}, answer("00010100", "00123456")),
        ("short_data", {}, frame("000012345670", 0x91, "00000100563412")),
        ("short_data", {"count": "4"}, frame("000012345670", 0x91, "00000100")),
        ("checksum", {}, ANSWER[4:-2] + bytes([ANSWER[-2] ^ 0xFF, 0x16])),
        ("short", {}, ANSWER[4:-2]),
        ("echo", {}, None),
    ],
)
async def test_a_fault_of_a_dlt645_meter_is_seen_on_the_wire_and_the_next_answer_is_right(
    tmp_path: Path, kind: str, options: dict[str, str], seen: bytes | None
) -> None:
    meter = SINGLE | {"faults": [Fault.model_validate({"kind": kind, "at": ["1"]} | options)]}
    wanted = ASK + ANSWER if seen is None else b"\xfe" * 4 + seen
    async with simulator_of(tmp_path, meter, line=RAW) as simulator:
        wire = await Wire.to(simulator.address_of("line"))
        wire.send(ASK)
        assert await wire.read(len(wanted)) == wanted
        wire.send(ASK)
        assert await wire.read(len(ANSWER)) == ANSWER
        assert simulator.played == [("E", 1, kind)]
        await wire.close()
