"""What a program may say to meters: the read functions of each protocol, from the standards, without the project's own code.

`told` takes the bytes apart that a program wrote to a line. Whatever is not a whole request of the read set fails: another
function, a request to all meters at once, noise.

    Modbus          1, 2, 3, 4 (read), 43/14 (device identification); not to unit 0, which all meters obey
    DL/T 645-2007   11 (data), 12 (following data), 13 (address); not to 999999999999, which all meters obey
    DL/T 645-1997   01 (data), 02 (following data)
    CJ/T 188        01 (data), 03 (address); not to 99999999999999, which all meters obey
    M-Bus           40 (begin anew), 5B and 7B (send data), 73 with CI 52 to FD (select); not to FE and FF, which all meters obey
    IEC 62056-21    sign-on, option select for the readout (ACK, 0, speed, 0), zeros that wake a meter up
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator

from tests.agent.plants import with_crc

_WAKE_UP = re.compile(rb"\xfe*")
_SIGN_ON = re.compile(rb"/\?[0-9A-Za-z ]{0,32}!\r\n")
_READOUT = re.compile(rb"\x060[0-6]0\r\n")
_ZEROS = re.compile(rb"\x00{20,}")
_MODBUS_READS = (1, 2, 3, 4)

# The length of the request at the beginning of the bytes and what it is, such as `11`; None: it is none of this protocol.
_Taken = tuple[int, str] | None


class NotReading(AssertionError):
    """Something else than a read request was sent."""


def _modbus_tcp(data: bytes) -> _Taken:
    length = 6 + int.from_bytes(data[4:6], "big")
    if len(data) < length or length < 8 or data[2:4] != b"\0\0" or not 1 <= data[6] <= 247:
        return None
    return _modbus_pdu(data[7:length], length)


def _modbus_rtu(data: bytes) -> _Taken:
    for length in (8, 7):
        if len(data) >= length and 1 <= data[0] <= 247 and with_crc(data[: length - 2]) == data[:length]:
            return _modbus_pdu(data[1 : length - 2], length)
    return None


def _modbus_pdu(pdu: bytes, length: int) -> _Taken:
    if pdu[0] in _MODBUS_READS and len(pdu) == 5:
        return length, f"{pdu[0]:02X}"
    return (length, "2B/0E") if pdu[:2] == b"\x2b\x0e" and len(pdu) == 4 else None


def _dlt645(data: bytes) -> _Taken:
    wake = len(_WAKE_UP.match(data)[0])  # type: ignore[index]  # it matches nothing at least
    frame = data[wake:]
    if len(frame) < 12 or frame[0] != 0x68 or frame[7] != 0x68 or len(frame) < 12 + frame[9]:
        return None
    address, control, length = frame[6:0:-1].hex().upper(), frame[8], frame[9]
    end = 10 + length
    fields = {0x11: 4, 0x12: 5, 0x13: 0, 0x01: 2, 0x02: 2}
    if fields.get(control) != length or frame[end + 1] != 0x16 or sum(frame[:end]) & 0xFF != frame[end]:
        return None
    if not re.fullmatch("(AA)*[0-9]*", address) or address == "9" * 12:
        return None
    return wake + end + 2, f"{control:02X}"


def _cjt188(data: bytes) -> _Taken:
    wake = len(_WAKE_UP.match(data)[0])  # type: ignore[index]  # it matches nothing at least
    frame = data[wake:]
    if len(frame) < 13 or frame[0] != 0x68 or len(frame) < 13 + frame[10]:
        return None
    control, end = frame[9], 11 + frame[10]
    if (
        frame[2:9] == b"\x99" * 7
        or control not in (0x01, 0x03)
        or frame[10] != 3
        or frame[end + 1] != 0x16
        or sum(frame[:end]) & 0xFF != frame[end]
    ):
        return None
    return wake + end + 2, f"{control:02X}"


def _mbus(data: bytes) -> _Taken:
    if data[:1] == b"\x10":
        control, address = data[1], data[2]
        whole = data[3:5] == bytes([(control + address) & 0xFF, 0x16])
        return (5, f"{control:02X}") if whole and control in (0x40, 0x5B, 0x7B) and address not in (0xFE, 0xFF) else None
    if len(data) < 17 or data[:4] != b"\x68\x0b\x0b\x68" or data[4:7] != b"\x73\xfd\x52":
        return None
    return (17, "73/52") if data[15:17] == bytes([sum(data[4:15]) & 0xFF, 0x16]) else None


def _iec62056_21(data: bytes) -> _Taken:
    for pattern, name in ((_SIGN_ON, "sign-on"), (_READOUT, "readout"), (_ZEROS, "wake-up")):
        if found := pattern.match(data):
            return found.end(), name
    return None


_PROTOCOLS: dict[str, Callable[[bytes], _Taken]] = {
    "modbus_tcp": _modbus_tcp,
    "modbus_rtu": _modbus_rtu,
    "dlt645": _dlt645,
    "cjt188": _cjt188,
    "mbus": _mbus,
    "iec62056_21": _iec62056_21,
}


def told(data: bytes, protocols: Collection[str]) -> Iterator[str]:
    """The requests that bytes consist of, such as `dlt645 11`; `protocols`: those that are spoken on the line.

    Raises:
        NotReading: something is no read request of any of them.
    """
    at = 0
    while at < len(data):
        taken = ((name, _PROTOCOLS[name](data[at:])) for name in protocols)
        name, length, what = next(((name, *found) for name, found in taken if found), ("", 0, ""))
        if not length:
            raise NotReading(f"from byte {at} of {len(data)} on: {data[at : at + 24].hex(' ')}")
        at += length
        yield f"{name} {what}"
