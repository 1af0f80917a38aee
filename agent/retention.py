"""Which readings go: those older than the site says, and the oldest ones when the ledger's room comes to its end.

 1. Whole blocks of 256 records go, the oldest first, readings and gaps only; the newest two blocks stay always.
 2. By age nothing goes that a destination has not acknowledged yet.
 3. When four fifths of the room are used, the oldest delivered ones go. What was not delivered goes only when nineteen
    twentieths are used, or the disk takes no more: then old readings make room for new ones. That is told at once, and
    the `prune` record says how many they were.

What this file does not know: how records are taken away (`agent.pruning`), what a destination's cursor means (`agent.forward`).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import Any

from agent import draft
from agent.clock import Clock
from agent.ledger import Ledger
from agent.ledger_file import LedgerError, LedgerReader
from agent.prune import BLOCK
from agent.record import parse
from agent.seal import Record
from agent.timeline import milliseconds
from config.language import _
from config.site import Site

MONTH_MS = 2_629_746_000  # a twelfth of a year of the calendar
_STAY = 2 * BLOCK
_BLOCKS_AT_ONCE = 8
_LOOK_SECONDS = 60.0
FULL, NO_MORE = (4, 5), (19, 20)


async def keep_room(ledger: Ledger, site: Site, clock: Clock, log: Any) -> None:
    """Takes away what has to go, whenever it has to."""
    while True:
        try:
            while await take_away(ledger, site.keep.months, [broker.name for broker in site.mqtt], clock, log):
                pass
        except (LedgerError, ValueError) as error:
            log.warning("ledger.not_pruned", reason=str(error), hint=_("It is tried again in a minute."))
            if isinstance(error, LedgerError):
                ledger.found(error)  # else old readings never go, and one day there is no room for new ones
        await clock.sleep(_LOOK_SECONDS)


async def take_away(ledger: Ledger, months: int, destinations: Sequence[str], clock: Clock, log: Any) -> Record | None:
    """Takes the oldest blocks away, if they have to go; the `prune` record, None where nothing has to.

    Args:
        ledger: the ledger.
        months: readings that are older go.
        destinations: those that must have acknowledged what goes.
        clock: what time it is.
        log: is told.

    Raises:
        LedgerError: the disk refused.
        ValueError: hashes of the oldest block are missing.
    """
    use = await ledger.use()
    with closing(LedgerReader(ledger.path)) as reader:
        first = next((parse(payload)["end"] for _unused, payload in reader.kind_records("prune")), 0)
        end = min(first + _BLOCKS_AT_ONCE * BLOCK, (reader.size() - _STAY) // BLOCK * BLOCK)
        cursors = reader.cursors()
        delivered = min((cursors.get(name, 0) for name in destinations), default=end)
        if end <= first:
            return None
        sent = min(end, delivered // BLOCK * BLOCK)
        oldest_ms = clock.now_ns() // 1_000_000 - months * MONTH_MS
        aged = [last for last in range(first + BLOCK, sent + 1, BLOCK) if _time(reader, last - 1) < oldest_ms]
    if ledger.error:
        sent = min(sent, first + BLOCK)  # a small step: there is hardly room to write down that they go
    if use.used * FULL[1] > use.budget * FULL[0] and sent > first:
        why, end = "room", sent
    elif aged:
        why, end = "age", aged[-1]
    elif use.used * NO_MORE[1] > use.budget * NO_MORE[0] or (ledger.error and not ledger.error.damaged):
        why, end = "room", first + BLOCK
    else:
        return None
    missing = max(0, end - max(first, delivered))
    record = await ledger.prune(first, end, lambda blocks: draft.prune(clock, first, end, blocks, why, missing))
    told = {"first": first, "end": end, "why": why}
    if missing:
        hint = _(
            "There is no room left: these readings never reached their destination. Bring the connection back, or a larger disk."
        )
        log.error("ledger.pruned_undelivered", **told, undelivered=missing, hint=hint)
    else:
        log.info("ledger.pruned", **told)
    return record


def _time(reader: LedgerReader, n: int) -> int:
    """The time of record n in milliseconds, or of the next one that is there."""
    for _unused, payload in reader.payloads(n):
        return milliseconds(parse(payload)["time"])
    return 2**62
