"""Register maps of Modbus meters: which reads fetch a set of points, and where a point stands in their answers.

Pure arithmetic on addresses, counted from 0 as on the wire. Points are fetched in the fewest reads that the
meter's limits allow; the parts of one value (integer and fraction, mantissa and exponent) that lie side by side
are never split over two reads, since the counter may move in between.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

from config.language import _
from config.modbus import At, ModbusLimits, ModbusModel, ModbusPoint, ModbusWatch, Span
from config.model import Point, Watch
from drivers import Target
from drivers.factor import times
from drivers.formula import plain

_WORDS = {"u8": 1, "i8": 1, "u16": 1, "i16": 1, "bit": 1, "u32": 2, "i32": 2, "f32": 2, "u48": 3, "u64": 4, "i64": 4, "f64": 4}
_DEFAULT_WORDS = {"bcd": 2, "mod10": 4, "ascii": 1, "hex": 1}
_ORDERS = {("big", "big"): "be", ("little", "big"): "ws", ("big", "little"): "bs", ("little", "little"): "le"}
_MAX_BITS = 2000


@dataclass(frozen=True, slots=True, order=True)
class Read:
    """One read: function 1 to 4, first address, count of registers (of bits for functions 1 and 2)."""

    function: int
    address: int
    count: int

    @property
    def end(self) -> int:
        """The first address behind it."""
        return self.address + self.count

    def covers(self, other: Read) -> bool:
        """Whether it fetches all of another read."""
        return self.function == other.function and self.address <= other.address and other.end <= self.end


def limits_of(target: Target) -> ModbusLimits:
    """What a Modbus meter bears."""
    return cast("ModbusModel", target.model).modbus


def words_of(at: At) -> int:
    """How many registers (or bits) a place spans."""
    return _WORDS.get(at.type) or at.count or _DEFAULT_WORDS[at.type]


def _read_of(at: At, limits: ModbusLimits) -> Read:
    return Read(at.function or limits.function, at.address, words_of(at))


def _places(point: Point | Watch) -> list[At]:
    if not isinstance(point, ModbusPoint):
        return [cast("ModbusWatch", point).at]
    exponent = [point.exponent.at] if point.exponent else []
    return [point.at, *(part.at for part in point.plus), *exponent]


def _whole(limits: ModbusLimits, read: Read) -> Read:
    """The read widened to the model's block around it, or to even addresses, where the meter asks for that."""
    for block in _blocks(limits, read):
        if block.covers(read):
            return block
    if limits.align == 2 and read.function in (3, 4) and not _alone(limits, read):
        first = read.address - read.address % 2
        even = Read(read.function, first, read.end + read.end % 2 - first)
        return read if _forbidden(limits, even) else even
    return read


def _spans(spans: Iterable[Span], read: Read) -> Iterator[Read]:
    """Those of the model's spans that share an address with a read."""
    for span in spans:
        block = Read(span.function or read.function, span.address, span.count)
        if block.function == read.function and block.address < read.end and read.address < block.end:
            yield block


def _blocks(limits: ModbusLimits, read: Read) -> list[Read]:
    return list(_spans(limits.whole, read))


def _forbidden(limits: ModbusLimits, read: Read) -> bool:
    return any(True for _unused in _spans(limits.forbid, read))


def _alone(limits: ModbusLimits, read: Read) -> bool:
    return any(read.address <= address < read.end for address in limits.single)


def _joined(limits: ModbusLimits, gap: int, one: Read, other: Read) -> Read | None:
    """Both reads as one where the meter bears it, else None. `other` does not begin before `one`."""
    both = Read(one.function, one.address, max(one.end, other.end) - one.address)
    if both == one and one.function == other.function:
        return one
    most = limits.max_registers if one.function in (3, 4) else _MAX_BITS
    if (
        one.function != other.function
        or other.address - one.end > gap
        or both.count > most
        or _alone(limits, both)
        or _forbidden(limits, both)
        or _blocks(limits, both)
    ):
        return None
    return both


def _fewest(limits: ModbusLimits, gap: int, reads: Iterable[Read]) -> list[Read]:
    """Reads joined from the lowest address on, each with the ones behind it as far as the meter bears it."""
    made: list[Read] = []
    for read in sorted(set(reads)):
        both = _joined(limits, gap, made[-1], read) if made else None
        if both:
            made[-1] = both
        else:
            made.append(read)
    return made


def plan(limits: ModbusLimits, points: Sequence[Point | Watch], hole: int | None = None) -> list[Read]:
    """The fewest reads that fetch all points within the limits, in the order of functions and addresses.

    The parts of one value are joined first, so that no other value makes them fall into two reads. A place that the
    model forbids to read is left out: its point cannot be located.

    `hole`: so many registers that nobody asked for cost less than another read; a model that states how many its
    meter bears (`max_gap`) is the limit. None: as many as the model states.
    """
    gap = _gap(limits, hole)
    units = {unit for point in points for unit in _units(limits, gap, point)}
    return _fewest(limits, gap, units)


def _gap(limits: ModbusLimits, hole: int | None) -> int:
    if limits.max_gap is None:
        return hole or 0
    return limits.max_gap if hole is None else min(limits.max_gap, hole)


def _units(limits: ModbusLimits, gap: int, point: Point | Watch) -> list[Read]:
    """The reads of one point by itself."""
    parts = [_whole(limits, _read_of(at, limits)) for at in _places(point)]
    return _fewest(limits, gap, (part for part in parts if not _forbidden(limits, part)))


def allowed(limits: ModbusLimits, points: Sequence[Point | Watch], read: Read) -> bool:
    """Whether a read is one that `plan` can come to for some of the points, however many of them it joins.

    It begins where one of their places begins and ends where one ends, and keeps to the model's limits.
    """
    units = [unit for point in points for unit in _units(limits, _gap(limits, None), point)]
    units += [_whole(limits, _read_of(at, limits)) for point in points for at in _places(point)]
    mine = [unit for unit in units if read.covers(unit)]
    if read in mine:
        return not _forbidden(limits, read)
    most = limits.max_registers if read.function in (3, 4) else _MAX_BITS
    return (
        any(unit.address == read.address for unit in mine)
        and any(unit.end == read.end for unit in mine)
        and read.count <= most
        and not (_alone(limits, read) or _forbidden(limits, read) or _blocks(limits, read))
    )


def _encoding(at: At, limits: ModbusLimits, bit_offset: int = 0) -> str:
    order = _ORDERS[at.word_order or limits.word_order, at.byte_order or limits.byte_order]
    if order in ("ws", "bs") and words_of(at) == 1:
        order = "be" if order == "ws" else "le"
    field = f"[{at.bits}]" if at.bits else ""
    match at.type:
        case "bit":
            return f"u8[{bit_offset}]" if (at.function or limits.function) in (1, 2) else f"u16{order}[{at.bits or 0}]"
        case "bcd":
            return f"bcd{2 * words_of(at)}{order}"
        case "mod10":
            return f"mod10x{words_of(at)}{order}"
        case "ascii" | "hex":
            return f"{at.type}{2 * words_of(at)}"
        case "u8" | "i8":
            return f"{at.type}{field}"
        case _:
            return f"{at.type}{order}{field}"


def _source(at: At, limits: ModbusLimits, reads: Sequence[Read | None], first_byte: int, hexadecimal: bool) -> str:
    wanted = _read_of(at, limits)
    for index, read in enumerate(reads):
        if read is None or not read.covers(wanted):
            continue
        distance = at.address - read.address
        bits = read.function in (1, 2)
        if bits and at.type != "bit":
            break  # a number does not fit into coils: its bytes would reach into the checksum
        # An 8-bit value stands in the low byte of its register, the second one on the wire.
        offset = first_byte + (distance // 8 if bits else 2 * distance + (at.type in ("u8", "i8")))
        missing = "".join(f"!{''.join(text.split()).lower()}" for text in at.missing)
        mark = "h" if hexadecimal else ""
        return f"{index}{mark}@{offset}:{_encoding(at, limits, distance % 8)}{missing}"
    raise KeyError(_("no request reads register {address}", address=at.address))


def formula_of(target: Target, reads: Sequence[Read | None], point: Point | Watch, first_byte: int, hexadecimal: bool) -> str:
    """The formula of a point.

    Args:
        target: the meter, with its plate ratios.
        reads: what each request asked for, None where its answer cannot be used.
        point: the point of its model.
        first_byte: where the data begins in an answer.
        hexadecimal: whether answers are hexadecimal text.

    Raises:
        KeyError: the reads do not fetch the point.
    """
    limits = limits_of(target)

    def source(at: At) -> str:
        return _source(at, limits, reads, first_byte, hexadecimal)

    if not isinstance(point, ModbusPoint):
        return source(cast("ModbusWatch", point).at) + times(plain(point.scale))
    tail = times(*target.ratios(point))
    if point.exponent:
        shift = f"{point.exponent.offset:+d}" if point.exponent.offset else ""
        tail = f"*10^({source(point.exponent.at)}{shift}){tail}"
    terms = [source(point.at) + times(plain(point.scale)) + tail]
    terms += [source(part.at) + times(plain(part.scale)) + tail for part in point.plus]
    return "+".join(terms)
