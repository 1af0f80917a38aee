"""The changes that an OPC UA server told between two readings, as they stand in the second of them. Pure.

They are the word of the server's subscription, in the bytes as received; what stands in `values` comes from the reading's
own Read alone. What was lost is counted: by the server's own word (`overflow`), or because too many came (`dropped`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agent.reading import Value, in_range
from config.model import Point
from drivers import Target
from drivers.errors import NoValue
from drivers.formula import evaluate
from drivers.opcua_changes import locate_change


@dataclass(frozen=True, slots=True)
class Changes:
    """The changes that are sealed with a reading.

    Attributes:
        request, answer: in the form of a Read; both empty where nothing changed.
        values: one for each change, in order of arrival.
        begun: so many times a subscription was begun since the reading before; each tells first how its nodes stand then.
        overflow: so many changes say that the server lost others before them.
        dropped: so many were thrown away by the gateway.
        cause: why not all that should be watched is; empty where it is.
    """

    request: bytes
    answer: bytes
    values: tuple[Value, ...]
    begun: int = 0
    overflow: int = 0
    dropped: int = 0
    cause: str = ""

    def fields(self) -> dict[str, Any]:
        """Changes as they stand in a record: nothing that is zero or empty, but request, answer and values."""
        counts = {name: getattr(self, name) for name in ("begun", "overflow", "dropped", "cause") if getattr(self, name)}
        read = {"request": self.request.hex(), "answer": self.answer.hex()}
        return read | {"values": [value.fields() for value in self.values]} | counts


def change_value(target: Target, point: Point, request: bytes, answer: bytes, place: int) -> Value:
    """What a change says.

    Args:
        target, point: whose change.
        request, answer: of the changes.
        place: of the change among them, from 0.

    Raises:
        KeyError: the change is of another node than the point's.
        BadFrame: request or answer is malformed.
    """
    try:
        formula, doubt = locate_change(target, point, request, answer, place)
    except NoValue as error:
        return Value(point.quantity, point.unit, None, "", "bad", error.cause)
    outcome = evaluate(formula, [answer])
    if outcome.value is None:
        return Value(point.quantity, point.unit, None, formula, "bad", outcome.cause)
    cause = doubt or target.doubt(point) or ("" if in_range(point, outcome.value) else "out_of_range")
    return Value(point.quantity, point.unit, outcome.value, formula, "uncertain" if cause else "good", cause)


def change_values(target: Target, points: Sequence[Point], request: bytes, answer: bytes) -> tuple[Value, ...]:
    """What changes say. `points`: of each change. Raises as `change_value`."""
    return tuple(change_value(target, point, request, answer, place) for place, point in enumerate(points))
