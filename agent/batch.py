"""Several records in one message, for links where each byte is paid for: JSON Lines, compressed with gzip (RFC 1952). Pure.

Each record stands on a line of its own, byte for byte as it was sealed. Messages written one behind the other are again a
gzip file that any gunzip unpacks.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Sequence
from typing import Literal

from config.language import _

LARGEST = 262_145
"""How many bytes a batch has unpacked at most: the largest record and its line feed."""
MOST_RECORDS = 1000
GZIP_TYPE = "application/vnd.meterseal.records.v1+gzip"
PLAIN_TYPE = "application/vnd.meterseal.records.v1+jsonl"
_LEVEL = 9


class BatchError(Exception):
    """A message is no batch."""


def pack(records: Sequence[bytes], compress: Literal["gzip", "none"]) -> tuple[bytes, str]:
    """A batch of records and its content type. The same records always make the same bytes."""
    lines = b"".join(record + b"\n" for record in records)
    return (gzip.compress(lines, _LEVEL, mtime=0), GZIP_TYPE) if compress == "gzip" else (lines, PLAIN_TYPE)


def unpack(payload: bytes) -> list[bytes]:
    """The records of a batch, of either form. No more is unpacked than the largest batch has.

    Raises:
        BatchError: it is no gzip, is not whole, is too large, or its last line does not end.
    """
    lines = payload
    if payload[:2] == b"\x1f\x8b":
        inflate = zlib.decompressobj(wbits=31)  # gzip only
        try:
            lines = inflate.decompress(payload, LARGEST + 1)
        except zlib.error as error:
            raise BatchError(_("the batch cannot be unpacked: {error}", error=error)) from None
        if len(lines) <= LARGEST and (not inflate.eof or inflate.unused_data):
            raise BatchError(_("the batch is not whole, or something stands behind it"))
    if len(lines) > LARGEST:
        raise BatchError(_("the batch holds more than {largest} bytes", largest=LARGEST))
    if not lines.endswith(b"\n"):
        raise BatchError(_("the batch ends in the middle of a line"))
    return lines[:-1].split(b"\n")
