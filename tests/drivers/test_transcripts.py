"""What goes over the wire, line by line: every file in `transcripts` is played over a real connection.

framing rtu             rtu, tcp or ascii
meter 17                its address
ask u16 107 scale=0.1   what the client asks for: type, register, and what else a point can say
>> 11 03 ...            what must then be on the wire, no byte more or less; hexadecimal, or text in quotes
<< 11 03 ...            what the meter sends, one line one piece; `pause 20` waits so many milliseconds before it
is 555                  what comes of it: a value,
none not_a_number       an answer without a value and why,
fault wrong_unit        or a failed exchange and its cause
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from agent.clock import Clock
from config.model import Point
from drivers import load
from drivers.formula import evaluate
from drivers.link import Link, LinkSettings
from tests.peers.registers import place, target
from tests.peers.scripted import Scripted

DRIVER = load("modbus")
FILES = sorted(Path(__file__).with_name("transcripts").glob("*.txt"))


@dataclass(slots=True)
class Asked:
    """One `ask` and the lines that belong to it."""

    point: Point
    request: bytes = b""
    pieces: list[tuple[float, bytes]] = field(default_factory=list)
    outcome: str = ""


def bytes_of(text: str) -> bytes:
    if text.startswith('"'):
        return codecs.decode(text.strip('"'), "unicode_escape").encode("latin-1")
    return bytes.fromhex(text)


def point_of(text: str) -> Point:
    kind, address, *more = text.split()
    given: dict[str, str | int | list[str]] = {}
    for word in more:
        key, _, value = word.partition("=")
        given[key] = [value] if key == "missing" else int(value) if key == "function" else value
    return place(kind, int(address, 0), **given)


def read(path: Path) -> tuple[dict[str, str], list[Asked]]:
    """The head and the exchanges of a transcript."""
    head: dict[str, str] = {}
    exchanges: list[Asked] = []
    delay = 0.0
    for line in path.read_text().splitlines():
        word, _, rest = line.strip().partition(" ")
        match word:
            case "" | "#":
                continue
            case "ask":
                exchanges.append(Asked(point_of(rest)))
                delay = 0.0
            case ">>":
                exchanges[-1].request = bytes_of(rest)
            case "<<":
                exchanges[-1].pieces.append((delay, bytes_of(rest)))
            case "pause":
                delay += int(rest) / 1000
            case "is" | "none" | "fault":
                exchanges[-1].outcome = f"{word} {rest}"
            case "framing" | "meter":
                head[word] = rest
            case _:
                raise AssertionError(f"{path.name}: {line}")
    return head, exchanges


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
async def test_a_transcript_is_replayed_to_the_byte(path: Path) -> None:
    head, exchanges = read(path)
    meter = target(
        {"quantity": "voltage", "at": {"address": 0, "type": "u16"}}, address=int(head["meter"]), framing=head["framing"]
    )

    async with Scripted(lambda number, request: exchanges[number].pieces, len(exchanges[0].request)) as peer:
        settings = LinkSettings("line", head["framing"], tcp=peer.endpoint, baud=115200, timeout_s=0.1, longest_answer_s=0.2)
        link = Link(settings, Clock())
        await link.open()
        try:
            for asked in exchanges:
                exchange = await link.exchange(DRIVER, DRIVER.requests(meter, [asked.point])[0])
                assert exchange.request == asked.request
                if exchange.error:
                    assert f"fault {exchange.error.cause}" == asked.outcome
                    continue
                outcome = evaluate(DRIVER.locate(meter, [exchange.request], asked.point), [exchange.answer])
                assert (f"is {outcome.value}" if outcome.value is not None else f"none {outcome.cause}") == asked.outcome
        finally:
            await link.close()
    assert [request for _, request in peer.seen] == [asked.request for asked in exchanges]


def test_there_are_transcripts_and_each_says_what_comes_of_it() -> None:
    assert len(FILES) > 20
    assert all(asked.request and asked.outcome for path in FILES for asked in read(path)[1])
