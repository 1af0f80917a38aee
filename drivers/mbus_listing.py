"""What M-Bus telegrams say, record for record: for whoever stands at a meter, and for whoever writes a model of it.

    status      the meter's battery is low
    energy      storage 1 tariff 2                 1234.5 kWh
    date_time                                      2026-11-22T14:05

The words are those of a model file (`kind`, `function`, `storage`, `tariff`, `subunit`, `qualifiers`, `maker`). Nothing
here is sealed: values of readings come from formulas (`drivers.mbus_place`).

What this file does not know: ports, models.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction

from config.language import _
from drivers.errors import NoValue
from drivers.formula import evaluate, plain
from drivers.mbus import status_words
from drivers.mbus_date import moment
from drivers.mbus_place import number_encoding
from drivers.mbus_record import Record, is_telegram, read_telegram

_DATES = ("date", "date_time")


def listing(answers: Sequence[bytes]) -> list[str]:
    """Lines for all telegrams among checked answers: what is wrong with the meter, then each record. None for no telegram."""
    lines = [f"{'status':<26}{text}" for _unused, text in status_words(answers)]
    for answer in filter(is_telegram, answers):
        told = read_telegram(answer)
        if told.header.encrypted:
            lines.append(_("its records are encrypted"))
        lines += [f"{record.meaning.kind:<26}{_marks(record):<34}{_shown(record, answer)}".rstrip() for record in told.records]
    return lines


def _marks(record: Record) -> str:
    """What tells a record from another one of its kind."""
    marks = [] if record.function == "instantaneous" else [record.function]
    numbers = (("storage", record.storage), ("tariff", record.tariff), ("subunit", record.subunit))
    marks += [f"{name} {number}" for name, number in numbers if number]
    marks += sorted(record.qualifiers)
    marks += [] if record.maker is None else [f"maker {record.maker}"]
    return " ".join(marks) + " "


def _shown(record: Record, answer: bytes) -> str:
    data = answer[record.data : record.data + record.length]
    if record.error or not data:
        return record.error.replace("_", " ") or _("no data")
    if record.meaning.kind in _DATES:
        return moment(data) or _("no date: {data}", data=data.hex(" "))
    if record.form == "text":
        return data[::-1].decode("latin-1").strip() or _("no text")
    if record.form == "bytes":
        return data.hex(" ")
    try:
        found = evaluate(f"0@{record.data}:{number_encoding(record)}", [answer])
    except NoValue:  # too wide for a formula
        return data.hex(" ")
    if found.value is None:
        return f"{found.cause.replace('_', ' ')}: {data.hex(' ')}"
    return f"{_times(Decimal(found.value), record)} {record.text or record.meaning.unit}".strip()


def _times(number: Decimal, record: Record) -> str:
    """A number with the record's decimal point; of a unit without an end in decimals the nearest one of ten digits."""
    worth = Fraction(number) * record.meaning.factor * (-1 if record.form == "minus_digits" else 1)
    places = next((n for n in range(13) if (worth * 10**n).denominator == 1), 10)
    return plain((Decimal(round(worth * 10**places))).scaleb(-places))
