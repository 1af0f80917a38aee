"""Rows of text in columns under one another on a terminal, where a Chinese character is as wide as two letters. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from unicodedata import east_asian_width


def width_of(text: str) -> int:
    """How many columns of a terminal a text takes: two for a wide or full-width character (UAX #11), one for any other."""
    return sum(2 if east_asian_width(character) in "WF" else 1 for character in text)


def filled(text: str, width: int, *, right: bool = False) -> str:
    """A text with spaces up to a width in columns; behind them if it stands on the right."""
    room = " " * (width - width_of(text))
    return room + text if right else text + room


def columns(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> list[str]:
    """A line for each row, two spaces between columns, none at the end.

    Args:
        rows: the cells; all rows have as many as the first.
        right: the columns, counted from 0, whose cells stand on the right, such as numbers.
    """
    widths = [max(map(width_of, column)) for column in zip(*rows, strict=True)]
    widths[-1:] = [widths[-1] if len(widths) - 1 in right else 0]
    return [
        "  ".join(
            filled(cell, width, right=at in right) for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
