"""One simulated meter: its register map filled with what flows through it, and its answers to requests (PDUs).

It answers as its model says the meter does: declared registers, and 0 in holes of at most `max_gap` between them;
everything else is refused with an exception (Application Protocol V1.1b3, section 7). Function 43/14 (section 6.21)
tells maker, product and revision.

What this file does not know: addresses on a line, framing, faults.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from decimal import Decimal

from agent.simulate_frames import IDENTIFY, identification
from agent.simulate_instrument import MISSING, Instrument, NotFitting, Now
from agent.simulate_registers import ILLEGAL_FUNCTION, ILLEGAL_VALUE, WIDE, Blocks, Cell, Told, quotient
from config.language import _
from config.modbus import ModbusModel, ModbusPoint, ModbusWatch
from config.plant import SimulatedMeter
from config.quantity import quantity_of
from drivers.formula import plain

_MOST_SHIFT = 30

Key = tuple[int, int, str, str | None]


class Meter(Instrument):
    """A simulated meter at work.

    Attributes:
        declared, model: what the plant file and the meter model say of it.

    Raises:
        KeyError: `start` or `hold` names what the model does not have.
        NotFitting: something does not fit into the model's registers, such as letters in a serial number kept as digits.
    """

    model: ModbusModel
    _points: dict[str, ModbusPoint]
    _watches: dict[str, ModbusWatch]

    def __init__(self, declared: SimulatedMeter, model: ModbusModel, clock: Now) -> None:
        super().__init__(declared, model, clock)
        self._load = self._flowing(self._points)
        self._watched = {watch.name: (watch, Cell.of(watch.at, model.modbus)) for watch in (*model.attest, *model.identity)}
        self._exponents: dict[Key, tuple[Cell, Decimal]] = {}
        self._held |= {name: text for name, text in declared.hold.items() if name in self._watched}
        self._choose_exponents()
        self._told = {point.quantity: self._prepared(point) for point in model.points}
        single = {told.cells[0][0].key: name for name, told in self._told.items() if len(told.cells) == 1}
        self._sums = {
            name: [single[cell.key] for cell, _unused in told.cells]
            for name, told in self._told.items()
            if len(told.cells) > 1 and all(cell.key in single for cell, _unused in told.cells)
        }
        self._within = {
            cell.key: (name, index) for name in self._sums for index, (cell, _unused) in enumerate(self._told[name].cells)
        }
        self._blocks = Blocks(self._cells(), model.modbus)
        self._held |= declared.hold
        for name in (*self._watched, *self._told):
            self._check(name)

    # --- what it holds --------------------------------------------------------------------------------------

    @property
    def serial(self) -> str:
        """The serial number on its plate; a meter that was given none has one made up from its id."""
        cells = [cell for name, (_unused, cell) in self._watched.items() if name.startswith("serial")]
        return self.declared.serial or _made_up(self.declared.id, cells[0] if cells else None)

    def truth(self, quantity: str) -> str:
        """The value that the meter's registers state at this moment, plate ratios applied, in the quantity's unit.

        Digits as a correct reading has them; `missing` while the value is held so. Raises KeyError for a quantity
        that the model does not have.
        """
        told = self._told[quantity]
        self._load.advance(self._clock.now_ns())
        if self._held.get(quantity) == MISSING:
            return MISSING
        return plain(told.stated(self._numbers(told)))

    def _check(self, name: str) -> None:
        """Returns if what the registers of a name have to hold fits. Raises NotFitting."""
        try:
            if name in self._watched:
                self._watch_data(name)
            else:
                list(self._point_data(self._told[name]))
        except (ValueError, ArithmeticError):
            value = self._held.get(name) or (self.serial if name in self._watched else str(self._load.value(name)))
            raise NotFitting(name, value) from None

    # --- from values to registers ---------------------------------------------------------------------------

    def _wanted(self, quantity: str) -> Decimal:
        held = self._held.get(quantity)
        return self._load.value(quantity) if held is None else Decimal(held)

    def _numbers(self, told: Told) -> list[Decimal]:
        """What stands in a point's cells.

        A sum of places that are points of their own, such as tariffs, is split as those say, the last one taking the
        rest; else whole parts stand in the first places and the fraction in the last.
        """
        sum_of = self._sums.get(told.point.quantity)
        if sum_of:
            return self._summands(told, sum_of)
        within = self._within.get(told.cells[0][0].key) if len(told.cells) == 1 else None
        if within:
            whole = self._told[within[0]]
            return [self._summands(whole, self._sums[within[0]])[within[1]]]
        return self._split(told)

    def _summands(self, whole: Told, parts: list[str]) -> list[Decimal]:
        numbers = [self._split(self._told[part])[0] for part in parts]
        if parts[-1] not in self._held:
            rest = self._wanted(whole.point.quantity) - sum(
                self._told[p].stated([n]) for p, n in zip(parts[:-1], numbers, strict=False)
            )
            cell, scale = whole.cells[-1]
            numbers[-1] = cell.nearest(WIDE.divide(WIDE.divide(rest, whole.factor), scale), rolls=True)
        return numbers

    def _split(self, told: Told) -> list[Decimal]:
        counter = told.point.counter
        rolls = quantity_of(told.point.quantity).kind == "counter"
        rest = WIDE.divide(self._wanted(told.point.quantity), told.factor)
        if counter and counter.modulus:
            rest = WIDE.remainder(rest, counter.modulus / told.power)
        numbers = []
        for cell, scale in told.cells[:-1]:
            whole = WIDE.divide(rest, scale).to_integral_value("ROUND_FLOOR")
            numbers.append(cell.nearest(whole, rolls))
            rest = WIDE.subtract(rest, WIDE.multiply(whole, scale))
        cell, scale = told.cells[-1]
        return [*numbers, cell.nearest(WIDE.divide(rest, scale), rolls)]

    def _point_data(self, told: Told) -> Iterator[tuple[Cell, bytes]]:
        if self._held.get(told.point.quantity) == MISSING:
            first = told.cells[0][0]
            yield first, first.missing()
            return
        for (cell, _unused), number in zip(told.cells, self._numbers(told), strict=True):
            yield cell, cell.number(number)

    def _watch_data(self, name: str) -> tuple[Cell, bytes]:
        watch, cell = self._watched[name]
        text = self._held.get(name) or self._watch_text(watch, cell)
        if cell.is_text:
            return cell, cell.text(text)
        number = WIDE.divide(Decimal(text), watch.scale)
        fitting = cell.nearest(number, rolls=False)
        if cell.bounds and fitting != number:
            raise ValueError(_("{text} does not fit the register of {name}", text=text, name=name))
        return cell, cell.number(fitting)

    def _watch_text(self, watch: ModbusWatch, cell: Cell) -> str:
        if watch.name.startswith("serial"):
            return self.serial
        if watch.expect:
            return watch.expect[0]
        plate = {"ct_ratio": self.declared.ct, "vt_ratio": self.declared.vt}.get(watch.name)
        if plate:
            primary, _unused, secondary = plate.partition("/")
            return str(quotient(Decimal(primary), Decimal(secondary or 1)).quantize(watch.scale))
        return "01" if watch.at.type == "hex" else "1"

    # --- preparing the map ----------------------------------------------------------------------------------

    def _cells(self) -> list[Cell]:
        points = [cell for told in self._told.values() for cell, _unused in told.cells]
        return [
            *points,
            *(cell for _unused, cell in self._watched.values()),
            *(cell for cell, _unused in self._exponents.values()),
        ]

    def _prepared(self, point: ModbusPoint) -> Told:
        limits = self.model.modbus
        cells = [(Cell.of(point.at, limits), point.scale)]
        cells += [(Cell.of(part.at, limits), part.scale) for part in point.plus]
        power = Decimal(1)
        if point.exponent:
            _unused, number = self._exponents[Cell.of(point.exponent.at, limits).key]
            power = power.scaleb(int(number) + point.exponent.offset)
        return Told(point, tuple(cells), power, self._plates(point))

    def _choose_exponents(self) -> None:
        """Fixes what the registers with a decimal exponent say: as told by the model, else the finest that has room."""
        fixed = {cell.key: name for name, (watch, cell) in self._watched.items() if watch.expect or name in self._held}
        for point in self.model.points:
            if not point.exponent:
                continue
            cell = Cell.of(point.exponent.at, self.model.modbus)
            if cell.key in fixed:
                watch, _unused = self._watched[fixed[cell.key]]
                number = Decimal(self._held.get(watch.name) or watch.expect[0]) / watch.scale
            else:
                number = max(self._finest(point, cell), self._exponents.get(cell.key, (cell, Decimal(-99)))[1])
            self._exponents[cell.key] = cell, number

    def _finest(self, point: ModbusPoint, cell: Cell) -> Decimal:
        """The least exponent with which ten times the present value still fits."""
        offset = point.exponent.offset if point.exponent else 0
        greatest = (Cell.of(point.at, self.model.modbus).bounds or (0, 10**9))[1]
        least, most = cell.bounds or (-_MOST_SHIFT, _MOST_SHIFT)
        factor = Told(point, (), Decimal(1), self._plates(point)).factor * point.scale
        for number in range(max(least, -_MOST_SHIFT - offset), min(most, _MOST_SHIFT - offset) + 1):
            if 10 * abs(self._load.value(point.quantity)) <= greatest * factor.scaleb(number + offset):
                return Decimal(number)
        return Decimal(most)

    # --- requests -------------------------------------------------------------------------------------------

    def answer(self, request: bytes) -> bytes:
        """The answer to a request, both as PDUs: function code and data, without address and checksum."""
        function = request[0]
        if function in (1, 2, 3, 4):
            if len(request) != 5:
                return _exception(function, ILLEGAL_VALUE)
            address, count = int.from_bytes(request[1:3], "big"), int.from_bytes(request[3:5], "big")
            refusal = self._blocks.refusal(function, address, count)
            return _exception(function, refusal) if refusal else self._read(function, address, count)
        if request[:2] == IDENTIFY and len(request) == 4:
            texts = (self.model.maker, self.model.product, str(self.model.revision))
            return identification(texts, request[2], request[3]) or _exception(function, ILLEGAL_VALUE)
        return _exception(function, ILLEGAL_FUNCTION)

    def _read(self, function: int, address: int, count: int) -> bytes:
        self._load.advance(self._clock.now_ns())
        size = 2 if function in (3, 4) else 1
        image = bytearray(size * count)
        for cell, data in self._data(function, address, address + count):
            first = (cell.at.address - address) * size
            for index, byte in enumerate(data):
                if 0 <= first + index < len(image):
                    image[first + index] |= byte  # fields of one register are laid over each other
        if size == 1:
            image = bytearray(sum(bit << n for n, bit in enumerate(image[i : i + 8])) for i in range(0, count, 8))
        return bytes([function, len(image)]) + image

    def _data(self, function: int, address: int, end: int) -> Iterator[tuple[Cell, bytes]]:
        """The cells that reach into a read, with their bytes. Each place once, also where two points share it."""
        done: set[Key] = set()

        def wanted(cell: Cell) -> bool:
            inside = cell.function == function and cell.at.address < end and address < cell.end and cell.key not in done
            if inside:
                done.add(cell.key)
            return inside

        for cell, number in self._exponents.values():
            if wanted(cell):
                yield cell, cell.number(number)
        for name, (_unused, cell) in self._watched.items():
            if wanted(cell):
                yield self._watch_data(name)
        for told in sorted(self._told.values(), key=lambda told: self._held.get(told.point.quantity) != MISSING):
            if any(cell.function == function and cell.at.address < end and address < cell.end for cell, _unused in told.cells):
                yield from ((cell, data) for cell, data in self._point_data(told) if wanted(cell))


def _exception(function: int, code: int) -> bytes:
    return bytes([(function | 0x80) & 0xFF, code])


def _made_up(name: str, cell: Cell | None) -> str:
    """A serial number for a meter that was given none: always the same for one id, and fitting its register."""
    number = 10_000_000 + zlib.crc32(name.encode()) % 90_000_000
    if cell is None:
        return str(number)
    if cell.is_text:
        return str(number)[: 2 * cell.words]
    return str(number % ((cell.bounds or (0, 16_000_000))[1] + 1))
