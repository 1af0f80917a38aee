"""A meter's life with a whole agent: settings pinned and changed, the meter exchanged, its display compared, spot readings."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from agent.cli import main
from agent.simulate import Simulator
from agent.state import LEDGER_FILE
from tests.agent.at_work import AtWork, at_work, until
from tests.agent.gateway import FastClock
from tests.agent.heard import Heard
from tests.agent.plants import simulator_of, with_crc
from tests.peers.scripted import Scripted

METER = {"id": "M-1", "model": "eastron-sdm120", "address": "1", "serial": "70000001", "frozen": True}
ON_PLATE = "  - {{id: EM-1, link: hall, model: {model}, address: 1, serial: '{serial}'}}"


def site(endpoint: str, model: str = "eastron-sdm120", serial: str = "70000001") -> str:
    lines = ["every: 10s", "commit_seconds: 0", "links:", f"  hall: {{tcp: '{endpoint}', framing: rtu}}", "meters:"]
    return "\n".join([*lines, ON_PLATE.format(model=model, serial=serial), ""])


class Hall:
    """One meter, the agent that reads it, and the command line beside it."""

    def __init__(self, folder: Path, simulator: Simulator, agent: AtWork) -> None:
        self.folder = folder
        self.simulator = simulator
        self.agent = agent

    async def type(self, *words: str, expect: int = 0) -> str:
        options = ["--site", str(self.folder / "site.yaml"), "--state", str(self.agent.state)]
        result = await asyncio.to_thread(CliRunner().invoke, main, [*words, *options])
        assert result.exit_code == expect, result.output
        return result.output

    async def more_readings(self) -> list[dict[str, Any]]:
        """The readings that come after the next one has begun."""
        before = len(self.agent.readings("EM-1"))
        await until(lambda: len(self.agent.readings("EM-1")) >= before + 2)
        return self.agent.readings("EM-1")[before + 1 :]


@asynccontextmanager
async def hall(folder: Path, model: str = "eastron-sdm120", serial: str = "70000001", **meter: Any) -> AsyncIterator[Hall]:
    """At its end the whole ledger is audited, and nothing may be found."""
    listen = {"tcp": "127.0.0.1:0", "framing": "rtu"}
    async with simulator_of(folder, METER | {"model": model} | meter, hall=listen) as simulator:
        text = site(simulator.address_of("hall"), model, serial)
        async with at_work(folder, text, FastClock(20.0)) as agent:
            await until(lambda: agent.readings("EM-1"))
            yield Hall(folder, simulator, agent)


def settings(record: dict[str, Any]) -> dict[str, str]:
    stated = record["meter"].get("settings", record.get("settings", ()))
    return {setting["name"]: setting.get("value", "") for setting in stated}


# --- settings -------------------------------------------------------------------------------------------------


async def test_settings_are_pinned_by_the_declaration_before_the_first_reading(tmp_path: Path) -> None:
    async with hall(tmp_path) as at:
        pinned = at.agent.records("EM-1", "meter")[-1]
        assert settings(pinned)["measurement_mode"] == "2"
        assert pinned["frames"]
        first = at.agent.readings("EM-1")[0]
        assert pinned["n"] < first["n"]
        assert "doubt" not in first


async def test_changed_settings_are_an_alarm_and_take_readings_out_of_evidence_grade_until_a_person_confirms(
    tmp_path: Path,
    heard: Heard,
) -> None:
    async with hall(tmp_path) as at:
        at.simulator.hold("M-1", "measurement_mode", "3")
        await at.simulator.drop_connections("hall")
        await until(lambda: at.agent.records("EM-1", "alarm"))
        (alarm,) = at.agent.records("EM-1", "alarm")
        assert settings(alarm)["measurement_mode"] == "3"
        assert (await at.more_readings())[0]["doubt"] == "settings_changed"
        (told,) = at.agent.events("meter.settings_changed")
        assert told["changed"] == "measurement_mode 2 -> 3"
        heard.tells(told, "MS-304")
        said = await at.type("confirm", "EM-1", "--reason", "set to net", "--who", "wang.li")
        assert "measurement mode: 3" in said
        assert settings(at.agent.records("EM-1", "meter")[-1])["measurement_mode"] == "3"
        assert "doubt" not in (await at.more_readings())[0]
        assert "nothing to confirm" in await at.type("confirm", "EM-1", "--reason", "x", "--who", "wang.li", expect=2)


async def test_settings_and_serial_number_are_read_back_every_day_without_any_new_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.poll._DAY_S", 30)
    async with hall(tmp_path) as at:
        at.simulator.hold("M-1", "measurement_mode", "3")
        await until(lambda: at.agent.records("EM-1", "alarm"))
        at.simulator.hold("M-1", "serial", "80000002")
        await until(lambda: "other_meter" in at.agent.causes("EM-1"))
        assert len(at.agent.events("link.up")) == 1


async def test_a_meter_that_does_not_tell_its_settings_is_told_of_and_read_on(tmp_path: Path, heard: Heard) -> None:
    def script(number: int, request: bytes) -> list[tuple[float, bytes]]:
        count = request[5]
        mode = request[1:4] == b"\x03\xf9\x20"
        return [] if mode else [(0.0, with_crc(request[:2] + bytes([2 * count]) + bytes(2 * count)))]

    async with Scripted(script) as peer:
        text = site(peer.endpoint, serial="0").replace("framing: rtu", "framing: rtu, timeout_ms: 30, longest_answer_ms: 60")
        async with at_work(tmp_path, text) as agent:
            await until(lambda: agent.events("meter.settings_unread"))
            await until(lambda: agent.readings("EM-1"))
            assert agent.readings("EM-1")[0]["doubt"] == "settings_unread"
            heard.tells(agent.events("meter.settings_unread")[0], "MS-305")


async def test_settings_that_are_read_again_and_are_the_same_are_no_news(tmp_path: Path) -> None:
    async with hall(tmp_path) as at:
        declared = len(at.agent.records("EM-1", "meter"))
        await at.simulator.drop_connections("hall")
        await at.more_readings()
        assert len(at.agent.records("EM-1", "meter")) == declared
        assert at.agent.records("EM-1", "alarm") == []


async def test_an_agent_that_begins_again_keeps_the_declaration_with_its_settings(tmp_path: Path) -> None:
    async with hall(tmp_path) as at:
        text, clock = site(at.simulator.address_of("hall")), FastClock(20.0)
        declared = len(at.agent.records("EM-1", "meter"))
        await at.type("manual", "EM-1", "active_energy_import", "12.5", "--paper", "book 3, page 7", "--who", "wang.li")
    assert clock
    async with simulator_of(tmp_path, METER, hall={"tcp": "127.0.0.1:0", "framing": "rtu"}) as simulator:
        text = re.sub(r"127\.0\.0\.1:\d+", simulator.address_of("hall"), text)
        async with at_work(tmp_path, text) as agent:
            before = len(agent.readings("EM-1"))
            await until(lambda: len(agent.readings("EM-1")) > before)
            assert len(agent.records("EM-1", "meter")) <= declared + 1
            assert agent.readings("EM-1")[-1]["meter"]["serial_from"] == "register"


# --- exchanged ------------------------------------------------------------------------------------------------


async def test_an_exchanged_meters_readings_are_attributed_again_once_a_person_says_so(tmp_path: Path) -> None:
    async with hall(tmp_path) as at:
        last = at.agent.readings("EM-1")[-1]
        at.simulator.hold("M-1", "serial", "80000002")
        await at.simulator.drop_connections("hall")
        await until(lambda: "other_meter" in at.agent.causes("EM-1"))
        words = ("--first", "0.0", "--reason", "display dead", "--who", "wang.li")
        said = await at.type("replace", "EM-1", *words)
        assert "EM-1 was 70000001 and is 80000002 from now on" in said
        assert "serial: 80000002" in said
        (record,) = at.agent.records("EM-1", "replacement")
        assert (record["old"], record["new"], record["who"]) == ("70000001", "80000002", "wang.li")
        energy = next(each for each in record["last"] if each["quantity"] == "active_energy_import")
        assert energy["value"] == next(v["value"] for v in last["values"] if v["quantity"] == "active_energy_import")
        assert record["first"] == [{"quantity": record["first"][0]["quantity"], "value": "0.0"}]
        source = (await at.more_readings())[0]["meter"]
        assert (source["serial"], source["serial_from"]) == ("80000002", "register")


async def test_the_meter_that_replaced_another_is_known_although_the_site_file_still_names_the_old_one(
    tmp_path: Path, heard: Heard
) -> None:
    async with hall(tmp_path) as at:
        at.simulator.hold("M-1", "serial", "80000002")
        await at.simulator.drop_connections("hall")
        await until(lambda: "other_meter" in at.agent.causes("EM-1"))
        await at.type("replace", "EM-1", "--last", "12.5", "--reason", "display dead", "--who", "wang.li")
        await at.more_readings()
    listen = {"tcp": "127.0.0.1:0", "framing": "rtu"}
    async with (
        simulator_of(tmp_path, METER | {"serial": "80000002"}, hall=listen) as simulator,
        at_work(tmp_path, site(simulator.address_of("hall"))) as agent,
    ):
        before = len(agent.readings("EM-1"))
        await until(lambda: len(agent.readings("EM-1")) > before)
        assert agent.readings("EM-1")[-1]["meter"]["serial"] == "80000002"
        assert agent.events("meter.replaced")[0]["site"] == "70000001"
        heard.tells(agent.events("meter.replaced")[0], "MS-302")


async def test_a_site_file_that_names_another_serial_number_is_a_replacement(tmp_path: Path) -> None:
    async with hall(tmp_path):
        pass
    listen = {"tcp": "127.0.0.1:0", "framing": "rtu"}
    async with (
        simulator_of(tmp_path, METER | {"serial": "80000002"}, hall=listen) as simulator,
        at_work(tmp_path, site(simulator.address_of("hall"), serial="80000002")) as agent,
    ):
        (record,) = agent.records("EM-1", "replacement")
        assert (record["old"], record["new"], record["last"]) == ("70000001", "80000002", [])


async def test_a_replacement_without_another_meter_wants_its_number(tmp_path: Path) -> None:
    async with hall(tmp_path) as at:
        words = ("--reason", "x", "--who", "wang.li")
        assert "give the new meter's number with --serial" in await at.type("replace", "EM-1", *words, expect=2)
        assert "There is no meter EM-9" in await at.type("replace", "EM-9", "--serial", "1", *words, expect=2)


# --- compared, read by hand, read for an auditor ----------------------------------------------------------------


async def test_a_community_map_becomes_evidence_grade_by_a_paired_reading_that_agrees(tmp_path: Path) -> None:
    async with hall(tmp_path, model="siemens-pac3200", serial="") as at:
        assert at.agent.readings("EM-1")[-1]["doubt"] == "map_unconfirmed"
        truth = at.simulator.truth("M-1", "active_energy_import")
        wrong = ("pair", "EM-1", "--display", "77.1", "--quantity", "active_energy_import", "--who", "wang.li")
        assert "do NOT agree" in await at.type(*wrong, expect=1)
        assert (await at.more_readings())[0]["doubt"] == "map_unconfirmed"
        said = await at.type("pair", "EM-1", "--display", str(truth).split(".")[0], *wrong[4:])
        assert "They agree" in said
        assert "doubt" not in (await at.more_readings())[0]


async def test_a_spot_reading_carries_the_auditors_nonce_and_its_frames(tmp_path: Path) -> None:
    async with hall(tmp_path) as at:
        said = await at.type("spot", "EM-1", "--nonce", "k3Jd8sPq", "--who", "li.na")
        (record,) = at.agent.records("EM-1", "spot")
        assert f"record {record['n']}" in said
        assert record["nonce"] == "k3Jd8sPq"
        assert record["frames"]
        assert "not 8 to 64 letters" in await at.type("spot", "EM-1", "--nonce", "short", "--who", "li.na", expect=2)
        assert "no meter EM-9" in await at.type("spot", "EM-9", "--nonce", "k3Jd8sPq", "--who", "li.na", expect=2)


async def test_without_an_agent_a_spot_reading_says_what_to_start(tmp_path: Path) -> None:
    async with hall(tmp_path) as at:
        pass
    assert "systemctl start meterseal" in await at.type("spot", "EM-1", "--nonce", "k3Jd8sPq", "--who", "li.na", expect=2)
    assert (at.agent.state / LEDGER_FILE).is_file()


async def test_a_value_read_by_hand_is_sealed_with_its_paper(tmp_path: Path) -> None:
    async with hall(tmp_path) as at:
        words = ("--at", "2026-03-01T08:15", "--paper", "book 3, page 7", "--who", "wang.li")
        said = await at.type("manual", "EM-1", "active_energy_import", "12.5", *words)
        assert "active_energy_import 12.5 kWh" in said
        (record,) = at.agent.records("EM-1", "manual")
        assert (record["value"], record["unit"], record["reference"]) == ("12.5", "kWh", "book 3, page 7")
        assert "There is no quantity" in await at.type("manual", "EM-1", "energy", "1", *words, expect=2)
        assert "cannot be sealed" in await at.type("manual", "EM-1", "active_energy_import", "many", *words, expect=2)


@pytest.mark.parametrize("verb", ["replace", "confirm", "pair", "manual", "spot"])
def test_each_verb_tells_what_it_does(verb: str) -> None:
    result = CliRunner().invoke(main, [verb, "--help"])
    assert result.exit_code == 0
    assert "--who" in result.output
