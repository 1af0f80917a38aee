"""How a meter answers: how long it takes, whether it has fallen silent, and when it is tried again. Pure.

A meter is failing from its first poll without any usable answer on, and dead when that has happened often and for long
enough. A dead meter is not polled when it is due; it is asked one short question now and then, ever more seldom. Times
are seconds of a clock that is never set.
"""

from __future__ import annotations

import random
from collections import deque

_DEAD_FAILURES = 3
_DEAD_SECONDS = 3.0
_FIRST_PAUSE = 2.0
_LONGEST_PAUSE = 300.0
_JITTER = 0.2  # so that the dead meters of a line are not all tried in one go
_ENOUGH_ANSWERS = 8
_REMEMBERED = 64
_SHORTEST_TIMEOUT = 0.2  # a gateway under load stalls for that long, and the meter is not to blame


class Health:
    """One meter's answers so far.

    Attributes:
        failures: polls in a row without a usable answer.
        cause, hint: of the newest of them.
        next_try: when it is asked again besides its schedule.
        heard_of: whether it has answered since the line was opened.
        alive: whether it has answered anything since the newest failed poll.
    """

    def __init__(self, seed: str) -> None:
        self.failures = 0
        self.heard_of = False
        self.alive = False
        self.cause = ""
        self.hint = ""
        self.next_try = 0.0
        self._failing_since = 0.0
        self._failed_at = 0.0
        self._times: deque[float] = deque(maxlen=_REMEMBERED)
        self._hasty = False
        self._late_s = 0.0
        self._since_late = 0
        self._random = random.Random(seed)  # noqa: S311  jitter, no secret

    @property
    def failing(self) -> bool:
        """Whether its last poll had no usable answer."""
        return self.failures > 0

    @property
    def dead(self) -> bool:
        """Whether it has been silent often and for long enough not to be polled when it is due."""
        return self.failures >= _DEAD_FAILURES and self._failed_at - self._failing_since >= _DEAD_SECONDS

    def timeout_s(self, stated: float) -> float:
        """How long its answer is worth waiting for, by what it took so far.

        `stated`: how long it may take by its model or the site file. A meter whose answer came later than that gets the
        time that it needs. After a wait that was cut short for nothing, the next one is not.
        """
        if self._late_s > stated:
            return 1.5 * self._late_s
        if self._hasty or self.failing or len(self._times) < _ENOUGH_ANSWERS:
            return stated
        return min(stated, max(_SHORTEST_TIMEOUT, 3 * max(self._times), 1.5 * self._late_s))

    def heard(self, seconds: float) -> None:
        """It answered, so long after the request."""
        self._times.append(seconds)
        self._hasty = False
        self.heard_of = self.alive = True
        self._since_late += 1
        if self._since_late >= _REMEMBERED:
            self._late_s = 0.0

    def late(self, seconds: float) -> None:
        """It answered, but so late that nobody waited any more."""
        self._late_s = max(self._late_s, seconds)
        self._since_late = 0
        self.heard_of = self.alive = True

    def unheard(self) -> None:
        """It did not answer a request."""
        self._hasty = True

    def answered(self) -> None:
        """A poll had a usable answer."""
        self.failures = 0

    def failed(self, now: float, cause: str, hint: str) -> None:
        """A poll had none."""
        if not self.failures:
            self._failing_since = now
        self._failed_at = now
        self.failures += 1
        self.alive = False
        self.cause, self.hint = cause, hint
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(self.failures - 1, 10))
        self.next_try = now + pause * (1 + self._random.uniform(-_JITTER, _JITTER))

    def opened(self, now: float) -> None:
        """Its line was opened anew: whether it answers is not known any more, and it is tried soon."""
        self.heard_of = False
        self.next_try = min(self.next_try, now)
