"""Calendar days in a zone, and the instants at which they begin. Pure."""

from __future__ import annotations

from datetime import date, datetime, tzinfo


def day_of(ms: int, zone: tzinfo) -> date:
    """The calendar day of an instant, milliseconds since 1970."""
    return datetime.fromtimestamp(ms / 1000, zone).date()


def begin_of(day: date, zone: tzinfo) -> int:
    """The first instant of a calendar day; where the clock jumps over midnight, that of the jump."""
    return int(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()) * 1000
