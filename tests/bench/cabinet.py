"""`make scan-cabinet`: fourteen unknown meters in four protocols on two lines at three speeds, found by one search a line.

    python -m tests.bench.cabinet          all addresses at all usual speeds: about eighteen minutes
    python -m tests.bench.cabinet --short  the speeds of the cabinet and the addresses 1 to 20: about three minutes

The lines are paced and meters that answer at once garble each other (`tests.peers.cabinet`). Both searches write one site
file. It ends with an error where a meter is missing, wrongly named or found twice, where the file fails `check`, or where a
meter of it cannot be read. Then the agent runs on the file: what depends on a transformer's ratio is uncertain until the
ratio is written into the file and the agent reloaded; in the end every meter has a sealed reading without doubt, and the
ledger verifies.
"""

from __future__ import annotations

import argparse
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

from agent.ledger_file import LedgerReader
from agent.record import parse
from agent.state import LEDGER_FILE
from config.library import load_models
from tests.peers.cabinet import Hung, cabinet
from tests.peers.paced_line import PacedLine

MAIN = Path(sys.executable).with_name("meterseal")
PATIENCE = 300.0
UNKNOWN_RATIOS = 2  # of the cabinet's meters so many count the secondary side of transformers
SHORT = ("--addresses", "1-20", "--baud", "2400", "--baud", "9600", "--baud", "19200", "--format", "8N1")


def meter(model: str, address: str | int, baud: int, **more: Any) -> Hung:
    points = {point.quantity for point in load_models()[model].declared.points}
    kept = {key: {name: at for name, at in more.pop(key, {}).items() if name in points} for key in ("load", "start")}
    return baud, {"id": f"{model}-{address}"[:40], "model": model, "address": str(address), "answer_ms": "30"} | kept | more


POWER = {"load": {"active_power": "4100"}, "start": {"active_energy_import": "18422.5", "active_energy_total": "18422.5"}}
HEAT = {"load": {"thermal_power": "38"}, "start": {"thermal_energy": "8412", "volume_forward": "40"}}
RATIO = {"ct": "1", "vt": "1"}
LINES: dict[str, list[Hung]] = {
    "cabinet": [
        meter("eastron-sdm120", 3, 9600, **POWER),
        meter("eastron-sdm630", 4, 9600, **POWER),
        meter("schneider-iem3000", 7, 9600, **POWER),
        meter("carlo-gavazzi-em340", 12, 9600, **POWER),
        meter("acrel-dtsd1352", 5, 19200, **POWER, **RATIO),
        meter("abb-b23", 6, 19200, **POWER),
        meter("orno-we-514-515", 19, 19200, **POWER),
        meter("dlt645-2007-three-phase", "202311045678", 2400, **POWER, **RATIO),
        meter("dlt645-2007-single-phase", "202311045679", 2400, **POWER, **RATIO),
        meter("cjt188-water-2018", "78330123456789", 2400, load={"volume_forward": "1.8"}, start={"volume_forward": "512.4"}),
    ],
    "mbus": [
        meter("mbus-water", "12345678", 2400, load={"volume_forward": "0.4"}, start={"volume_forward": "771.3"}),
        meter("mbus-water", "12345679", 2400, load={"volume_forward": "0.4"}, start={"volume_forward": "12.9"}),
        meter("kamstrup-multical-601", 17, 2400, **HEAT),
        meter("mbus-heat", "81234567", 2400, **HEAT),
    ],
}  # fmt: skip


def scanned(line: PacedLine, target: Path, words: Sequence[str]) -> str:
    """What the search of a line said. It writes the site file, or adds to it."""
    where = ("--serial", line.ports[0], "--site", target, "--state", target.parent / "nowhere")
    done = subprocess.run([MAIN, "scan", *where, *words, "--write", target], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


def found_in(text: str) -> set[tuple[str, str]]:
    """Model and address of the meters in a site file; of an M-Bus address the number."""
    entries = re.findall(r"- \{id: .*?model: ([a-z0-9-]+), address: \"?([0-9A-Fa-f-]+)", text)
    return {(model, address[:8] if model.startswith(("mbus", "kamstrup")) else address) for model, address in entries}


def wanted_of(meters: Sequence[Hung]) -> set[tuple[str, str]]:
    return {(told["model"], told["address"]) for _, told in meters}


def found_all(text: str) -> None:
    """That a site file has each meter once, rightly named."""
    found = found_in(text)
    # The heat meter that has no secondary address in its plant entry is known by its primary one there.
    missing = {pair for meters in LINES.values() for pair in wanted_of(meters) - found if pair[1] != "17"}
    assert not missing, f"not found or wrongly named: {sorted(missing)}, found {sorted(found)}"
    assert len(found) == sum(map(len, LINES.values())), sorted(found)


def told(*words: object) -> str:
    """What the program says. It must succeed."""
    done = subprocess.run([MAIN, *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{words[0]}: {done.stdout}{done.stderr}"
    return done.stdout


class Agent:
    """`meterseal run` on the written file."""

    def __init__(self, target: Path, ids: Sequence[str]) -> None:
        self._state = target.parent / "state"
        self._place = ("--site", target, "--state", self._state)
        self._ids = ids
        self._seen = 0
        told("init", "--recovery", target.parent / "recovery.txt", *self._place)

    def __enter__(self) -> Agent:
        self._journal = (self._state.parent / "journal.txt").open("w", encoding="utf-8")
        self._process = subprocess.Popen([MAIN, "run", *map(str, self._place)], stderr=self._journal, stdout=self._journal)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        code = self._process.wait(60)
        self._journal.close()
        assert code == 0, (self._state.parent / "journal.txt").read_text("utf-8")[-2000:]

    def reload(self) -> None:
        """What is in the ledger now does not count any more; the file comes into force."""
        with closing(LedgerReader(self._state / LEDGER_FILE)) as past:
            self._seen = past.size()
        self._process.send_signal(signal.SIGHUP)

    def until(self, right: Callable[[dict[str, Any]], object]) -> dict[str, dict[str, Any]]:
        """A reading of each meter, since it began or was reloaded, that is as it must be."""
        deadline = time.monotonic() + PATIENCE
        while True:
            found = {name: reading for name in self._ids if (reading := self._reading(name, right))}
            if len(found) == len(self._ids):
                return found
            assert self._process.poll() is None, "the agent ended"
            assert time.monotonic() < deadline, f"without a right reading: {sorted(set(self._ids) - set(found))}"
            time.sleep(1)

    def _reading(self, name: str, right: Callable[[dict[str, Any]], object]) -> dict[str, Any] | None:
        if not (self._state / LEDGER_FILE).exists():
            return None
        with closing(LedgerReader(self._state / LEDGER_FILE)) as past:
            for n, payload in past.meter_records(name, "reading", newest_first=True):
                if n >= self._seen and right(reading := parse(payload)):
                    return reading
        return None

    def verified(self) -> str:
        """What `meterseal verify` says of the ledger."""
        return told("verify", *self._place)


def doubts(reading: dict[str, Any]) -> set[str]:
    """Why values of a reading are uncertain."""
    return {value["cause"] for value in reading["values"] if value.get("quality") == "uncertain"}


def certain(reading: dict[str, Any]) -> bool:
    """Whether a reading has values, and no doubt about any."""
    return not doubts(reading) and any("quality" not in value for value in reading["values"])


def ran(target: Path) -> None:
    """The agent on the file as it was written, and with the transformers' ratios written into it."""
    text = target.read_text("utf-8").replace("every: 15m", "every: 1m")
    target.write_text(text, "utf-8")
    ids = re.findall(r"- \{id: ([^,]+)", text)
    unknown = {name for name in ids if re.search(rf"id: {name},.*(ct|vt): unknown", text)}
    assert len(unknown) == UNKNOWN_RATIOS, sorted(unknown)
    with Agent(target, ids) as agent:
        first = agent.until(lambda reading: reading["values"])
        assert {name for name, reading in first.items() if doubts(reading) == {"ratio_unknown"}} == unknown
        print(f"the agent has sealed readings of all {len(ids)}; uncertain for want of a ratio: {', '.join(sorted(unknown))}")
        target.write_text(re.sub(r"(ct|vt): unknown", r"\1: 1", text), "utf-8")
        assert "MS-105" not in told("check", "--site", target)
        agent.reload()
        readings = agent.until(certain)
    for name, reading in readings.items():
        value = next(value for value in reading["values"] if "quality" not in value)
        print(f"  {name:<16} record {reading['n']:<4} {value['quantity']} {value['value']} {value['unit']}")
    print(agent.verified())


def main(words: Sequence[str] | None = None) -> None:
    """The proof."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--short", action="store_true")
    asked = parser.parse_args(words)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as held, cabinet(LINES) as lines, ThreadPoolExecutor() as both:
        target = Path(held) / "site.yaml"
        chosen = SHORT if asked.short else ()
        jobs = {name: both.submit(scanned, line, target, chosen) for name, line in lines.items()}
        for name, job in jobs.items():
            print(f"--- {name}\n{job.result()}", flush=True)
        text = target.read_text("utf-8")
        print(text)
        found_all(text)
        print(told("check", "--site", target), flush=True)
        ids = re.findall(r"- \{id: ([^,]+)", text)
        for meter_id in ids:
            told("read", meter_id, "--site", target, "--state", Path(held) / "nowhere")
        print(f"{len(ids)} meters found, the file passes check, every meter can be read with it", flush=True)
        ran(target)
    print(f"all of it took {time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    main()
