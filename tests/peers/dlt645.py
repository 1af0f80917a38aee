"""DL/T 645 frames and meter models for tests, made without the product's frame code (clause 5.2 by arithmetic of its own)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from config.dlt645 import Dlt645Model
from drivers import Target

METER = "000012345670"


def frame(address: str, control: int, data: str | bytes = b"") -> bytes:
    """A frame; `data` as it is meant, in the order of the wire, without the 33H."""
    meant = bytes.fromhex(data) if isinstance(data, str) else data
    body = bytes([0x68, *reversed(bytes.fromhex(address)), 0x68, control, len(meant), *((byte + 0x33) % 256 for byte in meant)])
    return body + bytes([sum(body) % 256, 0x16])


def turned(text: str) -> str:
    """Hexadecimal bytes, the last one first: an identifier or a value as it goes over the wire."""
    return bytes.fromhex(text)[::-1].hex()


def answer(identifier: str, *values: str, address: str = METER, more: bool = False, control: int | None = None) -> bytes:
    """A plain answer; values as people read them, high digits first, such as `00123456`."""
    usual = 0x91 if len(identifier) == 8 else 0x81
    return frame(
        address, (usual if control is None else control) | 0x20 * more, turned(identifier) + "".join(map(turned, values))
    )


def part(identifier: str, sequence: int, *values: str, more: bool = False, address: str = METER) -> bytes:
    """An answer with a following part of a block (edition 2007)."""
    data = turned(identifier) + "".join(map(turned, values)) + f"{sequence:02x}"
    return frame(address, 0xB2 if more else 0x92, data)


def place(identifier: str, quantity: str = "active_energy_import", scale: str = "0.01", **keys: Any) -> dict[str, Any]:
    """A point of a model file."""
    where = {key: keys.pop(key) for key in ("type", "length", "offset", "size", "signed") if key in keys}
    return {"quantity": quantity, "at": {"id": identifier, **where}, "scale": scale, **keys}


def model(
    *points: dict[str, Any], edition: int = 2007, blocks: Sequence[str] = (), identity: Sequence[Any] = (), **limits: Any
) -> Dlt645Model:
    """A meter model with these points, which need not prove themselves by examples here."""
    return Dlt645Model.model_validate(
        {
            "model": "tried-here",
            "revision": 1,
            "maker": "none",
            "product": "none",
            "medium": "electricity",
            "protocol": "dlt645",
            "trust": {"level": "D", "sources": [{"url": "none", "kind": "standard"}]},
            "dlt645": {"edition": edition, "blocks": list(blocks), **limits},
            "identity": list(identity),
            "points": list(points),
            "examples": [{"origin": "none here", "frames": [{"request": "00", "answer": "00"}], "values": {}}],
        }
    )


def target(*points: dict[str, Any], address: str = METER, ct: str | None = None, vt: str | None = None, **keys: Any) -> Target:
    """A meter with these points."""
    return Target(model(*points, **keys), address, "own", ct, vt)
