"""Which record of a meter's telegrams a point means, and the formula of its value.

    0@21:i32le!80000000*0.01       four bytes, low byte first; the least number stands for "invalid" (EN 13757-3, annex A)
    0@45:bcd4lef/3600              decimal digits, a top half byte F is a minus; J counted as kWh
    0@52:f32le*0.001               IEEE 754

The decimal point and unit of the record, the unit of the quantity and the model's scale become one factor: a decimal
where it has an end, else a fraction. A number is never rounded here.

What this file does not know: frames, and how telegrams are fetched.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import cast

from config.language import _
from config.mbus import MbusAt, MbusModel, MbusPoint, MbusWatch
from config.model import Point, Watch
from drivers import Target
from drivers.errors import NoValue
from drivers.factor import times_exactly
from drivers.mbus_frame import FIRST_DATA_REQUEST, asked_in, toggled
from drivers.mbus_record import FIRST_DATA, FIRST_RECORD, FIXED_STRUCTURE, Header, Record, Telegram, is_telegram, read_telegram
from drivers.mbus_vif import worth

_HEADER_FIELDS = {
    "header_number": (1, "digits4le"),
    "header_manufacturer": (5, "hex2"),
    "header_version": (7, "u8"),
    "header_medium": (8, "u8"),
    "header_status": (10, "u8"),
}
_FIXED_FIELDS = {"header_number": (1, "digits4le"), "header_status": (6, "u8")}

Told = tuple[int, bytes]
Found = tuple[int, Record]


def told_in(requests: Sequence[bytes], answers: Sequence[bytes]) -> Iterator[Told]:
    """The telegrams of one conversation in their order, each with the index of its frame.

    Each answers a request with another frame count bit than the one before; what breaks that order is left out, so that
    the telegram of a repeated request never counts twice. Nor does one with the same records as another: it is from a
    meter that does not heed the bit.
    """
    wanted, bodies = FIRST_DATA_REQUEST, set()
    for index, (request, answer) in enumerate(zip(requests, answers, strict=False)):
        asked = asked_in(request)
        if asked and asked.control == wanted and is_telegram(answer):
            wanted = toggled(wanted)
            body = answer[FIRST_RECORD:-2]
            if body not in bodies:
                yield index, answer
            bodies.add(body)


def formula_of(target: Target, told: Iterator[Told], point: Point | Watch, own_number: bool) -> str:
    """The formula of a point over the telegrams. `own_number`: whether they carry the number the meter was asked by.

    Raises:
        KeyError: there is no telegram, or the point may stand in the one that is missing behind them.
        NoValue: there is no such value in them.
    """
    frames = list(told)
    telegrams = [(index, read_telegram(frame)) for index, frame in frames]
    if not telegrams:
        raise KeyError(_("no telegram of this meter arrived"))
    if not own_number:
        raise NoValue("other_meter")
    at = cast("MbusPoint | MbusWatch", point).at
    fixed = frames[0][1][FIRST_DATA] == FIXED_STRUCTURE
    for _unused, telegram in telegrams:
        _check_header(cast("MbusModel", target.model), telegram.header)
    if at.kind.startswith("header_"):
        fields = _FIXED_FIELDS if fixed else _HEADER_FIELDS
        if at.kind not in fields:
            raise NoValue("no_record")
        offset, encoding = fields[at.kind]
        return f"{frames[0][0]}@{FIRST_DATA + offset}:{encoding}{_times(Fraction(point.scale)) if encoding == 'u8' else ''}"
    if any(telegram.header.encrypted for _unused, telegram in telegrams):
        raise NoValue("encrypted")
    index, record = _the_one(at, telegrams)
    return f"{index}@{record.data}:{_written(target, record, point)}"


def _check_header(model: MbusModel, header: Header) -> None:
    """Raises NoValue where the telegram is from another make of meter than the model is for."""
    wanted = model.mbus.header
    if (
        (wanted.manufacturer and header.manufacturer not in wanted.manufacturer)
        or (wanted.version and header.version not in wanted.version)
        or (wanted.medium and header.medium not in wanted.medium)
    ):
        raise NoValue("other_model")


def _the_one(at: MbusAt, telegrams: Sequence[tuple[int, Telegram]]) -> Found:
    """The one record that a place means. Raises NoValue, and KeyError where a telegram that might have it is missing."""
    found = [(index, record) for index, telegram in telegrams for record in telegram.records if _is_meant(at, record)]
    if at.nth:
        found = found[at.nth - 1 : at.nth]
    elif len(found) > 1:
        found = [(index, record) for index, record in found if record.form != "none"] or found[:1]
    if len(found) > 1:
        raise NoValue("ambiguous_record")
    if found:
        return found[0]
    if telegrams[-1][1].more:
        raise KeyError(_("the meter has more telegrams, which did not arrive"))
    failed = at.model_copy(update={"function": "error"})
    raise NoValue(
        "error_value" if any(_is_meant(failed, record) for _unused, told in telegrams for record in told.records) else "no_record"
    )


def _is_meant(at: MbusAt, record: Record) -> bool:
    return (
        record.meaning.kind == at.kind
        and (record.function, record.storage, record.tariff, record.subunit) == (at.function, at.storage, at.tariff, at.subunit)
        and record.qualifiers == frozenset(at.qualifiers)
        and record.maker == (None if at.maker is None else at.maker.lower())
        and record.text == at.text
    )


# --- how the formula is written -------------------------------------------------------------------------------


def _written(target: Target, record: Record, point: Point | Watch) -> str:
    """Encoding and factors of a record. Raises NoValue where no number (of a watch, no text) can be made of it."""
    if record.error:
        raise NoValue(record.error)
    if record.form == "none" or record.length == 0:
        raise NoValue("no_data")
    if not isinstance(point, MbusPoint):
        return _watched(record, cast("MbusWatch", point))
    if record.form in ("text", "bytes") or record.meaning.kind in ("date", "date_time"):
        raise NoValue("not_a_number")
    counted = worth(record.meaning, point.unit)
    if counted is None:
        raise NoValue("unknown_unit")
    encoding = number_encoding(record)
    minus = -1 if record.form == "minus_digits" else 1
    return encoding + _times(counted * Fraction(point.scale) * minus) + "".join(f"*{ratio}" for ratio in target.ratios(point))


def number_encoding(record: Record) -> str:
    """The encoding of a record's number. Raises NoValue where a formula has none of that width."""
    length = record.length
    if record.form == "real":
        return "f32le"
    if record.form in ("digits", "minus_digits"):
        return f"bcd{length}le" + ("f" if record.form == "digits" else "")
    if length > 8:
        raise NoValue("not_a_number")
    order = "" if length == 1 else "le"
    if record.form == "unsigned":
        return f"u{8 * length}{order}!{'ff' * length}"
    return f"i{8 * length}{order}!80{'00' * (length - 1)}"


def _watched(record: Record, watch: MbusWatch) -> str:
    """What a watch shows: digits with their leading zeros, text, a number without sign, or the bytes where it is no number."""
    length = record.length
    if record.form == "text":
        return f"ascii{length}le"
    if record.form in ("digits", "minus_digits") and watch.scale == 1:
        return f"digits{length}le"
    if record.form in ("integer", "unsigned") and record.meaning.kind not in ("date", "date_time") and length <= 8:
        return f"u{8 * length}{'' if length == 1 else 'le'}{_times(Fraction(watch.scale))}"
    if record.form == "bytes" or record.length > 8 or record.meaning.kind in ("date", "date_time"):
        return f"hex{length}"
    return number_encoding(record) + _times(Fraction(watch.scale))


def _times(factor: Fraction) -> str:
    try:
        return times_exactly(factor)
    except ValueError:
        raise NoValue("unknown_unit") from None
