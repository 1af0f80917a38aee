"""Another program agrees: pyMeterBus reads every published telegram as the driver does, and reads the simulated meters.

It lives in a virtual environment of its own, made once for this file; without a package index these tests are skipped.
What it is known to read otherwise is named, with the reason.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from drivers.errors import NoValue
from drivers.formula import evaluate
from drivers.mbus_place import _number
from drivers.mbus_record import Record, read_telegram
from tests.agent.plants import simulator_of
from tests.drivers.mbus_frames import TELEGRAMS
from tests.peers.environment import environment

PACKAGE = "pyMeterBus==0.8.5"
SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86400}
# What pyMeterBus does not read: the fixed structure, a unit in plain text behind VIFEs, and a VIF of 7B without a VIFE.
NOT_READ = {"manual_frame2", "example_plain_text_placement", "sen_pollutherm"}

READ_FRAMES = """
import json, sys, meterbus
def plain(value):
    return value if isinstance(value, (int, float, str)) else str(value)
told = {}
for name, frame in json.load(sys.stdin).items():
    try:
        body = json.loads(meterbus.load(bytes.fromhex(frame)).to_JSON())["body"]
        told[name] = [[plain(r["value"]), r["unit"], r["function"], r["storage_number"]] for r in body["records"]]
    except Exception as error:
        told[name] = repr(error)
print(json.dumps(told))
"""

READ_METER = """
import json, sys, meterbus, serial
endpoint, primary, secondary = sys.argv[1:]
with serial.serial_for_url("socket://" + endpoint, timeout=2) as port:
    told = []
    for address in (int(primary), secondary):
        if isinstance(address, str):
            meterbus.send_select_frame(port, address)
            assert isinstance(meterbus.load(meterbus.recv_frame(port, 1)), meterbus.TelegramACK)
            address = meterbus.ADDRESS_NETWORK_LAYER
        else:
            meterbus.send_ping_frame(port, address)
            assert isinstance(meterbus.load(meterbus.recv_frame(port, 1)), meterbus.TelegramACK)
        meterbus.send_request_frame(port, address)
        frame = meterbus.load(meterbus.recv_frame(port, meterbus.FRAME_DATA_LENGTH))
        body = json.loads(frame.to_JSON())["body"]
        told.append([body["header"], [[float(r["value"]), r["unit"]] for r in body["records"]]])
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An interpreter with pyMeterBus."""
    return environment(tmp_path_factory.mktemp("pymeterbus"), PACKAGE)


@pytest.fixture(scope="module")
def told(python: str) -> dict[str, Any]:
    """What it makes of every published telegram."""
    frames = json.dumps({name: frame.hex() for name, frame in TELEGRAMS.items()})
    done = subprocess.run([python, "-c", READ_FRAMES], input=frames, capture_output=True, text=True, timeout=50, check=True)
    read: dict[str, Any] = json.loads(done.stdout)
    return read


def own_value(frame: bytes, record: Record) -> Fraction | None:
    """A record's number in the record's own unit, durations in seconds; None where it is none."""
    if record.form in ("none", "text", "bytes") or record.meaning.kind in ("date", "date_time") or record.length == 0:
        return None
    try:
        value = evaluate(f"0@{record.data}:{_number(record)}", [frame]).value
    except NoValue:  # a number too wide for a formula
        return None
    return None if value is None else Fraction(value) * record.meaning.factor * SECONDS.get(record.meaning.unit, 1)


@pytest.mark.parametrize("name", sorted(set(TELEGRAMS) - NOT_READ))
def test_every_number_of_a_published_telegram_is_the_one_pymeterbus_reads(name: str, told: dict[str, Any]) -> None:
    frame = TELEGRAMS[name]
    records, theirs = read_telegram(frame).records, told[name]
    assert isinstance(theirs, list), theirs
    compared = 0
    for record, (value, _, function, storage) in zip(records, theirs, strict=False):
        own = own_value(frame, record)
        if own is None or not isinstance(value, int | float):
            continue
        assert abs(own - Fraction(value)) <= abs(own) / 10**6 + Fraction(1, 10**9), (record, value)
        assert storage == record.storage
        assert record.function[:3].upper() in function.upper()
        compared += 1
    assert compared or not any(own_value(frame, record) is not None for record in records)


def test_what_pymeterbus_does_not_read_is_still_so(told: dict[str, Any]) -> None:
    assert {name for name, theirs in told.items() if not isinstance(theirs, list)} <= NOT_READ


HEAT = {
    "id": "H",
    "model": "kamstrup-multical-601",
    "address": "17",
    "start": {"thermal_energy": "55328.25", "volume_forward": "812.5"},
    "frozen": True,
}
WATER = {"id": "W", "model": "mbus-water", "address": "12345678", "start": {"volume_forward": "1203.4"}, "frozen": True}


async def test_pymeterbus_reads_the_simulated_meters_by_primary_and_by_secondary_address(tmp_path: Path, python: str) -> None:
    async with simulator_of(tmp_path, HEAT, WATER, hall={"tcp": "127.0.0.1:0", "framing": "rtu"}) as simulator:
        reading = [python, "-c", READ_METER, simulator.address_of("hall"), "17", "12345678FFFFFFFF"]
        process = await asyncio.create_subprocess_exec(*reading, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
        out, errors = await asyncio.wait_for(process.communicate(), 30)
        assert process.returncode == 0, errors.decode()
        heat, water = json.loads(out)
        assert heat[0]["manufacturer"] == "KAM"
        assert heat[0]["version"] == "0x8"
        values = {unit.partition(".")[2]: value for value, unit in reversed(heat[1])}  # of several the first
        assert values["WH"] == float(simulator.truth("H", "thermal_energy")) * 1000 == 55_328_250
        assert values["M3_H"] == pytest.approx(float(simulator.truth("H", "volume_flow")))
        assert water[0]["identification"].replace("0x", "").replace(", ", "") == "12345678"
        assert [value for value, unit in water[1] if unit == "MeasureUnit.M3"] == [pytest.approx(1203.4)]
