"""What the status page answers to an address: it reads the ledger, in a thread of its own, and never writes.

The first page is kept for a second, and for as long as keeps the work under a tenth of one core: of a large ledger for longer.
A meter's page is kept for half a minute. Nothing that a reader sends becomes part of a query: a meter is looked up among the
declared ones, a record by its number.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any

from agent.clock import Clock
from agent.condition import CODES, ailments_of
from agent.condition import Seen as Condition
from agent.explain import explain
from agent.explain_text import explain_text
from agent.findings import CannotCheck
from agent.ledger_file import LedgerError, LedgerReader
from agent.page_html import Html, element
from agent.page_meter import MeterSeen, meter_page, record_page
from agent.page_overview import Live, Seen, document, overview
from agent.page_past import day_of_meter, month_of_meter, newest_readings
from agent.page_words import LANGUAGES, language_of
from agent.record import RecordError, parse
from agent.seal import base64url
from agent.source import open_log
from agent.state import LEDGER_FILE
from agent.status import Status, status_of
from agent.trace import trace
from agent.trace_text import trace_text
from config.check import SiteFile
from config.language import _, speaking
from config.zone import zone_of

_HTML, _CSS = "text/html; charset=utf-8", "text/css; charset=utf-8"
_METER = re.compile(r"/meter/([A-Za-z0-9][A-Za-z0-9_-]{0,39})")
_RECORD = re.compile(r"/record/([0-9]{1,15})(?:/([a-z][a-z0-9_.]{0,79}))?")
_KEPT_SECONDS, _METER_KEPT_SECONDS = 1.0, 30.0
_SHARE = 10
_MOST_KEPT = 100

Fields = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """What is answered: HTTP status, kind of content, content."""

    status: int
    content_type: str
    body: bytes


class Look:
    """The pages of an agent.

    Args:
        site: the site file in force.
        state: the state directory.
        clock: the time.
        style: the style sheet.
    """

    def __init__(self, site: Callable[[], SiteFile], state: Path, clock: Clock, style: bytes) -> None:
        self._in_force = site
        self._site = site()
        self._state = state
        self._clock = clock
        self._style = style
        self._kept: dict[str, tuple[float, Any]] = {}

    @property
    def _zone(self) -> tzinfo:
        return zone_of(self._site.site.timezone)

    def at(self, path: str, asked: str, accepted: str, seen: Condition) -> Answer:
        """The answer to an address. To be called in a thread, by one at a time.

        Args:
            path, asked: the address and the language in it, empty if it says none.
            accepted: Accept-Language.
            seen: how the agent is.
        """
        language = language_of(asked, accepted)
        if (site := self._in_force()) is not self._site:
            self._site, self._kept = site, {}
        with speaking(LANGUAGES[language]):
            return self._at(path, language, live_of(seen))

    def _at(self, path: str, language: str, live: Live) -> Answer:
        if path == "/style.css":
            return Answer(200, _CSS, self._style)
        try:
            if path == "/":
                return _page(overview(self._overview(live), language))
            if found := _METER.fullmatch(path):
                return self._meter(found[1], language)
            if found := _RECORD.fullmatch(path):
                return self._record(int(found[1]), found[2], language)
        except LedgerError as error:
            text = f"{_('The ledger cannot be read now.')} {error}"
            return _page(document(text, language, "/", element("p", text, class_="bad")), 503)
        return not_here(language)

    def _once(self, key: str, seconds: float, make: Callable[[], Any]) -> Any:
        """Something made, or kept from before."""
        now = time.monotonic()
        until, made = self._kept.get(key, (0.0, None))
        if now < until:
            return made
        made = make()
        took = time.monotonic() - now
        if len(self._kept) >= _MOST_KEPT:
            self._kept.clear()
        self._kept[key] = (time.monotonic() + max(seconds, _SHARE * took), made)
        return made

    def _overview(self, live: Live) -> Seen:
        now_ns = self._clock.now_ns()
        status, head, at_ns = self._once("/", _KEPT_SECONDS, lambda: (*self._status(now_ns), now_ns))
        at = datetime.fromtimestamp(at_ns // 1_000_000_000, self._zone)
        places = {meter.id: meter.place for meter in self._site.site.meters}
        return Seen(self._site.site.gateway, status, live, places, head, at)

    def _status(self, now_ns: int) -> tuple[Status, tuple[int, str]]:
        with closing(LedgerReader(self._state / LEDGER_FILE)) as reader:
            n = reader.size() - 1
            leaf = base64url(reader.leaf(n)) if n >= 0 else ""
            return status_of(reader, self._site, self._state, now_ns), (n, leaf)

    def _meter(self, name: str, language: str) -> Answer:
        if name not in {meter.id for meter in self._site.site.meters}:
            return not_here(language)
        seen = self._once(f"/meter/{name}", _METER_KEPT_SECONDS, lambda: self._meter_seen(name))
        return _page(meter_page(seen, self._zone, language)) if seen else not_here(language)

    def _meter_seen(self, name: str) -> MeterSeen | None:
        with closing(LedgerReader(self._state / LEDGER_FILE)) as reader:
            declared = next((parse(payload) for _, payload in reader.meter_records(name, "meter", newest_first=True)), None)
            if declared is None:
                return None
            intervals = [schedule["every_ms"] for schedule in declared["meter"]["schedules"]]
            newest = newest_readings(reader, name, intervals)
            day = day_of_meter(reader, name, newest, self._clock.now_ns() // 1_000_000)
            return MeterSeen(declared["meter"], newest, day, month_of_meter(reader, name))

    def _record(self, n: int, quantity: str | None, language: str) -> Answer:
        told = self._once(f"/record/{n}/{quantity}/{language}", _METER_KEPT_SECONDS, lambda: self._record_texts(n, quantity))
        if told is None:
            return not_here(language)
        title, text, explained = told
        path = f"/record/{n}" + (f"/{quantity}" if quantity else "")
        return _page(record_page(n, title, text, explained, language, path))

    def _record_texts(self, n: int, quantity: str | None) -> tuple[str, str, str] | None:
        """Title, trace and explanation of a record; None where there is none."""
        with closing(open_log(self._state)) as log:
            payload = next((payload for _, payload in log.payloads(n, n + 1)), None)
            try:
                fields: Fields = parse(payload) if payload is not None else {}
            except RecordError:
                return None
            if fields.get("kind") not in ("reading", "spot"):
                return None
            try:
                text = trace_text(trace(log, n=n, key=None), quantity, self._zone)
                told = explain(payload or b"", log)
            except CannotCheck:
                return None
            explained = explain_text(told.only(quantity) if quantity else told, self._zone)
        return f"{fields['meter']['id']} {quantity or ''}".strip(), text, explained


def live_of(seen: Condition) -> Live:
    """How the agent is, as the page shows it."""
    ailments = [(each.place, each.text, CODES.get(each.name, "")) for each in ailments_of(seen)]
    destinations = {each.broker: (each.connected, each.why) for each in seen.deliveries}
    return Live(seen.links, destinations, seen.trust.state, seen.trust.error_ms, ailments)


def not_here(language: str) -> Answer:
    """The answer to an address that is none."""
    text = _("This page is not here.")
    back = element("a", _("All meters"), href=f"/?lang={language}")
    return _page(document(text, language, "/", element("h1", text), element("p", back)), 404)


def _page(content: Html, status: int = 200) -> Answer:
    return Answer(status, _HTML, content.encode("utf-8", "replace"))
