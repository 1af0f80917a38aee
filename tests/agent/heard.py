"""What is told of one fault, in English as it was told and in Chinese: the fault is provoked once.

While a test has the fixture `heard`, all that goes through the program's `_` is noted with what a Chinese reader would be told
for it, from the real catalog and with the same values. A text that does not go through `_`, or that the catalog does not have,
stays English in what this puts into Chinese, and is found by that.
"""

from __future__ import annotations

import contextlib
import gettext
import io
import json
import re
from collections.abc import Mapping
from typing import Any

import pytest
import structlog

from agent import journal
from agent.fault_text import fault_text
from agent.faults import FAULTS
from config.language import CHINESE, ENGLISH, LANGUAGES, speaking

_HAN = re.compile("[\u4e00-\u9fff]")
_WORDS = ("hint", "why", "reason")


class _Pattern(str):
    """A message of the catalog in English that notes what it is filled with."""

    __slots__ = ("chinese", "heard")

    def format(self, *_: object, **values: object) -> str:  # type: ignore[override]  # `_` gives names only
        english = str(self).format(**values)
        chinese = {name: self.heard.in_chinese(value) if isinstance(value, str) else value for name, value in values.items()}
        self.heard.pairs[english] = self.chinese.format(**chinese)
        return english


class Heard(gettext.NullTranslations):
    """All that was said since the test began: the Chinese by the English.

    `chinese`: the catalog of the program.
    """

    def __init__(self, chinese: gettext.NullTranslations) -> None:
        super().__init__()
        self.pairs: dict[str, str] = {}
        self._chinese = chinese

    def gettext(self, message: str) -> str:
        pattern = _Pattern(message)
        pattern.heard, pattern.chinese = self, self._chinese.gettext(message)
        self.pairs[message] = pattern.chinese
        return pattern

    def in_chinese(self, text: str) -> str:
        """A told text as it is told in Chinese: what went through `_` is Chinese, and all else stays as it is."""
        said = [english for english in self.pairs if english in text]
        for english in sorted(said, key=len, reverse=True):
            text = text.replace(english, self.pairs[english])
        return text

    def tells(self, event: Mapping[str, Any], code: str, *, as_it_is: str = "") -> None:
        """The journal's line of an event bears this code, and says in the reader's language what to do and why.

        `as_it_is`: of hint, why and reason the one that is another program's own words.
        """
        for language in LANGUAGES:
            line = self._line(event, language)
            assert line["code"] == code, line
            assert line["hint"], line
            for name in _WORDS:
                if line.get(name) and name != as_it_is:
                    assert bool(_HAN.search(line[name])) == (language == CHINESE), (name, line)
        _explained(code)

    def prints(self, line: str, code: str) -> None:
        """A line of the command line ends with this code, and is in the reader's language."""
        assert line.rstrip().endswith(f"[{code}]"), line
        assert not _HAN.search(line), line
        assert _HAN.search(self.in_chinese(line)), line
        _explained(code)

    def _line(self, event: Mapping[str, Any], language: str) -> dict[str, Any]:
        level = event.get("log_level") or event.get("level") or "warning"
        fields = {name: value for name, value in event.items() if name not in ("event", "level", "log_level")}
        if language == CHINESE:
            fields = {name: self.in_chinese(value) if isinstance(value, str) else value for name, value in fields.items()}
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stderr(io.StringIO()) as told, speaking(language):
            patch.delenv("JOURNAL_STREAM", raising=False)
            journal.configure()
            getattr(journal.journal(), level)(event["event"], **fields)
            structlog.reset_defaults()
        line: dict[str, Any] = json.loads(told.getvalue())
        return line


def _explained(code: str) -> None:
    """`meterseal fault CODE` says more, in both languages."""
    said = {}
    for language in LANGUAGES:
        with speaking(language):
            said[language] = fault_text(FAULTS[code])
    assert said[ENGLISH].startswith(code)
    assert said[CHINESE].startswith(code)
    assert _HAN.search(said[CHINESE])
    assert not _HAN.search(said[ENGLISH])
