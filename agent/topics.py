"""What is published where: the topics, and which messages a broker keeps for those who come later. Pure but for reading.

`docs/topics.md` is this file in prose. The payload of a record is exactly the ledger's bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

from agent.ledger_file import LedgerReader
from agent.mqtt import Message
from agent.newest import Newest
from agent.record import RecordError, parse
from agent.schema import check_record
from agent.seal import PAYLOAD_TYPE, unsigned

TEXT = "text/plain"
_DAMAGED = "damaged"
_BY_METER = ("reading", "gap")
_READ_AT_ONCE = 32


def base_of(topic: str, gateway: str) -> str:
    """The topic that everything of one gateway stands under: `<topic>/<site>/<gateway>`."""
    return f"{topic}/{gateway}"


def witness_id(line: str) -> str:
    """How a witness is called in topics: the key hash of its key line."""
    return line.split("+")[1]


def status(base: str, word: str, retain: bool = True) -> Message:
    """The message that says whether the gateway is `online` or `offline`; retained, if the broker can."""
    return Message(f"{base}/status", word.encode(), TEXT, retain)


def checkpoint(base: str, note: str) -> Message:
    """The retained message with a signed checkpoint."""
    return Message(f"{base}/checkpoint", note.encode(), TEXT, retain=True)


def record(base: str, payload: bytes) -> Message:
    """A record as it is delivered, in the order of n. Bytes that are no record go out too, as event `damaged`."""
    fields = _fields(payload)
    kind = fields.get("kind", _DAMAGED)
    return sealed(base, kind, fields["meter"]["id"] if kind in _BY_METER else "", payload)


def sealed(base: str, kind: str, meter: str, payload: bytes) -> Message:
    """The same of a record that is known to be one, and its kind and meter too."""
    place = f"{kind}/{meter}" if kind in _BY_METER else f"event/{kind}"
    return Message(f"{base}/{place}", payload, PAYLOAD_TYPE)


def records(base: str, first: int, newest: Newest, reader: LedgerReader) -> list[tuple[int, Message]]:
    """The next records from n = `first` on, one at least if there is one: from memory, or some of the ledger's file."""
    held = newest.get(first)
    if held:
        return [(first, sealed(base, held.kind, held.meter, held.payload))]
    return [(n, record(base, payload)) for n, payload in islice(reader.payloads(first), _READ_AT_ONCE)]


def copies(base: str, message: Message, reader: LedgerReader) -> list[Message]:
    """The retained messages that a record's message renews: none, but for a key or a meter's declaration."""
    if message.topic == f"{base}/event/key":
        return [Message(f"{base}/key", message.payload, PAYLOAD_TYPE, retain=True)]
    if message.topic == f"{base}/event/meter":
        declared = _fields(message.payload)["meter"]
        return _declarations(base, {declared["id"]: (declared["digest"], message.payload)}, reader)
    return []


def standing(base: str, reader: LedgerReader) -> list[Message]:
    """All retained messages as the ledger stands, but for status and checkpoint."""
    keys = [Message(f"{base}/key", payload, PAYLOAD_TYPE, retain=True) for _, payload in islice(reader.kind_records("key"), 1)]
    newest: dict[str, tuple[str, bytes]] = {}
    for _, payload in reader.kind_records("meter"):  # newest first
        if meter := _fields(payload).get("meter"):
            newest.setdefault(meter["id"], (meter["digest"], payload))
    return keys + _declarations(base, newest, reader)


def standing_in(base: str, path: Path) -> list[Message]:
    """The same of a ledger's file."""
    with closing(LedgerReader(path)) as reader:
        return standing(base, reader)


def part_of(base: str, message: Message) -> str:
    """The first word of a topic below the gateway: `reading`, `gap`, `event` …"""
    return message.topic[len(base) + 1 :].split("/", 1)[0]


def _declarations(base: str, declared: Mapping[str, tuple[str, bytes]], reader: LedgerReader) -> list[Message]:
    """Declarations by meter, and the model files that they quote by digest."""
    digests = {digest for digest, _ in declared.values()}
    models = [
        Message(f"{base}/model/{digest}", text, TEXT, retain=True)
        for digest, text in reader.models().items()
        if digest in digests
    ]
    return models + [
        Message(f"{base}/meter/{meter}", payload, PAYLOAD_TYPE, retain=True) for meter, (_, payload) in declared.items()
    ]


def _fields(payload: bytes) -> Mapping[str, Any]:
    """A record's fields; none where the ledger's file was changed so that it is no record any more."""
    try:
        fields = parse(payload)
        check_record(unsigned(fields))
    except RecordError:
        return {}
    return fields
