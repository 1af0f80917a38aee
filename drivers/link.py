"""A link: the only owner of a port or connection, one request at a time, every answer checked before it is used.

Rules of attribution, because a signature on a wrongly attributed value seals a lie:

 1. An answer counts only after the driver has checked it against its request.
 2. Where answers carry no transaction number, an exchange that failed or was cancelled leaves a debt: until
    `longest_answer_s` after the request its answer may still come. As long as it may, no request goes to the same
    station, and all that arrives is looked through for it and discarded. Only the late answer itself, recognised,
    ends the debt early. Other stations are asked meanwhile: their answers carry another address, and what collides on
    the wire fails its checksum.
 3. There, too, no station is asked before its `longest_answer_s` have passed since the port was opened: a program
    that ended may have asked just before, and a serial server delivers what it still holds to the next connection.
 4. Whatever arrives while nothing was asked is discarded.
 5. Between frames the line is silent for 3.5 characters, at least 1.75 ms (Serial Line V1.02, 2.5.1.1), and for the
    pause the meter asks for. A line that never falls silent is asked all the same: what comes back is the evidence.

What this file does not know: protocols (a driver says where an answer ends), schedules, values.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

from config.language import _
from drivers import Driver, Exchange, Instant, Request
from drivers.adapter import BY_ID, adapter_of
from drivers.debt import Debts, checked
from drivers.errors import BadFrame, LinkDown, MeterError, NoAnswer, Refused
from drivers.link_settings import LinkSettings as LinkSettings
from drivers.port import PortWire
from drivers.wire import MOST_BYTES, Moments, ServerWire, TcpWire, Wire

_LISTEN = 0.05  # what the kernel holds after a stalled machine wakes up is read within this time
_FINE = 0.0012  # the event loop wakes up to a millisecond late; the rest of a silence is waited for in small steps


class Link:
    """A link to one or more meters. Not open until `open`; all exchanges take turns.

    Attributes:
        settings: how it is reached.
        busy_s: for how many seconds requests and answers were under way on it.
        moved_to: the device that its adapter was found at after it came back under another name; empty before.
        heard: set whenever something arrives, for who waits while nothing is asked.
    """

    def __init__(self, settings: LinkSettings, clock: Moments, by_id: Path = BY_ID) -> None:
        self.settings = settings
        self.moved_to = ""
        self.busy_s = 0.0
        self.heard = asyncio.Event()
        self._clock = clock
        self._by_id = by_id
        self._adapter: Path | None = None
        self._wire: Wire | None = None
        self._turn = asyncio.Lock()
        self._debts = Debts()
        self._opened_at = 0.0
        self._listened = True
        self._quiet_since = 0.0
        self._silence_s = 0.0
        self._number = 0

    @property
    def is_open(self) -> bool:
        """Whether the port or connection is there."""
        return self._wire is not None and not self._wire.lost

    async def open(self) -> None:
        """Opens the port or connection, once. Raises LinkDown."""
        await self.close()
        settings = self.settings
        serial = str(settings.serial)
        if settings.tcp or serial.startswith("socket://"):
            self._wire = await TcpWire.open(settings.tcp or serial.removeprefix("socket://"), self._clock)
        elif "://" in serial:
            self._wire = await ServerWire.open(serial, settings.baud, settings.character, self._clock)
        else:
            self._wire = await PortWire.open(self._device(serial), settings.baud, settings.character, self._clock)
            self._adapter = self._adapter or adapter_of(serial, self._by_id)
        self._wire.heard = self.heard
        self._opened_at = time.monotonic()
        self._listened = False

    def _device(self, name: str) -> str:
        """The device to open: the adapter that was there before, even if it has come back under another name."""
        if self._adapter is None:
            return name
        if not self._adapter.exists():
            hint = _("Plug it in again. If another adapter took its place, restart the agent.")
            raise LinkDown(
                "no_port",
                _("{name} is not plugged in: the adapter {name_2} is missing", name=name, name_2=self._adapter.name),
                hint,
            )
        device = str(self._adapter.resolve())
        moved = device != str(Path(name).resolve())
        self.moved_to = device if moved else ""
        return device if moved else name

    @property
    def heard_at(self) -> float:
        """When something arrived last since it was opened, monotonic seconds; 0 if nothing did."""
        return self._wire.heard_at if self._wire else 0.0

    async def lost(self) -> LinkDown:
        """Returns why, once the port or connection is gone."""
        if self._wire is None:
            return LinkDown("connection_lost", _("not open"))
        wire = self._wire
        await wire.gone.wait()
        return LinkDown("connection_lost", wire.lost)

    async def close(self) -> None:
        """Gives the port back. What is still owed stays owed: a serial server may deliver it to the next connection."""
        if self._wire:
            wire, self._wire = self._wire, None
            await wire.close()

    def ready_at(self, driver: Driver, request: Request) -> float:
        """From when on a request waits for no late answer and no other station's time; monotonic seconds."""
        station = driver.station(request.data, self.settings.framing)
        owed = None
        if station is not None:
            if self._wire:
                self._debts.take_note(self._wire)
            owed = self._debts.until(driver, station, self.heard_at)
        return max(self._opened_at + self.opening_s(driver, request), owed or 0.0)

    def opening_s(self, driver: Driver, request: Request) -> float:
        """For how many seconds after it was opened such a request waits."""
        waits = driver.station(request.data, self.settings.framing) is not None
        return max(request.open_pause_s, self.settings.begins_s(request) if waits else 0.0)

    def late_s(self, driver: Driver, request: Request) -> float | None:
        """How long a late answer of the request's station took that came since this was asked last; None: none came."""
        station = driver.station(request.data, self.settings.framing)
        return None if station is None else self._debts.late_s(driver, station)

    async def exchange(self, driver: Driver, request: Request, timeout_s: float | None = None) -> Exchange:
        """Sends one request and waits for its answer; a failed exchange says so in `error`.

        `timeout_s`: how long to wait for the answer to begin, but no longer than it can take; None: as the request says.

        Raises:
            LinkDown: the port or connection is not there, or was lost on the way.
        """
        return (await self.exchanges(driver, [request], timeout_s))[0]

    async def exchanges(self, driver: Driver, requests: Sequence[Request], timeout_s: float | None = None) -> list[Exchange]:
        """Sends several requests at once, which takes a framing with transaction numbers, and waits for all their answers.

        Raises LinkDown; what was answered before the connection was lost is given, and the rest fails by that.
        """
        async with self._turn:
            wire = self._opened()
            await self._settle(wire, driver, requests[0])
            asked = [self._numbered(driver, request) for request in requests]
            begun = time.monotonic()
            try:
                return await self._ask(wire, driver, asked, timeout_s)
            finally:
                self.busy_s += time.monotonic() - begun

    def _numbered(self, driver: Driver, request: Request) -> Request:
        self._number = self._number % 0xFFFF + 1
        return driver.numbered(request, self._number, self.settings.framing)

    def _opened(self) -> Wire:
        if self._wire is None:
            raise LinkDown("not_open", _("{name} is not open", name=self.settings.name))
        if self._wire.lost:
            raise LinkDown("connection_lost", self._wire.lost)
        return self._wire

    async def _ask(self, wire: Wire, driver: Driver, requests: Sequence[Request], timeout_s: float | None) -> list[Exchange]:
        settings, first = self.settings, requests[0]
        await wire.set(first.baud or settings.baud, first.character or settings.character)
        if first.data or first.again is None:
            wire.clear()  # a listening request within a conversation: its answer may be arriving already
        wire.most = max(MOST_BYTES, 2 * sum(request.longest_bytes for request in requests))
        for request in requests:
            # Owed from before the first byte is out: a cancelled exchange leaves the same debt as a failed one.
            self._debts.owe(driver, request, settings)
        await wire.write(b"".join(request.data for request in requests))
        sent, spoken_at = self._clock.instant(), time.monotonic()
        if first.answer_baud:
            await asyncio.sleep(settings.transmission_s(first))  # not every adapter says when the last bit is out
            await wire.set(first.answer_baud, first.character or settings.character)
        made = await self._answers(wire, driver, requests, timeout_s, sent, spoken_at)
        # Counted from the last byte: what was done with the answer since was done in the silence.
        self._quiet_since = max(wire.heard_at, spoken_at + settings.transmission_s(requests[-1]))
        self._silence_s = settings.silence_of(requests[-1])
        return made

    async def _answers(
        self, wire: Wire, driver: Driver, requests: Sequence[Request], timeout_s: float | None, sent: Instant, spoken_at: float
    ) -> list[Exchange]:
        """What comes back, in whatever order; those for which nothing comes in time have failed."""
        settings, first = self.settings, requests[0]
        if first.silent:
            await asyncio.sleep(first.timeout_s + settings.transmission_s(first))
            self._debts.settle(driver, first.data)
            return [Exchange(first.data, b"", sent, None, None)]
        timeout, longest = settings.times(first)
        deadline = spoken_at + min(timeout_s or timeout, longest) + settings.transmission_s(first)
        made: dict[bytes, Exchange] = {}
        while True:
            wire.changed.clear()
            for request in requests:
                if request.data not in made and (found := self._found(wire, driver, request, sent)):
                    made[request.data] = found
            if len(made) == len(requests):
                break
            if wire.lost:
                return _lost(requests, made, wire.lost, sent)
            if not await _changed(wire, deadline - time.monotonic()):
                break
            deadline = max(deadline, min(spoken_at + longest, time.monotonic() + settings.between_s(first)))
        return [made.get(request.data) or self._failed(wire, driver, request, sent) for request in requests]

    def _found(self, wire: Wire, driver: Driver, request: Request, sent: Instant) -> Exchange | None:
        """The exchange, if its answer has come."""
        self._debts.take_out(wire, driver, request.data)
        span = driver.answer_span(request.data, bytes(wire.received), self.settings.framing)
        if span is None:
            return None
        start, end = span
        answer = bytes(wire.received[start:end])
        error = checked(driver, request.data, answer, self.settings.framing)
        if error is None or isinstance(error, Refused):
            self._debts.settle(driver, request.data)  # the meter has answered, be it with a refusal: nothing more will come
        made = Exchange(request.data, answer, sent, wire.moment(start), wire.moment(end - 1), error)
        wire.cut(start, end)
        return made

    def _failed(self, wire: Wire, driver: Driver, request: Request, sent: Instant) -> Exchange:
        """The exchange without an answer, with all that arrived in its place."""
        arrived = bytes(wire.received)
        first, last = (wire.moment(0), wire.moment(len(arrived) - 1)) if arrived else (None, None)
        return Exchange(request.data, arrived, sent, first, last, _fault(driver, request.data, arrived, self.settings.framing))

    async def _settle(self, wire: Wire, driver: Driver, request: Request) -> None:
        """Waits until the line may be used: nothing owed by this station any more, and silent for long enough."""
        silence = self.settings.silence_of(request)
        longest = self.settings.times(request)[1]
        station = driver.station(request.data, self.settings.framing)
        if station is not None:
            await self._let_late_answers_pass(wire, driver, station, self.settings.begins_s(request))
        earliest = self._quiet_since + max(silence, self._silence_s, request.pause_s)
        earliest = max(earliest, self._opened_at + request.open_pause_s)
        latest = max(earliest, time.monotonic()) + longest
        while (rest := earliest - time.monotonic()) > 0:
            wire.clear()
            if await _passed(wire, rest):
                earliest = min(latest, max(earliest, time.monotonic() + silence))
            if wire.lost:
                raise LinkDown("connection_lost", wire.lost)

    async def _let_late_answers_pass(self, wire: Wire, driver: Driver, station: bytes, longest: float) -> None:
        """Waits for what this station owes; and, on a line just opened, for what an earlier program may have asked for."""
        begun = time.monotonic()
        listened_at = self._opened_at + longest
        if self._listened and listened_at <= begun:
            if self._debts.until(driver, station, wire.heard_at) is None:
                return
            listened_at = 0.0
        else:
            listened_at = max(listened_at, begun + _LISTEN)
        while True:
            wire.changed.clear()
            self._debts.take_note(wire)
            owed = self._debts.until(driver, station, wire.heard_at)
            until = listened_at if owed is None else max(listened_at, owed, begun + _LISTEN)
            if wire.lost:
                raise LinkDown("connection_lost", wire.lost)
            if (rest := until - time.monotonic()) <= 0:
                break
            await _changed(wire, rest)
        self._debts.forget(driver, station)
        self._listened = True
        self._quiet_since = max(self._quiet_since, wire.heard_at)


def _lost(requests: Sequence[Request], made: dict[bytes, Exchange], why: str, sent: Instant) -> list[Exchange]:
    """What was answered before the wire was lost; the rest has failed by that. Raises LinkDown where nothing was answered."""
    error = LinkDown("connection_lost", why)
    error.request = next(request.data for request in requests if request.data not in made)
    if not made:
        raise error
    return [made.get(request.data) or Exchange(request.data, b"", sent, None, None, error) for request in requests]


def _fault(driver: Driver, request: bytes, arrived: bytes, framing: str) -> MeterError:
    cause, words = driver.fault(request, arrived, framing)
    return NoAnswer(cause, words) if cause in ("no_answer", "only_echo") else BadFrame(cause, words)


async def _passed(wire: Wire, seconds: float) -> bool:
    """Whether something arrived within a span of real time; ends no later than the span does, to some tens of microseconds."""
    if seconds > _FINE:
        return await _changed(wire, seconds - _FINE)
    end = time.monotonic() + seconds
    while time.monotonic() < end and not wire.changed.is_set():
        await asyncio.sleep(0)
    return wire.changed.is_set()


async def _changed(wire: Wire, seconds: float) -> bool:
    """Whether something arrived, or the wire was lost, within a span of real time."""
    try:
        async with asyncio.timeout(max(0.0, seconds)):
            await wire.changed.wait()
    except TimeoutError:
        return wire.changed.is_set()  # on a stalled machine both may have happened
    return True
