"""The book of each meter: every poll that was due ends in a sealed reading or inside a sealed gap.

A meter has one page for each interval at which it is read.

 1. A reading closes an open gap in the same transaction, with the count of missed polls: none, if the meter came back in
    time for the very instant that the gap began with.
 2. The first miss opens a gap and keeps the frames that were exchanged; further misses of the same cause only count.
 3. Instants nobody tried (the agent was off, the line was overrun, the disk refused) are counted from the schedule: at
    the start and when the next poll is told, so after a crash the hole is bounded by what the ledger holds.
 4. When the wall clock is set, all pages are closed up to the time it showed, that is sealed, and they begin anew.
 5. A meter or an interval that was taken out of the site file is closed, so that nobody waits for it for ever.

What this file does not know: how meters are asked (`agent.poll`), how records are written (`agent.ledger`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from agent import draft
from agent.book_entries import EnteredMeter, Entries
from agent.book_page import AGENT_STOPPED, OVERRUN, Gap, Page, Restart, resumed
from agent.clock import Clock, ClockSteps
from agent.ledger import Ledger
from agent.ledger_file import LedgerReader
from agent.reading import Reading, frame_fields
from agent.record import parse
from agent.schedule import MILLISECOND, newest_due
from agent.seal import base64url
from agent.standing import Standing, standing_in
from config.language import _
from config.plate import same_serial
from drivers import Exchange, Instant

__all__ = ["AGENT_STOPPED", "OVERRUN", "Book"]

LINE_OPENING = "line_opening"
RELOAD = "reload"
OF_THE_LINE = (OVERRUN, LINE_OPENING)  # not the meter's silence: its line is told of


class Book(Entries):
    """Turns what the pollers tell into records."""

    def __init__(self, ledger: Ledger, clock: Clock, log: Any) -> None:
        super().__init__(ledger, clock, log)
        self.steps = ClockSteps(clock)

    # --- the beginning ----------------------------------------------------------------------------------------

    def enter(self, meter: str, entered: EnteredMeter) -> None:
        """Opens a meter's pages where the ledger left off, as `resumed` found them."""
        self._meters[meter] = entered

    def resumed(
        self,
        meter: str,
        serial: str,
        declared: str,
        intervals_ms: Sequence[int],
        past: LedgerReader,
        standing: Standing | None = None,
    ) -> EnteredMeter:
        """A meter as it is entered; nothing is yet. It only reads, and may do so in another thread.

        Args:
            meter: its id.
            serial: as on its plate, empty if not known.
            declared: leaf hash of its declaration, base64url.
            intervals_ms: how often it is read, in milliseconds, one for each of its schedules.
            past: the ledger as it is on disk, the start of the agent and the meter's declaration in it.
            standing: what else the ledger says of it, with what its model watches.
        """
        source = {"id": meter, "serial": serial, "serial_from": "plate", "declared": declared}
        entered = EnteredMeter(source, resumed(past, meter, intervals_ms, self._restart(past)))
        standing = standing or Standing()
        entered.standing = standing_in(past, meter, standing.watched, standing.codes)
        for _unused, payload in past.meter_records(meter, "identity", newest_first=True):
            fields = parse(payload)
            entered.told = entered.told or fields["found"]
            if fields["match"]:
                entered.accepted = fields["found"]
                break
        return entered

    async def begin(self, past: LedgerReader) -> None:
        """Seals how long the agent was not running, and the end of what is no longer read.

        Once, when all meters are entered and nothing is told yet. Without it the first is sealed as each meter is told
        of, the second never.
        """
        restart = self._restart(past)
        drafts: list[draft.Fields] = []
        pages: list[tuple[EnteredMeter, Page]] = []
        for meter in self._meters.values():
            for before in meter.pages.values():
                page = replace(before)
                drafts += self._gaps(meter.source, page, page.catch_up(restart.began_ns))
                pages.append((meter, page))
        for source, page in self._taken_out(past, restart):
            drafts += self._gaps(source, page, page.take_out(restart.began_ns))
        if not drafts or await self._append(None, "", drafts):
            for meter, page in pages:
                meter.pages[page.every_ms] = page

    def _restart(self, past: LedgerReader) -> Restart:
        return Restart.of(past, self._clock.instant(), self._clock.boot)

    def _taken_out(self, past: LedgerReader, restart: Restart) -> Iterator[tuple[dict[str, Any], Page]]:
        """What was read once and is not any more, with the meter as its records must name it."""
        for meter in past.meters():
            declared = list(islice(past.meter_records(meter, "meter", newest_first=True), 2))
            intervals = {each["every_ms"] for _unused, payload in declared for each in parse(payload)["meter"]["schedules"]}
            entered = self._meters.get(meter)
            left_over = intervals - set(entered.pages if entered else ())
            if not left_over:
                continue
            source = entered.source if entered else _source(past, meter, *declared[0])
            for page in resumed(past, meter, left_over, restart).values():
                yield source, page

    # --- the site file is another -----------------------------------------------------------------------------

    def pause(self, meters: Iterable[str]) -> None:
        """The lines of these meters were taken down: instants that nobody tells of from now on are missed by that."""
        for meter in meters:
            for page in self._meters[meter].pages.values():
                page.hole = RELOAD

    def is_behind(self, meter: str, every_ms: int, now_ns: int) -> bool:
        """Whether an instant came while the meter's line was taken down, so that the newest one is still to be read."""
        page = self._meters[meter].pages[every_ms]
        return page.hole == RELOAD and page.last_due is not None and newest_due(page.every_ns, now_ns) > page.last_due

    async def change(self, resumed: Mapping[str, EnteredMeter], gone: Iterable[str]) -> None:
        """Goes on with meters that were declared anew, and seals the end of what is no longer read.

        Args:
            resumed: those meters, as `resumed` gives them. Intervals that stay go on where they are.
            gone: meters that are read no more.
        """
        now_ns, drafts = self._clock.now_ns(), list[draft.Fields]()
        before = {meter: dict(self._meters[meter].pages) for meter in (*resumed, *gone) if meter in self._meters}
        for meter, anew in resumed.items():
            anew.pages |= {every_ms: page for every_ms, page in before.get(meter, {}).items() if every_ms in anew.pages}
            self._meters.setdefault(meter, anew).become(anew)
        for meter in gone:
            self._meters[meter].pages = {}
        for meter, pages in before.items():
            entered = self._meters[meter]
            for page in (page for every_ms, page in pages.items() if every_ms not in entered.pages):
                drafts += self._gaps(entered.source, page, page.take_out(now_ns))
        if drafts:
            await self._append(None, "", drafts)

    # --- what is told -----------------------------------------------------------------------------------------

    async def taken(self, reading: Reading) -> bool:
        """A meter was read: seals the reading, and before it the end of a gap. Returns when that is on disk; whether it is.

        A second reading for an instant that is accounted for is not sealed: no poll may count twice.
        """
        return await self._is_of_this_time(reading.epoch) and await self._taken(self._meters[reading.meter], reading)

    async def missed(
        self, meter: str, every_ms: int, due_ns: int, cause: str, hint: str, epoch: int, exchanges: Sequence[Exchange] = ()
    ) -> None:
        """A poll failed as a whole: opens a gap, or counts on in the open one. `epoch`: of the steps when it began."""
        if await self._is_of_this_time(epoch):
            await self._missed(self._meters[meter], every_ms, due_ns, cause, hint, exchanges)

    async def identified(self, meter: str, found: str, formula: str, exchanges: Sequence[Exchange], way: str) -> bool:
        """A meter told its number; whether it is the one declared. Sealed when it is news. `way`: `register` or `frame`."""
        await self._is_of_this_time(self.steps.count)
        return await self._identified(self._meters[meter], found, formula, exchanges, way)

    async def own_number(self, meter: str, found: str, formula: str, exchanges: Sequence[Exchange], address: str) -> bool:
        """A meter's answer carries its own number; whether it is the meter declared.

        A number that is the address it was asked under was checked with the answer: where the plate has another serial
        number beside it, that one stays.
        """
        source = self._meters[meter].source
        if source["serial"] and not same_serial(source["serial"], found) and same_serial(found, address):
            return True
        return await self.identified(meter, found, formula, exchanges, "frame")

    async def _is_of_this_time(self, epoch: int) -> bool:
        """Whether what was asked when the clock had been set so often can still be told; deals with a clock that was set."""
        if self.steps.pending():
            await self.clock_was_set()
        return epoch == self.steps.count and self.steps.pending() is None

    async def _taken(self, meter: EnteredMeter, reading: Reading) -> bool:
        await meter.settled()
        page = meter.pages[reading.every_ms].turned()
        if page.is_told(reading.due_ns):
            return False
        gaps = page.catch_up(reading.due_ns)
        back = page.close(reading.due_ns) if page.gap_since is not None else None
        drafts = self._gaps(meter.source, page, [*gaps, back] if back else gaps)
        drafts.append(draft.reading(self._clock, meter.named(), reading, meter.standing.doubt))
        page.last_due, page.hole = reading.due_ns, OVERRUN
        if not await self._append_page(meter, page, drafts):
            return False
        self._tell_overrun(reading.meter, gaps)
        if back:
            self._log.info("meter.back", meter=reading.meter, missed=back.missed, cause=back.cause)
        return True

    async def _missed(
        self, meter: EnteredMeter, every_ms: int, due_ns: int, cause: str, hint: str, exchanges: Sequence[Exchange]
    ) -> None:
        await meter.settled()
        page = meter.pages[every_ms].turned()
        if page.is_told(due_ns):
            return
        if page.gap_since is not None and (page.gap_cause == cause or page.gap_since == due_ns):
            return  # it counts by itself; the same instant again has its cause already
        gaps = page.catch_up(due_ns)
        if page.gap_since is not None:
            gaps.append(page.close(due_ns))
        opened = page.open(due_ns, cause)
        drafts = [*self._gaps(meter.source, page, gaps), *self._gaps(meter.source, page, [opened], frames=exchanges)]
        name = meter.source["id"]
        if await self._append_page(meter, page, drafts):
            self._tell_overrun(name, gaps)
            if cause not in OF_THE_LINE:
                self._log.warning("meter.silent", meter=name, cause=cause, hint=hint)

    async def _identified(self, meter: EnteredMeter, found: str, formula: str, exchanges: Sequence[Exchange], way: str) -> bool:
        await meter.settled()
        name = meter.source["id"]
        expected = meter.source["serial"] or meter.accepted
        match = not expected or same_serial(expected, found)
        if found != meter.told:
            record = draft.identity(self._clock, meter.source, expected, found, formula, exchanges)
            before, meter.told = meter.told, found
            if not await self._append(None, name, [record]):
                meter.told = before
                return False
        if match:
            if meter.source["serial_from"] != way:
                self._log.info("meter.identified", meter=name, serial=found)
            meter.accepted = found
            meter.strange = ""
            meter.source = meter.source | {"serial": expected or found, "serial_from": way}
        elif meter.strange != found:
            meter.strange = found
            hint = _("Another meter answers under this address. If it was replaced, run  meterseal replace {name}.", name=name)
            self._log.error("meter.exchanged", meter=name, expected=expected, found=found, hint=hint)
        return match

    def _tell_overrun(self, meter: str, gaps: Sequence[Gap]) -> None:
        missed = sum(gap.missed for gap in gaps if gap.state == "opened" and gap.cause == OVERRUN)
        if missed:
            self._log.warning("meter.overrun", meter=meter, missed=missed)

    # --- the wall clock was set -------------------------------------------------------------------------------

    async def clock_was_set(self) -> bool:
        """Deals with a wall clock that was set: closes all pages, seals it, begins them anew. Where it returns False and the
        disk refused, all is as before, and the next call tries again."""
        if self.steps.pending():
            for meter in self._meters.values():
                await meter.settled()
        step = self.steps.pending()
        if step is None:
            return False
        before, after = step
        drafts: list[draft.Fields] = []
        turned = [(meter, page.turned()) for meter in self._meters.values() for page in meter.pages.values()]
        for meter, page in turned:
            drafts += self._gaps(meter.source, page, page.end(before.wall_ns), moment=before)
            page.begin_anew(after.wall_ns)
            meter.pages[page.every_ms] = page
        drafts.append(draft.clock_set(self._clock, before, after))
        self.steps.accept(after)
        if not await self._append(None, "", drafts, [page.chain for _unused, page in turned]):
            self.steps.take_back(before)
            for meter, page in turned:
                self._turn_back(meter, page)
            return False
        for _unused, page in turned:
            page.before = None
        step_ms = (after.wall_ns - before.wall_ns) // MILLISECOND
        self._log.warning("clock.set", seconds=step_ms / 1000, hint=_("All meters are read by the new time from now on."))
        return True

    # --- records ----------------------------------------------------------------------------------------------

    def _gaps(
        self,
        source: draft.Fields,
        page: Page,
        gaps: Sequence[Gap],
        *,
        frames: Sequence[Exchange] = (),
        moment: Instant | None = None,
    ) -> list[draft.Fields]:
        return [
            draft.gap(
                self._clock,
                source,
                page.every_ms,
                gap.state,
                gap.cause,
                gap.since_ns,
                gap.due_ns,
                missed=gap.missed,
                frames=frame_fields(frames),
                moment=moment,
            )
            for gap in gaps
        ]

    async def _append_page(self, meter: EnteredMeter, page: Page, drafts: Sequence[draft.Fields]) -> bool:
        """The same for records that turn a page, which is turned at once: polls may be told faster than the disk takes them."""
        meter.pages[page.every_ms] = page
        if await self._append(page, meter.source["id"], drafts, [page.chain]):
            page.before = None
            return True
        self._turn_back(meter, page)
        return False

    def _turn_back(self, meter: EnteredMeter, page: Page) -> None:
        """What turned a page never came to disk, and so nothing will that was told behind it: all of that is still to be told."""
        page.failed = True
        newest = meter.pages.get(page.every_ms)
        if newest and newest.chain is page.chain:
            meter.pages[page.every_ms] = page.turned_back()


def _source(past: LedgerReader, meter: str, n: int, declaration: bytes) -> dict[str, Any]:
    """A meter that is not entered any more, as its records must name it. `n`: of its newest declaration."""
    serial = parse(declaration)["meter"]["serial"]
    newest = next((fields["meter"] for fields in _counted(past, meter)), {"serial": serial, "serial_from": "plate"})
    told = {"serial": serial or newest["serial"], "serial_from": newest["serial_from"]}
    return {"id": meter, **told, "declared": base64url(past.leaf(n))}


def _counted(past: LedgerReader, meter: str) -> Iterator[dict[str, Any]]:
    """A meter's newest records that name it as a source."""
    for _unused, payload in past.meter_records(meter, newest_first=True):
        if (fields := parse(payload))["kind"] != "meter":
            yield fields
