"""The quantities a meter can tell, each with the one unit it is kept in.

One table for the whole product: a unit is written nowhere else. A quantity's name is a base, a phase or
place where it has one, and a tariff: `active_energy_import`, `voltage.l1`, `active_energy_import.l2.t1`,
`temperature.return`, `pulse_count.ch3`. What a counter stood at on a meter's settlement day has `.m0` for the latest
one and `.m1` to `.m99` for so many months ago. Import means into the load, export out of it; power is signed, plus
is import. OBIS codes follow IEC 62056-61 (groups A-B:C.D); units are also given as UCUM codes.

What this file does not know: which meter tells what (a meter model does), and how a unit is converted (a
model's point carries an exact decimal `scale` into the unit named here).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

Kind = Literal["counter", "gauge"]

PHASES = ("l1", "l2", "l3", "l1l2", "l2l3", "l3l1", "n")
PLACES = ("flow", "return", "difference")
SUFFIX = re.compile(r"l[123]|l1l2|l2l3|l3l1|n|flow|return|difference|ch[0-9]{1,2}|t[1-9][0-9]?|m(0|[1-9][0-9]?)")


@dataclass(frozen=True, slots=True)
class Quantity:
    """One measurable quantity.

    Attributes:
        name: the base name, without phase or tariff.
        unit: the unit every value of it is stated in, as written in records.
        kind: a counter only rises (until it rolls over or is reset), a gauge moves freely.
        obis: OBIS code of the total, empty where none is assigned.
        ucum: the unit as a UCUM code.
        chinese: the name as printed in Chinese meter manuals.
    """

    name: str
    unit: str
    kind: Kind
    obis: str
    ucum: str
    chinese: str


def _table(text: str) -> dict[str, Quantity]:
    rows = (line.split("|") for line in text.strip().splitlines())
    made = (Quantity(n, u, "counter" if k == "c" else "gauge", o, m, z) for n, u, k, o, m, z in rows)
    return {quantity.name: quantity for quantity in made}


QUANTITIES: dict[str, Quantity] = _table("""
active_energy_import|kWh|c|1-0:1.8.0|kW.h|正向有功电能
active_energy_export|kWh|c|1-0:2.8.0|kW.h|反向有功电能
active_energy_total|kWh|c|1-0:15.8.0|kW.h|有功总电能
active_energy_net|kWh|g|1-0:16.8.0|kW.h|组合有功电能
reactive_energy_import|kvarh|c|1-0:3.8.0|kV.A.h{reactive}|正向无功电能
reactive_energy_export|kvarh|c|1-0:4.8.0|kV.A.h{reactive}|反向无功电能
reactive_energy_total|kvarh|c||kV.A.h{reactive}|无功总电能
reactive_energy_net|kvarh|g||kV.A.h{reactive}|组合无功电能
reactive_energy_q1|kvarh|c|1-0:5.8.0|kV.A.h{reactive}|第一象限无功电能
reactive_energy_q2|kvarh|c|1-0:6.8.0|kV.A.h{reactive}|第二象限无功电能
reactive_energy_q3|kvarh|c|1-0:7.8.0|kV.A.h{reactive}|第三象限无功电能
reactive_energy_q4|kvarh|c|1-0:8.8.0|kV.A.h{reactive}|第四象限无功电能
apparent_energy_import|kVAh|c|1-0:9.8.0|kV.A.h|正向视在电能
apparent_energy_export|kVAh|c|1-0:10.8.0|kV.A.h|反向视在电能
apparent_energy_total|kVAh|c||kV.A.h|视在总电能
active_power|W|g|1-0:16.7.0|W|有功功率
active_power_demand|W|g|1-0:1.4.0|W|有功需量
active_power_demand_max|W|g|1-0:1.6.0|W|最大有功需量
reactive_power|var|g||V.A{reactive}|无功功率
apparent_power|VA|g|1-0:9.7.0|V.A|视在功率
power_factor|1|g|1-0:13.7.0|1|功率因数
voltage|V|g|1-0:12.7.0|V|相电压
voltage_ll|V|g||V|线电压
current|A|g|1-0:11.7.0|A|电流
current_n|A|g|1-0:91.7.0|A|零线电流
phase_angle|deg|g||deg|相角
frequency|Hz|g|1-0:14.7.0|Hz|频率
voltage_thd|%|g||%|电压谐波畸变率
current_thd|%|g||%|电流谐波畸变率
volume_forward|m3|c|8-0:1.0.0|m3|正向累积流量
volume_reverse|m3|c||m3|反向累积流量
volume_net|m3|g||m3|净累积流量
volume_base|m3|c|7-0:3.2.0|m3|标况累积流量
volume_flow|m3/h|g|8-0:2.0.0|m3.h-1|瞬时流量
mass|t|c||t|累积质量
mass_flow|t/h|g||t.h-1|质量流量
thermal_energy|kWh|c|6-0:1.0.0|kW.h|累积热量
cooling_energy|kWh|c||kW.h|累积冷量
thermal_power|kW|g|6-0:8.0.0|kW|热功率
temperature|Cel|g||Cel|温度
temperature_difference|K|g||K|温差
pressure|bar|g||bar|压力
velocity|m/s|g||m.s-1|流速
pulse_count|1|c||1|脉冲数
operating_time|h|c||h|运行时间
battery_voltage|V|g||V|电池电压
""")

UNITS: frozenset[str] = frozenset(quantity.unit for quantity in QUANTITIES.values())


@lru_cache(maxsize=4096)
def quantity_of(name: str) -> Quantity:
    """The quantity that a full name such as `voltage.l1` or `active_energy_import.t2` stands for.

    Raises:
        KeyError: the base is not in the table, or a suffix is none of the field's.
    """
    base, *suffixes = name.split(".")
    if base not in QUANTITIES or not all(SUFFIX.fullmatch(suffix) for suffix in suffixes):
        raise KeyError(name)
    return QUANTITIES[base]
