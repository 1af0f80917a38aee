"""An audit of a ledger over bare Ed25519 verification of as many messages as long, by the same library.

The bare side has signatures and messages ready. What ours does more is its work: reading and parsing records, canonical
bytes, the chain and the tree, the closed schema, and every value recomputed from its frames by the declared model.
"""

from __future__ import annotations

import contextlib
from functools import partial
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from agent import checkpoint
from agent.ledger_file import LedgerReader
from agent.record import parse, signed_part
from agent.seal import Key, from_base64url, pre_authentication
from agent.verify import verify
from tests.agent.gateway import GATEWAY
from tests.bench.ratio import Line, cpu_ratios, per_cpu_second, rounds

_ROUNDS = 3


def lines(path: Path, key: Key) -> list[Line]:
    """The whole ledger verified, in full and with --fast."""
    line = checkpoint.verifier_key(checkpoint.origin_of(GATEWAY), key.public)
    public = key.private.public_key()
    with contextlib.closing(LedgerReader(path)) as reader:
        signed = [_signed(payload) for _, payload in reader.payloads()]
        made = []
        for name, fast in (("verify", False), ("verify --fast", True)):
            measured = rounds(_ROUNDS, partial(_verify, reader, line, fast), partial(_bare, public, signed))
            ours = per_cpu_second(len(signed), [each.ours for each in measured])
            bare = per_cpu_second(len(signed), [each.bare for each in measured])
            made.append(Line(name, cpu_ratios(measured), f"{ours} records a CPU second; Ed25519 {bare}"))
    return made


def _signed(payload: bytes) -> tuple[bytes, bytes]:
    fields = parse(payload)
    return from_base64url(fields["sig"]), pre_authentication(signed_part(fields))


def _verify(reader: LedgerReader, line: str, fast: bool) -> None:
    report = verify(reader, key=line, fast=fast)
    assert report.findings.total == 0, dict(report.findings.counts)


def _bare(public: Ed25519PublicKey, signed: list[tuple[bytes, bytes]]) -> None:
    for signature, message in signed:
        public.verify(signature, message)
