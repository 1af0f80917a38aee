"""A plant's ledger of measuring instruments as a table, and the meters it declares: both ways. Pure.

The columns are those of the ledger that GB 17167 asks for (计量器具一览表: name, type, class, range, maker, serial number,
the plant's own number, place and use, state of verification), as they are called in Chinese or English, with those beside
them that a gateway needs: line, address, model, transformers. They may stand in any order, with titles above the head row.

 1. A text is taken as it stands: leading zeros of serial numbers and addresses stay.
 2. Rows of instruments that are out of use are left out, and told.
 3. Every mistake is told with its row and column; nothing is guessed.

What this file does not know: files (`config.sheet_file`), whether line, model and address fit each other (`config.check`).
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Annotated, Any

from pydantic import Field

from config.language import N_, _
from config.mistake import ConfigError, Mistake
from config.model import Declared
from config.ratio import UNKNOWN
from config.sheet_words import COLUMNS, INTERVALS, MEDIA, OUT_OF_USE, Column
from config.site import Meter
from config.text import Document
from config.typed import typed

Row = Sequence[str]
TO_FILL_IN = "to-be-filled-in"
_MOST_TITLES = 30
_LEAST_KNOWN = 3
_SHORTENED = re.compile(r"[0-9](\.[0-9]+)?E\+[0-9]+", re.IGNORECASE)
_DATE = re.compile(r"([0-9]{4})\s*[-/.年]\s*([0-9]{1,2})\s*[-/.月]\s*([0-9]{1,2})\s*日?(\s+00:00:00)?")
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_NOT_PLAIN = frozenset({"y", "n", "yes", "no", "true", "false", "on", "off", "null"})
_NOT_KNOWN = frozenset({"未知", "不详", "?"})
_WHOLE = frozenset({"pipe_mm", "verification_months", "baud"})


class _Meters(Declared):
    """The meters of a sheet."""

    meters: Annotated[tuple[Meter, ...], Field(min_length=1)]
    """All of them."""


@dataclass(slots=True)
class Imported:
    """What a sheet came to.

    Attributes:
        meters: the meters.
        names: what each is called in the sheet, by its id.
        notes: what was left out, or is still to be filled in.
    """

    meters: tuple[Meter, ...]
    names: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def read_rows(rows: Sequence[Row], file: str, link: str | None = None, model: str | None = None) -> Imported:
    """The meters in a sheet's rows.

    Args:
        rows: all cells as texts, the first row first.
        file: its name, as messages shall show it.
        link, model: of rows that name none.

    Raises:
        ConfigError: with every mistake, its row and its column.
    """
    head, columns = _head(rows, file)
    entries: list[Any] = []
    document = Document(file, {"meters": entries})
    notes = [_("column {title} is not taken over", title=rows[head][at]) for at in _unknown(rows[head])]
    names: dict[str, str] = {}
    mistakes: list[Mistake] = []
    for number, row in enumerate(rows[head + 1 :], head + 2):
        cells = {key: (row[at].strip(), at) for key, at in columns.items() if at < len(row) and row[at].strip()}
        if not cells.keys() - {"number"}:
            continue
        if (state := cells.get("state", ("", 0))[0]) and any(word in state.lower() for word in OUT_OF_USE):
            notes.append(_("row {number} is left out: {state}", number=number, state=state))
            continue
        entry: dict[str, Any] = {"link": link or TO_FILL_IN, "model": model or TO_FILL_IN}
        mistakes += _taken(entry, document, ("meters", len(entries)), cells, number)
        entries.append(entry)
        if "certificate" in cells and "valid_until" not in cells:
            number_of = cells["certificate"][0]
            notes.append(_("row {number}: certificate {name} is left out, for it has no day", number=number, name=number_of))
        names[str(entry.get("id", ""))] = cells.get("name", ("", 0))[0]
    declared, wrong = typed(_Meters, document)
    mistakes += [_titled(each, document, rows[head], columns) for each in wrong]
    mistakes += _twice(document)
    if declared is None or mistakes:
        raise ConfigError(mistakes)
    for key in ("link", "model"):
        if missing := [meter.id for meter in declared.meters if getattr(meter, key) == TO_FILL_IN]:
            notes.append(_("still to be filled in: {key} of {meters}", key=key, meters=", ".join(missing)))
    return Imported(declared.meters, names, notes)


def _head(rows: Sequence[Row], file: str) -> tuple[int, dict[str, int]]:
    """The head row's place, and where each column stands. Raises ConfigError."""
    best: tuple[int, dict[str, int]] = (0, {})
    for number, row in enumerate(rows[:_MOST_TITLES]):
        found: dict[str, int] = {}
        for at, title in enumerate(row):
            column = column_of(title)
            if column and column.key not in found:
                found[column.key] = at
        if len(found) > len(best[1]):
            best = number, found
    if len(best[1]) < _LEAST_KNOWN:
        message = _("no head row was found: name the columns as in the ledger of GB 17167, such as {titles}", titles=_TITLES)
        raise ConfigError([Mistake(file, 0, 0, "", message)])
    if "id" not in best[1]:
        message = _("the column with the plant's own number of each meter is missing: 用能单位管理编号, or  id")
        raise ConfigError([Mistake(file, best[0] + 1, 1, "", message)])
    return best


_TITLES = ", ".join(f"{column.titles[0]} ({column.titles[-1]})" for column in COLUMNS if column.key in ("id", "serial", "place"))


def column_of(title: str) -> Column | None:
    """The column that a title names, however it is written: spaces, brackets and units do not count."""
    plain = _plain_title(title)
    return next((column for column in COLUMNS if plain and plain in {_plain_title(each) for each in column.titles}), None)


def _plain_title(title: str) -> str:
    text = unicodedata.normalize("NFKC", title).lower()
    text = re.sub(r"\([^)]*\)", "", text)
    return re.sub(r"[\s_:,/·.、-]", "", text)


def _unknown(head: Row) -> list[int]:
    return [at for at, title in enumerate(head) if title.strip() and column_of(title) is None]


def _taken(
    entry: dict[str, Any], document: Document, place: tuple[str, int], cells: Mapping[str, tuple[str, int]], number: int
) -> Iterator[Mistake]:
    """Fills a row's cells into a meter's entry, and notes the place of each key; mistakes of single cells."""
    document.places[place] = (number, cells["id"][1] + 1 if "id" in cells else 1)
    for key, (text, at) in cells.items():
        if key in ("number", "name", "state", "ratio"):
            continue
        try:
            made = _value(key, text)
        except ValueError as error:
            yield Mistake(document.file, number, at + 1, _title(key), str(error))
            continue
        path = (*place, *_PATHS.get(key, (key,)))
        inner = entry.setdefault("certificate", {}) if key in _PATHS else entry
        inner[path[-1]] = made
        document.places[path] = document.keys[path] = (number, at + 1)
    if "valid_until" not in entry.get("certificate", {"valid_until": ""}):
        del entry["certificate"]  # nobody could be told when it expires; why there is no day was told
    yield from _ratio(entry, cells, number, document.file)


_PATHS = {"certificate": ("certificate", "number"), "valid_until": ("certificate", "valid_until")}


def _value(key: str, text: str) -> object:
    """A cell as the site file has it. Raises ValueError."""
    if key in ("id", "serial", "address") and _SHORTENED.fullmatch(text):
        raise ValueError(_("{text} was shortened by the spreadsheet: format the column as text and enter it again", text=text))
    if key in ("valid_until", "installed"):
        found = _DATE.fullmatch(text)
        if not found:
            raise ValueError(_("{text} is no day; write 2027-06-30 or 2027/6/30", text=text))
        return f"{found[1]}-{int(found[2]):02d}-{int(found[3]):02d}"
    if key == "medium":
        return _medium(text)
    if key == "every":
        return re.sub(r"\s*(\D+)$", lambda unit: INTERVALS.get(unit[1].strip().lower(), unit[1]), text)
    if key in ("ct", "vt") and text in _NOT_KNOWN:
        return UNKNOWN
    if key in _WHOLE:
        digits = re.match(r"(?:DN)?\s*([0-9]+)", text, re.IGNORECASE)
        return int(digits[1]) if digits else text
    return text


def _medium(text: str) -> str:
    found = next((medium for medium, words in MEDIA.items() if text.strip().lower() in (medium, *words)), None)
    if found is None:
        raise ValueError(_("{text} is no medium known here; write one of {media}", text=text, media=", ".join(MEDIA)))
    return found


def _ratio(entry: dict[str, Any], cells: Mapping[str, tuple[str, int]], number: int, file: str) -> Iterator[Mistake]:
    """Takes the whole ratio (倍率): it must be that of the transformers; where none is named, it stands for the current's."""
    if "ratio" not in cells:
        return
    text, at = cells["ratio"]
    try:
        stated = Fraction(Decimal(text))
    except (InvalidOperation, ValueError, OverflowError):
        yield Mistake(file, number, at + 1, _title("ratio"), _("{text} is not a number", text=text))
        return
    named = [str(entry[key]) for key in ("ct", "vt") if key in entry]
    if not named and stated != 1:
        entry["ct"] = text
    if not named:
        return
    try:
        made = Fraction(1)
        for each in named:
            made *= Fraction(each.replace(":", "/").replace(" ", ""))
    except (ValueError, ZeroDivisionError):
        return  # told where it stands
    if made != stated:
        message = _("{text} is not the ratio of {named}: look at the transformers' plates", text=text, named=" x ".join(named))
        yield Mistake(file, number, at + 1, _title("ratio"), message)


def _titled(mistake: Mistake, document: Document, head: Row, columns: Mapping[str, int]) -> Mistake:
    """A mistake with its column's own title; of a missing column the key."""
    key = next((key for key, at in columns.items() if at + 1 == mistake.column and _is_about(mistake.path, key)), None)
    name = head[columns[key]].strip() if key else mistake.path.rpartition(".")[2]
    return Mistake(document.file, mistake.line, mistake.column, name, mistake.message)


def _is_about(path: str, key: str) -> bool:
    return path.endswith("." + ".".join(_PATHS.get(key, (key,))))


def _title(key: str) -> str:
    return next(column.titles[0] for column in COLUMNS if column.key == key)


def _twice(document: Document) -> Iterator[Mistake]:
    """Meters whose number stands twice."""
    seen: dict[str, int] = {}
    entries: Any = document.value
    for index, entry in enumerate(entries["meters"]):
        line, column = document.places["meters", index]
        name = str(entry.get("id", ""))
        if name in seen:
            message = _("{name} stands in row {row} already", name=name, row=seen[name])
            yield Mistake(document.file, line, column, _title("id"), message)
        elif name:
            seen[name] = line


# --- out ------------------------------------------------------------------------------------------------------


def as_yaml(imported: Imported) -> str:
    """The meters as they stand in a site file."""
    lines = ["meters:"]
    for meter in imported.meters:
        written = meter.model_dump(mode="json", exclude_defaults=True, exclude_none=True)
        name = imported.names.get(meter.id)
        for place, (key, value) in enumerate(written.items()):
            remark = f"  # {name}" if key == "id" and name else ""
            lines.append(f"  {'- ' if place == 0 else '  '}{key}: {_scalar(_span(value) if key == 'every' else value)}{remark}")
    return "\n".join(lines) + "\n"


def _span(ms: int) -> str:
    return next(
        f"{ms // size}{unit}" for unit, size in (("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)) if ms % size == 0
    )


def _scalar(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_scalar(each)}" for key, each in value.items()) + "}"
    if isinstance(value, str) and not (_PLAIN.fullmatch(value) and value.lower() not in _NOT_PLAIN):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def to_rows(meters: Sequence[Meter], *, english: bool = False) -> list[list[str]]:
    """The meters as rows with a head row: Chinese titles, else English ones. What a sheet has no column for is not in them."""
    columns = [column for column in COLUMNS if column.written]
    rows = [[column.titles[-1 if english else 0] for column in columns]]
    for number, meter in enumerate(meters, 1):
        rows.append([str(number) if column.key == "number" else _cell(meter, column.key) for column in columns])
    return rows


def _cell(meter: Meter, key: str) -> str:
    value: Any = meter
    for part in _PATHS.get(key, (key,)):
        value = getattr(value, part, None)
    if value is None:
        return ""
    return _span(value) if key == "every" else str(value)


def not_written(meters: Sequence[Meter]) -> list[str]:
    """What of meters has no column: by meter, the keys."""
    known = {column.key for column in COLUMNS} | {"certificate"}
    found = []
    for meter in meters:
        keys = [key for key in meter.model_dump(exclude_defaults=True, exclude_none=True) if key not in known]
        if keys:
            found.append(_("{meter}: no column for {keys}", meter=meter.id, keys=", ".join(keys)))
    return found


NOT_A_SHEET = N_("is no spreadsheet that can be read here: save it as .csv or .xlsx")
