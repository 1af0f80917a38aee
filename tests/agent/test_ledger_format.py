"""A ledger of a newer meterseal is refused and left as it is; one of an older meterseal is taken over."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from agent import damage
from agent.ledger import Ledger
from agent.ledger_file import LedgerError, LedgerReader
from agent.ledger_tables import FORMAT
from tests.agent.gateway import GATEWAY, StillClock, begun, new_key, stop


def version(path: Path, put: int | None = None) -> int:
    """The format that stands in the file; after it was set, where one is given."""
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        if put is not None:
            database.execute(f"PRAGMA user_version = {put}")
        return int(database.execute("PRAGMA user_version").fetchone()[0])


async def test_a_newer_ledger_is_refused_by_writer_and_reader_and_not_changed(tmp_path: Path) -> None:
    path, key = tmp_path / "ledger.sqlite", new_key()
    await (await begun(path, key, StillClock())).close()
    version(path, FORMAT + 1)
    before = path.read_bytes()
    with pytest.raises(LedgerError, match="written by a newer meterseal") as refused:
        await Ledger.open(path, GATEWAY, key)
    assert "Install the newer version again" in refused.value.hint
    with pytest.raises(LedgerError, match=f"format {FORMAT + 1}, this one knows {FORMAT}"):
        LedgerReader(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("spoil", ["", "ALTER TABLE cursor RENAME TO other", "DROP TABLE checkpoint"])
async def test_what_an_older_program_does_not_understand_in_a_newer_ledger_is_no_damage(tmp_path: Path, spoil: str) -> None:
    path, key, clock = tmp_path / "ledger.sqlite", new_key(), StillClock()
    ledger = await begun(path, key, clock)
    await ledger.append(stop(clock))
    await ledger.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute(spoil)
    version(path, FORMAT + 1)
    before = {each.name: each.read_bytes() for each in tmp_path.iterdir() if not each.name.endswith(("-wal", "-shm"))}
    with pytest.raises(LedgerError, match="written by a newer meterseal"):
        damage.begin(path, 0)
    damage.mark(path)
    with pytest.raises(LedgerError, match="written by a newer meterseal"):
        damage.begin(path, 0)
    after = {each.name: each.read_bytes() for each in tmp_path.iterdir() if each.name in before}
    assert after == before
    assert not [each for each in tmp_path.iterdir() if ".damaged-" in each.name]


async def test_an_older_ledger_goes_on_and_says_so_to_older_programs(tmp_path: Path) -> None:
    path, key, clock = tmp_path / "ledger.sqlite", new_key(), StillClock()
    await (await begun(path, key, clock)).close()
    version(path, FORMAT - 1)
    ledger = await begun(path, key, clock)
    assert int.from_bytes(path.read_bytes()[60:64], "big") == FORMAT  # where an installer looks, while the agent runs
    await ledger.append(stop(clock))
    await ledger.close()
    assert version(path) == FORMAT
