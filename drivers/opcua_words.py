"""What was asked of an OPC UA server and what it answered, in words, byte by byte (OPC 10000-6, clause 5.2). Pure.

A request is an array of ReadValueId, an answer the array of DataValue with the same places: see `drivers.opcua_read`.

What this file does not know: which node holds what; whether an answer is the one that was asked for.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from config.cause_words import cause_words
from config.language import N_, _
from drivers.errors import BadFrame
from drivers.opcua_binary import STRING, TYPES, DataValue, Malformed, NodeId, Reader
from drivers.opcua_read import NAMESPACE_ARRAY, SERVER_ARRAY, VALUE_ATTRIBUTE, nodes_of
from drivers.opcua_status import cause_of
from drivers.words import Cut, Piece

_TABLES = {NAMESPACE_ARRAY: N_("the server's namespaces"), SERVER_ARRAY: N_("the server's name")}
_EPOCH = datetime(1601, 1, 1, tzinfo=UTC)


def request(frame: bytes, framing: str = "own") -> list[Piece]:
    """A request's pieces."""
    cut, reader = Cut(frame), Reader(frame)
    try:
        count = reader.signed(4)
        cut.take(4, _("number of nodes"), str(count))
        for _unused in range(max(count, 0)):
            start = reader.at
            node = reader.expanded_node_id() if frame[start : start + 1] >= b"\x40" else reader.node_id()
            cut.take(reader.at - start, "NodeId", _node(node))
            attribute = reader.unsigned(4)
            cut.take(4, "AttributeId", "Value" if attribute == VALUE_ATTRIBUTE else str(attribute))
            start = reader.at
            reader.string()
            cut.take(reader.at - start, "IndexRange", _("the whole value") if reader.at - start == 4 else "")
            start = reader.at
            reader.unsigned(2)
            reader.string()
            cut.take(reader.at - start, "DataEncoding", _("the server's own"))
    except Malformed as error:
        return cut.rest("damaged", str(error), right=False)
    return cut.rest("surplus", _("behind the last node"), right=False)


def answer(asked: bytes, frame: bytes, framing: str = "own") -> list[Piece]:
    """An answer's pieces; the request tells which node each is of."""
    try:
        nodes = nodes_of(asked)
    except BadFrame:
        nodes = ()
    cut, reader = Cut(frame), Reader(frame)
    try:
        count = reader.signed(4)
        right = not nodes or count == len(nodes)
        cut.take(
            4,
            _("number of values"),
            str(count) if right else _("{count}, asked were {nodes}", count=count, nodes=len(nodes)),
            right=right,
        )
        for place in range(max(count, 0)):
            found = reader.data_value()
            _value(cut, found, _node(nodes[place]) if place < len(nodes) else _("value {place}", place=place))
    except Malformed as error:
        return cut.rest("damaged", str(error), right=False)
    return cut.rest("surplus", _("behind the last value"), right=False)


def _node(node: NodeId) -> str:
    identifier = node.identifier.hex() if isinstance(node.identifier, bytes) else str(node.identifier)
    if node.kind == "s" and isinstance(node.identifier, bytes):
        identifier = node.identifier.decode("utf-8", "replace")
    name = f"ns={node.namespace};{node.kind}={identifier}" if node.namespace else f"{node.kind}={identifier}"
    return f"{name}, {_TABLES[node]}" if node in _TABLES else name


def _value(cut: Cut, found: DataValue, node: str) -> None:
    """One DataValue (5.2.2.17): its mask tells what of it was sent."""
    mask = cut.peek(1)[0]
    cut.take(1, _("DataValue mask"), node)
    if found.value is not None:
        kind = TYPES.get(found.value.type, _("nothing") if not found.value.type else _("type {type}", type=found.value.type))
        array = "" if found.value.count is None else _(", array of {count}", count=found.value.count)
        cut.take(found.value.first - cut.at, _("Variant encoding"), kind + array)
        text = cut.peek(found.value.end - cut.at)
        says = text.decode("utf-8", "replace") if found.value.type == STRING and found.value.count is None else ""
        cut.take(found.value.end - cut.at, "value", says[4:])
    rest = ((0x02, 4, "StatusCode"), (0x04, 8, "SourceTimestamp"), (0x10, 2, "SourcePicoseconds"))
    for bit, length, field in (*rest, (0x08, 8, "ServerTimestamp"), (0x20, 2, "ServerPicoseconds")):
        if mask & bit:
            says = {0x02: _status(found.status), 0x04: _time(found.source), 0x08: _time(found.server)}.get(bit, "")
            cut.take(min(length, found.end - cut.at), field, says)
    cut.take(found.end - cut.at, _("rest of the value"))


def _status(status: int) -> str:
    return cause_words(cause_of(status) or "good")


def _time(ticks: int | None) -> str:
    """A time of steps of 100 ns since 1601."""
    try:
        return (_EPOCH + timedelta(microseconds=(ticks or 0) // 10)).isoformat(" ", "milliseconds")
    except OverflowError:
        return _("no time of the calendar")
