"""Record numbers that somebody has, kept as ranges: all before a cursor, and some ahead of it. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

Span = tuple[int, int]


class Ranges:
    """A set of numbers from 0. A span (first, stop) is the numbers from first up to, not including, stop."""

    def __init__(self, cursor: int = 0, ahead: Iterable[Span] = ()) -> None:
        self._spans: list[Span] = [(0, cursor)]
        for first, stop in ahead:
            self.add(first, stop)

    @property
    def cursor(self) -> int:
        """The smallest number that is missing: all before it are there."""
        return self._spans[0][1]

    @property
    def ahead(self) -> tuple[Span, ...]:
        """What is there behind the cursor, as spans without a number in common, in order."""
        return tuple(self._spans[1:])

    @property
    def beyond(self) -> int:
        """How many numbers are there behind the cursor."""
        return sum(stop - first for first, stop in self._spans[1:])

    def __contains__(self, number: int) -> bool:
        return self.missing(number) != number

    def missing(self, number: int) -> int:
        """The smallest number from this one on that is missing."""
        stop = self._spans[self._before(number)][1]
        return max(number, stop)

    def add(self, first: int, stop: int) -> None:
        """Takes the numbers from first up to, not including, stop."""
        if first >= stop:
            return
        begin = self._before(first)
        if self._spans[begin][1] < first:
            begin += 1
        end = begin
        while end < len(self._spans) and self._spans[end][0] <= stop:
            end += 1
        merged = self._spans[begin:end]
        self._spans[begin:end] = [(min([first, *(span[0] for span in merged)]), max([stop, *(span[1] for span in merged)]))]

    def remove(self, first: int, stop: int) -> list[Span]:
        """Takes out the numbers from first up to, not including, stop; those of them that were there."""
        cut = [(max(begin, first), min(end, stop)) for begin, end in self._spans if begin < stop and first < end]
        if first < stop:
            left = [(begin, min(end, first)) for begin, end in self._spans if begin < first]
            right = [(max(begin, stop), end) for begin, end in self._spans if end > stop]
            kept = [span for span in (*left, *right) if span[0] < span[1]]
            self._spans = kept if kept and kept[0][0] == 0 else [(0, 0), *kept]
        return cut

    def _before(self, number: int) -> int:
        """Where the last span stands that begins at or before a number. There always is one: numbers are not negative."""
        return bisect_right(self._spans, number, key=lambda span: span[0]) - 1
