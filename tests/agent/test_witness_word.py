"""agent.witness_word: when a witness cosigns, and when it refuses and tells people."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent import checkpoint
from agent.checkpoint import Checkpoint
from agent.merkle import consistency_proof, root_of
from agent.witness_word import Answer, Refused, judge, read_answer, read_question, write_answer, write_question
from tests.agent.ledgers import ORIGIN, new_key

LEAVES = [bytes([number]) * 32 for number in range(20)]
PUBLICS = [new_key().public]


def note_of(leaves: list[bytes], seed: str = "gateway") -> str:
    return checkpoint.write(ORIGIN, len(leaves), root_of(leaves), new_key(seed))


def held(size: int) -> Checkpoint | None:
    return Checkpoint(ORIGIN, size, root_of(LEAVES[:size])) if size else None


def answer(old: int, leaves: list[bytes], seed: str = "gateway") -> Answer:
    return read_answer(write_answer(old, consistency_proof(old, leaves), note_of(leaves, seed)))


@pytest.mark.parametrize("old", range(21))
def test_a_log_that_only_grew_is_cosigned(old: int) -> None:
    assert judge(held(old), answer(old, LEAVES), ORIGIN, PUBLICS).size == 20


REWRITTEN = [b"x" * 32, *LEAVES[1:]]


@pytest.mark.parametrize(
    ("size", "given_answer", "why", "alarm"),
    [
        (10, answer(10, REWRITTEN), "rewritten", True),
        (20, answer(20, REWRITTEN), "forked", True),
        (20, answer(15, LEAVES[:15]), "rolled back", True),
        (10, answer(10, LEAVES, "thief"), "signed by no key", True),
        (10, answer(5, LEAVES), "were asked for", False),
    ],
)
def test_what_contradicts_what_was_seen_is_refused(size: int, given_answer: Answer, why: str, alarm: bool) -> None:
    with pytest.raises(Refused, match=why) as caught:
        judge(held(size), given_answer, ORIGIN, PUBLICS)
    assert caught.value.alarm == alarm


def test_a_key_that_came_by_rotation_is_known_beside_the_old_one() -> None:
    assert judge(held(10), answer(10, LEAVES, "second"), ORIGIN, [*PUBLICS, new_key("second").public]).size == 20


def test_a_question_is_read_back() -> None:
    assert read_question(write_question(42, "0123456789abcdef")) == (42, "0123456789abcdef")


@pytest.mark.parametrize(
    "payload",
    [b"", b"42", b"42\n", b"-1\n0123456789abcdef\n", b"042\n0123456789abcdef\n", b"42\n0123456789ABCDEF\n", b"\xff" * 9],
)
def test_what_is_no_question_is_refused(payload: bytes) -> None:
    with pytest.raises(ValueError, match="question"):
        read_question(payload)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 300))
def test_any_bytes_are_an_answer_or_refused(payload: bytes, at: int) -> None:
    good = write_answer(10, consistency_proof(10, LEAVES), note_of(LEAVES))
    alarms = []
    for mangled in (payload, good[:at] + payload + good[at:]):
        try:
            judge(held(10), read_answer(mangled), ORIGIN, PUBLICS)
        except Refused as refused:
            alarms.append(str(refused) if refused.alarm else "")
    assert all(not why or "signed by" in why or "rewritten" in why for why in alarms)


def test_an_answer_that_is_far_too_long_is_refused() -> None:
    with pytest.raises(Refused):
        read_answer(write_answer(1, [bytes(32)] * 60, "x" * 20_000))
