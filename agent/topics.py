"""What is published where: the topics, and which messages a broker keeps for those who come later. Pure but for reading.

`docs/topics.md` is this file in prose. The payload of a record is exactly the ledger's bytes.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from agent.ledger_file import LedgerReader
from agent.mqtt import Message
from agent.newest import Newest
from agent.record import RecordError, parse
from agent.schema import check_record
from agent.seal import PAYLOAD_TYPE, unsigned
from config.site import Mqtt, Site

TEXT = "text/plain"
JSON = "application/json"
_DAMAGED = "damaged"
_BY_METER = ("reading", "gap")
_READ_AT_ONCE = 32
MOST_LEVELS = 8
_LONGEST_LEVEL = 64
_NO_NAME = re.compile(r"[^\w.-]+")


@dataclass(frozen=True, slots=True)
class Tree:
    """The topics of one gateway at one broker.

    Attributes:
        base: what all of them stand under, but for a meter's where these go by places: `<topic>/<site>/<gateway>`.
        site: `<topic>/<site>`.
        places: where each meter stands, such as `hall-3/line-2`; None where meters stand below the gateway.
    """

    base: str
    site: str = ""
    places: Mapping[str, str] | None = None

    def of_meter(self, kind: str, meter: str) -> str:
        """The topic of a meter's readings, gaps or numbers."""
        if self.places is None:
            return f"{self.base}/{kind}/{meter}"
        return "/".join(filter(None, (self.site, self.places.get(meter, ""), meter, kind)))

    def part_of(self, message: Message) -> str:
        """Which part of the whole a message's topic is: `reading`, `gap`, `event` …"""
        topic = message.topic
        return topic[len(self.base) + 1 :].split("/", 1)[0] if topic.startswith(f"{self.base}/") else topic.rsplit("/", 1)[1]


def tree_of(destination: Mqtt, gateway: str, site: Site | None = None) -> Tree:
    """The topics of a gateway at a broker. `site`: where its meters stand."""
    base = base_of(destination.topic, gateway)
    by_place = destination.topics == "places"
    places = {meter.id: place_levels(meter.place) for meter in (site.meters if site else ())} if by_place else None
    return Tree(base, base.rsplit("/", 1)[0], places)


def place_levels(place: str) -> str:
    """A meter's place as topic levels: `Hall 3 / line 2` becomes `Hall-3/line-2`.

    Of each level only letters, digits, `_`, `-` and `.` are left, of any script; whatever else stands together becomes one
    `-`. So no place can name another topic, hold a wildcard or begin with `$`.
    """
    levels = (_NO_NAME.sub("-", unicodedata.normalize("NFC", level)).strip("-")[:_LONGEST_LEVEL] for level in place.split("/"))
    return "/".join([level for level in levels if level][:MOST_LEVELS])


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


def record(tree: Tree, payload: bytes) -> Message:
    """A record as it is delivered. Bytes that are no record go out too, as event `damaged`."""
    fields = _fields(payload)
    kind = fields.get("kind", _DAMAGED)
    return sealed(tree, kind, fields["meter"]["id"] if kind in _BY_METER else "", payload)


def sealed(tree: Tree, kind: str, meter: str, payload: bytes) -> Message:
    """The same of a record that is known to be one, and its kind and meter too."""
    return Message(tree.of_meter(kind, meter) if kind in _BY_METER else f"{tree.base}/event/{kind}", payload, PAYLOAD_TYPE)


def records(tree: Tree, first: int, newest: Newest, reader: LedgerReader) -> list[tuple[int, Message]]:
    """The next records from n = `first` on, one at least if there is one: from memory, or some of the ledger's file."""
    held = newest.get(first)
    if held:
        return [(first, sealed(tree, held.kind, held.meter, held.payload))]
    return [(n, record(tree, payload)) for n, payload in islice(reader.payloads(first), _READ_AT_ONCE)]


def is_damaged(tree: Tree, message: Message) -> bool:
    """Whether a record's message carries bytes that are no record."""
    return message.topic == f"{tree.base}/event/{_DAMAGED}"


def batch(tree: Tree, payload: bytes, content_type: str) -> Message:
    """The message with several records in one."""
    return Message(f"{tree.base}/batch", payload, content_type)


def numbers(tree: Tree, message: Message, retain: bool) -> list[Message]:
    """The plain numbers of a reading, given its message: one message for each value, at QoS 0. None of other records."""
    if tree.part_of(message) != "reading":
        return []
    fields = _fields(message.payload)
    if fields.get("kind") != "reading":
        return []
    place = tree.of_meter("number", fields["meter"]["id"])
    about = {"time": fields["time"], "gateway": fields["gateway"], "record": fields["n"]}
    about |= {"doubt": fields["doubt"]} if "doubt" in fields else {}
    return [Message(f"{place}/{each['quantity']}", _number(each, about), JSON, retain, qos=0) for each in fields["values"]]


def _number(value: Mapping[str, str], about: Mapping[str, str | int]) -> bytes:
    """A value as JSON. Its digits are those of the record: 231.10 stays 231.10."""
    told = {key: value[key] for key in ("unit", "cause") if key in value}
    rest = json.dumps({"quality": value.get("quality", "good"), **told, **about}, ensure_ascii=False, separators=(",", ":"))
    return f'{{"value":{value.get("value", "null")},{rest[1:]}'.encode()


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
