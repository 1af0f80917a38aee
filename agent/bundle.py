"""An exported log as one zip file: reading it. Never unpacks to disk, never trusts a size or a name in it.

    README.txt                     how to verify it
    records.jsonl                  the records from 0 on, one a line, as sealed
    kept.txt                       what is kept of records that are gone: first n, how many (1 or 256), hash; only where some are
    checkpoints/00000000.txt ...   the log's signed checkpoints, oldest first
    timestamps/<size>.tsr          RFC 3161 responses over the checkpoint of that size
    keys/<key name>.vkey           the log's keys, for orientation only: take the key from the enrolment form
    models/<sha256>.yaml           the meter model files that declarations quote

What this file does not know: whether any of it is true (`agent.verify` tells).
"""

from __future__ import annotations

import base64
import re
import zipfile
import zlib
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import IO

from agent.findings import CannotCheck
from config.language import _
from config.system_words import reason_of

README = "README.txt"
RECORDS = "records.jsonl"
KEPT = "kept.txt"
_CHECKPOINT = re.compile(r"checkpoints/[0-9]{8}\.txt")
_TIMESTAMP = re.compile(r"timestamps/([0-9]{1,16})\.tsr")
_PIECE = re.compile(rb"(0|[1-9][0-9]{0,15}) (1|256) ([A-Za-z0-9_-]{43})")
_MODEL = re.compile(r"models/([0-9a-f]{64})\.yaml")
_KEY = re.compile(r"keys/[0-9a-f]{16}\.vkey")
_MOST_MEMBERS = 1_000_000
_LONGEST_LINE = 512 * 1024
_LARGEST_SMALL_MEMBER = 4 * 1024 * 1024
_LARGEST_RATIO = 200


class Bundle:
    """An exported log. Satisfies `agent.verify.Log`.

    Raises:
        CannotCheck: there is no such file, or it is no bundle; also later, where a member turns out to be damaged.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._size: int | None = None
        self._kept: list[tuple[int, int, bytes]] | None = None
        with self._readable():
            self._zip = zipfile.ZipFile(path)
        try:
            self._look_through()
        except CannotCheck:
            self._zip.close()
            raise

    def close(self) -> None:
        """Lets go of the file."""
        self._zip.close()

    def size(self) -> int:
        """How many records there are, with those that are gone; counted once."""
        if self._size is None:
            self._size = next((n + 1 for n, _unused in deque(self.payloads(), maxlen=1)), 0)
        return self._size

    def payloads(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, bytes]]:
        """Records from place n = start up to, not including, stop, in order."""
        with self._readable(), self._zip.open(RECORDS) as member:
            for n, line in zip(self._numbers(), _lines(member, self._path), strict=False):
                if stop is not None and n >= stop:
                    return
                if n >= start:
                    yield n, line

    def kept(self) -> list[tuple[int, int, bytes]]:
        """What is kept of records that are gone, in order: the first n, how many records (1 or 256), leaf hash or root."""
        if self._kept is None:
            with self._readable(), self._zip.open(KEPT) if KEPT in self._zip.namelist() else BytesIO() as member:
                self._kept = [self._piece(line) for line in _lines(member, self._path)]
        return self._kept

    def _piece(self, line: bytes) -> tuple[int, int, bytes]:
        found = _PIECE.fullmatch(line)
        if not found:
            raise CannotCheck(_("{path}: a line of {kept} is not one that an export writes", path=self._path, kept=KEPT))
        return int(found[1]), int(found[2]), base64.urlsafe_b64decode(found[3] + b"=")

    def _numbers(self) -> Iterator[int]:
        """The n of each line of the records: those that are gone have none."""
        gone = {first: size for first, size, _unused in self.kept()}
        n = 0
        while True:
            while n in gone:
                n += gone[n]
            yield n
            n += 1

    def checkpoints(self) -> list[str]:
        """The signed notes, oldest first."""
        names = sorted(name for name in self._zip.namelist() if _CHECKPOINT.fullmatch(name))
        return [self._small(name).decode("utf-8", "replace") for name in names]

    def models(self) -> dict[str, bytes]:
        """The model files by the digest that they are kept under."""
        found = ((_MODEL.fullmatch(name), name) for name in sorted(self._zip.namelist()))
        return {match[1]: self._small(name) for match, name in found if match}

    def timestamps(self) -> dict[int, bytes]:
        """RFC 3161 responses by the size of the checkpoint that they are over."""
        found = ((_TIMESTAMP.fullmatch(name), name) for name in sorted(self._zip.namelist()))
        return {int(match[1]): self._small(name) for match, name in found if match}

    def _look_through(self) -> None:
        """Refuses what no export writes, before anything is unpacked."""
        members = self._zip.infolist()
        names = [member.filename for member in members]
        if RECORDS not in names:
            raise CannotCheck(
                _("{path} is not a meterseal bundle: there is no {records} in it", path=self._path, records=RECORDS)
            )
        if len(names) > _MOST_MEMBERS or len(set(names)) != len(names):
            raise CannotCheck(_("{path} is not a meterseal bundle: it holds one name twice, or too many", path=self._path))
        other = next((name for name in names if not _is_written(name)), None)
        if other is not None:
            raise CannotCheck(
                _(
                    "{path}: holds {other}, which no export writes; ask for the file as it was exported",
                    path=self._path,
                    other=_shown(other),
                )
            )
        for member in members:
            if member.flag_bits & 1 or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise CannotCheck(
                    _(
                        "{path}: {filename} is encrypted or packed in an unknown way",
                        path=self._path,
                        filename=_shown(member.filename),
                    )
                )
            if member.file_size > _LARGEST_RATIO * (member.compress_size + 1024):
                raise CannotCheck(
                    _(
                        "{path}: {filename} would unpack to far too much; no export looks like this",
                        path=self._path,
                        filename=_shown(member.filename),
                    )
                )

    def _small(self, name: str) -> bytes:
        with self._readable(), self._zip.open(name) as member:
            data = member.read(_LARGEST_SMALL_MEMBER + 1)
        if len(data) > _LARGEST_SMALL_MEMBER:
            raise CannotCheck(_("{path}: {name} is too large", path=self._path, name=_shown(name)))
        return data

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise CannotCheck(_("there is no file {path}", path=self._path)) from None
        except OSError as error:
            raise CannotCheck(_("{path} cannot be read: {strerror}", path=self._path, strerror=reason_of(error))) from None
        except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
            raise CannotCheck(
                _("{path} is damaged or no bundle ({error}); ask for it again", path=self._path, error=str(error)[:100])
            ) from None


def _lines(member: IO[bytes], path: Path) -> Iterator[bytes]:
    while line := member.readline(_LONGEST_LINE + 1):
        if len(line) > _LONGEST_LINE:
            raise CannotCheck(_("{path}: a line of {records} is longer than a record can be", path=path, records=RECORDS))
        yield line.rstrip(b"\r\n")


def _is_written(name: str) -> bool:
    """Whether an export writes a member of this name: a renamed one would be missing without anybody noticing."""
    return name in (README, RECORDS, KEPT) or any(pattern.fullmatch(name) for pattern in (_CHECKPOINT, _TIMESTAMP, _KEY, _MODEL))


def _shown(name: str) -> str:
    return ascii(name[:80])
