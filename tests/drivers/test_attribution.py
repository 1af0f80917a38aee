"""An answer that comes late is never taken for the next request's, whatever the meter does.

The absolute claim is "no wrong value", on any machine. Each fault must be named by its own cause too; but where the
machine stalls, a right answer may come late or a late one in time. So few of each kind may be named as such.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from pymodbus import FramerType
from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ModbusException

from agent.clock import Clock
from drivers import Exchange, Target, load
from drivers.formula import evaluate
from drivers.link import Link, LinkSettings
from tests.peers.elsewhere import ON_THE_NEXT_CONNECTION, Elsewhere
from tests.peers.hostile import DEEDS, GOOD, UNIT, HostileLine, HostileMeter, OnPty, OnTcp, Served, sealed, word
from tests.peers.ptys import Pty
from tests.peers.registers import point, target

DRIVER = load("modbus")
TIMEOUT, LATE, LONGEST = 0.05, 0.08, 0.15
ADDRESSES = tuple(range(0x0100, 0x0900, 0x80))
BAUD = 115200
AFTER_A_STALL = ("", "no_answer", "short_answer", "only_echo")  # what a stall of the machine can make of any answer
POLLS_OVER_TCP, LINKS = 10_000, 40
POLLS_OVER_PTYS, PTYS = 1_000, 8
TOO_BUSY = "this machine is too busy to tell a late meter from itself"


def meter_of(function: int = 3, unit: int = UNIT) -> Target:
    names = [f"voltage.{phase}.t{tariff}" for phase in ("l1", "l2", "l3", "n") for tariff in range(1, 5)]
    places = zip(names, ADDRESSES, strict=True)
    return target(*(point(name, address, "u32") for name, address in places), address=unit, function=function)


def plan_of(seed: int) -> Callable[[int], str]:
    """Two thirds are answered well; every deed comes about equally often besides. The same for the same seed."""

    def deed(number: int) -> str:
        chance = random.Random(f"{seed} {number}")
        return "right" if chance.random() < 0.6 else chance.choice(list(DEEDS))

    return deed


def settings(**reached: str) -> LinkSettings:
    return LinkSettings("line", "rtu", baud=BAUD, timeout_s=TIMEOUT, longest_answer_s=LONGEST, **reached)


@asynccontextmanager
async def over_tcp(meter: HostileMeter) -> AsyncIterator[Link]:
    server, endpoint = await OnTcp.listen(meter)
    link = Link(settings(tcp=endpoint), Clock())
    await link.open()
    try:
        yield link
    finally:
        await link.close()
        server.close()


@asynccontextmanager
async def over_pty(meter: HostileMeter) -> AsyncIterator[Link]:
    with Pty() as pty:
        playing = OnPty(meter, pty.end)
        link = Link(settings(serial=pty.name), Clock())
        await link.open()
        try:
            yield link
        finally:
            await link.close()
            playing.close()


class Asked:
    """What was asked on one line and when, to know when one of its meters was later than it says that it can be.

    The meter plays in this very process: where the machine stands still, it answers later than planned, and beyond
    `longest_answer_s` nobody can tell its answer from the next one's. What came of such a poll proves nothing.
    """

    def __init__(self) -> None:
        self._made: list[tuple[Served, int]] = []

    def overdue(self, served: Served, exchange: Exchange) -> bool:
        """Takes one poll; whether an answer given later than stated may have met it, or met nobody before it."""
        sent, found = exchange.sent.uptime_ns, False
        for each, asked in list(self._made):
            last = each.written_ns[-1] if each.written_ns else 0
            if last - asked > LONGEST * 1e9:
                found = True
                if last < sent:
                    self._made.remove((each, asked))
        self._made.append((served, sent))
        return found


class Tally:
    """What came of many polls, against what the meter did."""

    def __init__(self) -> None:
        self.polls = 0
        self.overdue = 0
        self.good = 0
        self.deeds: Counter[str] = Counter()
        self.stalled: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.misnamed: list[str] = []

    def count(self, served: Served, exchange: Exchange, value: str | None, asked: Asked) -> None:
        truth = str(word(served.address, served.number))
        cause = exchange.error.cause if exchange.error else ""
        self.polls += 1
        self.deeds[served.deed] += 1
        if asked.overdue(served, exchange):
            self.overdue += 1
            self.stalled[served.deed] += 1
            self.good += not cause
            return
        self.good += not cause
        if value is not None and value != truth:
            self.wrong.append(f"{served}: {value} instead of {truth}")
        if cause == DEEDS[served.deed]:
            return
        if cause in AFTER_A_STALL:
            self.stalled[served.deed] += 1
        else:
            self.misnamed.append(f"{served}: {cause}")


async def seen(meter: HostileMeter, before: int) -> None:
    """Returns when the meter has read one more request."""
    async with asyncio.timeout(10):
        while len(meter.served) == before:
            await asyncio.sleep(0.0005)


async def poll(link: Link, asked: Target, meter: HostileMeter, polls: int, seed: int, tally: Tally) -> None:
    """Asks for one register pair after another, chosen at random, and counts what comes back."""
    chance = random.Random(seed)
    points = asked.model.points
    line = Asked()
    for _ in range(polls):
        wanted = chance.choice(points)
        request = DRIVER.requests(asked, [wanted])[0]
        before = len(meter.served)
        exchange = await link.exchange(DRIVER, request)
        value = None
        if exchange.error is None:
            value = evaluate(DRIVER.locate(asked, [exchange.request], wanted), [exchange.answer]).value
        await seen(meter, before)
        tally.count(meter.served[before], exchange, value, line)


Reached = Callable[[HostileMeter], contextlib.AbstractAsyncContextManager[Link]]


async def poll_in_parallel(reached: Reached, links: int, polls: int, function: int) -> Tally:
    tally = Tally()

    async def one(seed: int) -> None:
        meter = HostileMeter(plan_of(seed), LATE, seed)
        async with reached(meter) as link:
            await poll(link, meter_of(function), meter, polls // links, seed, tally)

    await asyncio.gather(*(one(seed) for seed in range(links)))
    return tally


def judge(tally: Tally, polls: int) -> None:
    assert tally.wrong == []
    assert tally.polls == polls
    assert set(tally.deeds) == set(DEEDS)
    assert tally.misnamed == []
    for deed, times in tally.deeds.items():
        assert tally.stalled[deed] <= times / 4, f"{deed} is not named {DEEDS[deed] or 'a value'}"
    assert tally.stalled.total() <= polls / 20, TOO_BUSY
    planned = sum(tally.deeds[deed] for deed in GOOD)
    assert abs(planned - tally.good) <= tally.stalled.total()


async def test_of_10000_polls_over_tcp_no_value_is_wrong_and_every_fault_is_named() -> None:
    judge(await poll_in_parallel(over_tcp, LINKS, POLLS_OVER_TCP, function=3), POLLS_OVER_TCP)


async def test_of_1000_polls_over_serial_ports_no_value_is_wrong_and_every_fault_is_named() -> None:
    judge(await poll_in_parallel(over_pty, PTYS, POLLS_OVER_PTYS, function=4), POLLS_OVER_PTYS)


@pytest.mark.parametrize("reached", [over_tcp, over_pty])
async def test_an_exchange_that_was_cancelled_midway_does_not_lend_its_answer_to_the_next_one(reached: Reached) -> None:
    chance = random.Random(5)
    asked = meter_of()

    async def one(seed: int) -> tuple[int, list[str]]:
        meter = HostileMeter(lambda number: "right" if number % 2 else ("slow", "late")[number // 2 % 2], 0.01, seed)
        cancelled, wrong = 0, []
        async with reached(meter) as link:
            for _ in range(20):
                one, other = chance.sample(asked.model.points, 2)
                before = len(meter.served)
                task = asyncio.create_task(link.exchange(DRIVER, DRIVER.requests(asked, [one])[0]))
                await seen(meter, before)
                await asyncio.sleep(chance.random() * 0.008)  # somewhere between the request and its answer
                cancelled += task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                exchange = await link.exchange(DRIVER, DRIVER.requests(asked, [other])[0])
                if exchange.error is None:
                    value = evaluate(DRIVER.locate(asked, [exchange.request], other), [exchange.answer]).value
                    served = meter.served[-1]
                    if value != str(word(served.address, served.number)) or served.request != exchange.request:
                        wrong.append(f"{served}: {value}")
        return cancelled, wrong

    found = await asyncio.gather(*(one(seed) for seed in range(10)))
    assert sum(cancelled for cancelled, _ in found) > 100
    assert [wrong for _, many in found for wrong in many] == []


# --- several stations on one line ---------------------------------------------------------------------------

STATIONS, LINES, POLLS_OF_STATIONS = (17, 27, 37), 25, 6_000
# What answers in one piece: whatever else is on its way to us, it cannot be torn.
WHOLE = ("right", "noise", "noise_and_echo", "exception", "busy")


def late_plan_of(seed: int) -> Callable[[int], str]:
    """Every second request is answered well, every fourth late or never."""

    def deed(number: int) -> str:
        chance = random.Random(f"late {seed} {number}")
        drawn = chance.random()
        if drawn < 0.5:
            return "right"
        late = ("late", "late_with_noise", "torn", "wrong_unit_then_late", "silence")
        return chance.choice(late if drawn < 0.75 else list(DEEDS))

    return deed


async def poll_stations(link: Link, line: HostileLine, polls: int, seed: int, tallies: dict[bool, Tally]) -> None:
    """Asks one station after the other, the ready ones first; what owes is waited for seldom. Tallies by whether anybody owed."""
    chance = random.Random(seed)
    asked = {unit: meter_of(unit=unit) for unit in line.meters}
    owing: dict[int, float] = {}
    made = Asked()
    for _ in range(polls):
        requests = {unit: DRIVER.requests(meter, [chance.choice(meter.model.points)])[0] for unit, meter in asked.items()}
        now = time.monotonic()
        ready = [unit for unit, request in requests.items() if link.ready_at(DRIVER, request) <= now]
        unit = chance.choice(ready if ready and chance.random() < 0.9 else list(asked))
        meter, target, request = line.meters[unit], asked[unit], requests[unit]
        before = len(meter.served)
        amid = any(until > time.monotonic() for other, until in owing.items() if other != unit)
        exchange = await link.exchange(DRIVER, request)
        value = None
        if exchange.error is None:
            wanted = next(point for point in target.model.points if DRIVER.requests(target, [point])[0].data == request.data)
            value = evaluate(DRIVER.locate(target, [exchange.request], wanted), [exchange.answer]).value
        else:
            owing[unit] = time.monotonic() + LONGEST
        await seen(meter, before)
        tallies[amid].count(meter.served[before], exchange, value, made)


async def test_of_6000_polls_of_three_stations_no_value_is_wrong_and_late_answers_cost_the_others_nothing() -> None:
    tallies = {False: Tally(), True: Tally()}

    async def one(seed: int) -> None:
        line = HostileLine(*(HostileMeter(late_plan_of(seed + unit), LATE, seed, unit) for unit in STATIONS))
        server, endpoint = await OnTcp.listen(line)
        link = Link(settings(tcp=endpoint), Clock())
        await link.open()
        try:
            await poll_stations(link, line, POLLS_OF_STATIONS // LINES, seed, tallies)
        finally:
            await link.close()
            server.close()

    await asyncio.gather(*(one(1000 * seed) for seed in range(LINES)))
    alone, amid = tallies[False], tallies[True]
    assert alone.wrong + amid.wrong == []
    assert alone.polls + amid.polls == POLLS_OF_STATIONS
    assert alone.overdue + amid.overdue <= POLLS_OF_STATIONS / 20, TOO_BUSY
    assert amid.polls > POLLS_OF_STATIONS / 4, "most polls are to find another station owing"
    assert set(amid.deeds) == set(DEEDS)
    for tally in (alone, amid):
        lost = [each for each in tally.misnamed if any(f"deed='{deed}'" in each for deed in WHOLE)]
        stalled = sum(tally.stalled[deed] for deed in WHOLE)
        assert stalled + len(lost) <= sum(tally.deeds[deed] for deed in WHOLE) / 20, TOO_BUSY


async def test_a_client_that_does_not_wait_for_late_answers_returns_wrong_values_from_the_same_meter() -> None:
    """Why drivers/link.py exists: the same plan, read by a client that goes on with the next request after a timeout."""
    meter = HostileMeter(plan_of(0), LATE, 0)
    server, endpoint = await OnTcp.listen(meter)
    host, port = endpoint.split(":")
    client = AsyncModbusTcpClient(host, port=int(port), framer=FramerType.RTU, timeout=TIMEOUT, retries=0, reconnect_delay=0)
    client.set_max_no_responses(1_000_000)
    chance = random.Random(0)
    wrong = good = 0
    try:
        assert await client.connect()
        for _ in range(150):
            address = chance.choice(ADDRESSES)
            try:
                answer = await client.read_holding_registers(address, count=2, device_id=UNIT)
            except ModbusException:
                continue
            if not answer.isError():
                told = [int.from_bytes(register.to_bytes(2, "big")) for register in answer.registers]
                truth = word(address, meter.served[-1].number)
                good += told == [truth >> 16, truth & 0xFFFF]
                wrong += told != [truth >> 16, truth & 0xFFFF]
    finally:
        client.close()
        server.close()
    assert good > 0
    assert wrong > 0


def answer_to(request: bytes, number: int) -> bytes:
    value = word(int.from_bytes(request[2:4], "big"), number)
    return sealed(bytes([UNIT, request[1], 4]) + value.to_bytes(4, "big"))


async def ask(link: Link, index: int) -> tuple[Exchange, int]:
    """An exchange for the point of an index, and the register its value says it is from."""
    asked = meter_of()
    wanted = asked.model.points[index]
    exchange = await link.exchange(DRIVER, DRIVER.requests(asked, [wanted])[0])
    if exchange.error:
        return exchange, -1
    return exchange, int(evaluate(DRIVER.locate(asked, [exchange.request], wanted), [exchange.answer]).value or -1) >> 16


async def test_a_late_answer_that_came_while_the_machine_stood_still_is_not_the_next_requests() -> None:
    with Elsewhere(lambda connection, number, request: [(0.0 if number else 0.1, answer_to(request, number))]) as elsewhere:
        link = Link(settings(tcp=elsewhere.endpoint), Clock())
        await link.open()
        late, _ = await ask(link, 0)
        assert late.error
        time.sleep(0.3)  # the loop stands still on purpose: the late answer waits in the kernel
        _, register = await ask(link, 1)
        await link.close()
    assert register == ADDRESSES[1]


async def test_an_answer_that_came_in_time_counts_although_the_machine_stood_still_beyond_the_timeout() -> None:
    with Elsewhere(lambda connection, number, request: [(0.02, answer_to(request, number))]) as elsewhere:
        link = Link(settings(tcp=elsewhere.endpoint), Clock())
        await link.open()
        await ask(link, 0)  # the first exchange listens before it sends
        task = asyncio.create_task(ask(link, 1))
        await asyncio.sleep(0.01)
        time.sleep(0.2)  # as above
        exchange, register = await task
        await link.close()
    assert exchange.error is None
    assert register == ADDRESSES[1]


async def test_an_answer_that_a_serial_server_kept_is_not_the_first_request_s_of_the_next_connection() -> None:
    def script(connection: int, number: int, request: bytes) -> list[tuple[float, bytes]]:
        return [(0.01 if connection else ON_THE_NEXT_CONNECTION, answer_to(request, number))]

    with Elsewhere(script) as elsewhere:
        link = Link(settings(tcp=elsewhere.endpoint), Clock())
        await link.open()
        lost, _ = await ask(link, 0)
        assert lost.error
        started_again = Link(settings(tcp=elsewhere.endpoint), Clock())
        await link.close()
        await started_again.open()
        _, register = await ask(started_again, 1)
        await started_again.close()
    assert register == ADDRESSES[1]
