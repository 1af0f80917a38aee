"""Pseudo-terminals as RS-485 lines: a pair of serial ports, and a port whose other end a test plays itself."""

from __future__ import annotations

import contextlib
import os
import select
import threading
import tty
from types import TracebackType


class Pty:
    """A serial port `name`, and the file `end` that plays whatever hangs on its line."""

    def __init__(self) -> None:
        self.end, self._kept = os.openpty()  # kept open: with no port open at all, reading the other end fails
        tty.setraw(self._kept)
        self.name = os.ttyname(self._kept)

    def unplug(self) -> None:
        """Takes the adapter away: the port is gone for everyone who has it open."""
        if self.end >= 0:
            os.close(self.end)
            os.close(self._kept)
            self.end = -1

    def __enter__(self) -> Pty:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.unplug()


class Line:
    """Two serial ports, `one` and `other`, joined by a line."""

    def __init__(self) -> None:
        self._ends = (Pty(), Pty())
        self.one, self.other = (end.name for end in self._ends)
        self._stop, self._stopped = os.pipe()
        self._thread = threading.Thread(target=self._carry, name="line", daemon=True)
        self._thread.start()

    def _carry(self) -> None:
        one, other = (end.end for end in self._ends)
        across = {one: other, other: one}
        with contextlib.suppress(OSError):
            while self._stop not in (ready := select.select([one, other, self._stop], [], [])[0]):
                for end in ready:
                    os.write(across[end], os.read(end, 4096))

    def __enter__(self) -> Line:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        os.close(self._stopped)
        self._thread.join()
        os.close(self._stop)
        for end in self._ends:
            end.unplug()
