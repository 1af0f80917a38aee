"""What the poller of a server remembers of its meters and their schedules between two instants."""

from __future__ import annotations

from dataclasses import dataclass, field

from agent.polled import Polled
from agent.schedule import MILLISECOND
from agent.server_changes import Kept
from agent.telling import Telling


@dataclass(slots=True, eq=False)
class MeterOfServer:
    """What the poller knows of one meter, whatever its schedules.

    Attributes:
        telling: what is being written of it.
        asked_s: when it was last asked how it is set, monotonic seconds; None: not in this session.
    """

    telling: Telling = field(default_factory=Telling)
    asked_s: float | None = None


@dataclass(slots=True, eq=False)
class Scheduled:
    """One schedule of one meter.

    Attributes:
        polled: what is read.
        requests: what asks for it, in the form that needs the server's table of namespaces.
        meter: its meter.
        changes: what its server told of its points and is not sealed yet.
        due_ns: the instant that waits to be read; None: none does.
        missing: whether the newest instant told of was missed.
        failures: how many were in a row.
    """

    polled: Polled
    requests: tuple[bytes, ...]
    meter: MeterOfServer
    changes: Kept
    due_ns: int | None = None
    missing: bool = False
    failures: int = 0

    @property
    def every_ns(self) -> int:
        """The interval in nanoseconds."""
        return self.polled.every_ms * MILLISECOND
