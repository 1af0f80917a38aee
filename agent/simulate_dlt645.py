"""Simulated DL/T 645 meters: what flows through them as packed decimal digits, and their answers to whole frames.

A meter has the identifiers and blocks of its model, in the formats of the standard's tables (DL/T 645-2007 and -1997,
annex A), which are written out here anew: a model whose scale or length is another than the standard's is told apart
from its own simulation. What a block says is fixed when it is asked for, and handed out in frames of at most 200 bytes.
Reads, the address, nothing else: other requests are refused, those to 999999999999 get no answer.

What this file does not know: lines and faults; how a frame is drawn (`agent.simulate_dlt645_frames`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal

from agent.simulate_dlt645_frames import framed
from agent.simulate_instrument import MISSING, Instrument, NotFitting, Now
from agent.simulate_registers import WIDE, quotient
from config.dlt645 import Dlt645Model, Dlt645Point, Dlt645Watch
from config.plant import SimulatedMeter
from drivers.formula import plain

_NO_SUCH_DATA, _NOT_AUTHORISED = 0x02, 0x04
_WAKE = b"\xfe" * 4


@dataclass(frozen=True, slots=True)
class Format:
    """How the standard draws an item: bytes of its number and of all its data, what the last digit counts, whether signed."""

    count: int
    size: int
    step: Decimal
    signed: bool = False


def _formats(text: str) -> list[tuple[str, Format]]:
    rows = (line.split() for line in text.strip().splitlines())
    return [(p, Format(int(c), int(s), Decimal(step), bool(sign))) for p, c, s, step, *sign in rows]


# Identifier, bytes of the number, bytes of the data, what one count is in the quantity's unit (W, not kW), a sign if any.
_FORMATS = _formats("""
00(00|03|04|17|18|2B|2C|3F|40)....  4  4  0.01   signed
00......                            4  4  0.01
01(03|04|17|18|2B|2C|3F|40)....     3  8  0.1    signed
01......                            3  8  0.1
0201....                            2  2  0.1
0202....                            3  3  0.001  signed
020[345]....                        3  3  0.1    signed
0206....                            2  2  0.001  signed
0207....                            2  2  0.1
020[89]....                         2  2  0.01
020C....                            2  2  0.1
02800001                            3  3  0.001  signed
02800002                            2  2  0.01
0280000[3456]                       3  3  0.1    signed
02800007                            2  2  0.1    signed
0280000[89]                         2  2  0.01
9...                                4  4  0.01
A...                                3  3  0.1
B61.                                2  2  1
B62.                                2  2  0.01
B63.                                3  3  0.1    signed
B64.                                2  2  10     signed
B65.                                2  2  0.001  signed
B69.                                2  2  1
""")


def _greatest(form: Format) -> int:
    """The greatest number that has room; a sign takes one of the four bits of the first digit."""
    return int(f"{'7' if form.signed else '9'}{'9' * (2 * form.count - 1)}")


def _members(block: str) -> list[str]:
    """The identifiers that a block can hold, in the order of the standard."""
    if len(block) == 4:
        first, last = (1, 3) if block[:3] in ("B61", "B62", "B69") else (0, 3 if block[:2] == "B6" else 14)
        return [f"{block[:3]}{number:X}" for number in range(first, last + 1)]
    if block.endswith("FF"):
        return [f"{block[:6]}{day:02X}" for day in range(13)]
    if block.startswith("02"):
        return [f"{block[:4]}{phase:02X}00" for phase in range(0 if "0203" <= block[:4] <= "0206" else 1, 4)]
    return [f"{block[:4]}{tariff:02X}{block[6:]}" for tariff in range(64)]


class Dlt645Meter(Instrument):
    """A simulated meter at work.

    Attributes:
        declared, model: what the plant file and the meter model say of it.
        most_data: how many bytes of DATA a frame of it has at most.

    Raises:
        KeyError: `start` or `hold` names what the model does not have.
        NotFitting: something has no room in the digits meant for it, or the address is not a single meter's.
    """

    model: Dlt645Model
    _points: dict[str, Dlt645Point]
    _watches: dict[str, Dlt645Watch]

    def __init__(self, declared: SimulatedMeter, model: Dlt645Model, clock: Now) -> None:
        super().__init__(declared, model, clock)
        self.most_data = 200
        if not declared.address.isdecimal():
            raise NotFitting("address", declared.address)
        self._load = self._flowing(self._points)
        self._parts: dict[bytes, list[bytes]] = {}
        self._hold_declared()
        for watch in self._watches.values():
            self._watched(watch)

    # --- what it holds --------------------------------------------------------------------------------------

    @property
    def serial(self) -> str:
        """The number on its plate: its address, unless it was given another."""
        return self.declared.serial or self.declared.address

    def truth(self, quantity: str) -> str:
        """The value a correct reading has now, plate ratios applied, in the quantity's unit; or `missing`. Raises KeyError."""
        point = self._points[quantity]
        self._load.advance(self._clock.now_ns())
        if self._held.get(quantity) == MISSING:
            return MISSING
        stated = WIDE.multiply(Decimal(self._count(point)), self._format(point).step)
        for primary, secondary in self._plates(point):
            stated = quotient(WIDE.multiply(stated, primary), secondary)
        return plain(stated)

    def _check(self, name: str) -> None:
        if name in self._watches:
            self._watched(self._watches[name])
        elif self._held[name] != MISSING:
            form, point = self._format(self._points[name]), self._points[name]
            if not self._least(form) <= self._wanted(point) <= _greatest(form):
                raise ValueError(name)

    def _format(self, point: Dlt645Point) -> Format:
        own = next((form for pattern, form in _FORMATS if re.fullmatch(pattern, point.at.id)), None)
        if own and point.at.length in (None, own.count):
            return own
        item = point.at.item
        if item is None:
            raise NotFitting(point.quantity, point.at.id)
        return Format(item.value, item.size, point.scale, item.signed)

    def _wanted(self, point: Dlt645Point) -> Decimal:
        """What the point's last digit has to count, not yet rounded."""
        held = self._held.get(point.quantity)
        value = self._load.value(point.quantity) if held is None else Decimal(held)
        for primary, secondary in self._plates(point):
            value = WIDE.divide(WIDE.multiply(value, secondary), primary)
        return WIDE.divide(value, self._format(point).step)

    def _count(self, point: Dlt645Point) -> int:
        form = self._format(point)
        whole = int(self._wanted(point).to_integral_value(ROUND_HALF_EVEN))
        if re.fullmatch("00.{6}|9...", point.at.id) and not form.signed and whole > _greatest(form):
            return whole % (_greatest(form) + 1)  # an energy counter begins again at 0
        return min(max(whole, self._least(form)), _greatest(form))

    @staticmethod
    def _least(form: Format) -> int:
        return -_greatest(form) if form.signed else 0

    # --- data of identifiers --------------------------------------------------------------------------------

    def _told(self, point: Dlt645Point) -> bytes:
        form = self._format(point)
        if self._held.get(point.quantity) == MISSING:
            return b"\xff" * form.size
        count = self._count(point)
        digits = bytearray(bytes.fromhex(f"{abs(count):0{2 * form.count}d}"))
        if count < 0:
            digits[0] |= 0x80
        when = bytes.fromhex("2603011015")[::-1] if form.size == 8 else bytes(form.size - form.count)
        return bytes(digits[::-1]) + when

    def _watched(self, watch: Dlt645Watch) -> bytes:
        """The data of an identifier that is no quantity. Raises NotFitting."""
        item = watch.at.item
        length = item.value if item else 1
        usual = watch.expect[0] if watch.expect else "1"
        text = self._held.get(watch.name) or {"address": self.declared.address, "meter_number": self.serial}.get(
            watch.name, usual
        )
        if not re.fullmatch(f"[0-9]{{1,{2 * length}}}", text):
            raise NotFitting("serial" if watch.name == "meter_number" and watch.name not in self._held else watch.name, text)
        data = bytes.fromhex(text.zfill(2 * length))[::-1]
        return bytes(watch.at.offset) + data + bytes((item.size if item else length) - watch.at.offset - length)

    def _data(self, identifier: str) -> bytes | None:
        """What the meter has under an identifier; None: nothing."""
        point = next((point for point in self.model.points if point.at.id == identifier), None)
        if point:
            return self._told(point)
        watch = next((watch for watch in self._watches.values() if watch.at.id == identifier), None)
        if watch:
            return self._watched(watch)
        if identifier not in self.model.dlt645.blocks:
            return None
        members = [self._data(member) for member in _members(identifier)]
        while members and members[-1] is None:
            members.pop()  # a meter with four tariffs sends four
        width = next((len(data) for data in members if data is not None), 0)
        return b"".join(b"\xff" * width if data is None else data for data in members) or None

    # --- requests -------------------------------------------------------------------------------------------

    def answer(self, request: bytes) -> bytes | None:
        """The answer to a whole request frame; None where it is for another meter."""
        frame = request.lstrip(b"\xfe")
        asked = frame[1:7][::-1].hex().upper()
        pairs = zip(re.findall("..", asked), re.findall("..", self.declared.address), strict=True)
        if not all(wanted in ("AA", own) for wanted, own in pairs):
            return None
        self._load.advance(self._clock.now_ns())
        data = bytes((byte - 0x33) % 256 for byte in frame[10:-2])
        return _WAKE + framed(self.declared.address, *self._answered(frame[8], data))

    def _answered(self, control: int, data: bytes) -> tuple[int, bytes]:
        """Control and DATA of an answer."""
        new = self.model.dlt645.edition == 2007
        width = 4 if new else 2
        name, rest = data[:width], data[width:]
        if new and control == 0x13 and not data:
            return 0x93, bytes.fromhex(self.declared.address)[::-1]
        if control == (0x11 if new else 0x01) and len(name) == width:
            whole = self._data(name[::-1].hex().upper())
            self._parts = {} if whole is None else {name: list(self._divided(whole, width))}
            return self._part(control, name, 0)
        if control == (0x12 if new else 0x02) and len(name) == width and len(rest) == new:
            return self._part(control, name, rest[0] if new else 1)
        known = control in ((0x11, 0x12, 0x13) if new else (0x01, 0x02))
        return control | 0xC0, bytes([_NO_SUCH_DATA if known else _NOT_AUTHORISED])

    def _divided(self, whole: bytes, width: int) -> Iterator[bytes]:
        room = self.most_data - width - 1
        return (whole[i : i + room] for i in range(0, len(whole), room))

    def _part(self, control: int, name: bytes, number: int) -> tuple[int, bytes]:
        parts = self._parts.get(name, [])
        if number >= len(parts):
            return control | 0xC0, bytes([_NO_SUCH_DATA])
        more = 0x20 if number + 1 < len(parts) else 0
        sequence = bytes([number]) if control == 0x12 else b""
        if control == 0x02:
            del parts[0]  # the edition of 1997 does not number them: each one comes once
        return control | 0x80 | more, name + parts[number if control != 0x02 else 0] + sequence
