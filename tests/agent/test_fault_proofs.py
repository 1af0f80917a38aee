"""Every fault code is produced by a real fault, and told with its code, in English and in Chinese.

What the command line tells is provoked here, each fault in both languages; so is what an agent tells of meters and a broker that
fail. All other faults are provoked once, by the tests of what they befall, and looked at there in both languages (`heard`).
"""

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from agent.cli import main
from agent.faults import FAULTS
from agent.state import only_agent
from config.language import speak, wanted
from tests.agent.fault_meters import BUSY, REFUSES, SILENT, STRANGER, UNREACHED, Ports, faulty_meters

ROOT = Path(__file__).parents[2]
_WAIT = 60.0
_HAN = re.compile("[\u4e00-\u9fff]")
_METERS = {"silent": SILENT, "refuses": REFUSES, "busy": BUSY, "unreached": UNREACHED, "stranger": STRANGER}


@dataclass(frozen=True, slots=True)
class Place:
    """A site whose meters fail, the state directory of an agent that has run there, and what that agent told."""

    folder: Path
    ports: Ports
    told: dict[str, list[dict[str, str]]]

    def run(self, language: str, *words: str, **environment: str) -> str:
        """What the program prints, both streams."""
        if words[0] == "run":  # an agent of its own
            command = [sys.executable, "-m", "agent", "--lang", language, *words]
            done = subprocess.run(command, env=_environment(), capture_output=True, text=True, timeout=_WAIT, check=False)
            return done.stderr
        plain = dict.fromkeys(os.environ.keys() - _environment().keys())
        try:
            return CliRunner(env=plain | environment).invoke(main, ["--lang", language, *words]).output
        finally:
            speak(wanted(_environment()))

    def at(self, language: str, *words: str) -> str:
        """The same for this site and state."""
        return self.run(language, *words, "--site", str(self.folder / "site.yaml"), "--state", str(self.folder / "state"))

    def file(self, name: str, text: str) -> str:
        """A file in the folder; its path."""
        (self.folder / name).write_text(text, "utf-8")
        return str(self.folder / name)


def _environment() -> dict[str, str]:
    return {name: text for name, text in os.environ.items() if not name.startswith(("LC_", "LANG", "METERSEAL_"))}


def _site(ports: Ports) -> str:
    declared = f"model: generic-modbus, points: [{_POINT}]"
    meters = [f"  - {{id: {name}, link: hall, address: {unit}, {declared}}}" for name, unit in _METERS.items()]
    return "\n".join(
        [
            "gateway: plant/faults",
            "every: 5s",
            "links:",
            f'  hall: {{tcp: "127.0.0.1:{ports.tcp}", timeout_ms: 200}}',
            f'  server: {{tcp: "127.0.0.1:{ports.rtu}", framing: rtu, timeout_ms: 200}}',
            f'  away: {{tcp: "127.0.0.1:{ports.nobody}", timeout_ms: 200}}',
            "  pulled: {serial: /dev/serial/by-id/pulled-out, baud: 9600, format: 8N1}",
            "meters:",
            *meters,
            f"  - {{id: disturbed, link: server, address: 1, {declared}}}",
            f"  - {{id: gone, link: away, address: 1, {declared}}}",
            f"  - {{id: unplugged, link: pulled, address: 1, {declared}}}",
            "mqtt:",
            f'  - {{host: 127.0.0.1, port: {ports.nobody}, version: "3.1.1"}}',
            "",
        ]
    )


_POINT = "{quantity: active_energy_import, at: {address: 0, type: u32}, ratio: none}"
_TOLD_BY_THE_AGENT = ("MS-201", "MS-202", "MS-204", "MS-205", "MS-206", "MS-207", "MS-208", "MS-209", "MS-502", "MS-510")


def _agent_tells(folder: Path, language: str) -> list[dict[str, str]]:
    """Runs the agent until it has told of all these faults; the warnings and errors of its journal."""
    command = [sys.executable, "-m", "agent", "run", "--site", str(folder / "site.yaml"), "--state", str(folder / "state")]
    environment = _environment() | {"METERSEAL_LANG": language}
    told: list[dict[str, str]] = []
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) as agent:
        end = threading.Timer(_WAIT, agent.kill)
        end.start()
        for line in agent.stderr or ():
            assert line.startswith("{"), line + agent.stderr.read()
            event = json.loads(line)
            if event["level"] in ("warning", "error", "critical"):
                told.append(event)
            if {each.get("code") for each in told} >= set(_TOLD_BY_THE_AGENT):
                agent.send_signal(signal.SIGTERM)
        end.cancel()
    return told


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("faults")
    with faulty_meters() as ports:
        (folder / "site.yaml").write_text(_site(ports), "utf-8")
        made = Place(folder, ports, {})
        made.at("en", "init", "--recovery", str(folder / "recovery.txt"))
        for language in ("en", "zh"):
            made.told[language] = _agent_tells(folder, language)
        yield made


# --- the command line -----------------------------------------------------------------------------------------


def _too_slow(place: Place, language: str) -> str:
    meters = "".join(
        f"  - {{id: m{unit}, link: one, model: generic-modbus, address: {unit}, points: [{_POINT}]}}\n" for unit in range(1, 200)
    )
    links = "links:\n  one: {serial: /dev/ttyUSB9, baud: 1200, format: 8N1}\n"
    return place.run(language, "check", "--site", place.file("slow.yaml", f"gateway: a/b\nevery: 1s\n{links}meters:\n{meters}"))


def _forged(place: Place, language: str) -> str:
    """A copy of the ledger in which one byte of a record was changed."""
    copy = place.folder / "forged.sqlite"
    with closing(sqlite3.connect(place.folder / "state" / "ledger.sqlite")) as ledger, closing(sqlite3.connect(copy)) as made:
        ledger.backup(made)
        ((payload,),) = made.execute("SELECT payload FROM record WHERE n = 2").fetchall()
        for (name,) in made.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            made.execute(f"DROP TRIGGER {name}")
        with made:
            made.execute("UPDATE record SET payload = ? WHERE n = 2", (payload.replace(b"plant/faults", b"plant/fAults", 1),))
    return place.run(language, "verify", str(copy))


def _open_key(place: Place, language: str) -> str:
    (key,) = (place.folder / "state").glob("*.pem")
    key.chmod(0o644)
    try:
        return place.at(language, "run")
    finally:
        key.chmod(0o600)


def _second_agent(place: Place, language: str) -> str:
    with only_agent(place.folder / "state"):
        return place.at(language, "run")


def _deaf_agent(place: Place, language: str) -> str:
    """An agent holds the state directory, and ends the connection without an answer."""
    listening = subprocess.Popen(
        [sys.executable, "-c", _DEAF, "agent.sock"], cwd=place.folder / "state", stdout=subprocess.PIPE, text=True
    )
    with listening:
        assert listening.stdout is not None
        assert listening.stdout.readline()
        told = place.at(language, "read", "silent")
        listening.kill()
    (place.folder / "state" / "agent.sock").unlink()
    return told


_DEAF = (
    "import socket, sys\n"
    "ear = socket.socket(socket.AF_UNIX); ear.bind(sys.argv[1]); ear.listen(); print('up', flush=True)\n"
    "while True: ear.accept()[0].close()\n"
)


def _without_asyncua(place: Place, language: str) -> str:
    """The program where the package for OPC UA is not installed."""
    begin = "import importlib.util as u; f = u.find_spec; u.find_spec = lambda n, *a: None if n == 'asyncua' else f(n, *a)"
    program = f"{begin}\nfrom agent.cli import main\nmain({['--lang', language, 'trust', 'scada']!r})"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=_environment(), capture_output=True, text=True, timeout=_WAIT, check=False
    )
    return done.stderr


_NO_RATIO = """gateway: a/b
links: {line: {tcp: "127.0.0.1:502"}}
meters: [{id: incomer, link: line, model: acrel-dtsd1352, address: 1, ct: unknown, vt: 1}]
"""
_SPAN = ("--from", "2026-03-01T00:00", "--to", "2026-03-02T00:00")
CLI: dict[str, Callable[[Place, str], str]] = {
    "MS-101": lambda place, language: place.run(language, "check", "--site", place.file("tab.yaml", "gateway: a/b\n\tlinks:\n")),
    "MS-102": lambda place, language: place.run(language, "check", "--site", place.file("wrong.yaml", "gateway: a\n")),
    "MS-103": lambda place, language: place.run(language, "check", METERSEAL_LOUD="1"),
    "MS-104": _too_slow,
    "MS-105": lambda place, language: place.run(language, "check", "--site", place.file("ratio.yaml", _NO_RATIO)),
    "MS-201": lambda place, language: place.at(language, "read", "unplugged"),
    "MS-202": lambda place, language: place.at(language, "read", "gone"),
    "MS-204": lambda place, language: place.at(language, "read", "silent"),
    "MS-205": lambda place, language: place.at(language, "read", "disturbed"),
    "MS-206": lambda place, language: place.at(language, "read", "stranger"),
    "MS-207": lambda place, language: place.at(language, "read", "refuses"),
    "MS-208": lambda place, language: place.at(language, "read", "busy"),
    "MS-209": lambda place, language: place.at(language, "read", "unreached"),
    "MS-307": lambda place, language: place.at(
        language,
        "correct",
        "nobody",
        "--from",
        "2026-03-01",
        "--to",
        "2026-03-02",
        "--ct",
        "1",
        "2",
        "--reason",
        "r",
        "--who",
        "w",
    ),
    "MS-402": lambda place, language: place.run(
        language, "status", "--site", str(place.folder / "site.yaml"), "--state", str(place.folder / "nothing")
    ),
    "MS-403": _forged,
    "MS-404": lambda place, language: place.run(language, "verify", place.file("letter.zip", "no bundle")),
    "MS-701": _open_key,
    "MS-702": lambda place, language: place.at(
        language, "key", "revoke", "--recovery", str(place.folder / "new.txt"), "--code", place.file("typed.txt", "AAAA-BBBB\n")
    ),
    "MS-901": lambda place, language: place.run(language, "chek"),
    "MS-902": lambda place, language: place.at(language, "status"),
    "MS-903": _second_agent,
    "MS-904": _deaf_agent,
    "MS-905": lambda place, language: place.at(language, "verify", "--checkpoint", str(place.folder / "not-there.txt")),
    "MS-906": _without_asyncua,
}


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("code", CLI)
def test_the_command_line_tells_a_fault_with_its_code_in_the_readers_language(place: Place, code: str, language: str) -> None:
    told = CLI[code](place, language)
    assert f"[{code}]" in told
    line = next(line for line in told.splitlines() if f"[{code}]" in line)
    assert bool(_HAN.search(line)) == (language == "zh"), line


# --- the journal ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("code", _TOLD_BY_THE_AGENT)
def test_the_journal_tells_a_fault_with_its_code_in_the_agents_language(place: Place, code: str, language: str) -> None:
    events = [event for event in place.told[language] if event.get("code") == code]
    assert events
    words = " ".join(event.get(name, "") for event in events for name in ("hint", "why", "reason"))
    assert bool(_HAN.search(words)) == (language == "zh"), events


def test_names_causes_and_codes_are_the_same_in_both_languages(place: Place) -> None:
    said = {
        language: {(event["event"], event.get("meter"), event.get("cause"), event.get("code")) for event in events}
        for language, events in place.told.items()
    }
    wanted = {each for each in said["en"] if each[3] in _TOLD_BY_THE_AGENT}
    assert wanted & said["zh"] == wanted


def test_what_is_sealed_is_the_same_in_both_languages(place: Place) -> None:
    with closing(sqlite3.connect(place.folder / "state" / "ledger.sqlite")) as ledger:
        payloads = [bytes(payload) for (payload,) in ledger.execute("SELECT payload FROM record ORDER BY n")]
    assert len(payloads) > 20
    assert [each for each in payloads if _HAN.search(each.decode())] == []


# --- those that other tests provoke ---------------------------------------------------------------------------

# `heard.tells(event, "MS-203")`, `heard.prints(line, "MS-405")` (tests/agent/heard.py), in the test that provokes the fault.
_SHOWN = re.compile(r'heard\.(?:tells|prints)\(.*"(MS-\d{3})"\)')


def _shown_elsewhere() -> dict[str, list[str]]:
    """The test files in which a code's message is looked at in both languages, by code."""
    found: dict[str, list[str]] = {}
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        for code in _SHOWN.findall(path.read_text("utf-8")) if path != Path(__file__) else ():
            found.setdefault(code, []).append(path.name)
    return found


def test_every_code_is_provoked_and_looked_at_in_both_languages() -> None:
    proven = {*CLI, *_TOLD_BY_THE_AGENT, *_shown_elsewhere()}
    assert sorted(proven) == sorted(FAULTS)
