"""The protocols that meters can be spoken to with: what a model file of each declares, and how its addresses look.

A protocol of its own is one file here (what stands in a model file) and one in `drivers` (bytes), entered below.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from config.modbus import ModbusModel, modbus_address
from config.model import Finding, MeterModel
from config.registers import model_findings


@dataclass(frozen=True, slots=True)
class Protocol:
    """What configuration has to know of a protocol.

    Attributes:
        title: its name as electricians know it.
        model: what a model file declares.
        findings: what is wrong with a model whose keys are well formed; called with an instance of `model`.
        address: a meter's address in its one spelling; raises ValueError, in plain words, for what is none.
    """

    title: str
    model: type[MeterModel]
    findings: Callable[[Any], Iterator[Finding]]
    address: Callable[[str], str]


PROTOCOLS: dict[str, Protocol] = {
    "modbus": Protocol("Modbus", ModbusModel, model_findings, modbus_address),
}
