"""A backlog drained by the forwarder over bare paho publishing the same messages, the same window, the same mosquitto.

The bare side has its messages ready in memory, with their topics. What ours does more is its work: reading the ledger,
topics from the records, the window and the cursor over gapless acknowledgements, and another thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import structlog
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from agent import topics
from agent.clock import Clock
from agent.forward import Forwarder
from agent.ledger import Ledger
from agent.ledger_file import LedgerReader
from agent.mqtt import Message
from config.site import Mqtt
from tests.agent.gateway import GATEWAY
from tests.bench.ratio import Line, Round, cpu_ratios, per_cpu_second, per_second, rounds, wall_ratios

_WINDOW = 20
_ROUNDS = 5
_PATIENCE = 60.0


def program() -> str | None:
    """mosquitto, if it is installed."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")


def lines(runner: asyncio.Runner, ledger: Ledger) -> list[Line]:
    """The whole ledger delivered to a broker: CPU time of this process, and time. Needs `program()`."""
    tree = topics.tree_of(Mqtt(host="127.0.0.1"), GATEWAY)
    with _broker() as port, contextlib.closing(LedgerReader(ledger.path)) as reader:
        messages = [topics.record(tree, payload) for _, payload in reader.payloads()]
        names = (f"round-{number}" for number in itertools.count())
        measured = rounds(
            _ROUNDS,
            lambda: runner.run(_drain(_destination(next(names), port), ledger)),
            lambda: Publisher(port).publish(messages),
        )
    return [
        Line("publishing, processor", cpu_ratios(measured), _per_cpu_second(measured, len(messages))),
        Line("publishing, time", wall_ratios(measured), _per_second(measured, len(messages))),
    ]


def _per_cpu_second(measured: list[Round], count: int) -> str:
    ours, bare = per_cpu_second(count, [each.ours for each in measured]), per_cpu_second(count, [each.bare for each in measured])
    return f"{ours} records a CPU second; paho {bare}"


def _per_second(measured: list[Round], count: int) -> str:
    ours, bare = per_second(count, [each.ours for each in measured]), per_second(count, [each.bare for each in measured])
    return f"{ours} records a second; paho {bare}"


@contextlib.contextmanager
def _broker() -> Iterator[int]:
    """The port of a mosquitto that listens on 127.0.0.1 only and keeps nothing on disk."""
    found = program()
    assert found
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = int(held.getsockname()[1])
    quiet: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([found, "-p", str(port)], **quiet) as process:
        try:
            _listening(process, port)
            yield port
        finally:
            process.terminate()


def _listening(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + _PATIENCE
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        assert process.poll() is None, "mosquitto ended"
        assert time.monotonic() < deadline, "mosquitto does not listen"
        time.sleep(0.01)


def _destination(name: str, port: int) -> Mqtt:
    """A broker that takes a backlog as fast as it can: both sides are measured without a limit."""
    return Mqtt(name=name, host="127.0.0.1", port=port, window=_WINDOW, backlog_per_second=100_000)


async def _drain(destination: Mqtt, ledger: Ledger) -> None:
    """Returns when the broker has acknowledged every record to a forwarder that begins at the first."""
    log = structlog.wrap_logger(None, processors=[_silent], wrapper_class=structlog.make_filtering_bound_logger(0))
    forwarder = Forwarder(destination, ledger, GATEWAY, Clock(), None, log)
    task = asyncio.create_task(forwarder.run())
    try:
        async with asyncio.timeout(_PATIENCE):
            while forwarder.state.next_n < ledger.size and not task.done():
                await asyncio.sleep(0.005)
        assert not task.done(), task.exception()
    finally:
        task.cancel()
        await asyncio.wait([task])


def _silent(_: Any, __: str, ___: Any) -> Any:
    raise structlog.DropEvent


class Publisher:
    """paho as its documentation uses it: its own thread, MQTT 5, quality of service 1, at most a window unacknowledged."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._room = threading.Semaphore(_WINDOW)
        self._connected = threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.max_inflight_messages = _WINDOW
        self._client.on_connect = lambda *_: self._connected.set()
        self._client.on_publish = lambda *_: self._room.release()

    def publish(
        self, messages: list[Message], begin: Callable[[], object] = lambda: None, end: Callable[[], object] = lambda: None
    ) -> None:
        """Connects, publishes them all and returns when the last is acknowledged. Calls `begin` before and `end` after them."""
        self._client.connect("127.0.0.1", self._port)
        self._client.loop_start()
        assert self._connected.wait(_PATIENCE)
        begin()
        for message in messages:
            self.one(message)
        end()
        for _ in range(_WINDOW):
            assert self._room.acquire(timeout=_PATIENCE)
        self._client.disconnect()
        self._client.loop_stop()

    def one(self, message: Message) -> None:
        """Publishes a message as soon as the window has room. Only while connected."""
        assert self._room.acquire(timeout=_PATIENCE)
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho leaves its __init__ unannotated
        properties.ContentType = message.content_type
        self._client.publish(message.topic, message.payload, qos=1, properties=properties)
