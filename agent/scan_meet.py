"""Getting to know somebody who answered a search: what it says of itself, and which models' values make sense. Reads only.

Modbus meters have no common place for anything, so that models are tried: first the two or three registers that tell one
from another soonest, then all values of the few that fit. Answers are kept: many models ask for the same registers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from agent.by_hand import Asked, together
from agent.polled import Polled
from agent.reading import Value, meter_number, serial_in, values_of
from agent.scan_name import Fit, Named, candidates, doubted, fit_of, named, signature, weight
from agent.scan_steps import Met
from config.model import MeterModel, Point
from drivers import Driver, Exchange, Request, Target, load
from drivers.errors import FormulaError, NoAnswer, Refused

_FINALISTS = 5
_SHOWN = 4
_TRIES = 3  # answers get lost on a disturbed line, and a model whose registers seem to be missing is passed over
_MOST_FRUITLESS = 20  # some meters are silent where others refuse: those are not asked everything three times


class Meeting:
    """One meter that answered. `framing`: how Modbus is carried; `generic`: the Modbus model without registers of its own."""

    def __init__(self, ask: Asked, met: Met, framing: str, generic: MeterModel) -> None:
        self._ask = ask
        self._met = met
        self._driver: Driver = load(met.protocol)
        self._framing = framing if met.protocol == "modbus" else "own"
        self._generic = generic
        self._port = (met.baud, met.character) if met.baud and met.character else None
        self._kept: dict[tuple[bytes, ...], list[Exchange]] = {}
        self._lost = self._fruitless = 0

    async def name(self, models: Sequence[MeterModel]) -> Named:
        """The model that it is likely to be. Raises LinkDown."""
        met = await self._introduced() if self._met.protocol == "modbus" else self._met
        chosen = candidates(met, models)
        if len(chosen) > _FINALISTS and met.protocol == "modbus":
            chosen = await self._finalists(met, chosen)
        fits: list[Fit] = []
        shown: dict[str, tuple[str, ...]] = {}
        numbers: dict[str, str] = {}
        for model in chosen:
            values, number = await self._values(model, [point for point in model.points if point.default])
            identity = await self._identity(model)
            fits.append(fit_of(model, met, values, identity, self._port))
            shown[model.model] = tuple(f"{each.quantity} {each.value} {each.unit}" for each in values if each.value)[:_SHOWN]
            numbers[model.model] = number or str(identity.get("serial") or identity.get("meter_number") or "")
        made = named(met, fits, "", shown)
        number = numbers.get(made.model, "")
        made = replace(made, serial=number if number.strip("0 ") else "")
        return doubted(made, self._lost) if self._lost and met.protocol == "modbus" else made

    async def _introduced(self) -> Met:
        """Who it says it is (function 43/14); most meters do not know the question."""
        target = Target(self._generic, self._met.address, self._framing)
        said: dict[str, str] = {}
        following: int | None = 0
        asked: set[int] = set()
        while following is not None and following not in asked:
            asked.add(following)
            request = self._driver.identification_request(target, following)
            exchange = (await self._conversation(self._generic, [request] if request else []))[-1]
            if exchange.error:
                break
            told, following = self._driver.identification(exchange.answer, self._framing)
            said |= {name: text.strip() for name, text in told.items() if text.isprintable() and text.strip()}
        met = self._met
        return Met(met.protocol, met.address, met.baud, met.character, said, met.edition)

    async def _finalists(self, met: Met, models: Sequence[MeterModel]) -> list[MeterModel]:
        ranked: list[tuple[float, str, MeterModel]] = []
        for model in models:
            points, got = signature(model), 0.0
            for point in points:
                values, _ = await self._values(model, [point])
                mark = weight(values[0])[0]
                got += mark
                if mark < 0:
                    break  # what has none of its registers, or nonsense in them, is asked no more
            else:
                ranked.append((-got, model.model, model))
        ranked.sort(key=lambda each: each[:2])
        return [model for _, _, model in ranked[:_FINALISTS]]

    async def _values(self, model: MeterModel, points: Sequence[Point]) -> tuple[Sequence[Value], str]:
        target = self._target(model)
        exchanges: list[Exchange] = []
        for requests in together(self._driver.requests(target, points)):
            made = await self._conversation(model, requests)
            exchanges += made
            if isinstance(made[-1].error, NoAnswer) and self._met.protocol != "modbus":
                break  # the rest would only meet the same silence
        try:
            values: Sequence[Value] = values_of(self._driver, target, points, exchanges)
        except FormulaError:
            values = [Value(point.quantity, point.unit, None, "", "bad", "no_number") for point in points]
        return values, meter_number(self._driver, target, exchanges)[0]

    async def _identity(self, model: MeterModel) -> dict[str, str | None]:
        found: dict[str, str | None] = {}
        for watch in model.identity:
            conversations = together(self._driver.requests(self._target(model), [watch]))
            exchanges = [made for requests in conversations for made in await self._conversation(model, requests)]
            told, _ = serial_in(self._driver, self._target(model), watch, exchanges)
            found[watch.name] = told or None
        return found

    def _target(self, model: MeterModel) -> Target:
        ratio: Mapping[str, Any] = {key: "1" for key in ("ct", "vt") if _needs(model, key)}
        return Target(model, address_in(self._met, model), self._framing, **ratio)

    async def _conversation(self, model: MeterModel, requests: Sequence[Request]) -> list[Exchange]:
        key = tuple(request.data for request in requests)
        if key not in self._kept:
            polled = Polled("", self._driver, self._target(model), (), 60_000, self._port)
            made = await self._ask(polled, requests)
            for _again in range(_TRIES - 1):
                if self._fruitless > _MOST_FRUITLESS or not _is_lost(made):
                    break
                made = await self._ask(polled, requests)
                self._fruitless += _is_lost(made)
            self._lost += _is_lost(made)
            self._kept[key] = made
        return self._kept[key]


def _is_lost(exchanges: Sequence[Exchange]) -> bool:
    """Whether a conversation ended in silence or damage: a refusal is an answer."""
    return bool(exchanges) and exchanges[-1].error is not None and not isinstance(exchanges[-1].error, Refused)


def _needs(model: MeterModel, key: str) -> bool:
    return any(point.ratio in (key, "ct_vt") for point in model.points)


def address_in(met: Met, model: MeterModel) -> str:
    """The address as it is written for a model: with the meter's type in front where it is not the model's (CJ/T 188)."""
    limits = getattr(model, "cjt188", None)
    kind = met.said.get("type", "")
    return f"{kind}-{met.address}" if limits is not None and limits.meter_type.upper() != kind.upper() else met.address
