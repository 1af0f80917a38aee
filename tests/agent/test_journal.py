"""agent.journal: stable event names, each explained, and lines that fit where they go."""

import io
import json
import re
from pathlib import Path

import pytest

from agent import journal

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
    journal.journal().warning("link.down", link="line-1", reason="不通")
    return output.getvalue()


def test_under_systemd_a_line_begins_with_its_priority(monkeypatch: pytest.MonkeyPatch) -> None:
    assert lines_of(monkeypatch, "8:1234") == "<4>link.down link=line-1 reason=不通 code=MS-202\n"


def test_elsewhere_a_line_is_json(monkeypatch: pytest.MonkeyPatch) -> None:
    event = json.loads(lines_of(monkeypatch, None))
    assert (event["event"], event["level"], event["reason"]) == ("link.down", "warning", "不通")
