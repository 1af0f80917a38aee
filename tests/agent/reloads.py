"""A plant of three lines whose site file is changed again and again while the agent reads it.

The line `steady` stays as it is, the others are changed by chance: meters come and go, move to another line, are read more or
less often, other quantities are read, papers are changed, a line has another timeout or is gone for a while.
"""

from __future__ import annotations

import json
import os
import random
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agent.account import UNTOLD
from agent.coverage import TAKEN_OUT
from agent.record import parse
from agent.simulate import Simulator
from agent.stretch import account, stretch
from tests.agent.at_work import AtWork, until
from tests.agent.gateway import GATEWAY
from tests.agent.plants import simulator_of

LINES = ("steady", "hall", "yard")
_MOVING = [f"EM-{number}" for number in range(1, 9)]
_STEADY = ["S-1", "S-2"]
_BY_CHANGE = {"reload", "line_opening"}


def simulated(folder: Path) -> Simulator:
    """Every meter hangs on every line, for the agent moves them about."""
    listen = {name: {"tcp": "127.0.0.1:0", "framing": "tcp" if name == "yard" else "rtu"} for name in LINES}
    meters: list[dict[str, Any]] = [
        {
            "id": f"{name}-{line}",
            "model": "eastron-sdm120",
            "on": line,
            "address": str(unit),
            "serial": f"77{unit}",
            "frozen": True,
        }
        for line in LINES
        for unit, name in enumerate([*_STEADY, *_MOVING], 1)
    ]
    return simulator_of(folder, *meters, **listen)


class Plant:
    """The site file as it is changed.

    Args:
        seed: of what becomes of it.
        every, rates: how often the steady meters are read, and the others.
    """

    def __init__(self, simulator: Simulator, seed: int, every: str = "10s", rates: Sequence[str] = ("5s", "10s")) -> None:
        self._at = {name: simulator.address_of(name) for name in LINES}
        self._chance = random.Random(seed)
        self._every, self._rates = every, rates
        self.timeouts = {"hall": 300, "yard": 300}
        self.meters: dict[str, dict[str, Any]] = {name: {"link": "hall", "every": "5s"} for name in _MOVING[:4]}

    def text(self) -> str:
        """The file as it is now, without its first line."""
        used = {"steady", *(meter["link"] for meter in self.meters.values())}
        lines = ["commit_seconds: 0.05", "links:"]
        for name in (name for name in LINES if name in used):
            framing, timeout = "tcp" if name == "yard" else "rtu", self.timeouts.get(name, 300)
            times = f"timeout_ms: {timeout}, longest_answer_ms: {timeout}"
            lines.append(f"  {name}: {{tcp: '{self._at[name]}', framing: {framing}, {times}}}")
        steady = {name: {"link": "steady", "every": self._every} for name in _STEADY}
        lines += ["meters:", *(f"  - {json.dumps(self._meter(name, each))}" for name, each in (steady | self.meters).items())]
        return "\n".join(lines) + "\n"

    def _meter(self, name: str, meter: dict[str, Any]) -> dict[str, Any]:
        return {"id": name, "model": "eastron-sdm120", "address": [*_STEADY, *_MOVING].index(name) + 1} | meter

    def change(self) -> None:
        """Something else is written into it."""
        chance = self._chance
        for _ in range(chance.randrange(1, 4)):
            away = [name for name in _MOVING if name not in self.meters]
            name = chance.choice(sorted(self.meters)) if self.meters else away[0]
            what = chance.choice(["place", "every", "quantities", "link", "remove", "add", "timeout", "nothing"])
            if what == "add" and away:
                self.meters[chance.choice(away)] = {"link": chance.choice(["hall", "yard"]), "every": "5s"}
            elif what == "remove":
                self.meters.pop(name, None)
            elif what == "timeout":
                self.timeouts[chance.choice(["hall", "yard"])] = chance.choice([200, 250, 300])
            elif name in self.meters:
                written: dict[str, Any] = {
                    "place": {"place": f"cabinet {chance.randrange(100)}"},
                    "every": {"every": chance.choice(self._rates)},
                    "quantities": {"quantities": chance.sample(["active_energy_import", "voltage.l1", "frequency"], 2)},
                    "link": {"link": chance.choice(["hall", "yard"])},
                }.get(what, {})
                self.meters[name] = self.meters[name] | written


async def reloaded(agent: AtWork, folder: Path, text: str) -> str:
    """Writes another site file and has it brought into force; what the agent told of it."""
    before = len(_told(agent))
    (folder / "site.yaml").write_text(f"gateway: {GATEWAY}\n{text}", "utf-8")
    os.kill(os.getpid(), signal.SIGHUP)
    await until(lambda: len(_told(agent)) > before)
    return str(_told(agent)[-1]["event"])


def _told(agent: AtWork) -> list[dict[str, Any]]:
    return [event for event in agent.told if str(event["event"]).startswith("site.")]


def judged(agent: AtWork) -> dict[str, int]:
    """What became of all polls, by outcome. Raises AssertionError where one is missing that no change explains."""
    past = agent.past
    assert past
    outcomes: dict[str, int] = {}

    def told(_: int, outcome: str, __: int, count: int) -> None:
        outcomes[outcome] = outcomes.get(outcome, 0) + count

    at = stretch(past, 0, 2**62)
    for meter in past.meters():
        account(past, meter, at, told, lambda *_: None)
    assert UNTOLD not in outcomes
    _explained(agent)
    return outcomes


def _explained(agent: AtWork) -> None:
    """Raises AssertionError for a gap of a meter whose line was neither opened nor disturbed since the meter was told of last."""
    assert agent.past
    links: dict[str, set[str]] = {}
    disturbed: dict[str, set[str]] = {}
    changing: set[str] = set()
    for _, payload in agent.past.payloads():
        fields = parse(payload)
        meter = fields.get("meter", {}).get("id", "")
        if fields["kind"] == "config":
            changing = {each["name"] for each in fields.get("changed", ()) if each["what"] in ("meter", "line")}
            touched = changing.union(*(links.get(name, set()) for name in changing))
            for lines in disturbed.values():
                lines.update(touched)
        elif fields["kind"] == "meter":
            links.setdefault(meter, set()).add(fields["meter"]["link"])
            if meter in changing:
                for lines in disturbed.values():
                    lines.add(fields["meter"]["link"])
            disturbed.setdefault(meter, {fields["meter"]["link"]})  # its line has just come up
        elif fields["kind"] in ("reading", "gap"):
            if fields.get("state") == "opened" and fields["cause"] != TAKEN_OUT:
                where = (meter, fields["cause"], fields["since"], disturbed[meter])
                assert fields["cause"] in _BY_CHANGE, where
                assert links[meter] & disturbed[meter], where
            disturbed[meter] = set()
