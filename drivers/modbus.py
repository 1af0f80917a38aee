"""Modbus: reads of coils, inputs and registers over TCP, RTU and ASCII framing. Reading functions only.

    RTU     unit | function | data ... | CRC-16, low byte first                         (Serial Line V1.02, 2.5.1)
    TCP     transaction(2) | 0 0 | length(2) | unit | function | data ...               (TCP/IP guide V1.0b, 3.1)
    ASCII   ":" | unit function data LRC as hexadecimal text | CR LF                    (Serial Line V1.02, 2.5.2)
    answer  function | byte count | bytes          (Application Protocol V1.1b3, 6.1 to 6.4)
    refusal function + 80H | exception code        (section 7)

Frames are built and summed by pymodbus; whether an answer belongs to its request is decided here, because RTU
and ASCII carry no transaction number: unit, function and byte count must all be the ones asked for. A late
answer of the same shape cannot be told from its frame: the link keeps the line silent after a timeout.

What this file does not know: ports, time, and whether a register map is right.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from pymodbus.framer import FramerAscii, FramerBase, FramerRTU, FramerSocket
from pymodbus.pdu import DecodePDU, ModbusPDU
from pymodbus.pdu.bit_message import ReadCoilsRequest, ReadDiscreteInputsRequest
from pymodbus.pdu.mei_message import ReadDeviceInformationRequest
from pymodbus.pdu.register_message import ReadHoldingRegistersRequest, ReadInputRegistersRequest

from config.model import Point, Watch
from drivers import Request, Target
from drivers.errors import BadFrame, NoAnswer, Refused
from drivers.modbus_map import Read, formula_of, plan

_FRAMERS: dict[str, FramerBase] = {
    "rtu": FramerRTU(DecodePDU(False)),
    "tcp": FramerSocket(DecodePDU(False)),
    "ascii": FramerAscii(DecodePDU(False)),
}
_REQUESTS: dict[int, type[ModbusPDU]] = {
    1: ReadCoilsRequest,
    2: ReadDiscreteInputsRequest,
    3: ReadHoldingRegistersRequest,
    4: ReadInputRegistersRequest,
}
IDENTIFY = 0x2B
_OBJECTS = {0: "maker", 1: "product", 2: "revision", 3: "web page", 4: "product name", 5: "model", 6: "application"}
_MEI = 0x0E  # device identification among the services of function 43
_MOST = {1: 2000, 2: 2000, 3: 125, 4: 125}
_MOST_BYTES = 250
_ASCII_FRAME = re.compile(rb":([0-9A-Fa-f]{2})+\r\n")
_ASCII_DELIMITED = re.compile(rb":[^:\r\n]*\r\n")
_PREFIX = {"tcp": 6, "rtu": 0, "ascii": 0}

# Application Protocol V1.1b3, section 7: the code, the word for records, what it means to a person.
_EXCEPTIONS: dict[int, tuple[str, str]] = {
    1: ("illegal_function", "the meter does not know this function"),
    2: ("illegal_address", "the meter has no such register"),
    3: ("illegal_value", "the meter refuses this register count"),
    4: ("device_failure", "the meter reports a failure of its own"),
    5: ("acknowledge", "the meter is still working on the request"),
    6: ("busy", "the meter is busy"),
    8: ("memory_parity", "the meter reports a memory error"),
    10: ("gateway_path", "the gateway has no path to this address"),
    11: ("gateway_target", "nothing answered the gateway at this address"),
}
_NOT_REACHED = (10, 11)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request taken apart; `address` of an identification is the code of what was asked for."""

    unit: int
    function: int
    address: int
    count: int

    @property
    def byte_count(self) -> int:
        return 2 * self.count if self.function in (3, 4) else (self.count + 7) // 8

    @property
    def head(self) -> bytes:
        """What every answer to it begins with, a refusal excepted."""
        return bytes([self.unit, self.function, _MEI if self.function == IDENTIFY else self.byte_count])


def crc(data: bytes) -> bytes:
    """CRC-16 of RTU as it stands on the wire, low byte first (Serial Line V1.02, appendix B)."""
    return int(FramerRTU.compute_CRC(data)).to_bytes(2, "big")


@lru_cache(maxsize=4096)
def _frame(read: Read, unit: int, framing: str) -> bytes:
    pdu = _REQUESTS[read.function](address=read.address, count=read.count, dev_id=unit)
    return bytes(_FRAMERS[framing].buildFrame(pdu))


def requests(target: Target, points: Sequence[Point | Watch]) -> list[Request]:
    """The fewest reads that fetch the points, within the model's limits; transaction numbers are still 0."""
    unit = int(target.address)
    return [_request(target, _frame(read, unit, target.framing)) for read in plan(target.model.modbus, points)]


def _request(target: Target, data: bytes) -> Request:
    limits = target.model.modbus
    longest = limits.longest_answer_ms or 2 * limits.timeout_ms
    return Request(data, limits.timeout_ms / 1000, limits.pause_ms / 1000, longest / 1000)


def identification_request(target: Target, first: int = 0, code: int = 1) -> Request:
    """A request for device identification (function 43/14, section 6.21) from object `first` on.

    `code`: 1 the basic objects, 2 the regular ones, 3 all, 4 the one object `first`.
    """
    pdu = ReadDeviceInformationRequest(read_code=code, object_id=first, dev_id=int(target.address))
    return _request(target, bytes(_FRAMERS[target.framing].buildFrame(pdu)))


def identification(answer: bytes, framing: str) -> tuple[dict[str, str], int | None]:
    """The objects of a checked identification answer, and the object to ask for next, if more follow."""
    _, pdu = _content(answer, framing)
    objects: dict[str, str] = {}
    at = 7
    for _ in range(pdu[6]):
        length = pdu[at + 1]
        name = _OBJECTS.get(pdu[at], f"object {pdu[at]}")
        objects[name] = pdu[at + 2 : at + 2 + length].decode("ascii", "replace")
        at += 2 + length
    return objects, pdu[5] if pdu[4] == 0xFF else None


def numbered(request: Request, number: int, framing: str) -> Request:
    """The request with a transaction number (0 to 65535) on TCP; other framings carry none."""
    if framing != "tcp":
        return request
    return replace(request, data=(number & 0xFFFF).to_bytes(2, "big") + request.data[2:])


# --- where an answer lies -----------------------------------------------------------------------------------


def answer_span(request: bytes, buffer: bytes, framing: str) -> tuple[int, int] | None:
    """Start and end of the first complete frame in what has arrived; None: read on. See `drivers.Driver`."""
    return _SPANS[framing](request, buffer)


def _tcp_span(request: bytes, buffer: bytes) -> tuple[int, int] | None:
    for start, end in _tcp_frames(buffer):
        if buffer[start : start + 2] == request[:2] or not _is_tcp(buffer[start : start + 6]):
            return start, end
    return None


def _is_tcp(header: bytes) -> bool:
    """Whether six bytes can stand in front of a unit and a PDU of two bytes at least."""
    return header[2:4] == b"\0\0" and 3 <= int.from_bytes(header[4:6], "big") <= 254


def _tcp_frames(buffer: bytes) -> Iterator[tuple[int, int]]:
    start = 0
    while len(buffer) >= start + 7:
        if not _is_tcp(buffer[start : start + 6]):
            yield start, len(buffer)  # no Modbus TCP: let `check` say so
            return
        end = start + 6 + int.from_bytes(buffer[start + 4 : start + 6], "big")
        if len(buffer) < end:
            return
        yield start, end
        start = end


def _rtu_length(data: bytes) -> int | None:
    """How long a frame beginning with `data` is by its own account; None: too early to say, 0: no frame."""
    if len(data) < 3:
        return None
    function = data[1]
    if 0x81 <= function <= 0xFF:
        return 5
    if function in _REQUESTS:
        return 5 + data[2] if data[2] <= _MOST_BYTES else 0
    if function == IDENTIFY:
        return _identification_length(data)
    return 0


def _identification_length(data: bytes) -> int | None:
    if len(data) < 8:
        return None
    at = 8
    for _ in range(data[7]):
        if len(data) < at + 2:
            return None
        at += 2 + data[at + 1]
    return at + 2 if at + 2 <= 256 else 0


def _rtu_span(request: bytes, buffer: bytes) -> tuple[int, int] | None:
    if request.startswith(buffer):
        return None  # nothing yet, or the request's own echo on a two-wire line, still arriving
    asked = _asked(request, "rtu")
    start = 0
    while start <= len(buffer) - 5:
        if asked and buffer.startswith(request, start):
            start += len(request)  # the echo is a frame too, and has the shape of an answer for some addresses
            continue
        length = _rtu_length(buffer[start : start + 256])
        if length is None or start + length > len(buffer):
            if asked and buffer.startswith(asked.head, start):
                return None  # the answer itself, still arriving: nothing inside it is a frame of its own
        elif length and crc(buffer[start : start + length - 2]) == buffer[start + length - 2 : start + length]:
            return start, start + length
        start += 1
    return None


def _ascii_span(request: bytes, buffer: bytes) -> tuple[int, int] | None:
    return next((found.span() for found in _ASCII_DELIMITED.finditer(buffer) if found[0] != request), None)


_SPANS: dict[str, Callable[[bytes, bytes], tuple[int, int] | None]] = {"tcp": _tcp_span, "rtu": _rtu_span, "ascii": _ascii_span}


# --- whose answer it is -------------------------------------------------------------------------------------


def _content(frame: bytes, framing: str) -> tuple[int, bytes]:
    """Unit and PDU of a frame whose checksum and length are right. Raises BadFrame."""
    if framing == "tcp":
        if len(frame) < 8 or frame[2:4] != b"\0\0" or int.from_bytes(frame[4:6], "big") != len(frame) - 6:
            raise BadFrame(
                "not_modbus", "what arrived is not Modbus TCP", "Check that host and port in site.yaml are the meter's."
            )
        return frame[6], frame[7:]
    if framing == "rtu":
        if len(frame) < 4 or crc(frame[:-2]) != frame[-2:]:
            raise BadFrame("bad_checksum", "the checksum is wrong")
        return frame[0], frame[1:-2]
    if not _ASCII_FRAME.fullmatch(frame):
        raise BadFrame("not_modbus", "what arrived is not Modbus ASCII")
    data = bytes.fromhex(frame[1:-2].decode("ascii"))
    if len(data) < 3 or sum(data) & 0xFF:
        raise BadFrame("bad_checksum", "the checksum is wrong")
    return data[0], data[1:-1]


@lru_cache(maxsize=4096)
def _asked(request: bytes, framing: str) -> _Asked | None:
    """A read request taken apart, None where the bytes are none (or are not there: a masked frame)."""
    try:
        unit, pdu = _content(request, framing)
    except BadFrame:
        return None
    if pdu[:2] == bytes([IDENTIFY, _MEI]) and len(pdu) == 4:
        return _Asked(unit, IDENTIFY, pdu[2], 0)
    count = int.from_bytes(pdu[3:5], "big")
    if len(pdu) != 5 or not 1 <= count <= _MOST.get(pdu[0], 0):
        return None
    return _Asked(unit, pdu[0], int.from_bytes(pdu[1:3], "big"), count)


def check(request: bytes, answer: bytes, framing: str) -> None:
    """Returns if `answer` answers exactly this request: same transaction, unit, function and byte count.

    Raises:
        BadFrame: it does not; the cause says in which way.
        Refused: a Modbus exception of the meter.
        NoAnswer: a gateway's word that the meter behind it was silent (exceptions 0A and 0B).
    """
    asked = _asked(request, framing)
    if asked is None:
        raise BadFrame("bad_request", "the request is not a Modbus read")
    unit, pdu = _content(answer, framing)
    if framing == "tcp" and answer[:2] != request[:2]:
        raise BadFrame("wrong_transaction", "the answer belongs to another request")
    if unit != asked.unit:
        raise BadFrame("wrong_unit", f"address {unit} answered a request to address {asked.unit}")
    if pdu[0] == asked.function | 0x80 and len(pdu) == 2:
        raise _refusal(pdu[1])
    if pdu[0] != asked.function:
        raise BadFrame("wrong_function", f"function {pdu[0]} answered a request for function {asked.function}")
    if asked.function == IDENTIFY:
        if pdu[1:3] != bytes([_MEI, asked.address]):
            raise BadFrame("wrong_function", "the answer is to another kind of identification")
        if len(pdu) < 7 or _identification_length(bytes([unit]) + pdu) != len(pdu) + 3:
            raise BadFrame("wrong_length", "the identification answer is cut short")
    elif len(pdu) < 2 or pdu[1] != asked.byte_count or len(pdu) != 2 + asked.byte_count:
        raise BadFrame("wrong_length", f"asked for {asked.byte_count} bytes, the answer has {max(0, len(pdu) - 2)}")


def _refusal(code: int) -> Refused | NoAnswer:
    cause, words = _EXCEPTIONS.get(code, (f"exception_{code}", f"the meter refused with code {code}"))
    if code in _NOT_REACHED:
        return NoAnswer(cause, words)
    return Refused(cause, words)


def fault(request: bytes, buffer: bytes, framing: str) -> tuple[str, str]:
    """Cause and plain words for what arrived until the deadline without a complete frame in it."""
    if not buffer:
        return "no_answer", "no answer"
    if framing == "tcp":
        complete = list(_tcp_frames(buffer))
        if complete and complete[-1][1] == len(buffer):
            return "wrong_transaction", "only answers to other requests arrived"
        return "short_answer", f"the answer ended after {len(buffer)} bytes"
    if buffer == request:
        return "only_echo", "only the request's own echo came back"
    rest = buffer.removeprefix(request)
    if framing == "ascii":
        return ("short_answer", "the answer has no end") if b":" in rest else ("noise", "bytes that are no Modbus arrived")
    asked = _asked(request, "rtu")
    if asked and rest[0] == asked.unit and rest[1:2] in (b"", bytes([asked.function]), bytes([asked.function | 0x80])):
        length = _rtu_length(rest)
        if length is None or len(rest) < length:
            return "short_answer", f"the answer ended after {len(rest)} bytes"
        return "bad_checksum", "the checksum is wrong"
    return "noise", "bytes that are no Modbus answer arrived"


# --- where a value stands -----------------------------------------------------------------------------------


def locate(target: Target, requests: Sequence[bytes], point: Point | Watch) -> str:
    """The formula of a point over the answers to `requests`; empty bytes in their place mask a failed frame.

    Raises:
        KeyError: no request of this meter fetches the point.
    """
    reads = _reads(tuple(requests), int(target.address), target.framing)
    first_byte = _PREFIX[target.framing] + 3
    return formula_of(target, reads, point, first_byte, hexadecimal=target.framing == "ascii")


@lru_cache(maxsize=256)
def _reads(requests: tuple[bytes, ...], unit: int, framing: str) -> tuple[Read | None, ...]:
    """What each request reads from a meter, None where it is none of its reads. The same for all points of a poll."""
    asked = [_asked(request, framing) if request else None for request in requests]
    mine = [read if read and read.unit == unit and read.function in _REQUESTS else None for read in asked]
    return tuple(Read(read.function, read.address, read.count) if read else None for read in mine)
