"""Time zones by name, also on images that lack the time zone database.

Without the database only zones that have one fixed offset all year are offered: an hour's error in closing a day
would not be seen by anybody.
"""

from __future__ import annotations

import datetime
import zoneinfo
from functools import lru_cache

from config.language import _
from config.mistake import did_you_mean, shown

_FIXED_MINUTES = {
    "Asia/Shanghai": 480,
    "Asia/Hong_Kong": 480,
    "Asia/Taipei": 480,
    "Asia/Singapore": 480,
    "Asia/Kuala_Lumpur": 480,
    "Asia/Manila": 480,
    "Asia/Tokyo": 540,
    "Asia/Seoul": 540,
    "Asia/Bangkok": 420,
    "Asia/Ho_Chi_Minh": 420,
    "Asia/Jakarta": 420,
    "Asia/Kolkata": 330,
    "Asia/Dubai": 240,
    "Asia/Riyadh": 180,
}


@lru_cache(maxsize=1)
def _known() -> frozenset[str]:
    """The names in the machine's database; empty where there is none."""
    return frozenset(name for name in zoneinfo.available_timezones() if "/" in name)


def zone_of(name: str) -> datetime.tzinfo:
    """The time zone of a name such as Asia/Shanghai or UTC.

    Raises:
        KeyError: there is none, with a sentence that says what to write.
    """
    if name in ("UTC", "Etc/UTC"):
        return datetime.UTC
    if "/" in name:
        try:
            return zoneinfo.ZoneInfo(name)
        except (KeyError, ValueError, OSError):
            if name in _FIXED_MINUTES and not _known():
                return datetime.timezone(datetime.timedelta(minutes=_FIXED_MINUTES[name]), name)
    if not _known():
        known = _("; this machine has no time zone database: install the package tzdata, or write UTC")
        raise KeyError(_("{name} is not known here{known}", name=shown(name), known=known))
    near = did_you_mean(name, _known())
    raise KeyError(
        _("{name} is not a time zone.{near}", name=shown(name), near=near)
        if near
        else _("{name} is not a time zone; write Asia/Shanghai or UTC", name=shown(name))
    )
