r"""IEC 62056-21 messages taken apart: where one ends, whether its check fits, which lines a readout has.

    sign-on         / ? [address] ! CR LF                                                         (clause 6.3.1)
    identification  / X X X Z [\ W] name CR LF          XXX maker, Z speed and mode                (6.3.2)
    option select   ACK 0 Z 0 CR LF                     0: readout, at speed Z                     (6.3.3)
    readout         STX  line CR LF ... ! CR LF ETX BCC                                            (6.3.4)
    told unasked    identification CR LF  line CR LF ... ! [CRC] CR LF                             (mode D, 6.3.5)
    line            code ( value [* unit] ) ... , several in a row; brackets without a code belong to the code before

BCC is the exclusive or of all bytes behind STX or SOH, ETX included. The CRC is none of the standard's: four
hexadecimal digits that Dutch and Belgian meters (DSMR 4 and later) put behind the end sign, CRC-16 with 8005H,
reflected, from 0, over everything from `/` to `!`.

Characters have 7 bits and even parity. A line that carries 8 bits delivers the parity in bit 7: bytes are taken as
they are, and read without that bit; whether a message has it shows in any of its bytes.

What this file does not know: meters and their models; whether a message is the one that was asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, reduce
from operator import xor

from config.language import _
from drivers.errors import BadFrame, Refused

SOH, STX, ETX, ACK, NAK = b"\x01", b"\x02", b"\x03", b"\x06", b"\x15"

# Speeds by the character Z (6.3.14): digits mode C, letters mode B; all other characters are mode A.
SPEEDS_C = {"0": 300, "1": 600, "2": 1200, "3": 2400, "4": 4800, "5": 9600, "6": 19200}
SPEEDS_B = {"A": 600, "B": 1200, "C": 2400, "D": 4800, "E": 9600, "F": 19200}
WAITING = "0123456789ABCDEFGHI"  # what Z is where the readout does not follow at once at the same speed

_NAMED = re.compile(rb"/[^/!\r\n]*\r\n")
_TOLD = re.compile(rb"/[A-Za-z]{3}[^/!\r\n]*\r\n")
_IDENTIFICATION = re.compile(rb"/([A-Za-z]{3})([ -~])((?:\\[ -~])*)([ -~]{0,64})\r\n")
_END_TOLD = re.compile(rb"!([0-9A-Fa-f]{4})?\r\n")
_SET = re.compile(rb"([^()!\r\n]{0,32})((?:\([^()!\r\n]*\))+)")
_GROUP = re.compile(rb"\(([^()]*)\)")
_PRINTED = re.compile(rb"[ -~\r\n]*")
_STARTS = re.compile(rb"[\x01\x02]")
_EVEN = [byte.bit_count() % 2 == 0 for byte in range(256)]
_WITHOUT_PARITY = bytes(byte & 0x7F for byte in range(256))


@dataclass(frozen=True, slots=True)
class DataSet:
    """A code of a readout and what stands in brackets behind it.

    Attributes:
        code: as the meter wrote it.
        groups: first and last byte plus one of what is between each pair of brackets, counted in the message.
    """

    code: str
    groups: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Message:
    """What a meter said, taken apart.

    Attributes:
        maker: its three letters; empty where the message is no identification.
        speed: the character Z behind them.
        name: what follows.
        readout: whether there are lines in it.
        sets: the lines' codes with their brackets.
        parity: whether its bytes have a parity bit in bit 7.
    """

    maker: str = ""
    speed: str = ""
    name: str = ""
    readout: bool = False
    sets: tuple[DataSet, ...] = ()
    parity: bool = False


def stripped(data: bytes) -> bytes:
    """The same characters without bit 7."""
    return data.translate(_WITHOUT_PARITY)


def with_parity(data: bytes) -> bytes:
    """7-bit characters with even parity in bit 7."""
    return bytes(byte if _EVEN[byte] else byte | 0x80 for byte in data)


def block_check(data: bytes) -> int:
    """BCC over the characters behind STX or SOH up to and with ETX (6.3.14)."""
    return reduce(xor, stripped(data), 0)


def crc(data: bytes) -> int:
    """CRC-16 of DSMR telegrams: polynomial 8005H, low bit first, from 0, over everything from `/` to `!`."""
    register = 0
    for byte in data:
        register ^= byte
        for _unused in range(8):
            register = (register >> 1) ^ (0xA001 if register & 1 else 0)
    return register


# --- where a message ends -----------------------------------------------------------------------------------


def named_span(data: bytes) -> tuple[int, int] | None:
    """An identification in stripped bytes, with the readout behind it where it follows at the same speed (mode A)."""
    found = _NAMED.search(data)
    if found is None:
        return None
    if found[0][4:5].decode("ascii") in WAITING or len(found[0]) < 7:
        return found.span()
    return _with_lines(data, found.start(), found.end())


def told_span(data: bytes) -> tuple[int, int] | None:
    """The first whole telegram in stripped bytes that was listened to: with an identification in front, or STX to BCC."""
    named, block = _TOLD.search(data), block_span(data)
    if named and (block is None or named.start() < block[0]):
        return _with_lines(data, named.start(), named.end())
    return block


def _with_lines(data: bytes, start: int, behind: int) -> tuple[int, int] | None:
    """An identification and the lines behind it, between STX and BCC or up to the end sign; begun anew where another one is."""
    rest = data[behind:]
    lines = rest.lstrip(b"\r\n")
    if not lines:
        return None
    if lines.startswith(STX):
        block = block_span(rest)
        return (start, behind + block[1]) if block else None
    again = _TOLD.search(rest)
    end = _END_TOLD.search(rest)
    if again and (end is None or again.start() < end.start()):
        return _with_lines(data, behind + again.start(), behind + again.end())
    return (start, behind + end.end()) if end else None


def block_span(data: bytes) -> tuple[int, int] | None:
    """The first message from STX or SOH to BCC in stripped bytes; of several beginnings the last one whose check fits."""
    first = _STARTS.search(data)
    end = data.find(ETX, first.end()) if first else -1
    if first is None or end < 0 or end + 1 >= len(data):
        return None
    starts = [found.start() for found in _STARTS.finditer(data, 0, end)]
    fitting = (start for start in reversed(starts) if block_check(data[start + 1 : end + 1]) == data[end + 1])
    return next(fitting, starts[0]), end + 2


# --- what a message says ------------------------------------------------------------------------------------


@lru_cache(maxsize=64)
def message(frame: bytes) -> Message:
    """A whole message taken apart.

    Raises:
        BadFrame: its check does not fit, or it is none.
        Refused: it is an error message or asks for a password.
    """
    parity = any(byte & 0x80 for byte in frame)
    if parity and not all(_EVEN[byte] for byte in frame):
        raise BadFrame("bad_parity", _("the parity of a character is wrong"), _("Check the reading head and the line's wires."))
    data = stripped(frame)
    if not data.startswith(b"/"):
        return Message(readout=True, sets=_block(data, 0), parity=parity)
    found = _IDENTIFICATION.match(data)
    if found is None:
        raise BadFrame("wrong_format", _("the identification is none of IEC 62056-21"))
    maker, speed, extra, name = (part.decode("ascii") for part in found.groups())
    lines = len(data) - len(data[found.end() :].lstrip(b"\r\n"))
    if lines == len(data):
        return Message(maker, speed, extra + name, parity=parity)
    sets = _block(data, lines) if data.startswith(STX, lines) else _told(data, found.end(), frame)
    return Message(maker, speed, extra + name, True, sets, parity)


def _block(data: bytes, start: int) -> tuple[DataSet, ...]:
    """The lines between STX and BCC, from `start` to the end of the message."""
    if len(data) < start + 3 or data[-2:-1] != ETX or not data.startswith((STX, SOH), start):
        raise BadFrame("wrong_format", _("the answer is no readout"))
    if block_check(data[start + 1 : -1]) != data[-1]:
        raise BadFrame("bad_checksum", _("the block check is wrong"))
    if data.startswith(SOH, start):
        if data[start + 1 : -2].startswith(b"B"):
            raise BadFrame("ended", _("the meter ended the conversation"))
        raise Refused("password", _("the meter asks for a password instead of telling its readout"))
    if data[start + 1 : start + 2] == b"(":
        words = data[start + 1 : -2].decode("ascii", "replace").strip("()\r\n")
        raise Refused("meter_error", _("the meter answered with the error {words}", words=words or "without a name"))
    if not data.endswith(b"!\r\n", 0, -2):
        raise BadFrame("wrong_format", _("the readout has no end sign"))
    return tuple(_sets(data, start + 1, len(data) - 5))


def _told(data: bytes, start: int, frame: bytes) -> tuple[DataSet, ...]:
    """The lines up to the end sign, from `start` to the end of a telegram that was sent unasked."""
    end = _END_TOLD.search(data, start)
    if end is None or end.end() != len(data):
        raise BadFrame("wrong_format", _("the telegram has no end sign"))
    if end[1] and int(end[1], 16) != crc(stripped(frame[: end.start() + 1])):
        raise BadFrame("bad_checksum", _("the checksum is wrong"))
    return tuple(_sets(data, start, end.start()))


def _sets(data: bytes, start: int, end: int) -> Iterator[DataSet]:
    """The data sets of lines (6.3.14); brackets at the beginning of a line go on with the line before."""
    if not _PRINTED.fullmatch(data, start, end):
        raise BadFrame("wrong_format", _("the readout has characters that none has"))
    code: str | None = None
    groups: list[tuple[int, int]] = []
    for first, last in _lines(data, start, end):
        at = first
        while at < last:
            found = _SET.match(data, at, last)
            if found is None or (code is None and not found[1]) or (at > first and not found[1]):
                raise BadFrame("wrong_format", _("a line of the readout is damaged"))
            if found[1]:
                if code is not None:
                    yield DataSet(code, tuple(groups))
                code, groups = found[1].decode("ascii"), []
            groups += [group.span(1) for group in _GROUP.finditer(data, found.start(2), found.end(2))]
            at = found.end()
    if code is None:
        raise BadFrame("wrong_format", _("the readout is empty"))
    yield DataSet(code, tuple(groups))


def _lines(data: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
    """First and last byte plus one of each line; all end with CR LF."""
    at = start
    while at < end:
        stop = data.find(b"\r\n", at, end)
        stop = end if stop < 0 else stop
        yield at, stop
        at = stop + 2
