"""How meters of each protocol are simulated: one line a protocol. Modbus, which has framings, is `agent.simulate_group`'s.

A simulated meter is a class made from what the plant file and the model say of it. Its `answer` gets every complete
request frame that its line carries, those for other meters too, and returns None where it has to stay silent. Where a
meter answers at another speed than it was asked at (IEC 62056-21, mode C), it returns its answer together with that
speed: the bytes leave at it, and a pty that is set to another one gets none of them; after them the line has its own
speed again. Where the speed changes within the answer (mode B), it returns the parts one after the other; only the last
one is touched by faults. What a meter tells without being asked (mode D) comes from `unasked`. `take` finds the
requests: it removes the first complete one from what has arrived, and the noise in front of it, and returns None until
there is one.

The faults that are the same bytes in every protocol (`agent.simulate_faults`) need nothing here. A protocol's `faults`
play the kinds that need its frames, such as `exception` (its error reply) and `wrong_unit` (another meter's address):
from the request, the meter's right answer and the fault's options they make what leaves the meter instead. A kind that
is neither common nor here is refused when the plant file is checked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from agent import simulate_cjt188, simulate_dlt645_frames, simulate_iec62056_21, simulate_mbus, simulate_mbus_frames
from agent.simulate_dlt645 import Dlt645Meter
from agent.simulate_instrument import Now
from config.model import MeterModel
from config.plant import Fault, SimulatedMeter

Changed = Callable[[bytes, bytes, Fault], bytes]


class AnsweringMeter(Protocol):
    """A simulated meter at work, whatever its protocol."""

    declared: SimulatedMeter
    model: Any  # of the protocol's own class, a MeterModel

    @property
    def serial(self) -> str:
        """The serial number on its plate; a meter that was given none has one made up from its id."""

    def truth(self, quantity: str) -> str:
        """The value a correct reading has now, plate ratios applied; `missing`. Raises KeyError."""

    def hold(self, name: str, value: str) -> None:
        """Keeps a quantity or a watched place at a value, or `missing`. Raises KeyError, NotFitting."""

    def release(self, name: str) -> None:
        """Lets what was held move again."""


class FrameMeter(AnsweringMeter, Protocol):
    """A simulated meter of a protocol that knows one kind of frame."""

    def answer(self, request: bytes) -> simulate_iec62056_21.Answered:
        """What it answers to a complete request frame, with the speed it answers at if that is another; None: nothing."""


class Simulated(NamedTuple):
    """How the meters of a protocol are simulated.

    Attributes:
        meter: makes one; raises KeyError and `agent.simulate_meter.NotFitting` for what its model cannot hold.
        take: removes and returns the first complete request frame in a buffer; None: none yet.
        faults: what leaves the meter instead of its answer, for the kinds of faults that need the protocol's frames.
        unasked: what a meter tells by itself now, None where it waits to be asked; None: all of the protocol do.
    """

    meter: Callable[[SimulatedMeter, Any, Now], FrameMeter]
    take: Callable[[bytearray], bytes | None]
    faults: Mapping[str, Changed] = {}
    unasked: Callable[[Any], bytes | None] | None = None


SIMULATED: dict[str, Simulated] = {
    "dlt645": Simulated(Dlt645Meter, simulate_dlt645_frames.take, simulate_dlt645_frames.FAULTS),
    "cjt188": Simulated(simulate_cjt188.Cjt188Meter, simulate_cjt188.take, simulate_cjt188.FAULTS),
    "iec62056_21": Simulated(
        simulate_iec62056_21.Iec62056Meter,
        simulate_iec62056_21.take,
        simulate_iec62056_21.FAULTS,
        simulate_iec62056_21.unasked,
    ),
    "mbus": Simulated(simulate_mbus.MbusMeter, simulate_mbus_frames.take, simulate_mbus_frames.FAULTS),
}


def is_simulated(model: MeterModel) -> bool:
    """Whether there are simulated meters of a model's protocol."""
    return model.protocol == "modbus" or model.protocol in SIMULATED
