"""Published and built M-Bus frames for the tests, and what a model of a few words is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from config.mbus import MbusModel, MbusPoint, MbusWatch
from drivers import Target

PUBLISHED: list[dict[str, Any]] = json.loads((Path(__file__).parent / "vectors" / "mbus.json").read_text("utf-8"))
FRAMES = {one["name"]: bytes.fromhex(one["frame"]) for one in PUBLISHED}
TELEGRAMS = {name: frame for name, frame in FRAMES.items() if len(frame) > 20 and frame[6] in (0x72, 0x73)}
TELEGRAMS.pop("too_many_vife")
ACK = b"\xe5"


def short(control: int, address: int) -> bytes:
    return bytes([0x10, control, address, (control + address) & 0xFF, 0x16])


def long(*body: int | bytes) -> bytes:
    data = b"".join(bytes([part]) if isinstance(part, int) else part for part in body)
    return bytes([0x68, len(data), len(data), 0x68]) + data + bytes([sum(data) & 0xFF, 0x16])


def telegram(records: str, address: int = 5, number: str = "78563412", status: int = 0, configuration: str = "0000") -> bytes:
    """A telegram of a Kamstrup meter of version 8, medium heat, with these records."""
    header = bytes.fromhex(number + "2d2c0804") + bytes([1, status]) + bytes.fromhex(configuration)
    return long(0x08, address, 0x72, header, bytes.fromhex(records))


def resealed(frame: bytes) -> bytes:
    """The same bytes with length and checksum made right again, as long as they fit one frame."""
    body = frame[4:-2][:255]
    return bytes([0x68, len(body), len(body), 0x68]) + body + bytes([sum(body) & 0xFF, 0x16])


def model(*points: dict[str, Any], watches: tuple[dict[str, Any], ...] = (), **limits: Any) -> MbusModel:
    return MbusModel.model_validate(
        {
            "model": "any",
            "revision": 1,
            "maker": "any",
            "product": "any",
            "medium": "other",
            "protocol": "mbus",
            "trust": {"level": "D", "sources": [{"url": "none", "kind": "standard"}]},
            "mbus": limits,
            "identity": list(watches),
            "points": list(points) or [{"quantity": "thermal_energy", "at": {"kind": "energy"}}],
            "examples": [{"origin": "computed", "frames": [{"request": "10", "answer": "e5"}], "values": {}}],
        }
    )


def target(*points: dict[str, Any], address: str = "5", ct: str | None = None, **limits: Any) -> Target:
    return Target(model(*points, **limits), address, "own", ct=ct)


def point(quantity: str, kind: str, **at: Any) -> MbusPoint:
    more = {key: at.pop(key) for key in ("scale", "ratio") if key in at}
    return MbusPoint.model_validate({"quantity": quantity, "at": {"kind": kind, **at}, **more})


def watch(kind: str, **at: Any) -> MbusWatch:
    return MbusWatch.model_validate({"name": "any", "at": {"kind": kind, **at}})
