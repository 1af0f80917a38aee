"""Finding records in the bytes of a file that SQLite cannot read any more.

A record of up to about 4000 bytes lies whole in one page of the file or its WAL. Whether one that is found is what was sealed,
its hash tells whoever asked.

What this file does not know: SQLite's format; longer records, which lie in several pages, are not found.
"""

from __future__ import annotations

import json
import mmap
import re
from collections.abc import Iterator
from pathlib import Path

from agent.record import LONGEST

_MARK = re.compile(rb'"meterseal":1,"n":([0-9]{1,16}),')
_BEFORE = 8192
_DECODER = json.JSONDecoder()


def carved(path: Path) -> Iterator[tuple[int, bytes]]:
    """What looks like a record in a ledger's file and its WAL, each with its number, in no order; some more than once."""
    for each in (path, path.with_name(f"{path.name}-wal")):
        if each.is_file() and each.stat().st_size:
            with each.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                for mark in _MARK.finditer(data):
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
