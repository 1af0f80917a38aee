"""Which requests fetch a schedule's points from this very meter, as far as it has shown what it bears. Pure.

1. A refused block is not lost: first no holes are read over any more, then it is cut in halves until the register that
   the meter does not have stands alone. That one is left out, and the rest is joined again around it.
2. A block that stays silent while the meter answers others is cut in the same way, for there are meters that do not
   refuse, but say nothing. Nothing is ever left out because of a silence.
3. Whatever was learned is forgotten when the line is opened anew, when a dead meter returns, and after an hour: what a
   meter said once need not be true for ever.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from config.model import Point
from drivers import Driver, Request, Target
from drivers.errors import NoValue

Group = tuple[tuple[Point, ...], int | None]

_FORGET_NS = 3_600_000_000_000
_SILENT_TWICE = 2  # turns in a row in which a block that was answered before stays silent: once is a disturbance


class Plan:
    """The requests of one schedule of one meter.

    Args:
        driver, target, points: what is read.
        hole: so many bytes nobody asked for cost less on this link than another request; None: not known.

    Attributes:
        left_out: quantities whose register the meter has refused when it was read alone.
    """

    def __init__(self, driver: Driver, target: Target, points: Sequence[Point], hole: int | None) -> None:
        self._driver = driver
        self._target = target
        self._points = tuple(points)
        self._hole = hole
        self._since_ns: int | None = None
        self.forget()

    def forget(self) -> None:
        """The meter may be another one, or changed: everything is tried again."""
        self.left_out: set[str] = set()
        self._groups: list[Group] = [(self._points, self._hole)]
        self._requests: list[Request] | None = None
        self._answered: set[bytes] = set()
        self._silences: dict[bytes, int] = {}

    def begin(self, due_ns: int) -> list[Request]:
        """What is sent for an instant, in this order; what was learned long before it is forgotten."""
        if self._since_ns is None or not 0 <= due_ns - self._since_ns < _FORGET_NS:
            self._since_ns = due_ns
            self.forget()
        return self.requests()

    def requests(self) -> list[Request]:
        """What is sent, in this order."""
        if self._requests is None:
            self._requests = [request for group in self._groups for request in self._asked(group)]
        return self._requests

    def probe(self) -> list[Request]:
        """The shortest question: one point, with all that must come in front of it."""
        found: list[Request] = []
        for request in self._asked((self._points[:1], 0)):
            found.append(request)
            if not request.silent:
                break
        return found

    def _asked(self, group: Group) -> list[Request]:
        points, hole = group
        return self._driver.requests(self._target, points, hole) if points else []

    # --- what the meter says to it ----------------------------------------------------------------------------

    def answered(self, request: Request) -> None:
        """Takes note that the meter answered a request."""
        self._answered.add(request.data)
        self._silences.pop(request.data, None)

    def refused(self, request: Request) -> list[Request]:
        """Takes note that the meter refused a request for good; what to ask instead, nothing if nothing is left to ask."""
        group, covered = self._covered(request)
        parts = self._parts(request, covered, group[1]) if group and covered else None
        if group is None or parts is None:
            return []
        if parts:
            return self._replace(group, covered, parts)
        self.left_out.update(point.quantity for point in covered)
        self._groups = [(points, self._hole) for points in self._runs()]
        self._requests = None
        return []

    def silent(self, request: Request) -> list[Request]:
        """Takes note that the meter said nothing to a request, though it answers others; what to ask instead.

        A block that it has answered before must stay silent in two turns to be cut: from the next one on.
        """
        group, covered = self._covered(request)
        if group is None or not covered:
            return []
        count = self._silences[request.data] = self._silences.get(request.data, 0) + 1
        before = request.data in self._answered
        if before and count < _SILENT_TWICE:
            return []
        parts = self._parts(request, covered, group[1])
        instead = self._replace(group, covered, parts) if parts else []
        return [] if before else instead

    def was_answered(self, request: Request) -> bool:
        """Whether the meter has answered a request since everything was forgotten."""
        return request.data in self._answered

    def _covered(self, request: Request) -> tuple[Group | None, tuple[Point, ...]]:
        """The group a request was made for, and which of its points it fetches."""
        for group in self._groups:
            if self._has([group], request):
                return group, tuple(point for point in group[0] if self._fetches(request, point))
        return None, ()

    def _replace(self, group: Group, covered: tuple[Point, ...], parts: list[Group]) -> list[Request]:
        place = self._groups.index(group)
        rest = tuple(point for point in group[0] if point not in covered)
        self._groups[place : place + 1] = [*([(rest, group[1])] if rest else []), *parts]
        self._requests = None
        return [request for part in parts for request in self._asked(part)]

    def _runs(self) -> Iterable[tuple[Point, ...]]:
        """The points between those that are left out."""
        run: list[Point] = []
        for point in self._points:
            if point.quantity not in self.left_out:
                run.append(point)
            elif run:
                yield tuple(run)
                run = []
        if run:
            yield tuple(run)

    def _parts(self, request: Request, points: tuple[Point, ...], hole: int | None) -> list[Group] | None:
        """The points of a request in smaller groups; none where it was for a single one, None where it cannot be cut."""
        parts: list[Group] = [(points, 0)]
        if hole == 0 or self._has(parts, request):
            half = len(points) // 2
            parts = [(points[:half], 0), (points[half:], 0)] if half else []
        return None if self._has(parts, request) else parts

    def _has(self, groups: Iterable[Group], request: Request) -> bool:
        return any(_same(request, each) for group in groups for each in self._asked(group))

    def _fetches(self, request: Request, point: Point) -> bool:
        try:
            self._driver.locate(self._target, [request.data], point, [b""])
        except (KeyError, NoValue):
            return False
        return True


def _same(one: Request, other: Request) -> bool:
    """Whether two requests ask for the same, whatever their transaction numbers."""
    return one.data == other.data
