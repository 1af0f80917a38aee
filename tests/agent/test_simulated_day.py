"""A day of a gateway, with everything that happens to one: every instant that its clock showed is in the ledger's account.

The instants are counted here by walking along the clock, independent of the book and of the verifier. No network.
"""

from __future__ import annotations

import contextlib
import random
import shutil
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from agent.clock import from_stamp
from agent.record import parse
from tests.agent.desk import Desk
from tests.agent.gateway import SECOND, START, StillClock

MILLISECOND = 1_000_000
QUARTER_MS, MINUTE_MS = 900_000, 60_000
PLANT = {
    "EM-1": (QUARTER_MS,),
    "EM-2": (MINUTE_MS,),
    "WM-1": (QUARTER_MS, MINUTE_MS),
}
LINES = {"EM-1": "line-1", "EM-2": "line-2", "WM-1": "line-1"}


@dataclass
class Walk:
    """One schedule's instants, as the clock shows them.

    Attributes:
        shown: how many there were since the first one was told.
        after: the newest time up to which they are counted.
    """

    every_ns: int
    shown: int = 0
    after: int = 0

    def on(self, until: int) -> None:
        self.shown += until // self.every_ns - self.after // self.every_ns
        self.after = until

    def anew(self, now: int) -> None:
        """The clock was set: what it shows now counts, also if it is an instant."""
        self.after = now - 1


@dataclass
class Trouble:
    """Until when a line or a meter is away, by the time since boot."""

    line: dict[str, int] = field(default_factory=dict)
    meter: dict[str, int] = field(default_factory=dict)


class Day:
    """A gateway's day."""

    def __init__(self, folder: Path, seed: int, begin_ns: int) -> None:
        self.random = random.Random(seed)
        self.folder = folder
        self.clock = StillClock(begin_ns)
        self.desk = Desk(folder / "ledger.sqlite", self.clock)
        self.walks = {(meter, every_ms): Walk(every_ms * MILLISECOND) for meter, each in PLANT.items() for every_ms in each}
        self.trouble = Trouble()
        self.read = dict.fromkeys(self.walks, 0)
        self.happened: set[str] = set()
        self.overruns = True

    async def begin(self) -> None:
        await self.desk.open(schedules=PLANT)
        for walk in self.walks.values():
            walk.anew(self.clock.wall_ns)

    async def minute(self) -> None:
        """Goes on to the next minute, and tells what is due then."""
        now = self.clock.wall_ns
        self.pass_to(now // (60 * SECOND) * 60 * SECOND + 60 * SECOND + self.random.randrange(1, 900) * MILLISECOND)
        for (meter, every_ms), walk in self.walks.items():
            due = self.clock.wall_ns // walk.every_ns * walk.every_ns
            if self.clock.wall_ns - due < 60 * SECOND:
                await self.poll(meter, every_ms, due)

    def pass_to(self, wall_ns: int) -> None:
        self.clock.move((wall_ns - self.clock.wall_ns) / SECOND)
        for walk in self.walks.values():
            walk.on(self.clock.wall_ns)

    async def poll(self, meter: str, every_ms: int, due_ns: int) -> None:
        up = self.clock.uptime_ns
        minute = (due_ns - START) / (60 * SECOND)
        if self.trouble.line.get(LINES[meter], 0) > up:
            await self.tell_missed(meter, every_ms, minute, "no_connection")
        elif self.trouble.meter.get(meter, 0) > up:
            await self.tell_missed(meter, every_ms, minute, "no_answer")
            if self.random.random() < 0.1:  # it is back before the instant is over
                self.happened.add("back in time")
                await self.tell_read(meter, every_ms, minute)
        elif self.overruns and self.read[meter, every_ms] and self.random.random() < 0.02:
            self.happened.add("overrun")
        else:
            await self.tell_read(meter, every_ms, minute)

    async def tell_missed(self, meter: str, every_ms: int, minute: float, cause: str) -> None:
        now = self.clock.wall_ns, self.clock.uptime_ns
        await self.desk.miss(minute, cause, every_ms, meter)
        self.clock.wall_ns, self.clock.uptime_ns = now

    async def tell_read(self, meter: str, every_ms: int, minute: float) -> None:
        await self.desk.answered(minute, every_ms, meter)
        self.read[meter, every_ms] += 1

    # --- what happens -----------------------------------------------------------------------------------------

    async def clock_is_set(self, seconds: float) -> None:
        """In the middle of a poll or not, and noticed at once or some seconds later."""
        epoch = self.desk.book.steps.count
        self.pass_to(self.clock.wall_ns + self.random.randrange(20_000) * MILLISECOND)
        self.clock.step(seconds)
        if self.random.random() < 0.5:
            self.happened.add("noticed late")
            late = self.random.randrange(1, 5000) * MILLISECOND
            self.clock.move(late / SECOND)
            for walk in self.walks.values():
                walk.on(walk.after + late)  # by the old time, until somebody notices
        if self.random.random() < 0.5:
            self.happened.add("in the middle of a poll")
            await self.desk.answered(0, epoch=epoch, meter="EM-2")  # what was asked before is given up
        else:
            assert await self.desk.book.clock_was_set()
        for walk in self.walks.values():
            walk.anew(self.clock.wall_ns)

    async def line_fails(self, name: str) -> None:
        self.trouble.line[name] = self.clock.uptime_ns + self.random.randrange(30, 90 * 60) * SECOND

    async def meter_fails(self, name: str) -> None:
        self.trouble.meter[name] = self.clock.uptime_ns + self.random.randrange(30, 60 * 60) * SECOND

    async def restart(self, *, orderly: bool) -> None:
        if orderly:
            await self.desk.stop()
        else:
            await self.crash()
        away = self.random.choice([2, 40, 1000, 5000]) * SECOND + self.random.randrange(SECOND)
        self.pass_to(self.clock.wall_ns + away)
        if self.random.random() < 0.5:
            self.happened.add("reboot")
            self.clock.boot, self.clock.uptime_ns = f"{self.random.getrandbits(32):08x}", 20 * SECOND
            self.trouble = Trouble()
        await self.desk.open(schedules=PLANT)

    async def crash(self) -> None:
        """Power fails: what was told last was never written."""
        kept = self.folder / "kept.sqlite"
        with contextlib.closing(sqlite3.connect(self.desk.path)) as ledger, contextlib.closing(sqlite3.connect(kept)) as copy:
            ledger.backup(copy)
        before = dict(self.read)
        for _ in range(self.random.randrange(3)):
            await self.minute()
        await self.desk.ledger.close()
        for wal in (f"{self.desk.path}-wal", f"{self.desk.path}-shm"):
            Path(wal).unlink(missing_ok=True)
        shutil.move(kept, self.desk.path)
        self.read = before


async def lived(folder: Path, seed: int, hours: int, begin_ns: int = START + 20 * 3600 * SECOND + 7 * SECOND) -> Day:
    """A day, or some hours of it, with one of everything and more of some."""
    day = Day(folder, seed, begin_ns)
    await day.begin()
    plan = [lambda s=s: day.clock_is_set(s) for s in (3600, -3600, 2, day.random.choice([-2, 7200, -90]))]
    plan += [lambda n=n: day.line_fails(n) for n in ("line-1", "line-2", "line-1")]
    plan += [lambda n=n: day.meter_fails(n) for n in ("EM-1", "EM-2", "WM-1", "EM-2", "WM-1")]
    plan += [lambda o=o: day.restart(orderly=o) for o in (True, False, False)]
    at = sorted((day.random.randrange(16, 60 * hours - 1), number) for number in range(len(plan)))
    for minute in range(60 * hours):
        await day.minute()
        while at and at[0][0] == minute:
            await plan[at.pop(0)[1]]()
    day.overruns = False  # an account goes up to what was told last
    for _ in range(15):
        await day.minute()
    return day


@pytest.mark.parametrize(("seed", "hours"), [(1, 24), (2, 6), (3, 6), (4, 6)])
async def test_every_instant_that_the_clock_showed_is_a_reading_or_in_a_gap(tmp_path: Path, seed: int, hours: int) -> None:
    day = await lived(tmp_path, seed, hours)
    await day.desk.stop()
    accounts = day.desk.account()
    for (meter, every_ms), walk in day.walks.items():
        tally = accounts[meter].schedules[every_ms]
        assert (tally.expected, tally.read, tally.untold) == (walk.shown, day.read[meter, every_ms], 0), (meter, every_ms)
    causes = {cause for account in accounts.values() for cause in account.total.causes}
    assert {"overrun", "agent_stopped", "no_answer", "no_connection"} <= causes
    assert len(day.happened) >= 2, day.happened
    with day.desk.past() as past:
        newest = parse(past.payload(past.size() - 1))
    assert from_stamp(newest["time"]) == day.clock.wall_ns // MILLISECOND * MILLISECOND
