"""What a witness and a gateway say to each other, and when a witness cosigns. Pure.

    question   "<size>\n<nonce>\n"            the witness holds so many records' root; what is there now?
    answer     "old <size>\n" {"<base64 hash>\n"} "\n" <checkpoint>    the body of C2SP tlog-witness's add-checkpoint
    word       the checkpoint with the witness's line (C2SP tlog-cosignature)

A witness keeps the newest size and root of a log and nothing else, and never goes back. The gateway answers a question
under its nonce, so that nobody can hold an answer back and have it cosigned later as if it were new.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass

from agent import checkpoint
from agent.checkpoint import Checkpoint, CheckpointError
from agent.merkle import is_consistent
from config.language import _

LONGEST = 16_384
_MOST_HASHES = 63
_QUESTION = re.compile(rb"(0|[1-9][0-9]{0,15})\n([0-9a-f]{16})\n")
_ANSWER = re.compile(r"old (0|[1-9][0-9]{0,15})\n((?:[A-Za-z0-9+/]{43}=\n){0,63})\n(.+)", re.DOTALL)


class Refused(Exception):
    """A witness does not cosign. `alarm`: because the log was rewritten or belongs to another key, and people must hear of it."""

    def __init__(self, why: str, *, alarm: bool) -> None:
        super().__init__(why)
        self.alarm = alarm


@dataclass(frozen=True, slots=True)
class Answer:
    """A gateway's answer: its newest checkpoint, and the proof that it continues the `old` records."""

    old: int
    proof: tuple[bytes, ...]
    note: str


def write_question(size: int, nonce: str) -> bytes:
    """A witness's question."""
    return f"{size}\n{nonce}\n".encode()


def read_question(payload: bytes) -> tuple[int, str]:
    """Size and nonce of a question. Raises ValueError: it is none."""
    found = _QUESTION.fullmatch(payload)
    if not found:
        raise ValueError(_("not a witness's question"))
    return int(found[1]), found[2].decode()


def write_answer(old: int, proof: Sequence[bytes], note: str) -> bytes:
    """A gateway's answer."""
    lines = "".join(f"{base64.b64encode(step).decode()}\n" for step in proof)
    return f"old {old}\n{lines}\n{note}".encode()


def read_answer(payload: bytes) -> Answer:
    """A gateway's answer. Raises Refused: it is none."""
    try:
        found = _ANSWER.fullmatch(payload.decode("utf-8")) if len(payload) <= LONGEST else None
        if not found:
            raise Refused(_("what came is no answer of a gateway"), alarm=False)
        return Answer(int(found[1]), tuple(base64.b64decode(line) for line in found[2].split()), found[3])
    except ValueError:
        raise Refused(_("what came is no answer of a gateway"), alarm=False) from None


def signed_checkpoint(note: str, origin: str, publics: Sequence[bytes]) -> Checkpoint:
    """The checkpoint in a note that one of a gateway's known keys signed. Raises Refused."""
    try:
        claim = checkpoint.claimed(note, origin)
    except CheckpointError as error:
        raise Refused(str(error), alarm=False) from None
    for public in publics:
        try:
            return checkpoint.read(note, origin, public)
        except CheckpointError:
            continue
    why = _("a checkpoint over {size} records is signed by no key of this gateway that the witness knows", size=claim.size)
    raise Refused(_("{why}; after a rotation add the new key line to the witness's file", why=why), alarm=True)


def judge(held: Checkpoint | None, answer: Answer, origin: str, publics: Sequence[bytes]) -> Checkpoint:
    """The checkpoint that may be cosigned and is held from now on.

    Raises:
        Refused: it contradicts what is held, or nobody knows its key.
    """
    claim = signed_checkpoint(answer.note, origin, publics)
    size = held.size if held else 0
    if claim.size < size:
        raise Refused(
            _("rolled back: {size} records were seen, now there are {size_2}", size=size, size_2=claim.size), alarm=True
        )
    if held and claim.size == size and claim.root != held.root:
        raise Refused(_("forked: the same {size} records have another root than the one that was seen", size=size), alarm=True)
    if answer.old != size:
        raise Refused(_("the proof begins at {old} records, {size} were asked for", old=answer.old, size=size), alarm=False)
    if held and not is_consistent(size, held.root, claim.size, claim.root, answer.proof):
        raise Refused(
            _("rewritten: the {size} records do not begin with the {size_2} that were seen", size=claim.size, size_2=size),
            alarm=True,
        )
    return claim
