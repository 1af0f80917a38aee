"""A changed site file comes into force while the agent runs: no reading is lost, and lines that stay as they are go on.

 1. The file is read and checked as a whole first. One with a mistake is refused with all of them; the old one stays in force.
 2. The gateway's name is in every record and never changes here.
 3. Lines that changed are taken down: what is under way on them is finished and written. Then one transaction seals the `config`
    record, which says what is different, and the declarations that are new or changed; behind it the ends of what is read no
    more. Then the lines come up again. An instant that came meanwhile is read late, or missed by `reload`.
 4. Destinations that changed are connected to anew, and go on where they were.
 5. Where the ledger refuses, the lines come up as they were.

What this file does not know: what is different (`agent.site_changes`), who asks for it (`agent.run`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent import draft
from agent.book import Book
from agent.book_entries import EnteredMeter
from agent.by_person import own_account
from agent.clock import Clock
from agent.closing import Closing
from agent.declaring import Declaring, declaring
from agent.forecast import line_times
from agent.keys import KeyFileError
from agent.ledger import Ledger
from agent.ledger_file import LedgerError, LedgerReader
from agent.page_site import check_page
from agent.parts import Parts, Work
from agent.polled import Polled, polled_meters
from agent.record import RecordError
from agent.seal import base64url
from agent.site_changes import Change, changes, disturbed_lines
from agent.ways import way_to
from config.check import SiteFile, load_site
from config.language import _
from config.mistake import ConfigError
from config.settings import Settings

_ASIDE = ("timezone", "mqtt", "witnesses", "timestamp", "page")


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A site file that can come into force.

    Attributes:
        site, meters: it, and what is polled on each of its lines.
        told: what is different.
        lines: those that are taken down or come up.
        declaring: meters whose declaration may be another one.
        gone: those that are read no more.
    """

    site: SiteFile
    meters: Mapping[str, Sequence[Polled]]
    told: Sequence[Change]
    lines: Sequence[str]
    declaring: Sequence[str]
    gone: Sequence[str]


class Reload:
    """Applies the site file anew whenever it is asked to.

    Args:
        site: the one in force.
        state, settings: the state directory, and where passwords are.
        parts: what runs.
        book, closing, ledger, clock, log: as everywhere.
        models: the model files that the meters' courses know, by digest; added to.
        aside: what is done beside polling and delivery for a site file.
        wanted: is set when the site file is to be brought into force.
    """

    def __init__(
        self,
        site: SiteFile,
        state: Path,
        settings: Settings,
        parts: Parts,
        book: Book,
        closing: Closing,
        ledger: Ledger,
        clock: Clock,
        log: Any,
        models: dict[str, bytes],
        aside: Callable[[SiteFile], Iterable[Work]],
        wanted: asyncio.Event,
    ) -> None:
        self.site = site
        self._wanted = wanted
        self._state = state
        self._settings = settings
        self._parts = parts
        self._book = book
        self._closing = closing
        self._ledger = ledger
        self._clock = clock
        self._log = log
        self._models = models
        self._aside = aside
        self._busy = asyncio.Lock()

    async def run(self) -> None:
        """Reloads whenever it is wanted, until it is cancelled."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            async with self._busy:
                await self.reload()

    async def until_idle(self) -> None:
        """Returns when no reload is under way; none begins any more."""
        await self._busy.acquire()

    async def reload(self) -> bool:
        """Brings the site file into force as it is now; whether it is."""
        try:
            prepared = await asyncio.to_thread(self._prepare)
            ways = {name: way_to(prepared.site, name, self._state, self._settings, self._clock) for name in _up(prepared)}
        except ConfigError as error:
            return self._refused([str(mistake) for mistake in error.mistakes])
        except KeyFileError as error:
            return self._refused([str(error)])
        if self._ledger.error is not None:
            return self._refused([str(self._ledger.error)])
        if prepared.site.digest == self.site.digest and not prepared.told and not prepared.lines:
            self._log.info("site.unchanged")
            return True
        before = self.site
        down = [name for name in prepared.lines if name in self._parts.pollers]
        old = {name: self._parts.meters[name] for name in down}
        await self._parts.take_down(down)
        self._book.pause({meter.id for polled in old.values() for meter in polled})
        if not await self._declare(prepared):
            for name in down:
                self._parts.poll(name, way_to(before, name, self._state, self._settings, self._clock), old[name])
            return False
        self.site = prepared.site
        for name, way in ways.items():
            self._parts.poll(name, way, prepared.meters[name])
        await self._go_on(before, prepared)
        told = [str(change) for change in prepared.told]
        self._log.info("site.reloaded", lines=len(prepared.lines), changes=told, records=self._ledger.size)
        return True

    def _refused(self, mistakes: Sequence[str]) -> bool:
        hint = _("Put it right and reload again; until then the site file that was loaded before stays in force.")
        self._log.error("site.refused", mistakes=list(mistakes), hint=hint)
        return False

    # --- before anything is touched ---------------------------------------------------------------------------

    def _prepare(self) -> _Prepared:
        """Reads the file and says what is different. Raises ConfigError with all that is wrong with it."""
        site, before = load_site(self.site.path), self.site
        if site.site.gateway != before.site.gateway:
            message = _(
                "the gateway's name cannot be changed: it is {gateway} in all records of this ledger", gateway=before.site.gateway
            )
            raise ConfigError([site.mistake(("gateway",), message)])
        if any(link.opcua for link in site.site.links.values()):
            from agent.opcua_site import with_trusted_servers

            site = with_trusted_servers(site, self._state)
        meters = {name: polled_meters(site, name) for name in site.site.links}
        line_times(site, meters)  # refuses what cannot fit
        check_page(site)
        told, lines = changes(before, site), disturbed_lines(before, site)
        kept = {meter.id for meter in site.site.meters}
        changed = {change.name for change in told if change.what == "meter"} & kept
        changed |= {meter.id for meter in site.site.meters if meter.link in lines}
        declaring = [meter.id for meter in site.site.meters if meter.id in changed]
        gone = [meter.id for meter in before.site.meters if meter.id not in kept]
        return _Prepared(site, meters, told, lines, declaring, gone)

    # --- what is sealed ---------------------------------------------------------------------------------------

    async def _declare(self, prepared: _Prepared) -> bool:
        """Seals the configuration and what follows from it, and has the book go on with it; whether that is on disk."""
        site = prepared.site
        async with AsyncExitStack() as held:
            for meter in (meter for meter in (*prepared.declaring, *prepared.gone) if self._book.knows(meter)):
                await held.enter_async_context(self._book.held(meter))
            found = await asyncio.to_thread(self._found, prepared)
            config = draft.configuration(
                self._clock, site.digest, own_account(), self.site.digest, [change.fields() for change in prepared.told]
            )
            models = {model.digest: model.text for model in site.models.values() if model.digest not in self._models}
            try:
                for digest, text in models.items():
                    self._models[digest] = text
                    await self._ledger.keep_model(digest, text)
                declarations = [made for each in found for made in each.drafts(self._clock)]
                sealed = await self._ledger.append(config, *declarations)
            except LedgerError as error:
                self._log.critical("ledger.failed", reason=str(error), hint=error.hint)
                return False
            except RecordError as error:
                return self._refused([str(error)])
            leaves = {record.fields["meter"]["id"]: record.leaf for record in sealed if record.fields["kind"] == "meter"}
            resumed = await asyncio.to_thread(self._resumed, site, found, leaves)
            await self._book.change(resumed, prepared.gone)
        return True

    def _found(self, prepared: _Prepared) -> list[Declaring]:
        """The meters whose declaration may be another one, beside what the ledger says of them."""
        site, wanted = prepared.site, set(prepared.declaring)
        with closing(LedgerReader(self._ledger.path)) as past:
            return [
                declaring(site, meter, past, self._log, undisturbed=meter.link not in prepared.lines)
                for meter in site.site.meters
                if meter.id in wanted
            ]

    def _resumed(self, site: SiteFile, found: Sequence[Declaring], leaves: Mapping[str, bytes]) -> dict[str, EnteredMeter]:
        """Those meters as the book goes on with them."""
        meters = {meter.id: meter for meter in site.site.meters}
        with closing(LedgerReader(self._ledger.path)) as past:
            made = {}
            for each in found:
                name, serial = each.fields["id"], each.fields["serial"]
                intervals = [every_ms for every_ms, _unused in site.schedules_of(meters[name])]
                leaf = base64url(leaves.get(name) or each.leaf or b"")
                made[name] = self._book.resumed(name, serial, leaf, intervals, past, each.standing)
            return made

    # --- what is not polled -----------------------------------------------------------------------------------

    async def _go_on(self, before: SiteFile, prepared: _Prepared) -> None:
        """Days, deliveries and what is done beside go on by the new file."""
        site = prepared.site.site
        self._ledger.commit_seconds = site.commit_seconds
        self._closing.go_on_with([meter.id for meter in site.meters], site.timezone)
        wanted = {destination.name: destination for destination in site.mqtt}
        moved = {meter.id: meter.place for meter in site.meters} != {meter.id: meter.place for meter in before.site.meters}
        served = {each.name: each for each in before.site.mqtt if not (moved and each.topics == "places")}
        await self._parts.deliver_no_more(
            [each.name for each in before.site.mqtt if served.get(each.name) != wanted.get(each.name)]
        )
        for name, destination in wanted.items():
            if destination != served.get(name):
                self._parts.deliver(destination, site)
        if any(getattr(site, key) != getattr(before.site, key) for key in _ASIDE):
            await self._parts.end_beside()
            self._parts.beside(self._aside(prepared.site))


def _up(prepared: _Prepared) -> list[str]:
    """The lines that come up, in the order of the file."""
    return [name for name in prepared.lines if name in prepared.site.site.links]
