"""What systemd is told of this process (sd_notify(3)): readiness, how it is in words, progress, and its end.

One datagram to the socket that systemd names in NOTIFY_SOCKET; where there is none nothing is sent. What is told here is
never needed for sealing, so that a lost datagram changes nothing.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping

_LONGEST_STATUS = 500
_MICROSECONDS = 1_000_000


def notify(*lines: str, environment: Mapping[str, str] | None = None) -> bool:
    """Tells systemd lines such as `READY=1`; whether anybody was there to hear.

    `environment`: where NOTIFY_SOCKET stands; else this process's own.
    """
    address = (os.environ if environment is None else environment).get("NOTIFY_SOCKET", "")
    if not address or address[0] not in "/@":
        return False
    if address[0] == "@":
        address = "\0" + address[1:]  # of the abstract namespace
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        sender.setblocking(False)  # a full queue must not hold up the agent
        sender.connect(address)
        sender.send("\n".join(lines).encode("utf-8"))
        return True
    return False


def status(text: str) -> str:
    """The line that `systemctl status` shows, from a text of any length."""
    return f"STATUS={' '.join(text.split())[:_LONGEST_STATUS]}"


def watchdog_seconds(environment: Mapping[str, str] | None = None) -> float | None:
    """After how many seconds without a word systemd ends this process; None: it does not watch it (WatchdogSec=)."""
    given = os.environ if environment is None else environment
    if given.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    text = given.get("WATCHDOG_USEC", "")
    return int(text) / _MICROSECONDS if text.isascii() and text.isdigit() and int(text) else None
