"""Which tests go by the clock: tests that pace a line, count instants or hold an answer for some milliseconds.

`make test` runs them apart from the tests that compute: they mostly wait, so two files of them share the machine
well. A busy machine may take from one of them the time it
needs: it is tried a second time, and the summary names it (`RERUN`). One that fails twice has failed.
"""

from __future__ import annotations

import pytest

BY_THE_CLOCK = frozenset(
    f"test_{name}"
    for name in (
        "adapter", "attribution", "book", "by_person", "cli_key", "cli_opcua", "cli_scan", "cli_try", "commissioning", "control",
        "debts", "delivery", "demo", "dlt645_foreign", "doctor", "foreign", "forward", "journey", "kill", "line", "link",
        "mbus_foreign",
        "meter_life", "mqtt", "opcua_client", "opcua_failures", "opcua_foreign", "opcua_session", "paced_line", "page",
        "poll", "polling", "protocols", "read_once", "receipt_desk", "reload", "secrets", "serial_meters", "server_by_hand",
        "server_changes", "server_foreign", "server_poll", "server_trust", "simulate_line", "simulate_faults", "simulate_mbus",
        "simulated_day", "status", "stop", "turn", "witness",
        "broker_faults", "fault_proofs",
        "cli_health",
        "collect", "collect_postgres", "delivery_faults", "refused",
    )
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the tests that go by the clock."""
    for item in items:
        if item.path.stem in BY_THE_CLOCK:
            item.add_marker(pytest.mark.by_the_clock)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints what the public sources of models say, beside what the models say."""
    passed = [report for report in terminalreporter.stats.get("passed", []) if report.when == "call"]
    told = [value for report in passed for name, value in report.user_properties if name == "agrees"]
    lines = [line for report in passed for name, value in report.user_properties if name == "differences" for line in value]
    if told:
        terminalreporter.section("models against each public source")
        for line in (*sorted(told), "", *sorted(lines)):
            terminalreporter.write_line(line)
