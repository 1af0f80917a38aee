"""A year of a plant of 50 meters that are read every quarter of an hour, sealed, verified and summed up: `make year`.

It goes through the agent's own book, courses and ledger on a clock that does not wait, with outages, a crash, silent meters,
spurious zeros, a rollover, a reset, a replacement, a wrong transformer ratio that is corrected, two key rotations and both
changes of the clock. In the end `verify` must find nothing, and consumption per month must be what truly flowed, to the last
digit. Time and memory are shown beside those of bare Ed25519 and SHA-256 over as many bytes.

    python -m tests.bench.year [--days 365] [--meters 50] [--folder DIRECTORY]
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import resource
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

from agent import checkpoint
from agent.seal import pre_authentication
from agent.verify import verify
from tests.agent.gateway import GATEWAY
from tests.agent.ledgers import new_key
from tests.agent.long_run import LongRun

_FIRST = date(2026, 1, 10)
_BARE = 5000


def main() -> int:
    """Runs it; 0 if all is as it must be."""
    words = argparse.ArgumentParser(description="A simulated year.")
    words.add_argument("--days", type=int, default=365)
    words.add_argument("--meters", type=int, default=50)
    words.add_argument("--folder", type=Path, help="where the ledger is written; else a directory that goes away")
    asked = words.parse_args()
    with tempfile.TemporaryDirectory() as away:
        return _year((asked.folder or Path(away)) / "ledger.sqlite", asked.meters, asked.days)


def _year(path: Path, meters: int, days: int) -> int:
    run, sealing = _sealed(path, meters, days)
    with run.plant.past() as past:
        size, bytes_each = past.size(), len(past.payload(past.size() // 2))
        print(f"{size} records of {meters} meters over {days} days, {path.stat().st_size >> 20} MiB, {_memory()}")
        print(f"  happened: {', '.join(f'{what} {count}' for what, count in sorted(run.tale.happened.items()))}")
        sign, check = _bare(bytes_each)
        print(f"sealed in {sealing:.0f} s of CPU, {size / sealing:.0f}/s; bare Ed25519 and SHA-256 sign {1 / sign:.0f}/s")
        began = time.process_time()
        report = verify(past, key=checkpoint.verifier_key(f"meterseal/{GATEWAY}", run.keys[0].public))
        passed = time.process_time() - began
        print(f"verified in {passed:.0f} s of CPU, {size / passed:.0f}/s; bare ones check {1 / check:.0f}/s, {_memory()}")
        print(f"  findings: {report.findings.total}, exit code {report.exit_code}", flush=True)
    began = time.process_time()
    told, true = run.told(), run.months()
    wrong = {key for key in true if told[key] != true[key]}
    passed = time.process_time() - began
    print(f"summed up in {passed:.0f} s of CPU: {len(true)} months of meters, {len(true) - len(wrong)} of them to the last digit")
    for meter, month in sorted(wrong)[:10]:
        print(f"  {meter} {month:%Y-%m}: told {told[meter, month]}, true {true[meter, month]}")
    return 1 if wrong or report.exit_code else 0


def _sealed(path: Path, meters: int, days: int) -> tuple[LongRun, float]:
    """The run, and how many seconds of CPU it took."""
    began = time.process_time()
    run = LongRun(path, meters, days, _FIRST)
    asyncio.run(run.run())
    return run, time.process_time() - began


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
