"""The tools that time is measured with: a line that is as slow as its baud rate says, and meters that answer as told."""

from __future__ import annotations

import itertools
import os
import select
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.agent.plants import with_crc
from tests.peers.paced_line import COUNTER, PacedLine, compiled_units, paced_line, units

PATIENCE = 10.0


@contextmanager
def stations(line: PacedLine) -> Iterator[list[int]]:
    """The line's ports, open."""
    ports = [os.open(name, os.O_RDWR | os.O_NOCTTY) for name in line.ports]
    try:
        yield ports
    finally:
        for port in ports:
            os.close(port)


def read(port: int, count: int, patience: float = PATIENCE) -> bytes:
    """As many bytes as are wanted, or those that came in time."""
    data, deadline = b"", time.monotonic() + patience
    while len(data) < count and select.select([port], [], [], max(0.0, deadline - time.monotonic()))[0]:
        data += os.read(port, count - len(data))
    return data


@pytest.mark.parametrize(("baud", "bits"), [(9600, 10), (19200, 11)])
def test_a_stream_takes_as_long_as_its_baud_rate_says(baud: int, bits: int) -> None:
    stream = bytes(itertools.islice(itertools.cycle(range(256)), baud // bits))
    with paced_line(baud, bits) as line, stations(line) as (one, other):
        began = time.monotonic()
        heard = b""
        for at in range(0, len(stream), 2048):  # a pty takes 4 KB at once
            os.write(one, stream[at : at + 2048])
            heard += read(other, len(stream[at : at + 2048]))
        took = time.monotonic() - began
        traffic = line.traffic()
    assert heard == stream
    assert took == pytest.approx(len(stream) * bits / baud, rel=0.01)
    assert traffic.characters == len(stream)
    assert traffic.busy_s == pytest.approx(took, rel=0.01)
    assert (traffic.collisions, {frame.station for frame in traffic.frames}) == (0, {0})


def test_what_two_stations_send_at_once_is_garbled_for_a_third() -> None:
    with paced_line(9600, stations=3) as line, stations(line) as (one, other, third):
        os.write(one, b"a" * 200)
        os.write(other, b"b" * 100)
        heard = read(third, 300)
        assert len(heard) == 300
        assert heard[:100].count(b"a") + heard[:100].count(b"b") < 50
        assert heard[-50:] == b"a" * 50  # what the longer one says after the shorter one has ended
        assert line.traffic().collisions >= 150
        os.write(one, b"again")
        assert read(third, 5) == b"again"


def test_frames_are_told_apart_by_the_silence_between_them() -> None:
    with paced_line(9600) as line, stations(line) as (one, other):
        for words in (b"first", b"second"):
            os.write(one, words)
            assert read(other, len(words)) == words
            time.sleep(0.01)  # ten characters of silence
        first, second = line.traffic().frames
        assert (first.data, second.data) == (b"first", b"second")
        assert first.end - first.begin == pytest.approx(5 * line.character_s, abs=0.002)
        assert second.begin - first.end >= 0.009
        assert line.traffic().frames == ()


def test_a_station_hears_itself_only_on_a_line_with_echo() -> None:
    with paced_line(115200) as line, stations(line) as (one, other):
        os.write(one, b"hello")
        assert read(other, 5) == b"hello"
        assert read(one, 1, patience=0.02) == b""
    with paced_line(115200, echo=True) as line, stations(line) as (one, other):
        os.write(one, b"hello")
        assert (read(other, 5), read(one, 5)) == (b"hello", b"hello")


def test_noise_flips_a_bit_now_and_then() -> None:
    with paced_line(115200, noise=0.1) as line, stations(line) as (one, other):
        os.write(one, bytes(1000))
        heard = read(other, 1000)
        assert 50 <= sum(byte != 0 for byte in heard) <= 150
        assert all(byte.bit_count() <= 1 for byte in heard)


# --- the meters -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = compiled_units(tmp_path_factory.mktemp("units"))
    if made is None:
        pytest.skip("no C compiler: apt-get install gcc")
    return made


def ask(port: int, unit: int, first: int, count: int, patience: float = 0.5) -> bytes:
    os.write(port, with_crc(bytes([unit, 3]) + first.to_bytes(2, "big") + count.to_bytes(2, "big")))
    return read(port, 5 + 2 * count, patience)


def test_units_answer_after_their_turnaround_and_count_their_answers(program: Path) -> None:
    with paced_line(19200) as line, units(program, line.ports[1], "1", "2:turn=20"), stations(line) as (port, _):
        for unit, turn in ((1, 0.005), (2, 0.020)):
            for count in (1, 2, 3):
                answer = ask(port, unit, COUNTER, 4)
                assert answer == with_crc(bytes([unit, 3, 8]) + count.to_bytes(4, "big") + bytes.fromhex("4366") + answer[9:11])
            asked, answered = line.traffic().frames[-2:]
            assert answered.begin - asked.end == pytest.approx(turn, abs=0.004)
        assert ask(port, 2, COUNTER + 2, 1) == with_crc(bytes.fromhex("0203024366"))
        assert int.from_bytes(ask(port, 2, COUNTER, 2)[3:7], "big") == 4  # only requests that read the count raise it


def test_units_are_dead_late_or_half_deaf_as_told_and_may_change(program: Path) -> None:
    told = ("1:dead", "2:every=2", "3:late=100")
    with paced_line(19200) as line, units(program, line.ports[1], *told) as playing, stations(line) as (port, _):
        assert ask(port, 1, 0, 1, patience=0.1) == b""
        assert [len(ask(port, 2, 0, 1, patience=0.1)) for _ in range(4)] == [0, 7, 0, 7]
        assert ask(port, 9, 0, 1, patience=0.1) == b""  # nobody's address
        line.traffic()
        assert len(ask(port, 3, 0, 1)) == 7
        asked, answered = line.traffic().frames
        assert answered.begin - asked.end == pytest.approx(0.105, abs=0.02)
        playing.become("1")
        deadline = time.monotonic() + PATIENCE
        while not ask(port, 1, 0, 1, patience=0.1):
            assert time.monotonic() < deadline


def test_a_unit_understands_a_request_behind_noise_and_refuses_what_it_cannot_do(program: Path) -> None:
    with paced_line(19200) as line, units(program, line.ports[1], "1"), stations(line) as (port, _):
        os.write(port, b"\xff\x00\x13")
        assert len(ask(port, 1, 0, 2)) == 9
        os.write(port, with_crc(bytes.fromhex("010600000001")))
        assert read(port, 5) == with_crc(bytes.fromhex("018601"))
        os.write(port, with_crc(bytes.fromhex("01030000007e")))
        assert read(port, 5) == with_crc(bytes.fromhex("018303"))
