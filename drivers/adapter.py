"""Serial adapters by lasting names.

An adapter that was pulled and put back may come under another ttyUSB number, and what then has the old number may be
another adapter with other meters. Under /dev/serial/by-id it keeps its name. Adapters without a serial number of their
own share one such name with all of their kind, so theirs is not relied on.
"""

from __future__ import annotations

import os
from pathlib import Path

BY_ID = Path("/dev/serial/by-id")
SYSFS = Path("/sys/class/tty")


def adapter_of(name: str, folder: Path = BY_ID, sysfs: Path = SYSFS) -> Path | None:
    """The lasting name of the adapter that a device belongs to now, None where it has none.

    Args:
        name: of the device, whichever of its names.
        folder: where the lasting names are, as links to devices.
        sysfs: where the kernel tells what a device hangs on.
    """
    device = os.path.realpath(name)
    try:
        names = sorted(folder.iterdir())
    except OSError:
        return None
    found = next((link for link in names if os.path.realpath(link) == device), None)
    return found if found and _is_one_of_its_kind(device, sysfs) else None


def _is_one_of_its_kind(device: str, sysfs: Path) -> bool:
    """Whether a device's adapter has a serial number; True where the kernel knows of no USB adapter."""
    place = (sysfs / Path(device).name / "device").resolve()
    adapter = next((each for each in (place, *place.parents) if (each / "idVendor").exists()), None)
    return adapter is None or (adapter / "serial").exists()
