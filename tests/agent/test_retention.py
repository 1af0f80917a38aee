"""Retention: what is old or has no room goes by a signed record; what was not delivered goes last, and never silently."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agent.bundle import Bundle
from agent.draft import prune
from agent.export import export
from agent.ledger import Ledger
from agent.ledger_file import LedgerReader
from agent.ledger_room import Room
from agent.log import Log
from agent.record import RecordError, parse
from agent.retention import MONTH_MS, take_away
from agent.room_left import room_left
from agent.source import open_log
from config.keep import Keep
from tests.agent.both import first, verify
from tests.agent.gone_ledgers import clock_behind, long_gateway, on_disk
from tests.agent.ledgers import GATEWAY

WEEK = long_gateway(1300)
SIZE = len(WEEK.log.records)


class Told:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []

    def info(self, event: str, **fields: Any) -> None:
        self.events.append((event, fields))

    warning = error = info


async def tidied(path: Path, months: int, delivered: int | None, budget: int | None = None, days: float = 0) -> list[str]:
    """What was told while a ledger was tidied up, so many days after its last record."""
    on_disk(WEEK, path)
    clock, told = clock_behind(WEEK), Told()
    clock.move(days * 86_400)  # type: ignore[attr-defined]  # a clock for tests
    ledger = await Ledger.open(path, GATEWAY, WEEK.key, 0.0, Room(path, budget, floor=0))
    if delivered is not None:
        ledger.delivered("broker", delivered)
        await ledger.checkpoint()
    while await take_away(ledger, months, [] if delivered is None else ["broker"], clock, told):
        pass
    await ledger.close()
    with closing(LedgerReader(path)) as reader:
        report = verify(reader, key=WEEK.key_line)
        assert report.exit_code == 0, report.text()
    return [event for event, _ in told.events]


def pruned(path: Path) -> list[dict[str, Any]]:
    with closing(LedgerReader(path)) as reader:
        return [parse(payload) for _, payload in reader.kind_records("prune", newest_first=False)]


async def test_readings_older_than_the_site_says_go_and_younger_ones_stay(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    age_of_half = MONTH_MS / 86_400_000 - 4
    assert await tidied(path, 1, None, days=age_of_half) == ["ledger.pruned"]
    (record,) = pruned(path)
    assert record["why"] == "age"
    assert 0 < record["end"] < SIZE - 512
    assert "undelivered" not in record


async def test_by_age_nothing_goes_that_was_not_delivered(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    assert await tidied(path, 1, 300, days=400) == ["ledger.pruned"]
    assert [record["end"] for record in pruned(path)] == [256]


async def test_nothing_goes_while_there_is_room_and_all_is_young(tmp_path: Path) -> None:
    assert await tidied(tmp_path / "ledger.sqlite", 1, None) == []


async def test_when_four_fifths_are_used_the_oldest_delivered_go(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    on_disk(WEEK, tmp_path / "whole.sqlite")
    whole = (tmp_path / "whole.sqlite").stat().st_size
    assert "ledger.pruned" in await tidied(path, 36, SIZE, budget=whole * 110 // 100)
    assert {record["why"] for record in pruned(path)} == {"room"}


async def test_what_was_not_delivered_goes_only_at_the_very_end_and_is_told(tmp_path: Path) -> None:
    on_disk(WEEK, tmp_path / "whole.sqlite")
    whole = (tmp_path / "whole.sqlite").stat().st_size
    assert await tidied(tmp_path / "roomy.sqlite", 36, 0, budget=whole * 110 // 100) == []
    assert "ledger.pruned_undelivered" in await tidied(tmp_path / "full.sqlite", 36, 0, budget=whole)
    record = pruned(tmp_path / "full.sqlite")[0]
    assert record["undelivered"] == record["end"] - record["first"]


async def test_the_days_that_are_left_follow_from_what_the_newest_records_took(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    on_disk(WEEK, path)
    with closing(LedgerReader(path)) as reader:
        used, _ = reader.bytes_used()
        left = room_left(reader, path, Keep(months=36, megabytes=64))
    a_day = used / 6.77  # 650 quarters of an hour
    assert left.days is not None
    assert abs(left.days - (64_000_000 * 0.8 - used) / a_day) < 3
    assert "then the oldest readings go" in left.text()


async def test_nothing_goes_where_the_record_of_it_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    on_disk(WEEK, path)
    ledger = await Ledger.open(path, GATEWAY, WEEK.key, 0.0, Room(path, floor=0))
    with pytest.raises(RecordError):
        await ledger.prune(0, 256, lambda roots: {"kind": "prune"})
    await ledger.close()
    with closing(LedgerReader(path)) as reader:
        assert (reader.count(), reader.kept()) == (SIZE, [])


class Interrupted:
    """A log whose readings are taken away while somebody goes through it: right before, and right behind, its records."""

    def __init__(self, log: Log, take_away: Callable[[], None]) -> None:
        self._log, self._take_away = log, take_away
        self.size, self.kept, self.checkpoints = log.size, log.kept, log.checkpoints
        self.models, self.timestamps = log.models, log.timestamps

    def payloads(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, bytes]]:
        self._take_away()
        yield from self._log.payloads(start, stop)
        self._take_away()


async def test_whoever_goes_through_a_ledger_sees_it_as_it_was_although_readings_go_meanwhile(tmp_path: Path) -> None:
    path, clock, left = tmp_path / "ledger.sqlite", clock_behind(WEEK), [(768, 1024), (512, 768), (256, 512), (0, 256)]
    on_disk(WEEK, path)
    ledger = await Ledger.open(path, GATEWAY, WEEK.key, 0.0, Room(path, floor=0))

    def take_away() -> None:
        first, end = left.pop()
        going = ledger.prune(first, end, lambda roots: prune(clock, first, end, roots, "age"))
        asyncio.run_coroutine_threadsafe(going, loop).result(30)

    def through() -> tuple[int, int]:
        with closing(open_log(path)) as log:
            checked = first.verify(Interrupted(log, take_away), key=WEEK.key_line)
        with closing(open_log(path)) as log:
            export(Interrupted(log, take_away), tmp_path / "log.zip")
        with closing(Bundle(tmp_path / "log.zip")) as log:
            exported = verify(log, key=WEEK.key_line)
        return checked.exit_code, exported.exit_code

    loop = asyncio.get_running_loop()
    assert await asyncio.to_thread(through) == (0, 0)
    await ledger.close()
