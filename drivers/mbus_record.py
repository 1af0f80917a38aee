"""M-Bus telegrams taken apart: the header, and the records behind it with all they say of themselves.

    CI 72  number(4) maker(2) version medium | access status configuration(2) | records      (EN 13757-3, section 6)
    CI 73  number(4) | access status unit(1) unit(1) counter(4) counter(4)                   (section 7, fixed structure)
    record DIF [DIFE ...] VIF [VIFE ...] data         low byte first, the first byte of a block says whether one more follows
    DIF    extension | storage bit 0 | function(2) | data field(4)
    DIFE   extension | subunit(1) | tariff(2) | storage(4)                  each further one brings higher bits

Special DIFs: 0F the maker's own data up to the end, 1F the same with more records in the next telegram, 2F nothing. What
does not fit together makes the whole telegram unreadable: with one length wrong, every record behind it would be
another one.

The unit in plain text (VIF 7C, FC) stands behind the VIFEs by the standard, in front of them with some makers. Each way
is tried; a text that can be read both ways is refused.

What this file does not know: frames around the telegram, models, and numbers: it says where they stand.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache

from config.language import _
from drivers.mbus_vif import (
    ERROR,
    ERRORS,
    FIRST,
    FIXED,
    FIXED_HISTORIC,
    FIXED_MEDIA,
    FURTHER,
    PRIMARY,
    QUALIFIERS,
    SECOND,
    UNKNOWN,
    UNSIGNED,
    Meaning,
)

VARIABLE, FIXED_STRUCTURE = 0x72, 0x73
FIRST_DATA = 6  # where the header begins in a long frame: behind 68 L L 68 C A, at the CI
FIRST_RECORD = FIRST_DATA + 13
FUNCTIONS = ("instantaneous", "maximum", "minimum", "error")
_INTEGERS = {1: 1, 2: 2, 3: 3, 4: 4, 6: 6, 7: 8}
_REAL = 5
_DIGITS = {0x9: 1, 0xA: 2, 0xB: 3, 0xC: 4, 0xE: 6}
_VARIABLE_LENGTH = 0xD
_MOST_EXTENSIONS = 10
_MAKERS_END, _MORE_FOLLOW, _FILLER = 0x0F, 0x1F, 0x2F
_MODES = range(1, 16)  # ways of encryption; 16 and above are no modes but the signature field of the older standard


_UNKNOWN = Meaning(UNKNOWN)


class Unreadable(Exception):
    """A telegram that is none; its text says where."""


@dataclass(frozen=True, slots=True)
class Header:
    """What stands in front of the records.

    Attributes:
        number: the four bytes of the meter's number as sent, low byte first.
        manufacturer: three letters; empty in the fixed structure, which has none.
        version, medium: generation and medium code; version -1 in the fixed structure.
        status: the status byte.
        encrypted: whether the records are.
    """

    number: bytes
    manufacturer: str
    version: int
    medium: int
    status: int
    encrypted: bool = False

    @property
    def digits(self) -> str:
        """The meter's number as on its plate: eight digits (or letters A to F where the maker breaks the standard)."""
        return self.number[::-1].hex().upper()


@dataclass(frozen=True, slots=True)
class Record:
    """One record.

    Attributes:
        start, data, length: where it begins in the frame, where its data begins, and how many bytes these are.
        form: `none`, `integer`, `unsigned`, `real`, `digits`, `minus_digits`, `text` or `bytes`.
        function: one of `FUNCTIONS`.
        storage, tariff, subunit: its numbers.
        meaning: what one count is; its decimal point includes what VIFEs say of it.
        qualifiers: what VIFEs add, such as `phase_l1`; a code nobody here knows stands as `vife_3d`.
        maker: the bytes behind the maker's mark as hexadecimal digits, None without one.
        text: the unit in plain text.
        error: why its data cannot be used, by its own word; empty if it can.
    """

    start: int
    data: int
    length: int
    form: str
    function: str
    storage: int = 0
    tariff: int = 0
    subunit: int = 0
    meaning: Meaning = _UNKNOWN
    qualifiers: frozenset[str] = frozenset()
    maker: str | None = None
    text: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class Telegram:
    """An answer taken apart; `more`: the meter has further records for the next telegram."""

    header: Header
    records: tuple[Record, ...]
    more: bool


@lru_cache(maxsize=512)
def read_telegram(frame: bytes) -> Telegram:
    """The telegram in a checked long frame with CI 72 or 73.

    Raises:
        Unreadable: it is cut short or contradicts itself.
    """
    body = frame[: len(frame) - 2]  # checksum and stop character are no data
    if frame[FIRST_DATA : FIRST_DATA + 1] not in (bytes([VARIABLE]), bytes([FIXED_STRUCTURE])):
        raise Unreadable(_("it is no telegram with records"))
    if frame[FIRST_DATA] == FIXED_STRUCTURE:
        return _fixed(body)
    header = read_header(frame)
    if header.encrypted:
        return Telegram(header, (), more=False)
    records, more = _records(body, FIRST_RECORD)
    return Telegram(header, tuple(records), more)


def is_telegram(frame: bytes) -> bool:
    """Whether bytes can be read as a telegram."""
    try:
        read_telegram(frame)
    except Unreadable:
        return False
    return True


def read_header(frame: bytes) -> Header:
    """The header of a checked long frame with CI 72 or 73. Raises Unreadable where it is cut short."""
    if frame[FIRST_DATA : FIRST_DATA + 1] == bytes([FIXED_STRUCTURE]):
        if len(frame) != FIRST_DATA + 17 + 2:
            raise Unreadable(_("the fixed structure has another length"))
        media = frame[FIRST_DATA + 7] >> 6 | (frame[FIRST_DATA + 8] >> 6) << 2
        return Header(frame[7:11], "", -1, FIXED_MEDIA[media], frame[FIRST_DATA + 6])
    if len(frame) < FIRST_RECORD + 2:
        raise Unreadable(_("the header is cut short"))
    fields = frame[FIRST_DATA + 1 : FIRST_RECORD]
    mode = fields[11] & 0x1F
    return Header(fields[:4], maker_letters(fields[4:6]), fields[6], fields[7], fields[9], mode in _MODES)


def maker_letters(data: bytes) -> str:
    """The three letters of a maker (EN 62056-21, section 6.3.1) from its two bytes, low byte first."""
    number = int.from_bytes(data, "little")
    return "".join(chr(64 + (number >> shift & 0x1F)) for shift in (10, 5, 0))


def _fixed(body: bytes) -> Telegram:
    header = read_header(body + b"\0\0")
    form = "integer" if header.status & 0x01 else "digits"
    stored = int(bool(header.status & 0x02))
    units = [body[FIRST_DATA + 7] & 0x3F, body[FIRST_DATA + 8] & 0x3F]
    records = []
    for index, unit in enumerate(units):
        same = index == 1 and unit == FIXED_HISTORIC
        at = FIRST_DATA + 9 + 4 * index
        meaning = FIXED.get(units[0] if same else unit, _UNKNOWN)
        records.append(Record(at, at, 4, form, "instantaneous", storage=1 if same else stored, meaning=meaning))
    return Telegram(header, tuple(records), more=False)


def _records(body: bytes, at: int) -> tuple[list[Record], bool]:
    """The records from a place on, and whether more follow in the next telegram."""
    found = []
    while at < len(body):
        dif = body[at]
        if dif & 0x0F != 0x0F:
            record = _record(body, at)
            found.append(record)
            at = record.data + record.length
        elif dif in (_MAKERS_END, _MORE_FOLLOW):
            return found, dif == _MORE_FOLLOW
        elif dif == _FILLER:
            at += 1
        else:
            raise Unreadable(_("the record at byte {at} begins with {dif:02X}H, which is reserved", at=at, dif=dif))
    return found, False


def _chain(body: bytes, at: int) -> bytes:
    """A byte and all that follow it by its extension bits. Raises Unreadable for more than ten, and past the end."""
    end = at
    while end < len(body) and body[end] & 0x80:
        end += 1
    if end >= len(body) or end - at > _MOST_EXTENSIONS:
        raise Unreadable(_("the record's head at byte {at} has no end", at=at))
    return body[at : end + 1]


def _record(body: bytes, at: int) -> Record:
    difs = _chain(body, at)
    storage, tariff, subunit = difs[0] >> 6 & 1, 0, 0
    for index, dife in enumerate(difs[1:]):
        storage |= (dife & 0x0F) << (1 + 4 * index)
        tariff |= (dife >> 4 & 3) << (2 * index)
        subunit |= (dife >> 6 & 1) << index
    vifs, text, data = _value_information(body, at + len(difs))
    record = Record(at, data, 0, "none", FUNCTIONS[difs[0] >> 4 & 3], storage=storage, tariff=tariff, subunit=subunit, text=text)
    record = _sized(_told(record, vifs), body, difs[0] & 0x0F)
    if record.data + record.length > len(body):
        raise Unreadable(_("the record at byte {at} is cut short", at=at))
    return record


# --- what it measures -----------------------------------------------------------------------------------------


def _value_information(body: bytes, at: int) -> tuple[bytes, str, int]:
    """VIF with its VIFEs, the unit in plain text, and where what follows begins."""
    vifs = _chain(body, at)
    if vifs[0] & 0x7F != 0x7C:
        return vifs, "", at + len(vifs)
    found = []
    behind = _plain_text(body, at + len(vifs))
    if behind:
        found.append((vifs, *behind))
    if vifs[0] == 0xFC and (text := _plain_text(body, at + 1)):
        further = _chain(body, text[1])
        found.append((vifs[:1] + further, text[0], text[1] + len(further)))
    if len(found) != 1:
        raise Unreadable(_("the unit's text at byte {at} cannot be read", at=at))
    return found[0]


def _plain_text(body: bytes, at: int) -> tuple[str, int] | None:
    """A text with its length in front, last character first, and where it ends; None: there is none."""
    length = body[at] if at < len(body) else 0
    text = body[at + 1 : at + 1 + length]
    if not length or len(text) != length or not all(0x20 <= byte < 0x7F or byte >= 0xA0 for byte in text):
        return None
    return text[::-1].decode("latin-1").strip(), at + 1 + length


def _told(record: Record, vifs: bytes) -> Record:
    """The record with what VIF and VIFEs say."""
    vif, rest = vifs[0] & 0x7F, list(vifs[1:])
    if vif == 0x7F:
        return replace(record, meaning=Meaning("manufacturer"), maker=bytes(rest).hex())
    if vifs[0] in (0xFB, 0xFD):
        table, vif = (FIRST if vifs[0] == 0xFB else SECOND), rest.pop(0) & 0x7F
        record = replace(record, meaning=table.get(vif, _UNKNOWN))
    else:
        record = replace(record, meaning=Meaning("text") if vif == 0x7C else PRIMARY.get(vif, _UNKNOWN))
    while rest:
        code = rest.pop(0) & 0x7F
        if code == 0x7F:
            return replace(record, maker=bytes(rest).hex())
        record = _further(record, rest) if code == 0x7C and rest else _added(record, code)
    return record


def _added(record: Record, code: int) -> Record:
    """The record with what one orthogonal VIFE says."""
    if code == 0:
        return record
    if code < 0x20 and code not in QUALIFIERS:
        return replace(record, error=ERRORS.get(code, ERROR))
    if 0x70 <= code <= 0x77 or code == 0x7D:
        factor = Fraction(1000) if code == 0x7D else Fraction(10) ** (code - 0x76)
        return replace(record, meaning=replace(record.meaning, factor=record.meaning.factor * factor))
    return replace(record, qualifiers=record.qualifiers | {QUALIFIERS.get(code, f"vife_{code:02x}")})


def _further(record: Record, rest: list[int]) -> Record:
    """The record with what the VIFE behind FC says; it is taken off the rest."""
    code = rest.pop(0) & 0x7F
    if code == UNSIGNED:
        return replace(record, form="unsigned")
    return replace(record, qualifiers=record.qualifiers | {FURTHER.get(code, f"vife_7c{code:02x}")})


# --- how its data is written ----------------------------------------------------------------------------------


def _sized(record: Record, body: bytes, field: int) -> Record:
    """The record with form and length of its data."""
    if field in _INTEGERS:
        return replace(record, form="unsigned" if record.form == "unsigned" else "integer", length=_INTEGERS[field])
    if field == _REAL:
        return replace(record, form="real", length=4)
    if field in _DIGITS:
        return replace(record, form="digits", length=_DIGITS[field])
    if field == _VARIABLE_LENGTH:
        return _variable(record, body)
    return replace(record, form="none")  # 0: no data, 8: selected for readout


def _variable(record: Record, body: bytes) -> Record:
    """The record with what the byte in front of data of variable length says (section 6.3.3, LVAR)."""
    if record.data >= len(body):
        raise Unreadable(_("the record at byte {start} is cut short", start=record.start))
    length, form = body[record.data], "text"
    if 0xC0 <= length <= 0xC9:
        length, form = length - 0xC0, "digits"
    elif 0xD0 <= length <= 0xD9:
        length, form = length - 0xD0, "minus_digits"
    elif 0xE0 <= length <= 0xEF:
        length, form = length - 0xE0, "integer"
    elif 0xF0 <= length <= 0xF4:
        length, form = 4 * (length - 0xEC), "bytes"
    elif length in (0xF5, 0xF6):
        length, form = (48, "bytes") if length == 0xF5 else (64, "bytes")
    elif length >= 0xC0:
        raise Unreadable(_("the length of the record at byte {start} is reserved", start=record.start))
    if form == "integer" and record.form == "unsigned":
        form = "unsigned"
    return replace(record, data=record.data + 1, length=length, form=form)
