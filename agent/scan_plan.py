"""What a search for meters asks, at which speeds, and how long it takes at least. Pure.

A round is one protocol at one speed and format. Rounds with few questions come first, so that most meters are found in
the first minute: the broadcasts of DL/T 645 and CJ/T 188 and the search of M-Bus, then the addresses of Modbus.

 1. A question that nobody answers costs its bytes on the wire and its timeout, one that is answered its bytes and the
    answer's. Both cost the silence behind them. That is the least: a meter's own time to answer is not in it.
 2. Timeouts are what the protocols grant a meter, and a little for adapters: DL/T 645 and CJ/T 188 500 ms, M-Bus 330 bit
    times and 50 ms, IEC 62056-21 1.5 s. Modbus grants no time; 200 ms are taken unless told otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from drivers import Exchange, Request
from drivers.link_settings import LinkSettings

SERIAL_PROTOCOLS = ("modbus", "dlt645", "cjt188", "mbus", "iec62056_21")
BAUDS = (9600, 19200, 2400, 4800, 38400, 115200)
MODBUS_FORMATS = ("8N1", "8E1")
_OWN_BAUDS = {"dlt645": (2400, 1200, 4800, 9600), "cjt188": (2400, 9600, 4800), "mbus": (2400, 300, 9600), "iec62056_21": (300,)}
_OWN_FORMAT = {"dlt645": "8E1", "cjt188": "8E1", "mbus": "8E1", "iec62056_21": "7E1"}
_SLACK_S = 0.05  # what an adapter and this machine add
_GRANTED_S = {"dlt645": 0.5, "cjt188": 0.5, "iec62056_21": 1.5}
_PRIMARY_FROM = 2400  # baud; below, asking all primary addresses of an M-Bus would take longer than anybody waits


@dataclass(frozen=True, slots=True)
class Round:
    """One protocol at one speed.

    Attributes:
        protocol: its name in a model file.
        baud, character: how the port is set, such as 9600 and `8N1`; None on TCP, where nobody can set it.
        units: the addresses that are asked one after the other; empty where the protocol can ask for all at once.
        timeout_s: how long an answer may take to begin.
    """

    protocol: str
    baud: int | None
    character: str | None
    units: tuple[int, ...]
    timeout_s: float

    @property
    def speed(self) -> str:
        """Speed and format as a person says them; empty on TCP."""
        return f"{self.baud} {self.character}" if self.baud else ""

    def settings(self, framing: str) -> LinkSettings:
        """A line that is set like that, for times on the wire."""
        return LinkSettings(
            "", framing, serial="scan" if self.baud else None, baud=self.baud or 9600, character=self.character or "8N1"
        )

    def questions(self) -> int:
        """How many questions it has where nobody answers."""
        return {"modbus": len(self.units), "dlt645": 4, "cjt188": 8, "mbus": 3 + len(self.units), "iec62056_21": 1}[self.protocol]

    def empty_s(self) -> float:
        """Seconds that it takes where nobody answers, counted with a question of ten bytes."""
        wire = 10 * self.settings("rtu").character_bits / self.baud if self.baud else 0.0
        return self.questions() * (wire + self.timeout_s)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is searched for.

    Attributes:
        protocols, bauds, formats: which ones; formats are those of Modbus, the others have their own.
        units: Modbus addresses; M-Bus' primary ones are 0 to 250 of them.
        timeout_s: of a Modbus question.
    """

    protocols: tuple[str, ...] = SERIAL_PROTOCOLS
    bauds: tuple[int, ...] = ()
    formats: tuple[str, ...] = MODBUS_FORMATS
    units: tuple[int, ...] = tuple(range(1, 248))
    timeout_s: float = 0.2

    def rounds(self, *, settable: bool, framing: str) -> list[Round]:
        """The rounds in the order they are asked.

        Args:
            settable: whether the port's speed can be set from here.
            framing: how Modbus is carried on it; with `tcp` nothing else can be spoken.
        """
        if framing == "tcp":
            return [Round("modbus", None, None, self.units, self.timeout_s)] if "modbus" in self.protocols else []
        made = [self._round(protocol, baud, character) for protocol, baud, character in self._speeds(settable)]
        return sorted(made, key=lambda each: (each.protocol == "modbus", len(each.units) > 0))

    def _speeds(self, settable: bool) -> list[tuple[str, int | None, str | None]]:
        if not settable:
            return [(protocol, None, None) for protocol in SERIAL_PROTOCOLS if protocol in self.protocols]
        made: list[tuple[str, int | None, str | None]] = []
        for protocol in self.protocols:
            if protocol == "modbus":
                made += [(protocol, baud, character) for baud in self.bauds or BAUDS for character in self.formats]
            else:
                usual = _OWN_BAUDS[protocol]
                kept = [baud for baud in usual if not self.bauds or baud in self.bauds or usual == (300,)]
                made += [(protocol, baud, _OWN_FORMAT[protocol]) for baud in kept]
        return made

    def _round(self, protocol: str, baud: int | None, character: str | None) -> Round:
        units = self.units if protocol == "modbus" else ()
        if protocol == "mbus" and (baud or _PRIMARY_FROM) >= _PRIMARY_FROM:
            units = tuple(dict.fromkeys((0, *(unit for unit in self.units if unit <= 250))))
        timeout = self.timeout_s
        if protocol == "mbus":
            timeout = 330 / (baud or 2400) + 0.05 + _SLACK_S  # EN 13757-2, 5.5.2: 11 to 330 bit times, and 50 ms
        elif protocol != "modbus":
            timeout = _GRANTED_S[protocol] + _SLACK_S
        return Round(protocol, baud, character, units, timeout)


def least_s(request: Request, exchange: Exchange, line: LinkSettings, *, until_silent: bool) -> float:
    """Seconds that one exchange takes at least: bytes and silences, and the timeout where nothing answered it.

    `until_silent`: it ends only where nothing more comes, because several may answer; then its timeout has to pass too.
    """
    baud, character = request.baud or line.baud, request.character or line.character
    bits = LinkSettings("", line.framing, serial=line.serial, baud=baud, character=character).character_bits
    known = line.serial is not None
    asked = len(request.data) * bits / baud if known else 0.0
    answered = len(exchange.answer) * bits / (request.answer_baud or baud) if known else 0.0
    silence = line.silence_of(request)
    waits = until_silent or not exchange.answer
    return asked + silence + (max(request.timeout_s, answered) if waits else answered)


def time_left(rounds: Sequence[Round], at: int, asked: int) -> float:
    """Seconds until the search ends if nobody answers any more. `at`: the round under way; `asked`: how far it is."""
    if at >= len(rounds):
        return 0.0
    here = rounds[at]
    rest = max(0.0, 1 - asked / max(1, here.questions())) * here.empty_s()
    return rest + sum(each.empty_s() for each in rounds[at + 1 :])
