"""agent.record: the strict profile, canonical bytes that equal RFC 8785, and parsing that never ends in a surprise."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import subprocess
from collections.abc import Callable
from random import Random
from shutil import which
from typing import Any

import msgpack  # type: ignore[import-untyped]  # it ships no types
import pytest
import rfc8785
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agent.record import EMPTY_LOG, RecordError, canonical, check_profile, leaf_hash, parse, parsed_body, signed_part
from agent.seal import check_signature
from tests.agent.ledgers import good_gateway

INTEGERS = st.integers(-(2**53) + 1, 2**53 - 1)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters=[*map(chr, range(0x20)), "\x7f"]), max_size=20)
KEYS = st.from_regex(r"[a-z][a-z0-9_]{0,31}", fullmatch=True)
VALUES = st.recursive(
    st.one_of(INTEGERS, st.booleans(), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=4)),
    max_leaves=20,
)
DOCUMENTS = st.dictionaries(KEYS, VALUES, max_size=6)

RECORD = good_gateway().log.records[8]
KEY = good_gateway().key.public
FIELDS: dict[str, Any] = json.loads(RECORD)


# --- canonical form -------------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(DOCUMENTS)
def test_the_canonical_form_is_rfc_8785(document: dict[str, Any]) -> None:
    assert canonical(document) == rfc8785.dumps(document)


def random_value(random: Random, depth: int = 0) -> Any:
    """Like VALUES, without the care that hypothesis takes: a hundred times faster."""
    kind = random.randrange(7 if depth < 4 else 4)
    if kind == 0:
        return random.choice([0, 1, -1, 2**53 - 1, -(2**53) + 1, random.randint(-(2**53) + 1, 2**53 - 1)])
    if kind == 1:
        return random.random() < 0.5
    if kind < 4:
        return "".join(random_letter(random) for _ in range(random.randrange(12)))
    if kind == 4:
        return [random_value(random, depth + 1) for _ in range(random.randrange(5))]
    return random_object(random, depth + 1)


def random_object(random: Random, depth: int) -> dict[str, Any]:
    letters = "abcxyz019_"
    names = ("z" + "".join(random.choice(letters) for _ in range(random.randrange(6))) for _ in range(random.randrange(6)))
    return {name: random_value(random, depth) for name in names}


def random_letter(random: Random) -> str:
    """Letters from everywhere, those at the borders of UTF-8 and UTF-16 and those that JSON escapes more often."""
    code = random.choice([0x22, 0x5C, 0x2F, 0x80, 0x7FF, 0x800, 0x2028, 0xD7FF, 0xE000, 0xFFFF, 0x10000, 0x10FFFF])
    code = code if random.random() < 0.4 else random.randrange(0x20, 0x11_0000)
    return "a" if code == 0x7F or 0xD800 <= code < 0xE000 else chr(code)


def test_the_canonical_form_is_rfc_8785_for_thousands_of_documents() -> None:
    random = Random(20260301)
    for _ in range(5000):
        document = random_object(random, 0)
        assert canonical(document) == rfc8785.dumps(document)


@settings(max_examples=100, deadline=None)
@given(DOCUMENTS)
def test_what_was_written_is_read_back(document: dict[str, Any]) -> None:
    assert parse(canonical(document)) == document
    assert parsed_body(document) == signed_part(document)


def test_a_records_canonical_form_is_the_same_for_an_independent_implementation() -> None:
    signed = {name: value for name, value in FIELDS.items() if name != "sig"}
    assert signed_part(FIELDS) == rfc8785.dumps(signed)
    assert rfc8785.dumps(FIELDS) == RECORD


def test_the_leaf_hash_is_sha_256_over_a_zero_byte_and_the_body() -> None:
    assert leaf_hash(b"body") == hashlib.sha256(b"\0body").digest()
    assert EMPTY_LOG.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize(
    "value",
    [
        None,
        1.5,
        float("nan"),
        2**53,
        -(2**53),
        b"bytes",
        "\x00",
        "\n",
        "\x1f",
        "\x7f",
        "\ud800",
        {"Key": 1},
        {"1a": 1},
        {"": 1},
        {"a-b": 1},
        {"é": 1},
        {"a" * 33: 1},
        {1: 1},
    ],
)
def test_what_lies_outside_the_profile_is_refused(value: Any) -> None:
    with pytest.raises(RecordError):
        canonical({"a": value})
    with pytest.raises(RecordError):
        canonical({"a": [value]})


def test_nesting_is_bounded() -> None:
    deep: Any = 1
    for _ in range(15):
        deep = [deep]
    check_profile({"a": deep})
    with pytest.raises(RecordError, match="nested too deeply"):
        check_profile({"a": [deep]})


# --- parsing --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not JSON"),
        ("[]", "not a JSON object"),
        ('"a"', "not a JSON object"),
        ("{", "not JSON"),
        ('{"a":1,"a":1}', "stands twice"),
        ('{"a":{"b":1,"b":2}}', "stands twice"),
        ('{"a":null}', "is not allowed"),
        ('{"a":1.5}', "is not an integer"),
        ('{"a":1e400}', "is not an integer"),
        ('{"a":1e-7}', "is not an integer"),
        ('{"a":12.00000000000000000001}', "is not an integer"),
        ('{"a":9007199254740991.4}', "is not an integer"),
        ('{"a":1e99999999999999999999}', "is not a"),
        ('{"a":9007199254740992}', "larger than"),
        ('{"a":9007199254740992.0}', "is not an integer"),
        ('{"a":NaN}', "not allowed"),
        ('{"a":-Infinity}', "not allowed"),
        ('{"x":NaN}', "not allowed"),
        ('{"x":{"y":1,"y":2}}', "stands twice"),
        ('{"a":"\\ud800"}', "surrogate"),
        ('{"a":"\\u0000"}', "control character"),
        ('{"a":"\\u007f"}', "control character"),
        ('{"A":1}', "not an allowed key"),
        ('\ufeff{"a":1}', "not JSON"),
        ('{"a":' + "9" * 5000 + "}", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"a":' + "[" * 500 + "1.0" + "]" * 500 + "}", "nested too deeply"),
        ('{"x":' + "[" * 500 + "1.5" + "]" * 500 + "}", "nested too deeply"),
        ('{"a":"' + "b" * 300_000 + '"}', "longer than a record"),
    ],
)
def test_what_is_no_record_is_refused_with_the_reason(text: str, words: str) -> None:
    with pytest.raises(RecordError, match=words):
        parse(text.encode("utf-8"))


def test_bytes_that_are_no_utf_8_are_refused() -> None:
    with pytest.raises(RecordError, match="not JSON"):
        parse(b'{"a":"\xff"}')


@pytest.mark.parametrize("number", ["12.0", "12.000", "1.2e1", "120e-1", "1.2E+1"])
def test_an_integer_that_a_hop_wrote_as_a_fraction_is_the_same_integer(number: str) -> None:
    assert parse(f'{{"a":{number},"b":[{number}]}}'.encode()) == {"a": 12, "b": [12]}


def test_the_largest_integers_survive_with_and_without_a_point() -> None:
    for number in (2**53 - 1, -(2**53) + 1):
        assert parse(f'{{"a":{number},"b":{number}.0}}'.encode()) == {"a": number, "b": number}


def test_x_may_hold_any_json() -> None:
    fields = parse(b'{"a":12.0,"x":{"Key":1.5,"n":null,"l":[1e3,"\\u0001"],"big":123456789012345678901234567890}}')
    assert fields["a"] == 12
    assert type(fields["a"]) is int
    assert fields["x"]["Key"] == 1.5
    assert fields["x"]["big"] == 123456789012345678901234567890
    assert signed_part(fields) == b'{"a":12}'


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.binary(max_size=300), st.text(max_size=300).map(lambda text: text.encode("utf-8", "surrogatepass"))))
@example(b"{}")
@example(b'{"x":' + b"[" * 70 + b"]" * 70 + b"}")
def test_any_bytes_give_a_record_or_a_record_error(data: bytes) -> None:
    try:
        fields = parse(data)
    except RecordError:
        return
    assert isinstance(fields, dict)


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=10)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8) | KEYS, inner, max_size=4)),
    max_leaves=20,
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(KEYS | st.just("x"), JSON, max_size=5))
def test_any_json_gives_a_record_inside_the_profile_or_a_record_error(document: dict[str, Any]) -> None:
    try:
        fields = parse(json.dumps(document).encode())
    except RecordError:
        return
    check_profile({name: value for name, value in fields.items() if name != "x"})
    assert parse(canonical({name: value for name, value in fields.items() if name != "x"})) is not None


# --- hops on the way to a server ------------------------------------------------------------------------------


def through_sqlite(data: bytes) -> bytes:
    database = sqlite3.connect(":memory:")
    text: str = database.execute("SELECT json(?)", (data.decode(),)).fetchone()[0]
    database.close()
    return text.encode()


def integers_as_floats(value: Any) -> Any:
    if type(value) is int:
        return float(value)
    if isinstance(value, dict):
        return {name: integers_as_floats(inner) for name, inner in value.items()}
    return [integers_as_floats(inner) for inner in value] if isinstance(value, list) else value


def turned_round(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: turned_round(value[name]) for name in reversed(list(value))}
    return [turned_round(inner) for inner in value] if isinstance(value, list) else value


def dumped(value: Any, **options: Any) -> bytes:
    return json.dumps(value, **options).encode()


HOPS: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda data: data,
    "python json": lambda data: dumped(json.loads(data)),
    "pretty-printing": lambda data: dumped(json.loads(data), indent=4),
    "letters escaped": lambda data: dumped(json.loads(data), ensure_ascii=True),
    "keys in another order": lambda data: dumped(turned_round(json.loads(data))),
    "SQLite json()": through_sqlite,
    "MessagePack": lambda data: dumped(msgpack.unpackb(msgpack.packb(json.loads(data)))),
    "YAML": lambda data: dumped(yaml.safe_load(yaml.safe_dump(json.loads(data)))),
    "every integer as a float": lambda data: dumped(integers_as_floats(json.loads(data))),
    "white space around": lambda data: b"\r\n  " + data + b" \n",
    "x added": lambda data: dumped({**json.loads(data), "x": {"factor": 0.5, "note": None, "Größe": [1e300]}}),
}


@pytest.mark.parametrize("hop", HOPS)
def test_a_signature_survives_re_serialisation(hop: str) -> None:
    for payload in good_gateway().log.records:
        assert check_signature(parse(HOPS[hop](payload)), KEY) == signed_part(json.loads(payload))


def test_a_signature_survives_all_hops_one_after_the_other() -> None:
    data = RECORD
    for hop in HOPS.values():
        data = hop(data)
    assert check_signature(parse(data), KEY)


def test_a_signature_survives_jq() -> None:
    if not which("jq"):
        pytest.skip("install jq to run this test")
    for options in ("-S", "-c", "--tab"):
        data = subprocess.run(["jq", options, "."], input=RECORD, capture_output=True, check=True).stdout
        assert check_signature(parse(data), KEY)


@pytest.mark.parametrize("addition", [{"approved": True}, {"values2": []}, {"y": 1}])
def test_a_field_added_outside_x_breaks_the_signature(addition: dict[str, Any]) -> None:
    with pytest.raises(RecordError, match="signature"):
        check_signature(parse(dumped(FIELDS | addition)), KEY)


@pytest.mark.parametrize(
    "hop", [lambda text: text.replace("9900.07", "9900.7"), lambda text: text.replace("9900.07", "9900.070")]
)
def test_a_digit_more_or_less_breaks_the_signature(hop: Callable[[str], str]) -> None:
    payload = next(payload for payload in good_gateway().log.records if b"9900.07" in payload)
    with pytest.raises(RecordError, match="signature"):
        check_signature(parse(hop(payload.decode()).encode()), KEY)
