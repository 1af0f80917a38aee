"""The watch over the running agent: tells systemd how it is, and stops feeding its watchdog when nothing moves any more.

1. READY comes after the first poll round. Where the first readings are due later than that, or a link cannot be opened, it
   comes after twenty seconds, and the STATUS line says what is missing. While the ledger refuses records it does not come.
2. The watchdog is fed while the ledger's thread takes what it is given and every poller's loop comes round. Neither a
   silent meter nor a full disk nor a lost broker is cured by a restart: they are told, and the watchdog is fed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.clock import Clock
from agent.condition import STALLED, Ailment, Delivery, Seen, ailments_of, disk_of, in_words, key_trouble
from agent.control import Poller
from agent.forward import Forwarder
from agent.journal import tell_repeats
from agent.ledger import Ledger
from agent.metrics import exposition
from agent.notify import notify, status, watchdog_seconds

_FIRST_ROUND_SECONDS = 20.0
_OFTEN, _SELDOM = 0.2, 5.0
_UNREACHED, _REFUSED = "MS-502", "MS-505"


class Watch:
    """Looks after one agent.

    Attributes:
        ready: whether the first poll round is over, or there was no more waiting for it.
    """

    def __init__(
        self,
        state: Path,
        pollers: Mapping[str, Poller],
        forwarders: Mapping[str, Forwarder],
        ledger: Ledger,
        clock: Clock,
        log: Any,
    ) -> None:
        """Args: pollers, forwarders: those at work, by the name of their link or broker; they may come and go."""
        self.ready = False
        self._pollers = pollers
        self._forwarders = forwarders
        self._state = state
        self._ledger = ledger
        self._clock = clock
        self._log = log
        self._began = time.monotonic()
        self._connected_at: dict[str, float] = {}
        self._marks: dict[str, tuple[int, float]] = {}
        self._told = ""
        self._stalled = False

    async def run(self) -> None:
        """Looks until it is cancelled."""
        within = watchdog_seconds()
        every = min(_SELDOM, within / 3) if within else _SELDOM
        while True:
            self._look()
            await asyncio.sleep(every if self.ready else _OFTEN)

    def condition(self) -> dict[str, Any]:
        """How the agent is, for whoever asks: the line in words, what ails it, by name, and all as metrics."""
        seen = self.seen()
        found = ailments_of(seen)
        told = [{"name": each.name, "place": each.place} for each in found]
        return {"words": in_words(seen, found), "ailments": told, "metrics": exposition(seen)}

    def seen(self) -> Seen:
        """All that the condition is judged by, at this moment."""
        free, size = disk_of(self._state)
        return Seen(
            started=self._first_round_is_over(),
            records=self._ledger.size,
            ledger=self._ledger.error,
            writer_s=self._ledger.waited_s(),
            links={name: poller.live() for name, poller in self._pollers.items()},
            stalled={name: still_s for name, poller in self._pollers.items() if (still_s := poller.stalled_s())},
            deliveries=self.deliveries(),
            trust=self._clock.trust(),
            state=self._state,
            free=free,
            size=size,
            key=key_trouble(self._state),
        )

    def _first_round_is_over(self) -> bool:
        return all(poller.progress.rounds for poller in self._pollers.values())

    def _delivery(self, name: str, forwarder: Forwarder, now: float) -> Delivery:
        """How delivery to a broker stands. What is sealed at one look and not delivered at a later one has waited so long."""
        told, size, (collector, delivered) = forwarder.state, self._ledger.size, forwarder.delivered
        if told.connected or name not in self._connected_at:
            self._connected_at[name] = now
        mark = self._marks.get(name)
        if mark is None or delivered >= mark[0]:
            mark = self._marks[name] = size, now
        return Delivery(
            name,
            told.connected,
            max(0, size - delivered - (0 if collector else told.beyond)),
            told.why,
            told.hint,
            told.code,
            away_s=now - self._connected_at[name],
            behind_s=now - mark[1],
            collector=collector,
            untaken=max(0, size - told.next_n - told.beyond),
            fault=told.fault or (_REFUSED if told.connected else _UNREACHED) if told.why else "",
        )

    def deliveries(self) -> list[Delivery]:
        """How delivery stands, for each broker."""
        now = time.monotonic()
        return [self._delivery(name, each, now) for name, each in self._forwarders.items()]

    def _look(self) -> None:
        seen = self.seen()
        found = ailments_of(seen)
        words = status(in_words(seen, found))
        lines = [words] if words != self._told else []
        self._told = words
        if not self.ready and seen.ledger is None and (seen.started or time.monotonic() - self._began > _FIRST_ROUND_SECONDS):
            self.ready = True
            lines.append("READY=1")
        stalled = [each for each in found if each.name in STALLED]
        if not stalled:
            lines.append("WATCHDOG=1")
        self._tell_stalled(stalled)
        if lines:
            notify(*lines)
        tell_repeats()

    def _tell_stalled(self, stalled: Sequence[Ailment]) -> None:
        if stalled and not self._stalled:
            for each in stalled:
                self._log.critical("agent.stalled", what=each.name, place=each.place, reason=each.text)
        self._stalled = bool(stalled)
