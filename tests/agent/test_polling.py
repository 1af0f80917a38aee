"""agent.poll on whole plants, an agent from its site file to its ledger: schedules, refusals, and lines of every kind."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from agent.clock import from_stamp
from agent.simulate import Simulator
from tests.agent.at_work import at_work, late_s, until, values
from tests.agent.gateway import SECOND, START, FastClock
from tests.agent.heard import Heard
from tests.agent.plants import simulator_of, with_crc
from tests.peers.converter import Converter
from tests.peers.scripted import Scripted

SDM120: dict[str, Any] = {"model": "eastron-sdm120", "frozen": True}
TIMES = "timeout_ms: 30, longest_answer_ms: 60"


def site(every: str, links: dict[str, str], *meters: dict[str, Any], more: str = "") -> str:
    """A site file: links by name, meters with an address and SDM120 unless they say otherwise."""
    lines = [f"every: {every}", "commit_seconds: 0", more, "links:"]
    lines += [f"  {name}: {{{link}}}" for name, link in links.items()]
    lines += ["meters:"]
    usual = {"link": next(iter(links)), "model": "eastron-sdm120"}
    lines += [f"  - {json.dumps(usual | meter)}" for meter in meters]
    return "\n".join(line for line in lines if line) + "\n"


def rtu(endpoint: str, times: str = TIMES) -> str:
    return f"tcp: '{endpoint}', framing: rtu, {times}"


@asynccontextmanager
async def hall(folder: Path, *meters: dict[str, Any], framing: str = "rtu") -> AsyncIterator[Simulator]:
    async with simulator_of(folder, *meters, hall={"tcp": "127.0.0.1:0", "framing": framing}) as simulator:
        yield simulator


async def idle(real_s: float) -> None:
    """Lets the agent work; for what must not happen meanwhile."""
    await asyncio.sleep(real_s)


# --- two schedules of one meter -------------------------------------------------------------------------------


async def test_a_meter_is_read_at_two_intervals_each_quantity_at_its_own_one(tmp_path: Path) -> None:
    async with hall(tmp_path, SDM120 | {"id": "EM-1", "address": "1"}) as simulator:
        meter = {"id": "EM-1", "address": 1, "fast": {"every": "2s", "quantities": ["active_power", "voltage.l1"]}}
        text = site("30s", {"hall": rtu(simulator.address_of("hall"))}, meter)
        async with at_work(tmp_path, text) as agent:
            await until(lambda: len(agent.readings("EM-1", 30)) >= 3)
            fast, slow = agent.readings("EM-1", 2), agent.readings("EM-1", 30)
            assert {*values(fast[-1])} == {"active_power", "voltage.l1"}
            assert not {*values(fast[-1])} & {*values(slow[-1])}
            assert "active_energy_import" in values(slow[-1])
            for every_s, readings in ((2, fast), (30, slow)):
                dues = [from_stamp(reading["due"]) for reading in readings]
                assert all(due % (every_s * SECOND) == 0 for due in dues)
                assert dues == sorted(set(dues))
            assert 0.9 * 30 <= len(fast) <= 1.1 * 60
            told = values(fast[-1]) | values(slow[-1])
            assert told == {quantity: simulator.truth("EM-1", quantity) for quantity in told}


# --- refusals -------------------------------------------------------------------------------------------------


def generic(*addresses: int) -> list[dict[str, Any]]:
    names = ("voltage.l1", "voltage.l2", "voltage.l3", "current.l1", "current.l2", "current.l3")
    points = zip(names, addresses, strict=False)
    return [{"quantity": name, "at": {"address": address, "type": "f32"}} for name, address in points]


async def test_a_register_that_the_meter_does_not_have_is_found_left_out_and_told_once(tmp_path: Path) -> None:
    there = {"id": "EM-1", "model": "generic-modbus", "address": "1", "points": generic(0, 2, 6), "frozen": True}
    there["points"][2]["quantity"] = "current.l1"  # the meter has no register 4
    asked = {"id": "EM-1", "address": 1, "model": "generic-modbus", "points": generic(0, 2, 4, 6)}
    async with hall(tmp_path, there) as simulator:
        text = site("1s", {"hall": rtu(simulator.address_of("hall"))}, asked)
        async with at_work(tmp_path, text) as agent:
            await until(lambda: len(agent.readings("EM-1")) >= 3)
            first, _, third, *_ = agent.readings("EM-1")
            for reading in (first, third):
                told = values(reading)
                assert told.pop("voltage.l3") is None
                assert told == {quantity: simulator.truth("EM-1", quantity) for quantity in told}
            cause = {value["quantity"]: value.get("cause") for value in first["values"]}
            assert cause["voltage.l3"] == "illegal_address"
            cause = {value["quantity"]: (value.get("quality"), value.get("cause")) for value in third["values"]}
            assert cause["voltage.l3"] == ("bad", "left_out")
            assert len(third["frames"]) == 2  # around the register
            (told,) = agent.events("meter.refused")
            assert (told["cause"], told["left_out"]) == ("illegal_address", "voltage.l3")

            before = len(agent.readings("EM-1"))
            await simulator.drop_connections("hall")
            await until(lambda: len(agent.readings("EM-1")) >= before + 3)
            again = [v for r in agent.readings("EM-1")[before:] for v in r["values"] if v["quantity"] == "voltage.l3"]
            assert [value["cause"] for value in again[:2]] == ["illegal_address", "left_out"]
            assert len(agent.events("meter.refused")) == 1


async def test_a_meter_that_says_nothing_to_reads_over_registers_it_does_not_have_is_read_without_them(tmp_path: Path) -> None:
    """Many refuse; some are silent, which must not be taken for a dead meter."""

    def script(number: int, request: bytes) -> list[tuple[float, bytes]]:
        count = request[5]
        return [(0.0, with_crc(request[:2] + bytes([2 * count]) + bytes(2 * count)))] if count == 2 else []

    async with Scripted(script) as peer:
        meter = {"id": "EM-1", "address": 1, "model": "generic-modbus", "points": generic(0, 8, 16)}
        async with at_work(tmp_path, site("10s", {"hall": rtu(peer.endpoint)}, meter)) as agent:
            await until(lambda: len([r for r in agent.readings("EM-1") if None not in values(r).values()]) >= 3)
            asked = len(peer.seen)
            readings = len(agent.readings("EM-1"))
            await until(lambda: len(agent.readings("EM-1")) >= readings + 3)
            assert all(request[5] == 2 for _, request in peer.seen[asked:]), "what was learned is kept"


# --- a line without time enough -------------------------------------------------------------------------------


async def test_polls_that_a_line_has_no_time_for_are_sealed_as_overrun_and_told_at_1_10_and_100(
    tmp_path: Path, heard: Heard
) -> None:
    meters = [SDM120 | {"id": f"EM-{unit}", "address": str(unit), "answer_ms": 40} for unit in (1, 2, 3)]
    async with hall(tmp_path, *meters) as simulator:
        asked = [{"id": f"EM-{unit}", "address": unit} for unit in (1, 2, 3)]
        link = rtu(simulator.address_of("hall"), "timeout_ms: 300, longest_answer_ms: 300")
        async with at_work(tmp_path, site("2s", {"hall": link}, *asked)) as agent:  # 0.1 s of real time, 0.24 s are needed
            await until(lambda: len(agent.events("link.overrun")) >= 3)
            assert [event["polls"] for event in agent.events("link.overrun")][:2] == [1, 10]
            assert 100 <= agent.events("link.overrun")[2]["polls"] <= 102
            heard.tells(agent.events("link.overrun")[0], "MS-211")
            for unit in (1, 2, 3):
                assert set(agent.causes(f"EM-{unit}")) <= {"overrun", "line_opening"}
                gaps = [gap for gap in agent.records(f"EM-{unit}", "gap") if gap["cause"] == "overrun"]
                missed = sum(gap["missed"] for gap in gaps if gap["state"] == "closed")
                read = len(agent.readings(f"EM-{unit}"))
                assert missed >= 10
                assert 0.5 <= read / (read + missed) * 2.4 <= 1.5, "each has its share of the line"


# --- silence and return ---------------------------------------------------------------------------------------

ALMOST = START - SECOND * 10  # ten seconds before a quarter of an hour


async def test_a_meter_that_returns_within_the_very_slot_it_first_missed_has_missed_nothing(tmp_path: Path) -> None:
    sleepy = SDM120 | {"id": "EM-1", "address": "1", "faults": [{"kind": "silence", "at": [1]}]}
    async with hall(tmp_path, sleepy) as simulator:
        text = site("15m", {"hall": rtu(simulator.address_of("hall"))}, {"id": "EM-1", "address": 1})
        async with at_work(tmp_path, text, FastClock(20.0, ALMOST)) as agent:
            await until(lambda: agent.readings("EM-1"))
            opened, closed = agent.records("EM-1", "gap")
            assert (opened["state"], opened["cause"]) == ("opened", "no_answer")
            assert (closed["state"], closed["missed"], closed["due"]) == ("closed", 0, opened["due"])
            (reading,) = agent.readings("EM-1")
            assert reading["due"] == opened["due"]
            assert late_s(reading) < 60


async def test_a_dead_meter_that_returns_is_read_long_before_its_next_instant(tmp_path: Path) -> None:
    dead = SDM120 | {"id": "EM-1", "address": "1", "faults": [{"kind": "silence", "at": list(range(1, 5))}]}
    async with hall(tmp_path, dead) as simulator:
        text = site("15m", {"hall": rtu(simulator.address_of("hall"))}, {"id": "EM-1", "address": 1})
        async with at_work(tmp_path, text, FastClock(40.0, ALMOST)) as agent:
            await until(lambda: agent.readings("EM-1"))
            (reading,) = agent.readings("EM-1")
            assert late_s(reading) < 120
            assert agent.events("meter.back")[0]["missed"] == 0


async def test_when_a_line_comes_back_its_meters_are_read_at_once_for_the_instant_that_is_running(tmp_path: Path) -> None:
    meters = [SDM120 | {"id": f"EM-{unit}", "address": str(unit)} for unit in (1, 2, 3)]
    async with hall(tmp_path, *meters) as simulator:
        text = site(
            "15m", {"hall": rtu(simulator.address_of("hall"))}, *[{"id": m["id"], "address": m["address"]} for m in meters]
        )
        await simulator.unplug("hall")
        async with at_work(tmp_path, text, FastClock(20.0, ALMOST)) as agent:
            await until(lambda: all(agent.causes(f"EM-{unit}") for unit in (1, 2, 3)))
            assert agent.causes("EM-2") == ["no_connection"]
            await simulator.plug("hall")
            await until(lambda: all(agent.readings(f"EM-{unit}") for unit in (1, 2, 3)))
            for unit in (1, 2, 3):
                (reading,) = agent.readings(f"EM-{unit}")
                assert from_stamp(reading["due"]) == START
                assert late_s(reading) < 150
            assert len(agent.events("link.down")) == 1
            assert len(agent.events("link.up")) == 1


async def test_what_was_read_before_a_line_went_away_in_the_middle_of_a_poll_is_sealed_and_the_rest_says_why(
    tmp_path: Path,
) -> None:
    def script(number: int, request: bytes) -> list[tuple[float, bytes]]:
        answer = with_crc(request[:2] + b"\4" + bytes(4))
        return [(0.0, answer if number != 1 else b"\0hang up")]

    async with Scripted(script) as peer:
        meter = {"id": "EM-1", "address": 1, "model": "generic-modbus", "points": generic(0, 200)}
        async with at_work(tmp_path, site("15m", {"hall": rtu(peer.endpoint)}, meter), FastClock(20.0, ALMOST)) as agent:
            await until(lambda: agent.readings("EM-1"))
            (reading,) = agent.readings("EM-1")
            told = {value["quantity"]: value.get("cause", "good") for value in reading["values"]}
            assert told == {"voltage.l1": "good", "voltage.l2": "connection_lost"}
            assert [frame.get("fault") for frame in reading["frames"]] == [None, "connection_lost"]


# --- who it is ------------------------------------------------------------------------------------------------


async def test_nothing_is_sealed_while_the_serial_number_arrives_damaged(tmp_path: Path) -> None:
    damaged = [{"kind": "checksum", "at": [1, 2]}]
    async with hall(tmp_path, SDM120 | {"id": "EM-1", "address": "1", "serial": "5551", "faults": damaged}) as simulator:
        text = site("15m", {"hall": rtu(simulator.address_of("hall"))}, {"id": "EM-1", "address": 1})
        async with at_work(tmp_path, text, FastClock(20.0, ALMOST)) as agent:
            await until(lambda: agent.readings("EM-1"))
            assert agent.causes("EM-1") == ["bad_checksum"]
            (reading,) = agent.readings("EM-1")
            assert (reading["meter"]["serial"], reading["meter"]["serial_from"]) == ("5551", "register")
            assert not agent.events("meter.unidentified")


async def test_a_meter_that_never_tells_its_serial_number_is_read_nevertheless(tmp_path: Path, heard: Heard) -> None:
    def script(number: int, request: bytes) -> list[tuple[float, bytes]]:
        count = request[5]
        silent = request[2] == 0xFC
        return [] if silent else [(0.0, with_crc(request[:2] + bytes([2 * count]) + bytes(2 * count)))]

    async with Scripted(script) as peer:
        meter = {"id": "EM-1", "address": 1, "serial": "PLATE-7"}
        async with at_work(tmp_path, site("10s", {"hall": rtu(peer.endpoint)}, meter)) as agent:
            await until(lambda: len(agent.readings("EM-1")) >= 2)
            assert agent.readings("EM-1")[-1]["meter"]["serial_from"] == "plate"
            heard.tells(agent.events("meter.unidentified")[0], "MS-303")


# --- serial servers and gateways ------------------------------------------------------------------------------


async def test_a_serial_server_that_closes_idle_connections_is_open_again_when_a_poll_is_due(tmp_path: Path) -> None:
    async with (
        hall(tmp_path, SDM120 | {"id": "EM-1", "address": "1"}) as simulator,
        Converter(simulator.address_of("hall"), idle_s=0.4) as server,
    ):
        text = site("20s", {"hall": rtu(server.endpoint, "timeout_ms: 200, longest_answer_ms: 20")}, {"id": "EM-1", "address": 1})
        async with at_work(tmp_path, text, FastClock(10.0)) as agent:
            await until(lambda: len(agent.readings("EM-1")) >= 4)
            assert server.connections >= 4, "it was closed in between"
            assert not agent.events("link.down")
            assert len(agent.events("link.idle")) == 1
            assert len(agent.events("link.up")) == 1
            assert not agent.causes("EM-1")
            assert max(late_s(reading) for reading in agent.readings("EM-1")) < 5


async def test_a_connection_that_hangs_is_made_anew(tmp_path: Path, heard: Heard) -> None:
    meters = [SDM120 | {"id": f"EM-{unit}", "address": str(unit)} for unit in (1, 2, 3)]
    async with (
        hall(tmp_path, *meters) as simulator,
        Converter(simulator.address_of("hall")) as server,
    ):
        text = site("1s", {"hall": rtu(server.endpoint)}, *[{"id": each["id"], "address": each["address"]} for each in meters])
        async with at_work(tmp_path, text) as agent:
            await until(lambda: all(len(agent.readings(each["id"])) >= 2 for each in meters))
            server.hang()
            await until(lambda: agent.events("link.silent"))
            before = {each["id"]: len(agent.readings(each["id"])) for each in meters}
            await until(lambda: all(len(agent.readings(each["id"])) > before[each["id"]] for each in meters))
            assert server.connections == 2
            assert agent.events("link.silent")[0]["seconds"] >= 20
            heard.tells(agent.events("link.silent")[0], "MS-203")
            assert not agent.events("link.down")


async def test_a_dead_unit_behind_a_gateway_does_not_close_the_connection_of_the_others(tmp_path: Path) -> None:
    dead = SDM120 | {"id": "dead", "address": "2", "faults": [{"kind": "silence", "every": 1}]}
    async with (
        hall(tmp_path, SDM120 | {"id": "EM-1", "address": "1"}, dead, framing="tcp") as simulator,
        Converter(simulator.address_of("hall")) as server,
    ):
        link = f"tcp: '{server.endpoint}', timeout_ms: 30"
        asked = [{"id": "EM-1", "address": 1}, {"id": "dead", "address": 2}]
        async with at_work(tmp_path, site("5s", {"hall": link}, *asked)) as agent:
            await until(lambda: len(agent.readings("EM-1")) >= 20)  # five times the patience with a silent connection
            assert server.connections == 1
            assert agent.causes("dead") == ["no_answer"]
            assert set(agent.causes("EM-1")) <= {"line_opening"}


async def test_a_gateway_that_says_that_a_unit_is_silent_is_not_silent_itself(tmp_path: Path) -> None:
    async with (
        hall(tmp_path, SDM120 | {"id": "other", "address": "1"}, framing="tcp") as simulator,
        Converter(simulator.address_of("hall")) as server,
    ):
        link = f"tcp: '{server.endpoint}', timeout_ms: 300"
        text = site("1s", {"hall": link}, {"id": "gone-1", "address": 7}, {"id": "gone-2", "address": 8})
        async with at_work(tmp_path, text) as agent:
            await until(lambda: server.requests)
            asked = agent.told.copy()
            await idle(4.0)  # 80 s by the agent's clock, four times the patience with a silent connection
            assert len(server.requests) >= 8
            assert server.connections == 1
            assert agent.causes("gone-1") == agent.causes("gone-2") == ["gateway_target"]
            assert {event["event"] for event in agent.told[len(asked) :]} <= {"meter.silent"}


async def test_a_meter_that_takes_one_connection_only_is_read_once_the_other_one_is_gone(tmp_path: Path) -> None:
    async with (
        hall(tmp_path, SDM120 | {"id": "EM-1", "address": "1"}, framing="tcp") as simulator,
        Converter(simulator.address_of("hall"), most=1) as server,
    ):
        _, other = await asyncio.open_connection(*server.endpoint.split(":"))
        await until(lambda: server.open == 1)
        link = f"tcp: '{server.endpoint}', timeout_ms: 300"
        async with at_work(tmp_path, site("1s", {"hall": link}, {"id": "EM-1", "address": 1})) as agent:
            await until(lambda: server.turned_away >= 4)
            assert len(agent.events("link.down")) == 1
            assert len(agent.events("link.up")) <= 1
            assert set(agent.causes("EM-1")) <= {"connection_lost", "not_open"}
            before, turned_away = agent.told.copy(), server.turned_away
            await idle(0.5)  # ten seconds by the agent's clock
            assert server.turned_away - turned_away <= 4, "it is tried ever more seldom"
            assert agent.told == before
            other.transport.abort()
            await until(lambda: len(agent.readings("EM-1")) >= 3)
            assert agent.events("link.up")


async def test_a_meter_that_takes_several_requests_at_once_is_read_by_them(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    model = (Path(__file__).parents[2] / "config" / "models" / "abb-b23.yaml").read_text("utf-8")
    assert "modbus: {" in model or "modbus:\n" in model
    own = model.replace("model: abb-b23", "model: own-b23", 1)
    own = own.replace("modbus: {", "modbus: {together: 8, ", 1).replace("modbus:\n", "modbus:\n  together: 8\n", 1)
    (tmp_path / "models" / "own-b23.yaml").write_text(own, "utf-8")
    async with (
        hall(tmp_path, {"id": "EM-2", "model": "abb-b23", "address": "2", "frozen": True}, framing="tcp") as simulator,
        Converter(simulator.address_of("hall")) as server,
    ):
        link = f"tcp: '{server.endpoint}', timeout_ms: 300"
        meter = {"id": "EM-2", "address": 2, "model": "own-b23"}
        async with at_work(tmp_path, site("2s", {"hall": link}, meter, more="models: [models]")) as agent:
            await until(lambda: len(agent.readings("EM-2")) >= 3)
            reading = agent.readings("EM-2")[-1]
            assert len(reading["frames"]) > 1
            assert all(told == simulator.truth("EM-2", quantity) for quantity, told in values(reading).items())
            sent = [len(piece) // 12 for piece in server.requests]
            assert max(sent) == min(8, len(reading["frames"])), "they were sent in one piece"


# --- several lines, several speeds ----------------------------------------------------------------------------


async def test_a_dead_line_takes_nothing_from_another_one(tmp_path: Path) -> None:
    dead = [
        SDM120 | {"id": f"dead-{unit}", "on": "yard", "address": str(unit), "faults": [{"kind": "silence", "every": 1}]}
        for unit in (1, 2, 3)
    ]
    well = [SDM120 | {"id": f"EM-{unit}", "on": "hall", "address": str(unit)} for unit in (1, 2, 3)]
    lines = {name: {"tcp": "127.0.0.1:0", "framing": "rtu"} for name in ("hall", "yard")}
    async with simulator_of(tmp_path, *well, *dead, **lines) as simulator:
        links = {name: rtu(simulator.address_of(name), "timeout_ms: 300, longest_answer_ms: 300") for name in lines}
        asked = [{"id": each["id"], "link": each["on"], "address": each["address"]} for each in [*well, *dead]]
        async with at_work(tmp_path, site("10s", links, *asked)) as agent:
            await until(lambda: all(len(agent.readings(each["id"])) >= 10 for each in well))
            for each in well:
                dues = [from_stamp(reading["due"]) for reading in agent.readings(each["id"])]
                assert (dues[-1] - dues[0]) / (10 * SECOND) <= len(dues)  # a stalled machine may cost one
            assert not any(agent.readings(each["id"]) for each in dead)


async def test_meters_of_two_speeds_share_a_line_and_the_port_is_seldom_set_anew(tmp_path: Path) -> None:
    speeds = {"A": 2400, "B": 9600, "C": 2400, "D": 9600, "E": 2400, "F": 9600}
    meters = [SDM120 | {"id": name, "address": str(unit), "baud": baud} for unit, (name, baud) in enumerate(speeds.items(), 1)]
    async with simulator_of(tmp_path, *meters, hall={"pty": "line-1", "baud": 9600}) as simulator:
        link = f"serial: '{simulator.address_of('hall')}', baud: 9600, format: 8N1, timeout_ms: 300, longest_answer_ms: 300"
        asked = [{"id": each["id"], "address": each["address"], "baud": each["baud"]} for each in meters]
        async with at_work(tmp_path, site("5s", {"hall": link}, *asked), FastClock(3.0)) as agent:
            await until(lambda: all(len(agent.readings(name)) >= 7 for name in speeds))
            for name in speeds:
                assert values(agent.readings(name)[-1])["voltage.l1"] == simulator.truth(name, "voltage.l1")
            newest = min(len(agent.readings(name)) for name in speeds)
            # In the first instants the meters are also asked who they are and how they are set.
            dues = {reading["due"] for name in speeds for reading in agent.readings(name)[4:newest]}
            for due in dues:
                told = [(r["time"], speeds[name]) for name in speeds for r in agent.readings(name) if r["due"] == due]
                order = [speed for _, speed in sorted(told)]
                assert sum(one != other for one, other in pairwise(order)) <= 1, order


# --- the start ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("framing", ["rtu", "tcp"])
async def test_the_first_instant_that_can_be_kept_is_kept_and_nothing_is_missed_before_it(tmp_path: Path, framing: str) -> None:
    async with hall(tmp_path, SDM120 | {"id": "EM-1", "address": "1"}, framing=framing) as simulator:
        link = f"tcp: '{simulator.address_of('hall')}', framing: {framing}, timeout_ms: 300, longest_answer_ms: 300"
        async with at_work(tmp_path, site("1s", {"hall": link}, {"id": "EM-1", "address": 1}), FastClock(2.0)) as agent:
            await until(lambda: len(agent.readings("EM-1")) >= 3)
            assert not agent.causes("EM-1")
