"""Plants of simulated meters for tests, and frames made without the product's code."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from agent.clock import Clock
from agent.simulate import Simulator
from config.library import load_models
from config.model import ModelFile
from config.plant import Plant
from drivers.link import Link
from drivers.link_settings import LinkSettings
from tests.agent.gateway import StillClock

DEADLINE = 5.0


@lru_cache(maxsize=1)
def models() -> dict[str, ModelFile]:
    return load_models()


def plant_of(*meters: dict[str, Any], **listen: dict[str, Any]) -> Plant:
    """A plant from keyword listeners; meters get an id, a line and an address where they say none."""
    lines = listen or {"hall": {"tcp": "127.0.0.1:0"}}
    usual = {"id": "M", "on": next(iter(lines)), "address": "7"}
    return Plant.model_validate({"listen": lines, "meters": [usual | meter for meter in meters]})


def simulator_of(run_dir: Path, *meters: dict[str, Any], clock: StillClock | None = None, **listen: dict[str, Any]) -> Simulator:
    return Simulator(plant_of(*meters, **listen), models(), run_dir, clock or StillClock())


@asynccontextmanager
async def link_to(simulator: Simulator, line: str = "hall", timeout_s: float = 0.3) -> AsyncIterator[Link]:
    """An open link to a simulated line that carries bytes over TCP."""
    settings = LinkSettings(line, "rtu", tcp=simulator.address_of(line), timeout_s=timeout_s, longest_answer_s=timeout_s + 0.1)
    link = Link(settings, Clock())
    await link.open()
    try:
        yield link
    finally:
        await link.close()


def with_crc(data: bytes) -> bytes:
    """RTU bytes with their CRC-16, computed bit by bit (Serial Line V1.02, 6.2.2)."""
    value = 0xFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ 0xA001 if value & 1 else value >> 1
    return data + value.to_bytes(2, "little")


class Wire:
    """A raw TCP connection to a simulated line."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def to(cls, endpoint: str) -> Wire:
        host, port = endpoint.split(":")
        return cls(*await asyncio.open_connection(host, int(port)))

    def send(self, data: bytes) -> None:
        self._writer.write(data)

    async def read(self, count: int) -> bytes:
        async with asyncio.timeout(DEADLINE):
            return await self._reader.readexactly(count)

    async def is_cut(self) -> bool:
        """Whether the other side ends the connection within the deadline."""
        async with asyncio.timeout(DEADLINE):
            try:
                return await self._reader.read(1) == b""
            except ConnectionResetError:
                return True

    async def close(self) -> None:
        self._writer.close()
        await asyncio.wait([asyncio.ensure_future(self._writer.wait_closed())])
