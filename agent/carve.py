"""Finding records in the bytes of a file that SQLite cannot read any more.

A record of up to about 4000 bytes lies whole in one page of the file or its WAL. Whether one that is found is what was sealed,
its hash tells whoever asked.

A packed block lies in a page and a chain of further ones, by the file format of SQLite (sqlite.org/fileformat2.html, sections
1.5 and 1.6): in front of it the cell's head, from which its length follows, then as much of it as the page holds, the number
of the next page, and in each further page first the number of the next.

What this file does not know: longer records, which lie in several pages, and blocks that are in the WAL only, are not found.
"""

from __future__ import annotations

import json
import mmap
import re
from collections.abc import Iterator
from pathlib import Path

from agent.ledger_tables import PAGE
from agent.record import LONGEST

NUMBER = re.compile(rb'"meterseal":1,"n":([0-9]{1,16}),')
_BEFORE = 8192
_DECODER = json.JSONDecoder()
_XZ = b"\xfd7zXZ\x00\x00\x04"  # an xz file with CRC-64
_LONGEST_HEAD = 5


def carved(path: Path) -> Iterator[tuple[int, bytes]]:
    """What looks like a record in a ledger's file and its WAL, each with its number, in no order; some more than once."""
    for each in (path, path.with_name(f"{path.name}-wal")):
        if each.is_file() and each.stat().st_size:
            with each.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                for mark in NUMBER.finditer(data):
                    payload = _around(data, mark.start())
                    if payload:
                        yield int(mark[1]), payload


def _around(data: mmap.mmap, mark: int) -> bytes | None:
    """The object around a mark: of all that begin before it, the first one in whose own keys the mark is."""
    floor, begin = max(0, mark - _BEFORE), mark
    while (begin := data.rfind(b'{"', floor, begin)) >= 0:
        text = data[begin : begin + min(LONGEST, 65_536)].decode("utf-8", "replace")
        try:
            found, length = _DECODER.raw_decode(text)
        except (ValueError, RecursionError):
            continue
        payload = text[:length].encode("utf-8", "replace")
        if begin + len(payload) > mark and isinstance(found, dict) and "meterseal" in found:
            return payload
    return None


def carved_blocks(path: Path) -> Iterator[bytes]:
    """What looks like a packed block in a ledger's file, as much of it as is there; in no order, some more than once."""
    if path.is_file() and path.stat().st_size:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            at = -1
            while (at := data.find(_XZ, at + 1)) >= 0:
                head, length = _head_of(data[max(0, at - _LONGEST_HEAD - 1) : at])
                if head:
                    yield _chain(data, at, head, length)


def _head_of(before: bytes) -> tuple[int, int]:
    """How long the head of a row is that ends here, and how long the blob behind it; 0, 0 where it is no row of the table.

    The head of (first, data): its own length, 0 for the key, which stands elsewhere, and 2 x length + 12 as a varint.
    """
    for head in range(3, _LONGEST_HEAD + 1):
        if before[-head : -head + 2] == bytes((head, 0)):
            kind = 0
            for byte in before[-head + 2 :]:
                kind = kind << 7 | byte & 0x7F
            if kind >= 12 and kind % 2 == 0:
                return head, (kind - 12) // 2
    return 0, 0


def _chain(data: mmap.mmap, at: int, head: int, length: int) -> bytes:
    """The blob that begins at a place of the file, page by page."""
    whole = head + length
    least = (PAGE - 12) * 32 // 255 - 23
    local = least + (whole - least) % (PAGE - 4)
    if whole <= PAGE - 35:
        return data[at : at + length]
    end = at - head + (local if local <= PAGE - 35 else least)
    blob, seen = data[at:end], set[int]()
    page = int.from_bytes(data[end : end + 4], "big")
    while len(blob) < length and page > 0 and page not in seen and page * PAGE <= len(data):
        seen.add(page)
        begin = (page - 1) * PAGE
        blob += data[begin + 4 : begin + PAGE]
        page = int.from_bytes(data[begin : begin + 4], "big")
    return blob[:length]
