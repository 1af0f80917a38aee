"""A serial port of this machine: opened once, for this program alone, read and written without a thread between.

A pty, which stands for a line in tests and behind programs such as socat, carries whole bytes and keeps no parity: asked
for one it refuses, with `termios.error`, unless something else changes at the same moment. It is never asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import termios
from typing import Any

import serial

from config.language import _
from drivers.errors import LinkDown
from drivers.wire import Moments, Wire, serial_options, why_not_opened

_WRITE_SECONDS = 5.0
_PTYS = "/dev/pts/"
_MOST_AT_ONCE = 4096


def _options(name: str, baud: int, character: str) -> dict[str, Any]:
    """Speed and format of a device as pyserial names them; whole bytes where it is a pty."""
    is_pty = os.path.realpath(name).startswith(_PTYS)
    return serial_options(baud, "8N1" if is_pty else character)


class PortWire(Wire):
    """A serial port, or a pty."""

    def __init__(self, port: serial.Serial, character: str, clock: Moments) -> None:
        super().__init__(clock)
        self._port = port
        self._name = str(port.port)
        self._number = port.fileno()
        self._now = (port.baudrate, character)
        self._writable = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._number, self._readable)

    @classmethod
    async def open(cls, name: str, baud: int, character: str, clock: Moments) -> PortWire:
        """An open port: `name` a device, `character` such as `8N1`. Raises LinkDown."""
        # Exclusive: two programs on one RS-485 line garble each other.
        options = _options(name, baud, character) | {"timeout": 0, "write_timeout": 0, "exclusive": True}
        try:
            port = await asyncio.to_thread(serial.Serial, name, **options)
        except (OSError, ValueError, termios.error) as error:
            raise LinkDown("no_port", why_not_opened(name, character, error)) from None
        return cls(port, character, clock)

    def _readable(self) -> None:
        try:
            data = os.read(self._number, _MOST_AT_ONCE)
        except BlockingIOError:
            return
        except OSError as error:
            self._gone(_("the port is gone: {strerror}", strerror=error.strerror))
            return
        if data:
            self.feed(data, self._clock.instant())
        else:
            self._gone(_("the port is gone: it has hung up"))

    def _gone(self, why: str) -> None:
        self._loop.remove_reader(self._number)
        self.lose(why)

    async def write(self, data: bytes) -> None:
        """Sends bytes. Raises LinkDown, also for an adapter that takes none any more."""
        if self.lost:
            raise LinkDown("port_lost", self.lost)
        try:
            async with asyncio.timeout(_WRITE_SECONDS):
                while data := data[self._write(data) :]:
                    await self._until_writable()
        except (OSError, TimeoutError) as error:
            reason = _("it takes no bytes any more") if isinstance(error, TimeoutError) else error.strerror
            self._gone(_("the port is gone: {reason}", reason=reason))
            raise LinkDown("port_lost", self.lost) from None

    def _write(self, data: bytes) -> int:
        try:
            return os.write(self._number, data)
        except BlockingIOError:
            return 0

    async def _until_writable(self) -> None:
        self._writable.clear()
        self._loop.add_writer(self._number, self._writable.set)
        try:
            await self._writable.wait()
        finally:
            self._loop.remove_writer(self._number)

    async def set(self, baud: int, character: str) -> None:
        """Sets speed and format once all that was written is out; nothing happens if it is set so. Raises LinkDown."""
        if self.lost:
            raise LinkDown("port_lost", self.lost)
        if self._now == (baud, character):
            return
        try:
            await asyncio.to_thread(self._port.flush)
            self._port.apply_settings(_options(self._name, baud, character))
        except (OSError, ValueError, termios.error) as error:
            self._gone(_("the port cannot be set to {baud} {character}: {error}", baud=baud, character=character, error=error))
            raise LinkDown("port_lost", self.lost) from None
        self._now = (baud, character)

    async def close(self) -> None:
        """Gives the port back."""
        self._gone(_("the port was closed"))
        # An adapter that was pulled cannot be closed in order; it is gone either way.
        with contextlib.suppress(OSError, termios.error):
            self._port.close()
