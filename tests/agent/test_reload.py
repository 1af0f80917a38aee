"""agent.reload: a changed site file comes into force while the agent reads, and no poll is lost that no change explains."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from agent.keys import make_key
from agent.ledger_file import LedgerError, LedgerReader
from agent.record import parse
from tests.agent.at_work import AtWork, at_work, until
from tests.agent.both import verify
from tests.agent.gateway import GATEWAY, FastClock
from tests.agent.ledgers import Gateway
from tests.agent.reloads import Plant, judged, reloaded, simulated
from tests.agent.servers import accounted
from tests.agent.servers import site as server_site
from tests.agent.test_polling import SDM120, hall, rtu, site
from tests.brokers import Mosquitto
from tests.peers.opcua_meters import serving


def configs(agent: AtWork) -> list[dict[str, Any]]:
    assert agent.past
    return [parse(payload) for _, payload in agent.past.kind_records("config", newest_first=False)]


def size(agent: AtWork) -> int:
    assert agent.past
    return agent.past.size()


async def test_reloads_under_load_lose_no_poll_that_the_difference_does_not_explain(tmp_path: Path) -> None:
    async with simulated(tmp_path) as simulator:
        plant = Plant(simulator, seed=8)
        async with at_work(tmp_path, plant.text(), FastClock(5.0)) as agent:
            for _ in range(12):
                plant.change()
                assert await reloaded(agent, tmp_path, plant.text()) in ("site.reloaded", "site.unchanged")
                before = size(agent)
                await until(lambda before=before: size(agent) >= before + 2)
            outcomes = judged(agent)
            assert outcomes["read"] > 20
            assert len(agent.events("link.up")) >= 3
            assert [event["link"] for event in agent.events("link.up")].count("steady") == 1, "it was never taken down"


async def test_a_reload_seals_what_was_changed_and_both_digests(tmp_path: Path) -> None:
    meters = [SDM120 | {"id": f"EM-{unit}", "address": str(unit)} for unit in (1, 2, 3)]
    async with hall(tmp_path, *meters) as simulator:
        links = {"hall": rtu(simulator.address_of("hall"))}
        before = site("5s", links, {"id": "EM-1", "address": 1}, {"id": "EM-2", "address": 2})
        after = site("5s", links, {"id": "EM-1", "address": 1, "place": "cabinet 4"}, {"id": "EM-3", "address": 3})
        async with at_work(tmp_path, before) as agent:
            await until(lambda: agent.readings("EM-1") and agent.readings("EM-2"))
            old = hashlib.sha256((tmp_path / "site.yaml").read_bytes()).hexdigest()
            assert await reloaded(agent, tmp_path, after) == "site.reloaded"
            await until(lambda: agent.readings("EM-3"))
            new = hashlib.sha256((tmp_path / "site.yaml").read_bytes()).hexdigest()
            first, second = configs(agent)
            assert "before" not in first
            assert (second["before"], second["digest"]) == (old, new)
            assert second["changed"] == [
                {"what": "meter", "name": "EM-1", "how": "changed", "keys": ["place"]},
                {"what": "meter", "name": "EM-2", "how": "removed"},
                {"what": "meter", "name": "EM-3", "how": "added"},
            ]
            assert agent.records("EM-1", "meter")[-1]["meter"]["place"] == "cabinet 4"
            assert agent.causes("EM-2")[-1] == "taken_out"
            judged(agent)


async def test_papers_change_while_the_line_goes_on_and_settings_stay_pinned(tmp_path: Path) -> None:
    async with hall(tmp_path, SDM120 | {"id": "EM-1", "address": "1"}) as simulator:
        links = {"hall": rtu(simulator.address_of("hall"))}
        async with at_work(tmp_path, site("2s", links, {"id": "EM-1", "address": 1}), FastClock(4.0)) as agent:
            await until(lambda: len(agent.readings("EM-1")) >= 2)
            settings = agent.records("EM-1", "meter")[-1]["meter"]["settings"]
            certificate = {"number": "DL2025-03318", "valid_until": "2027-06-30"}
            text = site("2s", links, {"id": "EM-1", "address": 1, "certificate": certificate})
            assert await reloaded(agent, tmp_path, text) == "site.reloaded"
            declared = agent.records("EM-1", "meter")[-1]
            assert (declared["meter"]["certificate"], declared["meter"]["settings"]) == (certificate, settings)
            before = len(agent.readings("EM-1"))
            await until(lambda: len(agent.readings("EM-1")) >= before + 2)
            assert not any("doubt" in reading for reading in agent.readings("EM-1"))
            assert len(agent.events("link.up")) == 1
            assert agent.causes("EM-1") == []


async def test_an_instant_that_came_while_the_line_was_down_is_read_late_and_not_lost(tmp_path: Path) -> None:
    async with hall(tmp_path, SDM120 | {"id": "EM-1", "address": "1"}) as simulator:
        slow = {"hall": rtu(simulator.address_of("hall"), "timeout_ms: 300, longest_answer_ms: 1000")}
        fast = {"hall": rtu(simulator.address_of("hall"), "timeout_ms: 200, longest_answer_ms: 1000")}
        meter = {"id": "EM-1", "address": 1, "quantities": ["voltage.l1"]}
        # The line is listened to for a second, in which ten seconds pass: an instant every fifteen comes in one of two reloads.
        async with at_work(tmp_path, site("15s", slow, meter), FastClock(10.0)) as agent:
            await until(lambda: agent.readings("EM-1"))
            for links in (fast, slow):
                assert await reloaded(agent, tmp_path, site("15s", links, meter)) == "site.reloaded"
                before = len(agent.readings("EM-1"))
                await until(lambda before=before: len(agent.readings("EM-1")) > before)
            assert set(agent.causes("EM-1")) <= {"reload", "line_opening"}
            assert sum(gap["missed"] for gap in agent.records("EM-1", "gap") if gap["state"] == "closed") <= 1


async def test_a_bad_file_is_refused_with_all_its_mistakes_and_the_old_one_stays_in_force(tmp_path: Path) -> None:
    async with hall(tmp_path, SDM120 | {"id": "EM-1", "address": "1"}) as simulator:
        links = {"hall": rtu(simulator.address_of("hall"))}
        text = site("2s", links, {"id": "EM-1", "address": 1})
        async with at_work(tmp_path, text, FastClock(4.0)) as agent:
            await until(lambda: agent.readings("EM-1"))
            wrong = text.replace("every: 2s", "every: 7s").replace("eastron-sdm120", "eastron-sdm12")
            assert await reloaded(agent, tmp_path, wrong) == "site.refused"
            (refused,) = agent.events("site.refused")
            assert len(refused["mistakes"]) == 2
            assert all("site.yaml:" in mistake for mistake in refused["mistakes"])
            before = len(agent.readings("EM-1"))
            await until(lambda: len(agent.readings("EM-1")) >= before + 2)
            assert len(configs(agent)) == 1
            assert agent.causes("EM-1") == []
            assert await reloaded(agent, tmp_path, text) == "site.unchanged"


async def test_the_gateways_name_cannot_be_changed(tmp_path: Path) -> None:
    async with hall(tmp_path, SDM120 | {"id": "EM-1", "address": "1"}) as simulator:
        text = site("2s", {"hall": rtu(simulator.address_of("hall"))}, {"id": "EM-1", "address": 1})
        async with at_work(tmp_path, text) as agent:
            path = tmp_path / "site.yaml"
            path.write_text(path.read_text("utf-8").replace("plant/gw1", "plant/gw2"), "utf-8")
            os.kill(os.getpid(), signal.SIGHUP)
            await until(lambda: agent.events("site.refused"))
            (mistake,) = agent.events("site.refused")[0]["mistakes"]
            assert "site.yaml:1:" in mistake
            assert "cannot be changed" in mistake


async def test_a_meters_model_that_was_put_right_is_declared_anew(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    shipped = (Path(__file__).parents[2] / "config" / "models" / "eastron-sdm120.yaml").read_text("utf-8")
    own = tmp_path / "models" / "own-120.yaml"
    own.write_text(shipped.replace("model: eastron-sdm120", "model: own-120", 1), "utf-8")
    async with hall(tmp_path, SDM120 | {"id": "EM-1", "address": "1"}) as simulator:
        meter = {"id": "EM-1", "address": 1, "model": "own-120"}
        text = site("2s", {"hall": rtu(simulator.address_of("hall"))}, meter, more="models: [models]")
        async with at_work(tmp_path, text) as agent:
            await until(lambda: agent.readings("EM-1"))
            own.write_text(own.read_text("utf-8").replace("revision: 1", "revision: 2", 1), "utf-8")
            assert await reloaded(agent, tmp_path, text) == "site.reloaded"
            assert configs(agent)[-1]["changed"] == [{"what": "meter", "name": "EM-1", "how": "changed", "keys": ["model"]}]
            assert agent.records("EM-1", "meter")[-1]["meter"]["revision"] == 2
            before = len(agent.readings("EM-1"))
            await until(lambda: len(agent.readings("EM-1")) > before)


async def test_a_destination_that_is_added_changed_and_taken_out_is_served_while_readings_go_on(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker:
        await _destinations(tmp_path, broker.port)


async def _destinations(tmp_path: Path, port: int) -> None:
    async with hall(tmp_path, SDM120 | {"id": "EM-1", "address": "1"}) as simulator:
        links = {"hall": rtu(simulator.address_of("hall"))}
        bare = site("1s", links, {"id": "EM-1", "address": 1})

        def served(topic: str) -> str:
            office = {"name": "office", "host": "127.0.0.1", "port": port, "topic": topic}
            return f"{bare}mqtt:\n  - {json.dumps(office)}\n"

        async with at_work(tmp_path, bare, FastClock(2.0)) as agent:
            await until(lambda: agent.readings("EM-1"))
            for topic in ("meters/v1", "meters/v2"):
                assert await reloaded(agent, tmp_path, served(topic)) == "site.reloaded"
                await until(lambda topic=topic: len(agent.events("forward.connected")) == int(topic[-1]))
            assert await reloaded(agent, tmp_path, bare) == "site.reloaded"
            assert [change["how"] for config in configs(agent)[1:] for change in config["changed"]] == [
                "added",
                "changed",
                "removed",
            ]
            assert agent.causes("EM-1") == []


async def test_a_stop_in_the_middle_of_a_reload_ends_in_order(tmp_path: Path) -> None:
    async with simulated(tmp_path) as simulator:
        plant = Plant(simulator, seed=3)
        async with at_work(tmp_path, plant.text(), FastClock(10.0)) as agent:
            await until(lambda: agent.readings("EM-1"))
            for _ in range(3):
                plant.change()
            (tmp_path / "site.yaml").write_text(f"gateway: plant/gw1\n{plant.text()}", "utf-8")
            os.kill(os.getpid(), signal.SIGHUP)
            await asyncio.sleep(0)  # the stop comes behind it at once, when the block ends


def test_both_verifiers_find_a_site_file_that_takes_the_place_of_another_one_than_was_in_force() -> None:
    gateway = Gateway().begin()
    gateway.append("config", digest="cd" * 32, who="wang.li", before="ab" * 32, changed=[])
    assert verify(gateway.log, key=gateway.key_line).findings.total == 0
    gateway.append("config", digest="ef" * 32, who="wang.li", before="ab" * 32, changed=[])
    assert set(verify(gateway.log, key=gateway.key_line).findings.counts) == {"CONFIG"}


async def test_the_meters_of_a_server_change_while_a_line_goes_on(tmp_path: Path) -> None:
    with serving() as peer:
        async with at_work(tmp_path, server_site(peer, meters=2), FastClock(5.0)) as agent:
            await until(lambda: len(agent.readings("m2")) >= 2)
            assert await reloaded(agent, tmp_path, server_site(peer, meters=3, points=3)) == "site.reloaded"
            await until(lambda: len(agent.readings("m3")) >= 2)
            assert {value["quantity"] for value in agent.readings("m1")[-1]["values"]} >= {"frequency"}
            assert set(agent.causes("m1")) | set(agent.causes("m2")) <= {"reload", "not_open"}
            for meter in ("m1", "m2"):
                accounted(agent, meter)


async def test_a_closed_terminal_ends_the_agent_and_is_no_reload(tmp_path: Path) -> None:
    make_key(tmp_path / "state", GATEWAY)
    text = site("1s", {"hall": "tcp: '127.0.0.1:9', framing: rtu"}, {"id": "EM-1", "address": 1})
    (tmp_path / "site.yaml").write_text(f"gateway: {GATEWAY}\n{text}", "utf-8")
    words = ["--site", str(tmp_path / "site.yaml"), "--state", str(tmp_path / "state")]
    master, slave = os.openpty()
    running = subprocess.Popen(
        [sys.executable, "-c", _ON_A_TERMINAL, "run", *words],
        stdin=slave,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    os.close(slave)
    await until(lambda: (tmp_path / "state" / "ledger.sqlite").exists() and _kinds(tmp_path) >= {"start"})
    os.close(master)  # the terminal goes away, and the kernel sends SIGHUP
    await until(lambda: running.poll() is not None)
    assert running.returncode == 0
    with contextlib.closing(LedgerReader(tmp_path / "state" / "ledger.sqlite")) as past:
        (stop,) = [parse(payload) for _, payload in past.kind_records("stop")]
    assert stop["reason"] == "sighup"


_ON_A_TERMINAL = """
import fcntl, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
from agent.__main__ import main
main()
"""


def _kinds(folder: Path) -> set[str]:
    with contextlib.suppress(LedgerError), contextlib.closing(LedgerReader(folder / "state" / "ledger.sqlite")) as past:
        return {parse(payload)["kind"] for _, payload in past.payloads()}
    return set()
