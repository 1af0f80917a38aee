"""Changes that an OPC UA server tells by itself, as evidence: cut out of its Publish answers, byte by byte as they came. Pure.

The changes between two Reads are kept in the form of a Read (`drivers.opcua_read`), one place for each change:

    request   Int32 count, then i=2255, i=2254, then the node of each change, in order of arrival, as often as it changed
    answer    Int32 count, then the two tables as the reading's own Read brought them, then the DataValue of each change

So namespace numbers are judged by a table that the server told after the changes, and nothing is encoded anew.

What this file does not know: sessions and subscriptions (`drivers.opcua_subscribe`), records.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from config.language import _
from config.model import Point
from drivers import Target
from drivers.errors import BadFrame, Refused
from drivers.opcua import doubt_of, formula_of, node_of, place_of
from drivers.opcua_binary import Malformed, NodeId, Reader
from drivers.opcua_read import TABLES, nodes_of, portable, resolved, service_result, values_in
from drivers.opcua_status import cause_of, is_bad, overflowed

_PUBLISH_RESPONSE = NodeId(0, "i", 829)
_DATA_CHANGE, _STATUS_CHANGE = NodeId(0, "i", 811), NodeId(0, "i", 820)


@dataclass(frozen=True, slots=True)
class Published:
    """What a Publish answer brought.

    Attributes:
        subscription: of which subscription.
        sequence: the number of its message.
        notifications: how many it has; none: it is a sign of life.
        changes: of each change the number of what is watched, and the bytes of its DataValue.
    """

    subscription: int
    sequence: int
    notifications: int
    changes: tuple[tuple[int, bytes], ...]


@dataclass(frozen=True, slots=True)
class Watched:
    """A node whose changes are told.

    Attributes:
        node: its ReadValueId (`asked_for`).
        sampling_ms: how often the server looks at it.
        queue: so many changes it keeps until they are fetched; 2 at least.
    """

    node: bytes
    sampling_ms: int
    queue: int


@dataclass(frozen=True, slots=True)
class Told:
    """What is done with what a subscription brings.

    Attributes:
        begun: it has begun; of each node that was not taken its number and the cause.
        changed: a node's number and the bytes of its DataValue.
        goes_on: whether it is still the right one.
    """

    begun: Callable[[dict[int, str]], None]
    changed: Callable[[int, bytes], None]
    goes_on: Callable[[], bool]


def published(body: bytes) -> Published:
    """The changes in a PublishResponse (OPC 10000-4, 5.13.5 and 7.25), in their order.

    Args:
        body: the decrypted message from its type id on.

    Raises:
        Refused: the server said no, or that the subscription has ended; the cause is its status.
        BadFrame: `wrong_format`: the bytes are no PublishResponse.
    """
    reader = Reader(body)
    try:
        service_result(reader, _PUBLISH_RESPONSE)
        subscription = reader.unsigned(4)
        reader.take(4 * max(reader.count(4), 0) + 1)  # what it could send again, and whether more is coming
        sequence = reader.unsigned(4)
        reader.take(8)  # when
        changes: list[tuple[int, bytes]] = []
        notifications = max(reader.count(3), 0)
        for _unused in range(notifications):
            changes += _notification(reader)
        reader.take(4 * max(reader.count(4), 0))
        _diagnoses(reader)
        reader.end()
    except Malformed as error:
        raise BadFrame("wrong_format", _("the answer is no PublishResponse: {error}", error=error)) from None
    return Published(subscription, sequence, notifications, tuple(changes))


def _notification(reader: Reader) -> list[tuple[int, bytes]]:
    kind, encoding = reader.node_id(), reader.unsigned(1)
    end = reader.signed(4) + reader.at
    if encoding != 1 or kind not in (_DATA_CHANGE, _STATUS_CHANGE):
        raise Malformed(_("a notification of type {identifier!r}", identifier=kind.identifier))
    found: list[tuple[int, bytes]] = []
    if kind == _STATUS_CHANGE:
        status = reader.unsigned(4)
        reader.diagnostic_info()
        if is_bad(status):
            raise Refused(cause_of(status), _("the server has ended the subscription: {cause_of}", cause_of=cause_of(status)))
    else:
        for _unused in range(max(reader.count(5), 0)):
            number = reader.unsigned(4)
            value = reader.data_value()
            found.append((number, reader.data[value.start : value.end]))
        _diagnoses(reader)
    if reader.at != end:
        raise Malformed(_("a notification that ends at byte {at} instead of {end}", at=reader.at, end=end))
    return found


def _diagnoses(reader: Reader) -> None:
    for _unused in range(max(reader.count(1), 0)):
        reader.diagnostic_info()


def asked_for(point: Point, namespaces: Sequence[str]) -> bytes:
    """The ReadValueId of a point's node by a server's table of namespaces; empty where the server lacks its namespace."""
    empty = resolved(portable([]), namespaces)
    return resolved(portable([node_of(point)]), namespaces)[len(empty) :]


def framed(own: tuple[bytes, bytes], changes: Sequence[tuple[bytes, bytes]]) -> tuple[bytes, bytes]:
    """Changes as request and answer, behind the tables of a reading's own exchange.

    Args:
        own: request and good answer of the reading's own Read.
        changes: of each the ReadValueId (`asked_for`) and the DataValue.
    """
    count = struct.pack("<i", TABLES + len(changes))
    request = count + resolved(portable([]), ())[4:] + b"".join(node for node, _unused in changes)
    return request, count + tables_of(own[1]) + b"".join(value for _unused, value in changes)


def tables_of(answer: bytes) -> bytes:
    """The bytes of the two tables in front of an answer. Raises BadFrame."""
    values = values_in(answer)
    if len(values) < TABLES:
        raise BadFrame("wrong_format", _("the answer lacks the server's tables"))
    return answer[values[0].start : values[TABLES - 1].end]


def overflows(answer: bytes) -> int:
    """How many of the changes in an answer say that others before them were lost. Raises BadFrame."""
    return sum(overflowed(value.status) for value in values_in(answer)[TABLES:])


def has_overflowed(value: bytes) -> bool:
    """Whether a change's DataValue says that others before it were lost."""
    return overflowed(Reader(value).data_value().status)


def locate_change(target: Target, point: Point, request: bytes, answer: bytes, place: int) -> tuple[str, str]:
    """The formula of a point's change over the answer, and what the change itself says against its value.

    Args:
        target, point: whose change.
        request, answer: as `framed` made them.
        place: of the change, from 0.

    Raises:
        KeyError: the change is of another node.
        NoValue: as `drivers.opcua.locate`.
        BadFrame: request or answer is malformed.
    """
    node, value = nodes_of(request)[TABLES + place], values_in(answer)[TABLES + place]
    if place_of(target, point, {node: place}, answer) is None:
        raise KeyError(_("the change is not of {quantity}", quantity=point.quantity))
    return formula_of(target, point, 0, answer, value), doubt_of(point, value)
