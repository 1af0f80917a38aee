"""What a disk that refuses leaves behind: what was never sealed must not count in anything that is sealed later."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from agent.closing import Closing
from agent.ledger import Ledger
from agent.ledger_file import LedgerError, LedgerReader
from agent.record import parse
from agent.seal import Record
from tests.agent.both import verify
from tests.agent.counting import QUARTER_MS, Plant, Plate
from tests.agent.gateway import START, FastClock, StillClock, begun, new_key, stop

HOUR_NS = 3_600_000_000_000


@contextlib.contextmanager
def refusing(path: Path) -> Iterator[None]:
    """Every transaction that brings records fails in its middle, as on a disk that takes no more."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("CREATE TRIGGER refusing BEFORE INSERT ON record BEGIN SELECT RAISE(ABORT, 'disk I/O error'); END")
        yield
        database.execute("DROP TRIGGER refusing")


async def taken_again(ledger: Ledger) -> None:
    """Returns when the disk takes something again."""
    async with asyncio.timeout(30):
        while True:
            with contextlib.suppress(LedgerError):
                await ledger.checkpoint()
                return
            await asyncio.sleep(0.05)


async def plant_at(path: Path, begin_ns: int) -> Plant:
    return await Plant(path, [Plate("EM-1", "1", "400/5", register=1000)], clock=StillClock(begin_ns)).begin("first")


def findings(plant: Plant) -> dict[str, list[str]]:
    with plant.past() as past:
        report = verify(past, key=None)
    return {kind: [str(each) for each in found] for kind, found in report.findings.kept.items()}


async def test_a_reading_that_never_came_to_disk_decides_nothing_of_its_counter(tmp_path: Path) -> None:
    plant = await plant_at(tmp_path / "ledger.sqlite", START)
    await plant.quarter(7)
    await plant.quarter(7)
    with refusing(plant.path):
        await plant.quarter(7, shown=0)
    await taken_again(plant.ledger)
    await plant.quarter(7)
    await plant.quarter(7)
    await plant.end()
    assert plant.records("counter") == []
    assert findings(plant) == {}


async def test_a_reading_that_never_came_to_disk_is_in_no_day_and_the_day_is_closed_later(tmp_path: Path) -> None:
    plant = await plant_at(tmp_path / "ledger.sqlite", START + 22 * HOUR_NS)
    for _ in range(7):
        await plant.quarter(7)
    with refusing(plant.path), contextlib.suppress(LedgerError):
        await plant.quarter(7)  # midnight's
    await taken_again(plant.ledger)
    for _ in range(5):
        await plant.quarter(7)
    await plant.end()
    (day,) = plant.records("day")
    assert (day["day"], day["actual"]) == ("2026-03-01", 7)
    assert findings(plant) == {}


async def test_the_closing_of_days_outlives_a_disk_that_refuses_at_midnight(tmp_path: Path) -> None:
    plant = await plant_at(tmp_path / "ledger.sqlite", START + 23 * HOUR_NS)
    for _ in range(3):
        await plant.quarter(7)
    clock = FastClock(1000, plant.clock.wall_ns)
    await plant.ledger.append(stop(clock))  # the disk is well
    closing = Closing(plant.courses, plant.ledger, clock, ["EM-1"], "UTC")
    with refusing(plant.path):
        work = asyncio.create_task(closing.run())
        async with asyncio.timeout(30):
            while not plant.ledger.error and not work.done():
                await asyncio.sleep(0.01)
    await taken_again(plant.ledger)
    async with asyncio.timeout(30):
        while not plant.records("day") and not work.done():
            await asyncio.sleep(0.01)
    assert not work.done()
    work.cancel()
    assert [day["day"] for day in plant.records("day")] == ["2026-03-01"]
    await plant.ledger.close()


async def test_a_record_that_is_on_disk_is_never_told_to_be_refused_whatever_fails_behind_its_commit(tmp_path: Path) -> None:
    state, elsewhere, clock = tmp_path / "state", tmp_path / "elsewhere", StillClock()
    state.mkdir()
    ledger = await begun(state / "ledger.sqlite", new_key(), clock)

    def gone(record: Record) -> list[object]:
        state.rename(elsewhere)  # from now on nothing can be asked of the folder; the open file is written all the same
        return []

    ledger.follow = gone  # type: ignore[assignment]  # it follows with nothing
    (record,) = await ledger.append(stop(clock))
    elsewhere.rename(state)
    ledger.follow = None
    with contextlib.closing(LedgerReader(ledger.path)) as past:
        assert past.payload(record.n) == record.payload
    assert [each.n for each in await ledger.append(stop(clock))] == [record.n + 1]
    await ledger.close()


async def test_what_is_asked_of_a_ledger_that_is_closing_is_refused_not_left_waiting(tmp_path: Path) -> None:
    clock = StillClock()
    ledger = await begun(tmp_path / "ledger.sqlite", new_key(), clock, commit_seconds=0.05)
    begun_making, may_go_on = threading.Event(), threading.Event()

    def make() -> list[dict[str, object]]:
        begun_making.set()
        assert may_go_on.wait(30)
        return [stop(clock)]

    made = asyncio.create_task(ledger.append_made(make))
    closing = asyncio.create_task(ledger.close())
    assert await asyncio.to_thread(begun_making.wait, 30)
    late = asyncio.create_task(ledger.append(stop(clock)))
    await asyncio.sleep(0)  # it is in the queue behind the ledger's last transaction
    may_go_on.set()
    await asyncio.gather(made, closing)
    with pytest.raises(LedgerError, match="closed"):
        async with asyncio.timeout(30):
            await late


async def test_polls_missed_before_a_step_of_the_clock_that_the_disk_refused_are_sealed_later(tmp_path: Path) -> None:
    plant = await plant_at(tmp_path / "ledger.sqlite", START)
    await plant.quarter(7)
    plant.clock.move(4 * 900)  # nobody tells of these polls
    plant.clock.step(5 * 3600)
    with refusing(plant.path):
        await plant.book.clock_was_set()
    await taken_again(plant.ledger)
    await plant.quarter(7)  # asked before the step was sealed: not sealed either
    await plant.quarter(7)
    await plant.end()
    with plant.past() as past:
        gaps = [parse(payload) for _, payload in past.kind_records("gap", newest_first=False)]
    # By the clock as it was, up to when the step could be sealed.
    assert [(gap["state"], gap["missed"]) for gap in gaps[:2]] == [("opened", 5), ("closed", 5)]
    assert len(plant.records("clock")) == 1
    assert findings(plant) == {}


async def test_polls_told_behind_one_that_was_refused_do_not_stand_as_if_it_had_been_sealed(tmp_path: Path) -> None:
    """A meter that is read faster than the disk writes: the next poll is told before it is known what became of this one."""
    plant = await plant_at(tmp_path / "ledger.sqlite", START)
    await plant.quarter(7)
    told = []
    for place in range(3):
        plant.to_next()
        due_ns = plant.clock.wall_ns // (QUARTER_MS * 1_000_000) * QUARTER_MS * 1_000_000
        reading = plant.reading(plant.plates[0], due_ns)
        if place == 0:
            reading = replace(reading, values=(reading.values[0]._replace(cause="no word", quality="bad"),))
        told.append(asyncio.create_task(plant.book.taken(reading)))
        await asyncio.sleep(0)
    assert not (await asyncio.gather(*told))[0]
    await plant.quarter(7)
    await plant.quarter(7)
    await plant.end()
    assert findings(plant) == {}
