"""A commissioning report: which meters were compared with their displays, by whom, and what came of it; signed. Pure.

The report is one HTML page that loads nothing from anywhere. Behind what is shown stands the same as canonical JSON
(RFC 8785), and the gateway key's signature over it: DSSE v1 with the type below, so that it can never be taken for a
record's. Each meter names the two sealed records, the reading and the comparison, by number and leaf hash.

Who checks a report does not trust its page: the page is made anew from the signed content, and must be the same.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from html import escape, unescape
from typing import Any

from agent.record import RecordError, canonical, parse
from agent.seal import Key, base64url, key_name, pre_authentication, signed
from config.language import N_, _

TYPE = "application/vnd.meterseal.commissioning.v1+json"
AGREES, DIFFERS, NOT_READ, LEFT_OUT = OUTCOMES = N_("agrees"), N_("does not agree"), N_("not read"), N_("left out")
_CONTENT = re.compile(r"<pre id='content'>([A-Za-z0-9+/=]+)</pre>")
_SIGNATURE = re.compile(r"<code id='signature'>([A-Za-z0-9_-]+)</code>")
_KEY = re.compile(r"<code id='key'>([^<]{1,300})</code>")
_LARGEST = 8 * 2**20


class ReportError(Exception):
    """A file is no commissioning report, or not what its gateway signed."""


@dataclass(frozen=True, slots=True)
class Compared:
    """One meter of a report.

    Attributes:
        meter, link, address, model, serial, place, ct, vt: as in the site file; empty where it says nothing.
        outcome: one of `AGREES`, `DIFFERS`, `NOT_READ` and `LEFT_OUT`.
        quantity, unit, read, display: what was compared; empty where nothing was.
        read_at: when it was read, UTC.
        reading, comparison: the two records' numbers; -1 where there is none.
        reading_leaf, comparison_leaf: their leaf hashes, hexadecimal.
    """

    meter: str
    link: str
    address: str
    model: str
    serial: str
    place: str
    ct: str
    vt: str
    outcome: str
    quantity: str = ""
    unit: str = ""
    read: str = ""
    display: str = ""
    read_at: str = ""
    reading: int = -1
    comparison: int = -1
    reading_leaf: str = ""
    comparison_leaf: str = ""


def content_of(
    gateway: str, who: str, made_at: str, site_digest: str, version: str, meters: Sequence[Compared]
) -> dict[str, Any]:
    """What a report says.

    Args:
        gateway: site and gateway.
        who: the person in front of the meters.
        made_at: when it was made, UTC.
        site_digest: SHA-256 of the site file, hexadecimal.
        version: of meterseal.
        meters: in the order of the site file.
    """
    rows = [{name: value for name, value in asdict(each).items() if value not in ("", -1)} for each in meters]
    head = {"type": TYPE, "gateway": gateway, "who": who, "made_at": made_at, "site": site_digest, "version": version}
    return {**head, "meters": rows}


def report(content: Mapping[str, Any], key: Key, line: str) -> str:
    """The signed page. `key`: the gateway's; `line`: its key line, as on the enrolment form."""
    body = canonical(content)
    return _page(content, body, base64url(key.sign(pre_authentication(body, TYPE))), line)


@dataclass(frozen=True, slots=True)
class Checked:
    """A report whose signature is right.

    Attributes:
        content: what was signed.
        key: name of the key that signed it.
        line: the key line that the report itself names.
        same_page: whether the page shows exactly what was signed.
    """

    content: Mapping[str, Any]
    key: str
    line: str
    same_page: bool


def line_in(page: str) -> str:
    """The key line that a report names. Raises ReportError."""
    found = _KEY.search(page)
    if len(page) > _LARGEST or found is None:
        raise ReportError(_("this is no commissioning report"))
    return unescape(found[1])


def checked(page: str, public: bytes) -> Checked:
    """A report, checked against a key (32 bytes). Raises ReportError."""
    line = line_in(page)
    content, signature = _CONTENT.search(page), _SIGNATURE.search(page)
    if content is None or signature is None:
        raise ReportError(_("this is no commissioning report, or a part of it is missing"))
    try:
        body = base64.b64decode(content[1], validate=True)
        fields = parse(body)
    except (ValueError, RecordError):
        raise ReportError(_("the signed content of the report is damaged")) from None
    if fields.get("type") != TYPE or not signed(pre_authentication(body, TYPE), signature[1], public):
        raise ReportError(_("the signature does not belong to this report and key"))
    return Checked(fields, key_name(public), line, _page(fields, body, signature[1], line) == page)


def rows_of(content: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The meters as they are shown: meter, model and address, place, what was read, the display, outcome, records."""
    made: list[tuple[str, ...]] = []
    for each in content["meters"]:
        told: Mapping[str, Any] = {"place": "", **each}
        what = f"{told['model']}, {told.get('address', '')} on {told['link']}".replace(",  on", " on")
        ratios = "".join(f", {key.upper()} {told[key]}" for key in ("ct", "vt") if key in told)
        serial = f", no. {told['serial']}" if "serial" in told else ""
        read = f"{told['quantity']} {told['read']} {told['unit']}" if "read" in told else ""
        display = f"{told['display']} {told['unit']}" if "display" in told else ""
        records = ", ".join(str(told[name]) for name in ("reading", "comparison") if name in told)
        made.append(
            (
                told["meter"],
                what + ratios + serial,
                told["place"],
                read,
                display,
                told["outcome"],
                records,
                told.get("read_at", ""),
            )
        )
    return made


def _page(content: Mapping[str, Any], body: bytes, signature: str, line: str) -> str:
    rows = "\n".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows_of(content))
    good = sum(each["outcome"] == AGREES for each in content["meters"])
    shown = {name: escape(str(content[name])) for name in ("gateway", "who", "made_at", "site", "version")}
    return _PAGE.format(
        **shown,
        rows=rows,
        count=len(content["meters"]),
        good=good,
        body=base64.b64encode(body).decode(),
        signature=escape(signature),
        line=escape(line),
    )


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Commissioning report of {gateway}</title>
<style>
@page {{ size: A4 landscape; margin: 1.5cm }}
body {{ font: 10pt/1.4 sans-serif; margin: 1cm; max-width: 27cm }}
table {{ border-collapse: collapse; width: 100% }}
th, td {{ text-align: left; vertical-align: top; padding: 1.5mm 2mm; border-bottom: 1px solid #999 }}
th, td:first-child {{ white-space: nowrap }}
td {{ overflow-wrap: break-word }}
.signed td {{ height: 1.5cm; width: 6cm }}
pre, code {{ font: 7pt monospace; white-space: pre-wrap; overflow-wrap: anywhere }}
tr {{ break-inside: avoid }}
</style></head><body>
<h1>Commissioning report</h1>
<p>Gateway <b>{gateway}</b>, {made_at}. {good} of {count} meters agree with their displays, compared by <b>{who}</b>.</p>
<table>
<tr><th>meter</th><th>model, address, plate</th><th>place</th><th>read over the line</th><th>display</th><th>outcome</th>
<th>records</th><th>read at (UTC)</th></tr>
{rows}
</table>
<p>Records: the sealed reading and the sealed comparison, in the gateway's log. Site file SHA-256 <code>{site}</code>, meterseal
{version}.</p>
<table class="signed">
<tr><th></th><th>name</th><th>date</th><th>signature</th></tr>
<tr><th>Commissioned by</th><td></td><td></td><td></td></tr>
<tr><th>Witness</th><td></td><td></td><td></td></tr>
</table>
<h2>For the machine</h2>
<p>To verify: <code>meterseal verify-report THIS_FILE --key "the key line from the enrolment form"</code></p>
<p>Key <code id='key'>{line}</code><br>Signature <code id='signature'>{signature}</code></p>
<pre id='content'>{body}</pre>
</body></html>
"""
