"""Dates and times in M-Bus records (EN 13757-3, annex A): types F, G, I and J.

    G  2 bytes   year low bits(3) day(5) | year high bits(4) month(4)
    F  4 bytes   invalid, minute(6) | summer time, century(2), hour(5) | as G
    I  6 bytes   second(6) | invalid, minute(6) | day of week(3), hour(5) | as G | week
    J  3 bytes   second(6) | minute(6) | hour(5)

They are for people who look at a telegram; no value of a quantity comes from them.

What this file does not know: zones. A meter's clock says nothing about them.
"""

from __future__ import annotations


def moment(data: bytes) -> str | None:
    """A date (type G, two bytes) or a date with its time (type F, four; type I, six), low byte first, as ISO 8601 without zone.

    None where the meter marks it invalid, or it is no date. Type J (three bytes) is a time of day.
    """
    if len(data) == 3:
        return _clock(data[2] & 0x1F, data[1] & 0x3F, data[0] & 0x3F)
    if len(data) not in (2, 4, 6):
        return None
    date = {2: data[:2], 4: data[2:4], 6: data[3:5]}[len(data)]
    day, month, year = date[0] & 0x1F, date[1] & 0x0F, date[0] >> 5 | (date[1] >> 4) << 3
    if not (1 <= day <= 31 and 1 <= month <= 12 and year <= 99):
        return None
    if len(data) == 2:
        return f"{2000 + year:04d}-{month:02d}-{day:02d}"
    if data[0 if len(data) == 4 else 1] & 0x80:
        return None
    century = data[1] >> 5 & 3 if len(data) == 4 else 0
    first = 2000 if (century == 0 and year <= 80) or len(data) == 6 else 1900 + 100 * century
    hour, minute, second = (data[1], data[0], 0) if len(data) == 4 else (data[2], data[1], data[0])
    clock = _clock(hour & 0x1F, minute & 0x3F, second & 0x3F)
    return clock and f"{first + year:04d}-{month:02d}-{day:02d}T{clock if len(data) == 6 else clock[:5]}"


def _clock(hour: int, minute: int, second: int) -> str | None:
    return f"{hour:02d}:{minute:02d}:{second:02d}" if hour < 24 and minute < 60 and second < 60 else None
