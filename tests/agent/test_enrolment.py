"""agent.enrolment: the page that two people sign, as text and as HTML that loads nothing."""

from __future__ import annotations

import hashlib
import re
from html.parser import HTMLParser

import segno

from agent.enrolment import Enrolment, fingerprint
from tests.agent.ledgers import GATEWAY, Gateway, new_key

FORM = Enrolment(GATEWAY, new_key().public, new_key("recovery").public)


def test_text_and_page_tell_the_gateway_both_keys_and_ask_for_two_signatures() -> None:
    for page in (FORM.text(), FORM.html()):
        for told in (GATEWAY, Gateway().key_line, new_key().name, new_key("recovery").name, fingerprint(new_key().public)):
            assert told in page
        assert "Installed by" in page
        assert "Witness" in page


def test_the_fingerprint_is_the_keys_sha_256() -> None:
    assert fingerprint(b"x" * 32).replace(" ", "") == hashlib.sha256(b"x" * 32).hexdigest()


class Loads(HTMLParser):
    """Collects whatever makes a browser fetch something."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str | None]] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.found += [(name, value) for name, value in attrs if name in ("src", "href", "xlink:href", "data", "action")]


def test_the_page_loads_nothing_from_anywhere() -> None:
    page, seen = FORM.html(), Loads()
    seen.feed(page)
    assert seen.found == []
    assert not seen.tags & {"script", "link", "img", "iframe", "object", "embed", "base"}
    assert "url(" not in page
    assert "@import" not in page


def test_the_code_on_the_page_is_the_key_line() -> None:
    drawn = segno.make(FORM.line, error="m", micro=False).svg_inline(scale=4)
    assert drawn in FORM.html()
    assert re.search(r"<svg[^>]*><path", drawn)


def test_a_form_without_a_recovery_key_says_so() -> None:
    assert re.search(r"Recovery key\s+none", Enrolment(GATEWAY, new_key().public).text())
