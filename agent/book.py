"""The book of each meter: every poll that was due ends in a sealed reading or inside a sealed gap.

 1. A reading closes an open gap in the same transaction, with the count of missed polls.
 2. The first miss opens a gap and keeps the frames that were exchanged; further misses of the same cause only count.
 3. Instants nobody tried (the agent was off, the line was overrun, the disk refused) are counted from the schedule
    when the next poll is told, so after a crash the hole is bounded by what the ledger holds.

What this file does not know: how meters are asked (`agent.poll`), how records are written (`agent.ledger`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from agent import draft
from agent.clock import Clock, from_stamp, stamp
from agent.ledger import Ledger
from agent.ledger_file import LedgerError, LedgerReader
from agent.reading import Reading, frame_fields
from agent.record import RecordError, parse
from agent.schedule import SECOND, instants_between
from drivers import Exchange

AGENT_STOPPED = "agent_stopped"
OVERRUN = "overrun"
LEDGER_FAILED = "ledger_failed"


@dataclass(slots=True)
class _Page:
    """What the book knows of one meter.

    Attributes:
        source: the meter as named in its records, without the count.
        every_ns: its interval.
        last_due: the newest instant that is accounted for on disk; None before the first.
        gap_since, gap_cause: of the open gap; None and empty without one.
        hole: why instants nobody told about are missing.
        told: the serial number in the newest identity record.
        accepted: the one in the newest identity record that matched.
        strange: the one that was last told of as another meter's.
        turn: what is told of a meter is written in the order it was told.
    """

    source: dict[str, Any]
    every_ns: int
    last_due: int | None = None
    gap_since: int | None = None
    gap_cause: str = ""
    hole: str = AGENT_STOPPED
    told: str = ""
    accepted: str = ""
    strange: str = ""
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


class Book:
    """Turns what the pollers tell into records."""

    def __init__(self, ledger: Ledger, clock: Clock, log: Any) -> None:
        self._ledger = ledger
        self._clock = clock
        self._log = log
        self._pages: dict[str, _Page] = {}

    def enter(self, meter: str, serial: str, declared: str, every_s: int, past: LedgerReader) -> None:
        """Opens a meter's page where the ledger left off.

        Args:
            meter: its id.
            serial: as on its plate, empty if not known.
            declared: leaf hash of its declaration, base64url.
            every_s: its interval in seconds.
            past: the ledger as it is on disk.
        """
        source = {"id": meter, "serial": serial, "serial_from": "plate", "declared": declared}
        page = _Page(source, every_s * SECOND)
        for kind in ("reading", "gap"):
            for _, payload in past.meter_records(meter, kind, newest_first=True):
                _resume(page, parse(payload))
                break
        for _, payload in past.meter_records(meter, "identity", newest_first=True):
            fields = parse(payload)
            page.told = page.told or fields["found"]
            if fields["match"]:
                page.accepted = fields["found"]
                break
        self._pages[meter] = page

    async def taken(self, reading: Reading) -> None:
        """A meter was read: seals the reading, and before it the end of a gap. Returns when that is on disk."""
        page = self._pages[reading.meter]
        async with page.turn:
            await self._taken(page, reading)

    async def _taken(self, page: _Page, reading: Reading) -> None:
        drafts = self._hole(page, reading.due_ns)
        since, cause = page.gap_since, page.gap_cause
        if drafts:
            since, cause = from_stamp(drafts[0]["since"]), drafts[0]["cause"]
        missed = 0
        if since is not None:
            missed = max(1, instants_between(since, reading.due_ns, page.every_ns))
            drafts.append(self._gap(page, "closed", cause, since, reading.due_ns, missed))
        drafts.append(draft.reading(self._clock, page.source, reading))
        if not await self._append(page, drafts):
            return
        page.last_due, page.gap_since, page.gap_cause, page.hole = reading.due_ns, None, "", OVERRUN
        if missed:
            self._log.info("meter.back", meter=reading.meter, missed=missed, cause=cause)

    async def missed(self, meter: str, due_ns: int, cause: str, hint: str, exchanges: Sequence[Exchange] = ()) -> None:
        """A poll failed as a whole: opens a gap, or counts on in the open one."""
        page = self._pages[meter]
        async with page.turn:
            await self._missed(page, due_ns, cause, hint, exchanges)

    async def _missed(self, page: _Page, due_ns: int, cause: str, hint: str, exchanges: Sequence[Exchange]) -> None:
        if page.gap_since is not None and page.gap_cause == cause:
            page.last_due = due_ns
            return
        drafts: list[draft.Fields] = []
        since = due_ns
        if page.gap_since is not None:
            missed = max(1, instants_between(page.gap_since, due_ns, page.every_ns))
            drafts.append(self._gap(page, "closed", page.gap_cause, page.gap_since, due_ns, missed))
        elif holes := self._hole(page, due_ns):
            since = from_stamp(holes[0]["since"])
        missed = instants_between(since, due_ns, page.every_ns) + 1
        drafts.append(self._gap(page, "opened", cause, since, due_ns, missed, exchanges))
        if await self._append(page, drafts):
            page.last_due, page.gap_since, page.gap_cause, page.hole = due_ns, since, cause, OVERRUN
            self._log.warning("meter.silent", meter=page.source["id"], cause=cause, hint=hint)

    async def identified(self, meter: str, found: str, formula: str, exchanges: Sequence[Exchange]) -> bool:
        """A serial number was read from a meter; whether it is the one declared. Sealed when it is news."""
        page = self._pages[meter]
        async with page.turn:
            return await self._identified(page, found, formula, exchanges)

    async def _identified(self, page: _Page, found: str, formula: str, exchanges: Sequence[Exchange]) -> bool:
        meter = page.source["id"]
        expected = page.source["serial"] or page.accepted
        match = not expected or draft.same_serial(expected, found)
        if found != page.told:
            record = draft.identity(self._clock, page.source, expected, found, formula, exchanges)
            if not await self._append(page, [record]):
                return False
            page.told = found
        if match:
            if page.source["serial_from"] != "register":
                self._log.info("meter.identified", meter=meter, serial=found)
            page.accepted = found
            page.strange = ""
            page.source = page.source | {"serial": expected or found, "serial_from": "register"}
        elif page.strange != found:
            page.strange = found
            self._log.error(
                "meter.exchanged",
                meter=meter,
                expected=expected,
                found=found,
                hint="Another meter answers under this address. If it was replaced, write its serial number into site.yaml.",
            )
        return match

    def _hole(self, page: _Page, due_ns: int) -> list[draft.Fields]:
        """The opening of a gap over instants that nobody told about; empty if there are none."""
        if page.gap_since is not None or page.last_due is None:
            return []
        since = page.last_due + page.every_ns
        missed = instants_between(since, due_ns, page.every_ns)
        return [self._gap(page, "opened", page.hole, since, due_ns, missed)] if missed else []

    def _gap(
        self,
        page: _Page,
        state: str,
        cause: str,
        since: int,
        due: int,
        missed: int,
        exchanges: Sequence[Exchange] = (),
    ) -> draft.Fields:
        frames = frame_fields(exchanges)
        fields = {"state": state, "cause": cause, "since": stamp(since), "due": stamp(due), "missed": missed, "frames": frames}
        return draft.gap(self._clock, page.source, **fields)

    async def _append(self, page: _Page, drafts: list[draft.Fields]) -> bool:
        """Whether the records are on disk. If not, the instant stays unaccounted and becomes part of a gap."""
        meter = page.source["id"]
        try:
            await self._ledger.append(*drafts)
        except LedgerError as error:
            if page.hole != LEDGER_FAILED:
                self._log.critical("ledger.failed", meter=meter, reason=str(error), hint=error.hint)
            page.hole = LEDGER_FAILED
            return False
        except RecordError as error:
            self._log.error("ledger.refused", meter=meter, reason=str(error), hint="Report this: the reading is not sealed.")
            page.hole = "refused_by_ledger"
            return False
        return True


def _resume(page: _Page, fields: dict[str, Any]) -> None:
    """Takes the newer of a meter's last reading and last gap record."""
    due = from_stamp(fields["due"])
    if page.last_due is not None and due < page.last_due:
        return
    if fields["kind"] == "reading":
        page.last_due = due
    elif fields["state"] == "opened":
        page.last_due, page.gap_since, page.gap_cause = due, from_stamp(fields["since"]), fields["cause"]
