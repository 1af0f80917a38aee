"""agent.notify: what systemd hears."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.notify import notify, status, watchdog_seconds


@pytest.fixture
def ear(tmp_path: Path) -> Iterator[socket.socket]:
    """systemd's end of the socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(30)
        yield listening


def test_lines_arrive_in_one_datagram(ear: socket.socket, tmp_path: Path) -> None:
    assert notify("READY=1", status("4 of 4 meters answer"), environment={"NOTIFY_SOCKET": str(tmp_path / "notify")})
    assert ear.recv(4096) == b"READY=1\nSTATUS=4 of 4 meters answer"


def test_an_abstract_socket_is_reached_too() -> None:
    name = f"meterseal-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0{name}")
        listening.settimeout(30)
        assert notify("WATCHDOG=1", environment={"NOTIFY_SOCKET": f"@{name}"})
        assert listening.recv(4096) == b"WATCHDOG=1"


@pytest.mark.parametrize("address", ["", "relative/path", "/nowhere/at/all"])
def test_without_anybody_to_hear_nothing_happens(address: str) -> None:
    assert not notify("READY=1", environment={"NOTIFY_SOCKET": address})


def test_a_full_queue_does_not_hold_up_the_agent(ear: socket.socket, tmp_path: Path) -> None:
    there = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
    told = [notify("WATCHDOG=1", environment=there) for _ in range(100_000)]
    assert told[0]
    assert not told[-1]


def test_a_status_is_one_line_however_it_was_written() -> None:
    assert status("line-1\n  cannot be opened") == "STATUS=line-1 cannot be opened"
    assert len(status("x" * 10_000)) < 600


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ({"WATCHDOG_USEC": "60000000"}, 60.0),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": str(os.getpid())}, 0.5),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_how_long_systemd_waits_is_taken_from_its_own_words(given: dict[str, str], seconds: float | None) -> None:
    assert watchdog_seconds(given) == seconds
