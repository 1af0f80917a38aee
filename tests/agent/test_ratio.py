"""A transformer whose ratio nobody has written down: what depends on it is never sealed as certain, and people are told."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from agent.cli import main
from agent.keys import make_key
from config.check import load_site
from config.mistake import ConfigError
from config.ratio import known_ratios, unknown_ratios
from tests.agent.at_work import AtWork, at_work, until
from tests.agent.gateway import GATEWAY, FastClock
from tests.agent.reloads import judged, reloaded
from tests.agent.test_polling import hall, rtu, site

ACREL = {"id": "EM-1", "address": "1", "model": "acrel-dtsd1352", "ct": "400/5", "vt": "1", "load": {"active_power": "4100"}}
READ = ["active_power", "active_energy_import"]


def doubts(reading: dict[str, Any]) -> dict[str, str | None]:
    return {value["quantity"]: value.get("cause") for value in reading["values"]}


def number(reading: dict[str, Any]) -> float:
    return float(next(value["value"] for value in reading["values"] if value["quantity"] == "active_power"))


def written(folder: Path, ct: str, model: str = "acrel-dtsd1352") -> Path:
    path = folder / "site.yaml"
    meter = f"  - {{id: EM-1, link: line, model: {model}, address: 1, ct: {ct}, vt: 1}}\n"
    path.write_text(
        f"gateway: plant/gw1\nlinks:\n  line: {{serial: /dev/ttyNONE, baud: 9600, format: 8N1}}\nmeters:\n{meter}", "utf-8"
    )
    return path


async def typed(folder: Path, *words: str, expect: int, told: str = "") -> str:
    place = ["--site", str(folder / "site.yaml"), "--state", str(folder / "state")]
    result = await asyncio.to_thread(CliRunner().invoke, main, [*words, *place], input=told)
    assert result.exit_code == expect, result.output
    return result.output


async def test_what_depends_on_an_unknown_ratio_is_uncertain_until_the_ratio_is_written(tmp_path: Path) -> None:
    async with hall(tmp_path, ACREL) as simulator:
        links = {"hall": rtu(simulator.address_of("hall"))}
        meter = {"id": "EM-1", "address": 1, "model": "acrel-dtsd1352", "vt": "1", "quantities": READ}
        async with at_work(tmp_path, site("5s", links, meter | {"ct": "unknown"}), FastClock(5.0)) as agent:
            await until(lambda: agent.readings("EM-1"))
            before = agent.readings("EM-1")[-1]
            assert doubts(before) == dict.fromkeys(READ, "ratio_unknown")
            declared = agent.records("EM-1", "meter")[-1]["meter"]
            assert ("ct" in declared, declared["vt"]) == (False, "1")
            said = await typed(tmp_path, "status", expect=0)
            assert "ratio unknown" in said
            said = await typed(tmp_path, "read", "EM-1", expect=0)
            assert "ratio unknown" in said
            assert await reloaded(agent, tmp_path, site("5s", links, meter | {"ct": "400/5"})) == "site.reloaded"
            await until(lambda: known(agent))
            after = known(agent)[-1]
            assert doubts(after) == dict.fromkeys(READ)
            assert number(after) == pytest.approx(80 * number(before), rel=0.2)
            judged(agent)


def known(agent: AtWork) -> list[dict[str, Any]]:
    return [reading for reading in agent.readings("EM-1") if "ratio_unknown" not in doubts(reading).values()]


async def test_commissioning_is_not_finished_while_a_ratio_is_unknown(tmp_path: Path) -> None:
    async with hall(tmp_path, ACREL) as simulator:
        links = {"hall": rtu(simulator.address_of("hall"))}
        meter = {"id": "EM-1", "address": 1, "model": "acrel-dtsd1352", "ct": "unknown", "vt": "1"}
        async with at_work(tmp_path, site("5s", links, meter | {"quantities": READ[1:]}), FastClock(5.0)) as agent:
            await until(lambda: agent.readings("EM-1"))
            report = ["--who", "Li Na", "--report", str(tmp_path / "report.html")]
            said = await typed(tmp_path, "commission", *report, expect=1, told="q\n")
            assert said.count("[MS-105]") == 2
            assert "Write the ratio on the transformers' plates, such as  ct: 400/5  or 1" in said
            assert "CT unknown" in (tmp_path / "report.html").read_text("utf-8")


async def test_check_and_doctor_tell_of_an_unknown_ratio(tmp_path: Path) -> None:
    loaded = load_site(written(tmp_path, "unknown"))
    (meter,) = loaded.site.meters
    assert (known_ratios(meter), unknown_ratios(meter)) == ({"vt": "1"}, ["ct"])
    make_key(tmp_path / "state", GATEWAY)
    for words, code in ((["check"], 0), (["doctor", "--offline"], 1)):
        said = await typed(tmp_path, *words, expect=code)
        assert "EM-1" in next(line for line in said.splitlines() if "[MS-105]" in line)
        assert "ct: 400/5" in said
    written(tmp_path, "400/5")
    for words, code in ((["check"], 0), (["doctor", "--offline"], 1)):
        assert "MS-105" not in await typed(tmp_path, *words, expect=code)


def test_a_meter_that_applies_the_ratio_itself_takes_no_unknown_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="take ct out"):
        load_site(written(tmp_path, "unknown", "eastron-sdm630"))
