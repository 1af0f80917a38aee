"""What others outside vouch for: witnesses' cosignatures and timestamps over checkpoints, and the bounds they set to time. Pure.

 1. A checkpoint of size s that was cosigned at T: the first s records existed at T, as they are. Their times lie before T.
 2. The witness had asked for the newest checkpoint just before: what follows was sealed after T, give or take the five
    minutes for which a checkpoint may be the newest. Its times lie after T, less that.
 3. A timestamp (RFC 3161) says the first of the two only: nobody knows how old the checkpoint was.

A record whose own clock was not synchronised says so and claims no time; it is not held to these bounds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from agent.checkpoint import CheckpointError
from agent.cosignature import Witness, cosigned_at, signature_lines
from agent.findings import Findings
from agent.timeline import BACK_MS, milliseconds
from config.language import _

OLDEST_MS = 300_000  # how long a checkpoint may be the newest


@dataclass(frozen=True, slots=True)
class Anchor:
    """Somebody's word that the first `size` records existed at `time_ms` (milliseconds since 1970).

    Attributes:
        name: who says so.
        newest: whether nothing else existed then, but for what the newest checkpoint did not cover yet.
    """

    name: str
    size: int
    time_ms: int
    newest: bool

    @property
    def time(self) -> str:
        """The time as people read it, UTC."""
        return f"{datetime.fromtimestamp(self.time_ms // 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"


class Anchors:
    """The anchors of one log, and its records' times against them as they go by.

    Attributes:
        proven: the largest anchor of each name whose checkpoint these records lead to.
    """

    def __init__(self, witnesses: Sequence[Witness], findings: Findings) -> None:
        self.proven: dict[str, Anchor] = {}
        self._witnesses = witnesses
        self._findings = findings
        self._anchors: dict[int, list[Anchor]] = {}
        self._after_ms = 0
        self._before: list[tuple[int, int]] = []
        self._passed: list[int] = []

    def cosigned(self, size: int, note: str, place: str) -> None:
        """Takes the witnesses' lines under a checkpoint; a finding where one is not genuine."""
        for witness in self._witnesses:
            for line in signature_lines(note):
                try:
                    seconds = cosigned_at(note, line, witness)
                except CheckpointError as error:
                    self._findings.add("WITNESS", None, f"{place}: {error}")
                    continue
                if seconds is not None:
                    self.add(Anchor(witness.name, size, 1000 * seconds, newest=True))

    def add(self, anchor: Anchor) -> None:
        """Takes an anchor that is genuine."""
        self._anchors.setdefault(anchor.size, []).append(anchor)

    def begin(self) -> None:
        """All anchors are known; records follow."""
        earliest = 2**62
        for size in sorted(self._anchors, reverse=True):
            earliest = min(earliest, *(anchor.time_ms for anchor in self._anchors[size]))
            self._before.append((size, earliest))
        self._passed = sorted((size for size in self._anchors), reverse=True)

    def reached(self, size: int) -> None:
        """The records lead to the checkpoint of this size."""
        for anchor in self._anchors.get(size, ()):
            known = self.proven.get(anchor.name)
            if known is None or (known.size, -known.time_ms) < (size, -anchor.time_ms):
                self.proven[anchor.name] = anchor

    def problems(self, n: int, fields: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """Problems of record n's time with the anchors around it; n rises."""
        while self._passed and self._passed[-1] <= n:
            anchors = self._anchors[self._passed.pop()]
            self._after_ms = max([self._after_ms, *(anchor.time_ms for anchor in anchors if anchor.newest)])
        while self._before and self._before[-1][0] <= n:
            self._before.pop()
        clock = fields.get("clock")
        if not (self._after_ms or self._before) or not isinstance(clock, dict) or clock.get("state") == "unsynchronized":
            return
        try:
            time_ms = milliseconds(str(fields.get("time")))
        except (TypeError, ValueError):
            return  # malformed, which is a finding of its own
        early = self._after_ms - OLDEST_MS - BACK_MS - time_ms
        if self._after_ms and early > 0:
            yield (
                "TIME-WINDOW",
                _("is dated {span} before the earliest moment at which it can have been sealed", span=_span(early)),
            )
        if self._before and time_ms - self._before[-1][1] > BACK_MS:
            late = time_ms - self._before[-1][1]
            yield (
                "TIME-WINDOW",
                _("is dated {span} after a checkpoint that covers it was seen by others", span=_span(late)),
            )

    def end(self) -> None:
        """The records have gone by: findings for witnesses that vouch for none of them."""
        for witness in self._witnesses:
            if witness.name not in self.proven:
                self._findings.add(
                    "WITNESS", None, _("{name} has cosigned no checkpoint that these records lead to", name=witness.name)
                )


def _span(ms: int) -> str:
    seconds = ms // 1000
    return f"{seconds} s" if seconds < 7200 else f"{seconds // 3600} h"
