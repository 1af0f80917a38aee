"""A support bundle: what somebody who was not there needs to find out why a meter is not read. Nothing secret is in it.

    README.txt            what is in it, and how to look at it
    versions.json         of meterseal, its libraries, SQLite, Python, the kernel; which variables are set, without values
    site.yaml             the site file without remarks; user names are replaced by ***
    doctor.txt            what `meterseal doctor --offline` says
    status.txt            what `meterseal status` says
    figures.json          records by kind, sizes, how far each broker has acknowledged, how the lines stand
    records.jsonl         each meter's declaration and its newest readings and gaps with their frames, as sealed
    models/<sha256>.yaml  the meter models that the declarations quote

Keys, recovery codes, passwords and certificates are never looked at: only the files and records named here are read.
`meterseal replay` runs the frames through the drivers again.
"""

from __future__ import annotations

import json
import os
import platform
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from agent import __version__
from agent.ledger_file import LedgerReader
from agent.record import RecordError, parse
from config.mistake import ConfigError
from config.text import Tree, read_text

README, RECORDS = "README.txt", "records.jsonl"
HIDDEN = "***"
_SECRET_KEYS = frozenset({"username", "user", "password", "key", "secret", "token"})
_LIBRARIES = ("pymodbus", "paho-mqtt", "pyserial", "tenacity", "pydantic", "cryptography", "PyYAML", "click", "asyncua")
_LAST = 20
_NOT_PASSED_ON = "# not passed on, for it cannot be read: {}\n"
_WORDS = """\
A support bundle of meterseal: what a person needs who was not there. It holds no key, no password and no recovery code; it does
hold the names and addresses of meters, hosts and places, and meters' values of the last readings.

    meterseal replay BUNDLE      runs the frames through the drivers again and tells where the results differ
"""


def members(
    site: Path, reader: LedgerReader | None, texts: Mapping[str, str], live: Mapping[str, Any] | None
) -> dict[str, bytes]:
    """The bundle's files by name.

    Args:
        site: the site file.
        reader: the ledger; None where there is none.
        texts: further texts by their file's name, such as what the doctor says.
        live: what the running agent tells of itself; None where none runs.
    """
    made = {README: _WORDS.encode(), "versions.json": _json(versions()), "site.yaml": redacted(_read(site)).encode()}
    made |= {name: text.encode() for name, text in texts.items()}
    if reader is None:
        return made
    made["figures.json"] = _json({**figures(reader), "live": live})
    kept = list(records(reader))
    made[RECORDS] = b"".join(payload + b"\n" for payload in kept)
    wanted = {parse(payload)["meter"].get("digest") for payload in kept}
    return made | {f"models/{digest}.yaml": text for digest, text in reader.models().items() if digest in wanted}


def _json(content: object) -> bytes:
    return json.dumps(content, indent=2, sort_keys=True, default=str).encode()


def _read(site: Path) -> bytes:
    try:
        return site.read_bytes()
    except OSError:
        return b""


def redacted(text: bytes) -> str:
    """A site file without remarks, and without the values of keys that name a user or a secret.

    A file that cannot be read as one is not passed on: nobody knows what stands where in it.
    """
    try:
        document = read_text(text, "site.yaml")
    except ConfigError as error:
        return _NOT_PASSED_ON.format(error.mistakes[0].message)
    return str(yaml.safe_dump(_hidden(document.value), sort_keys=False, allow_unicode=True, width=120))


def _hidden(value: Tree) -> Tree:
    if isinstance(value, dict):
        return {
            key: HIDDEN if key.lower() in _SECRET_KEYS or "password" in key.lower() else _hidden(each)
            for key, each in value.items()
        }
    return [_hidden(each) for each in value] if isinstance(value, list) else value


def versions() -> dict[str, Any]:
    """What runs here."""
    return {
        "meterseal": __version__,
        "libraries": {name: found for name in _LIBRARIES if (found := _version(name))},
        "sqlite": sqlite3.sqlite_version,
        "python": platform.python_version(),
        "system": platform.platform(),
        "machine": platform.machine(),
        "variables": sorted(name for name in os.environ if name.startswith("METERSEAL_")),
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def figures(reader: LedgerReader) -> dict[str, Any]:
    """Sizes and counts of a ledger."""
    note = reader.newest_checkpoint()
    newest = Counter(str(_fields(payload).get("kind", "damaged")) for _, payload in reader.payloads(max(0, reader.size() - 5000)))
    return {
        "records": reader.size(),
        "checkpoint": int(note.split("\n")[1]) if note else 0,
        "newest_5000_by_kind": dict(newest),
        "delivered": reader.cursors(),
    }


def records(reader: LedgerReader) -> Iterator[bytes]:
    """Of each meter its newest declaration, and its newest readings and gaps, as sealed and in their order."""
    for meter in reader.meters():
        declared = next(iter(reader.meter_records(meter, "meter", newest_first=True)), None)
        if declared is None:
            continue
        newest = reader.meter_records(meter, newest_first=True)
        # Frames that belong to an older declaration would be read by the wrong model.
        mine = ((n, payload) for n, payload in newest if n > declared[0])
        told = [
            (n, payload) for n, payload in islice(mine, 20 * _LAST) if _fields(payload).get("kind") in ("reading", "gap", "spot")
        ]
        yield declared[1]
        yield from (payload for _, payload in reversed(told[:_LAST]))


def _fields(payload: bytes) -> Mapping[str, Any]:
    try:
        return parse(payload)
    except RecordError:
        return {}
