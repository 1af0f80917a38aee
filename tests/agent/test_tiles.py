"""agent.tiles: proofs made from tiles are those of RFC 9162 over all leaves."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from agent.ledger_file import LedgerReader
from agent.merkle import consistency_proof, inclusion_proof
from agent.tiles import consistency_proof_of, inclusion_proof_of
from tests.agent.gateway import StillClock, begun, new_key, stop

RECORDS = 1100


async def grown(path: Path) -> None:
    """A ledger that was written in commits of uneven size."""
    clock, some = StillClock(), random.Random(7)
    ledger = await begun(path, new_key(), clock)
    while ledger.size < RECORDS:
        await ledger.append(*(stop(clock) for _ in range(min(some.randrange(1, 90), RECORDS - ledger.size))))
    await ledger.close()


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LedgerReader]:
    path = tmp_path_factory.mktemp("log") / "ledger.sqlite"
    asyncio.run(grown(path))
    with closing(LedgerReader(path)) as reader:
        yield reader


def test_tiles_are_written_for_every_256_records(log: LedgerReader) -> None:
    assert len(log.tiles(0, 100)) == RECORDS // 256


def test_consistency_proofs_are_those_over_all_leaves(log: LedgerReader) -> None:
    leaves, some = log.leaves(0, RECORDS), random.Random(8)
    for new in (1, 255, 256, 257, 512, 513, 1023, 1024, RECORDS, *(some.randrange(2, RECORDS) for _ in range(30))):
        for old in (1, new // 2 or 1, new, some.randrange(1, new + 1)):
            assert consistency_proof_of(log, old, new) == consistency_proof(old, leaves[:new])


def test_inclusion_proofs_are_those_over_all_leaves(log: LedgerReader) -> None:
    leaves, some = log.leaves(0, RECORDS), random.Random(9)
    for size in (1, 2, 256, 257, 1024, RECORDS, *(some.randrange(1, RECORDS) for _ in range(30))):
        index = some.randrange(size)
        assert inclusion_proof_of(log, index, size) == inclusion_proof(index, leaves[:size])
