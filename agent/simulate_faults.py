"""Scripted faults of simulated meters: when one strikes, and what then leaves the meter instead of a plain answer.

The same bytes in every protocol:

    late                the whole answer, `delay_ms` after the request; also if another request came in between
    short               the last `count` bytes are missing
    noise, trailing     `count` random bytes in front, behind
    echo                the request itself in front, as on a two-wire line whose adapter hears itself
    silence             nothing
    slow                byte by byte with `delay_ms` between them
    checksum            one byte changed on the way (Modbus: the last byte of the checksum inverted)

Made by each protocol from its own frames, where it plays them (`agent.simulate_protocols`, for Modbus
`agent.simulate_modbus_faults`):

    exception           its error reply, with `code`
    wrong_unit          another meter's address, checksum right
    wrong_function      an answer to another kind of request (Modbus: functions 3 and 4, 1 and 2), checksum right
    short_data          `count` registers (bytes of bits) fewer than asked for, checksum and length right
    wrong_transaction   the transaction number of the request before (Modbus TCP)

What this file does not know: protocols, ports and time; it gives delays and bytes.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence

from config.plant import Fault

Piece = tuple[float, bytes]
# What leaves the meter instead of its answer, for the kinds of faults that need the protocol's frames.
Own = Mapping[str, Callable[[Fault], bytes]]

COMMON = ("late", "short", "noise", "trailing", "echo", "silence", "slow", "checksum")
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


def _garbage(fault: Fault, source: random.Random) -> bytes:
    """Random bytes; never a colon, which would begin a Modbus ASCII frame."""
    return bytes(source.choice([byte for byte in range(256) if byte != 0x3A]) for _ in range(fault.count or 3))


def _delay(fault: Fault, usual_ms: int) -> float:
    return (usual_ms if fault.delay_ms is None else fault.delay_ms) / 1000


def _changed_byte(answer: bytes) -> bytes:
    """The answer with its middle byte inverted: no sum, parity or CRC fits it then."""
    middle = len(answer) // 2
    return answer[:middle] + bytes(byte ^ 0xFF for byte in answer[middle : middle + 1]) + answer[middle + 1 :]


def pieces(fault: Fault | None, request: bytes, answer: bytes, own: Own, source: random.Random) -> list[Piece]:
    """What leaves the meter for a request, and when: pairs of delay in seconds and bytes, in their order.

    Args:
        fault: the one that strikes, None for a plain answer.
        request: the request's frame.
        answer: the frame of the meter's right answer.
        own: the kinds that the protocol plays itself, before the common ones.
        source: where random bytes come from.
    """
    kind = fault.kind if fault else ""
    if fault is None:
        return [(0.0, answer)]
    if kind in own:
        return [(0.0, own[kind](fault))]
    match kind:
        case "late":
            return [(_delay(fault, _LATE_MS), answer)]
        case "short":
            return [(0.0, answer[: max(1, len(answer) - (fault.count or 2))])]
        case "noise":
            return [(0.0, _garbage(fault, source) + answer)]
        case "trailing":
            return [(0.0, answer + _garbage(fault, source))]
        case "echo":
            return [(0.0, request + answer)]
        case "slow":
            return [(index * _delay(fault, _SLOW_MS), answer[index : index + 1]) for index in range(len(answer))]
        case "checksum":
            return [(0.0, _changed_byte(answer))]
    return []
