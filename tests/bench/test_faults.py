"""The fault table in its short form: `make faults` runs all of it, many times over."""

import random
from pathlib import Path

import pytest

from tests.bench import faults
from tests.bench.power_cut import SECTOR, after_cut


@pytest.mark.parametrize("row", ["kill -9", "kill -9, packing", "flipped bits, packed", "clock steps", "no descriptors"])
def test_the_whole_ledger_is_in_order_after_the_fault(row: str, tmp_path: Path) -> None:
    assert "in order" in faults.ROWS[row][0](tmp_path, random.Random(3), 2)


def test_after_a_cut_everything_that_was_flushed_is_there_and_the_rest_is_sectors_old_or_new() -> None:
    head = (0).to_bytes(8, "little")
    log = b"W" + head + (1024).to_bytes(4, "little") + b"a" * 1024 + b"F"
    log += b"W" + head + (1024).to_bytes(4, "little") + b"b" * 1024
    flushed = len(log) - 1024 - 13
    assert after_cut(log, flushed, 2048, random.Random(1))[0][:1024] == b"a" * 1024
    for seed in range(20):
        image, lost = after_cut(log, len(log), 2048, random.Random(seed))
        sectors = [bytes(image[at : at + SECTOR]) for at in (0, SECTOR)]
        assert sectors.count(b"a" * SECTOR) == lost
        assert sectors.count(b"b" * SECTOR) == 2 - lost
