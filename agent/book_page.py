"""How far one schedule of one meter is accounted for, and where it left off on disk. Pure, but for reading the ledger.

1. The page knows the newest instant that is accounted for, and the open gap. What is told of an instant ends the instants
   before it that nobody told of: they are a gap of their own, with the cause that nothing else can be said of them.
2. A gap never spans a restart: one found open on disk is closed up to the last time that the ledger shows the agent at
   work; from there on it was not running.
3. A schedule that has nothing on disk, or was taken out, begins with the first instant it is told of.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from agent.account import OFF
from agent.by_person import is_by_person
from agent.clock import from_stamp
from agent.coverage import TAKEN_OUT
from agent.ledger_file import LedgerReader
from agent.ledger_writing import Chain
from agent.record import parse
from agent.schedule import MILLISECOND, first_due, instants_between, newest_due
from drivers import Instant

AGENT_STOPPED = OFF
OVERRUN = "overrun"
CLOCK_SET = "clock_set"
_MOST_LOOKED_AT = 20_000  # a schedule that has no record among so many is a new one


@dataclass(frozen=True, slots=True)
class Gap:
    """What a gap's record tells: opened or closed, why, from which instant up to which, how many were missed."""

    state: str
    cause: str
    since_ns: int
    due_ns: int
    missed: int


@dataclass(frozen=True, slots=True)
class Step:
    """A step of the clock while the agent ran: its record's number, what the clock would have shown, and showed."""

    n: int
    before_ns: int
    after_ns: int


@dataclass(frozen=True, slots=True)
class Restart:
    """What the ledger shows of the time before the agent began.

    Attributes:
        began_ns: when it began, by the wall clock as it is now.
        step: the last step of the clock that it noticed before.
        starts: the numbers of all starts, oldest first.
    """

    began_ns: int
    step: Step | None
    starts: tuple[int, ...]

    @classmethod
    def of(cls, past: LedgerReader, now: Instant, boot: str) -> Restart:
        """Of the newest start in a ledger; now, where it has none."""
        starts = tuple(n for n, _ in past.kind_records("start", newest_first=False))
        for n in starts[-1:]:
            start = parse(past.payload(n))
            began_ns = from_stamp(start["time"])
            if start["clock"]["boot"] == boot:
                began_ns = now.wall_ns - (now.uptime_ns - start["clock"]["uptime_ms"] * MILLISECOND)
            steps = (step for step in _steps(past, n) if step.n < n - 1 or step.after_ns != from_stamp(start["time"]))
            return cls(began_ns, next(steps, None), starts)
        return cls(now.wall_ns, next(_steps(past, past.size()), None), starts)

    def end_of_run(self, past: LedgerReader, n: int) -> int:
        """The last time at which the ledger shows the agent at work in the run that record n belongs to."""
        if self.step and n < self.step.n < self._next_start(past, n):
            return self.step.before_ns
        return _last_time(past, self._next_start(past, n))

    def _next_start(self, past: LedgerReader, n: int) -> int:
        after = bisect_right(self.starts, n)
        return self.starts[after] if after < len(self.starts) else past.size()


def _steps(past: LedgerReader, stop: int) -> Iterator[Step]:
    """The steps of the clock before record `stop`, newest first. The one in front of a start is that of the time before it."""
    for n, payload in past.kind_records("clock"):
        if n < stop:
            fields = parse(payload)
            yield Step(n, from_stamp(fields["before"]), from_stamp(fields["after"]))


def _last_time(past: LedgerReader, n: int) -> int:
    """The time of the newest record before n that the agent sealed. That of a step of the clock is the new time already."""
    while n > 0:
        n -= 1
        fields = next((parse(payload) for _, payload in past.payloads(n, n + 1)), {"kind": "clock"})
        if fields["kind"] != "clock" and not is_by_person(fields):
            return from_stamp(fields["time"])
    return 0


@dataclass(slots=True)
class Page:
    """How far one schedule of one meter is accounted for.

    Attributes:
        every_ms: its interval.
        last_due: the newest instant that is accounted for on disk; None: the next one told begins the account.
        gap_since, gap_cause: of the open gap; None and empty without one.
        hole: why instants nobody told about are missing.
        owed: what must be sealed before anything else: the end of a gap that was found open.
        before: the page that this one was turned from, until what turned it is on disk.
        failed: whether that never came to disk.
        chain: what is told of it builds upon what was told before, which may still be refused.
    """

    every_ms: int
    last_due: int | None = None
    gap_since: int | None = None
    gap_cause: str = ""
    hole: str = AGENT_STOPPED
    owed: list[Gap] = field(default_factory=list)
    before: Page | None = None
    failed: bool = False
    chain: Chain = field(default_factory=Chain)

    def turned(self) -> Page:
        """A page to go on with, that knows this one."""
        return replace(self, owed=list(self.owed), before=self, failed=False)

    def turned_back(self) -> Page:
        """The newest page before this one that came to disk, with the reason why the next ones did not."""
        page = self
        while page.failed and page.before is not None:
            page = page.before
        page.hole, page.chain = self.hole, Chain()
        return page

    @property
    def every_ns(self) -> int:
        """The interval in nanoseconds."""
        return self.every_ms * MILLISECOND

    def resume(self, past: LedgerReader, n: int, fields: dict[str, Any], restart: Restart) -> None:
        """Takes up where a schedule's newest record on disk, number n, left off."""
        due = from_stamp(fields["due"])
        if fields["kind"] == "reading":
            self.last_due = due
        elif fields["state"] == "closed":
            self.last_due = None if fields["cause"] == TAKEN_OUT else due - self.every_ns
        else:
            self.gap_since, self.gap_cause = from_stamp(fields["since"]), fields["cause"]
            until = newest_due(self.every_ns, restart.end_of_run(past, n))
            self.owed.append(self.close(max(until, self.gap_since) + self.every_ns))
        if self.last_due is None:
            return
        if restart.step and restart.step.n > n:
            self.begin_anew(restart.step.after_ns)
        elif self.last_due > restart.began_ns:
            self.begin_anew(restart.began_ns)  # the clock was set back while nothing ran
        self.hole = AGENT_STOPPED

    def is_told(self, due_ns: int) -> bool:
        """Whether an instant is accounted for already, other than in the gap that is open."""
        if self.gap_since is not None:
            return due_ns < self.gap_since
        return self.last_due is not None and due_ns <= self.last_due

    def catch_up(self, due_ns: int) -> list[Gap]:
        """What must be sealed before an instant can be told of: what is owed, and a gap over those nobody told of.

        `due_ns`: that instant; of another time the first one from then on.
        """
        due_ns = first_due(self.every_ns, due_ns)
        gaps, self.owed = [*self.owed], []
        if self.gap_since is None and self.last_due is not None:
            since = self.last_due + self.every_ns
            if missed := instants_between(since, due_ns, self.every_ns):
                gaps += [Gap(state, self.hole, since, due_ns, missed) for state in ("opened", "closed")]
                self.last_due = due_ns - self.every_ns
        return gaps

    def open(self, due_ns: int, cause: str) -> Gap:
        """Opens a gap with its first instant."""
        self.last_due, self.gap_since, self.gap_cause, self.hole = due_ns, due_ns, cause, OVERRUN
        return Gap("opened", cause, due_ns, due_ns, 1)

    def close(self, due_ns: int) -> Gap:
        """Closes the open gap in front of an instant. None is missed, if that is the very one the gap began with."""
        since = self.gap_since if self.gap_since is not None else due_ns
        due_ns = max(since, due_ns)
        gap = Gap("closed", self.gap_cause, since, due_ns, instants_between(since, due_ns, self.every_ns))
        self.last_due, self.gap_since, self.gap_cause = due_ns - self.every_ns, None, ""
        return gap

    def end(self, until_ns: int) -> list[Gap]:
        """Accounts for every instant up to a time, because the clock shows another one from now on."""
        end = newest_due(self.every_ns, until_ns) + self.every_ns
        if self.gap_since is not None:
            return [*self.catch_up(end), self.close(end)]
        if self.hole == OVERRUN:
            self.hole = CLOCK_SET
        return self.catch_up(end)

    def begin_anew(self, now_ns: int) -> None:
        """The schedule goes on with the first instant from now on, a time in whole milliseconds as records have it."""
        self.last_due = first_due(self.every_ns, now_ns // MILLISECOND * MILLISECOND) - self.every_ns
        self.gap_since, self.gap_cause, self.hole = None, "", OVERRUN

    def take_out(self, until_ns: int) -> list[Gap]:
        """Ends a schedule that is no longer read; empty if it has ended before."""
        if self.last_due is None:
            return []
        end = max(first_due(self.every_ns, until_ns), self.last_due + self.every_ns)
        gaps = self.catch_up(end)
        self.last_due = None
        return [*gaps, *(Gap(state, TAKEN_OUT, end, end, 0) for state in ("opened", "closed"))]


def resumed(past: LedgerReader, meter: str, intervals_ms: Iterable[int], restart: Restart) -> dict[int, Page]:
    """A meter's pages by interval, each where the ledger left it off."""
    pages = {every_ms: Page(every_ms) for every_ms in intervals_ms}
    waiting = set(pages)
    for n, payload in islice(past.meter_records(meter, newest_first=True), _MOST_LOOKED_AT):
        if not waiting:
            break
        fields = parse(payload)
        if fields["kind"] in ("reading", "gap") and fields["every_ms"] in waiting:
            waiting.remove(fields["every_ms"])
            pages[fields["every_ms"]].resume(past, n, fields, restart)
    return pages
