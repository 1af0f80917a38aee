"""What a collector says to a gateway: a receipt for what it has stored, and a question for what it lacks. Pure.

    receipt    "meterseal receipt v1\n<site>/<gateway>\n<size>\n<base64 root>\n"
    question   "meterseal resend v1\n<site>/<gateway>\n<first>\n<end>\n"
               "meterseal checkpoints v1\n<site>/<gateway>\n<first>\n<end>\n"

All are signed notes (C2SP `signed-note`) under the collector's own key, of signature type 01. A receipt says: the first
<size> records are stored where a power cut does not reach them, each was checked, and this is the root over them
(RFC 9162, section 2.1). A question asks for the records from <first> up to, not including, <end>; or for the checkpoints
over more than <first> and at most <end> records.

What this file does not know: whether a root is ours, and how often somebody may ask.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass

from agent.checkpoint import is_signed_by, key_hash, read_verifier_key, signature_line, verifier_key
from agent.seal import Key
from config.language import _

LONGEST = 2048
_GATEWAY = r"(?P<gateway>[a-z0-9][a-z0-9-]{0,39}/[a-z0-9][a-z0-9-]{0,39})"
_NUMBER = "0|[1-9][0-9]{0,15}"
_RECEIPT = re.compile(rf"meterseal receipt v1\n{_GATEWAY}\n(?P<size>{_NUMBER})\n(?P<root>[A-Za-z0-9+/]{{43}}=)\n")
_QUESTION = re.compile(rf"meterseal (?:resend|(?P<notes>checkpoints)) v1\n{_GATEWAY}\n(?P<first>{_NUMBER})\n(?P<end>{_NUMBER})\n")


class NotTaken(ValueError):
    """What arrived is no receipt or question of this collector for this gateway."""


@dataclass(frozen=True, slots=True)
class Collector:
    """A collector as a gateway knows it: its name and the 32 bytes of its public key."""

    name: str
    public: bytes


@dataclass(frozen=True, slots=True)
class Receipt:
    """The first `size` records are stored, and `root` is the root over them."""

    size: int
    root: bytes


@dataclass(frozen=True, slots=True)
class Question:
    """Records from `first` up to, not including, `end` are asked for; with `notes` checkpoints of more than `first` records."""

    first: int
    end: int
    notes: bool = False


def collector_key(name: str, public: bytes) -> str:
    """A collector's key as one line, for `collector:` in the site file."""
    return verifier_key(name, public)


def read_collector_key(line: str) -> Collector:
    """The collector of a key line. Raises CheckpointError."""
    return Collector(*read_verifier_key(line))


def write_receipt(gateway: str, receipt: Receipt, name: str, key: Key) -> bytes:
    """A signed receipt."""
    root = base64.b64encode(receipt.root).decode()
    return _signed(f"meterseal receipt v1\n{gateway}\n{receipt.size}\n{root}\n", name, key)


def write_question(gateway: str, question: Question, name: str, key: Key) -> bytes:
    """A signed question."""
    what = "checkpoints" if question.notes else "resend"
    return _signed(f"meterseal {what} v1\n{gateway}\n{question.first}\n{question.end}\n", name, key)


def read_receipt(payload: bytes, gateway: str, collector: Collector) -> Receipt:
    """The receipt of this collector for this gateway. Raises NotTaken."""
    found = _checked(payload, _RECEIPT, gateway, collector)
    return Receipt(int(found["size"]), base64.b64decode(found["root"]))


def read_question(payload: bytes, gateway: str, collector: Collector) -> Question:
    """The question of this collector to this gateway. Raises NotTaken."""
    found = _checked(payload, _QUESTION, gateway, collector)
    question = Question(int(found["first"]), int(found["end"]), found["notes"] is not None)
    if question.first >= question.end:
        raise NotTaken(_("it asks for nothing"))
    return question


def _signed(text: str, name: str, key: Key) -> bytes:
    line = signature_line(name, key_hash(name, key.public) + key.sign(text.encode()))
    return f"{text}\n{line}\n".encode()


def _checked(payload: bytes, form: re.Pattern[str], gateway: str, collector: Collector) -> re.Match[str]:
    if len(payload) > LONGEST:
        raise NotTaken(_("it is longer than any receipt or question"))
    try:
        note = payload.decode("utf-8")
    except UnicodeDecodeError:
        raise NotTaken(_("it is no text")) from None
    text, _separator, signatures = note.partition("\n\n")
    found = form.fullmatch(f"{text}\n")
    if not found:
        raise NotTaken(_("it does not have the form of one"))
    if found["gateway"] != gateway:
        raise NotTaken(_("it is for gateway {gateway}", gateway=found["gateway"]))
    if not any(is_signed_by(line, f"{text}\n", collector.name, collector.public) for line in signatures.split("\n")):
        raise NotTaken(_("{name} did not sign it", name=collector.name))
    return found
