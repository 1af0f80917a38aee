"""Meter models made in a test: just points, limits, and what pydantic asks for besides."""

from __future__ import annotations

from typing import Any

from config.modbus import ModbusModel, ModbusPoint, ModbusWatch
from drivers import Target


def point(quantity: str, address: int, kind: str = "u16", **more: Any) -> dict[str, Any]:
    """One point as it stands in a model file: keys of `at` and of the point itself may be mixed in `more`."""
    place = {"address": address, "type": kind}
    place |= {key: more.pop(key) for key in ("function", "count", "word_order", "byte_order", "bits", "missing") if key in more}
    return {"quantity": quantity, "at": place} | more


def model(*points: dict[str, Any], identity: tuple[dict[str, Any], ...] = (), **limits: Any) -> ModbusModel:
    """A model of these points and limits."""
    return ModbusModel.model_validate(
        {
            "model": "test-meter",
            "revision": 1,
            "maker": "nobody",
            "product": "test meter",
            "medium": "electricity",
            "protocol": "modbus",
            "trust": {"level": "D", "sources": [{"url": "made up for a test", "kind": "community"}]},
            "modbus": limits,
            "identity": identity,
            "points": points,
            "examples": [{"origin": "made up", "frames": [{"request": "01 03", "answer": "01 03"}], "values": {}}],
        }
    )


def target(*points: dict[str, Any], address: int = 1, framing: str = "rtu", **more: Any) -> Target:
    """A meter of such a model; `ct` and `vt` are plate ratios, everything else is a limit."""
    ratios = {key: more.pop(key) for key in ("ct", "vt") if key in more}
    return Target(model(*points, **more), str(address), framing, **ratios)


def place(kind: str, address: int, **more: Any) -> ModbusPoint:
    """A point of no matter which quantity."""
    return ModbusPoint.model_validate(point("voltage", address, kind, **more))


def watch(kind: str, address: int, **more: Any) -> ModbusWatch:
    """A register to watch."""
    return ModbusWatch.model_validate({"name": "serial", "at": {"address": address, "type": kind} | more})
