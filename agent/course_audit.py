"""Whether the `counter` and `day` records of a log are those that its readings lead to. Pure.

 1. What a fall or a jump of a counter was follows from the readings (`agent.counter`): each decision stands right behind the
    reading that decided it, before the meter's next one, and says exactly that.
 2. Where records of the log are gone, a meter's decisions and days are not checked until two more days were closed.
 3. A meter's days are closed one after the other, at midnights of the zone they name; each says what the course of the meter up
    to there comes to (`agent.course`). Once a meter's days are closed, none is left open.

What this file does not know: the readings' own truth (`agent.evidence`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from agent.course import Course
from agent.courses import Courses
from agent.evidence import Evidence
from agent.midnight import begin_of, day_of
from agent.timeline import milliseconds
from config.language import _
from config.zone import zone_of

Fields = Mapping[str, Any]
Problem = tuple[str, str]
_LATE_MS = 26 * 3_600_000  # a day has up to 25 hours, and is closed in the first minutes of the next
_NOTICED_MS = 600_000


@dataclass(slots=True)
class _Waiting:
    """What must come next of a meter: `counter` records, and since when a day is overdue to be closed."""

    decided: list[Fields] = field(default_factory=list)
    overdue: int | None = None


class CourseAudit:
    """The courses of a log's meters while its records go by. `evidence`: the declarations in force."""

    def __init__(self, evidence: Evidence) -> None:
        self._courses = Courses(evidence)
        self._waiting: dict[str, _Waiting] = {}
        self._unsure: dict[str, int] = {}

    def torn(self) -> None:
        """Records of the log are gone: decisions and days may rest on them, until two days were closed without."""
        self._unsure = dict.fromkeys(self._courses.known(), 2)

    def take(self, n: int, fields: Fields, leaf: str) -> Iterator[Problem]:
        """Takes a record of a meter; problems with what follows from it and what it says itself."""
        meter, kind = fields["meter"]["id"], fields["kind"]
        course = self._courses.of(meter)
        waiting = self._waiting.setdefault(meter, _Waiting())
        if self._unsure.get(meter):
            self._unsure[meter] -= kind == "day"
            self._courses.take(n, fields, leaf)
            waiting.decided, waiting.overdue = [], None
            return
        if kind == "counter":
            yield from _counter(fields, waiting)
            return
        if kind in ("reading", "day"):
            for each in waiting.decided:
                told = _(
                    "record {n} was {decision} of {quantity}",
                    n=each["after"]["n"],
                    decision=each["decision"],
                    quantity=each["quantity"],
                )
                yield "COUNTER", _("no counter record in front of this one says that what was read in {told}", told=told)
            waiting.decided = []
        if kind == "day":
            yield from _day(fields, course)
            waiting.overdue = None
        waiting.decided += self._courses.take(n, fields, leaf)
        if kind == "reading":
            yield from _overdue(fields, course, waiting)


def _counter(fields: Fields, waiting: _Waiting) -> Iterator[Problem]:
    """Problems with a decision."""
    quantity = fields["quantity"]
    right = next((each for each in waiting.decided if each["quantity"] == quantity), None)
    if right is None:
        yield (
            "COUNTER",
            _(
                "decides that {quantity} was {decision}; by the readings there is nothing to decide here",
                quantity=quantity,
                decision=fields["decision"],
            ),
        )
        return
    waiting.decided.remove(right)
    for name in sorted(right.keys() - {"meter"}):
        if fields[name] != right[name]:
            yield (
                "COUNTER",
                _(
                    "states {name} {words}, the readings give {words_2}",
                    name=name,
                    words=_words(fields[name]),
                    words_2=_words(right[name]),
                ),
            )


def _day(fields: Fields, course: Course) -> Iterator[Problem]:
    """Problems with a closed day."""
    begin, end = milliseconds(fields["from"]), milliseconds(fields["to"])
    yield from _midnights(fields, course, begin, end)
    right = course.day(fields["day"], fields["zone"], begin, end)
    for name in ("expected", "actual", "resets", "replacements"):
        if fields[name] != right[name]:
            yield (
                "DAY",
                _(
                    "{day}: states {fields} {name}, the records give {right}",
                    day=fields["day"],
                    fields=fields[name],
                    name=name,
                    right=right[name],
                ),
            )
    stated = {each["quantity"]: each for each in fields["counters"]}
    given = {each["quantity"]: each for each in right["counters"]}
    if len(stated) != len(fields["counters"]) or stated.keys() != given.keys():
        yield (
            "DAY",
            _(
                "{day}: closes {stated}, declared are {given}",
                day=fields["day"],
                stated=", ".join(stated) or _("no counter"),
                given=", ".join(given) or _("none"),
            ),
        )
    for quantity in sorted(stated.keys() & given.keys()):
        for name in sorted(stated[quantity].keys() | given[quantity].keys()):
            one, other = stated[quantity].get(name), given[quantity].get(name)
            if one != other:
                words = _(
                    "states {quantity} {name} {words}, the records give {words_2}",
                    quantity=quantity,
                    name=name,
                    words=_words(one),
                    words_2=_words(other),
                )
                yield "DAY", f"{fields['day']}: {words}"


def _midnights(fields: Fields, course: Course, begin: int, end: int) -> Iterator[Problem]:
    """Problems with when a day begins and ends."""
    if course.closed_to is not None and begin != course.closed_to:
        yield (
            "DAY",
            _(
                "{day}: begins {from_at}, the day closed before it ended otherwise: days are left out",
                day=fields["day"],
                from_at=fields["from"],
            ),
        )
    try:
        zone = zone_of(fields["zone"])
        day, ends = day_of(end - 1, zone), day_of(end, zone)
        whole = day.isoformat() == fields["day"] and day_of(begin, zone) == day and begin_of(ends, zone) == end
        starts = begin_of(day, zone)
    except KeyError as error:
        yield "DAY", f"{fields['day']}: {error.args[0]}"
        return
    except (ValueError, OverflowError):
        yield (
            "DAY",
            _("{day}: {from_at} to {to} is no day of any calendar", day=fields["day"], from_at=fields["from"], to=fields["to"]),
        )
        return
    if not whole:
        yield (
            "DAY",
            _(
                "{day}: {from_at} to {to} is not that day in {zone}",
                day=fields["day"],
                from_at=fields["from"],
                to=fields["to"],
                zone=fields["zone"],
            ),
        )
    elif course.closed_to is None and begin != starts:
        yield (
            "DAY",
            _("{day}: {from_at} is no midnight in {zone}", day=fields["day"], from_at=fields["from"], zone=fields["zone"]),
        )
    if milliseconds(fields["time"]) < end:
        yield "DAY", _("{day}: was closed at {time}, before it was over", day=fields["day"], time=fields["time"])


def _overdue(fields: Fields, course: Course, waiting: _Waiting) -> Iterator[Problem]:
    """Problems with days that nobody closed."""
    if course.closed_to is None or milliseconds(fields["due"]) <= course.closed_to + _LATE_MS:
        return
    now = milliseconds(fields["time"])
    if waiting.overdue is None:
        waiting.overdue = now
    elif waiting.overdue >= 0 and now - waiting.overdue > _NOTICED_MS:
        waiting.overdue = -1  # told once, until a day is closed
        yield "DAY", _("the day before this reading was never closed, though days of this meter were closed before")


def _words(value: object) -> str:
    if isinstance(value, Mapping):
        return " ".join(f"{name} {each}" for name, each in value.items())
    return "nothing" if value is None else str(value)
