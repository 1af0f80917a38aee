"""tests/bench/broker_faults and backlog, short: that they do what they say, and that nothing is lost in a few faults."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench import backlog, tun_line
from tests.bench.broker_faults import FAULTS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("fault", "times"), [("killed", 3), ("quota", 3), ("taken-over", 2), ("certificates", 1)])
async def test_after_a_few_faults_a_subscriber_that_takes_by_n_has_every_record(fault: str, times: int, tmp_path: Path) -> None:
    made = await FAULTS[fault][0](tmp_path, random.Random("short"), times)
    assert (made.missing, made.wrong, made.faults) == (0, 0, times)
    assert made.records > 300


@pytest.mark.skipif(not tun_line.possible(), reason="needs root, `ip` (apt install iproute2) and /dev/net/tun")
def test_after_a_bad_network_a_subscriber_that_takes_by_n_has_every_record() -> None:
    words = [sys.executable, "-m", "tests.bench.broker_faults", "blackholes", "--seconds", "1", "--seed", "7"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("seed 7\nOK   blackholes")


async def test_new_records_are_not_late_by_a_second_while_a_backlog_drains(tmp_path: Path) -> None:
    by_default, unlimited, paho = await backlog.measure(tmp_path, 3000, 3.0)
    assert by_default.p99 < 1
    assert by_default.rate < 800  # a second's worth at once and 500 a second
    assert unlimited.records >= 3000
    assert unlimited.p99 < 1
    assert len(paho.late) > 1
