"""tests/bench: what must hold for its ratios to mean something, without measuring any."""

from __future__ import annotations

import random
import re
from contextlib import closing
from pathlib import Path

import pytest

from agent import checkpoint
from agent.ledger_file import LedgerReader
from agent.verify import verify
from tests.agent.gateway import GATEWAY, START, StillClock
from tests.agent.ledgers import new_key
from tests.bench import bench, growth, ratio
from tests.bench.polls import filled, polled

_PAGE = Path(__file__).parents[2] / "docs" / "bench.md"


def test_the_page_states_every_limit_that_is_measured_against() -> None:
    rows = re.findall(r"^\| (.+?) \| [^|]+ \| ([0-9.]+) \|$", _PAGE.read_text("utf-8"), re.MULTILINE)
    assert {name: float(limit) for name, limit in rows} == bench.LIMITS


def test_a_median_over_its_limit_is_told_and_one_at_its_limit_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    limit = bench.LIMITS["verify"]
    assert bench._shown(ratio.Line("verify", [0.1, limit, 99.0], ""))
    assert not bench._shown(ratio.Line("verify", [0.1, limit + 0.01, limit + 0.02], ""))
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["OK", "OVER"]


def test_both_sides_take_as_many_turns_and_begin_in_turn() -> None:
    turns: list[str] = []
    measured = ratio.rounds(4, lambda: turns.append("ours"), lambda: turns.append("bare"))
    assert len(measured) == 4
    assert turns == ["ours", "bare", "ours", "bare", "bare", "ours", "ours", "bare", "bare", "ours"]


def test_a_poll_that_is_measured_has_a_good_value_for_every_point() -> None:
    meter = polled()
    values = meter.reading(meter.frames(random.Random(7)), START, StillClock()).values
    assert [value.quantity for value in values] == [point.quantity for point in meter.points]
    assert {value.quality for value in values} == {"good"}


async def test_the_ledger_that_is_verified_has_nothing_to_find(tmp_path: Path) -> None:
    path, key = tmp_path / "ledger.sqlite", new_key()
    await (await filled(path, key, 60)).close()
    with closing(LedgerReader(path)) as reader:
        assert verify(reader, key=checkpoint.verifier_key(checkpoint.origin_of(GATEWAY), key.public)).findings.total == 0


async def test_what_is_sealed_to_see_memory_grow_are_records(tmp_path: Path) -> None:
    assert set(await growth.held(tmp_path / "ledger.sqlite", 100)) == {"after"}
    with closing(LedgerReader(tmp_path / "ledger.sqlite")) as reader:
        assert reader.size() >= 100
