"""The gateway's side of a collector: receipts move the destination's cursor, and what the collector lacks is sent again.

What arrives is foreign: two topics, messages of at most 2 KiB in exactly one form, signed by the one collector that the
site file names. A receipt counts only if its root is the one over our own first records; a question is answered with the
records and checkpoints as they stand in the ledger, and at most once a second. No message reaches a record, a key or a
setting, and a broker that holds them back, repeats them or makes them up can only delay.

A question bears no date, so whoever once saw it can repeat it for ever. What is sent again because of questions is
therefore bounded: as many records and checkpoints as there are records, and 10 000 more, since the agent started.

What this file does not know: how records are sent (`agent.forward`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import closing
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from agent import topics
from agent.clock import Clock
from agent.forward import Forwarder
from agent.ledger import Ledger
from agent.ledger_file import LedgerError, LedgerReader
from agent.listen import Listener
from agent.mqtt import Arrived, Message
from agent.mqtt_words import Trouble
from agent.receipt import LONGEST, NotTaken, Question, Receipt, read_collector_key, read_question, read_receipt
from agent.record import parse
from agent.tiles import TILE, root_at
from config.language import N_, _
from config.site import Mqtt

_BETWEEN_RECEIPTS = 0.2
_BETWEEN_QUESTIONS = 1.0
_MOST_AT_ONCE = 1000  # records that one question brings
_MOST_NOTES = 50
_AGAIN_SECONDS = 600.0
_MOST_TOLD = 10  # of what is not taken, in that time
_BESIDES = 10_000
_AHEAD = N_("This ledger is an older copy: the collector has more of it. Find the newer one before you go on.")
_GONE = N_("Stop the collector, put a copy of this ledger's file in the place of its copy, and start it again (docs/collect.md).")
_FOREIGN = N_("Compare both with `meterseal verify`: either this ledger or the collector's copy is not what was sealed.")
_LOST = N_(
    "Stop the collector. Put its copy away, do not delete it: it may hold what was lost here. Put a copy of this ledger's "
    "file in its place, take its .alarm file away and start it again (docs/collect.md)."
)
_TOO_OFTEN = N_(
    "Look whether the collector can store what it gets (`meterseal collect status`), and in the broker's access list who "
    "else may write on its topics. New records are sent as before; a restart of the agent lets questions be answered again."
)


class ReceiptDesk:
    """Hears one collector at one broker, for the forwarder that delivers to it."""

    def __init__(
        self,
        destination: Mqtt,
        collector: str,
        ledger: Ledger,
        forwarder: Forwarder,
        clock: Clock,
        password: str | None,
        log: FilteringBoundLogger,
    ) -> None:
        self._collector = read_collector_key(collector)
        self._ledger = ledger
        self._forwarder = forwarder
        self._clock = clock
        self._log = log.bind(destination=destination.name, collector=self._collector.name)
        base = f"{topics.base_of(destination.topic, ledger.gateway)}/collector/{topics.witness_id(collector)}"
        self._receipts, self._questions, self._notes = f"{base}/receipt", f"{base}/resend", f"{base}/checkpoint"
        self._asked_at = float("-inf")
        self._sent_again = 0
        self._refused_at: deque[float] = deque(maxlen=_MOST_TOLD)
        self._told: dict[str, float] = {}
        client_id = f"meterseal-{ledger.gateway.replace('/', '-')}-{destination.name}-receipts"
        self._listener = Listener(destination, client_id, password, [self._receipts, self._questions], clock, self._tell_lost)

    async def run(self) -> None:
        """Hears until cancelled."""
        await self._listener.run(self._hear)

    def _tell_lost(self, trouble: Trouble) -> None:
        self._log.warning("receipt.no_connection", **trouble.told())

    async def _hear(self, arrived: Arrived) -> None:
        if arrived.topic not in (self._receipts, self._questions) or len(arrived.payload) > LONGEST:
            return
        try:
            if arrived.topic == self._receipts:
                await self._receipt(read_receipt(arrived.payload, self._ledger.gateway, self._collector))
                await self._clock.sleep(_BETWEEN_RECEIPTS)
            elif not arrived.retained and self._clock.monotonic() - self._asked_at >= _BETWEEN_QUESTIONS:
                question = read_question(arrived.payload, self._ledger.gateway, self._collector)
                self._asked_at = self._clock.monotonic()
                await self._asked(question)
        except (NotTaken, LedgerError) as error:
            self._not_taken(str(error))

    async def _receipt(self, receipt: Receipt) -> None:
        """Takes a receipt for what it is worth."""
        if receipt.size > self._ledger.size:
            self._alarm(
                "receipt.alarm",
                _("it has {size} records, there are {size_2} here", size=receipt.size, size_2=self._ledger.size),
                _(_AHEAD),
            )
            return
        root = await asyncio.to_thread(_root, self._ledger.path, receipt.size)
        if root is None:
            return  # an old receipt, for records that are gone here
        if root != receipt.root:
            self._alarm("receipt.alarm", *await asyncio.to_thread(_other_root, self._ledger.path, receipt.size))
            return
        self._forwarder.received(receipt.size)
        self._log.debug("receipt.taken", records=receipt.size)

    async def _asked(self, question: Question) -> None:
        left = self._ledger.size + _BESIDES - self._sent_again
        if left <= 0:
            why = _("it has asked for {count} records again, more than there are here", count=self._sent_again)
            self._not_taken(why, hint=_(_TOO_OFTEN))
            return
        if question.notes:
            notes = await asyncio.to_thread(_notes, self._ledger.path, question)
            self._sent_again += len(notes)
            for note in notes:
                self._listener.say(Message(self._notes, note.encode(), topics.TEXT))
            return
        end = min(question.end, question.first + min(left, _MOST_AT_ONCE), self._ledger.size)
        if question.first < end:
            self._log.info("receipt.asked", first=question.first, records=end - question.first)
            self._sent_again += self._forwarder.again(question.first, end)
            if gone := await asyncio.to_thread(_gone, self._ledger.path, question.first, end):
                self._alarm(
                    "receipt.gone", _("{gone} of the records from {n} on are gone here", gone=gone, n=question.first), _(_GONE)
                )

    def _not_taken(self, why: str, **hint: str) -> None:
        """Tells that something was dropped, at most ten times in ten minutes: anybody can send what is dropped."""
        now = self._clock.monotonic()
        if len(self._refused_at) < _MOST_TOLD or now - self._refused_at[0] >= _AGAIN_SECONDS:
            self._refused_at.append(now)
            self._log.warning("receipt.not_taken", why=why, **hint)

    def _alarm(self, event: str, why: str, hint: str) -> None:
        """Tells an alarm, and tells it again every ten minutes while it goes on: what is to be done tells one from another."""
        now = self._clock.monotonic()
        if now - self._told.get(hint, float("-inf")) >= _AGAIN_SECONDS:
            self._told[hint] = now
            if event == "receipt.alarm":
                self._log.error("receipt.alarm", why=why, hint=hint)
            else:
                self._log.error("receipt.gone", why=why, hint=hint)


def _root(path: Path, size: int) -> bytes | None:
    """The root over our first records; None where it lies inside of a block of which only the root is kept."""
    with closing(LedgerReader(path)) as reader:
        within = size - size % TILE
        return root_at(reader, size) if len(reader.known_leaves(within, size)) == size - within else None


def _other_root(path: Path, size: int) -> tuple[str, str]:
    """Why a copy may have another root over our first records, and what to do."""
    with closing(LedgerReader(path)) as reader:
        for n, payload in reader.kind_records("loss"):
            for lost in parse(payload).get("unhashed", ()):
                if lost["first"] < size:
                    why = _(
                        "records {first} to {last} were lost here with a damaged file, says record {n}; its copy may have them",
                        first=lost["first"],
                        last=lost["end"] - 1,
                        n=n,
                    )
                    return why, _(_LOST)
    return _("its first {size} records have another root than those here", size=size), _(_FOREIGN)


def _gone(path: Path, first: int, end: int) -> int:
    """How many records of a range are gone."""
    with closing(LedgerReader(path)) as reader:
        return end - first - sum(1 for _each in reader.payloads(first, end))


def _notes(path: Path, question: Question) -> list[str]:
    with closing(LedgerReader(path)) as reader:
        return reader.checkpoints_between(question.first, question.end, _MOST_NOTES)
