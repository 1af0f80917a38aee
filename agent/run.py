"""The agent: one reading's way from the wire to the broker, wired together, started and stopped.

    links ──▶ pollers ──▶ book ──▶ ledger ──▶ forwarders

Whatever happens to a link, a meter or a broker, the others go on. An error of the ledger stops sealing and is told;
the agent stays up so that a person finds it. SIGHUP brings a changed site file into force (`agent.reload`).
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from agent import __version__, damage, draft
from agent.attestation import by_person
from agent.book import Book
from agent.by_person import last_of_agent, own_account
from agent.by_person_seal import sealing
from agent.checkpoints import keep_checkpoints, keep_timestamped
from agent.clock import Clock
from agent.closing import Closing
from agent.control import listening
from agent.courses import Courses
from agent.damage import end_if_damaged
from agent.declaring import declaring
from agent.forecast import line_times
from agent.forward import Forwarder
from agent.journal import tell_repeats
from agent.key_change import key_in_force
from agent.keys import read_recovery
from agent.ledger import Ledger
from agent.ledger_file import LedgerReader
from agent.ledger_room import MEGABYTE, Room
from agent.notify import notify, status
from agent.packing import keep_packed
from agent.page_site import check_page
from agent.parts import Parts, Work, password_of
from agent.polled import polled_meters
from agent.receipt_desk import ReceiptDesk
from agent.record import parse
from agent.reload import Reload
from agent.retention import keep_room
from agent.seal import base64url
from agent.state import LEDGER_FILE, only_agent
from agent.watch import Watch
from agent.ways import way_to
from agent.witness_desk import WitnessDesk
from config.check import SiteFile
from config.language import _
from config.settings import Settings
from config.zone import zone_of

_LAST_WORDS_SECONDS = 3.0


async def run_agent(site: SiteFile, state: Path, settings: Settings, log: Any, clock: Clock | None = None) -> None:
    """Runs until SIGTERM or SIGINT, then seals the end and returns.

    Raises:
        ConfigError, AgentRunningError, KeyFileError, LedgerError: it cannot start; nothing was sealed.
    """
    clock = clock or Clock()
    if any(link.opcua for link in site.site.links.values()):
        from agent.opcua_site import with_trusted_servers

        site = with_trusted_servers(site, state)
    meters = {name: polled_meters(site, name) for name in site.site.links}
    line_times(site, meters)  # refuses what cannot fit
    check_page(site)
    _save_damaged(state, clock, log)
    key = key_in_force(state)
    enrolment = draft.enrolment(clock, key, own_account(), read_recovery(state, site.site.gateway))
    ways = {name: way_to(site, name, state, settings, clock) for name in meters}
    with only_agent(state):
        signals = _signals()  # before anything is sealed: told to stop in the middle of the start, it ends in order too
        budget = site.site.keep.megabytes
        room = Room(state / LEDGER_FILE, budget * MEGABYTE if budget else None)
        ledger = await Ledger.open(state / LEDGER_FILE, site.site.gateway, key, site.site.commit_seconds, room)
        past = LedgerReader(state / LEDGER_FILE)
        try:
            models = past.models() | {model.digest: model.text for model in site.models.values()}
            courses = _courses(models, ledger, past, clock, log)
            book = await _begin(site, ledger, past, enrolment, clock, log)
            closing = Closing(courses, ledger, clock, [meter.id for meter in site.site.meters], site.site.timezone)
            await closing.close()
            parts = Parts(settings, ledger, clock, book, log)
            watch = Watch(state, parts.pollers, parts.forwarders, ledger, clock, log)

            def aside(site: SiteFile) -> list[Work]:
                made = _aside(site, settings, ledger, parts.forwarders, clock, log)
                return made + _page(site, lambda: reload.site, state, watch, clock, log)

            reload = Reload(site, state, settings, parts, book, closing, ledger, clock, log, models, aside, signals.reload)
            brokers = len(site.site.mqtt)
            log.info("agent.started", meters=len(site.site.meters), links=len(ways), brokers=brokers, records=ledger.size)
            by_hand = sealing(past, clock, book.clock_was_set, by_person(book, ledger, past))
            async with listening(state, parts.pollers, parts.meters, by_hand, book, watch):
                for name, way in ways.items():
                    parts.poll(name, way, meters[name])
                for destination in site.site.mqtt:
                    parts.deliver(destination, site.site)
                parts.beside(aside(site))
                reason = await _work(parts, reload, watch, signals.stopped, closing, ledger, book, clock)
            tell_repeats(all_of_them=True)
            log.info("agent.stopped", reason=reason, records=ledger.size)
        finally:
            past.close()
            await ledger.close()


def _save_damaged(state: Path, clock: Clock, log: Any) -> None:
    """Saves what can be read of a ledger that the disk has damaged. Raises AgentRunningError, LedgerError."""
    if not state.is_dir():
        return
    with only_agent(state):
        saved = damage.begin(state / LEDGER_FILE, clock.now_ns())
    if saved:
        told = {"saved": saved.saved, "lost": saved.lost, "cause": saved.cause}
        aside = _("The damaged file is kept as {aside}. ", aside=saved.aside) if saved.aside else ""
        log.error("ledger.salvaged", **told, hint=_("{aside}Look at the disk (dmesg): it may damage more.", aside=aside))


def _courses(models: dict[str, bytes], ledger: Ledger, past: LedgerReader, clock: Clock, log: Any) -> Courses:
    """The meters' courses where the ledger left them off; from now on they follow what is sealed."""
    courses = Courses(models=models)
    courses.resume(past)
    ledger.follow, ledger.memory = partial(courses.follow, clock=clock, log=log), courses
    return courses


async def _begin(site: SiteFile, ledger: Ledger, past: LedgerReader, enrolment: draft.Fields, clock: Clock, log: Any) -> Book:
    """Seals what is true from now on, all in one commit, and opens the meters' book.

    That is: the key (once), the start, the configuration and the declarations that are new or changed.
    """
    meters = {meter.id: declaring(site, meter, past, log) for meter in site.site.meters}
    models = {model.digest: model.text for model in site.models.values()}
    kept = [asyncio.create_task(ledger.keep_model(digest, text)) for digest, text in models.items()]
    _unused, declared = await asyncio.gather(
        ledger.append(*_opening(site, ledger, past, enrolment, clock)),
        ledger.append(*(made for each in meters.values() for made in each.drafts(clock))),
    )
    await asyncio.gather(*kept)
    leaves = {meter: each.leaf for meter, each in meters.items()}
    leaves |= {record.fields["meter"]["id"]: record.leaf for record in declared if record.fields["kind"] == "meter"}
    book = Book(ledger, clock, log)
    for meter in site.site.meters:
        intervals = [every_ms for every_ms, _unused in site.schedules_of(meter)]
        each = meters[meter.id]
        leaf = base64url(leaves[meter.id] or b"")
        book.enter(meter.id, book.resumed(meter.id, each.fields["serial"], leaf, intervals, past, each.standing))
    await book.begin(past)
    return book


def _opening(site: SiteFile, ledger: Ledger, past: LedgerReader, enrolment: draft.Fields, clock: Clock) -> list[draft.Fields]:
    """The enrolment where the log is new, the start, and the configuration where it changed."""
    drafts: list[draft.Fields] = []
    after = "first"
    if ledger.size == 0:
        drafts.append(enrolment)
    else:
        newest = last_of_agent(past, ledger.size)
        after = "stop" if newest and newest["kind"] == "stop" else "crash"
    drafts.append(draft.start(clock, __version__, site.digest, after))
    if owed := past.owed():
        drafts.append(draft.loss(clock, owed))
    before = next((parse(payload)["digest"] for _unused, payload in past.kind_records("config")), None)
    if before != site.digest:
        drafts.append(draft.configuration(clock, site.digest, own_account()))
    return drafts


@dataclass(frozen=True, slots=True)
class _Signals:
    """What this process is told from outside: to stop, by the signal's name in lower case, and to reload."""

    stopped: asyncio.Future[str]
    reload: asyncio.Event


def _signals() -> _Signals:
    """Listens for signals from now on."""
    loop = asyncio.get_running_loop()
    made = _Signals(loop.create_future(), asyncio.Event())
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _tell, made.stopped, number.name.lower())
    on_terminal = sys.stdin is not None and sys.stdin.isatty()

    def hung_up() -> None:
        if on_terminal and not os.isatty(0):
            _tell(made.stopped, "sighup")  # nobody asked for a reload: the terminal was closed
        else:
            made.reload.set()

    loop.add_signal_handler(signal.SIGHUP, hung_up)
    return made


async def _work(
    parts: Parts,
    reload: Reload,
    watch: Watch,
    stopped: asyncio.Future[str],
    closing: Closing,
    ledger: Ledger,
    book: Book,
    clock: Clock,
) -> str:
    """Works until a signal comes, then seals the end and lets brokers take it; the signal in lower case."""
    own = [asyncio.create_task(work) for work in (closing.run(), reload.run(), watch.run())]
    ended = asyncio.create_task(parts.ended.wait())
    ends: list[asyncio.Future[Any]] = [stopped, ended, *own]
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    notify("STOPPING=1", status(_("stopping: the end is sealed, and brokers get what is under way")))
    broken = [*parts.broken(), *(task for task in own if task.done())]
    if not broken:
        await reload.until_idle()
    await _cancel([ended, *own])
    await parts.end_polling()
    reason = stopped.result() if stopped.done() else "fault"
    if ledger.error is None:
        await book.clock_was_set()  # what was under way when it was set is told of before the end
        await ledger.append(draft.stop(clock, reason))
        await ledger.checkpoint()
    await _let_forwarders_catch_up(ledger, tuple(parts.forwarders.values()))
    await parts.end_all()
    for task in broken:
        task.result()  # a task never ends by itself: what ended it is a fault of ours and is raised
    return reason


def _aside(
    site: SiteFile, settings: Settings, ledger: Ledger, forwarders: Mapping[str, Forwarder], clock: Clock, log: Any
) -> list[Work]:
    """What is done beside polling and delivery: checkpoints, witnesses' questions, collectors' receipts, timestamps."""
    declared = site.site
    made = [keep_checkpoints(ledger, clock, zone_of(declared.timezone)), end_if_damaged(ledger, clock)]
    made.append(keep_room(ledger, declared, clock, log))
    if declared.keep.compress:
        made.append(keep_packed(ledger, zone_of(declared.timezone), [broker.name for broker in declared.mqtt], clock, log))
    for broker in declared.mqtt if declared.witnesses else ():
        made.append(WitnessDesk(broker, declared.witnesses, ledger, clock, password_of(settings, broker.name), log).run())
    for broker in declared.mqtt:
        if broker.collector:
            password = password_of(settings, broker.name)
            made.append(ReceiptDesk(broker, broker.collector, ledger, forwarders[broker.name], clock, password, log).run())
    if declared.timestamp:
        made.append(keep_timestamped(declared.timestamp, ledger, clock, log))
    return made


def _page(site: SiteFile, in_force: Callable[[], SiteFile], state: Path, watch: Watch, clock: Clock, log: Any) -> list[Work]:
    """The status page, where the site file has one: what serves it is imported only there."""
    if site.site.page is None:
        return []
    from agent.page import serve_page

    return [serve_page(site.site.page, in_force, state, watch.seen, clock, log)]


def _tell(stopped: asyncio.Future[str], reason: str) -> None:
    if not stopped.done():
        stopped.set_result(reason)


async def _let_forwarders_catch_up(ledger: Ledger, forwarders: Sequence[Forwarder]) -> None:
    """Gives connected brokers a moment to acknowledge what is under way; the rest is sent after the next start."""
    for forwarder in forwarders:
        forwarder.hurry()
    try:
        async with asyncio.timeout(_LAST_WORDS_SECONDS):
            while any(f.state.connected and f.state.next_n < ledger.size for f in forwarders):
                await asyncio.sleep(0.02)
    except TimeoutError:
        return


async def _cancel(tasks: Sequence[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
