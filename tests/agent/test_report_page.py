"""agent.report_page: what `verify --page` writes for the auditor's file."""

from __future__ import annotations

import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

from click.testing import CliRunner

from agent.cli import main
from agent.export import export
from tests.agent.ledgers import Gateway, good_gateway


class Text(HTMLParser):
    """The page's text, and a mistake where an element is left open."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "meta":
            self.open.append(tag)
        assert not {"src", "href"} & {name for name, _ in attrs}, "it loads nothing"

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data + " "


def page_of(gateway: Gateway, folder: Path, code: int) -> str:
    bundle, page = folder / "evidence.zip", folder / "report.html"
    export(gateway.log, bundle)
    words = ["verify", str(bundle), "--key", gateway.key_line, "--page", str(page), "--state", str(folder)]
    ran = CliRunner().invoke(main, words)
    assert ran.exit_code == code, ran.output
    made = page.read_text("utf-8")
    assert hashlib.sha256(bundle.read_bytes()).hexdigest() in made
    assert "<script" not in made
    return re.sub(r"\s+", " ", Text(made).text)


def test_the_page_of_a_good_log_says_what_was_verified_by_which_key_and_how_it_ended(tmp_path: Path) -> None:
    gateway = good_gateway()
    text = page_of(gateway, tmp_path, 0)
    assert "IN ORDER: all 30 records are signed by the confirmed key" in text
    assert gateway.key_line in text
    assert "rtu-1 EM-77 test-meter revision 2, trust B 10 12 83.33" in text
    assert "Findings" not in text


def test_the_page_of_a_broken_log_names_each_class_and_what_to_do(tmp_path: Path) -> None:
    gateway = good_gateway()
    gateway.log.edit(10, lambda fields: fields["values"][0].update(value="<b>1.00"))
    gateway.log.edit(11, lambda fields: fields["values"][0].update(value="1.00"))
    text = page_of(gateway, tmp_path, 1)
    assert "NOT IN ORDER" in text
    assert "VALUE (1) The stated value is not what the meter's bytes give" in text
    assert "record 11" in text
    assert "What to do: Do not use the value; recompute it from the bytes." in text


def test_what_a_record_says_is_text_on_the_page_and_nothing_else(tmp_path: Path) -> None:
    gateway = good_gateway()
    gateway.log.edit(10, lambda fields: fields["meter"].update(id="<script>alert(1)</script>"))
    page_of(gateway, tmp_path, 1)
