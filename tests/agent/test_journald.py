"""agent.journald: what arrives at the journal's socket, and what a real journald finds again."""

from __future__ import annotations

import array
import json
import mmap
import os
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.journald import encoded, fields_of, is_here, message_id, send

ROOT = Path(__file__).parents[2]
SILENT = {"event": "meter.silent", "meter": "EM-014", "link": "line-1", "cause": "no_answer", "code": "MS-204"}


def decoded(data: bytes) -> dict[str, str]:
    """Fields as journald reads them, from the documented form and not from our code."""
    fields = {}
    while data:
        line, _, rest = data.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            (length,) = struct.unpack("<Q", rest[:8])
            value, rest = rest[8 : 8 + length], rest[9 + length :]
        fields[name.decode()] = value.decode()
        data = rest
    return fields


@pytest.fixture
def ear(tmp_path: Path) -> Iterator[socket.socket]:
    """journald's end of the socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "socket"))
        listening.settimeout(30)
        yield listening


def test_an_event_has_the_fields_an_operator_asks_for() -> None:
    fields = fields_of(SILENT, "warning", "meter.silent meter=EM-014")
    assert fields == {
        "MESSAGE": "meter.silent meter=EM-014",
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "meterseal",
        "MESSAGE_ID": message_id("MS-204"),
        "METERSEAL_EVENT": "meter.silent",
        "METER": "EM-014",
        "LINE": "line-1",
        "METERSEAL_CAUSE": "no_answer",
        "METERSEAL_CODE": "MS-204",
    }


def test_a_message_id_stays_for_ever_what_it_is() -> None:
    assert message_id("MS-204") == "bfad1265eb6352ffa747adab7ebd5bcd"
    assert message_id("MS-204") != message_id("MS-205")


def test_values_of_several_lines_arrive_whole(ear: socket.socket, tmp_path: Path) -> None:
    sent = {"MESSAGE": "不通", "METERSEAL_HINT": "first\nsecond=\n", "METER": "EM=1"}
    send(sent, tmp_path / "socket")
    assert decoded(ear.recv(65536)) == sent


def test_an_event_larger_than_a_datagram_comes_as_a_sealed_file(ear: socket.socket, tmp_path: Path) -> None:
    sent = {"MESSAGE": "large", "METERSEAL_REASON": "x" * 3_000_000}
    send(sent, tmp_path / "socket")
    size = array.array("i").itemsize
    _, passed, _, _ = ear.recvmsg(65536, socket.CMSG_SPACE(size))
    descriptor = struct.unpack("i", passed[0][2][:size])[0]
    try:
        with mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as seen:
            assert decoded(bytes(seen)) == sent
        with pytest.raises(OSError, match="not permitted"):
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def test_a_journal_that_is_not_there_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        send({"MESSAGE": "nobody"}, tmp_path / "socket")


def test_only_the_stream_that_systemd_connected_is_the_journals(tmp_path: Path) -> None:
    with (tmp_path / "stream").open("w") as stream:
        seen = os.fstat(stream.fileno())
        assert is_here(stream, f"{seen.st_dev}:{seen.st_ino}")
        assert not is_here(stream, f"{seen.st_dev}:{seen.st_ino + 1}")
    assert encoded({"A": "b"}) == b"A=b\n"


# --- a real journald --------------------------------------------------------------------------------------------

_JOURNALD = "/lib/systemd/systemd-journald"
_SCRIPT = """
set -eu
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/journal /run/log/journal /run/systemd/journald.conf.d
printf '[Journal]\\nStorage=volatile\\nReadKMsg=no\\nAudit=no\\n' >/run/systemd/journald.conf.d/test.conf
{journald} & journald=$!
trap 'kill $journald; wait $journald || true' EXIT
until [ -S /run/systemd/journal/socket ] && [ -S /run/systemd/journal/stdout ]; do sleep 0.05; done
{python} -c '{program}'
until journalctl -q --no-pager METERSEAL_EVENT=agent.stopped | grep -q .; do sleep 0.05; done
echo "--- meter"; journalctl -q --no-pager -o json METER=EM-014
echo "--- line"; journalctl -q --no-pager -o cat LINE=line-1
echo "--- code"; journalctl -q --no-pager -o cat METERSEAL_CODE=MS-204
echo "--- id"; journalctl -q --no-pager -o cat MESSAGE_ID={id}
echo "--- warnings"; journalctl -q --no-pager -o cat -p warning
echo "--- meters"; journalctl -q --no-pager -F METER | sort
echo "--- large"; journalctl -q --no-pager -o json --all METERSEAL_EVENT=ledger.refused | wc -c
"""
_PROGRAM = r"""
import os
stream = os.fstat(2)
os.environ["JOURNAL_STREAM"] = f"{stream.st_dev}:{stream.st_ino}"  # as systemd does for a service
from agent.journal import configure, journal, tell_repeats
configure("info")
log = journal()
log.debug("poll.round", link="line-1", read=1)
for _ in range(9):
    log.warning("meter.silent", meter="EM-014", link="line-1", cause="no_answer", hint="a plug\nor a fuse")
log.info("meter.back", meter="EM-015", missed=3)
log.error("ledger.refused", reason="x" * 1000000)
tell_repeats(all_of_them=True)
log.info("agent.stopped", reason="sigterm")
"""


def _in_a_namespace(script: str) -> subprocess.CompletedProcess[str]:
    words = [
        "unshare",
        "--mount",
        "--propagation",
        "private",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
        "bash",
        "-c",
        script,
    ]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)


@pytest.fixture(scope="module")
def found() -> dict[str, list[str]]:
    """What journalctl answers to each question, in a mount namespace with a journald of its own."""
    if os.geteuid() != 0:
        pytest.skip("a journald of one's own takes root")
    if not (Path(_JOURNALD).exists() and shutil.which("journalctl")):
        pytest.skip("install systemd for a real journald")
    if _in_a_namespace("mount -t tmpfs tmpfs /run").returncode:
        pytest.skip("this root may not mount anything, not even in a mount namespace of its own")
    words = {"journald": _JOURNALD, "python": sys.executable, "program": _PROGRAM, "id": message_id("MS-204")}
    done = _in_a_namespace(_SCRIPT.format(**words))
    assert done.returncode == 0, done.stderr
    answers = (part.partition("\n") for part in done.stdout.split("--- ")[1:])
    return {question: answer.splitlines() for question, _, answer in answers}


def test_a_real_journald_finds_a_meters_events_by_its_name(found: dict[str, list[str]]) -> None:
    events = [json.loads(line) for line in found["meter"]]
    assert [each.get("METERSEAL_REPEATED") for each in events] == [None] * 5 + ["4"]
    assert events[0]["METERSEAL_HINT"] == "a plug\nor a fuse"
    assert events[0]["PRIORITY"] == "4"
    assert events[0]["SYSLOG_IDENTIFIER"] == "meterseal"
    assert events[0]["_TRANSPORT"] == "journal"


def test_a_real_journald_finds_by_line_code_id_and_priority(found: dict[str, list[str]]) -> None:
    silent = [line for line in found["meter"] if line]
    for question in ("line", "code", "id"):
        assert sum(line.startswith("meter.silent") for line in found[question]) == len(silent), question
    assert not any("poll.round" in line for line in found["line"])
    assert not any(line.startswith("meter.back") for line in found["warnings"])
    assert found["meters"] == ["EM-014", "EM-015"]


def test_a_real_journald_takes_an_event_of_a_megabyte(found: dict[str, list[str]]) -> None:
    assert int(found["large"][0]) > 2_000_000  # in MESSAGE and in its own field
