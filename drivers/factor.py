"""What a number is multiplied with, as a formula has it (`drivers.formula`). Pure."""

from __future__ import annotations

from fractions import Fraction

_MOST_DIGITS = 20  # a formula's numbers have at most so many in front of and behind the point


def times(*factors: str) -> str:
    """Factors as they are written, such as `0.01` and `400/5`, one behind the other; nothing for 1."""
    return "".join(f"*{factor}" for factor in factors if factor != "1")


def times_exactly(factor: Fraction) -> str:
    """A factor as a decimal where it has an end, else as a fraction; nothing for 1. Never rounded.

    Raises:
        ValueError: its digits have no room in a formula.
    """
    if factor == 1:
        return ""
    places = next((n for n in range(_MOST_DIGITS + 1) if (factor * 10**n).denominator == 1), None)
    if places is None:
        up, down = factor.numerator, factor.denominator
        text = (f"*{up}" if up != 1 else "") + f"/{down}"
        digits = max(len(str(abs(up))), len(str(down)))
    else:
        whole, rest = divmod(abs(factor * 10**places).numerator, 10**places)
        text = f"*{'-' if factor < 0 else ''}{whole}" + (f".{rest:0{places}d}" if places else "")
        digits = len(str(whole))
    if digits > _MOST_DIGITS:
        raise ValueError(text)
    return text
