"""DL/T 645 frames: built, found in what has arrived, and taken apart.

    [FE ...] 68 A0 A1 A2 A3 A4 A5 68 C L DATA ... CS 16              (DL/T 645-2007, clause 5.2; -1997, clause 4.2)
              address, low byte first   |  |        end
                 control: function  ----+  |   sum of all bytes from the first 68 on, modulo 256
                 bytes of DATA ------------+   each byte of DATA is sent plus 33H, the address is not

    control  80H answer   40H abnormal   20H more frames follow   1FH function
    request  11 identifier(4) | 12 identifier(4) sequence(1) | 13             edition 2007
             01 identifier(2) | 02 identifier(2)                              edition 1997

The bytes 68 and 16 may stand in DATA too: a frame is found by its two 68, its length, its sum and its end together.
Only functions that read are known here.

What this file does not know: identifiers and what their data means.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from config.language import _
from drivers.errors import BadFrame

START, END, WAKE = 0x68, 0x16, 0xFE
READ, READ_ON, READ_ADDRESS = 0x11, 0x12, 0x13
READ_1997, READ_ON_1997 = 0x01, 0x02
IDENTIFIER_BYTES = {READ: 4, READ_ON: 4, READ_1997: 2, READ_ON_1997: 2}
ANSWER, ABNORMAL, MORE, FUNCTION = 0x80, 0x40, 0x20, 0x1F
HEAD, TAIL = 10, 2  # bytes in front of DATA and behind it
LONGEST = 4 + HEAD + 255 + TAIL
_OFFSET = 0x33


@dataclass(frozen=True, slots=True)
class Asked:
    """A request taken apart.

    Attributes:
        address: six bytes as on the wire, AA for any two digits.
        function: one of the reading functions.
        identifier: as written, high byte first, such as `00010000`; empty for the address.
        sequence: number of the following frame that is asked for; 0 where there is none.
    """

    address: bytes
    function: int
    identifier: str
    sequence: int = 0


def wire_address(address: str) -> bytes:
    """An address of 12 characters as it stands in a frame, low byte first."""
    return bytes.fromhex(address)[::-1]


def plus_33(data: bytes) -> bytes:
    """DATA as it is sent."""
    return bytes((byte + _OFFSET) & 0xFF for byte in data)


def minus_33(data: bytes) -> bytes:
    """DATA as it is meant."""
    return bytes((byte - _OFFSET) & 0xFF for byte in data)


@lru_cache(maxsize=4096)
def request_frame(wake: int, asked: Asked) -> bytes:
    """A request as it goes on the wire. Raises KeyError for a function that is not one of those that read."""
    length = IDENTIFIER_BYTES[asked.function] if asked.function != READ_ADDRESS else 0
    data = bytes.fromhex(asked.identifier)[::-1][:length] + (bytes([asked.sequence]) if asked.function == READ_ON else b"")
    body = bytes([START]) + asked.address + bytes([START, asked.function, len(data)]) + plus_33(data)
    return bytes([WAKE]) * wake + body + bytes([sum(body) & 0xFF, END])


@lru_cache(maxsize=4096)
def asked_in(request: bytes) -> Asked | None:
    """A request taken apart; None where the bytes are none (or are not there: a masked frame)."""
    frame = request.lstrip(bytes([WAKE]))
    if not is_frame(frame):
        return None
    function, data = frame[8], minus_33(frame[HEAD:-TAIL])
    if function == READ_ADDRESS:
        return None if data else Asked(frame[1:7], function, "")
    count = IDENTIFIER_BYTES.get(function)
    if count is None or len(data) != count + (function == READ_ON):
        return None
    return Asked(frame[1:7], function, data[:count][::-1].hex().upper(), data[4] if function == READ_ON else 0)


def is_frame(frame: bytes) -> bool:
    """Whether bytes are one whole frame whose sum is right."""
    return (
        len(frame) >= HEAD + TAIL
        and frame[0] == frame[7] == START
        and len(frame) == HEAD + frame[9] + TAIL
        and frame[-2] == sum(frame[:-2]) & 0xFF
        and frame[-1] == END
    )


def is_meant(pattern: bytes, address: bytes) -> bool:
    """Whether an address in an answer is one that a request's address stands for, and a meter's own."""
    alike = all(asked in (0xAA, told) for asked, told in zip(pattern, address, strict=True))
    return alike and address[::-1].hex().isdecimal() and address != b"\x99" * 6


def answer_span(request: bytes, buffer: bytes) -> tuple[int, int] | None:
    """Start and end of the first answer in what has arrived; None: read on. See `drivers.Driver`."""
    asked = asked_in(request)
    start = buffer.find(START)
    while start >= 0 and len(buffer) - start >= HEAD:
        if buffer[start + 7] == START:
            end = start + HEAD + buffer[start + 9] + TAIL
            if is_frame(buffer[start:end]):
                if buffer[start + 8] & ANSWER:
                    return start, end
                start = buffer.find(START, end)  # a request: our own echo, or another master's
                continue
            if end > len(buffer) and asked and _begins_answer(asked, buffer[start:]):
                return None  # the answer itself, still arriving: nothing inside it is a frame of its own
        start = buffer.find(START, start + 1)
    return None


def _begins_answer(asked: Asked, rest: bytes) -> bool:
    """Whether a frame that is not complete yet can only be the answer."""
    return bool(rest[8] & ANSWER) and rest[8] & FUNCTION == asked.function and is_meant(asked.address, rest[1:7])


def fault(request: bytes, buffer: bytes) -> tuple[str, str]:
    """Cause and plain words for what arrived until the deadline without a complete frame in it."""
    wake = bytes([WAKE])
    if not buffer:
        return "no_answer", _("no answer")
    rest = buffer.removeprefix(request).lstrip(wake)
    if not rest or rest == request.lstrip(wake):
        only_wake = not buffer.strip(wake)
        return (
            ("short_answer", _("only wake-up bytes arrived"))
            if only_wake
            else ("only_echo", _("only the request's own echo came back"))
        )
    asked = asked_in(request)
    start = rest.find(START)
    while asked and start >= 0:
        found = rest[start:]
        if len(found) < HEAD:
            if len(found) > 1 and (0xAA in asked.address or found[1:7] == asked.address[: len(found) - 1]):
                return "short_answer", _("the answer ended after {found} bytes", found=len(found))
        elif found[7] == START and _begins_answer(asked, found):
            if len(found) < HEAD + found[9] + TAIL:
                return "short_answer", _("the answer ended after {found} bytes", found=len(found))
            return "bad_checksum", _("the checksum is wrong")
        start = rest.find(START, start + 1)
    return "noise", _("bytes that are no DL/T 645 answer arrived")


def content(answer: bytes) -> tuple[bytes, int, bytes]:
    """Address as on the wire, control and DATA as it is meant. Raises BadFrame where it is no whole frame."""
    if len(answer) < HEAD + TAIL or answer[0] != START or answer[7] != START or answer[-1] != END:
        raise BadFrame("not_dlt645", _("what arrived is no DL/T 645 frame"))
    if len(answer) != HEAD + answer[9] + TAIL:
        raise BadFrame("wrong_length", _("the frame has not the length that it states"))
    if not is_frame(answer):
        raise BadFrame("bad_checksum", _("the checksum is wrong"))
    return answer[1:7], answer[8], minus_33(answer[HEAD:-TAIL])
