"""A plant over months or a year: everything that happens to one, through the agent's own book, courses and ledger.

What truly flowed is counted beside it, exactly, at every midnight that begins a month. Nothing of the agent is asked for it.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

from agent import draft
from agent.clock import stamp
from agent.consumption import consumption
from config.zone import zone_of
from tests.agent.counting import MODULUS, QUANTITY, Plant, Plate, exact
from tests.agent.gateway import GATEWAY, SECOND, StillClock
from tests.agent.ledgers import new_key

ZONE = "Europe/Berlin"
_MOST = 150  # hundredths of kWh a quarter of an hour on the secondary side: 480 kW behind 400/5
_RIGHT_RATIO = "200/5"
LATE = 0.94  # of the time: most of what frauds are about happens at the end, so that they need not seal a year anew


@dataclass
class Tale:
    """What happened, and when: days since the beginning.

    Attributes:
        true: kWh that truly flowed by meter and first day of a month.
        happened: how often each kind of event did.
    """

    days: int
    true: dict[tuple[str, date], Fraction] = field(default_factory=dict)
    happened: dict[str, int] = field(default_factory=dict)

    def note(self, what: str) -> None:
        self.happened[what] = self.happened.get(what, 0) + 1

    def at(self, share: float, hour: int = 10) -> int:
        """The quarter of an hour, counted from the beginning, at an hour of a day so far into the time."""
        return int(self.days * share) * 96 + hour * 4


def _read_off(value: Decimal) -> dict[str, str]:
    return {"quantity": QUANTITY, "value": f"{value:f}"}


class LongRun:
    """The run: `meters` of them, `days` from `first` on, a seed for what flows."""

    def __init__(self, path: Path, meters: int, days: int, first: date, seed: int = 1) -> None:
        self.zone: tzinfo = zone_of(ZONE)
        self.first, self.chance, self.tale = first, random.Random(seed), Tale(days)
        plates = [Plate(f"EM-{number:02}", f"S{number}", "400/5", self.chance.randrange(1000)) for number in range(meters)]
        self.turning, self.set_back, self.replaced, self.misread = plates[:4]
        begin = datetime(first.year, first.month, first.day, tzinfo=self.zone) - timedelta(minutes=5)
        self.plant = Plant(path, plates, ZONE, StillClock(int(begin.timestamp()) * SECOND))
        self.keys = [self.plant.key, new_key("second"), new_key("third")]
        # Passes its modulus about half-way.
        self.turning.register = MODULUS - int(days * 96 * _MOST / 4)
        self.flowed: dict[str, Fraction] = {plate.id: Fraction() for plate in plates}
        self.quarter = 0

    async def run(self) -> None:
        """All of it."""
        await self.plant.begin("first")
        events = self._events()
        for quarter in range(self.tale.days * 96 + 1):
            self.quarter = quarter
            for event in events.get(quarter, ()):
                await event()
            await self._poll()
        await self.plant.end()

    def _events(self) -> dict[int, list[Any]]:
        tale = self.tale
        return {
            tale.at(0.1, 3): [lambda: self._off(26.3, orderly=True)],
            tale.at(0.3): [lambda: self._rotate(1)],
            tale.at(0.4): [self._replace],
            tale.at(0.5, 7): [lambda: self._off(9.1, orderly=False)],
            tale.at(LATE, 3): [lambda: self._off(50.0, orderly=True)],
            tale.at(LATE, 6): [lambda: self._rotate(2)],
            tale.at(LATE, 12): [self._ratio_put_right],
            tale.at(LATE, 16): [self._set_back],
        }

    async def _poll(self) -> None:
        """A quarter of an hour, what flows in it, and the reading of all meters."""
        plant = self.plant
        plant.to_next()
        for plate in plant.plates:
            self._flow(plate, 1)
        quarter, shown = self.quarter % (96 * 5), self.plant.plates[-1]
        zero = quarter == 200
        silent = 300 <= quarter < 300 + self.chance.randrange(1, 9)
        self.tale.note("spurious zero") if zero else None
        self.tale.note("silence") if silent and quarter == 300 else None
        await asyncio.gather(
            *(
                plant.poll(plate, shown=0 if zero and plate is shown else None, silent=silent and plate is shown)
                for plate in plant.plates
            )
        )
        self._month()
        plant.clock.move(60)
        await plant.closing.close()

    def _flow(self, plate: Plate, quarters: int) -> None:
        hundredths = sum(self.chance.randrange(_MOST // 2, _MOST) for _ in range(quarters))
        before = plate.register
        plate.count(hundredths)
        self.tale.note("rollover") if plate.register < before else None
        ratio = Fraction(_RIGHT_RATIO) if plate is self.misread else plate.ratio
        self.flowed[plate.id] += Fraction(hundredths, 100) * ratio

    def _month(self) -> None:
        """Notes what has flowed where a month begins."""
        local = datetime.fromtimestamp(self.plant.clock.wall_ns // SECOND, UTC).astimezone(self.zone)
        if (local.day == 1 and (local.hour, local.minute) == (0, 0)) or self.quarter == 0:
            for meter, flowed in self.flowed.items():
                self.tale.true[meter, local.date()] = flowed

    # --- what happens -----------------------------------------------------------------------------------------

    async def _off(self, hours: float, *, orderly: bool) -> None:
        """The agent is off for so long; the meters go on counting."""
        self.tale.note("outage" if orderly else "crash")
        if orderly:
            await self.plant.end()
        else:
            await self.plant.ledger.close()
        self.plant.clock.move(hours * 3600)
        for plate in self.plant.plates:
            self._flow(plate, int(hours * 4))
        await self.plant.begin("stop" if orderly else "crash")

    async def _set_back(self) -> None:
        self.tale.note("reset")
        self.set_back.register = 0

    async def _rotate(self, number: int) -> None:
        """The agent is stopped, another key comes into force, and it begins again."""
        self.tale.note("rotation")
        plant = self.plant
        await plant.ledger.append(draft.stop(plant.clock, "sigterm"))
        old, new = self.keys[number - 1 : number + 1]
        await plant.ledger.append(draft.rotation(plant.clock, GATEWAY, old.name, new, "wang.li"), successor=new)
        await plant.ledger.close()
        plant.key = new
        await plant.begin("stop")

    async def _replace(self) -> None:
        """Another meter is mounted, whose counter begins where it will; somebody reads off both displays."""
        self.tale.note("replacement")
        plant, plate = self.plant, self.replaced
        self._flow(plate, 1)
        old, last = plate.serial, exact(plate.kwh(plate.register))
        plate.serial, plate.register = f"{old}-B", 700
        fields = {"meter": {"id": plate.id}, "old": old, "new": plate.serial, "reason": "its display is dead"}
        fields |= {"last": [_read_off(last)], "first": [_read_off(exact(plate.kwh(plate.register)))]}
        record = draft.by_person(plant.clock, "replacement", {**fields, "who": "wang.li", "account": "root"})
        await plant.ledger.append(record)
        await plant.end()
        await plant.begin("stop")

    async def _ratio_put_right(self) -> None:
        """Somebody reads a transformer's plate: the site file is put right, and what was read before is corrected."""
        self.tale.note("correction")
        plant, clock = self.plant, self.plant.clock
        since = stamp(int(datetime(self.first.year, self.first.month, 1, tzinfo=self.zone).timestamp()) * SECOND)
        fields = {"meter": {"id": self.misread.id}, "from": since, "to": stamp(clock.wall_ns), "what": "ct", "old": "400/5"}
        fields |= {"new": _RIGHT_RATIO, "reason": "the plate was misread", "who": "zhao.min", "account": "root"}
        await plant.ledger.append(draft.by_person(clock, "correction", fields))
        await plant.end()
        self.misread.ct = _RIGHT_RATIO
        await plant.begin("stop")

    # --- what must come of it ---------------------------------------------------------------------------------

    def months(self) -> dict[tuple[str, date], Fraction]:
        """What truly flowed by meter and month, of whole months and the one that the run begins in.

        A month at whose end the gateway was off goes on up to the end of the next one: where between both it flowed, no
        reading says.
        """
        starts = sorted({day for _, day in self.tale.true})
        return {
            (plate.id, begin.replace(day=1)): self.tale.true[plate.id, end] - self.tale.true[plate.id, begin]
            for plate in self.plant.plates
            for begin, end in pairwise(starts)
        }

    def told(self) -> dict[tuple[str, date], Fraction]:
        """The same as `meterseal consumption --per month` recomputes it from the ledger."""
        starts = [day.replace(day=1) for day in sorted({day for _, day in self.tale.true})]
        summed: dict[tuple[str, date], Fraction] = {}
        with self.plant.past() as past:
            meters = [plate.id for plate in self.plant.plates]
            for each in consumption(past, meters, self.zone, starts[0], starts[-1] - timedelta(days=1), "month"):
                begin = max(start for start in starts if start <= date.fromisoformat(f"{each.name}-01"))
                summed[each.meter, begin] = summed.get((each.meter, begin), Fraction()) + Fraction(each.consumption)
        return summed
