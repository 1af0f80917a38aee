"""Ten thousand mistakes in a site file, drawn from a fixed seed: each is told in plain words, or is none.

Whatever a person does to the file, `load_site` gives a site or a ConfigError whose every mistake has a line and
speaks no programming language; nothing else is ever raised.
"""

from __future__ import annotations

import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from config.check import SiteFile, load_site, read_model
from config.mistake import ConfigError, Mistake
from config.zone import zone_of

HERE = Path(__file__).parent
GOOD = (HERE / "site.yaml").read_text("utf-8")
MODEL = (HERE / "models" / "hall-transformer.yaml").read_text("utf-8")
SEED = 20260302
_PROGRAMMERS_WORDS = re.compile(
    r"Input should|Extra inputs|Traceback|pydantic|https?://|NoneType|\bNone\b|\bdict\b|\btuple\b|\bstr\b|\bint\b|<class|"
    r"Error\b|__|\bTrue\b|\bFalse\b|type=|invalid literal|\bobject at\b|regex|validator|instance|exception|unicode|codec"
)
_LETTERS = "abcxyzABZ0159 \t\n:-#'\"[]{}|>&*!%@`,.~?<=/\\_äé漢\u2028\ufeff\x00\x07\x85"
_VALUES = [
    "",
    "true",
    "~",
    "[]",
    "{}",
    "-1",
    "0",
    "1e9",
    "nan",
    "300",
    "'",
    "[1, 2",
    "{a: b}",
    "*x",
    "!y z",
    "漢字",
    "9" * 400,
    "a: b",
]

Change = Callable[[random.Random, str], str]


def _deleted(draw: random.Random, content: str) -> str:
    at = draw.randrange(len(content))
    return content[:at] + content[at + draw.randint(1, 4) :]


def _inserted(draw: random.Random, content: str) -> str:
    at = draw.randrange(len(content))
    return content[:at] + "".join(draw.choices(_LETTERS, k=draw.randint(1, 3))) + content[at:]


def _replaced(draw: random.Random, content: str) -> str:
    at = draw.randrange(len(content))
    return content[:at] + draw.choice(_LETTERS) + content[at + 1 :]


def _key_misspelt(draw: random.Random, content: str) -> str:
    key = draw.choice(list(re.finditer(r"[a-z_]+(?=:)", content)))
    letters = list(key[0])
    draw.shuffle(letters)
    return content[: key.start()] + "".join(letters) + content[key.end() :]


def _value_changed(draw: random.Random, content: str) -> str:
    value = draw.choice(list(re.finditer(r"(?<=: )[^\n,{}\[\]]+", content)))
    return content[: value.start()] + draw.choice(_VALUES) + content[value.end() :]


def _values_swapped(draw: random.Random, content: str) -> str:
    found = list(re.finditer(r"(?<=: )[^\n]+", content))
    first, second = sorted(draw.sample(found, 2), key=re.Match.start)
    return content[: first.start()] + second[0] + content[first.end() : second.start()] + first[0] + content[second.end() :]


def _lines(change: Callable[[random.Random, list[str], int], None]) -> Change:
    def changed(draw: random.Random, content: str) -> str:
        lines = content.split("\n")
        change(draw, lines, draw.randrange(len(lines)))
        return "\n".join(lines)

    return changed


def _indented(draw: random.Random, lines: list[str], at: int) -> None:
    lines[at] = draw.choice([" ", "  ", "\t", "    "]) + lines[at]


def _removed(draw: random.Random, lines: list[str], at: int) -> None:
    del lines[at]


def _outdented(draw: random.Random, lines: list[str], at: int) -> None:
    lines[at] = lines[at][draw.randint(1, 4) :]


CHANGES: list[Change] = [
    _deleted,
    _inserted,
    _replaced,
    _key_misspelt,
    _value_changed,
    _values_swapped,
    _lines(lambda draw, lines, at: lines.insert(draw.randrange(len(lines)), lines[at])),
    _lines(_removed),
    _lines(_indented),
    _lines(_outdented),
]


def _mistaken(draw: random.Random, content: str) -> bytes:
    """The content with one to three changes, or with random bytes in it."""
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        content = draw.choice(CHANGES)(draw, content)
    data = content.encode("utf-8")
    if draw.random() < 0.05:
        at = draw.randrange(len(data))
        data = data[:at] + draw.randbytes(draw.randint(1, 8)) + data[at:]
    return draw.randbytes(draw.randint(0, 300)) if draw.random() < 0.01 else data


def _check(mistakes: tuple[Mistake, ...], data: bytes) -> None:
    assert mistakes, data
    for mistake in mistakes:
        assert mistake.line >= 1, (mistake, data)
        assert mistake.column >= 1, (mistake, data)
        assert mistake.line <= len(re.split("\r\n|[\r\n\x85\u2028\u2029]", data.decode("utf-8", "replace"))) + 1, (mistake, data)
        foreign = _PROGRAMMERS_WORDS.search(str(mistake))
        assert foreign is None or foreign[0].encode() in data, (str(mistake), data)  # what stands in the file may be repeated
        assert "\n" not in str(mistake)
        assert len(str(mistake)) < 600


def _use(site: SiteFile) -> None:
    """A site that loads can be polled: everything the agent asks of it is there."""
    for meter in site.site.meters:
        assert site.link_of(meter).frames in ("tcp", "rtu", "ascii")
        points = site.points_of(meter)
        assert points
        for key in ("ct", "vt"):
            wanted = any(point.ratio in (key, "ct_vt") for point in points)
            assert getattr(meter, key) is not None or not wanted
    for name in site.site.links:
        baud, character = site.serial_settings(name)
        assert baud >= 300
        assert len(character) == 3
    assert zone_of(site.site.timezone) is not None


@pytest.mark.parametrize("part", range(10))
def test_a_thousand_mistakes_are_told_in_plain_words_or_are_none(part: int, tmp_path: Path) -> None:
    draw = random.Random(f"{SEED}-{part}")
    shutil.copytree(HERE / "models", tmp_path / "models")
    path = tmp_path / "site.yaml"
    told = 0
    for _ in range(1000):
        data = _mistaken(draw, GOOD)
        path.write_bytes(data)
        try:
            _use(load_site(path))
        except ConfigError as error:
            told += 1
            _check(error.mistakes, data)
    assert told > 500, "the changes must mostly be mistakes, or this test tests nothing"


def test_mistakes_in_model_files_are_told_in_plain_words_or_are_none() -> None:
    draw = random.Random(SEED)
    told = 0
    for _ in range(2000):
        data = _mistaken(draw, MODEL)
        try:
            read_model(data, "model.yaml")
        except ConfigError as error:
            told += 1
            _check(error.mistakes, data)
    assert told > 1000
