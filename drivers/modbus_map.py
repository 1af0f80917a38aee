"""Register maps of Modbus meters: which reads fetch a set of points, and where a point stands in their answers.

Pure arithmetic on addresses, counted from 0 as on the wire. Points are fetched in the fewest reads that the
meter's limits allow; the parts of one value (integer and fraction, mantissa and exponent) that lie side by side
are never split over two reads, since the counter may move in between.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from config.model import At, ModbusLimits, Point, Span, Watch
from drivers import Target
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


def words_of(at: At) -> int:
    """How many registers (or bits) a place spans."""
    return _WORDS.get(at.type) or at.count or _DEFAULT_WORDS[at.type]


def _read_of(at: At, limits: ModbusLimits) -> Read:
    return Read(at.function or limits.function, at.address, words_of(at))


def _places(point: Point | Watch) -> list[At]:
    if isinstance(point, Watch):
        return [point.at]
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
    return any(True for _ in _spans(limits.forbid, read))


def _alone(limits: ModbusLimits, read: Read) -> bool:
    return any(read.address <= address < read.end for address in limits.single)


def _joined(limits: ModbusLimits, one: Read, other: Read) -> Read | None:
    """Both reads as one where the meter bears it, else None. `other` does not begin before `one`."""
    both = Read(one.function, one.address, max(one.end, other.end) - one.address)
    if both == one and one.function == other.function:
        return one
    most = limits.max_registers if one.function in (3, 4) else _MAX_BITS
    if (
        one.function != other.function
        or other.address - one.end > limits.max_gap
        or both.count > most
        or _alone(limits, both)
        or _forbidden(limits, both)
        or _blocks(limits, both)
    ):
        return None
    return both


def _fewest(limits: ModbusLimits, reads: Iterable[Read]) -> list[Read]:
    """Reads joined from the lowest address on, each with the ones behind it as far as the meter bears it."""
    made: list[Read] = []
    for read in sorted(set(reads)):
        both = _joined(limits, made[-1], read) if made else None
        if both:
            made[-1] = both
        else:
            made.append(read)
    return made


def plan(limits: ModbusLimits, points: Sequence[Point | Watch]) -> list[Read]:
    """The fewest reads that fetch all points within the limits, in the order of functions and addresses.

    The parts of one value are joined first, so that no other value makes them fall into two reads. A place that the
    model forbids to read is left out: its point cannot be located.
    """
    units: set[Read] = set()
    for point in points:
        parts = [_whole(limits, _read_of(at, limits)) for at in _places(point)]
        units.update(_fewest(limits, (part for part in parts if not _forbidden(limits, part))))
    return _fewest(limits, units)


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
    raise KeyError(f"no request reads register {at.address}")


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
    limits = target.model.modbus

    def source(at: At) -> str:
        return _source(at, limits, reads, first_byte, hexadecimal)

    if isinstance(point, Watch):
        return source(point.at) + _times(plain(point.scale))
    tail = "".join(_times(ratio) for ratio in _ratios(target, point))
    if point.exponent:
        shift = f"{point.exponent.offset:+d}" if point.exponent.offset else ""
        tail = f"*10^({source(point.exponent.at)}{shift}){tail}"
    terms = [source(point.at) + _times(plain(point.scale)) + tail]
    terms += [source(part.at) + _times(plain(part.scale)) + tail for part in point.plus]
    return "+".join(terms)


def _times(factor: str) -> str:
    return "" if factor == "1" else f"*{factor}"


def _ratios(target: Target, point: Point) -> list[str]:
    """The plate ratios that the agent, not the meter, has to apply."""
    wanted = {"ct": [target.ct], "vt": [target.vt], "ct_vt": [target.ct, target.vt]}.get(point.ratio, [])
    return [ratio for ratio in wanted if ratio]
