"""CJ/T 188 frames in words, byte by byte (CJ/T 188-2004 and -2018, data link layer). Pure.

What this file does not know: the fields of a data block (a model says); whether an answer is the one that was asked for.
"""

from __future__ import annotations

from dataclasses import replace

from config.language import N_, _
from drivers.cjt188_frame import ABNORMAL, ANSWER, answers_to, asked_in
from drivers.words import Cut, Piece

_TYPES = {
    0x10: N_("cold water"), 0x11: N_("hot water"), 0x12: N_("drinking water"),
    0x13: N_("recycled water"), 0x20: "heat", 0x21: "cooling",
    0x22: N_("heat and cooling"), 0x30: "gas", 0xAA: N_("any kind of meter"),
}  # fmt: skip
_FUNCTIONS = {0x01: N_("read data"), 0x03: N_("read address")}  # those that write have no name in this program
_OVERHEAD = 13

_TYPE, _ADDRESS, _SEQUENCE, _IDENTIFIER = N_("type T"), N_("address A0 to A6"), N_("sequence SER"), N_("data identifier DI")


def request(frame: bytes, framing: str = "own") -> list[Piece]:
    """A request's pieces."""
    return _frame(frame)


def answer(asked: bytes, frame: bytes, framing: str = "own") -> list[Piece]:
    """An answer's pieces; the request tells which meter and which data were meant."""
    meant = asked_in(asked)
    pieces = _frame(frame)
    if meant is None:
        return pieces
    by_field = {piece.field: piece.data for piece in pieces}
    kind, address = by_field.get(_(_TYPE), b""), by_field.get(_(_ADDRESS), b"")
    same: dict[str, bool] = {}
    if kind and len(address) == 7:
        same[_(_ADDRESS)] = answers_to(meant, kind + address)
    for field, right in ((_(_SEQUENCE), meant.sequence), (_(_IDENTIFIER), meant.identifier)):
        if field in by_field:
            same[field] = by_field[field] == right
    return [_judged(piece, same.get(piece.field)) for piece in pieces]


def _judged(piece: Piece, same: bool | None) -> Piece:
    if same is None or piece.state == "wrong":
        return piece
    return (
        replace(piece, state="right")
        if same
        else replace(piece, state="wrong", says=_("{says}: not the one asked", says=piece.says))
    )


def _frame(frame: bytes) -> list[Piece]:
    cut = Cut(frame)
    cut.take(len(frame) - len(frame.lstrip(b"\xfe")), N_("wake-up"), _("for the meter's receiver"))
    start = cut.at
    cut.constant(b"\x68", N_("start"))
    kind = cut.peek(1)[0] if cut.left else 0
    cut.take(1, _TYPE, _TYPES.get(kind, _("a kind of the maker's own")))
    digits = cut.peek(7)[::-1].hex().upper()
    cut.take(
        7,
        _ADDRESS,
        _("any meter") if digits == "AA" * 7 else _("meter {digits}, low digits first", digits=digits),
    )
    control = cut.peek(1)[0] if cut.left else 0
    words = _FUNCTIONS.get(control & 0x3F, _("function {function:02X}H", function=control & 0x3F))
    abnormal = _(", abnormal") if control & ABNORMAL else ""
    cut.take(1, N_("control C"), (_("answer to {words}", words=_(words)) if control & ANSWER else _(words)) + abnormal)
    if not cut.left:
        return cut.pieces
    length, there = cut.peek(1)[0], len(frame) - start - _OVERHEAD
    right = length == there
    cut.take(
        1,
        N_("length L"),
        _("{length} bytes of data", length=length) + ("" if right else _(", {max} are there", max=max(there, 0))),
        right=right,
    )
    data = cut.at + min(length, cut.left)
    if abnormal:
        cut.take(min(1, data - cut.at), _SEQUENCE)
        cut.take(data - cut.at, _("status ST"), _("the meter's own reason"))
    else:
        cut.take(min(2, data - cut.at), _IDENTIFIER, _("block {upper} as sent", upper=cut.peek(2).hex().upper()))
        cut.take(min(1, data - cut.at), _SEQUENCE, _("number {number}", number=cut.peek(1)[0]) if cut.at < data else "")
        cut.take(data - cut.at, N_("data"))
    if length > data - start - 11:
        return cut.pieces
    cut.checked(bytes([sum(frame[start : cut.at]) & 0xFF]), _("checksum CS"))
    cut.constant(b"\x16", N_("end"))
    return cut.rest(N_("surplus"), _("behind the end of the frame"), right=False)
