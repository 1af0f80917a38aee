#!/usr/bin/env python3
"""A second verifier: checks a meterseal bundle with nothing of meterseal.

    python3 second_verifier.py EVIDENCE.zip --key KEY-LINE-OR-FILE [--checkpoint FILE ...]

One file, for Python 3.11 or newer with the package `cryptography`; written from docs/record.md alone, by the words of that page
and not by meterseal's code, so that an error of one of the two shows as a disagreement. It lies among the documents because it is
one: the page in a form that runs. An auditor reads it in an afternoon, copies it to any machine, and needs neither the gateway,
nor meterseal, nor us. Nothing of meterseal imports it.

It names what it finds by the classes of docs/verify.md. What it leaves to `meterseal verify` is what only a protocol's driver
knows: that a request is one the model prescribes, that a formula points at the registers the model names, whether an answer of
another protocol than Modbus and OPC UA is one; and to OpenSSL the timestamps (docs/verify.md, chapter 6). The report says so.

Exit code: 0 in order, 1 findings or nothing to verify, 2 it could not be checked or nobody confirmed the key.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import decimal
import hashlib
import json
import math
import re
import struct
import sys
import zipfile
from collections import Counter, deque
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timezone, tzinfo
from fractions import Fraction
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


class CannotCheck(Exception):
    """The input is not one that can be checked; the message says why."""


class Wrong(Exception):
    """Something contradicts the page: `kind` is the class of the finding."""

    def __init__(self, kind: str, what: str) -> None:
        super().__init__(what)
        self.kind = kind


# --- Fields of every record, Kinds: the tables of the page ----------------------------------------------------------------
# `name:type`, `name=one|of|these`, `?` behind a name that may be absent, `[type]` a list, a type of this table an inner object.

TABLES = """
header: meterseal:version kind:word gateway:gateway n:count prev:hash key:key_name time:time clock:clock_state
clock_state: state=synchronized|unsynchronized|unknown error_ms?:count boot:boot uptime_ms:count
source: id:name serial:text serial_from=frame|register|fingerprint|plate count:count declared:hash
frame: request:hex answer:hex ms:count fault?:word
value: quantity:quantity value?:decimal unit?:unit formula?:formula quality?=uncertain|bad cause?:word
schedule: every_ms:interval quantities:[quantity]
declaration: id:name serial:text model:model_name revision:from1 digest:digest trust=A|B|C|D link:name framing=rtu|tcp|ascii|own \
address:text ct?:text vt?:text place:text maker?:text product?:text medium?:word accuracy_class?:text \
measuring_range?:text ratio_applied?=meter|agent certificate?:certificate verification_months?:months seal?:text installed?:date \
pipe_mm?:pipe server?:server settings?:[setting] schedules:[schedule]
certificate: number:text valid_until:date
setting: name:word value?:text formula?:formula cause?:word
read_off: quantity:quantity value:decimal record?:count
about: id:name
server: uri?:text certificate?:digest
key: action=enrol|rotate|revoke algorithm=ed25519 public:hash proof?:signature recovery?:hash revoked?:key_name since?:count \
who:text
start: version:text config:digest after=first|stop|crash
stop: reason:word
config: digest:digest who:text before?:digest changed?:[changed]
changed: what=site|line|meter|destination name:text how=added|removed|changed keys?:[word]
meter: meter:declaration frames?:[frame]
reading: meter:source every_ms:interval due:time doubt?=settings_changed|settings_unread|map_unconfirmed \
frames:[frame] values:[value] changes?:changes
changes: request:hex answer:hex values:[value] begun?:from1 overflow?:from1 dropped?:from1 cause?:word
gap: meter:source every_ms:interval state=opened|closed cause:word since:time due:time missed:count frames:[frame]
identity: meter:source expected:text found:text match:boolean formula:formula frames:[frame]
alarm: meter:source cause=settings_changed settings:[setting] frames:[frame]
spot: meter:source nonce:nonce frames:[frame] values:[value] who:text account:text
replacement: meter:about old:text new:text last:[read_off] first:[read_off] reason:text who:text account:text
manual: meter:about quantity:quantity value:decimal unit:unit read_at:time reference:text compared?:count agrees?:boolean \
who:text account:text
audit: command:word meter:about record?:count reason:text who:text account:text
prune: first:count end:from1 blocks:[hash] why?=age|room undelivered?:from1
loss: ranges:[range] unhashed?:[range] checkpoints?:boolean cause:word aside?:text digest?:digest
range: first:count end:from1
correction: meter:about from:time to:time what=ct|vt|time old:text new:text reason:text who:text account:text
counter: meter:about quantity:quantity unit:unit before:stand after:stand confirmed:stand \
decision=rollover|reset|spurious_zero|spurious|jump \
why=passed_modulus|began_at_zero|began_elsewhere|not_confirmed|faster_than_possible added:decimal
stand: n:count value:decimal
day: meter:about day:date zone:text from:time to:time expected:count actual:count resets:count \
replacements:count counters:[closing]
closing: quantity:quantity unit?:unit consumption?:decimal opening?:bound closing?:bound
bound: n:count value:decimal away_ms:count
synchronization: before=synchronized|unsynchronized|unknown after=synchronized|unsynchronized|unknown
clock: step_ms:integer before:time after:time
"""
KINDS = {"key", "start", "stop", "config", "meter", "reading", "gap", "identity", "clock", "correction"}
KINDS |= {"counter", "day", "synchronization", "alarm", "spot", "replacement", "manual", "audit", "prune", "loss"}

TEXTS = {
    "text": r"[^\x00-\x1f\x7f\ud800-\udfff]{0,400}",
    "word": r"[a-z][a-z0-9_]{0,47}",
    "name": r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}",
    "model_name": r"[a-z0-9-]{1,60}",
    "gateway": r"[a-z0-9][a-z0-9-]{0,39}/[a-z0-9][a-z0-9-]{0,39}",
    "key_name": r"[0-9a-f]{16}",
    "boot": r"[0-9a-f]{8}",
    "digest": r"[0-9a-f]{64}",
    "hex": r"(?:[0-9a-f]{2})*",
    "decimal": r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?",
    "quantity": r"[a-z][a-z0-9_]*(?:\.[a-z0-9]+)*",
    "unit": r"[A-Za-z0-9%/]{1,10}",
    "nonce": r"[A-Za-z0-9_-]{8,64}",
    "formula": r"[0-9a-z@:!*/+().^\[\]-]{1,300}",
}
LARGEST = 2**53 - 1
RANGES = {
    "integer": (-LARGEST, LARGEST),
    "count": (0, LARGEST),
    "interval": (1, 86_400_000),
    "version": (1, 1),
    "from1": (1, LARGEST),
    "months": (1, 600),
    "pipe": (1, 5000),
}
UNITS = """
kWh active_energy_import active_energy_export active_energy_total active_energy_net thermal_energy cooling_energy
kvarh reactive_energy_import reactive_energy_export reactive_energy_total reactive_energy_net
kvarh reactive_energy_q1 reactive_energy_q2 reactive_energy_q3 reactive_energy_q4
kVAh apparent_energy_import apparent_energy_export apparent_energy_total
W active_power active_power_demand active_power_demand_max
var reactive_power
VA apparent_power
1 power_factor pulse_count
V voltage voltage_ll battery_voltage
A current current_n
deg phase_angle
Hz frequency
% voltage_thd current_thd
m3 volume_forward volume_reverse volume_net volume_base
m3/h volume_flow
t mass
t/h mass_flow
kW thermal_power
Cel temperature
K temperature_difference
bar pressure
m/s velocity
h operating_time
"""
UNIT_OF = {name: line.split()[0] for line in UNITS.strip().splitlines() for name in line.split()[1:]}


def _shapes() -> dict[str, dict[str, tuple[bool, str]]]:
    """The tables: of every shape its fields, each with whether it must be there and its type."""
    shapes: dict[str, dict[str, tuple[bool, str]]] = {}
    for line in TABLES.strip().splitlines():
        name, _, rest = line.partition(": ")
        shapes[name] = {}
        for part in rest.split():
            word, kind = re.fullmatch(r"([a-z_]+\??)(?::|(?==))(.+)", part).groups()  # type: ignore[union-attr]  # our own table
            shapes[name][word.rstrip("?")] = (not word.endswith("?"), kind)
    return shapes


SHAPES = _shapes()


def check_fields(value: Any, shape: dict[str, tuple[bool, str]], place: str) -> None:
    """That an object has the fields of a table and no others, each of its type.

    Raises:
        Wrong: FORMAT, with the place.
    """
    if not isinstance(value, dict):
        raise Wrong("FORMAT", f"{place} is no object")
    for name in value.keys() - shape.keys():
        raise Wrong("FORMAT", f"{place} has a field {name}, which there is not")
    for name, (needed, kind) in shape.items():
        if name in value:
            check_type(value[name], kind, f"{place}.{name}")
        elif needed:
            raise Wrong("FORMAT", f"{place} has no field {name}")


def check_type(value: Any, kind: str, place: str) -> None:
    """That a value is of a type of the tables.

    Raises:
        Wrong: FORMAT, with the place.
    """
    if kind.startswith("["):
        if not isinstance(value, list):
            raise Wrong("FORMAT", f"{place} is no list")
        for number, each in enumerate(value):
            check_type(each, kind[1:-1], f"{place}[{number}]")
    elif kind in SHAPES:
        check_fields(value, SHAPES[kind], place)
    elif not _is_of(value, kind):
        raise Wrong("FORMAT", f"{place} is not {kind.lstrip('=')}: {str(value)[:60]!r}")


def _is_of(value: Any, kind: str) -> bool:
    if kind == "boolean":
        return isinstance(value, bool)
    if kind in RANGES:
        return isinstance(value, int) and not isinstance(value, bool) and RANGES[kind][0] <= value <= RANGES[kind][1]
    if not isinstance(value, str):
        return False
    if kind.startswith("="):
        return value in kind[1:].split("|")
    if kind in ("hash", "signature"):
        return len(from_base64url(value)) == {"hash": 32, "signature": 64}[kind]
    if kind in ("time", "date"):
        return milliseconds_or_none(value + "T00:00:00.000Z" * (kind == "date")) is not None
    return re.fullmatch(TEXTS[kind], value) is not None


def from_base64url(text: str) -> bytes:
    """The bytes of base64url without padding; empty where it is none or is not written as its bytes are."""
    if not re.fullmatch(r"[A-Za-z0-9_-]+", text) or len(text) % 4 == 1:
        return b""
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    return data if base64.urlsafe_b64encode(data).decode().rstrip("=") == text else b""


def milliseconds_or_none(text: str) -> int | None:
    """Milliseconds since 1970 of a time with exactly three digits and `Z`."""
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z", text, re.ASCII):
        return None
    try:
        moment = datetime.strptime(text[:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc)  # noqa: UP017  # as the page: UTC
    except ValueError:
        return None
    return int((moment - datetime(1970, 1, 1, tzinfo=timezone.utc)).total_seconds()) * 1000 + int(text[20:23])  # noqa: UP017  # the same


def milliseconds(text: str) -> int:
    """Milliseconds since 1970 of a time that was found to be one."""
    made = milliseconds_or_none(text)
    assert made is not None  # noqa: S101  # the tables were checked before
    return made


# --- The strict profile ---------------------------------------------------------------------------------------------------


def parse(payload: bytes) -> dict[str, Any]:
    """A record's fields, checked against the strict profile; `x` may hold any JSON.

    Raises:
        Wrong: FORMAT.
    """
    if len(payload) > 256 * 1024:
        raise Wrong("FORMAT", "more than 256 KiB")
    try:
        fields = json.loads(payload.decode("utf-8"), object_pairs_hook=_object, parse_float=decimal.Decimal)
    except (ValueError, RecursionError) as fault:
        raise Wrong("FORMAT", f"no JSON of the profile: {str(fault)[:100]}") from None
    if not isinstance(fields, dict):
        raise Wrong("FORMAT", "no object")
    fields.pop("x", None)
    made = _strict(fields, 1)
    assert isinstance(made, dict)  # noqa: S101  # an object stays one
    return made


class _Twice(dict[str, Any]):
    """An object with a key twice: allowed in `x`, and nowhere else."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs) and [name for name, _ in pairs].count("x") > 1:
        raise ValueError("the key x twice")
    return made if len(made) == len(pairs) else _Twice(made)


def _strict(value: Any, depth: int) -> Any:
    """A value with integers instead of fractions that are whole. Raises Wrong: FORMAT."""
    if isinstance(value, (dict, list)):
        return _strict_inside(value, depth)
    if isinstance(value, decimal.Decimal) and abs(value) <= LARGEST and value == value.to_integral_value():
        return int(value)
    if isinstance(value, str) and not re.search(r"[\x00-\x1f\x7f\ud800-\udfff]", value):
        return value
    if isinstance(value, bool) or (isinstance(value, int) and abs(value) <= LARGEST):
        return value
    raise Wrong("FORMAT", f"a value that is not allowed: {str(value)[:40]!r}")


def _strict_inside(value: Any, depth: int) -> Any:
    if depth > 16:
        raise Wrong("FORMAT", "nested more than 16 levels deep")
    if isinstance(value, list):
        return [_strict(each, depth + 1) for each in value]
    if isinstance(value, _Twice):
        raise Wrong("FORMAT", "a key twice")
    for name in value:
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,31}", name, re.ASCII):
            raise Wrong("FORMAT", f"a key that is none: {name[:40]!r}")
    return {name: _strict(each, depth + 1) for name, each in value.items()}


def body_of(fields: dict[str, Any]) -> bytes:
    """The canonical form without `sig`."""
    rest = {name: value for name, value in fields.items() if name != "sig"}
    return json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode("utf-8")


def signed_bytes(body: bytes) -> bytes:
    """The DSSE v1 pre-authentication encoding of a body."""
    return b"DSSEv1 40 application/vnd.meterseal.record.v1+json %d " % len(body) + body


def sha256(data: bytes) -> bytes:
    """SHA-256."""
    return hashlib.sha256(data).digest()


def is_signed(public: bytes, signature: bytes, data: bytes) -> bool:
    """Whether it is the Ed25519 signature of this key over these bytes."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, data)
    except (InvalidSignature, ValueError):
        return False
    return True


# --- Formulas -------------------------------------------------------------------------------------------------------------

_ENCODING = (
    r"(?P<whole>[ui]8|[ui](?:16|24|32|40|48|56|64)(?P<whole_order>be|ws|bs|le))(?:\[(?P<low>[0-9]{1,2})(?:-(?P<high>[0-9]{1,2}))?\])?"
    r"|(?P<float>f32|f64)(?P<float_order>be|ws|bs|le)"
    r"|bcd(?P<bcd>[0-9]{1,2})(?P<bcd_order>be|ws|bs|le)(?P<bcd_33>33)?(?P<sign>[sf])?"
    r"|digits(?P<digits>[0-9]{1,2})(?P<digits_order>be|ws|bs|le)(?P<digits_33>33)?"
    r"|mod10x(?P<mod>[234])(?P<mod_order>be|ws|bs|le)|dec(?P<dec>[0-9]{1,2})"
    r"|ascii(?P<ascii>[0-9]{1,3})(?P<ascii_le>le)?|hex(?P<hex>[0-9]{1,3})"
)
_SOURCE = re.compile(
    rf"(?P<answer>[0-9]{{1,3}})(?P<how>[hp])?@(?P<at>[0-9]{{1,5}}):(?:{_ENCODING})(?P<none>(?:!(?:[0-9a-f]{{2}})+)*)", re.ASCII
)
_NUMBER = re.compile(r"-?[0-9]{1,20}(?:\.[0-9]{1,20})?", re.ASCII)
_SHIFT = re.compile(r"([+-][0-9]{1,2})?\)", re.ASCII)
_EXACT = decimal.Context(prec=100_000, Emax=999_999, Emin=-999_999, traps=[decimal.InvalidOperation, decimal.Inexact])
_ROUNDED = decimal.Context(prec=2000, Emax=999_999, Emin=-999_999)
_QUOTIENT = decimal.Context(prec=34, rounding=decimal.ROUND_HALF_EVEN, Emax=999_999, Emin=-999_999)


class NoNumber(Exception):
    """The bytes are there and hold no value; the message is the cause."""


@dataclass(frozen=True)
class Outcome:
    """What a formula gives: a value, or the cause why there is none."""

    value: str | None
    cause: str


def evaluate(formula: str, answers: list[bytes | None]) -> Outcome:
    """What a formula gives over the answers; None in place of an answer is one that no value may come from.

    Raises:
        Wrong: FORMULA: it is none, or points where there is nothing.
    """
    if len(formula) > 300:
        raise Wrong("FORMULA", "more than 300 characters")
    try:
        return Outcome(_Reader(formula, answers).result(), "")
    except NoNumber as fault:
        return Outcome(None, str(fault))


class _Reader:
    """Reads a formula from left to right."""

    def __init__(self, formula: str, answers: list[bytes | None]) -> None:
        self.formula, self.answers, self.at = formula, answers, 0
        self.cause = ""

    def result(self) -> str:
        """The value with all its digits. Everything is read to the end before the cause of a missing value is told."""
        total = self._term()
        if isinstance(total, str) and self.at < len(self.formula):
            raise Wrong("FORMULA", "a text stands alone")
        while self._take("+"):
            term = self._term()
            if isinstance(total, str) or isinstance(term, str):
                raise Wrong("FORMULA", "a text stands alone")
            total = _EXACT.add(total, term)
        if self.at < len(self.formula):
            raise Wrong("FORMULA", f"cannot be read from {self.formula[self.at :][:20]!r} on")
        if self.cause:
            raise NoNumber(self.cause)
        return total if isinstance(total, str) else _written(total)

    def _take(self, sign: str) -> bool:
        taken = self.formula.startswith(sign, self.at)
        self.at += len(sign) * taken
        return taken

    def _term(self) -> decimal.Decimal | str:
        value = self._source()
        while (times := self._take("*")) or self._take("/"):
            if isinstance(value, str):
                raise Wrong("FORMULA", "a text stands alone")
            if times:
                value = _EXACT.multiply(value, self._factor())
                continue
            number = decimal.Decimal(self._match(_NUMBER).group())
            if number == 0:
                raise Wrong("FORMULA", "divides by zero")
            value = _QUOTIENT.divide(value, number)
        return value

    def _factor(self) -> decimal.Decimal:
        if not self._take("10^("):
            return decimal.Decimal(self._match(_NUMBER).group())
        value = self._source()
        shift = int(self._match(_SHIFT).group(1) or 0)
        if isinstance(value, str):
            raise Wrong("FORMULA", "a text is no exponent")
        if value != value.to_integral_value() or not -30 <= value + shift <= 30:
            self.cause = self.cause or "bad_exponent"
            return decimal.Decimal(1)
        return decimal.Decimal(1).scaleb(int(value) + shift)

    def _match(self, pattern: re.Pattern[str]) -> re.Match[str]:
        found = pattern.match(self.formula, self.at)
        if not found:
            raise Wrong("FORMULA", f"cannot be read from {self.formula[self.at :][:20]!r} on")
        self.at = found.end()
        return found

    def _source(self) -> decimal.Decimal | str:
        parts = self._match(_SOURCE).groupdict()
        number, start = int(parts["answer"]), int(parts["at"])
        if number >= len(self.answers):
            raise Wrong("FORMULA", f"points to answer {number}, there are {len(self.answers)}")
        answer = self.answers[number]
        if answer is None:
            raise Wrong("FORMULA", f"takes a value from answer {number}, which is none")
        data = _decoded(answer, parts["how"])
        order, read = _encoding(parts)
        size = _size(parts)
        if start + size > len(data):
            raise Wrong("FORMULA", f"points to bytes {start} to {start + size - 1} of {len(data)}")
        taken = _in_order(data[start : start + size], order)
        nones = [bytes.fromhex(text) for text in parts["none"].split("!")[1:]]
        if any(len(none) != size for none in nones):
            raise Wrong("FORMULA", "a sentinel of another length than the encoding")
        read = _none if taken in nones else read
        if parts["bcd_33"] or parts["digits_33"]:
            taken = bytes((byte - 0x33) % 256 for byte in taken)
        try:
            return read(taken)
        except NoNumber as fault:
            self.cause = self.cause or str(fault)
            return "" if parts["ascii"] or parts["hex"] or parts["digits"] else decimal.Decimal(0)


def _decoded(answer: bytes, how: str | None) -> bytes:
    if how == "p":
        return bytes(byte & 0x7F for byte in answer)
    if how == "h":
        try:
            return bytes.fromhex(answer.partition(b":")[2].strip(b"\r\n").decode("ascii"))
        except ValueError:
            raise Wrong("FORMULA", "the answer is no hexadecimal text behind a colon") from None
    return answer


def _size(parts: dict[str, str]) -> int:
    if parts["whole"]:
        return int(re.sub(r"[a-z]", "", parts["whole"])) // 8
    if parts["float"]:
        return int(parts["float"][1:]) // 8
    for name, most in (("bcd", 16), ("digits", 16), ("dec", 32), ("ascii", 999), ("hex", 999)):
        if parts[name]:
            if not 1 <= int(parts[name]) <= most:
                raise Wrong("FORMULA", f"{name}{parts[name]}: from 1 to {most} bytes")
            return int(parts[name])
    return 2 * int(parts["mod"])


def _in_order(data: bytes, order: str) -> bytes:
    """The bytes with the high byte first."""
    if order == "le":
        return data[::-1]
    if order in ("ws", "bs") and len(data) % 2:
        raise Wrong("FORMULA", "words of 16 bits cannot be swapped in an odd number of bytes")
    words = [data[at : at + 2] for at in range(0, len(data), 2)]
    if order == "ws":
        return b"".join(reversed(words))
    return b"".join(word[::-1] for word in words) if order == "bs" else data


def _encoding(parts: dict[str, str]) -> tuple[str, Callable[[bytes], decimal.Decimal | str]]:
    """The order of the bytes, and what makes a number or a text of them."""
    if parts["whole"]:
        low = None if parts["low"] is None else int(parts["low"])
        high = low if parts["high"] is None else int(parts["high"])
        size = 8 * _size(parts)
        if low is not None and high is not None and not low <= high < size:
            raise Wrong("FORMULA", f"bits {low} to {high} of {size}")
        return parts["whole_order"] or "be", lambda data: _whole(data, parts["whole"][0] == "i", low, high)
    if parts["float"]:
        return parts["float_order"], _shortest
    if parts["bcd"]:
        return parts["bcd_order"], lambda data: _packed(data, parts["sign"] or "")
    if parts["digits"]:
        return parts["digits_order"], _digits
    if parts["mod"]:
        return parts["mod_order"], _registers
    if parts["dec"]:
        return "be", _decimal_text
    if parts["ascii"]:
        return "le" if parts["ascii_le"] else "be", _text
    return "be", lambda data: data.hex()


def _whole(data: bytes, signed: bool, low: int | None, high: int | None) -> decimal.Decimal:
    if low is None or high is None:
        return decimal.Decimal(int.from_bytes(data, "big", signed=signed))
    return decimal.Decimal(int.from_bytes(data, "big") >> low & (1 << high - low + 1) - 1)


def _shortest(data: bytes) -> decimal.Decimal:
    """Rule 1: the shortest decimal that reads back as the same bits; of several the nearest, of two as near the even one."""
    code = ">f" if len(data) == 4 else ">d"
    (value,) = struct.unpack(code, data)
    if value != value or value in (float("inf"), float("-inf")):
        raise NoNumber("not_a_number")
    exact = decimal.Decimal(value)
    if exact == 0:
        return decimal.Decimal(0)
    for count in range(1, 18):
        step = decimal.Decimal(1).scaleb(exact.adjusted() - count + 1)
        near = [exact.quantize(step, way, _ROUNDED) for way in (decimal.ROUND_FLOOR, decimal.ROUND_CEILING)]
        same = [each for each in near if _packs_to(code, each, data)]
        if same:
            best = min(same, key=lambda each: (abs(_EXACT.subtract(each, exact)), each.as_tuple().digits[-1] % 2))
            plain = format(best, "f")
            return decimal.Decimal(plain.rstrip("0").rstrip(".") if "." in plain else plain)
    raise AssertionError  # 17 digits tell every binary64


def _packs_to(code: str, value: decimal.Decimal, data: bytes) -> bool:
    try:
        return struct.pack(code, float(value)) == data
    except OverflowError:
        return False


def _none(_: bytes) -> decimal.Decimal:
    raise NoNumber("not_available")


def _half_bytes(data: bytes) -> str:
    text = data.hex()
    if not text.isdigit():
        raise NoNumber("bad_bcd")
    return text


def _packed(data: bytes, sign: str) -> decimal.Decimal:
    if data == b"\xff" * len(data):
        raise NoNumber("not_available")
    minus = False
    if sign == "s":
        minus, data = data[0] > 0x7F, bytes([data[0] & 0x7F]) + data[1:]
    elif sign == "f" and data[0] >> 4 == 0xF:
        minus, data = True, bytes([data[0] & 0x0F]) + data[1:]
    return decimal.Decimal(int(_half_bytes(data)) * (-1 if minus else 1))


def _digits(data: bytes) -> str:
    if data == b"\xff" * len(data):
        raise NoNumber("not_available")
    return _half_bytes(data)


def _registers(data: bytes) -> decimal.Decimal:
    value = 0
    for at in range(0, len(data), 2):
        register = int.from_bytes(data[at : at + 2], "big")
        if register > 9999:
            raise NoNumber("bad_digits")
        value = value * 10_000 + register
    return decimal.Decimal(value)


def _text(data: bytes) -> str:
    data = data.lstrip(b" ").rstrip(b" \0")
    if not data:
        raise NoNumber("not_available")
    if any(not 0x20 <= byte <= 0x7E for byte in data):
        raise NoNumber("bad_text")
    return data.decode("ascii")


def _decimal_text(data: bytes) -> decimal.Decimal:
    text = _text(data)
    if not re.fullmatch(r"[+-]?[0-9]+(?:\.[0-9]+)?", text, re.ASCII):
        raise NoNumber("bad_digits")
    return decimal.Decimal(text)


def _written(value: decimal.Decimal) -> str:
    """Rule 4: all digits, no exponent, no sign of zero."""
    if value == 0:
        value = abs(value)
    text = format(value, "f")
    return text if value or "." in text else "0"


# --- What a verifier takes of a model -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Point:
    """What the page takes of one of a model's points."""

    ratio: str = "none"
    lowest: decimal.Decimal | None = None
    highest: decimal.Decimal | None = None
    max_rate: decimal.Decimal | None = None
    modulus: decimal.Decimal | None = None
    steps_back: bool = False


@dataclass(frozen=True)
class Model:
    """What the page takes of a model: `watched` are its settings with the values under which its map is valid."""

    name: str
    revision: int
    level: str
    protocol: str
    watched: dict[str, tuple[str, ...]]
    codes: frozenset[str]
    points: dict[str, Point]


def read_model(data: bytes) -> Model:
    """The model in a file.

    Raises:
        Wrong: MODEL: it cannot be read.
    """
    try:
        top = _Yaml(data.decode("utf-8")).whole()
        identity = {watch["name"]: watch for watch in top.get("identity", []) if watch["name"] != "serial"}
        watched = {**identity, **{watch["name"]: watch for watch in top.get("attest", [])}}
        points = {point["quantity"]: _point(point) for point in top["points"]}
        allowed = {name: tuple(map(str, watch.get("expect", []))) for name, watch in watched.items()}
        found = (top["model"], int(top["revision"]), top["trust"]["level"], top["protocol"])
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError, ArithmeticError) as fault:
        raise Wrong("MODEL", f"the model file cannot be read: {fault!r}") from None
    return Model(*found, allowed, frozenset(identity), points)


def _point(stated: dict[str, Any]) -> Point:
    numbers = [decimal.Decimal(each) for each in stated["range"]] if "range" in stated else [None, None]
    counter = stated.get("counter", {})
    of_counter = [decimal.Decimal(each) if each else None for each in (stated.get("max_rate"), counter.get("modulus"))]
    return Point(stated.get("ratio", "none"), numbers[0], numbers[1], *of_counter, "may_step_back" in counter)


class _Yaml:
    """The part of YAML that model files are written in; every plain value stays the text that was written."""

    KEY = re.compile(r"""("(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|[^\s\[\]{}"'#,&*!|>%@`-][^#]*?|-[^\s#][^#]*?)\s*:(?:\s+|$)""")

    def __init__(self, text: str) -> None:
        self.lines: list[tuple[int, str]] = []
        for line in text.split("\n"):
            bare = self._without_comment(line)
            if bare.strip() and bare.strip() not in ("---", "..."):
                self.lines.append((len(bare) - len(bare.lstrip(" ")), bare.strip()))
        self.at = 0

    def whole(self) -> dict[str, Any]:
        """What stands in the file."""
        made = self._flow() if self.lines and self.lines[0][1].startswith("{") else self._block(0, -1)
        if self.at < len(self.lines) or not isinstance(made, dict):
            raise ValueError(f"cannot be read from {self.lines[self.at :][:1]} on")
        return made

    @staticmethod
    def _without_comment(line: str) -> str:
        quote, before = "", " "
        for place, letter in enumerate(line):
            if quote:
                quote = "" if letter == quote else quote
            elif letter in "\"'" and before in " [{,:":
                quote = letter
            elif letter == "#" and (place == 0 or line[place - 1] in " \t"):
                return line[:place].rstrip()
            before = letter if letter != " " or before not in "[{,:" else before
        return line.rstrip()

    def _block(self, indent: int, outer: int) -> Any:
        """A block whose lines stand so far from the left, and those of the one around it."""
        if self.lines[self.at][1][:2] in ("- ", "-"):
            return self._list(indent)
        return self._mapping(indent) if self.KEY.match(self.lines[self.at][1]) else self._value(outer)

    def _list(self, indent: int) -> list[Any]:
        made = []
        while self.at < len(self.lines) and self.lines[self.at][0] == indent and self.lines[self.at][1][:2] in ("- ", "-"):
            rest = self.lines[self.at][1][1:]
            inner = indent + 1 + len(rest) - len(rest.lstrip())
            if rest.strip():
                self.lines[self.at] = (inner, rest.strip())
            else:
                self.at += 1
                inner = self.lines[self.at][0]
            made.append(self._block(inner, indent))
        return made

    def _mapping(self, indent: int) -> dict[str, Any]:
        made: dict[str, Any] = {}
        while self.at < len(self.lines) and self.lines[self.at][0] == indent:
            found = self.KEY.match(self.lines[self.at][1])
            if not found:
                raise ValueError(f"no key: {self.lines[self.at][1][:40]!r}")
            rest = self.lines[self.at][1][found.end() :]
            if rest:
                self.lines[self.at] = (indent, rest)
                made[found[1].strip("\"'")] = self._value(indent)
                continue
            self.at += 1
            depth, text = self.lines[self.at]
            if depth < indent or (depth == indent and not text.startswith("-")):
                raise ValueError(f"nothing stands behind {found[1]}")
            made[found[1].strip("\"'")] = self._block(depth, indent)
        return made

    def _value(self, indent: int) -> Any:
        """A value that begins on this line; lines further from the left belong to it."""
        text = self.lines[self.at][1]
        if text[0] in "{[\"'":
            return self._flow()
        self.at += 1
        more = []
        while self.at < len(self.lines) and self.lines[self.at][0] > indent:
            more.append(self.lines[self.at][1])
            self.at += 1
        return " ".join([text, *more])

    def _flow(self) -> Any:
        """A value in brackets or quotes, over as many lines as it takes."""
        text, self.at = self.lines[self.at][1], self.at + 1
        while True:
            try:
                made, end = self._inline(text, 0)
                break
            except IndexError:
                if self.at == len(self.lines):
                    raise ValueError("a bracket or quote is not closed") from None
                text, self.at = f"{text} {self.lines[self.at][1]}", self.at + 1
        if text[end:].strip():
            raise ValueError(f"behind a bracket or quote stands {text[end:][:40]!r}")
        return made

    def _inline(self, text: str, at: int) -> tuple[Any, int]:
        """The value at a place of a text, and where it ends. Raises IndexError where the text ends before it does."""
        at = self._past_spaces(text, at)
        if text[at] in "\"'":
            found = re.compile(r'"(?:[^"\\]|\\.)*"' if text[at] == '"' else r"'(?:[^']|'')*'").match(text, at)
            if not found:
                raise IndexError
            quoted = json.loads(found[0]) if text[at] == '"' else found[0][1:-1].replace("''", "'")
            return quoted, found.end()
        if text[at] in "[{":
            return self._bracket(text, at)
        found = re.compile(r"(?:[^,\[\]{}:]|:(?![\s,\[\]{}]|$))+").match(text, at)
        if not found or found.end() == len(text):
            raise IndexError
        return found[0].strip(), found.end()

    def _bracket(self, text: str, at: int) -> tuple[Any, int]:
        close = "]" if text[at] == "[" else "}"
        items: list[Any] = []
        named: dict[str, Any] = {}
        at = self._past_spaces(text, at + 1)
        while text[at] != close:
            value, at = self._inline(text, at)
            at = self._past_spaces(text, at)
            if close == "}":
                if text[at] != ":":
                    raise ValueError(f"no key: {str(value)[:40]!r}")
                named[value], at = self._inline(text, at + 1)
                at = self._past_spaces(text, at)
            items.append(value)
            if text[at] == ",":
                at = self._past_spaces(text, at + 1)
            elif text[at] != close:
                raise ValueError(f"in brackets stands {text[at:][:20]!r}")
        return named if close == "}" else items, at + 1

    @staticmethod
    def _past_spaces(text: str, at: int) -> int:
        while text[at] in " \t":
            at += 1
        return at


# --- counter, day: what readings lead to ----------------------------------------------------------------------------------

_WIDE = decimal.Context(prec=60)
_ZERO = decimal.Decimal(0)
_SLACK = 900_000
_DAY_OVERDUE = 26 * 3_600_000
_NOT_COUNTING = {"active_energy_net", "reactive_energy_net", "volume_net"}
_COUNTING = {name for name, unit in UNIT_OF.items() if unit in ("kWh", "kvarh", "kVAh", "m3", "t", "h")} - _NOT_COUNTING
_COUNTING |= {"pulse_count"}
_PART = re.compile(r"l[123]|l1l2|l2l3|l3l1|n|flow|return|difference|ch[0-9]{1,2}|t[1-9][0-9]?|m(?:0|[1-9][0-9]?)")


def unit_of(quantity: str) -> str | None:
    """The one unit of a quantity; None where there is no such quantity."""
    base, *parts = quantity.split(".")
    return UNIT_OF.get(base) if all(_PART.fullmatch(part) for part in parts) else None


def counts(quantity: str) -> bool:
    """Whether a quantity counts."""
    base, *parts = quantity.split(".")
    return base in _COUNTING and unit_of(quantity) is not None and not any(part.startswith("m") for part in parts)


def ratio(text: str | None) -> Fraction:
    """A transformer's ratio; 1 where there is none."""
    found = re.fullmatch(r"([1-9][0-9]{0,8})(?:/([1-9][0-9]{0,8}))?", text or "")
    return Fraction(int(found[1]), int(found[2] or 1)) if found else Fraction(1)


def primary(text: str | None) -> int:
    """The primary side of a ratio such as 400/5; 0 where there is none."""
    found = re.fullmatch(r"([1-9][0-9]{0,8})/[1-9][0-9]{0,8}", text or "")
    return int(found[1]) if found else 0


def times(value: decimal.Decimal, by: Fraction) -> decimal.Decimal:
    """A value times a ratio, to 60 digits."""
    return _WIDE.divide(_WIDE.multiply(value, decimal.Decimal(by.numerator)), decimal.Decimal(by.denominator))


def applied(point: Point, declared: dict[str, Any]) -> Fraction:
    """What the formulas of a point apply of a declaration's ratios."""
    made = Fraction(1)
    for name in point.ratio.split("_") if point.ratio in ("ct", "vt", "ct_vt") else ():
        made *= ratio(declared.get(name))
    return made


def rate_of(quantity: str, point: Point, declared: dict[str, Any]) -> decimal.Decimal | None:
    """How much a counter can rise in an hour; None where that is not known."""
    if point.max_rate is not None:
        return times(point.max_rate, applied(point, declared))
    unit, amperes = unit_of(quantity), primary(declared.get("ct"))
    if unit in ("kWh", "kvarh", "kVAh") and amperes:
        exact = Fraction(amperes * (primary(declared.get("vt")) or 690)) * Fraction(12, 10) * Fraction(17321, 10000) / 1000
    elif unit == "m3" and "pipe_mm" in declared:
        exact = Fraction(31416, 10000) / 4 * declared["pipe_mm"] ** 2 * Fraction(36, 1000)
    else:
        return None
    return decimal.Decimal(-(-exact.numerator * 1000 // exact.denominator)).scaleb(-3)


@dataclass(frozen=True)
class Stand:
    """What a counter stood at: record n, the instant it answers for, its clocks, and the value."""

    n: int
    due: int
    time: int
    boot: str
    uptime: int
    value: decimal.Decimal


class Course:
    """One counter of one meter: `total` is what was added since the first accepted reading."""

    def __init__(self) -> None:
        self.rate: decimal.Decimal | None = None
        self.modulus: decimal.Decimal | None = None
        self.steps_back = False
        self.last: Stand | None = None
        self.held: Stand | None = None
        self.total = _ZERO
        self.opening: tuple[Stand, decimal.Decimal] | None = None
        self.accepted: deque[tuple[Stand, decimal.Decimal]] = deque(maxlen=4000)

    def limit(self, quantity: str, point: Point, declared: dict[str, Any]) -> None:
        """Takes what a declaration says of how it can behave."""
        self.rate, self.steps_back = rate_of(quantity, point, declared), point.steps_back
        self.modulus = None if point.modulus is None else times(point.modulus, applied(point, declared))

    def rescale(self, by: Fraction) -> None:
        """Goes on in the scale of another ratio."""
        self.last = self.last and replace(self.last, value=times(self.last.value, by))
        self.held = self.held and replace(self.held, value=times(self.held.value, by))

    def anew(self) -> None:
        """Begins another series."""
        self.last = self.held = None

    def accept(self, stand: Stand, added: decimal.Decimal) -> None:
        """Takes a reading for true."""
        self.total = _WIDE.add(self.total, added)
        self.last, self.held = stand, None
        self._keep(stand)

    def _keep(self, stand: Stand) -> None:
        self.accepted.append((stand, self.total))
        self.opening = self.opening or (stand, self.total)

    def replaced(self, stand: Stand, last: decimal.Decimal | None) -> None:
        """The meter was replaced: what the old one stood at in the end, and what the new one begins with."""
        ends = None if last is None else replace(stand, value=last)
        added = _WIDE.subtract(ends.value, self.last.value) if ends and self.last and self._rises(self.last, ends) else _ZERO
        self.accept(stand, added)

    def take(self, stand: Stand) -> dict[str, Any] | None:
        """Takes a good reading by the rules 1 to 5; the decision that follows, if one does."""
        last, held = self.last, self.held
        if last is None:
            self.accept(stand, _ZERO)
            return None
        if self._rises(last, stand):
            self.accept(stand, _WIDE.subtract(stand.value, last.value))
            return self._spurious(last, held, stand) if held else None
        if held is None:
            fell = _WIDE.subtract(last.value, stand.value)
            if self.steps_back and self.rate is not None and fell > 0 and self._can_add(fell, last, stand):
                self._keep(stand)
            else:
                self.held = stand
            return None
        if not self._rises(held, stand):
            self.held = stand
            return self._spurious(last, held, stand)
        what, why, added = self._level(last, held)
        self.accept(held, added)
        self.accept(stand, _WIDE.subtract(stand.value, held.value))
        return _decision(what, why, last, held, stand, added)

    def _level(self, last: Stand, held: Stand) -> tuple[str, str, decimal.Decimal]:
        if held.value > last.value:
            return "jump", "faster_than_possible", _ZERO
        if self.modulus is not None and last.value < self.modulus:
            way = _WIDE.add(_WIDE.subtract(self.modulus, last.value), held.value)
            nine = _WIDE.multiply(decimal.Decimal("0.9"), self.modulus)
            near = last.value >= nine and held.value <= _WIDE.subtract(self.modulus, nine)
            if self._can_add(way, last, held) if self.rate is not None else near:
                return "rollover", "passed_modulus", way
        if self.rate is not None and self._can_add(held.value, last, held):
            return "reset", "began_at_zero", held.value
        return "reset", "began_elsewhere", _ZERO

    @staticmethod
    def _spurious(last: Stand, held: Stand, stand: Stand) -> dict[str, Any]:
        return _decision("spurious" if held.value else "spurious_zero", "not_confirmed", last, held, stand, _ZERO)

    def _rises(self, since: Stand, until: Stand) -> bool:
        return until.value >= since.value and self._can_add(_WIDE.subtract(until.value, since.value), since, until)

    def _can_add(self, added: decimal.Decimal, since: Stand, until: Stand) -> bool:
        if self.rate is None:
            return True
        passed = until.uptime - since.uptime if since.boot == until.boot else until.time - since.time
        return _WIDE.multiply(added, decimal.Decimal(3_600_000)) <= _WIDE.multiply(
            self.rate, decimal.Decimal(max(0, passed) + _SLACK)
        )

    def closing(self, midnight: int) -> tuple[Stand, decimal.Decimal] | None:
        """The last accepted reading that was due at a midnight or before, else the opening, with the total up to it."""
        return next((kept for kept in reversed(self.accepted) if kept[0].due <= midnight), None) or self.opening

    def close(self, midnight: int) -> None:
        """A day was closed."""
        self.opening = self.closing(midnight)
        while self.accepted and self.opening in self.accepted and self.accepted[0] != self.opening:
            self.accepted.popleft()


def _decision(what: str, why: str, last: Stand, held: Stand, stand: Stand, added: decimal.Decimal) -> dict[str, Any]:
    told = {name: {"n": each.n, "value": f"{each.value:f}"} for name, each in (("before", last), ("after", held))}
    told["confirmed"] = {"n": stand.n, "value": f"{stand.value:f}"}
    return {**told, "decision": what, "why": why, "added": f"{added:f}"}


class Days:
    """The counters and closed days of one meter, while its records go by."""

    def __init__(self) -> None:
        self.counters: dict[str, Course] = {}
        self.declared: dict[str, Any] = {}
        self.points: dict[str, Point] = {}
        self.born: int | None = None
        self.closed: int | None = None
        self.read: Counter[int] = Counter()
        self.happened: Counter[str] = Counter()
        self.replaced = False
        self.waiting: list[dict[str, Any]] = []
        self.overdue: int | None = None
        self.unsure = 0

    def declare(self, declared: dict[str, Any], model: Model | None, time: int) -> None:
        """Takes a declaration."""
        before, points_before = self.declared, self.points
        named = {name for schedule in declared["schedules"] for name in schedule["quantities"]}
        self.declared = declared
        self.points = {name: point for name, point in model.points.items() if name in named} if model else {}
        self.born = time if self.born is None else self.born
        for name, point in self.points.items():
            if counts(name):
                self.counters.setdefault(name, Course()).limit(name, point, declared)
        for name in before and points_before.keys() & self.points.keys() & self.counters.keys():
            by = applied(self.points[name], declared) / applied(points_before[name], before)
            if by != 1:
                self.counters[name].rescale(by)
        if before and not self.replaced and any(before[name] != declared[name] for name in ("serial", "model")):
            for course in self.counters.values():
                course.anew()
        self.replaced = False

    def replace(self, fields: dict[str, Any]) -> None:
        """Takes a replacement."""
        self.happened["replacement"] += 1
        self.replaced = True
        last = {each["quantity"]: decimal.Decimal(each["value"]) for each in fields["last"]}
        first = {each["quantity"]: decimal.Decimal(each["value"]) for each in fields["first"]}
        for name, course in self.counters.items():
            if name in first:
                course.replaced(_stand(fields, milliseconds(fields["time"]), first[name]), last.get(name))
            else:
                course.anew()

    def take(self, fields: dict[str, Any]) -> Iterator[str]:
        """Takes a reading; what is wrong with the day in front of it."""
        due = milliseconds(fields["due"])
        self.read[due // _SLACK] += 1
        for value in fields["values"]:
            course = self.counters.get(value["quantity"])
            if course is None or "value" not in value or "quality" in value:
                continue
            decided = course.take(_stand(fields, due, decimal.Decimal(value["value"])))
            if decided:
                self.happened[decided["decision"]] += 1
                self.waiting.append({"quantity": value["quantity"], "unit": unit_of(value["quantity"]), **decided})
        yield from self._left_open(fields)

    def decided(self, fields: dict[str, Any]) -> Iterator[str]:
        """Takes a `counter` record; what is wrong with it."""
        right = next((each for each in self.waiting if each["quantity"] == fields["quantity"]), None)
        if right is None:
            yield f"decides that {fields['quantity']} was {fields['decision']}; by the readings nothing is to be decided here"
            return
        self.waiting.remove(right)
        for name, each in right.items():
            if fields[name] != each:
                yield f"states {name} {fields[name]}, the readings give {each}"

    def day(self, fields: dict[str, Any]) -> Iterator[str]:
        """Takes a `day` record; what is wrong with it."""
        begin, end = milliseconds(fields["from"]), milliseconds(fields["to"])
        yield from self._midnights(fields, begin, end)
        since = max(begin, self.born or 0)
        every = [schedule["every_ms"] for schedule in self.declared.get("schedules", ())]
        right = {
            "expected": sum(max(0, -(-end // each) - -(-since // each)) for each in every),
            "actual": sum(count for slot, count in self.read.items() if begin // _SLACK <= slot < end // _SLACK),
            "resets": self.happened["reset"],
            "replacements": self.happened["replacement"],
            "counters": [self._closing(name, begin, end) for name in sorted(self.counters)],
        }
        for name, each in right.items():
            stated = sorted(fields[name], key=lambda closing: str(closing["quantity"])) if name == "counters" else fields[name]
            if stated != each:
                yield f"{fields['day']}: states {name} {stated}, the records give {each}"
        self.closed, self.overdue = end, None
        self.happened.clear()
        for slot in [slot for slot in self.read if slot < end // _SLACK]:
            del self.read[slot]
        for course in self.counters.values():
            course.close(end)

    def _closing(self, name: str, begin: int, end: int) -> dict[str, Any]:
        opening, closing = self.counters[name].opening, self.counters[name].closing(end)
        if not opening or not closing:
            return {"quantity": name}
        made = {"quantity": name, "unit": unit_of(name), "consumption": f"{_WIDE.subtract(closing[1], opening[1]):f}"}
        for word, (stand, _), midnight in (("opening", opening, begin), ("closing", closing, end)):
            made[word] = {"n": stand.n, "value": f"{stand.value:f}", "away_ms": abs(stand.time - midnight)}
        return made

    def _midnights(self, fields: dict[str, Any], begin: int, end: int) -> Iterator[str]:
        if self.closed is not None and begin != self.closed:
            yield f"{fields['day']}: does not begin where the day closed before it ended"
        try:
            zone = timezone.utc if fields["zone"] in ("UTC", "Etc/UTC") else ZoneInfo(fields["zone"])  # noqa: UP017  # as the page: UTC
            day, ends = (datetime.fromtimestamp(each / 1000, zone).date() for each in (end - 1, end))
            whole = day.isoformat() == fields["day"] and datetime.fromtimestamp(begin / 1000, zone).date() == day
            whole = whole and _midnight(ends, zone) == end
            starts = _midnight(day, zone)
        except (KeyError, ValueError, OverflowError, OSError):
            yield f"{fields['day']}: {fields['from']} to {fields['to']} is no day of {fields['zone']}"
            return
        if not whole or (self.closed is None and begin != starts):
            yield f"{fields['day']}: {fields['from']} to {fields['to']} is not that day in {fields['zone']}"
        if milliseconds(fields["time"]) < end:
            yield f"{fields['day']}: was closed before it was over"

    def _left_open(self, fields: dict[str, Any]) -> Iterator[str]:
        if self.closed is None or milliseconds(fields["due"]) <= self.closed + _DAY_OVERDUE:
            return
        now = milliseconds(fields["time"])
        if self.overdue is None:
            self.overdue = now
        elif self.overdue >= 0 and now - self.overdue > 600_000:
            self.overdue = -1  # told once, until a day is closed
            yield "the day before this reading was never closed"


def _midnight(day: date, zone: tzinfo) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()) * 1000


def _stand(fields: dict[str, Any], due: int, value: decimal.Decimal) -> Stand:
    clock = fields["clock"]
    return Stand(fields["n"], due, milliseconds(fields["time"]), clock["boot"], clock["uptime_ms"], value)


# --- alarm, audit, manual, replacement: what becomes of a meter -----------------------------------------------------------


def told(settings: list[dict[str, Any]]) -> dict[str, str | None]:
    """Settings by name; None of one that the meter does not tell."""
    return {setting["name"]: setting.get("value") for setting in settings}


def same(one: str, other: str) -> bool:
    """Whether two writings are one serial number."""
    return _plain(one) == _plain(other)


class Life:
    """What stands of one meter: its number, its settings in force, its open alarm, its confirmed registers."""

    def __init__(self) -> None:
        self.declared: dict[str, Any] | None = None
        self.model: Model | None = None
        self.serial = ""
        self.replaced: tuple[str, str] | None = None
        self.pinned: dict[str, str | None] | None = None
        self.alarm: tuple[int, dict[str, str | None]] | None = None
        self.paired: dict[tuple[Any, ...], bool] = {}
        self.newest: deque[dict[str, Any]] = deque(maxlen=8)
        self.unseen = 0

    @property
    def doubt(self) -> str:
        """Why a reading is not evidence grade now; empty where it is."""
        declared = self.declared or {}
        if self.alarm:
            return "settings_changed"
        if self.model and not self.model.watched.keys() <= told(declared.get("settings", [])).keys():
            return "settings_unread"
        return "map_unconfirmed" if declared.get("trust") in ("C", "D") and not self.paired.get(_map(declared)) else ""

    @property
    def known_from(self) -> str:
        """How far a serial number that no record shows is proven."""
        found = told((self.declared or {}).get("settings", []))
        codes = self.model.codes if self.model else ()
        return "fingerprint" if not self.alarm and any(found.get(code) is not None for code in codes) else "plate"

    def take(self, fields: dict[str, Any], model: Model | None) -> Iterator[tuple[str, str]]:
        """Takes a record of the meter; what is wrong with it. `model`: of the declaration in force."""
        kind = fields["kind"]
        if kind == "meter":
            self.model = model
        if kind == "reading" and model and fields.get("doubt", "") != self.doubt:
            yield (
                "GRADE",
                f"states doubt {fields.get('doubt', 'none')}, from the records before it follows {self.doubt or 'none'}",
            )
        if kind in ("reading", "spot"):
            source = fields["meter"]
            right = self.known_from if source["serial"] else "plate"
            if model and source["serial_from"] in ("plate", "fingerprint") and source["serial_from"] != right:
                yield "DECLARATION", f"knows the serial number from the {source['serial_from']}, it is from the {right}"
            self.newest.append(fields)
            self.unseen = max(0, self.unseen - 1)
        takes = {"meter": self._declare, "alarm": self._alarmed, "audit": self._confirm, "manual": self._by_hand}
        if kind in takes:
            yield from takes[kind](fields)
        elif kind == "replacement":
            yield from self._replace(fields)

    def _changed(self, found: dict[str, str | None]) -> bool:
        """Whether settings are not those in force, or, where none are, not such that the model's map is valid."""
        pinned = self.pinned or {}
        return any(
            value != pinned[name] if name in pinned else not _fits(value, self.model.watched.get(name, ()) if self.model else ())
            for name, value in found.items()
        )

    def _declare(self, fields: dict[str, Any]) -> Iterator[tuple[str, str]]:
        made = fields["meter"]
        known = not made["serial"] or not self.serial or same(made["serial"], self.serial)
        if not known and not (self.replaced and same(made["serial"], self.replaced[1])):
            yield "REPLACEMENT", f"declares serial number {made['serial']} after {self.serial}, and no replacement says why"
        found = told(made.get("settings", []))
        if found and self._changed(found):
            yield "SETTINGS", "pins settings that are not the ones in force, and nobody has confirmed them"
        self.serial = made["serial"] or self.serial
        self.pinned = {**(self.pinned or {}), **found} if found else self.pinned
        self.declared, self.replaced = made, None

    def _alarmed(self, fields: dict[str, Any]) -> Iterator[tuple[str, str]]:
        found = told(fields["settings"])
        if not self.alarm and not self._changed(found):
            yield "SETTINGS", "tells of changed settings that are those in force"
        self.alarm = fields["n"], found

    def _confirm(self, fields: dict[str, Any]) -> Iterator[tuple[str, str]]:
        if fields["command"] != "confirm":
            return
        if self.alarm is None or fields.get("record") != self.alarm[0]:
            yield "SETTINGS", f"confirms record {fields.get('record')}, which is no open alarm of this meter"
            return
        self.pinned, self.alarm = {**(self.pinned or {}), **self.alarm[1]}, None

    def _replace(self, fields: dict[str, Any]) -> Iterator[tuple[str, str]]:
        if self.serial and not same(fields["old"], self.serial):
            yield "REPLACEMENT", f"takes out serial number {fields['old']}, the one declared was {self.serial}"
        for each in fields["last"]:
            stated = self._stated(each["record"], each["quantity"]) if "record" in each else each["value"]
            if stated != each["value"] and not (stated is None and self.unseen):
                yield (
                    "REPLACEMENT",
                    f"record {each['record']} does not state {each['value']} of {each['quantity']}, or is too old",
                )
        self.replaced = fields["old"], fields["new"]
        self.serial = fields["new"] or self.serial
        self.pinned, self.alarm, self.paired = None, None, {}

    def _by_hand(self, fields: dict[str, Any]) -> Iterator[tuple[str, str]]:
        unit = unit_of(fields["quantity"])
        if unit != fields["unit"]:
            yield "UNIT" if unit else "DECLARATION", f"states {fields['quantity']} in {fields['unit']}"
        if not unit:
            return
        if "compared" not in fields:
            if "agrees" in fields:
                yield "PAIR", "says whether a display agrees, but not with which record"
            return
        stated = self._stated(fields["compared"], fields["quantity"])
        if stated is None and self.unseen:
            self.paired.update({_map(self.declared): bool(fields.get("agrees"))} if self.declared else {})
            return
        if stated is None:
            yield "PAIR", f"compares with record {fields['compared']}, which is none of its newest readings that state it"
            return
        time = next(each["time"] for each in self.newest if each["n"] == fields["compared"])
        last_digit = decimal.Decimal(1).scaleb(-len(fields["value"].partition(".")[2]))
        right = abs(decimal.Decimal(fields["value"]) - decimal.Decimal(stated)) <= last_digit
        if abs(milliseconds(fields["read_at"]) - milliseconds(time)) > 60_000:
            yield "PAIR", f"compares a display read at {fields['read_at']} with a record of {time}"
        elif fields.get("agrees") != right:
            yield "PAIR", f"says that {fields['value']} and {stated} {'disagree' if right else 'agree'}"
        elif self.declared is not None:
            self.paired[_map(self.declared)] = right

    def _stated(self, n: int, quantity: str) -> str | None:
        found = next((each for each in self.newest if each["n"] == n), {"values": []})
        return next((each.get("value") for each in found["values"] if each["quantity"] == quantity), None)


def _map(declared: dict[str, Any]) -> tuple[Any, ...]:
    """What a paired reading confirms: this register map with these ratios."""
    return declared["digest"], declared.get("ct"), declared.get("vt")


def _fits(value: str | None, allowed: tuple[str, ...]) -> bool:
    if not allowed:
        return True
    try:
        return value is not None and decimal.Decimal(value) in [decimal.Decimal(each) for each in allowed]
    except decimal.InvalidOperation:
        return value in allowed


# --- Frames of OPC UA ------------------------------------------------------------------------------------------------------

_FIXED = {1: 1, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 4, 8: 8, 9: 8, 10: 4, 11: 8, 13: 8, 14: 16, 19: 4}
_VALUE_OF = bytes.fromhex("0d000000ffffffff0000ffffffff")


@dataclass(frozen=True)
class Told:
    """A DataValue: its place, its status, and the texts in it where it is a list of texts."""

    start: int
    end: int
    status: int = 0
    texts: tuple[str, ...] | None = None
    empty: bool = True


class Binary:
    """Reads OPC UA's binary encoding (OPC 10000-6, 5.2) from left to right. Raises Wrong: FRAME where the bytes are no such."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, length: int) -> bytes:
        """So many bytes."""
        if length < 0 or self.at + length > len(self.data):
            raise Wrong("FRAME", f"ends at byte {len(self.data)}, in the middle of a value")
        self.at += length
        return self.data[self.at - length : self.at]

    def number(self, length: int, signed: bool = False) -> int:
        """A number, low byte first."""
        return int.from_bytes(self.take(length), "little", signed=signed)

    def _right(self, right: object) -> None:
        if not right:
            raise Wrong("FRAME", f"holds at byte {self.at} what the encoding does not know")

    def count(self, least: int) -> int:
        """The length of an array; -1: there is none."""
        number = self.number(4, signed=True)
        self._right(number >= -1 and number * least <= len(self.data) - self.at)
        return number

    def string(self) -> bytes:
        """A text's bytes."""
        length = self.number(4, signed=True)
        self._right(length >= -1)
        return self.take(max(length, 0))

    def node(self, flags: int = 0) -> tuple[int, bytes]:
        """The namespace and identifier of a NodeId; `flags`: those that an ExpandedNodeId may bear."""
        first = self.number(1)
        encoding, namespace = first & ~flags, 0
        self._right(encoding <= 5)
        if encoding:
            namespace = self.number(1 if encoding == 1 else 2)
        start = self.at
        if encoding in (3, 5):
            self.string()
        else:
            self.take({0: 1, 1: 2, 2: 4, 4: 16}[encoding])
        identifier = self.data[start : self.at]
        if first & flags & 0x80:
            self.string().decode("utf-8")
        if first & flags & 0x40:
            self.take(4)
        return namespace, identifier.rstrip(b"\0") if encoding < 3 else identifier

    def value(self, depth: int = 0) -> Told:
        """A DataValue."""
        start, mask = self.at, self.number(1)
        self._right(not mask & 0xC0)
        kind, texts = self.variant(depth) if mask & 1 else (0, None)
        status = self.number(4) if mask & 2 else 0
        self.take(8 * bool(mask & 4) + 2 * bool(mask & 0x10) + 8 * bool(mask & 8) + 2 * bool(mask & 0x20))
        return Told(start, self.at, status, texts, kind == 0)

    def variant(self, depth: int) -> tuple[int, tuple[str, ...] | None]:
        """The type of a Variant, and its texts where it is a list of them."""
        encoding = self.number(1)
        kind, array = encoding & 0x3F, encoding & 0x80
        self._right(kind <= 31 and (array or not encoding & 0x40) and (kind or not encoding))
        if not array:
            if kind:
                self._skip(kind, depth)
            return kind, None
        count, texts = self.count(_FIXED.get(kind, 1)), []
        for _ in range(count):
            start = self.at
            self._skip(kind, depth)
            if kind == 12:
                texts.append(self.data[start + 4 : self.at].decode("utf-8"))
        if encoding & 0x40:
            lengths = [self.number(4, signed=True) for _ in range(self.count(4))]
            self._right(not lengths or math.prod(max(length, 0) for length in lengths) == max(count, 0))
        return kind, tuple(texts) if kind == 12 else None

    def _skip(self, kind: int, depth: int) -> None:
        """Goes behind a value of a built-in type."""
        if kind in _FIXED:
            self.take(_FIXED[kind])
            return
        self._right(depth < 100)
        inner = {17: self.node, 18: lambda: self.node(0xC0), 21: self._localized, 22: self._structure}
        inner |= {23: lambda: self.value(depth + 1), 24: lambda: self.variant(depth + 1)}
        inner |= {20: lambda: (self.take(2), self.string()), 25: lambda: self._diagnosis(depth + 1)}
        inner.get(kind, self.string)()

    def _localized(self) -> None:
        mask = self.number(1)
        self._right(not mask & ~3)
        for bit in (1, 2):
            if mask & bit:
                self.string()

    def _structure(self) -> None:
        self.node()
        encoding = self.number(1)
        self._right(encoding <= 2)
        if encoding:
            self.string()

    def _diagnosis(self, depth: int) -> None:
        mask = self.number(1)
        self._right(depth < 100 and not mask & 0x80)
        self.take(4 * bin(mask & 0x0F).count("1"))
        if mask & 0x10:
            self.string()
        if mask & 0x20:
            self.take(4)
        if mask & 0x40:
            self._diagnosis(depth + 1)


def opcua_values(request: bytes, answer: bytes) -> list[Told]:
    """The DataValues of an answer to a request, the two tables first.

    Raises:
        Wrong: FRAME: it is none by the page.
    """
    try:
        asked, told = Binary(request), Binary(answer)
        nodes = []
        for _ in range(asked.count(len(_VALUE_OF))):
            nodes.append(asked.node(0xC0))
            if asked.take(len(_VALUE_OF)) != _VALUE_OF:
                raise Wrong("FRAME", "asks for something else than a whole value")
        values = [told.value() for _ in range(told.count(1))]
        if asked.at != len(request) or told.at != len(answer) or len(values) != len(nodes):
            raise Wrong("FRAME", f"holds {len(values)} values of {len(nodes)} nodes, or bytes behind them")
    except UnicodeDecodeError:
        raise Wrong("FRAME", "holds a text that is no UTF-8") from None
    tables = [(namespace, int.from_bytes(identifier, "little")) for namespace, identifier in nodes[:2]]
    if tables != [(0, 2255), (0, 2254)]:
        raise Wrong("FRAME", "does not ask for the server's two tables first")
    for table in values[:2]:
        if table.texts is None and not table.empty and table.status < 0x80000000:
            raise Wrong("FRAME", "a table of the server is no list of texts")
    return values


# --- Log, tree and checkpoints --------------------------------------------------------------------------------------------


class Tree:
    """The Merkle tree of RFC 9162 over leaf hashes that come one after the other."""

    def __init__(self) -> None:
        self.size, self.whole = 0, []  # type: int, list[tuple[int, bytes]]

    def add(self, leaf: bytes) -> None:
        """Takes the next leaf hash."""
        self.size += 1
        height = 0
        while self.whole and self.whole[-1][0] == height:
            leaf = sha256(b"\x01" + self.whole.pop()[1] + leaf)
            height += 1
        self.whole.append((height, leaf))

    def add_block(self, root: bytes) -> None:
        """Takes the root over a whole block of 256 leaves that are gone."""
        self.size += 256
        height = 8
        while self.whole and self.whole[-1][0] == height:
            root = sha256(b"\x01" + self.whole.pop()[1] + root)
            height += 1
        self.whole.append((height, root))

    def root(self) -> bytes:
        """The root over all leaves so far."""
        if not self.whole:
            return sha256(b"")
        made = self.whole[-1][1]
        for _, left in reversed(self.whole[:-1]):
            made = sha256(b"\x01" + left + made)
        return made


def read_key_line(line: str, of: int = 1) -> tuple[str, bytes]:
    """Origin and public key of a key line; `of` is 1 for a gateway's, 4 for a witness's.

    Raises:
        CannotCheck: it is none, or its checksum is wrong.
    """
    parts = line.strip().split("+", 2)
    try:
        origin, checksum, data = parts[0], parts[1], base64.b64decode(parts[2], validate=True)
    except (IndexError, binascii.Error, ValueError):
        raise CannotCheck("the key is no key line: copy it from the enrolment form") from None
    if len(data) != 33 or data[0] != of or key_hash(origin, data[1:], data[:1]).hex() != checksum:
        raise CannotCheck("the key line is mistyped: its checksum is wrong; copy it from the enrolment form")
    return origin, data[1:]


def key_hash(origin: str, public: bytes, of: bytes = b"\x01") -> bytes:
    """The 4 bytes by which a signed note names a key."""
    return sha256(origin.encode() + b"\n" + of + public)[:4]


@dataclass(frozen=True)
class Checkpoint:
    """What a signed note states: `place` says which one it is, `signatures` are the words of the gateway's lines.

    `others`: names and words of all other lines.
    """

    place: str
    size: int
    root: bytes
    text: bytes
    signatures: tuple[bytes, ...]
    others: tuple[tuple[str, bytes], ...] = ()


def read_checkpoint(note: str, origin: str, place: str) -> Checkpoint:
    """A checkpoint's parts.

    Raises:
        Wrong: CHECKPOINT: it is none, or of another log.
    """
    text, line, rest = note.partition("\n\n")
    lines = text.split("\n")
    if not line or len(lines) != 3 or not re.fullmatch(r"0|[1-9][0-9]{0,15}", lines[1], re.ASCII):
        raise Wrong("CHECKPOINT", f"{place} is no checkpoint")
    if lines[0] != origin:
        raise Wrong("CHECKPOINT", f"{place} is one of {lines[0][:80]}")
    signatures, others = [], []
    try:
        root = base64.b64decode(lines[2], validate=True)
        if not rest.endswith("\n") or base64.b64encode(root).decode() != lines[2] or len(root) != 32:
            raise Wrong("CHECKPOINT", f"{place} is no checkpoint")
        for each in rest[:-1].split("\n"):
            found = re.fullmatch(r"\u2014 (\S+) (\S+)", each)
            if not found:
                raise Wrong("CHECKPOINT", f"{place} has a line that is no signature")
            data = base64.b64decode(found[2], validate=found[1] == origin)
            if found[1] == origin:
                signatures.append(data)
            else:
                others.append((found[1], data))
    except (binascii.Error, ValueError):
        raise Wrong("CHECKPOINT", f"{place} is no checkpoint") from None
    return Checkpoint(place, int(lines[1]), root, text.encode() + b"\n", tuple(signatures), tuple(others))


# --- What a verifier checks -----------------------------------------------------------------------------------------------


@dataclass
class Report:
    """What was found and what the log holds."""

    findings: list[tuple[str, int | None, str]] = field(default_factory=list)
    records: int = 0
    kinds: dict[str, int] = field(default_factory=dict)
    meters: dict[str, list[int]] = field(default_factory=dict)
    covered: int = 0
    forged: int = 0
    gone: int = 0
    unproven: int = 0
    confirmed: bool = False

    def found(self, kind: str, n: int | None, what: str) -> None:
        """Adds a finding."""
        self.findings.append((kind, n, what))
        self.forged += kind in ("SIGNATURE", "UNSIGNED", "KEY")

    @property
    def classes(self) -> set[str]:
        """The classes of what was found."""
        return {kind for kind, _, _ in self.findings}

    @property
    def exit_code(self) -> int:
        """0 in order, 1 findings, 2 nobody confirmed the key."""
        return 1 if self.findings else 0 if self.confirmed else 2

    def text(self) -> str:
        """The report to read."""
        lines = []
        for kind in sorted(self.classes):
            of_it = [(n, what) for each, n, what in self.findings if each == kind]
            lines.append(f"{kind}  {len(of_it)} finding{'s' * (len(of_it) != 1)}")
            lines += [f"    {'' if n is None else f'n={n}: '}{_printable(what)}" for n, what in of_it[:20]]
            lines += [f"    and {len(of_it) - 20} more"] * (len(of_it) > 20)
        held = ", ".join(f"{count} {kind}" for kind, count in sorted(self.kinds.items()))
        lines.append(f"RECORDS  {self.records}: {held or 'none'}")
        lines.append(f"CHECKPOINTS  the newest covers the first {self.covered} records")
        if self.gone:
            lines.append(f"GONE  {self.gone} records; {self.unproven} checkpoints cannot be held against what is left")
        for meter, (read, missed) in sorted(self.meters.items()):
            share = f"{100 * read / (read + missed):.2f} %" if read + missed else "-"
            lines.append(f"METER {_printable(meter)}  {read} of {read + missed} scheduled polls read ({share})")
        lines.append(
            "NOT CHECKED  requests and formulas against the model's registers; timestamps; whether a meter told the truth"
        )
        verdict = {0: "IN ORDER", 1: "NOT IN ORDER", 2: "NOT CONFIRMED: give the key line of the enrolment form (--key)"}
        return "\n".join([*lines, f"VERDICT  {verdict[self.exit_code]}"]) + "\n"


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)


@dataclass(frozen=True)
class Witness:
    """Somebody whose cosignatures count."""

    name: str
    public: bytes


class Window:
    """The times at which witnesses saw checkpoints, and what follows for the records around them."""

    def __init__(self, witnesses: list[Witness], notes: list[Checkpoint], report: Report) -> None:
        self.seen: dict[int, list[tuple[str, int]]] = {}
        self.vouched: set[str] = set()
        self.witnesses, self.report = witnesses, report
        for note in notes:
            for witness in witnesses:
                for name, data in note.others:
                    if name == witness.name and data[:4] == key_hash(name, witness.public, b"\x04") and len(data) == 76:
                        self._line(note, witness, int.from_bytes(data[4:12], "big"), data[12:])
        earliest = 2**62
        self.before: list[tuple[int, int]] = []
        for size in sorted(self.seen, reverse=True):
            earliest = min(earliest, *(at for _, at in self.seen[size]))
            self.before.append((size, earliest))
        self.passed = sorted(self.seen, reverse=True)
        self.after = 0

    def _line(self, note: Checkpoint, witness: Witness, seconds: int, signature: bytes) -> None:
        if is_signed(witness.public, signature, b"cosignature/v1\ntime %d\n" % seconds + note.text) and seconds <= 2**40:
            self.seen.setdefault(note.size, []).append((witness.name, 1000 * seconds))
        else:
            self.report.found("WITNESS", None, f"{note.place}: a line of {witness.name} is not its own")

    def reached(self, size: int) -> None:
        """The records lead to a checkpoint."""
        self.vouched |= {name for name, _ in self.seen.get(size, ())}

    def take(self, place: int, n: int, fields: dict[str, Any]) -> None:
        """Holds a record's time against the cosignatures around it."""
        while self.passed and self.passed[-1] <= n:
            self.after = max([self.after, *(at for _, at in self.seen[self.passed.pop()])])
        while self.before and self.before[-1][0] <= n:
            self.before.pop()
        clock, time = fields.get("clock"), milliseconds_or_none(str(fields.get("time")))
        if not isinstance(clock, dict) or clock.get("state") == "unsynchronized" or time is None:
            return
        if self.after and time < self.after - 420_000:
            self.report.found("TIME-WINDOW", place, "lies before the earliest moment at which it can have been sealed")
        if self.before and time > self.before[-1][1] + 120_000:
            self.report.found("TIME-WINDOW", place, "lies behind the moment at which a witness had seen it")

    def end(self) -> None:
        """What is left when all records were taken."""
        for witness in self.witnesses:
            if witness.name not in self.vouched:
                self.report.found("WITNESS", None, f"{witness.name} has cosigned no checkpoint that these records lead to")


@dataclass
class Account:
    """What was told of one schedule of a meter: the next instant to be told, and the gap that is open.

    `loose`: the clock was set or the agent began since, so that instants may be told again. `anew`: the first instant by the time
    to which the clock was set.
    """

    every: int
    next: int | None = None
    since: int | None = None
    cause: str = ""
    told: tuple[int, int] | None = None
    loose: bool = False
    anew: int | None = None
    torn: bool = False

    def move(self, instant: int) -> None:
        """Goes on to an instant. Raises Wrong: GAP."""
        expected, loose, self.loose, self.anew = self.next, self.loose, False, None
        if instant % self.every:
            raise Wrong("GAP", f"{instant} is no instant of a schedule of {self.every} ms")
        torn, self.torn = self.torn, False
        if torn and (expected is None or instant >= expected):
            return
        if expected is not None and (instant > expected or (instant < expected and not loose)):
            raise Wrong("GAP", f"speaks of an instant {(instant - expected) // self.every} behind the next one to be told")


class Verifier:
    """Goes through a log once, record by record."""

    def __init__(
        self,
        report: Report,
        key: str | None,
        origin: str,
        notes: list[Checkpoint],
        models: dict[str, bytes],
        kept: Iterable[tuple[int, int, bytes]] = (),
        witnesses: Iterable[Witness] = (),
    ) -> None:
        self.report, self.models = report, models
        self.window = Window(list(witnesses), notes, report)
        self.kept = {first: (size, hashed) for first, size, hashed in kept}
        self.holes: list[tuple[int, int]] = []
        self.stated: list[tuple[int, int]] = []
        self.blind: set[int] = set()
        self.unchecked: list[tuple[int, str]] = []
        self.torn: dict[str, int] = {}
        self.gone_before = 0
        self.confirmed, self.public = read_key_line(key) if key else ("", b"")
        self.origin = origin
        self.recovery = b""
        self.names: dict[str, bytes] = {}
        self.used: set[str] = set()
        self.tree = Tree()
        self.prev, self.gateway, self.next_n, self.unread = sha256(b""), "", 0, False
        self.notes: dict[int, list[Checkpoint]] = {}
        for note in notes:
            self.notes.setdefault(note.size, []).append(note)
        self.declared: dict[str, tuple[str, dict[str, Any]]] = {}
        self.counts: dict[str, int] = {}
        self.told: dict[str, str] = {}
        self.accounts: dict[tuple[str, int], Account] = {}
        self.before: tuple[str, int, int] | None = None
        self.state = ""
        self.config = ""
        self.boots: dict[str, int] = {}
        self.sizes = sorted(self.notes, reverse=True)
        self.uncovered: list[dict[str, Any]] = []
        self.read: dict[str, Model | Wrong] = {}
        self.model: dict[str, Model | None] = {}
        self.number: dict[str, tuple[str, str]] = {}
        self.refused: set[tuple[str, str]] = set()
        self.lives: dict[str, Life] = {}
        self.days: dict[str, Days] = {}
        self.newest, self.signed, self.key_first = -1, True, 0
        self.blocks: dict[int, str] = {}
        self.block, self.block_next = Tree(), 0

    def take(self, place: int, payload: bytes) -> None:
        """Checks the record at a place of the log."""
        try:
            fields = parse(payload)
            self._schema(fields)
        except Wrong as fault:
            self.report.found(fault.kind, place, str(fault))
            readable = self._readable(payload)
            if readable is None:
                self.unread = True
                self.next_n += 1
            else:
                self._chain(place, readable)
                self.newest = max(self.newest, self.next_n - 1)
            return
        forged = self.report.forged
        self._chain(place, fields)
        self.signed = forged == self.report.forged
        after, self.newest = fields["n"] > self.newest, max(self.newest, fields["n"])
        kind = fields["kind"]
        self.report.kinds[kind] = self.report.kinds.get(kind, 0) + 1
        self._clock(place, fields)
        self._rhythm(place, fields)
        stated = (self._frames, self._values, self._settings, self._changes)
        for check in (self._states, self._keys, self._config, self._meter, self._count, self._source, *stated, self._schedule):
            try:
                check(place, fields)
            except Wrong as fault:
                self.report.found(fault.kind, place, str(fault))
        if self.signed and after:
            self._course(place, fields)
        self._life(place, fields)

    def _schema(self, fields: dict[str, Any]) -> None:
        kind = fields.get("kind")
        if not isinstance(kind, str) or kind not in KINDS:
            raise Wrong("FORMAT", f"a kind that there is not: {str(kind)[:40]!r}")
        shape = {**SHAPES["header"], **SHAPES[kind]}
        check_fields({name: each for name, each in fields.items() if name != "sig"}, shape, "the record")

    def _readable(self, payload: bytes) -> dict[str, Any] | None:
        """A record that is against the tables goes into the chain all the same, if it is one of the profile."""
        try:
            return parse(payload)
        except Wrong:
            return None

    # 1 and 2: signature, keys, chain

    def _chain(self, place: int, fields: dict[str, Any]) -> None:
        body = body_of(fields)
        if self.unread:  # what could not be read has the leaf hash that the record behind it states
            self.prev, self.unread = from_base64url(str(fields.get("prev"))), False
            self.tree.add(self.prev)
            self.checkpoints_here()
        n = fields.get("n")
        n = n if type(n) is int and n >= 0 else self.next_n  # what is no number is FORMAT
        if n > self.next_n:
            self._gone(n)
        if n != self.next_n:
            self.report.found("SEQUENCE", place, f"states n={n}, expected {self.next_n}")
        self.next_n = n + 1
        self.gateway = self.gateway or str(fields.get("gateway"))
        if fields.get("gateway") != self.gateway:
            self.report.found("SEQUENCE", place, f"is one of {fields.get('gateway')}, not of {self.gateway}")
        if self.prev and from_base64url(str(fields.get("prev"))) != self.prev:
            self.report.found("PREV-HASH", place, "does not continue the record before it")
        self.window.take(place, n, fields)
        self._signature(place, fields, body)
        self.prev = sha256(b"\0" + body)
        self.tree.add(self.prev)
        self._block(n, self.prev)

    def _gone(self, end: int) -> None:
        """Records that are gone: what is kept of them takes their places, if all of it is there."""
        first, at, pieces = self.next_n, self.next_n, []
        while at < end and at in self.kept:
            size, kept = self.kept[at]
            if size == 256 and (at % 256 or at + 256 > end):
                break
            pieces.append((at, size, kept))
            at += size
        if at != end:
            return
        self.holes.append((first, end))
        self.blind |= {n for n, _, kept in pieces if kept == sha256(b"\0")}
        for n, size, kept in pieces:
            self.checkpoints_here()
            if size == 1:
                self.tree.add(kept)
                self._block(n, kept)
            else:
                self.tree.add_block(kept)
                self.blocks[n // 256] = base64.urlsafe_b64encode(kept).decode().rstrip("=")
                for inside in [size for size in self.notes if n < size < n + 256]:
                    self.report.unproven += len(self.notes.pop(inside))
        self.checkpoints_here()
        self.prev = pieces[-1][2] if pieces[-1][1] == 1 and pieces[-1][2] != sha256(b"\0") else b""
        self.next_n = end
        self._torn(end - first)

    def _torn(self, count: int) -> None:
        """So many records are gone: what they told cannot be held against those behind them."""
        self.gone_before += count
        self.uncovered = []
        for meter in self.counts:
            self.torn[meter] = self.torn.get(meter, 0) + count
        for account in self.accounts.values():
            account.torn = True
        for days in self.days.values():
            days.unsure = 2
        for life in self.lives.values():
            life.unseen = 8

    def _states(self, place: int, fields: dict[str, Any]) -> None:
        if not self.signed:
            return  # what nobody signed states nothing
        if fields["kind"] == "prune":
            first, end = fields["first"], fields["end"]
            self.stated.append((first, end))
            if first % 256 or end % 256 or not first < end <= fields["n"] or 256 * len(fields["blocks"]) != end - first:
                raise Wrong("PRUNE", "keeps other hashes than one for each whole block of its range")
            for block, root in enumerate(fields["blocks"], first // 256):
                if self.blocks.get(block, root) != root:
                    self.report.found("PRUNE", place, f"keeps another hash of records {256 * block} on than they have")
        if fields["kind"] == "loss":
            self.stated += [(each["first"], each["end"]) for each in fields["ranges"]]
            if fields.get("checkpoints"):
                self.unchecked = []
            for each in fields.get("unhashed", []):
                self.blind -= {n for n in self.blind if each["first"] <= n < each["end"]}

    def _signature(self, place: int, fields: dict[str, Any], body: bytes) -> None:
        if place == 0 or (self.holes and not self.names):
            self._first(place, fields)
        if not isinstance(fields.get("sig"), str):
            self.report.found("UNSIGNED", place, "carries no signature")
            return
        name = str(fields.get("key"))
        self.used.add(name)
        signer = self.public
        if fields.get("kind") == "key" and fields.get("action") == "revoke":
            signer = self.recovery
            if name != sha256(signer).hex()[:16]:
                self.report.found("KEY", place, f"a revocation by key {name}, which is not the recovery key")
        elif name in self.names and self.names[name] != self.public:
            self.report.found("KEY", place, f"key {name} expired before this record")
            signer = self.names[name]
        elif name != sha256(self.public).hex()[:16]:
            self.report.found("KEY", place, f"names key {name}, which was never enrolled")
            self.report.found("SIGNATURE", place, "is of no key enrolled up to here")
            return
        if not is_signed(signer, from_base64url(fields["sig"]), signed_bytes(body)):
            self.report.found("SIGNATURE", place, "its signature does not belong to it")

    def _first(self, place: int, fields: dict[str, Any]) -> None:
        if place and self.holes and self.confirmed:  # record 0 is gone: the confirmed key stands alone
            self.names[sha256(self.public).hex()[:16]] = self.public
            return
        enrolled = from_base64url(str(fields.get("public"))) if fields.get("kind") == "key" else b""
        if fields.get("kind") != "key" or fields.get("action") != "enrol" or len(enrolled) != 32:
            self.report.found("KEY", 0, "the log does not begin with the enrolment of its key")
        elif self.confirmed and (enrolled != self.public or self.confirmed != f"meterseal/{fields.get('gateway')}"):
            self.report.found(
                "KEY", 0, f"the log enrols key {sha256(enrolled).hex()[:16]} of {fields.get('gateway')}, not the confirmed one"
            )
        self.public = self.public or enrolled
        self.names[sha256(self.public).hex()[:16]] = self.public
        self.recovery = from_base64url(str(fields.get("recovery")))

    def _keys(self, place: int, fields: dict[str, Any]) -> None:
        if fields["kind"] != "key" or place == 0:
            return  # record 0 was taken before
        if fields["action"] == "enrol":
            raise Wrong("KEY", "a second enrolment")
        revokes = fields["action"] == "revoke"
        ended, signer = (fields.get("revoked"), self.recovery) if revokes else (fields["key"], self.public)
        if not is_signed(signer, from_base64url(str(fields.get("sig"))), signed_bytes(body_of(fields))):
            return  # found as SIGNATURE: it brings nothing into force
        new = from_base64url(fields["public"])
        name = sha256(new).hex()[:16]
        if ended != sha256(self.public).hex()[:16]:
            raise Wrong("KEY", f"ends key {ended}, which is not in force")
        words = f"meterseal key {'revocation' if revokes else 'rotation'} v1\n{fields['gateway']}\n{ended}\n{fields['public']}\n"
        if not is_signed(new, from_base64url(fields.get("proof", "")), words.encode()):
            raise Wrong("KEY", f"key {name} does not prove itself")
        if name in self.names or new == self.recovery:
            raise Wrong("KEY", f"key {name} was in force before, or is the recovery key")
        self.names[name] = self.public = new
        if "recovery" in fields:
            self.recovery = from_base64url(fields.get("recovery", ""))
        self._stolen(place, fields)
        if name in self.used:
            raise Wrong("KEY", f"key {name} was used before it came into force")

    def _stolen(self, place: int, fields: dict[str, Any]) -> None:
        """What the key that was in force until now may have signed in other hands, by the word of its revocation."""
        first, self.key_first = self.key_first, place + 1
        since = fields.get("since", place) if fields["action"] == "revoke" else place
        if not first <= since <= place:
            self.report.found("KEY", place, f"says that the key was stolen since record {since}, which it did not sign")
        elif since < place:
            self.report.found("STOLEN", since, f"the key of records {since} to {place - 1} may have been in other hands")

    # 3: clock

    def _clock(self, place: int, fields: dict[str, Any]) -> None:
        if fields["kind"] == "key" and fields["action"] == "revoke":
            return
        boot, uptime, time = fields["clock"]["boot"], fields["clock"]["uptime_ms"], milliseconds(fields["time"])
        if self.before and self.before[0] == boot:
            jump = time - uptime - (self.before[2] - self.before[1])
            if fields["kind"] == "clock":
                stated = milliseconds(fields["after"]) - milliseconds(fields["before"])
                if abs(jump - fields["step_ms"]) > 1000 or stated != fields["step_ms"]:
                    self.report.found("CLOCK", place, f"states a step of {fields['step_ms']} ms, the clocks show {jump}")
            elif abs(jump) > 1000:
                self.report.found("CLOCK", place, f"the time jumped by {jump} ms without a clock record")
        elif boot in self.boots:
            self.report.found("CLOCK", place, f"boot {boot} had ended and comes back")
        if uptime < self.boots.get(boot, 0) - 120_000:
            self.report.found("CLOCK", place, "its time since boot is older than that of a record in front of it")
        self.boots[boot] = max(uptime, self.boots.get(boot, 0))
        self.before = (boot, uptime, time)
        self._state(place, fields)

    def _state(self, place: int, fields: dict[str, Any]) -> None:
        state, before = fields["clock"]["state"], self.state
        if fields["kind"] == "clock":
            return
        if fields["kind"] == "synchronization":
            if (fields["before"], fields["after"]) != (before, state) or before == state:
                stated = f"{fields['before']} to {fields['after']}"
                self.report.found("CLOCK", place, f"states {stated}; it was {before} and is {state}")
        elif before not in ("", state):
            self.report.found("CLOCK", place, f"the clock was {before} and is {state} without a synchronization record")
        self.state = state

    # 4 and 5: declarations, sources, frames, values

    def _config(self, _: int, fields: dict[str, Any]) -> None:
        """A site file takes the place of the one in force: of the newest start's, or of the one that came after it."""
        if fields["kind"] not in ("start", "config"):
            return
        before, self.config = self.config, fields["config" if fields["kind"] == "start" else "digest"]
        if before and fields.get("before", before) != before:
            raise Wrong("CONFIG", f"replaces the site file {fields['before'][:16]}, in force was {before[:16]}")

    def _meter(self, place: int, fields: dict[str, Any]) -> None:
        if fields["kind"] != "meter":
            return
        made = fields["meter"]
        self.declared[made["id"]] = (base64.urlsafe_b64encode(self.prev).decode().rstrip("="), made)
        every = [schedule["every_ms"] for schedule in made["schedules"]]
        if len(set(every)) != len(every) or any(each == 0 or 86_400_000 % each for each in every):
            self.report.found("DECLARATION", place, "its intervals do not divide a day, or one of them stands twice")
        self.model[made["id"]] = None
        digest = made["digest"]
        if digest not in self.read:
            self.read[digest] = self._read_model(digest)
        model = self.read[digest]
        if isinstance(model, Wrong):
            raise model
        self.model[made["id"]] = model
        if (made["model"], made["revision"], made["trust"]) != (model.name, model.revision, model.level):
            self.report.found("DECLARATION", place, "its model file is of another model, revision or trust")
        named = [name for schedule in made["schedules"] for name in schedule["quantities"]]
        if not set(named) <= model.points.keys():
            self.report.found("DECLARATION", place, "declares a quantity that its model does not tell")
        ratios = {model.points[name].ratio for name in named if name in model.points}
        who = "agent" if ratios & {"ct", "vt", "ct_vt"} else "meter" if "already_primary" in ratios else ""
        if made.get("ratio_applied", who) != who:
            self.report.found("DECLARATION", place, f"says that the {made['ratio_applied']} applies the ratio")

    def _read_model(self, digest: str) -> Model | Wrong:
        if digest not in self.models:
            return Wrong("MODEL", f"the model file {digest} is missing")
        if sha256(self.models[digest]).hex() != digest:
            return Wrong("MODEL", f"the model file {digest} is another one")
        try:
            return read_model(self.models[digest])
        except Wrong as fault:
            return fault

    def _count(self, _: int, fields: dict[str, Any]) -> None:
        if "count" not in fields.get("meter", {}):
            return
        meter, count = fields["meter"]["id"], fields["meter"]["count"]
        expected = self.counts.get(meter, 0)
        self.counts[meter] = count + 1
        most = self.torn.pop(meter, 0) if meter in self.counts and expected else self.gone_before
        if not expected <= count <= expected + most:
            raise Wrong("METER-COUNT", f"count {count} of {meter}, expected {expected}")

    def _source(self, place: int, fields: dict[str, Any]) -> None:
        source = fields.get("meter", {})
        if "declared" not in source:
            return
        leaf, declared = self.declared.get(source["id"], ("", {}))
        if source["declared"] != leaf:
            self.report.found("DECLARATION", place, f"{source['id']} does not quote its declaration in force")
        if not declared:
            return
        if declared["serial"] and source["serial"] != declared["serial"]:
            self.report.found("DECLARATION", place, f"serial {source['serial']}, declared {declared['serial']}")
        if fields["kind"] in ("reading", "spot"):
            self._proof(place, source, leaf, declared["serial"])
            self._named(place, fields, declared)

    def _proof(self, place: int, source: dict[str, Any], leaf: str, declared: str) -> None:
        """Whether a serial number that is said to come from the meter does, and none that it told is passed over."""
        found, under = self.number.get(source["id"], ("", ""))
        by_meter = source["serial_from"] in ("frame", "register") or (source["serial"] and not declared)
        if by_meter and (not found or not same(source["serial"], found)):
            self.report.found("DECLARATION", place, f"serial {source['serial']} from the meter, which told {found or 'none'}")
        if not by_meter and under == leaf and source["serial"] and not same(source["serial"], found):
            self.report.found("DECLARATION", place, f"serial {source['serial']} from the plate, but the meter told {found}")

    def _named(self, place: int, fields: dict[str, Any], declared: dict[str, Any]) -> None:
        """Whether a reading states what is declared for its schedule, a spot what is declared at all."""
        every = fields.get("every_ms")
        schedules = [each for each in declared["schedules"] if every in (None, each["every_ms"])]
        named = {value["quantity"] for value in fields["values"]}
        wanted = {name for schedule in schedules for name in schedule["quantities"]}
        if not wanted and every is not None:
            self.report.found("DECLARATION", place, f"is read every {every} ms, which is not declared")
        if wanted - named:
            self.report.found("VALUE", place, "says nothing of a quantity that is declared for this schedule")
        if named - {name for schedule in declared["schedules"] for name in schedule["quantities"]}:
            self.report.found("DECLARATION", place, "states a quantity that is not declared")

    def _frames(self, place: int, fields: dict[str, Any]) -> None:
        meter = fields.get("meter", {}).get("id", "")
        model = self.model.get(meter)
        if model is None or model.protocol not in ("modbus", "opcua"):
            return
        for number, frame in enumerate(fields.get("frames", [])):
            request, answer = (bytes.fromhex(frame[name]) for name in ("request", "answer"))
            if model.protocol == "opcua":
                fault = opcua_fault(request, answer)
            else:
                fault = modbus_fault(request, answer, self.declared[meter][1]["framing"])
            if fault and "fault" not in frame:
                self.report.found("FRAME", place, f"answer {number}: {fault}")
            if not fault and "fault" in frame:
                self.report.found("FRAME", place, f"answer {number}: is marked {frame['fault']}, and is a good answer")

    def _values(self, place: int, fields: dict[str, Any]) -> None:
        answers = [None if "fault" in frame else bytes.fromhex(frame["answer"]) for frame in fields.get("frames", [])]
        if fields["kind"] == "identity":
            self._identity(place, fields, answers)
        named = [value["quantity"] for value in fields.get("values", [])]
        if len(set(named)) != len(named):
            self.report.found("VALUE", place, "a quantity is stated twice")
        if not named:
            return
        meter, faults = fields["meter"]["id"], {frame["fault"] for frame in fields["frames"] if "fault" in frame}
        own = self.declared.get(meter, ("", {"framing": "own"}))[1]["framing"] == "own"
        model = self.model.get(meter)
        for value in fields["values"]:
            left_out = {"left_out"} if self.holes or (meter, value["quantity"]) in self.refused else set()
            if "formula" not in value and value.get("cause") != "left_out":
                self.refused.add((meter, value["quantity"]))
            point = model.points.get(value["quantity"]) if model else None
            causes = None if own or not model else faults | {"no_answer"} | left_out
            unknown = point is not None and ratio_unknown(point, self.declared[meter][1])
            self._value(
                place,
                value,
                "",
                lambda value, point=point, causes=causes, unknown=unknown: check_value(value, answers, causes, point, unknown),
            )

    def _value(self, place: int, value: dict[str, Any], of: str, right: Callable[[dict[str, Any]], None]) -> None:
        for check in (check_unit, right):
            try:
                check(value)
            except Wrong as fault:
                self.report.found(fault.kind, place, f"{of}{value['quantity']}: {fault}")

    def _identity(self, place: int, fields: dict[str, Any], answers: list[bytes | None]) -> None:
        meter, found, expected = fields["meter"]["id"], fields["found"], fields["expected"]
        self.number[meter] = found, fields["meter"]["declared"]
        declared = self.declared.get(meter, ("", {"serial": ""}))[1]["serial"]
        if declared and expected != declared:
            self.report.found("DECLARATION", place, f"expects serial {expected}, declared is {declared}")
        if (not expected or same(expected, found)) != fields["match"]:
            self.report.found("VALUE", place, f"match is {fields['match']}, {expected!r} was expected")
        outcome = evaluate(fields["formula"], answers)
        if outcome.value != found:
            raise Wrong("VALUE", f"found {found}, the bytes give {outcome.value or outcome.cause}")

    def _settings(self, place: int, fields: dict[str, Any]) -> None:
        """Whether settings are those that the model names, and each is what its formula gives."""
        of = fields["meter"] if fields["kind"] == "meter" else fields
        model = self.model.get(fields.get("meter", {}).get("id", ""))
        if model is None or ("settings" not in of and "frames" not in fields) or fields["kind"] not in ("meter", "alarm"):
            return
        frames, stated = fields.get("frames", []), of.get("settings", [])
        if sorted(setting["name"] for setting in stated) != sorted(model.watched):
            raise Wrong("SETTINGS", "states other settings than its model names")
        answers = [None if "fault" in frame else bytes.fromhex(frame["answer"]) for frame in frames]
        causes = {frame["fault"] for frame in frames if "fault" in frame} | {"no_answer"}
        own = self.declared[fields["meter"]["id"]][1]["framing"] == "own"
        for setting in stated:
            try:
                outcome = evaluate(setting["formula"], answers) if "formula" in setting else Outcome(None, "")
            except Wrong as fault:
                outcome = Outcome(None, str(fault))
            right = (
                (outcome.value, None if outcome.value else outcome.cause)
                if "formula" in setting
                else (None, setting.get("cause"))
            )
            known = "formula" in setting or own or setting.get("cause") in causes
            if (setting.get("value"), setting.get("cause")) != right or not known:
                self.report.found("SETTINGS", place, f"{setting['name']}: is not what its frames give")

    def _changes(self, place: int, fields: dict[str, Any]) -> None:
        if "changes" not in fields:
            return
        changes, model = fields["changes"], self.model.get(fields["meter"]["id"])
        if model and model.protocol != "opcua":
            raise Wrong("DECLARATION", "changes: the declared model's protocol tells none")
        if model and (changes["request"] or changes["answer"] or changes["values"] or "overflow" in changes):
            self._whole(place, fields, changes)
        answer = bytes.fromhex(changes["answer"])
        for value in changes["values"]:
            self._value(place, value, "a change of ", lambda value: check_value(value, [answer], None))

    def _whole(self, place: int, fields: dict[str, Any], changes: dict[str, Any]) -> None:
        """Whether as many changes are stated as the bytes hold, behind the tables of one of the reading's own good answers."""
        answer = bytes.fromhex(changes["answer"])
        values = opcua_values(bytes.fromhex(changes["request"]), answer)
        own = []
        for frame in fields["frames"]:
            if "fault" not in frame and not opcua_fault(bytes.fromhex(frame["request"]), bytes.fromhex(frame["answer"])):
                data = bytes.fromhex(frame["answer"])
                told = opcua_values(bytes.fromhex(frame["request"]), data)
                own.append(data[told[0].start : told[1].end])
        if answer[values[0].start : values[1].end] not in own:
            self.report.found("FRAME", place, "changes: the server's tables are not those of this reading's own answer")
        if len(values) - 2 != len(changes["values"]):
            self.report.found("VALUE", place, f"changes: {len(changes['values'])} stated, the bytes hold {len(values) - 2}")
        lost = sum(value.status & 0xC80 == 0x480 for value in values[2:])
        if lost != changes.get("overflow", 0):
            self.report.found("VALUE", place, f"changes: overflow is {changes.get('overflow', 0)}, the bytes give {lost}")

    # 7 and 8: what readings lead to, what becomes of a meter, blocks that were kept

    def _course(self, place: int, fields: dict[str, Any]) -> None:
        kind = fields["kind"]
        if kind not in ("meter", "reading", "counter", "day", "replacement"):
            return
        meter = fields["meter"]["id"]
        days = self.days.setdefault(meter, Days())
        if days.unsure:
            days.unsure -= kind == "day"
            self._unheard(days, fields)
            return
        if kind == "meter":
            days.declare(fields["meter"], self.model[meter], milliseconds(fields["time"]))
        elif kind == "replacement":
            days.replace(fields)
        elif kind == "counter":
            for what in days.decided(fields):
                self.report.found("COUNTER", place, what)
        else:
            for each in days.waiting:
                self.report.found("COUNTER", place, f"no counter record in front of it says what {each['after']['n']} told")
            days.waiting = []
            for what in days.take(fields) if kind == "reading" else days.day(fields):
                self.report.found("DAY", place, what)

    def _unheard(self, days: Days, fields: dict[str, Any]) -> None:
        """Takes a record of a meter behind records that are gone: what it says is not held against them."""
        if fields["kind"] == "meter":
            days.declare(fields["meter"], self.model[fields["meter"]["id"]], milliseconds(fields["time"]))
        elif fields["kind"] == "replacement":
            days.replace(fields)
        elif fields["kind"] != "counter":
            for _ in days.take(fields) if fields["kind"] == "reading" else days.day(fields):
                pass
        days.waiting, days.overdue = [], None

    def _life(self, place: int, fields: dict[str, Any]) -> None:
        if "meter" not in fields:
            return
        meter = fields["meter"]["id"]
        if meter not in self.declared:
            self.report.found("DECLARATION", place, f"{meter} was never declared")
        for kind, what in self.lives.setdefault(meter, Life()).take(fields, self.model.get(meter)):
            self.report.found(kind, place, what)

    def _block(self, n: int, leaf: bytes) -> None:
        """Takes record n's leaf hash into its block; a block of which a record is missing has no root here."""
        if n != self.block_next or n % 256 == 0:
            self.block = Tree()
        self.block_next = n + 1
        if n % 256 == self.block.size:
            self.block.add(leaf)
            if self.block.size == 256:
                self.blocks[n // 256] = base64.urlsafe_b64encode(self.block.root()).decode().rstrip("=")

    # 6: the account of each schedule

    def _schedule(self, place: int, fields: dict[str, Any]) -> None:
        kind = fields["kind"]
        for account in self.accounts.values() if kind in ("clock", "start") else ():
            account.loose = True
            if kind == "clock":
                account.anew = -(-milliseconds(fields["after"]) // account.every) * account.every
                if account.since is None and account.next is not None:
                    account.next = account.anew
        if kind not in ("reading", "gap") or fields["meter"]["id"] not in self.declared:
            return
        account = self.accounts.setdefault((fields["meter"]["id"], fields["every_ms"]), Account(fields["every_ms"]))
        totals = self.report.meters.setdefault(fields["meter"]["id"], [0, 0])
        if kind == "reading":
            totals[0] += 1
            self._read(place, account, milliseconds(fields["due"]), milliseconds(fields["time"]))
        elif fields["state"] == "opened":
            self._opened(account, fields)
        else:
            totals[1] += fields["missed"]
            self._closed(account, fields)

    def _read(self, place: int, account: Account, due: int, time: int) -> None:
        far = not account.loose and not -1000 <= time - due <= account.every + 120_000
        still_open = account.since is not None and not account.torn
        if account.since is not None:
            account.next, account.since = due, None
        try:
            account.move(due)
        finally:
            account.next = due + account.every
            if far:
                self.report.found("CLOCK", place, "its time is too far from the instant it answers for")
        if still_open:
            raise Wrong("GAP", "a gap is open that was never closed")

    def _opened(self, account: Account, fields: dict[str, Any]) -> None:
        since, due, missed = milliseconds(fields["since"]), milliseconds(fields["due"]), fields["missed"]
        still_open = account.since is not None and not account.torn
        if account.since is not None:
            account.next = since
        try:
            account.move(since)
        finally:
            account.since, account.cause, account.next = since, fields["cause"], since
            account.told = None if (due, missed) == (since, 1) else (due, missed)
        if still_open:
            raise Wrong("GAP", "opens a gap while another one is open")
        if account.told and missed * account.every != due - since:
            raise Wrong("GAP", f"counts {missed} missed polls")

    def _closed(self, account: Account, fields: dict[str, Any]) -> None:
        since, due, missed = milliseconds(fields["since"]), milliseconds(fields["due"]), fields["missed"]
        begun, told = (account.since, account.cause), account.told
        if account.torn and begun != (since, fields["cause"]):
            begun, told = (since, fields["cause"]), None  # its opening is gone
        account.torn = False
        account.next = None if fields["cause"] == "taken_out" else due if account.anew is None else account.anew
        account.since, account.told = None, None
        if begun != (since, fields["cause"]):
            raise Wrong("GAP", "closes another gap than the one that is open")
        if missed * account.every != due - since or (told and told != (due, missed)):
            raise Wrong("GAP", f"counts {missed} missed polls")

    # 9: checkpoints

    def _rhythm(self, place: int, fields: dict[str, Any]) -> None:
        """Whether there is a checkpoint in front of a record that asks for one."""
        while self.sizes and self.sizes[-1] <= fields["n"]:
            self.sizes.pop()
            self.uncovered = []
        if self.uncovered and fields["kind"] != "key":
            first, clock = self.uncovered[0], fields["clock"]
            late = clock["uptime_ms"] - first["uptime_ms"] > 300_000
            if len(self.uncovered) >= 256 or late or clock["boot"] != first["boot"]:
                self.unchecked.append((place, f"no checkpoint covers the {len(self.uncovered)} in front of it"))
                self.uncovered = []
        self.uncovered.append(fields["clock"])

    def checkpoints_here(self) -> None:
        """Checks the checkpoints of exactly the records taken so far."""
        if self.unread:
            return
        if self.blind:
            self.report.unproven += len(self.notes.pop(self.tree.size, []))
        for note in self.notes.pop(self.tree.size, []):
            signed = [each for each in note.signatures if each[:4] == key_hash(self.origin, self.public)]
            if not any(is_signed(self.public, each[4:], note.text) for each in signed):
                self.report.found("CHECKPOINT", None, f"{note.place}: the key in force did not sign it")
            elif note.root != self.tree.root():
                self.report.found(
                    "CHECKPOINT", None, f"{note.place}: these {note.size} records are not the ones it was signed over"
                )
            else:
                self.report.covered = max(self.report.covered, note.size)
                self.window.reached(note.size)

    def end(self) -> None:
        """What is left when all records were taken."""
        if self.unread:  # the last one: nobody states its leaf hash
            self.tree.add(b"")
            self.unread = False
            self.checkpoints_here()
        self.report.gone = self.gone_before
        for place, what in self.unchecked:
            self.report.found("CHECKPOINT-MISSING", place, what)
        for first, end in self.holes:
            if not all(any(one <= n < other for one, other in self.stated) for n in range(first, end)):
                self.report.found("SEQUENCE", None, f"records {first} to {end - 1} are missing, and no record says so")
        for size, notes in sorted(self.notes.items()):
            for note in notes:
                self.report.found("TRUNCATED", None, f"{note.place} counts {size} records, there are {self.tree.size}")
        self.window.end()


def ratio_unknown(point: Point, declared: dict[str, Any]) -> bool:
    """Whether the declaration lacks a ratio that the point needs."""
    return point.ratio in ("ct", "vt", "ct_vt") and any(name not in declared for name in point.ratio.split("_"))


def check_unit(value: dict[str, Any]) -> None:
    """That a value is stated in its unit, and a unit with a value. Raises Wrong: UNIT."""
    unit = unit_of(value["quantity"])
    if unit and value.get("unit") != (unit if "value" in value else None):
        raise Wrong("UNIT", f"stated in {value.get('unit', 'no unit')}, its unit is {unit}, where there is a value")


def check_value(
    value: dict[str, Any],
    answers: list[bytes | None],
    causes: Container[str] | None,
    point: Point | None = None,
    unknown: bool = False,
) -> None:
    """That a value has one of the four shapes and is what its formula gives.

    `causes`: why a value that no good frame holds can be absent; None: the answers themselves tell, in words of the protocol.
    `point`: what its model says of the quantity. `unknown`: the declaration lacks a ratio that the point needs.

    Raises:
        Wrong: VALUE, QUALITY or FORMULA.
    """
    if unit_of(value["quantity"]) is None:
        raise Wrong("DECLARATION", "there is no such quantity")
    if "formula" not in value:
        if "value" in value:
            raise Wrong("FORMULA", "states a value and no formula")
        if value.get("quality") != "bad" or (causes is not None and value.get("cause") not in causes):
            raise Wrong("QUALITY", "has no formula and no cause for it")
        return
    outcome = evaluate(value["formula"], answers)
    if outcome.value != value.get("value"):
        raise Wrong("VALUE", f"states {value.get('value')}, the bytes give {outcome.value or outcome.cause}")
    quality = "bad" if outcome.value is None else "uncertain" if "cause" in value else None
    if outcome.value is None:
        right = value.get("cause") == outcome.cause
    else:
        right = _ranged(value, decimal.Decimal(outcome.value), causes is None, point, unknown)
    if not right or value.get("quality") != quality:
        raise Wrong(
            "QUALITY", f"states {value.get('quality')} by {value.get('cause')}, the bytes give {outcome.cause or 'a value'}"
        )


def _ranged(value: dict[str, Any], number: decimal.Decimal, doubted: bool, point: Point | None, unknown: bool) -> bool:
    """Whether the cause of a value that is there is right. `doubted`: its answer itself may say something against it."""
    if point is None:
        return doubted or value.get("cause") in (None, "ratio_unknown", "out_of_range")
    if (value.get("cause") == "ratio_unknown") != unknown:
        return unknown and doubted and value.get("cause") not in (None, "out_of_range")
    if unknown:
        return True
    outside = point.lowest is not None and point.highest is not None and not point.lowest <= number <= point.highest
    if doubted and value.get("cause") not in (None, "out_of_range"):
        return True
    return value.get("cause") == ("out_of_range" if outside else None)


def _plain(serial: str) -> str:
    return serial.strip().lstrip("0").casefold()


def opcua_fault(request: bytes, answer: bytes) -> str:
    """Why an answer is none to its request by the page; empty if it is one."""
    try:
        opcua_values(request, answer)
    except Wrong as fault:
        return str(fault)
    return ""


def modbus_fault(request: bytes, answer: bytes, framing: str) -> str:
    """Why an answer is none to its request by the rules of Modbus (Serial Line 1.02, TCP 1.0b); empty if it is one."""
    unwrapped = [_unwrapped(each, framing) for each in (request, answer)]
    if not all(unwrapped):
        return "its checksum or length is wrong"
    (asked_head, asked), (told_head, told) = unwrapped  # type: ignore[misc]  # both are there
    if told_head != asked_head or told[:2] != asked[:2]:
        return "it is of another meter, request or function"
    if asked[1:3] == b"\x2b\x0e" and len(asked) == 5:
        return "" if told[2:4] == asked[2:4] else "it is to another kind of identification"
    count = int.from_bytes(asked[4:6], "big")
    if len(asked) != 6 or not 1 <= count <= {1: 2000, 2: 2000, 3: 125, 4: 125}.get(asked[1], 0):
        return "the request is no read"
    if len(told) < 3:
        return "it is too short"
    if asked[1] in (1, 2, 3, 4):
        size = 2 * count if asked[1] > 2 else -(-count // 8)
        return "" if told[2] == size == len(told) - 3 else "it holds another number of bytes than asked for"
    return ""


def _unwrapped(data: bytes, framing: str) -> tuple[bytes, bytes] | None:
    """What tells one request from another, and address, function and data; None where the frame is damaged."""
    if framing == "tcp":
        whole = len(data) >= 8 and data[2:4] == b"\0\0" and int.from_bytes(data[4:6], "big") == len(data) - 6
        return (data[:2], data[6:]) if whole else None
    if framing == "ascii":
        try:
            inner = bytes.fromhex(data.decode("ascii")[1:-2])
        except ValueError:
            return None
        whole = data[:1] == b":" and data[-2:] == b"\r\n" and len(inner) > 3 and sum(inner) % 256 == 0
        return (b"", inner[:-1]) if whole else None
    crc = 0xFFFF
    for byte in data[:-2]:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    return (b"", data[:-2]) if len(data) > 3 and data[-2:] == crc.to_bytes(2, "little") else None


def verify(
    records: Iterable[bytes],
    notes: Iterable[str],
    models: dict[str, bytes],
    key: str | None,
    outside: Iterable[str] = (),
    kept: Iterable[tuple[int, int, bytes]] = (),
    witnesses: Iterable[str] = (),
) -> Report:
    """Checks a whole log.

    Args:
        records: every record's bytes, in the order of the log.
        notes: the log's own checkpoints, in their order.
        models: file contents by the digest under which they are kept.
        key: the confirmed key line; None: nobody confirmed one.
        outside: checkpoints that somebody else kept.
        kept: of records that are gone the first n, how many (1 or 256), and the hash.
        witnesses: key lines of those whose cosignatures count.

    Raises:
        CannotCheck: a key line is none.
    """
    report = Report(confirmed=key is not None)
    payloads = list(records)
    origin = _origin(payloads) or (read_key_line(key)[0] if key else "meterseal/")
    read: list[Checkpoint] = []
    last = -1
    for number, (note, own) in enumerate([(note, True) for note in notes] + [(note, False) for note in outside]):
        try:
            checkpoint = read_checkpoint(note, origin, f"checkpoint {number + 1}" + " held elsewhere" * (not own))
            read.append(checkpoint)
            if own and checkpoint.size <= last:
                raise Wrong("CHECKPOINT", f"{checkpoint.place} covers no more records than the one before it")
            last = checkpoint.size if own else last
        except Wrong as fault:
            report.found(fault.kind, None, str(fault))
    vouching = [Witness(*read_key_line(line, 4)) for line in witnesses]
    verifier = Verifier(report, key, origin, read, models, kept, vouching)
    for place, payload in zip(_places(verifier.kept), payloads, strict=False):
        verifier.checkpoints_here()
        verifier.take(place, payload)
    verifier.checkpoints_here()
    verifier.end()
    report.records = len(payloads)
    if not payloads:
        report.found("EMPTY", None, "there is not a single record to check")
    return report


def _places(kept: dict[int, tuple[int, bytes]]) -> Iterable[int]:
    """The n of the records that are there, as far as they state their own."""
    n = 0
    while True:
        while n in kept:
            n += kept[n][0]
        yield n
        n += 1


def _origin(payloads: list[bytes]) -> str:
    try:
        return f"meterseal/{parse(payloads[0])['gateway']}"
    except (IndexError, KeyError, Wrong):
        return ""


# --- The bundle -----------------------------------------------------------------------------------------------------------


def verify_bundle(path: Path, key: str | None, outside: Iterable[str] = (), witnesses: Iterable[str] = ()) -> Report:
    """Checks a bundle.

    Raises:
        CannotCheck: there is no such file, it is no bundle or a damaged one, or the key line is none.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if len(set(names)) != len(names):
                raise CannotCheck(f"{path}: a member stands in it twice")
            for name in names:
                if not re.fullmatch(
                    r"README\.txt|records\.jsonl|kept\.txt|checkpoints/[0-9]{8}\.txt|timestamps/[0-9]{1,16}\.tsr|keys/[0-9a-f]{16}\.vkey|models/[0-9a-f]{64}\.yaml",
                    name,
                ):
                    raise CannotCheck(f"{path}: holds {name!r}, which is no member of a bundle")
            content = {name: archive.read(name) for name in names}
            records = content["records.jsonl"].split(b"\n")
            kept = [_piece(line) for line in content.get("kept.txt", b"").decode("ascii").splitlines()]
            notes = [content[name].decode("utf-8") for name in sorted(names) if name.startswith("checkpoints/")]
    except CannotCheck:
        raise
    except (OSError, zipfile.BadZipFile, KeyError, ValueError, NotImplementedError, RuntimeError, EOFError) as fault:
        raise CannotCheck(f"{path}: no bundle, or a damaged one: {fault}") from None
    except Exception as fault:  # zlib.error and whatever else a damaged archive raises
        raise CannotCheck(f"{path}: a damaged bundle: {fault}") from None
    models = {name[7:-5]: data for name, data in content.items() if name.startswith("models/")}
    return verify(records[:-1] if records and not records[-1] else records, notes, models, key, outside, kept, witnesses)


def _piece(line: str) -> tuple[int, int, bytes]:
    found = re.fullmatch(r"(0|[1-9][0-9]{0,15}) (1|256) ([A-Za-z0-9_-]{43})", line)
    if not found:
        raise CannotCheck("kept.txt holds a line that is none of a kept hash")
    return int(found[1]), int(found[2]), from_base64url(found[3])


def key_given(given: str, begins: str) -> str:
    """A key line as given, or the one in the file given."""
    if "+" in given:
        return given
    lines = [line.strip() for line in Path(given).read_text("utf-8").splitlines() if re.match(begins, line.strip())]
    return lines[0] if len(lines) == 1 else ""


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Verify a meterseal bundle without meterseal.")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--key", help="the key line of the enrolment form, or a file with it")
    parser.add_argument("--checkpoint", action="append", default=[], type=Path, help="a file with a checkpoint kept elsewhere")
    parser.add_argument("--witness", action="append", default=[], help="the key line of a witness, or a file with it")
    asked = parser.parse_args()
    try:
        key = key_given(asked.key, "meterseal/") if asked.key else None
        if key is not None:
            read_key_line(key)
        witnesses = [key_given(each, r"[^\s+]+\+[0-9a-f]{8}\+") for each in asked.witness]
        report = verify_bundle(asked.bundle, key, [path.read_text("utf-8") for path in asked.checkpoint], witnesses)
    except (CannotCheck, OSError, UnicodeDecodeError) as fault:
        sys.stderr.write(f"CANNOT CHECK  {fault}\n")
        return 2
    sys.stdout.write(report.text())
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
