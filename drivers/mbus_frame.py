"""M-Bus frames (EN 13757-2, section 5.3): requests made and taken apart, and where an answer lies in what has arrived.

    E5                                          one character: "I have heard you"
    10 C A checksum 16                          short frame, from the master
    68 L L 68 C A CI data ... checksum 16       long frame; L counts C to the last data byte
    checksum                                    the sum of C to the last data byte, low 8 bits

    C 40  begin anew (SND_NKE)      the meter answers E5 and takes the next request as a first one
    C 73  select, CI 52 (SND_UD)    the meter whose number, maker, version and medium fit listens to address FD, answers E5
    C 7B, 5B  send data (REQ_UD2)   frame count bit 1 or 0: another one than before asks for the next telegram, the same one
                                    for the last telegram again
    C 08 18 28 38  data (RSP_UD)    the meter's telegram

Nothing else is ever made here: there is no frame that would change a meter. Selecting one changes only who listens.

What this file does not know: what stands in a telegram, and whether an answer is the one that was asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from config.language import _

ACKNOWLEDGED = b"\xe5"
BEGIN, SELECT, FIRST_DATA_REQUEST, SECOND_DATA_REQUEST = 0x40, 0x73, 0x7B, 0x5B
DATA_REQUESTS = (FIRST_DATA_REQUEST, SECOND_DATA_REQUEST)
DATA_ANSWERS = (0x08, 0x18, 0x28, 0x38)
SELECTED = 0xFD  # the address of the meter that was selected
LONGEST = 261
_FRAME_COUNT_BIT = 0x20
_SELECT_APPLICATION = 0x52
_SHORT, _LONG, _STOP = 0x10, 0x68, 0x16
_ANY = "F"


@dataclass(frozen=True, slots=True)
class Asked:
    """A request taken apart; `pattern`: of a selection the eight bytes that a meter compares with its own."""

    control: int
    address: int
    pattern: bytes = b""

    @property
    def wants_data(self) -> bool:
        """Whether a telegram answers it, not one character."""
        return self.control in DATA_REQUESTS


def short_frame(control: int, address: int) -> bytes:
    """A short frame: control field and address."""
    return bytes([_SHORT, control, address, (control + address) & 0xFF, _STOP])


def select_frame(pattern: bytes) -> bytes:
    """The selection of the meters that fit a pattern of eight bytes, as they stand in a header."""
    body = bytes([SELECT, SELECTED, _SELECT_APPLICATION]) + pattern
    return bytes([_LONG, len(body), len(body), _LONG]) + body + bytes([sum(body) & 0xFF, _STOP])


def pattern_of(address: str) -> bytes:
    """The pattern that selects a secondary address: number low byte first, maker as sent, version, medium; F fits all."""
    digits = address.ljust(16, _ANY)
    return bytes.fromhex(digits[:8])[::-1] + bytes.fromhex(digits[8:])


def fits(pattern: bytes, own: bytes) -> bool:
    """Whether a meter with these eight bytes is meant by a pattern: F half bytes of the number and FF bytes fit all."""
    number, rest = pattern[:4].hex(), pattern[4:]
    return (
        all(wanted in ("f", digit) for wanted, digit in zip(number, own[:4].hex(), strict=True))
        and (rest[:2] in (b"\xff\xff", own[4:6]))
        and all(wanted in (0xFF, byte) for wanted, byte in zip(rest[2:], own[6:8], strict=True))
    )


def toggled(control: int) -> int:
    """The control field with the other frame count bit."""
    return control ^ _FRAME_COUNT_BIT


@lru_cache(maxsize=4096)
def asked_in(request: bytes) -> Asked | None:
    """A request of ours taken apart; None where the bytes are none (or are not there: a masked frame)."""
    if len(request) == 5 and request[1] in (BEGIN, *DATA_REQUESTS) and request == short_frame(request[1], request[2]):
        return Asked(request[1], request[2])
    if len(request) == 17 and request == select_frame(request[7:15]):
        return Asked(SELECT, SELECTED, request[7:15])
    return None


def long_length(data: bytes) -> int | None:
    """How long a long frame beginning with `data` is by its own account; None: too early to say, 0: no long frame."""
    if data[:1] != bytes([_LONG]):
        return 0
    if len(data) > 1 and data[1] < 3:
        return 0  # not even C, A and CI
    if (len(data) > 2 and data[1] != data[2]) or (len(data) > 3 and data[3] != _LONG):
        return 0
    return data[1] + 6 if len(data) > 3 else None


def is_whole(frame: bytes) -> bool:
    """Whether bytes are one long frame with the right length, checksum and stop character."""
    return len(frame) > 8 and long_length(frame) == len(frame) and frame[-1] == _STOP and sum(frame[4:-2]) & 0xFF == frame[-2]


def answer_span(request: bytes, buffer: bytes, framing: str = "own") -> tuple[int, int] | None:
    """Start and end of the first complete frame in what has arrived; None: read on. See `drivers.Driver`.

    Where a telegram was asked for, a single E5 is none: it may be a late answer to what was sent before.
    """
    if request.startswith(buffer):
        return None  # nothing yet, or the request's own echo from a level converter, still arriving
    asked = asked_in(request)
    start = 0
    while start < len(buffer):
        if request and buffer.startswith(request, start):
            start += len(request)
            continue
        length = long_length(buffer[start:])
        if length is None:
            return None
        if length and start + length > len(buffer):
            if buffer[start + 4 : start + 5] in {b"", *(bytes([control]) for control in DATA_ANSWERS)}:
                return None  # the answer itself, still arriving: nothing inside it is a frame of its own
        elif length and is_whole(buffer[start : start + length]):
            return start, start + length
        elif buffer[start] == ACKNOWLEDGED[0] and asked and not asked.wants_data:
            return start, start + 1
        start += 1
    return None


def fault(request: bytes, buffer: bytes, framing: str = "own") -> tuple[str, str]:
    """Cause and plain words for what arrived until the deadline without a complete frame in it."""
    if not buffer:
        return "no_answer", _("no answer")
    rest = buffer.replace(request, b"") if request else buffer
    if not rest:
        return "only_echo", _("only the request's own echo came back")
    if set(rest) == set(ACKNOWLEDGED):
        return "no_data", _("the meter acknowledged the request, but sent no telegram")
    start = rest.find(bytes([_LONG]))
    while start >= 0:
        length = long_length(rest[start:])
        if length is None or length > len(rest) - start:
            return "short_answer", _("the answer ended after {rest} bytes", rest=len(rest) - start)
        if length:
            return "bad_checksum", _("the answer's checksum is wrong, as where two meters answer at once")
        start = rest.find(bytes([_LONG]), start + 1)
    return "noise", _("bytes that are no M-Bus answer arrived")
