"""Every byte of an export counts: changes of one byte of a 200-record export, and both verifiers over each of them.

    python -m tests.bench.mutations [COUNT [SEED]]

A change is drawn from all bytes of the records, checkpoints and model files, and from those of the zip file itself. None
may pass: each verifier has to find something, or to say that it cannot check. Let pass is only what changes nothing that
is signed: JSON white space, and in the zip file what holds none of the content (README, key lines, dates of members).
"""

from __future__ import annotations

import json
import multiprocessing
import random
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from agent import keyring
from agent import verify as first
from agent.bundle import Bundle
from agent.export import export
from agent.findings import CannotCheck
from agent.log import Log
from tests.agent.both import second
from tests.agent.ledgers import EVERY_S, Gateway, MemoryLog, good_gateway, new_key

RECORDS, COUNT, SEED, _JOBS = 200, 20_000, 6, 2
ZIP_FILE, CHANGED = "zip file", "changed.zip"
OF_THE_FILE = 10  # one change in so many is one of the zip file itself


@dataclass(frozen=True, slots=True)
class Change:
    """One byte changed: in which part, at which place, and the log that comes of it (None: a zip file that cannot be read)."""

    part: str
    at: int
    old: int
    new: int
    log: Log | None
    same: bool

    def __str__(self) -> str:
        return f"{self.part} byte {self.at}: {self.old:02x} -> {self.new:02x}"


def plant(records: int = RECORDS) -> Gateway:
    """A log with all that a plant of two meters has: outages, a second key, checkpoints."""
    gateway = good_gateway()
    while len(gateway.log.records) < records - 1:
        for meter in ("rtu-1", "tcp-2")[: records - 1 - len(gateway.log.records)]:
            gateway.reading(meter, energy=18_422_400 + len(gateway.log.records))
        gateway.after(EVERY_S)
        if len(gateway.log.records) > records // 2 and gateway.key is gateway.first_key:
            gateway.rotate(new_key("second"))
            gateway.checkpoint()
    gateway.append("stop", reason="test")
    gateway.checkpoint()
    return gateway


def draws(log: MemoryLog, file: bytes, count: int, seed: int) -> Iterator[tuple[str, int, int]]:
    """So many changes, each of another place or to another byte: part, place, new byte."""
    drawn, seen = random.Random(seed), set[tuple[str, int, int]]()
    parts = _parts(log, file)
    names = [name for name in parts if name != ZIP_FILE]
    lengths = [len(parts[name]) for name in names]
    while len(seen) < count:
        part = ZIP_FILE if len(seen) % OF_THE_FILE == 0 else drawn.choices(names, lengths)[0]
        draw = part, drawn.randrange(len(parts[part])), drawn.randrange(256)
        if parts[part][draw[1]] != draw[2] and draw not in seen:
            seen.add(draw)
            yield draw


def _parts(log: MemoryLog, file: bytes) -> dict[str, bytes]:
    parts = {f"record {n}": payload for n, payload in enumerate(log.records)}
    parts |= {f"checkpoint {n}": note.encode() for n, note in enumerate(log.notes)}
    return parts | {f"model {name}": data for name, data in log.files.items()} | {ZIP_FILE: file}


class Maker:
    """Makes changes of one export.

    Args:
        log: what the export is of.
        file: the export.
        folder: where a changed one is written; one maker a folder.
    """

    def __init__(self, log: MemoryLog, file: bytes, folder: Path) -> None:
        self._log, self._folder = log, folder
        self._parts = _parts(log, file)

    def change(self, part: str, at: int, new: int) -> Change:
        """The export with that byte there."""
        data = self._parts[part]
        changed = data[:at] + bytes([new]) + data[at + 1 :]
        made = _of_file(self._log, changed, self._folder) if part == ZIP_FILE else _of_part(self._log, part, changed)
        return Change(part, at, data[at], new, *made)


def _of_part(log: MemoryLog, part: str, changed: bytes) -> tuple[Log, bool]:
    made = MemoryLog(list(log.records), list(log.notes), dict(log.files))
    kind, _, name = part.partition(" ")
    if kind == "record":
        same = _signed_content(changed) == _signed_content(log.records[int(name)])
        made.records[int(name) : int(name) + 1] = changed.split(b"\n")
        return made, same
    if kind == "checkpoint":
        made.notes[int(name)] = changed.decode("utf-8", "replace")
    else:
        made.files[name] = changed
    return made, False


def _of_file(log: MemoryLog, changed: bytes, folder: Path) -> tuple[Log | None, bool]:
    path = folder / CHANGED
    path.write_bytes(changed)
    same = _content(path) == (log.records, log.notes, log.files)
    try:
        bundle = Bundle(path)
        made = MemoryLog([payload for _, payload in bundle.payloads()], bundle.checkpoints(), bundle.models())
        bundle.close()
    except CannotCheck:
        return None, same
    return made, same


def _content(path: Path) -> object:
    """What of a zip file is signed, as far as it can be unpacked at all: the verifiers refuse more than that."""
    try:
        with zipfile.ZipFile(path) as file:
            names = [name for name in sorted(file.namelist()) if name.startswith(("records", "checkpoints/", "models/"))]
            read = {name: file.read(name) for name in names}
    except Exception:  # whatever a damaged archive raises, it cannot be unpacked
        return None
    notes = [data.decode("utf-8", "replace") for name, data in read.items() if name.startswith("checkpoints/")]
    models = {name[7:-5]: data for name, data in read.items() if name.startswith("models/")}
    return read.get("records.jsonl", b"").split(b"\n")[:-1], notes, models


def _signed_content(payload: bytes) -> object:
    try:
        fields = json.loads(payload)
    except ValueError:
        return None
    return {name: value for name, value in fields.items() if name != "x"} if isinstance(fields, dict) else None


def unnoticed(change: Change, key: str, path: Path) -> list[str]:
    """Which verifiers let a change pass that is one of signed content."""
    by_file = change.part == ZIP_FILE
    codes = {}
    if change.log is not None:
        codes["first"] = first.verify(change.log, key=key).exit_code
    if by_file:
        try:
            codes["second"] = second.verify_bundle(path, key).exit_code
        except second.CannotCheck:
            codes["second"] = 2
    elif change.log is not None:
        rows = [payload for _, payload in change.log.payloads()]
        codes["second"] = second.verify(rows, change.log.checkpoints(), change.log.models(), key).exit_code
    return [] if change.same else [name for name, code in codes.items() if code == 0]


def remember() -> None:
    """Lets each verifier do once what depends on the same bytes alone: all but one record are the same every time."""
    for module, names in ((second, ("is_signed", "parse", "milliseconds")), (keyring, ("signed",)), (first, ("parse",))):
        for name in names:
            setattr(module, name, lru_cache(maxsize=4096)(getattr(module, name)))
    known = lru_cache(maxsize=4096)(second.evaluate)
    second.evaluate = lambda formula, answers: known(formula, tuple(answers))


class Judge:
    """Makes a change and asks both verifiers, in a folder of its own."""

    def __init__(self, gateway: Gateway, file: bytes) -> None:
        remember()
        self._folder = tempfile.TemporaryDirectory()
        self._maker = Maker(gateway.log, file, Path(self._folder.name))
        self._key = gateway.key_line

    def judged(self, draw: tuple[str, int, int]) -> tuple[str, list[str]]:
        """What kind of change a draw makes, and one line for each verifier that let it pass."""
        change = self._maker.change(*draw)
        kind = "unsigned" if change.same else "cannot be read" if change.log is None else change.part.split(" ")[0]
        passed = unnoticed(change, self._key, Path(self._folder.name) / CHANGED)
        return kind, [f"by the {verifier} verifier: {change}" for verifier in passed]


_judges: list[Judge] = []  # one in each process of the pool


def _begin(gateway: Gateway, file: bytes) -> None:
    _judges.append(Judge(gateway, file))


def _judged(draw: tuple[str, int, int]) -> tuple[str, list[str]]:
    return _judges[0].judged(draw)


def main(count: int = COUNT, seed: int = SEED) -> int:
    """Draws the changes, prints what became of them; 1 if one passed."""
    gateway = plant()
    begun, passed, drawn = time.monotonic(), 0, Counter[str]()
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "a.zip"
        export(gateway.log, path)
        file = path.read_bytes()
        assert first.verify(gateway.log, key=gateway.key_line).exit_code == 0
        assert second.verify_bundle(path, gateway.key_line).exit_code == 0
    with multiprocessing.get_context("fork").Pool(_JOBS, _begin, (gateway, file)) as pool:
        asked = draws(gateway.log, file, count, seed)
        for number, (kind, by) in enumerate(pool.imap_unordered(_judged, asked, chunksize=20), 1):
            drawn[kind] += 1
            passed += len(by)
            for line in by:
                print(f"UNNOTICED {line}", flush=True)
            if number % 1000 == 0:
                print(f"{number} changes, {passed} unnoticed, {time.monotonic() - begun:.0f} s", flush=True)
    kinds = ", ".join(f"{number} {kind}" for kind, number in drawn.most_common())
    print(
        f"{drawn.total()} changes of one byte of a {len(gateway.log.records)}-record export ({kinds}): {passed} passed unnoticed"
    )
    return int(passed > 0)


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:3])))
