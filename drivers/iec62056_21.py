r"""IEC 62056-21 (formerly IEC 1107, the "D0" interface): the readout of electricity, heat and gas meters. Reading only.

    mode C   sign-on > < identification   option select > < readout, at the speed Z of both       (clause 6.4.5)
    mode B   sign-on > < identification   < readout, at the speed Z                                (6.4.4)
    mode A   sign-on > < identification, readout at the same speed                                 (6.4.3)
    mode D   < identification, lines, over and over without being asked                            (6.4.6)

The sign-on goes out with 300 baud and 7E1. A request without bytes is listening: for the readout that follows by
itself in modes A and B, and for the telegrams of mode D. Nothing but a readout is ever asked for: the option select
ends in 0, and neither the programming mode nor a password exists here.

An answer names its meter only in its own lines: that is what `frame_serial` points at. The unit of a value stands in
the telegram (`drivers.iec62056_21_line`).

What this file does not know: ports, time, and whether a model's lines are right.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import cast

from config.iec62056_21 import Iec62056Limits, Iec62056Model
from config.language import _
from config.model import Point, Watch
from drivers import Request, Target
from drivers.errors import BadFrame, MeterError, NoValue
from drivers.iec62056_21_frame import (
    ACK,
    NAK,
    SPEEDS_B,
    SPEEDS_C,
    STX,
    WAITING,
    Message,
    block_span,
    message,
    named_span,
    stripped,
    told_span,
    with_parity,
)
from drivers.iec62056_21_line import formula_of, number_of

_FIRST_SPEED = 300
_IDENTIFICATION_BYTES = 100  # an identification with the echo of the sign-on in front of it
_ZEROS_S, _AFTER_ZEROS_S = 2.2, 1.6  # annex on battery operated devices: 2.1 to 2.3 s, then 1.5 to 1.7 s
_CHARACTER_BITS = 10
_REACTION_S, _QUICK_REACTION_S = 0.2, 0.02  # what the meter needs (6.4.2); the short one where its third letter is small
_GAP_S = 1.5  # the longest pause between two characters (6.4.2)
_SIGN_ON = b"/?"


# --- what is sent -------------------------------------------------------------------------------------------


def requests(target: Target, points: Sequence[Point | Watch], hole: int | None = None) -> list[Request]:
    """The first request of the one conversation that tells all points, behind a wake-up where the meter needs one."""
    limits = _limits(target)
    if not points:
        return []
    if limits.mode == "D":
        return [_listening(limits, None)]
    return [*([_wake_up(limits)] if limits.wake_up else []), _sign_on(target)]


def _wake_up(limits: Iec62056Limits) -> Request:
    return replace(_request(limits, _zeros(limits), _speed(limits), 0), timeout_s=_AFTER_ZEROS_S, silent=True)


def _zeros(limits: Iec62056Limits) -> bytes:
    return bytes(round(_ZEROS_S * _speed(limits) / _CHARACTER_BITS))


def _sign_on(target: Target) -> Request:
    limits = _limits(target)
    longest = limits.longest_bytes if limits.mode == "A" else _IDENTIFICATION_BYTES
    return replace(_request(limits, _sign_on_text(target), _speed(limits), longest), pause_s=limits.pause_ms / 1000)


def _sign_on_text(target: Target) -> bytes:
    return _SIGN_ON + target.address.encode("ascii", "replace") + b"!\r\n"


def _option_select(target: Target, found: Message) -> Request:
    """Asks for the readout at the speed that the meter offers; at the first one where nothing else is possible."""
    limits = _limits(target)
    speed = limits.fixed_baud or SPEEDS_C.get(found.speed, _FIRST_SPEED)
    made = _request(limits, _option_text(speed), _speed(limits), limits.longest_bytes)
    reaction = _QUICK_REACTION_S if found.maker[2:].islower() else _REACTION_S
    answer_baud = speed if speed != _speed(limits) else None
    return replace(made, pause_s=reaction, answer_baud=answer_baud, again=_sign_on(target))


def _option_text(speed: int) -> bytes:
    character = next(character for character, baud in SPEEDS_C.items() if baud == speed)
    return ACK + f"0{character}0\r\n".encode("ascii")


def _listening(limits: Iec62056Limits, baud: int | None) -> Request:
    return _request(limits, b"", baud, limits.longest_bytes)


def _request(limits: Iec62056Limits, text: bytes, baud: int | None, longest_bytes: int) -> Request:
    timeout = limits.timeout_ms / 1000
    longest = limits.longest_answer_ms / 1000 if limits.longest_answer_ms else 2 * timeout
    data = with_parity(text) if limits.eight_bits else text
    character = None if baud is None else "8N1" if limits.eight_bits else "7E1"
    return Request(data, timeout, 0.0, longest, longest_bytes, baud=baud, character=character, gap_s=_GAP_S)


def _limits(target: Target) -> Iec62056Limits:
    return cast("Iec62056Model", target.model).iec62056_21


def _speed(limits: Iec62056Limits) -> int:
    return limits.fixed_baud or _FIRST_SPEED


def following(target: Target, request: bytes, answer: bytes) -> Request | None:
    """What the meter's mode asks for after its identification.

    None where the readout is there already, and behind the identification of another maker's meter.
    """
    limits = _limits(target)
    if not stripped(request).startswith(_SIGN_ON):
        return None
    try:
        found = message(answer)
    except MeterError:
        return None
    if found.readout or not _is_of(limits, found):
        return None
    if limits.mode == "C":
        return _option_select(target, found)
    speed = SPEEDS_B.get(found.speed, _FIRST_SPEED) if limits.mode == "B" else _speed(limits)
    return replace(_listening(limits, speed), again=_sign_on(target))


def prescribes(target: Target, points: Sequence[Point | Watch], request: bytes) -> bool:
    """Whether a request belongs to the conversation by which this meter is read."""
    return bool(points) and request in _prescribed(target)


def _prescribed(target: Target) -> Iterator[bytes]:
    limits = _limits(target)
    texts = [] if limits.mode == "D" else [_sign_on_text(target)]
    if limits.wake_up:
        texts.append(_zeros(limits))
    if limits.mode == "C":
        texts += [_option_text(speed) for speed in ([limits.fixed_baud] if limits.fixed_baud else SPEEDS_C.values())]
    else:
        texts.append(b"")
    return (with_parity(text) if limits.eight_bits else text for text in texts)


def numbered(request: Request, number: int, framing: str) -> Request:
    """The request itself: it has no number."""
    return request


def station(request: bytes, framing: str) -> bytes | None:
    """Nothing: no answer repeats the address."""
    return b""


# --- whose answer it is -------------------------------------------------------------------------------------


def answer_span(request: bytes, buffer: bytes, framing: str) -> tuple[int, int] | None:
    """Start and end of the first whole message of the kind that answers the request. See `Driver`."""
    data, asked = stripped(buffer), stripped(request)
    if asked.startswith(_SIGN_ON):
        return named_span(data)
    if asked.startswith(ACK):
        return block_span(data)
    return None if asked else told_span(data)


def check(request: bytes, answer: bytes, framing: str) -> None:
    """Returns if `answer` is a sound message of the kind that answers the request.

    Raises:
        BadFrame: it is not, or its check does not fit.
        Refused: the meter answered with an error or asks for a password.
    """
    asked = stripped(request)
    if request and not asked.strip(b"\0"):
        if answer:
            raise BadFrame("noise", _("bytes arrived while the meter was being woken up"))
        return
    if asked and not asked.startswith((_SIGN_ON, ACK)):
        raise BadFrame("bad_request", _("the request is no IEC 62056-21 readout"))
    found = message(answer)
    if asked and found.parity != (request != asked):
        raise BadFrame("bad_parity", *_wrong_bits(found.parity))
    if asked.startswith(_SIGN_ON) and (not found.maker or found.readout == (found.speed in WAITING)):
        raise BadFrame("wrong_format", _("the answer to the sign-on is no identification, or its readout is missing"))
    if asked.startswith(ACK) and found.maker:
        raise BadFrame("wrong_format", _("an identification came instead of the readout"))
    if not asked and not found.readout:
        raise BadFrame("wrong_format", _("an identification came without a readout"))


def _wrong_bits(parity: bool) -> tuple[str, str]:
    if parity:
        return (
            _("the characters carry a parity bit: the line is set to 8 bits, the meter speaks 7E1"),
            _("Set the serial server or the link to 7E1, or write  eight_bits: true  into the meter's model."),
        )
    return (
        _("the characters carry no parity bit although the request did"),
        _("The line is set to 7E1 already: take eight_bits out of the meter's model."),
    )


def fault(request: bytes, buffer: bytes, framing: str) -> tuple[str, str]:
    """Cause and plain words for what arrived until the deadline without a whole message in it."""
    if not buffer:
        return "no_answer", _("no answer")
    if request and buffer == request:
        return "only_echo", _("only the request's own echo came back")
    data, asked = stripped(buffer.removeprefix(request)), stripped(request)
    begins = data.rfind(b"/") if asked.startswith(_SIGN_ON) else max(data.find(b"/"), data.find(STX))
    if begins < 0:
        if data.strip(b"\0") == NAK:
            return "not_understood", _("the meter did not understand the request")
        return "noise", _("bytes that are no IEC 62056-21 arrived: another speed, another format or a disturbance")
    if asked.startswith(_SIGN_ON) and b"\r\n" not in data[begins:]:
        return "short_answer", _("the identification ended after {data} bytes", data=len(data) - begins)
    return "short_answer", _("the readout has no end: it stopped after {data} bytes", data=len(data) - begins)


def identification_request(target: Target, first: int = 0) -> Request | None:
    """None: the identification is the first answer of every readout, and a meter that is left then goes on talking."""
    return None


def identification(answer: bytes, framing: str) -> tuple[dict[str, str], int | None]:
    """What an identification says: the maker's three letters and the name behind the speed."""
    try:
        found = message(answer)
    except MeterError:
        return {}, None
    return {name: text for name, text in (("maker", found.maker), ("product", found.name)) if text}, None


# --- where a value stands -----------------------------------------------------------------------------------


def _is_of(limits: Iec62056Limits, found: Message) -> bool:
    wanted = {maker.upper() for maker in limits.manufacturer}
    return not wanted or found.maker.upper() in wanted


def _told(target: Target, requests: Sequence[bytes], answers: Sequence[bytes]) -> Iterator[tuple[int, Message]]:
    """The messages among the answers to this meter's requests, the last one first, with their places."""
    asked = set(_prescribed(target))
    for index in reversed(range(min(len(requests), len(answers)))):
        if answers[index] and requests[index] in asked:
            try:
                yield index, message(answers[index])
            except MeterError:
                continue


def frame_serial(target: Target, requests: Sequence[bytes], answers: Sequence[bytes]) -> str | None:
    """The formula of the meter's own number in its readout, by the lines its model names; None where none holds one."""
    for index, found in _told(target, requests, answers):
        if found.readout:
            return number_of(target, index, answers[index], found)
    return None


def locate(target: Target, requests: Sequence[bytes], point: Point | Watch, answers: Sequence[bytes]) -> str:
    """The formula of a point over the last readout among the answers.

    Raises:
        KeyError: there is no readout among them.
        NoValue: `other_maker`, `not_in_answer`, `not_available`, `ambiguous`, `no_unit`, `unknown_unit`, `other_unit`,
            `bad_digits` or `bad_text`.
    """
    told = list(_told(target, requests, answers))
    index, found = next(((index, found) for index, found in told if found.readout), (0, Message()))
    if not found.readout:
        raise KeyError(_("no readout"))
    limits = _limits(target)
    named = next((each for _unused, each in told if each.maker), Message())
    if not _is_of(limits, named):
        raise NoValue("other_maker")
    return formula_of(target, index, answers[index], found, point)


def doubt(target: Target, requests: Sequence[bytes], point: Point, answers: Sequence[bytes]) -> str:
    """Empty: a readout says nothing of how good a value is."""
    return ""
