"""Waits before the agent starts until something keeps the gateway's clock, and no longer than it is told.

`python -m agent.await_clock 60`: a gateway without a clock battery starts with a plausible wrong date. A minute later it
mostly has the right one; where no time server is reached, records are sealed with the clock's true state all the same.
"""

from __future__ import annotations

import sys
import time

from agent.clock import Clock
from agent.notify import notify, status
from config.language import _

_LOOK_SECONDS = 0.5


def await_clock(seconds: float, clock: Clock) -> bool:
    """Returns as soon as the clock is kept, at the latest after so many seconds; whether it is."""
    end = time.monotonic() + seconds
    notify(status(_("waiting for the gateway's clock to be set, {seconds:.0f} s at most", seconds=seconds)))
    while clock.trust().state == "unsynchronized" and time.monotonic() < end:
        time.sleep(_LOOK_SECONDS)
    return clock.trust().state == "synchronized"


def main() -> None:
    """Waits as long as the first argument says, in seconds."""
    seconds = float(sys.argv[1])
    if not await_clock(seconds, Clock()):
        told = _("nothing has set the gateway's clock within {seconds:.0f} s; records will say so", seconds=seconds)
        sys.stderr.write(f"<4>{told}\n")


if __name__ == "__main__":
    main()
