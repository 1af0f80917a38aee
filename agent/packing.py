"""Which records are compressed at rest: those of closed months, once every destination has them.

 1. Whole blocks of 256 records go into `agent.block`, the oldest first, of months that are over where the plant is; the newest
    two never. A block of which records are gone, or are not what was sealed, or that is of more than 8 MB, stays as it is.
 2. A block is read, held against its leaf hashes and compressed beside the work; the writing thread only puts it in, in a
    transaction of its own behind what is to be sealed. Then it waits four times as long as that took, and a second at least.

What this file does not know: what a destination's cursor means (`agent.forward`), how long readings stay (`agent.retention`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any

from agent.block import pack
from agent.clock import Clock
from agent.ledger import Ledger
from agent.ledger_file import LedgerError, LedgerReader
from agent.prune import BLOCK
from agent.record import RecordError, leaf_hash, parse, parsed_body
from agent.timeline import milliseconds
from config.language import _

_STAY = 2 * BLOCK
_LOOK_SECONDS = 600.0
_LEAST_SECONDS = 1.0
_TIMES = 4
_LARGEST = 8_000_000  # bytes of payloads in one block: it is in memory several times over, and in each of its readers
_OPEN = 8  # blocks of the month that is not closed, behind which nothing is looked for: a clock may have been wrong for a while


@dataclass(frozen=True, slots=True)
class Block:
    """Records that can be packed.

    Attributes:
        first: the n of the first one.
        data: the block.
        before: the bytes of their payloads.
    """

    first: int
    data: bytes
    before: int


async def keep_packed(ledger: Ledger, zone: tzinfo, destinations: Sequence[str], clock: Clock, log: Any) -> None:
    """Packs closed months whenever one is over, until cancelled. `destinations`: those that must have acknowledged them."""
    while True:
        first = records = before = after = 0
        try:
            while not ledger.error:
                began = clock.monotonic()
                block = await asyncio.to_thread(next_block, ledger.path, month_begin(clock, zone), destinations, first)
                if block is None:
                    break
                await ledger.pack(block.first, block.data)
                first, records = block.first + BLOCK, records + BLOCK
                before, after = before + block.before, after + len(block.data)
                await clock.sleep(max(_LEAST_SECONDS, _TIMES * (clock.monotonic() - began)))
        except (LedgerError, ValueError) as error:
            log.warning(
                "ledger.not_packed", reason=str(error), hint=_("They stay as they are; it is tried again in ten minutes.")
            )
            if isinstance(error, LedgerError):
                ledger.found(error)
        if records:
            log.info("ledger.packed", records=records, before=before, after=after)
        await clock.sleep(_LOOK_SECONDS)


def month_begin(clock: Clock, zone: tzinfo) -> int:
    """When this month began, in milliseconds since 1970."""
    now = datetime.fromtimestamp(clock.now_ns() // 1_000_000_000, zone)
    return int(datetime(now.year, now.month, 1, tzinfo=zone).timestamp()) * 1000


def next_block(path: Path, closed_ms: int, destinations: Sequence[str], first: int) -> Block | None:
    """The next records of a ledger that can be packed; None where there are none.

    Args:
        path: the ledger.
        closed_ms: records before this time are of closed months.
        destinations: those that must have acknowledged what is packed.
        first: a multiple of 256; nothing before it is looked at.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    with closing(LedgerReader(path)) as reader:
        cursors = reader.cursors()
        end = min([reader.size() - _STAY, *(cursors.get(name, 0) for name in destinations)])
        not_closed = 0
        for at in range(max(first, reader.packed_end()), end - BLOCK + 1, BLOCK):
            if not _is_closed(reader, at, closed_ms):
                not_closed += 1
                if not_closed >= _OPEN:
                    return None
            elif block := _whole(reader, at):
                return block
    return None


def _is_closed(reader: LedgerReader, first: int, closed_ms: int) -> bool:
    """Whether the last record of a block is of a closed month; True where it is gone or no record."""
    for _unused, payload in reader.payloads(first + BLOCK - 1, first + BLOCK):
        try:
            return milliseconds(parse(payload)["time"]) < closed_ms
        except (RecordError, KeyError, ValueError):
            break
    return True


def _whole(reader: LedgerReader, first: int) -> Block | None:
    """A block, if all of its records are there, have the hashes they were sealed with, and are not too large together."""
    leaves, payloads, taken = reader.known_leaves(first, first + BLOCK), [], 0
    for n, payload in reader.payloads(first, first + BLOCK):
        taken += len(payload)
        if _leaf_of(payload) != leaves.get(n) or b"\n" in payload or taken > _LARGEST:
            return None
        payloads.append(payload)
    return Block(first, pack(payloads), taken) if len(payloads) == BLOCK else None


def _leaf_of(payload: bytes) -> bytes:
    try:
        return leaf_hash(parsed_body(parse(payload)))
    except RecordError:
        return b""
