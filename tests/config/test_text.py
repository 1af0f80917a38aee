"""YAML as text: nothing is guessed, everything has its place, and broken text is told in plain words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from config import text
from config.library import canonical_json
from config.mistake import ConfigError, Mistake
from config.text import Document, read_text


@pytest.fixture(params=["libyaml", "pure"])
def _reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both readers: gateways with 32-bit ARM have only the pure one."""
    if request.param == "libyaml" and not yaml.__with_libyaml__:
        pytest.skip("PyYAML was built without libyaml here: install a wheel of PyYAML that has it")
    monkeypatch.setattr(text, "LOADER", yaml.CSafeLoader if request.param == "libyaml" else yaml.SafeLoader)


both_readers = pytest.mark.usefixtures("_reader")


def _read(content: str | bytes) -> Document:
    return read_text(content.encode("utf-8") if isinstance(content, str) else content, "site.yaml")


def _mistakes(content: str | bytes) -> list[str]:
    try:
        return [str(mistake) for mistake in _read(content).mistakes]
    except ConfigError as error:
        return [str(mistake) for mistake in error.mistakes]


@both_readers
@pytest.mark.parametrize(
    "written",
    [
        "000012345670",
        "0123",
        "NO",
        "on",
        "12:30",
        "2026-03-02",
        "1.10",
        "1e3",
        "0x48",
        "~",
        "null",
        "True",
        "1_000",
        ".5",
        "=",
        "0o17",
    ],
)
def test_a_plain_value_stays_the_text_that_was_written(written: str) -> None:
    assert _read(f"a: {written}").value == {"a": written}


@both_readers
def test_only_true_and_false_are_more_than_text_and_not_in_quotes() -> None:
    assert _read("a: true\nb: false\nc: 'true'\nd: [true, 5]").value == {"a": True, "b": False, "c": "true", "d": [True, "5"]}


@both_readers
def test_keys_are_text_whatever_they_look_like() -> None:
    assert _read("true: 1\n007: 2\nno: 3").value == {"true": "1", "007": "2", "no": "3"}


@both_readers
def test_every_key_and_every_value_keeps_its_line_and_column() -> None:
    made = _read("links:\n  line1: {serial: /dev/ttyUSB0}\nmeters:\n  - id: main\n    address:   12\n")
    assert made.places["links", "line1", "serial"] == (2, 19)
    assert made.keys["links", "line1"] == (2, 3)
    assert made.places["meters", 0, "address"] == (5, 16)
    assert str(made.mistake(("meters", 0, "address"), "wrong")) == "site.yaml:5:16 meters[0].address: wrong"


@both_readers
def test_a_mistake_at_a_key_that_does_not_exist_is_told_at_the_block_that_lacks_it() -> None:
    made = _read("meters:\n  - id: main\n")
    assert str(made.mistake(("meters", 0, "link"), "is missing")) == "site.yaml:2:5 meters[0].link: is missing"


@both_readers
def test_a_byte_order_mark_and_windows_line_ends_are_read_over() -> None:
    made = _read(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n")
    assert made.value == {"a": "1", "b": "2"}
    assert made.places["b",] == (2, 4)


@both_readers
@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("a: 1\nb: 2\na: 3", "site.yaml:3:1 a: stands twice in this block, first in line 1; take one out"),
        ("a:\n", "site.yaml:1:3 a: nothing stands behind the colon; write a value or take the line out"),
        ("a: &x 1", "site.yaml:1:4 a: a value that begins with & must stand in quotes (anchors are not used here)"),
        ("a: !!int 1", "site.yaml:1:4 a: a value that begins with ! must stand in quotes (tags are not used here)"),
        ("<<: {a: 1}", "site.yaml:1:1 <<: is not used here: write the keys out"),
        ("a: 1\n---\na: 2", "site.yaml:2:1 a second document begins here: take out the line ---"),
        ("a: 'x\nb: 2\n", "site.yaml:1:4 the quote that opens here is never closed"),
        ("a:\n\tb: 1", "site.yaml:2:1 a tab stands in the indentation: use spaces"),
        (
            "a: b: c",
            "site.yaml:1:5 a second colon on one line, or a line indented too far; a text with a colon in it needs quotes",
        ),
        ("a: [1, 2\nb: 3", "site.yaml:2:2 a bracket or brace (opened in line 1) is not closed, or a comma is missing"),
        ("a: [", "site.yaml:1:5 a bracket or brace is not closed, or a comma is missing"),
        ("a: @b", "site.yaml:1:4 a value that begins with @ must stand in quotes"),
        (
            "a: 'b' c",
            "site.yaml:1:8 the value ended before this place: put the whole text into one pair of quotes, or begin a new line",
        ),
        ("{[a]: 1}", "site.yaml:1:2 a key must be one plain word, such as  address: 12"),
        ("? \n: 1", "site.yaml:1:2 a key is missing before the colon"),
        ("- a\n- b", "site.yaml:1:1 the file must consist of lines such as  key: value"),
        ('a: "\\0"', "site.yaml:1:4 a: a backslash in double quotes makes a control character here; use single quotes"),
        ("", "site.yaml:1:1 the file is empty: begin with a copy of site.example.yaml"),
        ("# only this\n", "site.yaml:1:1 nothing but comments stands in the file: begin with a copy of site.example.yaml"),
    ],
)
def test_what_is_refused_or_broken_is_told_in_plain_words(content: str, told: str) -> None:
    assert _mistakes(content) == [told]


@both_readers
def test_several_refused_things_are_told_at_once() -> None:
    assert len(_mistakes("a: &x 1\nb: *x\nc:\nc: 1\n")) == 4


def test_bytes_that_are_no_utf8_are_told_with_their_place() -> None:
    told = _mistakes(b"a: 1\nplace: Halle f\xfcr")
    assert told == ["site.yaml:2:15 the file is not UTF-8 text from here on: save it again as UTF-8"]


def test_a_nul_byte_is_told_with_its_place() -> None:
    assert _mistakes(b"a: 1\nb: \x00") == ["site.yaml:2:4 an invisible control character (U+0000) stands here: delete it"]


def test_a_file_above_2_mb_is_refused_before_it_is_read() -> None:
    assert _mistakes(b"a: " + b"x" * 2_000_000) == [
        "site.yaml:1:1 the file is larger than 2 MB: this is not a site or model file"
    ]


@both_readers
@pytest.mark.parametrize(
    "content", ["a: " + "[" * 5000, "{a: " * 5000, "- " * 5000, "\n".join(" " * n + "a:" for n in range(200))]
)
def test_absurd_nesting_is_refused(content: str) -> None:
    told = _mistakes(content)
    assert len(told) == 1
    assert "nested more than 24 levels deep" in told[0]


def test_a_refused_value_is_never_repeated() -> None:
    for content in ("password: *hunter2", "password: !hunter2 x", "password: &hunter2 x", "password: 1\npassword: hunter2"):
        assert "hunter2" not in "".join(_mistakes(content))


_LETTERS = st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="\ufffe\uffff")
_SCALARS = st.one_of(st.text(_LETTERS, max_size=20), st.booleans())
_TREES = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(_LETTERS, min_size=1, max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


def _leaves(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _leaves(inner, (*path, index))


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.text(_LETTERS, min_size=1, max_size=8).filter(lambda key: key != "<<"), _TREES, min_size=1, max_size=5))
def test_canonical_json_reads_back_as_itself_with_a_place_for_everything(tree: dict[str, Any]) -> None:
    made = _read(canonical_json(tree))
    assert made.mistakes == []
    assert made.value == tree
    assert set(made.places) == set(_leaves(tree))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text("0123456789.:-_eExXabcfn", min_size=1, max_size=12), min_size=1, max_size=5))
def test_text_of_digits_points_and_colons_is_never_changed(values: list[str]) -> None:
    content = "\n".join(f"key{number}: '{value}'" for number, value in enumerate(values))
    assert list(dict(_read(content).value).values()) == values  # type: ignore[arg-type]  # the root is always a block


@settings(max_examples=500, deadline=None)
@given(st.one_of(st.binary(max_size=200), st.text(max_size=100).map(lambda made: made.encode("utf-8", "surrogatepass"))))
def test_any_bytes_give_a_document_or_mistakes_with_a_place(content: bytes) -> None:
    try:
        found: list[Mistake] = _read(content).mistakes
    except ConfigError as error:
        found = list(error.mistakes)
        assert found
    assert all(mistake.line >= 1 and mistake.column >= 1 and mistake.message for mistake in found)
