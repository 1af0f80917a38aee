"""A driver for bytes of any kind: everything that arrives until the line is silent is the answer. For searches only.

Where several meters answer at once, what arrives is no frame, and that is just what a search wants to know. Nothing is
checked here and nothing is owed: who searches looks at the bytes himself and takes no value from them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from config.language import _

if TYPE_CHECKING:
    from drivers import Driver, Request


def numbered(request: Request, number: int, framing: str) -> Request:
    """The request itself."""
    return request


def station(request: bytes, framing: str) -> bytes | None:
    """None: whatever comes too late is told apart by who looks at it."""
    return None


def answer_span(request: bytes, buffer: bytes, framing: str) -> tuple[int, int] | None:
    """None: there is no end but silence."""
    return None


def fault(request: bytes, buffer: bytes, framing: str) -> tuple[str, str]:
    """Silence, or that something arrived."""
    if not buffer:
        return "no_answer", _("no answer")
    if buffer == request:
        return "only_echo", _("only the request's own echo came back")
    return "noise", _("bytes arrived")


def driver() -> Driver:
    """This module as a driver. It has what a link needs for an exchange and nothing else."""
    import sys

    return cast("Driver", sys.modules[__name__])
