"""A search for meters at work: the rounds over an open link, one question at a time, and what it took. Reads only.

Each round's meters are named before the next round begins: who breaks off keeps what was found until then.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from agent.by_hand import conversation
from agent.scan_meet import Meeting
from agent.scan_name import Named
from agent.scan_plan import Round, least_s, time_left
from agent.scan_steps import Met, Probe, steps_of
from config.language import _
from config.model import MeterModel
from drivers import Driver, Exchange, Request, anything
from drivers.errors import LinkDown
from drivers.link import Link
from drivers.link_settings import LinkSettings
from drivers.wire import Moments

_SAME_DEVICE = 8  # so many addresses that say the same of themselves on one TCP connection are one device


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a search is.

    Attributes:
        round: what is under way, such as `Modbus RTU at 9600 8N1`.
        at, rounds: its number, from 1, and how many there are.
        asked, questions: how many of its questions were asked, and how many there are if nobody answers.
        found: meters so far.
        left_s: seconds until the end if nobody answers any more.
    """

    round: str
    at: int
    rounds: int
    asked: int
    questions: int
    found: int
    left_s: float


@dataclass(slots=True)
class Found:
    """What a search has found until now.

    Attributes:
        meters: who answered, with the models they are taken for.
        doubts: what could not be made out, in sentences.
        took_s: how long it took.
        least_s: how long it takes at least: bytes, silences and timeouts, without the meters' own time.
        questions: how many were asked.
        complete: whether all rounds were asked to their end.
    """

    meters: list[Named] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    took_s: float = 0.0
    least_s: float = 0.0
    questions: int = 0
    complete: bool = False


class CountedLink(Link):
    """A link that counts what its exchanges take at least, and that is opened again where it was lost."""

    def __init__(self, settings: LinkSettings, clock: Moments) -> None:
        super().__init__(settings, clock)
        self.least_s = 0.0
        self.asked = 0

    async def exchange(self, driver: Driver, request: Request, timeout_s: float | None = None) -> Exchange:
        """See `Link`."""
        try:
            made = await super().exchange(driver, request, timeout_s)
        except LinkDown:  # many serial servers hang up now and then; one that is gone for good cannot be opened again
            await self.open()
            made = await super().exchange(driver, request, timeout_s)
        self.least_s += least_s(request, made, self.settings, until_silent=driver is anything.driver())
        self.asked += 1
        return made


class Scan:
    """A search over a link that nobody else holds.

    Attributes:
        found: what it has found until now; stands also when it was broken off.
    """

    def __init__(
        self, link: CountedLink, rounds: Sequence[Round], models: Sequence[MeterModel], tell: Callable[[Progress], None]
    ) -> None:
        self.found = Found()
        self._link = link
        self._rounds = rounds
        self._models = models
        self._tell = tell
        self._generic = {
            model.protocol: model for model in models if model.model in ("generic-modbus", "iec62056-21-electricity")
        }

    async def run(self, title: Callable[[Round], str]) -> None:
        """Asks all rounds. `title`: what a round is called. Raises LinkDown."""
        begun = time.monotonic()
        try:
            for at, here in enumerate(self._rounds):
                met = await self._round(at, here, title(here))
                await self._name(met)
            self.found.complete = True
        finally:
            self.found.took_s = time.monotonic() - begun
            self.found.least_s, self.found.questions = self._link.least_s, self._link.asked

    async def _round(self, at: int, here: Round, title: str) -> Sequence[Met]:
        if here.protocol == "modbus":
            # A meter set to 8N1 may understand 8E1 too; it is asked no second time at the speed it was found at.
            known = {
                int(one.met.address) for one in self.found.meters if (one.met.protocol, one.met.baud) == ("modbus", here.baud)
            }
            here = replace(here, units=tuple(unit for unit in here.units if unit not in known))
        steps = steps_of(here, self._link.settings.framing, self._generic, self._late)
        asked = 0
        try:
            probe: Probe = next(steps)
            while True:
                left = time_left(self._rounds, at, asked)
                questions = max(asked + 1, here.questions())
                self._tell(Progress(title, at + 1, len(self._rounds), asked, questions, len(self.found.meters), left))
                exchange = await self._link.exchange(probe.driver, probe.request)
                asked += 1
                probe = steps.send(exchange)
        except StopIteration as end:
            heard = end.value
        self.found.doubts += [f"{title}: {doubt}" for doubt in heard.doubts]
        return [met for met in heard.met if not self._is_known(met)]

    def _late(self, driver: Driver, request: Request) -> bool:
        return self._link.late_s(driver, request) is not None

    def _is_known(self, met: Met) -> bool:
        """Whether it was found before: a number that a meter has by itself is found at one speed only."""
        own = met.protocol in ("dlt645", "cjt188") or (met.protocol == "mbus" and len(met.address) > 3)
        return own and any((one.met.protocol, one.met.address) == (met.protocol, met.address) for one in self.found.meters)

    async def _name(self, met: Sequence[Met]) -> None:
        ask = partial(conversation, self._link)
        framing = self._link.settings.framing
        for number, each in enumerate(met):
            self.found.meters.append(await Meeting(ask, each, framing, self._generic["modbus"]).name(self._models))
            if framing == "tcp" and number + 1 == _SAME_DEVICE and self._one_device():
                self.found.meters = self.found.meters[:1]
                self.found.doubts.append(_("one device answers to every address: it stands here once, with the first of them"))
                return

    def _one_device(self) -> bool:
        return len({(tuple(sorted(each.met.said.items())), each.serial) for each in self.found.meters}) == 1
