"""What a simulated M-Bus meter is made of: its frames on the line, and records with the codes that old meters use.

Written from the standard's frames and tables (EN 13757-2, section 5.3, EN 13757-3, section 6), not from the program's own
reader, so that one can prove the other.

What this file does not know: what flows through a meter, and which meter is meant by a request.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from config.language import _
from config.mbus import MbusAt
from config.plant import Fault

ACKNOWLEDGED = b"\xe5"
MOST_RECORD_BYTES = 230  # of the 234 that one frame has room for
_FUNCTIONS = {"instantaneous": 0x00, "maximum": 0x10, "minimum": 0x20, "error": 0x30}

_DESCRIBING = (
    *("device_type", "maker_code", "parameter_set", "model_version", "hardware_version", "firmware_version"),
    *("software_version", "customer_location", "customer"),
)
# The codes a meter may choose from for each kind, finest first, with what one count is worth in the project's unit.
_STEPS: dict[str, tuple[tuple[str, str], ...]] = {
    "energy": (("04", "0.01"), ("05", "0.1"), ("06", "1"), ("07", "10")),
    "reactive_energy": (("FB8274", "0.01"), ("FB8275", "0.1"), ("FB02", "1"), ("FB03", "10")),
    "apparent_energy": (("FB8474", "0.01"), ("FB8475", "0.1"), ("FB04", "1"), ("FB05", "10")),
    "volume": (("13", "0.001"), ("14", "0.01"), ("15", "0.1"), ("16", "1"), ("17", "10")),
    "mass": (("1B", "0.001"), ("1C", "0.01"), ("1D", "0.1"), ("1E", "1"), ("1F", "10")),
    "power": (("2A", "0.1"), ("2B", "1"), ("2C", "10"), ("2D", "100"), ("2E", "1000")),
    "reactive_power": (("FB14", "1"), ("FB15", "10")),
    "apparent_power": (("FB34", "1"), ("FB35", "10")),
    "volume_flow": (("3B", "0.001"), ("3C", "0.01"), ("3D", "0.1")),
    "mass_flow": (("53", "0.001"), ("54", "0.01"), ("55", "0.1")),
    "flow_temperature": (("59", "0.01"), ("5A", "0.1")),
    "return_temperature": (("5D", "0.01"), ("5E", "0.1")),
    "temperature_difference": (("61", "0.01"), ("62", "0.1")),
    "external_temperature": (("65", "0.01"), ("66", "0.1")),
    "pressure": (("68", "0.001"), ("69", "0.01")),
    "on_time": (("22", "1"),),
    "operating_time": (("26", "1"),),
    "voltage": (("FD48", "0.1"), ("FD49", "1")),
    "current": (("FD59", "0.001"), ("FD5A", "0.01")),
    "frequency": (("FB2D", "0.01"), ("FB2E", "0.1")),
    "phase_voltage_angle": (("FB2A", "0.1"),),
    "phase_current_angle": (("FB2B", "0.1"),),
    "relative_humidity": (("FB1A", "0.1"),),
    "heat_cost_units": (("6E", "1"),),
    "dimensionless": (("FD3A", "1"),),
    "manufacturer": (("7F", "1"),),
    "text": (("7C", "1"),),
    "fabrication_number": (("78", "1"),),
    "identification": (("79", "1"),),
    "bus_address": (("7A", "1"),),
    **{kind: ((f"FD{code:02X}", "1"),) for code, kind in enumerate(_DESCRIBING, 0x09)},
    "error_flags": (("FD17", "1"),),
    "error_mask": (("FD18", "1"),),
    "digital_output": (("FD1A", "1"),),
    "digital_input": (("FD1B", "1"),),
    "reset_counter": (("FD60", "1"),),
    "cumulation_counter": (("FD61", "1"),),
}
_QUALIFIERS: dict[str, str] = {
    "phase_l1": "FC01",
    "phase_l2": "FC02",
    "phase_l3": "FC03",
    "neutral": "FC04",
    "phase_l1l2": "FC05",
    "phase_l2l3": "FC06",
    "phase_l3l1": "FC07",
    "quadrant_q1": "FC08",
    "quadrant_q2": "FC09",
    "quadrant_q3": "FC0A",
    "quadrant_q4": "FC0B",
    "import_less_export": "FC0C",
    "absolute": "FC10",
    "to_meter": "FC13",
    "from_meter": "FC14",
    "uncorrected": "3A",
    "forward": "3B",
    "backward": "3C",
    "at_base_conditions": "3E",
    "leakage": "69",
    "overflow": "6D",
    "future": "7E",
}


@dataclass(frozen=True, slots=True)
class Form:
    """How a meter writes one record: DIF, DIFEs, VIF and VIFEs, and what one count is worth in the project's unit."""

    head: bytes
    worth: Decimal
    digits: bool

    def data(self, count: int | None) -> bytes:
        """The record with a count; None: not available. Raises ValueError where it has no room."""
        if count is None:
            return self.head + (b"\xff" * 4 if self.digits else b"\0\0\0\x80")
        if self.digits:
            if not 0 <= count < 10**8:
                raise ValueError(_("{count} has more than eight digits", count=count))
            return self.head + bytes.fromhex(f"{count:08d}")[::-1]
        if not -(2**31) < count < 2**31:
            raise ValueError(_("{count} has more than four bytes", count=count))
        return self.head + count.to_bytes(4, "little", signed=True)


def forms_of(at: MbusAt, digits: bool, kilo: bool) -> list[Form]:
    """The ways a meter may write a record, finest first. `kilo`: its power is told in kW."""
    made = []
    for code, worth in _STEPS.get(at.kind, ()):
        scaled = Decimal(worth) / 1000 if kilo else Decimal(worth)
        made.append(Form(_information(at, 0x0C if digits else 0x04) + _value_information(at, code), scaled, digits))
    return made


def text_record(at: MbusAt, text: str) -> bytes:
    """A record with text of variable length, last character first. Raises ValueError for what is no text."""
    data = text.encode("ascii")[::-1]
    return _information(at, 0x0D) + _value_information(at, _STEPS[at.kind][0][0]) + bytes([len(data)]) + data


def _information(at: MbusAt, field: int) -> bytes:
    """DIF and DIFEs."""
    parts = [field | _FUNCTIONS[at.function] | (at.storage & 1) << 6]
    storage, tariff, subunit = at.storage >> 1, at.tariff, at.subunit
    while storage or tariff or subunit:
        parts.append(storage & 15 | (tariff & 3) << 4 | (subunit & 1) << 6)
        storage, tariff, subunit = storage >> 4, tariff >> 2, subunit >> 1
    return _extended(parts)


def _value_information(at: MbusAt, code: str) -> bytes:
    """VIF and VIFEs; the unit in plain text stands behind them."""
    further = "".join(_QUALIFIERS[word] for word in at.qualifiers)
    if at.maker is not None:
        further += at.maker if at.kind == "manufacturer" else "7F" + at.maker
    made = _extended([byte & 0x7F for byte in bytes.fromhex(code + further)])
    unit = at.text.encode("latin-1")[::-1]
    return made + (bytes([len(unit)]) + unit if at.kind == "text" else b"")


def _extended(parts: list[int]) -> bytes:
    """Bytes of which each but the last says that one more follows."""
    return bytes([*(part | 0x80 for part in parts[:-1]), parts[-1]])


# --- frames ---------------------------------------------------------------------------------------------------


def long_frame(body: bytes) -> bytes:
    """A long frame around C, A, CI and data."""
    return bytes([0x68, len(body), len(body), 0x68]) + body + bytes([sum(body) % 256, 0x16])


def take(buffer: bytearray) -> bytes | None:
    """Removes and returns the first complete request frame in the buffer, with the noise in front of it; None: none yet."""
    for start in range(len(buffer)):
        frame = _frame_at(bytes(buffer[start:]))
        if frame:
            del buffer[: start + len(frame)]
            return frame
    return None


def _frame_at(data: bytes) -> bytes | None:
    if data[0] == 0x10 and len(data) >= 5:
        frame = data[:5]
        return frame if frame[3] == (frame[1] + frame[2]) % 256 and frame[4] == 0x16 else None
    if data[0] == 0x68 and len(data) >= 4 and data[1] == data[2] and data[3] == 0x68:
        frame = data[: data[1] + 6]
        return frame if len(frame) == data[1] + 6 and long_frame(frame[4:-2]) == frame else None
    return None


def _changed(change: Callable[[bytes, Fault], bytes]) -> Callable[[bytes, bytes, Fault], bytes]:
    """A telegram with something changed in its body, put into a frame again; an acknowledgement stays as it is."""
    return lambda _, answer, fault: answer if answer == ACKNOWLEDGED else long_frame(change(answer[4:-2], fault))


FAULTS: Mapping[str, Callable[[bytes, bytes, Fault], bytes]] = {
    "exception": _changed(lambda body, fault: bytes([body[0], body[1], 0x70, fault.code])),
    "wrong_unit": _changed(lambda body, _: bytes([body[0], body[1] % 250 + 1]) + body[2:]),
    "wrong_function": lambda _, answer, __: ACKNOWLEDGED if answer != ACKNOWLEDGED else long_frame(b"\x08\x01\x70\x01"),
    "short_data": _changed(lambda body, fault: body[: max(3, len(body) - (fault.count or 1))]),
}
