"""Answers that are owed: who has to wait for them, who need not, and what becomes of them when they come."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.clock import Clock
from drivers import Exchange, Instant, Request, Target, load
from drivers.debt import Debts
from drivers.errors import LinkDown
from drivers.formula import evaluate
from drivers.link import Link, LinkSettings
from drivers.wire import Wire
from tests.peers.hostile import sealed
from tests.peers.registers import place, point, target
from tests.peers.scripted import HANG_UP, Script, Scripted

DRIVER = load("modbus")
TIMEOUT, LONGEST = 0.1, 0.4
A, B, C = 1, 2, 3
VALUE = {A: 0x0AAA0001, B: 0x0BBB0002, C: 0x0CCC0003}


def meter(unit: int, framing: str = "rtu", **limits: Any) -> Target:
    return target(point("voltage", 0), address=unit, framing=framing, **limits)


def request_to(unit: int, address: int = 7, framing: str = "rtu", **limits: Any) -> Request:
    return DRIVER.requests(meter(unit, framing, **limits), [place("u32", address)])[0]


def answer(unit: int) -> bytes:
    return sealed(bytes([unit, 3, 4]) + VALUE[unit].to_bytes(4, "big"))


def value_of(exchange: Exchange, unit: int, address: int = 7, framing: str = "rtu") -> int | str:
    """The value that an exchange brought, or why it did not."""
    if exchange.error:
        return exchange.error.cause
    formula = DRIVER.locate(meter(unit, framing), [exchange.request], place("u32", address))
    return int(evaluate(formula, [exchange.answer]).value or -1)


@asynccontextmanager
async def line(script: Script, *, longest_s: float | None = LONGEST, timeout_s: float | None = TIMEOUT) -> AsyncIterator[Any]:
    """A link to scripted units, of which one exchange has passed, and the units."""

    def shifted(number: int, request: bytes) -> Any:
        return script(number - 1, request) if number else [(0.0, answer(request[0]))]

    async with Scripted(shifted) as peer:
        how = LinkSettings("hall", "rtu", tcp=peer.endpoint, baud=115200, timeout_s=timeout_s, longest_answer_s=longest_s)
        link = Link(how, Clock())
        await link.open()
        try:
            assert value_of(await link.exchange(DRIVER, request_to(C)), C) == VALUE[C]
            yield link, peer
        finally:
            await link.close()


def after(peer: Scripted, one: int, other: int) -> float:
    """Seconds between two requests, counted from the first scripted one."""
    return peer.seen[other + 1][0] - peer.seen[one + 1][0]


# --- who waits ------------------------------------------------------------------------------------------------


async def test_a_station_that_owes_is_not_asked_before_its_time_but_others_are() -> None:
    async with line(lambda number, request: [] if number == 0 else [(0.0, answer(request[0]))]) as (link, peer):
        assert value_of(await link.exchange(DRIVER, request_to(A)), A) == "no_answer"
        assert value_of(await link.exchange(DRIVER, request_to(B)), B) == VALUE[B]
        assert link.ready_at(DRIVER, request_to(B)) <= time.monotonic() < link.ready_at(DRIVER, request_to(A))
        assert value_of(await link.exchange(DRIVER, request_to(A)), A) == VALUE[A]
    assert after(peer, 0, 1) < LONGEST / 2
    assert after(peer, 0, 2) >= LONGEST


async def test_the_very_same_question_waits_too_for_a_late_answer_tells_an_older_value() -> None:
    async with line(lambda number, request: [] if number == 0 else [(0.0, answer(A))]) as (link, peer):
        await link.exchange(DRIVER, request_to(A, 7))
        await link.exchange(DRIVER, request_to(A, 7))
    assert after(peer, 0, 1) >= LONGEST


async def test_on_modbus_tcp_nobody_waits() -> None:
    def script(number: int, request: bytes) -> list[tuple[float, bytes]]:
        return [(0.0, request[:4] + b"\0\7" + request[6:8] + b"\4" + VALUE[request[6]].to_bytes(4, "big"))] if number else []

    async with Scripted(script, 12) as peer:
        link = Link(LinkSettings("hall", "tcp", tcp=peer.endpoint, timeout_s=TIMEOUT, longest_answer_s=30.0), Clock())
        await link.open()
        assert value_of(await link.exchange(DRIVER, request_to(A, 7, "tcp")), A, 7, "tcp") == "no_answer"
        assert value_of(await link.exchange(DRIVER, request_to(A, 7, "tcp")), A, 7, "tcp") == VALUE[A]
        await link.close()


async def test_a_late_answer_ends_the_wait_and_wakes_up_who_waits_for_it() -> None:
    async with line(lambda number, request: [(0.2 if number == 0 else 0.0, answer(request[0]))], longest_s=5.0) as (link, peer):
        await link.exchange(DRIVER, request_to(A))
        link.heard.clear()
        assert link.ready_at(DRIVER, request_to(A)) > time.monotonic() + 1
        async with asyncio.timeout(4):
            await link.heard.wait()
        assert link.ready_at(DRIVER, request_to(A)) <= time.monotonic()
        assert value_of(await link.exchange(DRIVER, request_to(A)), A) == VALUE[A]
    assert after(peer, 0, 1) < 2


async def test_how_late_an_answer_was_is_told_once() -> None:
    async with line(lambda number, request: [(0.2 if number == 0 else 0.0, answer(request[0]))]) as (link, _):
        await link.exchange(DRIVER, request_to(A))
        assert link.late_s(DRIVER, request_to(A)) is None
        await link.exchange(DRIVER, request_to(A))
        late_s = link.late_s(DRIVER, request_to(A))
        assert late_s is not None
        assert 0.19 <= late_s <= LONGEST
        assert link.late_s(DRIVER, request_to(A)) is None
        assert link.late_s(DRIVER, request_to(B)) is None


# --- what becomes of it ---------------------------------------------------------------------------------------


def owing(late: Callable[[bytes], list[tuple[float, bytes]]]) -> Script:
    """A says nothing; what B is asked, it answers along with what A owes, as `late` says: B's answer in, pieces out."""
    return lambda number, request: [] if request[0] == A else late(answer(request[0]))


@pytest.mark.parametrize(
    "noise",
    [b"", b"\x00", b"\xff\xfe\xfd", b"\x02\x03\x04", request_to(B).data],
    ids=["none", "zero", "three", "beginning", "echo"],
)
@pytest.mark.parametrize("pieces", [1, 2, 20], ids=["at once", "in two", "byte by byte"])
async def test_a_late_answer_in_front_of_anothers_costs_it_nothing(noise: bytes, pieces: int) -> None:
    def late(right: bytes) -> list[tuple[float, bytes]]:
        whole = noise + answer(A) + right
        step = -(-len(whole) // pieces)
        return [
            (0.001 * number, whole[number * step : (number + 1) * step]) for number in range(pieces) if whole[number * step :]
        ]

    async with line(owing(late)) as (link, _):
        assert value_of(await link.exchange(DRIVER, request_to(A)), A) == "no_answer"
        assert value_of(await link.exchange(DRIVER, request_to(B)), B) == VALUE[B]
        assert link.ready_at(DRIVER, request_to(A)) <= time.monotonic(), "it has come"


async def test_a_late_answer_behind_anothers_costs_it_nothing_and_is_recognised() -> None:
    async with line(owing(lambda right: [(0.0, right + answer(A))]), longest_s=5.0) as (link, _):
        await link.exchange(DRIVER, request_to(A))
        assert value_of(await link.exchange(DRIVER, request_to(B)), B) == VALUE[B]
        assert link.ready_at(DRIVER, request_to(A)) <= time.monotonic()


async def test_a_late_answer_inside_anothers_damages_it_but_never_makes_a_value() -> None:
    async with line(owing(lambda right: [(0.0, right[:5] + answer(A) + right[5:])])) as (link, _):
        await link.exchange(DRIVER, request_to(A))
        told = value_of(await link.exchange(DRIVER, request_to(B)), B)
        assert told in ("bad_checksum", "short_answer", "noise")


async def test_two_late_answers_may_come_in_any_order() -> None:
    for first, second in ((A, C), (C, A)):
        script: Script = lambda number, request, first=first, second=second: (  # noqa: E731  a table of one row
            [(0.0, answer(first) + answer(second) + answer(B))] if request[0] == B else []
        )
        async with line(script) as (link, _):
            for unit in (A, C):
                assert value_of(await link.exchange(DRIVER, request_to(unit)), unit) == "no_answer"
            assert value_of(await link.exchange(DRIVER, request_to(B)), B) == VALUE[B]
            assert all(link.ready_at(DRIVER, request_to(unit)) <= time.monotonic() for unit in (A, C))


async def test_an_answer_to_a_question_nobody_asked_any_more_is_not_taken_for_this_ones() -> None:
    """A's late answer comes after its time: it is nobody's, and B's exchange is the evidence."""
    async with line(lambda number, request: [] if number == 0 else [(0.0, answer(A) + answer(B))], longest_s=TIMEOUT) as (
        link,
        _,
    ):
        await link.exchange(DRIVER, request_to(A))
        await asyncio.sleep(max(0.0, link.ready_at(DRIVER, request_to(A)) - time.monotonic()) + 0.3)
        assert value_of(await link.exchange(DRIVER, request_to(B)), B) in ("wrong_unit", VALUE[B])


async def test_a_refusal_that_comes_late_ends_the_wait_too() -> None:
    refusal = sealed(bytes([A, 0x83, 6]))
    async with line(owing(lambda right: [(0.0, refusal + right)])) as (link, _):
        await link.exchange(DRIVER, request_to(A))
        assert value_of(await link.exchange(DRIVER, request_to(B)), B) == VALUE[B]
        assert link.ready_at(DRIVER, request_to(A)) <= time.monotonic()


async def test_the_same_answer_never_ends_two_debts() -> None:
    """B answers while A owes; what B said is B's, even if it would fit what A was asked."""
    debts, wire, settings = Debts(), Wire(Clock()), LinkSettings("hall", "rtu", timeout_s=1.0)
    debts.owe(DRIVER, request_to(A), settings)
    debts.owe(DRIVER, request_to(B), settings)
    wire.feed(answer(B), Instant(0, 0))
    debts.take_note(wire)
    assert debts.until(DRIVER, bytes([B]), 0.0) is None
    assert debts.until(DRIVER, bytes([A]), 0.0)
    assert not wire.received


# --- how long --------------------------------------------------------------------------------------------------


def test_what_has_not_begun_in_its_time_will_not_come_and_what_has_begun_is_let_come() -> None:
    debts, settings = Debts(), LinkSettings("hall", "rtu", baud=1200, timeout_s=1.0, longest_answer_s=2.0)
    began = time.monotonic()
    debts.owe(DRIVER, request_to(A), settings)
    silent = debts.until(DRIVER, bytes([A]), 0.0)
    talking = debts.until(DRIVER, bytes([A]), began + 2.5)
    endless = debts.until(DRIVER, bytes([A]), began + 100)
    assert silent == pytest.approx(began + 2.0, abs=0.1)
    assert talking == pytest.approx(began + 2.6, abs=0.1)
    assert endless == pytest.approx(began + 2.0 + 256 * 10 / 1200, abs=0.1)


async def test_a_connection_made_anew_does_not_forget_what_is_owed_longest() -> None:
    """The serial server still has an answer of a slow station, while a quick one is asked first."""
    slow, quick = request_to(A, timeout_ms=100, longest_answer_ms=1500), request_to(B, timeout_ms=100, longest_answer_ms=100)

    def script(number: int, request: bytes) -> list[tuple[float, bytes]]:
        return [(0.0, HANG_UP)] if number == 0 else [(0.0, answer(request[0]))]

    async with line(script, longest_s=None, timeout_s=None) as (link, peer):
        with pytest.raises(LinkDown):
            await link.exchange(DRIVER, slow)
        await link.open()
        assert value_of(await link.exchange(DRIVER, quick), B) == VALUE[B]
        assert value_of(await link.exchange(DRIVER, slow), A) == VALUE[A]
    assert after(peer, 0, 1) < 1.0
    assert after(peer, 0, 2) >= 1.5


async def test_a_station_is_not_asked_before_its_own_time_since_the_line_was_opened() -> None:
    """A program that ended may have asked it just before."""
    slow, quick = request_to(A, timeout_ms=50, longest_answer_ms=700), request_to(B, timeout_ms=50, longest_answer_ms=100)
    async with Scripted(lambda number, request: [(0.0, answer(request[0]))]) as peer:
        link = Link(LinkSettings("hall", "rtu", tcp=peer.endpoint, baud=115200), Clock())
        await link.open()
        opened = time.monotonic()
        assert link.opening_s(DRIVER, slow) == pytest.approx(0.7)
        assert link.ready_at(DRIVER, quick) - opened == pytest.approx(0.1, abs=0.05)
        assert link.ready_at(DRIVER, slow) - opened == pytest.approx(0.7, abs=0.05)
        await link.exchange(DRIVER, quick)
        await link.exchange(DRIVER, slow)
        await link.close()
    assert 0.09 <= peer.seen[0][0] - peer.connected[0] < 0.5
    assert peer.seen[1][0] - peer.connected[0] >= 0.69


@pytest.mark.parametrize("framing", ["rtu", "tcp"])
async def test_a_meter_is_left_alone_after_the_connection_was_made_for_as_long_as_its_model_says(framing: str) -> None:
    pausing = request_to(A, 7, framing, open_pause_ms=300)

    def script(number: int, request: bytes) -> list[tuple[float, bytes]]:
        return []

    async with Scripted(script, 8 if framing == "rtu" else 12) as peer:
        link = Link(LinkSettings("hall", framing, tcp=peer.endpoint, timeout_s=0.05, longest_answer_s=0.05), Clock())
        await link.open()
        assert link.opening_s(DRIVER, pausing) == 0.3
        await link.exchange(DRIVER, pausing)
        await link.close()
        await link.open()
        await link.exchange(DRIVER, pausing)
        await link.close()
    assert all(seen - connected >= 0.29 for (seen, _), connected in zip(peer.seen, peer.connected, strict=True))


# --- whatever comes in whatever order -------------------------------------------------------------------------


def permutations() -> Iterator[tuple[int, ...]]:
    for count in range(1, 4):
        yield from itertools.permutations((A, B, C), count)


@given(
    order=st.sampled_from(list(permutations())),
    noise=st.lists(st.binary(max_size=6), min_size=4, max_size=4),
    cuts=st.lists(st.integers(0, 60), max_size=6),
)
def test_of_what_arrives_in_whatever_pieces_each_debt_is_ended_by_its_own_answer_only(
    order: tuple[int, ...], noise: list[bytes], cuts: list[int]
) -> None:
    debts, wire, settings = Debts(), Wire(Clock()), LinkSettings("hall", "rtu", timeout_s=1.0)
    for unit in (A, B, C):
        debts.owe(DRIVER, request_to(unit), settings)
    stream = b"".join(noise[number] + answer(unit) for number, unit in enumerate(order))
    places = sorted({0, len(stream), *(min(cut, len(stream)) for cut in cuts)})
    for start, end in itertools.pairwise(places):
        wire.feed(stream[start:end], Instant(0, 0))
        debts.take_note(wire)
    owed = {unit for unit in (A, B, C) if debts.until(DRIVER, bytes([unit]), 0.0) is not None}
    # Noise may look like the beginning of a long answer, which hides one that stands in it: then it is waited for.
    assert owed >= {A, B, C} - {*order}
    if not any(noise):
        assert owed == {A, B, C} - {*order}
