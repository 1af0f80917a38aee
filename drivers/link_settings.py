"""How a link is reached, and the times that follow from it. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from drivers import Request

_SHORTEST_SILENCE = 0.00175
_FRAME_BYTES = 13
_TURNAROUND = 0.01  # what most meters need at least; those that need longer would profit from even larger holes
_ANY_HOLE = 250
_LONGEST_TCP = 260
_BETWEEN_PIECES = 0.1


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """How a link is reached.

    Attributes:
        name: its name in the site file.
        tcp: `host:port`, or None for a serial port.
        serial: a device or an rfc2217:// or socket:// URL, or None.
        framing: `tcp`, `rtu` or `ascii`: how Modbus frames are carried.
        baud, character: of a serial port, such as 9600 and `8N1`.
        timeout_s, longest_answer_s: override what the meter models say; None: the models', or twice a longer timeout.
    """

    name: str
    framing: str
    tcp: str | None = None
    serial: str | None = None
    baud: int = 9600
    character: str = "8N1"
    timeout_s: float | None = None
    longest_answer_s: float | None = None

    @property
    def character_bits(self) -> int:
        """Bits of one character on the line: start, data, parity and stop."""
        return _bits(self.character)

    @property
    def silence_s(self) -> float:
        """The silence between two frames: 3.5 characters on a serial line, nothing on Modbus TCP."""
        return self._silence(self.baud, self.character)

    def silence_of(self, request: Request) -> float:
        """The same around a request that has a speed of its own; the slower one of what it is sent and answered at."""
        speeds = [speed for speed in (request.baud, request.answer_baud) if speed]
        return self._silence(min(speeds, default=self.baud), request.character or self.character)

    def _silence(self, baud: int, character: str) -> float:
        return 0.0 if self.framing == "tcp" else max(_SHORTEST_SILENCE, 3.5 * _bits(character) / baud)

    @property
    def over_tcp(self) -> bool:
        """Whether it is a TCP connection, to a meter or to a serial server."""
        return self.tcp is not None or str(self.serial).startswith("socket://")

    @property
    def hole_bytes(self) -> int:
        """So many bytes that nobody asked for cost less than another request.

        On a line that is a Modbus RTU request, the frame around its answer, two silences and the meter's own time to
        answer; on Modbus TCP a round trip outweighs any number of bytes.
        """
        if self.framing == "tcp":
            return _ANY_HOLE
        return _FRAME_BYTES + int((2 * self.silence_s + _TURNAROUND) * self.baud / self.character_bits)

    def transmission_s(self, request: Request) -> float:
        """How long a request is on its way over a serial port; nothing over TCP, where nobody knows."""
        known = self.serial or request.baud  # behind a serial server a protocol may have a speed of its own
        return len(request.data) * self.character_bits / (request.baud or self.baud) if known else 0.0

    def times(self, request: Request) -> tuple[float, float]:
        """Seconds until an answer must have begun, and until it must have ended for certain."""
        baud = request.answer_baud or request.baud or self.baud
        modbus_tcp = self.framing == "tcp" and request.baud is None and request.longest_bytes <= _LONGEST_TCP
        on_the_line = 0.0 if modbus_tcp else request.longest_bytes * self.character_bits / baud
        return self.timeout_s or request.timeout_s, self.begins_s(request) + on_the_line

    def begins_s(self, request: Request) -> float:
        """Seconds until even a late answer must have begun."""
        timeout = self.timeout_s or request.timeout_s
        return max(timeout, self.longest_answer_s or max(request.longest_answer_s, 2 * timeout))

    def between_s(self, request: Request) -> float:
        """The longest pause within an answer: a serial server or an adapter hands it over in pieces, or the meter makes some."""
        return max(_BETWEEN_PIECES, 2 * self.silence_of(request), request.gap_s or 0.0)


def _bits(character: str) -> int:
    return 1 + int(character[0]) + (character[1] != "N") + int(character[2])
