"""Which meter model somebody who answered is likely to be: evidence weighed, in figures and in words. Pure.

    it says so itself        a product name that is the model's, a maker and version that only this model has
    a register proves it     an identity register that holds what the model expects there
    its values make sense    50 Hz where the model has the frequency, 230 V where it has the voltage, a counter above 0
    it contradicts           a register is refused that the model has, or what stands there cannot be

A register map that fits is no proof: relatives share maps. What is told is therefore how sure, why, and who else fits.
A number that is 0 proves nothing, for no voltage may be on the meter yet.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation

from agent.reading import Value
from agent.scan_steps import Met
from config.language import N_, _
from config.mbus import MbusModel
from config.model import MeterModel, Point
from config.quantity import quantity_of

CERTAIN, LIKELY, SEVERAL, UNKNOWN = N_("certain"), N_("likely"), N_("one of several"), N_("unknown")
_SAYS_SO, _PROVES, _MAKER, _CONTRADICTS, _PORT = 20.0, 12.0, 4.0, -20.0, 0.5
_LEAD = 1.5
_LEAST_SHARE = 0.5  # of what a model's values could weigh; below, it is none
_WORD = re.compile(r"[a-z0-9]+")


@dataclass(frozen=True, slots=True)
class Fit:
    """How well a model fits.

    Attributes:
        model: its name.
        score: how well, the more the better.
        share: of its values, weighed, how much makes sense: 0 to 1.
        proven: whether the meter itself says that it is this one.
        why: the evidence, in words.
    """

    model: str
    score: float
    share: float
    proven: bool
    why: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Named:
    """A meter that answered, with the model it is taken for.

    Attributes:
        met: who answered.
        model: the model's name; empty where none fits.
        sure: `certain`, `likely`, `one of several` or `unknown`.
        why: the evidence.
        others: further models that fit as well, or nearly.
        serial: the number it tells of itself; empty where it tells none.
        shown: some values as read with that model, for the person in front of the display.
    """

    met: Met
    model: str = ""
    sure: str = UNKNOWN
    why: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    serial: str = ""
    shown: tuple[str, ...] = ()


def candidates(met: Met, models: Iterable[MeterModel]) -> list[MeterModel]:
    """The models that somebody who answered can be, by protocol and what it said of itself."""
    same = [model for model in models if model.protocol == met.protocol and not model.model.startswith("generic-")]
    if met.protocol == "dlt645":
        return [model for model in same if getattr(model, "dlt645").edition == met.edition]  # noqa: B009  a protocol's own key
    if met.protocol == "cjt188":
        kind, order = met.said["type"], "low_first" if met.edition == 2018 else "high_first"
        limits = [(model, getattr(model, "cjt188")) for model in same]  # noqa: B009  a protocol's own key
        return [model for model, own in limits if own.meter_type[0] == kind[0] and own.identifier_order == order]
    if met.protocol == "mbus":
        return [model for model in same if isinstance(model, MbusModel) and _header_fits(model, met.said)]
    if met.protocol == "iec62056_21":
        limits = [(model, getattr(model, "iec62056_21")) for model in same]  # noqa: B009  a protocol's own key
        asked = [(model, own) for model, own in limits if own.mode != "D"]
        return [model for model, own in asked if not own.manufacturer or met.said.get("maker", "").upper() in own.manufacturer]
    named = [model for model in same if says_product(model, met.said)]
    return named or same


def _header_fits(model: MbusModel, said: Mapping[str, str]) -> bool:
    header = model.mbus.header
    told = ((header.manufacturer, said["maker"]), (header.version, int(said["version"])), (header.medium, int(said["medium"])))
    return all(not wanted or told in wanted for wanted, told in told)


def says_product(model: MeterModel, said: Mapping[str, str]) -> bool:
    """Whether what a meter says of itself (Modbus device identification) names this model's type."""
    told = "".join(_WORD.findall(" ".join(said.get(name, "") for name in ("product", _("product name"), "model")).lower()))
    words = [word for word in _WORD.findall(model.product.lower()) if len(word) >= 4 and re.search("[0-9]", word)]
    return any(word in told for word in words) or (len(told) >= 4 and told in "".join(_WORD.findall(model.product.lower())))


def says_maker(model: MeterModel, said: Mapping[str, str]) -> bool:
    """Whether it names this model's maker."""
    first = next(iter(_WORD.findall(model.maker.lower())), "")
    return len(first) >= 3 and first in said.get("maker", "").lower()


def signature(model: MeterModel) -> list[Point]:
    """The points that tell a model from another soonest: frequency, a voltage, a counter; else its first ones."""
    chosen: list[Point] = []
    for wanted in ("frequency", "voltage", "voltage_ll", "power_factor"):
        found = next((point for point in model.points if point.quantity.split(".")[0] == wanted), None)
        chosen += [found] if found else []
    counter = next((point for point in model.points if quantity_of(point.quantity).kind == "counter"), None)
    chosen = chosen[:2] + ([counter] if counter else [])
    return chosen if len(chosen) > 1 else list(model.points[:3])


def weight(value: Value) -> tuple[float, float]:
    """What a value says for the model it was read with, and the most that one of its kind can say."""
    base = value.quantity.split(".")[0]
    best = 4.0 if base in ("frequency", "voltage", "voltage_ll") else 1.0
    if value.value is None:
        return (0.0 if value.cause in ("not_available", "no_unit") else -best), best
    try:
        number = Decimal(value.value)
    except InvalidOperation:
        return -best, best
    if value.quality != "good":
        return -best, best
    if not number:
        return 0.0, 0.0
    return (best if _makes_sense(base, number, value.quantity) else -best), best


def _makes_sense(base: str, number: Decimal, quantity: str) -> bool:
    size = abs(number)
    if base == "frequency":
        return 45 <= number <= 65
    if base in ("voltage", "voltage_ll"):
        return 55 <= number <= 70 or 90 <= number <= 290 or 340 <= number <= 460
    if base == "power_factor":
        return Decimal("0.01") <= size <= 1
    if quantity_of(quantity).kind == "counter":
        return Decimal("0.000001") <= number < 10**9
    if base.startswith("temperature"):
        return -60 < number < 400
    return Decimal("0.0001") <= size < 10**8


def fit_of(
    model: MeterModel, met: Met, values: Sequence[Value], identity: Mapping[str, str | None], port: tuple[int, str] | None
) -> Fit:
    """How well a model fits what was read with it.

    Args:
        model: the model.
        met: who answered.
        values: of some or all of its points.
        identity: its identity registers by name, None for one that could not be read.
        port: at which speed and format it answered.
    """
    weighed = [weight(value) for value in values]
    most = sum(best for _unused, best in weighed)
    share = max(0.0, sum(got for got, _unused in weighed) / most) if most else 0.0
    good = sum(got > 0 for got, _unused in weighed)
    score = 10 * share + 0.3 * min(good, 20)  # who has more of what is there is the closer relative
    bad = sum(got < 0 for got, _unused in weighed)
    words = _(
        "{good} values make sense, {zero} are 0 or not there, {bad} contradict", good=good, zero=len(values) - good - bad, bad=bad
    )
    why = [words]
    proven = False
    for watch in model.identity:
        told = identity.get(watch.name)
        name = watch.name.replace("_", " ")
        if watch.name not in identity:
            continue
        if watch.expect and told is not None:
            matches = told in watch.expect
            proven = proven or matches
            score += _PROVES if matches else _CONTRADICTS
            expected = _(" or ").join(watch.expect)
            why.append(
                _("its {name} is {told}", name=name, told=told)
                if matches
                else _("its {name} is {told}, not {expected}", name=name, told=told, expected=expected)
            )
        else:
            score += 1.0 if told else -1.0
    score, proven = _said(model, met, score, proven, why)
    if port and model.serial and (model.serial.baud, model.serial.format) == port:
        score += _PORT
    return Fit(model.model, score, share, proven, tuple(why))


def _said(model: MeterModel, met: Met, score: float, proven: bool, why: list[str]) -> tuple[float, bool]:
    if met.protocol == "modbus" and says_product(model, met.said):
        why.insert(
            0,
            _(
                "it says of itself: {value}",
                value=" ".join(met.said[name] for name in ("maker", "product") if name in met.said),
            ),
        )
        return score + _SAYS_SO, True
    if met.protocol == "modbus" and says_maker(model, met.said):
        why.insert(0, _("it says that its maker is {maker}", maker=met.said["maker"]))
        return score + _MAKER, proven
    if met.protocol == "mbus" and isinstance(model, MbusModel):
        header = model.mbus.header
        if header.manufacturer:
            why.insert(
                0,
                _(
                    "its telegram says {maker}, version {version}, medium {medium}",
                    maker=met.said["maker"],
                    version=met.said["version"],
                    medium=met.said["medium"],
                ),
            )
        return (score + _PROVES, True) if header.manufacturer and header.version else (score, proven)
    if met.protocol == "iec62056_21" and getattr(model, "iec62056_21").manufacturer:  # noqa: B009  a protocol's own key
        why.insert(0, _("its identification begins with {said}", said=met.said.get("maker", "")))
        return score + _MAKER, proven
    return score, proven


def named(met: Met, fits: Iterable[Fit], serial: str = "", shown: Mapping[str, tuple[str, ...]] | None = None) -> Named:
    """The model that fits best, with how sure that is. `shown`: some values by model."""
    ranked = sorted((fit for fit in fits if fit.share >= _LEAST_SHARE or fit.proven), key=lambda fit: (-fit.score, fit.model))
    if not ranked:
        return Named(met, serial=serial)
    best = ranked[0]
    near = tuple(fit.model for fit in ranked[1:] if best.score - fit.score < _LEAD)
    sure = CERTAIN if best.proven and not near else SEVERAL if near else LIKELY
    return Named(met, best.model, sure, best.why, near[:4], serial, (shown or {}).get(best.model, ()))


def doubted(made: Named, lost: int) -> Named:
    """The same where so many questions stayed without an answer: what seems to fit best may only have lost the fewest answers."""
    words = _("{lost} questions stayed without an answer: search again on a quiet line", lost=lost)
    if made.sure != LIKELY:
        return made
    return replace(made, sure=SEVERAL, why=(*made.why, words))
