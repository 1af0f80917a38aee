"""Foreign brokers and subscribers for tests: mosquitto, mosquitto_sub, and a TCP proxy that spoils the line between.

    with Mosquitto(tmp_path) as broker: ...          a broker on a free port of 127.0.0.1, its files in tmp_path
    async with Subscriber(broker, "#") as seen: ...  what mosquitto_sub prints, from when it is subscribed
    async with Line(broker.port) as line: ...        line.port leads to the broker as long as the test wants it to

Nothing here is the project's code, so what they see is what any broker and any subscriber would see.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import pytest

PATIENCE = 20.0
_PUBLISH, _PUBACK = 3, 4


def program(name: str) -> str:
    """The path of a program; skips the test where it is missing."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if not found:
        package = "mosquitto-clients" if name in ("mosquitto_sub", "mosquitto_pub") else "mosquitto"
        pytest.skip(f"{name} is missing: apt install {package}")
    return found


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nothing listens on at this moment."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


async def until(condition: Callable[[], object], seconds: float = PATIENCE, what: str = "") -> None:
    """Returns as soon as a condition holds. Fails when it does not within the time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what or condition}"
        await asyncio.sleep(0.005)


@dataclass(frozen=True)
class Place:
    """Where a broker is reached."""

    host: str
    port: int


class Mosquitto:
    """A mosquitto with files of its own. It keeps its port over `kill` and `start`.

    Args:
        folder: where its configuration, access list, users and log go.
        settings: further lines of mosquitto.conf, such as `max_inflight_messages 5`.
        access: text of an access list (acl_file); none lets everybody do everything.
        users: passwords by user name; none lets everybody in.
        sessions: persistent sessions outlive `stop`.
        quiet: only errors go to its log.
    """

    def __init__(
        self,
        folder: Path,
        *settings: str,
        access: str | None = None,
        users: dict[str, str] | None = None,
        sessions: bool = False,
        quiet: bool = False,
    ) -> None:
        self._program = program("mosquitto")
        self._folder = folder / f"mosquitto-{free_port()}"
        self._folder.mkdir()
        self.port = free_port()
        self.host = "127.0.0.1"
        self.access_file = self._folder / "access"
        self.log_file = self._folder / "log"
        lines = [f"listener {self.port} 127.0.0.1", f"allow_anonymous {'false' if users else 'true'}"]
        lines += [*settings, f"log_type {'error' if quiet else 'all'}", f"log_dest file {self.log_file}"]
        if os.geteuid() == 0:
            lines.append("user root")  # else it gives up its rights and cannot read these files any more
        if access is not None:
            self.access_file.write_text(access)
            lines.append(f"acl_file {self.access_file}")
        if users:
            lines.append(f"password_file {self._password_file(users)}")
        if sessions:
            lines += ["persistence true", f"persistence_location {self._folder}/"]
        (self._folder / "conf").write_text("\n".join(lines) + "\n")
        self._process: subprocess.Popen[bytes] | None = None

    def _password_file(self, users: dict[str, str]) -> Path:
        path = self._folder / "users"
        path.write_text("")
        path.chmod(0o600)
        for name, password in users.items():
            subprocess.run([program("mosquitto_passwd"), "-b", str(path), name, password], check=True, capture_output=True)
        return path

    def __enter__(self) -> Mosquitto:
        self.start()
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        if self._process:
            self.thaw()
            self.kill()

    def start(self) -> None:
        """Starts it; returns when it takes connections."""
        self._process = subprocess.Popen(
            [self._program, "-c", str(self._folder / "conf")],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,  # only that it should not be root; errors stand in its log
        )
        deadline = time.monotonic() + PATIENCE
        while True:
            with contextlib.suppress(OSError), socket.create_connection((self.host, self.port), timeout=1):
                return
            assert self._process.poll() is None, f"mosquitto ended: {self.log()}"
            assert time.monotonic() < deadline, "mosquitto does not listen"
            time.sleep(0.005)

    def _end(self, number: signal.Signals) -> None:
        if self._process:
            self._process.send_signal(number)
            self._process.wait(PATIENCE)
            self._process = None

    def stop(self) -> None:
        """Ends it in order."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Ends it as a power cut would: kill -9."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """It takes no processor time any more; the kernel still takes its connections and bytes."""
        assert self._process
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on."""
        if self._process:
            self._process.send_signal(signal.SIGCONT)

    def allow(self, access: str) -> None:
        """Puts another access list into force."""
        assert self._process
        self.access_file.write_text(access)
        self._process.send_signal(signal.SIGHUP)

    def log(self) -> str:
        """What it has written to its log."""
        return self.log_file.read_text() if self.log_file.exists() else ""


@dataclass(frozen=True)
class Seen:
    """One message as mosquitto_sub printed it."""

    topic: str
    retained: bool
    content_type: str
    payload: bytes


class Subscriber:
    """A mosquitto_sub -V 5. `session` gives it a persistent session of that name at QoS 1, else it subscribes at QoS 0."""

    def __init__(self, broker: Mosquitto | Place, topic: str, *options: str, session: str | None = None) -> None:
        # $SYS/broker/version is retained by the broker itself: when it arrives, the subscription is in force.
        self._command = [program("mosquitto_sub"), "-V", "5", "-h", broker.host, "-p", str(broker.port), *options]
        self._command += ["-t", topic, "-t", "$SYS/broker/version", "-F", "%t\t%r\t%C\t%x"]
        if session:
            self._command += ["-q", "1", "-c", "-i", session, "-x", "3600"]
        self.seen: list[Seen] = []
        self._subscribed = False

    async def __aenter__(self) -> Subscriber:
        await self.start()
        return self

    async def __aexit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        await self.end()

    async def start(self) -> None:
        """Subscribes; returns when the subscription is in force."""
        self._subscribed = False
        self._process = await asyncio.create_subprocess_exec(
            *self._command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL, limit=2**22
        )
        self._reading = asyncio.create_task(self._read())
        await until(lambda: self._subscribed or self._reading.done(), what="mosquitto_sub is subscribed")
        assert self._subscribed, f"mosquitto_sub could not subscribe: {self._command}"

    async def end(self) -> None:
        """Ends the program; what it printed before is kept."""
        if self._process.returncode is None:
            self._process.terminate()
        await self._process.wait()
        await self._reading

    async def _read(self) -> None:
        assert self._process.stdout
        async for line in self._process.stdout:
            topic, retained, content_type, payload = line.decode().rstrip("\n").split("\t")
            if topic == "$SYS/broker/version":
                self._subscribed = True
            else:
                self.seen.append(Seen(topic, retained == "1", content_type, bytes.fromhex(payload)))


def packets(data: bytearray) -> Iterator[tuple[int, bytes]]:
    """Takes the whole MQTT packets off the front of `data`: type and what follows the length (MQTT 5.0, section 2.1)."""
    while (length := whole(data)) is not None:
        packet = bytes(data[:length])
        del data[:length]
        start = next(at for at in range(1, 5) if not packet[at] & 128) + 1
        yield packet[0] >> 4, packet[start:]


@dataclass
class _Way:
    """One direction of one connection."""

    writer: asyncio.StreamWriter
    kept: bytearray = field(default_factory=bytearray)
    unread: bytearray = field(default_factory=bytearray)


class Line:
    """A TCP line to a broker that a test can cut, close, hold and make swallow; it counts what is in flight.

    Attributes:
        swallows: bytes of both directions vanish, and the connection stands: a half-open connection.
        holds: bytes from the broker are kept back until `release`.
        most_in_flight: the most publishes that were at one time sent and not acknowledged to the sender.
    """

    def __init__(self, port: int) -> None:
        self.broker_port = port
        self.port = 0
        self.closed = False
        self.swallows = False
        self.holds = False
        self.accepted = 0
        self.in_flight: set[int] = set()
        self.most_in_flight = 0
        self._answers: list[_Way] = []
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Line:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self._server.close()
        self.cut()
        await asyncio.gather(*self._tasks)

    @property
    def connections(self) -> int:
        """How many connections stand at this moment."""
        return len(self._writers) // 2

    def cut(self) -> None:
        """Breaks all connections, without a word to either side; what was held is lost."""
        for writer in self._writers:
            writer.transport.abort()
        self._answers.clear()
        self.in_flight.clear()

    def close(self) -> None:
        """Breaks all connections and lets none through until `open`."""
        self.closed = True
        self.cut()

    def open(self) -> None:
        """Lets connections through again, all bytes with them."""
        self.closed = self.swallows = self.holds = False

    def release(self) -> None:
        """Passes on what the broker has sent meanwhile."""
        self.holds = False
        for way in self._answers:
            self._pass_on(way)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.add(asyncio.current_task())  # type: ignore[arg-type]  # there is one: this coroutine runs in it
        self.accepted += 1
        if self.closed:
            writer.transport.abort()
            return
        try:
            broker_reader, broker_writer = await asyncio.open_connection("127.0.0.1", self.broker_port)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, broker_writer}
        self.in_flight.clear()
        self._answers.append(_Way(writer))
        await asyncio.gather(
            self._up(reader, _Way(broker_writer), writer), self._down(broker_reader, self._answers[-1], broker_writer)
        )
        self._writers -= {writer, broker_writer}

    async def _up(self, reader: asyncio.StreamReader, way: _Way, other: asyncio.StreamWriter) -> None:
        while data := await _some(reader):
            if self.swallows:
                continue
            way.unread += data
            for kind, body in packets(way.unread):
                if kind == _PUBLISH:
                    at = 2 + int.from_bytes(body[:2], "big")
                    self.in_flight.add(int.from_bytes(body[at : at + 2], "big"))
                    self.most_in_flight = max(self.most_in_flight, len(self.in_flight))
            await self._sent(data, way, other)
        _close(way.writer, other)

    async def _down(self, reader: asyncio.StreamReader, way: _Way, other: asyncio.StreamWriter) -> None:
        while data := await _some(reader):
            if not self.swallows:
                way.kept += data
                if not self.holds:
                    self._pass_on(way)
        _close(way.writer, other)

    async def _sent(self, data: bytes, broker: _Way, gateway: asyncio.StreamWriter) -> None:
        """What came from the gateway goes to the broker."""
        broker.writer.write(data)

    def _pass_on(self, way: _Way) -> None:
        way.unread += way.kept
        for kind, body in packets(way.unread):
            if kind == _PUBACK:
                self.in_flight.discard(int.from_bytes(body[:2], "big"))
        way.writer.write(bytes(way.kept))
        way.kept.clear()


class QuotaLine(Line):
    """A line on which the broker now and then refuses a record: quota exceeded (MQTT 5.0, reason 151).

    Attributes:
        refuses: so many of the records to come are refused, and never reach the broker.
    """

    refuses = 0

    async def _sent(self, data: bytes, broker: _Way, gateway: asyncio.StreamWriter) -> None:
        broker.kept += data
        while (length := whole(broker.kept)) is not None:
            packet = bytes(broker.kept[:length])
            del broker.kept[:length]
            if self.refuses and packet[0] & 0xF7 == _PUBLISH << 4 | 2:  # at QoS 1, not retained
                self.refuses -= 1
                gateway.write(bytes([_PUBACK << 4, 4, *_identifier(packet), 151, 0]))
            else:
                broker.writer.write(packet)


def whole(data: bytearray) -> int | None:
    """How long the first packet is; None while it has not come as a whole."""
    length, shift, at = 0, 0, 1
    while at < len(data):
        length |= (data[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if not data[at - 1] & 128:
            return at + length if len(data) >= at + length else None
    return None


def _identifier(packet: bytes) -> bytes:
    """The packet identifier of a PUBLISH at QoS 1."""
    ((_, body),) = packets(bytearray(packet))
    at = 2 + int.from_bytes(body[:2], "big")
    return body[at : at + 2]


async def _some(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read(65536)
    except OSError:
        return b""


def _close(*writers: asyncio.StreamWriter) -> None:
    for writer in writers:
        writer.close()
