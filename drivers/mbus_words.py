"""M-Bus frames in words, byte by byte: the frame, the header, and of each record DIF, VIF and data (EN 13757-2, -3). Pure.

What this file does not know: which record a model means; whether an answer is the one that was asked for.
"""

from __future__ import annotations

from decimal import Decimal

from config.cause_words import cause_words
from config.language import N_, _
from drivers.formula import plain
from drivers.mbus_frame import BEGIN, DATA_ANSWERS, DATA_REQUESTS, SELECT, SELECTED
from drivers.mbus_record import (
    FIRST_DATA,
    FIRST_RECORD,
    FIXED_STRUCTURE,
    VARIABLE,
    Record,
    Unreadable,
    maker_letters,
    read_telegram,
)
from drivers.words import Cut, Piece

_CONTROLS = {BEGIN: N_("begin anew (SND_NKE)"), SELECT: N_("take this (SND_UD)")}
_CONTROLS |= dict.fromkeys(DATA_REQUESTS, N_("send data (REQ_UD2)")) | dict.fromkeys(DATA_ANSWERS, N_("data (RSP_UD)"))
_INFORMATION = {
    VARIABLE: N_("variable data, low byte first"),
    FIXED_STRUCTURE: N_("fixed data structure"),
    0x52: N_("select a meter"),
    0x70: N_("application error"),
    0x71: N_("alarm"),
    0x76: N_("variable data, high byte first"),
}
_MEDIA = {
    0x02: N_("electricity"), 0x03: N_("gas"), 0x04: N_("heat"), 0x05: N_("steam"), 0x06: N_("hot water"),
    0x07: N_("water"), 0x08: N_("heat cost allocator"),
    0x0A: N_("cooling"), 0x0B: N_("cooling"), 0x0C: N_("heat, in the flow"),
    0x0D: N_("heat and cooling"), 0x15: N_("hot water"), 0x16: N_("cold water"),
}  # fmt: skip


def request(frame: bytes, framing: str = "own") -> list[Piece]:
    """A request's pieces."""
    return _frame(frame)


def answer(asked: bytes, frame: bytes, framing: str = "own") -> list[Piece]:
    """An answer's pieces."""
    return _frame(frame)


def _frame(frame: bytes) -> list[Piece]:
    cut = Cut(frame)
    if frame[:1] == b"\xe5":
        cut.take(1, _("single character"), N_("acknowledged"), right=True)
    elif frame[:1] == b"\x10":
        cut.constant(b"\x10", N_("start"), _("short frame"))
        _control_and_address(cut)
        _closed(cut, frame, 1)
    elif frame:
        _long(cut, frame)
    return cut.rest(N_("surplus"), _("behind the end of the frame"), right=False)


def _control_and_address(cut: Cut) -> None:
    control = cut.peek(1)[0] if cut.left else 0
    cut.take(1, N_("C field"), _CONTROLS.get(control, _("control field of another kind")))
    address = cut.peek(1)[0] if cut.left else 0
    words = {0xFE: _("any meter"), 0xFF: _("all meters"), SELECTED: _("the meter that was selected")}.get(
        address, _("meter {meter}", meter=address)
    )
    cut.take(1, N_("A field"), words)


def _closed(cut: Cut, frame: bytes, first: int) -> None:
    if cut.left:
        cut.checked(bytes([sum(frame[first : cut.at]) & 0xFF]), N_("checksum"))
        cut.constant(b"\x16", N_("stop"))


def _long(cut: Cut, frame: bytes) -> None:
    """A long frame (EN 13757-2, 5.3)."""
    cut.constant(b"\x68", N_("start"), _("long frame"))
    length, there = (cut.peek(1)[0] if cut.left else 0), len(frame) - 6
    right = length == there
    cut.take(
        1,
        "L field",
        _("{length} bytes", length=length) + ("" if right else _(", {max} are there", max=max(there, 0))),
        right=right,
    )
    cut.constant(bytes([length]), N_("L field"), _("the same again"))
    cut.constant(b"\x68", N_("start"))
    _control_and_address(cut)
    information = cut.peek(1)[0] if cut.left else 0
    cut.take(1, _("CI field"), _INFORMATION.get(information, _("data of another kind")))
    end = min(len(frame), 4 + length)
    if information == 0x52:
        _secondary(cut, end)
    elif information in (VARIABLE, FIXED_STRUCTURE):
        _told(cut, frame, end)
    cut.take(end - cut.at, N_("data"))
    if end == 4 + length:
        _closed(cut, frame, 4)


def _secondary(cut: Cut, end: int) -> None:
    """Number, maker, version and medium, as far as they are there."""
    for size, field in ((4, _("identification number")), (2, N_("manufacturer")), (1, N_("version")), (1, N_("medium"))):
        if cut.at + size > end:
            return
        data = cut.peek(size)
        says = {4: data[::-1].hex().upper(), 2: maker_letters(data.ljust(2, b"\0"))}.get(size, str(data[0]))
        cut.take(size, field, _MEDIA.get(data[0], says) if field == N_("medium") else says)


def _told(cut: Cut, frame: bytes, end: int) -> None:
    """The header and the records of a telegram (EN 13757-3, 6 and 7), as far as they can be read."""
    try:
        telegram = read_telegram(frame)
    except Unreadable as error:
        cut.take(end - cut.at, N_("data"), _("no telegram: {error}", error=error), right=False)
        return
    if frame[FIRST_DATA] == FIXED_STRUCTURE:
        cut.take(4, _("identification number"), telegram.header.digits)
        cut.take(1, _("access number"))
        cut.take(1, N_("status"))
        cut.take(2, _("medium and units"))
    else:
        _secondary(cut, end)
        cut.take(1, _("access number"))
        cut.take(1, N_("status"), _("no error") if not telegram.header.status else _("see the maker's list"))
        cut.take(2, N_("configuration"), N_("encrypted") if telegram.header.encrypted else _("not encrypted"))
        if telegram.header.encrypted:
            cut.take(end - FIRST_RECORD, _("encrypted records"))
    for record in telegram.records:
        cut.take(record.start - cut.at, N_("filler"), _("says nothing"))
        _record(cut, record)
    last = cut.peek(1)
    if last in (b"\x0f", b"\x1f"):
        cut.take(1, "DIF", _("the maker's own data") + (_(", more records in the next telegram") if last == b"\x1f" else ""))
        cut.take(end - cut.at, _("manufacturer data"))


def _record(cut: Cut, record: Record) -> None:
    """DIF and DIFEs, VIF and what belongs to it, data."""
    if record.start < record.data:
        difs = _extended(cut)
        numbers = (("storage", record.storage), ("tariff", record.tariff), ("subunit", record.subunit))
        words = [record.function, *(f"{name} {number}" for name, number in numbers if number)]
        cut.take(difs, _("DIF, DIFE") if difs > 1 else "DIF", ", ".join([*words, _form(record)]))
        vifs = record.data - cut.at
        cut.take(vifs, _("VIF, VIFE") if vifs > 1 else "VIF", _meaning(record))
    cut.take(record.length, N_("data"), cause_words(record.error), right=False if record.error else None)


def _form(record: Record) -> str:
    form = {"digits": "BCD", "minus_digits": _("negative BCD"), "real": "binary32", "none": _("no data")}.get(
        record.form, record.form
    )
    return (
        form
        if not record.length
        else _("{form}, 1 byte", form=form)
        if record.length == 1
        else _("{form}, {length} bytes", form=form, length=record.length)
    )


def _extended(cut: Cut) -> int:
    """How many bytes a chain of extension bits has."""
    length = 1
    while length < cut.left and cut.peek(1, length - 1)[0] & 0x80:
        length += 1
    return length


def _meaning(record: Record) -> str:
    meaning = record.meaning
    words = [meaning.kind.replace("_", " "), *sorted(word.replace("_", " ") for word in record.qualifiers)]
    if record.maker is not None:
        words.append(_("the maker's own"))
    unit = record.text or meaning.unit
    return ", ".join(words) + (f", in {_worth(record)}{unit}" if unit else "")


def _worth(record: Record) -> str:
    """What one count is worth, in front of the unit; empty for one."""
    factor = record.meaning.factor
    if factor == 1:
        return ""
    digits = 0
    while (factor * 10**digits).denominator != 1 and digits < 20:
        digits += 1
    return f"{float(factor):g} " if factor * 10**digits % 1 else f"{_decimal(int(factor * 10**digits), digits)} "


def _decimal(whole: int, digits: int) -> str:
    return plain(Decimal(whole).scaleb(-digits))
