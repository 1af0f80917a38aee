"""tests/bench/delivery_faults, in short: what it says holds here too, and that it would tell if it did not."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from tests.bench import delivery_faults as bench


@pytest.mark.timeout(300)
async def test_a_collector_killed_a_few_times_has_the_ledger_byte_for_byte(tmp_path: Path) -> None:
    told = await bench.collector_killed(tmp_path, seed=11, kills=3)
    assert "the copy is the ledger byte for byte, both verify" in told
    assert "collector killed 3" in told


@pytest.mark.timeout(300)
async def test_everything_killed_frozen_and_set_at_once_loses_nothing(tmp_path: Path) -> None:
    async with bench.scene(tmp_path, seed=5) as made:
        await made.kill("broker", "collector", "agent")
        await made.set_clock()
        await made.kill("agent", "collector")
        assert await made.settle() > 0
        made.check()
        before = made.records(made.copy)
        database = sqlite3.connect(made.copy)
        database.executescript("DROP TRIGGER record_is_never_changed; UPDATE record SET payload = CAST('{}' AS BLOB) WHERE n = 5")
        database.close()
        assert made.records(made.copy) != before
        with pytest.raises(AssertionError):
            made.check()
