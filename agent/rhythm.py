"""When a checkpoint is due, by the records alone, so that whoever reads them can tell that one is missing. Pure.

Before a record is sealed there is a checkpoint over all records in front of it, if since the first one that no checkpoint
covers

 - 256 records were sealed, or
 - more than five minutes passed, by the time since boot, or
 - the machine was started anew.

Records that change keys are passed over: what signs a revocation signs no checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MOST = 256
LONGEST_MS = 300_000


@dataclass(frozen=True, slots=True)
class Rhythm:
    """The records that no checkpoint covers: how many, and boot and uptime of the first one."""

    count: int = 0
    boot: str = ""
    uptime_ms: int = 0

    def is_due(self, fields: Mapping[str, Any]) -> bool:
        """Whether there must be a checkpoint before this record."""
        if not self.count or fields["kind"] == "key":
            return False
        clock = fields["clock"]
        late = clock["uptime_ms"] - self.uptime_ms > LONGEST_MS
        return self.count >= MOST or late or bool(clock["boot"] != self.boot)

    def after(self, fields: Mapping[str, Any]) -> Rhythm:
        """With one more record that is not covered yet."""
        if self.count:
            return Rhythm(self.count + 1, self.boot, self.uptime_ms)
        return Rhythm(1, fields["clock"]["boot"], fields["clock"]["uptime_ms"])
