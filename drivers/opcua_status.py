"""OPC UA status codes: what a server says about a value, and what that makes of it. Pure.

Bits 31 and 30 tell whether a value is good (00), uncertain (01) or bad (10), OPC 10000-4, 7.39; bits 27 to 16 say why
(names after OPC 10000-6, A.2, in small letters); bits 15 to 0 are flags. A code without a name here is called by its
number, such as `bad_81990000`. Nothing is good that the server itself says was put in by hand.

What this file does not know: where a code stands in an answer.
"""

from __future__ import annotations

_SEVERITY = ("good", "uncertain", "bad", "bad")  # 11 is reserved: whatever it will mean, it is not good
_CODE = 0xFFFF0000
_DATA_VALUE, _INFO_TYPE, _OVERFLOW = 0x0400, 0x0C00, 0x0080
_STRUCTURE_CHANGED, _SEMANTICS_CHANGED = 0x8000, 0x4000

# Good by its bits, yet not what the meter measured.
OVERRIDDEN = {
    0x00960000: "good_local_override",
    0x00DC0000: "good_edited",
    0x01160000: "good_edited",
    0x01170000: "good_edited",
    0x01180000: "good_edited",
    0x04070000: "good_fault_state_active",
}

NAMES = {
    0x40000000: "uncertain",
    0x406C0000: "uncertain_reference_out_of_server",
    0x408F0000: "uncertain_no_communication_last_usable_value",
    0x40900000: "uncertain_last_usable_value",
    0x40910000: "uncertain_substitute_value",
    0x40920000: "uncertain_initial_value",
    0x40930000: "uncertain_sensor_not_accurate",
    0x40940000: "uncertain_engineering_units_exceeded",
    0x40950000: "uncertain_sub_normal",
    0x40A40000: "uncertain_data_sub_normal",
    0x40DE0000: "uncertain_dominant_value_changed",
    0x40E20000: "uncertain_dependent_value_changed",
    0x40F20000: "uncertain_over_range",
    0x40F30000: "uncertain_under_range",
    0x42080000: "uncertain_transducer_in_manual",
    0x42090000: "uncertain_simulated_value",
    0x420A0000: "uncertain_sensor_calibration",
    0x420F0000: "uncertain_configuration_error",
    0x80000000: "bad",
    0x80010000: "bad_unexpected_error",
    0x80020000: "bad_internal_error",
    0x80030000: "bad_out_of_memory",
    0x80040000: "bad_resource_unavailable",
    0x80050000: "bad_communication_error",
    0x80060000: "bad_encoding_error",
    0x80070000: "bad_decoding_error",
    0x80080000: "bad_encoding_limits_exceeded",
    0x800A0000: "bad_timeout",
    0x800B0000: "bad_service_unsupported",
    0x800C0000: "bad_shutdown",
    0x800D0000: "bad_server_not_connected",
    0x800E0000: "bad_server_halted",
    0x800F0000: "bad_nothing_to_do",
    0x80100000: "bad_too_many_operations",
    0x80110000: "bad_data_type_id_unknown",
    0x801F0000: "bad_user_access_denied",
    0x80250000: "bad_session_id_invalid",
    0x80260000: "bad_session_closed",
    0x80270000: "bad_session_not_activated",
    0x80310000: "bad_no_communication",
    0x80320000: "bad_waiting_for_initial_data",
    0x80330000: "bad_node_id_invalid",
    0x80340000: "bad_node_id_unknown",
    0x80350000: "bad_attribute_id_invalid",
    0x80390000: "bad_data_encoding_unsupported",
    0x803A0000: "bad_not_readable",
    0x803C0000: "bad_out_of_range",
    0x803D0000: "bad_not_supported",
    0x803E0000: "bad_not_found",
    0x803F0000: "bad_object_deleted",
    0x80400000: "bad_not_implemented",
    0x804E0000: "bad_node_not_in_view",
    0x80740000: "bad_type_mismatch",
    0x80890000: "bad_configuration_error",
    0x808A0000: "bad_not_connected",
    0x808B0000: "bad_device_failure",
    0x808C0000: "bad_sensor_failure",
    0x808D0000: "bad_out_of_service",
    0x809B0000: "bad_no_data",
    0x809D0000: "bad_data_lost",
    0x809E0000: "bad_data_unavailable",
    0x80AF0000: "bad_invalid_state",
    0x80B10000: "bad_no_data_available",
    0x80B20000: "bad_waiting_for_response",
    0x80B80000: "bad_request_too_large",
    0x80B90000: "bad_response_too_large",
    0x80BF0000: "bad_state_not_active",
    0x80E60000: "bad_security_mode_insufficient",
    0x80EE0000: "bad_server_too_busy",
    0x80F00000: "bad_no_value",
    0x810E0000: "bad_license_expired",
    0x810F0000: "bad_license_limits_exceeded",
    0x81100000: "bad_license_not_available",
    0x81120000: "bad_numeric_overflow",
}


def is_bad(status: int) -> bool:
    """Whether a value with this status must not be used, even if there is one."""
    return bool(status & 0x80000000)


def cause_of(status: int) -> str:
    """Why a value is not good, as a word for records; empty where it is good."""
    code = status & _CODE
    if code in OVERRIDDEN:
        return OVERRIDDEN[code]
    severity = _SEVERITY[status >> 30]
    if severity == "good":
        return _flag(status)
    return NAMES.get(code) or f"{severity}_{code:08x}"


def overflowed(status: int) -> bool:
    """Whether samples before this one were lost in the server's queue (OPC 10000-4, 7.39.1, info type DataValue)."""
    return status & _INFO_TYPE == _DATA_VALUE and bool(status & _OVERFLOW)


def _flag(status: int) -> str:
    """What the flags of a good status say against the value: samples were lost, or its unit or type was changed."""
    if overflowed(status):
        return "overflow"
    if status & _SEMANTICS_CHANGED:
        return "semantics_changed"
    return "structure_changed" if status & _STRUCTURE_CHANGED else ""
