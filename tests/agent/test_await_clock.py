"""agent.await_clock: the start waits for a clock that is kept, and never for long."""

import threading
import time

from agent.await_clock import await_clock
from agent.clock import Clock, State, Trust


class Kept(Clock):
    """A clock in a state that a test sets."""

    def __init__(self, state: State) -> None:
        super().__init__()
        self.state: State = state
        self.asked = threading.Event()

    def trust(self) -> Trust:
        self.asked.set()
        return Trust(self.state, 8)


def test_a_clock_that_is_kept_is_not_waited_for() -> None:
    began = time.monotonic()
    assert await_clock(60, Kept("synchronized"))
    assert time.monotonic() - began < 30


def test_the_wait_ends_as_soon_as_the_clock_is_kept() -> None:
    clock = Kept("unsynchronized")

    def comes() -> None:
        clock.asked.wait(30)
        clock.state = "synchronized"

    coming = threading.Thread(target=comes)
    coming.start()
    assert await_clock(60, clock)
    coming.join()


def test_a_clock_that_nothing_keeps_is_waited_for_no_longer_than_asked() -> None:
    assert not await_clock(0.2, Kept("unsynchronized"))


def test_where_the_kernel_says_nothing_nobody_waits() -> None:
    began = time.monotonic()
    assert not await_clock(60, Kept("unknown"))
    assert time.monotonic() - began < 30
