"""`meterseal doctor`: what is wrong around the agent is found, each with what to do, and nothing is changed by looking."""

from __future__ import annotations

import os
import pty
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from agent.clock import Trust
from agent.condition import Delivery
from agent.doctor import Finding, clock_findings, disk_findings, port_findings, report, sqlite_findings, state_findings
from agent.doctor_broker import broker_findings, told_by_agent
from agent.doctor_line import Answers, line_findings
from agent.keys import KEY_FILE, make_key
from config.site import Mqtt
from tests.agent.test_cli import Terminal
from tests.brokers import Mosquitto, free_port


def levels(findings: Iterator[Finding]) -> list[str]:
    return [each.level for each in findings]


def test_a_port_that_is_missing_or_no_port_is_wrong(tmp_path: Path) -> None:
    assert levels(port_findings("line1", str(tmp_path / "ttyUSB0"))) == ["wrong"]
    (tmp_path / "file").write_text("", "utf-8")
    assert levels(port_findings("line1", str(tmp_path / "file"))) == ["wrong"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may open every port: run the tests as another user to see this one")
def test_a_port_of_another_group_names_the_group(tmp_path: Path) -> None:
    near, far = pty.openpty()
    try:
        name = os.ttyname(far)
        Path(name).chmod(0o000)
        (found,) = port_findings("line1", name)
        assert (found.level, "usermod -a -G" in found.todo) == ("wrong", True)
    finally:
        os.close(near)
        os.close(far)


@pytest.mark.parametrize(("timer", "level"), [("16", "look"), ("1", "ok")])
def test_an_adapter_that_holds_answers_back_is_told_of(tmp_path: Path, timer: str, level: str) -> None:
    near, far = pty.openpty()
    try:
        name = os.ttyname(far)
        device = tmp_path / Path(name).name / "device"
        device.mkdir(parents=True)
        (device / "latency_timer").write_text(f"{timer}\n", "ascii")
        assert levels(port_findings("line1", name, tmp_path)) == ["ok", level]
    finally:
        os.close(near)
        os.close(far)


@pytest.mark.parametrize(
    ("trust", "level"),
    [(Trust("synchronized", 12), "ok"), (Trust("unsynchronized", 16000), "wrong"), (Trust("unknown", None), "look")],
)
def test_a_clock_that_nothing_keeps_is_wrong(trust: Trust, level: str) -> None:
    assert levels(clock_findings(trust)) == [level]


def test_an_old_sqlite_is_wrong() -> None:
    assert levels(sqlite_findings((3, 34, 1))) == ["wrong"]
    assert levels(sqlite_findings()) == ["ok"]


def test_a_disk_that_will_be_full_soon_is_told_of(tmp_path: Path) -> None:
    assert levels(disk_findings(tmp_path, 1e13)) != ["ok"]
    (found,) = disk_findings(tmp_path, 1e3)
    assert "days" in found.words


def test_a_state_directory_that_others_may_write_and_a_key_that_they_may_read_are_wrong(tmp_path: Path) -> None:
    state = tmp_path / "state"
    assert levels(state_findings(state)) == ["wrong"]
    make_key(state, "plant/gw1")
    state.chmod(0o700)
    assert levels(state_findings(state)) == ["ok", "ok", "look"]
    (state / KEY_FILE).chmod(0o644)
    state.chmod(0o777)
    found = list(state_findings(state))
    assert [each.level for each in found] == ["wrong", "wrong", "look"]
    assert "chmod 600" in found[1].todo


GOOD = Answers(1000)
SILENT = Answers(0, Counter(no_answer=50))
SPOILT = Answers(900, Counter(bad_checksum=60, short_answer=5))


@pytest.mark.parametrize(
    ("meters", "level", "words", "todo"),
    [
        ({"A": GOOD, "B": GOOD}, "ok", "2000 questions", ""),
        ({"A": Answers()}, "look", "nothing was read", "Start the agent"),
        ({"A": SILENT, "B": SILENT}, "wrong", "none of its 2 meters", "swap A and B"),
        ({"A": GOOD, "B": SILENT}, "wrong", "silent: B", "power, address"),
        ({"A": Answers(0, Counter(only_echo=9))}, "wrong", "the adapter hears its own requests", "swap A and B"),
        ({"A": SPOILT, "B": SPOILT, "C": GOOD}, "wrong", "spoilt answers from 2 of 3", "120 ohms at each end"),
        ({"A": SPOILT, "B": GOOD, "C": GOOD}, "look", "spoilt answers from A", "terminals and stub"),
        ({"A": Answers(100, Counter(wrong_unit=9)), "B": GOOD}, "look", "answers of others", "longest_answer_ms"),
    ],
)
def test_the_mix_of_silence_and_damage_tells_what_is_wrong_with_a_line(
    meters: dict[str, Answers], level: str, words: str, todo: str
) -> None:
    found = next(iter(line_findings("line1", meters, serial=True)))
    assert found.level == level
    assert words in found.words
    assert todo in found.todo


def test_noise_where_nobody_answers_points_at_the_biasing() -> None:
    noisy = Answers(900, Counter(noise=60))
    assert any("biasing" in each.todo for each in line_findings("line1", {"A": noisy, "B": noisy}, serial=True))


def test_what_is_wrong_or_worth_a_look_has_a_code_and_what_is_well_has_none() -> None:
    for meters in ({"A": SILENT}, {"A": GOOD, "B": SILENT}, {"A": SPOILT, "B": SPOILT}, {"A": Answers(9, Counter(wrong_unit=9))}):
        assert {each.code for each in line_findings("line1", meters, serial=True)} <= {"MS-203", "MS-204", "MS-205", "MS-206"}
        assert all(each.code for each in line_findings("line1", meters, serial=True))
    assert [each.code for each in line_findings("line1", {"A": GOOD}, serial=True)] == [""]


def test_a_report_counts_and_says_whether_anything_is_wrong() -> None:
    lines: list[str] = []
    assert report([Finding("ok", "disk", "20 GB free"), Finding("look", "agent", "it does not run", "Start it")], lines.append)
    assert not report([Finding("wrong", "clock", "x", "y")], lines.append)
    assert lines[-1] == "1 wrong, 0 to look at, 0 ok"


def test_a_broker_that_is_not_there_is_wrong() -> None:
    broker = Mqtt(host="127.0.0.1", port=free_port())
    (found,) = broker_findings(broker, "plant/gw1", None)
    assert found.level == "wrong"
    assert found.todo


ACCESS = "user gw1\ntopic write meterseal/v1/plant/gw1/#\n\nuser gw2\ntopic read #\n"


def test_a_broker_that_lets_us_publish_is_ok_and_one_that_does_not_is_wrong(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker:
        declared = Mqtt(host="127.0.0.1", port=broker.port)
        assert levels(broker_findings(declared, "plant/gw1", None)) == ["ok", "ok"]


def test_a_login_that_is_refused_and_a_topic_that_may_not_be_published_to_are_told_apart(tmp_path: Path) -> None:
    with Mosquitto(tmp_path, access=ACCESS, users={"gw1": "right", "gw2": "right"}) as broker:
        mine = Mqtt(host="127.0.0.1", port=broker.port, username="gw1")
        assert levels(broker_findings(mine, "plant/gw1", "right")) == ["ok", "ok"]
        assert levels(broker_findings(mine, "plant/gw1", "wrong")) == ["wrong"]
        (found_without,) = broker_findings(mine, "plant/gw1", None)
        assert "This command knows no password" in found_without.todo
        found = list(broker_findings(Mqtt(host="127.0.0.1", port=broker.port, username="gw2"), "plant/gw1", "right"))
        assert [each.level for each in found] == ["ok", "wrong"]
        assert "access list" in found[1].todo


def test_where_only_the_running_agent_knows_the_password_its_word_is_told() -> None:
    """A password that the service manager hands over is nowhere in the operator's shell."""
    broker = Mqtt(host="127.0.0.1", username="gw1")
    away = Delivery("broker", connected=False, waiting=3, why="the broker says no", hint="Ask it.", fault="MS-503")
    found = told_by_agent(broker, asdict(away))
    assert (found.level, found.words, found.todo, found.code) == ("wrong", "the broker says no", "Ask it.", "MS-503")
    assert told_by_agent(broker, asdict(replace(away, why="", hint="", fault=""))).level == "look"
    well = replace(away, connected=True, why="", hint="", fault="")
    assert told_by_agent(broker, asdict(well)).level == "ok"
    unheard = replace(well, collector="plant-it/collector", behind_s=60.0)
    assert told_by_agent(broker, asdict(unheard)).code == "MS-511"


def test_the_whole_says_what_is_wrong_and_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    terminal = Terminal(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    said = terminal.type("doctor", expect=1)
    assert re.search("^wrong +state directory", said, re.MULTILINE)
    assert re.search(r"^wrong +line hall +.*refuses the connection.*\[MS-202\]$", said, re.MULTILINE)
    assert re.search("^ok +SQLite", said, re.MULTILINE)
    assert sorted(tmp_path.rglob("*")) == before
    terminal.site.write_text("gateway: plant/gw1\n", "utf-8")
    assert "`meterseal check` tells all of them" in terminal.type("doctor", "--offline", expect=1)
