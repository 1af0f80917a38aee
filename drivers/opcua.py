"""OPC UA: values that a server (a SCADA system, a PLC, a gateway) holds for meters, read and sealed as evidence.

One Read fetches the nodes of many meters; each meter's part of it is sealed as an exchange of its own, in the bytes
that were on the wire (`drivers.opcua_read`). In front of the meter's nodes stand, in the same Read, the server's table
of namespaces and its application URI: a reading needs nothing beside itself to be judged.

    declared    nsu=http://plant.example/meters;s=Press1.Energy
    request     ... ns=3;s=Press1.Energy ...      numbers as the server gave them out at the last connect
    answer      ["http://opcfoundation.org/UA/", "urn:plant:scada", "...", "http://plant.example/meters"] ... 184223.57
    formula     0@193:f64le

The point's node is found by its identifier, its namespace by the table *in the answer*. Where that gives the URI
another number than the one asked with, somebody has renumbered the namespaces: what came is another node's value, or
may be, and there is no value. Bad values are never looked at, uncertain ones are stated and doubted.

What this file does not know: sessions, channels, certificates (`drivers.opcua_session`), and whether the server tells
the truth about its meters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from config.language import _
from config.model import Point, Watch
from config.opcua import NodeName, OpcuaAt, OpcuaModel, OpcuaPoint, node_name
from drivers import Request, Target
from drivers.errors import BadFrame, NoValue
from drivers.factor import times
from drivers.formula import plain
from drivers.opcua_binary import STRING, TYPES, DataValue, Malformed, NodeId, Reader, Variant
from drivers.opcua_read import TABLES, namespaces_in, nodes_of, places_in, portable, server_in, values_in
from drivers.opcua_read import resolved as resolved
from drivers.opcua_status import cause_of, is_bad

# Built-in type -> how a formula reads it, and how many bytes it has. A Boolean is one byte, 0 or 1.
_NUMBERS = {
    1: ("u8", 1), 2: ("i8", 1), 3: ("u8", 1), 4: ("i16le", 2), 5: ("u16le", 2), 6: ("i32le", 4), 7: ("u32le", 4),
    8: ("i64le", 8), 9: ("u64le", 8), 10: ("f32le", 4), 11: ("f64le", 8),
}  # fmt: skip
_BOOLEAN = 1
_LONGEST_NUMBER, _LONGEST_TEXT = 32, 999  # what formulas take of text
_LAST_OFFSET = 99_999  # as far as a formula reaches
_LONGEST_BYTES = 1_000_000
_TICKS = 10_000  # steps of 100 ns in a millisecond


# --- what is sent -------------------------------------------------------------------------------------------


def requests(target: Target, points: Sequence[Point | Watch], hole: int | None = None) -> list[Request]:
    """The points' nodes in their portable form, the server's tables in front of them; `resolved` makes that what is sent.

    Where the model names the node of the meter's own number it is asked for as well, so that every reading tells whose it is.
    """
    limits = cast("OpcuaModel", target.model).opcua
    nodes = _nodes(target, points)
    timeout = limits.timeout_ms / 1000
    parts = [nodes[first : first + limits.max_nodes] for first in range(0, len(nodes), limits.max_nodes)]
    return [Request(portable(part), timeout, 0.0, timeout, _LONGEST_BYTES) for part in parts]


def _nodes(target: Target, points: Sequence[Point | Watch]) -> list[NodeId]:
    """What is asked for to read points: each node once, that of the meter's own number last."""
    number = _number(target)
    return list(dict.fromkeys(_node(node_name(_at(point).node)) for point in (*points, *([number] if number and points else []))))


def _number(target: Target) -> Watch | None:
    return next((watch for watch in target.model.identity if watch.name == "serial"), None)


def _at(point: Point | Watch) -> OpcuaAt:
    return cast("OpcuaAt", point.at)


def _node(name: NodeName) -> NodeId:
    return NodeId(name.uri or 0, name.kind, name.identifier)


def following(target: Target, request: bytes, answer: bytes) -> Request | None:
    """None: a Read is complete."""
    return None


def prescribes(target: Target, points: Sequence[Point | Watch], request: bytes) -> bool:
    """Whether a request asks for nodes of these points and for nothing else.

    Any namespace number will do, for `locate` holds it against the table in the answer; nodes may be missing, for the
    server may not have their namespace.
    """
    try:
        asked = nodes_of(request)[TABLES:]
    except BadFrame:
        return False
    declared = {(node.namespace == 0, node.kind, node.identifier) for node in _nodes(target, points)}
    kept = {(node.namespace == 0, node.kind, node.identifier) for node in asked}
    return kept <= declared and len(set(asked)) == len(asked) and not any(isinstance(node.namespace, str) for node in asked)


def numbered(request: Request, number: int, framing: str) -> Request:
    """Unchanged: numbers of requests belong to the channel, they are not sealed."""
    return request


def station(request: bytes, framing: str) -> bytes | None:
    """None: the channel gives every request a number of its own."""
    return None


# --- what arrives -------------------------------------------------------------------------------------------


def answer_span(request: bytes, buffer: bytes, framing: str) -> tuple[int, int] | None:
    """The whole buffer: answers come cut to length (`drivers.opcua_read.Batch`), not out of a stream."""
    return (0, len(buffer)) if buffer else None


def check(request: bytes, answer: bytes, framing: str) -> None:
    """Returns if `answer` holds one value for each node of the request, the server's two tables in front.

    Raises:
        BadFrame: it does not, or one of the two is malformed.
    """
    asked = nodes_of(request)
    values = values_in(answer)
    if len(values) != len(asked):
        raise BadFrame("wrong_length", _("{values} values came for {asked} nodes", values=len(values), asked=len(asked)))
    namespaces_in(answer)
    server_in(answer)


def fault(request: bytes, buffer: bytes, framing: str) -> tuple[str, str]:
    """Cause and plain words for a Read that was not answered."""
    return "no_answer", _("no answer")


def identification_request(target: Target, first: int = 0) -> Request | None:
    """None: a server says of itself who it is in every answer, of its meters only what nodes hold."""
    return None


def identification(answer: bytes, framing: str) -> tuple[dict[str, str], int | None]:
    """What an answer says of the server."""
    try:
        uri = server_in(answer)
    except BadFrame:
        uri = None
    return ({"server": uri} if uri else {}), None


def frame_serial(target: Target, requests: Sequence[bytes], answers: Sequence[bytes]) -> str | None:
    """The formula of the meter's own number, where its model names the node that holds it."""
    watch = _number(target)
    if watch is None:
        return None
    try:
        return locate(target, requests, watch, answers)
    except (KeyError, NoValue):
        return None


# --- where a value stands -----------------------------------------------------------------------------------


def locate(target: Target, requests: Sequence[bytes], point: Point | Watch, answers: Sequence[bytes]) -> str:
    """The formula of a point over the last answer that its node was asked for with.

    Raises:
        KeyError: none of the requests asks for its node.
        NoValue: `other_server`, `no_namespace`, `namespace_moved`, `no_value`, `other_type`, `unsupported_type`,
            `list_of_values`, `not_a_list`, `no_such_element`, `bad_digits`, `bad_text`, `too_long`, or what a bad
            status is called, such as `bad_sensor_failure`.
    """
    index, value = _found(target, requests, point, answers)
    return formula_of(target, point, index, answers[index], value)


def formula_of(target: Target, point: Point | Watch, index: int, answer: bytes, value: DataValue) -> str:
    """The formula of a point whose DataValue stands in the answer of this index. Raises NoValue as `locate`."""
    if is_bad(value.status):
        raise NoValue(cause_of(value.status))
    if value.value is None or value.value.type == 0:
        raise NoValue("no_value")
    tail = times(plain(point.scale), *target.ratios(point))
    return f"{index}@{_source(answer, value.value, _at(point), isinstance(point, Watch))}{tail}"


def doubt(target: Target, requests: Sequence[bytes], point: Point, answers: Sequence[bytes]) -> str:
    """Why a value is not to be relied on by its own status and times; empty where nothing speaks against it.

    An uncertain status gives its name, such as `uncertain_last_usable_value`. A value whose source time lies further
    back than the point's `max_age` before the server's own time in the same DataValue is `stale`; where one of the two
    is missing that cannot be known: `no_timestamp`.

    Raises:
        KeyError, NoValue: as `locate`.
    """
    return doubt_of(point, _found(target, requests, point, answers)[1])


def doubt_of(point: Point, value: DataValue) -> str:
    """What a point's DataValue says against itself, as `doubt` tells it."""
    if cause := cause_of(value.status):
        return cause
    most = cast("OpcuaPoint", point).max_age
    if most is None:
        return ""
    if value.source is None or value.server is None:
        return "no_timestamp"
    return "stale" if value.server - value.source > most * _TICKS else ""


def data_value(target: Target, requests: Sequence[bytes], point: Point | Watch, answers: Sequence[bytes]) -> DataValue:
    """All that the last answer says of a point's node. Raises KeyError and NoValue as `locate`, but for what it says."""
    return _found(target, requests, point, answers)[1]


def _found(target: Target, requests: Sequence[bytes], point: Point | Watch, answers: Sequence[bytes]) -> tuple[int, DataValue]:
    """The last answer to a request that asks for a point's node, and what it says of that node."""
    name = node_name(_at(point).node)
    why: NoValue | None = None
    for index in reversed(range(min(len(requests), len(answers)))):
        if not requests[index] or not answers[index]:
            continue
        try:
            if len(nodes_of(requests[index])) != len(values_in(answers[index])):
                continue
            place = _place(target, name, places_in(requests[index]), answers[index])
        except BadFrame:
            continue
        except NoValue as error:
            why = why or error  # an older answer, or another part of a Read, may hold it all the same
            continue
        if place is not None:
            return index, values_in(answers[index])[place]
    if why:
        raise why
    raise KeyError(_("no request asks for {node}", node=_at(point).node))


def node_of(point: Point) -> NodeId:
    """The node of a point, its namespace by its address."""
    return _node(node_name(_at(point).node))


def place_of(target: Target, point: Point, places: Mapping[NodeId, int], answer: bytes) -> int | None:
    """Where a point's node stands among `places`, by the tables in the answer; None where it is not there.

    Raises:
        NoValue: `other_server`, `no_namespace`, `namespace_moved`.
        BadFrame: the answer is malformed.
    """
    return _place(target, node_name(_at(point).node), places, answer)


def _place(target: Target, name: NodeName, places: Mapping[NodeId, int], answer: bytes) -> int | None:
    """Where a node stands in an answer, by the table of namespaces in it; None where it was not asked for."""
    server = server_in(answer)
    if target.server and server is not None and server != target.server:
        raise NoValue("other_server")
    if not name.uri:
        return places.get(_node(name))
    table = namespaces_in(answer) or ()
    if name.uri not in table:
        raise NoValue("no_namespace")
    found = places.get(NodeId(table.index(name.uri), name.kind, name.identifier))
    if found is None and any(_alike(node, name) and node.namespace != 0 for node in places):
        raise NoValue("namespace_moved")
    return found


def _alike(node: NodeId, name: NodeName) -> bool:
    return (node.kind, node.identifier) == (name.kind, name.identifier)


def _source(answer: bytes, value: Variant, at: OpcuaAt, text: bool) -> str:
    """Offset and encoding of a value, or of the element of a list that the point names."""
    if at.type is not None and TYPES.get(value.type) != at.type:
        raise NoValue("other_type")
    if value.dimensions > 1 or (value.type not in _NUMBERS and value.type != STRING):
        raise NoValue("unsupported_type")
    if (value.count is None) != (at.index is None):
        raise NoValue("not_a_list") if value.count is None else NoValue("list_of_values")
    if value.count is not None and not 0 <= cast("int", at.index) < value.count:
        raise NoValue("no_such_element")
    first, length = _element(answer, value, at.index or 0)
    if first + max(length, 0) > _LAST_OFFSET:
        raise NoValue("too_long")
    if value.type != STRING:
        if value.type == _BOOLEAN and answer[first] > 1:
            raise NoValue("bad_digits")
        return f"{first}:{_NUMBERS[value.type][0]}"
    if length < 1:
        raise NoValue("no_value")
    if length > (_LONGEST_TEXT if text else _LONGEST_NUMBER):
        raise NoValue("bad_text") if text else NoValue("bad_digits")
    return f"{first}:{'ascii' if text else 'dec'}{length}"


def _element(answer: bytes, value: Variant, index: int) -> tuple[int, int]:
    """Offset and length of an element; of a text its characters, and a length of -1 where it is null."""
    if value.type != STRING:
        length = _NUMBERS[value.type][1]
        return value.first + index * length, length
    reader = Reader(answer, value.first)
    try:
        for _unused in range(index):
            reader.string()
        length = reader.signed(4)
    except Malformed:  # has been read before: it is not
        raise NoValue("no_value") from None
    return reader.at, length
