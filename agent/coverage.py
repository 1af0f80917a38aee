"""The account of a meter's polls and of its records: every scheduled poll is a reading, or counted as missed. Pure.

 1. Per meter, the count in readings, gaps and identity records goes up by one, from 0.
 2. Per interval at which it is read, due instants rise by that interval. A gap opens with `since` (its first missed
    instant) and closes with `due` (the first instant that is not part of it) and the number of all instants between.
 3. So between two instants told none is left over. Instants that nobody speaks of are a finding, and so are instants
    told twice. Where the clock was set, the schedule begins anew with the first instant by the new time.
 4. Behind records of the log that are gone, the account goes on with what is told next; instants in between are lost.
 5. A gap still open at the end of the log goes up to the log's last time; that of a schedule which is not declared any
    more, up to the declaration that left it out. A schedule that was taken out begins anew if it comes back.

What this file does not know: frames, values, signatures, days.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from agent.account import LOST, READ, UNTOLD, MeterAccount
from agent.timeline import milliseconds
from config.language import _

Problem = tuple[str, str]
# Is told of polls as they are accounted for: interval, outcome (see `agent.account`), first instant, how many. Both times in
# milliseconds.
Told = Callable[[int, str, int, int], None]
TAKEN_OUT = "taken_out"
EARLY_MS = 1000
LATE_MS = 120_000


@dataclass(frozen=True, slots=True)
class _Gap:
    """An open gap: its first instant, why, and how many are known to be missed."""

    told: str
    since: int
    cause: str
    missed: int


@dataclass(slots=True)
class _Schedule:
    """One interval's instants so far.

    Attributes:
        last_due: the newest instant told; None: the next one begins the account.
        gap: the open one.
        fresh: the clock was set, or the agent began, since the last instant told.
        anew: where the clock was set since then: the instant before the first one by the new time.
        gone: when a declaration left it out.
        torn: records of the log are gone since the last instant told.
    """

    last_due: int | None = None
    gap: _Gap | None = None
    fresh: bool = False
    anew: int | None = None
    gone: int | None = None
    torn: bool = False

    def is_told_up_to(self, instant: int, every_ms: int) -> bool:
        """Whether its instants before one are accounted for, as far as they ever will be."""
        if self.anew is not None:
            return False  # the agent may have been off when the clock was set: then the time before is told afterwards
        if self.gone is not None or self.last_due is None:
            return True
        return (self.gap.since if self.gap else self.last_due + every_ms) >= instant


class Coverage:
    """One meter's account while its records go by. `told` hears of polls as they are accounted for."""

    def __init__(self, meter: str, told: Told | None = None) -> None:
        self.account = MeterAccount(meter)
        self._told = told
        self._count = -1
        self._slack = 0
        self._schedules: dict[int, _Schedule] = {}

    # --- what goes by -----------------------------------------------------------------------------------------

    def declared(self, meter: Mapping[str, Any], time: str) -> None:
        """Takes a declaration and its record's time."""
        self.account.serial = meter["serial"]
        self.account.model = _(
            "{model} revision {revision}, trust {trust}", model=meter["model"], revision=meter["revision"], trust=meter["trust"]
        )
        kept = {schedule["every_ms"] for schedule in meter["schedules"]}
        for every_ms, schedule in self._schedules.items():
            schedule.gone = None if every_ms in kept else schedule.gone or milliseconds(time)

    def count(self, stated: int) -> Iterator[Problem]:
        """Takes a record's count."""
        if stated != self._count + 1 and not 0 < stated - self._count - 1 <= self._slack:
            missing = (
                _("{stated} records of this meter are missing", stated=stated - self._count - 1)
                if stated > self._count
                else _("counts back")
            )
            yield (
                "METER-COUNT",
                _("count {stated} after {before}: {missing}", stated=stated, before=self._count, missing=missing)
                if self._count >= 0
                else _("begins with {stated}", stated=stated),
            )
        self._count, self._slack = stated, 0

    def clock_set(self, after: str) -> None:
        """The wall clock was set to a time: each schedule goes on with its first instant from then on."""
        now = milliseconds(after)
        for every_ms, schedule in self._schedules.items():
            schedule.fresh = True
            schedule.anew = -(-now // every_ms) * every_ms - every_ms
            if schedule.gap is None and schedule.last_due is not None:
                schedule.last_due = schedule.anew

    def torn(self, count: int) -> None:
        """So many records of the log are gone: what they told of this meter, nobody tells any more."""
        self._slack += count
        for schedule in self._schedules.values():
            schedule.torn = True

    def started(self) -> None:
        """The agent began: in the time before, the clock may have been set unseen."""
        for schedule in self._schedules.values():
            schedule.fresh = True

    def reading(self, fields: Mapping[str, Any]) -> Iterator[Problem]:
        """Takes a reading."""
        every_ms = fields["every_ms"]
        schedule = self._schedules.setdefault(every_ms, _Schedule())
        due, time = milliseconds(fields["due"]), milliseconds(fields["time"])
        self._mend(schedule, every_ms, due)
        if not schedule.fresh and not -EARLY_MS <= time - due <= every_ms + LATE_MS:
            yield (
                "CLOCK",
                _("was read at {time}, too far from {due}, which it answers for", time=fields["time"], due=fields["due"]),
            )
        if schedule.gap:
            yield "GAP", _("is a reading, but the gap since {told} was never closed", told=schedule.gap.told)
            self._close(schedule, every_ms, due)
        yield from self._advance(schedule, fields["due"], due, every_ms)
        self._tell(every_ms, READ, due, 1)
        schedule.last_due = due

    def gap(self, fields: Mapping[str, Any]) -> Iterator[Problem]:
        """Takes a gap record."""
        every_ms = fields["every_ms"]
        schedule = self._schedules.setdefault(every_ms, _Schedule())
        since, due = milliseconds(fields["since"]), milliseconds(fields["due"])
        gap = _Gap(fields["since"], since, fields["cause"], fields["missed"])
        self._mend(schedule, every_ms, since, gap if fields["state"] == "closed" else None)
        if fields["state"] == "opened":
            yield from self._opened(schedule, gap, fields["due"], due, every_ms)
        else:
            yield from self._closed(schedule, gap, fields["due"], due, every_ms)

    def _mend(self, schedule: _Schedule, every_ms: int, instant: int, closing: _Gap | None = None) -> None:
        """Takes a schedule up again behind records that are gone: what they may have told up to an instant is lost."""
        if not schedule.torn:
            return
        schedule.torn, gap = False, schedule.gap
        if gap and closing and (gap.since, gap.cause) == (closing.since, closing.cause):
            return
        if gap:
            self._close(schedule, every_ms, gap.since + gap.missed * every_ms)
        if schedule.last_due is not None:
            left = max(0, (instant - schedule.last_due) // every_ms - 1)
            self._tell(every_ms, LOST, schedule.last_due + every_ms, left)
            schedule.last_due += left * every_ms
        if closing:
            schedule.gap = closing
            self.account.gaps += closing.cause != TAKEN_OUT

    # --- gaps -------------------------------------------------------------------------------------------------

    def _opened(self, schedule: _Schedule, gap: _Gap, told: str, due: int, every_ms: int) -> Iterator[Problem]:
        if schedule.gap:
            yield "GAP", _("opens a gap while the one since {told} is open", told=schedule.gap.told)
            self._close(schedule, every_ms, gap.since)
        yield from self._advance(schedule, gap.told, gap.since, every_ms)
        between = max(0, (due - gap.since) // every_ms)
        # Up to and with the instant that has just been missed, or up to the one that is read next.
        none = gap.missed == 0 and gap.cause != TAKEN_OUT
        if none or gap.missed not in (between, between + 1) or due < gap.since:
            yield _miscounted(gap, told, between)
        self.account.gaps += gap.cause != TAKEN_OUT
        schedule.gap = gap
        schedule.last_due = max(due, gap.since)

    def _closed(self, schedule: _Schedule, gap: _Gap, told: str, due: int, every_ms: int) -> Iterator[Problem]:
        between = max(0, (due - gap.since) // every_ms)
        if schedule.gap is None:
            yield "GAP", _("closes a gap since {told} that never opened", told=gap.told)
            self.account.gaps += 1
        elif (gap.since, gap.cause) != (schedule.gap.since, schedule.gap.cause):
            opened = _("began {told} by {cause}", told=schedule.gap.told, cause=schedule.gap.cause)
            yield (
                "GAP",
                _("closes a gap since {told} by {cause}, the open one {opened}", told=gap.told, cause=gap.cause, opened=opened),
            )
        if gap.missed != between or due < gap.since:
            yield _miscounted(gap, told, between)
        schedule.gap = gap
        self._close(schedule, every_ms, due)
        if gap.cause == TAKEN_OUT:
            schedule.last_due = None
        elif schedule.anew is not None:
            schedule.last_due = schedule.anew

    def _advance(self, schedule: _Schedule, told: str, due: int, every_ms: int) -> Iterator[Problem]:
        """Moves a schedule on to an instant; problems if some are left over or told twice."""
        self.account.first_due = self.account.first_due or told
        self.account.last_due = max(self.account.last_due, told)
        fresh, schedule.fresh, schedule.anew = schedule.fresh, False, None
        if due % every_ms:
            yield "GAP", _("{told} is no instant of a schedule of {every_ms} ms", told=told, every_ms=every_ms)
        if schedule.last_due is None:
            return
        left = (due - schedule.last_due) // every_ms - 1
        if due <= schedule.last_due and not fresh:
            yield "GAP", _("{told} was accounted for already", told=told)
        elif left > 0:
            yield "GAP", _("nothing is said about {left} scheduled polls before {told}", left=left, told=told)
            self._tell(every_ms, UNTOLD, schedule.last_due + every_ms, left)

    def _close(self, schedule: _Schedule, every_ms: int, until: int) -> None:
        """Enters an open gap up to, not including, an instant, and forgets it."""
        if schedule.gap:
            count = -(-(until - schedule.gap.since) // every_ms)
            self._tell(every_ms, schedule.gap.cause, schedule.gap.since, max(0, count))
            schedule.last_due = max(schedule.gap.since, until) - every_ms
            schedule.gap = None

    def _tell(self, every_ms: int, outcome: str, first: int, count: int) -> None:
        self.account.of(every_ms).add(outcome, count)
        if self._told and count:
            self._told(every_ms, outcome, first, count)

    def is_told_up_to(self, instant: int) -> bool:
        """Whether every schedule's instants before one are accounted for."""
        return all(schedule.is_told_up_to(instant, every_ms) for every_ms, schedule in self._schedules.items())

    def close(self, until: str) -> MeterAccount:
        """The account at the end of the log, whose last time is `until`: what is still open goes up to then."""
        end = milliseconds(until) if until else 0
        for every_ms, schedule in self._schedules.items():
            if schedule.gap:
                self.account.gap_open |= schedule.gone is None
                reached = (end if schedule.gone is None else schedule.gone) + 1
                known = schedule.gap.since + schedule.gap.missed * every_ms
                self._close(schedule, every_ms, max(known, reached))
        return self.account


def _miscounted(gap: _Gap, told: str, between: int) -> Problem:
    """A gap that says another number of missed polls than there are up to the instant `told`."""
    return (
        "GAP",
        _(
            "counts {missed} missed polls from {told} to {told_2}, there are {between}",
            missed=gap.missed,
            told=gap.told,
            told_2=told,
            between=between,
        ),
    )
