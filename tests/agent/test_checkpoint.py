"""agent.checkpoint: C2SP signed notes and verifier keys; what is damaged or another's is refused."""

from __future__ import annotations

import base64
import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.checkpoint import CheckpointError, claimed, origin_of, read, read_verifier_key, verifier_key, write
from tests.agent.ledgers import ORIGIN, new_key

ROOT = hashlib.sha256(b"root").digest()
NOTE = write(ORIGIN, 42, ROOT, new_key())


def test_a_checkpoint_is_the_note_that_c2sp_describes() -> None:
    key = new_key()
    lines = NOTE.split("\n")
    assert lines[:4] == [ORIGIN, "42", base64.b64encode(ROOT).decode(), ""]
    dash, name, encoded = lines[4].split(" ")
    assert (dash, name, lines[5:]) == ("\u2014", ORIGIN, [""])
    data = base64.b64decode(encoded)
    assert data[:4] == hashlib.sha256(ORIGIN.encode() + b"\n\x01" + key.public).digest()[:4]
    key.private.public_key().verify(data[4:], "\n".join([*lines[:3], ""]).encode())


def test_what_was_written_is_read() -> None:
    seen = read(NOTE, ORIGIN, new_key().public)
    assert (seen.origin, seen.size, seen.root) == (ORIGIN, 42, ROOT)
    assert claimed(NOTE, ORIGIN) == seen
    assert origin_of("plant/gw1") == ORIGIN


def test_the_published_example_of_a_signed_note_verifies() -> None:
    """The verifier key and note that Go's golang.org/x/mod/sumdb/note documents (PeterNeumann)."""
    line = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
    origin, public = read_verifier_key(line)
    assert origin == "PeterNeumann"
    assert verifier_key(origin, public) == line


def test_other_signatures_on_the_note_are_passed_over() -> None:
    witness = write(ORIGIN, 42, ROOT, new_key("witness")).split("\n")[4]
    read(f"{NOTE}\u2014 witness.example/w1 AAAA\n{witness}\n", ORIGIN, new_key().public)
    text, _, own = NOTE.partition("\n\n")
    read(f"{text}\n\n{witness}\n{own}", ORIGIN, new_key().public)
    with pytest.raises(CheckpointError, match="did not sign"):
        read(f"{text}\n\n{witness}\n", ORIGIN, new_key().public)


@pytest.mark.parametrize(
    "note",
    [
        "",
        "\n\n",
        NOTE.replace("42", "43"),
        NOTE.replace("42", "042"),
        NOTE.replace("42", "\u0664\u0662"),
        NOTE.replace("42", "\u00b2"),
        NOTE.replace("42", "-1"),
        NOTE.replace("42", "9" * 5000),
        NOTE.replace(ORIGIN, "meterseal/plant/gw2"),
        NOTE.replace(base64.b64encode(ROOT).decode(), base64.b64encode(ROOT[:31]).decode()),
        NOTE.replace(base64.b64encode(ROOT).decode(), "not base64"),
        NOTE.replace("\n\n", "\n"),
        NOTE.replace("\u2014", "-"),
        NOTE[:-20],
        NOTE.partition("\n\n")[0] + "\n\n",
    ],
)
def test_what_is_not_this_checkpoint_is_refused(note: str) -> None:
    with pytest.raises(CheckpointError):
        read(note, ORIGIN, new_key().public)


def test_another_key_is_refused() -> None:
    with pytest.raises(CheckpointError, match="did not sign"):
        read(NOTE, ORIGIN, new_key("other").public)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=200), st.integers(0, len(NOTE)))
def test_any_text_is_a_checkpoint_or_a_checkpoint_error(text: str, at: int) -> None:
    for note in (text, NOTE[:at] + text + NOTE[at:]):
        try:
            assert read(note, ORIGIN, new_key().public).size == 42
        except CheckpointError:
            continue


def test_a_key_line_is_read_back() -> None:
    line = verifier_key(ORIGIN, new_key().public)
    assert read_verifier_key(f"  {line}\n") == (ORIGIN, new_key().public)


@pytest.mark.parametrize("seed", [f"seed {number}" for number in range(40)])
def test_key_lines_with_plus_signs_in_them_are_read_too(seed: str) -> None:
    line = verifier_key(ORIGIN, new_key(seed).public)
    assert read_verifier_key(line)[1] == new_key(seed).public


def test_a_damaged_key_line_is_refused() -> None:
    line = verifier_key(ORIGIN, new_key().public)
    for at in range(len(line)):
        letter = "B" if line[at] != "B" else "C"
        with pytest.raises(CheckpointError):
            read_verifier_key(line[:at] + letter + line[at + 1 :])


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=100))
def test_any_text_is_a_key_line_or_a_checkpoint_error(text: str) -> None:
    with pytest.raises(CheckpointError):
        read_verifier_key(text)
