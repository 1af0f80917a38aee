"""Spreadsheets as files: CSV as Excel writes it in China and elsewhere, and .xlsx; every cell as the text that a person sees.

CSV: UTF-8 with or without its mark, UTF-16 with it, GB 18030; columns parted by commas, semicolons or tabs. A cell that a
spreadsheet would take for a formula is written with a quote in front, and read without it.

.xlsx needs openpyxl (the extra `spreadsheet`), which is imported only for such files. What this file does not know: meters.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile

from config.language import _
from config.mistake import ConfigError, Mistake
from config.sheet import NOT_A_SHEET
from config.system_words import reason_of

if TYPE_CHECKING:
    from openpyxl.worksheet.worksheet import Worksheet

_LARGEST = 20_000_000
_MOST_ROWS, _MOST_COLUMNS = 10_000, 200
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_LARGEST_EXACT = 10**15
_XLSX = (".xlsx", ".xlsm")


def read_sheet(path: Path) -> list[list[str]]:
    """All rows of a spreadsheet, each cell as text.

    Raises:
        ConfigError: there is no such file, or it cannot be read.
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise _wrong(path, _("is larger than 20 MB: this is no list of meters"))
        if path.suffix.lower() in _XLSX:
            return _read_xlsx(path)
        return _read_csv(path)
    except OSError as error:
        reason = reason_of(error).lower()
        raise _wrong(path, _("cannot be read ({reason})", reason=reason)) from None


def write_sheet(path: Path, rows: Sequence[Sequence[str]]) -> None:
    """Writes rows as .csv (UTF-8 with its mark: Excel needs it) or .xlsx (every cell a text). Raises ConfigError, OSError."""
    if path.suffix.lower() in _XLSX:
        _write_xlsx(path, rows)
        return
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file).writerows([f"'{cell}" if cell.startswith(_FORMULA) else cell for cell in row] for row in rows)


def _wrong(path: Path, message: str) -> ConfigError:
    return ConfigError([Mistake(str(path), 0, 0, "", message)], "MS-101")


# --- CSV ------------------------------------------------------------------------------------------------------


def _read_csv(path: Path) -> list[list[str]]:
    text = _decoded(path, path.read_bytes())
    if "\0" in text:
        raise _wrong(path, _(NOT_A_SHEET))
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=False))
    except csv.Error:
        raise _wrong(path, _(NOT_A_SHEET)) from None
    return _bounded([[_unquoted(cell) for cell in row] for row in rows])


def _decoded(path: Path, data: bytes) -> str:
    encodings = ("utf-16",) if data[:2] in (b"\xff\xfe", b"\xfe\xff") else ("utf-8-sig", "gb18030")
    for encoding in encodings:
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise _wrong(path, _("is neither UTF-8 nor GB 18030: save it as CSV UTF-8"))


def _delimiter(text: str) -> str:
    """What parts most cells in the first lines."""
    first = text[:4000]
    return max(",;\t", key=first.count)


def _unquoted(cell: str) -> str:
    text = cell.strip()
    return text[1:] if text.startswith("'") and text[1:].startswith((*_FORMULA, "'")) else text


def _bounded(rows: Iterable[Sequence[str]]) -> list[list[str]]:
    return [list(row[:_MOST_COLUMNS]) for _number, row in zip(range(_MOST_ROWS), rows, strict=False)]


# --- .xlsx ----------------------------------------------------------------------------------------------------


def _read_xlsx(path: Path) -> list[list[str]]:
    try:
        from openpyxl import load_workbook
        from openpyxl.utils.exceptions import InvalidFileException
    except ImportError:
        raise _wrong(
            path, _("for .xlsx install the extra spreadsheet (pip install meterseal[spreadsheet]), or save it as .csv")
        ) from None
    try:
        book = load_workbook(path, data_only=True)
    except (InvalidFileException, BadZipFile, KeyError, ValueError):
        raise _wrong(path, _(NOT_A_SHEET)) from None
    sheets = [_bounded(_rows(sheet)) for sheet in book.worksheets]
    return max(sheets, key=len, default=[])


def _rows(sheet: Worksheet) -> Iterator[list[str]]:
    """A sheet's rows; what is merged over several cells stands in each of them."""
    merged = {}
    for span in sheet.merged_cells.ranges:
        for row, column in span.cells:
            merged[row, column] = (span.min_row, span.min_col)
    texts: dict[tuple[int, int], str] = {}
    cells = sheet.iter_rows(max_row=min(sheet.max_row or 0, _MOST_ROWS), max_col=min(sheet.max_column or 0, _MOST_COLUMNS))
    for number, row in enumerate(cells, 1):
        texts |= {(number, at): _text(cell.value, str(cell.number_format or "")) for at, cell in enumerate(row, 1)}
        yield [texts.get(merged.get((number, at), (number, at)), "") for at in range(1, len(row) + 1)]


def _text(value: object, form: str) -> str:
    """A cell as it is seen: whole numbers without a point, leading zeros of its format, days as year-month-day."""
    if value is None:
        return ""
    if isinstance(value, datetime | date):
        return f"{value:%Y-%m-%d}"
    if isinstance(value, float) and value.is_integer() and abs(value) < _LARGEST_EXACT:
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and form and set(form) == {"0"}:
        return f"{value:0{len(form)}d}"
    return str(value).strip()


def _write_xlsx(path: Path, rows: Sequence[Sequence[str]]) -> None:
    try:
        from openpyxl import Workbook
    except ImportError:
        raise _wrong(
            path, _("for .xlsx install the extra spreadsheet (pip install meterseal[spreadsheet]), or name it .csv")
        ) from None
    book = Workbook()
    sheet = book.worksheets[0]
    for number, row in enumerate(rows, 1):
        for at, text in enumerate(row, 1):
            cell = sheet.cell(number, at)
            cell.value = text
            cell.data_type = "s"  # never a formula, never a number that loses its zeros
            cell.number_format = "@"
    sheet.freeze_panes = "A2"
    book.save(path)
