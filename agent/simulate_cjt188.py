"""A simulated CJ/T 188 meter: its data blocks filled with what flows through it, and its answers to read requests.

It has the blocks its model declares, in kWh, kW, m3 and m3/h, with the meter's clock and the status word behind the
fields as the standard draws them. It repeats identifier and sequence number of the request; a block it does not have,
and every function but the two that read, it answers as abnormal. A request to another meter it does not hear.

Written from the standard's frame and tables, not from the program's own reader, so that one can prove the other.

What this file does not know: lines, faults' timing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal

from agent.simulate_instrument import MISSING, Instrument, NotFitting, Now
from config.cjt188 import Cjt188Model, Cjt188Place, Cjt188Point, Cjt188Watch
from config.language import _
from config.plant import Fault, SimulatedMeter
from config.quantity import quantity_of

_SENT = {"kWh": 0x05, "kW": 0x17, "m3": 0x2C, "m3/h": 0x35}  # the unit bytes it sends
_ANY_METER = bytes([0xAA] * 7)
_ANY_TYPE = 0xAA
_CLOCK = 7
_STATUS = 2


class Cjt188Meter(Instrument):
    """A simulated meter at work.

    Attributes:
        declared, model: what the plant file and the meter model say of it.

    Raises:
        KeyError: `start` or `hold` names what the model does not have.
        NotFitting: something does not fit into the model's fields, or the serial number is not the address.
    """

    model: Cjt188Model
    _points: dict[str, Cjt188Point]
    _watches: dict[str, Cjt188Watch]

    def __init__(self, declared: SimulatedMeter, model: Cjt188Model, clock: Now) -> None:
        super().__init__(declared, model, clock)
        kind, _unused, self._digits = declared.address.rpartition("-")
        self._type = int(kind or model.cjt188.meter_type, 16)
        if self._digits == _ANY_METER.hex().upper():
            raise NotFitting("address", self._digits)
        if declared.serial and declared.serial.zfill(14) != self._digits:
            raise NotFitting("serial", declared.serial)
        now = {name for name in self._points if _months_ago(name) is None}
        self._load = self._flowing(now)
        self._settled = {name: self._settlement(name) for name in self._points if name not in now}
        self._hold_declared()
        for name in self._points:
            self._check(name)

    @property
    def serial(self) -> str:
        """The number on its plate, which is the address in its frames: 14 digits."""
        return self._digits

    def truth(self, quantity: str) -> str:
        """The value that a correct reading has now, as digits; `missing`. Raises KeyError."""
        point = self._points[quantity]
        self._load.advance(self._clock.now_ns())
        if self._held.get(quantity) == MISSING:
            return MISSING
        terms = [Decimal(count) * weight for count, (_unused, weight) in zip(self._counts(point), _cells(point), strict=True)]
        return f"{sum(terms, Decimal(0)):f}"

    def _check(self, name: str) -> None:
        try:
            if name in self._points:
                _unused = [_number(cell, count) for count, (cell, _unused) in zip(*self._both(self._points[name]), strict=True)]
            else:
                self._watch_bytes(self._watches[name])
        except (ValueError, ArithmeticError):
            raise NotFitting(name, self._held.get(name) or str(self._wanted(name))) from None

    # --- from values to bytes -------------------------------------------------------------------------------

    def _settlement(self, name: str) -> Decimal:
        """What a counter stood at on a settlement day: so many fiftieths less than at the start, or as the plant says."""
        if name in self.declared.start:
            return Decimal(self.declared.start[name])
        base = name.rpartition(".")[0]
        months = (_months_ago(name) or 0) + 1
        return self._load.value(base) * (50 - min(50, months)) / 50

    def _wanted(self, quantity: str) -> Decimal:
        held = self._held.get(quantity)
        if held is not None and held != MISSING:
            return Decimal(held)
        return self._settled[quantity] if quantity in self._settled else self._load.value(quantity)

    def _counts(self, point: Cjt188Point) -> list[int]:
        """What stands in a point's fields: whole parts in the first ones, the fraction in the last."""
        rest = self._wanted(point.quantity)
        counts = []
        cells = _cells(point)
        rolls = quantity_of(point.quantity).kind == "counter" and point.quantity not in self._held
        for index, (cell, weight) in enumerate(cells):
            last = index == len(cells) - 1
            count = int((rest / weight).to_integral_value("ROUND_HALF_EVEN" if last else "ROUND_FLOOR"))
            rest -= count * weight
            counts.append(count % _capacity(cell) if rolls else count)
        return counts

    def _both(self, point: Cjt188Point) -> tuple[list[int], list[tuple[Cjt188Place, Decimal]]]:
        return self._counts(point), _cells(point)

    def _point_bytes(self, point: Cjt188Point) -> list[tuple[int, bytes]]:
        """Where in the block, and what, for each of a point's fields."""
        made = []
        for count, (cell, _unused) in zip(*self._both(point), strict=True):
            number = b"\xff" * cell.bytes if self._held.get(point.quantity) == MISSING else _number(cell, count)
            unit = bytes([_SENT[point.unit]]) if cell.unit != "none" else b""
            made.append((cell.first, unit + number if cell.unit == "in_front" else number + unit))
        return made

    def _watch_bytes(self, watch: Cjt188Watch) -> bytes:
        text = self._held.get(watch.name, "")
        if text == MISSING:
            return b"\xff" * watch.at.bytes
        if watch.at.type == "clock":
            return self._now(watch.at)
        if watch.at.type == "hex":
            data = bytes.fromhex(text or "00" * watch.at.bytes)
            if len(data) != watch.at.bytes:
                raise ValueError(_("{text} has not {bytes} bytes", text=text, bytes=watch.at.bytes))
            return data
        count = Decimal(text or (watch.expect[0] if watch.expect else "0")) / watch.scale
        low = int((watch.at.bits or "0").partition("-")[0])
        return _number(watch.at, int(count) << low)

    def _now(self, at: Cjt188Place | None = None) -> bytes:
        moment = datetime.fromtimestamp(self._clock.now_ns() / 1e9, UTC)
        data = bytes.fromhex(moment.strftime("%Y%m%d%H%M%S"))
        return data if at and at.order == "high_first" else data[::-1]

    def _block(self, identifier: str, size: int) -> bytes:
        """A data block: what its maker's drawing leaves open is 0, the clock stands in front of the status word."""
        image = bytearray(size)
        if size > _CLOCK + _STATUS:
            image[-_CLOCK - _STATUS : -_STATUS] = self._now()
        for point in self._points.values():
            if point.at.identifier.upper() == identifier:
                for first, data in self._point_bytes(point):
                    image[first : first + len(data)] = data
        for watch in self._watches.values():
            if watch.at.identifier.upper() == identifier:
                data = self._watch_bytes(watch)
                for index, byte in enumerate(data):
                    image[watch.at.first + index] = image[watch.at.first + index] | byte if watch.at.type == "bits" else byte
        return bytes(image)

    # --- requests -------------------------------------------------------------------------------------------

    def answer(self, request: bytes) -> bytes | None:
        """What it says to a complete request frame; None: it is not meant."""
        if request[1] not in (self._type, _ANY_TYPE) or request[2:9] not in (self._own_address(), _ANY_METER):
            return None
        control, data = request[9], request[11:-2]
        if control == 1 and len(data) == 3:
            named = self._identifier(data[:2])
            lengths = {name.upper(): length for name, length in self.model.cjt188.lengths.items()}
            if named in lengths:
                self._load.advance(self._clock.now_ns())
                return self._frame(0x81, data + self._block(named, lengths[named] - len(data)))
        if control == 3 and len(data) == 3 and self._identifier(data[:2]) == "810A":
            return self._frame(0x83, data)
        return self._frame(0xC0 | control, data[2:3] + b"\0\0")

    def _identifier(self, data: bytes) -> str:
        written = data if self.model.cjt188.identifier_order == "high_first" else data[::-1]
        return written.hex().upper()

    def _own_address(self) -> bytes:
        return bytes(int(self._digits[at : at + 2], 16) for at in range(12, -1, -2))

    def _frame(self, control: int, data: bytes) -> bytes:
        return b"\xfe\xfe" + _closed(bytes([0x68, self._type]) + self._own_address() + bytes([control, len(data)]) + data)


def _months_ago(quantity: str) -> int | None:
    """0 for the latest settlement day, 1 for the one a month ago; None for what is measured now."""
    last = quantity.rpartition(".")[2]
    return int(last[1:]) if "." in quantity and last[:1] == "m" and last[1:].isdecimal() else None


def _cells(point: Cjt188Point) -> list[tuple[Cjt188Place, Decimal]]:
    """A point's fields, and what one count of each is worth in the quantity's unit."""
    parts = [(point.at, point.scale), *((part.at, part.scale) for part in point.plus)]
    made = []
    for at, scale in parts:
        sent = {code.upper(): factor for code, factor in at.units.items()}.get(f"{_SENT.get(point.unit, 0):02X}", Decimal(1))
        made.append((at, Decimal(1).scaleb(-at.decimals) * (sent if at.unit != "none" else 1) * scale))
    return made


def _capacity(at: Cjt188Place) -> int:
    """How many counts a field has."""
    whole: int = 10 ** (2 * at.bytes) if at.type == "bcd" else 256**at.bytes
    return whole


def _number(at: Cjt188Place, count: int) -> bytes:
    """A count as the field's bytes. Raises ValueError where it does not fit."""
    room = _capacity(at) if not at.signed else _capacity(at) * 8 // 10 if at.type == "bcd" else _capacity(at) // 2
    if (count < 0 and not at.signed) or abs(count) >= room:
        raise ValueError(_("{count} does not fit into {bytes} bytes", count=count, bytes=at.bytes))
    if at.type == "bcd":
        data = bytearray.fromhex(f"{abs(count):0{2 * at.bytes}d}")
        data[0] |= 0x80 if count < 0 else 0
    else:
        data = bytearray((count % _capacity(at)).to_bytes(at.bytes, "big"))
    return bytes(data) if at.order == "high_first" else bytes(reversed(data))


# --- frames on the line ---------------------------------------------------------------------------------------


def _closed(body: bytes) -> bytes:
    """A frame with its sum and its end."""
    return body + bytes([sum(body) % 256, 0x16])


def take(buffer: bytearray) -> bytes | None:
    """Removes and returns the first complete request frame in the buffer, with the noise in front of it; None: none yet."""
    for start, byte in enumerate(buffer):
        end = start + 13 + buffer[start + 10] if byte == 0x68 and start + 10 < len(buffer) else len(buffer) + 1
        if end <= len(buffer):
            frame = bytes(buffer[start:end])
            if frame[9] < 0x80 and _closed(frame[:-2]) == frame:
                del buffer[:end]
                return frame
    return None


def _changed(change: Callable[[bytearray, Fault], None]) -> Callable[[bytes, bytes, Fault], bytes]:
    """An answer with something changed in it, its length and sum put right again."""

    def made(request: bytes, answer: bytes, fault: Fault) -> bytes:
        start = answer.index(0x68)
        frame = bytearray(answer[start:-2])
        change(frame, fault)
        frame[10] = len(frame) - 11
        return answer[:start] + _closed(bytes(frame))

    return made


def _abnormal(frame: bytearray, fault: Fault) -> None:
    sequence = frame[13]
    frame[9] |= 0x40
    frame[11:] = bytes([sequence, fault.code, 0])


def _other_meter(frame: bytearray, fault: Fault) -> None:
    frame[2] = 0x01 if frame[2] == 0x99 else frame[2] + (7 if frame[2] % 16 == 9 else 1)


def _other_function(frame: bytearray, fault: Fault) -> None:
    frame[9] ^= 0x02


def _short_data(frame: bytearray, fault: Fault) -> None:
    del frame[max(14, len(frame) - (fault.count or 1)) :]


FAULTS: Mapping[str, Callable[[bytes, bytes, Fault], bytes]] = {
    "exception": _changed(_abnormal),
    "wrong_unit": _changed(_other_meter),
    "wrong_function": _changed(_other_function),
    "short_data": _changed(_short_data),
}
