"""The search for all meters on an M-Bus, by wildcard selections (EN 13757-7, section 10 and annex): pure steps.

    pattern FFFFFFFF -> nobody answers: done
                     -> E5: somebody fits; send data -> one whole telegram: select exactly that meter and send data again
                                                        -> the same telegram's number: the meter is found
                                                     -> anything else, nothing too: several answer at once
                     -> anything else: several answer at once
    several          -> the same with 0FFFFFFF, 1FFFFFFF ... 9FFFFFFF; behind the eight digits with each medium, then each
                        version; meters that differ by nothing but their maker cannot be told apart

Whoever steps sends `asked(search)`, waits until the line is silent, and goes on with `heard(search, what arrived)`, until
there is nothing more to ask. Nothing is changed in a meter by it.

Meters of one make that answer at the same instant can sound like one: their bits add up to a third meter that is not
there, which the second selection finds out, or one drowns another, which it does not. A thorough search does not trust a
single telegram while digits are open: it tries all of them, at about half a minute for each meter at 2400 baud.

What this file does not know: ports, time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from drivers.mbus_frame import (
    ACKNOWLEDGED,
    BEGIN,
    FIRST_DATA_REQUEST,
    SELECTED,
    answer_span,
    fits,
    select_frame,
    short_frame,
)
from drivers.mbus_record import FIRST_DATA, FIXED_STRUCTURE, VARIABLE, Unreadable, read_header

ALL = b"\xff" * 8
_TRIES = 2
_MEDIUM, _VERSION = 7, 6


@dataclass(frozen=True, slots=True)
class Found:
    """A meter that was found.

    Attributes:
        secondary: its secondary address as in a site file: 8 digits, and 8 more of maker, version and medium if it has them.
        primary: the address its telegram came from; 0 where it was never given one, FD where it does not tell.
        manufacturer, version, medium: as in its header; version -1 and no maker in the fixed structure.
    """

    secondary: str
    primary: int
    manufacturer: str
    version: int
    medium: int


@dataclass(frozen=True, slots=True)
class Search:
    """A search under way.

    Attributes:
        pending: patterns still to be tried, the last one next.
        stage: `begin`, `select` or `read`.
        tries: how often the request in hand was sent without an answer.
        found: meters found so far.
        unresolved: patterns behind which several meters answer that nothing tells apart, or one that sends no telegram.
        left: how many requests may still be sent; noise on a line without meters could go on for ever.
        confirming: the pattern by which the meter was heard that is now selected by all its digits; None: no such.
        thorough: whether every open digit is tried even where one meter seems to answer.
    """

    pending: tuple[bytes, ...]
    stage: str = "begin"
    tries: int = 0
    found: tuple[Found, ...] = ()
    unresolved: tuple[bytes, ...] = ()
    left: int = 20_000
    confirming: bytes | None = None
    thorough: bool = False


def search(pattern: bytes = ALL, most: int = 20_000, thorough: bool = False) -> Search:
    """The beginning of a search. `pattern`: which meters are looked for; `most`: requests it may send."""
    return Search((pattern,), left=most, thorough=thorough)


def asked(state: Search) -> bytes | None:
    """The request to send next; None: the search is done."""
    if not state.pending or state.left <= 0:
        return None
    if state.stage == "begin":
        return short_frame(BEGIN, SELECTED)
    return select_frame(state.pending[-1]) if state.stage == "select" else short_frame(FIRST_DATA_REQUEST, SELECTED)


def heard(state: Search, buffer: bytes) -> Search:
    """The search after all that arrived behind `asked(state)` until the line was silent; empty: nothing."""
    request = asked(state)
    if request is None:
        return state
    state = replace(state, left=state.left - 1)
    if state.stage == "begin":
        return replace(state, stage="select", tries=0)
    rest = buffer.removeprefix(request)
    if not rest and state.tries + 1 < _TRIES:
        return replace(state, tries=state.tries + 1)
    if state.stage == "select":
        return _selected(state, rest)
    return _read(state, request, buffer)


def _selected(state: Search, rest: bytes) -> Search:
    if rest and set(rest) == set(ACKNOWLEDGED):
        return replace(state, stage="read", tries=0)
    if rest or state.confirming:
        return _several(state)
    return replace(state, pending=state.pending[:-1], tries=0)


def _read(state: Search, request: bytes, buffer: bytes) -> Search:
    span = answer_span(request, buffer)
    pattern = state.pending[-1]
    heard_now = _found(buffer[span[0] : span[1]], pattern) if span and span[1] == len(buffer) else None
    if heard_now is None:
        return _several(state)
    found, exact = heard_now
    if pattern[: len(exact)] != exact:
        exact = exact + ALL[len(exact) :]
        return replace(state, pending=(*state.pending[:-1], exact), stage="select", tries=0, confirming=pattern)
    known = state.found if found in state.found else (*state.found, found)
    done = replace(state, pending=state.pending[:-1], stage="select", tries=0, found=known, confirming=None)
    open_digits = state.confirming is not None and "f" in state.confirming[:4].hex()
    return _several(replace(state, found=known)) if state.thorough and open_digits else done


def _found(answer: bytes, pattern: bytes) -> tuple[Found, bytes] | None:
    """The meter that a telegram is from, and the bytes that select exactly it; None where the pattern is not its own."""
    if answer[FIRST_DATA] not in (VARIABLE, FIXED_STRUCTURE):
        return None
    try:
        header = read_header(answer)
    except Unreadable:
        return None
    exact = answer[FIRST_DATA + 1 : FIRST_DATA + 9]
    own = exact
    if answer[FIRST_DATA] == FIXED_STRUCTURE:
        exact = exact[:4]
        own = exact + pattern[4:7] + bytes([header.medium])
    if not fits(pattern, own):
        return None
    address = header.digits + exact[4:].hex().upper()
    return Found(address, answer[5], header.manufacturer, header.version, header.medium), exact


def _several(state: Search) -> Search:
    """The search with the pattern in hand split up; the one that was heard before, where a single meter was not confirmed."""
    pattern = state.confirming or state.pending[-1]
    rest = state.pending[:-1]
    narrower = _next(pattern)
    more = (*state.unresolved, pattern) if narrower is None else state.unresolved
    pending = rest + tuple(reversed(tuple(narrower or ())))
    return replace(state, pending=pending, stage="select", tries=0, unresolved=more, confirming=None)


def _next(pattern: bytes) -> Iterator[bytes] | None:
    """The patterns that a pattern falls into: the first open digit, then the medium, then the version; None: none is open."""
    digits = pattern[:4][::-1].hex()
    place = digits.find("f")
    if place >= 0:
        return (bytes.fromhex(f"{digits[:place]}{digit}{digits[place + 1 :]}")[::-1] + pattern[4:] for digit in range(10))
    for at in (_MEDIUM, _VERSION):
        if pattern[at] == 0xFF:
            return (pattern[:at] + bytes([code]) + pattern[at + 1 :] for code in range(255))
    return None
