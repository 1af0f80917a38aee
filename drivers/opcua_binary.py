"""OPC UA binary encoding, as far as reading values needs it (OPC 10000-6, clause 5.2). Pure, and nobody else's code.

Everything is low byte first. What is read here, with where it stands in the bytes:

    NodeId      encoding byte, then namespace index and identifier of that encoding            (5.2.2.9)
    DataValue   mask byte, then value, status, source time, picoseconds, server time, picoseconds (5.2.2.17)
    Variant     type byte (bit 7 array, bit 6 dimensions), then the value or Int32 count and elements (5.2.2.16)
    String      Int32 length, then UTF-8; -1 is null                                            (5.2.2.4)

Every length is held against the bytes that are there, nesting ends at 100 levels, and what is no such encoding
raises `Malformed`: nothing is guessed.

What this file does not know: requests, meters, and what a status means.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

from config.language import _

DEEPEST = 100  # levels of nesting that a decoder bears, 5.2.2.16

# Built-in types, 5.1.2; the numbers of those with a fixed length and what they are called in a model file.
TYPES = {
    1: "Boolean", 2: "SByte", 3: "Byte", 4: "Int16", 5: "UInt16", 6: "Int32", 7: "UInt32", 8: "Int64", 9: "UInt64",
    10: "Float", 11: "Double", 12: "String", 13: "DateTime", 14: "Guid", 15: "ByteString", 16: "XmlElement", 17: "NodeId",
    18: "ExpandedNodeId", 19: "StatusCode", 20: "QualifiedName", 21: "LocalizedText", 22: "ExtensionObject",
    23: "DataValue", 24: "Variant", 25: "DiagnosticInfo",
}  # fmt: skip
STRING = 12
_LAST_RESERVED = 31  # 26 to 31 are read as a ByteString, 5.2.2.16
_LENGTHS = {1: 1, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 4, 8: 8, 9: 8, 10: 4, 11: 8, 13: 8, 14: 16, 19: 4}
_ARRAY, _DIMENSIONS = 0x80, 0x40


class Malformed(ValueError):
    """Bytes that are not what they should be; its text says what and where."""


@dataclass(frozen=True, slots=True)
class NodeId:
    """A node's name: namespace, kind of identifier and identifier.

    Attributes:
        namespace: its index in the server's table, or its URI where that was sent with it.
        kind: `i` number, `s` text, `g` GUID, `b` bytes.
        identifier: the number, or the bytes as they are sent.
    """

    namespace: int | str
    kind: str
    identifier: int | bytes


@dataclass(frozen=True, slots=True)
class Variant:
    """Where a value stands.

    Attributes:
        type: number of its built-in type; 0 for none.
        first: offset of the value, or of the first element.
        end: offset behind the last byte of the value or of the elements.
        count: how many elements; None where it is no array, -1 where the array is null.
        dimensions: how many; 1 for a plain array, 0 where it is none.
    """

    type: int
    first: int
    end: int
    count: int | None = None
    dimensions: int = 0


@dataclass(frozen=True, slots=True)
class DataValue:
    """One answered node: what was sent of it, and where its value stands.

    Attributes:
        value: None where none was sent.
        status: the status code; 0 (Good) where none was sent.
        source, server: times in steps of 100 ns since 1601, UTC; None where none was sent.
        start, end: its place in the bytes.
    """

    value: Variant | None
    status: int
    source: int | None
    server: int | None
    start: int
    end: int


class Reader:
    """Reads bytes from left to right. Every method raises `Malformed` where the bytes are not what is asked for."""

    def __init__(self, data: bytes, at: int = 0) -> None:
        self.data = data
        self.at = at

    def take(self, length: int) -> bytes:
        """So many bytes."""
        if length < 0 or self.at + length > len(self.data):
            raise Malformed(
                _("{length} bytes are missing at byte {at} of {data}", length=length, at=self.at, data=len(self.data))
            )
        self.at += length
        return self.data[self.at - length : self.at]

    def unsigned(self, length: int) -> int:
        """An unsigned number of so many bytes."""
        return int.from_bytes(self.take(length), "little")

    def signed(self, length: int) -> int:
        """A signed number of so many bytes."""
        return int.from_bytes(self.take(length), "little", signed=True)

    def end(self) -> None:
        """Nothing may follow."""
        if self.at != len(self.data):
            raise Malformed(_("{data} bytes too many at byte {at}", data=len(self.data) - self.at, at=self.at))

    def count(self, least: int) -> int:
        """The length of an array whose elements have at least so many bytes; -1 is null."""
        number = self.signed(4)
        if number < -1 or number * least > len(self.data) - self.at:
            raise Malformed(
                _("an array of {number} elements at byte {at} of {data}", number=number, at=self.at - 4, data=len(self.data))
            )
        return number

    def string(self) -> bytes | None:
        """The bytes of a String or ByteString, None for null."""
        length = self.signed(4)
        if length < -1:
            raise Malformed(_("a text of {length} bytes at byte {at}", length=length, at=self.at - 4))
        return None if length < 0 else self.take(length)

    def node_id(self) -> NodeId:
        """A NodeId without flags, 5.2.2.9."""
        return self._node_id(self.unsigned(1))

    def expanded_node_id(self) -> NodeId:
        """An ExpandedNodeId, 5.2.2.10: the namespace is its URI where that was sent."""
        encoding = self.unsigned(1)
        found = self._node_id(encoding & 0x3F)
        if encoding & 0x80:
            uri = self.string()
            found = NodeId(_text(uri or b""), found.kind, found.identifier)
        if encoding & 0x40:
            self.unsigned(4)
        return found

    def _node_id(self, encoding: int) -> NodeId:
        if encoding == 0:
            return NodeId(0, "i", self.unsigned(1))
        if encoding == 1:
            return NodeId(self.unsigned(1), "i", self.unsigned(2))
        if encoding not in (2, 3, 4, 5):
            raise Malformed(_("a node id of encoding {encoding} at byte {at}", encoding=encoding, at=self.at - 1))
        namespace = self.unsigned(2)
        if encoding == 2:
            return NodeId(namespace, "i", self.unsigned(4))
        if encoding == 4:
            return NodeId(namespace, "g", self.take(16))
        return NodeId(namespace, "s" if encoding == 3 else "b", self.string() or b"")

    def variant(self, depth: int = 0) -> Variant:
        """A Variant, 5.2.2.16; what follows it comes next."""
        encoding = self.unsigned(1)
        kind = encoding & 0x3F
        if kind > _LAST_RESERVED or (encoding & _DIMENSIONS and not encoding & _ARRAY) or (encoding and not kind):
            raise Malformed(_("a value of type {encoding:#04x} at byte {at}", encoding=encoding, at=self.at - 1))
        if not encoding & _ARRAY:
            first = self.at
            if kind:
                self.skip(kind, depth)
            return Variant(kind, first, self.at)
        count = self.count(_LENGTHS.get(kind, 1))
        first = self.at
        if kind in _LENGTHS:
            self.take(max(count, 0) * _LENGTHS[kind])
        else:
            for _unused in range(count):
                self.skip(kind, depth)
        end = self.at
        return Variant(kind, first, end, count, self._dimensions(count) if encoding & _DIMENSIONS else 1)

    def _dimensions(self, count: int) -> int:
        """How many dimensions an array of `count` elements is said to have."""
        found = [self.signed(4) for _unused in range(self.count(4))]
        product = 1
        for length in found:
            product *= max(length, 0)
        if found and product != max(count, 0):
            raise Malformed(_("an array of {count} elements in dimensions {found}", count=count, found=found))
        return max(len(found), 1)

    def data_value(self, depth: int = 0) -> DataValue:
        """A DataValue, 5.2.2.17."""
        start = self.at
        mask = self.unsigned(1)
        if mask & 0xC0:
            raise Malformed(_("a value with mask {mask:#04x} at byte {start}", mask=mask, start=start))
        value = self.variant(depth) if mask & 0x01 else None
        status = self.unsigned(4) if mask & 0x02 else 0
        source = self.signed(8) if mask & 0x04 else None
        self.take(2 if mask & 0x10 else 0)
        server = self.signed(8) if mask & 0x08 else None
        self.take(2 if mask & 0x20 else 0)
        return DataValue(value, status, source, server, start, self.at)

    def skip(self, kind: int, depth: int = 0) -> None:
        """Goes behind a value of a built-in type."""
        if kind in _LENGTHS:
            self.take(_LENGTHS[kind])
        elif depth >= DEEPEST:
            raise Malformed(_("nested deeper than {deepest} levels at byte {at}", deepest=DEEPEST, at=self.at))
        else:
            _SKIPPED.get(kind, _skip_string)(self, depth + 1)

    def diagnostic_info(self, depth: int = 0) -> None:
        """Goes behind a DiagnosticInfo, 5.2.2.12."""
        if depth >= DEEPEST:
            raise Malformed(_("nested deeper than {deepest} levels at byte {at}", deepest=DEEPEST, at=self.at))
        mask = self.unsigned(1)
        if mask & 0x80:
            raise Malformed(_("a diagnosis with mask {mask:#04x} at byte {at}", mask=mask, at=self.at - 1))
        self.take(4 * (mask & 0x0F).bit_count())
        if mask & 0x10:
            self.string()
        if mask & 0x20:
            self.take(4)
        if mask & 0x40:
            self.diagnostic_info(depth + 1)

    def extension_object(self) -> None:
        """Goes behind an ExtensionObject, 5.2.2.15."""
        self.node_id()
        encoding = self.unsigned(1)
        if encoding > 2:
            raise Malformed(_("a structure of encoding {encoding} at byte {at}", encoding=encoding, at=self.at - 1))
        if encoding:
            self.string()


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise Malformed(_("a text that is no UTF-8")) from None


def _skip_string(reader: Reader, depth: int) -> None:
    reader.string()


def _skip_qualified_name(reader: Reader, depth: int) -> None:
    reader.take(2)
    reader.string()


def _skip_localized_text(reader: Reader, depth: int) -> None:
    mask = reader.unsigned(1)
    if mask & ~0x03:
        raise Malformed(_("a text with mask {mask:#04x} at byte {at}", mask=mask, at=reader.at - 1))
    for bit in (0x01, 0x02):
        if mask & bit:
            reader.string()


_SKIPPED: dict[int, Callable[[Reader, int], object]] = {
    17: lambda reader, depth: reader.node_id(),
    18: lambda reader, depth: reader.expanded_node_id(),
    20: _skip_qualified_name,
    21: _skip_localized_text,
    22: lambda reader, depth: reader.extension_object(),
    23: lambda reader, depth: reader.data_value(depth),
    24: lambda reader, depth: reader.variant(depth),
    25: lambda reader, depth: reader.diagnostic_info(depth),
}


def texts(data: bytes, value: Variant) -> list[str]:
    """The texts of an array of Strings; null ones are empty.

    Raises:
        Malformed: it is no such array.
    """
    if value.type != STRING or value.count is None:
        raise Malformed(_("no list of texts"))
    reader = Reader(data, value.first)
    return [_text(reader.string() or b"") for _unused in range(value.count)]


def encoded_string(text: bytes | None) -> bytes:
    """A String or ByteString as it is sent."""
    return struct.pack("<i", -1) if text is None else struct.pack("<i", len(text)) + text


def encoded_node_id(node: NodeId, namespace: int) -> bytes:
    """A NodeId in its shortest encoding, with a numeric namespace index."""
    if isinstance(node.identifier, bytes):
        encoding = {"s": 3, "g": 4, "b": 5}[node.kind]
        body = node.identifier if node.kind == "g" else encoded_string(node.identifier)
        return struct.pack("<BH", encoding, namespace) + body
    if namespace == 0 and node.identifier <= 0xFF:
        return bytes([0, node.identifier])
    if namespace <= 0xFF and node.identifier <= 0xFFFF:
        return struct.pack("<BBH", 1, namespace, node.identifier)
    return struct.pack("<BHI", 2, namespace, node.identifier)
