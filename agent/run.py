"""The agent: one reading's way from the wire to the broker, wired together, started and stopped.

    links ──▶ pollers ──▶ book ──▶ ledger ──▶ forwarders

Whatever happens to a link, a meter or a broker, the others go on. An error of the ledger stops sealing and is told;
the agent stays up so that a person finds it.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from agent import __version__, draft
from agent.attestation import by_person
from agent.book import Book
from agent.by_person import last_of_agent, own_account
from agent.by_person_seal import sealing
from agent.checkpoints import keep_checkpoints, keep_timestamped
from agent.clock import Clock
from agent.closing import Closing
from agent.control import Poller, listening
from agent.courses import Courses
from agent.declaring import declaring
from agent.forecast import line_times
from agent.forward import Forwarder
from agent.key_change import key_in_force
from agent.keys import read_recovery
from agent.ledger import Ledger
from agent.ledger_file import LedgerReader
from agent.polled import polled_meters
from agent.receipt_desk import ReceiptDesk
from agent.record import parse
from agent.seal import base64url
from agent.state import LEDGER_FILE, only_agent
from agent.ways import poller_of, way_to
from agent.witness_desk import WitnessDesk
from config.check import SiteFile
from config.settings import Settings, mqtt_password
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
    key = key_in_force(state)
    enrolment = draft.enrolment(clock, key, own_account(), read_recovery(state, site.site.gateway))
    ways = {name: way_to(site, name, state, settings, clock) for name in meters}
    with only_agent(state):
        stopped = _told_to_stop()  # before anything is sealed: told in the middle of the start, it ends in order too
        ledger = await Ledger.open(state / LEDGER_FILE, site.site.gateway, key, site.site.commit_seconds)
        past = LedgerReader(state / LEDGER_FILE)
        try:
            courses = _courses(site, ledger, past, clock, log)
            book = await _begin(site, ledger, past, enrolment, clock, log)
            closing = Closing(courses, ledger, clock, [meter.id for meter in site.site.meters], site.site.timezone)
            await closing.close()
            pollers = [poller_of(way, meters[name], clock, book, log) for name, way in ways.items()]
            forwarders = [
                Forwarder(destination, ledger, site.site.gateway, clock, _password(settings, destination.name), log)
                for destination in site.site.mqtt
            ]
            aside = _aside(site, settings, ledger, forwarders, clock, log)
            log.info("agent.started", meters=len(site.site.meters), links=len(ways), brokers=len(forwarders), records=ledger.size)
            async with listening(
                state,
                dict(zip(ways, pollers, strict=True)),
                meters,
                sealing(past, clock, book.clock_was_set, by_person(book, ledger, past)),
                book,
            ):
                reason = await _work(stopped, pollers, forwarders, aside, ledger, book, clock, closing)
            log.info("agent.stopped", reason=reason, records=ledger.size)
        finally:
            past.close()
            await ledger.close()


def _courses(site: SiteFile, ledger: Ledger, past: LedgerReader, clock: Clock, log: Any) -> Courses:
    """The meters' courses where the ledger left them off; from now on they follow what is sealed."""
    courses = Courses(models=past.models() | {model.digest: model.text for model in site.models.values()})
    courses.resume(past)
    ledger.follow = partial(courses.follow, clock=clock, log=log)
    return courses


async def _begin(site: SiteFile, ledger: Ledger, past: LedgerReader, enrolment: draft.Fields, clock: Clock, log: Any) -> Book:
    """Seals what is true from now on, all in one commit, and opens the meters' book.

    That is: the key (once), the start, the configuration and the declarations that are new or changed.
    """
    meters = {meter.id: declaring(site, meter, past, log) for meter in site.site.meters}
    models = {model.digest: model.text for model in site.models.values()}
    kept = [asyncio.create_task(ledger.keep_model(digest, text)) for digest, text in models.items()]
    _, declared = await asyncio.gather(
        ledger.append(*_opening(site, ledger, past, enrolment, clock)),
        ledger.append(*(made for each in meters.values() for made in each.drafts(clock))),
    )
    await asyncio.gather(*kept)
    leaves = {meter: each.leaf for meter, each in meters.items()}
    leaves |= {record.fields["meter"]["id"]: record.leaf for record in declared if record.fields["kind"] == "meter"}
    book = Book(ledger, clock, log)
    for meter in site.site.meters:
        intervals = [every_ms for every_ms, _ in site.schedules_of(meter)]
        each = meters[meter.id]
        leaf = base64url(leaves[meter.id] or b"")
        book.enter(meter.id, each.fields["serial"], leaf, intervals, past, each.standing)
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
    before = next((parse(payload)["digest"] for _, payload in past.kind_records("config")), None)
    if before != site.digest:
        drafts.append(draft.configuration(clock, site.digest, own_account()))
    return drafts


async def _work(
    stopped: asyncio.Future[str],
    pollers: Sequence[Poller],
    forwarders: Sequence[Forwarder],
    aside: Sequence[Coroutine[Any, Any, None]],
    ledger: Ledger,
    book: Book,
    clock: Clock,
    closing: Closing,
) -> str:
    """Polls and forwards until `stopped` says why, then seals the end and lets brokers take it; the reason."""
    loop = asyncio.get_running_loop()
    polling = [loop.create_task(poller.run()) for poller in pollers]
    polling.append(loop.create_task(closing.run()))
    forwarding = [loop.create_task(forwarder.run()) for forwarder in forwarders]
    forwarding += [loop.create_task(each) for each in aside]
    ends: list[asyncio.Future[Any]] = [stopped, *polling, *forwarding]
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    broken = [task for task in (*polling, *forwarding) if task.done() and not task.cancelled()]
    await _cancel(polling)
    reason = stopped.result() if stopped.done() else "fault"
    if ledger.error is None:
        await book.clock_was_set()  # what was under way when it was set is told of before the end
        await ledger.append(draft.stop(clock, reason))
        await ledger.checkpoint()
    await _let_forwarders_catch_up(ledger, forwarders)
    await _cancel(forwarding)
    for task in broken:
        task.result()  # a task never ends by itself: what ended it is a fault of ours and is raised
    return reason


def _aside(
    site: SiteFile, settings: Settings, ledger: Ledger, forwarders: Sequence[Forwarder], clock: Clock, log: Any
) -> list[Coroutine[Any, Any, None]]:
    """What is done beside polling and delivery: checkpoints, witnesses' questions, collectors' receipts, timestamps."""
    declared = site.site
    made = [keep_checkpoints(ledger, clock, zone_of(declared.timezone))]
    for broker in declared.mqtt if declared.witnesses else ():
        made.append(WitnessDesk(broker, declared.witnesses, ledger, clock, _password(settings, broker.name), log).run())
    for broker, forwarder in zip(declared.mqtt, forwarders, strict=True):
        if broker.collector:
            password = _password(settings, broker.name)
            made.append(ReceiptDesk(broker, broker.collector, ledger, forwarder, clock, password, log).run())
    if declared.timestamp:
        made.append(keep_timestamped(declared.timestamp, ledger, clock, log))
    return made


def _told_to_stop() -> asyncio.Future[str]:
    """Becomes the name of the signal, in lower case, that tells this process to stop."""
    loop = asyncio.get_running_loop()
    stopped: asyncio.Future[str] = loop.create_future()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _tell, stopped, number.name.lower())
    return stopped


def _tell(stopped: asyncio.Future[str], reason: str) -> None:
    if not stopped.done():
        stopped.set_result(reason)


def _password(settings: Settings, name: str) -> str | None:
    secret = mqtt_password(settings, name)
    return secret.get_secret_value() if secret else None


async def _let_forwarders_catch_up(ledger: Ledger, forwarders: Sequence[Forwarder]) -> None:
    """Gives connected brokers a moment to acknowledge what is under way; the rest is sent after the next start."""
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
