"""Which fields each kind of record has: closed, so an unknown signed key is a rejection.

The one definition of the record format's content; `docs/record.md` is tested against it. What passes here lies inside
the strict profile of `agent.record` too, so that what we made ourselves is checked once: no check may let a text with
a control character or a lone surrogate pass, nor any other kind of value than those of the profile.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from agent.record import FORMAT, RecordError

# Where a value stands, as the steps to it: put into words only where something is wrong with it.
Place = tuple["Place", str | int] | tuple[str]
Check = Callable[[Any, Place], None]


def _wrong(place: Place, what: str) -> RecordError:
    return RecordError(f"{_words(place)} {what}")


def _words(place: Place) -> str:
    if len(place) == 1:
        return place[0]
    step = f"[{place[1]}]" if isinstance(place[1], int) else f".{place[1]}"
    return _words(place[0]) + step


def _text(pattern: str, what: str) -> Check:
    matches = re.compile(pattern).fullmatch

    def check(value: Any, place: Place) -> None:
        if type(value) is not str or not matches(value):
            raise _wrong(place, f"is not {what}")

    return check


def _integer(low: int, high: int = 2**53 - 1) -> Check:
    def check(value: Any, place: Place) -> None:
        if type(value) is not int or not low <= value <= high:
            raise _wrong(place, f"is not an integer from {low} to {high}")

    return check


def _boolean(value: Any, place: Place) -> None:
    if type(value) is not bool:
        raise _wrong(place, "is not true or false")


def _one_of(*words: str) -> Check:
    def check(value: Any, place: Place) -> None:
        if type(value) is not str or value not in words:
            raise _wrong(place, f"is none of {', '.join(words)}")

    return check


def _list(inner: Check) -> Check:
    def check(value: Any, place: Place) -> None:
        if type(value) is not list:
            raise _wrong(place, "is not a list")
        for index, item in enumerate(value):
            inner(item, (place, index))

    return check


def _object(fields: Mapping[str, Check]) -> Check:
    """An object with exactly these fields; a name that ends in `?` may be absent."""
    checks = {name.rstrip("?"): check for name, check in fields.items()}
    required = [name for name in fields if not name.endswith("?")]

    def check(value: Any, place: Place) -> None:
        if type(value) is not dict:
            raise _wrong(place, "is not an object")
        for name in required:
            if name not in value:
                raise _wrong((place, name), "is missing")
        for name, inner in value.items():
            if name not in checks:
                raise _wrong((place, name), "is not a field of this kind")
            checks[name](inner, (place, name))

    return check


_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z")


def _time(value: Any, place: Place) -> None:
    """RFC 3339 in UTC with milliseconds, a day and time that exist; leap seconds are not written."""
    try:
        if type(value) is str and _TIME.fullmatch(value):
            datetime.fromisoformat(value)
            return
    except ValueError:  # 31 February, 24:00
        pass
    raise _wrong(place, "is not a time in UTC with milliseconds")


TEXT = _text(r"[^\x00-\x1f\x7f\ud800-\udfff]{0,400}", "a text of at most 400 characters without control characters")
WORD = _text(r"[a-z][a-z0-9_]{0,47}", "a word")
NAME = _text(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}", "a name")
TIME = _time
HASH = _text(r"[A-Za-z0-9_-]{43}", "32 bytes in base64url")
SIGNATURE = _text(r"[A-Za-z0-9_-]{86}", "64 bytes in base64url")
DIGEST = _text(r"[0-9a-f]{64}", "a SHA-256 in hexadecimal")
HEX = _text(r"([0-9a-f]{2})*", "bytes in hexadecimal")
DIGITS = _text(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?", "a decimal number")
QUANTITY = _text(r"[a-z][a-z0-9_]*(\.[a-z0-9]+)*", "a quantity")
FORMULA = _text(r"[0-9a-z@:!*/+().^\[\]-]{1,300}", "a formula")

EVERY_MS = _integer(1, 86_400_000)

FRAME = _object({"request": HEX, "answer": HEX, "ms": _integer(0), "fault?": WORD})
VALUE = _object(
    {
        "quantity": QUANTITY,
        "value?": DIGITS,
        "unit?": _text(r"[A-Za-z0-9%/]{1,10}", "a unit"),
        "formula?": FORMULA,
        "quality?": _one_of("uncertain", "bad"),
        "cause?": WORD,
    }
)
CLOCK = _object(
    {
        "state": _one_of("synchronized", "unsynchronized", "unknown"),
        "error_ms?": _integer(0),
        "boot": _text(r"[0-9a-f]{8}", "8 hexadecimal digits"),
        "uptime_ms": _integer(0),
    }
)
DECLARATION = _object(
    {
        "id": NAME,
        "serial": TEXT,
        "model": _text(r"[a-z0-9-]{1,60}", "a model name"),
        "revision": _integer(1),
        "digest": DIGEST,
        "trust": _one_of("A", "B", "C", "D"),
        "link": NAME,
        "framing": _one_of("tcp", "rtu", "ascii", "own"),
        "address": TEXT,
        "ct?": TEXT,
        "vt?": TEXT,
        "place": TEXT,
        "schedules": _list(_object({"every_ms": EVERY_MS, "quantities": _list(QUANTITY)})),
    }
)
SOURCE = _object(
    {"id": NAME, "serial": TEXT, "serial_from": _one_of("frame", "register", "plate"), "count": _integer(0), "declared": HASH}
)

HEADER: dict[str, Check] = {
    "meterseal": _integer(FORMAT, FORMAT),
    "kind": WORD,
    "gateway": _text(r"[a-z0-9][a-z0-9-]{0,39}/[a-z0-9][a-z0-9-]{0,39}", "site/gateway"),
    "n": _integer(0),
    "prev": HASH,
    "key": _text(r"[0-9a-f]{16}", "a key name of 16 hexadecimal digits"),
    "time": TIME,
    "clock": CLOCK,
}

KINDS: dict[str, dict[str, Check]] = {
    "key": {
        "action": _one_of("enrol", "rotate"),
        "algorithm": _one_of("ed25519"),
        "public": HASH,
        "proof?": SIGNATURE,
        "who": TEXT,
    },
    "start": {"version": TEXT, "config": DIGEST, "after": _one_of("first", "stop", "crash")},
    "stop": {"reason": WORD},
    "config": {"digest": DIGEST, "who": TEXT},
    "meter": {"meter": DECLARATION},
    "identity": {
        "meter": SOURCE,
        "expected": TEXT,
        "found": TEXT,
        "match": _boolean,
        "formula": FORMULA,
        "frames": _list(FRAME),
    },
    "reading": {"meter": SOURCE, "every_ms": EVERY_MS, "due": TIME, "frames": _list(FRAME), "values": _list(VALUE)},
    "gap": {
        "meter": SOURCE,
        "every_ms": EVERY_MS,
        "state": _one_of("opened", "closed"),
        "cause": WORD,
        "since": TIME,
        "due": TIME,
        "missed": _integer(0),
        "frames": _list(FRAME),
    },
    "clock": {"step_ms": _integer(-(2**53) + 1), "before": TIME, "after": TIME},
}

_CHECKS: dict[str, Check] = {kind: _object(HEADER | fields) for kind, fields in KINDS.items()}


def check_record(fields: Mapping[str, Any]) -> None:
    """Returns if a record (without `sig` and `x`) has exactly the fields of its kind, each well formed.

    Raises:
        RecordError: names the first field that is missing, unknown or malformed.
    """
    kind = fields.get("kind")
    if not isinstance(kind, str) or kind not in _CHECKS:
        raise RecordError(f"{str(kind)[:40]} is not a kind of record")
    _CHECKS[kind](fields, (kind,))
