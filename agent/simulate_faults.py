"""Scripted faults of simulated meters: when one strikes, and what then leaves the meter instead of a plain answer.

    late                the whole answer, `delay_ms` after the request; also if another request came in between
    short               the last `count` bytes are missing
    short_data          `count` registers (bytes of bits) fewer than asked for, checksum and length right
    wrong_unit          another meter's address, checksum right
    wrong_function      the sister function (3 and 4, 1 and 2), checksum right
    wrong_transaction   the transaction number of the request before (TCP)
    noise, trailing     `count` random bytes in front, behind
    echo                the request itself in front, as on a two-wire line whose adapter hears itself
    exception           a refusal with `code`
    silence             nothing
    slow                byte by byte with `delay_ms` between them
    checksum            the last byte of the checksum inverted

What this file does not know: ports and time; it gives delays and bytes.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from agent.simulate_frames import Heard, framed
from config.plant import Fault

Piece = tuple[float, bytes]

_SISTERS = {1: 2, 2: 1, 3: 4, 4: 3}
_LATE_MS = 500
_SLOW_MS = 20


class Script:
    """A meter's faults. Which chance strikes, and the noise, are the same ones for the same seed."""

    def __init__(self, faults: Sequence[Fault], seed: int) -> None:
        self._faults = tuple(faults)
        self.random = random.Random(seed)  # noqa: S311  repeatable faults, no secret

    def strikes(self, number: int) -> Fault | None:
        """The first fault that strikes the meter's request of this number (from 1)."""
        # All chances are drawn each time: what one fault does must not shift when another one strikes.
        drawn = [fault.chance is not None and self.random.random() < fault.chance for fault in self._faults]
        for fault, chance in zip(self._faults, drawn, strict=True):
            if chance or number in fault.at or (fault.every and number % fault.every == 0):
                return fault
        return None


@dataclass(frozen=True, slots=True)
class _Scene:
    """All a fault needs to be played."""

    fault: Fault
    heard: Heard
    answer: bytes
    framing: str
    random: random.Random

    def frame(self, answer: bytes | None = None, unit: int | None = None, transaction: int | None = None) -> bytes:
        """The answer's frame, with something in it changed."""
        return framed(
            self.framing,
            self.heard.unit if unit is None else unit,
            self.answer if answer is None else answer,
            self.heard.transaction if transaction is None else transaction,
        )

    def count(self, usual: int) -> int:
        return self.fault.count or usual

    def garbage(self) -> bytes:
        """Random bytes; never a colon, which would begin an ASCII frame."""
        return bytes(self.random.choice([byte for byte in range(256) if byte != 0x3A]) for _ in range(self.count(3)))


def _late(scene: _Scene) -> list[Piece]:
    delay = scene.fault.delay_ms
    return [((_LATE_MS if delay is None else delay) / 1000, scene.frame())]


def _short(scene: _Scene) -> list[Piece]:
    whole = scene.frame()
    return [(0.0, whole[: max(1, len(whole) - scene.count(2))])]


def _short_data(scene: _Scene) -> list[Piece]:
    function, data = scene.answer[0], scene.answer[2:]
    if function in _SISTERS:
        size = 2 if function in (3, 4) else 1
        data = data[: max(0, len(data) - size * scene.count(1))]
        return [(0.0, scene.frame(bytes([function, len(data)]) + data))]
    return [(0.0, scene.frame(scene.answer[:-1]))]


def _wrong_unit(scene: _Scene) -> list[Piece]:
    return [(0.0, scene.frame(unit=scene.heard.unit % 247 + 1))]


def _wrong_function(scene: _Scene) -> list[Piece]:
    refused, function = scene.answer[0] & 0x80, scene.answer[0] & 0x7F
    return [(0.0, scene.frame(bytes([refused | _SISTERS.get(function, 3)]) + scene.answer[1:]))]


def _wrong_transaction(scene: _Scene) -> list[Piece]:
    return [(0.0, scene.frame(transaction=(scene.heard.transaction - 1) & 0xFFFF))]


def _noise(scene: _Scene) -> list[Piece]:
    return [(0.0, scene.garbage() + scene.frame())]


def _trailing(scene: _Scene) -> list[Piece]:
    return [(0.0, scene.frame() + scene.garbage())]


def _echo(scene: _Scene) -> list[Piece]:
    return [(0.0, scene.heard.data + scene.frame())]


def _exception(scene: _Scene) -> list[Piece]:
    return [(0.0, scene.frame(bytes([scene.heard.pdu[0] | 0x80, scene.fault.code])))]


def _silence(_: _Scene) -> list[Piece]:
    return []


def _slow(scene: _Scene) -> list[Piece]:
    gap = (_SLOW_MS if scene.fault.delay_ms is None else scene.fault.delay_ms) / 1000
    return [(index * gap, bytes([byte])) for index, byte in enumerate(scene.frame())]


def _checksum(scene: _Scene) -> list[Piece]:
    whole = bytearray(scene.frame())
    if scene.framing == "ascii":
        whole[-3] = ord("0") if whole[-3] != ord("0") else ord("1")
    else:
        whole[-1] ^= 0xFF
    return [(0.0, bytes(whole))]


_PLAYED: dict[str, Callable[[_Scene], list[Piece]]] = {
    "late": _late,
    "short": _short,
    "short_data": _short_data,
    "wrong_unit": _wrong_unit,
    "wrong_function": _wrong_function,
    "wrong_transaction": _wrong_transaction,
    "noise": _noise,
    "echo": _echo,
    "exception": _exception,
    "silence": _silence,
    "slow": _slow,
    "checksum": _checksum,
    "trailing": _trailing,
}


def pieces(fault: Fault | None, heard: Heard, answer: bytes, framing: str, source: random.Random) -> list[Piece]:
    """What leaves the meter for a request, and when: pairs of delay in seconds and bytes, in their order.

    Args:
        fault: the one that strikes, None for a plain answer.
        heard: the request.
        answer: the meter's right answer (PDU).
        framing: of the line.
        source: where random bytes come from.
    """
    if fault is None:
        return [(0.0, framed(framing, heard.unit, answer, heard.transaction))]
    return _PLAYED[fault.kind](_Scene(fault, heard, answer, framing, source))
