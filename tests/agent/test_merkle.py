"""agent.merkle: roots and proofs against a plain recursive implementation of RFC 9162, section 2.1."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.merkle import (
    Frontier,
    consistency_proof,
    consistency_ranges,
    inclusion_proof,
    is_consistent,
    proof_ranges,
    root_from_proof,
    root_of,
)


def leaves(count: int) -> list[bytes]:
    return [hashlib.sha256(b"\0" + bytes([index % 256, index // 256])).digest() for index in range(count)]


def naive_root(items: list[bytes]) -> bytes:
    """MTH of section 2.1.1, over leaf hashes."""
    if not items:
        return hashlib.sha256(b"").digest()
    if len(items) == 1:
        return items[0]
    split = 1
    while split * 2 < len(items):
        split *= 2
    return hashlib.sha256(b"\x01" + naive_root(items[:split]) + naive_root(items[split:])).digest()


def naive_path(index: int, items: list[bytes]) -> list[bytes]:
    """PATH of section 2.1.3.1."""
    if len(items) == 1:
        return []
    split = 1
    while split * 2 < len(items):
        split *= 2
    if index < split:
        return [*naive_path(index, items[:split]), naive_root(items[split:])]
    return [*naive_path(index - split, items[split:]), naive_root(items[:split])]


@pytest.mark.parametrize("size", [*range(40), 63, 64, 65, 127, 128, 1000])
def test_the_root_is_that_of_rfc_9162(size: int) -> None:
    items = leaves(size)
    assert root_of(items) == naive_root(items)
    frontier = Frontier()
    for item in items:
        frontier = frontier.append(item)
    assert frontier.root() == naive_root(items)
    assert (frontier.size, len(frontier.hashes)) == (size, size.bit_count())


def test_the_root_of_an_empty_log_is_the_hash_of_nothing() -> None:
    assert Frontier().root() == hashlib.sha256(b"").digest()


def test_known_roots_of_certificate_transparency() -> None:
    """The eight test leaves and roots that certificate transparency implementations share (RFC 6962 test data)."""
    inputs = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
    items = [hashlib.sha256(b"\0" + bytes.fromhex(text)).digest() for text in inputs]
    assert root_of(items[:1]).hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert root_of(items[:2]).hex() == "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"
    assert root_of(items[:3]).hex() == "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"
    assert root_of(items).hex() == "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"


@pytest.mark.parametrize("size", range(1, 34))
def test_every_inclusion_proof_is_that_of_rfc_9162_and_leads_to_the_root(size: int) -> None:
    items = leaves(size)
    for index in range(size):
        proof = inclusion_proof(index, items)
        assert proof == naive_path(index, items)
        assert root_from_proof(index, size, items[index], proof) == naive_root(items)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_proof_made_while_the_log_goes_by_is_the_same(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 300))
    index = data.draw(st.integers(0, size - 1))
    items = leaves(size)
    ranges = proof_ranges(index, size)
    assert [root_of(items[first:end]) for first, end in ranges] == inclusion_proof(index, items)
    covered = sorted(number for first, end in ranges for number in range(first, end))
    assert covered == [number for number in range(size) if number != index]


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_no_other_leaf_index_or_proof_leads_to_the_root(data: st.DataObject) -> None:
    size = data.draw(st.integers(2, 80))
    index = data.draw(st.integers(0, size - 1))
    items = leaves(size)
    root, proof = root_of(items), inclusion_proof(index, items)
    other = data.draw(st.integers(0, size - 1).filter(lambda number: number != index))
    assert root_from_proof(index, size, items[other], proof) != root
    assert root_from_proof(other, size, items[index], proof) != root
    assert root_from_proof(index, size, items[index], proof[:-1]) != root
    assert root_from_proof(index, size, items[index], [*proof, bytes(32)]) is None
    broken = list(proof)
    place = data.draw(st.integers(0, len(proof) - 1))
    broken[place] = bytes(32)
    assert root_from_proof(index, size, items[index], broken) != root


@pytest.mark.parametrize(("index", "size"), [(0, 0), (1, 1), (-1, 5), (5, 5)])
def test_an_index_outside_the_tree_leads_nowhere(index: int, size: int) -> None:
    assert root_from_proof(index, size, bytes(32), []) is None


def naive_consistency(old: int, items: list[bytes], whole: bool = True) -> list[bytes]:
    """SUBPROOF of section 2.1.4.1."""
    if old == len(items):
        return [] if whole else [naive_root(items)]
    split = 1
    while split * 2 < len(items):
        split *= 2
    if old <= split:
        return [*naive_consistency(old, items[:split], whole), naive_root(items[split:])]
    return [*naive_consistency(old - split, items[split:], False), naive_root(items[:split])]


@pytest.mark.parametrize("new", range(1, 34))
def test_every_consistency_proof_is_that_of_rfc_9162_and_is_accepted(new: int) -> None:
    items = leaves(new)
    for old in range(1, new + 1):
        proof = consistency_proof(old, items)
        assert proof == naive_consistency(old, items)
        assert is_consistent(old, naive_root(items[:old]), new, naive_root(items), proof)


def test_anything_follows_an_empty_log() -> None:
    assert consistency_ranges(0, 5) == []
    assert is_consistent(0, naive_root([]), 5, naive_root(leaves(5)), [])


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_rewritten_log_follows_the_old_one(data: st.DataObject) -> None:
    new = data.draw(st.integers(2, 80))
    old = data.draw(st.integers(1, new))
    items = leaves(new)
    old_root = root_of(items[:old])
    items[data.draw(st.integers(0, old - 1))] = bytes(32)
    assert not is_consistent(old, old_root, new, root_of(items), consistency_proof(old, items))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_other_proof_is_accepted(data: st.DataObject) -> None:
    new = data.draw(st.integers(2, 80))
    old = data.draw(st.integers(1, new - 1))
    items = leaves(new)
    roots = root_of(items[:old]), root_of(items)
    proof = consistency_proof(old, items)
    broken = list(proof)
    broken[data.draw(st.integers(0, len(proof) - 1))] = bytes(32)
    for wrong in (broken, proof[:-1], [*proof, bytes(32)]):
        assert not is_consistent(old, roots[0], new, roots[1], wrong)
    assert not is_consistent(new, roots[1], old, roots[0], proof)
