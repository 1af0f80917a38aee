"""Register maps that `check` lets pass can be read: every point is fetched by a request and has a formula."""

from __future__ import annotations

import random
import struct
from typing import Any

import pytest

from config.check import read_model
from config.mistake import ConfigError
from config.modbus import ModbusModel, ModbusPoint, ModbusWatch
from config.registers import model_findings, point_findings
from drivers import Target, load
from drivers.formula import evaluate

SEED = 20260302
_TYPES = ["u8", "i8", "u16", "i16", "u32", "i32", "u48", "u64", "i64", "f32", "f64", "bcd", "mod10", "ascii", "hex", "bit"]
_SCALES = ["1", "1", "0.01", "-0.5", "1e-20", "1e-25", "1e20", "0", "123456789012345678901"]


def _at(draw: random.Random) -> dict[str, Any]:
    """A place, right or wrong."""
    return {
        "address": draw.choice([0, 7, 100, 899, 65533, 65535]),
        "type": draw.choice(_TYPES),
        "function": draw.choice([None, None, 1, 2, 3, 4]),
        "count": draw.choice([None, None, None, 1, 2, 4, 9]),
        "word_order": draw.choice([None, "big", "little"]),
        "byte_order": draw.choice([None, "big", "little"]),
        "bits": draw.choice([None, None, "0", "7", "15", "0-3", "4-11", "9-2"]),
        "missing": draw.choice([[], [], ["ff"], ["7fff"], ["7fffffff"], ["ffffffffffff"]]),
    }


def _point(draw: random.Random) -> dict[str, Any]:
    return {
        "quantity": draw.choice(["active_energy_import", "voltage.l1"]),
        "at": _at(draw),
        "scale": draw.choice(_SCALES),
        "plus": draw.choice([[], [], [{"at": _at(draw), "scale": draw.choice(_SCALES)}]]),
        "exponent": draw.choice([None, None, {"at": _at(draw), "offset": draw.randint(-99, 99)}]),
        "ratio": draw.choice(["none", "ct", "ct_vt", "already_primary"]),
    }


MODEL = read_model(
    b"""
model: generic-hall
revision: 1
maker: Hall
product: any
medium: other
protocol: modbus
trust: {level: D, sources: [{url: none, kind: community}]}
modbus: {forbid: [{address: 900, count: 4}]}
points: [{quantity: voltage, at: {address: 0, type: u16}}]
examples: [{origin: computed, frames: [{request: '01', answer: '01'}], values: {}}]
""",
    "generic-hall",
)


def _answer(request: bytes) -> bytes:
    """An answer of zeros to an RTU request; its checksum is not looked at here."""
    unit, function, _, count = struct.unpack(">BBHH", request[:6])
    length = (count + 7) // 8 if function in (1, 2) else 2 * count
    return bytes([unit, function, length]) + bytes(length + 2)


def _read(model: ModbusModel, read: ModbusPoint | ModbusWatch) -> None:
    """Requests, answers of zeros and the formula's value; raises where something cannot be read."""
    driver = load("modbus")
    target = Target(model, "1", "rtu", ct="400/5", vt="10000/100")
    requests = [request.data for request in driver.requests(target, [read])]
    assert requests
    outcome = evaluate(driver.locate(target, requests, read), [_answer(request) for request in requests])
    assert outcome.value is not None or outcome.cause


def test_a_point_that_passes_the_rules_has_a_request_and_a_formula() -> None:
    draw = random.Random(SEED)
    passed = set()
    for _ in range(20000):
        point = ModbusPoint.model_validate(_point(draw))
        if not list(point_findings([point], MODEL.declared.modbus)):
            passed.add(point.at.type)
            _read(MODEL.declared, point)
    assert passed == set(_TYPES) - {"ascii", "hex"}


def test_a_watch_that_passes_the_rules_has_a_request_and_a_formula() -> None:
    draw = random.Random(SEED)
    passed = set()
    for _ in range(5000):
        watch = ModbusWatch.model_validate({"name": "serial", "at": _at(draw), "scale": draw.choice(_SCALES)})
        model = MODEL.declared.model_copy(update={"identity": (watch,)})
        if not list(model_findings(model)):
            passed.add(watch.at.type)
            _read(model, watch)
    assert passed == set(_TYPES)


def test_parts_of_a_value_are_looked_at_like_the_value_itself() -> None:
    point = ModbusPoint.model_validate(
        {
            "quantity": "volume_forward",
            "at": {"address": 0, "type": "i32"},
            "plus": [{"at": {"address": 901, "type": "f32"}, "scale": "0"}],
            "exponent": {"at": {"address": 65535, "type": "f32"}},
        }
    )
    found = {".".join(str(step) for step in path) for path, _ in point_findings([point], MODEL.declared.modbus)}
    assert found == {
        "points.0.plus.0.scale",
        "points.0.plus.0.at.address",
        "points.0.exponent.at.address",
        "points.0.exponent.at.type",
    }


def test_sources_are_quoted_by_keys_that_there_are_and_that_are_one_sources_only() -> None:
    text = MODEL.text.replace(
        b"sources: [{url: none, kind: community}]",
        b"""sources: [
  {key: manual, url: none, kind: maker}, {key: manual, url: other, kind: community}]""",
    )
    text = text.replace(b"{address: 0, type: u16}}", b"{address: 0, type: u16}, sources: [manual, web]}")
    with pytest.raises(ConfigError) as wrong:
        read_model(text, "generic-hall")
    assert "manual is already another source's key" in str(wrong.value)
    assert "no source under trust has the key web" in str(wrong.value)
