"""Modbus frames in words, byte by byte (Application Protocol V1.1b3, Serial Line V1.02, TCP/IP guide V1.0b). Pure.

What this file does not know: which registers hold what; whether an answer is the one that was asked for.
"""

from __future__ import annotations

from dataclasses import replace

from config.language import N_, _
from drivers.modbus import EXCEPTIONS, OBJECTS
from drivers.modbus_frame import IDENTIFY, MEI, Asked, asked_in, crc
from drivers.words import Cut, Piece, State

_FUNCTIONS = {
    1: N_("read coils"),
    2: N_("read discrete inputs"),
    3: N_("read holding registers"),
    4: N_("read input registers"),
    IDENTIFY: N_("read device identification"),
}
_WHAT = {1: "coil", 2: "input", 3: "register", 4: "register"}


def request(frame: bytes, framing: str) -> list[Piece]:
    """A request's pieces."""
    return _framed(frame, framing, None, asks=True)


def answer(asked: bytes, frame: bytes, framing: str) -> list[Piece]:
    """An answer's pieces; the request tells which registers they are."""
    return _framed(frame, framing, asked_in(asked, framing), asks=False)


def _framed(frame: bytes, framing: str, asked: Asked | None, *, asks: bool) -> list[Piece]:
    if framing == "ascii":
        return _ascii(frame, asked, asks=asks)
    cut = Cut(frame)
    if framing == "tcp":
        _tcp_head(cut)
    tail = 0 if framing == "tcp" else 2
    _content(cut, asked, tail, asks=asks)
    if tail:
        cut.checked(crc(frame[: cut.at]), "CRC-16")
    return cut.rest(N_("surplus"), _("behind the end of the frame"), right=False)


def _tcp_head(cut: Cut) -> None:
    """The MBAP header (TCP/IP guide V1.0b, 3.1.3)."""
    cut.take(2, _("transaction identifier"), _("number {number}", number=int.from_bytes(cut.peek(2), "big")))
    cut.constant(b"\0\0", _("protocol identifier"), "Modbus")
    length = int.from_bytes(cut.peek(2), "big")
    right = length == cut.left - 2
    cut.take(
        2,
        "length",
        _("{length} bytes follow", length=length) + ("" if right else _(", {max} are there", max=max(cut.left - 2, 0))),
        right=right,
    )


def _ascii(frame: bytes, asked: Asked | None, *, asks: bool) -> list[Piece]:
    """Colon, two hexadecimal digits for each byte, line end (Serial Line V1.02, 2.5.2)."""
    cut = Cut(frame)
    cut.constant(b":", N_("start"), N_("colon"))
    text = frame[1:-2] if frame.endswith(b"\r\n") else frame[1:]
    try:
        data = bytes.fromhex(text.decode("ascii")) if not text.strip(b"0123456789ABCDEFabcdef") else None
    except ValueError:
        data = None
    if data is None or len(frame) < 2:
        return cut.rest("characters", _("no pairs of hexadecimal digits"), right=False)
    inner = Cut(data)
    _content(inner, asked, 1, asks=asks)
    inner.checked(bytes([-sum(data[: inner.at]) & 0xFF]), "LRC")
    for piece in inner.rest("surplus", _("behind the end of the frame"), right=False):
        start, end = 1 + 2 * piece.start, 1 + 2 * piece.end
        cut.pieces.append(replace(piece, start=start, data=frame[start:end], plain=b"", width=2 * piece.width))
        cut.at = end
    cut.constant(b"\r\n", N_("end"), _("CR LF"))
    return cut.rest(N_("surplus"), _("behind the end of the frame"), right=False)


def _content(cut: Cut, asked: Asked | None, tail: int, *, asks: bool) -> None:
    """Unit and PDU, up to the checksum of `tail` bytes."""
    unit = cut.take(1, _("unit address"), _("meter {meter}", meter=cut.peek(1)[0]) if cut.left else "")
    state: bool | None = None if asked is None or not unit else unit[0] == asked.unit
    _mark(cut, state, _("asked was {unit}", unit=asked.unit) if asked else "")
    if not cut.left:
        return
    function = cut.peek(1)[0]
    known = _FUNCTIONS.get(function & 0x7F, _("unknown function"))
    refused = bool(function & 0x80) and not asks
    cut.take(1, _("function code"), _("{known}, refused", known=known) if refused else known)
    _mark(cut, None if asked is None else function & 0x7F == asked.function, _("another one than asked"))
    if refused:
        code = cut.peek(1)[0] if cut.left else 0
        cut.take(1, _("exception code"), EXCEPTIONS.get(code, ("", _("no code of the standard")))[1])
    elif function == IDENTIFY:
        _identification(cut, asks=asks)
    elif function in _WHAT:
        _asked(cut, function) if asks else _told(cut, function, asked)
    else:
        cut.take(cut.left - tail, N_("data"))


def _mark(cut: Cut, right: bool | None, words: str) -> None:
    """Says of the newest piece whether it is the one that was asked for."""
    if right is None or not cut.pieces or cut.pieces[-1].state == "wrong":
        return
    piece = cut.pieces[-1]
    state: State = "right" if right else "wrong"
    cut.pieces[-1] = replace(piece, state=state, says=piece.says if right else f"{piece.says}: {words}")


def _asked(cut: Cut, function: int) -> None:
    first = int.from_bytes(cut.peek(2), "big")
    cut.take(2, _("starting address"), f"{_WHAT[function]} {first}")
    count = int.from_bytes(cut.peek(2), "big")
    cut.take(2, "quantity", f"{count} {_WHAT[function]}{'s' * (count != 1)}")


def _told(cut: Cut, function: int, asked: Asked | None) -> None:
    if not cut.left:
        return
    count = cut.peek(1)[0]
    same = asked is None or count == asked.byte_count
    cut.take(
        1,
        _("byte count"),
        _("{count} bytes follow", count=count)
        + ("" if same else _(", asked were {byte_count}", byte_count=asked.byte_count if asked else 0)),
    )
    _mark(cut, None if asked is None else same, "")
    first = asked.address if asked else 0
    if function in (3, 4):
        cut.take(count, _("register value"), first=first, width=2 if asked else 0)
    else:
        cut.take(
            count,
            _("{what} status", what=_WHAT[function]),
            _("from {what} {first} on, 8 in a byte, the low bit first", what=_WHAT[function], first=first),
        )


def _identification(cut: Cut, *, asks: bool) -> None:
    """Function 43, MEI type 14 (Application Protocol V1.1b3, 6.21)."""
    cut.constant(bytes([MEI]), _("MEI type"), _("device identification"))
    cut.take(1, _("read device id code"), _("1 basic, 2 regular, 3 extended, 4 one object"))
    if asks:
        cut.take(1, _("object id"))
        return
    cut.take(1, _("conformity level"))
    cut.take(1, _("more follows"), _("FF: more with another request"))
    cut.take(1, _("next object id"))
    count = cut.peek(1)[0] if cut.left else 0
    cut.take(1, _("number of objects"), str(count))
    for _unused in range(count):
        if not cut.left:
            return
        name = OBJECTS.get(cut.peek(1)[0], _("of the maker's own"))
        cut.take(1, _("object id"), name)
        length = cut.peek(1)[0] if cut.left else 0
        cut.take(1, _("object length"), _("{length} bytes", length=length))
        cut.take(length, _("object value"), cut.peek(length).decode("latin-1"))
