"""Which tests go by the clock: they share one process, while others use what the machine has left.

`make test` runs two processes. Tests that pace a line, count instants or hold an answer for some milliseconds run one after the
other in one of them; the rest, which compute, stand back for them.
"""

from __future__ import annotations

import os

import pytest

BY_THE_CLOCK = frozenset(
    f"test_{name}"
    for name in (
        "adapter", "attribution", "book", "by_person", "cli_key", "cli_opcua", "cli_try", "control", "debts",
        "demo", "dlt645_foreign", "foreign", "forward", "journey", "kill", "line", "link", "mbus_foreign",
        "meter_life", "mqtt", "opcua_client", "opcua_failures", "opcua_foreign", "opcua_session", "paced_line",
        "poll", "polling", "protocols", "read_once", "secrets", "serial_meters", "server_by_hand",
        "server_changes", "server_foreign", "server_poll", "server_trust", "simulate_line", "simulate_faults", "simulate_mbus",
        "simulated_day", "status", "turn", "witness",
    )
)  # fmt: skip
_STANDS_BACK = 10


@pytest.hookimpl(tryfirst=True)  # pytest-xdist looks for the group in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the tests that go by the clock into one group, which one process runs."""
    for item in items:
        if item.path.stem in BY_THE_CLOCK:
            item.add_marker(pytest.mark.xdist_group("by the clock"))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Lets tests that compute stand back, in a run of several processes."""
    if "PYTEST_XDIST_WORKER" in os.environ and item.path.stem not in BY_THE_CLOCK:
        os.setpriority(os.PRIO_PROCESS, 0, _STANDS_BACK)
