"""A transformer's ratio in the site file: as on its plate, or `unknown` until somebody has looked at the plate. Pure.

A value that stands on a transformer's secondary side is not what flowed. So what depends on an unknown ratio is sealed as it
was read, as `uncertain` with the cause `ratio_unknown`, and nobody counts it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import BeforeValidator, WithJsonSchema

from config.language import _
from config.scalar import RATIO, plate_ratio

if TYPE_CHECKING:
    from config.site import Meter

UNKNOWN = "unknown"


def _own(value: object) -> object:
    return value if value == UNKNOWN else plate_ratio(value)


OwnRatio = Annotated[
    str, BeforeValidator(_own), WithJsonSchema({"type": ["string", "number"], "pattern": f"^({RATIO}|{UNKNOWN})$"})
]


def known_ratios(meter: Meter) -> dict[str, str]:
    """The ratios of a meter's plate, under `ct` and `vt`, as far as the site file has them."""
    return {key: ratio for key, ratio in _written(meter) if ratio != UNKNOWN}


def unknown_ratios(meter: Meter) -> list[str]:
    """Which of `ct` and `vt` the site file calls unknown."""
    return [key for key, ratio in _written(meter) if ratio == UNKNOWN]


def _written(meter: Meter) -> list[tuple[str, str]]:
    return [(key, ratio) for key, ratio in (("ct", meter.ct), ("vt", meter.vt)) if ratio]


def unknown_words(meter: Meter) -> str:
    """What a person is told of a meter's unknown ratios; empty where there are none."""
    keys = unknown_ratios(meter)
    if not keys:
        return ""
    return _(
        "{keys} unknown: its values are those of the transformers' secondary side, sealed as uncertain and not counted",
        keys="+".join(keys),
    )


def ratio_advice(meter: Meter) -> str:
    """What to do about a meter's unknown ratios."""
    examples = {"ct": "ct: 400/5", "vt": "vt: 10000/100"}
    example = ", ".join(examples[key] for key in unknown_ratios(meter))
    return _("Write the ratio on the transformers' plates, such as  {example}  or 1 where there are none.", example=example)
