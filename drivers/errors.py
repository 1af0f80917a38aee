"""What can go wrong on the way to a meter, classed by what the poller does next.

    MeterError                 root; `cause` is a stable word that goes into sealed records
    +-- NoAnswer               silence within the timeout     -> asked again as a new exchange; then a sealed gap
    +-- BadFrame               an answer, but not to this     -> the bytes are kept as evidence; asked again once
    +-- Refused                the meter said no              -> not asked again; said once until it changes
    +-- LinkDown               port gone, socket closed       -> all meters of the link; reopened with backoff
    NoValue                    a good answer that holds no value of a point
    FormulaError               a formula that points outside its frames, or frames it cannot read

Every error carries a `hint`: what a plant electrician can do about it.
"""

from __future__ import annotations

from config.language import N_, _


class MeterError(Exception):
    """A failed exchange.

    Attributes:
        cause: stable word for records and journals, such as `no_answer` or `wrong_unit`.
        hint: what a person at the meter can check next.
    """

    default_hint = ""

    def __init__(self, cause: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.cause = cause
        self.hint = hint or _(self.default_hint)


class NoAnswer(MeterError):
    """Nothing arrived within the timeout."""

    default_hint = N_(
        "Check that the meter has power, that its address and baud rate are the ones in site.yaml, "
        "and that A and B of the RS-485 pair are not swapped."
    )


class BadFrame(MeterError):
    """Something arrived that is not this meter's answer to this request."""

    default_hint = N_("Check the line's termination and shield, and that no two meters share one address.")


class Refused(MeterError):
    """The meter answered, and the answer was no.

    Attributes:
        lasting: whether asking again brings the same: it does not know what it was asked for.
    """

    default_hint = N_("Check that the model in site.yaml is the one on the meter's plate.")

    def __init__(self, cause: str, message: str, hint: str = "", *, lasting: bool = False) -> None:
        super().__init__(cause, message, hint)
        self.lasting = lasting


class LinkDown(MeterError):
    """The port or the connection is not there.

    Attributes:
        request: what was asked when it was lost; empty if nothing was.
        lasting: whether trying again brings the same until somebody does something about it.
    """

    request: bytes = b""

    default_hint = N_("Check the adapter's plug or the network cable, and the name of the port or host in site.yaml.")

    def __init__(self, cause: str, message: str, hint: str = "", *, lasting: bool = False) -> None:
        super().__init__(cause, message, hint)
        self.lasting = lasting


class NoValue(Exception):
    """A checked answer that holds no value of a point it was asked for, such as a unit nobody knows.

    Attributes:
        cause: stable word for records, such as `not_available` or `unknown_unit`.
    """

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


class FormulaError(ValueError):
    """A formula cannot be evaluated over the frames given: malformed, or pointing outside of them."""
