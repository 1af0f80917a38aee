"""Another program agrees: pyMeterBus reads every published telegram as the driver does, and reads the simulated meters.

It lives in a virtual environment of its own, made once for this file; without a package index these tests are skipped.
What it is known to read otherwise is named, with the reason.
"""

from __future__ import annotations

import asyncio
import json
import random
import struct
import subprocess
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from drivers.errors import NoValue
from drivers.formula import evaluate
from drivers.mbus_place import number_encoding
from drivers.mbus_record import Record, read_telegram
from tests.agent.plants import simulator_of
from tests.drivers.mbus_frames import TELEGRAMS, telegram
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
    return read_by_them(python, TELEGRAMS)


def read_by_them(python: str, telegrams: dict[str, bytes]) -> dict[str, Any]:
    """What pyMeterBus makes of telegrams: the records of each, or the name of its error."""
    frames = json.dumps({name: frame.hex() for name, frame in telegrams.items()})
    done = subprocess.run([python, "-c", READ_FRAMES], input=frames, capture_output=True, text=True, timeout=50, check=True)
    read: dict[str, Any] = json.loads(done.stdout)
    return read


def built() -> dict[str, bytes]:
    """Telegrams of one record each: every code that pyMeterBus knows, every way to write a number, storages, functions."""
    chance = random.Random(13757)

    def digits(count: int) -> bytes:
        return bytes(chance.randrange(10) << 4 | chance.randrange(10) for _ in range(count))

    made = {f"vif {vif:02x}": f"04{vif:02x}4e61bc00" for vif in range(0x7C) if vif not in (0x6C, 0x6D, 0x6F, 0x7B)}
    made |= {f"fb {vife:02x}": f"04fb{vife:02x}4e61bc00" for vife in (0, 1, 8, 9, 0x10, 0x11, 0x18, 0x19, 0x28, 0x29, 0x30, 0x31)}
    made |= {f"fd {vife:02x}": f"04fd{vife:02x}4e61bc00" for vife in range(0x40, 0x60)}
    for number in range(40):
        for dif, count in {1: 1, 2: 2, 3: 3, 4: 4, 6: 6, 7: 8}.items():
            top = chance.choice([byte for byte in range(256) if byte != 0x80])  # 80 00 ... is no number to us
            made[f"integer {dif} {number}"] = f"{dif:02x}13{chance.randbytes(count - 1).hex()}{top:02x}"
        for dif, count in {9: 1, 0xA: 2, 0xB: 3, 0xC: 4, 0xE: 6}.items():
            data = digits(count)
            minus = data[:-1] + bytes([0xF0 | data[-1] & 0x0F]) if number % 3 == 0 else data
            made[f"digits {dif} {number}"] = f"{dif:02x}13{minus.hex()}"
        made[f"real {number}"] = f"0506{struct.pack('<f', chance.uniform(-1e6, 1e6)).hex()}"
        difes = [chance.randrange(128) for _ in range(number % 11)]
        chain = bytes([4 | chance.randrange(4) << 4 | chance.randrange(2) << 6, *difes])
        chain = bytes(byte | 0x80 for byte in chain[:-1]) + chain[-1:]
        made[f"chain {number}"] = f"{chain.hex()}13{chance.randbytes(3).hex()}00"
    return {name: telegram(record) for name, record in made.items()}


def own_value(frame: bytes, record: Record) -> Fraction | None:
    """A record's number in the record's own unit, durations in seconds; None where it is none."""
    if record.form in ("none", "text", "bytes") or record.meaning.kind in ("date", "date_time") or record.length == 0:
        return None
    try:
        value = evaluate(f"0@{record.data}:{number_encoding(record)}", [frame]).value
    except NoValue:  # a number too wide for a formula
        return None
    return None if value is None else Fraction(value) * record.meaning.factor * SECONDS.get(record.meaning.unit, 1)


@pytest.mark.parametrize("name", sorted(set(TELEGRAMS) - NOT_READ))
def test_every_number_of_a_published_telegram_is_the_one_pymeterbus_reads(name: str, told: dict[str, Any]) -> None:
    frame = TELEGRAMS[name]
    theirs = told[name]
    assert isinstance(theirs, list), theirs
    compared = compare(frame, theirs)
    assert compared or not any(own_value(frame, record) is not None for record in read_telegram(frame).records)


def compare(frame: bytes, theirs: list[Any]) -> int:
    """How many records of a telegram have a number on both sides; fails where one differs."""
    compared = 0
    for record, (value, _, function, storage) in zip(read_telegram(frame).records, theirs, strict=False):
        own = own_value(frame, record)
        if own is None or not isinstance(value, int | float):
            continue
        assert abs(own - Fraction(value)) <= abs(own) / 10**6 + Fraction(1, 10**9), (record, value)
        assert storage == record.storage
        assert record.function[:3].upper() in function.upper()
        compared += 1
    return compared


def test_every_number_of_a_built_telegram_is_the_one_pymeterbus_reads(python: str) -> None:
    telegrams = built()
    theirs = read_by_them(python, telegrams)
    assert [name for name in telegrams if not isinstance(theirs[name], list)] == []
    assert sum(compare(frame, theirs[name]) for name, frame in telegrams.items()) == len(telegrams) > 650


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
