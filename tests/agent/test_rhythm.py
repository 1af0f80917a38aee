"""agent.rhythm: where checkpoints belong, as the agent signs them and as an auditor misses them."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from agent.ledger_file import LedgerReader
from agent.record import parse
from agent.rhythm import Rhythm
from tests.agent.both import verify
from tests.agent.gateway import StillClock, begun, new_key, stop
from tests.agent.ledgers import Gateway


def record(uptime_ms: int, boot: str = "0badcafe", kind: str = "stop") -> dict[str, object]:
    return {"kind": kind, "clock": {"boot": boot, "uptime_ms": uptime_ms}}


def after(*records: dict[str, object]) -> Rhythm:
    rhythm = Rhythm()
    for each in records:
        rhythm = rhythm.after(each)
    return rhythm


@pytest.mark.parametrize(
    ("rhythm", "following", "due"),
    [
        (Rhythm(), record(0), False),
        (after(record(0)), record(300_000), False),
        (after(record(0)), record(300_001), True),
        (after(record(0), record(299_000)), record(300_001), True),
        (after(*[record(0)] * 255), record(0), False),
        (after(*[record(0)] * 256), record(0), True),
        (after(record(0)), record(0, boot="0000cafe"), True),
        (after(record(0)), record(300_001, kind="key"), False),
    ],
)
def test_a_checkpoint_is_due_after_256_records_five_minutes_or_a_new_boot(
    rhythm: Rhythm, following: dict[str, object], due: bool
) -> None:
    assert rhythm.is_due(following) == due


async def test_a_ledger_leaves_no_checkpoint_out_however_its_records_come(tmp_path: Path) -> None:
    """Many at once, few over hours, none for a day, another start of the machine, and after a crash."""
    key, clock, path = new_key(), StillClock(), tmp_path / "ledger.sqlite"
    ledger = await begun(path, key, clock)
    await ledger.append(*(stop(clock) for _ in range(700)))
    for _ in range(20):
        clock.move(100)
        await ledger.append(stop(clock))
    clock.move(86_400)
    await ledger.append(stop(clock), stop(clock))
    await ledger.close()
    clock.boot, clock.uptime_ns = "0000cafe", 0
    ledger = await begun(path, key, clock)
    clock.move(301)
    await ledger.append(stop(clock))
    clock.move(301)
    await ledger.append(stop(clock))
    await ledger.close()
    with closing(LedgerReader(path)) as log:
        report = verify(log, key=None)
        sizes = [int(note.split("\n")[1]) for note in log.checkpoints()]
        assert max(later - earlier for earlier, later in zip([0, *sizes], sizes, strict=False)) <= 256
        assert parse(log.payload(0))["kind"] == "key"
    assert not report.findings.total, report.text()


async def test_a_refused_record_leaves_no_checkpoint_over_what_was_not_sealed(tmp_path: Path) -> None:
    clock = StillClock()
    ledger = await begun(tmp_path / "ledger.sqlite", new_key(), clock)
    clock.move(301)
    first = stop(clock)
    clock.move(301)
    with pytest.raises(Exception, match="reason"):
        await ledger.append(first, stop(clock) | {"reason": "NOT A WORD"})
    await ledger.close()
    with closing(LedgerReader(ledger.path)) as log:
        assert [note.split("\n")[1] for note in log.checkpoints()] == ["1"]
        assert not verify(log, key=None).findings.total


def test_checkpoints_that_were_taken_out_are_missed() -> None:
    gateway = Gateway().begin().after(0.3)
    for quarter in range(4):
        gateway.reading("rtu-1", energy=18422357 + quarter)
        gateway.checkpoint()
        gateway.after(900)
    assert not verify(gateway.log, key=gateway.key_line).findings.total
    kept = gateway.log.notes[1:3]
    del gateway.log.notes[1:3]
    report = verify(gateway.log, key=gateway.key_line)
    assert report.findings.counts == {"CHECKPOINT-MISSING": 2}
    assert verify(gateway.log, key=gateway.key_line, outside=kept).exit_code == 0, "somebody else has kept them"
