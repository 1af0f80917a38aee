"""When a meter is due: at whole multiples of its interval on the wall clock, so that all meters of a balance agree.

Intervals divide a day, so with 15 minutes every meter is read at :00, :15, :30 and :45 in every time zone whose offset
is a whole number of quarter hours. Pure.
"""

from __future__ import annotations

SECOND = 1_000_000_000
MILLISECOND = 1_000_000


def first_due(every_ns: int, now_ns: int) -> int:
    """The first due instant at or after now."""
    return -(-now_ns // every_ns) * every_ns


def newest_due(every_ns: int, now_ns: int) -> int:
    """The newest due instant that has come, now included."""
    return now_ns // every_ns * every_ns


def next_due(due_ns: int, every_ns: int, now_ns: int) -> int:
    """The due instant that follows one just dealt with.

    Whoever is later than a whole interval goes on with the newest instant that has passed: the ones between are
    missed, and the meter's book says so.
    """
    return max(due_ns + every_ns, newest_due(every_ns, now_ns))


def instants_between(since_ns: int, due_ns: int, every_ns: int) -> int:
    """How many due instants lie from `since` up to, not including, `due`; at least 0."""
    return max(0, (due_ns - since_ns) // every_ns)
