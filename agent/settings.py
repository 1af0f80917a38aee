"""A meter's settings: what its model watches beside the serial number, because it says which type of meter this is or because
it changes what the counters mean (ratio, word order, unit, mode, tamper counters). Pure.

What this file does not know: what the settings should be (`agent.standing`), when they are read (`agent.poll`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from agent.declaration import Declaration, Frames, watches_of
from agent.reading import masked
from config.language import _
from config.model import MeterModel, Watch
from drivers import Driver, Exchange, Target
from drivers.errors import FormulaError, NoValue
from drivers.formula import Outcome, evaluate

Fields = Mapping[str, Any]


def watched(model: MeterModel) -> dict[str, tuple[str, ...]]:
    """The settings that a model asks for by name, each with the values under which the model's map is valid; empty: any."""
    return {watch.name: watch.expect for watch in watches_of(model)}


def codes(model: MeterModel) -> frozenset[str]:
    """Those of them by which a meter tells its type."""
    return frozenset(watch.name for watch in model.identity if watch.name != "serial")


def settings_in(driver: Driver, target: Target, exchanges: Sequence[Exchange]) -> list[dict[str, str]]:
    """The settings that a meter told in exchanges, as records have them: each with its value, or why it has none."""
    asked, answers = masked(exchanges)
    failed = [exchange.error.cause for exchange in exchanges if exchange.error]
    return [{"name": watch.name, **_told(driver, target, watch, asked, answers, failed)} for watch in watches_of(target.model)]


def _told(
    driver: Driver, target: Target, watch: Watch, asked: list[bytes], answers: list[bytes], failed: list[str]
) -> dict[str, str]:
    try:
        formula = driver.locate(target, asked, watch, answers)
    except NoValue as error:
        return {"cause": error.cause}
    except KeyError:
        return {"cause": failed[-1] if failed else "no_answer"}
    return _stated(formula, evaluate(formula, answers))


def _stated(formula: str, outcome: Outcome) -> dict[str, str]:
    found = {"cause": outcome.cause} if outcome.value is None else {"value": outcome.value}
    return {"formula": formula, **found}


def wrong_settings(declaration: Declaration, frames: Frames, stated: Sequence[Fields]) -> Iterator[str]:
    """What of the settings that a record states does not follow from its frames and the declared model."""
    if declaration.target is None:
        return
    by_name = {setting["name"]: {key: setting[key] for key in setting if key != "name"} for setting in stated}
    watches = {watch.name: watch for watch in watches_of(declaration.target.model)}
    if len(by_name) != len(stated) or by_name.keys() != watches.keys():
        yield _(
            "states {by_name}, its model watches {watches}",
            by_name=", ".join(sorted(by_name)) or _("no settings"),
            watches=", ".join(sorted(watches)) or _("none"),
        )
        return
    for name, watch in watches.items():
        formula, cause = declaration.located(frames, watch)
        try:
            right = _stated(formula, evaluate(formula, frames.usable)) if formula else {"cause": cause}
        except FormulaError as error:
            yield f"{name}: {error}"
            continue
        if right == {"cause": ""} and by_name[name].get("cause") in {*frames.faults, "no_answer"}:
            right = {"cause": by_name[name]["cause"]}
        if by_name[name] != right:
            told, follows = (_words(each) for each in (by_name[name], right))
            yield _("states {name} as {told}, its frames give {follows}", name=name, told=told, follows=follows)


def _words(setting: Fields) -> str:
    found = setting.get("value", _("no value ({setting})", setting=setting.get("cause") or _("no good frame holds it")))
    return f"{found} by {setting['formula']}" if "formula" in setting else str(found)
