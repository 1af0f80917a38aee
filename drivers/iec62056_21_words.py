r"""IEC 62056-21 messages in words, piece by piece: identification, lines of a readout, block check (clause 6.3). Pure.

    1.8.0(  001234.50  *kWh)  CR LF          code, value, unit, end of the line

What this file does not know: which line a model means; whether an answer is the one that was asked for.
"""

from __future__ import annotations

import re

from config.language import N_, _
from drivers.iec62056_21_frame import SPEEDS_B, SPEEDS_C, STX, block_check, crc, stripped
from drivers.words import Cut, Piece

_TOKENS: tuple[tuple[str, re.Pattern[bytes]], ...] = (
    ("sign-on", re.compile(rb"/\?")),
    ("identification", re.compile(rb"/[A-Za-z]{3}[ -~]")),
    ("option", re.compile(rb"\x06[ -~]{3}")),
    ("mode", re.compile(rb"\\[ -~]")),
    ("start", re.compile(rb"[\x01\x02]")),
    ("end", re.compile(rb"![0-9A-Fa-f]{0,4}\r\n")),
    ("etx", re.compile(rb"\x03")),
    ("code", re.compile(rb"[^()!\r\n\x00-\x1f]{0,32}\((?=[^()\r\n\x00-\x1f]*\))")),
    ("unit", re.compile(rb"\*[^()\r\n\x00-\x1f]*\)")),
    ("close", re.compile(rb"\)")),
    ("line", re.compile(rb"\r\n")),
    ("text", re.compile(rb"[^()\r\n\x00-\x1f!*\\/]+")),
)
_FIELDS = {
    "sign-on": N_("start, transmission request"),
    "mode": N_("enhanced baud rate and mode"),
    "etx": "ETX",
    "code": "address",
    "value": "value",
    "unit": "unit",
    "close": N_("end of value"),
    "line": N_("end of line"),
    "text": "text",
}
_VALUE = re.compile(rb"[^()*\r\n\x00-\x1f]+")


def request(frame: bytes, framing: str = "own") -> list[Piece]:
    """A request's pieces."""
    return _message(frame)


def answer(asked: bytes, frame: bytes, framing: str = "own") -> list[Piece]:
    """An answer's pieces."""
    return _message(frame)


def _message(frame: bytes) -> list[Piece]:
    cut, data = Cut(frame), stripped(frame)
    cut.take(len(data) - len(data.lstrip(b"\0")), N_("wake-up"), _("for a meter with a battery"))
    started = inside = False
    begun = told = cut.at
    named = signing = False
    while cut.left:
        name, length = _next(data, cut.at, inside)
        token = data[cut.at : cut.at + length]
        if name == "start":
            started, begun = True, cut.at + 1
        elif name in ("identification", "sign-on"):
            told, named, signing = cut.at, name == "identification", name == "sign-on"
        if name == "end":
            _end(cut, token, crc(data[told : cut.at + 1]) if len(token) > 3 else None)
        elif name == "identification":
            _identified(cut, token)
        elif name == "text" and (named or signing):
            cut.take(length, "identification" if named else _("device address"), token.decode("latin-1"))
        else:
            _plain(cut, name, token)
        named, signing = (named, signing) if name not in ("line", "start") else (False, False)
        inside = name == "code" or (inside and name == "value")
        if name == "etx" and started:
            cut.checked(_with_parity_of(frame, cut, block_check(data[begun : cut.at])), _("block check BCC"))
            started = False
    return cut.pieces


def _next(data: bytes, at: int, inside: bool) -> tuple[str, int]:
    """What stands next, and how many bytes it has."""
    if inside and (found := _VALUE.match(data, at)):
        return "value", len(found[0])
    for name, pattern in _TOKENS:
        if found := pattern.match(data, at):
            return name, len(found[0])
    return "damaged", 1


def _plain(cut: Cut, name: str, token: bytes) -> None:
    """What is the same wherever it stands."""
    text = token.decode("latin-1")
    if name == "option":
        words = {"0": _("readout"), "1": _("programming mode"), "2": _("binary mode")}.get(text[3], _("of the maker's own"))
        cut.take(
            len(token),
            _("acknowledgement, option select"),
            _("at {baud} baud: {words}", baud=SPEEDS_C.get(text[2], "?"), words=words),
        )
    elif name == "start":
        cut.take(1, "STX" if token == STX else "SOH", _("readout begins") if token == STX else _("command begins"))
    elif name == "damaged":
        cut.take(1, "damaged", _("no character that can stand here"), right=False)
    else:
        says = {"code": text[:-1] or _("further value of the same line"), "unit": text[1:-1]}
        cut.take(len(token), _FIELDS[name], says.get(name, text if name in ("value", "text", "mode") else ""))


def _identified(cut: Cut, token: bytes) -> None:
    """`/`, the maker's letters and the character of speed and mode (6.3.2)."""
    cut.take(1, N_("start"))
    cut.take(3, N_("manufacturer"), token[1:4].decode("latin-1"))
    speed = token[4:5].decode("latin-1")
    if speed in SPEEDS_C:
        says = _("mode C, up to {speeds_c} baud", speeds_c=SPEEDS_C[speed])
    elif speed in SPEEDS_B:
        says = _("mode B, {baud} baud", baud=SPEEDS_B[speed])
    else:
        says = _("mode A: the readout follows at the same speed")
    cut.take(1, _("baud rate identification"), says)


def _end(cut: Cut, token: bytes, check: int | None) -> None:
    """The end sign; some meters put a CRC behind it."""
    cut.take(1, _("end sign"))
    if check is not None:
        stated = token[1:-2].decode("latin-1").upper()
        right = stated == f"{check:04X}"
        cut.take(len(token) - 3, "CRC-16", N_("right") if right else _("{check:04X} would be right", check=check), right=right)
    cut.take(2, _("end of line"))


def _with_parity_of(frame: bytes, cut: Cut, check: int) -> bytes:
    """The block check as it has to stand in the frame: with the parity bit where the frame has such bits."""
    there = cut.peek(1)
    return there if there and there[0] & 0x7F == check and any(byte & 0x80 for byte in frame) else bytes([check])
