"""agent.seal: the signed bytes are DSSE v1, the signature is Ed25519, and nothing is signed that is no record."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from agent.record import EMPTY_LOG, LONGEST, RecordError, canonical, leaf_hash, parse, signed_part
from agent.schema import KINDS
from agent.seal import (
    base64url,
    check_signature,
    from_base64url,
    key_name,
    pre_authentication,
    rotation_statement,
    seal,
    signed,
)
from tests.agent.ledgers import GATEWAY, good_gateway, new_key

STOP: dict[str, Any] = {
    "kind": "stop",
    "time": "2026-03-01T00:16:00.123Z",
    "clock": {"state": "unknown", "boot": "3f9c1d2a", "uptime_ms": 1},
    "reason": "test",
}


def test_the_signed_bytes_are_the_dsse_pre_authentication_encoding() -> None:
    """The example of the DSSE protocol page, with our type in place of its own."""
    assert pre_authentication(b"hello world") == b"DSSEv1 40 application/vnd.meterseal.record.v1+json 11 hello world"


def test_a_record_is_signed_as_the_specification_says() -> None:
    key = new_key()
    record = seal(STOP, gateway=GATEWAY, n=0, prev=EMPTY_LOG, key=key)
    fields = json.loads(record.payload)
    signature = base64.urlsafe_b64decode(fields.pop("sig") + "==")
    body = json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()
    Ed25519PublicKey.from_public_bytes(key.public).verify(signature, pre_authentication(body))
    assert record.leaf == leaf_hash(body)
    assert fields["prev"] == "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"
    assert fields["key"] == hashlib.sha256(key.public).hexdigest()[:16] == key_name(key.public)
    assert (fields["n"], fields["gateway"], fields["meterseal"]) == (0, GATEWAY, 1)


def test_what_is_kept_and_published_is_the_canonical_form_with_the_signature_in_its_place() -> None:
    gateway = good_gateway()
    gateway.rotate(new_key("second"))
    gateway.step(3600)
    gateway.append("stop", reason="test")
    drafts = [{name: value for name, value in parse(payload).items() if name != "sig"} for payload in gateway.log.records]
    ours = {"key", "start", "stop", "config", "meter", "identity", "reading", "gap", "clock"}  # what a gateway seals unasked
    assert ours <= {draft["kind"] for draft in drafts} <= set(KINDS)
    for draft in drafts:
        record = seal(draft, gateway=GATEWAY, n=5, prev=bytes(32), key=new_key())
        assert record.payload == canonical(parse(record.payload))
        assert check_signature(parse(record.payload), new_key().public) == canonical(record.fields)


def test_what_is_longer_than_a_record_can_be_is_not_signed_and_what_is_just_as_long_is_read() -> None:
    frames = [{"request": "", "answer": "00" * 130_000, "ms": 1}]
    source = {"id": "m", "serial": "", "serial_from": "plate", "count": 0, "declared": "A" * 43}
    draft = {name: STOP[name] for name in ("time", "clock")} | {
        "kind": "reading", "meter": source, "every_ms": 1000, "due": STOP["time"], "frames": frames, "values": [],
    }  # fmt: skip
    options: dict[str, Any] = {"gateway": GATEWAY, "n": 0, "prev": EMPTY_LOG, "key": new_key()}
    space = LONGEST - len(seal(draft, **options).payload)
    frames[0]["request"] = "00" * (space // 2)
    parse(seal(draft, **options).payload)
    frames[0]["request"] += "00"
    with pytest.raises(RecordError, match="a record at most 262144"):
        seal(draft, **options)


def test_the_same_draft_gives_the_same_bytes() -> None:
    one, other = (seal(STOP, gateway=GATEWAY, n=7, prev=bytes(32), key=new_key()) for _ in range(2))
    assert one == other


@pytest.mark.parametrize(
    "change", [{"reason": 5}, {"kind": "opinion"}, {"extra": 1}, {"sig": "A" * 86}, {"x": 1}, {"time": "now"}]
)
def test_a_draft_that_is_no_record_is_not_signed(change: dict[str, Any]) -> None:
    with pytest.raises(RecordError):
        seal(STOP | change, gateway=GATEWAY, n=0, prev=EMPTY_LOG, key=new_key())


def test_a_draft_cannot_choose_its_own_number_gateway_or_key() -> None:
    record = seal(STOP | {"n": 9, "gateway": "other/gw", "key": "0" * 16}, gateway=GATEWAY, n=3, prev=EMPTY_LOG, key=new_key())
    assert (record.fields["n"], record.fields["gateway"], record.fields["key"]) == (3, GATEWAY, new_key().name)


def test_check_signature_returns_the_bytes_that_were_signed() -> None:
    record = seal(STOP, gateway=GATEWAY, n=0, prev=EMPTY_LOG, key=new_key())
    fields = parse(record.payload)
    assert check_signature(fields, new_key().public) == signed_part(fields)


def test_every_bit_of_a_signature_counts() -> None:
    record = seal(STOP, gateway=GATEWAY, n=0, prev=EMPTY_LOG, key=new_key())
    fields = parse(record.payload)
    signature = from_base64url(fields["sig"])
    for bit in range(0, 512, 7):
        broken = bytearray(signature)
        broken[bit // 8] ^= 1 << bit % 8
        with pytest.raises(RecordError, match="does not belong"):
            check_signature(fields | {"sig": base64url(bytes(broken))}, new_key().public)


@pytest.mark.parametrize("signature", [None, 5, "", "A", "A" * 86, "A" * 85 + "=", "A" * 88, "!" * 86, "ü" * 86, ["A" * 86]])
def test_what_is_no_signature_is_refused(signature: Any) -> None:
    fields = parse(seal(STOP, gateway=GATEWAY, n=0, prev=EMPTY_LOG, key=new_key()).payload)
    with pytest.raises(RecordError, match="signature"):
        check_signature(fields | {"sig": signature}, new_key().public)


def test_another_key_is_refused() -> None:
    fields = parse(seal(STOP, gateway=GATEWAY, n=0, prev=EMPTY_LOG, key=new_key()).payload)
    with pytest.raises(RecordError, match="does not belong"):
        check_signature(fields, new_key("other").public)


def test_a_signature_of_a_checkpoint_or_rotation_is_none_of_a_record() -> None:
    """The three kinds of signed bytes begin differently, so that none can pass for another."""
    starts = {
        pre_authentication(b"")[:12],
        rotation_statement(GATEWAY, "0" * 16, bytes(32))[:12],
        f"meterseal/{GATEWAY}".encode()[:12],
    }
    assert len(starts) == 3


def test_base64url_with_stray_bits_is_refused() -> None:
    assert from_base64url("AA") == b"\0"
    for text in ("AB", "A", "AA==", "A A", "+/"):
        with pytest.raises(ValueError, match=r"base64|padding"):
            from_base64url(text)


def test_the_rotation_statement_is_text_that_an_auditor_can_write_by_hand() -> None:
    statement = rotation_statement("plant/gw1", "7514cebf46edee66", bytes(32))
    assert statement == b"meterseal key rotation v1\nplant/gw1\n7514cebf46edee66\n" + b"A" * 43 + b"\n"
    new = new_key("second")
    assert signed(statement, base64url(new.sign(statement)), new.public)


def test_a_whole_log_is_signed_by_the_key_it_names() -> None:
    gateway = good_gateway()
    for payload in gateway.log.records:
        fields = parse(payload)
        assert fields["key"] == gateway.key.name
        assert check_signature(fields, gateway.key.public)
