"""A broker for the demo: a `mosquitto` found on this machine, else the one that comes with the demo's packages."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from config.language import _

_READY_SECONDS = 10.0

_MOSQUITTO = """listener {port} 127.0.0.1
allow_anonymous true
persistence false
log_type error
"""

_RUMQTTD = """id = 0
[router]
id = 0
max_connections = 20
max_outgoing_packet_count = 200
max_segment_size = 10485760
max_segment_count = 4
[v5.1]
name = "demo"
listen = "127.0.0.1:{port}"
next_connection_delay_ms = 1
[v5.1.connections]
connection_timeout_ms = 60000
max_payload_size = 262144
max_inflight_count = 100
dynamic_filters = true
"""


def free_port() -> int:
    """A TCP port on the loopback address that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.asynccontextmanager
async def demo_broker(directory: Path) -> AsyncIterator[tuple[str, int]]:
    """A running MQTT 5 broker: what it is, and its port. Stopped at the end."""
    port = free_port()
    program = shutil.which("mosquitto") or shutil.which("/usr/sbin/mosquitto")
    if program:
        name = _("the mosquitto found at {program}", program=program)
        settings = directory / "mosquitto.conf"
        settings.write_text(_MOSQUITTO.format(port=port), "utf-8")
        command = [program, "-c", str(settings)]
    else:
        name = _("iotcore (no mosquitto was found on this machine)")
        settings = directory / "broker.toml"
        settings.write_text(_RUMQTTD.format(port=port), "utf-8")
        serve = f"import iotcore; iotcore.Broker(config_path={str(settings)!r}).run_forever()"
        command = [sys.executable, "-c", serve]
    log = (directory / "broker.log").open("wb")
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, process_group=0
    )
    try:
        await _answers(port, process)
        yield name, port
    finally:
        await end(process)
        log.close()


async def _answers(port: int, process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(_READY_SECONDS):
        while process.returncode is None:
            try:
                _unused, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
                continue
            writer.close()
            return
    raise OSError(_("the broker ended with code {returncode} before it was ready", returncode=process.returncode))


async def end(process: asyncio.subprocess.Process) -> int:
    """Ends a child process: asked first, killed after five seconds. Its exit code."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(5):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
    return process.returncode or 0
