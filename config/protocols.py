"""The protocols that meters can be spoken to with: what a model file of each declares, and how its addresses look.

A protocol of its own is one file here (what stands in a model file) and one in `drivers` (bytes), entered below.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import eq
from typing import Any

from config.cjt188 import Cjt188Model, cjt188_address, cjt188_both, cjt188_findings
from config.dlt645 import Dlt645Model, dlt645_address, dlt645_both, dlt645_findings
from config.iec62056_21 import Iec62056Model, iec62056_21_address, iec62056_21_both, iec62056_21_findings
from config.mbus import MbusModel, mbus_address, mbus_both, mbus_findings
from config.modbus import ModbusModel, modbus_address
from config.model import Finding, MeterModel
from config.opcua import OpcuaModel, opcua_address, opcua_findings
from config.registers import model_findings


@dataclass(frozen=True, slots=True)
class Protocol:
    """What configuration has to know of a protocol.

    Attributes:
        title: its name as electricians know it.
        model: what a model file declares.
        findings: what is wrong with a model whose keys are well formed; called with an instance of `model`.
        address: a meter's address in its one spelling; raises ValueError, in plain words, for what is none.
        both: whether one meter may answer to both of two addresses in that spelling, such as a number and one with
            wildcards: on one line they cannot belong to two meters. Any texts may be asked about.
    """

    title: str
    model: type[MeterModel]
    findings: Callable[[Any], Iterator[Finding]]
    address: Callable[[str], str]
    both: Callable[[str, str], bool] = eq


PROTOCOLS: dict[str, Protocol] = {
    "modbus": Protocol("Modbus", ModbusModel, model_findings, modbus_address),
    "dlt645": Protocol("DL/T 645", Dlt645Model, dlt645_findings, dlt645_address, dlt645_both),
    "cjt188": Protocol("CJ/T 188", Cjt188Model, cjt188_findings, cjt188_address, cjt188_both),
    "iec62056_21": Protocol("IEC 62056-21", Iec62056Model, iec62056_21_findings, iec62056_21_address, iec62056_21_both),
    "mbus": Protocol("M-Bus", MbusModel, mbus_findings, mbus_address, mbus_both),
    "opcua": Protocol("OPC UA", OpcuaModel, opcua_findings, opcua_address),
}

_MODBUS = {"tcp": "Modbus TCP", "rtu": "Modbus RTU", "ascii": "Modbus ASCII"}


def spoken(protocol: str, framing: str) -> str:
    """What a protocol is called on a link of a framing: `Modbus RTU`, `M-Bus`."""
    return _MODBUS[framing] if protocol == "modbus" else PROTOCOLS[protocol].title
