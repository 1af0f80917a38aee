"""DL/T 645 with other people's programs: our driver reads their meter, their master reads our simulated ones.

Both programs install a Python package of the same name, so each has a virtual environment of its own.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from agent.clock import Clock
from agent.reading import Value, values_of
from config.library import load_models
from config.model import Point
from drivers import Exchange, Request, Target, dlt645, load
from drivers.errors import NoAnswer, Refused
from drivers.formula import evaluate
from drivers.link import Link, LinkSettings
from tests.agent.plants import simulator_of
from tests.peers.environment import environment
from tests.peers.foreign import free_port
from tests.peers.ptys import Line

OWN = "665544332211"  # what the foreign meter is given is in the order of the wire
SERVER = """
import sys
from datetime import datetime
from dlt645 import Demand, MeterServerService
kind, place = sys.argv[1:3]
if kind == "tcp":
    meter = MeterServerService.new_tcp_server("127.0.0.1", int(place), 300.0)
else:
    meter = MeterServerService.new_rtu_server(place, 8, 1, 9600, "N", 300.0)
meter.set_address("112233445566")
meter.set_00(0x00010000, 123456.78)
meter.set_00(0x00010100, 100000.01)
meter.set_00(0x00020000, 0.26)
meter.set_00(0x00000000, -12.34)
meter.set_01(0x01010000, Demand(12.3456, datetime(2026, 1, 8, 14, 30)))
meter.set_02(0x02010100, 230.5)
meter.set_02(0x02020100, -5.001)
meter.set_02(0x02030000, -0.2512)
meter.set_02(0x02060000, 0.501)
meter.set_02(0x02800002, 50.01)
meter.start()
print("ready", flush=True)
sys.stdin.read()
"""
HELD = {
    "active_energy_import": "123456.78",
    "active_energy_import.t1": "100000.01",
    "active_energy_export": "0.26",
    "active_energy_net": "-12.34",
    "active_power_demand_max": "12345.6",
    "voltage.l1": "230.5",
    "current.l1": "-5.001",
    "active_power": "-251.2",
    "power_factor": "0.501",
    "frequency": "50.01",
}
MASTER = """
import json, sys, tty
import dlt645
port = open(sys.argv[1], "r+b", buffering=0)
tty.setraw(port)
address = dlt645.get_addr(port)
told = {"address": address, "energy": dlt645.get_active_energy(address, port)}
for identifier in sys.argv[2:]:
    frame = dlt645.Frame(address)
    frame.data = identifier
    dlt645.write_frame(port, frame)
    told[identifier] = dlt645.read_frame(dlt645.iogen(port)).data
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def server_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    return environment(tmp_path_factory.mktemp("dlt645"), "dlt645==3.2.0")


@pytest.fixture(scope="module")
def master_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    return environment(tmp_path_factory.mktemp("python-dlt645"), "python-dlt645==0.1.4")


@asynccontextmanager
async def foreign_meter(python: str, kind: str, place: str) -> AsyncIterator[None]:
    process = await asyncio.create_subprocess_exec(
        python, "-c", SERVER, kind, place,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdout
    try:
        async with asyncio.timeout(30):
            while (line := await process.stdout.readline()) != b"ready\n":
                assert line, "the foreign meter did not start"
        yield
    finally:
        process.kill()
        await process.communicate()


def settings(**place: Any) -> LinkSettings:
    return LinkSettings("line", "rtu", baud=9600, timeout_s=2.0, longest_answer_s=0.3, **place)


def target_at(address: str, name: str = "dlt645-2007-three-phase") -> Target:
    return Target(load_models()[name].declared, address, "own", "1", "1")


async def read(link: Link, meter: Target, points: list[Point]) -> tuple[list[Value], list[Exchange]]:
    exchanges = []
    for first in dlt645.requests(meter, points):
        request: Request | None = first
        while request:
            exchange = await link.exchange(load("dlt645"), request)
            exchanges.append(exchange)
            request = None if exchange.error else dlt645.following(meter, exchange.request, exchange.answer)
    return list(values_of(load("dlt645"), meter, points, exchanges)), exchanges


@pytest.mark.parametrize("kind", ["tcp", "rtu"])
async def test_what_a_foreign_meter_holds_is_read_over_tcp_and_over_a_pty(server_python: str, kind: str) -> None:
    with Line() as line:
        port = free_port()
        place: dict[str, Any] = {"tcp": f"127.0.0.1:{port}"} if kind == "tcp" else {"serial": line.one}
        async with foreign_meter(server_python, kind, str(port) if kind == "tcp" else line.other):
            link = Link(settings(**place), Clock())
            await link.open()
            meter = target_at(OWN)
            values, exchanges = await read(link, meter, [meter.model.point(quantity) for quantity in HELD])
            assert {value.quantity: value.value for value in values} == HELD
            answers = [exchange.answer for exchange in exchanges]
            formula = dlt645.frame_serial(meter, [exchange.request for exchange in exchanges], answers)
            assert formula
            assert evaluate(formula, answers).value == OWN
            asked = dlt645.identification_request(target_at("A" * 12))
            assert asked
            told = await link.exchange(load("dlt645"), asked)
            assert dlt645.identification(told.answer, "own") == ({"address": OWN}, None)
            await link.close()


async def test_what_a_foreign_meter_refuses_is_said_and_another_ones_number_is_never_answered_for(server_python: str) -> None:
    port = free_port()
    async with foreign_meter(server_python, "tcp", str(port)):
        link = Link(settings(tcp=f"127.0.0.1:{port}"), Clock())
        await link.open()
        blocks = target_at(OWN, "dlt645-2007-three-phase-blocks")
        phases = [blocks.model.point(f"voltage.l{phase}") for phase in (1, 2, 3)]
        (value, *_), (exchange,) = await read(link, blocks, phases)
        assert isinstance(exchange.error, Refused)
        assert (value.value, value.cause) == (None, "no_such_data")
        singles = [await link.exchange(load("dlt645"), request) for request in dlt645.requests(blocks, phases, 0)]
        assert [exchange.error for exchange in singles] == [None] * 3
        # This meter refuses in another's name what is asked of another: that gives no value either.
        other = target_at("000000000001")
        (value, *_), (exchange,) = await read(link, other, [other.model.point("active_energy_import")])
        assert isinstance(exchange.error, Refused | NoAnswer)
        assert value.value is None
        await link.close()


async def test_a_foreign_master_reads_simulated_meters(master_python: str, tmp_path: Path) -> None:
    held = {"active_energy_net": "12345.67", "active_energy_import": "1206.42", "voltage.l1": "230.5", "active_power": "-331.2"}
    meter = {"model": "dlt645-2007-single-phase", "address": "202311045678", "hold": held}
    async with simulator_of(tmp_path, meter, line={"pty": "line-1", "baud": "9600"}) as simulator:
        master = await asyncio.create_subprocess_exec(
            master_python, "-c", MASTER, simulator.address_of("line"), "00010000", "02010100", "02030000",
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        async with asyncio.timeout(20):
            said, _ = await master.communicate()
        assert json.loads(said) == {
            "address": "202311045678",
            "energy": 12345.67,
            "00010000": "0012064200010000",
            "02010100": "230502010100",
            "02030000": "80331202030000",
        }
        assert simulator.requests("M") == 5
