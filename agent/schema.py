"""Which fields each kind of record has: closed, so an unknown signed key is a rejection.

The one definition of the record format's content, made of the shapes in `agent.shape`; `docs/record.md` is tested
against it, and `docs/record.schema.json` is made from it (`python -m agent.schema > docs/record.schema.json`).
What passes here lies inside the strict profile of `agent.record` too, so that what we made ourselves is checked once.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

from agent.record import FORMAT, RecordError
from agent.shape import Check, as_json_schema, boolean, day, integer, list_of, object_of, one_of, text, time
from config.language import N_, _

TEXT = text(r"[^\x00-\x1f\x7f\ud800-\udfff]{0,400}", N_("a text of at most 400 characters without control characters"))
WORD = text(r"[a-z][a-z0-9_]{0,47}", "a word")
NAME = text(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}", "a name")
TIME = time
DAY = day
HASH = text(r"[A-Za-z0-9_-]{43}", N_("32 bytes in base64url"))
SIGNATURE = text(r"[A-Za-z0-9_-]{86}", N_("64 bytes in base64url"))
DIGEST = text(r"[0-9a-f]{64}", N_("a SHA-256 in hexadecimal"))
KEY_NAME = text(r"[0-9a-f]{16}", N_("a key name of 16 hexadecimal digits"))
HEX = text(r"([0-9a-f]{2})*", N_("bytes in hexadecimal"))
DIGITS = text(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?", N_("a decimal number"))
QUANTITY = text(r"[a-z][a-z0-9_]*(\.[a-z0-9]+)*", "a quantity")
FORMULA = text(r"[0-9a-z@:!*/+().^\[\]-]{1,300}", "a formula")

WHO: dict[str, Check] = {"who": TEXT, "account": TEXT}  # of what a person had sealed: his word, and the system's
ABOUT = object_of({"id": NAME})
EVERY_MS = integer(1, 86_400_000)
STAND = object_of({"n": integer(0), "value": DIGITS})
BOUND = object_of({"n": integer(0), "value": DIGITS, "away_ms": integer(0)})
RANGE = object_of({"first": integer(0), "end": integer(1)})
UNIT = text(r"[A-Za-z0-9%/]{1,10}", "a unit")
CLOSED = object_of({"quantity": QUANTITY, "unit?": UNIT, "consumption?": DIGITS, "opening?": BOUND, "closing?": BOUND})

FRAME = object_of({"request": HEX, "answer": HEX, "ms": integer(0), "fault?": WORD})
VALUE = object_of(
    {
        "quantity": QUANTITY,
        "value?": DIGITS,
        "unit?": UNIT,
        "formula?": FORMULA,
        "quality?": one_of("uncertain", "bad"),
        "cause?": WORD,
    }
)
# What a server told between two readings: in the form of a Read, and how much of it was lost.
CHANGES = object_of(
    {
        "request": HEX,
        "answer": HEX,
        "values": list_of(VALUE),
        "begun?": integer(1),
        "overflow?": integer(1),
        "dropped?": integer(1),
        "cause?": WORD,
    }
)
STATE = one_of("synchronized", "unsynchronized", "unknown")
CLOCK = object_of(
    {
        "state": STATE,
        "error_ms?": integer(0),
        "boot": text(r"[0-9a-f]{8}", N_("8 hexadecimal digits")),
        "uptime_ms": integer(0),
    }
)
# A setting of the meter as it told it: its value and where that stands, or the reason why there is none.
SETTING = object_of({"name": WORD, "value?": TEXT, "formula?": FORMULA, "cause?": WORD})
READ_OFF = object_of({"quantity": QUANTITY, "value": DIGITS, "record?": integer(0)})
# What is different between two site files.
CHANGED = object_of(
    {
        "what": one_of("site", "line", "meter", "destination"),
        "name": TEXT,
        "how": one_of("added", "removed", "changed"),
        "keys?": list_of(WORD),
    }
)
DECLARATION = object_of(
    {
        "id": NAME,
        "serial": TEXT,
        "model": text(r"[a-z0-9-]{1,60}", N_("a model name")),
        "revision": integer(1),
        "digest": DIGEST,
        "trust": one_of("A", "B", "C", "D"),
        "link": NAME,
        "framing": one_of("tcp", "rtu", "ascii", "own"),
        "address": TEXT,
        "ct?": TEXT,
        "vt?": TEXT,
        "place": TEXT,
        "maker?": TEXT,
        "product?": TEXT,
        "medium?": WORD,
        "accuracy_class?": TEXT,
        "measuring_range?": TEXT,
        "ratio_applied?": one_of("meter", "agent"),
        "certificate?": object_of({"number": TEXT, "valid_until": DAY}),
        "verification_months?": integer(1, 600),
        "seal?": TEXT,
        "installed?": DAY,
        "server?": object_of({"uri?": TEXT, "certificate?": DIGEST}),
        "pipe_mm?": integer(1, 5000),
        "settings?": list_of(SETTING),
        "schedules": list_of(object_of({"every_ms": EVERY_MS, "quantities": list_of(QUANTITY)})),
    }
)
SOURCE = object_of(
    {
        "id": NAME,
        "serial": TEXT,
        "serial_from": one_of("frame", "register", "fingerprint", "plate"),
        "count": integer(0),
        "declared": HASH,
    }
)

HEADER: dict[str, Check] = {
    "meterseal": integer(FORMAT, FORMAT),
    "kind": WORD,
    "gateway": text(r"[a-z0-9][a-z0-9-]{0,39}/[a-z0-9][a-z0-9-]{0,39}", "site/gateway"),
    "n": integer(0),
    "prev": HASH,
    "key": KEY_NAME,
    "time": TIME,
    "clock": CLOCK,
}

# The kinds that say whose word they are by a *source*, and count for its meter.
COUNTED = ("reading", "gap", "identity", "alarm", "spot")
KINDS: dict[str, dict[str, Check]] = {
    "key": {
        "action": one_of("enrol", "rotate", "revoke"),
        "algorithm": one_of("ed25519"),
        "public": HASH,
        "proof?": SIGNATURE,
        "recovery?": HASH,
        "revoked?": KEY_NAME,
        "since?": integer(0),
        "who": TEXT,
    },
    "start": {"version": TEXT, "config": DIGEST, "after": one_of("first", "stop", "crash")},
    "stop": {"reason": WORD},
    "config": {"digest": DIGEST, "who": TEXT, "before?": DIGEST, "changed?": list_of(CHANGED)},
    "meter": {"meter": DECLARATION, "frames?": list_of(FRAME)},
    "identity": {
        "meter": SOURCE,
        "expected": TEXT,
        "found": TEXT,
        "match": boolean,
        "formula": FORMULA,
        "frames": list_of(FRAME),
    },
    "alarm": {"meter": SOURCE, "cause": one_of("settings_changed"), "settings": list_of(SETTING), "frames": list_of(FRAME)},
    "reading": {
        "meter": SOURCE,
        "every_ms": EVERY_MS,
        "due": TIME,
        "doubt?": one_of("settings_changed", "settings_unread", "map_unconfirmed"),
        "frames": list_of(FRAME),
        "values": list_of(VALUE),
        "changes?": CHANGES,
    },
    "spot": {
        "meter": SOURCE,
        "nonce": text(r"[A-Za-z0-9_-]{8,64}", N_("8 to 64 letters, digits, - and _")),
        "frames": list_of(FRAME),
        "values": list_of(VALUE),
        **WHO,
    },
    "gap": {
        "meter": SOURCE,
        "every_ms": EVERY_MS,
        "state": one_of("opened", "closed"),
        "cause": WORD,
        "since": TIME,
        "due": TIME,
        "missed": integer(0),
        "frames": list_of(FRAME),
    },
    "counter": {
        "meter": ABOUT,
        "quantity": QUANTITY,
        "unit": UNIT,
        "before": STAND,
        "after": STAND,
        "confirmed": STAND,
        "decision": one_of("rollover", "reset", "spurious_zero", "spurious", "jump"),
        "why": one_of("passed_modulus", "began_at_zero", "began_elsewhere", "not_confirmed", "faster_than_possible"),
        "added": DIGITS,
    },
    "day": {
        "meter": ABOUT,
        "day": DAY,
        "zone": TEXT,
        "from": TIME,
        "to": TIME,
        "expected": integer(0),
        "actual": integer(0),
        "resets": integer(0),
        "replacements": integer(0),
        "counters": list_of(CLOSED),
    },
    "correction": {
        "meter": ABOUT,
        "from": TIME,
        "to": TIME,
        "what": one_of("ct", "vt", "time"),
        "old": TEXT,
        "new": TEXT,
        "reason": TEXT,
        **WHO,
    },
    "synchronization": {"before": STATE, "after": STATE},
    "replacement": {
        "meter": ABOUT,
        "old": TEXT,
        "new": TEXT,
        "last": list_of(READ_OFF),
        "first": list_of(READ_OFF),
        "reason": TEXT,
        **WHO,
    },
    "manual": {
        "meter": ABOUT,
        "quantity": QUANTITY,
        "value": DIGITS,
        "unit": UNIT,
        "read_at": TIME,
        "reference": TEXT,
        "compared?": integer(0),
        "agrees?": boolean,
        **WHO,
    },
    "audit": {"command": WORD, "meter": ABOUT, "record?": integer(0), "reason": TEXT, **WHO},
    "prune": {
        "first": integer(0),
        "end": integer(1),
        "blocks": list_of(HASH),
        "why?": one_of("age", "room"),
        "undelivered?": integer(1),
    },
    "loss": {
        "ranges": list_of(RANGE),
        "unhashed?": list_of(RANGE),
        "checkpoints?": boolean,
        "cause": WORD,
        "aside?": TEXT,
        "digest?": DIGEST,
    },
    "clock": {"step_ms": integer(-(2**53) + 1), "before": TIME, "after": TIME},
}

_CHECKS: dict[str, Check] = {kind: object_of(HEADER | fields) for kind, fields in KINDS.items()}


def check_record(fields: Mapping[str, Any]) -> None:
    """Returns if a record (without `sig` and `x`) has exactly the fields of its kind, each well formed.

    Raises:
        RecordError: names the first field that is missing, unknown or malformed.
    """
    kind = fields.get("kind")
    if not isinstance(kind, str) or kind not in _CHECKS:
        raise RecordError(_("{kind} is not a kind of record", kind=str(kind)[:40]))
    _CHECKS[kind](fields, (kind,))


def json_schema() -> dict[str, Any]:
    """JSON Schema, draft 2020-12, of a record as it is stored and sent: with its signature, and with `x` where it has one.

    It accepts what `check_record` lets pass. What it cannot say is in the strict profile: keys that stand twice, and how
    large and how deep a record may be.
    """
    outside = {"sig": as_json_schema(SIGNATURE), "x": True}
    kinds = {}
    for kind, check in _CHECKS.items():
        made = as_json_schema(check)
        properties = made["properties"] | outside | {"kind": {"const": kind}}
        kinds[kind] = made | {"properties": properties, "required": [*made["required"], "sig"]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"A sealed record, format version {FORMAT}; its meaning stands in record.md",
        "oneOf": [{"$ref": f"#/$defs/{kind}"} for kind in kinds],
        "$defs": kinds,
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(json_schema(), indent=1, sort_keys=True) + "\n")
