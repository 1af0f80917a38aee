"""A disk that remembers every write and every flush, so that the state after any power cut can be made: one file on FUSE.

What was written before a flush is there after a cut; of what was written since then any 512 byte sectors may be there or not.

    python -m tests.bench.power_cut DIRECTORY SIZE LOG      serves DIRECTORY/disk.img until it is unmounted

What this file does not know: file systems; the loop driver of the kernel puts one on the file.
"""

from __future__ import annotations

import errno
import random
import stat
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SECTOR = 512
_WRITE, _FLUSH = b"W", b"F"
_HEAD = struct.Struct("<QI")


def serve(directory: Path, size: int, log: Path) -> None:
    """Serves the file until it is unmounted; each write and flush goes to the log."""
    import mfusepy  # wants libfuse3, which only this process needs

    image = bytearray(size)

    class Disk(mfusepy.Operations):
        use_ns = True

        def __init__(self) -> None:
            self._log = log.open("wb", buffering=0)

        def getattr(self, path: str, fh: Any = None) -> dict[str, Any]:
            if path == "/":
                return {"st_mode": stat.S_IFDIR | 0o755, "st_nlink": 2}
            if path == "/disk.img":
                return {"st_mode": stat.S_IFREG | 0o600, "st_nlink": 1, "st_size": size}
            raise mfusepy.FuseOSError(errno.ENOENT)

        def readdir(self, path: str, fh: Any) -> list[str]:
            return [".", "..", "disk.img"]

        def read(self, path: str, count: int, offset: int, fh: Any) -> bytes:
            return bytes(image[offset : offset + count])

        def write(self, path: str, data: bytes, offset: int, fh: Any) -> int:
            self._log.write(_WRITE + _HEAD.pack(offset, len(data)) + data)
            image[offset : offset + len(data)] = data
            return len(data)

        def fsync(self, path: str, datasync: Any, fh: Any) -> int:
            self._log.write(_FLUSH)
            return 0

    mfusepy.FUSE(Disk(), str(directory), foreground=True, nothreads=True, allow_other=True)


def events(log: bytes, end: int) -> Iterator[tuple[int, bytes] | None]:
    """The writes (offset, data) and flushes (None) in the first `end` bytes of a log."""
    at = 0
    while at < end:
        if log[at : at + 1] == _FLUSH:
            yield None
            at += 1
            continue
        offset, length = _HEAD.unpack_from(log, at + 1)
        at += 1 + _HEAD.size + length
        if at <= end:
            yield offset, log[at - length : at]


def after_cut(log: bytes, end: int, size: int, chance: random.Random) -> tuple[bytearray, int]:
    """The disk after a cut behind the first `end` bytes of a log, and how many sectors were lost."""
    image, pending, lost = bytearray(size), [], 0
    for event in events(log, end):
        if event is not None:
            pending.append(event)
            continue
        for offset, data in pending:
            image[offset : offset + len(data)] = data
        pending = []
    for offset, data in pending:
        for at in range(0, len(data), SECTOR):
            if chance.random() < 0.5:
                image[offset + at : offset + min(at + SECTOR, len(data))] = data[at : at + SECTOR]
            else:
                lost += 1
    return image, lost


if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
