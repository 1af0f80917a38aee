"""A year of a plant of 50 meters that are read every quarter of an hour, sealed, verified and summed up: `make year`.

It goes through the agent's own book, courses and ledger on a clock that does not wait, with outages, a crash, silent meters,
spurious zeros, a rollover, a reset, a replacement, a wrong transformer ratio that is corrected, two key rotations and both
changes of the clock. `verify` must find nothing, and consumption per month must be what truly flowed, to the last digit. Time and
memory are shown beside those of bare Ed25519 and SHA-256 over as many bytes.

Then the same year is verified once for each fraud of `tests.agent.frauds`, and each must be found and named. What stands in front
of the fraud is the same in all of them, so it is verified once: in front of the last weeks the process divides itself, and each
part goes on with the weeks as one fraud left them. The checkpoints are those that were signed: somebody else has kept them.

    python -m tests.bench.year [--days 365] [--meters 50] [--folder DIRECTORY]
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import date
from pathlib import Path

from agent import checkpoint
from agent.ahead import Ahead
from agent.ledger_file import LedgerReader
from agent.record import parse
from agent.report import Report
from agent.seal import base64url, pre_authentication
from agent.verify import Log, verify
from tests.agent.frauds import FRAUDS, ORIGIN, Before, Fraud
from tests.agent.ledgers import new_key
from tests.agent.long_run import LATE, LongRun

_FIRST = date(2026, 1, 10)
_LEAST_DAYS = 40
_BARE = 5000
_JOBS = 2


def main() -> int:
    """Runs it; 0 if all is as it must be."""
    words = argparse.ArgumentParser(description="A simulated year.")
    words.add_argument("--days", type=int, default=365)
    words.add_argument("--meters", type=int, default=50)
    words.add_argument("--folder", type=Path, help="where the ledger is written; else a directory that goes away")
    asked = words.parse_args()
    if asked.days < _LEAST_DAYS or asked.meters < len(("turning", "set back", "replaced", "misread")):
        words.error(
            f"at least {_LEAST_DAYS} days, so that whole months can be compared, and 4 meters, for each has its own story"
        )
    with tempfile.TemporaryDirectory() as away:
        return _year((asked.folder or Path(away)) / "ledger.sqlite", asked.meters, asked.days)


def _year(path: Path, meters: int, days: int) -> int:
    began = time.process_time()
    run = LongRun(path, meters, days, _FIRST)
    asyncio.run(run.run())
    sealing = time.process_time() - began
    key = checkpoint.verifier_key(ORIGIN, run.keys[0].public)
    with run.plant.past() as past:
        size, bytes_each = past.size(), len(past.payload(past.size() // 2))
        print(f"{size} records of {meters} meters over {days} days, {path.stat().st_size >> 20} MiB, {_memory()}")
        print(f"  happened: {', '.join(f'{what} {count}' for what, count in sorted(run.tale.happened.items()))}")
        sign, check = _bare(bytes_each)
        print(f"sealed in {sealing:.0f} s of CPU, {size / sealing:.0f}/s; bare Ed25519 and SHA-256 sign {1 / sign:.0f}/s")
        clean = _verified(past, key, run, size, check)
    exact = _summed(run)
    began = time.monotonic()
    clean &= _defrauded(path, key, run, size, check)
    print(f"all of that in {time.monotonic() - began:.0f} s")
    return 0 if clean and exact else 1


def _verified(past: LedgerReader, key: str, run: LongRun, size: int, check: float) -> bool:
    """`meterseal verify --jobs`: whether it finds nothing."""
    began = time.monotonic()
    ahead = Ahead(past, [each.public for each in run.keys[:1]], _JOBS)
    report = verify(ahead, key=key, is_signed=ahead.is_signed)
    passed = time.monotonic() - began
    bare = f"bare Ed25519 and SHA-256 take {size * check:.0f} s in one"
    print(f"verified in {passed:.0f} s with {_JOBS} processes for signatures, {size / passed:.0f}/s; {bare}; {_memory()}")
    return _clean(report)


def _clean(report: Report) -> bool:
    print(f"  findings: {report.findings.total}, exit code {report.exit_code}", flush=True)
    return report.exit_code == 0


def _summed(run: LongRun) -> bool:
    """`meterseal consumption --per month`: whether it is what truly flowed."""
    began = time.process_time()
    told, true = run.told(), run.months()
    wrong = {key for key in true if told.get(key) != true[key]}
    passed = time.process_time() - began
    print(f"summed up in {passed:.0f} s of CPU: {len(true)} months of meters, {len(true) - len(wrong)} of them to the last digit")
    for meter, month in sorted(wrong)[:10]:
        print(f"  {meter} {month:%Y-%m}: told {told.get((meter, month))}, true {true[meter, month]}")
    return bool(true) and not wrong


# --- frauds ---------------------------------------------------------------------------------------------------


class Divided:
    """A log at one record of which the process divides itself: one part for each fraud, one that goes on with the truth.

    Attributes:
        named: in a part that a fraud was given to, what it is called and the class it must be named by; else None.
        failed: how many of the parts did not find theirs.
    """

    def __init__(self, path: Path, run: LongRun, at: int) -> None:
        self._path, self._run, self._at = path, run, at
        self._log = LedgerReader(path)
        self.named: tuple[str, str] | None = None
        self.failed = 0
        log: Log = self._log
        self.size, self.checkpoints, self.models, self.timestamps = log.size, log.checkpoints, log.models, log.timestamps
        self.kept = log.kept

    def payloads(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, bytes]]:
        """The records; from the dividing one on those that a fraud left, where this is its part."""
        yield from self._log.payloads(start, self._at)
        parts: list[int] = []
        for commit, resealed, named in FRAUDS:
            part = os.fork()
            if not part:
                self.named = commit.__name__.replace("_", " "), named
                yield from enumerate(self._left(commit, resealed), self._at)
                return
            parts.append(part)
            if len(parts) >= _JOBS:
                self._wait(parts.pop(0))
        for part in parts:
            self._wait(part)
        yield from self._log.payloads(self._at, stop)

    def _wait(self, part: int) -> None:
        self.failed += os.waitstatus_to_exitcode(os.waitpid(part, 0)[1]) != 0

    def _left(self, commit: Callable[[Fraud], None], resealed: bool) -> list[bytes]:
        """The last records as a fraud left them."""
        with closing(LedgerReader(self._path)) as log:  # a connection must not be taken along from the process before
            fraud = Fraud((payload for _, payload in log.payloads(self._at)), self._run.keys, before(log, self._at))
        commit(fraud)
        return fraud.resealed()[0] if resealed else fraud.lines()


def before(log: LedgerReader, at: int) -> Before:
    """What stands in front of a record of a ledger."""
    declared: dict[str, str] = {}
    rotations = 0
    for n, payload in log.kind_records("meter", newest_first=False):
        if n < at:
            declared[parse(payload)["meter"]["id"]] = base64url(log.leaf(n))
    for n, payload in log.kind_records("key"):
        rotations += n < at and parse(payload)["action"] == "rotate"
    return Before(at, log.leaf(at - 1), declared, rotations)


def _defrauded(path: Path, key: str, run: LongRun, size: int, check: float) -> bool:
    """The year by one process, which must find nothing, and with each fraud, which must be found and named."""
    sys.stdout.flush()
    days = run.tale.days
    divided = Divided(path, run, size * (int(days * LATE) - 1) // days)
    began = time.process_time()
    report = verify(divided, key=key)
    if divided.named:
        fraud, kind = divided.named
        first = next(iter(report.findings.kept.get(kind, ())), None)
        print(f"  {'found' if first else 'NOT FOUND'}: {fraud}\n    {kind}  {first or report.verdict}", flush=True)
        os._exit(0 if first and report.exit_code == 1 else 1)
    passed = time.process_time() - began
    print(
        f"verified in {passed:.0f} s of CPU by one process, {size / passed:.0f}/s; bare ones check {1 / check:.0f}/s, {_memory()}"
    )
    print(f"{len(FRAUDS)} frauds, each in that same year: {len(FRAUDS) - divided.failed} found and named")
    return _clean(report) and not divided.failed


def _bare(length: int) -> tuple[float, float]:
    """Seconds of CPU to sign and hash, and to check and hash, one record's worth of bytes."""
    key, data = new_key(), pre_authentication(b"x" * length)
    public = key.private.public_key()
    began = time.process_time()
    signatures = [(hashlib.sha256(data).digest(), key.sign(data))[1] for _ in range(_BARE)]
    signed = time.process_time()
    for signature in signatures:
        hashlib.sha256(data).digest()
        public.verify(signature, data)
    return (signed - began) / _BARE, (time.process_time() - signed) / _BARE


def _memory() -> str:
    return f"at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MiB of memory"


if __name__ == "__main__":
    sys.exit(main())
