"""A second reader of M-Bus telegrams, written for the tests from the standard's tables alone; uses nothing of the driver.

It knows the primary table and the extensions that models of electricity, heat and water meters need, and gives each record
with its value in plain units: Wh, m3, W, m3/h, Cel, K, bar, h, V, A, kg, kg/h. Plain text units are beyond it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

FUNCTION = ["instantaneous", "maximum", "minimum", "error"]
LENGTH = [0, 1, 2, 3, 4, 4, 6, 8, 0, 1, 2, 3, 4, None, 6, None]


@dataclass(frozen=True)
class Seen:
    """A record: what it is, and its value (None: no number)."""

    kind: str
    function: str
    storage: int
    tariff: int
    subunit: int
    added: tuple[int, ...]
    value: Fraction | None
    data: bytes
    at: int


class Beyond(Exception):
    """Something this reader does not read, or that is no telegram."""


def ten(exponent: int) -> Fraction:
    return Fraction(10) ** exponent


def primary(vif: int) -> tuple[str, Fraction]:
    """Kind of a primary VIF and what one count is worth."""
    low3, low2 = vif & 7, vif & 3
    hours = [Fraction(1, 3600), Fraction(1, 60), Fraction(1), Fraction(24)]
    by_five = {
        0x00: ("energy", ten(low3 - 3)),
        0x08: ("energy", ten(low3) / 3600),
        0x10: ("volume", ten(low3 - 6)),
        0x18: ("mass", ten(low3 - 3)),
        0x20: ("on_time" if low3 < 4 else "operating_time", hours[low2]),
        0x28: ("power", ten(low3 - 3)),
        0x30: ("power", ten(low3) / 3600),
        0x38: ("volume_flow", ten(low3 - 6)),
        0x40: ("volume_flow", 60 * ten(low3 - 7)),
        0x48: ("volume_flow", 3600 * ten(low3 - 9)),
        0x50: ("mass_flow", ten(low3 - 3)),
        0x58: ("flow_temperature" if low3 < 4 else "return_temperature", ten(low2 - 3)),
        0x60: ("temperature_difference" if low3 < 4 else "external_temperature", ten(low2 - 3)),
    }
    if vif < 0x68:
        return by_five[vif & 0x78]
    if vif < 0x6C:
        return "pressure", ten(low2 - 3)
    if vif == 0x6E:
        return "heat_cost_units", Fraction(1)
    return f"primary {vif:02x}", Fraction(1)


def first(vife: int) -> tuple[str, Fraction]:
    """The same behind FB."""
    low = vife & 1
    pairs = {
        0x00: ("energy", ten(low + 5)),
        0x08: ("energy", ten(low + 8) / 3600),
        0x10: ("volume", ten(low + 2)),
        0x18: ("mass", ten(low + 5)),
        0x20: ("volume", Fraction("0.028316846592") * ten(-low)),
        0x28: ("power", ten(low + 5)),
        0x30: ("power", ten(low + 8) / 3600),
    }
    return pairs.get(vife & 0x7E, (f"first {vife:02x}", Fraction(1)))


def second(vife: int) -> tuple[str, Fraction]:
    """The same behind FD."""
    if 0x40 <= vife <= 0x4F:
        return "voltage", ten((vife & 15) - 9)
    if 0x50 <= vife <= 0x5F:
        return "current", ten((vife & 15) - 12)
    return f"second {vife:02x}", Fraction(1)


def digits(data: bytes) -> Fraction | None:
    text = data[::-1].hex()
    minus = text[0] == "f"
    text = text[1:] if minus else text
    return (-1 if minus else 1) * Fraction(int(text)) if text.isdecimal() else None


def number(field: int, data: bytes) -> Fraction | None:
    if field == 5:
        (real,) = struct.unpack("<f", data)
        return None if real != real or real in (float("inf"), float("-inf")) else Fraction(real)
    if field in (1, 2, 3, 4, 6, 7):
        whole = int.from_bytes(data, "little", signed=True)
        return None if whole == -(1 << (8 * len(data) - 1)) else Fraction(whole)
    return digits(data) if data else None


def block(frame: bytes, at: int) -> list[int]:
    found = []
    while True:
        if at + len(found) >= len(frame) or len(found) > 10:
            raise Beyond
        found.append(frame[at + len(found)])
        if found[-1] < 0x80:
            return found


def seen_in(frame: bytes) -> list[Seen]:
    """The records of a long frame with CI 72. Raises Beyond."""
    if len(frame) < 21 or frame[6] != 0x72 or frame[18] & 0x1F in range(1, 16):
        raise Beyond
    return list(_seen(frame[:-2]))


def _seen(frame: bytes) -> Iterator[Seen]:
    at = 19
    while at < len(frame):
        if frame[at] == 0x2F:
            at += 1
            continue
        if frame[at] in (0x0F, 0x1F):
            return
        difs = block(frame, at)
        field = difs[0] & 15
        if LENGTH[field] is None:
            raise Beyond
        storage = (difs[0] >> 6 & 1) + sum((dife & 15) << (1 + 4 * n) for n, dife in enumerate(difs[1:]))
        tariff = sum((dife >> 4 & 3) << 2 * n for n, dife in enumerate(difs[1:]))
        subunit = sum((dife >> 6 & 1) << n for n, dife in enumerate(difs[1:]))
        vifs = block(frame, at + len(difs))
        if vifs[0] & 0x7F == 0x7C:
            raise Beyond
        start = at + len(difs) + len(vifs)
        length = LENGTH[field] or 0
        data = frame[start : start + length]
        if len(data) < length:
            raise Beyond
        yield _record(vifs, field, data, FUNCTION[difs[0] >> 4 & 3], storage, tariff, subunit, start)
        at = start + length


def _record(vifs: list[int], field: int, data: bytes, function: str, storage: int, tariff: int, subunit: int, at: int) -> Seen:
    added = vifs[1:]
    if vifs[0] == 0xFD:
        kind, worth = second(added.pop(0) & 0x7F)
    elif vifs[0] == 0xFB:
        kind, worth = first(added.pop(0) & 0x7F)
    else:
        kind, worth = primary(vifs[0] & 0x7F)
    kept = []
    for place, vife in enumerate(added):
        code = vife & 0x7F
        if code in (0x7F, 0x7C) or 0 < code < 0x20:
            kept += added[place:]
            break
        if 0x70 <= code <= 0x77:
            worth *= ten(code - 0x76)
        elif code == 0x7D:
            worth *= 1000
        elif code:
            kept.append(code)
    value = number(field, data)
    return Seen(kind, function, storage, tariff, subunit, tuple(kept), None if value is None else value * worth, data, at)
