"""A gateway, its broker and a collector, for tests of the way from the ledger to the collector's copy and back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import structlog
from structlog.testing import LogCapture

from agent.checkpoint import origin_of, verifier_key
from agent.clock import Clock
from agent.collect import KEY, CollectorAtWork, folder_of
from agent.collect_copy import Store
from agent.forward import Forwarder
from agent.ledger_file import LedgerError, LedgerReader
from agent.receipt_desk import ReceiptDesk
from agent.state import LEDGER_FILE
from config.collect import CollectFile
from config.site import Mqtt
from tests.agent.delivery import FastClock, Plant, running
from tests.agent.gateway import GATEWAY


class Collecting:
    """What the parts of the way tell, and what the copy holds."""

    def __init__(self, folder: Path, port: int, plant: Plant) -> None:
        self.state, self.port, self.plant = folder / "collector", port, plant
        self.line = KEY.make(self.state, "plant-it/collector")
        self.key_line = verifier_key(origin_of(GATEWAY), plant.key.public)
        self.events = LogCapture()

    @property
    def copy(self) -> Path:
        return folder_of(self.state, GATEWAY)

    def told(self, name: str) -> list[dict[str, Any]]:
        """What stands in either journal under a name."""
        return [dict(entry) for entry in self.events.entries if entry["event"] == name]

    def stored(self) -> list[bytes]:
        """The copy's records; none where there is no copy yet."""
        try:
            with contextlib.closing(LedgerReader(self.copy / LEDGER_FILE)) as reader:
                return [payload for _, payload in reader.payloads()]
        except LedgerError:
            return []

    def delivered(self) -> int:
        """The gateway's cursor on disk."""
        with contextlib.closing(LedgerReader(self.plant.path)) as reader:
            return reader.cursors().get("broker", 0)

    def log(self) -> structlog.typing.FilteringBoundLogger:
        return structlog.wrap_logger(None, processors=[self.events], wrapper_class=structlog.make_filtering_bound_logger(0))

    @contextlib.asynccontextmanager
    async def gateway(self, clock: Clock | None = None, **site: Any) -> AsyncIterator[Forwarder]:
        """The gateway delivers, and hears receipts."""
        forwarder = self.plant.forwarder(self.port, clock, collector=self.line, **site)
        destination = Mqtt(host="127.0.0.1", port=self.port, keepalive=30, collector=self.line)
        desk = ReceiptDesk(destination, self.line, self.plant.ledger, forwarder, clock or FastClock(), None, self.log())
        async with running(forwarder), at_work(desk.run):
            yield forwarder

    @contextlib.asynccontextmanager
    async def collector(
        self,
        store_of: Callable[[str], Store] | None = None,
        share: str | None = None,
        client: str = "",
        postgres: str | None = None,
        **site: Any,
    ) -> AsyncIterator[CollectorAtWork]:
        """The collector collects, on a clock that runs twenty times as fast."""
        destination = Mqtt(host="127.0.0.1", port=self.port, keepalive=30, **site)
        declared = CollectFile(mqtt=destination, gateways=(self.key_line,), share=share, postgres=postgres)
        made = CollectorAtWork(declared, self.state, FastClock(20.0), None, self.log(), store_of, client)
        async with at_work(made.run):
            yield made


@contextlib.asynccontextmanager
async def at_work(run: Callable[[], Any]) -> AsyncIterator[None]:
    """Something works; at the end it is cancelled, and had not ended before."""
    task = asyncio.create_task(run())
    try:
        yield
        assert not task.done(), task.result()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
