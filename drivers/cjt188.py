"""CJ/T 188: data blocks of water, heat, cooling and gas meters. Two functions, both of them reads: 01H and 03H.

    FE ... | 68 | T | A0 .. A6 | 01 | 03 | DI DI SER | CS | 16                    request
    FE ... | 68 | T | A0 .. A6 | 81 | L  | DI DI SER | block ... | CS | 16        answer
    FE ... | 68 | T | A0 .. A6 | C1 | 03 | SER | ST ST | CS | 16                  abnormal answer

CJ/T 188-2004 and -2018, data link layer and application layer. One request fetches one block, such as 901F with all
current data; an answer belongs to it if type, address, function, identifier and sequence number are those asked for.
The sequence number is the model's and the same each time, because many meters know one only: of a late answer to an
earlier request for the same block it tells nothing, so the link keeps the line silent after a timeout.

Half of what a meter sends is its maker's choice (the order of the identifier, the place of the unit bytes, the fields
of a block). The model declares all of it; where the answer contradicts the model there is no value.

What this file does not know: ports, time, and whether a model is right.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from config.cjt188 import cjt188_address
from config.language import N_, _
from config.model import Point, Watch
from drivers import Request, Target
from drivers.cjt188_frame import (
    ABNORMAL,
    ANSWER,
    READ_ADDRESS,
    READ_DATA,
    Frame,
    answers_to,
    any_meter,
    asked_in,
    parsed,
    read_frame,
)
from drivers.cjt188_frame import answer_span as answer_span
from drivers.cjt188_frame import fault as fault
from drivers.cjt188_map import formula_of, identifiers_of, length_of, limits_of, places_of, wire_identifier
from drivers.errors import BadFrame, Refused

_ADDRESS = "810A"
_ADDRESS_LENGTH = 3
_AROUND = 13 + 20  # bytes of an answer around its data, with the wake-up bytes that some meters send in front of it
_TYPES = {
    0x10: N_("cold water"),
    0x11: N_("hot water"),
    0x12: N_("drinking water"),
    0x13: N_("recycled water"),
    0x20: "heat",
    0x21: "cooling",
    0x22: N_("heat and cooling"),
    0x30: "gas",
}
# Bits 0 and 1 of the first byte of ST as most makers use them; others keep the valve in bits 6 and 7.
_VALVE = (N_("valve open"), N_("valve closed"), N_("valve state unknown"), N_("valve faulty"))


def requests(target: Target, points: Sequence[Point | Watch], hole: int | None = None) -> list[Request]:
    """One read a data block, the current data first. See `Driver`."""
    return [_request(target, READ_DATA, identifier) for identifier in identifiers_of(points)]


def following(target: Target, request: bytes, answer: bytes) -> Request | None:
    """Nothing: a block comes in one answer."""
    return None


def prescribes(target: Target, points: Sequence[Point | Watch], request: bytes) -> bool:
    """Whether a request reads a block of these points of this meter, with whatever sequence number."""
    asked = asked_in(request)
    if asked is None or asked.control != READ_DATA:
        return False
    return any(request == _frame(target, READ_DATA, name, asked.sequence[0]) for name in identifiers_of(points))


def numbered(request: Request, number: int, framing: str) -> Request:
    """The request itself: its sequence number is the model's."""
    return request


def station(request: bytes, framing: str) -> bytes | None:
    """Type and address, which every answer repeats; nothing where any meter may answer."""
    asked = asked_in(request)
    return b"" if asked is None or any_meter(asked) else asked.station


def identification_request(target: Target, first: int = 0) -> Request:
    """A request for the meter's address (function 03H, identifier 810A)."""
    return _request(target, READ_ADDRESS, _ADDRESS)


def identification(answer: bytes, framing: str) -> tuple[dict[str, str], int | None]:
    """The meter's address as on its plate, and its type byte with what it stands for."""
    frame = parsed(answer)
    kind = _(_TYPES.get(frame.type, ""))
    return {"address": frame.address[::-1].hex().upper(), "type": f"{frame.type:02X}H{f' {kind}' if kind else ''}"}, None


# --- what goes on the wire ----------------------------------------------------------------------------------


def _request(target: Target, function: int, identifier: str) -> Request:
    limits = limits_of(target)
    length = _ADDRESS_LENGTH if function == READ_ADDRESS else length_of(limits, identifier)
    data = _frame(target, function, identifier, limits.sequence)
    longest = limits.longest_answer_ms or 2 * limits.timeout_ms
    return Request(data, limits.timeout_ms / 1000, limits.pause_ms / 1000, longest / 1000, longest_bytes=_AROUND + length)


def _frame(target: Target, function: int, identifier: str, sequence: int) -> bytes:
    limits = limits_of(target)
    named = wire_identifier(limits, identifier)
    return read_frame(function, _station(target.address, limits.meter_type), named, sequence, limits.wake_up)


@lru_cache(maxsize=256)
def _station(address: str, meter_type: str) -> bytes:
    """Type and address of a meter as on the wire: the type that its address names, else its model's."""
    kind, _unused, digits = cjt188_address(address).rpartition("-")
    return bytes.fromhex(kind or meter_type) + bytes.fromhex(digits)[::-1]


# --- whose answer it is -------------------------------------------------------------------------------------


def check(request: bytes, answer: bytes, framing: str) -> None:
    """Returns if `answer` answers exactly this request: same type, address, function, identifier and sequence number.

    Raises:
        BadFrame: it does not; the cause says in which way.
        Refused: the meter answered "abnormal".
    """
    asked = asked_in(request)
    if asked is None:
        raise BadFrame("bad_request", _("the request is not a CJ/T 188 read"))
    frame = parsed(answer)
    if not frame.control & ANSWER:
        raise BadFrame("wrong_function", _("a request arrived instead of an answer"))
    if not answers_to(asked, frame.station):
        raise BadFrame(
            "wrong_unit", _("meter {name} answered a request to meter {name_2}", name=_name(frame), name_2=_name(asked))
        )
    if frame.control == asked.control | ANSWER | ABNORMAL:
        raise _refusal(asked, frame)
    if frame.control != asked.control | ANSWER:
        raise BadFrame(
            "wrong_function",
            _("control {control:02X}H answered a request with {control_2:02X}H", control=frame.control, control_2=asked.control),
        )
    if len(frame.data) < len(asked.data):
        raise BadFrame(
            "wrong_length",
            _("the answer has {data} bytes of data, not even an identifier and number", data=len(frame.data)),
        )
    if frame.identifier != asked.identifier:
        wrong = _(
            "block {upper} arrived, {upper_2} was asked for",
            upper=frame.identifier.hex(" ").upper(),
            upper_2=asked.identifier.hex(" ").upper(),
        )
        raise BadFrame("wrong_identifier", wrong, _hint_for(asked, frame))
    if frame.sequence != asked.sequence:
        raise BadFrame(
            "wrong_sequence",
            _("number {sequence} arrived, {sequence_2} was asked with", sequence=frame.sequence[0], sequence_2=asked.sequence[0]),
        )


def _refusal(asked: Frame, frame: Frame) -> Refused | BadFrame:
    """An abnormal answer: sequence number and ST (L = 3), of some meters with the identifier in front."""
    data = frame.data
    with_identifier = len(data) >= 3 and data[:3] == asked.data
    if data and not with_identifier and data[:1] != asked.sequence:
        return BadFrame("wrong_sequence", _("an abnormal answer to another request arrived"))
    status = data[3 if with_identifier else 1 :][:2]
    if not status:
        return Refused(
            "abnormal", _('the meter answered "abnormal" (control {control:02X}H) without a status', control=frame.control)
        )
    battery = _("battery low") if status[0] & 4 else _("battery good")
    words = _("{valve}, {battery}, if its maker keeps to the standard's bits", valve=_(_VALVE[status[0] & 3]), battery=battery)
    said = _(
        'the meter answered "abnormal" (control {control:02X}H), status {upper}',
        control=frame.control,
        upper=status.hex(" ").upper(),
    )
    return Refused("abnormal", f"{said}: {words}")


def _hint_for(asked: Frame, frame: Frame) -> str:
    """What to do about an identifier that arrived in the other order, or another one."""
    if frame.identifier == asked.identifier[::-1]:
        return _("The meter sends identifiers in the other byte order: take the model of the standard's other edition.")
    return ""


def _name(frame: Frame) -> str:
    return _("{address} (type {type:02X}H)", address=frame.address[::-1].hex().upper(), type=frame.type)


# --- where a value stands -----------------------------------------------------------------------------------


def frame_serial(target: Target, requests: Sequence[bytes], answers: Sequence[bytes]) -> str | None:
    """The formula of the address in the first answer, with its leading zeros; None where it is no decimal number."""
    for index, answer in enumerate(answers):
        if len(answer) > 9 and answer[2:9].hex().isdecimal():
            return f"{index}@2:digits7le"
    return None


def locate(target: Target, requests: Sequence[bytes], point: Point | Watch, answers: Sequence[bytes] = ()) -> str:
    """The formula of a point over the answers to `requests`; empty bytes in their place mask a failed frame.

    Raises:
        KeyError: no request of this meter fetches the point.
        NoValue: one does, but its answer holds no value of it: `unknown_unit`, `not_available`, `wrong_length`
            (another length than the model says) or `other_layout` (unit bytes at the other end of their fields).
    """
    limits = limits_of(target)
    wanted = _station(target.address, limits.meter_type), wire_identifier(limits, places_of(point)[0].identifier)
    for index, request in enumerate(requests):
        asked = asked_in(request)
        if asked and asked.control == READ_DATA and (asked.station, asked.identifier) == wanted:
            return formula_of(target, point, index, answers[index] if index < len(answers) else b"")
    raise KeyError(_("no request reads block {identifier}", identifier=places_of(point)[0].identifier))


def doubt(target: Target, requests: Sequence[bytes], point: Point, answers: Sequence[bytes]) -> str:
    """Empty: the protocol has no word for a doubtful value."""
    return ""
