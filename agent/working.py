"""The working of a formula, shown: which bytes of which answer, what number they are, and each step after it. Pure.

Nothing is computed here: every intermediate result is `drivers.formula.evaluate` of the formula up to that step.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from config.cause_words import cause_words
from config.language import _
from drivers.errors import FormulaError
from drivers.formula import evaluate

_SOURCE = re.compile(
    r"([0-9]+)([hp]?)@([0-9]+):(?:[uif](8|16|24|32|40|48|56|64)|mod10x([0-9])|(?:bcd|digits|dec|ascii|hex)([0-9]+))"
)
_FACTOR = re.compile(r"[*/](?:10\^\([^)]*\)|-?[0-9.]+)")
_TERM = re.compile(r"(?:[^+(]|\([^)]*\))+")


@dataclass(frozen=True, slots=True)
class Place:
    """Bytes of an answer: which answer, from which byte, how many; `text`: two hexadecimal digits stand for each."""

    answer: int
    first: int
    length: int
    text: bool

    def span(self) -> tuple[int, int]:
        """Where they stand in the answer as received."""
        if self.text:
            return 1 + 2 * self.first, 1 + 2 * (self.first + self.length)
        return self.first, self.first + self.length

    def of(self, answers: Sequence[bytes]) -> bytes:
        """The bytes themselves."""
        first, end = self.span()
        return answers[self.answer][first:end] if self.answer < len(answers) else b""


def places(formula: str) -> list[Place]:
    """The places a formula reads, in its order."""
    found = []
    for match in _SOURCE.finditer(formula):
        answer, form, first, bits, registers, count = match.groups()
        length = int(bits or 0) // 8 or 2 * int(registers or 0) or int(count)
        found.append(Place(int(answer), int(first), length, form == "h"))
    return found


def marked(answer: bytes, index: int, read: Sequence[Place]) -> str:
    """An answer's bytes in hexadecimal with those that are read in brackets: `0c 03 04 [01 19 1a 55] 3d 97`."""
    opened = {place.span()[0] for place in read if place.answer == index}
    closed = {place.span()[1] for place in read if place.answer == index}
    text = ""
    for position, byte in enumerate(answer):
        text += "]" * (position in closed) + " " + "[" * (position in opened) + f"{byte:02x}"
    return (text + "]" * (len(answer) in closed)).strip()


def steps(formula: str, answers: Sequence[bytes]) -> list[str]:
    """The working, one line a term, and the sum where there is more than one.

    Raises:
        FormulaError: the formula cannot be evaluated.
    """
    terms = _TERM.findall(formula)
    lines = [_term(term, answers) for term in terms]
    if len(terms) > 1:
        lines.append(_("sum = {result}", result=_result(formula, answers)))
    return lines


def _term(term: str, answers: Sequence[bytes]) -> str:
    factors = _FACTOR.findall(term)
    source = term[: len(term) - sum(len(factor) for factor in factors)]
    data = places(source)[0].of(answers) if places(source) else b""
    text = _("{source}: bytes {data} = {result}", source=source, data=data.hex(" "), result=_result(source, answers))
    done = source
    for factor in factors:
        done += factor
        sign = "x" if factor[0] == "*" else "/"
        text += f" {sign} {_number(factor[1:], answers)} = {_result(done, answers)}"
    return text


def _number(factor: str, answers: Sequence[bytes]) -> str:
    """A factor, its exponent read from the frames where there is one."""
    if not factor.startswith("10^("):
        return factor
    source, shift = re.fullmatch(r"10\^\((.*?)([+-][0-9]+)?\)", factor).groups()  # type: ignore[union-attr]  # _FACTOR found it
    return f"10^({_result(source, answers)}{shift or ''})"


def _result(formula: str, answers: Sequence[bytes]) -> str:
    outcome = evaluate(formula, answers)
    return outcome.value if outcome.value is not None else _("no value ({cause})", cause=cause_words(outcome.cause))


def working_or_why(formula: str, answers: Sequence[bytes]) -> list[str]:
    """`steps`, or the reason why there are none."""
    try:
        return steps(formula, answers)
    except FormulaError as error:
        return [str(error)]
