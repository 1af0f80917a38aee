"""What a fault is: one code that never changes meaning, and what a person at the meter needs to know about it. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of trouble an operator can be told of.

    Attributes:
        code: `MS-` and three digits; the first digit is its group.
        title: what it is, in a few words.
        first: the one thing to check first.
        symptom: what is seen, and what it means for the readings.
        causes: the likeliest first.
        measure: how to find out which it is.
    """

    code: str
    title: str
    first: str
    symptom: str
    causes: tuple[str, ...]
    measure: str
