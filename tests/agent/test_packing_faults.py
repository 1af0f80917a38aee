"""Packed months among cuts, full disks, damage, pruning, delivery and questions: nothing is lost, nothing hidden."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import sys
from contextlib import closing
from datetime import UTC, date
from pathlib import Path

import pytest
from click.testing import CliRunner

from agent import damage, draft
from agent.cli import main
from agent.consumption import consumption
from agent.ledger import Ledger
from agent.ledger_file import LedgerReader
from agent.packing import next_block
from agent.prune import BLOCK
from agent.retention import keep_room
from config.check import load_site
from tests.agent.both import verify
from tests.agent.collecting import Collecting
from tests.agent.counting import Plant as Counted
from tests.agent.counting import Plate
from tests.agent.delivery import BASE, Plant, numbers, records_of, running
from tests.agent.gateway import FastClock
from tests.agent.gone_ledgers import clock_behind, on_disk
from tests.agent.test_collect import all_there
from tests.agent.test_packing import EVER, LONG, SIZE, Told, damage_block, goes_on, of_format_2, opened, packed
from tests.brokers import Mosquitto, Subscriber, until

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("how", ["killed", "refused"])
@pytest.mark.parametrize("what", ["pack", "upgrade"])
def test_whatever_write_is_the_last_one_the_records_stay_and_it_can_be_done_again(what: str, how: str, tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    on_disk(LONG, path)
    if what == "upgrade":
        of_format_2(path)
    (tmp_path / "copy").mkdir()
    command = [sys.executable, "-m", "tests.agent.every_write", what, how, str(path), str(tmp_path / "copy")]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
    counts = {name: int(count) for name, count in re.findall(r"(\w+)=(\d+)", said.stdout)}
    if how == "killed":
        assert counts["undone"] > 10
        assert counts["ended"] > 20 if what == "pack" else counts["ended"] > 10
    else:
        assert (counts["ended"], counts["undone"]) == (0, 0)


async def test_records_that_are_too_large_together_are_not_packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ledger.sqlite"
    on_disk(LONG, path)
    with closing(LedgerReader(path)) as reader:
        sizes = [sum(len(payload) for _, payload in reader.payloads(at, at + BLOCK)) for at in range(0, SIZE - BLOCK, BLOCK)]
    monkeypatch.setattr("agent.packing._LARGEST", sizes[0] - 1)
    block = next_block(path, EVER, [], 0)
    assert block is None or block.first > 0
    monkeypatch.setattr("agent.packing._LARGEST", sizes[0])
    block = next_block(path, EVER, [], 0)
    assert block is not None
    assert (block.first, block.before) == (0, sizes[0])


async def pack_all(ledger: Ledger, *destinations: str) -> int:
    """Packs all that these destinations have; how many records are packed."""
    while block := next_block(ledger.path, EVER, destinations, 0):
        await ledger.pack(block.first, block.data)
    with closing(LedgerReader(ledger.path)) as reader:
        return reader.packed()[0]


async def test_what_a_collector_stored_is_packed_and_goes_from_the_blocks_to_whoever_asks_for_it(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    on_disk(LONG, path)
    plant = Plant(await opened(path), LONG.key)
    plant.clock = clock_behind(LONG)  # type: ignore[assignment]  # a clock for tests
    with Mosquitto(tmp_path) as broker:
        seen = Collecting(tmp_path, broker.port, plant)
        async with seen.gateway() as forwarder:
            await until(lambda: forwarder.state.next_n == plant.ledger.size, 60)  # the broker has it all, the collector nothing
            await plant.ledger.checkpoint()
            assert await pack_all(plant.ledger, "broker") == 0
            async with seen.collector():
                await all_there(seen)
            await plant.ledger.checkpoint()  # the cursor is on disk
            count = await pack_all(plant.ledger, "broker")
            assert count == (SIZE - 512) // BLOCK * BLOCK
            assert plant.payloads()[:SIZE] == LONG.log.records
            shutil.rmtree(seen.copy)
            seen.events.entries.clear()
            async with seen.collector():
                await all_there(seen)
            assert sum(entry["records"] for entry in seen.told("receipt.asked")) >= count
        async with Subscriber(broker, f"{BASE}/#") as late, running(plant.forwarder(broker.port, name="new")):
            await until(lambda: set(numbers(late)) >= set(range(plant.ledger.size)), 60, "a backlog from before it was there")
            assert {message.payload for message in records_of(late.seen)} == set(plant.payloads())
    await plant.ledger.close()


async def test_a_damaged_block_is_named_and_after_salvage_all_others_are_verified(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    count = await packed(path)
    damage_block(path, 256)

    def typed(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(main, [*words, "--state", str(tmp_path), "--site", str(tmp_path / "site.yaml")])
        return done.exit_code, done.output

    for verb in (("verify",), ("verify", "--fast"), ("export", str(tmp_path / "all.zip"))):
        code, said = typed(*verb)
        assert code == 2, said
        assert "MS-402" in said
        assert "records 256 to 511" in said
        assert "meterseal salvage --force" in said
    assert not (tmp_path / "all.zip").exists()
    code, said = typed("salvage", "--force")
    assert code == 0, said
    lost = int(re.findall(r"(\d+) are lost", said)[0])
    assert 0 < lost <= BLOCK
    await goes_on(path)
    code, said = typed("verify")
    assert code == 0, said
    assert "NOT ALL OF IT IS HERE" in said
    with closing(LedgerReader(path)) as reader:
        assert reader.packed()[0] == count - BLOCK
        assert reader.count() >= SIZE - lost


async def test_damage_that_is_met_while_old_readings_are_to_go_ends_the_agent_so_that_it_is_saved(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    await packed(path)
    damage_block(path, 256)
    text = "gateway: plant/gw1\nkeep: {months: 1}\nlinks: {line: {tcp: '127.0.0.1:502'}}\n"
    text += "meters: [{id: a, link: line, model: eastron-sdm120, address: 1}]\n"
    (tmp_path / "site.yaml").write_text(text, "utf-8")
    site = load_site(tmp_path / "site.yaml").site
    ledger, clock = await opened(path), FastClock(1000, clock_behind(LONG).now_ns() + 400 * 86_400 * 10**9)
    told = Told()
    work = asyncio.create_task(keep_room(ledger, site, clock, told))
    async with asyncio.timeout(60):
        await told.heard.wait()
    work.cancel()
    assert told.events[0][0] == "ledger.not_pruned"
    assert ledger.error is not None
    assert ledger.error.damaged
    await ledger.close()
    damage.mark(path)
    saved = damage.begin(path, 1)
    assert saved is not None
    assert 0 < saved.lost <= BLOCK


async def test_what_was_taken_away_stays_so_when_a_damaged_file_is_saved(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    assert await packed(path, 512) == 512
    clock = clock_behind(LONG)
    ledger = await opened(path)
    await ledger.prune(256, 768, lambda blocks: draft.prune(clock, 256, 768, blocks, "age", 0))
    await ledger.close()
    with closing(LedgerReader(path)) as reader:
        kept, before = reader.kept(), dict(reader.payloads())
    assert BLOCK in {size for _, size, _ in kept}
    data = bytearray(path.read_bytes())
    at = data.index(LONG.log.records[SIZE - 3])
    data[at + 20] ^= 1  # something is lost, so the whole file is searched for records
    path.write_bytes(data)
    saved = damage.forced(path, "damaged_pages", 1, thorough=True)
    await goes_on(path)
    with closing(LedgerReader(path)) as reader:
        assert set(kept) <= set(reader.kept())
        now = dict(reader.payloads(0, SIZE))
        assert saved.ranges == ((SIZE - 3, SIZE - 2),)
        assert now == {n: payload for n, payload in before.items() if n < SIZE and n != SIZE - 3}
        report = verify(reader, key=LONG.key_line)
        assert report.exit_code == 0, report.text()


async def test_days_that_are_pruned_are_said_not_to_be_known_and_packed_ones_come_to_what_they_did(tmp_path: Path) -> None:
    plant = await Counted(tmp_path / "ledger.sqlite", [Plate(f"EM-{number}", f"{number}", ct="1") for number in range(4)]).begin(
        "first"
    )
    for quarter in range(4 * 96 + 1):
        await plant.quarter(5, 7, quarter % 3, 11)
    meters, days = [plate.id for plate in plant.plates], (date(2026, 3, 1), date(2026, 3, 4))
    with plant.past() as past:
        before = consumption(past, meters, UTC, *days, "day")
        month = consumption(past, meters, UTC, *days, "month")
    assert [period.consumption for period in before if period.meter == "EM-0"] == ["4.75", "4.80", "4.80", "4.80"]
    assert await pack_all(plant.ledger) >= 1024
    with plant.past() as past:
        assert consumption(past, meters, UTC, *days, "day") == before
        assert consumption(past, meters, UTC, *days, "month") == month
    await plant.ledger.prune(0, 512, lambda blocks: draft.prune(plant.clock, 0, 512, blocks, "age", 0))
    with plant.past() as past:
        after = consumption(past, meters, UTC, *days, "day")
        whole = consumption(past, meters, UTC, *days, "month")
        assert verify(past, key=None).gone["pruned"] > 500
    for was, now in zip(before, after, strict=True):
        if now.name >= "2026-03-03":
            assert now == was
        else:
            assert not now.complete
            assert float(now.consumption or 0) < float(was.consumption)
    assert [period.consumption for period in after if period.name == "2026-03-01"] == [""] * 4
    for was, now in zip(month, whole, strict=True):
        assert not now.complete
        assert float(now.consumption) < float(was.consumption)
    await plant.ledger.close()


def test_pages_that_cannot_be_read_are_told_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    on_disk(LONG, path)
    data = bytearray(path.read_bytes())
    for at in range(40 * 4096, 60 * 4096, 4096):
        data[at : at + 8] = bytes(8)
    path.write_bytes(data)
    done = CliRunner().invoke(main, ["verify", "--state", str(tmp_path), "--site", str(tmp_path / "site.yaml")])
    assert done.exit_code == 2, done.output
    assert "MS-402" in done.output
    assert "meterseal salvage --force" in done.output
