"""How meters are spoken to: one file a protocol, pure functions on bytes, and `link`, the only owner of ports.

A driver never computes a value, it points at bytes: it says which requests to send (`requests`), where an
answer lies in what has arrived (`answer_span`), whether it answers this request of this meter (`check`), and
where in which frame a point's value stands (`locate`, a formula that travels inside every sealed value). The
agent computes values from formulas, the verifier recomputes them, with the same four functions.

A protocol is a module in this folder with the functions of `Driver`, found by its name and imported on first
use: heavy libraries of protocols nobody configured are never loaded.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, cast

from config.model import MeterModel, Point, Watch
from drivers.errors import MeterError

PROTOCOLS = ("modbus",)


@dataclass(frozen=True, slots=True)
class Target:
    """A meter as a driver needs to know it: all of it is in the meter's sealed declaration.

    Attributes:
        model: the register map.
        address: the meter's address on its link, as on its display.
        framing: how frames are carried: `tcp` (with transaction ids), `rtu` or `ascii`.
        ct, vt: plate ratios such as `400/5`, None where there is no transformer.
    """

    model: MeterModel
    address: str
    framing: str
    ct: str | None = None
    vt: str | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """One request frame, complete as it goes on the wire.

    Attributes:
        data: the bytes.
        timeout_s: how long the meter may take to begin its answer.
        pause_s: silence the meter needs before it.
        longest_answer_s: how long after it an answer to it can still begin to come.
    """

    data: bytes
    timeout_s: float
    pause_s: float
    longest_answer_s: float


@dataclass(frozen=True, slots=True)
class Instant:
    """One moment by two clocks: the wall clock (nanoseconds since 1970, UTC) and the time since boot."""

    wall_ns: int
    uptime_ns: int


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and what came back, with the moments it happened.

    Attributes:
        request, answer: bytes as on the wire; of a failed exchange, `answer` is the frame that failed its check or,
            where no complete frame came, all that arrived.
        sent: when the request had been handed to the port.
        first, last: when the first and the last byte of `answer` arrived; None if nothing did.
        error: why the answer cannot be used; None if it was checked and is the meter's.
    """

    request: bytes
    answer: bytes
    sent: Instant
    first: Instant | None
    last: Instant | None
    error: MeterError | None = None

    @property
    def ms(self) -> int:
        """Milliseconds from the request to the last byte of the answer; 0 if nothing arrived."""
        end = self.last or self.sent
        return max(0, (end.uptime_ns - self.sent.uptime_ns) // 1_000_000)


class Driver(Protocol):
    """What a protocol module offers. All functions are pure."""

    def requests(self, target: Target, points: Sequence[Point | Watch]) -> list[Request]:
        """The fewest reads that fetch the points, within the model's limits."""

    def numbered(self, request: Request, number: int, framing: str) -> Request:
        """The same request carrying a transaction number, where the framing has one; else unchanged."""

    def answer_span(self, request: bytes, buffer: bytes, framing: str) -> tuple[int, int] | None:
        """Start and end of the first complete frame in what has arrived after `request`; None: read on.

        Skips noise and the request's own echo, and answers to other transactions. The frame found may still
        be somebody else's answer: `check` tells.
        """

    def check(self, request: bytes, answer: bytes, framing: str) -> None:
        """Returns if `answer` answers exactly this request of this meter.

        Raises:
            BadFrame: wrong checksum, unit, function or length.
            Refused: the meter's own no.
        """

    def fault(self, request: bytes, buffer: bytes, framing: str) -> tuple[str, str]:
        """Cause and plain words for a buffer in which no complete frame was found by the deadline."""

    def identification_request(self, target: Target, first: int = 0) -> Request | None:
        """A request for what the meter says of itself (maker, product, ...), from its object `first` on; None: it has no such."""

    def identification(self, answer: bytes, framing: str) -> tuple[dict[str, str], int | None]:
        """What a checked identification answer says, by plain names, and the object to ask for next, if more follow."""

    def locate(self, target: Target, requests: Sequence[bytes], point: Point | Watch) -> str:
        """The formula for a point over the answers to `requests`.

        Raises:
            KeyError: none of the requests fetches the point.
        """


def load(protocol: str) -> Driver:
    """The driver of a protocol, imported on first use. Raises KeyError for a name that is none."""
    if protocol not in PROTOCOLS:
        raise KeyError(protocol)
    return cast("Driver", importlib.import_module(f"drivers.{protocol}"))
