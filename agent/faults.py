"""The faults an operator can be told of, under codes that never change meaning, and which event or cause is which. Pure.

`docs/faults.md` is written from here (`python -m agent.fault_text`). A code that is taken out is never given again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.fault import Fault
from agent.faults_agent import CLOCK, DELIVERY, KEYS, LEDGER, WITNESS
from agent.faults_collect import COLLECT
from agent.faults_line import LINE, METER, SITE
from agent.faults_system import SYSTEM
from drivers.errors import LinkDown, MeterError, NoAnswer, Refused

GROUPS = {
    "MS-1xx": "site file and settings",
    "MS-2xx": "lines and meters",
    "MS-3xx": "identity, settings and counters of meters",
    "MS-4xx": "ledger and disk",
    "MS-5xx": "delivery",
    "MS-6xx": "clock",
    "MS-7xx": "keys",
    "MS-8xx": "witnesses, timestamps and collectors",
    "MS-9xx": "agent and system",
}

FAULTS: dict[str, Fault] = {
    each.code: each for group in (SITE, LINE, METER, LEDGER, DELIVERY, CLOCK, KEYS, WITNESS, COLLECT, SYSTEM) for each in group
}

# What the journal tells as a warning or an error; where a field `cause` says more, the cause decides.
EVENTS = {
    "site.refused": "MS-102",
    "page.cannot_listen": "MS-905",
    "link.down": "MS-202",
    "link.silent": "MS-203",
    "link.overrun": "MS-211",
    "meter.silent": "MS-204",
    "meter.overrun": "MS-211",
    "meter.changes_lost": "MS-212",
    "meter.changes_refused": "MS-213",
    "meter.refused": "MS-207",
    "meter.exchanged": "MS-301",
    "meter.replaced": "MS-302",
    "meter.unidentified": "MS-303",
    "meter.settings_changed": "MS-304",
    "meter.settings_unread": "MS-305",
    "counter.decided": "MS-306",
    "ledger.failed": "MS-401",
    "ledger.refused": "MS-401",
    "ledger.pruned_undelivered": "MS-405",
    "ledger.not_pruned": "MS-401",
    "ledger.not_packed": "MS-401",
    "ledger.salvaged": "MS-406",
    "forward.lost": "MS-501",
    "forward.cannot_connect": "MS-502",
    "forward.refused": "MS-505",
    "forward.password_in_clear": "MS-506",
    "forward.nobody_listens": "MS-507",
    "forward.old_version": "MS-510",
    "receipt.no_connection": "MS-502",
    "receipt.not_taken": "MS-508",
    "receipt.alarm": "MS-509",
    "receipt.gone": "MS-826",
    "clock.set": "MS-601",
    "witness.not_taken": "MS-801",
    "witness.alarm": "MS-802",
    "witness.no_connection": "MS-803",
    "witness.ahead": "MS-804",
    "timestamp.failed": "MS-805",
    "agent.stalled": "MS-907",
    "collect.no_connection": "MS-502",
    "collect.not_taken": "MS-821",
    "collect.finding": "MS-822",
    "collect.unchecked": "MS-823",
    "collect.alarm": "MS-824",
    "collect.failed": "MS-825",
}

_BY_CAUSE = {
    "MS-201": ("no_port", "port_lost"),
    "MS-202": ("no_connection", "connection_lost"),
    "MS-204": ("no_answer", "only_echo"),
    "MS-205": ("short_answer", "bad_checksum", "bad_parity", "noise", "ended"),
    "MS-206": (
        *("not_modbus", "wrong_unit", "wrong_function", "wrong_length", "wrong_transaction"),
        *("wrong_identifier", "wrong_sequence", "wrong_format", "too_long", "not_dlt645", "not_cjt188", "bad_request"),
    ),
    "MS-207": (
        *("illegal_function", "illegal_address", "illegal_value", "left_out", "nothing_to_read", "no_such_data", "password"),
        *("unknown_telegram", "message_missing", "high_byte_first", "unknown_request"),
    ),
    "MS-208": ("device_failure", "acknowledge", "busy", "memory_parity", "alarm", "abnormal", "meter_error", "application_busy"),
    "MS-209": ("gateway_path", "gateway_target"),
    "MS-210": (
        *("certificate_refused", "wrong_application_uri", "clock_difference", "login_refused", "no_endpoint"),
        *("too_many_sessions", "session_closed", "untrusted_certificate", "other_server", "server_refused"),
        *("password_in_clear", "not_opcua"),
    ),
    "MS-211": ("overrun",),
    "MS-301": ("other_meter",),
    "MS-401": ("ledger_failed", "refused_by_ledger"),
    "MS-601": ("clock_set",),
    "MS-902": ("agent_stopped",),
}
CAUSES = {cause: code for code, causes in _BY_CAUSE.items() for cause in causes}

# A protocol's own numbers: `exception_9`, `application_error_12`.
_NUMBERED = ("exception_", "application_error_")

# Of these events the cause says which fault it is.
_BY_THEIR_CAUSE = frozenset({"link.down", "meter.silent", "meter.refused"})


def code_of_cause(cause: str) -> str:
    """The fault of a cause as it stands in a sealed gap or an error; empty for one that is no fault, or not known."""
    return CAUSES.get(cause) or ("MS-207" if cause.startswith(_NUMBERED) else "")


def code_of_error(error: MeterError) -> str:
    """The fault of a failed exchange: by its cause, else by its kind."""
    kinds = ((NoAnswer, "MS-204"), (Refused, "MS-207"), (LinkDown, "MS-202"))
    return code_of_cause(error.cause) or next((code for kind, code in kinds if isinstance(error, kind)), "MS-206")


def code_of_event(event: str, fields: Mapping[str, Any]) -> str:
    """The fault that an event of the journal tells of, by its name and fields; empty where it tells of none."""
    by_name = EVENTS.get(event, "")
    if event in _BY_THEIR_CAUSE:
        return code_of_cause(str(fields.get("cause", ""))) or by_name
    return by_name


def with_code(message: str, code: str) -> str:
    """A message that ends with its fault's code, as `meterseal fault CODE` takes it; as it is where there is no code."""
    return f"{message} [{code}]" if code else message


def fault_of(code: str) -> Fault | None:
    """The fault of a code as a person types it (`MS-204`, `ms204`, `204`); None where there is none."""
    digits = code.strip().upper().removeprefix("MS").strip("- ")
    return FAULTS.get(f"MS-{digits}")
