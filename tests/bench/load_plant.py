"""What the load is measured on: plants of many meters over Modbus TCP, played by `tests/peers/tcp_units.c`.

The meters of a plant are all of one model, which is written beside the site file: that is how a plant of equal meters is
set up, and the register map is read once however many meters there are. Of eight points six are 16-bit numbers with one
digit after the point, one is a 32-bit counter and one a binary32 number, in ten registers side by side.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drivers.modbus import crc

GATEWAY = "load/gateway-1"
MODEL = "load-meter"
_UNITS_AT_MOST = 247
_SERVER = Path(__file__).parents[1] / "peers" / "tcp_units.c"
_SCALES = {"u16": 0.1, "u32": 0.01, "f32": 1}
_QUANTITIES = {"u16": "temperature", "u32": "active_energy_import", "f32": "current"}
_GROUP = ((0, "u16"), (1, "u16"), (2, "u16"), (3, "u32"), (5, "u16"), (6, "u16"), (7, "u16"), (8, "f32"))
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0}


@dataclass(frozen=True, slots=True)
class Plant:
    """So many meters, with so many values each, read so often.

    Attributes:
        links: over how many connections; the meters are spread evenly, as units of one gateway each.
        every_ms: the interval.
        commit_seconds: how long readings may be gathered before they are written to disk; None: as the agent does by itself.
    """

    name: str
    meters: int
    values: int
    every_ms: int
    links: int
    commit_seconds: float | None = None

    @property
    def every(self) -> str:
        """The interval as the site file has it."""
        return f"{self.every_ms // 1000}s" if self.every_ms % 1000 == 0 else f"{self.every_ms}ms"

    @property
    def rate(self) -> float:
        """Values planned for each second."""
        return self.meters * self.values * 1000 / self.every_ms


def meter_name(number: int) -> str:
    """The id of a plant's meter, counted from 0."""
    return f"m{number:04}"


def write_site(plant: Plant, ports: list[int], broker: int, folder: Path) -> Path:
    """Writes the site file and its model; the site file. JSON is YAML too.

    Args:
        plant: what to declare.
        ports: where the meters answer, one port a link.
        broker: the broker's port.
        folder: where to.
    """
    assert -(-plant.meters // plant.links) <= _UNITS_AT_MOST
    (folder / "models").mkdir()
    (folder / "models" / f"{MODEL}.yaml").write_text(json.dumps(_model(plant.values)), "utf-8")
    meters = [
        {"id": meter_name(number), "link": f"l{number % plant.links}", "model": MODEL, "address": str(1 + number // plant.links)}
        for number in range(plant.meters)
    ]
    site: dict[str, Any] = {
        "gateway": GATEWAY,
        "every": plant.every,
        "models": ["models"],
        "links": {f"l{index}": {"tcp": f"127.0.0.1:{port}"} for index, port in enumerate(ports)},
        "meters": meters,
        "mqtt": [{"host": "127.0.0.1", "port": broker}],
    }
    if plant.commit_seconds is not None:
        site["commit_seconds"] = str(plant.commit_seconds)
    path = folder / "site.yaml"
    path.write_text(json.dumps(site, indent=1), "utf-8")
    return path


def _model(values: int) -> dict[str, Any]:
    points = [_point(number) for number in range(values)]
    return {
        "model": MODEL,
        "revision": 1,
        "maker": "nobody",
        "product": "a meter for measuring under load",
        "medium": "other",
        "protocol": "modbus",
        "trust": {"level": "D", "sources": [{"url": "tests/peers/tcp_units.c", "kind": "community"}]},
        "points": points,
        "examples": [{"origin": "computed", "frames": [_example()], "values": {points[0]["quantity"]: "200.0"}}],
    }


def _point(number: int) -> dict[str, Any]:
    group, place = divmod(number, len(_GROUP))
    offset, kind = _GROUP[place]
    quantity = f"{_QUANTITIES[kind]}.ch{number}"
    return {"quantity": quantity, "at": {"address": 10 * group + offset, "type": kind}, "scale": str(_SCALES[kind])}


def _example() -> dict[str, str]:
    request, answer = bytes.fromhex("010300000001"), bytes.fromhex("01030207d0")
    return {"request": (request + crc(request)).hex(" "), "answer": (answer + crc(answer)).hex(" ")}


@contextmanager
def served(ports: int, folder: Path) -> Iterator[list[int]]:
    """The plant's meters at work: so many ports, each with every unit behind it. Needs gcc."""
    program = folder / "tcp_units"
    compiler = shutil.which("gcc")
    assert compiler, "gcc is missing: apt install gcc libc6-dev"
    subprocess.run([compiler, "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(program), str(_SERVER)], check=True)
    with subprocess.Popen([str(program), str(ports)], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            yield [int(process.stdout.readline()) for _ in range(ports)]
        finally:
            process.kill()
