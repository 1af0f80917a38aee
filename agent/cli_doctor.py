"""The verb `doctor`: everything around the agent that can be looked at without changing it, with what to do."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agent.terminal import read_settings, site_options, told
from config.language import _

if TYPE_CHECKING:
    from agent.doctor import Finding
    from agent.ledger_file import LedgerReader
    from config.check import SiteFile

_MOST_RECORDS = 50_000
_DAY_MS = 86_400_000
_PATIENCE_S = 8.0


@click.command(short_help="Look for what is wrong around the agent, with what to do.")
@click.option("--offline", is_flag=True, help="Connect to no broker and open no port.")
@site_options
def doctor(offline: bool, site: Path | None, state: Path | None) -> None:
    """Look at the site file, ports, lines, clock, disk, key, ledger and brokers. Nothing is changed; meters are only read.

    Each broker gets one message, to the topic doctor under this gateway's own. Exit code 1 if something is wrong.
    """
    with told():
        from agent.doctor import report

        settings = read_settings(site, state)
        findings = list(findings_of(settings, offline=offline))
    if not report(findings, click.echo):
        raise click.exceptions.Exit(1)


def findings_of(settings: Any, *, offline: bool) -> Iterator[Finding]:
    """All that was looked at. `offline`: no broker is connected to and no port opened."""
    from agent.clock import Clock
    from agent.doctor import Finding, clock_findings, coded, disk_findings, sqlite_findings, state_findings
    from agent.ledger_file import LedgerError, LedgerReader
    from agent.state import LEDGER_FILE, is_running
    from config.check import load_site
    from config.mistake import ConfigError

    loaded: SiteFile | None = None
    try:
        loaded = load_site(settings.site)
        yield Finding(
            "ok", _("site file"), _("{site}: no mistakes, {meters} meters", site=settings.site, meters=len(loaded.site.meters))
        )
    except ConfigError as error:
        count = len(error.mistakes)
        words = (
            _("{site} has 1 mistake", site=settings.site)
            if count == 1
            else _("{site} has {count} mistakes", site=settings.site, count=count)
        )
        yield Finding("wrong", _("site file"), words, _("`meterseal check` tells all of them."), "MS-102")
    if loaded:
        yield from _ratios(loaded)
    running = is_running(settings.state)
    todo = "" if running else _("Start it: systemctl start meterseal")
    yield Finding(
        "ok" if running else "look",
        _("agent"),
        _("it runs") if running else _("it does not run"),
        todo,
        "" if running else "MS-902",
    )
    yield from coded("MS-905", state_findings(settings.state))
    yield from coded("MS-402", sqlite_findings())
    yield from coded("MS-602", clock_findings(Clock().trust()))
    reader: LedgerReader | None = None
    if (settings.state / LEDGER_FILE).exists():
        try:
            reader = LedgerReader(settings.state / LEDGER_FILE)
        except LedgerError as error:
            yield Finding("wrong", "ledger", str(error), error.hint, error.code)
    if settings.state.is_dir():
        grows = _growth(reader, settings.state / LEDGER_FILE) if reader else None
        yield from coded("MS-405", disk_findings(settings.state, grows))
    if loaded:
        yield from _site(loaded, settings, reader, opening=not running and not offline, brokers=not offline)
    if reader:
        reader.close()


def _ratios(loaded: SiteFile) -> Iterator[Finding]:
    """Meters whose transformers' ratio nobody has written down yet: their values are not to be believed."""
    from agent.doctor import Finding
    from config.ratio import ratio_advice, unknown_words

    for meter in loaded.site.meters:
        if words := unknown_words(meter):
            yield Finding("wrong", _("meter {id}", id=meter.id), words, ratio_advice(meter), "MS-105")


def _site(loaded: SiteFile, settings: Any, reader: LedgerReader | None, *, opening: bool, brokers: bool) -> Iterator[Finding]:
    """What the site file leads to. `opening`: links are opened; `brokers`: they are connected to."""
    from agent.doctor import coded, port_findings

    missing = set()
    for name, link in loaded.site.links.items():
        for finding in coded("MS-201", port_findings(name, link.serial)) if link.serial else ():
            missing |= {name} if finding.level == "wrong" else set()
            yield finding
    if opening:
        yield from _opened(loaded, settings, missing)
    if reader:
        yield from _lines(loaded, reader)
    if brokers:
        yield from _brokers(loaded, settings)


def _growth(reader: LedgerReader, path: Path) -> float | None:
    """Bytes that the ledger grows by in a day; None before it has an hour behind it."""
    from agent.stretch import newest
    from agent.timeline import milliseconds

    at = newest(reader, _MOST_RECORDS)
    size = reader.size()
    span = milliseconds(at.until) - at.from_ms if at.until else 0
    if not size or span < 3_600_000:
        return None
    return path.stat().st_size * (at.stop - at.start) / size * _DAY_MS / span


def _lines(loaded: SiteFile, reader: LedgerReader) -> Iterator[Finding]:
    from agent.doctor_line import Answers, line_findings
    from agent.glance import frames_in, glance
    from agent.record import RecordError
    from agent.schema import COUNTED

    oldest = max(0, reader.size() - _MOST_RECORDS)
    for name, link in loaded.site.links.items():
        meters = {meter.id: Answers() for meter in loaded.site.meters if meter.link == name}
        for meter, answers in meters.items():
            for n, payload in reader.meter_records(meter, newest_first=True):
                if n < oldest:
                    break
                try:
                    fields = glance(payload)
                except RecordError:
                    continue  # `meterseal verify` tells
                for _unused, fault, _answered in frames_in(fields) if fields["kind"] in COUNTED else ():
                    answers.good += not fault
                    answers.faults.update([fault] if fault else [])
        if meters and not link.opcua:
            yield from line_findings(name, meters, serial=link.serial is not None)


def _opened(loaded: SiteFile, settings: Any, missing: set[str]) -> Iterator[Finding]:
    """Each way is opened once, as the agent would, and a serial port's first meter is asked once to hear an echo.

    `missing`: links whose port is told of already.
    """
    from agent.clock import Clock
    from agent.doctor import Finding
    from agent.faults import code_of_error
    from agent.polled import polled_meters
    from agent.ways import way_to
    from config.mistake import ConfigError
    from drivers import Exchange, anything
    from drivers.errors import LinkDown
    from drivers.link import Link

    async def asked(name: str) -> Exchange | None:
        way = way_to(loaded, name, settings.state, settings, Clock())
        await way.open()
        try:
            meters = polled_meters(loaded, name)
            requests = [each for meter in meters[:1] for each in meter.driver.requests(meter.target, meter.points) if each.data]
            if isinstance(way, Link) and loaded.site.links[name].serial and requests:
                return await way.exchange(anything.driver(), requests[-1])
        finally:
            await way.close()
        return None

    for name in (name for name in loaded.site.links if name not in missing):
        place = _("line {name}", name=name)
        try:
            exchange = asyncio.run(asked(name))
        except LinkDown as error:
            yield Finding("wrong", place, str(error), error.hint, code_of_error(error))
            continue
        except ConfigError as error:
            yield Finding("wrong", place, str(error), code=error.code)
            continue
        if exchange is not None and exchange.answer.startswith(exchange.request):
            yield Finding("ok", place, _("the adapter hears its own requests (echo); that is passed over"))
        elif exchange is None or exchange.answer:
            yield Finding("ok", place, _("it can be opened") + (_(", and something answers") if exchange else ""))


def _brokers(loaded: SiteFile, settings: Any) -> Iterator[Finding]:
    from agent.doctor import Finding, coded
    from agent.doctor_broker import broker_findings, told_by_agent
    from config.mistake import ConfigError
    from config.settings import mqtt_password

    standing = _told_by_agent(settings.state)
    for broker in loaded.site.mqtt:
        try:
            secret = mqtt_password(settings, broker.name)
        except ConfigError as error:
            yield Finding("wrong", _("broker {name}", name=broker.name), str(error), code=error.code)
            continue
        if broker.username and secret is None and broker.name in standing:
            yield told_by_agent(broker, standing[broker.name])
            continue
        found = broker_findings(broker, loaded.site.gateway, secret.get_secret_value() if secret else None)
        yield from coded("MS-502", found)


def _told_by_agent(state: Path) -> dict[str, Any]:
    """How delivery stands as the running agent tells it, by the broker's name."""
    from agent.control import ControlError, ask

    try:
        answer = ask(state, {"do": "live"}, _PATIENCE_S) or {}
    except ControlError:
        return {}
    brokers: dict[str, Any] = answer.get("brokers", {})
    return brokers
