"""Checkpoints, cosignatures and proofs before a foreign judge: Go's golang.org/x/mod/sumdb (note and tlog)."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import random
import shutil
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agent.checkpoint import origin_of, verifier_key
from agent.cosignature import cosign, witness_key
from agent.ledger_file import LedgerReader
from agent.merkle import root_of
from agent.record import parse, parsed_body
from agent.tiles import consistency_proof_of, inclusion_proof_of
from tests.agent.gateway import GATEWAY, StillClock, begun, stop
from tests.agent.ledgers import new_key

SOURCE = Path(__file__).parent / "transparency" / "main.go"
DEBIAN = Path("/usr/share/gocode")
RECORDS, PROOFS = 700, 100
WITNESSES = ("plant-it", "assessor.example/w1")


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Callable[[dict[str, Any]], subprocess.CompletedProcess[str]]:
    """The foreign program, built from Debian's packages without a network."""
    go = shutil.which("go")
    if not go or not (DEBIAN / "src/golang.org/x/mod/sumdb/tlog").is_dir():
        pytest.skip("Go or its x/mod is missing: apt install golang-go golang-golang-x-mod-dev")
    folder = tmp_path_factory.mktemp("go")
    offline = {"GO111MODULE": "off", "GOPATH": str(DEBIAN), "GOCACHE": str(folder / "cache"), "GOFLAGS": "", "GOPROXY": "off"}
    built = folder / "judge"
    subprocess.run([go, "build", "-o", str(built), str(SOURCE)], env=os.environ | offline, check=True, timeout=110)

    def ask(question: dict[str, Any]) -> subprocess.CompletedProcess[str]:
        return subprocess.run([str(built)], input=json.dumps(question), capture_output=True, text=True, timeout=30, check=False)

    return ask


async def grown(path: Path) -> None:
    clock, ledger = StillClock(), await begun(path, new_key(), StillClock())
    await ledger.append(*(stop(clock) for _ in range(RECORDS - ledger.size)))
    await ledger.close()


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def inclusion(log: LedgerReader, leaves: list[bytes], index: int, size: int) -> dict[str, Any]:
    proof = [text(step) for step in inclusion_proof_of(log, index, size)]
    return {"Index": index, "Size": size, "Leaf": text(leaves[index]), "Root": text(root_of(leaves[:size])), "Proof": proof}


def consistency(log: LedgerReader, leaves: list[bytes], old: int, new: int) -> dict[str, Any]:
    proof = [text(step) for step in consistency_proof_of(log, old, new)]
    roots = {"OldRoot": text(root_of(leaves[:old])), "NewRoot": text(root_of(leaves[:new]))}
    return {"Old": old, "New": new, "Proof": proof} | roots


def broken(item: dict[str, Any], some: random.Random) -> dict[str, Any]:
    """The same with one of its hashes changed."""
    name = some.choice([name for name, value in item.items() if value and not isinstance(value, int)])
    wrong = text(bytes(some.randrange(256) for _ in range(32)))
    if name != "Proof":
        return item | {name: wrong}
    at = some.randrange(len(item["Proof"]))
    return item | {"Proof": [*item["Proof"][:at], wrong, *item["Proof"][at + 1 :]]}


def question(path: Path) -> tuple[dict[str, Any], str]:
    """A checkpoint with two cosignatures, a record, and what is asked about them; and the checkpoint's note alone."""
    some = random.Random(20260301)
    with closing(LedgerReader(path)) as log:
        leaves, note = log.leaves(0, RECORDS), log.checkpoints()[-1]
        sizes = [(some.randrange(1, size + 1), size) for size in (some.randrange(1, RECORDS + 1) for _ in range(PROOFS))]
        included = [inclusion(log, leaves, old - 1, size) for old, size in sizes]
        grew = [consistency(log, leaves, old, size) for old, size in sizes]
        body = parsed_body(parse(log.payload(42)))
        leaf = log.leaf(42)
    cosigned = note + "".join(cosign(note, name, new_key(name), 1_772_323_200 + at) + "\n" for at, name in enumerate(WITNESSES))
    asked = {
        "Note": cosigned,
        "Key": verifier_key(origin_of(GATEWAY), new_key().public),
        "Witnesses": [witness_key(name, new_key(name).public) for name in WITNESSES],
        "Body": text(body),
        "BodyLeaf": text(leaf),
        "Inclusion": [*included, *(broken(item, some) for item in included)],
        "Consistency": [*grew, *(broken(item, some) for item in grew)],
    }
    return asked, note


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str]:
    path = tmp_path_factory.mktemp("log") / "ledger.sqlite"
    asyncio.run(grown(path))
    return question(path)


Judge = Callable[[dict[str, Any]], subprocess.CompletedProcess[str]]


def test_go_accepts_the_checkpoint_both_cosignatures_and_two_hundred_proofs(
    judge: Judge, asked: tuple[dict[str, Any], str]
) -> None:
    told = json.loads(judge(asked[0]).stdout)
    assert (told["Origin"], told["Size"], told["Leaf"]) == (origin_of(GATEWAY), RECORDS, True)
    assert told["Signed"] == [origin_of(GATEWAY), *WITNESSES]
    assert told["Times"] == {name: 1_772_323_200 + at for at, name in enumerate(WITNESSES)}
    assert told["Inclusion"][:PROOFS] == [True] * PROOFS
    assert told["Consistency"][:PROOFS] == [True] * PROOFS


def test_go_refuses_each_of_these_proofs_with_one_hash_changed(judge: Judge, asked: tuple[dict[str, Any], str]) -> None:
    told = json.loads(judge(asked[0]).stdout)
    assert told["Inclusion"][PROOFS:] == [False] * PROOFS
    assert told["Consistency"][PROOFS:] == [False] * PROOFS


def test_go_refuses_a_checkpoint_or_a_cosignature_with_another_size(judge: Judge, asked: tuple[dict[str, Any], str]) -> None:
    forged = asked[0] | {"Note": asked[0]["Note"].replace(f"\n{RECORDS}\n", f"\n{RECORDS - 1}\n")}
    assert "invalid signature" in judge(forged).stderr
    other = cosign(asked[1].replace(f"\n{RECORDS}\n", "\n1\n"), WITNESSES[0], new_key(WITNESSES[0]), 1_772_323_200)
    assert "invalid signature" in judge(asked[0] | {"Note": f"{asked[1]}{other}\n"}).stderr
