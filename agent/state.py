"""The state directory: the ledger, the key, and the lock that keeps a second agent away."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from config.language import _

LEDGER_FILE = "ledger.sqlite"
_LOCK_FILE = "lock"


class AgentRunningError(Exception):
    """Another agent works in this state directory."""


@contextmanager
def only_agent(state: Path) -> Iterator[None]:
    """Holds the state directory's lock: two agents on one ledger would damage it. Raises AgentRunningError."""
    with (state / _LOCK_FILE).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise AgentRunningError(_("an agent is already running with {state}", state=state)) from None
        yield


def is_running(state: Path) -> bool:
    """Whether an agent holds the state directory."""
    try:
        with (state / _LOCK_FILE).open("r") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False
