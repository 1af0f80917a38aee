"""The kinds of values that stand behind a key, each read from text exactly as it was written.

A value arrives as text (`config.text`), or as a number where a program builds a declaration. Every kind converts
what is unmistakable and refuses the rest with a sentence that says what to write. In the JSON Schema that editors
use, a value of text may look like a number too: an editor sees 23110788 as one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainSerializer,
    WithJsonSchema,
)
from pydantic_core import CoreSchema, core_schema

from config.language import N_, _
from config.mistake import did_you_mean, shown
from config.quantity import QUANTITIES, SUFFIX, quantity_of

_DECIMAL = re.compile(r"[+-]?[0-9]{1,30}(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,2})?")
_HEXADECIMAL = re.compile(r"0[xX][0-9a-fA-F]{1,12}")
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_SPAN = re.compile(r"([0-9]{1,6})(ms|s|m|h)?")
_MILLISECONDS = {"h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}
SPAN_SCHEMA: dict[str, Any] = {
    "anyOf": [{"type": "integer", "minimum": 1, "maximum": 86400}, {"type": "string", "pattern": f"^{_SPAN.pattern}$"}]
}
RATIO = r"[0-9]{1,7}(\.[0-9]{1,4})?(/[0-9]{1,4}(\.[0-9]{1,4})?)?"


def as_text(value: object) -> object:
    """A whole number or decimal given by a program, as text; anything else unchanged."""
    return str(value) if isinstance(value, int | Decimal) and not isinstance(value, bool) else value


@dataclass(frozen=True, slots=True)
class Shape:
    """Text of one form.

    Attributes:
        pattern: what the whole text must match; readable by editors too (ECMA 262).
        sentence: what to tell where it does not, following the value, such as `is not a name; write ...`.
    """

    pattern: str
    sentence: str

    def check(self, value: object) -> object:
        """The text itself. Raises ValueError with the sentence."""
        text = as_text(value)
        if isinstance(text, str) and not re.fullmatch(self.pattern, text):
            raise ValueError(f"{shown(text)} {_(self.sentence)}")
        return text

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": ["string", "number"], "pattern": f"^({self.pattern})$"}


def as_decimal(value: object) -> object:
    """The value itself where it is a decimal number. Raises ValueError for other text."""
    if isinstance(value, bool):
        raise ValueError(_("{value} is not a decimal number such as 0.01", value=shown(value)))  # noqa: TRY004 - pydantic wants ValueError
    if isinstance(value, str) and not _DECIMAL.fullmatch(value):
        raise ValueError(_("{value} is not a decimal number such as 0.01", value=shown(value)))
    return value


def as_whole(value: object) -> object:
    """Text of a whole number, decimal or 0x hexadecimal, as that number. Raises ValueError for other text."""
    if isinstance(value, bool):
        raise ValueError(_("{value} is not a whole number", value=shown(value)))  # noqa: TRY004 - pydantic wants ValueError
    if isinstance(value, str):
        if _HEXADECIMAL.fullmatch(value):
            return int(value, 16)
        if re.fullmatch(r"-?0[0-9]+", value):
            raise ValueError(_("{value} begins with a zero; write the number without it", value=shown(value)))
        if not _INTEGER.fullmatch(value):
            raise ValueError(_("{value} is not a whole number", value=shown(value)))
        return int(value)
    return value


def _yes_no(value: object) -> object:
    if not isinstance(value, bool):
        raise ValueError(_("{value} is not possible here; write true or false", value=shown(value)))  # noqa: TRY004 - pydantic wants ValueError
    return value


def _quantity(name: str) -> str:
    try:
        quantity_of(name)
    except KeyError:
        base, *suffixes = name.split(".")
        if base in QUANTITIES:
            wrong = next(suffix for suffix in suffixes if not SUFFIX.fullmatch(suffix))
            may = _("l1, l1l2, n, flow, return, ch1 or t1")
            raise ValueError(
                _(
                    "{name} is not a quantity: {may} may stand behind {base}, not {wrong}",
                    name=shown(name),
                    may=may,
                    base=base,
                    wrong=shown(wrong),
                )
            ) from None
        raise ValueError(
            _("{name} is not a quantity.{did_you_mean}", name=shown(name), did_you_mean=did_you_mean(base, QUANTITIES))
        ) from None
    return name


def _quantity_schema() -> dict[str, Any]:
    """Names for an editor to offer, and the pattern for those with phases, places or tariffs."""
    suffix = SUFFIX.pattern
    return {
        "anyOf": [
            {"enum": list(QUANTITIES)},
            {"type": "string", "pattern": f"^({'|'.join(QUANTITIES)})(\\.({suffix}))*$"},
        ]
    }


def plate_ratio(value: object) -> object:
    """A transformer's ratio as text; what is neither text nor number unchanged. Raises ValueError."""
    text = as_text(value)
    if isinstance(text, str) and (not re.fullmatch(RATIO, text) or any(Fraction(side) == 0 for side in text.split("/"))):
        raise ValueError(_("{text} is not a ratio; write it as on the transformer's plate, such as 400/5", text=shown(text)))
    return text


def span_ms(text: str) -> int:
    """A time span such as 15m in milliseconds; a bare number counts seconds. Raises ValueError for other text."""
    found = _SPAN.fullmatch(text)
    if not found:
        raise ValueError(_("{text} is not a time span; write 15m, 60s or 1h", text=shown(text)))
    return int(found[1]) * _MILLISECONDS[found[2] or "s"]


def _span(value: object) -> object:
    text = as_text(value)
    if not isinstance(text, str):
        return _("a time span") if isinstance(text, bool) else text
    if not 1 <= span_ms(text) <= 31 * 86_400_000:
        raise ValueError(_("{text} is not a time span from 1ms to 31 days; write 15m, 60s or 1h", text=shown(text)))
    return span_ms(text)


def _span_text(milliseconds: int) -> str:
    unit = next(unit for unit, length in _MILLISECONDS.items() if milliseconds % length == 0)
    return f"{milliseconds // _MILLISECONDS[unit]}{unit}"


# In milliseconds.
Span = Annotated[int, BeforeValidator(_span), PlainSerializer(_span_text), WithJsonSchema(SPAN_SCHEMA)]
Exact = Annotated[Decimal, BeforeValidator(as_decimal), PlainSerializer(str)]
Whole = Annotated[int, BeforeValidator(as_whole)]
YesNo = Annotated[bool, BeforeValidator(_yes_no)]
FreeText = Annotated[str, BeforeValidator(as_text), Field(max_length=2000), WithJsonSchema({"type": ["string", "number"]})]
PlainText = Annotated[
    str, Shape(r"[^\x00-\x1f\x7f]{0,120}", N_("is not possible here; write one line of at most 120 characters"))
]
Name = Annotated[
    str,
    Shape(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}", N_("is not a name; take letters, digits, - and _, at most 40, such as line1")),
]
QuantityName = Annotated[str, AfterValidator(_quantity), WithJsonSchema(_quantity_schema())]
Hex = Annotated[
    str, Shape(r"([0-9a-fA-F]{2}\s*)+", N_("is not hexadecimal; write bytes as pairs of hexadecimal digits, such as 01 03 00 00"))
]
PlateRatio = Annotated[
    str, BeforeValidator(plate_ratio), WithJsonSchema({"type": ["string", "number"], "pattern": f"^({RATIO})$"})
]
SerialFormat = Annotated[
    str, Shape(r"[78][NEO][12]", N_("is not a serial format; write 8N1, 8E1, 8O1 or 8N2, as in the meter's settings"))
]
