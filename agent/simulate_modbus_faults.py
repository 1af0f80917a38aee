"""Faults of simulated Modbus meters that need a Modbus frame: another unit, function, length, transaction or checksum.

What this file does not know: when a fault strikes, and those that are the same in every protocol (`agent.simulate_faults`).
"""

from __future__ import annotations

from agent.simulate_faults import Own
from agent.simulate_frames import Heard, framed
from config.plant import Fault

_SISTERS = {1: 2, 2: 1, 3: 4, 4: 3}


def modbus_faults(heard: Heard, answer: bytes, framing: str) -> Own:
    """What leaves the meter instead of its answer, by kind of fault.

    Args:
        heard: the request.
        answer: the meter's right answer (PDU).
        framing: of the line.
    """

    def frame(pdu: bytes = answer, unit: int = heard.unit, transaction: int = heard.transaction) -> bytes:
        return framed(framing, unit, pdu, transaction)

    def short_data(fault: Fault) -> bytes:
        function, data = answer[0], answer[2:]
        if function not in _SISTERS:
            return frame(answer[:-1])
        size = 2 if function in (3, 4) else 1
        data = data[: max(0, len(data) - size * (fault.count or 1))]
        return frame(bytes([function, len(data)]) + data)

    def wrong_function(_: Fault) -> bytes:
        refused, function = answer[0] & 0x80, answer[0] & 0x7F
        return frame(bytes([refused | _SISTERS.get(function, 3)]) + answer[1:])

    def checksum(_: Fault) -> bytes:
        whole = bytearray(frame())
        if framing == "ascii":
            whole[-3] = ord("0") if whole[-3] != ord("0") else ord("1")
        else:
            whole[-1] ^= 0xFF
        return bytes(whole)

    return {
        "short_data": short_data,
        "wrong_unit": lambda _: frame(unit=heard.unit % 247 + 1),
        "wrong_function": wrong_function,
        "wrong_transaction": lambda _: frame(transaction=(heard.transaction - 1) & 0xFFFF),
        "exception": lambda fault: frame(bytes([heard.pdu[0] | 0x80, fault.code])),
        "checksum": checksum,
    }
