"""A reading: one poll of one meter, its exchanges and the values found in them. Pure.

Values are computed only by evaluating the driver's formulas over the answers as received; a value that cannot be
had is stated as bad with its cause, never left out and never zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple, Protocol

from config.language import _
from config.model import Point, Watch
from drivers import Driver, Exchange, Instant, Target
from drivers.errors import FormulaError, NoValue
from drivers.formula import evaluate

LEFT_OUT = "left_out"


class Value(NamedTuple):  # a tuple is made in a third of the time that a frozen dataclass takes
    """One quantity of a reading.

    Attributes:
        quantity, unit: what is stated, in which unit.
        value: plain decimal digits, None where there is no value.
        formula: which bytes it came from; empty where no answer holds it.
        quality: `good`, `uncertain` or `bad`.
        cause: why it is not good; empty if it is.
    """

    quantity: str
    unit: str
    value: str | None
    formula: str
    quality: str
    cause: str

    def fields(self) -> dict[str, str]:
        """The value as it stands in a record: nothing empty, and no quality where it is good."""
        made = {"quantity": self.quantity}
        if self.value is not None:
            made["value"], made["unit"] = self.value, self.unit
        if self.formula:
            made["formula"] = self.formula
        if self.quality != "good":
            made["quality"], made["cause"] = self.quality, self.cause
        return made


class Sealed(Protocol):
    """What is sealed beside the values: see `agent.changes.Changes`."""

    def fields(self) -> dict[str, Any]:
        """As it stands in a record."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One poll of one meter.

    Attributes:
        meter: the meter's id.
        every_ms: the interval of the schedule it belongs to.
        due_ns: the scheduled instant it answers for, wall clock.
        answered: when the first usable answer began to arrive; None if none did.
        exchanges: all of them, in order, failed ones too.
        values: one for each point that was asked for.
        epoch: how often the wall clock had been set when it was asked for.
        changes: what was told between the reading before and this one; None: nothing is followed.
    """

    meter: str
    every_ms: int
    due_ns: int
    answered: Instant | None
    exchanges: tuple[Exchange, ...]
    values: tuple[Value, ...]
    epoch: int = 0
    changes: Sealed | None = None


def masked(exchanges: Sequence[Exchange]) -> tuple[list[bytes], list[bytes]]:
    """Requests and answers of exchanges, as drivers take them: of a failed one both are empty."""
    asked = [b"" if exchange.error else exchange.request for exchange in exchanges]
    return asked, [b"" if exchange.error else exchange.answer for exchange in exchanges]


def meter_number(driver: Driver, target: Target, exchanges: Sequence[Exchange]) -> tuple[str, str]:
    """The meter's own number in its answers, and its formula; empty where the protocol has none. Zero is no number."""
    asked, answers = masked(exchanges)
    formula = driver.frame_serial(target, asked, answers)
    found = evaluate(formula, answers).value or "" if formula else ""
    return (found, formula or "") if found.strip("0 ") else ("", "")


def tells(driver: Driver, target: Target, points: Sequence[Point], exchanges: Sequence[Exchange]) -> bool:
    """Whether any of the points was asked for and answered, be it that the answer holds no value of it."""
    asked, answers = masked(exchanges)
    for point in points:
        try:
            driver.locate(target, asked, point, answers)
        except KeyError:
            continue
        except NoValue:
            return True
        return True
    return False


def serial_in(driver: Driver, target: Target, watch: Watch, exchanges: Sequence[Exchange]) -> tuple[str, str]:
    """The serial number that exchanges brought, and its formula; empty where they hold none. Zero is no serial number."""
    asked, answers = masked(exchanges)
    try:
        formula = driver.locate(target, asked, watch, answers)
    except (KeyError, NoValue):
        return "", ""
    found = evaluate(formula, answers).value or ""
    return (found, formula) if found.strip("0 ") else ("", "")


def values_of(
    driver: Driver,
    target: Target,
    points: Sequence[Point],
    exchanges: Sequence[Exchange],
    left_out: frozenset[str] = frozenset(),
) -> tuple[Value, ...]:
    """The points' values over a poll's exchanges. Answers that failed their check are never looked into.

    `left_out`: quantities that were not asked for, because the meter has refused them before.
    """
    asked, answers = masked(exchanges)
    return tuple(_value(driver, target, point, asked, answers, exchanges, left_out) for point in points)


def _value(
    driver: Driver,
    target: Target,
    point: Point,
    asked: list[bytes],
    answers: list[bytes],
    exchanges: Sequence[Exchange],
    left_out: frozenset[str],
) -> Value:
    try:
        formula = driver.locate(target, asked, point, answers)
    except KeyError:
        return Value(point.quantity, point.unit, None, "", "bad", _why_missing(driver, target, point, exchanges, left_out))
    except NoValue as error:
        return Value(point.quantity, point.unit, None, "", "bad", error.cause)
    outcome = evaluate(formula, answers)
    if outcome.value is None:
        return Value(point.quantity, point.unit, None, formula, "bad", outcome.cause)
    try:
        plausible = in_range(point, outcome.value)
    except ArithmeticError:
        raise FormulaError(
            _("{quantity} of {model} is text, not a number", quantity=point.quantity, model=target.model.model)
        ) from None
    cause = driver.doubt(target, asked, point, answers) or target.doubt(point) or ("" if plausible else "out_of_range")
    return Value(point.quantity, point.unit, outcome.value, formula, "uncertain" if cause else "good", cause)


def in_range(point: Point, value: str) -> bool:
    """Whether a value lies in what the model says the meter can show; True where it says nothing."""
    return point.range is None or point.range[0] <= Decimal(value) <= point.range[1]


def _why_missing(driver: Driver, target: Target, point: Point, exchanges: Sequence[Exchange], left_out: frozenset[str]) -> str:
    """The cause of the last failed exchange that would have told the point, else of the last one that failed."""
    failed = [(exchange.request, exchange.error.cause) for exchange in exchanges if exchange.error]
    for request, cause in reversed(failed):
        try:
            driver.locate(target, [request], point, [b""])
        except (KeyError, NoValue):
            continue
        return cause
    if point.quantity in left_out:
        return LEFT_OUT
    return failed[-1][1] if failed else "no_answer"


def frame_fields(exchanges: Sequence[Exchange]) -> list[dict[str, Any]]:
    """The exchanges as they stand in a record: request and answer in hexadecimal, duration, fault."""
    return [
        {"request": exchange.request.hex(), "answer": exchange.answer.hex(), "ms": exchange.ms}
        | ({"fault": exchange.error.cause} if exchange.error else {})
        for exchange in exchanges
    ]
