"""What follows from records as they are sealed: `counter` records behind readings, and the closing of days.

`Courses` hears of every record in the order of the log, in the thread that writes it; what it returns is sealed in the same
transaction. What never comes to disk is taken back: no decision and no day may rest on it. When the agent begins, the courses
are taken up from what the ledger holds, from the last closed day on.

What this file does not know: how records are written (`agent.ledger`), when a day is over by the clock (`agent.run`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta, tzinfo
from itertools import islice
from typing import Any, TypeVar

from agent import draft
from agent.clock import Clock, stamp
from agent.course import Course
from agent.declaration import Declaration
from agent.evidence import Evidence
from agent.ledger_file import LedgerReader
from agent.midnight import begin_of, day_of
from agent.record import parse
from agent.seal import Record, base64url
from agent.timeline import milliseconds
from config.language import N_, _
from config.library import read_model
from config.model import ModelFile
from drivers import Driver, load

Fields = Mapping[str, Any]
T = TypeVar("T")
_TAKEN = ("reading", "meter", "day", "replacement")
_DAY = timedelta(days=1)
_MARGIN_MS = 3_600_000
_MOST_LOOKED_AT = 20_000
_HINTS = {
    "rollover": N_("It has passed its highest number; nothing has to be done."),
    "reset": N_("Find out who set the counter to 0, or whether another meter hangs there now."),
    "spurious_zero": N_("The meter told 0 once; if it does so again, look at it."),
    "spurious": N_("The meter told a wrong number once; if it does so again, look at the line and the meter."),
    "jump": N_("More than can have flowed: compare the meter's display, its model and its ratio in site.yaml."),
}
_MOST_DAYS = 400  # more are closed at once only by a clock that is known to be right


class Courses:
    """The courses of all meters of a log.

    Args:
        evidence: the declarations in force, which somebody else keeps; None: they are kept here.
        models: by digest; what declarations quote, where they are kept here.
        driver_of, model_of: where drivers and models come from.
    """

    def __init__(
        self,
        evidence: Evidence | None = None,
        models: Mapping[str, bytes] | None = None,
        driver_of: Callable[[str], Driver] = load,
        model_of: Callable[[bytes, str], ModelFile] = read_model,
    ) -> None:
        self._evidence = evidence or Evidence(models or {}, driver_of, model_of)
        self._declares = evidence is None
        self._courses: dict[str, Course] = {}
        self._before: list[tuple[str, Course | None, Declaration | None]] | None = None

    def of(self, meter: str) -> Course:
        """One meter's course."""
        if meter not in self._courses:
            self._courses[meter] = Course(meter)
        return self._courses[meter]

    def known(self) -> list[str]:
        """The meters whose course is followed."""
        return list(self._courses)

    def take(self, n: int, fields: Fields, leaf: str) -> list[draft.Fields]:
        """Takes a record of a meter; the `counter` records that follow from it."""
        kind = fields["kind"]
        if kind in _TAKEN:
            self._touch(fields["meter"]["id"])
        if kind == "reading":
            return self.of(fields["meter"]["id"]).read(n, fields)
        if kind == "meter":
            self._declared(n, fields, leaf)
        elif kind == "day":
            self.of(fields["meter"]["id"]).closed(milliseconds(fields["to"]))
        elif kind == "replacement":
            self.of(fields["meter"]["id"]).replace(n, fields)
        return []

    def _declared(self, n: int, fields: Fields, leaf: str) -> None:
        if self._declares:
            for _unused in self._evidence.declare(n, fields, leaf):
                pass  # what is wrong with it is for an audit to tell
        meter = fields["meter"]["id"]
        declaration = self._evidence.in_force.get(meter)
        if declaration:
            self.of(meter).declare(declaration, milliseconds(fields["time"]))

    # --- the agent's side -------------------------------------------------------------------------------------

    def begin(self) -> None:
        """A transaction begins: what was taken before is on disk, what is taken from now on may be taken back."""
        self._before = []

    def mark(self) -> int:
        """How much was taken since the transaction began."""
        return len(self._before or ())

    def take_back(self, mark: int = 0) -> None:
        """What was taken behind a mark never came to disk; without one nothing of the transaction did."""
        while self._before and len(self._before) > mark:
            meter, course, declaration = self._before.pop()
            _put_back(self._courses, meter, course)
            if self._declares:
                _put_back(self._evidence.in_force, meter, declaration)

    def _touch(self, meter: str) -> None:
        """Remembers a meter as it is before it takes something."""
        if self._before is not None:
            course = self._courses.get(meter)
            self._before.append((meter, course and course.copied(), self._evidence.in_force.get(meter)))

    def follow(self, record: Record, clock: Clock, log: Any = None) -> list[draft.Fields]:
        """What must be sealed right behind a record; `log` is told of it."""
        if "meter" not in record.fields:
            return []
        followed = self.take(record.n, record.fields, base64url(record.leaf))
        for each in followed if log else ():
            told = {"meter": each["meter"]["id"], "quantity": each["quantity"], "decision": each["decision"]}
            stood = {"before": each["before"]["value"], "after": each["after"]["value"], "counted": each["added"]}
            log.warning("counter.decided", **told, **stood, hint=_(_HINTS[each["decision"]]))
        return [draft.counter(clock, each) for each in followed]

    def resume(self, past: LedgerReader) -> None:
        """Takes up all meters' courses from what is in the ledger."""
        for meter in past.meters():
            for n, payload in _since_last_day(past, meter, self.of(meter)):
                self.take(n, parse(payload), base64url(past.leaf(n)))

    def due_days(self, meters: list[str], now_ms: int, clock: Clock, name: str, zone: tzinfo) -> list[draft.Fields]:
        """The `day` records of all days that are over by now and not closed. `name`: the zone's."""
        drafts: list[draft.Fields] = []
        for meter in meters:
            course = self.of(meter)
            known = clock.trust().state == "synchronized"
            for begin, end in _open_days(course, now_ms, zone, known=known):
                self._touch(meter)
                day = course.day(day_of(end - 1, zone).isoformat(), name, begin, end)
                drafts.append(draft.day(clock, day | {"from": stamp(begin * 1_000_000), "to": stamp(end * 1_000_000)}))
                course.closed(end)
        return drafts


def _put_back(kept: dict[str, T], meter: str, before: T | None) -> None:
    if before is None:
        kept.pop(meter, None)
    else:
        kept[meter] = before


def _open_days(course: Course, now_ms: int, zone: tzinfo, *, known: bool) -> Iterator[tuple[int, int]]:
    """Beginning and end of the days that a course has not closed and that are over. `known`: the time is known to be right."""
    if course.born_ms is None:
        return
    begin = course.closed_to if course.closed_to is not None else begin_of(day_of(course.born_ms, zone), zone)
    if now_ms - begin > _MOST_DAYS * 86_400_000 and not known:
        return
    while (end := begin_of(day_of(begin, zone) + _DAY, zone)) <= now_ms:
        yield begin, end
        begin = end


def _since_last_day(past: LedgerReader, meter: str, course: Course) -> Iterator[tuple[int, bytes]]:
    """A meter's records that its course must be taken up from, in order: the declaration before them first."""
    start = 0
    for n, payload in past.meter_records(meter, "day", newest_first=True):
        day = parse(payload)
        born = next(milliseconds(parse(first)["time"]) for _unused, first in past.meter_records(meter, "meter"))
        course.resume(born, day)
        start = min([_first_of_day(past, meter, n, milliseconds(day["to"])), *_closings(day)])
        break
    if start:
        yield from islice(past.meter_records(meter, "meter", newest_first=True, stop=start), 1)
    yield from past.meter_records(meter, start=start)


def _closings(day: Fields) -> list[int]:
    return [each["closing"]["n"] for each in day["counters"] if "closing" in each]


def _first_of_day(past: LedgerReader, meter: str, n: int, midnight: int) -> int:
    """The first record of a meter that may tell of the time from a midnight on; n: of the record that closed the day before."""
    first = n
    for each, payload in islice(past.meter_records(meter, newest_first=True, stop=n), _MOST_LOOKED_AT):
        if milliseconds(parse(payload)["time"]) < midnight - _MARGIN_MS:
            break
        first = each
    return first
