"""OPC UA bytes written by hand after OPC 10000-6, without the project's reader and without any library."""

from __future__ import annotations

import struct
from decimal import Decimal
from typing import Any

from config.opcua import OpcuaModel
from drivers import Target

METERS = "http://plant.example/meters"
SERVER = "urn:plant:scada"
TABLE = ("http://opcfoundation.org/UA/", SERVER, METERS)
NOW = 134_398_089_000_000_000  # 2026-11-22 08:15 UTC in steps of 100 ns since 1601
SECOND = 10_000_000

FORMS = {
    1: "<?", 2: "<b", 3: "<B", 4: "<h", 5: "<H", 6: "<i", 7: "<I", 8: "<q", 9: "<Q", 10: "<f", 11: "<d",
}  # fmt: skip


def string(text: str | None) -> bytes:
    data = (text or "").encode()
    return struct.pack("<i", -1) if text is None else struct.pack("<i", len(data)) + data


def plain(kind: int, value: Any) -> bytes:
    """A value of a built-in type without its type byte."""
    return string(value) if kind == 12 else struct.pack(FORMS[kind], value)


def scalar(kind: int, value: Any) -> bytes:
    """A Variant with one value."""
    return bytes([kind]) + plain(kind, value)


def array(kind: int, values: Any, dimensions: tuple[int, ...] = ()) -> bytes:
    """A Variant with a list, and with dimensions where they are given."""
    made = bytes([kind | 0x80 | (0x40 if dimensions else 0)]) + struct.pack("<i", len(values))
    made += b"".join(plain(kind, value) for value in values)
    return made + (struct.pack(f"<i{len(dimensions)}i", len(dimensions), *dimensions) if dimensions else b"")


def data_value(
    variant: bytes | None,
    status: int | None = None,
    source: int | None = NOW,
    server: int | None = NOW,
    pico: int | None = None,
) -> bytes:
    """A DataValue; `pico`: picoseconds behind both times."""
    mask = (variant is not None) | (status is not None) << 1 | (source is not None) << 2 | (server is not None) << 3
    small = b"" if pico is None else struct.pack("<H", pico)
    made = bytes([mask | (0x30 if pico is not None else 0)]) + (variant or b"")
    made += b"" if status is None else struct.pack("<I", status)
    made += (b"" if source is None else struct.pack("<q", source)) + small
    return made + (b"" if server is None else struct.pack("<q", server)) + small


def listed(*values: bytes) -> bytes:
    """An array of encoded things."""
    return struct.pack("<i", len(values)) + b"".join(values)


def answer(*values: bytes, table: tuple[str, ...] | None = TABLE, server: str | None = SERVER) -> bytes:
    """A meter's answer: the server's tables, then DataValues. None: the server does not let its table be read."""
    tables = [data_value(None, 0x801F0000) if table is None else data_value(array(12, table))]
    tables.append(data_value(None, 0x801F0000) if server is None else data_value(array(12, [server])))
    return listed(*tables, *values)


def point(quantity: str = "active_energy_import", node: str = f"nsu={METERS};s=Energy", **more: Any) -> dict[str, Any]:
    at = {"node": node} | {key: more.pop(key) for key in ("type", "index") if key in more}
    return {"quantity": quantity, "at": at, **more}


def model(*points: dict[str, Any], **more: Any) -> OpcuaModel:
    return OpcuaModel.model_validate(
        {
            "model": "plant-scada",
            "revision": 1,
            "maker": "Plant",
            "product": "SCADA",
            "medium": "electricity",
            "protocol": "opcua",
            "trust": {"level": "D", "sources": [{"url": "made by hand", "kind": "community"}]},
            "points": list(points),
            "examples": [{"origin": "computed", "frames": [{"answer": "00"}], "values": {}}],
            **more,
        }
    )


def target(*points: dict[str, Any], server: str | None = SERVER, ct: str | None = None, **more: Any) -> Target:
    return Target(model(*(points or (point(),)), **more), "", "own", ct=ct, server=server)


def shortest(value: float) -> str:
    """A binary64 as the decimal that a formula gives for it."""
    number = Decimal(repr(value))
    return format(number.normalize() if number != number.to_integral_value() else number.to_integral_value(), "f")
