"""What simulated meters of all protocols have in common: a plate, what flows through them, and values they are kept at.

What this file does not know: registers, records, lines of a readout, and frames.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Protocol

from agent.simulate_load import Load
from config.language import _
from config.model import Point
from config.plant import SimulatedMeter

MISSING = "missing"


class NotFitting(ValueError):
    """A value that cannot stand in the registers meant for it; `name` is what they hold."""

    def __init__(self, name: str, value: str) -> None:
        super().__init__(_("{value} cannot stand in the registers of {name}", value=value, name=name))
        self.name = name


class Now(Protocol):
    """Where a meter takes its time from; `agent.clock.Clock` is one."""

    def now_ns(self) -> int:
        """The wall clock, nanoseconds since 1970 UTC."""


class Instrument(ABC):
    """A simulated meter, whatever it speaks.

    Attributes:
        declared, model: what the plant file and the meter model say of it.

    Raises:
        KeyError: `start` or `hold` names what the model does not have.
    """

    def __init__(self, declared: SimulatedMeter, model: Any, clock: Now) -> None:
        self.declared = declared
        self.model = model
        self._clock = clock
        self._points: dict[str, Any] = {point.quantity: point for point in model.points}
        self._watches: dict[str, Any] = {watch.name: watch for watch in (*model.identity, *model.attest)}
        self._held: dict[str, str] = {}
        for name in (*declared.start, *declared.hold):
            self._known(name)

    def hold(self, name: str, value: str) -> None:
        """Keeps a quantity, or what the model watches, at a value from now on; `missing`: not available.

        Raises:
            KeyError: the model has neither.
            NotFitting: the meter has no room for the value; nothing has changed then.
        """
        self._known(name)
        before = dict(self._held)
        self._held[name] = value
        try:
            self._check(name)
        except (ValueError, ArithmeticError):
            self._held = before
            raise NotFitting(name, value) from None

    def release(self, name: str) -> None:
        """Lets what was held move again."""
        self._held.pop(name, None)

    @abstractmethod
    def _check(self, name: str) -> None:
        """Returns if what the meter has to tell under a name has room. Raises ValueError or ArithmeticError."""

    def _known(self, name: str) -> None:
        if name not in self._points and name not in self._watches:
            raise KeyError(name)

    def _hold_declared(self) -> None:
        for name, value in self.declared.hold.items():
            self.hold(name, value)

    def _flowing(self, quantities: Iterable[str]) -> Load:
        """What flows through the meter, as the plant file says."""
        declared = self.declared
        return Load(quantities, declared.load, declared.start, declared.seed, declared.frozen)

    def _plates(self, point: Point) -> tuple[tuple[Decimal, Decimal], ...]:
        """Primary and secondary side of the transformers that a point's value does not count."""
        named = {"ct": (self.declared.ct,), "vt": (self.declared.vt,), "ct_vt": (self.declared.ct, self.declared.vt)}
        texts = [text.partition("/") for text in named.get(point.ratio, ()) if text]
        return tuple((Decimal(primary), Decimal(secondary or 1)) for primary, _unused, secondary in texts)
