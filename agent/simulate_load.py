"""What flows through a simulated meter: a day curve with smaller waves on it, and counters that integrate it.

Every quantity follows from one consumption level whose mean is 1, so that a meter's values belong together: phases
add up to the total, current is power over voltage, counters rise by what the power says. The level is a sum of sines
with seeded phases; its integral has a closed form, so a counter's value does not depend on how often it is read.

A physical model, in binary floats; what a meter tells of it is rounded to its registers in `agent.simulate_meter`.
A wall clock that is set back adds nothing to a counter and never turns it back.

What this file does not know: registers, meter models, protocols.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping
from decimal import Decimal

from config.plant import accumulates

_DAY = 86_400.0
_HOUR = 3600.0
_NIGHT = 3 * _HOUR
# Period in seconds and amplitude of the waves; together they stay below 1, so consumption never stops.
_WAVES = ((_DAY, 0.35), (11_000.0, 0.12), (1_000.0, 0.08), (170.0, 0.05), (41.0, 0.03))
_USUAL = {
    "active_power": 12_000.0,
    "power_factor": 0.93,
    "voltage": 230.0,
    "frequency": 50.0,
    "volume_flow": 4.0,
    "temperature": 21.0,
    "temperature.flow": 70.0,
    "temperature.return": 48.0,
    "pressure": 4.2,
    "battery_voltage": 3.6,
    "voltage_thd": 1.9,
    "current_thd": 8.5,
    "pulse_count": 360.0,
}
_SHARES = {"l1": 0.36, "l2": 0.33, "l3": 0.31}
_TARIFFS = {"t1": 0.44, "t2": 0.31, "t3": 0.17, "t4": 0.08}
_ANGLES = {"l1": 0.0, "l2": 240.0, "l3": 120.0}
_KWH_PER_M3_AND_K = 1.163
_TONS_PER_M3 = 0.998
_PIPE_SQUARE_METRES = 0.0079
_DRIVEN = ("active_power", "reactive_power", "apparent_power", "current", "volume_flow", "mass_flow", "thermal_power", "velocity")
_SWAY = {"voltage": 0.01, "voltage_ll": 0.01, "frequency": 0.0004, "power_factor": 0.01}


class Load:
    """The quantities of one meter over time.

    Args:
        quantities: the full names the meter tells.
        load: averages of gauges, or rises in an hour of counters, by full or base name.
        start: where counters stand in the beginning.
        seed: of the waves; two meters of one seed sway alike.
        frozen: whether everything keeps its average and counters their start.
    """

    def __init__(
        self, quantities: Iterable[str], load: Mapping[str, Decimal], start: Mapping[str, Decimal], seed: int, frozen: bool
    ) -> None:
        self._quantities = frozenset(quantities)
        self._load = {name: float(value) for name, value in load.items()}
        self._start = dict(start)
        self._seed = seed
        self._frozen = frozen
        turns = [self._turn(f"wave {index}") for index in range(1, len(_WAVES))]
        midnight = -math.pi / 2 - 2 * math.pi * _NIGHT / _DAY  # least at three in the morning, UTC
        self._waves = [
            (2 * math.pi / period, high, turn) for (period, high), turn in zip(_WAVES, [midnight, *turns], strict=True)
        ]
        self._now: float | None = None
        self._consumed = 0.0  # seconds at level 1 since the start
        self._running = 0.0  # seconds since the start
        self._age = max(
            (float(value) / self._rate(name) for name, value in self._start.items() if self._rate(name) > 0), default=0.0
        )

    def advance(self, now_ns: int) -> None:
        """Lets time pass until `now_ns` of the wall clock. Time that runs backwards adds nothing."""
        if self._frozen:
            return
        before, self._now = self._now, now_ns / 1e9
        if before is not None and self._now > before:
            self._consumed += self._integral(self._now) - self._integral(before)
            self._running += self._now - before

    def value(self, quantity: str) -> Decimal:
        """What the meter has measured: gauges to six digits, counters to the millionth, in the quantity's unit."""
        base, *suffixes = quantity.split(".")
        if accumulates(quantity):
            return self._counted(quantity)
        place = suffixes[0] if suffixes else ""
        if quantity in self._load:
            number = self._load[quantity] * (self._level() if base in _DRIVEN else self._sway(quantity, _SWAY.get(base, 0.0)))
        else:
            number = self._gauge(base, place)
        return Decimal(f"{number:.6g}")

    # --- the course of consumption --------------------------------------------------------------------------

    def _turn(self, key: str) -> float:
        return random.Random(f"{self._seed} {key}").uniform(0, 2 * math.pi)  # noqa: S311  a plausible load, no secret

    def _level(self) -> float:
        if self._now is None:
            return 1.0
        return 1.0 + sum(high * math.sin(speed * self._now + turn) for speed, high, turn in self._waves)

    def _integral(self, seconds: float) -> float:
        return seconds - sum(high / speed * math.cos(speed * seconds + turn) for speed, high, turn in self._waves)

    def _sway(self, key: str, part: float) -> float:
        """1, give or take `part`, different for each key."""
        if self._now is None:
            return 1.0
        turn = self._turn(key)
        return 1.0 + part * (0.6 * math.sin(self._now / 90 + turn) + 0.4 * math.sin(self._now / 7 + 2 * turn))

    # --- counters -------------------------------------------------------------------------------------------

    def _counted(self, quantity: str) -> Decimal:
        rate = self._rate(quantity)
        seconds = self._running if quantity.startswith("operating_time") else self._consumed
        start = self._start.get(quantity)
        if start is None:
            start = Decimal(f"{rate * self._age:.2f}")
        return start + Decimal(f"{rate * seconds / _HOUR:.6f}")

    def _rate(self, quantity: str) -> float:
        """The rise of a counter in an hour of average consumption."""
        if quantity in self._load:
            return self._load[quantity]
        base, *suffixes = quantity.split(".")
        rate = self._load[base] if base in self._load else self._base_rate(base)
        for suffix in suffixes:
            rate *= self._share(base, suffix)
        return rate

    def _base_rate(self, base: str) -> float:
        active = self._average("active_power") / 1000
        apparent = abs(active) / self._average("power_factor")
        reactive = math.sqrt(max(0.0, apparent**2 - active**2))
        flow = self._average("volume_flow")
        rates = {
            "active_energy_import": max(active, 0.0),
            "active_energy_export": max(-active, 0.0),
            "active_energy_total": abs(active),
            "active_energy_net": active,
            "reactive_energy_import": reactive,
            "reactive_energy_total": reactive,
            "reactive_energy_net": reactive,
            "reactive_energy_q1": reactive,
            "apparent_energy_import": apparent if active > 0 else 0.0,
            "apparent_energy_export": apparent if active < 0 else 0.0,
            "apparent_energy_total": apparent,
            "volume_forward": max(flow, 0.0),
            "volume_reverse": max(-flow, 0.0),
            "volume_net": flow,
            "volume_base": flow,
            "mass": flow * _TONS_PER_M3,
            "thermal_energy": self._average("thermal_power"),
            "cooling_energy": self._average("thermal_power"),
            "pulse_count": _USUAL["pulse_count"],
            "operating_time": 1.0,
        }
        return rates.get(base, 0.0)

    def _share(self, base: str, suffix: str) -> float:
        """A phase's or a tariff's part of the whole."""
        if suffix in _TARIFFS:
            told = {name.rpartition(".")[2] for name in self._quantities if name.startswith(f"{base}.")} & set(_TARIFFS)
            return _TARIFFS[suffix] / sum(_TARIFFS[name] for name in told | {suffix})
        if suffix in _SHARES and any(".l2" in name for name in self._quantities):
            return _SHARES[suffix]
        return 1.0

    # --- gauges ---------------------------------------------------------------------------------------------

    def _average(self, name: str) -> float:
        if name in self._load:
            return self._load[name]
        if name == "thermal_power":
            warmer = self._average("temperature.flow") - self._average("temperature.return")
            return self._average("volume_flow") * warmer * _KWH_PER_M3_AND_K
        return _USUAL[name]

    def _gauge(self, base: str, place: str) -> float:
        electrical = self._electrical(place)
        if base in electrical:
            return electrical[base]
        flow = self._average("volume_flow") * self._level()
        warmer = self._average("temperature.flow") - self._average("temperature.return")
        others = {
            "volume_flow": flow,
            "mass_flow": flow * _TONS_PER_M3,
            "velocity": flow / _HOUR / _PIPE_SQUARE_METRES,
            "thermal_power": self._average("thermal_power") * self._level(),
            "temperature_difference": warmer,
            "temperature": warmer if place == "difference" else _USUAL.get(f"temperature.{place}", _USUAL["temperature"]),
        }
        return others[base] if base in others else self._average(base) * self._sway(f"{base} {place}", 0.01)

    def _electrical(self, place: str) -> dict[str, float]:
        """The electrical gauges of a phase, of a pair of phases, or of all (no place)."""
        phases = 3 if any(".l2" in name for name in self._quantities) else 1
        factor = self._average("power_factor")
        active = self._average("active_power") * self._level() * (self._share("active_power", place) if place else 1.0)
        apparent = abs(active) / factor
        phase = place[:2] if place else "l1"
        voltage = self._average("voltage") * self._sway(f"voltage {phase}", _SWAY["voltage"])
        current = apparent / voltage / (1 if place or phases == 1 else phases)
        return {
            "active_power": active,
            "active_power_demand": self._average("active_power"),
            "active_power_demand_max": 1.6 * self._average("active_power"),
            "reactive_power": math.sqrt(max(0.0, apparent**2 - active**2)),
            "apparent_power": apparent,
            "power_factor": factor,
            "voltage": voltage,
            "voltage_ll": voltage * math.sqrt(3),
            "current": current * (0.06 if place == "n" else 1.0),
            "current_n": current * 0.06,
            "phase_angle": math.degrees(math.acos(min(1.0, factor))) if phases == 1 else _ANGLES.get(phase, 0.0),
            "frequency": self._average("frequency") * self._sway("frequency", _SWAY["frequency"]),
        }
