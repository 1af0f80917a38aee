"""A poller's line: kept open, opened again by itself when it was lost, and how much of its time is used.

 1. A link that is gone is opened again at once, then ever more slowly up to once a minute.
 2. A connection that the other side closed while nothing was asked is opened again shortly before it is needed: many
    serial servers close idle connections.
 3. A TCP connection on which nothing was heard for long is made anew: a converter may have hung up without a word.
 4. A connection that is closed as soon as it is made, because another client holds the only one, is tried ever more
    seldom, and told of once.

What this file does not know: meters, and what is asked of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_exponential_jitter

from agent.clock import Clock
from config.language import _
from drivers.errors import LinkDown

_SHORT_LIVED = 5.0
_LEAD = 1.0
_PATIENCE = 2.0
_UNANSWERED = 5
_UNANSWERED_SECONDS = 20.0
_LONGEST_PATIENCE = 600.0
_LONGEST_PAUSE = 60.0
_WINDOW = 60.0


class Reached(Protocol):
    """How a way to meters is reached, as far as keeping it open needs it."""

    @property
    def name(self) -> str:
        """The link's name in the site file."""

    @property
    def over_tcp(self) -> bool:
        """Whether it is a TCP connection."""


class Way(Protocol):
    """What can be kept open: a link, or a session with a server (see `drivers.link.Link`)."""

    moved_to: str

    @property
    def settings(self) -> Reached:
        """How it is reached."""

    @property
    def heard_at(self) -> float:
        """When something was heard last, monotonic seconds."""

    async def open(self) -> None:
        """Opens it, once. Raises LinkDown."""

    async def lost(self) -> LinkDown:
        """Returns when it is gone, with the reason."""

    async def close(self) -> None:
        """Gives it back."""


class Line:
    """The state of one link for its poller.

    Attributes:
        times_opened: how often it was.
        port: baud rate and format it was used with last.
    """

    def __init__(self, link: Way, clock: Clock, log: Any, opening_s: float) -> None:
        """Args: opening_s: how long it cannot be used after it was opened."""
        self._link = link
        self._clock = clock
        self._log = log
        self._lead = opening_s + _LEAD
        self._open = asyncio.Event()
        self._wanted = asyncio.Event()
        self._down = LinkDown("not_open", _("{name} is not open yet", name=link.settings.name))
        self._down_since = time.monotonic()
        self._idle = False
        self._short_lived = 0
        self._silent = False
        self._used: deque[tuple[float, float]] = deque()
        self._begun = time.monotonic()
        self._unanswered = 0
        self._heard_at = clock.monotonic()
        self._patience = _UNANSWERED_SECONDS
        self._told = ""  # what of the link was told last: up, idle or down
        self._lasting = ""
        self.times_opened = 0
        self.port: tuple[int, str] | None = None
        self._ready_since_ns = 0
        self._fresh = True

    @property
    def is_open(self) -> bool:
        """Whether it can be used."""
        return self._open.is_set()

    @property
    def is_down(self) -> bool:
        """Whether it was told to be gone and nothing was heard on it since; one that is idle is not."""
        return self._told == "down"

    async def keep_open(self, needed_in: Callable[[], float], wake: asyncio.Event) -> None:
        """Keeps the link open for ever. `needed_in`: in how many seconds it is used next; `wake` is set when it is open."""
        while True:
            tries = AsyncRetrying(
                retry=retry_if_exception_type(LinkDown),
                wait=wait_exponential_jitter(initial=1, max=60),
                sleep=self._clock.sleep,
                before_sleep=self._cannot_open,
            )
            async for attempt in tries:
                with attempt:
                    await self._link.open()
            opened_at = time.monotonic()
            self._is_up(wake)
            self._down = await self._link.lost()
            self._open.clear()
            useless = self._link.heard_at < opened_at and time.monotonic() - opened_at < _SHORT_LIVED
            if not (useless and self._short_lived):
                self._down_since = time.monotonic()
            self._short_lived = self._short_lived + 1 if useless else 0
            await self._gone(str(self._down), needed_in)

    def _is_up(self, wake: asyncio.Event) -> None:
        self._heard_at, self._unanswered = self._clock.monotonic(), 0
        self.times_opened += 1
        self._fresh, self._idle, self._silent = True, False, False
        self._open.set()
        wake.set()
        if not self._short_lived:
            self._tell_up()

    def _tell_up(self) -> None:
        if self._told in ("", "down"):
            self._told, self._lasting = "up", ""
            moved = {"moved_to": self._link.moved_to} if self._link.moved_to else {}
            self._log.info("link.up", link=self._link.settings.name, **moved)

    def _tell_down(self, why: str, down: LinkDown) -> None:
        """What somebody has to do something about is told although it is known to be down."""
        lasting = down.cause if down.lasting else ""
        if self._told != "down" or lasting not in ("", self._lasting):
            self._told, self._lasting = "down", lasting
            self._log.warning("link.down", link=self._link.settings.name, cause=down.cause, reason=why, hint=down.hint)

    async def _gone(self, why: str, needed_in: Callable[[], float]) -> None:
        """Tells of a loss; returns when the link should be opened again."""
        if self._silent:
            return  # that was told, and it was closed by us
        if self._link.settings.over_tcp and needed_in() > self._lead:
            if self._told != "idle":
                self._told = "idle"
                self._log.info("link.idle", link=self._link.settings.name, reason=why)
            self._idle = True
            await self._until_needed(needed_in)
            return
        self._tell_down(why, LinkDown(self._down.cause, why, self._down.hint))
        if self._short_lived:
            await self._clock.sleep(min(_LONGEST_PAUSE, 2.0 ** (self._short_lived - 1)))

    async def _until_needed(self, needed_in: Callable[[], float]) -> None:
        while (rest := needed_in() - self._lead) > 0:
            self._wanted.clear()
            await self._clock.wait(self._wanted, min(rest, self._lead))

    def _cannot_open(self, attempt: RetryCallState) -> None:
        error = attempt.outcome.exception() if attempt.outcome else None
        if isinstance(error, LinkDown):
            self._tell_down(str(error), error)
            self._down = error

    def ready_at(self) -> float:
        """From when on nobody waits for it to open, monotonic seconds.

        One that has just gone may be back at once; one that stays away must not hold up every turn. One that was closed
        because nobody used it is opened now.
        """
        if self._open.is_set():
            return 0.0
        if self._idle:
            self._idle, self._down_since = False, time.monotonic()
        self._wanted.set()
        return self._down_since + _PATIENCE

    @property
    def down(self) -> LinkDown:
        """Why it is not open."""
        return LinkDown(self._down.cause, str(self._down), self._down.hint)

    def must_be_open(self) -> None:
        """Raises LinkDown if it is not."""
        if not self._open.is_set():
            raise self.down

    async def until_open(self) -> None:
        """Returns when it is open. Raises LinkDown where it is not within the time that anybody waits for it."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, self.ready_at() - time.monotonic())):
                await self._open.wait()
        self.must_be_open()

    async def heard(self, *, anything: bool) -> None:
        """Something was asked; whether anything was heard on it meanwhile."""
        if anything:
            self._unanswered, self._heard_at, self._patience = 0, self._clock.monotonic(), _UNANSWERED_SECONDS
            if self._told == "down":
                self._tell_up()
            return
        self._unanswered += 1
        silent_s = self._clock.monotonic() - self._heard_at
        if self._link.settings.over_tcp and self._unanswered >= _UNANSWERED and silent_s > self._patience:
            self._patience = min(_LONGEST_PATIENCE, 2 * self._patience)
            self._log.warning("link.silent", link=self._link.settings.name, seconds=round(silent_s))
            self._silent = True
            await self._link.close()

    def is_opening(self, due_ns: int) -> bool:
        """Whether at an instant (wall clock) it had been opened and not been used yet: it is listened to first."""
        return self._fresh or due_ns <= self._ready_since_ns

    def used(self, seconds: float, port: tuple[int, str] | None) -> None:
        """The line was used for so long, with these settings."""
        if not seconds:
            return
        self.port = port
        if self._fresh and self.is_open:
            self._fresh, self._ready_since_ns = False, self._clock.now_ns()
        now = time.monotonic()
        self._used.append((now, seconds))
        while self._used and self._used[0][0] < now - _WINDOW:
            self._used.popleft()

    def busy_percent(self) -> int:
        """How much of the last minute the line was used, in per cent."""
        now = time.monotonic()
        used = sum(seconds for at, seconds in self._used if at > now - _WINDOW)
        return min(100, round(100 * used / max(1.0, min(_WINDOW, now - self._begun))))
