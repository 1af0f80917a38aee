"""YAML read as text: every value stays what was written, and every key and value keeps its line and column.

Stock YAML loaders guess types: a meter number 000012345670 becomes the octal number 2739128, `NO` becomes false
and 12:30 becomes 750. Here a plain value is text, except `true` and `false`; what it means is decided where its
type is known (`config.typed`). What a declaration does not need is refused instead of guessed at:

- a key that stands twice in one block, or has nothing behind it;
- anchors, aliases and merge keys, which hide what a meter's block really says;
- tags such as `!!str`, and a second document in one file;
- files above 2 MB, nesting beyond 24 levels, bytes that are no UTF-8 text.

A text that is no YAML at all gives one mistake, told in plain words (`config.broken`). JSON without escaped
surrogate pairs is YAML, so canonical JSON that a ledger kept is read back by the same function.

What this file does not know: which keys there are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import yaml

from config.broken import in_plain_words
from config.language import N_, _
from config.mistake import ConfigError as ConfigError
from config.mistake import Mistake as Mistake
from config.mistake import Path, path_text
from config.mistake import did_you_mean as did_you_mean

LARGEST = 2_000_000
DEEPEST = 24

Place = tuple[int, int]
Tree = str | bool | list["Tree"] | dict[str, "Tree"]

# libyaml is about ten times faster; the pure reader gives the same events where it is missing (32-bit ARM).
LOADER: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_ILLEGAL = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_NOTHING = {
    "block": N_("nothing stands behind the colon; write a value or take the line out"),
    "flow": N_(
        "nothing stands behind this key; if it belongs to the text in front of it, put that text in quotes (it has a comma)"
    ),
    "list": N_("nothing stands behind the dash; write a value or take the line out"),
}


@dataclass(slots=True)
class Document:
    """A file's content with the place of everything in it.

    Attributes:
        file: the name used in messages.
        value: blocks as dicts, lists as lists, values as text or true and false.
        places: line and column of each value, by path, counted from 1.
        keys: line and column of each key, by path.
        mistakes: what was refused while reading; such a document must not be used.
    """

    file: str
    value: Tree = ""
    places: dict[Path, Place] = field(default_factory=dict)
    keys: dict[Path, Place] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)
    refused: set[Path] = field(default_factory=set)

    def mistake(self, path: Path, message: str, *, at_key: bool = False) -> Mistake:
        """A mistake at a value's place, or at its key's; at the nearest block around it where neither exists."""
        place = self.keys.get(path) if at_key else None
        around = path
        while place is None and around:
            place = self.places.get(around)
            around = around[:-1]
        line, column = place or self.places.get((), (1, 1))
        return Mistake(self.file, line, column, path_text(path), message)

    def refuse(self, path: Path, message: str, place: Place | None = None) -> None:
        """Notes a mistake and marks the path, so that it is not reported a second time for its type."""
        self.refused.add(path)
        mistake = self.mistake(path, message)
        if place:
            mistake = Mistake(self.file, place[0], place[1], mistake.path, message)
        self.mistakes.append(mistake)


def read_text(data: bytes, file: str) -> Document:
    """The document in a file's bytes.

    Args:
        data: the whole file.
        file: its name, as messages shall show it.

    Raises:
        ConfigError: the bytes are no readable YAML block of keys. Smaller mistakes are in the document's `mistakes`.
    """
    text = _decoded(data, file)
    try:
        return _Reader(text, file).document()
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        line, column, message = in_plain_words(error, text)
        raise ConfigError([Mistake(file, line, column, "", message)], "MS-101") from None


def _decoded(data: bytes, file: str) -> str:
    if len(data) > LARGEST:
        raise ConfigError(
            [Mistake(file, 1, 1, "", _("the file is larger than 2 MB: this is not a site or model file"))], "MS-101"
        )
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8", "replace")
        raise ConfigError(
            [_at(file, before, _("the file is not UTF-8 text from here on: save it again as UTF-8"))], "MS-101"
        ) from None
    text = text.removeprefix("\ufeff")
    if found := _ILLEGAL.search(text):
        code = f"U+{ord(found[0]):04X}"
        raise ConfigError(
            [
                _at(
                    file,
                    text[: found.start()],
                    _("an invisible control character ({code}) stands here: delete it", code=code),
                )
            ],
            "MS-101",
        )
    if not text.strip():
        raise ConfigError([Mistake(file, 1, 1, "", _("the file is empty: begin with a copy of site.example.yaml"))], "MS-101")
    return text


def _at(file: str, before: str, message: str) -> Mistake:
    return Mistake(file, before.count("\n") + 1, len(before) - before.rfind("\n"), "", message)


def _place(event: yaml.Event) -> Place:
    mark = event.start_mark
    return (mark.line + 1, mark.column + 1) if mark else (1, 1)


class _Reader:
    """Builds a document from the events of one YAML text."""

    def __init__(self, text: str, file: str) -> None:
        self.events: Iterator[yaml.Event] = yaml.parse(text, Loader=LOADER)
        self.made = Document(file)

    def document(self) -> Document:
        next(self.events)  # the stream begins
        first = next(self.events)
        if isinstance(first, yaml.StreamEndEvent):
            message = _("nothing but comments stands in the file: begin with a copy of site.example.yaml")
            raise ConfigError([Mistake(self.made.file, 1, 1, "", message)], "MS-101")
        root = next(self.events)
        self.made.value = self._value(root, ())
        next(self.events)  # the document ends
        if not isinstance(rest := next(self.events), yaml.StreamEndEvent):
            self.made.refuse((), _("a second document begins here: take out the line ---"), _place(rest))
        if not isinstance(self.made.value, dict) and not self.made.mistakes:
            self.made.refuse((), _("the file must consist of lines such as  key: value"))
        if not isinstance(self.made.value, dict):
            raise ConfigError(self.made.mistakes, "MS-101")
        return self.made

    def _value(self, event: yaml.Event, path: Path, flow: bool = False) -> Tree:
        self.made.places[path] = _place(event)
        if isinstance(event, yaml.AliasEvent):
            self.made.refuse(path, _("a value that begins with * must stand in quotes (aliases are not used here: write it out)"))
            return ""
        if getattr(event, "anchor", None) is not None:
            self.made.refuse(path, _("a value that begins with & must stand in quotes (anchors are not used here)"))
        if getattr(event, "tag", None) is not None:
            self.made.refuse(path, _("a value that begins with ! must stand in quotes (tags are not used here)"))
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event, path, flow)
        if len(path) >= DEEPEST:
            message = _("blocks are nested more than {deepest} levels deep here", deepest=DEEPEST)
            raise ConfigError([Mistake(self.made.file, *_place(event), "", message)], "MS-101")
        if isinstance(event, yaml.MappingStartEvent):
            return self._block(path, flow=bool(event.flow_style))
        return self._list(path)

    def _scalar(self, event: yaml.ScalarEvent, path: Path, flow: bool) -> str | bool:
        text: str = event.value
        if event.style is None or event.style == "":
            if text == "":
                self.made.refuse(path, _(_NOTHING["list" if path and isinstance(path[-1], int) else "flow" if flow else "block"]))
            if text in ("true", "false"):
                return text == "true"
        if _ILLEGAL.search(text):
            self.made.refuse(path, _("a backslash in double quotes makes a control character here; use single quotes"))
            return ""
        return text

    def _list(self, path: Path) -> list[Tree]:
        made: list[Tree] = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            made.append(self._value(event, (*path, len(made))))
        return made

    def _block(self, path: Path, flow: bool) -> dict[str, Tree]:
        made: dict[str, Tree] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            key = self._key(event, path)
            if key is None:
                self._pass_over()
                continue
            inner = (*path, key)
            if key in made:
                line = self.made.keys[inner][0]
                self.made.refuse(
                    inner, _("stands twice in this block, first in line {line}; take one out", line=line), _place(event)
                )
                self._pass_over()
                continue
            self.made.keys[inner] = _place(event)
            made[key] = self._value(next(self.events), inner, flow)
        return made

    def _key(self, event: yaml.Event, path: Path) -> str | None:
        """A key's text; None where it was refused."""
        if not isinstance(event, yaml.ScalarEvent) or event.anchor is not None or event.tag is not None:
            message = _("a key must be one plain word, such as  address: 12")
            raise ConfigError([Mistake(self.made.file, *_place(event), path_text(path), message)], "MS-101")
        if event.value == "<<" and not event.style:
            self.made.refuse((*path, "<<"), _("is not used here: write the keys out"), _place(event))
            return None
        if not event.value or _ILLEGAL.search(event.value):
            self.made.refuse(path, _("a key is missing before the colon"), _place(event))
            return None
        return str(event.value)

    def _pass_over(self) -> None:
        """Reads the value of a key that was refused, and forgets it with the mistakes in it."""
        kept, self.made = self.made, Document(self.made.file)
        try:
            self._value(next(self.events), ())
        finally:
            self.made = kept
