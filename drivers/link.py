"""A link: the only owner of a port or connection, one exchange at a time, every answer checked before it is used.

Rules of attribution, because a signature on a wrongly attributed value seals a lie:

 1. An answer counts only after the driver has checked it against its request.
 2. On framings without transaction numbers, after any exchange that failed or was cancelled the line is kept
    silent until `longest_answer_s` after the request and all that arrives is discarded: a late answer must never
    meet the next request. Only the late answer itself, recognised, ends that wait early.
 3. On the same framings, an opened port is listened to for `longest_answer_s` before the first request: a program
    that ended may have asked just before, and a serial server delivers what it still holds to the next connection.
 4. Whatever arrives while nothing was asked is discarded.
 5. Between frames the line is silent for 3.5 characters, at least 1.75 ms (Serial Line V1.02, 2.5.1.1), and for the
    pause the meter asks for. A line that never falls silent is asked all the same: what comes back is the evidence.

What this file does not know: protocols (a driver says where an answer ends), schedules, values.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from drivers import Driver, Exchange, Request
from drivers.errors import BadFrame, LinkDown, MeterError, NoAnswer, Refused
from drivers.wire import Moments, SerialWire, TcpWire, Wire

_BITS_PER_CHARACTER = 11
_SHORTEST_SILENCE = 0.00175
_LONGEST_FRAME = {"tcp": 0, "rtu": 256, "ascii": 513}
_BETWEEN_PIECES = 0.1  # a serial server or a USB adapter hands an answer over in pieces, this far apart at most
_LISTEN = 0.05  # what the kernel holds after a stalled machine wakes up is read within this time


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """How a link is reached.

    Attributes:
        name: its name in the site file.
        tcp: `host:port`, or None for a serial port.
        serial: a device or an rfc2217:// or socket:// URL, or None.
        framing: `tcp`, `rtu` or `ascii`.
        baud, character: of a serial port, such as 9600 and `8N1`.
        timeout_s, longest_answer_s: override what the meter models say; None: the models', or twice a longer timeout.
    """

    name: str
    framing: str
    tcp: str | None = None
    serial: str | None = None
    baud: int = 9600
    character: str = "8N1"
    timeout_s: float | None = None
    longest_answer_s: float | None = None

    @property
    def silence_s(self) -> float:
        """The silence between two frames: 3.5 characters on a serial line, nothing on Modbus TCP."""
        if self.framing == "tcp":
            return 0.0
        return max(_SHORTEST_SILENCE, 3.5 * _BITS_PER_CHARACTER / self.baud)

    def times(self, request: Request) -> tuple[float, float]:
        """Seconds until an answer must have begun, and until it must have ended for certain."""
        timeout = self.timeout_s or request.timeout_s
        longest = self.longest_answer_s or max(request.longest_answer_s, 2 * timeout)
        on_the_line = _LONGEST_FRAME[self.framing] * _BITS_PER_CHARACTER / self.baud
        return timeout, max(longest, timeout) + on_the_line


@dataclass(frozen=True, slots=True)
class _Owed:
    """An answer that may still come: to which request, and until when (monotonic seconds)."""

    driver: Driver
    request: bytes
    framing: str
    until: float

    def is_in(self, buffer: bytes) -> bool:
        """Whether it has come."""
        span = self.driver.answer_span(self.request, buffer, self.framing)
        return span is not None and not _checked(self.driver, self.request, buffer[slice(*span)], self.framing)


class Link:
    """A link to one or more meters. Not open until `open`; all exchanges take turns."""

    def __init__(self, settings: LinkSettings, clock: Moments) -> None:
        self.settings = settings
        self._clock = clock
        self._wire: Wire | None = None
        self._turn = asyncio.Lock()
        self._owed: _Owed | None = None
        self._opened_at: float | None = None
        self._not_before = 0.0
        self._number = 0

    @property
    def is_open(self) -> bool:
        """Whether the port or connection is there."""
        return self._wire is not None and not self._wire.lost

    async def open(self) -> None:
        """Opens the port or connection, once. Raises LinkDown."""
        await self.close()
        settings = self.settings
        if settings.tcp:
            self._wire = await TcpWire.open(settings.tcp, self._clock)
        elif settings.serial and settings.serial.startswith("socket://"):
            self._wire = await TcpWire.open(settings.serial.removeprefix("socket://"), self._clock)
        else:
            self._wire = await SerialWire.open(str(settings.serial), settings.baud, settings.character, self._clock)
        self._opened_at = time.monotonic()

    async def lost(self) -> str:
        """Returns why, once the port or connection is gone."""
        if self._wire is None:
            return "not open"
        wire = self._wire
        await wire.gone.wait()
        return wire.lost

    async def close(self) -> None:
        """Gives the port back. What is still owed stays owed: a serial server may deliver it to the next connection."""
        if self._wire:
            wire, self._wire = self._wire, None
            await wire.close()

    async def exchange(self, driver: Driver, request: Request) -> Exchange:
        """Sends one request and waits for its answer; a failed exchange says so in `error`.

        Raises:
            LinkDown: the port or connection is not there, or was lost on the way.
        """
        async with self._turn:
            wire = self._opened()
            await self._settle(wire, request)
            self._number = self._number % 0xFFFF + 1
            asked = driver.numbered(request, self._number, self.settings.framing)
            return await self._ask(wire, driver, asked)

    def _opened(self) -> Wire:
        if self._wire is None:
            raise LinkDown("not_open", f"{self.settings.name} is not open")
        if self._wire.lost:
            raise LinkDown("connection_lost", self._wire.lost)
        return self._wire

    async def _ask(self, wire: Wire, driver: Driver, request: Request) -> Exchange:
        framing = self.settings.framing
        timeout, longest = self.settings.times(request)
        begun = time.monotonic()
        wire.clear()
        if framing != "tcp":
            # Owed from before the first byte is out: a cancelled exchange leaves the same debt as a failed one.
            self._owed = _Owed(driver, request.data, framing, begun + longest)
        await wire.write(request.data)
        sent = self._clock.instant()
        span = await self._answer(wire, driver, request.data, timeout, longest)
        start, end = span or (0, len(wire.received))
        answer = bytes(wire.received[start:end])
        error = _checked(driver, request.data, answer, framing) if span else _fault(driver, request.data, answer, framing)
        if error is None or isinstance(error, Refused):
            self._owed = None  # the meter has answered, be it with a refusal: nothing more will come
        self._not_before = time.monotonic() + self.settings.silence_s
        first, last = (wire.moment(start), wire.moment(end - 1)) if answer else (None, None)
        return Exchange(request.data, answer, sent, first, last, error)

    async def _answer(self, wire: Wire, driver: Driver, request: bytes, timeout: float, longest: float) -> tuple[int, int] | None:
        """Where the answer lies in what has arrived; None if it has not begun, or not gone on, in time."""
        now = time.monotonic()
        deadline, latest = now + timeout, now + longest
        between = max(_BETWEEN_PIECES, 2 * self.settings.silence_s)
        while True:
            wire.changed.clear()
            span = driver.answer_span(request, bytes(wire.received), self.settings.framing)
            if span:
                return span
            if wire.lost:
                raise LinkDown("connection_lost", wire.lost)
            if not await _changed(wire, deadline - time.monotonic()):
                return None
            deadline = max(deadline, min(latest, time.monotonic() + between))

    async def _settle(self, wire: Wire, request: Request) -> None:
        """Waits until the line may be used: nothing owed any more, and silent for long enough."""
        silence = self.settings.silence_s
        longest = self.settings.times(request)[1]
        if self.settings.framing != "tcp":
            await self._let_late_answer_pass(wire, longest)
        earliest = self._not_before + max(0.0, request.pause_s - silence)
        latest = max(earliest, time.monotonic()) + longest
        while (rest := earliest - time.monotonic()) > 0:
            wire.clear()
            if await _changed(wire, rest):
                earliest = min(latest, max(earliest, time.monotonic() + silence))
            if wire.lost:
                raise LinkDown("connection_lost", wire.lost)

    async def _let_late_answer_pass(self, wire: Wire, longest: float) -> None:
        owed, opened_at = self._owed, self._opened_at
        if owed is None and opened_at is None:
            return
        until = time.monotonic() + _LISTEN
        if owed:
            until = max(until, owed.until)
        if opened_at is not None:
            until = max(until, opened_at + longest)
        while (rest := until - time.monotonic()) > 0:
            wire.changed.clear()
            if opened_at is None and owed and owed.is_in(bytes(wire.received)):
                break
            if wire.lost:
                raise LinkDown("connection_lost", wire.lost)
            await _changed(wire, rest)
        self._owed = self._opened_at = None
        self._not_before = max(self._not_before, time.monotonic() + self.settings.silence_s)


def _checked(driver: Driver, request: bytes, answer: bytes, framing: str) -> MeterError | None:
    try:
        driver.check(request, answer, framing)
    except MeterError as error:
        return error
    return None


def _fault(driver: Driver, request: bytes, arrived: bytes, framing: str) -> MeterError:
    cause, words = driver.fault(request, arrived, framing)
    return NoAnswer(cause, words) if cause in ("no_answer", "only_echo") else BadFrame(cause, words)


async def _changed(wire: Wire, seconds: float) -> bool:
    """Whether something arrived, or the wire was lost, within a span of real time."""
    try:
        async with asyncio.timeout(max(0.0, seconds)):
            await wire.changed.wait()
    except TimeoutError:
        return wire.changed.is_set()  # on a stalled machine both may have happened
    return True
