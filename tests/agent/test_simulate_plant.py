"""agent.simulate: plant files, what is told of their mistakes, and what `meterseal simulate` leaves behind."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from agent.simulate import load_plant, run_plant
from config.check import load_site
from config.mistake import ConfigError
from tests.agent.plants import DEADLINE, models, simulator_of

EXAMPLE = Path(__file__).parents[2] / "config" / "plant.example.yaml"
TCP = {"tcp": "127.0.0.1:0"}
PULSES = {"model": "wirenboard-wb-mcm8"}


async def test_a_link_left_by_a_killed_run_is_replaced_and_a_persons_file_is_not(tmp_path: Path) -> None:
    (tmp_path / "line-1").symlink_to("/dev/pts/no-longer-there")
    async with simulator_of(tmp_path, PULSES, line={"pty": "line-1"}):
        assert (tmp_path / "line-1").exists()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "line-1").write_text("notes")
    with pytest.raises(ConfigError, match=r"listen\.line: .*line-1 cannot be used: File exists"):
        await simulator_of(tmp_path, PULSES, line={"pty": "line-1"}).__aenter__()
    assert (tmp_path / "line-1").read_text() == "notes"


async def test_a_port_that_is_taken_is_told_and_nothing_is_left_behind(tmp_path: Path) -> None:
    async with simulator_of(tmp_path, PULSES, hall=TCP) as first:
        lines: dict[str, Any] = {"line": {"pty": "line-1"}, "hall": {"tcp": first.address_of("hall")}}
        with pytest.raises(ConfigError, match=rf"listen\.hall: {first.address_of('hall')} cannot be used: "):
            await simulator_of(tmp_path, PULSES, **lines).__aenter__()
    assert list(tmp_path.iterdir()) == []


def mistakes_of(path: Path) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        load_plant(path, models())
    return [str(mistake).replace(str(path), "plant.yaml") for mistake in raised.value.mistakes]


def test_all_mistakes_of_a_plant_file_are_told_at_once_with_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "plant.yaml"
    path.write_text(
        """\
listen:
  hall: {tcp: 127.0.0.1:0}
  line: {pty: line-1, framing: tcp}
  both: {pty: line-1, tcp: 127.0.0.1:0}
meters:
  - {id: A, on: hall, model: eastron-sdm631, address: 1}
  - {id: A, on: hal, model: eastron-sdm630, address: 2, start: {voltage.l9: 1}}
""",
        "utf-8",
    )
    told = mistakes_of(path)
    assert len(told) == 1
    assert told[0].startswith("plant.yaml:7:65 meters[1].start.voltage.l9: voltage.l9 is not a quantity")
    path.write_text(path.read_text("utf-8").replace(".l9", ".l1"), "utf-8")
    assert mistakes_of(path) == [
        "plant.yaml:3:15 listen.line.pty: line-1 stands twice; give each pty a name of its own",
        "plant.yaml:3:32 listen.line.framing: a pty carries rtu or ascii; tcp goes with a TCP address",
        "plant.yaml:4:9 listen.both: write either  tcp: 127.0.0.1:0  or  pty: line-1, one of the two",
        "plant.yaml:4:15 listen.both.pty: line-1 stands twice; give each pty a name of its own",
        "plant.yaml:6:30 meters[0].model: there is no model eastron-sdm631. Did you mean eastron-sdm630?",
        "plant.yaml:7:10 meters[1].id: A stands twice; give each meter an id of its own",
        "plant.yaml:7:17 meters[1].on: hal is not under listen. Did you mean hall?",
        "plant.yaml:7:77 meters[1].start.voltage.l1: voltage.l1 is no counter; write it under load or hold",
    ]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"faults": [{"kind": "echo"}]}, r"meters\[0\]\.faults\[0\]: say when: exactly one of"),
        ({"faults": [{"kind": "echo", "every": "2", "at": ["1"]}]}, r"meters\[0\]\.faults\[0\]: say when: exactly one of"),
        ({"faults": [{"kind": "checksum", "every": "2"}]}, r"faults\[0\]\.kind: Modbus TCP has no checksum"),
        ({"on": "line", "faults": [{"kind": "wrong_transaction", "every": "2"}]}, "only Modbus TCP has transaction numbers"),
        ({"serial": "AB12"}, r"meters\[0\]\.serial: AB12 cannot stand in the registers of serial"),
        ({"hold": {"colour": "red"}}, r"meters\[0\]\.hold\.colour: eastron-sdm630 does not tell colour"),
        ({"hold": {"voltage.l1": "high"}}, r"meters\[0\]\.hold\.voltage\.l1: high cannot stand in the registers of voltage\.l1"),
        ({"start": {"volume_forward": "1"}}, r"meters\[0\]\.start\.volume_forward: eastron-sdm630 does not tell volume_forward"),
        ({"model": "generic-modbus"}, r"meters\[0\]: points is missing: generic-modbus knows no registers"),
        (
            {"points": [{"quantity": "voltage", "at": {"address": "0", "type": "u16"}}]},
            r"meters\[0\]\.points: only generic models take points; eastron-sdm630 has its own",
        ),
    ],
)
def test_a_plant_that_does_not_fit_its_models_is_refused(tmp_path: Path, keys: dict[str, object], message: str) -> None:
    meter = {"model": "eastron-sdm630"} | keys
    with pytest.raises(ConfigError, match=message):
        simulator_of(tmp_path, meter, hall=TCP, line={"pty": "line-1"})


async def test_run_plant_tells_who_answers_where_until_it_is_stopped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stop = asyncio.Event()
    task = asyncio.create_task(run_plant(EXAMPLE, tmp_path / "run", stop))
    site = tmp_path / "run" / "simulated-site.yaml"
    async with asyncio.timeout(DEADLINE):
        while not site.exists():
            await asyncio.sleep(0)
    stop.set()
    await task
    told = capsys.readouterr().out
    assert f"{tmp_path}/run/line-1  (line-1, Modbus RTU at 9600 baud)" in told
    assert re.search(
        r"127\.0\.0\.1:[0-9]+  \(hall-1, Modbus TCP\)\n  address   1  EM-001 +schneider-pm5000, serial number 2300417752", told
    )
    assert len(load_site(site).site.meters) == told.count("  address ")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["simulated-site.yaml"]


async def test_a_simulation_that_is_told_to_end_takes_its_ptys_away(tmp_path: Path) -> None:
    program = "import asyncio, sys; from pathlib import Path; from agent.simulate import run_plant\n"
    program += "asyncio.run(run_plant(Path(sys.argv[1]), Path(sys.argv[2])))"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, str(EXAMPLE), str(tmp_path), cwd=EXAMPLE.parents[1], stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    async with asyncio.timeout(3 * DEADLINE):
        while b"Stop with Ctrl-C" not in (line := await process.stdout.readline()):
            assert line, "the simulation ended too early"
        assert (tmp_path / "line-1").exists()
        process.terminate()
        assert await process.wait() == 0
    assert [path.name for path in tmp_path.iterdir()] == ["simulated-site.yaml"]
