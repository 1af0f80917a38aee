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

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from pymodbus.framer import FramerAscii, FramerBase, FramerRTU, FramerSocket
from pymodbus.pdu import DecodePDU, ModbusPDU
from pymodbus.pdu.bit_message import ReadCoilsRequest, ReadDiscreteInputsRequest
from pymodbus.pdu.mei_message import ReadDeviceInformationRequest
from pymodbus.pdu.register_message import ReadHoldingRegistersRequest, ReadInputRegistersRequest

from config.language import N_, _
from config.model import MeterModel, Point, Watch
from drivers import Request, Target
from drivers.errors import BadFrame, NoAnswer, Refused
from drivers.modbus_frame import IDENTIFY, MEI, READS, asked_in, content, identification_length, rtu_length, tcp_frames
from drivers.modbus_frame import answer_length as answer_length
from drivers.modbus_frame import answer_span as answer_span
from drivers.modbus_frame import crc as crc
from drivers.modbus_map import Read, allowed, formula_of, limits_of, plan

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
OBJECTS = {0: "maker", 1: "product", 2: "revision", 3: "web page", 4: "product name", 5: "model", 6: "application"}
_LONGEST_FRAME = {"tcp": 260, "rtu": 256, "ascii": 513}
_PREFIX = {"tcp": 6, "rtu": 0, "ascii": 0}

# Application Protocol V1.1b3, section 7: the code, the word for records, what it means to a person.
EXCEPTIONS: dict[int, tuple[str, str]] = {
    1: ("illegal_function", N_("the meter does not know this function")),
    2: ("illegal_address", N_("the meter has no such register")),
    3: ("illegal_value", N_("the meter refuses this register count")),
    4: ("device_failure", N_("the meter reports a failure of its own")),
    5: ("acknowledge", N_("the meter is still working on the request")),
    6: ("busy", N_("the meter is busy")),
    8: ("memory_parity", N_("the meter reports a memory error")),
    10: ("gateway_path", N_("the gateway has no path to this address")),
    11: ("gateway_target", N_("nothing answered the gateway at this address")),
}
_NOT_REACHED = (10, 11)
_LASTING = (1, 2, 3)


@lru_cache(maxsize=4096)
def _frame(read: Read, unit: int, framing: str) -> bytes:
    pdu = _REQUESTS[read.function](address=read.address, count=read.count, dev_id=unit)
    return bytes(_FRAMERS[framing].buildFrame(pdu))


def requests(target: Target, points: Sequence[Point | Watch], hole: int | None = None) -> list[Request]:
    """The fewest reads that fetch the points, within the model's limits; transaction numbers are still 0. See `Driver`."""
    unit = int(target.address)
    gap = None if hole is None else hole // 2
    return [_request(target, _frame(read, unit, target.framing)) for read in plan(limits_of(target), points, gap)]


def following(target: Target, request: bytes, answer: bytes) -> Request | None:
    """Nothing: a Modbus answer is complete."""
    return None


def prescribes(target: Target, points: Sequence[Point | Watch], request: bytes) -> bool:
    """Whether a request reads registers of these points of this meter, in a way that its model allows."""
    asked = asked_in(request, target.framing)
    if asked is None or asked.function == IDENTIFY or asked.unit != int(target.address):
        return False
    return allowed(limits_of(target), points, Read(asked.function, asked.address, asked.count))


def station(request: bytes, framing: str) -> bytes | None:
    """The unit, which every answer repeats; None on TCP, where a transaction number tells answers apart."""
    if framing == "tcp":
        return None
    return request[1:3] if framing == "ascii" else request[:1]


def _request(target: Target, data: bytes) -> Request:
    limits = limits_of(target)
    longest = limits.longest_answer_ms or 2 * limits.timeout_ms
    return Request(
        data,
        timeout_s=limits.timeout_ms / 1000,
        pause_s=limits.pause_ms / 1000,
        longest_answer_s=longest / 1000,
        longest_bytes=_LONGEST_FRAME[target.framing],
        open_pause_s=limits.open_pause_ms / 1000,
        together=limits.together if target.framing == "tcp" else 1,
    )


def identification_request(target: Target, first: int = 0, code: int = 1) -> Request:
    """A request for device identification (function 43/14, section 6.21) from object `first` on.

    `code`: 1 the basic objects, 2 the regular ones, 3 all, 4 the one object `first`.
    """
    pdu = ReadDeviceInformationRequest(read_code=code, object_id=first, dev_id=int(target.address))
    return _request(target, bytes(_FRAMERS[target.framing].buildFrame(pdu)))


def identification(answer: bytes, framing: str) -> tuple[dict[str, str], int | None]:
    """The objects of a checked identification answer, and the object to ask for next, if more follow."""
    _unused, pdu = content(answer, framing)
    objects: dict[str, str] = {}
    at = 7
    for _unused in range(pdu[6]):
        length = pdu[at + 1]
        name = OBJECTS.get(pdu[at], f"object {pdu[at]}")
        objects[name] = pdu[at + 2 : at + 2 + length].decode("ascii", "replace")
        at += 2 + length
    return objects, pdu[5] if pdu[4] == 0xFF else None


def numbered(request: Request, number: int, framing: str) -> Request:
    """The request with a transaction number (0 to 65535) on TCP; other framings carry none."""
    if framing != "tcp":
        return request
    return replace(request, data=(number & 0xFFFF).to_bytes(2, "big") + request.data[2:])


# --- whose answer it is -------------------------------------------------------------------------------------


def check(request: bytes, answer: bytes, framing: str) -> None:
    """Returns if `answer` answers exactly this request: same transaction, unit, function and byte count.

    Raises:
        BadFrame: it does not; the cause says in which way.
        Refused: a Modbus exception of the meter.
        NoAnswer: a gateway's word that the meter behind it was silent (exceptions 0A and 0B).
    """
    asked = asked_in(request, framing)
    if asked is None:
        raise BadFrame("bad_request", _("the request is not a Modbus read"))
    unit, pdu = content(answer, framing)
    if framing == "tcp" and answer[:2] != request[:2]:
        raise BadFrame("wrong_transaction", _("the answer belongs to another request"))
    if unit != asked.unit:
        raise BadFrame("wrong_unit", _("address {unit} answered a request to address {unit_2}", unit=unit, unit_2=asked.unit))
    if pdu[0] == asked.function | 0x80 and len(pdu) == 2:
        raise _refusal(pdu[1])
    if pdu[0] != asked.function:
        raise BadFrame(
            "wrong_function",
            _("function {pdu} answered a request for function {function}", pdu=pdu[0], function=asked.function),
        )
    if asked.function == IDENTIFY:
        if pdu[1:3] != bytes([MEI, asked.address]):
            raise BadFrame("wrong_function", _("the answer is to another kind of identification"))
        if len(pdu) < 7 or identification_length(bytes([unit]) + pdu) != len(pdu) + 3:
            raise BadFrame("wrong_length", _("the identification answer is cut short"))
    elif len(pdu) < 2 or pdu[1] != asked.byte_count or len(pdu) != 2 + asked.byte_count:
        raise BadFrame(
            "wrong_length",
            _("asked for {byte_count} bytes, the answer has {max}", byte_count=asked.byte_count, max=max(0, len(pdu) - 2)),
        )


def _refusal(code: int) -> Refused | NoAnswer:
    cause, words = EXCEPTIONS.get(code, (f"exception_{code}", _("the meter refused with code {code}", code=code)))
    if code in _NOT_REACHED:
        return NoAnswer(cause, _(words))
    return Refused(cause, _(words), lasting=code in _LASTING)


def fault(request: bytes, buffer: bytes, framing: str) -> tuple[str, str]:
    """Cause and plain words for what arrived until the deadline without a complete frame in it."""
    if not buffer:
        return "no_answer", _("no answer")
    if framing == "tcp":
        complete = list(tcp_frames(buffer))
        if complete and complete[-1][1] == len(buffer):
            return "wrong_transaction", _("only answers to other requests arrived")
        return "short_answer", _("the answer ended after {buffer} bytes", buffer=len(buffer))
    if buffer == request:
        return "only_echo", _("only the request's own echo came back")
    rest = buffer.removeprefix(request)
    if framing == "ascii":
        return ("short_answer", _("the answer has no end")) if b":" in rest else ("noise", _("bytes that are no Modbus arrived"))
    asked = asked_in(request, "rtu")
    if asked and rest[0] == asked.unit and rest[1:2] in (b"", bytes([asked.function]), bytes([asked.function | 0x80])):
        length = rtu_length(rest)
        if length is None or len(rest) < length:
            return "short_answer", _("the answer ended after {rest} bytes", rest=len(rest))
        return "bad_checksum", _("the checksum is wrong")
    return "noise", _("bytes that are no Modbus answer arrived")


# --- where a value stands -----------------------------------------------------------------------------------


def frame_serial(target: Target, requests: Sequence[bytes], answers: Sequence[bytes]) -> str | None:
    """None: a Modbus answer carries no number of its meter's own."""
    return None


def locate(target: Target, requests: Sequence[bytes], point: Point | Watch, answers: Sequence[bytes] = ()) -> str:
    """The formula of a point over the answers to `requests`; empty bytes in their place mask a failed frame.

    Raises:
        KeyError: no request of this meter fetches the point.
    """
    return _places(tuple(requests), int(target.address), target.framing).formula(target, point)


def doubt(target: Target, requests: Sequence[bytes], point: Point, answers: Sequence[bytes]) -> str:
    """Empty: registers say nothing of how good they are."""
    return ""


class _Places:
    """Where points stand in the answers to some reads. Found once: a meter is asked for the same at every poll."""

    _MOST = 4096

    def __init__(self, reads: tuple[Read | None, ...], framing: str) -> None:
        self._reads = reads
        self._first_byte = _PREFIX[framing] + 3
        self._hexadecimal = framing == "ascii"
        self._known: dict[tuple[int, str | None, str | None, int], tuple[str, MeterModel, Point | Watch]] = {}

    def formula(self, target: Target, point: Point | Watch) -> str:
        key = (id(target.model), target.ct, target.vt, id(point))
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= self._MOST:
                self._known.clear()
            formula = formula_of(target, self._reads, point, self._first_byte, self._hexadecimal)
            # Model and point never change, and as long as they are held here no other ones have their ids.
            known = self._known[key] = (formula, target.model, point)
        return known[0]


@lru_cache(maxsize=256)
def _places(requests: tuple[bytes, ...], unit: int, framing: str) -> _Places:
    """What each request reads from a meter, None where it is none of its reads."""
    asked = [asked_in(request, framing) if request else None for request in requests]
    mine = [read if read and read.unit == unit and read.function in READS else None for read in asked]
    return _same_reads(tuple(Read(read.function, read.address, read.count) if read else None for read in mine), framing)


@lru_cache(maxsize=256)
def _same_reads(reads: tuple[Read | None, ...], framing: str) -> _Places:
    """The same for polls that differ only in their transaction numbers, and for all units."""
    return _Places(reads, framing)
