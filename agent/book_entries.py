"""What the book seals of a meter beside its polls: declarations, alarms, readings that somebody asked for; and its standing.

What this file does not know: schedules and gaps (`agent.book`), when any of it is due.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from agent import draft
from agent.book_page import Page
from agent.clock import Clock
from agent.ledger import Ledger
from agent.ledger_file import LedgerError
from agent.ledger_writing import Chain
from agent.reading import Reading
from agent.record import RecordError
from agent.seal import Record, base64url
from agent.standing import Standing, spend
from config.language import _

LEDGER_FAILED = "ledger_failed"
REFUSED_BY_LEDGER = "refused_by_ledger"


@dataclass(slots=True)
class EnteredMeter:
    """What the book knows of one meter.

    Attributes:
        source: the meter as named in its records, without the count.
        pages: one for each interval at which it is read, by that interval in milliseconds.
        told: the number in the newest identity record.
        accepted: the one in the newest identity record that matched.
        strange: the one that was last told of as another meter's.
        standing: what else stands of it.
        declaring: held while something is sealed of it that its readings after that must know of.
    """

    source: dict[str, Any]
    pages: dict[int, Page]
    told: str = ""
    accepted: str = ""
    strange: str = ""
    standing: Standing = field(default_factory=Standing)
    declaring: asyncio.Lock = field(default_factory=asyncio.Lock)

    def named(self) -> dict[str, Any]:
        """It as a source, with the best proof of its number."""
        if self.source["serial_from"] == "plate" and self.source["serial"] and self.standing.fingerprint:
            return self.source | {"serial_from": "fingerprint"}
        return self.source

    def become(self, other: EnteredMeter) -> None:
        """Goes on as another one, for all who hold it."""
        for name in ("source", "pages", "told", "accepted", "strange", "standing"):
            setattr(self, name, getattr(other, name))

    async def settled(self) -> None:
        """Returns when its declaration in force is known."""
        if self.declaring.locked():
            async with self.declaring:
                pass


class Entries:
    """Records of meters, as they are sealed."""

    def __init__(self, ledger: Ledger, clock: Clock, log: Any) -> None:
        self._ledger = ledger
        self._clock = clock
        self._log = log
        self._meters: dict[str, EnteredMeter] = {}

    def knows(self, meter: str) -> bool:
        """Whether a meter was entered."""
        return meter in self._meters

    def standing(self, meter: str) -> Standing:
        """What stands of a meter beyond its declaration."""
        return self._meters[meter].standing

    def standing_changed(self, meter: str, standing: Standing) -> None:
        """Takes what a person's record has changed of a meter; another number than before is expected from now on."""
        entered = self._meters[meter]
        if standing.renamed != entered.standing.renamed:
            entered.told = entered.accepted = entered.strange = ""
        entered.standing = standing

    def held(self, meter: str) -> asyncio.Lock:
        """Held while something is sealed of a meter that its readings after that must know of: they wait."""
        return self._meters[meter].declaring

    async def declare(self, meter: str, fields: draft.Fields, frames: Sequence[draft.Fields] = ()) -> None:
        """Seals a meter's declaration anew; all its records from then on quote it. While the meter is `held`."""
        entered = self._meters[meter]
        for record in await self._append(None, meter, [draft.declared(self._clock, fields, frames)]):
            spend(entered.standing.take(record.n, record.fields))
            entered.source = entered.source | {"declared": base64url(record.leaf)}
            if fields["serial"] and fields["serial"] != entered.source["serial"]:
                entered.source = entered.source | {"serial": fields["serial"], "serial_from": "plate"}

    async def alarm(self, meter: str, settings: Sequence[draft.Fields], frames: Sequence[draft.Fields]) -> bool:
        """Seals that a meter's settings are not those in force; whether that is on disk. While the meter is `held`."""
        entered = self._meters[meter]
        sealed = await self._append(None, meter, [draft.alarm(self._clock, entered.source, settings, frames)])
        for record in sealed:
            spend(entered.standing.take(record.n, record.fields))
        return bool(sealed)

    async def spot(self, reading: Reading, asked: draft.Fields) -> Record | None:
        """Seals a reading that somebody asked for; None where the disk refused."""
        entered = self._meters[reading.meter]
        await entered.settled()
        return next(
            iter(await self._append(None, reading.meter, [draft.spot(self._clock, entered.named(), reading, asked)])), None
        )

    async def _append(
        self, page: Page | None, meter: str, drafts: Sequence[draft.Fields], chains: Sequence[Chain] = ()
    ) -> list[Record]:
        """The records, which are on disk. If there are none, the instant stays unaccounted and becomes part of a gap.

        They are in the ledger's queue when this first gives way to others: what is told is written in that order.
        """
        told = {"meter": meter} if meter else {}
        try:
            return await self._ledger.append(*drafts, chains=chains)
        except LedgerError as error:
            if page is None or page.before is None or page.before.hole != LEDGER_FAILED:
                self._log.critical("ledger.failed", **told, reason=str(error), hint=error.hint)
            hole = LEDGER_FAILED
        except RecordError as error:
            self._log.error("ledger.refused", **told, reason=str(error), hint=_("Report this: the reading is not sealed."))
            hole = REFUSED_BY_LEDGER
        if page:
            page.hole = hole
        return []
