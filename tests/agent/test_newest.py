"""agent.newest: what was sealed last is at hand, byte for byte, and no more than 4 MB of it."""

from __future__ import annotations

from agent.newest import Newest, Sealed
from agent.seal import Record


def record(n: int, length: int, **fields: object) -> Record:
    return Record(n, n.to_bytes(4, "big") + bytes(length - 4), bytes(32), fields)


def test_a_record_is_held_with_what_its_topic_is_made_of() -> None:
    newest = Newest()
    newest.add([record(0, 10, kind="start"), record(1, 10, kind="reading", meter={"id": "em-1"})])
    assert newest.get(0) == Sealed(0, "start", "", bytes(10))
    assert newest.get(1) == Sealed(1, "reading", "em-1", b"\0\0\0\1" + bytes(6))
    assert newest.get(2) is None


def test_the_oldest_are_let_go_so_that_four_megabytes_are_never_exceeded() -> None:
    newest = Newest()
    for n in range(100):
        newest.add([record(n, 100_000, kind="stop")])
    held = [n for n in range(100) if newest.get(n)]
    assert held == list(range(60, 100))
