"""A simulated IEC 62056-21 meter: a readout made of its model's lines, and the conversation that tells it (modes A to D).

It answers the sign-on without an address and the one with its own, whatever zeros stand in front, with its
identification. In mode C it then waits for the option select and tells the readout at the speed that it offers, at 300
baud where another one is asked for. In mode A the readout follows the identification at once, in mode B at the other speed that
it names. In mode D nothing is asked: `push` is what it tells over and over.

Lines stand in the order of the model, with units, one past value behind every counter and a time behind every maximum.
A request whose characters carry a parity bit is answered with parity bits. What asks for more than the readout is
answered with NAK. Written from the standard, not from the program's own reader, so that one can prove the other.

What this file does not know: ports and time; when a fault strikes.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from decimal import Context, Decimal
from typing import NamedTuple

from agent.simulate_instrument import MISSING, Instrument, Now
from config.iec62056_21 import Iec62056Model, Iec62056Point, Iec62056Watch
from config.plant import Fault, SimulatedMeter
from config.quantity import quantity_of

Answered = bytes | tuple[bytes, int] | list[bytes | tuple[bytes, int]] | None
"""What leaves a meter; with the speed where it is another one; one after the other, where it changes in between."""
NAK = b"\x15"
_SPEEDS = {"0": 300, "1": 600, "2": 1200, "3": 2400, "4": 4800, "5": 9600, "6": 19200}
_SPEEDS_B = {"A": 600, "B": 1200, "C": 2400, "D": 4800, "E": 9600, "F": 19200}
_OFFERED = {"A": "X", "B": "E", "C": "5", "D": "3"}  # the character Z; X is none of modes B and C
_REQUEST = re.compile(rb"/\?([^!/\r\n]*)!\r\n|\x06([ -~])([ -~])([ -~])\r\n")
_BEGINNING = re.compile(rb"[/\x06]")
_WIDE = Context(prec=60)
_QUOTIENT = Context(prec=34)


class _Sent(NamedTuple):
    """How a quantity is told: its unit, what one of it is in the quantity's unit, digits in front of and behind the point."""

    unit: str
    worth: Decimal
    whole: int
    fraction: int


def _table(text: str) -> dict[str, _Sent]:
    rows = (line.split() for line in text.strip().splitlines())
    return {
        name: _Sent(unit.strip("-"), Decimal(worth), int(whole), int(fraction)) for name, unit, worth, whole, fraction in rows
    }


_USUAL = _table(
    """
kWh kWh 1 7 2
kvarh kvarh 1 7 2
kVAh kVAh 1 7 2
W kW 1000 3 3
var kvar 1000 3 3
VA kVA 1000 3 3
V V 1 3 1
A A 1 3 2
1 - 1 1 3
m3 m3 1 6 3
m3/h m3/h 1 3 3
kW kW 1 4 1
h h 1 7 0
Cel C 1 3 1
"""
)
_OTHER = _table(
    """
W W 1 6 0
Wh Wh 0.001 9 0
MWh MWh 1000 4 3
"""
)


class Iec62056Meter(Instrument):
    """A simulated meter at work.

    Attributes:
        declared, model: what the plant file and the meter model say of it.

    Raises:
        KeyError: `start` or `hold` names what the model does not have.
        NotFitting: a value that has no room in its line.
    """

    model: Iec62056Model
    _points: dict[str, Iec62056Point]
    _watches: dict[str, Iec62056Watch]

    def __init__(self, declared: SimulatedMeter, model: Iec62056Model, clock: Now) -> None:
        super().__init__(declared, model, clock)
        self._load = self._flowing(self._points)
        self._named = False  # whether it has told its identification and waits for the option select
        self._hold_declared()

    # --- what it holds --------------------------------------------------------------------------------------

    @property
    def serial(self) -> str:
        """The number in its readout; one is made up from its id if it was given none."""
        made_up = str(10_000_000 + zlib.crc32(self.declared.id.encode()) % 90_000_000)
        return self._held.get("serial") or self.declared.serial or made_up

    def truth(self, quantity: str) -> str:
        """The value that a correct reading has now, as digits; `missing`. Raises KeyError."""
        point = self._points[quantity]
        self._load.advance(self._clock.now_ns())
        if self._held.get(quantity) == MISSING:
            return MISSING
        number = Decimal(self._number(point)) * self._sent(point).worth * (Decimal(1) if point.scale == 1 else point.scale)
        for primary, secondary in self._plates(point):
            number = _QUOTIENT.divide(number * primary, secondary) if secondary != 1 else number * primary
        return format(abs(number) if number.is_zero() else number, "f")

    def _known(self, name: str) -> None:
        if name != "serial":
            super()._known(name)

    def _check(self, name: str) -> None:
        value = self._held[name]
        if name in self._points and value != MISSING:
            point = self._points[name]
            if len(self._number(point).lstrip("-").partition(".")[0]) > self._sent(point).whole:
                raise ValueError(value)
        elif not re.fullmatch(r"[^()*/!\x00-\x1f\x7f-\U0010ffff]{0,32}", value):
            raise ValueError(value)

    # --- from values to lines -------------------------------------------------------------------------------

    def _sent(self, point: Iec62056Point) -> _Sent:
        """How a point is told: in the unit its model expects where that is a usual one."""
        usual = _USUAL.get(point.unit, _Sent(point.unit, Decimal(1), 6, 2))
        return _OTHER.get(point.at.unit or "", usual) if point.unit in ("W", "kWh") else usual

    def _number(self, point: Iec62056Point) -> str:
        """What stands in a point's brackets, zeros in front; a counter that is full begins again at 0."""
        _unused, worth, whole, fraction = self._sent(point)
        held = self._held.get(point.quantity)
        wanted = self._load.value(point.quantity) if held in (None, MISSING) else Decimal(str(held))
        for primary, secondary in self._plates(point):
            wanted = _WIDE.divide(_WIDE.multiply(wanted, secondary), primary)
        number = _WIDE.divide(wanted, worth * point.scale)
        if quantity_of(point.quantity).kind == "counter" and held in (None, MISSING):
            number = _WIDE.remainder(number, Decimal(10) ** whole)
        made = number.quantize(Decimal(1).scaleb(-fraction), rounding="ROUND_DOWN" if held is None else "ROUND_HALF_EVEN")
        text = format(abs(made), f"0{whole + (fraction > 0) + fraction}.{fraction}f")
        return f"-{text}" if made < 0 else text

    def _lines(self) -> Iterator[str]:
        self._load.advance(self._clock.now_ns())
        for name, watch in self._watches.items():
            text = self._held.get(name, watch.expect[0] if watch.expect else "00000000")
            yield f"{watch.at.obis}({'' if text == MISSING else text})"
        if self.model.iec62056_21.number:
            yield f"{self.model.iec62056_21.number[0]}({self.serial})"
        for point in self.model.points:
            yield from self._told(point)

    def _told(self, point: Iec62056Point) -> Iterator[str]:
        code, unit = point.at.obis, self._sent(point).unit
        value = "" if self._held.get(point.quantity) == MISSING else self._number(point) + (f"*{unit}" if unit else "")
        front = "(2611191145)" * (point.at.group - 1)
        yield f"{code}{front}({value})" + ("(2611191145)" if ".6." in code and point.at.group == 1 else "")
        if quantity_of(point.quantity).kind == "counter" and "*" not in code and self.model.iec62056_21.mode != "D":
            yield f"{code}*01({'0' * self._sent(point).whole})"

    def _identification(self) -> bytes:
        limits = self.model.iec62056_21
        maker = limits.manufacturer[0] if limits.manufacturer else "SIM"
        offered = next((z for z, speed in _SPEEDS.items() if speed == limits.fixed_baud), _OFFERED[limits.mode])
        return f"/{maker}{_OFFERED[limits.mode] if limits.mode != 'C' else offered}SIMULATED\r\n".encode("ascii")

    def _readout(self) -> bytes:
        return _summed("".join(f"{line}\r\n" for line in self._lines()).encode("ascii") + b"!\r\n")

    # --- conversations --------------------------------------------------------------------------------------

    def answer(self, request: bytes) -> Answered:
        """What it answers, with the speed it answers at where that is another one; None: nothing."""
        parity = any(byte & 0x80 for byte in request)
        found = _REQUEST.fullmatch(_plain(request))
        if found is None:
            return None
        if found[1] is not None:
            return self._sign_on(found[1].decode("ascii"), parity)
        waiting, self._named = self._named, False
        if not waiting:
            return None
        if found[2] != b"0" or found[4] != b"0":
            return NAK
        made = _bits(self._readout(), parity)
        offered = self._identification()[4:5]
        if self.model.iec62056_21.fixed_baud:
            return made
        return made, _SPEEDS[found[3].decode()] if found[3] == offered else 300

    def _sign_on(self, address: str, parity: bool) -> Answered:
        mine = not address or address.lstrip("0") == self.declared.address.lstrip("0")
        mode = self.model.iec62056_21.mode
        self._named = mine and mode == "C"
        if not mine or mode == "D":
            return None
        named = self._identification()
        if mode == "B":
            return [_bits(named, parity), (_bits(self._readout(), parity), _SPEEDS_B[_OFFERED["B"]])]
        return _bits(named + (b"" if mode == "C" else self._readout()), parity)

    def push(self) -> bytes:
        """What a meter of mode D tells without being asked."""
        return self._identification() + b"\r\n" + "".join(f"{line}\r\n" for line in self._lines()).encode("ascii") + b"!\r\n"


def unasked(meter: Iec62056Meter) -> bytes | None:
    """What a meter tells by itself now; None where it waits to be asked."""
    return meter.push() if meter.model.iec62056_21.mode == "D" else None


def take(buffer: bytearray) -> bytes | None:
    """Removes and returns the first complete request in a buffer, noise in front of it dropped; None: none yet."""
    text = _plain(buffer)
    found = _REQUEST.search(text)
    if found:
        request = bytes(buffer[found.start() : found.end()])
        del buffer[: found.end()]
        return request
    begins = _BEGINNING.search(text)
    del buffer[: begins.start() if begins else len(buffer)]
    return None


def _plain(data: bytes | bytearray) -> bytes:
    return bytes(byte & 0x7F for byte in data)


def _bits(text: bytes, parity: bool) -> bytes:
    """The same with even parity in bit 7 where the line carries it."""
    if not parity:
        return text
    return bytes(byte | (byte.bit_count() % 2) << 7 for byte in text)


def _summed(block: bytes) -> bytes:
    """A block between STX and ETX with its block check behind it."""
    check = 0
    for byte in block + b"\x03":
        check ^= byte
    return b"\x02" + block + b"\x03" + bytes([check])


# --- faults that need the protocol's frames -----------------------------------------------------------------


def _error(request: bytes, answer: bytes, fault: Fault) -> bytes:
    """An error message in place of the answer."""
    return _summed(f"(ERR{fault.code:02d})".encode("ascii"))


def _other_meter(request: bytes, answer: bytes, fault: Fault) -> bytes:
    """Another maker's identification; a readout whose every 8 is a 9, with the right block check."""
    if answer.startswith(b"/"):
        return b"/ZZZ" + answer[4:]
    return _summed(answer[1:-2].replace(b"8", b"9"))


def _other_kind(request: bytes, answer: bytes, fault: Fault) -> bytes:
    """A readout in place of an identification and the other way round."""
    return _summed(b"0.0.0(00000000)\r\n!\r\n") if answer.startswith(b"/") else b"/SIM5SIMULATED\r\n"


FAULTS: Mapping[str, Callable[[bytes, bytes, Fault], bytes]] = {
    "exception": _error,
    "wrong_unit": _other_meter,
    "wrong_function": _other_kind,
}
