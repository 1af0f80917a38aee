"""Tracing a value back to its meter: which reading answers for a time, and its story. Offline, like `verify`.

What this file does not know: whether the rest of the log is in order (`agent.verify` tells).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, tzinfo

from agent import checkpoint
from agent.evidence import Evidence
from agent.findings import CannotCheck
from agent.keyring import KeyRing
from agent.log import Log
from agent.record import parsed_body
from agent.story import Search, Story, kind_of, reading_in
from agent.timeline import milliseconds
from agent.verify import key_line
from config.language import _
from config.library import read_model
from config.model import ModelFile
from drivers import Driver, load

_DECLARED = re.compile(r'"id"\s*:\s*"([A-Za-z0-9_-]+)"')


def trace(
    log: Log,
    *,
    meter: str = "",
    when: datetime | None = None,
    n: int | None = None,
    key: str | None,
    outside: Sequence[str] = (),
    driver_of: Callable[[str], Driver] = load,
    model_of: Callable[[bytes, str], ModelFile] = read_model,
) -> Story:
    """The story of one reading.

    Args:
        log: records, checkpoints and models.
        meter: the meter's id, unless `n` is given.
        when: the reading is the one that answers for the last scheduled instant at or before this; None: the newest.
        n: the record itself.
        key: the key line of the enrolment form; None if nobody confirmed one.
        outside: checkpoints of this gateway that were kept elsewhere; they are preferred over the log's own.
        driver_of, model_of: where drivers and models come from.

    Raises:
        CannotCheck: there is no such reading, or the key line is not one.
    """
    origin, public = key_line(key) if key is not None else ("", None)
    target = _numbered(log, n) if n is not None else due_reading(log, meter, when)
    found = Search(log, target, KeyRing(public), Evidence(log.models(), driver_of, model_of, alone=True))
    story = found.collect([*((note, True) for note in outside), *((note, False) for note in log.checkpoints())])
    story.confirmed = public is not None
    gateway = checkpoint.origin_of(str(story.fields.get("gateway")))
    if origin and origin != gateway:
        story.problems.append(
            ("KEY", _("the key line belongs to {origin}, the record to {gateway}", origin=origin, gateway=gateway))
        )
    return story


def trace_record(payload: bytes, *, key: str | None) -> Story:
    """The story of a single record without its log: signature and computation; its place cannot be shown.

    Raises:
        CannotCheck: it is no reading, or the key line is not one.
    """
    origin, public = key_line(key) if key is not None else ("", None)
    fields = reading_in(payload)
    story = Story(fields["n"], fields, parsed_body(fields), confirmed=public is not None)
    if public is not None:
        ring = KeyRing(public)
        story.term = ring.in_force
        story.problems += ring.check(story.n, fields, story.body)
        if origin != checkpoint.origin_of(fields["gateway"]):
            story.problems.append(
                ("KEY", _("the key line belongs to {origin}, the record to {gateway}", origin=origin, gateway=fields["gateway"]))
            )
    story.problems += Evidence({}, load, read_model).values(fields)
    return story


def read_time(text: str, zone: tzinfo = UTC) -> datetime:
    """An instant as a person writes it, `2026-03-01T08:17` or with an offset; without one it is the zone's time.

    Raises:
        CannotCheck: it is no time.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise CannotCheck(_("{text} is not a time; write 2026-03-01T08:15 or 2026-03-01T08:15+08:00", text=text)) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=zone)


def _numbered(log: Log, n: int) -> int:
    for _unused, payload in log.payloads(n, n + 1):
        reading_in(payload)
        return n
    raise CannotCheck(_("there is no record {n}; the log holds {size}", n=n, size=log.size()))


def due_reading(log: Log, meter: str, when: datetime | None) -> int:
    """n of the meter's reading for the last scheduled instant at or before a time."""
    limit = when.timestamp() * 1000 if when else None
    best: tuple[int, int] | None = None
    for n, payload in log.payloads():
        if kind_of(payload) != b"reading" or f'"{meter}"'.encode() not in payload:
            continue
        try:
            fields = reading_in(payload)
        except CannotCheck:
            continue
        due = milliseconds(fields["due"])
        if fields["meter"]["id"] == meter and (limit is None or due <= limit) and (best is None or (due, n) >= best):
            best = due, n
    if best is None:
        at = _(" at or before {isoformat}", isoformat=when.isoformat()) if when else ""
        raise CannotCheck(
            _("there is no reading of {meter}{at}; {known}", meter=meter or _("a meter without a name"), at=at, known=_known(log))
        )
    return best[1]


def _known(log: Log) -> str:
    """Which meters a log declares."""
    found = (
        _DECLARED.search(payload.decode("utf-8", "replace"))
        for _unused, payload in log.payloads()
        if kind_of(payload) == b"meter"
    )
    return _("this log has {value}", value=", ".join(sorted({name[1] for name in found if name})) or _("no meters"))
