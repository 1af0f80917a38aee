"""Delivery of the ledger to one broker: every record at least once, what is new first, nothing skipped.

 1. A record counts as delivered once the broker has acknowledged it. The cursor is the first n without that; what is
    acknowledged beyond it is remembered too, over a loss of the connection and a restart (`agent.ranges`).
 2. After any loss or silence what is not acknowledged is published again. So every subscriber gets every record;
    what comes twice is known by n.
 3. What may be sent, and in which turn, stands in `agent.outbox`: new records first, the backlog beside them.
 4. No more is in flight than the broker allows (its receive maximum) and the site file says.
 5. Where a collector gives receipts, these move the ledger's cursor (`received`); acknowledgements only pace what is sent.
 6. Nothing that the broker sends but acknowledgements is listened to here.

An acknowledgement says that the broker has the record, not that the broker's disk has it: nothing is ever deleted
here because of one. The broker is not trusted: it can withhold, and subscribers see that by n.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from dataclasses import dataclass, replace

from structlog.typing import FilteringBoundLogger

from agent import topics
from agent.clock import Clock
from agent.forward_words import State, Teller
from agent.ledger import Ledger
from agent.ledger_file import LedgerError, LedgerReader
from agent.mqtt import Acknowledged, Arrived, Connected, Connection, Event, Lost
from agent.mqtt_words import FIRST_REFUSAL, NO_RETAIN, NOBODY_LISTENS, TOO_LARGE, Trouble, broke_rules, no_answer, publish_refused
from agent.outbox import Outbox, Supply
from agent.pause import LONGEST, Pause
from agent.ranges import Ranges
from agent.window import Parcel, Recent, Window
from config.language import _
from config.site import Mqtt, Site

_TICK_SECONDS = 1.0
_SOON_SECONDS = 0.05
_SHORTEST_SILENCE = 10.0
_LONGEST_ANSWER = 5
_LEAVE_SECONDS = 0.5
_CHECKPOINT_SECONDS = 300.0


@dataclass(slots=True)
class _Stream:
    """One connection that the broker has taken, and what is on its way and remains to be sent over it."""

    connection: Connection
    window: Window
    outbox: Outbox
    looked_at: float = 0.0
    checkpoint: str | None = None
    checkpoint_at: float = 0.0


class Forwarder:
    """Delivers a ledger to one broker. Several may run side by side, each with its own cursor under its name.

    `site`: where the meters stand, for topics that go by places.
    """

    def __init__(
        self,
        destination: Mqtt,
        ledger: Ledger,
        gateway: str,
        clock: Clock,
        password: str | None,
        log: FilteringBoundLogger,
        site: Site | None = None,
    ) -> None:
        self._destination = destination
        self._ledger = ledger
        self._clock = clock
        self._password = password
        self._tree = topics.tree_of(destination, gateway, site)
        self._tell = Teller(destination, self._tree, log)
        self._client_id = f"meterseal-{gateway.replace('/', '-')}-{destination.name}"
        self._silence = max(2.0 * destination.keepalive, _SHORTEST_SILENCE)
        self._wake = asyncio.Event()
        self._has = Ranges()
        self._recent = Recent()
        self._collector = (destination.collector or "").split("+")[0]
        self._received = 0
        self._told = self._has.cursor, self._has.ahead
        self._connected = False
        self._retains = True
        self._hurry = False
        self._soon = False
        self._stream: _Stream | None = None
        self._fault: Trouble | None = None
        self._refusal: Trouble | None = None
        self._refused_pause = Pause()

    @property
    def state(self) -> State:
        """How delivery stands."""
        trouble = self._fault or self._refusal or Trouble("", "")
        told = trouble.why, trouble.hint, trouble.words
        return State(self._connected, self._has.cursor, *told, self._has.beyond, trouble.code, trouble.fault)

    @property
    def delivered(self) -> tuple[str, int]:
        """Whose receipts say what is delivered, and up to which n they do; where nobody gives any, the broker's word counts."""
        return self._collector, self._received if self._collector else self._has.cursor

    def hurry(self) -> None:
        """Sends what is being gathered for a batch, now and from now on."""
        self._hurry = True
        self._wake.set()

    def received(self, next_n: int) -> None:
        """The collector has stored every record before `next_n`, as a receipt says that was checked."""
        self._has.add(0, next_n)
        self._received = max(self._received, next_n)
        self._ledger.delivered(self._destination.name, next_n)

    def again(self, first: int, end: int) -> int:
        """Sends the records from `first` up to `end` once more, as far as the broker has taken them; how many it had taken.

        What was taken while the question was on its way to us is with the collector by now, and not sent again.
        """
        taken = self._has.remove(first, end)
        for n in self._recent.numbers(self._clock.monotonic()):
            if first <= n < end:
                self._has.add(n, n + 1)
        if self._stream:
            self._stream.outbox.again(taken)
            self._wake.set()
        return sum(stop - begin for begin, stop in taken)

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
            name = self._destination.name
            self._received = reader.cursors().get(name, 0)
            self._has = Ranges(self._received, reader.delivered_ahead(name))
            self._tell.begin(self._password is not None)
            while True:
                began, had = self._clock.monotonic(), (self._has.cursor, self._has.ahead)
                trouble = await self._connection(reader)
                lasted = self._connected and self._clock.monotonic() - began > LONGEST
                if lasted or (self._has.cursor, self._has.ahead) != had:
                    pause.reset()
                self._lost(trouble)
                await self._clock.sleep(pause.next())
        finally:
            self._connected = False
            ticking.cancel()
            reader.close()

    async def _wake_on_tick(self) -> None:
        """Deadlines are looked at once a second, cheaper than a timer for every message; more often while a backlog waits."""
        while True:
            await self._clock.sleep(_SOON_SECONDS if self._soon else _TICK_SECONDS)
            self._wake.set()

    # --- one connection ---------------------------------------------------------------------------------------

    async def _connection(self, reader: LedgerReader) -> Trouble:
        """One connection from the attempt to its end; why it ended."""
        loop = asyncio.get_running_loop()
        inbox: deque[Event] = deque()

        def tell(event: Event) -> None:
            if isinstance(event, Arrived):
                return  # nothing is subscribed here
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to tell
                loop.call_soon_threadsafe(self._receive, inbox, event)

        will = topics.status(self._tree.base, "offline", retain=self._retains)
        connection = Connection(self._destination, self._client_id, self._password, will, tell)
        try:
            connection.open()
            return await self._serve(connection, inbox, reader)
        except LedgerError as error:
            self._ledger.found(error)
            return Trouble(str(error), error.hint, fault=error.code)
        except asyncio.CancelledError:
            if self._connected:
                await self._leave(connection, inbox)
            raise
        finally:
            self._stream, self._soon = None, False
            connection.drop()

    def _receive(self, inbox: deque[Event], event: Event) -> None:
        inbox.append(event)
        self._wake.set()

    async def _serve(self, connection: Connection, inbox: deque[Event], reader: LedgerReader) -> Trouble:
        """Publishes and takes acknowledgements until the connection is lost or silent; which of them, and why."""
        heard = self._clock.monotonic()
        while True:
            now, stream = self._clock.monotonic(), self._stream
            while inbox:
                event = inbox.popleft()
                heard = now
                if isinstance(event, Lost):
                    return event.trouble
                if isinstance(event, Connected) and stream:
                    return broke_rules(_("the broker took one connection twice"))
                if isinstance(event, Connected):
                    self._stream = stream = await self._begin(connection, event, reader)
                elif stream and isinstance(event, Acknowledged):
                    self._acknowledged(stream, event, now)
            oldest = stream.window.oldest if stream else None
            if stream and oldest is None:
                heard = now
            if now - heard > self._silence or (oldest is not None and now - oldest > _LONGEST_ANSWER * self._silence):
                return no_answer()
            if stream:
                self._fill(stream, reader)
                self._keep()
            await self._wake.wait()
            self._wake.clear()

    async def _begin(self, connection: Connection, limits: Connected, reader: LedgerReader) -> _Stream:
        """The broker has taken the connection."""
        size = self._ledger.size
        self._retains = self._retains and limits.retains
        window = Window(min(self._destination.window, limits.receive_maximum))
        supply = Supply(self._tree, self._ledger.newest, reader)
        outbox = Outbox(
            self._destination, supply, replace(limits, retains=self._retains), self._has, size, window, self._clock.monotonic()
        )
        if self._retains:
            outbox.copies.append(topics.status(self._tree.base, "online"))
            outbox.copies.extend(await asyncio.to_thread(topics.standing_in, self._tree.base, self._ledger.path))
        self._connected = True
        self._fault = self._refusal = None
        self._refused_pause.reset()
        self._tell.connected(self._has.cursor, max(0, size - self._has.cursor - self._has.beyond))
        return _Stream(connection, window, outbox)

    async def _leave(self, connection: Connection, inbox: deque[Event]) -> None:
        """Ends the connection in order, or gives up soon."""
        connection.leave()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LEAVE_SECONDS):
                while not any(isinstance(event, Lost) for event in inbox):
                    self._wake.clear()
                    await self._wake.wait()

    def _lost(self, trouble: Trouble) -> None:
        self._tell.lost(trouble, was_connected=self._connected)
        if trouble.code == NO_RETAIN:
            self._retains = False
        self._fault, self._connected = trouble, False

    # --- publishing and acknowledgements ----------------------------------------------------------------------

    def _fill(self, stream: _Stream, reader: LedgerReader) -> None:
        """Publishes as much as the window has room for."""
        size, now = self._ledger.size, self._clock.monotonic()
        if now - stream.looked_at >= _TICK_SECONDS:
            stream.looked_at = now
            self._look_for_checkpoint(stream, reader, now)
        stream.outbox.hurry = self._hurry
        while stream.window.room > 0:
            parcel = stream.outbox.next(size, now)
            if parcel is None:
                self._soon = stream.outbox.waits(size)
                return
            if stream.outbox.too_large(parcel):
                self._refused(stream, parcel, publish_refused(TOO_LARGE, "", parcel.message.topic))
            else:
                stream.window.sent(stream.connection.publish(parcel.message), parcel, now)

    def _look_for_checkpoint(self, stream: _Stream, reader: LedgerReader, now: float) -> None:
        note = reader.newest_checkpoint()
        again = now - stream.checkpoint_at >= _CHECKPOINT_SECONDS  # the same one, for witnesses: nothing was sealed since
        if note and (note != stream.checkpoint or again) and self._retains:
            stream.checkpoint, stream.checkpoint_at = note, now
            stream.outbox.copies.append(topics.checkpoint(self._tree.base, note))

    def _acknowledged(self, stream: _Stream, answer: Acknowledged, now: float) -> None:
        flight = stream.window.answered(answer.mid)
        if flight is None:
            return
        parcel = flight.parcel
        if answer.code >= FIRST_REFUSAL:
            if parcel.numbers or parcel.message.retain:
                self._refused(stream, parcel, publish_refused(answer.code, answer.words, parcel.message.topic))
            return
        stream.outbox.answered(parcel, flight.at, now)
        if not parcel.numbers:
            return
        if answer.code == NOBODY_LISTENS:
            self._tell.nobody_listens(parcel.message)
        if self._refusal and not stream.outbox.refuses:
            self._refusal = None
            self._refused_pause.reset()
        for n in parcel.numbers:
            self._has.add(n, n + 1)
        if self._destination.collector:
            self._recent.add(parcel.numbers, flight.at, now)
        if parcel.live and self._destination.numbers != "none":
            self._publish_numbers(stream, parcel)

    def _publish_numbers(self, stream: _Stream, parcel: Parcel) -> None:
        """The plain numbers of records that the broker has: without an acknowledgement, so that they never hold anything up."""
        retain = self._destination.numbers == "retained" and self._retains
        for message in parcel.records:
            for number in topics.numbers(self._tree, message, retain):
                stream.connection.publish(number)

    def _refused(self, stream: _Stream, parcel: Parcel, trouble: Trouble) -> None:
        """The broker does not take a message: a copy is left out, records are tried again and nothing is sent past them."""
        if not parcel.numbers:
            self._tell.copy_refused(parcel.message, trouble)
            return
        if self._refusal != trouble:
            self._tell.refused(parcel, trouble)
        self._refusal = self._refusal or trouble
        stream.outbox.refused(parcel, self._clock.monotonic() + self._refused_pause.next())

    def _keep(self) -> None:
        """Has the ledger remember what the broker has, where no collector's receipts say it."""
        has = self._has.cursor, self._has.ahead
        if has != self._told and not self._destination.collector:
            self._told = has
            self._ledger.delivered(self._destination.name, *has)
