"""Wired M-Bus (EN 13757-2, -3 and -7): the telegrams of a meter, fetched by its primary or its secondary address.

    primary      begin anew -> E5, send data -> telegram [, send more data -> telegram ...]
    secondary    select -> E5, send data -> telegram [, ...]; begin anew (nobody may answer): the meter is deselected

A telegram that ends with 1F has a successor, which is asked for with the other frame count bit; a request that failed is
sent again with the same one, so that no telegram is lost between two. A meter answers a selection with nothing that says
who it is: its number stands in the telegram, and no value is taken from a telegram with another number.

A value is told by the record that says of itself what the model asks for; decimal point and unit are the record's own.
Two such records without a word from the model which one is meant are no value.

What this file does not know: ports, time, how frames are built (`drivers.mbus_frame`), how a telegram is laid out
(`drivers.mbus_record`) and what its codes mean (`drivers.mbus_vif`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from config.language import N_, _
from config.mbus import MbusLimits, MbusModel
from config.model import Point, Watch
from drivers import Request, Target
from drivers.errors import BadFrame, Refused
from drivers.mbus_frame import (
    ACKNOWLEDGED,
    BEGIN,
    DATA_ANSWERS,
    FIRST_DATA_REQUEST,
    LONGEST,
    SELECT,
    SELECTED,
    Asked,
    asked_in,
    fits,
    is_whole,
    pattern_of,
    select_frame,
    short_frame,
    toggled,
)
from drivers.mbus_frame import answer_span as answer_span
from drivers.mbus_frame import fault as fault
from drivers.mbus_place import formula_of, told_in
from drivers.mbus_record import FIRST_DATA, FIXED_STRUCTURE, VARIABLE, Unreadable, is_telegram, read_header, read_telegram

_SILENCE_S = 0.3  # 330 bit times and 50 ms at 2400 baud, and some more
_BIG_ENDIAN = (0x76, 0x77)
_APPLICATION_ERROR, _ALARM = 0x70, 0x71

# EN 13757-3, section 8: the byte behind CI 70, the word for records, what it means to a person.
_APPLICATION_ERRORS: dict[int, tuple[str, str]] = {
    0: ("unspecified_error", N_("the meter reports an error and does not say which")),
    1: ("unknown_request", N_("the meter does not know this kind of request")),
    2: ("buffer_too_long", N_("the meter says that the request is too long")),
    3: ("too_many_records", N_("the meter says that the request has too many records")),
    4: ("premature_end", N_("the meter says that the request ends too early")),
    5: ("too_many_difes", N_("the meter says that the request has too many DIFEs")),
    6: ("too_many_vifes", N_("the meter says that the request has too many VIFEs")),
    8: ("application_busy", N_("the meter is too busy to answer")),
    9: ("too_many_readouts", N_("the meter was read too often and saves its battery; it answers again later")),
}
# Section 6.2, table of the status byte: bits, word, what it means to a person.
_STATUS: tuple[tuple[int, int, str, str], ...] = (
    (0x03, 0x01, "application_busy", N_("the meter was busy")),
    (0x03, 0x02, "application_error", N_("the meter reports an error of its program")),
    (0x03, 0x03, "abnormal_condition", N_("the meter reports an alarm or an abnormal condition")),
    (0x04, 0x04, "low_battery", N_("the meter's battery is low")),
    (0x08, 0x08, "permanent_error", N_("the meter reports a permanent error")),
    (0x10, 0x10, "temporary_error", N_("the meter reports a temporary error")),
)


def limits_of(target: Target) -> MbusLimits:
    """What an M-Bus meter bears."""
    return cast("MbusModel", target.model).mbus


def _is_secondary(address: str) -> bool:
    return len(address) >= 8


def _request(target: Target, data: bytes, silent: bool = False) -> Request:
    limits = limits_of(target)
    longest = (limits.longest_answer_ms or 2 * limits.timeout_ms) / 1000
    timeout = _SILENCE_S if silent else limits.timeout_ms / 1000
    return Request(data, timeout, limits.pause_ms / 1000, longest, LONGEST, silent=silent)


def _station(target: Target) -> int:
    return SELECTED if _is_secondary(target.address) else int(target.address)


def requests(target: Target, points: Sequence[Point | Watch], hole: int | None = None) -> list[Request]:
    """The beginning of the conversation that fetches a meter's telegrams, whatever the points, and what ends it.

    Nothing for no points.
    """
    if not points:
        return []
    begin = short_frame(BEGIN, _station(target))
    if not _is_secondary(target.address):
        return [_request(target, begin)]
    # Selecting begins anew too, by the standard. Deselected at the end, a meter that does not know that begins anew all the
    # same: it could take the next poll's request for a repetition and tell the values of this one. Nobody answers where
    # the selection failed.
    return [_request(target, select_frame(pattern_of(target.address))), _request(target, begin, silent=True)]


def following(target: Target, request: bytes, answer: bytes) -> Request | None:
    """The request for the meter's first telegram, or for the next one where one ends with "more records follow"."""
    asked = asked_in(request)
    if asked is None:
        return None
    if not asked.wants_data:
        waits = asked.control == SELECT or not _is_secondary(target.address)
        return _request(target, short_frame(FIRST_DATA_REQUEST, asked.address)) if waits else None
    try:
        more = read_telegram(answer).more
    except Unreadable:
        return None
    return _request(target, short_frame(toggled(asked.control), asked.address)) if more else None


def prescribes(target: Target, points: Sequence[Point | Watch], request: bytes) -> bool:
    """Whether a request is one of those by which this meter's telegrams are fetched."""
    asked = asked_in(request)
    if asked is None or not points or asked.address != _station(target):
        return False
    return asked.control != SELECT or (_is_secondary(target.address) and asked.pattern == pattern_of(target.address))


def numbered(request: Request, number: int, framing: str) -> Request:
    """The request itself: M-Bus has no transaction numbers."""
    return request


def station(request: bytes, framing: str) -> bytes | None:
    """The address, which a telegram repeats; empty where it does not: in E5, and where a selected meter says its own one."""
    asked = asked_in(request)
    return bytes([asked.address]) if asked and asked.wants_data and asked.address != SELECTED else b""


def identification_request(target: Target, first: int = 0) -> None:
    """None: a meter says in each telegram who it is."""
    return


def identification(answer: bytes, framing: str) -> tuple[dict[str, str], int | None]:
    """What a telegram's header says of the meter; nothing where it is none."""
    try:
        header = read_header(answer)
    except Unreadable:
        return {}, None
    said = {"number": header.digits, "maker": header.manufacturer, "medium": str(header.medium)}
    return said | ({"version": str(header.version)} if header.version >= 0 else {}), None


# --- whose answer it is -------------------------------------------------------------------------------------


def check(request: bytes, answer: bytes, framing: str = "own") -> None:
    """Returns if `answer` answers exactly this request: E5 to a beginning and a selection, this meter's telegram to others.

    Nothing answers a beginning that is sent to the selected meter, where none is selected.
    A telegram to address FD may come from any address: its number is compared where a value is taken from it.

    Raises:
        BadFrame: it does not; the cause says in which way.
        Refused: the meter's own error, or a telegram of a kind that is not read.
    """
    asked = asked_in(request)
    if asked is None:
        raise BadFrame("bad_request", _("the request is not an M-Bus read"))
    if not asked.wants_data:
        nobody = not answer and asked.control == BEGIN and asked.address == SELECTED
        if answer != ACKNOWLEDGED and not nobody:
            raise BadFrame("wrong_function", _("a telegram answered a request that is only acknowledged"))
        return
    if answer == ACKNOWLEDGED:
        raise BadFrame("no_data", _("the meter acknowledged the request, but sent no telegram"))
    if not is_whole(answer):
        raise BadFrame("bad_checksum", _("the answer is no whole M-Bus frame"))
    if asked.address not in (SELECTED, answer[5]):
        raise BadFrame(
            "wrong_unit",
            _("address {answer} answered a request to address {address}", answer=answer[5], address=asked.address),
        )
    if answer[4] not in DATA_ANSWERS:
        raise BadFrame("wrong_function", _("what arrived is no answer of a meter (C field {answer:02X}H)", answer=answer[4]))
    _check_telegram(answer)


def _check_telegram(answer: bytes) -> None:
    application = answer[FIRST_DATA]
    if application in (VARIABLE, FIXED_STRUCTURE):
        try:
            read_telegram(answer)
        except Unreadable as error:
            raise BadFrame("bad_records", _("the telegram contradicts itself: {error}", error=error)) from None
        return
    if application == _APPLICATION_ERROR:
        code = answer[FIRST_DATA + 1] if len(answer) > FIRST_DATA + 3 else 0
        unknown = (f"application_error_{code}", _("the meter reports its error {code}", code=code))
        cause, words = _APPLICATION_ERRORS.get(code, unknown)
        raise Refused(cause, _(words))
    if application == _ALARM:
        raise Refused("alarm", _("the meter sent an alarm in place of its records"))
    if application in _BIG_ENDIAN:
        raise Refused(
            "high_byte_first",
            _(
                "the meter sends its telegram high byte first (CI {application:02X}H), an old form that is not read",
                application=application,
            ),
            _("Set the meter to low byte first, if its manual knows a way."),
        )
    raise Refused(
        "unknown_telegram",
        _("the meter sent a telegram of a kind that is not read (CI {application:02X}H)", application=application),
    )


def own_number_matches(target: Target, answers: Sequence[bytes]) -> bool:
    """Whether every telegram among checked answers comes from the meter with the target's secondary address.

    True where the address is a primary one: `check` has compared it. A telegram in the fixed structure has no maker and
    version, so only its number and medium count.
    """
    if not _is_secondary(target.address):
        return True
    pattern = pattern_of(target.address)
    return all(fits(pattern, _own(answer, pattern)) for answer in answers if is_telegram(answer))


def _own(answer: bytes, pattern: bytes) -> bytes:
    """The eight bytes that a telegram's meter compares with a selection; the pattern's own where the telegram has none."""
    if answer[FIRST_DATA] == VARIABLE:
        return answer[FIRST_DATA + 1 : FIRST_DATA + 9].ljust(8, b"\0")
    header = read_header(answer)
    return header.number + pattern[4:7] + bytes([header.medium])


# --- what it says -------------------------------------------------------------------------------------------


def status_words(answers: Sequence[bytes]) -> list[tuple[str, str]]:
    """What the status bytes of checked telegrams say is wrong with the meter: stable words, and what they mean to a person.

    Its values stand all the same. Bits 5 to 7 are the maker's own and not told.
    """
    words: dict[str, str] = {}
    for answer in filter(is_telegram, answers):
        status = read_header(answer).status
        fixed = answer[FIRST_DATA] == FIXED_STRUCTURE  # its two lowest bits say how the counters are written
        words |= {word: _(text) for mask, bits, word, text in _STATUS if status & mask == bits and not (fixed and mask == 0x03)}
    return list(words.items())


def frame_serial(target: Target, requests: Sequence[bytes], answers: Sequence[bytes]) -> str | None:
    """The formula of the number in the header of the first telegram; None where there is none, or it has letters in it."""
    for index, answer in told_in(requests, answers):
        return f"{index}@{FIRST_DATA + 1}:digits4le" if read_header(answer).digits.isdecimal() else None
    return None


def locate(target: Target, requests: Sequence[bytes], point: Point | Watch, answers: Sequence[bytes] = ()) -> str:
    """The formula of a point over the answers to `requests`; empty bytes in their place mask a failed frame.

    Raises:
        KeyError: no telegram is there, or the last one that would have to be is not.
        NoValue: the telegrams hold no such value: `encrypted`, `other_meter`, `other_model`, `no_record`,
            `ambiguous_record`, `no_data`, `unknown_unit` and others.
    """
    mine = [_mine(target, request) for request in requests]
    return formula_of(target, told_in(mine, answers), point, own_number_matches(target, answers))


def doubt(target: Target, requests: Sequence[bytes], point: Point, answers: Sequence[bytes]) -> str:
    """Empty: what a record says against itself leaves no value (`locate`)."""
    return ""


def _mine(target: Target, request: bytes) -> bytes:
    """The request itself where it is one for this meter's telegram, else nothing."""
    asked: Asked | None = asked_in(request)
    return request if asked and asked.wants_data and asked.address == _station(target) else b""
