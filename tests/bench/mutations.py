"""Every byte of an export counts: changes of one byte of a 200-record export, and both verifiers over each of them.

    python -m tests.bench.mutations [COUNT [SEED]]

A change is drawn from all bytes of the records, checkpoints and model files, and from those of the zip file itself. None
may pass: each verifier has to find something, or to say that it cannot check. Let pass is only what changes nothing that
is signed: JSON white space, and in the zip file what holds none of the content (README, key lines, dates of members).
"""

from __future__ import annotations

import json
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

RECORDS, COUNT, SEED = 200, 20_000, 6
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


def changes(log: MemoryLog, file: bytes, folder: Path, count: int, seed: int) -> Iterator[Change]:
    """So many changes, each of another place or to another byte."""
    drawn, seen = random.Random(seed), set[tuple[str, int, int]]()
    parts = {f"record {n}": payload for n, payload in enumerate(log.records)}
    parts |= {f"checkpoint {n}": note.encode() for n, note in enumerate(log.notes)}
    parts |= {f"model {name}": data for name, data in log.files.items()}
    names, lengths = list(parts), [len(data) for data in parts.values()]
    while len(seen) < count:
        of_file = len(seen) % OF_THE_FILE == 0
        part = "zip file" if of_file else drawn.choices(names, lengths)[0]
        data = file if of_file else parts[part]
        at, new = drawn.randrange(len(data)), drawn.randrange(256)
        if data[at] == new or (part, at, new) in seen:
            continue
        seen.add((part, at, new))
        changed = data[:at] + bytes([new]) + data[at + 1 :]
        made = _of_file(log, changed, folder) if of_file else _of_part(log, part, changed)
        yield Change(part, at, data[at], new, *made)


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
    path = folder / "changed.zip"
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
    by_file = change.part == "zip file"
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


def main(count: int = COUNT, seed: int = SEED) -> int:
    """Draws the changes, prints what became of them; 1 if one passed."""
    remember()
    gateway = plant()
    begun, passed, drawn = time.monotonic(), 0, Counter[str]()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        export(gateway.log, folder / "a.zip")
        file = (folder / "a.zip").read_bytes()
        assert first.verify(gateway.log, key=gateway.key_line).exit_code == 0
        assert second.verify_bundle(folder / "a.zip", gateway.key_line).exit_code == 0
        for number, change in enumerate(changes(gateway.log, file, folder, count, seed), 1):
            drawn["unsigned" if change.same else "cannot be read" if change.log is None else change.part.split(" ")[0]] += 1
            for verifier in unnoticed(change, gateway.key_line, folder / "changed.zip"):
                passed += 1
                print(f"UNNOTICED by the {verifier} verifier: {change}", flush=True)
            if number % 1000 == 0:
                print(f"{number} changes, {passed} unnoticed, {time.monotonic() - begun:.0f} s", flush=True)
    kinds = ", ".join(f"{number} {kind}" for kind, number in drawn.most_common())
    print(f"{count} changes of one byte of a {len(gateway.log.records)}-record export ({kinds}): {passed} passed unnoticed")
    return int(passed > 0)


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:3])))
