"""What every serial driver must bear, each protocol on a real pty beside a meter that is dead: late, foreign, damaged and
noisy answers, answers byte by byte, and an adapter that is pulled. No value is ever another than the meter's present one.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from agent.clock import Clock
from agent.simulate_faults import COMMON
from agent.simulate_protocols import SIMULATED
from drivers.errors import LinkDown
from drivers.link import Link
from drivers.link_settings import LinkSettings
from tests.agent.conversations import Conversation, poll
from tests.agent.gateway import StillClock
from tests.agent.plants import models, simulator_of
from tests.peers.read_only import told

# Model, the meter's address, that of a meter that is not there, and a counter that moves.
METERS = {
    "dlt645-2007": ("dlt645-2007-three-phase-blocks", "202311045678", "77", "active_energy_import"),
    "dlt645-1997": ("dlt645-1997", "101995", "77", "active_energy_import"),
    "cjt188": ("cjt188-water-2018", "78330123456789", "11112222333344", "volume_forward"),
    "cjt188-heat": ("cjt188-heat-2004", "20-42590008210438", "11112222333344", "thermal_energy"),
    "mbus-primary": ("kamstrup-multical-601", "17", "99", "volume_forward"),
    "mbus-secondary": ("mbus-water", "12345678", "99999999", "volume_forward"),
    # A readout takes long, so that four meters share the faults.
    **{f"iec62056_21-{n}": ("iec62056-21-electricity", "12345678", "87654321", "active_energy_import") for n in range(1, 5)},
}
TIMEOUT_S, LONGEST_S = 0.25, 0.5
LATE_MS = ("350", "850")  # a sign-on alone takes half a second at 300 baud
EVERY = 4  # requests from one fault to the next
MOST_POLLS = 60


@dataclass
class Course:
    """What became of a meter's polls."""

    polls: list[tuple[Conversation, dict[str, str]]] = field(default_factory=list)
    played: Counter[str] = field(default_factory=Counter)
    dead: list[Conversation] = field(default_factory=list)
    unplugged: str = ""
    afterwards: tuple[str | None, str] = ("", "-")
    serial: str = ""


def kinds_of(name: str) -> list[str]:
    protocol = models()[METERS[name][0]].declared.protocol
    kinds = [*sorted({*COMMON, *SIMULATED[protocol].faults} - {"late"}), "late", "late"]
    return kinds[int(name[-1]) - 1 :: 4] if name.startswith("iec62056_21") else kinds


async def course_of(name: str, folder: Path) -> Course:
    """Polls a meter until it has played every fault, then pulls its adapter and plugs it in again."""
    model, address, nobody, counter = METERS[name]
    faults = [
        {"kind": kind, "at": [str(EVERY * number)], "delay_ms": "2" if kind == "slow" else LATE_MS[name[:3] == "iec"]}
        for number, kind in enumerate(kinds_of(name), 1)
    ]
    clock, made = StillClock(), Course()
    meter = {"id": "M", "model": model, "address": address, "ct": "1", "vt": "1", "faults": faults, "load": {counter: "3600"}}
    if name.startswith("iec"):
        meter["serial"] = "80801288"  # another meter's readout has another number
    async with simulator_of(folder, meter, clock=clock, hall={"pty": name}) as simulator:
        made.serial = simulator.meter("M").serial
        settings = LinkSettings(
            "hall", "rtu", serial=simulator.address_of("hall"), timeout_s=TIMEOUT_S, longest_answer_s=LONGEST_S
        )
        link = Link(settings, Clock())
        await link.open()
        while simulator.requests("M") <= EVERY * len(faults) and len(made.polls) < MOST_POLLS:
            clock.move(61)
            truth = {point.quantity: simulator.truth("M", point.quantity) for point in simulator.meter("M").model.points}
            made.polls.append((await poll(link, model, address), truth))
            if len(made.dead) < 2:
                made.dead.append(await poll(link, model, nobody))
        await simulator.unplug("hall")
        try:
            made.unplugged = (await poll(link, model, address)).cause
        except LinkDown as error:
            made.unplugged = error.cause
        await link.close()
        await simulator.plug("hall")
        await link.open()
        made.afterwards = (await poll(link, model, address)).value(counter), simulator.truth("M", counter)
        await link.close()
        made.played = Counter(kind for _, _, kind in simulator.played)
    return made


@pytest.fixture(scope="module")
def courses(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Course]:
    folder = tmp_path_factory.mktemp("lines")

    async def run() -> list[Course]:
        return await asyncio.gather(*(course_of(name, folder) for name in METERS))

    return dict(zip(METERS, asyncio.run(run()), strict=True))


@pytest.mark.parametrize("name", METERS)
def test_whatever_befalls_the_line_no_value_is_another_than_the_meters_present_one(name: str, courses: dict[str, Course]) -> None:
    course = courses[name]
    assert set(course.played) >= set(kinds_of(name))
    counter, good = METERS[name][3], 0
    for conversation, truth in course.polls:
        if conversation.serial != course.serial:  # another meter's answer: its number is compared at every reading
            continue
        values = {quantity: conversation.value(quantity) for quantity in truth}
        assert {quantity: value for quantity, value in values.items() if value and value[0] != "<"}.items() <= truth.items()
        good += values[counter] == truth[counter]
    assert good >= max(1, len(course.polls) - len(kinds_of(name)))
    assert len({truth[counter] for _, truth in course.polls}) == len(course.polls), "an older value would not be seen"


def test_every_failure_has_its_cause_and_noise_echo_and_single_bytes_are_none(courses: dict[str, Course]) -> None:
    for name, course in courses.items():
        causes = Counter(conversation.cause for conversation, _ in course.polls)
        harmless = {"noise", "echo", "slow", "trailing"} & set(kinds_of(name))
        assert causes.total() - causes[""] <= len(kinds_of(name)) - len(harmless), (name, causes)
    told_of = Counter(cause for course in courses.values() for cause in {each.cause for each, _ in course.polls})
    assert told_of["no_answer"] >= 7
    assert told_of["short_answer"] >= 7
    assert sum(told_of[cause] for cause in ("bad_checksum", "bad_parity", "noise")) >= 7
    assert told_of["wrong_unit"] >= 4


@pytest.mark.parametrize("name", METERS)
def test_a_dead_meter_beside_it_costs_its_own_silence_only(name: str, courses: dict[str, Course]) -> None:
    assert {conversation.cause for conversation in courses[name].dead} == {"no_answer"}


@pytest.mark.parametrize("name", METERS)
def test_an_adapter_that_was_pulled_and_comes_back_is_read_again(name: str, courses: dict[str, Course]) -> None:
    course = courses[name]
    assert course.unplugged in ("connection_lost", "port_lost")
    assert course.afterwards[0] == course.afterwards[1]


@pytest.mark.parametrize("name", METERS)
def test_nothing_but_reads_is_sent_whatever_happens(name: str, courses: dict[str, Course]) -> None:
    protocol = models()[METERS[name][0]].declared.protocol
    sent = [exchange.request for conversation, _ in courses[name].polls for exchange in conversation.exchanges]
    assert len(list(told(b"".join(sent), [protocol]))) == len(sent)
