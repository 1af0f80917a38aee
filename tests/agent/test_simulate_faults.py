"""agent.simulate_faults: each kind of fault as it is seen on the wire, by bytes written out here."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from agent.simulate import Simulator
from agent.simulate_faults import Script
from config.plant import Fault
from tests.agent.plants import Wire, simulator_of, with_crc

# Meter 7 is a WB-MCM8 pulse counter: input registers 60 to 63 hold 1234567 and 65536.
ASK = with_crc(bytes.fromhex("0704003C0004"))
ANSWER = with_crc(bytes.fromhex("070408 0012D687 00010000"))
OTHER_ASK = with_crc(bytes.fromhex("0704003C0002"))
OTHER_ANSWER = with_crc(bytes.fromhex("070404 0012D687"))
TCP_ASK = bytes.fromhex("1234 0000 0006 07 04 003C 0004")
TCP_ANSWER = bytes.fromhex("1234 0000 000B 07 04 08 0012D687 00010000")
ASCII_ASK = b":0704003C0004B5\r\n"
ASCII_ANSWER = b":0704080012D687000100007D\r\n"


@asynccontextmanager
async def faulty(run_dir: Path, framing: str, *faults: dict[str, Any]) -> AsyncIterator[tuple[Simulator, Wire]]:
    meter = {
        "model": "wirenboard-wb-mcm8",
        "hold": {"pulse_count.ch0": "1234567", "pulse_count.ch1": "65536"},
        "faults": list(faults),
    }
    async with simulator_of(run_dir, meter, line={"tcp": "127.0.0.1:0", "framing": framing}) as simulator:
        wire = await Wire.to(simulator.address_of("line"))
        try:
            yield simulator, wire
        finally:
            await wire.close()


@pytest.mark.parametrize(
    ("framing", "ask", "answer"), [("rtu", ASK, ANSWER), ("tcp", TCP_ASK, TCP_ANSWER), ("ascii", ASCII_ASK, ASCII_ANSWER)]
)
async def test_a_meter_without_faults_answers_right_in_each_framing(
    tmp_path: Path, framing: str, ask: bytes, answer: bytes
) -> None:
    async with faulty(tmp_path, framing) as (simulator, wire):
        wire.send(ask)
        assert await wire.read(len(answer)) == answer
        assert simulator.played == []


FIXED = [
    ("short", {}, "rtu", ANSWER[:-2]),
    ("short", {"count": "9"}, "rtu", ANSWER[:-9]),
    ("short", {"count": "3"}, "tcp", TCP_ANSWER[:-3]),
    ("short", {}, "ascii", ASCII_ANSWER[:-2]),
    ("short_data", {}, "rtu", with_crc(bytes.fromhex("070406 0012D6870001"))),
    ("short_data", {"count": "4"}, "rtu", with_crc(bytes.fromhex("070400"))),
    ("short_data", {}, "tcp", bytes.fromhex("1234 0000 0009 07 04 06 0012D6870001")),
    ("wrong_unit", {}, "rtu", with_crc(b"\x08" + ANSWER[1:-2])),
    ("wrong_unit", {}, "tcp", bytes.fromhex("1234 0000 000B 08 04 08 0012D687 00010000")),
    ("wrong_function", {}, "rtu", with_crc(b"\x07\x03" + ANSWER[2:-2])),
    ("wrong_transaction", {}, "tcp", b"\x12\x33" + TCP_ANSWER[2:]),
    ("echo", {}, "rtu", ASK + ANSWER),
    ("echo", {}, "ascii", ASCII_ASK + ASCII_ANSWER),
    ("exception", {}, "rtu", with_crc(bytes.fromhex("078404"))),
    ("exception", {"code": "6"}, "tcp", bytes.fromhex("1234 0000 0003 07 84 06")),
    ("checksum", {}, "rtu", ANSWER[:-1] + bytes([ANSWER[-1] ^ 0xFF])),
    ("checksum", {}, "ascii", ASCII_ANSWER[:-3] + b"0\r\n"),
]


@pytest.mark.parametrize(("kind", "options", "framing", "seen"), FIXED)
async def test_a_fault_is_seen_on_the_wire_and_the_next_answer_is_right(
    tmp_path: Path, kind: str, options: dict[str, str], framing: str, seen: bytes
) -> None:
    ask, answer = {"rtu": (ASK, ANSWER), "tcp": (TCP_ASK, TCP_ANSWER), "ascii": (ASCII_ASK, ASCII_ANSWER)}[framing]
    async with faulty(tmp_path, framing, {"kind": kind, "at": ["1"]} | options) as (simulator, wire):
        wire.send(ask)
        assert await wire.read(len(seen)) == seen
        wire.send(ask)
        assert await wire.read(len(answer)) == answer
        assert simulator.played == [("M", 1, kind)]


async def test_a_silent_meter_sends_nothing_before_its_next_answer(tmp_path: Path) -> None:
    async with faulty(tmp_path, "rtu", {"kind": "silence", "at": ["1"]}) as (simulator, wire):
        wire.send(ASK)
        wire.send(OTHER_ASK)
        assert await wire.read(len(OTHER_ANSWER)) == OTHER_ANSWER
        assert (simulator.requests("M"), simulator.played) == (2, [("M", 1, "silence")])


async def test_a_late_answer_comes_although_another_request_was_answered_in_between(tmp_path: Path) -> None:
    async with faulty(tmp_path, "rtu", {"kind": "late", "at": ["1"], "delay_ms": "150"}) as (_, wire):
        begin = time.monotonic()
        wire.send(ASK)
        wire.send(OTHER_ASK)
        assert await wire.read(len(OTHER_ANSWER)) == OTHER_ANSWER
        assert await wire.read(len(ANSWER)) == ANSWER
        assert time.monotonic() - begin >= 0.145


async def test_a_slow_meter_sends_byte_by_byte(tmp_path: Path) -> None:
    async with faulty(tmp_path, "rtu", {"kind": "slow", "at": ["1"], "delay_ms": "10"}) as (_, wire):
        wire.send(ASK)
        assert await wire.read(1) == ANSWER[:1]
        begin = time.monotonic()
        assert await wire.read(len(ANSWER) - 1) == ANSWER[1:]
        assert time.monotonic() - begin >= 0.009 * (len(ANSWER) - 2)


@pytest.mark.parametrize("framing", ["rtu", "ascii"])
async def test_noise_stands_in_front_of_the_answer_and_trailing_bytes_behind_it(tmp_path: Path, framing: str) -> None:
    ask, answer = {"rtu": (ASK, ANSWER), "ascii": (ASCII_ASK, ASCII_ANSWER)}[framing]
    faults = {"kind": "noise", "at": ["1"], "count": "5"}, {"kind": "trailing", "at": ["2"]}
    async with faulty(tmp_path, framing, *faults) as (_, wire):
        wire.send(ask)
        seen = await wire.read(5 + len(answer))
        assert (seen[5:], b":" in seen[:5]) == (answer, False)
        wire.send(ask)
        seen = await wire.read(len(answer) + 3)
        assert (seen[: len(answer)], b":" in seen[len(answer) :]) == (answer, False)


def struck(seed: int, *faults: dict[str, Any]) -> list[tuple[int, str]]:
    script = Script([Fault.model_validate(fault) for fault in faults], seed)
    found = [(number, script.strikes(number)) for number in range(1, 41)]
    return [(number, fault.kind) for number, fault in found if fault]


def test_a_fault_strikes_each_nth_request_or_the_counted_ones_and_the_first_one_written_wins() -> None:
    assert struck(1, {"kind": "echo", "every": "15"}) == [(15, "echo"), (30, "echo")]
    assert struck(1, {"kind": "noise", "at": ["15", "2"]}, {"kind": "echo", "every": "15"}) == [
        (2, "noise"),
        (15, "noise"),
        (30, "echo"),
    ]


def test_chance_strikes_the_same_requests_for_the_same_seed_only() -> None:
    seldom = {"kind": "silence", "chance": "0.2"}
    assert struck(5, seldom) == struck(5, seldom) != struck(6, seldom)
    assert 2 <= len(struck(5, seldom)) <= 16


def test_chances_are_the_same_whether_or_not_another_fault_strikes() -> None:
    seldom = {"kind": "silence", "chance": "0.2"}
    beside = struck(5, seldom, {"kind": "echo", "every": "3"})
    assert [each for each in beside if each[1] == "silence"] == struck(5, seldom)
