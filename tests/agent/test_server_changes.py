"""Changes between two readings, told by an OPC UA server's subscription: sealed with their bytes, counted where they are lost."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

pytest.importorskip("asyncua", reason="asyncua is not installed: pip install 'meterseal[opcua]'")

from agent.changes import Changes
from agent.evidence import Evidence
from agent.explain import explain, record_at
from agent.explain_text import explain_text
from agent.polled import polled_meters
from agent.record import parse
from agent.server_changes import Kept
from agent.source import open_log
from agent.trace import trace
from agent.trace_text import trace_text
from config.check import load_site
from config.library import read_model
from config.mistake import ConfigError
from config.site import Changes as Wanted
from drivers import load
from drivers.opcua_changes import asked_for
from tests.agent.at_work import AtWork, at_work, until, values
from tests.agent.both import second
from tests.agent.gateway import GATEWAY, FastClock
from tests.agent.heard import Heard
from tests.agent.servers import accounted, site
from tests.peers.opcua_meters import PLANT as METERS
from tests.peers.opcua_meters import Peer, serving
from tests.peers.opcua_server import PLANT as NODE_PLANT
from tests.peers.opcua_server import plant_server

SPEED = 2.0
NOWHERE = Peer("opc.tcp://127.0.0.1:4840/plant", None, 4840)  # type: ignore[arg-type]  # it is not run


@pytest.fixture
def peer() -> Iterator[Peer]:
    """A server that a test may do to as it likes."""
    with serving("--meters", "1") as peer:
        yield peer


def followed(peer: Peer, how: str = "sampling: 50ms", every: str = "2s") -> str:
    """A site with a meter whose power is followed."""
    changes = f"    changes: {{quantities: [active_power], {how}}}\n    points:"
    return site(peer, meters=1, every=every).replace("    points:", changes)


def told(agent: AtWork) -> list[str]:
    """All changes that were sealed, in order."""
    return [
        change.get("value", change.get("cause", "")) for fields in agent.readings("m1") for change in fields["changes"]["values"]
    ]


def counted(agent: AtWork, name: str) -> int:
    return sum(fields["changes"].get(name, 0) for fields in agent.readings("m1"))


async def test_every_change_between_two_readings_is_sealed_with_its_bytes_in_order(peer: Peer, tmp_path: Path) -> None:
    async with at_work(tmp_path, followed(peer), FastClock(SPEED)) as agent:
        await until(lambda: told(agent) == ["11"])
        assert counted(agent, "begun") == 1
        peer.tell("change 5 6 7 5")
        await until(lambda: len(told(agent)) >= 5)
        read = len(agent.readings("m1"))
        await until(lambda: len(agent.readings("m1")) > read)
        assert told(agent) == ["11", "5", "6", "7", "5"], "and none is told twice"
        assert values(agent.readings("m1")[-1])["active_power"] == "5"
        assert counted(agent, "begun") == 1
        assert agent.readings("m1")[-1]["changes"] == {"request": "", "answer": "", "values": []}
        most = max(agent.readings("m1"), key=lambda fields: len(fields["changes"]["values"]))
    stated = [change["value"] for change in most["changes"]["values"]]
    with contextlib.closing(open_log(tmp_path / "state")) as log:
        page = explain_text(explain(record_at(log, most["n"]), log).only("active_power"))
        story = trace_text(trace(log, n=most["n"], key=None))
    assert f"CHANGES  what the server told since the reading before: {len(stated)}" in page
    assert [line.split()[2] for line in page.splitlines() if line.startswith("  active_power = ")][: len(stated)] == stated
    assert f"since the reading before active_power was: {', '.join(stated)}" in story


async def test_what_did_not_fit_the_servers_queue_is_counted_and_told(peer: Peer, tmp_path: Path, heard: Heard) -> None:
    async with at_work(tmp_path, followed(peer, "sampling: 1s, queue: 2"), FastClock(SPEED)) as agent:
        await until(lambda: told(agent) == ["11"])
        peer.tell("change 1 2 3 4 5")
        await until(lambda: len(told(agent)) >= 3)
        assert told(agent) == ["11", "4", "5"]
        assert counted(agent, "overflow") == 1
        lost = next(fields for fields in agent.readings("m1") if "overflow" in fields["changes"])
        assert [change.get("cause") for change in lost["changes"]["values"] if change["value"] == "4"] == ["overflow"]
        (event,) = agent.events("meter.changes_lost")
    assert (event["meter"], event["how"], event["count"]) == ("m1", "overflow", 1)
    heard.tells(event, "MS-212")


async def test_after_a_restart_of_the_server_changes_are_told_again_and_the_break_is_sealed(peer: Peer, tmp_path: Path) -> None:
    async with at_work(tmp_path, followed(peer), FastClock(SPEED)) as agent:
        await until(lambda: told(agent) == ["11"])
        again = peer.again()
        try:
            await until(lambda: counted(agent, "begun") == 2)
            again.tell("change 21 22")
            await until(lambda: told(agent)[-2:] == ["21", "22"])
            assert told(agent) == ["11", "11", "21", "22"]
            accounted(agent, "m1", 2000)
        finally:
            again.stop()


async def test_a_node_that_cannot_be_followed_is_said_in_each_reading_and_once_in_the_journal(
    peer: Peer, tmp_path: Path, heard: Heard
) -> None:
    text = followed(peer, every="1s").replace("s=M1.P1", "s=M1.P99")
    async with at_work(tmp_path, text, FastClock(SPEED)) as agent:
        await until(lambda: sum(fields["changes"].get("cause") == "bad_node_id_unknown" for fields in agent.readings("m1")) > 2)
        (event,) = agent.events("meter.changes_refused")
    assert event["cause"] == "bad_node_id_unknown"
    heard.tells(event, "MS-213")


async def test_a_foreign_server_tells_its_changes_too(tmp_path: Path) -> None:
    with plant_server(tmp_path / "server") as server:
        text = followed(Peer(server.url, NOWHERE.process, 0)).replace(METERS, NODE_PLANT).replace("M1.P0", "Press1.Energy")
        text = text.replace("M1.P1", "Press1.Live").replace(", type: UInt32", "")
        async with at_work(tmp_path, text, FastClock(SPEED)) as agent:
            await until(lambda: len(told(agent)) > 4)
            numbers = [int(change) for change in told(agent)]
    assert numbers == sorted(set(numbers)), "it counts at each look at it"


# --- what an auditor finds --------------------------------------------------------------------------------------


def _value(fields: dict[str, Any]) -> None:
    fields["changes"]["values"][1]["value"] = "999"


def _formula(fields: dict[str, Any]) -> None:
    first, second, *_ = fields["changes"]["values"]
    first["formula"], second["formula"] = second["formula"], first["formula"]


def _hidden(fields: dict[str, Any]) -> None:
    del fields["changes"]["values"][-1]


def _added(fields: dict[str, Any]) -> None:
    fields["changes"]["values"].append(fields["changes"]["values"][-1])


def _another_quantity(fields: dict[str, Any]) -> None:
    fields["changes"]["values"][0] |= {"quantity": "active_energy_import", "unit": "kWh"}


def _no_overflow(fields: dict[str, Any]) -> None:
    del fields["changes"]["overflow"]


def _no_doubt(fields: dict[str, Any]) -> None:
    for name in ("quality", "cause"):
        del next(change for change in fields["changes"]["values"] if "cause" in change)[name]


def _no_bytes(fields: dict[str, Any]) -> None:
    fields["changes"] |= {"request": "", "answer": ""}


def _other_tables(fields: dict[str, Any]) -> None:
    fields["changes"]["answer"] = fields["changes"]["answer"].replace(b"plant.example".hex(), b"other.example".hex())


TAMPERED: list[tuple[Callable[[dict[str, Any]], None], str]] = [
    (_value, "VALUE"),
    (_formula, "FORMULA"),
    (_hidden, "VALUE"),
    (_added, "VALUE"),
    (_another_quantity, "REQUEST"),
    (_no_overflow, "VALUE"),
    (_no_doubt, "QUALITY"),
    (_no_bytes, "FRAME"),
    (_other_tables, "FRAME"),
]


async def test_whatever_is_altered_in_the_changes_is_found(peer: Peer, tmp_path: Path) -> None:
    async with at_work(tmp_path, followed(peer, "sampling: 1s, queue: 3"), FastClock(SPEED)) as agent:
        await until(lambda: told(agent) == ["11"])
        peer.tell("change 1 2 3 4 5")
        await until(lambda: len(told(agent)) >= 4)
    with contextlib.closing(open_log(tmp_path / "state")) as log:
        records = [parse(payload) for _, payload in log.payloads()]
        evidence = Evidence(log.models(), load, read_model)
    for fields in records:
        if fields["kind"] == "meter":
            assert not list(evidence.declare(fields["n"], fields, fields["n"]))
    honest = next(fields for fields in records if fields["kind"] == "reading" and len(fields["changes"]["values"]) >= 3)
    problems = evidence.reading(honest)
    assert {kind for kind, _ in problems} <= {"DECLARATION"}, "of the leaf, which this test does not compute"
    for tamper, kind in TAMPERED:
        altered = copy.deepcopy(honest)
        tamper(altered)
        assert kind in {found for found, what in evidence.reading(altered) if "change" in what}, tamper.__name__
    altered = copy.deepcopy(honest)
    _value(altered)
    assert any("999" in what for _, what in evidence.values(altered)), "without the declaration too"
    with pytest.raises(second.Wrong):
        second.check_value(altered["changes"]["values"][1], [bytes.fromhex(altered["changes"]["answer"])], None)


# --- what the gateway keeps -------------------------------------------------------------------------------------


def test_more_changes_than_are_kept_are_dropped_oldest_first_and_counted(tmp_path: Path) -> None:
    kept, agent = _kept(tmp_path)
    (point,) = kept.points
    node = asked_for(point, ("http://opcfoundation.org/UA/",))
    for number in range(10_120):
        kept.add(point, node, b"\x01\x07" + number.to_bytes(4, "little"))
    taken = kept.take([])
    assert isinstance(taken, Changes)
    assert taken.dropped == 120
    assert [(event["how"], event["count"]) for event in agent.told] == [("dropped", 1), ("dropped", 10), ("dropped", 100)]


def test_changes_of_a_reading_that_was_not_sealed_are_counted_as_dropped(tmp_path: Path) -> None:
    kept, _ = _kept(tmp_path)
    lost = kept.take([])
    assert lost is not None
    kept.not_sealed(Changes(b"", b"", (None, None), begun=1, dropped=3))  # type: ignore[arg-type]  # only their number counts
    again = kept.take([])
    assert again is not None
    assert (again.begun, again.dropped) == (1, 5)


def _kept(folder: Path) -> tuple[Kept, AtWork]:
    (folder / "site.yaml").write_text(f"gateway: {GATEWAY}\n{followed(NOWHERE)}", "utf-8")
    agent = AtWork(folder)
    (polled,) = polled_meters(load_site(folder / "site.yaml"), "scada")
    return Kept(polled, structlog.wrap_logger(None, processors=[agent.hear])), agent


# --- the site file ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "what"),
    [
        ("quantities: [frequency]", "frequency is not read from m1"),
        ("quantities: [active_power, active_power]", "stands twice"),
        ("quantities: [active_power], queue: 1", "2"),
        ("quantities: [active_power], sampling: 10ms", "50"),
        ("quantities: [active_power], sampling: 2m", "60000"),
    ],
)
def test_changes_that_cannot_be_told_are_refused(how: str, what: str, tmp_path: Path) -> None:
    text = site(NOWHERE, meters=1).replace("    points:", f"    changes: {{{how}}}\n    points:")
    (tmp_path / "site.yaml").write_text(f"gateway: {GATEWAY}\n{text}", "utf-8")
    with pytest.raises(ConfigError, match=what):
        load_site(tmp_path / "site.yaml")


def test_a_meter_on_a_line_tells_no_changes(tmp_path: Path) -> None:
    text = "links: {a: {tcp: '127.0.0.1:502'}}\nmeters:\n  - {id: m1, link: a, model: eastron-sdm630, address: 1, "
    text += "changes: {quantities: [active_power]}}\n"
    (tmp_path / "site.yaml").write_text(f"gateway: {GATEWAY}\n{text}", "utf-8")
    with pytest.raises(ConfigError, match="only an OPC UA server tells changes"):
        load_site(tmp_path / "site.yaml")
    assert Wanted(quantities=("active_power",)).queue == 100
