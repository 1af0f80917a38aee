"""OPC UA in a model file and at a meter: which node of a server holds a value.

A node is written as OPC UA writes it, with the namespace's address and never with its number, since a server may
number its namespaces anew at every start: `nsu=http://plant.example/meters;s=Press1.Energy`. Only the standard's own
nodes go without: `i=2258`.

What this file does not know: bytes (`drivers.opcua`), connections, and what a status means (`drivers.opcua_status`).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator, Field

from config.language import N_, _
from config.map_rules import map_findings, points_findings
from config.mistake import Path, shown
from config.model import Declared, Finding, MeterModel, Place, Point, Watch
from config.scalar import Shape, Span, Whole

OpcuaType = Literal[
    "Boolean", "SByte", "Byte", "Int16", "UInt16", "Int32", "UInt32", "Int64", "UInt64", "Float", "Double", "String"
]

STANDARD = "http://opcfoundation.org/UA/"  # namespace 0 of every server
_NO_NODE = N_(
    "is not a node; write it as the server shows it, with nsu= and not ns=, such as nsu=http://plant.example/meters;s=Press1.Energy"
)
_NODE_HINT = N_("write it as the server shows it, with nsu= and not ns=, such as nsu=http://plant.example/meters;s=Press1.Energy")
_NODE = re.compile(r"(?:nsu=([^;\x00-\x1f\x7f]{1,400});)?([isgb])=([^\x00-\x1f\x7f]{1,400})")
_ESCAPED = {"%3B": ";", "%3b": ";", "%25": "%"}


@dataclass(frozen=True, slots=True)
class NodeName:
    """A node as it is declared.

    Attributes:
        uri: its namespace's address; empty for the standard's own.
        kind: `i` number, `s` text, `g` GUID, `b` bytes.
        identifier: the number, or the bytes as OPC UA sends them.
    """

    uri: str
    kind: str
    identifier: int | bytes


@lru_cache(maxsize=4096)
def node_name(text: str) -> NodeName:
    """The node that a text names, OPC 10000-6, 5.1.12 and 5.3.1.11.

    Raises:
        ValueError: it names none, in plain words.
    """
    found = _NODE.fullmatch(text)
    if not found:
        raise ValueError(_("{text} is not a node; {node_hint}", text=shown(text), node_hint=_(_NODE_HINT)))
    uri = re.sub("%3[Bb]|%25", lambda escaped: _ESCAPED[escaped[0]], found[1] or "")
    if not uri and found[2] != "i":
        raise ValueError(_("{text} has no namespace; {node_hint}", text=shown(text), node_hint=_(_NODE_HINT)))
    uri = "" if uri == STANDARD else uri
    try:
        return NodeName(uri, found[2], _identifier(found[2], found[3]))
    except ValueError:
        kinds = {"i": _("a number up to 4294967295"), "g": "a GUID", "b": _("bytes in base64")}
        raise ValueError(
            _("{text} is not a node: behind {found}= stands {kinds}", text=shown(text), found=found[2], kinds=kinds[found[2]])
        ) from None


def _identifier(kind: str, text: str) -> int | bytes:
    if kind == "i":
        if not re.fullmatch("0|[1-9][0-9]{0,9}", text) or int(text) > 0xFFFFFFFF:
            raise ValueError(text)
        return int(text)
    if kind == "g":
        if not re.fullmatch("[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", text):
            raise ValueError(text)
        return UUID(text).bytes_le
    if kind == "b":
        try:
            return base64.b64decode(text, validate=True)
        except binascii.Error:
            raise ValueError(text) from None
    return text.encode("utf-8")


def _node(text: str) -> str:
    node_name(text)
    return text


class OpcuaAt(Place):
    """Where an OPC UA server keeps a value: a node."""

    node: Annotated[str, Shape(r"[^\x00-\x1f\x7f]{1,820}", _NO_NODE), AfterValidator(_node)]
    """The node, such as nsu=http://plant.example/meters;s=Press1.Energy; `meterseal browse` shows it."""
    type: OpcuaType | None = None
    """The type of its value, such as Double. One that changes is refused; unless said, any number is taken."""
    index: Annotated[Whole, Field(ge=0, le=65535)] | None = None
    """Which element of a list, counted from 0; only where the node holds a list."""


class OpcuaPoint(Point):
    """One quantity of a meter behind an OPC UA server and the node it is read from."""

    at: OpcuaAt
    """Where the server keeps it."""
    max_age: Span | None = None
    """How old the server's value may be, such as 10m, by the server's own two times; an older one is marked uncertain."""


class OpcuaWatch(Watch):
    """A node that identifies the meter or that changes what its counters mean."""

    at: OpcuaAt
    """Where it stands."""


class OpcuaLimits(Declared):
    """How a meter behind an OPC UA server is read."""

    max_nodes: Annotated[Whole, Field(ge=1, le=1000)] = 200
    """The most nodes of this meter that are asked for at once."""
    timeout_ms: Annotated[Whole, Field(ge=100, le=60_000)] = 5000
    """How long the server may take to answer, in milliseconds."""


class OpcuaModel(MeterModel):
    """The model of a meter behind an OPC UA server."""

    protocol: Literal["opcua"]
    """How it is spoken to: opcua."""
    opcua: OpcuaLimits = OpcuaLimits()
    """How it is read."""
    identity: tuple[OpcuaWatch, ...] = ()
    """Nodes that say which meter this is, such as its serial number."""
    attest: tuple[OpcuaWatch, ...] = ()
    """Nodes that change what its counters mean."""
    points: Annotated[tuple[OpcuaPoint, ...], Field(min_length=1)]
    """What it tells, and where."""


def opcua_address(text: str) -> str:
    """Empty: a meter behind a server has no address, its nodes name it. Raises ValueError for any other."""
    if text.strip():
        raise ValueError(_("a meter behind an OPC UA server has no address, its nodes name it; take address out"))
    return ""


def opcua_findings(model: OpcuaModel) -> Iterator[Finding]:
    """What is wrong with a whole model although each of its keys is well formed."""
    yield from map_findings(model)
    yield from _node_findings(model.points)


def own_nodes_findings(points: Sequence[OpcuaPoint]) -> Iterator[Finding]:
    """What is wrong with the points that a meter of a generic model brings along."""
    yield from points_findings(points)
    yield from _node_findings(points)


def _node_findings(points: Sequence[OpcuaPoint]) -> Iterator[Finding]:
    first: dict[tuple[NodeName, int | None], str] = {}
    for index, point in enumerate(points):
        path: Path = ("points", index, "at", "node")
        other = first.setdefault((node_name(point.at.node), point.at.index), point.quantity)
        if other != point.quantity:
            yield path, _("{other} is read from the same node already", other=other)
