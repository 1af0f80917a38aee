"""A damaged ledger: what can be read is saved, the file is kept, the loss is a signed record, and all of it verifies."""

import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from agent import damage, draft
from agent.bundle import Bundle
from agent.carve import carved
from agent.export import export
from agent.leaf_file import leaf_path
from agent.ledger import Ledger
from agent.ledger_file import LedgerReader
from agent.record import parse
from agent.salvage import Salvaged
from agent.state import LEDGER_FILE
from tests.agent.at_work import at_work
from tests.agent.both import verify
from tests.agent.gateway import stop
from tests.agent.gone_ledgers import clock_behind, long_gateway, on_disk
from tests.agent.heard import Heard
from tests.agent.ledgers import DIGEST, GATEWAY, MODEL

LONG = long_gateway(300)
ALL = len(LONG.log.records)


async def sealed(path: Path) -> None:
    """A ledger at work: the file of leaf hashes beside it, some records in the WAL."""
    on_disk(LONG, path)
    path.with_name("key.vkey").write_text(LONG.key_line, "utf-8")
    clock = clock_behind(LONG)
    ledger = await Ledger.open(path, GATEWAY, LONG.key, 0.0)
    await ledger.append(stop(clock, "one"))
    await ledger.close()


async def goes_on(path: Path) -> None:
    """The agent's part after a start: what is owed is sealed first, then it goes on."""
    clock = clock_behind(LONG)
    clock.move(60)  # type: ignore[attr-defined]  # a clock for tests
    ledger = await Ledger.open(path, GATEWAY, LONG.key, 0.0)
    with closing(LedgerReader(path)) as reader:
        owed = reader.owed()
    assert owed is not None
    await ledger.append(draft.start(clock, "0.1.0", "ab" * 32, "crash"), draft.loss(clock, owed))
    await ledger.append(stop(clock, "two"))
    await ledger.keep_model(DIGEST, MODEL)
    with closing(LedgerReader(path)) as reader:
        assert reader.owed() is None
    await ledger.close()


def flipped(path: Path) -> None:
    chance = random.Random(5)
    data = bytearray(path.read_bytes())
    for _ in range(25):
        at = chance.randrange(4096 * 10, len(data))
        data[at] ^= 1 << chance.randrange(8)
    path.write_bytes(data)


def pages_gone(path: Path) -> None:
    data = bytearray(path.read_bytes())
    for page in (35, 40, 41, 50):
        data[page * 4096 : page * 4096 + 4096] = bytes(4096)
    path.write_bytes(data)


def header_gone(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[:4096] = bytes(4096)
    path.write_bytes(data)


def cut_off(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def deleted(path: Path) -> None:
    path.unlink()


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


# How, the least that is saved, the most.
DAMAGES: dict[str, tuple[Callable[[Path], None], int, int]] = {
    "bits are flipped": (flipped, ALL - 120, ALL + 1),
    "pages are gone": (pages_gone, ALL - 120, ALL - 1),
    "its first page is gone": (header_gone, ALL // 2, ALL + 1),
    "it is cut off": (cut_off, ALL // 3, ALL - 20),
    "it is empty": (emptied, 0, 0),
    "it was deleted": (deleted, 0, 0),
    "a directory lies in its place": (directory, 0, 0),
}


@pytest.mark.parametrize("leaves", [True, False], ids=["with", "without"])
@pytest.mark.parametrize("how", DAMAGES)
async def test_what_can_be_read_is_saved_and_the_log_goes_on(how: str, leaves: bool, tmp_path: Path) -> None:
    damage_it, least, most = DAMAGES[how]
    path = tmp_path / "ledger.sqlite"
    await sealed(path)
    damage_it(path)
    if not leaves:
        if how in ("it is empty", "it was deleted", "a directory lies in its place"):
            pytest.skip("without both files there is nothing that tells of a ledger")
        leaf_path(path).unlink()
    kept = path.read_bytes() if path.is_file() else None
    saved = damage.begin(path, 1) or damage.forced(path, "damaged_pages", 1)
    assert least <= saved.saved <= most, saved
    assert saved.aside is None or kept is None or saved.aside.read_bytes() == kept
    await goes_on(path)
    report, named = judged(path)
    assert set(report.findings.counts) <= named, report.text()
    assert report.gone["lost"] == saved.lost
    if saved.lost:
        assert "lost with a damaged file" in report.verdict
    numbers_are_new(path)
    assert damage.begin(path, 2) is None


def judged(path: Path) -> tuple[object, set[str]]:
    """The report, and what may be found where declarations or the enrolment are among what was lost."""
    with closing(LedgerReader(path)) as reader:
        there = {parse(payload)["kind"] for _, payload in reader.payloads(0, 6)}
        whole = there == {"key", "start", "config", "meter", "identity"}
        report = verify(reader, key=LONG.key_line)
    named = set() if whole else {"DECLARATION", "MODEL", "REQUEST", "FORMULA", "METER-COUNT"}
    return report, named


def numbers_are_new(path: Path) -> None:
    """No number that was ever given stands for another record now."""
    with closing(LedgerReader(path)) as reader:
        for n, payload in reader.payloads(0, ALL):
            assert payload == LONG.log.records[n]


async def test_a_truncated_wal_is_found_by_the_leaf_hashes_and_stated(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    on_disk(LONG, path)
    clock = clock_behind(LONG)
    ledger = await Ledger.open(path, GATEWAY, LONG.key, 0.0)
    for number in range(20):
        await ledger.append(stop(clock, f"r{number}"))
    other = tmp_path / "copied"
    other.mkdir()
    for name in ("ledger.sqlite", "ledger.leaves"):
        (other / name).write_bytes((tmp_path / name).read_bytes())
    wal = (tmp_path / "ledger.sqlite-wal").read_bytes()
    (other / "ledger.sqlite-wal").write_bytes(wal[: len(wal) // 2])
    await ledger.close()
    path = other / "ledger.sqlite"
    saved = damage.begin(path, 1)
    assert saved is not None
    assert saved.cause == "cut_off"
    assert 1 <= saved.lost - 2560 + 256 <= 2600
    await goes_on(path)
    report, _ = judged(path)
    assert report.exit_code == 0, report.text()
    with closing(LedgerReader(path)) as reader:
        export(reader, tmp_path / "bundle.zip")
    with closing(Bundle(tmp_path / "bundle.zip")) as bundle:
        assert verify(bundle, key=LONG.key_line).exit_code == 0


async def test_a_sound_ledger_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    await sealed(path)
    before = path.read_bytes()
    assert damage.begin(path, 1) is None
    assert damage.begin(tmp_path / "none.sqlite", 1) is None
    assert path.read_bytes() == before


async def test_a_cut_between_the_renamings_is_finished_by_the_next_start(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    await sealed(path)
    path.rename(path.with_name("ledger.sqlite.saved"))
    assert damage.begin(path, 1) is None
    with closing(LedgerReader(path)) as reader:
        assert reader.size() == ALL + 1


async def test_damage_found_at_work_stops_sealing_and_the_next_start_saves(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    await sealed(path)
    damage.mark(path)
    assert damage.damage(path) == "damaged_pages"
    assert isinstance(damage.begin(path, 1), Salvaged)
    assert damage.damage(path) == ""


async def test_an_agent_that_begins_on_a_damaged_ledger_says_what_it_saved(tmp_path: Path, heard: Heard) -> None:
    site = "links:\n  hall: {tcp: '127.0.0.1:1', framing: rtu}\nmeters:\n"
    site += "  - {id: EM-1, link: hall, model: eastron-sdm120, address: 7}\n"
    async with at_work(tmp_path, site):
        pass
    header_gone(tmp_path / "state" / LEDGER_FILE)
    async with at_work(tmp_path, site) as agent:
        (told,) = agent.events("ledger.salvaged")
    assert told["saved"] > 0
    assert "The damaged file is kept as" in told["hint"]
    heard.tells(told, "MS-406")


def test_records_are_found_in_bytes_that_sqlite_cannot_read(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    on_disk(LONG, path)
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    header_gone(path)
    found = dict(carved(path))
    assert len(found) > ALL * 9 // 10
    assert all(LONG.log.records[n] == payload for n, payload in found.items())
