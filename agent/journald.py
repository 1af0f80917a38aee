"""Events in journald's own form: fields that `journalctl METER=EM-014` finds, over the journal's datagram socket.

The protocol is the one systemd documents as "Native Journal Protocol": `NAME=value` and a newline, or, where the value has
a newline itself, `NAME`, a newline, the length in 8 bytes (least significant first), the value, a newline. A message that is
too large for a datagram is written to a sealed memory file whose descriptor is sent instead.
"""

from __future__ import annotations

import array
import errno
import fcntl
import os
import re
import socket
import struct
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

SOCKET = Path("/run/systemd/journal/socket")
PRIORITY = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
IDENTIFIER = "meterseal"
_FIELDS = {"meter": "METER", "link": "LINE", "destination": "BROKER", "gateway": "GATEWAY"}
_KINDS = uuid.UUID("6d657465-7273-4561-8c00-000000000001")  # the name space of our message ids
_NOT_IN_A_NAME = re.compile(r"[^A-Z0-9_]")
_TOO_LARGE = (errno.EMSGSIZE, errno.ENOBUFS)


def message_id(kind: str) -> str:
    """The id of a fault's code or an event's name, 32 hexadecimal digits: the same on every gateway."""
    return uuid.uuid5(_KINDS, kind).hex


def fields_of(event: Mapping[str, Any], level: str, words: str) -> dict[str, str]:
    """An event as fields of the journal.

    Args:
        event: what was told: `event` is its name, `code` the fault it tells of, if it tells of one.
        level: such as `warning`.
        words: the event as one line for people.
    """
    name, code = str(event["event"]), str(event.get("code", ""))
    made = {
        "MESSAGE": words,
        "PRIORITY": str(PRIORITY.get(level, 6)),
        "SYSLOG_IDENTIFIER": IDENTIFIER,
        "MESSAGE_ID": message_id(code or name),
        "METERSEAL_EVENT": name,
    }
    for key, value in event.items():
        if key not in ("event", "level"):
            made[_FIELDS.get(key, f"METERSEAL_{_NOT_IN_A_NAME.sub('_', key.upper())}")] = str(value)
    return made


def encoded(fields: Mapping[str, str]) -> bytes:
    """Fields as they go over the socket."""
    return b"".join(_encoded(name.encode("ascii"), value.encode("utf-8", "replace")) for name, value in fields.items())


def _encoded(name: bytes, value: bytes) -> bytes:
    if b"\n" in value:
        return b"".join((name, b"\n", struct.pack("<Q", len(value)), value, b"\n"))
    return b"".join((name, b"=", value, b"\n"))


def is_here(stream: TextIO, told: str) -> bool:
    """Whether a stream is the one that systemd connected to the journal; `told`: JOURNAL_STREAM."""
    try:
        seen = os.fstat(stream.fileno())
    except OSError:
        return False
    return told == f"{seen.st_dev}:{seen.st_ino}"


def send(fields: Mapping[str, str], path: Path = SOCKET) -> None:
    """Sends an event to the journal at a path. Raises OSError: it does not take it."""
    data = encoded(fields)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        try:
            sender.sendto(data, str(path))
        except OSError as error:
            if error.errno not in _TOO_LARGE:
                raise
            _send_file(sender, data, str(path))


def _send_file(sender: socket.socket, data: bytes, path: str) -> None:
    descriptor = os.memfd_create("meterseal-event", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        fcntl.fcntl(file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL)
        passed = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [file.fileno()]))]
        sender.sendmsg([b""], passed, 0, path)
