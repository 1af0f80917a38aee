"""Modbus frames as a meter hears and speaks them: requests found in a stream of bytes, answers put into frames.

    RTU     unit | function | data | CRC-16, low byte first           (Serial Line V1.02, 2.5.1)
    TCP     transaction(2) | 0 0 | length(2) | unit | function | data (TCP/IP guide V1.0b, 3.1)
    ASCII   ":" | unit function data LRC as hexadecimal text | CR LF  (Serial Line V1.02, 2.5.2)

In RTU a request ends where its function says; a request of an unknown function ends where the line falls silent.

What this file does not know: meters, ports, time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pymodbus.framer import FramerAscii, FramerRTU

# Length of an RTU request by function, checksum included; functions 0FH and 10H carry a byte count at offset 6.
_LENGTHS = {1: 8, 2: 8, 3: 8, 4: 8, 5: 8, 6: 8, 7: 4, 8: 8, 11: 4, 12: 4, 17: 4, 22: 10, 43: 7}
_COUNTED = (15, 16)
IDENTIFY = b"\x2b\x0e"
_CONFORMITY = 0x81  # basic objects, as a stream or one by one
_LONGEST_TEXT = 60
_LONGEST = 256


class NotModbus(ValueError):
    """Bytes on a TCP connection that cannot be Modbus TCP."""


@dataclass(frozen=True, slots=True)
class Heard:
    """A request that was understood.

    Attributes:
        unit: the address it asks for.
        pdu: function code and data.
        data: the whole frame as it arrived.
        transaction: its number on TCP, else 0.
    """

    unit: int
    pdu: bytes
    data: bytes
    transaction: int = 0


def crc(data: bytes) -> bytes:
    """CRC-16 as it stands behind an RTU frame."""
    return int(FramerRTU.compute_CRC(data)).to_bytes(2, "big")


def framed(framing: str, unit: int, pdu: bytes, transaction: int = 0) -> bytes:
    """A whole frame around a PDU."""
    body = bytes([unit]) + pdu
    if framing == "tcp":
        return transaction.to_bytes(2, "big") + b"\0\0" + len(body).to_bytes(2, "big") + body
    if framing == "rtu":
        return body + crc(body)
    return b":" + (body + bytes([FramerAscii.compute_LRC(body)])).hex().upper().encode("ascii") + b"\r\n"


def identification(texts: Sequence[str], code: int, first: int) -> bytes:
    """The answer to a device identification request (function 43/14, Application Protocol V1.1b3, section 6.21).

    Args:
        texts: the basic objects: maker, product, revision.
        code: 1 to 3 all objects from `first` on, 4 just that one.
        first: number of an object; one that there is not means 0 unless it is asked for alone.

    Returns:
        The PDU, also of an exception; empty for a code that there is not.
    """
    if code not in (1, 2, 3, 4):
        return b""
    if first >= len(texts):
        if code == 4:
            return bytes([IDENTIFY[0] | 0x80, 2])
        first = 0
    wanted = [first] if code == 4 else range(first, len(texts))
    objects = [(number, texts[number].encode("ascii", "replace")[:_LONGEST_TEXT]) for number in wanted]
    head = IDENTIFY + bytes([code, _CONFORMITY, 0, 0, len(objects)])
    return head + b"".join(bytes([number, len(text)]) + text for number, text in objects)


def requests_in(buffer: bytearray, framing: str) -> list[Heard]:
    """The complete requests in what has arrived; they and what lies before them are taken out of the buffer.

    Raises:
        NotModbus: the connection carries something else (TCP framing only).
    """
    take = {"tcp": _take_tcp, "rtu": _take_rtu, "ascii": _take_ascii}[framing]
    heard = []
    while (one := take(buffer)) is not None:
        heard.append(one)
    return heard


def after_silence(buffer: bytearray, framing: str) -> list[Heard]:
    """The requests in what an RTU line carried before it fell silent; the buffer is empty after it."""
    heard: list[Heard] = []
    if framing == "rtu":
        if _sums(bytes(buffer)):
            heard.append(Heard(buffer[0], bytes(buffer[1:-2]), bytes(buffer)))
            buffer.clear()
        while len(buffer) >= 4:
            del buffer[0]
            heard += requests_in(buffer, framing)
    if framing != "tcp":
        buffer.clear()
    return heard


def _sums(frame: bytes) -> bool:
    return 4 <= len(frame) <= _LONGEST and crc(frame[:-2]) == frame[-2:]


def _take_tcp(buffer: bytearray) -> Heard | None:
    if len(buffer) < 8:
        return None
    length = int.from_bytes(buffer[4:6], "big")
    if buffer[2:4] != b"\0\0" or not 2 <= length <= 254:
        raise NotModbus
    if len(buffer) < 6 + length:
        return None
    data = bytes(buffer[: 6 + length])
    del buffer[: 6 + length]
    return Heard(data[6], data[7:], data, int.from_bytes(data[:2], "big"))


def _take_rtu(buffer: bytearray) -> Heard | None:
    """The first request whose checksum is right; bytes that cannot begin one are dropped."""
    while len(buffer) >= 4:
        function = buffer[1]
        length = _LENGTHS.get(function)
        if function in _COUNTED and len(buffer) > 6:
            length = 9 + buffer[6]
        if length is None or length > len(buffer):
            return None
        frame = bytes(buffer[:length])
        if _sums(frame):
            del buffer[:length]
            return Heard(frame[0], frame[1:-2], frame)
        del buffer[0]
    return None


def _take_ascii(buffer: bytearray) -> Heard | None:
    while (end := buffer.find(b"\r\n")) >= 0:
        start = buffer.rfind(b":", 0, end)
        frame = bytes(buffer[max(start, 0) : end + 2])
        del buffer[: end + 2]
        try:
            data = bytes.fromhex(frame[1:-2].decode("ascii"))
        except ValueError:
            continue
        if start >= 0 and len(data) >= 3 and not sum(data) & 0xFF:
            return Heard(data[0], data[1:-1], frame)
    return None
