"""When the agent asks for checkpoints while it is at work, and has the newest one stamped by an authority.

Beside what `agent.rhythm` prescribes: every five minutes, and at the plant's midnight, so that a closed day is covered at once.
"""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import closing
from datetime import datetime, timedelta, tzinfo

from structlog.typing import FilteringBoundLogger

from agent.clock import Clock
from agent.findings import CannotCheck
from agent.ledger import Ledger
from agent.ledger_file import LedgerError, LedgerReader
from agent.timestamp import NoTimestamp, ask
from config.language import _
from config.site import Timestamp

_EVERY_SECONDS = 300.0
_AFTER_MIDNIGHT = 1.0
_AGAIN_SECONDS = 600.0


def until_midnight(now_ns: int, zone: tzinfo) -> float:
    """Seconds from a moment (nanoseconds since 1970) to the zone's next midnight."""
    here = datetime.fromtimestamp(now_ns / 1_000_000_000, zone)
    midnight = datetime.combine(here.date() + timedelta(days=1), datetime.min.time(), zone)
    return midnight.timestamp() - now_ns / 1_000_000_000


async def keep_checkpoints(ledger: Ledger, clock: Clock, zone: tzinfo) -> None:
    """A checkpoint at once, every five minutes and at every midnight, if anything was sealed since the one before."""
    while True:
        with contextlib.suppress(LedgerError):  # the disk: whoever seals next tells of it, and the agent stays up
            await ledger.checkpoint()
        await clock.sleep(min(_EVERY_SECONDS, until_midnight(clock.now_ns(), zone) + _AFTER_MIDNIGHT))


async def keep_timestamped(authority: Timestamp, ledger: Ledger, clock: Clock, log: FilteringBoundLogger) -> None:
    """Has the newest checkpoint stamped at once and then as often as the site says; after a failure again in ten minutes."""
    while True:
        seconds = authority.every / 1000
        try:
            await ledger.checkpoint()
            size = await _stamp(authority.url, ledger)
            log.info("timestamp.taken", authority=authority.url, records=size)
        except (NoTimestamp, CannotCheck, LedgerError) as error:
            log.warning("timestamp.failed", authority=authority.url, why=str(error), hint=_("It is asked again in ten minutes."))
            seconds = min(seconds, _AGAIN_SECONDS)
        await clock.sleep(seconds)


async def _stamp(url: str, ledger: Ledger) -> int:
    """Has the newest checkpoint stamped; its size."""
    with closing(LedgerReader(ledger.path)) as reader:
        note = reader.newest_checkpoint()
    if note is None:
        raise NoTimestamp(_("there is no checkpoint yet"))
    size = int(note.split("\n")[1])
    await ledger.keep_timestamp(size, await asyncio.to_thread(ask, url, note))
    return size
