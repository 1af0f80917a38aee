"""The search finds every meter on a simulated bus, however their numbers collide, and says which it cannot tell apart."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.mbus_search import Search, asked, heard, search
from tests.drivers.mbus_frames import ACK, long, short


@dataclass
class Slave:
    """A meter on the bus, by the rules of EN 13757-7 alone; its own bytes as hexadecimal: number, maker, version, medium."""

    own: str
    primary: int = 0
    selected: bool = False
    mute: bool = False
    fixed: bool = False

    def fits(self, pattern: bytes) -> bool:
        mine, wanted = self.own, pattern.hex()
        number = all(w in ("f", m) for m, w in zip(mine[:8], wanted[:8], strict=True))
        rest = [(mine[8:12], wanted[8:12]), (mine[12:14], wanted[12:14]), (mine[14:], wanted[14:])]
        return number and all(w in (m, "f" * len(w)) for m, w in rest)

    def telegram(self) -> bytes:
        own = bytes.fromhex(self.own)
        if self.fixed:  # its medium stands in the two highest bits of the two units: 4 is heat
            return long(0x08, self.primary, 0x73, own[:4], 1, 0, 0x05, 0x45, bytes(8))
        return long(0x08, self.primary, 0x72, own, 1, 0, 0, 0, bytes.fromhex("0c0678563412"))


@dataclass
class Bus:
    """Meters in parallel. What several say at once is garbage, unless it is the same.

    `in_step`: they speak bit for bit at the same time, and what arrives are their bits laid over each other.
    """

    slaves: list[Slave]
    in_step: bool = False
    echo: bool = False
    lost: random.Random | None = None
    requests: int = 0

    def carry(self, request: bytes) -> bytes:
        self.requests += 1
        said = [answer for slave in self.slaves if (answer := self._answer(slave, request))]
        if self.lost and self.lost.random() < 0.05:
            said = []
        together = bytearray(max((len(one) for one in said), default=0))
        for number, one in enumerate(said):
            for index, byte in enumerate(one):
                late = 0 if self.in_step or one == ACK else number % 8
                together[index] |= (byte >> late | byte << (8 - late)) & 0xFF
        return (request if self.echo else b"") + bytes(together)

    def _answer(self, slave: Slave, request: bytes) -> bytes:
        if request == short(0x40, 0xFD):
            was, slave.selected = slave.selected, False
            return ACK if was else b""
        if request[4:7] == bytes([0x73, 0xFD, 0x52]):
            slave.selected = slave.fits(request[7:15])
            return ACK if slave.selected else b""
        assert request == short(0x7B, 0xFD), request.hex()
        return slave.telegram() if slave.selected and not slave.mute else b""


def searched(bus: Bus, thorough: bool = False) -> Search:
    state = search(thorough=thorough)
    while (request := asked(state)) is not None:
        state = heard(state, bus.carry(request))
    return state


def addresses(state: Search) -> set[str]:
    return {found.secondary for found in state.found}


def secondary(own: str) -> str:
    number = bytes.fromhex(own)[:4][::-1].hex()
    return number + own[8:].upper()


KAM = "2d2c0804"


def test_a_bus_without_meters_costs_three_requests() -> None:
    bus = Bus([])
    assert searched(bus).found == ()
    assert bus.requests == 3  # begin, and the open pattern twice


def test_one_meter_is_found_with_all_it_says_of_itself() -> None:
    (found,) = searched(Bus([Slave("78563412" + KAM, primary=5)])).found
    assert (found.secondary, found.primary) == ("123456782D2C0804", 5)
    assert (found.manufacturer, found.version, found.medium) == ("KAM", 8, 4)


@pytest.mark.parametrize("echo", [False, True])
@pytest.mark.parametrize(
    "owns",
    [
        ["78563412" + KAM, "79563412" + KAM],
        ["78563412" + KAM, "78563413" + KAM, "78563402" + KAM],
        ["00000000" + KAM, "01000000" + KAM, "10000000" + KAM, "99999999" + KAM],
        ["78563412" + KAM, "78563412" + "2d2c0807"],
        ["78563412" + KAM, "78563412" + "2d2c0904", "78563412" + "2d2c0a04"],
        ["78563412" + KAM, "78563412" + "ae4c0807", "79563412" + KAM],
        [f"{n:02d}563412{KAM}" for n in range(40)],
    ],
)
def test_meters_with_colliding_numbers_are_all_found(owns: list[str], echo: bool) -> None:
    state = searched(Bus([Slave(own) for own in owns], echo=echo))
    assert addresses(state) == {secondary(own) for own in owns}
    assert state.unresolved == ()


def test_meters_that_differ_only_by_their_maker_are_told_to_the_person() -> None:
    state = searched(Bus([Slave("78563412" + KAM), Slave("78563412" + "ae4c0804"), Slave("11111111" + KAM)]))
    assert addresses(state) == {"111111112D2C0804"}
    assert {pattern.hex() for pattern in state.unresolved} == {"78563412ffff0804"}


def test_a_meter_that_sends_no_telegram_is_told_to_the_person_by_a_thorough_search() -> None:
    state = searched(Bus([Slave("78563412" + KAM, mute=True), Slave("79563412" + KAM)]), thorough=True)
    assert addresses(state) == {"123456792D2C0804"}
    assert {pattern.hex() for pattern in state.unresolved} == {"78563412ffff0804"}


def test_a_meter_of_the_fixed_structure_is_found_by_its_number() -> None:
    (found,) = searched(Bus([Slave("78563412" + "ffffff04", fixed=True, primary=3)])).found
    assert (found.secondary, found.primary, found.medium, found.version, found.manufacturer) == ("12345678", 3, 4, -1, "")


def test_lost_requests_are_sent_again() -> None:
    owns = [f"{n:02d}00{n:02d}12{KAM}" for n in range(12)]
    state = searched(Bus([Slave(own) for own in owns], lost=random.Random(1)))
    assert addresses(state) <= {secondary(own) for own in owns}
    assert len(state.found) >= 10


def test_noise_on_a_line_does_not_go_on_for_ever() -> None:
    state, sent = search(most=500), 0
    while asked(state) is not None:
        state, sent = heard(state, b"\x00\xff\x13"), sent + 1
    assert sent == 500
    assert state.found == ()
    assert heard(state, b"") is state


def test_a_search_can_be_limited_to_some_meters() -> None:
    bus = Bus([Slave("78563412" + KAM), Slave("78563499" + KAM)])
    state = search(bytes.fromhex("ffffff12ffffffff"))
    while (request := asked(state)) is not None:
        state = heard(state, bus.carry(request))
    assert addresses(state) == {"123456782D2C0804"}


FRESH = ["78563412", "79563412", "78563413", "00000000", "01000000", "10000000", "11000000", "99999999"]


def test_meters_that_speak_in_step_are_all_found_by_a_thorough_search() -> None:
    bus = Bus([Slave(own + KAM) for own in FRESH], in_step=True)
    state = searched(bus, thorough=True)
    assert addresses(state) == {secondary(own + KAM) for own in FRESH}
    assert bus.requests < 1500


def test_a_meter_that_is_only_two_others_laid_over_each_other_is_never_found() -> None:
    bus = Bus([Slave("01000000" + KAM), Slave("10000000" + KAM)], in_step=True)
    state = searched(bus)
    assert addresses(state) == {"000000012D2C0804", "000000102D2C0804"}


def test_two_meters_of_one_whole_address_are_told_to_the_person() -> None:
    state = searched(Bus([Slave("78563412" + KAM, primary=1), Slave("78563412" + KAM, primary=2)]))
    assert state.found == ()
    assert {pattern.hex() for pattern in state.unresolved} == {"78563412ffff0804"}


numbers = st.lists(st.integers(0, 99_999_999), min_size=1, max_size=8, unique=True)


@settings(max_examples=60, deadline=None)
@given(numbers, st.booleans())
def test_any_meters_of_different_numbers_are_all_found(chosen: list[int], in_step: bool) -> None:
    owns = [bytes.fromhex(f"{number:08d}")[::-1].hex() + KAM for number in chosen]
    state = searched(Bus([Slave(own) for own in owns], in_step=in_step), thorough=in_step)
    assert addresses(state) == {secondary(own) for own in owns}
    assert state.unresolved == ()


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=30), max_size=30))
def test_whatever_is_heard_the_search_goes_on_or_ends(buffers: list[bytes]) -> None:
    state = search(most=40)
    for buffer in buffers:
        state = heard(state, buffer)
    assert state.left >= 10
