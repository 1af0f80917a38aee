"""CJ/T 188 frames taken apart and put together, and where one lies in what has arrived.

    FE ... | 68 | T | A0 .. A6 | C | L | DI DI SER | block ... | CS | 16        (CJ/T 188-2004 and -2018, data link layer)

    FE      wake-up bytes, none to many, before requests and mostly before answers too
    T       type of the meter: 10H to 19H water, 20H to 29H heat and cooling, 30H to 39H gas, 40H to 49H other
    A0..A6  address, low digits first, two digits a byte; AAH in all of them stands for any meter
    C       bit 7: an answer; bit 6: the meter reports something abnormal; below them the function:
            01H read data, 03H read address. No other function is known here.
    L       how many bytes follow it in front of CS
    DI      data identifier, in the order that the meter's model says; an answer repeats the one it was asked with
    SER     sequence number, repeated by the answer; an abnormal answer holds only SER and the status word ST
    CS      sum of all bytes from 68H to the one in front of it, without carries

68H and 16H may stand anywhere inside a frame: it ends where its L says, and only its sum proves it.

What this file does not know: blocks and their fields, and whether an answer is the one that was asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from config.language import _
from drivers.errors import BadFrame

READ_DATA = 0x01
READ_ADDRESS = 0x03
ANSWER = 0x80
ABNORMAL = 0x40
BLOCK = 14  # where a block begins in an answer: behind 68, T, A0..A6, C, L, DI, DI, SER

_READS = (READ_DATA, READ_ADDRESS)
_WAKE_UP = 0xFE
_START = 0x68
_END = 0x16
_FRAME = 13  # bytes of a frame around what L counts
_ANY = 0xAA


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame taken apart.

    Attributes:
        type: T.
        address: A0 to A6, as on the wire.
        control: C.
        data: what L counts: identifier, sequence number and block.
    """

    type: int
    address: bytes
    control: int
    data: bytes

    @property
    def station(self) -> bytes:
        """Type and address, as on the wire."""
        return bytes([self.type]) + self.address

    @property
    def identifier(self) -> bytes:
        """The two bytes of the data identifier, as on the wire."""
        return self.data[:2]

    @property
    def sequence(self) -> bytes:
        """The sequence number."""
        return self.data[2:3]


def read_frame(function: int, station: bytes, identifier: bytes, sequence: int, wake_up: int) -> bytes:
    """A read request, complete as it goes on the wire.

    Args:
        function: `READ_DATA` or `READ_ADDRESS`.
        station: type and address, as on the wire (8 bytes).
        identifier: two bytes, as on the wire.
        sequence: the sequence number.
        wake_up: how many bytes FE go in front.

    Raises:
        ValueError: another function; this program reads only.
    """
    if function not in _READS:
        raise ValueError(_("{function} is no function that reads", function=function))
    body = bytes([_START]) + station + bytes([function, 3]) + identifier + bytes([sequence])
    return bytes([_WAKE_UP]) * wake_up + body + bytes([_sum(body), _END])


@lru_cache(maxsize=4096)
def asked_in(request: bytes) -> Frame | None:
    """A read request taken apart; None where the bytes are none (or are not there: a masked frame)."""
    try:
        frame = parsed(request.lstrip(bytes([_WAKE_UP])))
    except BadFrame:
        return None
    return frame if frame.control in _READS and len(frame.data) == 3 else None


def parsed(frame: bytes) -> Frame:
    """A frame from its start character on. Raises BadFrame where start, length, sum or end are wrong."""
    if len(frame) < _FRAME or frame[0] != _START:
        raise BadFrame("not_cjt188", _("what arrived is no CJ/T 188 frame"))
    if len(frame) != _FRAME + frame[10]:
        raise BadFrame(
            "wrong_length",
            _("the frame announces {frame} bytes of data, it has {frame_2}", frame=frame[10], frame_2=len(frame) - _FRAME),
        )
    if _sum(frame[:-2]) != frame[-2]:
        raise BadFrame(
            "bad_checksum",
            _("the checksum is wrong: {sum:02X}H is right, {frame:02X}H arrived", sum=_sum(frame[:-2]), frame=frame[-2]),
        )
    if frame[-1] != _END:
        raise BadFrame(
            "wrong_length",
            _("16H does not stand where the frame's length puts its end, but {frame:02X}H", frame=frame[-1]),
        )
    return Frame(frame[1], frame[2:9], frame[9], frame[11:-2])


def _sum(data: bytes) -> int:
    return sum(data) & 0xFF


def answers_to(asked: Frame, station: bytes) -> bool:
    """Whether type and address are those that were asked; AAH in all of a field asks any."""
    same_type = asked.type in (_ANY, station[0])
    return same_type and (set(asked.address) == {_ANY} or asked.address == station[1:8])


def any_meter(asked: Frame) -> bool:
    """Whether a request leaves open which meter shall answer."""
    return asked.type == _ANY or set(asked.address) == {_ANY}


def answer_span(request: bytes, buffer: bytes, framing: str) -> tuple[int, int] | None:
    """Start and end of the first complete answer frame in what has arrived; None: read on. See `drivers.Driver`.

    Requests, such as this one's own echo, are passed over, and noise and wake-up bytes. While the answer itself is
    arriving nothing inside it is taken for a frame.
    """
    asked = asked_in(request)
    start = buffer.find(_START)
    while start >= 0:
        end = _end(buffer, start)
        if end is None:
            if asked and _may_become(asked, buffer[start : start + 11]):
                return None
        elif _is_frame(buffer[start:end]):
            if buffer[start + 9] & ANSWER:
                return start, end
            start = end - 1
        start = buffer.find(_START, start + 1)
    return None


def _end(buffer: bytes, start: int) -> int | None:
    """Where a frame from `start` on would end; None: not all of it is there."""
    if len(buffer) < start + _FRAME:
        return None
    end = start + _FRAME + buffer[start + 10]
    return end if end <= len(buffer) else None


def _is_frame(data: bytes) -> bool:
    return data[-1] == _END and _sum(data[:-2]) == data[-2]


def _may_become(asked: Frame, head: bytes) -> bool:
    """Whether bytes from a start character on are the beginning of the answer, as far as they go."""
    wanted = [{_START}, {asked.type}, *({byte} for byte in asked.address)]
    functions = {asked.control | ANSWER, asked.control | ANSWER | ABNORMAL}
    if asked.type == _ANY:
        wanted[1] = set(range(256))
    if set(asked.address) == {_ANY}:
        wanted[2:] = [set(range(256))] * 7
    return all(byte in right for byte, right in zip(head, [*wanted, functions], strict=False))


def fault(request: bytes, buffer: bytes, framing: str) -> tuple[str, str]:
    """Cause and plain words for what arrived until the deadline without a complete frame in it."""
    if not buffer:
        return "no_answer", _("no answer")
    if not buffer.strip(bytes([_WAKE_UP])):
        return "short_answer", _("only wake-up bytes FE arrived, no answer behind them")
    asked = asked_in(request)
    bare = request.lstrip(bytes([_WAKE_UP]))
    echo = buffer.find(bare) if bare else -1
    rest = buffer if echo < 0 else buffer[echo + len(bare) :]
    if echo >= 0 and not rest.strip(bytes([_WAKE_UP])):
        return "only_echo", _("only the request's own echo came back")
    start = rest.find(_START)
    while asked and start >= 0:
        if _may_become(asked, rest[start : start + 11]) and len(rest) - start > 1:
            return _broken(rest[start:])
        start = rest.find(_START, start + 1)
    return "noise", _("bytes that are no CJ/T 188 answer arrived")


def _broken(data: bytes) -> tuple[str, str]:
    """What is wrong with bytes that begin like the answer."""
    end = _end(data, 0)
    if end is None:
        return "short_answer", _("the answer ended after {data} bytes", data=len(data))
    if _sum(data[: end - 2]) != data[end - 2]:
        return "bad_checksum", _("the checksum is wrong")
    return "wrong_length", _("16H does not stand where the answer's length puts its end, but {data:02X}H", data=data[end - 1])
