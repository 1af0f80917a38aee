"""The shapes that fields of records can have: checks that say which field is wrong, and how. Pure.

Every shape also knows itself as JSON Schema (draft 2020-12), for verifiers in other languages: `as_json_schema`.

What passes here lies inside the strict profile of `agent.record` too: no check may let a text with a control character
or a lone surrogate pass, nor any other kind of value than those of the profile.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Any

from agent.record import RecordError
from config.language import _

# Where a value stands, as the steps to it: put into words only where something is wrong with it.
Place = tuple["Place", str | int] | tuple[str]
Check = Callable[[Any, Place], None]

_IN_JSON_SCHEMA: dict[Check, dict[str, Any]] = {}
# The end of the text and nothing else: in some languages `$` also stands in front of a line feed at the end.
_WHOLE = r"^(?:{})(?![\s\S])"


def as_json_schema(check: Check) -> dict[str, Any]:
    """A shape as JSON Schema, draft 2020-12: what it accepts is what the check lets pass."""
    return _IN_JSON_SCHEMA[check]


def _known(check: Check, **schema: Any) -> Check:
    _IN_JSON_SCHEMA[check] = schema
    return check


def _wrong(place: Place, what: str) -> RecordError:
    return RecordError(f"{_words(place)} {what}")


def _words(place: Place) -> str:
    if len(place) == 1:
        return place[0]
    step = f"[{place[1]}]" if isinstance(place[1], int) else f".{place[1]}"
    return _words(place[0]) + step


def text(pattern: str, what: str) -> Check:
    """A text that matches a pattern as a whole; `what` is its name in messages, such as `a word`."""
    matches = re.compile(pattern).fullmatch

    def check(value: Any, place: Place) -> None:
        if type(value) is not str or not matches(value):
            raise _wrong(place, _("is not {what}", what=_(what)))

    return _known(check, type="string", pattern=_WHOLE.format(pattern))


def integer(low: int, high: int = 2**53 - 1) -> Check:
    """An integer from `low` to `high`."""

    def check(value: Any, place: Place) -> None:
        if type(value) is not int or not low <= value <= high:
            raise _wrong(place, _("is not an integer from {low} to {high}", low=low, high=high))

    return _known(check, type="integer", minimum=low, maximum=high)


def boolean(value: Any, place: Place) -> None:
    """True or false. Raises RecordError."""
    if type(value) is not bool:
        raise _wrong(place, _("is not true or false"))


def one_of(*words: str) -> Check:
    """One of these words."""

    def check(value: Any, place: Place) -> None:
        if type(value) is not str or value not in words:
            raise _wrong(place, _("is none of {words}", words=", ".join(words)))

    return _known(check, enum=list(words))


def list_of(inner: Check) -> Check:
    """A list, empty or not, of one shape."""

    def check(value: Any, place: Place) -> None:
        if type(value) is not list:
            raise _wrong(place, _("is not a list"))
        for index, item in enumerate(value):
            inner(item, (place, index))

    return _known(check, type="array", items=as_json_schema(inner))


def object_of(fields: Mapping[str, Check]) -> Check:
    """An object with exactly these fields; a name that ends in `?` may be absent."""
    checks = {name.rstrip("?"): check for name, check in fields.items()}
    required = [name for name in fields if not name.endswith("?")]

    def check(value: Any, place: Place) -> None:
        if type(value) is not dict:
            raise _wrong(place, _("is not an object"))
        for name in required:
            if name not in value:
                raise _wrong((place, name), _("is missing"))
        for name, inner in value.items():
            if name not in checks:
                raise _wrong((place, name), _("is not a field of this kind"))
            checks[name](inner, (place, name))

    properties = {name: as_json_schema(inner) for name, inner in checks.items()}
    return _known(check, type="object", properties=properties, required=required, additionalProperties=False)


_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z")

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def time(value: Any, place: Place) -> None:
    """RFC 3339 in UTC with milliseconds, a day and time that exist; leap seconds are not written."""
    try:
        if type(value) is str and _TIME.fullmatch(value):
            datetime.fromisoformat(value)
            return
    except ValueError:  # 31 February, 24:00
        pass
    raise _wrong(place, _("is not a time in UTC with milliseconds"))


def day(value: Any, place: Place) -> None:
    """A day that exists, `2027-06-30`. Raises RecordError."""
    try:
        if type(value) is str and _DAY.fullmatch(value):
            date.fromisoformat(value)
            return
    except ValueError:  # 31 February
        pass
    raise _wrong(place, _("is not a day such as 2027-06-30"))


# The same in one pattern, for schemas: the calendar with its leap years, from the year 1 on.
_OF_MONTHS = "(0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8])"
_LEAP = "([0-9][0-9](0[48]|[2468][048]|[13579][26])|([02468][048]|[13579][26])00)-02-29"
_CALENDAR = f"(?!0000)([0-9]{{4}}-({_OF_MONTHS})|{_LEAP})"
_known(time, type="string", pattern=_WHOLE.format(rf"{_CALENDAR}T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]\.[0-9]{{3}}Z"))
_known(day, type="string", pattern=_WHOLE.format(_CALENDAR))
_known(boolean, type="boolean")
