"""Exporting a log as one file that an auditor verifies without the gateway.

An export begins at record 0: the enrolment of the key, the declarations and the chain that a later record depends on
lie before it. Exports of later ranges with inclusion proofs are not written yet.

The same content gives the same bytes, so that two exports can be compared by their SHA-256. The private key is never
near this code: a bundle holds records, checkpoints, public keys and model files.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from agent import checkpoint
from agent.bundle import KEPT, README, RECORDS
from agent.checkpoint import CheckpointError
from agent.log import Log
from agent.record import RecordError, parse
from agent.seal import base64url, from_base64url, key_name
from agent.story import kind_of
from config.language import _

_EPOCH = (1980, 1, 1, 0, 0, 0)
_LEVEL = 6

README_TEXT = """METERSEAL BUNDLE   {gateway}

{records} records, from record 0 on, {time_from} to {time_to}.
{checkpoints} signed checkpoints, {models} meter models.

TO VERIFY ALL OF IT, offline, on any machine with meterseal installed:

    meterseal verify THIS_FILE.zip --key "KEY LINE OF THE SIGNED ENROLMENT FORM"

Take the key line from the paper form (or from whoever you trust to have it). The files under keys/ come with the
records and prove nothing about who made them. If somebody outside the plant kept a checkpoint, add --checkpoint FILE.

    meterseal trace METER QUANTITY TIME --in THIS_FILE.zip --key "..."     shows one value down to the meter's bytes

TO VERIFY ONE RECORD WITHOUT OUR SOFTWARE (jq, OpenSSL 3, coreutils); record n is line n+1 of records.jsonl:

{recipe}
FILES

    records.jsonl        the records as sealed, one a line
    kept.txt             where records are gone: first n, how many (1 or 256), leaf hash or root; they have no line
    checkpoints/         size and root of the log, signed, oldest first (C2SP tlog-checkpoint), with witnesses' lines
    timestamps/          RFC 3161 responses over checkpoints, by their size, where an authority was asked
    keys/                the log's keys by name, for orientation only
    models/              the meter model files that the declarations quote by SHA-256

The format is specified in docs/record.md of meterseal; enough to write a verifier in another language.
Nothing here can show whether a meter itself told the truth.
"""

RECIPE = """\
sed -n '43p' records.jsonl > record.json
jq -cjS 'del(.sig,.x)' record.json > body
{ printf 'DSSEv1 40 application/vnd.meterseal.record.v1+json %d ' $(wc -c < body); cat body; } > pae
echo "$(jq -r .sig record.json | tr '_-' '/+')==" | base64 -d > sig
echo "$KEY" | cut -d+ -f3- | base64 -d | tail -c 32 > raw
{ printf '\\060\\052\\060\\005\\006\\003\\053\\145\\160\\003\\041\\000'; cat raw; } > public.der
openssl pkeyutl -verify -pubin -keyform DER -inkey public.der -rawin -in pae -sigfile sig
{ printf '\\0'; cat body; } | sha256sum        # the leaf hash: the next record's prev, in hexadecimal
"""


@dataclass(frozen=True, slots=True)
class Summary:
    """What was exported.

    Attributes:
        path: the file.
        records, checkpoints, models, keys: how many of each.
        size: bytes of the file.
        sha256: of the file, hexadecimal.
    """

    path: Path
    records: int
    checkpoints: int
    models: int
    keys: int
    size: int
    sha256: str


def export(log: Log, path: Path, stop: int | None = None) -> Summary:
    """Writes records 0 up to, not including, `stop` (None: all) with what belongs to them to a zip file.

    When it returns, the file is on disk under its name; before, only under a name ending in `.part`.

    Raises:
        OSError: it could not be written.
        ValueError: there is nothing to export.
    """
    end = log.size() if stop is None else min(stop, log.size())
    if end < log.size() and any(first < end for first, _end, _data in log.kept()):
        raise ValueError(_("records are gone, and a record behind {end} may say so: export the whole log", end=end - 1))
    if end < 1:
        raise ValueError(_("there is no record to export"))
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as bundle:
                counts = _write(bundle, log, end)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Summary(path, *counts, size=path.stat().st_size, sha256=digest)


def _write(bundle: zipfile.ZipFile, log: Log, end: int) -> tuple[int, int, int, int]:
    """Writes all members; counts of records, checkpoints, models and keys."""
    keys: dict[str, str] = {}
    gone: list[str] = []
    first = last = b""
    records = 0
    with bundle.open(_member(RECORDS), "w", force_zip64=True) as member:
        for _unused, payload in log.payloads(0, end):
            first, last, records = first or payload, payload, records + 1
            keys |= _key_in(payload) if kind_of(payload) == b"key" else {}
            member.write(payload.replace(b"\n", b" ") + b"\n")  # between tokens, where alone JSON has line ends
    for at, size, kept in (piece for piece in log.kept() if piece[0] < end):
        gone.append(f"{at} {size} {base64url(kept)}\n")
    gateway = str(_field(first, "gateway"))
    notes = list(_covered(log.checkpoints(), checkpoint.origin_of(gateway), end))
    models = sorted(log.models().items())
    text = README_TEXT.format(
        gateway=gateway,
        records=records,
        time_from=_field(first, "time"),
        time_to=_field(last, "time"),
        checkpoints=len(notes),
        models=len(models),
        recipe="".join(f"    {line}\n" for line in RECIPE.splitlines()),
    )
    _add(bundle, README, text.encode())
    if gone:
        _add(bundle, KEPT, "".join(gone).encode())
    for index, note in enumerate(notes):
        _add(bundle, f"checkpoints/{index:08d}.txt", note.encode())
    for size, response in sorted(log.timestamps().items()):
        if size <= end:
            _add(bundle, f"timestamps/{size}.tsr", response)
    for name, line in sorted(keys.items()):
        _add(bundle, f"keys/{name}.vkey", f"{line}\n".encode())
    for digest, model in models:
        _add(bundle, f"models/{digest}.yaml", model)
    return records, len(notes), len(models), len(keys)


def _member(name: str) -> zipfile.ZipInfo:
    """A member whose header depends on nothing but its name."""
    info = zipfile.ZipInfo(name, _EPOCH)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.create_system = 3
    info.external_attr = 0o644 << 16
    return info


def _add(bundle: zipfile.ZipFile, name: str, data: bytes) -> None:
    bundle.writestr(_member(name), data, compresslevel=_LEVEL)


def _covered(notes: list[str], origin: str, end: int) -> Iterator[str]:
    """The checkpoints of the exported records; what is not a checkpoint goes along, so that `verify` tells it."""
    for note in notes:
        try:
            if checkpoint.claimed(note, origin).size > end:
                continue
        except CheckpointError:
            pass
        yield note


def _key_in(payload: bytes) -> dict[str, str]:
    """Name and key line of the key that a key record brings; empty where it is malformed."""
    try:
        fields = parse(payload)
        public = from_base64url(str(fields.get("public")))
    except ValueError:
        return {}
    if len(public) != 32:
        return {}
    return {key_name(public): checkpoint.verifier_key(checkpoint.origin_of(str(fields.get("gateway"))), public)}


def _field(payload: bytes, name: str) -> object:
    try:
        return parse(payload).get(name, "unknown")
    except RecordError:
        return "unknown"
