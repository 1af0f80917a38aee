"""agent.cosignature: C2SP tlog-cosignature version 1; what is damaged or another's is refused."""

from __future__ import annotations

import base64
import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from agent.checkpoint import CheckpointError, read, read_verifier_key, verifier_key, write
from agent.cosignature import Witness, cosign, cosigned_at, read_witness_key, witness_key
from tests.agent.ledgers import ORIGIN, new_key

NOTE = write(ORIGIN, 42, hashlib.sha256(b"root").digest(), new_key())
KEY = new_key("witness")
WITNESS = Witness("assessor.example/w1", KEY.public)
LINE = cosign(NOTE, WITNESS.name, KEY, 1_772_323_200)


def test_a_cosignature_is_the_line_that_c2sp_describes() -> None:
    dash, name, encoded = LINE.split(" ")
    data = base64.b64decode(encoded)
    assert (dash, name, len(data)) == ("\u2014", WITNESS.name, 76)
    assert data[:4] == hashlib.sha256(b"assessor.example/w1\n\x04" + KEY.public).digest()[:4]
    assert int.from_bytes(data[4:12], "big") == 1_772_323_200
    signed = b"cosignature/v1\ntime 1772323200\n" + NOTE.partition("\n\n")[0].encode() + b"\n"
    Ed25519PublicKey.from_public_bytes(KEY.public).verify(data[12:], signed)


def test_what_was_cosigned_is_read_and_the_note_still_is_the_gateways() -> None:
    assert cosigned_at(NOTE, LINE, WITNESS) == 1_772_323_200
    assert read(f"{NOTE}{LINE}\n", ORIGIN, new_key().public).size == 42


def test_a_line_of_another_name_or_key_is_passed_over() -> None:
    assert cosigned_at(NOTE, LINE, Witness("someone.else/w1", KEY.public)) is None
    assert cosigned_at(NOTE, LINE, Witness(WITNESS.name, new_key("other").public)) is None
    assert cosigned_at(NOTE, NOTE.split("\n")[4], WITNESS) is None


def test_the_same_line_under_another_note_is_refused() -> None:
    with pytest.raises(CheckpointError, match="did not cosign"):
        cosigned_at(NOTE.replace("42", "43"), LINE, WITNESS)


def test_another_time_in_the_line_is_refused() -> None:
    data = bytearray(base64.b64decode(LINE.split(" ")[2]))
    data[11] ^= 1
    forged = f"\u2014 {WITNESS.name} {base64.b64encode(data).decode()}"
    with pytest.raises(CheckpointError, match="did not cosign"):
        cosigned_at(NOTE, forged, WITNESS)


def test_a_witness_key_line_is_read_back_and_is_no_gateways() -> None:
    line = witness_key(WITNESS.name, WITNESS.public)
    assert read_witness_key(line) == WITNESS
    with pytest.raises(CheckpointError, match="a witness's key line"):
        read_verifier_key(line)
    with pytest.raises(CheckpointError, match="no witness's key line"):
        read_witness_key(verifier_key(ORIGIN, KEY.public))
