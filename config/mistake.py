"""A mistake in something a person wrote: where it stands and what to write instead.

Every mistake is one line of plain words, printed as `site.yaml:14:16 meters[2].address: 300 is not a Modbus
address (1 to 247)`, so that editors jump to it and a person can fix it without a manual. All mistakes that can
be found are found at once and raised together as one `ConfigError`.

Nothing that could be a password is ever repeated in a message.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from config.language import _

Path = tuple[str | int, ...]

# Begins a step of a path that says which of several kinds of block is meant; no key of a file can begin so.
KIND = "\0"

_SECRET = re.compile(r"pass|pwd|secret|token|credential|kennwort|密码|口令", re.IGNORECASE)
_LONGEST_ECHO = 60


@dataclass(frozen=True, slots=True, order=True)
class Mistake:
    """One mistake.

    Attributes:
        file: the file as the user named it, or `environment`.
        line, column: counted from 1; 0 where the mistake has no place in a file.
        path: the key, such as `meters[2].address`; empty where it concerns the whole file.
        message: what is wrong and what to write.
    """

    file: str
    line: int
    column: int
    path: str
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column} " if self.line else f"{self.file}: "
        return f"{place}{self.path}: {self.message}" if self.path else f"{place}{self.message}"


class ConfigError(Exception):
    """What was declared cannot be used. Carries all mistakes at once, in the order of their places.

    Attributes:
        mistakes: all of them.
        code: the fault they are told under: MS-101 a file cannot be read, MS-102 what it declares cannot be used,
            MS-103 a setting outside of it, MS-104 a line is too slow for what it declares.
    """

    def __init__(self, mistakes: Iterable[Mistake], code: str = "MS-102") -> None:
        self.mistakes = tuple(sorted(set(mistakes)))
        self.code = code
        super().__init__("\n".join(str(mistake) for mistake in self.mistakes))


def path_text(path: Path) -> str:
    """A path as people read it: `meters[2].address`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += f".{shown(step)}" if text else shown(step)
    return text


def looks_secret(name: str) -> bool:
    """Whether a key's name says that a password or the like is meant."""
    return bool(_SECRET.search(name))


def shown(value: object) -> str:
    """A value as a message repeats it: one line, at most 60 characters, nothing that may hold a password."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return _("a block of keys")
    if isinstance(value, list | tuple):
        return "a list"
    text = "".join(letter if letter.isprintable() else " " for letter in str(value)).strip()
    if "@" in text:  # user:password@host
        return _("what stands here")
    if len(text) > _LONGEST_ECHO:
        return text[: _LONGEST_ECHO - 1] + "…"
    return text or _("an empty text")


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was most likely meant, if one is near enough."""
    folded = {_folded(candidate): candidate for candidate in known}
    found = difflib.get_close_matches(_folded(word[:80]), folded, n=1, cutoff=0.6)
    return folded[found[0]] if found else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """` Did you mean voltage.l1?` where one of the known words is near enough, else nothing."""
    near = nearest(word, known)
    return _(" Did you mean {near}?", near=near) if near else ""


def _folded(word: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", word.lower()).strip("-")


def listed(words: Iterable[object]) -> str:
    """`a, b or c`, in the language that is spoken."""
    texts = [str(word) for word in words]
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])}{_(' or ')}{texts[-1]}"
