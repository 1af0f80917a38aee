"""How meters are spoken to: one file a protocol, pure functions on bytes, and `link`, the only owner of ports.

A driver never computes a value, it points at bytes: it says which requests to send (`requests`), what to ask next to
complete one (`following`), where an answer lies in what has arrived (`answer_span`), whether it answers this request
of this meter (`check`), and where in which frame a point's value stands (`locate`, a formula that travels inside every
sealed value). The agent computes values from formulas, the verifier recomputes them, with the same functions.

A protocol is a module in this folder with the functions of `Driver`, found by its name and imported on first
use: heavy libraries of protocols nobody configured are never loaded.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast

from drivers.errors import MeterError

if TYPE_CHECKING:  # whoever only names an error, as `--help` does, need not load the models' checks
    from config.model import MeterModel, Point, Watch

PROTOCOLS = ("modbus", "dlt645", "cjt188", "iec62056_21", "mbus", "opcua")


@dataclass(frozen=True, slots=True)
class Target:
    """A meter as a driver needs to know it: all of it is in the meter's sealed declaration.

    Attributes:
        model: the register map.
        address: the meter's address on its link, as on its display.
        framing: how Modbus frames are carried: `tcp` (with transaction ids), `rtu` or `ascii`; `own` for all other protocols.
        ct, vt: plate ratios such as `400/5`; None where there is no transformer, or its ratio is unknown (`doubt`).
        server: the application URI that the meter's OPC UA server must have, None where none is declared.
    """

    model: MeterModel
    address: str
    framing: str
    ct: str | None = None
    vt: str | None = None
    server: str | None = None

    def ratios(self, point: Point | Watch) -> list[str]:
        """The plate ratios that the agent, not the meter, has to apply to a point."""
        wanted = {"ct": [self.ct], "vt": [self.vt], "ct_vt": [self.ct, self.vt]}.get(getattr(point, "ratio", "none"), [])
        return [ratio for ratio in wanted if ratio]

    def doubt(self, point: Point) -> str:
        """`ratio_unknown` where a value of the point stands as on the transformer's secondary side, for want of the ratio."""
        wanting = {"ct": not self.ct, "vt": not self.vt, "ct_vt": not (self.ct and self.vt)}.get(point.ratio, False)
        return "ratio_unknown" if wanting else ""


@dataclass(frozen=True, slots=True)
class Request:
    """One request frame, complete as it goes on the wire.

    Attributes:
        data: the bytes, wake-up bytes included; empty to listen to a meter that tells without being asked.
        timeout_s: how long the meter may take to begin its answer.
        pause_s: silence the meter needs before it.
        longest_answer_s: how long after it an answer to it can still begin to come.
        longest_bytes: the most bytes an answer to it has.
        silent: no answer is expected, such as after wake-up bytes; the line stays silent for `timeout_s`.
        baud, character: what the port is set to while it is sent, such as 300 and `7E1`; None: the line's settings.
        answer_baud: what the port is set to as soon as it has been sent; None: no change.
        gap_s: the longest pause that the meter may make within its answer; None: none but the line's own.
        open_pause_s: how long the meter must be left alone after the port or connection was opened.
        together: how many such requests the meter takes at once, where they carry transaction numbers.
        again: what is sent instead when it failed, such as the first request of a conversation; None: itself.
    """

    data: bytes
    timeout_s: float
    pause_s: float
    longest_answer_s: float
    longest_bytes: int = 256
    silent: bool = False
    baud: int | None = None
    character: str | None = None
    answer_baud: int | None = None
    gap_s: float | None = None
    open_pause_s: float = 0.0
    together: int = 1
    again: Request | None = None


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

    __name__: str

    def requests(self, target: Target, points: Sequence[Point | Watch], hole: int | None = None) -> list[Request]:
        """The fewest reads that fetch the points, within the model's limits.

        `hole`: so many bytes that nobody asked for cost less on this link than another request; None: only the holes
        that the model says the meter bears. With 0 no hole is read over.
        """

    def following(self, target: Target, request: bytes, answer: bytes) -> Request | None:
        """What is asked next to complete `request`, whose checked answer is `answer`; None: it is complete."""

    def prescribes(self, target: Target, points: Sequence[Point | Watch], request: bytes) -> bool:
        """Whether a request (without transaction number) is one by which these points of this meter are fetched."""

    def numbered(self, request: Request, number: int, framing: str) -> Request:
        """The same request carrying a transaction number, where the framing has one; else unchanged."""

    def station(self, request: bytes, framing: str) -> bytes | None:
        """What every answer to the request repeats of it, such as the meter's address, so that an answer to a request
        to another station can never be taken for one to this. Empty: nothing. None: a number of its own."""

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

    def frame_serial(self, target: Target, requests: Sequence[bytes], answers: Sequence[bytes]) -> str | None:
        """The formula of the meter's own number that stands in its answers; None where none of them has one."""

    def locate(self, target: Target, requests: Sequence[bytes], point: Point | Watch, answers: Sequence[bytes]) -> str:
        """The formula for a point over the answers to `requests`. A failed frame is masked: both are empty.

        Raises:
            KeyError: none of the requests fetches the point.
            NoValue: one does, but its answer holds no value of it; the cause says why.
        """

    def doubt(self, target: Target, requests: Sequence[bytes], point: Point, answers: Sequence[bytes]) -> str:
        """Why a value that `locate` finds is not to be relied on, by what the answers themselves say; empty: no reason."""


def load(protocol: str) -> Driver:
    """The driver of a protocol, imported on first use. Raises KeyError for a name that is none."""
    if protocol not in PROTOCOLS:
        raise KeyError(protocol)
    return cast("Driver", importlib.import_module(f"drivers.{protocol}"))
