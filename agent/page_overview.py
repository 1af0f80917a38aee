"""The status page's first page: what needs attention, all meters, lines, delivery, ledger and clock. Pure.

What this file does not know: how a page is asked for (`agent.page`), where its content is from (`agent.page_look`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from typing import Any

from agent.account import age, interval
from agent.faults import FAULTS, code_of_cause
from agent.page_html import Html, element, joined
from agent.page_words import LANGUAGES
from agent.status import MeterStatus, Status
from agent.status_text import delivery_text, value_words
from config.cause_words import cause_words
from config.language import _
from config.zone import zone_of

_DOCTYPE = "<!doctype html>"
_VIEWPORT = "width=device-width, initial-scale=1"


@dataclass(frozen=True, slots=True)
class Live:
    """What the running agent knows of itself at a moment.

    Attributes:
        links: each line as its poller tells it.
        destinations: of each whether it is connected, and else why not.
        clock, clock_error_ms: its state and the bound on its error.
        ailments: what ails it: place, text and fault code of each.
    """

    links: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    destinations: Mapping[str, tuple[bool, str]] = field(default_factory=dict)
    clock: str = "unknown"
    clock_error_ms: int | None = None
    ailments: Sequence[tuple[str, str, str]] = ()


@dataclass(frozen=True, slots=True)
class Seen:
    """All that the first page shows.

    Attributes:
        gateway: `site/gateway`.
        status: how things stand.
        live: what the agent adds.
        places: where each meter stands, by its id.
        head: the newest record's number and leaf hash.
        at: when, local time.
    """

    gateway: str
    status: Status
    live: Live
    places: Mapping[str, str]
    head: tuple[int, str]
    at: datetime


def document(title: str, language: str, path: str, *inner: str) -> Html:
    """A whole page. `path`: its own address, for the other language."""
    others = [
        element("a", "中文" if each == "zh" else "English", href=f"{path}?lang={each}") for each in LANGUAGES if each != language
    ]
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content=_VIEWPORT),
        element("title", title),
        element("link", rel="stylesheet", href="/style.css"),
    )
    body = element("body", element("nav", *others, class_="language"), element("main", *inner))
    return joined(Html(_DOCTYPE), element("html", head, body, lang="zh-Hans" if language == "zh" else language))


def overview(seen: Seen, language: str) -> Html:
    """The page."""
    status, troubles = seen.status, list(_troubles(seen))
    count = len(troubles)
    state = _("All meters are read.") if not count else f"{count} {_('needs attention') if count == 1 else _('need attention')}"
    return document(
        seen.gateway,
        language,
        "/",
        element("h1", seen.gateway),
        element("p", state, class_="state " + ("bad" if count else "good")),
        element("p", f"{_('as of')} {seen.at:%Y-%m-%d %H:%M:%S}, {status.zone}", class_="small"),
        _section(_("What needs attention"), element("ul", *troubles, class_="troubles")) if troubles else "",
        _section(_("Meters"), element("div", *(_card(each, seen, language) for each in status.meters), class_="cards")),
        element("p", _("Where a value comes from: click it."), class_="screen"),
        _section(_("Lines"), _lines(seen)),
        _section(_("Delivery"), _delivery(seen)),
        _section(_("Ledger and clock"), _ledger(seen)),
    )


def age_text(seconds: int | None) -> str:
    """How long ago something was: `12 s ago`."""
    if seconds is None:
        return _("never read")
    return f"{age(seconds)} {_('ago')}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "") -> Html:
    """A table. A narrow screen shows the head of each column beside each cell, but for `kind` `values`: there rows stay rows."""
    top = element("thead", element("tr", *(element("th", each) for each in head)))
    made = (element("tr", *(element("td", cell, data_head=name) for name, cell in zip(head, row, strict=True))) for row in rows)
    return element("table", top, element("tbody", *made), class_=kind)


def pairs(rows: Sequence[tuple[str, str]]) -> Html:
    """Names with what stands behind them."""
    return element("dl", *(part for name, text in rows for part in (element("dt", name), element("dd", text))))


def _section(title: str, *inner: str) -> Html:
    return element("section", element("h2", title), *inner)


def _card(meter: MeterStatus, seen: Seen, language: str) -> Html:
    """A meter: name, place, its newest values, how old they are, how complete the day is."""
    lang, day = f"?lang={language}", meter.today
    values = [element("span", value_words(value)) for value in meter.values] or [element("span", _("nothing read yet"))]
    shown = element("a", *values, href=f"/record/{meter.n}{lang}", class_="values") if meter.n is not None else joined(*values)
    share = f"{_('today')} {day.completeness_percent} % {_('complete')}" if day.completeness_percent else ""
    rest = [age_text(meter.age_s), share, _("not evidence grade") if meter.doubt else ""]
    return element(
        "article",
        element("h3", element("a", meter.meter, href=f"/meter/{meter.meter}{lang}")),
        element("p", seen.places.get(meter.meter, ""), class_="place"),
        element("p", shown, class_="value"),
        element("p", " · ".join(filter(None, rest)), class_="small"),
        class_="card" + ("" if meter.ok else " bad"),
    )


def _troubles(seen: Seen) -> Iterator[Html]:
    """What is wrong, each with its fault's text."""
    status, zone = seen.status, zone_of(seen.status.zone)
    for place, text, code in seen.live.ailments:
        yield _trouble(place, text, code)
    for meter in status.meters:
        for gap in meter.gaps:
            since, every = local(gap.since, zone), f" ({interval(gap.every_ms)})" if len(meter.every_ms) > 1 else ""
            cause = cause_words(gap.cause)
            what = f"{_('no reading since')} {since}{every}: {cause}, {gap.missed} {_('polls missed')}"
            yield _trouble(meter.meter, what, code_of_cause(gap.cause))
        if meter.doubt:
            yield _trouble(meter.meter, f"{_('not evidence grade')}: {cause_words(meter.doubt)}", "")
        if paper := status.papers.get(meter.meter):
            yield _trouble(meter.meter, paper, "")


def _trouble(name: str, what: str, code: str) -> Html:
    fault = FAULTS.get(code)
    told = [element("strong", f"{name} "), what]
    if fault:
        told += [element("br"), element("span", f"{code} {_(fault.title)}. {_('Check first:')} {_(fault.first)}", class_="small")]
    return element("li", *told)


def local(time: str, zone: tzinfo) -> str:
    """A record's time as people read it."""
    return f"{datetime.fromisoformat(time).astimezone(zone):%Y-%m-%d %H:%M:%S}"


def _lines(seen: Seen) -> Html:
    rows = []
    for line in seen.status.lines:
        live = seen.live.links.get(line.line, {})
        is_open = (_("yes") if live["open"] else _("no")) if "open" in live else ""
        told = [is_open, f"{line.busy_percent} %", str(live.get("waiting", "")), str(live.get("overruns", ""))]
        rows.append([line.line, *told])
    busy = f"{_('busy')} ({_('last hour')})"
    return table([_("line"), _("open"), busy, _("waiting"), _("overruns")], rows)


def _delivery(seen: Seen) -> Html:
    if not seen.status.delivered:
        return element("p", _("No destination: readings stay in the ledger."))
    rows = []
    for name, count in seen.status.delivered.items():
        connected, why = seen.live.destinations.get(name, (False, ""))
        state = _("connected") if connected else _("not connected")
        rows.append([name, f"{state}{': ' if why else ''}{why}", delivery_text(count, seen.status.records)])
    return table([_("destination"), _("state"), _("delivered")], rows)


def _ledger(seen: Seen) -> Html:
    status, live, (n, leaf) = seen.status, seen.live, seen.head
    error = f", {_('off by at most')} {live.clock_error_ms} ms" if live.clock_error_ms is not None else ""
    return pairs(
        [
            (_("records"), str(status.records)),
            (_("newest record"), str(n) if n >= 0 else ""),
            (_("its hash"), leaf),
            (_("newest checkpoint covers"), str(status.checkpoint)),
            (_("clock"), f"{_(live.clock)}{error}"),
        ]
    )
