"""Modbus frames taken apart: where an answer lies in what has arrived, and what a request asks for.

    RTU     unit | function | data ... | CRC-16, low byte first                         (Serial Line V1.02, 2.5.1)
    TCP     transaction(2) | 0 0 | length(2) | unit | function | data ...               (TCP/IP guide V1.0b, 3.1)
    ASCII   ":" | unit function data LRC as hexadecimal text | CR LF                    (Serial Line V1.02, 2.5.2)

What this file does not know: meters and their register maps; whether an answer is the one that was asked for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from pymodbus.framer import FramerRTU

from config.language import _
from drivers.errors import BadFrame

IDENTIFY = 0x2B
MEI = 0x0E  # device identification among the services of function 43
READS = {1: 2000, 2: 2000, 3: 125, 4: 125}  # the reading functions and the most registers (bits) each may ask for
_MOST_BYTES = 250
_ASCII_FRAME = re.compile(rb":([0-9A-Fa-f]{2})+\r\n")
_ASCII_DELIMITED = re.compile(rb":[^:\r\n]*\r\n")


@dataclass(frozen=True, slots=True)
class Asked:
    """A request taken apart; `address` of an identification is the code of what was asked for."""

    unit: int
    function: int
    address: int
    count: int

    @property
    def byte_count(self) -> int:
        """How many bytes of data the answer has."""
        return 2 * self.count if self.function in (3, 4) else (self.count + 7) // 8

    @property
    def head(self) -> bytes:
        """What every answer to it begins with, a refusal excepted."""
        return bytes([self.unit, self.function, MEI if self.function == IDENTIFY else self.byte_count])


def answer_length(request: bytes, framing: str) -> int | None:
    """How many bytes the answer to a read has on the wire; None where that is the meter's matter, or no read is asked for."""
    asked = asked_in(request, framing)
    if asked is None or asked.function == IDENTIFY:
        return None
    return {"tcp": 9 + asked.byte_count, "rtu": 5 + asked.byte_count, "ascii": 11 + 2 * asked.byte_count}[framing]


def crc(data: bytes) -> bytes:
    """CRC-16 of RTU as it stands on the wire, low byte first (Serial Line V1.02, appendix B)."""
    return int(FramerRTU.compute_CRC(data)).to_bytes(2, "big")


def answer_span(request: bytes, buffer: bytes, framing: str) -> tuple[int, int] | None:
    """Start and end of the first complete frame in what has arrived; None: read on. See `drivers.Driver`."""
    return _SPANS[framing](request, buffer)


def _tcp_span(request: bytes, buffer: bytes) -> tuple[int, int] | None:
    for start, end in tcp_frames(buffer):
        if buffer[start : start + 2] == request[:2] or not _is_tcp(buffer[start : start + 6]):
            return start, end
    return None


def _is_tcp(header: bytes) -> bool:
    """Whether six bytes can stand in front of a unit and a PDU of two bytes at least."""
    return header[2:4] == b"\0\0" and 3 <= int.from_bytes(header[4:6], "big") <= 254


def tcp_frames(buffer: bytes) -> Iterator[tuple[int, int]]:
    """Start and end of the complete frames in a buffer; bytes that are no Modbus TCP count as one."""
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


def rtu_length(data: bytes) -> int | None:
    """How long a frame beginning with `data` is by its own account; None: too early to say, 0: no frame."""
    if len(data) < 3:
        return None
    function = data[1]
    if 0x81 <= function <= 0xFF:
        return 5
    if function in READS:
        return 5 + data[2] if data[2] <= _MOST_BYTES else 0
    if function == IDENTIFY:
        return identification_length(data)
    return 0


def identification_length(data: bytes) -> int | None:
    """How long an RTU frame with an identification is (section 6.21); None: too early to say, 0: no frame."""
    if len(data) < 8:
        return None
    at = 8
    for _unused in range(data[7]):
        if len(data) < at + 2:
            return None
        at += 2 + data[at + 1]
    return at + 2 if at + 2 <= 256 else 0


def _rtu_span(request: bytes, buffer: bytes) -> tuple[int, int] | None:
    if request.startswith(buffer):
        return None  # nothing yet, or the request's own echo on a two-wire line, still arriving
    asked = asked_in(request, "rtu")
    start = 0
    while start <= len(buffer) - 5:
        if asked and buffer.startswith(request, start):
            start += len(request)  # the echo is a frame too, and has the shape of an answer for some addresses
            continue
        length = rtu_length(buffer[start : start + 256])
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


def content(frame: bytes, framing: str) -> tuple[int, bytes]:
    """Unit and PDU of a frame whose checksum and length are right. Raises BadFrame."""
    if framing == "tcp":
        if len(frame) < 8 or frame[2:4] != b"\0\0" or int.from_bytes(frame[4:6], "big") != len(frame) - 6:
            raise BadFrame(
                "not_modbus", _("what arrived is not Modbus TCP"), _("Check that host and port in site.yaml are the meter's.")
            )
        return frame[6], frame[7:]
    if framing == "rtu":
        if len(frame) < 4 or crc(frame[:-2]) != frame[-2:]:
            raise BadFrame("bad_checksum", _("the checksum is wrong"))
        return frame[0], frame[1:-2]
    if not _ASCII_FRAME.fullmatch(frame):
        raise BadFrame("not_modbus", _("what arrived is not Modbus ASCII"))
    data = bytes.fromhex(frame[1:-2].decode("ascii"))
    if len(data) < 3 or sum(data) & 0xFF:
        raise BadFrame("bad_checksum", _("the checksum is wrong"))
    return data[0], data[1:-1]


@lru_cache(maxsize=4096)
def asked_in(request: bytes, framing: str) -> Asked | None:
    """A read request taken apart, None where the bytes are none (or are not there: a masked frame)."""
    try:
        unit, pdu = content(request, framing)
    except BadFrame:
        return None
    if pdu[:2] == bytes([IDENTIFY, MEI]) and len(pdu) == 4:
        return Asked(unit, IDENTIFY, pdu[2], 0)
    count = int.from_bytes(pdu[3:5], "big")
    if len(pdu) != 5 or not 1 <= count <= READS.get(pdu[0], 0):
        return None
    return Asked(unit, pdu[0], int.from_bytes(pdu[1:3], "big"), count)
