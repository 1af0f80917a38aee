"""agent.demo: ends by itself with everything shown, and leaves no process behind however it is ended."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = Path(sys.executable).with_name("meterseal")


def begin(folder: Path) -> subprocess.Popen[bytes]:
    """The demo as the leader of a session of its own, as a terminal would start it."""
    with (folder / "output").open("wb") as output:
        return subprocess.Popen([PROGRAM, "demo"], cwd=folder, stdout=output, stderr=output, start_new_session=True)


def left_behind(session: int) -> list[str]:
    """The programs that still belong to a session, by their command lines."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
            if int(fields[3]) == session and fields[0] != "Z":
                found.append(status.with_name("cmdline").read_text().replace("\0", " "))
        except OSError:
            continue  # it ended while we looked
    return found


def until(folder: Path, pattern: str, process: subprocess.Popen[bytes]) -> None:
    """Returns once the demo has written something."""
    deadline = time.monotonic() + 60
    while not re.search(pattern, (folder / "output").read_text("utf-8", "replace")):
        assert time.monotonic() < deadline, (folder / "output").read_text("utf-8", "replace")
        assert process.poll() is None, (folder / "output").read_text("utf-8", "replace")
        time.sleep(0.02)


@pytest.mark.timeout(180)
def test_the_demo_shows_the_main_job_and_ends_by_itself(tmp_path: Path) -> None:
    began = time.monotonic()
    process = begin(tmp_path)
    assert process.wait(150) == 0, (tmp_path / "output").read_text("utf-8")
    assert time.monotonic() - began < 120
    said = (tmp_path / "output").read_text("utf-8")
    assert "TRACEABLE" in said
    assert "IN ORDER" in said
    changed = re.search(r"one digit of record (\d+) was changed", said)
    assert changed
    assert re.search(rf"SIGNATURE.*\n\s+record {changed[1]}, ", said)
    assert "found and named" in said.splitlines()[-2]
    assert "\nShown: 20 of 20 meters read, 13 Modbus, 2 DL/T 645, 2 CJ/T 188, 2 M-Bus and 1 IEC 62056-21;\n" in said
    assert (tmp_path / "demo" / "state" / "ledger.sqlite").exists()
    assert left_behind(process.pid) == []
    assert "Traceback" not in said + (tmp_path / "demo" / "agent.log").read_text("utf-8")


@pytest.mark.parametrize("moment", ["", r"simulated meters are on their lines", r"\$ meterseal init", r"METER +VALUES"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ending_the_demo_at_any_point_leaves_no_process_behind(tmp_path: Path, moment: str, number: signal.Signals) -> None:
    process = begin(tmp_path)
    until(tmp_path, moment, process)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # Ctrl-C reaches every process of the terminal's foreground group
    else:
        process.send_signal(number)
    process.wait(30)
    assert left_behind(process.pid) == []
    if moment:  # at the very first moment it may be Python that is interrupted, before a line of ours has run
        assert "Traceback" not in (tmp_path / "output").read_text("utf-8")


def test_a_folder_that_no_demo_made_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "precious").write_text("mine")
    process = begin(tmp_path)
    assert process.wait(30) == 2
    assert (tmp_path / "demo" / "precious").read_text() == "mine"
    assert "was not made by the demo" in (tmp_path / "output").read_text("utf-8")
