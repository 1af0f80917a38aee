"""Sealed end to end: a plant of all protocols, each value traced and recomputed by `verify`, and nothing but reads on the wire.

The real agent runs as a program of its own. Between it and the simulated meters stand taps that keep every byte it sends;
they are taken apart by what the standards say, without the drivers' code. The meters are frozen, so that what was sealed
can be held against what they hold.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from agent.clock import Clock
from agent.ledger_file import LedgerError, LedgerReader
from agent.record import parse
from agent.simulate import Simulator
from agent.simulate_protocols import SIMULATED
from agent.state import LEDGER_FILE
from agent.trace import trace
from agent.trace_text import trace_text
from config.library import read_model
from config.model import ModelFile
from drivers import PROTOCOLS as DRIVERS
from tests.agent.both import verify
from tests.agent.plants import models, plant_of, with_crc
from tests.brokers import until
from tests.peers.dlt645 import frame
from tests.peers.read_only import NotReading, told
from tests.peers.tap import PtyTap, TcpTap

PROGRAM = Path(sys.executable).with_name("meterseal")
PATIENCE = 100.0  # for machines with much else to do
READINGS = 2

LISTEN: dict[str, dict[str, Any]] = {
    "hall": {"tcp": "127.0.0.1:0"},
    "shared": {"pty": "shared", "baud": "9600"},
    "water": {"pty": "water", "baud": "9600"},
    "bus": {"pty": "bus", "baud": "9600"},
    "head": {"pty": "head", "baud": "300"},
    "old": {"pty": "old", "baud": "9600"},
    "battery": {"pty": "battery", "baud": "300"},
    "pushing": {"pty": "pushing", "baud": "9600"},
}
SPOKEN = {
    "hall": ["modbus_tcp"],
    "shared": ["modbus_rtu", "dlt645"],
    "water": ["cjt188"],
    "bus": ["mbus"],
    "head": ["iec62056_21"],
    "old": ["iec62056_21"],
    "battery": ["iec62056_21"],
    "pushing": ["iec62056_21"],
}
# No meter of mode A is shipped: the general model as one, at the one speed of its serial server.
MODE_A = "iec62056-21-mode-a"

# Line, model, and what else a meter's entry has; `fails`: one that plays faults, of which no value is expected to be good.
METERS: dict[str, dict[str, Any]] = {
    "modbus-tcp": {"on": "hall", "model": "schneider-pm5000", "address": "1"},
    "modbus-rtu": {"on": "shared", "model": "eastron-sdm120", "address": "1"},
    "dlt645-2007": {"on": "shared", "model": "dlt645-2007-three-phase", "address": "202311045678", "ct": "400/5", "vt": "1"},
    "dlt645-1997": {"on": "shared", "model": "dlt645-1997", "address": "101995", "baud": "4800", "ct": "1", "vt": "1"},
    "dlt645-fails": {"on": "shared", "model": "dlt645-2007-single-phase", "address": "77"},
    "cjt188-water": {"on": "water", "model": "cjt188-water-2018", "address": "78330123456789"},
    "cjt188-heat": {"on": "water", "model": "cjt188-heat", "address": "42590008210438"},
    "cjt188-fails": {"on": "water", "model": "cjt188-gas", "address": "30-99990000000001"},
    "mbus-primary": {"on": "bus", "model": "kamstrup-multical-601", "address": "17"},
    "mbus-secondary": {"on": "bus", "model": "mbus-water", "address": "12345678"},
    "mbus-fails": {"on": "bus", "model": "mbus-heat", "address": "18"},
    "iec62056-21": {"on": "head", "model": "landis-gyr-e650", "address": ""},
    "iec62056-21-a": {"on": "old", "model": MODE_A, "address": "4711"},
    "iec62056-21-b": {"on": "battery", "model": "landis-gyr-ultraheat-uh50", "address": "", "serial": "66153690"},
    "iec62056-21-d": {"on": "pushing", "model": "easymeter-q3d", "address": ""},
}
START = {
    "schneider-pm5000": {"active_energy_import": "4821930.25"},
    "dlt645-2007-three-phase": {"active_energy_import": "238411.6"},
    "cjt188-heat": {"thermal_energy": "30418.2", "volume_forward": "1893.55"},
    "kamstrup-multical-601": {"thermal_energy": "8412", "volume_forward": "402.77"},
    "landis-gyr-e650": {"active_energy_import": "4821930.2"},
}
FAULTS = [
    {"kind": "exception", "at": [3, 8]},
    {"kind": "checksum", "at": [2, 6]},
    {"kind": "silence", "at": [4]},
    {"kind": "short", "at": [5]},
]
SOUND = [name for name in METERS if not name.endswith("fails")]
BY_HAND = ("modbus-tcp", "modbus-rtu", "dlt645-2007", "cjt188-water", "mbus-primary", "iec62056-21")
SAID = {
    "hall": {"modbus_tcp 03", "modbus_tcp 2B/0E"},
    "shared": {"modbus_rtu 04", "modbus_rtu 03", "modbus_rtu 2B/0E", "dlt645 11", "dlt645 13", "dlt645 01"},
    "water": {"cjt188 01", "cjt188 03"},
    "bus": {"mbus 40", "mbus 7B", "mbus 73/52"},
    "head": {"iec62056_21 sign-on", "iec62056_21 readout"},
    "old": {"iec62056_21 sign-on"},
    "battery": {"iec62056_21 wake-up", "iec62056_21 sign-on"},
    "pushing": set(),
}


def simulated(name: str) -> dict[str, Any]:
    declared = METERS[name] | {"id": name, "frozen": True, "start": START.get(METERS[name]["model"], {})}
    return declared | ({"faults": FAULTS} if name not in SOUND else {})


@lru_cache(maxsize=1)
def known() -> dict[str, ModelFile]:
    """The shipped models, and one of mode A."""
    general = models()["iec62056-21-electricity"].text.decode()
    made = general.replace("model: iec62056-21-electricity", f"model: {MODE_A}").replace("mode: C", "mode: A\n  fixed_baud: 9600")
    return models() | {MODE_A: read_model(made.encode(), MODE_A)}


def site_text(taps: dict[str, PtyTap | TcpTap]) -> str:
    lines = ["gateway: plant/all", "every: 5s", "commit_seconds: 0.1", "models: [own]", "links:"]
    for name, listen in LISTEN.items():
        place = "tcp" if "tcp" in listen else "serial"
        port = f", baud: {listen['baud']}, format: 8E1" if place == "serial" else ""
        times = ", timeout_ms: 800, longest_answer_ms: 800"
        lines.append(f'  {name}: {{{place}: "{taps[name].address}"{port}{times}}}')
    lines.append("meters:")
    for name, meter in METERS.items():
        keys = {"id": name, "link": meter["on"]} | {
            key: meter[key] for key in ("model", "address", "ct", "vt", "baud") if key in meter
        }
        lines.append("  - {" + ", ".join(f'{key}: "{value}"' for key, value in keys.items()) + "}")
    return "\n".join(lines) + "\n"


@dataclass
class Sealed:
    """What a plant's agent has left behind: its ledger and key, what it said to each line, and what the meters hold."""

    folder: Path
    sent: dict[str, bytes]
    truth: dict[str, dict[str, str]]
    serials: dict[str, str]

    @property
    def key(self) -> str:
        return (self.folder / "state" / "key.vkey").read_text("utf-8").strip()

    def past(self) -> closing[LedgerReader]:
        return closing(LedgerReader(self.folder / "state" / LEDGER_FILE))

    def readings(self, meter: str) -> list[dict[str, Any]]:
        with self.past() as past:
            return [parse(payload) for _, payload in past.meter_records(meter, "reading")]


async def _run(folder: Path, *words: str) -> str:
    """What a command says. Fails where it does not end well."""
    process = await asyncio.create_subprocess_exec(
        PROGRAM, *words, cwd=folder, env=_surroundings(folder), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    said = (await process.communicate())[0].decode()
    assert process.returncode == 0, f"{words}: {said}"
    return said


def _surroundings(folder: Path) -> dict[str, str]:
    kept = {name: text for name, text in os.environ.items() if not name.startswith("METERSEAL_")}
    return kept | {"METERSEAL_STATE": str(folder / "state")}


@asynccontextmanager
async def _agent(folder: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """The agent at work; it is ended in order."""
    with (folder / "agent.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            PROGRAM, "run", cwd=folder, env=_surroundings(folder), stdout=log, stderr=log
        )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


def _read(folder: Path) -> Counter[str]:
    """How many readings there are of each meter."""
    try:
        with closing(LedgerReader(folder / "state" / LEDGER_FILE)) as past:
            return Counter({name: sum(1 for _ in past.meter_records(name, "reading")) for name in METERS})
    except LedgerError:
        return Counter()  # the agent is still making it


async def _seal(folder: Path) -> Sealed:
    """Lets the agent read the plant until each sound meter was read, and by hand as well."""
    async with AsyncExitStack() as stack:
        plant = plant_of(*map(simulated, METERS), **LISTEN)
        simulator = await stack.enter_async_context(Simulator(plant, known(), folder, Clock()))
        taps: dict[str, PtyTap | TcpTap] = {}
        for name, listen in LISTEN.items():
            line = simulator.address_of(name)
            taps[name] = await TcpTap(line).open() if "tcp" in listen else PtyTap(line, folder / f"tap-{name}")
            stack.push_async_callback(taps[name].close)
        (folder / "site.yaml").write_text(site_text(taps), "utf-8")
        (folder / "own").mkdir()
        (folder / "own" / f"{MODE_A}.yaml").write_bytes(known()[MODE_A].text)
        await _run(folder, "init")
        async with _agent(folder) as agent:
            await until(lambda: agent.returncode is not None or all(_read(folder)[name] >= READINGS for name in SOUND), PATIENCE)
            assert agent.returncode is None, (folder / "agent.log").read_text()
            await asyncio.gather(*(_run(folder, "read", name, "--identify") for name in BY_HAND))
        assert {kind for _, _, kind in simulator.played} >= {"exception", "checksum", "silence"}
        made = {name: simulator.meter(name) for name in SOUND}
        truth = {
            name: {point.quantity: meter.truth(point.quantity) for point in meter.model.points} for name, meter in made.items()
        }
        serials = {name: meter.serial for name, meter in made.items()}
        return Sealed(folder, {name: bytes(tap.sent) for name, tap in taps.items()}, truth, serials)


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Sealed:
    return asyncio.run(_seal(tmp_path_factory.mktemp("plant")))


# --- what was sealed ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("meter", SOUND)
def test_every_declared_quantity_is_sealed_as_good_and_as_the_meter_holds_it(meter: str, sealed: Sealed) -> None:
    readings = sealed.readings(meter)
    declared = [point.quantity for point in known()[METERS[meter]["model"]].declared.points if point.default]
    assert len(readings) >= READINGS
    for fields in readings:
        assert [value["quantity"] for value in fields["values"]] == declared
        assert [value for value in fields["values"] if "quality" in value] == []
        assert {value["quantity"]: value["value"] for value in fields["values"]} == {
            quantity: sealed.truth[meter][quantity] for quantity in declared
        }


def test_the_meters_of_all_protocols_that_the_simulation_plays_are_there() -> None:
    played = {"modbus", *SIMULATED}
    assert {known()[METERS[name]["model"]].declared.protocol for name in SOUND} == played
    assert played <= set(DRIVERS)


@pytest.mark.parametrize("meter", [name for name in SOUND if not name.startswith("modbus")])
def test_the_number_of_the_meter_is_taken_from_its_own_frames(meter: str, sealed: Sealed) -> None:
    sources = [fields["meter"] for fields in sealed.readings(meter)]
    assert {(source["serial"], source["serial_from"]) for source in sources} == {(sealed.serials[meter], "frame")}


def test_the_whole_ledger_verifies_without_a_finding(sealed: Sealed) -> None:
    with sealed.past() as past:
        report = verify(past, key=sealed.key)
    assert (report.findings.total, report.exit_code) == (0, 0), report.text()
    assert set(report.meters) == set(METERS)


@pytest.mark.parametrize("meter", SOUND)
def test_each_value_is_traced_to_its_bytes_and_recomputed(meter: str, sealed: Sealed) -> None:
    with sealed.past() as past:
        story = trace(past, meter=meter, key=sealed.key)
        text = trace_text(story)
    values = story.fields["values"]
    assert (story.exit_code, story.problems) == (0, [])
    assert "WRONG" not in text
    assert "NOT THE SAME" not in text
    assert text.count("SAME") == len(values)
    for value in values:
        assert f"{value['quantity']} = {value['formula']}\n" in text
        assert f"stated: {sealed.truth[meter][value['quantity']]}   SAME" in text
    assert "the answer to this request of the model, checksum and address ok" in text
    assert text.splitlines()[-1].startswith("VERDICT    TRACEABLE")


# --- what was sent --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", LISTEN)
def test_nothing_but_read_functions_was_sent(line: str, sealed: Sealed) -> None:
    assert set(told(sealed.sent[line], SPOKEN[line])) == SAID[line]


def test_what_was_sealed_was_sent(sealed: Sealed) -> None:
    for meter in SOUND:
        sent = sealed.sent[METERS[meter]["on"]]
        requests = [bytes.fromhex(frame["request"]) for fields in sealed.readings(meter) for frame in fields["frames"]]
        assert requests
        assert all(request in sent for request in requests)


def short(control: int, address: int) -> bytes:
    """A short M-Bus frame."""
    return bytes([0x10, control, address, (control + address) & 0xFF, 0x16])


def long(body: str) -> bytes:
    """A long M-Bus frame."""
    data = bytes.fromhex(body)
    return bytes([0x68, len(data), len(data), 0x68]) + data + bytes([sum(data) & 0xFF, 0x16])


def cjt188(control: int, data: str, address: str = "78330123456789", kind: int = 0x10) -> bytes:
    """A CJ/T 188 frame."""
    body = bytes.fromhex(data)
    made = bytes([0x68, kind]) + bytes.fromhex(address)[::-1] + bytes([control, len(body)]) + body
    return made + bytes([sum(made) & 0xFF, 0x16])


@pytest.mark.parametrize(
    ("protocol", "request_"),
    [
        ("modbus_tcp", "000100000006010600100001"),
        ("modbus_tcp", "0001000000090110001000010200FF"),
        ("modbus_tcp", "000100000006000300100001"),
        ("modbus_rtu", with_crc(bytes.fromhex("010500010000")).hex()),
        ("modbus_rtu", with_crc(bytes.fromhex("000300100001")).hex()),
        ("modbus_rtu", with_crc(bytes.fromhex("010800000000")).hex()),
        ("dlt645", frame("000012345670", 0x14, "0401010102000000000000000A").hex()),
        ("dlt645", frame("000012345670", 0x1C, "020000000000000000001A00").hex()),
        ("dlt645", frame("999999999999", 0x08, "202611221500").hex()),
        ("dlt645", frame("999999999999", 0x13, "").hex()),
        ("dlt645", frame("000012345670", 0x15, "000012345671").hex()),
        ("dlt645", frame("000012345670", 0x04, "C010").hex()),
        ("cjt188", cjt188(0x04, "A01700A0").hex()),
        ("cjt188", cjt188(0x15, "A01800" + "11" * 7).hex()),
        ("cjt188", cjt188(0x01, "1F9000", address="99999999999999").hex()),
        ("mbus", short(0x44, 1).hex()),
        ("mbus", short(0x5B, 0xFE).hex()),
        ("mbus", short(0x40, 0xFF).hex()),
        ("mbus", long("5301517A05").hex()),
        ("mbus", long("53FD52785634122D2C0104").hex()),
        ("mbus", long("7301BB").hex()),
        ("iec62056_21", b"\x06051\r\n".hex()),
        ("iec62056_21", b"\x01P1\x02(00000000)\x03\x61".hex()),
        ("iec62056_21", b"\x01W1\x02C001(1)\x03\x30".hex()),
        ("iec62056_21", b"/?!\r\n\x06".hex()),
    ],
)
def test_whoever_looks_at_the_wire_sees_what_is_no_read(protocol: str, request_: str) -> None:
    with pytest.raises(NotReading):
        list(told(bytes.fromhex(request_), [protocol]))
