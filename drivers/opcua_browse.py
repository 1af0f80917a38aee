"""What an OPC UA server holds, for a person who looks for the nodes to read: its endpoints, and the tree of its nodes.

The tree comes from the server and may be hostile or wrong: references go round in circles, a folder may hold a hundred
thousand nodes, names may be anything. Every node is shown once, so many of a folder and so many in all; texts are as
the server sent them, who shows them makes them harmless (`agent.findings.printable`).

Imported only by the verbs that look at a server.

What this file does not know: files, terminals, and what a person picks.
"""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

from asyncua import ua
from asyncua.client.ua_session import UaSession
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.object_ids import ObjectIds
from asyncua.ua.uaerrors import UaError

from config.language import _
from drivers.opcua_binary import TYPES
from drivers.opcua_connect import Connection, connected, drop, endpoints_of, first_certificate, why_down
from drivers.opcua_settings import ServerSettings

_IN_ONE_CALL = 100  # nodes asked about at once; servers that state a limit state more
_CIRCLES = (ObjectIds.HasProperty, ObjectIds.HasSubtype, ObjectIds.HasEncoding)
_UNIT = "EngineeringUnits"
_LONGEST_VALUE = 60
_SERVER = "i=2253"
_CLOSING_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of a tree is shown.

    Attributes:
        depth: so many levels below the first node.
        folder: so many nodes of each folder.
        all: so many nodes in all.
    """

    depth: int = 4
    folder: int = 100
    all: int = 2000


@dataclass(frozen=True, slots=True)
class Seen:
    """One node of a tree, as the server tells of it.

    Attributes:
        node: as site.yaml names it, such as `nsu=http://plant.example/meters;s=Press1.Energy`.
        name: its display name, else its browse name.
        depth: how far below the first node.
        type: of a variable's value, such as `Double` or `structure`; empty for what has no value.
        length: of a list; None where it is none.
        value: a variable's value as text.
        status: its status code; None where there is no value.
        unit_id, unit: the engineering unit's number (OPC 10000-8, 5.6.3) and the name that the server shows; 0 and empty: none.
        note: why what is below it is not shown.
    """

    node: str
    name: str
    depth: int
    type: str = ""
    length: int | None = None
    value: str = ""
    status: int | None = None
    unit_id: int = 0
    unit: str = ""
    note: str = ""


def node_text(node: ua.NodeId, namespaces: Sequence[str]) -> str:
    """A node as site.yaml names it: by its namespace's address, never by its number (OPC 10000-6, 5.1.12)."""
    kind = {ua.NodeIdType.String: "s", ua.NodeIdType.Guid: "g", ua.NodeIdType.ByteString: "b"}.get(node.NodeIdType, "i")
    held: Any = node.Identifier
    identifier = base64.b64encode(held).decode("ascii") if kind == "b" else str(held)
    if node.NamespaceIndex == 0:
        return f"{kind}={identifier}"
    known = node.NamespaceIndex < len(namespaces)
    uri = namespaces[node.NamespaceIndex] if known else f"urn:unknown-namespace-{node.NamespaceIndex}"
    return f"nsu={uri.replace('%', '%25').replace(';', '%3B')};{kind}={identifier}"


def node_of(text: str, namespaces: Sequence[str]) -> ua.NodeId:
    """The node that a text names on a server with these namespaces; also `ns=2;s=...`, as other programs show it.

    Raises:
        ValueError: it names none, or none of this server.
    """
    found = re.fullmatch(r"(?:nsu=([^;]+);)?((?:ns=[0-9]+;)?[isgb]=.+)", text, re.DOTALL)
    if not found:
        raise ValueError(_("{text} is not a node; write it as `meterseal browse` shows it", text=text))
    try:
        node = ua.NodeId.from_string(found[2])
    except (UaError, ValueError):
        raise ValueError(_("{text} is not a node; write it as `meterseal browse` shows it", text=text)) from None
    if found[1] is None:
        return node
    uri = found[1].replace("%3B", ";").replace("%3b", ";").replace("%25", "%")
    if uri not in namespaces:
        raise ValueError(_("the server has no namespace {uri}", uri=uri))
    return ua.NodeId(node.Identifier, ua.Int16(namespaces.index(uri)), node.NodeIdType)


async def tree(session: UaSession, namespaces: Sequence[str], under: ua.NodeId, limits: Limits) -> list[Seen]:
    """The nodes below one, from top to bottom, each before those below it.

    The server's own object, which tells of itself, is left out unless it is asked for.

    Raises:
        UaError, OSError, TimeoutError: the session broke.
    """
    walk = _Walk(session, namespaces, limits)
    await walk.below(under, 0)
    return walk.seen


async def looked_at(session: UaSession, namespaces: Sequence[str], nodes: Sequence[ua.NodeId]) -> list[Seen]:
    """These nodes alone, with value and unit, in order. Raises as `tree` does."""
    walk = _Walk(session, namespaces, Limits())
    return await walk.described([(node, "", ua.NodeClass.Variable) for node in nodes], 0)


class _Walk:
    def __init__(self, session: UaSession, namespaces: Sequence[str], limits: Limits) -> None:
        self.session = session
        self.namespaces = namespaces
        self.limits = limits
        self.seen: list[Seen] = []
        self.visited: set[ua.NodeId] = set()

    async def below(self, node: ua.NodeId, depth: int) -> None:
        self.visited.add(node)
        references, more = await self._references(node)
        entries = [(each.NodeId, _name(each), each.NodeClass) for each in references]
        for entry, described in zip(entries, await self.described(entries, depth), strict=True):
            if len(self.seen) >= self.limits.all:
                return
            await self._enter(entry[0], described, depth)
        if more:
            note = _("more than {folder} nodes in this folder", folder=self.limits.folder)
            self.seen.append(Seen("", "...", depth, note=note))

    async def _enter(self, node: ua.NodeId, described: Seen, depth: int) -> None:
        if node in self.visited:
            self.seen.append(replace(described, note=_("shown already")))
        elif described.node == _SERVER:
            self.seen.append(replace(described, note=_("the server itself")))
        elif depth + 1 < self.limits.depth:
            self.seen.append(described)
            await self.below(node, depth + 1)
        else:
            self.visited.add(node)
            deeper = not described.type and bool((await self._references(node))[0])
            self.seen.append(replace(described, note=_("more below")) if deeper else described)

    async def _references(self, node: ua.NodeId) -> tuple[list[Any], bool]:
        """What a node holds, at most so many, and whether there is more."""
        asked = ua.BrowseParameters()
        asked.RequestedMaxReferencesPerNode = self.limits.folder
        asked.NodesToBrowse = [_downwards(node, ObjectIds.HierarchicalReferences)]
        (result,) = await self.session.browse(asked)
        if result.ContinuationPoint:
            release = ua.BrowseNextParameters(ReleaseContinuationPoints=True, ContinuationPoints=[result.ContinuationPoint])
            await self.session.browse_next(release)
        unwanted = {ua.NodeId(ua.Int32(each)) for each in _CIRCLES}
        shown = [each for each in result.References or [] if each.ReferenceTypeId not in unwanted and each.NodeClass in _SHOWN]
        return shown[: self.limits.folder], bool(result.ContinuationPoint) or len(shown) > self.limits.folder

    async def described(self, entries: Sequence[tuple[ua.NodeId, str, Any]], depth: int) -> list[Seen]:
        """What is to be said of each node: of variables the value and its unit."""
        made = [Seen(node_text(node, self.namespaces), name, depth) for node, name, _unused in entries]
        variables = [place for place, entry in enumerate(entries) if entry[2] == ua.NodeClass.Variable]
        nodes = [entries[place][0] for place in variables]
        units = await self._units(nodes)
        values = await self._values(nodes)
        for place, value, unit in zip(variables, values, units, strict=True):
            made[place] = replace(made[place], **_told(value), unit_id=unit[0], unit=unit[1])
        return made

    async def _values(self, nodes: Sequence[ua.NodeId]) -> list[ua.DataValue]:
        made: list[ua.DataValue] = []
        for some in _pieces(nodes):
            asked = ua.ReadParameters(TimestampsToReturn=ua.TimestampsToReturn.Both)
            asked.NodesToRead = [ua.ReadValueId(NodeId=node, AttributeId=AttributeIds.Value) for node in some]
            made += await self.session.read(asked)
        return made

    async def _units(self, nodes: Sequence[ua.NodeId]) -> list[tuple[int, str]]:
        """Number and name of each node's engineering unit; 0 and empty for those without."""
        holders: dict[int, ua.NodeId] = {}
        for first, some in zip(range(0, len(nodes), _IN_ONE_CALL), _pieces(nodes), strict=False):
            asked = ua.BrowseParameters()
            asked.NodesToBrowse = [_downwards(node, ObjectIds.HasProperty) for node in some]
            for place, result in enumerate(await self.session.browse(asked)):
                for each in result.References or []:
                    if each.BrowseName.Name == _UNIT and each.BrowseName.NamespaceIndex == 0:
                        holders[first + place] = each.NodeId
        values = await self._values(list(holders.values()))
        read = {place: _unit_in(value) for place, value in zip(holders, values, strict=True)}
        return [read.get(place, (0, "")) for place in range(len(nodes))]


_SHOWN = (ua.NodeClass.Object, ua.NodeClass.Variable)


def _pieces(nodes: Sequence[ua.NodeId]) -> Iterator[Sequence[ua.NodeId]]:
    return (nodes[first : first + _IN_ONE_CALL] for first in range(0, len(nodes), _IN_ONE_CALL))


def _downwards(node: ua.NodeId, references: int) -> ua.BrowseDescription:
    return ua.BrowseDescription(
        NodeId=node,
        BrowseDirection=ua.BrowseDirection.Forward,
        ReferenceTypeId=ua.NodeId(ua.Int32(references)),
        IncludeSubtypes=True,
        NodeClassMask=0,
        ResultMask=ua.BrowseResultMask.All,
    )


def _name(reference: Any) -> str:
    return str(reference.DisplayName.Text or reference.BrowseName.Name or "")


def _unit_in(value: ua.DataValue) -> tuple[int, str]:
    held = value.Value.Value if value.Value is not None else None
    if isinstance(held, ua.EUInformation):
        return int(held.UnitId), str(held.DisplayName.Text or "")
    return 0, ""


def _told(value: ua.DataValue) -> dict[str, Any]:
    """Type, length, text and status of a value."""
    variant = value.Value
    status = value.StatusCode.value if value.StatusCode is not None else 0
    if variant is None or variant.VariantType == ua.VariantType.Null:
        return {"type": "nothing", "status": status}
    number = variant.VariantType.value
    name = "structure" if variant.VariantType == ua.VariantType.ExtensionObject else TYPES.get(number, f"type {number}")
    listed = variant.Value if variant.is_array else None
    text = ", ".join(map(str, listed)) if listed is not None else str(variant.Value)
    text = "" if name == "structure" else text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 3] + "..."
    return {"type": name, "length": None if listed is None else len(listed), "value": text, "status": status}


@dataclass(frozen=True, slots=True)
class Offer:
    """One endpoint of a server, as the server tells of it.

    Attributes:
        policy, mode: such as `Basic256Sha256` and `SignAndEncrypt`; `None` and `None`.
        certificate: the server's own, DER; empty where it shows none.
        server, name: its application URI and name.
        logins: how it lets clients in: `Anonymous`, `UserName`, `Certificate`.
    """

    policy: str
    mode: str
    certificate: bytes
    server: str
    name: str
    logins: tuple[str, ...]


async def offers(settings: ServerSettings) -> list[Offer]:
    """What a server offers to whoever asks (GetEndpoints, OPC 10000-4, 5.5.4); nothing of it is proven. Raises LinkDown."""
    try:
        return [_offer(each) for each in await endpoints_of(settings)]
    except (UaError, OSError) as error:
        raise why_down(settings, error) from None


@asynccontextmanager
async def looking(settings: ServerSettings) -> AsyncIterator[Connection]:
    """A server that was checked and logged in to, for as long as the block lasts. Raises LinkDown, also for what fails in it."""
    made = await connected(settings)
    try:
        yield made
    except (UaError, OSError) as error:
        raise why_down(settings, error, reading=True) from None
    finally:
        with suppress(Exception):  # one that does not answer any more is left without a word
            async with asyncio.timeout(_CLOSING_SECONDS):
                await made.client.close_session()
                await made.client.close_secure_channel()
        drop(made.client)


def _offer(told: Any) -> Offer:
    return Offer(
        str(told.SecurityPolicyUri or "").rpartition("#")[2],
        told.SecurityMode.name.rstrip("_"),
        first_certificate(told.ServerCertificate or b""),
        str(told.Server.ApplicationUri or ""),
        str(told.Server.ApplicationName.Text or ""),
        tuple(dict.fromkeys(each.TokenType.name for each in told.UserIdentityTokens or [])),
    )
