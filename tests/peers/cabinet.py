"""A cabinet of simulated meters on paced lines, each with a port of its own: who answers at once garbles the others.

    python -m tests.peers.cabinet          reads on standard input, as JSON: a list of [port, baud, meter]

It prints `ready` when all meters answer, and ends with its input. `cabinet` starts lines and meters for a test.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import termios
import tty
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from agent.clock import Clock
from agent.simulate_group import Station
from agent.simulate_line import Ears, Line
from agent.simulate_plant import meter_of
from config.library import load_models
from config.plant import Listen, SimulatedMeter
from tests.peers.paced_line import PacedLine, paced_line

Hung = tuple[int, dict[str, Any]]  # a meter's speed, and what a plant file says of it


class PortLine(Line):
    """One meter on a serial port. The line behind the port does the pacing."""

    def __init__(self, port: str, baud: int) -> None:
        super().__init__(port, Listen(pty="cabinet"), [])
        self._port, self._baud = port, baud
        self._ears = Ears(self, self._send)
        self._file = -1

    @property
    def address(self) -> str:
        return self._port

    async def plug(self) -> None:
        self._file = os.open(self._port, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        tty.setraw(self._file)
        settings = termios.tcgetattr(self._file)
        settings[4] = settings[5] = getattr(termios, f"B{self._baud}")
        termios.tcsetattr(self._file, termios.TCSANOW, settings)
        asyncio.get_running_loop().add_reader(self._file, lambda: self._ears.hear(os.read(self._file, 4096)))

    async def unplug(self) -> None:
        os.close(self._file)

    async def drop_connections(self) -> None:
        raise NotImplementedError

    def _send(self, data: bytes, baud: int) -> None:
        os.write(self._file, data)


@contextmanager
def cabinet(lines: Mapping[str, Sequence[Hung]]) -> Iterator[dict[str, PacedLine]]:
    """Lines with their meters at work, by name; the port for whoever searches is `ports[0]`."""
    with ExitStack() as stack:
        made = {name: stack.enter_context(paced_line(0, 11, len(meters) + 1)) for name, meters in lines.items()}
        told = [
            [port, baud, meter]
            for name, meters in lines.items()
            for port, (baud, meter) in zip(made[name].ports[1:], meters, strict=True)
        ]
        root = Path(__file__).parents[2]
        process = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-m", "tests.peers.cabinet"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root
            )
        )
        stack.callback(process.kill)
        assert process.stdin
        assert process.stdout
        process.stdin.write(json.dumps(told) + "\n")
        process.stdin.flush()
        assert process.stdout.readline() == "ready\n", "the meters did not start"
        yield made


async def _answer(meters: Sequence[tuple[str, int, dict[str, Any]]]) -> None:
    models = load_models()
    for port, baud, declared in meters:
        meter = SimulatedMeter.model_validate({"on": "cabinet", **declared})
        line = PortLine(port, baud)
        line.attach(Station(meter_of(meter, models[meter.model], Clock())))
        await line.plug()
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_answer(json.loads(sys.stdin.readline())))
