"""The status page of one meter, and of one record: its newest values, a day, a month, and where a value comes from. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from decimal import Decimal
from typing import Any

from agent.account import interval
from agent.page_html import Html, element
from agent.page_overview import document, local, pairs, table
from agent.page_past import Day
from agent.page_trend import bars, legend, line
from config.cause_words import cause_words
from config.language import _

Fields = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class MeterSeen:
    """All that a meter's page shows.

    Attributes:
        declared: its declaration in force.
        newest: its newest readings with their numbers, by interval in milliseconds.
        day, month: its past; None where there is none.
    """

    declared: Fields
    newest: Mapping[int, tuple[int, Fields]]
    day: Day | None
    month: tuple[str, str, list[tuple[str, Decimal | None]]] | None


def meter_page(seen: MeterSeen, zone: tzinfo, language: str) -> Html:
    """The page of a meter."""
    name, declared = seen.declared["id"], seen.declared
    told = next((fields["meter"]["serial"] for _n, fields in seen.newest.values()), "")
    about = [(_("place"), declared["place"]), (_("serial number"), declared["serial"] or told)]
    plate = " ".join(filter(None, (declared.get("maker"), declared.get("product"))))
    about += [(_("model"), f"{declared['model']}{f' ({plate})' if plate else ''}")]
    about += [(_("line"), declared["link"]), (_("address"), declared["address"])]
    return document(
        name,
        language,
        f"/meter/{name}",
        _back(language),
        element("h1", name),
        pairs([(key, text) for key, text in about if text]),
        element("section", element("h2", _("Newest values")), *_values(seen, zone, language)),
        element("section", element("h2", _("Last day")), *_day(seen.day, zone)),
        element("section", element("h2", _("Last month")), *_month(seen.month)),
    )


def _back(language: str) -> Html:
    return element("p", element("a", f"← {_('All meters')}", href=f"/?lang={language}"), class_="screen")


def _values(seen: MeterSeen, zone: tzinfo, language: str) -> list[Html]:
    made = []
    for every_ms, (n, fields) in sorted(seen.newest.items(), reverse=True):
        rows: list[Sequence[str]] = []
        for value in fields["values"]:
            shown = value.get("value", cause_words(value.get("cause", "")))
            link = element("a", shown, href=f"/record/{n}/{value['quantity']}?lang={language}")
            unit = value.get("unit", "")
            doubt = f": {cause_words(value['cause'])}" if "value" in value and "cause" in value else ""
            quality = value.get("quality", "good")
            judged = element("span", _(quality) + doubt, class_="good" if quality == "good" else "bad")
            rows.append([value["quantity"], link, "" if unit == "1" else unit, judged])
        when = f"{local(fields['time'], zone)}, {_('Record')} {n}, {_('every')} {interval(every_ms)}"
        made += [legend(when), table([_("quantity"), _("value"), _("unit"), _("quality")], rows, "values")]
    return made or [element("p", _("nothing read yet"))]


def _day(day: Day | None, zone: tzinfo) -> list[Html]:
    if day is None or not day.points:
        return [element("p", _("Nothing was read in this time."))]
    per = f" {_('per')} {interval(day.per_ms)}" if day.per_ms else ""
    title = f"{day.quantity}, {day.unit}{per}"
    return [legend(title), line(day.points, day.begin_ms, day.step_ms, zone, title)]


def _month(month: tuple[str, str, list[tuple[str, Decimal | None]]] | None) -> list[Html]:
    if month is None:
        return [element("p", _("No day is closed yet."))]
    quantity, unit, days = month
    title = f"{quantity}, {unit} {_('per day')}"
    return [legend(title), bars(days, title)]


def record_page(n: int, title: str, text: str, explained: str, language: str, path: str) -> Html:
    """The page of a record: its trace, and its frames byte by byte."""
    return document(
        f"{_('Record')} {n}",
        language,
        path,
        _back(language),
        element("h1", title),
        *([element("section", element("h2", _("Trace")), element("pre", text))] if text else []),
        *([element("section", element("h2", _("byte by byte")), element("pre", explained))] if explained else []),
    )
