"""agent.condition: what ails the agent, by name, with the place, the reason and what to do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.clock import Trust
from agent.condition import AILMENTS, Delivery, Seen, ailments_of, disk_of, in_words, key_trouble
from agent.keys import KeyFileError
from agent.ledger_file import LedgerError
from config.language import CHINESE, speaking

ROOT = Path(__file__).parents[2]
GB = 2**30


def link(*, down: bool = False, **failures: int) -> dict[str, Any]:
    return {"down": down, "meters": {name: {"failures": count} for name, count in failures.items()}}


WELL = Seen(
    started=True,
    records=120,
    ledger=None,
    writer_s=0.4,
    links={"line-1": link(EM_1=0, EM_2=0), "hall": link(WM_1=0)},
    stalled={},
    deliveries=[Delivery("plant", connected=True, waiting=3, behind_s=40.0)],
    trust=Trust("synchronized", 8),
    state=Path("/var/lib/meterseal"),
    free=4 * GB,
    size=8 * GB,
)


def of_broker(**what: Any) -> Seen:
    return replace(WELL, deliveries=[Delivery("plant", **({"connected": True, "waiting": 7} | what))])


UNWELL = {
    "first_round": (replace(WELL, started=False), "first poll round"),
    "ledger_failed": (replace(WELL, ledger=LedgerError("the disk says disk full", "Make room.")), "disk full. Make room."),
    "writer_stalled": (replace(WELL, writer_s=31.0), "31 s"),
    "polling_stalled": (replace(WELL, stalled={"line-1": 400.0}), "line-1 has not been polled for 400 s"),
    "line_down": (replace(WELL, links={"line-1": link(down=True, EM_1=0)}), "line-1 cannot be opened"),
    "line_silent": (replace(WELL, links={"line-1": link(EM_1=3, EM_2=1)}), "none of its 2 meters"),
    "disk_nearly_full": (replace(WELL, free=90 * 2**20), "90 MB left"),
    "clock_unsynchronised": (replace(WELL, trust=Trust("unsynchronized", 16_000)), "time server"),
    "broker_unreachable": (of_broker(connected=False, why="nothing listens", hint="Start it", away_s=61.0), "nothing listens"),
    "broker_refuses": (of_broker(connected=False, why="not let in", hint="Check the password", code=135), "not let in"),
    "delivery_behind": (of_broker(behind_s=1000.0), "7 records wait"),
    "key_unreadable": (replace(WELL, key=KeyFileError("key.pem can be read by others", "Run chmod")), "Run chmod"),
}


def test_a_healthy_agent_has_no_ailment_and_says_how_much_it_does() -> None:
    assert ailments_of(WELL) == []
    assert in_words(WELL, []) == "healthy: 3 of 3 meters answer, 120 records sealed"


@pytest.mark.parametrize(("name", "seen", "words"), [(name, *case) for name, case in UNWELL.items()], ids=UNWELL)
def test_each_ailment_has_its_name_and_says_what_and_where(name: str, seen: Seen, words: str) -> None:
    found = ailments_of(seen)
    assert [each.name for each in found] == [name]
    assert words in in_words(seen, found)
    assert name in AILMENTS


def test_a_silent_meter_among_others_is_told_and_is_no_ailment_of_the_agent() -> None:
    seen = replace(WELL, links={"line-1": link(EM_1=0, EM_2=4)})
    assert ailments_of(seen) == []
    assert in_words(seen, []) == "healthy: 1 of 2 meters answer (silent: EM_2), 120 records sealed"


def test_a_broker_that_is_away_for_half_a_minute_is_no_ailment() -> None:
    assert ailments_of(of_broker(connected=False, why="nothing listens", away_s=30.0, behind_s=30.0)) == []


def test_a_collector_without_receipts_is_told_though_the_broker_has_taken_everything() -> None:
    lacking = {"collector": "plant-it/collector", "waiting": 7, "untaken": 0}
    (found,) = ailments_of(of_broker(**lacking, behind_s=1000.0))
    assert found.name == "delivery_behind"
    assert "no receipt of plant-it/collector for 7 records" in found.text
    assert "meterseal collect status" in found.text
    assert ailments_of(of_broker(**lacking, behind_s=60.0)) == []
    (found,) = ailments_of(of_broker(**(lacking | {"untaken": 7}), behind_s=1000.0))
    assert "7 records wait for it" in found.text


def test_a_reason_and_what_to_do_end_in_one_full_stop_in_each_language() -> None:
    seen = of_broker(connected=False, why="not let in", hint="Check the password.", code=135)
    assert "not let in. Check the password. 7 records wait." in in_words(seen, ailments_of(seen))
    with speaking(CHINESE):
        seen = of_broker(connected=False, why="不让进入", hint="请核对密码。", code=135)
        assert "不让进入。请核对密码。7 条记录" in in_words(seen, ailments_of(seen))


def test_a_small_disk_is_not_called_full_while_a_tenth_of_it_is_free() -> None:
    assert ailments_of(replace(WELL, free=400 * 2**20, size=4 * GB)) == []
    assert [each.name for each in ailments_of(replace(WELL, free=150 * 2**20, size=4 * GB))] == ["disk_nearly_full"]


def test_the_worst_comes_first() -> None:
    seen = replace(WELL, trust=Trust("unsynchronized", None), writer_s=99.0, started=False)
    assert [each.name for each in ailments_of(seen)] == ["writer_stalled", "first_round", "clock_unsynchronised"]


def test_a_clock_nothing_is_known_of_is_not_blamed() -> None:
    assert ailments_of(replace(WELL, trust=Trust("unknown", None))) == []


def test_the_operators_page_lists_every_ailment() -> None:
    page = (ROOT / "docs" / "install.md").read_text("utf-8")
    rows = {line.split("`")[1]: line.split("|")[2].strip() for line in page.splitlines() if line.startswith("| `")}
    assert {name: rows.get(name) for name in AILMENTS} == AILMENTS


def test_a_disk_that_does_not_answer_is_told_and_does_not_end_the_watch(tmp_path: Path) -> None:
    assert disk_of(tmp_path / "gone") == (0, 0)
    (tmp_path / "key.pem").mkdir(mode=0o700)  # reading it is an error of the system, as from a broken disk
    trouble = key_trouble(tmp_path)
    assert trouble
    assert "dmesg" in trouble.hint
