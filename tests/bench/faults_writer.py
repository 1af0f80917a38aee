"""A ledger at work in a process of its own, to be killed, starved and cut off: seals readings of one meter without end.

    python -m tests.bench.faults_writer STATE BATCH [hog|descriptors|packing]

After each append that returned it prints how many records the ledger has. It goes on where the ledger ends, as the agent does:
what the disk has damaged is saved first, and the loss sealed. When the disk refuses, it prints `refused` and tries again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent import checkpoint, damage
from agent.checkpoint import origin_of
from agent.ledger import Ledger
from agent.ledger_file import LedgerError, LedgerReader
from agent.packing import next_block
from agent.record import parse
from agent.seal import Key, base64url
from tests.agent.gateway import GATEWAY, StillClock
from tests.agent.ledgers import DIGEST, EVERY_MS, EVERY_S, MODEL, QUANTITIES, Gateway, stamp
from tests.agent.ledgers import START as BEGUN

KEY = Key(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
KEY_LINE = checkpoint.verifier_key(origin_of(GATEWAY), KEY.public)


class Drafts(Gateway):
    """What `Gateway` would seal, not sealed."""

    def append(self, kind: str, **fields: Any) -> Any:
        clock = {"state": self.trusted, "error_ms": 8, "boot": self.boot, "uptime_ms": self.uptime_ms}
        return {"kind": kind, "time": stamp(self.now), "clock": clock, **fields}

    def declare(self, meter: str, **changes: Any) -> Any:
        self.sources[meter] = {"id": meter, "serial": changes["serial"], "serial_from": "plate"}
        fields = {"id": meter, "model": "test-meter", "revision": 2, "digest": DIGEST, "trust": "B", "link": "line1"}
        fields |= {"place": "hall 3", "schedules": [{"every_ms": EVERY_MS, "quantities": list(QUANTITIES)}]}
        return self.append("meter", meter=fields | changes)


class Writer:
    """Seals readings into the ledger of a state directory."""

    def __init__(self, state: Path) -> None:
        self.path = state / "ledger.sqlite"
        self._gateway = Drafts(KEY)

    async def begin(self) -> Ledger:
        """The ledger, saved where it is damaged, with the agent's opening records."""
        self.path.with_name("key.vkey").write_text(KEY_LINE, "utf-8")
        damage.begin(self.path, 0)
        ledger = await Ledger.open(self.path, GATEWAY, KEY, 0.0)
        gateway = self._gateway
        with closing(LedgerReader(self.path)) as past:
            self._go_on(past)
            public = base64url(KEY.public)
            enrolled = gateway.append("key", action="enrol", algorithm="ed25519", public=public, who="tester")
            opening = [] if ledger.size else [enrolled]
            opening.append(gateway.started("crash" if ledger.size else "first"))
            if owed := past.owed():
                opening.append(gateway.append("loss", **owed))
        declared = gateway.declare("rtu-1", serial="EM-77", framing="rtu", address="1", ct="400/5")
        leaf = (await ledger.append(*opening, declared))[-1].leaf
        await ledger.keep_model(DIGEST, MODEL)
        gateway.declared["rtu-1"] = base64url(leaf)
        return ledger

    def _go_on(self, past: LedgerReader) -> None:
        """Goes on a quarter of an hour behind the newest record, in another boot; what came between was not due."""
        gateway, size = self._gateway, past.size()
        gateway.boot = f"{size:08x}"
        gateway.after(0.3)
        for n in range(size - 1, -1, -1):
            for _, payload in past.payloads(n, n + 1):
                fields = parse(payload)
                gateway.now = max(gateway.now, datetime.fromisoformat(fields["time"]))
                if fields["kind"] == "reading":
                    gateway.now = max(
                        gateway.now, datetime.fromisoformat(fields["due"]) + timedelta(seconds=EVERY_S, milliseconds=300)
                    )
                    return

    @property
    def clock(self) -> StillClock:
        """A clock that stands where the newest draft does; who moves it moves no draft."""
        now = int((self._gateway.now - datetime.fromtimestamp(0, UTC)) / timedelta(milliseconds=1))
        clock = StillClock(now * 1_000_000)
        clock.boot, clock.uptime_ns = self._gateway.boot, self._gateway.uptime_ms * 1_000_000
        return clock

    def readings(self) -> Iterator[Any]:
        """Readings of the meter at one instant after the other."""
        gateway = self._gateway
        while True:
            yield gateway.reading("rtu-1", energy=18422357 + (gateway.due - BEGUN) // timedelta(seconds=EVERY_S))
            gateway.after(EVERY_S)


async def main(state: Path, batch: int, fault: str = "") -> None:
    """Seals until it is killed. `fault`: takes ever more memory (`hog`), or all file descriptors (`descriptors`).

    `packing`: whatever can be packed is, behind each append.
    """
    writer = Writer(state)
    ledger = await writer.begin()
    readings = writer.readings()
    held: list[object] = []
    if fault == "descriptors":
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        with contextlib.suppress(OSError):
            while True:
                held.append(open(os.devnull))  # noqa: SIM115  all of them stay open
        print("exhausted", flush=True)
    print(ledger.size, flush=True)
    while True:
        if fault == "hog":
            held.append(bytearray(os.urandom(1 << 20)))
        drafts = [next(readings) for _ in range(batch)]
        while True:
            try:
                await ledger.append(*drafts)
                break
            except LedgerError as error:
                print("refused", str(error)[:100], flush=True)
                await asyncio.sleep(0.2)
        while fault == "packing" and (block := next_block(writer.path, 2**62, [], 0)):
            await ledger.pack(block.first, block.data)
        print(ledger.size, flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:]))
