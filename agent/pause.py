"""How long to wait between attempts. Pure but for the dice."""

from __future__ import annotations

from tenacity import AsyncRetrying, RetryCallState, wait_exponential, wait_random

LONGEST = 60.0
_JITTER = 5.0


class Pause:
    """Spans between attempts: 1 s, then twice as long each time up to 55 s, each with up to 5 s at random added."""

    _WAIT = wait_exponential(multiplier=1, max=LONGEST - _JITTER) + wait_random(0, _JITTER)

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begins again with the shortest."""
        self._state = RetryCallState(AsyncRetrying(), None, (), {})

    def next(self) -> float:
        """The next span in seconds."""
        seconds = self._WAIT(self._state)
        self._state.prepare_for_next_attempt()
        return seconds
