"""`meterseal scan`: unknown meters on paced lines are found and named, and what is written can be run; nothing is destroyed."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.clock import Clock
from agent.scan import CountedLink, Progress, Scan
from agent.scan_file import checked_in_place
from agent.scan_name import Named
from agent.scan_plan import Wanted
from agent.scan_steps import Met
from agent.scan_write import Place, added, new_site, place_in
from agent.state import only_agent
from config.check import load_site
from config.mistake import ConfigError
from config.text import read_text
from drivers import Exchange
from drivers.link_settings import LinkSettings
from tests.agent.plants import models, simulator_of
from tests.agent.test_cli import Terminal
from tests.bench.cabinet import HEAT, POWER, RATIO, found_in, meter, wanted_of
from tests.brokers import free_port
from tests.peers.cabinet import Hung, cabinet

MAIN = Path(sys.executable).with_name("meterseal")
LINES: dict[str, list[Hung]] = {
    "rs485": [
        meter("eastron-sdm120", 2, 19200, **POWER),
        meter("acrel-dtsd1352", 3, 19200, **POWER, **RATIO),
        meter("dlt645-2007-three-phase", "202311045678", 2400, **POWER, **RATIO),
        meter("cjt188-water-2018", "78330123456789", 2400, load={"volume_forward": "1.8"}, start={"volume_forward": "512.4"}),
    ],
    "mbus": [
        meter("mbus-water", "12345678", 2400, load={"volume_forward": "0.4"}, start={"volume_forward": "771.3"}),
        meter("mbus-heat", "81234567", 2400, **HEAT),
    ],
}
WORDS = {
    "rs485": "--addresses 1-3 --baud 2400 --baud 19200 --format 8N1 --protocol modbus --protocol dlt645 --protocol cjt188",
    "mbus": "--addresses 1-2 --baud 2400 --protocol mbus",
}


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[str, Path, str]]]:
    """What the search of each line said, the file it wrote, and what reading its last meter with that file says."""
    folder = tmp_path_factory.mktemp("cabinet")
    with cabinet(LINES) as lines:
        running = {}
        for name, line in lines.items():
            target = folder / f"{name}.yaml"
            words = [MAIN, "scan", "--serial", line.ports[0], "--state", folder / name, *WORDS[name].split(), "--write", target]
            running[name] = target, subprocess.Popen(words, stderr=subprocess.PIPE, text=True, cwd=folder)
        made = {}
        for name, (target, process) in running.items():
            _, said = process.communicate(timeout=110)
            assert process.returncode == 0, said
            ids = re.findall(r"- \{id: ([^,]+)", target.read_text("utf-8"))
            place = ["--site", target, "--state", folder / name]
            done = subprocess.run([MAIN, "read", ids[-1], *place], check=False, capture_output=True, text=True, timeout=60)
            made[name] = said, target, done.stdout
        yield made


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", LINES)
def test_all_meters_of_a_cabinet_are_found_named_and_can_be_read_with_what_is_written(
    name: str, searched: dict[str, tuple[str, Path, str]]
) -> None:
    said, target, read = searched[name]
    assert found_in(target.read_text("utf-8")) == wanted_of(LINES[name])
    assert len(load_site(target).site.meters) == len(LINES[name])
    assert "no value" not in read
    assert ">> " in read
    took, least = (float(each) for each in re.findall(r"([0-9.]+) s[;(. ]", said.splitlines()[-2])[:2])
    assert took >= least > 0


@pytest.fixture
def terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.chdir(tmp_path)
    return Terminal(tmp_path)


def test_a_line_that_the_running_agent_holds_is_left_to_it(terminal: Terminal) -> None:
    terminal.state.mkdir()
    with only_agent(terminal.state):
        said = terminal.type("scan", "hall", expect=2)
        endpoint = re.search("127[0-9.:]+", terminal.site.read_text("utf-8"))
        assert endpoint
        assert "holds" in terminal.type("scan", "--tcp", endpoint[0], expect=2)
    assert "systemctl stop meterseal" in said


def test_a_port_that_is_not_there_is_told_of_in_one_message(terminal: Terminal) -> None:
    assert "does not exist" in terminal.type("scan", "--serial", "/dev/ttyNONE", expect=2)
    assert "nothing listens" in terminal.type("scan", "--tcp", f"127.0.0.1:{free_port()}", expect=2)
    assert "Say where to search" in terminal.type("scan", expect=2)
    assert "There is no link" in terminal.type("scan", "hal", expect=2)


def test_what_could_not_be_written_in_the_end_is_refused_before_the_search(terminal: Terminal) -> None:
    near, far = pty.openpty()
    try:
        line = ("scan", "--serial", os.ttyname(far))
        assert "is not a serial port" in terminal.type("scan", "--serial", "ttyUSB0", expect=2)
        assert "is not a serial format" in terminal.type(*line, "--format", "9N1", expect=2)
        assert "is there a folder" in terminal.type(*line, "--write", "nowhere/site.yaml", expect=2)
        Path("torn.yaml").write_text("gateway: [a\n", "utf-8")
        assert "torn.yaml:1" in terminal.type(*line, "--write", "torn.yaml", expect=2)
        os.set_blocking(near, False)
        with pytest.raises(BlockingIOError):
            os.read(near, 1)  # nothing was asked
    finally:
        os.close(near)
        os.close(far)


WATER = Named(Met("modbus", "5", 9600, "8N1"), "tuf-2000m", "likely", ("3 of 3 values make sense",))
SITE = """\
# my own words
gateway: plant/gw1
links:
  line1: {serial: /dev/ttyUSB0, baud: 9600, format: 8N1}
  # the last of the links

meters:
  - {id: EM-001, link: line1, model: eastron-sdm120, address: 1}   # do not touch
# what comes behind
every: 5m
"""


def known() -> dict[str, object]:
    return {name: each.declared for name, each in models().items()}


def test_what_is_added_to_a_site_file_leaves_every_line_in_it_as_it_was(tmp_path: Path) -> None:
    place = Place("line1", "/dev/ttyUSB0", None)
    text, count = added(SITE, read_text(SITE.encode(), "site.yaml"), place, [WATER], known())
    assert count == 1
    assert [line for line in text.splitlines() if line in SITE.splitlines()] == SITE.splitlines()
    (tmp_path / "site.yaml").write_text(text, "utf-8")
    assert [meter.address for meter in load_site(tmp_path / "site.yaml").site.meters] == ["1", "5"]
    again, count = added(text, read_text(text.encode(), "site.yaml"), place, [WATER], known())
    assert (again, count) == (text, 0)


def test_a_line_that_the_site_file_does_not_have_is_added_with_its_meters(tmp_path: Path) -> None:
    text, _ = added(SITE, read_text(SITE.encode(), "s"), Place("line2", "/dev/ttyUSB1", None), [WATER], known())
    (tmp_path / "site.yaml").write_text(text, "utf-8")
    site = load_site(tmp_path / "site.yaml").site
    assert site.links["line2"].serial == "/dev/ttyUSB1"
    assert [meter.link for meter in site.meters] == ["line1", "line2"]


def test_a_second_line_gets_a_name_of_its_own_and_a_port_keeps_the_name_it_has() -> None:
    document = read_text(SITE.encode(), "site.yaml")
    assert place_in(document, Place("line1", "/dev/ttyUSB0", None)).link == "line1"
    assert place_in(document, Place("line1", "/dev/ttyUSB1", None)).link == "line2"
    assert place_in(document, Place("net1", None, "127.0.0.1:502")).link == "net1"
    named = read_text(SITE.replace("line1", "cabinet").encode(), "site.yaml")
    assert place_in(named, Place("line1", "/dev/ttyUSB0", None)).link == "cabinet"


def test_a_site_file_that_nothing_can_be_added_to_is_left_as_it_is() -> None:
    flow = SITE.replace("meters:\n  - {id", "meters: [{id").replace("1}   # do not touch", "1}]")
    with pytest.raises(ValueError, match="one below the other"):
        added(flow, read_text(flow.encode(), "s"), Place("line1", "/dev/ttyUSB0", None), [WATER], known())


def test_a_strangers_words_cannot_add_lines_to_a_site_file(tmp_path: Path) -> None:
    rogue = Named(
        WATER.met, WATER.model, "certain", ("it says of itself: x\n  - {id: EVIL, link: line1, model: tuf-2000m, address: 9}",)
    )
    text = new_site("plant/gw1", Place("line1", "/dev/ttyUSB0", None), [rogue], known())
    (tmp_path / "site.yaml").write_text(text, "utf-8")
    assert [meter.id for meter in load_site(tmp_path / "site.yaml").site.meters] == ["line1-5"]


def test_who_fits_no_model_stands_in_a_remark_only() -> None:
    text = new_site("plant/gw1", Place("line1", "/dev/ttyUSB0", None), [WATER, Named(Met("modbus", "9", 9600, "8N1"))], known())
    assert "  # address 9 (modbus) at 9600 8N1 answers, and fits no model" in text


def test_a_second_meter_with_an_address_of_the_line_stands_in_a_remark(tmp_path: Path) -> None:
    other = Named(Met("modbus", "5", 19200, "8N1"), "eastron-sdm120", "certain")
    text = new_site("plant/gw1", Place("line1", "/dev/ttyUSB0", None), [WATER, other], known())
    assert "at 19200 8N1 answers too" in text
    (tmp_path / "site.yaml").write_text(text, "utf-8")
    assert len(load_site(tmp_path / "site.yaml").site.meters) == 1


def test_what_would_be_no_site_file_is_shown_and_the_file_stays_as_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "site.yaml"
    target.write_text(SITE, "utf-8")
    with pytest.raises(ConfigError):
        checked_in_place("gateway: none\n", target)
    assert target.read_text("utf-8") == SITE
    assert capsys.readouterr().out == "gateway: none\n"
    assert list(tmp_path.iterdir()) == [target]


async def test_over_modbus_tcp_a_device_that_answers_to_every_address_is_found_once(tmp_path: Path) -> None:
    meter = {"model": "eastron-sdm120", "serial": "7"}
    two = [meter | {"id": f"M-{unit}", "address": str(unit), "on": "hall"} for unit in (3, 9)]
    many = [meter | {"id": f"N-{unit}", "address": str(unit), "on": "one"} for unit in range(1, 12)]
    lines = {"hall": {"tcp": "127.0.0.1:0"}, "one": {"tcp": "127.0.0.1:0"}}
    async with simulator_of(tmp_path, *two, *many, **lines) as simulator:

        async def said(name: str) -> str:
            words = ["scan", "--tcp", simulator.address_of(name), "--addresses", "1-12", "--state", str(tmp_path / "state")]
            process = await asyncio.create_subprocess_exec(
                MAIN, *words, cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
            )
            output, _ = await process.communicate()
            assert process.returncode == 0, output
            return output.decode()

        assert found_in(await said("hall")) == {("eastron-sdm120", "3"), ("eastron-sdm120", "9")}
        output = await said("one")
    assert found_in(output) == {("eastron-sdm120", "1")}
    assert "one device answers to every address" in output


def test_a_search_that_is_broken_off_keeps_what_was_found(tmp_path: Path) -> None:
    near, far = pty.openpty()
    try:
        words = [MAIN, "scan", "--serial", os.ttyname(far), "--state", tmp_path, "--protocol", "modbus", "--baud", "9600"]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
        assert os.read(near, 1)  # the first question
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    finally:
        os.close(near)
        os.close(far)
    assert process.returncode == 1  # nobody had answered yet
    assert "Broken off" in said


async def test_a_serial_server_that_hangs_up_in_between_does_not_end_a_search(tmp_path: Path) -> None:
    meter = {"id": "M", "model": "eastron-sdm120", "address": "5", "on": "hall"}
    async with simulator_of(tmp_path, meter, hall={"tcp": "127.0.0.1:0"}) as simulator:
        link = CountedLink(LinkSettings("hall", "tcp", tcp=simulator.address_of("hall")), Clock())
        rounds = Wanted(units=(1, 2, 3, 4, 5)).rounds(settable=False, framing="tcp")
        dropped = 0

        async def asked(now: Progress) -> None:
            nonlocal dropped
            if now.asked == 2:
                dropped += 1
                await simulator.drop_connections("hall")

        told: list[Progress] = []
        scan = Scan(link, rounds, [each.declared for each in models().values()], told.append)
        await link.open()
        exchange = link.exchange

        async def dropping(*words: Any) -> Exchange:
            await asked(told[-1])
            return await exchange(*words)

        link.exchange = dropping  # type: ignore[method-assign]  # the connection is cut in front of the third question
        await scan.run(lambda here: here.protocol)
        await link.close()
    assert dropped
    assert [each.met.address for each in scan.found.meters] == ["5"]
    assert scan.found.complete
