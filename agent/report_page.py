"""The report of an audit as one HTML page to print and to file: the verdict first, then what it rests on. Pure.

It loads nothing from anywhere and runs nothing. It says what `agent.report` says, and on top whose page it is: which file was
verified, what its SHA-256 is, by which key line, when and by which version.

What this file does not know: how anything is checked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from html import escape

from agent.findings import CLASSES, printable
from agent.report import NOT_CHECKED, Report
from config.language import _


@dataclass(frozen=True, slots=True)
class Verified:
    """What was verified, how and when.

    Attributes:
        file: its name; `digest`: its SHA-256 in hexadecimal, empty for a ledger that is written on.
        key: the key line that somebody confirmed; empty without one.
        time: when, as a person reads it.
        version: of the program.
    """

    file: str
    digest: str
    key: str
    time: str
    version: str


def report_page(report: Report, verified: Verified) -> str:
    """The page."""
    state = "good" if report.exit_code == 0 else "bad"
    parts = [
        f"<h1>{_text(_('Verification of {gateway}', gateway=report.gateway or _('records of an unknown gateway')))}</h1>",
        f'<p class="verdict {state}">{_text(report.verdict)}</p>',
        _table(_verified(verified)),
        *_findings(report),
        f"<h2>{_text(_('What the log holds'))}</h2>",
        _table([(_(name), text) for name, text in report.rows()]),
        *_meters(report),
        f"<h2>{_text(_('What was not checked'))}</h2>",
        "<ul>" + "".join(f"<li>{_text(_(what))}</li>" for what in NOT_CHECKED) + "</ul>",
        _SIGNED.format(by=_text(_("Verified by")), when=_text(_("Date, signature"))),
    ]
    return _PAGE.format(title=_text(report.gateway), body="\n".join(parts))


def _verified(verified: Verified) -> list[tuple[str, str]]:
    rows = [(_("File"), verified.file), (_("SHA-256"), verified.digest), (_("Key line"), verified.key or _("nobody gave one"))]
    rows += [(_("Verified"), verified.time), (_("Program"), f"meterseal {verified.version}")]
    return [(name, told) for name, told in rows if told]


def _findings(report: Report) -> Iterator[str]:
    kinds = [kind for kind in CLASSES if report.findings.counts[kind]]
    if not kinds:
        return
    yield f"<h2>{_text(_('Findings'))}</h2>"
    for kind in kinds:
        kept, count = report.findings.kept[kind], report.findings.counts[kind]
        yield f"<h3>{_text(kind)} ({count})</h3><p>{_text(_(CLASSES[kind].means))}</p>"
        more = [_("and {count} more", count=count - len(kept))] if count > len(kept) else []
        yield "<ul>" + "".join(f"<li>{_text(str(each))}</li>" for each in [*kept, *more]) + "</ul>"
        yield f"<p>{_text(_('What to do: {then}', then=_(CLASSES[kind].then)))}</p>"


def _meters(report: Report) -> Iterator[str]:
    if report.fast or not report.meters:
        return
    heads = (_("Meter"), _("Serial number"), _("Model"), _("Polls read"), _("Scheduled"), "%")
    yield f"<h2>{_text(_('Completeness'))}</h2>"
    yield '<table class="meters"><tr>' + "".join(f"<th>{_text(head)}</th>" for head in heads) + "</tr>"
    for account in report.meters.values():
        total = account.total
        cells = (account.id, account.serial, account.model, str(total.read), str(total.expected), str(total.completeness))
        yield "<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in cells) + "</tr>"
    yield "</table>"


def _table(rows: Iterable[tuple[str, str]]) -> str:
    told = (f"<tr><th>{_text(name)}</th><td>{_text(text)}</td></tr>" for name, text in rows)
    return "<table>" + "\n".join(told) + "</table>"


def _text(text: str) -> str:
    return escape(printable(text))


_SIGNED = '<table class="signed"><tr><th>{by}</th><td></td><th>{when}</th><td></td></tr></table>'
_PAGE = """<!doctype html>
<html><head><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 10.5pt/1.45 sans-serif; margin: 2cm; max-width: 18cm }}
h2 {{ font-size: 13pt; margin: 6mm 0 2mm }}
h3 {{ font-size: 11pt; margin: 4mm 0 1mm }}
th {{ text-align: left; vertical-align: top; padding: 1mm 5mm 1mm 0; white-space: nowrap }}
td {{ overflow-wrap: anywhere; padding: 1mm 3mm 1mm 0 }}
.verdict {{ border: 2px solid; padding: 3mm 4mm; font-weight: bold }}
.good {{ border-color: #1a7f37 }}
.bad {{ border-color: #b42318 }}
.meters th, .meters td {{ border-bottom: 1px solid #ccc }}
.signed {{ margin-top: 12mm }}
.signed td {{ border-bottom: 1px solid; width: 5cm; height: 1.2cm }}
</style></head><body>
{body}
</body></html>
"""
