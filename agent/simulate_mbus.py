"""A simulated M-Bus meter: telegrams filled with what flows through it, and its answers to requests.

It has the records its model declares, counters as eight decimal digits and everything else as binary numbers, in steps
that have room for what it starts with; where one telegram has no room for all of them, it says that more follow. A whole
conversation tells the values of its first telegram. It keeps the frame count bit as EN 13757-2 asks: the same bit as
before repeats the last telegram. It is selected by its number, maker, version and medium, wildcards included.

What this file does not know: lines, faults' timing, and the program's own reader.
"""

from __future__ import annotations

import zlib
from decimal import Decimal

from agent.simulate_instrument import MISSING, Instrument, NotFitting, Now
from agent.simulate_mbus_frames import ACKNOWLEDGED, MOST_RECORD_BYTES, Form, forms_of, long_frame, text_record
from agent.simulate_registers import WIDE, quotient
from config.mbus import MbusAt, MbusModel, MbusPoint, MbusWatch
from config.plant import SimulatedMeter
from config.quantity import quantity_of

_TEXTS = ("identification", "model_version", "parameter_set", "customer_location", "customer")
_MEDIA = {"electricity": 2, "gas": 3, "heat": 4, "steam": 5, "water": 7, "cooling": 0x0A, "oil": 1}
_SELECTED = 0xFD


class MbusMeter(Instrument):
    """A simulated meter at work.

    Attributes:
        declared, model: what the plant file and the meter model say of it.

    Raises:
        KeyError: `start` or `hold` names what the model does not have.
        NotFitting: something has no room in its record, or the serial number is not the one of its address.
    """

    model: MbusModel
    _points: dict[str, MbusPoint]
    _watches: dict[str, MbusWatch]

    def __init__(self, declared: SimulatedMeter, model: MbusModel, clock: Now) -> None:
        super().__init__(declared, model, clock)
        self._load = self._flowing(self._points)
        self._number = self._own_number()
        self._forms = {name: self._chosen(point) for name, point in self._points.items()}
        self._telegrams: list[bytes] = []
        self._last: dict[int, tuple[int, int]] = {}  # by address: the last frame count bit, and which telegram it fetched
        self._is_selected = False
        self._accessed = 0
        self._hold_declared()
        for name in (*self._points, *self._watches):
            self._check(name)

    # --- what it holds --------------------------------------------------------------------------------------

    @property
    def serial(self) -> str:
        """The number on its plate and in its telegrams: eight digits."""
        return self._number

    def truth(self, quantity: str) -> str:
        """The value that a correct reading has now, as digits; `missing`. Raises KeyError."""
        point = self._points[quantity]
        self._load.advance(self._clock.now_ns())
        count = self._count(point)
        if count is None:
            return MISSING
        factor = f"{(self._forms[quantity].worth * point.scale).normalize():f}"
        value = WIDE.multiply(Decimal(count), Decimal(factor))
        for primary, secondary in self._plates(point):
            value = quotient(WIDE.multiply(value, primary), secondary)
        return f"{value:f}"

    def _check(self, name: str) -> None:
        try:
            if name in self._points:
                self._forms[name].data(self._count(self._points[name]))
            else:
                self._watched(self._watches[name])
        except (ValueError, ArithmeticError):
            raise NotFitting(name, self._held.get(name) or str(self._load.value(name))) from None

    def _own_number(self) -> str:
        address = self.declared.address
        number = self.declared.serial or (address[:8] if len(address) >= 8 else "")
        made = number or str(10_000_000 + zlib.crc32(self.declared.id.encode()) % 90_000_000)
        if not (made.isdecimal() and len(made) <= 8) or (len(address) >= 8 and made.zfill(8) != address[:8]):
            raise NotFitting("serial", made)
        return made.zfill(8)

    # --- from values to records -----------------------------------------------------------------------------

    def _chosen(self, point: MbusPoint) -> Form:
        """The finest way to write a point that has room for ten times its present value."""
        forms = forms_of(point.at, quantity_of(point.quantity).kind == "counter", point.unit == "kW")
        if not forms:
            raise NotFitting(point.quantity, point.at.kind)
        for form in forms:
            if abs(self._wanted(point)) * 10 < form.worth * point.scale * (10**8 if form.digits else 2**31):
                return form
        return forms[-1]

    def _wanted(self, point: MbusPoint) -> Decimal:
        """What flows, on the side of the transformers that the meter counts."""
        held = self._held.get(point.quantity)
        wanted = self._load.value(point.quantity) if held is None else Decimal(held)
        for primary, secondary in self._plates(point):
            wanted = quotient(WIDE.multiply(wanted, secondary), primary)
        return wanted

    def _count(self, point: MbusPoint) -> int | None:
        """What stands in a point's record; counters roll over; None: not available."""
        if self._held.get(point.quantity) == MISSING:
            return None
        form = self._forms[point.quantity]
        count = int((self._wanted(point) / (form.worth * point.scale)).to_integral_value())
        return count % 10**8 if form.digits and point.quantity not in self._held else count

    def _watched(self, watch: MbusWatch) -> bytes:
        """A watched record; nothing for a field of the header."""
        at, text = watch.at, self._watch_text(watch)
        if at.kind.startswith("header_"):
            return b""
        if at.kind in _TEXTS:
            return text_record(at, text)
        (form,) = forms_of(at, at.kind == "fabrication_number", kilo=False)
        return form.data(None if text == MISSING else int(Decimal(text) / watch.scale))

    def _watch_text(self, watch: MbusWatch) -> str:
        usual = self.serial if watch.at.kind in ("header_number", "fabrication_number") else "1"
        return self._held.get(watch.name) or (watch.expect[0] if watch.expect else usual)

    def _records(self) -> list[bytes]:
        """All records, those that are told apart only by their order in that order, a zero where the model leaves one out."""
        counted: dict[MbusAt, dict[int, bytes]] = {}
        for name, point in self._points.items():
            bare = point.at.model_copy(update={"nth": 0})
            counted.setdefault(bare, {})[max(1, point.at.nth)] = self._forms[name].data(self._count(point))
        made = [self._watched(watch) for watch in self._watches.values()]
        for rows in counted.values():
            first = next(iter(rows.values()))
            made += [rows.get(nth, first[:-4] + bytes(4)) for nth in range(1, max(rows) + 1)]
        return [record for record in made if record]

    # --- telegrams ------------------------------------------------------------------------------------------

    def _own(self) -> bytes:
        """Number, maker, version and medium as they stand in a header."""
        header = self.model.mbus.header
        letters = (header.manufacturer or ("MSL",))[0]
        maker = sum((ord(letter) - 64) << shift for letter, shift in zip(letters, (10, 5, 0), strict=True))
        version, medium = (header.version or (1,))[0], (header.medium or (_MEDIA.get(self.model.medium, 0),))[0]
        own = bytes.fromhex(self._number)[::-1] + maker.to_bytes(2, "little") + bytes([version, medium])
        wanted = bytes.fromhex(self.declared.address[8:].rjust(16, "F"))[-4:]
        told = [own[4 + at] if byte == 0xFF else byte for at, byte in enumerate(wanted)]
        return own[:4] + bytes(told)

    def _status(self) -> int:
        status = next((watch for watch in self._watches.values() if watch.at.kind == "header_status"), None)
        return int(self._held.get(status.name, "0")) if status else 0

    def _compose(self) -> None:
        """Writes all telegrams anew with the present values."""
        self._load.advance(self._clock.now_ns())
        bodies = [b""]
        for record in self._records():
            if len(bodies[-1]) + len(record) > MOST_RECORD_BYTES:
                bodies.append(b"")
            bodies[-1] += record
        own = 0 if len(self.declared.address) >= 8 else int(self.declared.address)
        self._telegrams = []
        for index, body in enumerate(bodies):
            self._accessed = (self._accessed + 1) % 256
            head = bytes([0x08, own, 0x72]) + self._own() + bytes([self._accessed, self._status(), 0, 0])
            self._telegrams.append(long_frame(head + body + (b"\x1f" if index < len(bodies) - 1 else b"")))

    # --- requests -------------------------------------------------------------------------------------------

    def answer(self, request: bytes) -> bytes | None:
        """What it says to a complete request frame; None: it is not meant."""
        if request[0] == 0x68:
            return self._select(request) if request[4:7] in (b"\x73\xfd\x52", b"\x53\xfd\x52") else None
        control, address = request[1], request[2]
        if not self._hears(address):
            return None
        if control == 0x40:
            self._last.pop(address, None)
            self._is_selected = self._is_selected and address != _SELECTED
            return ACKNOWLEDGED
        return self._tell(control, address) if control in (0x5B, 0x7B) else None

    def _hears(self, address: int) -> bool:
        return self._is_selected if address == _SELECTED else str(address) == self.declared.address

    def _select(self, request: bytes) -> bytes | None:
        wanted, own = request[7:15], self._own()
        number = zip(wanted[:4].hex(), own[:4].hex(), strict=True)
        rest = ((4, 6), (6, 7), (7, 8))
        self._is_selected = len(wanted) == 8 and (
            all(digit in ("f", mine) for digit, mine in number)
            and all(wanted[first:end] in (own[first:end], b"\xff" * (end - first)) for first, end in rest)
        )
        self._last.pop(_SELECTED, None)
        return ACKNOWLEDGED if self._is_selected else None

    def _tell(self, control: int, address: int) -> bytes:
        """The telegram that a request for data is for: the last one again for the same frame count bit, else the next one."""
        bit, index = self._last.get(address, (-1, -1))
        if bit != control & 0x20:
            index = index + 1 if 0 <= index < len(self._telegrams) - 1 else 0
            if index == 0:
                self._compose()
        self._last[address] = control & 0x20, index
        return self._telegrams[index]
