"""Whether one value of a record is what its bytes give: number, unit, doubt, and a serial number carried by frames.

Pure. What this file does not know: which frames are good, and what was declared when (`agent.evidence`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal

from agent.declaration import Declaration, Fields, Frames
from config.language import _
from config.model import Point
from config.plate import same_serial
from config.quantity import quantity_of
from drivers.errors import FormulaError
from drivers.formula import Outcome, evaluate

Problem = tuple[str, str]


def own_number(declaration: Declaration, frames: Frames, stated: str) -> Iterator[Problem]:
    """Problems with a serial number that is said to stand in the frames themselves."""
    if declaration.target is None:
        return
    formula = declaration.number_formula(frames)
    outcome = evaluated(formula, frames.usable) if formula else _("none of its frames carries one")
    found = outcome if isinstance(outcome, str) else outcome.value or ""
    if not same_serial(stated, found):
        yield (
            "DECLARATION",
            _(
                "states serial number {stated} as carried by its frames: {found}",
                stated=stated or _("none"),
                found=found or _("they carry none"),
            ),
        )


def evaluated(formula: str, answers: Sequence[bytes]) -> Outcome | str:
    """What a formula gives over answers; in words why it gives nothing."""
    try:
        return evaluate(formula, answers)
    except FormulaError as error:
        return str(error)


def unit_problems(name: str, value: Fields) -> Iterator[Problem]:
    """Problems with the name and the unit of a value."""
    try:
        unit = quantity_of(name).unit
    except KeyError:
        yield "DECLARATION", _("there is no such quantity")
        return
    if "value" in value and value.get("unit") != unit:
        yield "UNIT", _("is stated in {value}, its unit is {unit}", value=value.get("unit", _("no unit")), unit=unit)
    elif "unit" in value and "value" not in value:
        yield "UNIT", _("is stated in {value}, yet there is no value", value=value["unit"])


def stated_problems(value: Fields, outcome: Outcome, point: Point | None, doubt: str) -> Iterator[Problem]:
    """Problems with a value whose bytes are there. `doubt`: what its answer or its declaration says against it."""
    stated = value.get("value")
    if stated != outcome.value:
        yield (
            "VALUE",
            _("states {stated}, the bytes give {value}", stated=stated or _("no value"), value=outcome.value or _("none")),
        )
        return
    quality = (value.get("quality", ""), value.get("cause", ""))
    if outcome.value is None:
        right = ("bad", outcome.cause)
    elif doubt:
        right = ("uncertain", doubt)
    elif point and point.range and not point.range[0] <= Decimal(outcome.value) <= point.range[1]:
        right = ("uncertain", "out_of_range")
    else:
        right = ("", "")
    if quality != right and (point or outcome.value is None):
        yield (
            "QUALITY",
            _(
                "is marked {filter}, it follows {filter_2}",
                filter=" ".join(filter(None, quality)) or _("good"),
                filter_2=" ".join(filter(None, right)) or _("good"),
            ),
        )
