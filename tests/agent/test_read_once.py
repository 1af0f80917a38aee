"""agent.read_once: what an electrician sees who reads one meter by hand."""

from functools import partial
from pathlib import Path
from typing import Any

from agent.by_hand import conversation
from agent.polled import Polled
from agent.read_once import read_meter
from drivers import Target, load
from drivers.link import Link, LinkSettings
from tests.agent.gateway import StillClock
from tests.agent.plants import models, simulator_of

SDM120: dict[str, Any] = {"id": "EM-1", "model": "eastron-sdm120", "address": 1, "serial": "21012345", "frozen": True}


async def shown(directory: Path, meter: dict[str, Any], introduce: bool = False) -> tuple[str, bool]:
    async with simulator_of(directory, meter, hall={"tcp": "127.0.0.1:0", "framing": "tcp"}) as simulator:
        model = models()[meter["model"]].declared
        points = tuple(point for point in model.points if point.default)
        link = Link(LinkSettings("hall", "tcp", tcp=simulator.address_of("hall"), timeout_s=0.2), StillClock())
        await link.open()
        try:
            meter = Polled("EM-1", load("modbus"), Target(model, "1", "tcp"), points, 60_000)
            return await read_meter(partial(conversation, link), meter, introduce)
        finally:
            await link.close()


async def test_frames_values_and_identity_are_shown(tmp_path: Path) -> None:
    text, complete = await shown(tmp_path, SDM120)
    assert complete
    assert text.startswith(">> 00 01 00 00 00 06 01 04")
    assert "active_energy_import" in text
    assert "kWh" in text
    assert "serial: 21012345" in text


async def test_a_silent_meter_is_told_once_with_what_to_check(tmp_path: Path) -> None:
    text, complete = await shown(tmp_path, SDM120 | {"faults": [{"kind": "silence", "every": 1}]})
    assert not complete
    assert text.count("no answer") == 1
    assert text.count("A and B of the RS-485 pair") == 1


async def test_a_refusal_is_shown_and_the_rest_is_read(tmp_path: Path) -> None:
    text, complete = await shown(tmp_path, SDM120 | {"faults": [{"kind": "exception", "code": 2, "at": [1]}]})
    assert not complete
    assert "the meter has no such register" in text
    assert "no value: illegal address" in text
    assert "serial: 21012345" in text


async def test_a_meter_introduces_itself(tmp_path: Path) -> None:
    text, _ = await shown(tmp_path, SDM120, introduce=True)
    assert "maker: Eastron" in text


async def test_a_meter_that_cannot_introduce_itself_says_so(tmp_path: Path) -> None:
    refused = {"faults": [{"kind": "exception", "code": 1, "at": list(range(3, 30))}]}
    text, _ = await shown(tmp_path, SDM120 | refused, introduce=True)
    assert "the meter does not know this function" in text
