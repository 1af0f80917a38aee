"""DL/T 645 frames as a simulated meter hears and speaks them, and the faults that need such frames.

    [FE ...] 68 A0..A5 68 C L DATA CS 16         address low byte first, DATA plus 33H, CS the sum from the first 68 on

What this file does not know: meters, ports, time.
"""

from __future__ import annotations

from config.plant import Fault


def framed(address: str, control: int, data: bytes) -> bytes:
    """A whole frame around DATA."""
    body = b"\x68" + bytes.fromhex(address)[::-1] + bytes([0x68, control, len(data)])
    body += bytes((byte + 0x33) % 256 for byte in data)
    return body + bytes([sum(body) % 256, 0x16])


def take(buffer: bytearray) -> bytes | None:
    """Removes and returns the first complete request in the buffer, its wake-up bytes included; None: none yet."""
    start = buffer.find(0x68)
    while 0 <= start <= len(buffer) - 12:
        end = start + 12 + buffer[start + 9]
        frame = bytes(buffer[start:end])
        fits = len(frame) == end - start and frame[-1] == 0x16 and sum(frame[:-2]) % 256 == frame[-2]
        if frame[7] == 0x68 and fits and frame[8] < 0x80:
            noise = bytes(buffer[:start]).rstrip(b"\xfe")
            request = bytes(buffer[len(noise) : end])
            del buffer[:end]
            return request
        start = buffer.find(0x68, start + 1)
    return None


def _changed(answer: bytes, control: int, data: bytes, address: bytes) -> bytes:
    """An answer with something in it changed and its sum right again; wake-up bytes kept."""
    start = answer.index(0x68)
    return answer[:start] + framed(address[::-1].hex(), control, data)


def _opened(answer: bytes) -> tuple[int, bytes, bytes]:
    """Control, DATA as it is meant and address of a frame."""
    frame = answer[answer.index(0x68) :]
    return frame[8], bytes((byte - 0x33) % 256 for byte in frame[10:-2]), frame[1:7]


def _exception(_: bytes, answer: bytes, fault: Fault) -> bytes:
    control, _, address = _opened(answer)
    return _changed(answer, control & 0x1F | 0xC0, bytes([fault.code]), address)


def _wrong_unit(_: bytes, answer: bytes, fault: Fault) -> bytes:
    control, data, address = _opened(answer)
    other = f"{(int(address[::-1].hex()) + 1) % 10**12:012d}"
    return _changed(answer, control, data, bytes.fromhex(other)[::-1])


def _wrong_function(_: bytes, answer: bytes, fault: Fault) -> bytes:
    control, data, address = _opened(answer)
    return _changed(answer, control, data[:1] + bytes(byte ^ 1 for byte in data[1:2]) + data[2:], address)


def _short_data(_: bytes, answer: bytes, fault: Fault) -> bytes:
    control, data, address = _opened(answer)
    return _changed(answer, control, data[: max(0, len(data) - (fault.count or 1))], address)


# Faults that need a DL/T 645 frame. `exception`: an abnormal answer whose error bits are `code`; `wrong_function`: an
# answer to another identifier; `short_data`: `count` bytes of the value fewer.
FAULTS = {
    "exception": _exception,
    "wrong_unit": _wrong_unit,
    "wrong_function": _wrong_function,
    "short_data": _short_data,
    "checksum": lambda _, answer, fault: answer[:-2] + bytes([answer[-2] ^ 0xFF]) + answer[-1:],
}
