"""An agent on an OPC UA server that runs in a process of its own: what it seals, and that it reads on after whatever happens.

A counter goes on by one at each read, so a value read once and told twice, or told of another instant, would be seen.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

pytest.importorskip("asyncua", reason="asyncua is not installed: pip install 'meterseal[opcua]'")

from agent.clock import from_stamp
from agent.status import status_of
from config.check import load_site
from tests.agent.at_work import AtWork, at_work, until, values
from tests.agent.gateway import FastClock
from tests.agent.servers import SPEED, accounted, site
from tests.peers.opcua_meters import PLANT, Peer, serving


@pytest.fixture(scope="module")
def shared() -> Iterator[Peer]:
    """A server that no test stops."""
    with serving("--meters", "3", "--points", "6") as peer:
        yield peer


@pytest.fixture
def peer() -> Iterator[Peer]:
    """A server that a test may do to as it likes."""
    with serving() as peer:
        yield peer


def counts(agent: AtWork, meter: str = "m1") -> list[int]:
    return [int(values(reading)["active_energy_import"]) for reading in agent.readings(meter)]


async def test_each_instant_is_one_read_for_all_meters_and_each_seals_its_own_part(shared: Peer, tmp_path: Path) -> None:
    async with at_work(tmp_path, site(shared, meters=3), FastClock(SPEED)) as agent:
        await until(lambda: agent.readings("m3"))
        shared.tell("reads")
        await until(lambda: len(agent.readings("m3")) > 12)
        asked = [nodes for nodes in json.loads(shared.tell("reads")) if nodes > 1]
        readings = agent.readings("m2")
        assert set(asked) == {2 + 3 * 2}
        assert {fields["values"][1]["value"] for fields in readings} == {"21"}
        for fields in readings:
            (frame,) = fields["frames"]
            assert b"M2.P0" in bytes.fromhex(frame["request"])
            assert b"M1.P0" not in bytes.fromhex(frame["request"])
        for meter in ("m1", "m2", "m3"):
            assert all(later == before + 1 for before, later in pairwise(counts(agent, meter)))
            accounted(agent, meter)


async def test_the_time_of_an_answer_that_many_meters_share_is_counted_once(shared: Peer, tmp_path: Path) -> None:
    async with at_work(tmp_path, site(shared, meters=3), FastClock(SPEED)) as agent:
        await until(lambda: len(agent.readings("m3")) > 20)
        assert agent.past
        seen = status_of(agent.past, load_site(tmp_path / "site.yaml"), agent.state, from_stamp(agent.readings("m3")[-1]["time"]))
        took = [sum(fields["frames"][0]["ms"] for fields in agent.readings(meter)) for meter in ("m1", "m2", "m3")]
    (line,) = seen.lines
    assert float(line.busy_percent) <= 100 * max(took) / 3_600_000 + 0.01, "of the last hour"
    assert {meter.meter: meter.values[0] != "" for meter in seen.meters} == {"m1": True, "m2": True, "m3": True}


async def test_what_is_read_more_often_has_readings_of_its_own(shared: Peer, tmp_path: Path) -> None:
    text = site(shared, meters=1).replace("    points:", "    fast: {every: 500ms, quantities: [active_power]}\n    points:")
    async with at_work(tmp_path, text, FastClock(SPEED)) as agent:
        await until(lambda: len(agent.readings("m1", 0.5)) > 10)
        fast, slow = agent.readings("m1", 0.5), agent.readings("m1", 1)
        assert {len(fields["values"]) for fields in [*fast, *slow]} == {1}
        assert abs(len(fast) - 2 * len(slow)) <= 2


async def test_a_server_that_was_killed_is_read_again_and_what_was_missed_is_told(peer: Peer, tmp_path: Path) -> None:
    async with at_work(tmp_path, site(peer), FastClock(SPEED)) as agent:
        await until(lambda: len(agent.readings("m2")) > 2)
        peer.kill()
        await until(lambda: "no_connection" in agent.causes("m2"))
        before = len(agent.readings("m2"))
        again = peer.again()
        try:
            await until(lambda: len(agent.readings("m2")) > before + 2)
        finally:
            accounted(agent, "m2")
            again.stop()
        (down,) = agent.events("link.down")
        assert "scada" in down["reason"]
        assert [event["link"] for event in agent.events("link.up")] == ["scada", "scada"]


async def test_a_server_that_hangs_is_a_gap_without_an_answer_and_is_read_when_it_goes_on(peer: Peer, tmp_path: Path) -> None:
    async with at_work(tmp_path, site(peer), FastClock(SPEED)) as agent:
        await until(lambda: len(agent.readings("m2")) > 2)
        peer.freeze()
        await until(lambda: agent.causes("m2"))
        before = len(agent.readings("m2"))
        peer.thaw()
        await until(lambda: len(agent.readings("m2")) > before + 2)
        accounted(agent, "m2")
        assert set(agent.causes("m2")) <= {"no_answer", "connection_lost"}  # on a slow machine it may be told by either
        opened = next(gap for gap in agent.records("m1", "gap") if gap["state"] == "opened")
        assert [(frame["answer"], frame["fault"]) for frame in opened["frames"]] == [("", "no_answer")]
        assert not agent.events("link.overrun")


async def test_a_session_that_the_server_forgot_is_opened_anew_for_the_same_instant(peer: Peer, tmp_path: Path) -> None:
    async with at_work(tmp_path, site(peer), FastClock(SPEED)) as agent:
        await until(lambda: len(agent.readings("m2")) > 2)
        peer.tell("forget")
        await until(lambda: agent.causes("m2"))
        before = len(agent.readings("m2"))
        await until(lambda: len(agent.readings("m2")) > before + 2)
        accounted(agent, "m2")
        assert "session_closed" in agent.causes("m2")
        assert [gap["missed"] for gap in agent.records("m2", "gap") if gap["state"] == "closed"] == [0]


async def test_a_server_that_numbers_its_namespaces_anew_never_makes_another_nodes_value_ours(peer: Peer, tmp_path: Path) -> None:
    async with at_work(tmp_path, site(peer), FastClock(SPEED)) as agent:
        await until(lambda: len(agent.readings("m2")) > 2)
        peer.tell("reorder")
        await until(lambda: values(agent.readings("m1")[-1])["active_power"] == "1011")
        before = len(agent.readings("m2"))
        await until(lambda: len(agent.readings("m2")) > before + 2)
        accounted(agent, "m2")
        moved = [fields for fields in agent.readings("m1") if len(fields["frames"]) == 2]
        assert [values(fields)["active_power"] for fields in moved] == ["1011"]
        told = [values(fields)["active_power"] for fields in agent.readings("m1")]
        first = told.index("1011")
        assert set(told[first:]) == {"1011"}, "none went back to the node under the old number"


async def test_namespaces_in_another_order_after_a_restart_change_no_value(peer: Peer, tmp_path: Path) -> None:
    async with at_work(tmp_path, site(peer), FastClock(SPEED)) as agent:
        await until(lambda: len(agent.readings("m2")) > 2)
        again = peer.again("--namespaces", f"http://first.example/,http://second.example/,{PLANT}")
        try:
            before = len(agent.readings("m2"))
            await until(lambda: len(agent.readings("m2")) > before + 2)
        finally:
            again.stop()
        assert {values(fields)["active_power"] for fields in agent.readings("m2")} == {"21"}


async def test_a_hundred_lost_sessions_leave_nothing_behind(peer: Peer, tmp_path: Path) -> None:
    async with at_work(tmp_path, site(peer, every="500ms"), FastClock(SPEED)) as agent:
        held: list[tuple[int, int]] = []
        for number in range(100):
            read = len(agent.readings("m1"))
            await until(lambda read=read: len(agent.readings("m1")) > read)
            held.append((len(os.listdir("/proc/self/fd")), len(asyncio.all_tasks())))
            peer.tell("hangup" if number % 2 else "forget")
        assert int(peer.tell("clients")) <= 2
        assert max(files for files, _ in held[50:]) <= max(files for files, _ in held[5:15]) + 1, held
        assert min(tasks for _, tasks in held[90:]) <= min(tasks for _, tasks in held[5:15]), held


# --- how much is asked for at once ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("meters", "points", "limit", "most", "frames"),
    [
        (2, 6, ("--most", "5"), 5, 2),
        (2, 6, ("--takes", "11"), 11, 1),
        (1, 12, ("--takes", "11"), 11, 2),
    ],
    ids=["stated", "not stated", "not stated, one meter with more"],
)
async def test_no_read_is_larger_than_the_server_takes(
    meters: int, points: int, limit: tuple[str, str], most: int, frames: int, tmp_path: Path
) -> None:
    with serving("--meters", str(meters), "--points", str(points), *limit) as peer:
        async with at_work(tmp_path, site(peer, meters=meters, points=points), FastClock(4.0)) as agent:
            await until(lambda: agent.readings("m1"))
            peer.tell("reads")
            before = len(agent.readings("m1"))
            await until(lambda: len(agent.readings("m1")) > before + 1)
            assert max(json.loads(peer.tell("reads"))) <= most
            reading = agent.readings("m1")[-1]
    assert [value["value"] for value in reading["values"][1:]] == [str(10 + point) for point in range(1, points)]
    assert len(reading["frames"]) == frames


# --- how a meter is set ---------------------------------------------------------------------------------------


async def test_how_a_meter_is_set_is_pinned_and_told_when_it_has_changed(peer: Peer, tmp_path: Path) -> None:
    model = yaml.safe_load(files("config").joinpath("models", "generic-opcua.yaml").read_text("utf-8"))
    model |= {"model": "plant-meter", "attest": [{"name": "ct_ratio", "at": {"node": f"nsu={PLANT};s=M1.P2"}}]}
    model["points"].append({"quantity": "active_power", "at": {"node": f"nsu={PLANT};s=M1.P1"}})
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "plant-meter.yaml").write_text(json.dumps(model), "utf-8")
    head, _, _ = site(peer).partition("meters:")
    text = f"models: [models]\n{head}meters:\n  - {{id: m1, link: scada, model: plant-meter}}\n"
    async with at_work(tmp_path, text, FastClock(SPEED)) as agent:
        await until(lambda: len(agent.readings("m1")) > 1)
        assert agent.records("m1", "meter")[-1]["meter"]["settings"][0]["value"] == "12"
        assert agent.readings("m1")[-1]["doubt"] == "map_unconfirmed"
        peer.tell("reorder")  # after it all nodes have values that are larger by 1000
        peer.tell("forget")
        await until(lambda: agent.events("meter.settings_changed"))
        before = len(agent.readings("m1"))
        await until(lambda: len(agent.readings("m1")) > before + 1)
        assert agent.readings("m1")[-1]["doubt"] == "settings_changed"
        (told,) = agent.events("meter.settings_changed")
    assert told["changed"] == "ct_ratio 12 -> 1012"
