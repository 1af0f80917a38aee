"""A plant with a past to look at: meters that were read for days, one of them silent now, and the status page over its ledger."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import structlog

from agent.clock import Trust
from agent.condition import Delivery, Seen
from agent.page import serve_page
from agent.state import LEDGER_FILE
from config.check import load_site
from tests.agent.counting import MODEL, Plant, Plate
from tests.agent.gateway import StillClock
from tests.brokers import free_port

SCRIPT = "<script>document.title='changed'</script><img src=http://127.0.0.1:9/leak>"
PLACES = ("配电房 1 号柜, main incomer", "Hall 3, compressor", SCRIPT)
SITE = """\
gateway: plant/gw1
timezone: Asia/Shanghai
every: 15m
links: {line1: {tcp: "127.0.0.1:1502", framing: rtu}}
mqtt: [{name: office, host: 127.0.0.1}]
meters:
"""


async def past_of(folder: Path, days: int) -> Plant:
    """Some days of three meters; the last one has been silent for two hours."""
    plates = [Plate(f"EM-00{number}", f"2311078{number}", "400/5", 100_000 * number) for number in (1, 2, 3)]
    for plate, place in zip(plates, PLACES, strict=True):
        plate.place = place
    plant = await Plant(folder / LEDGER_FILE, plates, "Asia/Shanghai").begin("first")
    for quarter in range(days * 96 + 41):
        wave = 60 + int(50 * math.sin(quarter / 15.0)) + quarter % 7
        plant.to_next()
        for plate, flow in zip(plates, (wave, 2 * wave // 3, wave // 4), strict=True):
            plate.count(flow)
        silent = quarter >= days * 96 + 33
        shed = 30 <= quarter % 96 < 34 and quarter > 96
        polls = [plant.poll(plate, silent=(silent and plate is plates[2]) or (shed and plate is plates[1])) for plate in plates]
        await asyncio.gather(*polls)
        plant.clock.move(61)
        await plant.closing.close()
    await plant.ledger.checkpoint()
    return plant


def write_site(folder: Path) -> Path:
    """The plant's site file."""
    (folder / "models").mkdir()
    (folder / "models" / "counting-meter.yaml").write_bytes(MODEL)
    meters = [
        f'  - {{id: EM-00{number}, link: line1, model: counting-meter, address: {number}, ct: 400/5, place: "{place}"}}\n'
        for number, place in enumerate(PLACES, 1)
    ]
    path = folder / "site.yaml"
    path.write_text(SITE + "".join(meters), "utf-8")
    return path


@asynccontextmanager
async def page_of(path: Path, clock: StillClock, host: str = "127.0.0.1") -> AsyncIterator[str]:
    """The page served over the ledger beside a site file; its address."""
    site, state = load_site(path), path.parent
    told: list[Any] = []

    def hear(_: Any, __: str, event: Any) -> Any:
        told.append(event)
        raise structlog.DropEvent

    def seen() -> Seen:
        return Seen(
            started=True,
            records=1,
            ledger=None,
            writer_s=0.0,
            links={"line1": {"open": True, "down": "", "busy_percent": 12, "waiting": 0, "overruns": 0, "meters": {}}},
            stalled={},
            deliveries=[Delivery("office", True, 0)],
            trust=Trust("synchronized", 8),
            state=state,
            free=50_000_000_000,
            size=100_000_000_000,
        )

    endpoint = f"{host}:{free_port()}"
    log = structlog.wrap_logger(None, processors=[hear])
    serving = asyncio.create_task(serve_page(endpoint, lambda: site, state, seen, clock, log))
    try:
        async with asyncio.timeout(30):
            while not told:
                await asyncio.sleep(0.01)
        yield f"http://{endpoint}"
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
