"""agent.journal: stable event names, each explained, and lines that fit where they go."""

import io
import json
import re
from pathlib import Path

import pytest

from agent import journal
from tests.agent.heard import Heard

ROOT = Path(__file__).parents[2]


def test_every_event_that_is_told_has_its_explanation_and_none_is_explained_in_vain() -> None:
    told = set()
    for path in (ROOT / "agent").glob("*.py"):
        told |= set(re.findall(r"log\.(?:debug|info|warning|error|critical)\(\s*\"([a-z_.]+)\"", path.read_text("utf-8")))
    assert set(journal.EVENTS) == told


def test_the_operators_page_lists_every_event() -> None:
    page = (ROOT / "docs" / "events.md").read_text("utf-8")
    rows = dict(re.findall(r"^\| `([a-z_.]+)` \| (.+) \|$", page, re.MULTILINE))
    assert rows == journal.EVENTS


def lines_of(monkeypatch: pytest.MonkeyPatch, stream: str | None) -> str:
    output = io.StringIO()
    monkeypatch.setattr("sys.stderr", output)
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    if stream:
        monkeypatch.setenv("JOURNAL_STREAM", stream)
    journal.configure("info")
    journal.journal().debug("link.up", link="hidden")
    journal.journal().warning("link.down", link="line-1", reason="不通", hint="查线")
    return output.getvalue()


def test_under_systemd_a_line_begins_with_its_priority(monkeypatch: pytest.MonkeyPatch) -> None:
    assert lines_of(monkeypatch, "8:1234") == "<4>link.down link=line-1 reason=不通 hint=查线 code=MS-202\n"


def test_a_fault_that_brings_no_hint_along_is_told_with_what_to_check_first(heard: Heard) -> None:
    heard.tells({"event": "link.silent", "link": "hall", "seconds": 20}, "MS-203")


@pytest.mark.parametrize("event", [{"hint": "Nobody has put this into Chinese."}, {"reason": "nor this"}, {"code": "MS-204"}])
def test_what_is_not_told_in_both_languages_with_its_code_is_found(event: dict[str, str], heard: Heard) -> None:
    with pytest.raises(AssertionError):
        heard.tells({"event": "link.silent"} | event, "MS-203")


def test_elsewhere_a_line_is_json(monkeypatch: pytest.MonkeyPatch) -> None:
    event = json.loads(lines_of(monkeypatch, None))
    assert (event["event"], event["level"], event["reason"]) == ("link.down", "warning", "不通")
