"""Text that is no YAML, told in plain words: the reader's own vocabulary means nothing in front of a switchboard.

Both readers of PyYAML (libyaml's and the pure one) word their errors differently; the table knows both.
"""

from __future__ import annotations

import re

import yaml

from config.language import N_, _

_LINE_UP = N_(
    "this line does not line up with the lines above: keys of one block begin in the same column, "
    "entries of one list begin with a dash in the same column"
)
_QUOTE = N_("the quote that opens here is never closed")
_BRACKET = N_("a bracket or brace (opened in line {line}) is not closed, or a comma is missing")
_OPEN = N_("a bracket or brace is not closed, or a comma is missing")
_ENDED = N_("the value ended before this place: put the whole text into one pair of quotes, or begin a new line")
_SPECIAL = N_("a value that begins with {letter} must stand in quotes")
_TAG = N_("a value that begins with !, & or * must stand in quotes")
_COLON = N_("a second colon on one line, or a line indented too far; a text with a colon in it needs quotes")

# What either reader says (problem) -> what to tell, and whether the place is where the construct began.
_WORDS: tuple[tuple[str, str, bool], ...] = (
    (r"unexpected end of stream|unexpected document (separator|indicator)", _QUOTE, True),
    (r"mapping (values|keys) are not allowed|mapping keys are not allowed", _COLON, False),
    (r"sequence entries are not allowed", "a dash may not stand here: begin the list on a line of its own", False),
    (r"',' or '[\]}]'", _BRACKET, False),
    (r"cannot start any token", _SPECIAL, False),
    (
        r"unknown escape|escape (sequence|code)|hexa(decimal)?",
        "a backslash in double quotes; use single quotes instead",
        False,
    ),
    (r"could not find expected ':'|did not find expected ':'", "a colon is missing after the key in this line", True),
    (r"anchor|alias|alphabetic or numeric|tag|URI|handle", _TAG, False),
    (r"document|directive|%YAML", "the text in front of this place is not part of the file's block of keys", False),
    (r"comment or line break|chomping|indentation indicators", "after | or > the text begins on the next line", False),
    (r"indentation", _LINE_UP, False),
    (r"expected key|expected '-'|block end|node content", _LINE_UP, False),
)
_TAB = N_("a tab stands here: use spaces")
_TAB_INDENT = N_("a tab stands in the indentation: use spaces")
_UNREADABLE = N_("this cannot be read; compare indentation, colons and quotes with the lines above")


def in_plain_words(error: Exception, text: str) -> tuple[int, int, str]:
    """Line, column (from 1) and message for a text that could not be read as YAML."""
    problem_mark = getattr(error, "problem_mark", None)
    context_mark = getattr(error, "context_mark", None)
    mark = problem_mark or context_mark
    if not isinstance(error, yaml.MarkedYAMLError) or mark is None:
        return 1, 1, _(_UNREADABLE)
    lines = text.split("\n")
    if tab := _tab(lines, mark.line):
        return (*tab, _(_TAB_INDENT))
    began = (context_mark or mark).line + 1
    for pattern, words, at_start in _WORDS:
        if re.search(pattern, error.problem or ""):
            place = context_mark if at_start and context_mark else mark
            told = _(_closer(words, error.context or "", lines, mark))
            return *_inside(place.line, place.column, lines), told.format(letter=_letter(lines, mark) or "this", line=began)
    return *_inside(mark.line, mark.column, lines), _(_UNREADABLE)


def _letter(lines: list[str], mark: yaml.Mark) -> str:
    return lines[mark.line][mark.column : mark.column + 1] if mark.line < len(lines) else ""


def _closer(words: str, context: str, lines: list[str], mark: yaml.Mark) -> str:
    """Better words where the surroundings tell more than the reader's problem."""
    if words is _SPECIAL and _letter(lines, mark) == "\t":
        return _TAB
    if words is _LINE_UP and "flow" in context:
        return _OPEN
    if words is _LINE_UP and mark.line < len(lines) and lines[mark.line][: mark.column].strip(" -"):
        return _ENDED
    return words


def _inside(line: int, column: int, lines: list[str]) -> tuple[int, int]:
    """A place in the text, from 1; what is missed at the very end is told of the last line that holds anything."""
    if line < len(lines) and (lines[line].strip() or line + 1 < len(lines)):
        return line + 1, column + 1
    last = max((number for number, content in enumerate(lines) if content.strip()), default=0)
    return last + 1, len(lines[last].rstrip()) + 1


def _tab(lines: list[str], line: int) -> tuple[int, int] | None:
    """Line and column of a tab in the indentation of the line that could not be read, or of the one above."""
    for number in (line, line - 1):
        if 0 <= number < len(lines) and (found := re.match(r" *(- *)*\t", lines[number])):
            return number + 1, found.end()
    return None
