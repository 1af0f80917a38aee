"""agent.simulate: a plant at work, read by foreign clients and by our own link."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pymodbus import FramerType
from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient
from pyModbusTCP.client import ModbusClient  # type: ignore[import-untyped]  # it ships no types

from agent.by_hand import conversation
from agent.clock import Clock
from agent.link_settings import settings_of
from agent.polled import Polled, polled_meters
from agent.reading import values_of
from agent.simulate import Simulator, load_plant, site_for
from config.check import load_site
from drivers import Request, Target, load
from drivers.errors import LinkDown
from drivers.link import Link, LinkSettings
from tests.agent.gateway import StillClock
from tests.agent.plants import DEADLINE, Wire, models, plant_of, simulator_of, with_crc

MODBUS = load("modbus")
EXAMPLE = Path(__file__).parents[2] / "config" / "plant.example.yaml"
TCP = {"tcp": "127.0.0.1:0"}
PULSES = {"model": "wirenboard-wb-mcm8", "hold": {"pulse_count.ch0": "1234567"}}
INCOMER = {
    "model": "eastron-sdm630",
    "load": {"active_power": "42000"},
    "start": {"active_energy_import": "184223.5"},
    "seed": "1",
}
ASK = with_crc(bytes.fromhex("0704003C0002"))
ANSWER = with_crc(bytes.fromhex("070404 0012D687"))


def f32(registers: Sequence[int]) -> Decimal:
    return Decimal(str(AsyncModbusTcpClient.convert_from_registers(list(registers), AsyncModbusTcpClient.DATATYPE.FLOAT32)))


async def mbpoll(*words: str) -> str:
    program = shutil.which("mbpoll")
    if program is None:
        pytest.skip("mbpoll is not installed: apt install mbpoll")
    process = await asyncio.create_subprocess_exec(
        program, *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    return output.decode()


# --- foreign clients ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("framing", "framer"), [("tcp", FramerType.SOCKET), ("rtu", FramerType.RTU), ("ascii", FramerType.ASCII)]
)
async def test_pymodbus_reads_over_tcp_what_the_meter_holds(tmp_path: Path, framing: str, framer: FramerType) -> None:
    async with simulator_of(tmp_path, INCOMER, hall=TCP | {"framing": framing}) as simulator:
        host, port = simulator.address_of("hall").split(":")
        client = AsyncModbusTcpClient(host, port=int(port), framer=framer, retries=0)
        await client.connect()
        answer = await client.read_input_registers(0x0034, count=22, device_id=7)
        named = await client.read_device_information(device_id=7)
        refused = await client.read_input_registers(4000, count=2, device_id=7)
        client.close()
        truth = {name: Decimal(simulator.truth("M", name)) for name in ("active_power", "active_energy_import")}
        assert abs(f32(answer.registers[:2]) - truth["active_power"]) < Decimal("0.01")
        assert abs(f32(answer.registers[20:]) - truth["active_energy_import"]) < Decimal("0.01")
        assert named.information[0] == b"Eastron"  # type: ignore[attr-defined]  # of this kind of answer
        assert (refused.isError(), refused.exception_code) == (True, 2)


@pytest.mark.parametrize(("framing", "framer"), [("rtu", FramerType.RTU), ("ascii", FramerType.ASCII)])
async def test_pymodbus_reads_over_a_pty_what_the_meter_holds(tmp_path: Path, framing: str, framer: FramerType) -> None:
    line = {"pty": "line-1", "framing": framing, "baud": "115200"}
    async with simulator_of(tmp_path, PULSES, line=line) as simulator:
        assert simulator.address_of("line") == str(tmp_path / "line-1")
        client = AsyncModbusSerialClient(simulator.address_of("line"), framer=framer, baudrate=115200, retries=0)
        await client.connect()
        answer = await client.read_input_registers(60, count=2, device_id=7)
        client.close()
        assert answer.registers == [0x0012, 0xD687]


async def test_pymodbustcp_reads_what_the_meter_holds(tmp_path: Path) -> None:
    async with simulator_of(tmp_path, PULSES, INCOMER | {"id": "E", "address": "8"}, hall=TCP) as simulator:
        host, port = simulator.address_of("hall").split(":")

        def read() -> tuple[list[int] | None, list[int] | None, int]:
            client = ModbusClient(host=host, port=int(port), unit_id=7, timeout=DEADLINE)
            mine = client.read_input_registers(60, 2)
            client.unit_id = 8
            other = client.read_input_registers(0x0034, 2)
            client.unit_id = 9
            client.read_input_registers(60, 2)
            client.close()
            return mine, other, client.last_except

        mine, other, refused = await asyncio.to_thread(read)
        assert mine == [0x0012, 0xD687]
        assert abs(f32(other or []) - Decimal(simulator.truth("E", "active_power"))) < Decimal("0.01")
        assert refused == 0x0B  # the gateway's word for an address that nobody has


async def test_mbpoll_reads_over_tcp_and_over_a_pty(tmp_path: Path) -> None:
    lines: dict[str, Any] = {"hall": TCP, "line": {"pty": "line-1", "baud": "19200"}}
    async with simulator_of(tmp_path, PULSES, PULSES | {"id": "P", "on": "line"}, **lines) as simulator:
        port = simulator.address_of("hall").split(":")[1]
        common = ("-a", "7", "-t", "3:int", "-B", "-r", "61", "-c", "1", "-1")
        assert re.search(r"\[61\]:\s+1234567", await mbpoll("-m", "tcp", "-p", port, *common, "127.0.0.1"))
        serial = ("-m", "rtu", "-b", "19200", "-P", "none", *common, simulator.address_of("line"))
        assert re.search(r"\[61\]:\s+1234567", await mbpoll(*serial))


# --- our own link -------------------------------------------------------------------------------------------------


async def values(link: Link, meter: Polled) -> dict[str, str | None]:
    """What a meter tells by default, read through a link."""
    exchanges = await conversation(link, meter, meter.driver.requests(meter.target, meter.points))
    assert [exchange.error for exchange in exchanges] == [None] * len(exchanges)
    return {value.quantity: value.value for value in values_of(meter.driver, meter.target, meter.points, exchanges)}


async def test_every_meter_of_the_example_plant_is_read_by_our_own_link_through_the_fitting_site_file(tmp_path: Path) -> None:
    plant = load_plant(EXAMPLE, models())
    async with Simulator(plant, models(), tmp_path, StillClock()) as simulator:
        (tmp_path / "site.yaml").write_text(site_for(plant, simulator, gateway="hall/gw1"), "utf-8")
        site = load_site(tmp_path / "site.yaml")
        assert (site.site.gateway, site.site.every, len(site.site.meters)) == ("hall/gw1", 5000, len(plant.meters))
        assert {meter.id: meter.serial for meter in site.site.meters} == {
            declared.id: simulator.meter(declared.id).serial for declared in plant.meters
        }

        async def read(name: str) -> int:
            link = Link(replace(settings_of(site, name), timeout_s=1.0, longest_answer_s=1.0), Clock())
            await link.open()
            meters = polled_meters(site, name)
            for meter in meters:
                seen = await values(link, meter)
                assert seen == {quantity: simulator.truth(meter.id, quantity) for quantity in seen}
            await link.close()
            return len(meters)

        assert sum(await asyncio.gather(*(read(name) for name in plant.listen))) == len(plant.meters)
        assert simulator.played == []


async def test_a_generic_meter_takes_its_registers_from_the_plant_file_and_hands_them_to_the_site_file(tmp_path: Path) -> None:
    points = [
        {"quantity": "active_energy_import", "at": {"address": "16", "type": "u32", "word_order": "little"}, "scale": "0.1"}
    ]
    plant = plant_of({"model": "generic-modbus", "points": points, "start": {"active_energy_import": "77.3"}})
    async with Simulator(plant, models(), tmp_path, StillClock()) as simulator:
        (tmp_path / "site.yaml").write_text(site_for(plant, simulator), "utf-8")
        site = load_site(tmp_path / "site.yaml")
        assert site.model_of(site.site.meters[0]).declared.points == plant.meters[0].points
        assert simulator.meter("M").answer(bytes.fromhex("0300100002")) == bytes.fromhex("030403050000")


# --- lines --------------------------------------------------------------------------------------------------------


def pulses_request() -> Request:
    model = models()["wirenboard-wb-mcm8"].declared
    return MODBUS.requests(Target(model, "7", "rtu"), [model.point("pulse_count.ch0")])[0]


async def test_meters_share_a_line_and_an_address_nobody_has_stays_silent(tmp_path: Path) -> None:
    meters = (PULSES, PULSES | {"id": "P", "address": "8", "hold": {"pulse_count.ch0": "5"}})
    async with simulator_of(tmp_path, *meters, line=TCP | {"framing": "rtu"}) as simulator:
        wire = await Wire.to(simulator.address_of("line"))
        for unit in (9, 0, 8, 7):  # 0 is a broadcast: nobody answers
            wire.send(with_crc(bytes([unit]) + ASK[1:-2]))
        other = with_crc(bytes.fromhex("080404 00000005"))
        assert await wire.read(len(other + ANSWER)) == other + ANSWER
        assert (simulator.requests("M"), simulator.requests("P")) == (1, 1)
        await wire.close()


async def test_a_request_in_pieces_with_noise_before_it_is_understood(tmp_path: Path) -> None:
    async with simulator_of(tmp_path, PULSES, line=TCP | {"framing": "rtu"}) as simulator:
        wire = await Wire.to(simulator.address_of("line"))
        wire.send(b"\x00\xff" + with_crc(b"\x07\x04\x00\x3c")[:-1] + ASK)
        assert await wire.read(len(ANSWER)) == ANSWER
        wire.send(ASK[:3])
        wire.send(ASK[3:] + ASK[:1])
        assert await wire.read(len(ANSWER)) == ANSWER
        wire.send(ASK[1:])
        assert await wire.read(len(ANSWER)) == ANSWER
        await wire.close()


async def test_a_request_of_an_unknown_function_is_refused_when_the_line_falls_silent(tmp_path: Path) -> None:
    async with simulator_of(tmp_path, PULSES, line=TCP | {"framing": "rtu"}) as simulator:
        wire = await Wire.to(simulator.address_of("line"))
        wire.send(with_crc(b"\x07\x41\x01\x02\x03"))
        refused = with_crc(b"\x07\xc1\x01")
        assert await wire.read(len(refused)) == refused
        await wire.close()


async def test_what_is_no_modbus_tcp_ends_the_connection(tmp_path: Path) -> None:
    async with simulator_of(tmp_path, PULSES, hall=TCP) as simulator:
        wire = await Wire.to(simulator.address_of("hall"))
        wire.send(b"GET / HTTP/1.1\r\n\r\n")
        assert await wire.is_cut()
        await wire.close()


async def test_requests_sent_together_over_modbus_tcp_are_all_answered(tmp_path: Path) -> None:
    async with simulator_of(tmp_path, PULSES, hall=TCP) as simulator:
        wire = await Wire.to(simulator.address_of("hall"))
        wire.send(b"".join(n.to_bytes(2, "big") + bytes.fromhex("0000 0006 07 04 003C 0002") for n in (1, 2, 3)))
        wanted = b"".join(n.to_bytes(2, "big") + bytes.fromhex("0000 0007 07 04 04 0012D687") for n in (1, 2, 3))
        assert await wire.read(len(wanted)) == wanted
        await wire.close()


async def test_an_unplugged_listener_cuts_its_clients_refuses_new_ones_and_comes_back_at_its_port(tmp_path: Path) -> None:
    async with simulator_of(tmp_path, PULSES, line=TCP | {"framing": "rtu"}) as simulator:
        address = simulator.address_of("line")
        wire = await Wire.to(address)
        await simulator.unplug("line")
        assert await wire.is_cut()
        await wire.close()
        with pytest.raises(ConnectionRefusedError):
            await Wire.to(address)
        await simulator.plug("line")
        assert simulator.address_of("line") == address
        wire = await Wire.to(address)
        wire.send(ASK)
        assert await wire.read(len(ANSWER)) == ANSWER
        await wire.close()


async def test_dropped_connections_can_be_made_again_at_once(tmp_path: Path) -> None:
    async with simulator_of(tmp_path, PULSES, line=TCP | {"framing": "rtu"}) as simulator:
        wire = await Wire.to(simulator.address_of("line"))
        wire.send(ASK)
        assert await wire.read(len(ANSWER)) == ANSWER
        await simulator.drop_connections("line")
        assert await wire.is_cut()
        await wire.close()
        wire = await Wire.to(simulator.address_of("line"))
        wire.send(ASK)
        assert await wire.read(len(ANSWER)) == ANSWER
        await wire.close()


def serial_link(simulator: Simulator, baud: int) -> Link:
    settings = LinkSettings("line", "rtu", serial=simulator.address_of("line"), baud=baud, timeout_s=0.5, longest_answer_s=0.5)
    return Link(settings, Clock())


async def test_a_pulled_adapter_is_lost_and_a_plugged_one_answers_again(tmp_path: Path) -> None:
    async with simulator_of(tmp_path, PULSES, line={"pty": "line-1"}) as simulator:
        link = serial_link(simulator, 115200)
        await link.open()
        assert (await link.exchange(MODBUS, pulses_request())).answer == ANSWER
        await simulator.unplug("line")
        assert not os.path.lexists(simulator.address_of("line"))
        with pytest.raises(LinkDown):
            await link.exchange(MODBUS, pulses_request())
        await simulator.plug("line")
        await link.open()
        assert (await link.exchange(MODBUS, pulses_request())).answer == ANSWER
        await simulator.drop_connections("line")
        with pytest.raises(LinkDown):
            await link.exchange(MODBUS, pulses_request())
        await link.close()


async def test_a_pty_goes_on_when_programs_come_and_go(tmp_path: Path) -> None:
    async with simulator_of(tmp_path, PULSES, line={"pty": "line-1"}) as simulator:
        for _ in range(3):
            link = serial_link(simulator, 115200)
            await link.open()
            assert (await link.exchange(MODBUS, pulses_request())).answer == ANSWER
            await link.close()


async def test_bytes_on_a_line_with_a_speed_take_their_time_and_meters_answer_one_after_the_other(tmp_path: Path) -> None:
    async with simulator_of(tmp_path, PULSES, line={"pty": "line-1", "baud": "4800"}) as simulator:
        link = serial_link(simulator, 4800)
        await link.open()
        exchange = await link.exchange(MODBUS, pulses_request())
        await link.close()
        assert exchange.answer == ANSWER
        assert exchange.ms >= 1000 * (len(ASK) + len(ANSWER)) * 11 / 4800 - 1


async def test_a_program_at_the_wrong_speed_is_not_understood(tmp_path: Path) -> None:
    async with simulator_of(tmp_path, PULSES, line={"pty": "line-1", "baud": "38400"}) as simulator:
        for baud, heard in ((57600, 0), (38400, 1)):
            link = serial_link(simulator, baud)
            await link.open()
            exchange = await link.exchange(MODBUS, pulses_request())
            await link.close()
            assert (simulator.requests("M"), exchange.error is None) == (heard, heard == 1)
