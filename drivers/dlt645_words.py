"""DL/T 645 frames in words, byte by byte (DL/T 645-2007, clause 5.2; -1997, clause 4.2). Pure.

What this file does not know: which quantity an identifier is (a model says); whether an answer is the one that was asked for.
"""

from __future__ import annotations

from dataclasses import replace

from config.language import N_, _
from drivers.dlt645_frame import (
    ABNORMAL,
    ANSWER,
    FUNCTION,
    HEAD,
    IDENTIFIER_BYTES,
    MORE,
    READ_ADDRESS,
    READ_ON,
    TAIL,
    WAKE,
    asked_in,
    is_meant,
    minus_33,
)
from drivers.words import Cut, Piece

_FUNCTIONS = {
    0x11: N_("read data"),
    0x12: N_("read following data"),
    0x13: N_("read address"),
    0x01: N_("read data"),
    0x02: N_("read following data"),
}
_ABNORMAL = (
    N_("other error"),
    N_("no such data"),
    N_("wrong password"),
    N_("baud rate cannot change"),
    N_("year zones"),
    N_("day periods"),
    "tariffs",
)
_LESS = N_("sent plus 33H")


def request(frame: bytes, framing: str = "own") -> list[Piece]:
    """A request's pieces."""
    return _frame(frame)


def answer(asked: bytes, frame: bytes, framing: str = "own") -> list[Piece]:
    """An answer's pieces; the request tells which meter was meant."""
    pieces, meant = _frame(frame), asked_in(asked)
    told = next((piece for piece in pieces if piece.field == _("address A0 to A5") and len(piece.data) == 6), None)
    if meant is None or told is None:
        return pieces
    right = is_meant(meant.address, told.data)
    words = told.says if right else _("{says}: asked was {address}", says=told.says, address=meant.address[::-1].hex())
    marked = replace(told, says=words, state="right" if right else "wrong")
    return [marked if piece is told else piece for piece in pieces]


def _frame(frame: bytes) -> list[Piece]:
    cut = Cut(frame)
    waking = len(frame) - len(frame.lstrip(bytes([WAKE])))
    cut.take(waking, N_("wake-up"), _("for the meter's receiver"))
    start = cut.at
    cut.constant(b"\x68", N_("start"))
    cut.take(6, N_("address A0 to A5"), _address(cut.peek(6)))
    cut.constant(b"\x68", N_("start"))
    control = cut.peek(1)[0] if cut.left else 0
    cut.take(1, N_("control C"), _control(control))
    if not cut.left:
        return cut.pieces
    length = cut.peek(1)[0]
    there = len(frame) - start - HEAD - TAIL
    right = length == there
    cut.take(
        1,
        N_("length L"),
        _("{length} bytes of data", length=length) + ("" if right else _(", {max} are there", max=max(there, 0))),
        right=right,
    )
    _data(cut, control, min(length, cut.left))
    if length > cut.at - start - HEAD:
        return cut.rest(N_("surplus"), "", right=False)
    cut.checked(bytes([sum(frame[start : cut.at]) & 0xFF]), _("checksum CS"))
    cut.constant(b"\x16", N_("end"))
    return cut.rest(N_("surplus"), _("behind the end of the frame"), right=False)


def _address(data: bytes) -> str:
    digits = data[::-1].hex().upper()
    if digits == "AA" * 6:
        return _("any meter")
    if digits == "99" * 6:
        return _("all meters (broadcast)")
    return _("meter {digits}, low digits first", digits=digits)


def _control(control: int) -> str:
    function = _FUNCTIONS.get(control & FUNCTION, _("function {function:02X}H", function=control & FUNCTION))
    words = [_("answer to {function}", function=_(function)) if control & ANSWER else _(function)]
    words += [_("abnormal")] * bool(control & ABNORMAL) + [_("more frames follow")] * bool(control & MORE)
    return ", ".join(words)


def _data(cut: Cut, control: int, length: int) -> None:
    """DATA: error, address, or identifier and what is behind it; each byte was sent plus 33H."""
    end = cut.at + length
    plain = minus_33(cut.peek(length))
    if control & ABNORMAL:
        bits = plain[0] if plain else 0
        words = [_(word) for bit, word in enumerate(_ABNORMAL) if bits >> bit & 1]
        cut.take(length, _("error word ERR"), ", ".join(words) or _("no reason given"), plain=plain)
        return
    if control & FUNCTION == READ_ADDRESS:
        cut.take(length, "address", _("meter {meter}", meter=plain[::-1].hex().upper()) if plain else "", plain=plain)
        return
    count = min(IDENTIFIER_BYTES.get(control & FUNCTION, 0), length)
    if count:
        name = _("data identifier ") + (_("DI0 to DI3") if count == 4 else "DI0, DI1")
        cut.take(
            count,
            name,
            _("identifier {upper}, low byte first", upper=plain[:count][::-1].hex().upper()),
            plain=plain[:count],
        )
    sequence = control & FUNCTION == READ_ON and end > cut.at
    cut.take(end - cut.at - sequence, N_("data"), _LESS, plain=plain[count : length - sequence])
    if sequence:
        cut.take(1, _("sequence SEQ"), _("frame {number}", number=plain[-1]), plain=plain[-1:])
