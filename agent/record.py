"""The strict profile of a record's JSON, its canonical bytes and its leaf hash. Pure.

A record is a UTF-8 JSON object: keys `[a-z][a-z0-9_]{0,31}`; values are objects, arrays, strings, true, false and
integers up to 2^53-1; no null, no fractions (a quantity is a string of digits), no control characters, no DEL and
no lone surrogates in strings, no key twice. Inside this profile RFC 8785 (JCS) is exactly "sorted keys, no spaces,
UTF-8", so the canonical form survives any re-serialisation that keeps the content.

`sig` and `x` stand outside the signature: `x` is the one place where a flow downstream may add something.

What this file does not know: keys and signatures (`agent.seal`), which fields a kind has (`agent.schema`).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from config.language import _

FORMAT = 1
UNSIGNED = ("sig", "x")
EMPTY_LOG = hashlib.sha256(b"").digest()

_KEY = re.compile(r"[a-z][a-z0-9_]{0,31}")
_FORBIDDEN = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
_MAX_INTEGER = 2**53 - 1
_MAX_DEPTH = 16
_MAX_UNSIGNED_DEPTH = 64
LONGEST = 256 * 1024  # bytes of a record, its signature included


class RecordError(ValueError):
    """Bytes that are no record: not JSON, or outside the strict profile."""


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise RecordError(_("a key stands twice in one object"))
    return made


def _constant(text: str) -> Any:
    raise RecordError(_("{text} is not allowed", text=text))


def check_profile(value: Any, depth: int = 0) -> None:
    """Returns if a value lies inside the strict profile. Raises RecordError saying what does not."""
    kind = type(value)
    if kind is str:
        if _FORBIDDEN.search(value):
            raise RecordError(_("a string holds a control character or a lone surrogate"))
    elif kind is int:
        if abs(value) > _MAX_INTEGER:
            raise RecordError(_("a number is larger than 2^53-1"))
    elif kind is dict or kind is list or kind is tuple:
        _check_inside(value, depth)
    elif kind is not bool:
        raise RecordError(_("a value of type {name} is not allowed", name=kind.__name__))


def _check_inside(value: Any, depth: int) -> None:
    if depth >= _MAX_DEPTH:
        raise RecordError(_("nested too deeply"))
    if type(value) is dict:
        for key in value:
            if type(key) is not str or not _KEY.fullmatch(key):
                raise RecordError(_("{key!r} is not an allowed key", key=str(key)[:40]))
        value = value.values()
    for inner in value:
        if type(inner) is not str or not inner.isprintable():  # what is printable holds nothing that is forbidden
            check_profile(inner, depth + 1)


def canonical(value: Mapping[str, Any]) -> bytes:
    """The RFC 8785 bytes of an object inside the strict profile. Raises RecordError outside of it."""
    plain = dict(value)
    check_profile(plain)
    return encode(plain)


_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def encode(value: Mapping[str, Any]) -> bytes:
    """`canonical` of an object that is known to lie inside the strict profile."""
    return _ENCODER.encode(value).encode("utf-8")


def encode_around_signature(fields: Mapping[str, Any]) -> tuple[bytes, bytes]:
    """`encode` of a record without `sig` and `x`, cut where `sig` belongs: both parts joined are its canonical bytes."""
    before = encode({key: value for key, value in fields.items() if key < "sig"})
    behind = encode({key: value for key, value in fields.items() if key > "sig"})
    return before[:-1] + b",", behind[1:]


def signed_part(fields: Mapping[str, Any]) -> bytes:
    """The canonical bytes of a record without `sig` and `x`: what is signed and hashed."""
    return canonical({key: value for key, value in fields.items() if key not in UNSIGNED})


def parsed_body(fields: Mapping[str, Any]) -> bytes:
    """`signed_part` of what `parse` returned, which has checked the profile already."""
    return encode({key: value for key, value in fields.items() if key not in UNSIGNED})


def parse(payload: bytes) -> dict[str, Any]:
    """The fields of a record, however it was re-serialised on its way; `x` may hold any JSON.

    An integer that some hop wrote as 12.0 or 1.2e1 is the same integer; any other fraction is no record.

    Raises:
        RecordError: not a JSON object, or outside the strict profile.
    """
    if len(payload) > LONGEST:
        raise RecordError(_("longer than a record can be"))
    fractions: list[_Fraction] = []

    def fraction(text: str) -> _Fraction:
        fractions.append(_Fraction(text))
        return fractions[-1]

    try:
        fields = json.loads(
            payload.decode("utf-8"), object_pairs_hook=_no_duplicates, parse_float=fraction, parse_constant=_constant
        )
    except RecordError:
        raise
    except (RecursionError, ValueError) as error:  # what is no UTF-8 and what is no JSON are both ValueErrors
        raise RecordError(_("not JSON: {error}", error=str(error)[:80])) from None
    if not isinstance(fields, dict):
        raise RecordError(_("not a JSON object"))
    if "x" in fields:
        _check_depth(fields["x"])
    if fractions:
        fields = {key: value if key == "x" else _whole(value) for key, value in fields.items()}
    check_profile({key: value for key, value in fields.items() if key != "x"})
    return fields


class _Fraction(float):
    """A number written with a point or an exponent; keeps its text until it is known whether it stands inside `x`."""

    def __init__(self, text: str) -> None:
        self.text = text


def _number(text: str) -> int:
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise RecordError(_("{text} is not a number", text=text[:40])) from None
    if number.copy_abs() > _MAX_INTEGER or number != number.to_integral_value():
        raise RecordError(_("{text} is not an integer up to 2^53-1; quantities are written as strings", text=text[:40]))
    return int(number)


def _whole(value: Any, depth: int = 0) -> Any:
    """The value with integers instead of fractions. Raises RecordError where one is not whole."""
    if isinstance(value, _Fraction):
        return _number(value.text)
    if isinstance(value, dict | list) and depth >= _MAX_DEPTH:
        raise RecordError(_("nested too deeply"))
    if isinstance(value, dict):
        return {key: _whole(inner, depth + 1) for key, inner in value.items()}
    if isinstance(value, list):
        return [_whole(inner, depth + 1) for inner in value]
    return value


def _check_depth(value: Any, depth: int = 0) -> None:
    """Returns if a value is nested no deeper than anything that prints it can bear."""
    if depth > _MAX_UNSIGNED_DEPTH:
        raise RecordError(_("`x` is nested too deeply"))
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            _check_depth(inner, depth + 1)


def leaf_hash(body: bytes) -> bytes:
    """RFC 9162 leaf hash of a record's canonical signed part: the next record's `prev`."""
    return hashlib.sha256(b"\x00" + body).digest()
