"""The language in which a person is spoken to: English, or one that has a catalog under `locale`.

Messages are written in English where they arise, marked with `_`, and put into the other language there and then:
`_("there is no meter {meter}", meter=meter)`. What stands at the top of a module is marked with `N_` and goes
through `_` where it is told. Sealed records, JSON, names of events, fields, causes and codes never come through here,
so that they are the same everywhere.
"""

from __future__ import annotations

import gettext
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path

DOMAIN = "meterseal"
LOCALE = Path(__file__).parent / "locale"
ENGLISH, CHINESE = "en", "zh_CN"
LANGUAGES = (ENGLISH, CHINESE)

# The order of POSIX (Base Definitions, 8.2), after a variable of our own.
_VARIABLES = ("METERSEAL_LANG", "LC_ALL", "LC_MESSAGES", "LANG")


def language_of(words: str) -> str:
    """The language meant by `zh`, `zh_CN.UTF-8`, `zh-Hans` and the like; English for all that we do not speak."""
    return CHINESE if words.lower().startswith("zh") else ENGLISH


def wanted(environment: Mapping[str, str]) -> str:
    """The language that the environment asks for."""
    return language_of(next((environment[name] for name in _VARIABLES if environment.get(name)), ENGLISH))


_spoken = [wanted(os.environ)]
_for_now: ContextVar[str] = ContextVar("language")


def speak(language: str) -> None:
    """From here on this process speaks a language; so do click, which says some things itself, and processes begun by it."""
    _spoken[0] = language_of(language)
    os.environ["LANGUAGE"] = _spoken[0]
    gettext.bindtextdomain(DOMAIN, str(LOCALE))
    gettext.textdomain(DOMAIN)


@contextmanager
def speaking(language: str) -> Iterator[None]:
    """Within the block, and in tasks begun there, a language is spoken: that of whoever asks, not of this process."""
    token = _for_now.set(language_of(language))
    try:
        yield
    finally:
        _for_now.reset(token)


def spoken() -> str:
    """The language that is spoken here: one of `LANGUAGES`."""
    return _for_now.get(_spoken[0])


@cache
def _catalog(language: str) -> gettext.NullTranslations:
    return gettext.translation(DOMAIN, str(LOCALE), [language], fallback=True)


def _(message: str, **values: object) -> str:
    """A message in the language that is spoken; as it is where that language does not have it.

    Args:
        message: in English, as a literal; where there are values, with a name in braces for each, as `str.format` has it.
        values: what is put in, after the message was translated.
    """
    said = _catalog(spoken()).gettext(message) if message else message
    return said.format(**values) if values else said


def N_(message: str) -> str:  # noqa: N802  gettext's own name for it: extraction tools know it
    """Marks a message for the catalog, where it is not told yet."""
    return message
