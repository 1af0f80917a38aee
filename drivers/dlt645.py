"""DL/T 645-2007 and -1997: energies, demands and variables of Chinese electricity meters. Reading functions only.

    asked     11H 00010000           91H 00010000 value             one value, or a block such as 0001FF00
              11H 0001FF00           B1H 0001FF00 first part        more follows:
              12H 0001FF00 01        92H 0001FF00 second part 01    asked with its number, which the answer repeats
    refused                          D1H error bits
    own number  13H                  93H address                    AA..AA as address: whoever is alone on the line

(DL/T 645-2007, clauses 7.1 to 7.3; in the edition of 1997 01H and 02H, answers 81H, A1H, C1H, identifiers of two bytes,
and following frames without a number: clause 5.) Address and identifier of an answer must be the ones asked for. Every
answer carries the meter's own address, also to a request with AA in place of digits: that is the number in the frame.

The parts of a block are put together in the order of their numbers; the parts of 1997 count only as long as no
exchange between them failed, since nothing in them tells the second part from the third.

What this file does not know: ports, time, and whether a model's identifiers are right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from config.dlt645_identifiers import item_of
from config.language import N_, _
from config.model import Point, Watch
from drivers import Request, Target
from drivers import dlt645_frame as frames
from drivers.dlt645_frame import ABNORMAL, ANSWER, FUNCTION, IDENTIFIER_BYTES, MORE, Asked, asked_in, content, is_meant
from drivers.dlt645_map import formula_of, limits_of, plan, readable
from drivers.errors import BadFrame, Refused

# What reads the next part of a block, by what its part was read with.
_READ_ON = {
    frames.READ: frames.READ_ON,
    frames.READ_ON: frames.READ_ON,
    frames.READ_1997: frames.READ_ON_1997,
    frames.READ_ON_1997: frames.READ_ON_1997,
}
_MOST_PARTS = 32
_GAP_S = 0.5  # between two bytes of an answer (clause 5.3.3)

# Clause 7, error word: the bit, the word for records, what it means to a person.
_ERRORS: dict[int, tuple[str, str]] = {
    0: ("other_error", N_("the meter reports an error it does not name (bit 0)")),
    1: ("no_such_data", N_("the meter has no data under this identifier (bit 1)")),
    2: ("not_authorised", N_("the meter wants a password for this (bit 2)")),
    3: ("baud_fixed", N_("the meter says its speed cannot be changed (bit 3)")),
    4: ("too_many_zones", N_("the meter says there are too many yearly time zones (bit 4)")),
    5: ("too_many_periods", N_("the meter says there are too many daily periods (bit 5)")),
    6: ("too_many_tariffs", N_("the meter says there are too many tariffs (bit 6)")),
    7: ("other_error", N_("the meter reports an error that the standard keeps in reserve (bit 7)")),
}


def _request(target: Target, asked: Asked, again: Request | None = None) -> Request:
    limits = limits_of(target)
    data = frames.request_frame(limits.wake, asked)
    longest = limits.longest_answer_ms or 2 * limits.timeout_ms
    return Request(
        data, limits.timeout_ms / 1000, limits.pause_ms / 1000, longest / 1000, frames.LONGEST, gap_s=_GAP_S, again=again
    )


def _read(target: Target, identifier: str) -> Request:
    function = frames.READ if limits_of(target).edition == 2007 else frames.READ_1997
    return _request(target, Asked(frames.wire_address(target.address), function, identifier))


def requests(target: Target, points: Sequence[Point | Watch], hole: int | None = None) -> list[Request]:
    """The fewest reads that fetch the points; with `hole` 0 no block, since it may hold what nobody asked for. See `Driver`."""
    return [_read(target, identifier) for identifier in plan(limits_of(target), points, blocks=hole != 0)]


def following(target: Target, request: bytes, answer: bytes) -> Request | None:
    """The request for the next part where the answer says that more follows; the whole block again if that fails."""
    asked = asked_in(request)
    if asked is None or asked.function not in _READ_ON or len(answer) <= 8 or not answer[8] & MORE or answer[8] & ABNORMAL:
        return None
    if asked.sequence >= _MOST_PARTS:
        return None
    sequence = asked.sequence + 1 if asked.function in (frames.READ, frames.READ_ON) else 0
    part = replace(asked, function=_READ_ON[asked.function], sequence=sequence)
    return _request(target, part, again=_read(target, asked.identifier))


def prescribes(target: Target, points: Sequence[Point | Watch], request: bytes) -> bool:
    """Whether a request reads one of these points of this meter, a block with several of them, or a block's next part."""
    asked, limits = asked_in(request), limits_of(target)
    if (
        asked is None
        or asked.address != frames.wire_address(target.address)
        or request != frames.request_frame(limits.wake, asked)
    ):
        return False
    if asked.function not in _READ_ON or IDENTIFIER_BYTES[asked.function] != (4 if limits.edition == 2007 else 2):
        return False
    if asked.function == frames.READ_ON and not 1 <= asked.sequence <= _MOST_PARTS:
        return False
    return asked.identifier in readable(limits, points)


def numbered(request: Request, number: int, framing: str) -> Request:
    """The same request: DL/T 645 has no transaction numbers."""
    return request


def station(request: bytes, framing: str) -> bytes | None:
    """The address, which every answer repeats; nothing where it has AA in it."""
    asked = asked_in(request)
    return b"" if asked is None or 0xAA in asked.address else asked.address


def answer_length(request: bytes, framing: str) -> int | None:
    """How many bytes the answer has on the wire, wake-up bytes apart; None where that is the meter's matter, as for blocks."""
    asked = asked_in(request)
    item = item_of(asked.identifier) if asked and asked.function in (frames.READ, frames.READ_1997) else None
    if asked is None or item is None:
        return None
    return frames.HEAD + IDENTIFIER_BYTES[asked.function] + item.size + frames.TAIL


def answer_span(request: bytes, buffer: bytes, framing: str) -> tuple[int, int] | None:
    """Start and end of the first answer in what has arrived; None: read on. See `Driver`."""
    return frames.answer_span(request, buffer)


def fault(request: bytes, buffer: bytes, framing: str) -> tuple[str, str]:
    """Cause and plain words for what arrived until the deadline without a complete frame in it."""
    return frames.fault(request, buffer)


# --- whose answer it is -------------------------------------------------------------------------------------


def check(request: bytes, answer: bytes, framing: str) -> None:
    """Returns if `answer` answers exactly this request: same meter, function, identifier and number of the part.

    Raises:
        BadFrame: it does not; the cause says in which way.
        Refused: an abnormal answer of the meter, the error's lowest bit as its cause.
    """
    asked = asked_in(request)
    if asked is None:
        raise BadFrame("bad_request", _("the request is no DL/T 645 read"))
    address, control, data = content(answer)
    if not is_meant(asked.address, address):
        wanted = asked.address[::-1].hex().upper()
        raise BadFrame(
            "wrong_unit",
            _("address {upper} answered a request to address {wanted}", upper=address[::-1].hex().upper(), wanted=wanted),
        )
    if not control & ANSWER or control & FUNCTION != asked.function:
        raise BadFrame(
            "wrong_function",
            _("control {control:02X} answered a request with control {function:02X}", control=control, function=asked.function),
        )
    if control & ABNORMAL:
        raise _refusal(data)
    if asked.function == frames.READ_ADDRESS:
        if control & MORE or data != address:
            raise BadFrame("wrong_unit", _("the address told is not the one that the answer comes from"))
        return
    _check_data(asked, data)


def _check_data(asked: Asked, data: bytes) -> None:
    count = IDENTIFIER_BYTES[asked.function]
    told = data[:count][::-1].hex().upper()
    if told != asked.identifier:
        raise BadFrame(
            "wrong_identifier",
            _("asked for {identifier}, the answer is to {told}", identifier=asked.identifier, told=told or "nothing"),
        )
    if len(data) <= count + (asked.function == frames.READ_ON):
        raise BadFrame("wrong_length", _("the answer holds no data"))
    if asked.function == frames.READ_ON and data[-1] != asked.sequence:
        raise BadFrame(
            "wrong_sequence",
            _("asked for part {sequence}, the answer is part {data}", sequence=asked.sequence, data=data[-1]),
        )


def _refusal(data: bytes) -> Refused:
    bits = [bit for bit in range(8) if data and data[0] >> bit & 1]
    if not bits:
        return Refused("other_error", _("the meter refuses and gives no reason"))
    cause = _ERRORS[bits[0]][0]
    return Refused(cause, ", ".join(_(_ERRORS[bit][1]) for bit in bits), lasting=cause == "no_such_data")


# --- where a value stands -----------------------------------------------------------------------------------


def identification_request(target: Target, first: int = 0) -> Request | None:
    """A request for the meter's own address (13H); in the edition of 1997, which has no such, for its number (C032)."""
    if limits_of(target).edition == 1997:
        return _read(target, "C032")
    return _request(target, Asked(frames.wire_address(target.address), frames.READ_ADDRESS, ""))


def identification(answer: bytes, framing: str) -> tuple[dict[str, str], int | None]:
    """The number that a checked identification answer tells, in the digits of the plate."""
    _unused, control, data = content(answer)
    if control & FUNCTION == frames.READ_ADDRESS:
        return {"address": data[::-1].hex()}, None
    return {"meter number": data[2:][::-1].hex()}, None


def frame_serial(target: Target, requests: Sequence[bytes], answers: Sequence[bytes]) -> str | None:
    """The formula of the address in the first good answer: 12 digits, leading zeros kept, without the offset 33H."""
    return next((f"{index}@1:digits6le" for index, answer in enumerate(answers) if answer), None)


def locate(target: Target, requests: Sequence[bytes], point: Point | Watch, answers: Sequence[bytes] = ()) -> str:
    """The formula of a point over the answers to `requests`; empty bytes in their place mask a failed frame.

    Raises:
        KeyError: no request of this meter fetches the point.
        NoValue: its answer holds no value of it: `not_in_answer` where a block ends before the point's place,
            `wrong_length` where the data has not the length that this identifier's data has, `split` where a text lies
            across two frames.
    """
    return formula_of(target, requests, point, answers)


def doubt(target: Target, requests: Sequence[bytes], point: Point, answers: Sequence[bytes]) -> str:
    """Empty: the protocol has no word for a doubtful value."""
    return ""
