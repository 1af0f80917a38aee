"""Delivery of the ledger to one broker: at least once, in the order of n, nothing skipped.

 1. The cursor is the first n that is not acknowledged. It moves only over acknowledgements without a gap before them.
 2. After any loss, silence or refusal everything from the cursor on is published again, in order. So every subscriber
    gets every record, and whoever takes only n = last + 1 gets them in order; the rest are repetitions, known by n.
 3. A refused record stays the next one. It alone is tried again, ever less often, until the broker takes it.
 4. No more is in flight than the broker allows (its receive maximum) and the site file says.
 5. Retained copies take turns with the records: many of them never hold the records up, and none blocks.
 6. Where a collector gives receipts, these move the ledger's cursor (`received`); acknowledgements only pace what is sent.

An acknowledgement says that the broker has the record, not that the broker's disk has it: nothing is ever deleted
here because of one. The broker is not trusted: it can withhold, and subscribers see that by n.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from dataclasses import dataclass, field

from structlog.typing import FilteringBoundLogger

from agent import topics
from agent.clock import Clock
from agent.ledger import Ledger
from agent.ledger_file import LedgerError, LedgerReader
from agent.mqtt import Acknowledged, Arrived, Connected, Connection, Event, Lost, Message, on_this_machine, port_of
from agent.mqtt_words import FIRST_REFUSAL, NO_RETAIN, NOBODY_LISTENS, TOO_LARGE, Trouble, no_answer, publish_refused
from agent.pause import LONGEST, Pause
from agent.window import Window
from config.site import Mqtt

_TICK_SECONDS = 1.0
_SHORTEST_SILENCE = 10.0
_LEAVE_SECONDS = 0.5
_CHECKPOINT_SECONDS = 300.0
_NOTHING = 2**62


@dataclass(frozen=True, slots=True)
class State:
    """How delivery to one broker stands.

    Attributes:
        connected: whether the broker has taken the connection.
        next_n: the first record that it has not acknowledged.
        why, hint: what is in the way at present and what to do; empty while all is well.
        words: what the broker says about it itself; empty if it says nothing.
    """

    connected: bool
    next_n: int
    why: str
    hint: str
    words: str


@dataclass(slots=True)
class _Stream:
    """One connection that the broker has taken, and what remains to be sent over it."""

    connection: Connection
    window: Window
    limits: Connected
    to_read: int
    copies_from: int
    copies: deque[Message]
    unsent: deque[tuple[int, Message]] = field(default_factory=deque)
    checkpoint: str | None = None
    checkpoint_at: float = 0.0
    copy_is_next: bool = True


class Forwarder:
    """Delivers a ledger to one broker. Several may run side by side, each with its own cursor under its name."""

    def __init__(
        self, destination: Mqtt, ledger: Ledger, gateway: str, clock: Clock, password: str | None, log: FilteringBoundLogger
    ) -> None:
        self._destination = destination
        self._ledger = ledger
        self._clock = clock
        self._password = password
        self._log = log.bind(destination=destination.name, host=f"{destination.host}:{port_of(destination)}")
        self._base = topics.base_of(destination.topic, gateway)
        self._client_id = f"meterseal-{gateway.replace('/', '-')}-{destination.name}"
        self._silence = max(2.0 * destination.keepalive, _SHORTEST_SILENCE)
        self._wake = asyncio.Event()
        self._next = 0
        self._connected = False
        self._retains = True
        self._ticked = False
        self._fault: Trouble | None = None
        self._no_connection: Trouble | None = None
        self._refusal: Trouble | None = None
        self._refused_until = 0.0
        self._refused_pause = Pause()
        self._said: set[tuple[str, int]] = set()
        self._again = _NOTHING

    @property
    def state(self) -> State:
        """How delivery stands."""
        trouble = self._fault or self._refusal or Trouble("", "")
        return State(self._connected, self._next, trouble.why, trouble.hint, trouble.words)

    def received(self, next_n: int) -> None:
        """The collector has stored every record before `next_n`, as a receipt says that was checked."""
        self._ledger.delivered(self._destination.name, next_n)

    def again(self, first: int, end: int) -> None:
        """Sends the records from `first` up to `end` once more, as far as the broker has taken them; the collector has not."""
        if first < min(end, self._next):
            self._again = min(first, self._again)
            self._wake.set()

    async def run(self) -> None:
        """Delivers until cancelled; then the broker says `offline` for the gateway, within a second.

        Raises:
            LedgerError: the ledger's file cannot be opened.
        """
        reader = LedgerReader(self._ledger.path)
        self._ledger.tell_growth(self._wake)
        ticking = asyncio.create_task(self._wake_on_tick())
        pause = Pause()
        try:
            self._next = reader.cursors().get(self._destination.name, 0)
            self._warn_of_password()
            while True:
                began, first = self._clock.monotonic(), self._next
                trouble = await self._connection(reader)
                lasted = self._connected and self._clock.monotonic() - began > LONGEST
                if lasted or self._next > first:
                    pause.reset()
                self._tell_lost(trouble)
                await self._clock.sleep(pause.next())
        finally:
            self._connected = False
            ticking.cancel()
            reader.close()

    async def _wake_on_tick(self) -> None:
        """Deadlines are looked at once a second: cheaper than a timer for every message."""
        while True:
            await self._clock.sleep(_TICK_SECONDS)
            self._ticked = True
            self._wake.set()

    # --- one connection ---------------------------------------------------------------------------------------

    async def _connection(self, reader: LedgerReader) -> Trouble:
        """One connection from the attempt to its end; why it ended."""
        loop = asyncio.get_running_loop()
        inbox: deque[Event] = deque()

        def tell(event: Event) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to tell
                loop.call_soon_threadsafe(self._receive, inbox, event)

        will = topics.status(self._base, "offline", retain=self._retains)
        connection = Connection(self._destination, self._client_id, self._password, will, tell)
        try:
            connection.open()
            return await self._serve(connection, inbox, reader)
        except LedgerError as error:
            return Trouble(str(error), error.hint, fault=error.code)
        except asyncio.CancelledError:
            if self._connected:
                await self._leave(connection, inbox)
            raise
        finally:
            connection.drop()

    def _receive(self, inbox: deque[Event], event: Event) -> None:
        inbox.append(event)
        self._wake.set()

    async def _serve(self, connection: Connection, inbox: deque[Event], reader: LedgerReader) -> Trouble:
        """Publishes and takes acknowledgements until the connection is lost or silent; which of them, and why."""
        stream: _Stream | None = None
        heard = self._clock.monotonic()
        while True:
            now = self._clock.monotonic()
            while inbox:
                event = inbox.popleft()
                heard = now
                if isinstance(event, Arrived):
                    continue  # nothing is subscribed here
                if isinstance(event, Lost):
                    return event.trouble
                if isinstance(event, Connected):
                    stream = await self._begin(connection, event)
                elif stream:
                    self._acknowledged(stream, event)
            if stream and not stream.window.flights:
                heard = now
            if now - heard > self._silence:
                return no_answer()
            if stream:
                self._fill(stream, reader)
            await self._wake.wait()
            self._wake.clear()

    async def _begin(self, connection: Connection, limits: Connected) -> _Stream:
        """The broker has taken the connection."""
        size = self._ledger.size
        self._retains = self._retains and limits.retains
        copies = deque([topics.status(self._base, "online")] if self._retains else ())
        if self._retains:
            copies.extend(await asyncio.to_thread(topics.standing_in, self._base, self._ledger.path))
        window = Window(min(self._destination.window, limits.receive_maximum), self._next)
        self._connected, self._ticked = True, True
        self._fault = self._no_connection = None
        self._log.info("forward.connected", next_n=self._next, waiting=max(0, size - self._next))
        return _Stream(connection, window, limits, to_read=self._next, copies_from=size, copies=copies)

    async def _leave(self, connection: Connection, inbox: deque[Event]) -> None:
        """Ends the connection in order, or gives up soon."""
        connection.leave()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LEAVE_SECONDS):
                while not any(isinstance(event, Lost) for event in inbox):
                    self._wake.clear()
                    await self._wake.wait()

    # --- publishing -------------------------------------------------------------------------------------------

    def _fill(self, stream: _Stream, reader: LedgerReader) -> None:
        """Publishes as much as the window has room for."""
        self._go_back(stream)
        if self._ticked:
            self._look_for_checkpoint(stream, reader)
            self._ticked = False
        while stream.window.room > 0:
            found: tuple[int | None, Message] | None = self._next_copy(stream) if stream.copy_is_next else None
            found = found or self._next_record(stream, reader) or self._next_copy(stream)
            if found is None:
                return
            n, message = found
            stream.copy_is_next = n is not None
            stream.window.sent(stream.connection.publish(message), message, n)

    def _go_back(self, stream: _Stream) -> None:
        """What was acknowledged and is to be sent again is the next."""
        if self._again < self._next:
            stream.window.rewind()
            stream.unsent.clear()
            self._next = stream.window.cursor = stream.to_read = self._again
        self._again = _NOTHING

    def _next_copy(self, stream: _Stream) -> tuple[None, Message] | None:
        """The next retained message; one that is too large for the broker is left out."""
        while stream.copies:
            message = stream.copies.popleft()
            if message.size <= stream.limits.largest_packet:
                return None, message
            self._refused(stream, None, message, publish_refused(TOO_LARGE, "", message.topic))
        return None

    def _next_record(self, stream: _Stream, reader: LedgerReader) -> tuple[int, Message] | None:
        """The next record, if one may be sent now: while one is refused, that one only, and only now and then."""
        if self._refusal and (stream.window.records or self._clock.monotonic() < self._refused_until):
            return None
        if not stream.unsent and stream.to_read < self._ledger.size:
            stream.unsent.extend(topics.records(self._base, stream.to_read, self._ledger.newest, reader))
            stream.to_read = stream.unsent[-1][0] + 1 if stream.unsent else stream.to_read
        if not stream.unsent:
            return None
        n, message = stream.unsent[0]
        if message.size > stream.limits.largest_packet:
            if not stream.window.records:  # else those before it come first
                self._refused(stream, n, message, publish_refused(TOO_LARGE, "", message.topic))
            return None
        stream.unsent.popleft()
        if n >= stream.copies_from and self._retains:
            stream.copies.extend(topics.copies(self._base, message, reader))
            stream.copies_from = n + 1
        return n, message

    def _look_for_checkpoint(self, stream: _Stream, reader: LedgerReader) -> None:
        note, now = reader.newest_checkpoint(), self._clock.monotonic()
        again = now - stream.checkpoint_at >= _CHECKPOINT_SECONDS  # the same one, for witnesses: nothing was sealed since
        if note and (note != stream.checkpoint or again) and self._retains:
            stream.checkpoint, stream.checkpoint_at = note, now
            stream.copies.append(topics.checkpoint(self._base, note))

    # --- acknowledgements -------------------------------------------------------------------------------------

    def _acknowledged(self, stream: _Stream, answer: Acknowledged) -> None:
        flight = stream.window.flights.pop(answer.mid, None)
        if flight is None:
            return
        if answer.code >= FIRST_REFUSAL:
            if flight.n is not None or flight.message.retain:
                self._refused(stream, flight.n, flight.message, publish_refused(answer.code, answer.words, flight.message.topic))
            return
        if flight.n is None:
            return
        if answer.code == NOBODY_LISTENS:
            self._tell_nobody_listens(flight.message)
        self._refusal = None
        self._refused_pause.reset()
        stream.window.take(flight.n)
        if stream.window.cursor > self._next:
            self._next = stream.window.cursor
            if not self._destination.collector:
                self._ledger.delivered(self._destination.name, self._next)

    def _refused(self, stream: _Stream, n: int | None, message: Message, trouble: Trouble) -> None:
        """The broker does not take a message: a copy is left out, a record is tried again and nothing is sent past it."""
        if n is None:
            if self._first_time(topics.part_of(self._base, message), trouble.code):
                self._log.error("forward.refused", retained=True, topic=message.topic, **trouble.told())
            return
        if self._refusal != trouble:
            self._log.error("forward.refused", n=n, topic=message.topic, **trouble.told())
        self._refusal = trouble
        self._refused_until = self._clock.monotonic() + self._refused_pause.next()
        stream.window.rewind()
        stream.unsent.clear()
        stream.to_read = self._next

    def _tell_lost(self, trouble: Trouble) -> None:
        if self._connected:
            self._log.warning("forward.lost", **trouble.told())
        elif trouble != self._no_connection:
            self._log.error("forward.cannot_connect", **trouble.told())
            self._no_connection = trouble
        if trouble.code == NO_RETAIN:
            self._retains = False
        self._fault, self._connected = trouble, False

    def _tell_nobody_listens(self, message: Message) -> None:
        part = topics.part_of(self._base, message)
        if self._first_time(part, NOBODY_LISTENS):
            hint = f"Subscribe to {self._base}/# where the readings are collected; until then the broker throws them away."
            self._log.warning("forward.nobody_listens", topic=message.topic, hint=hint)

    def _warn_of_password(self) -> None:
        if self._password is not None and not self._destination.tls and not on_this_machine(self._destination.host):
            why = "the password goes over the network unencrypted"
            self._log.warning("forward.password_in_clear", why=why, hint="Write `tls:` for this broker in site.yaml.")

    def _first_time(self, place: str, code: int) -> bool:
        """Whether this has not been said since the agent began."""
        first = (place, code) not in self._said
        self._said.add((place, code))
        return first
