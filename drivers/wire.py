"""The ways bytes travel to meters: a TCP connection, and a serial server that speaks RFC 2217 in a thread of its own.

All collect what arrives in `received` with the moment of each piece, and set `changed`. Serial ports of this machine
are in `drivers.port`. pyserial's RFC 2217 client blocks, so it has a thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import re
import socket
import termios
import threading
import time
from collections import deque
from typing import Any, Protocol

import serial

from config.language import _
from drivers import Instant
from drivers.errors import LinkDown

_KEEPALIVE = ((socket.TCP_KEEPIDLE, 10), (socket.TCP_KEEPINTVL, 5), (socket.TCP_KEEPCNT, 3), (socket.TCP_USER_TIMEOUT, 20_000))
_READ_SECONDS = 0.1
_WRITE_SECONDS = 5.0
_OPEN_SECONDS = 5.0
MOST_BYTES = 2048  # the longest Modbus frame, ASCII, has 513 bytes; behind its own echo and noise it still fits


class Moments(Protocol):
    """Where a wire takes its time from; `agent.clock.Clock` is one."""

    def instant(self) -> Instant:
        """This moment."""


class Wire:
    """What has arrived on an open way to meters.

    Attributes:
        received: all bytes since the last `clear`, or the newest ones of a line that never stops talking.
        changed: set whenever something arrived or the wire was lost.
        gone: set once the wire was lost.
        lost: why it is no longer usable; empty while it is.
        most: how many bytes are kept.
        heard_at: when the newest byte arrived, monotonic seconds.
        heard: set whenever something arrived, for who has no exchange under way; None: nobody.
    """

    def __init__(self, clock: Moments) -> None:
        self._clock = clock
        self.received = bytearray()
        self._pieces: deque[tuple[int, Instant]] = deque()
        self.changed = asyncio.Event()
        self.gone = asyncio.Event()
        self.lost = ""
        self.most = MOST_BYTES
        self.heard_at = 0.0
        self.heard: asyncio.Event | None = None

    def clear(self) -> None:
        """Forgets what arrived."""
        self.received.clear()
        self._pieces.clear()
        self.changed.clear()

    def drop(self, count: int) -> None:
        """Forgets the first bytes that arrived."""
        self.cut(0, count)

    def cut(self, start: int, end: int) -> None:
        """Forgets some of what arrived."""
        del self.received[start:end]
        kept: deque[tuple[int, Instant]] = deque()
        at = 0
        for length, arrived in self._pieces:
            gone = max(0, min(at + length, end) - max(at, start))
            if length > gone:
                kept.append((length - gone, arrived))
            at += length
        self._pieces = kept

    def feed(self, data: bytes, moment: Instant) -> None:
        """Takes a piece that arrived."""
        self.heard_at = time.monotonic()
        self.received += data
        self._pieces.append((len(data), moment))
        if (excess := len(self.received) - self.most) > 0:
            self.drop(excess)
        self.changed.set()
        if self.heard:
            self.heard.set()

    def moment(self, index: int) -> Instant:
        """When a byte of `received` arrived. Raises IndexError where there is none."""
        for length, arrived in self._pieces:
            if index < length:
                return arrived
            index -= length
        raise IndexError(index)

    def lose(self, why: str) -> None:
        """Marks the wire as gone."""
        self.lost = self.lost or why
        self.gone.set()
        self.changed.set()

    async def write(self, data: bytes) -> None:
        """Sends bytes; returns when they are handed over. Raises LinkDown."""
        raise NotImplementedError

    async def set(self, baud: int, character: str) -> None:
        """Sets speed and format, such as 9600 and `8N1`, once all that was written is out. Raises LinkDown.

        Nothing happens over TCP: there the converter is set by hand.
        """

    async def close(self) -> None:
        """Gives the port or connection back."""
        raise NotImplementedError


class TcpWire(Wire, asyncio.Protocol):
    """A TCP connection."""

    def __init__(self, clock: Moments) -> None:
        super().__init__(clock)
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def open(cls, endpoint: str, clock: Moments) -> TcpWire:
        """A connection to `host:port`. Raises LinkDown."""
        host, port = endpoint.rsplit(":", 1)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_OPEN_SECONDS):
                _unused, wire = await loop.create_connection(lambda: cls(clock), host, int(port))
        except TimeoutError:
            raise LinkDown("no_connection", _("{endpoint} does not answer", endpoint=endpoint)) from None
        except (OSError, ValueError, OverflowError) as error:  # ValueError: a host name that cannot be one
            raise LinkDown("no_connection", why_not_connected(endpoint, error)) from None
        return wire

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: the connection stands; a dead peer is noticed within 25 seconds."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  create_connection makes nothing else
        self._transport = transport
        connected = transport.get_extra_info("socket")
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE:
            connected.setsockopt(socket.IPPROTO_TCP, option, value)

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes arrived."""
        self.feed(data, self._clock.instant())

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio: the connection is gone."""
        self.lose(_("the connection broke: {exc}", exc=exc) if exc else _("the other side closed the connection"))

    async def write(self, data: bytes) -> None:
        """Sends bytes. Raises LinkDown."""
        if self._transport is None or self.lost:
            raise LinkDown("connection_lost", self.lost or _("not connected"))
        self._transport.write(data)

    async def close(self) -> None:
        """Drops the connection at once."""
        if self._transport:
            self._transport.abort()
            await self.gone.wait()


class ServerWire(Wire):
    """A port of a serial server that speaks RFC 2217, read by a thread of its own."""

    def __init__(self, port: serial.Serial, character: str, clock: Moments) -> None:
        super().__init__(clock)
        self._port = port
        self._now = (port.baudrate, character)
        self._loop = asyncio.get_running_loop()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._read, name=f"serial {port.port}", daemon=True)
        self._thread.start()

    @classmethod
    async def open(cls, url: str, baud: int, character: str, clock: Moments) -> ServerWire:
        """An open port behind an rfc2217:// URL; `character` such as `8N1`. Raises LinkDown."""
        options = serial_options(baud, character) | {"timeout": _READ_SECONDS}
        try:
            port = await asyncio.to_thread(serial.serial_for_url, url, **options)
        except (OSError, ValueError) as error:
            raise LinkDown("no_port", why_not_opened(url, character, error)) from None
        return cls(port, character, clock)

    def _read(self) -> None:
        try:
            while not self._closing.is_set():
                data = self._port.read(1)
                if data:
                    data += self._port.read(self._port.in_waiting)
                    self._tell(self.feed, data, self._clock.instant())
        except (OSError, ValueError, TypeError) as error:
            # TypeError: pyserial's answer to a port that another thread closed while it was reading.
            self._tell(self.lose, _("the port is gone: {error}", error=error))

    def _tell(self, call: Any, *arguments: Any) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(call, *arguments)

    async def write(self, data: bytes) -> None:
        """Sends bytes. Raises LinkDown."""
        if self.lost:
            raise LinkDown("port_lost", self.lost)
        try:
            await asyncio.to_thread(self._port.write, data)
        except (OSError, ValueError) as error:
            self.lose(_("the port is gone: {error}", error=error))
            raise LinkDown("port_lost", self.lost) from None

    async def set(self, baud: int, character: str) -> None:
        """Sets speed and format at the serial server; nothing happens if it is set so. Raises LinkDown."""
        if self._now == (baud, character):
            return
        options = serial_options(baud, character)
        try:
            await asyncio.to_thread(self._port.flush)
            await asyncio.to_thread(self._port.apply_settings, options)
        except (OSError, ValueError) as error:
            self.lose(
                _("the serial server does not take {baud} {character}: {error}", baud=baud, character=character, error=error)
            )
            raise LinkDown("port_lost", self.lost) from None
        self._now = (baud, character)

    async def close(self) -> None:
        """Stops the reading thread and gives the port back."""
        self._closing.set()
        self.lose(_("the port was closed"))
        await asyncio.to_thread(self._thread.join)
        # A server that is gone cannot be closed in order; it is gone either way.
        with contextlib.suppress(OSError):
            await asyncio.to_thread(self._port.close)


def why_not_connected(endpoint: str, error: Exception) -> str:
    """Plain words for a connection to `host:port` that could not be made."""
    host = endpoint.rsplit(":", 1)[0]
    if isinstance(error, socket.gaierror | ValueError):
        return _("the name {host} is not known in this network", host=host)
    numbers = re.findall(r"\[Errno ([0-9]+)\]", str(error))  # asyncio's error for a host with several addresses has no errno
    words = {
        errno.ECONNREFUSED: _(
            "{endpoint} refuses the connection: the device is there, but nothing listens on that port", endpoint=endpoint
        ),
        errno.EHOSTUNREACH: _("{host} cannot be reached: no device has this address", host=host),
        errno.ENETUNREACH: _("{host} cannot be reached: this machine has no way into its network", host=host),
        errno.ETIMEDOUT: _("{endpoint} does not answer", endpoint=endpoint),
    }
    return next(
        (words[int(number)] for number in numbers if int(number) in words),
        _("cannot connect to {endpoint}: {error}", endpoint=endpoint, error=error),
    )


def serial_options(baud: int, character: str) -> dict[str, Any]:
    """Speed and format as pyserial names them; `character` such as `8N1`."""
    return {"baudrate": baud, "bytesize": int(character[0]), "parity": character[1], "stopbits": int(character[2])}


def why_not_opened(name: str, character: str, error: BaseException) -> str:
    """Why a serial port could not be opened, in plain words."""
    text = str(error)
    if isinstance(error, termios.error):
        return _("{name} cannot be set to {character}: {text}", name=name, character=character, text=text)
    if "exclusively lock" in text or "Resource temporarily unavailable" in text:
        return _("{name} is in use by another program", name=name)
    if "Permission denied" in text:
        return _("{name} may not be opened: the user of this program must be in the group dialout", name=name)
    if "No such file" in text or "No such device" in text:
        return _("{name} does not exist", name=name)
    if "Inappropriate ioctl" in text:
        return _("{name} is no serial port", name=name)
    if "Connection refused" in text:
        return _("{name} refuses the connection: the serial server is there, but nothing listens on that port", name=name)
    return _("{name} cannot be opened: {text}", name=name, text=text)
