"""What a plant's ledger of measuring instruments says of a meter beside its number and place (GB 17167, form of the ledger).

Class, range, certificate, verification interval, seal: copied from the plate and the papers, sealed in the meter's
declaration. Nothing of it changes a value.

What this file does not know: who applies a transformer's ratio (the meter's model says), what is sealed.
"""

from __future__ import annotations

from datetime import date
from typing import Annotated

from pydantic import AfterValidator, Field, WithJsonSchema

from config.language import N_, _
from config.mistake import shown
from config.model import Declared
from config.scalar import Shape, Whole

EXPIRES_SOON_DAYS = 30
_DAY = "[0-9]{4}-[0-9]{2}-[0-9]{2}"


def _day(value: str) -> str:
    try:
        date.fromisoformat(value)
    except ValueError:
        raise ValueError(_("there is no day {value}", value=shown(value))) from None
    return value


Day = Annotated[
    str,
    Shape(_DAY, N_("is not a day; write year-month-day, such as 2027-06-30")),
    AfterValidator(_day),
    WithJsonSchema({"type": "string", "pattern": f"^{_DAY}$"}),
]
Papers = Annotated[
    str,
    Shape(r"[^\x00-\x1f\x7f]{1,120}", N_("is not possible here; write one line of at most 120 characters, or leave the key out")),
]
Months = Annotated[Whole, Field(ge=1, le=600)]


class Certificate(Declared):
    """The newest certificate of verification or calibration of a meter."""

    number: Papers
    """The certificate's number."""
    valid_until: Day
    """The last day on which it is valid, such as 2027-06-30."""


def same_serial(one: str, other: str) -> bool:
    """Whether two writings name one serial number: letters' case and leading zeros do not count."""
    return one.strip().lstrip("0").casefold() == other.strip().lstrip("0").casefold()


def certificate_words(certificate: Certificate | None, today: date) -> str:
    """What a person should do about a certificate on a day; empty while it is valid for more than 30 days."""
    if certificate is None:
        return ""
    left = (date.fromisoformat(certificate.valid_until) - today).days
    todo = _("have the meter verified and write the new certificate into site.yaml")
    if left < 0:
        return _(
            "its certificate {number} has expired on {valid_until}: {todo}",
            number=certificate.number,
            valid_until=certificate.valid_until,
            todo=todo,
        )
    if left <= EXPIRES_SOON_DAYS:
        return _(
            "its certificate {number} expires on {valid_until}, in {left} days: {todo}",
            number=certificate.number,
            valid_until=certificate.valid_until,
            left=left,
            todo=todo,
        )
    return ""
