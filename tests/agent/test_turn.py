"""agent.turn: what one turn asks of a meter, and what silences, damages and refusals leave of it. Over real connections."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from agent.clock import Clock
from agent.health import Health
from agent.plan import Plan
from agent.polled import Polled
from agent.turn import Turn, take_slice
from drivers import load
from drivers.errors import LinkDown
from drivers.link import Link, LinkSettings
from tests.drivers.test_iec62056_21 import target as optical
from tests.peers.hostile import sealed
from tests.peers.registers import point, target
from tests.peers.scripted import HANG_UP, Script, Scripted

DRIVER = load("modbus")
SECOND = 1_000_000_000
UNIT = 17
TIMEOUT, LONGEST = 0.1, 0.25
NAMES = ("voltage.l1", "voltage.l2", "voltage.l3", "current.l1", "current.l2", "current.l3")


class Asked:
    """A meter with values at some addresses, 200 registers apart unless said otherwise, and one turn of it."""

    def __init__(self, link: Link, framing: str, addresses: Sequence[int], heard_of: bool = True, **limits: Any) -> None:
        points = [point(name, address, "f32") for name, address in zip(NAMES, addresses, strict=False)]
        meter = target(*points, address=UNIT, framing=framing, **limits)
        self.meter = Polled("EM-1", DRIVER, meter, meter.model.points, 1000)
        self.link = link
        self.plan = Plan(DRIVER, meter, meter.model.points, 40)
        self.health = Health("EM-1")
        if heard_of:
            self.health.heard(0.01)
        self.turn = self.begin()

    def begin(self) -> Turn:
        return Turn(self.meter, 0, SECOND, 0, deque(self.plan.begin(0)))

    async def slice(self) -> None:
        await take_slice(self.turn, self.link, self.plan, self.health)

    async def all(self) -> None:
        """The whole turn, each slice as soon as nothing stands in its way."""
        while self.turn.pending:
            async with asyncio.timeout(10):
                while (rest := self.link.ready_at(DRIVER, self.turn.pending[0]) - time.monotonic()) > 0:
                    self.link.heard.clear()
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self.link.heard.wait(), rest)
            await self.slice()

    @property
    def causes(self) -> list[str]:
        return [exchange.error.cause if exchange.error else "" for exchange in self.turn.exchanges]

    @property
    def addresses(self) -> list[int]:
        """The first register of each request that was sent."""
        return [first_register(exchange.request) for exchange in self.turn.exchanges]


def first_register(request: bytes) -> int:
    return int.from_bytes(request[2:4] if len(request) == 8 else request[8:10], "big")


def answer(request: bytes, refused: int = 0) -> bytes:
    """The answer to a request in either framing: zeros, or a refusal."""
    pdu = request[1:6] if len(request) == 8 else request[7:12]
    count = int.from_bytes(pdu[3:5], "big")
    told = bytes([UNIT, pdu[0] | 0x80, refused]) if refused else bytes([UNIT, pdu[0], 2 * count]) + bytes(2 * count)
    return sealed(told) if len(request) == 8 else request[:4] + len(told).to_bytes(2, "big") + told


def well(number: int, request: bytes) -> list[tuple[float, bytes]]:
    return [(0.0, answer(request))]


def but(what: dict[int, Any], by: Callable[[int, bytes], int] = lambda number, _: number) -> Script:
    """Answers well but for some requests, by their number unless said otherwise; what is sent for those."""
    return lambda number, request: what.get(by(number, request), well)(number, request)


def silence(number: int, request: bytes) -> list[tuple[float, bytes]]:
    return []


def damage(number: int, request: bytes) -> list[tuple[float, bytes]]:
    right = answer(request)
    return [(0.0, right[:-1] + bytes([right[-1] ^ 0x40]))]


def refusal(code: int) -> Script:
    return lambda number, request: [(0.0, answer(request, code))]


def at(number: int, request: bytes) -> int:
    return first_register(request)


@asynccontextmanager
async def asked(
    script: Script, addresses: Sequence[int] = (0, 200, 400), framing: str = "rtu", **more: Any
) -> AsyncIterator[tuple[Asked, Scripted]]:
    async with Scripted(script, 8 if framing == "rtu" else 12) as peer:
        how = LinkSettings("hall", framing, tcp=peer.endpoint, baud=115200, timeout_s=TIMEOUT, longest_answer_s=LONGEST)
        link = Link(how, Clock())
        await link.open()
        try:
            yield Asked(link, framing, addresses, **more), peer
        finally:
            await link.close()


# --- slices ---------------------------------------------------------------------------------------------------


async def test_a_slice_is_one_request() -> None:
    async with asked(well) as (meter, peer):
        assert not meter.turn.begun
        await meter.slice()
        assert meter.turn.begun
        assert (len(peer.seen), len(meter.turn.pending)) == (1, 2)
        await meter.all()
    assert meter.addresses == [0, 200, 400]
    assert len(meter.turn.usable) == 3
    assert 0 < meter.turn.took_ns < SECOND


async def test_a_wake_up_and_the_request_that_it_is_for_are_one_slice() -> None:
    meter = optical(mode="A", wake_up=True, medium="heat")
    driver = load("iec62056_21")
    heard, signed_on = bytearray(), asyncio.Event()

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(256):
            heard.extend(data)
            if b"!\r\n" in heard:
                signed_on.set()
        writer.transport.abort()

    server = await asyncio.start_server(hear, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    link = Link(LinkSettings("head", "rtu", tcp=f"{host}:{port}", timeout_s=TIMEOUT, longest_answer_s=TIMEOUT), Clock())
    await link.open()
    plan = Plan(driver, meter, meter.model.points, None)
    turn = Turn(Polled("H-1", driver, meter, meter.model.points, 1000), 0, 0, 0, deque(plan.begin(0)))
    try:
        assert [request.silent for request in turn.pending] == [True, False]
        assert [request.silent for request in plan.probe()] == [True, False]
        await take_slice(turn, link, plan, Health("H-1"))
        async with asyncio.timeout(10):
            await signed_on.wait()
    finally:
        await link.close()
        server.close()
    assert [exchange.error is None for exchange in turn.exchanges] == [True, False]


# --- silence --------------------------------------------------------------------------------------------------


async def test_after_its_first_silence_a_turn_is_put_back_and_asks_again_later() -> None:
    async with asked(but({1: silence})) as (meter, peer):
        await meter.slice()
        before_ns = meter.turn.before_ns
        await meter.slice()
        assert meter.turn.put_back
        assert meter.turn.before_ns > before_ns
        assert len(meter.turn.pending) == 2
        await meter.all()
    assert meter.causes == ["", "no_answer", "", ""]
    assert meter.addresses == [0, 200, 200, 400]
    # Not before nothing can come any more.
    assert peer.seen[2][0] - peer.seen[1][0] >= LONGEST


async def test_a_meter_that_nobody_has_heard_of_is_not_asked_twice_and_the_rest_is_not_asked_at_all() -> None:
    async with asked(silence, heard_of=False) as (meter, peer):
        await meter.slice()
    assert not meter.turn.pending
    assert len(peer.seen) == 1


async def test_a_failing_meter_is_not_asked_twice() -> None:
    async with asked(silence) as (meter, peer):
        meter.health.failed(0.0, "no_answer", "")
        await meter.slice()
        assert not meter.turn.pending
    assert len(peer.seen) == 1


async def test_a_second_silence_ends_the_turn_where_nothing_was_answered() -> None:
    async with asked(silence) as (meter, _):
        meter.plan.answered(meter.turn.pending[0])
        await meter.all()
    assert meter.causes == ["no_answer"] * 2


async def test_a_meter_that_falls_silent_in_the_middle_of_many_requests_costs_three_silences_at_most() -> None:
    addresses = (0, 200, 400, 600, 800, 1000)
    async with asked(lambda number, request: [] if number else well(number, request), addresses) as (meter, peer):
        for request in meter.plan.begin(0):
            meter.plan.answered(request)
        await meter.all()
    assert len(peer.seen) == 1 + 3
    assert len(meter.turn.usable) == 1


async def test_a_block_that_stays_silent_while_others_are_answered_is_asked_for_in_parts_from_its_second_turn_on() -> None:
    async with asked(but({0: silence}, at), (0, 20, 200)) as (meter, _):
        for request in meter.plan.begin(0):
            meter.plan.answered(request)
        meter.turn.pending.rotate()  # the other block first: it is answered
        await meter.all()
        assert meter.addresses == [200, 0, 0]
        meter.turn = meter.begin()
        meter.turn.pending.rotate()
        await meter.all()
        meter.turn = meter.begin()
        assert sorted(first_register(request.data) for request in meter.turn.pending) == [0, 20, 200]


async def test_a_first_block_that_was_never_answered_is_asked_for_in_parts_where_the_meter_answers_other_questions() -> None:
    """Some meters say nothing to a read over registers that they do not have."""

    def script(number: int, request: bytes) -> list[tuple[float, bytes]]:
        return [] if request[5] > 2 else well(number, request)

    async with asked(script, (0, 20, 200)) as (meter, _):
        await meter.all()
    assert meter.addresses == [0, 0, 0, 20, 200]
    assert len(meter.turn.usable) == 3


# --- damage ---------------------------------------------------------------------------------------------------


async def test_a_damaged_answer_on_modbus_tcp_is_asked_for_again_at_once() -> None:
    short = but({1: lambda number, request: [(0.0, answer(request[:10] + b"\0\1"))]})  # one register instead of two
    async with asked(short, framing="tcp") as (meter, _):
        await meter.slice()
        await meter.slice()
        assert not meter.turn.put_back
        assert len(meter.turn.pending) == 1
    assert meter.causes == ["", "wrong_length", ""]


async def test_a_damaged_answer_on_a_line_is_asked_for_again_when_no_other_one_can_come() -> None:
    async with asked(but({0: damage})) as (meter, peer):
        await meter.slice()
        assert meter.turn.put_back
        await meter.all()
    assert meter.causes == ["bad_checksum", "", "", ""]
    assert peer.seen[1][0] - peer.seen[0][0] >= LONGEST


async def test_a_meter_that_nobody_has_heard_of_is_asked_again_if_its_answer_was_damaged() -> None:
    async with asked(but({0: damage}), heard_of=False) as (meter, _):
        await meter.all()
    assert meter.causes == ["bad_checksum", "", "", ""]


# --- refusals -------------------------------------------------------------------------------------------------


async def test_a_refused_block_is_asked_for_in_parts_in_the_same_turn_and_only_what_is_missing_is_left_out() -> None:
    def script(number: int, request: bytes) -> list[tuple[float, bytes]]:
        first, count = first_register(request), request[5]
        return [(0.0, answer(request, refused=2 if first <= 4 < first + count else 0))]

    async with asked(script, (0, 2, 4, 6, 8, 10)) as (meter, _):
        await meter.all()
        assert meter.plan.left_out == {"voltage.l3"}
        read = [(first_register(e.request), e.request[5]) for e in meter.turn.usable]
        assert sum(count for _, count in read) == 10
        assert meter.turn.refused
        assert meter.turn.refused.cause == "illegal_address"
        assert not meter.turn.put_back


async def test_a_busy_meter_is_asked_again_once_and_nothing_is_left_out() -> None:
    async with asked(but({0: refusal(6)})) as (meter, _):
        await meter.all()
        assert meter.causes == ["busy", "", "", ""]
        assert not meter.plan.left_out


async def test_a_meter_that_stays_busy_is_asked_for_the_rest() -> None:
    async with asked(but({0: refusal(6)}, at)) as (meter, _):
        await meter.all()
        assert meter.causes == ["busy", "busy", "", ""]
        assert not meter.plan.left_out
        assert len(meter.plan.begin(0)) == 3


# --- several at once ------------------------------------------------------------------------------------------


async def test_where_the_meter_takes_several_requests_at_once_they_are_one_slice() -> None:
    held: list[bytes] = []

    def script(number: int, request: bytes) -> list[tuple[float, bytes]]:
        held.append(request)
        return [(0.0, answer(each)) for each in reversed(held)] if number == 2 else []

    async with asked(script, framing="tcp", together=3) as (meter, _):
        await meter.slice()
        assert not meter.turn.pending
    assert meter.causes == [""] * 3
    assert meter.addresses == [0, 200, 400]


async def test_of_several_requests_at_once_only_the_one_without_an_answer_is_asked_for_again() -> None:
    async with asked(but({1: silence}), framing="tcp", together=3) as (meter, _):
        await meter.slice()
        assert [first_register(request.data) for request in meter.turn.pending] == [200]
        await meter.all()
    assert meter.causes == ["", "no_answer", "", ""]


# --- the line goes away ---------------------------------------------------------------------------------------


async def test_what_was_answered_before_the_line_went_away_is_kept_with_the_request_that_was_lost() -> None:
    async with asked(but({1: lambda number, request: [(0.0, HANG_UP)]})) as (meter, peer):
        await meter.slice()
        with pytest.raises(LinkDown):
            await meter.slice()
    assert meter.causes == ["", "connection_lost"]
    assert meter.turn.exchanges[1].request == peer.seen[1][1]
    assert meter.turn.exchanges[1].answer == b""


async def test_what_was_answered_of_several_at_once_before_the_line_went_away_is_kept() -> None:
    async with asked(but({1: lambda number, request: [(0.0, HANG_UP)]}), framing="tcp", together=3) as (meter, _):
        with pytest.raises(LinkDown):
            await meter.slice()
    assert meter.causes == ["", "connection_lost"]


async def test_a_line_that_goes_away_at_the_first_request_leaves_nothing() -> None:
    async with asked(lambda number, request: [(0.0, HANG_UP)]) as (meter, _):
        with pytest.raises(LinkDown) as lost:
            await meter.slice()
    assert meter.turn.exchanges == []
    assert len(lost.value.request) == 8


# --- how long an answer is waited for -------------------------------------------------------------------------


async def test_an_answer_that_came_too_late_teaches_to_wait_longer() -> None:
    late = 1.5 * TIMEOUT

    def script(number: int, request: bytes) -> list[tuple[float, bytes]]:
        return [(late, answer(request))]

    async with asked(script, (0,)) as (meter, _):
        await meter.all()
    assert meter.causes == ["no_answer", ""]
    assert meter.health.timeout_s(TIMEOUT) >= 1.5 * late
