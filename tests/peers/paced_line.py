"""An RS-485 line on pseudo-terminals that is as slow as a real one: half duplex, one character after the other.

    python -m tests.peers.paced_line BAUD BITS STATIONS [--echo] [--noise P]

BAUD 0 lets each station send at the speed its own port is set to; who is set to another speed hears garbage.

It is a program of its own, so that a busy test cannot slow it down, and asks the kernel for real-time priority and
exact timers where it may. It prints the names of its ports, one for each station. A character written to one port
arrives at all others when its last bit would have passed; what two stations send at the same time is garbled for
everyone. For each line on standard input it prints, as JSON, what it carried since the last one; it ends with its input.

`Units` starts the meters behind it, `units.c`. All times are seconds of the monotonic clock, which all processes share.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import json
import os
import random
import select
import shutil
import subprocess
import sys
import termios
import time
import tty
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COUNTER = 1000  # `units.c`: the registers 1000 and 1001 count the requests that read them
_SAME_FRAME = 1.5  # characters of silence that still belong to a frame (Serial Line V1.02, 2.5.1.1)
_MOST_BYTES = 4096
_PRIORITY = 20
_SPEEDS = {getattr(termios, f"B{baud}"): baud for baud in (300, 1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200)}
_SET_TIMER_SLACK = 29  # PR_SET_TIMERSLACK, prctl(2)


# --- what a test sees -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Frame:
    """What one station sent without a pause.

    Attributes:
        station: its number, from 0.
        begin: when its first character began.
        end: when its last character arrived at the others.
        data: the characters as they were sent, before noise and collisions.
    """

    station: int
    begin: float
    end: float
    data: bytes


@dataclass(frozen=True, slots=True)
class Traffic:
    """What a line carried.

    Attributes:
        frames: in the order they began.
        busy_s: how long characters were on the line.
        collisions: characters garbled because two stations sent at once.
        late_s: how much later than due a character was handed over: mean and worst.
    """

    frames: tuple[Frame, ...]
    busy_s: float
    collisions: int
    late_s: tuple[float, float]

    @property
    def characters(self) -> int:
        """How many were sent."""
        return sum(len(frame.data) for frame in self.frames)


class PacedLine:
    """A line at work. `ports[0]` to `ports[n]` are the stations' serial ports."""

    def __init__(self, process: subprocess.Popen[str], baud: int, bits: int) -> None:
        self._process = process
        self.baud = baud
        self.character_s = bits / baud if baud else 0.0
        self.ports = tuple(self._said().split())

    def traffic(self) -> Traffic:
        """What passed since the last call. The line stands still for a millisecond: best called in a pause."""
        assert self._process.stdin
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        told = json.loads(self._said())
        frames = tuple(Frame(station, begin, end, bytes.fromhex(data)) for station, begin, end, data in told["frames"])
        busy = sum(len(frame.data) for frame in frames) * self.character_s
        return Traffic(frames, busy, told["collisions"], (told["late_mean"], told["late_worst"]))

    def _said(self) -> str:
        assert self._process.stdout
        said = self._process.stdout.readline()
        assert said, "the paced line has ended"
        return said


@contextmanager
def paced_line(baud: int, bits: int = 10, stations: int = 2, *, echo: bool = False, noise: float = 0.0) -> Iterator[PacedLine]:
    """A line at work.

    Args:
        baud, bits: its speed, and the bits of a character with start and stop bits: 10 for 8N1. 0: each port's own speed.
        stations: how many ports it has.
        echo: whether a station hears itself.
        noise: the probability that a character arrives with a bit flipped.
    """
    command = [sys.executable, "-m", "tests.peers.paced_line", str(baud), str(bits), str(stations), "--noise", str(noise)]
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [*command, *(["--echo"] if echo else [])], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root
    ) as process:
        try:
            yield PacedLine(process, baud, bits)
        finally:
            process.kill()


class Units:
    """Meters behind a port, see `units.c` for what a unit is told by."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def become(self, *units: str) -> None:
        """Replaces units by others of the same address, from the next request on."""
        assert self._process.stdin
        self._process.stdin.write("".join(f"{unit}\n" for unit in units))
        self._process.stdin.flush()


def compiled_units(folder: Path) -> Path | None:
    """The program that plays meters, compiled into a folder; None where there is no gcc."""
    if not shutil.which("gcc"):
        return None
    source, program = Path(__file__).with_name("units.c"), folder / "units"
    subprocess.run(["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(program), str(source)], check=True)
    return program


@contextmanager
def units(program: Path, port: str, *told: str) -> Iterator[Units]:
    """Meters at work on a port, such as `"1"`, `"2:dead"` or `"3:turn=20:every=2"`."""
    with subprocess.Popen([str(program), port, *told], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "ready\n", "the units did not start"
            yield Units(process)
        finally:
            process.kill()


# --- the program ----------------------------------------------------------------------------------------------


class _Station:
    """One port of the line and what it is sending."""

    def __init__(self) -> None:
        self.end, self._kept = os.openpty()  # kept open: with no port open at all, reading the other end fails
        tty.setraw(self._kept)
        os.set_blocking(self.end, False)
        self.name = os.ttyname(self._kept)
        self.waiting = bytearray()
        self.sent = bytearray()
        self.begun = self.next = self.ended = 0.0
        self.character = 0.0  # seconds that one takes at the speed it sends at

    @property
    def speed(self) -> int:
        """The terminal's word for the speed that its port is set to now."""
        return int(termios.tcgetattr(self._kept)[5])

    def hear(self, data: bytes) -> None:
        """Hands characters over; they are lost, as on a real port, where nobody reads for 4 KB."""
        with contextlib.suppress(BlockingIOError):
            os.write(self.end, data)


class _Line:
    """All stations, and the characters between them."""

    def __init__(self, baud: int, bits: int, stations: int, echo: bool, noise: float) -> None:
        self._baud, self._bits = baud, bits
        self._echo, self._noise, self._random = echo, noise, random.Random(485)
        self.stations = [_Station() for _ in range(stations)]
        self._forget()

    def _forget(self) -> None:
        self._frames: list[tuple[int, float, float, str]] = []
        self._collisions = self._handed_over = 0
        self._late = self._latest = 0.0

    def carry(self) -> None:
        """Carries characters until standard input ends."""
        ends = {station.end: station for station in self.stations}
        while True:
            sending = [station for station in self.stations if station.waiting]
            rest = max(0.0, min(station.next for station in sending) - time.monotonic()) if sending else None
            ready = select.select([*ends, 0], [], [], rest)[0]
            now = time.monotonic()
            for end in ready:
                if end in ends:
                    self._take(ends[end], now)
                elif not os.read(0, _MOST_BYTES):
                    return
                else:
                    print(json.dumps(self._told()), flush=True)
            for station in self.stations:
                while station.waiting and station.next <= now:
                    self._hand_over(station, now)

    def _take(self, station: _Station, now: float) -> None:
        data = os.read(station.end, _MOST_BYTES)
        if not station.waiting:
            begin = max(now, station.ended)
            station.character = self._bits / (self._baud or _SPEEDS[station.speed])
            if begin > station.ended + _SAME_FRAME * station.character:
                self._close(station)
                station.begun = begin
            station.next = begin + station.character
        station.waiting += data

    def _hand_over(self, station: _Station, now: float) -> None:
        began = station.next - station.character
        others = [other for other in self.stations if other is not station]
        station.sent.append(character := station.waiting.pop(0))
        if any(other.waiting or other.ended > began for other in others):
            character ^= self._random.randrange(1, 256)
            self._collisions += 1
        elif self._random.random() < self._noise:
            character ^= 1 << self._random.randrange(8)
        for other in others:
            if self._echo or not other.waiting:  # who sends does not hear
                other.hear(bytes([character if self._baud or other.speed == station.speed else self._random.randrange(256)]))
        if self._echo:
            station.hear(bytes([character]))
        late = now - station.next
        self._late, self._latest, self._handed_over = self._late + late, max(self._latest, late), self._handed_over + 1
        station.ended = station.next if station.waiting else now
        station.next += station.character

    def _close(self, station: _Station) -> None:
        if station.sent:
            frame = (self.stations.index(station), station.begun, station.ended, station.sent.hex())
            self._frames.append(frame)
            station.sent.clear()

    def _told(self) -> dict[str, Any]:
        for station in self.stations:
            if not station.waiting:
                self._close(station)
        told = {
            "frames": sorted(self._frames, key=lambda frame: frame[1]),
            "collisions": self._collisions,
            "late_mean": self._late / max(1, self._handed_over),
            "late_worst": self._latest,
        }
        self._forget()
        return told


def _without_delay() -> None:
    """Real-time priority and timers exact to a microsecond, where that is allowed."""
    gc.disable()
    ctypes.CDLL(None).prctl(_SET_TIMER_SLACK, 1000)
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(_PRIORITY))


def main(words: Sequence[str] | None = None) -> None:
    """The program."""
    parser = argparse.ArgumentParser()
    parser.add_argument("baud", type=int)
    parser.add_argument("bits", type=int)
    parser.add_argument("stations", type=int)
    parser.add_argument("--echo", action="store_true")
    parser.add_argument("--noise", type=float, default=0.0)
    asked = parser.parse_args(words)
    line = _Line(asked.baud, asked.bits, asked.stations, asked.echo, asked.noise)
    print(*(station.name for station in line.stations), flush=True)
    _without_delay()
    line.carry()


if __name__ == "__main__":
    main()
