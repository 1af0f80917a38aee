"""The Read service of OPC UA as evidence: what one meter asked for and got, cut out of a Read that served many. Pure.

A meter's *request* is an array of ReadValueId as it is sent, its *answer* the array of DataValue with the same places,
as it was received (OPC 10000-4, 5.10.2; OPC 10000-6, 5.2.5):

    request   Int32 count, then of each node: NodeId, Int32 13 (Value), String -1, QualifiedName 0 -1
    answer    Int32 count, then of each node: a DataValue, byte by byte as it came

The first node is always i=2255 (Server_NamespaceArray), the second i=2254 (Server_ServerArray): namespace numbers mean
something only by the table that came in the same answer. Nothing is ever encoded anew.

Before a connection is there, nobody knows the numbers of namespaces. A request in its *portable form* has
ExpandedNodeIds with the namespace's URI in their place (OPC 10000-6, 5.2.2.10); `resolved` turns it into the form
that is sent.

What this file does not know: sessions and channels (`drivers.opcua_session`), meters.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from config.language import _
from config.opcua import STANDARD
from drivers.errors import BadFrame, Refused
from drivers.opcua_binary import DataValue, Malformed, NodeId, Reader, encoded_node_id, encoded_string, texts
from drivers.opcua_status import cause_of, is_bad

VALUE_ATTRIBUTE = 13
LONGEST_ANSWER = 100_000  # in hexadecimal and with the request it still fits into a record
NAMESPACE_ARRAY, SERVER_ARRAY = NodeId(0, "i", 2255), NodeId(0, "i", 2254)
TABLES = 2  # so many nodes in front of a meter's own
_PARSED = 16  # all points of a meter are looked for in the same few answers, one after the other
_READ_RESPONSE, _SERVICE_FAULT = NodeId(0, "i", 634), NodeId(0, "i", 397)
_BEHIND_NODE = struct.pack("<IiHi", VALUE_ATTRIBUTE, -1, 0, -1)


# --- requests -----------------------------------------------------------------------------------------------


def portable(nodes: Sequence[NodeId]) -> bytes:
    """A request in its portable form: the two tables, then these nodes, whose namespaces are URIs (0 for the standard's)."""
    made = [encoded_node_id(node, 0) for node in (NAMESPACE_ARRAY, SERVER_ARRAY)]
    made += [_expanded(node) for node in nodes]
    return struct.pack("<i", len(made)) + b"".join(node + _BEHIND_NODE for node in made)


def _expanded(node: NodeId) -> bytes:
    if not isinstance(node.namespace, str):
        return encoded_node_id(node, node.namespace)
    plain = encoded_node_id(node, 0)
    return bytes([plain[0] | 0x80]) + plain[1:] + encoded_string(node.namespace.encode("utf-8"))


def resolved(request: bytes, namespaces: Sequence[str]) -> bytes:
    """A request as it is sent to a server with this table of namespaces; one that is in that form already stays as it is.

    Nodes in namespaces that the server does not have are left out: they are said to have no value, by the table in
    the answer.

    Raises:
        BadFrame: the bytes are no request.
    """
    number = {uri: index for index, uri in reversed(list(enumerate(namespaces)))} | {STANDARD: 0}
    made = []
    for node in nodes_of(request):
        if not isinstance(node.namespace, str):
            made.append(encoded_node_id(node, node.namespace))
        elif node.namespace in number:
            made.append(encoded_node_id(node, number[node.namespace]))
    return struct.pack("<i", len(made)) + b"".join(node + _BEHIND_NODE for node in made)


@lru_cache(maxsize=_PARSED)
def nodes_of(request: bytes) -> tuple[NodeId, ...]:
    """The nodes that a request names, in either form, the two tables first.

    Raises:
        BadFrame: `bad_request`: the bytes are no request.
    """
    reader = Reader(request)
    try:
        found = tuple(_read_value_id(reader) for _unused in range(max(reader.count(len(_BEHIND_NODE)), 0)))
        reader.end()
    except Malformed as error:
        raise BadFrame("bad_request", _("the request is no list of nodes: {error}", error=error)) from None
    if found[:TABLES] != (NAMESPACE_ARRAY, SERVER_ARRAY):
        raise BadFrame("bad_request", _("the request does not begin with the server's two tables"))
    return found


@lru_cache(maxsize=_PARSED)
def places_in(request: bytes) -> Mapping[NodeId, int]:
    """Where each of a meter's own nodes stands in a request and its answer. Raises BadFrame as `nodes_of`."""
    return {node: place for place, node in enumerate(nodes_of(request)) if place >= TABLES}


def _read_value_id(reader: Reader) -> NodeId:
    node = reader.expanded_node_id()
    if reader.take(len(_BEHIND_NODE)) != _BEHIND_NODE:
        raise Malformed(_("something else than a whole value is asked for"))
    return node


def divided(request: bytes, most: int) -> list[bytes]:
    """A request as it is sent in requests of at most `most` nodes each (0: any number), all with the two tables in front."""
    nodes = [encoded_node_id(node, _index(node)) + _BEHIND_NODE for node in nodes_of(request)]
    room = max(1, most - TABLES) if most else len(nodes)
    if len(nodes) - TABLES <= room:
        return [request]
    starts = range(TABLES, len(nodes), room)
    parts = [nodes[:TABLES] + nodes[start : start + room] for start in starts]
    return [struct.pack("<i", len(part)) + b"".join(part) for part in parts]


@dataclass(frozen=True, slots=True)
class Batch:
    """Requests that one Read serves.

    Attributes:
        nodes: the ReadValueIds of the Read, encoded, without repetition.
        places: for each request where its nodes stand among them.
        requests: the requests, as each is sealed.
    """

    nodes: tuple[bytes, ...]
    places: tuple[tuple[int, ...], ...]
    requests: tuple[bytes, ...]

    @property
    def array(self) -> bytes:
        """The NodesToRead of the ReadRequest as they are sent."""
        return struct.pack("<i", len(self.nodes)) + b"".join(self.nodes)

    def answers(self, values: Sequence[bytes]) -> list[bytes]:
        """What each request got, of the DataValues that the Read brought.

        Raises:
            BadFrame: `wrong_length`: they are not as many as were asked for.
        """
        if len(values) != len(self.nodes):
            raise BadFrame(
                "wrong_length",
                _("the server answered {values} of {nodes} nodes", values=len(values), nodes=len(self.nodes)),
            )
        return [struct.pack("<i", len(places)) + b"".join(values[place] for place in places) for places in self.places]


def batches(requests: Iterable[bytes], most: int) -> list[Batch]:
    """The fewest Reads of at most `most` nodes (the server's MaxNodesPerRead; 0: any number) that serve all requests, in order.

    A request is never divided: one that alone has more nodes gets a Read of its own, and the server's refusal.

    Args:
        requests: as they are sent (`resolved`).
        most: the server's MaxNodesPerRead.
    """
    made: list[Batch] = []
    nodes: dict[bytes, int] = {}
    places: list[tuple[int, ...]] = []
    taken: list[bytes] = []
    for request in requests:
        wanted = [encoded_node_id(node, _index(node)) + _BEHIND_NODE for node in nodes_of(request)]
        if taken and most and len(nodes.keys() | set(wanted)) > most:
            made.append(Batch(tuple(nodes), tuple(places), tuple(taken)))
            nodes, places, taken = {}, [], []
        places.append(tuple(nodes.setdefault(node, len(nodes)) for node in wanted))
        taken.append(request)
    if taken:
        made.append(Batch(tuple(nodes), tuple(places), tuple(taken)))
    return made


def _index(node: NodeId) -> int:
    if isinstance(node.namespace, str):
        raise BadFrame("bad_request", _("the namespace {namespace} has no number yet", namespace=node.namespace))
    return node.namespace


# --- answers ------------------------------------------------------------------------------------------------


def read_response(body: bytes) -> list[bytes]:
    """The DataValues of a ReadResponse as they were received, each one's bytes.

    Args:
        body: the decrypted message from its type id on (OPC 10000-6, 5.2.9).

    Raises:
        Refused: the server answered with a service fault or a bad service result; the cause is its status.
        BadFrame: `wrong_format`: the bytes are no ReadResponse.
    """
    reader = Reader(body)
    try:
        service_result(reader, _READ_RESPONSE)
        found = [reader.data_value() for _unused in range(max(reader.count(1), 0))]
        for _unused in range(reader.count(1)):
            reader.diagnostic_info()
        reader.end()
    except Malformed as error:
        raise BadFrame("wrong_format", _("the answer is no ReadResponse: {error}", error=error)) from None
    return [body[value.start : value.end] for value in found]


def service_result(reader: Reader, expected: NodeId) -> None:
    """Goes behind the ResponseHeader (OPC 10000-4, 7.33) of an answer.

    Raises:
        Malformed: the answer is of another type than `expected`.
        Refused: its status is a no.
    """
    kind = reader.node_id()
    if kind not in (expected, _SERVICE_FAULT):
        raise Malformed(_("the message is of type {identifier!r}", identifier=kind.identifier))
    reader.take(8 + 4)  # when, and the number of the request
    result = reader.unsigned(4)
    reader.diagnostic_info()
    for _unused in range(reader.count(4)):
        reader.string()
    reader.extension_object()
    if kind == _SERVICE_FAULT or is_bad(result):
        cause = cause_of(result) or "bad_service_fault"
        raise Refused(cause, _("the server refused the request: {cause}", cause=cause))


@lru_cache(maxsize=_PARSED)
def values_in(answer: bytes) -> tuple[DataValue, ...]:
    """What an answer says of each node, in the order of the request.

    Raises:
        BadFrame: `wrong_format`: the bytes are no array of DataValue.
    """
    reader = Reader(answer)
    try:
        found = tuple(reader.data_value() for _unused in range(max(reader.count(1), 0)))
        reader.end()
    except Malformed as error:
        raise BadFrame("wrong_format", _("the answer is no list of values: {error}", error=error)) from None
    return found


@lru_cache(maxsize=_PARSED)
def namespaces_in(answer: bytes) -> tuple[str, ...] | None:
    """The server's table of namespaces in a meter's answer; None where the server does not tell it.

    Raises:
        BadFrame: `wrong_format`: the bytes are no answer.
    """
    return _table(answer, values_in(answer), 0)


@lru_cache(maxsize=_PARSED)
def server_in(answer: bytes) -> str | None:
    """The server's application URI in a meter's answer, the first of its ServerArray; None where it does not tell it.

    Raises:
        BadFrame: `wrong_format`: the bytes are no answer.
    """
    found = _table(answer, values_in(answer), 1)
    return found[0] if found else None


def _table(answer: bytes, values: Sequence[DataValue], place: int) -> tuple[str, ...] | None:
    if place >= len(values):
        raise BadFrame("wrong_format", _("the answer lacks the server's tables"))
    value = values[place]
    if value.value is None or value.value.type == 0 or is_bad(value.status):
        return None
    try:
        return tuple(texts(answer, value.value))
    except Malformed as error:
        raise BadFrame("wrong_format", _("the server's table is {error}", error=error)) from None
