"""A frame in words: pieces that cover it from the first byte to the last, each with its field's name in the standard. Pure.

`Cut` takes pieces off a frame from left to right. Nothing is skipped and nothing taken twice, so the pieces joined are the
frame, whatever is in it: a damaged frame is told as far as it makes sense, and where it breaks.

What this file does not know: protocols. Each has a file of its own, `drivers.<protocol>_words`, with `request` and `answer`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from config.language import N_, _

State = Literal["", "right", "wrong"]


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes that belong together.

    Attributes:
        start: the first byte's place in the frame, from 0.
        data: the bytes as they were on the wire.
        field: what the standard calls them.
        says: what they mean; empty where `data` or `plain` says it all.
        state: whether they are what they must be, where that can be told from the frame.
        plain: the bytes as they are meant, where they are sent otherwise; as many as `data` has.
        first, width: the number of the first register in it and how many bytes each one has on the wire; width 0: it has none.
        values: names of the quantities that are read from it.
    """

    start: int
    data: bytes
    field: str
    says: str = ""
    state: State = ""
    plain: bytes = b""
    first: int = 0
    width: int = 0
    values: tuple[str, ...] = ()

    @property
    def end(self) -> int:
        """The place behind its last byte."""
        return self.start + len(self.data)

    def part(self, start: int, end: int, values: tuple[str, ...] = ()) -> Piece:
        """The bytes from one place of the frame to another, as a piece of their own."""
        low, high = start - self.start, end - self.start
        made = replace(self, start=start, data=self.data[low:high], plain=self.plain[low:high], values=values)
        return replace(made, first=self.first + low // self.width) if self.width else made


class Cut:
    """A frame from which pieces are taken, up to `end` (None: its end)."""

    def __init__(self, frame: bytes, start: int = 0, end: int | None = None) -> None:
        self.frame = frame
        self.at = start
        self.end = len(frame) if end is None else end
        self.pieces: list[Piece] = []

    @property
    def left(self) -> int:
        """How many bytes are left."""
        return self.end - self.at

    def peek(self, length: int, ahead: int = 0) -> bytes:
        """The next bytes, fewer at the end, without taking them."""
        return self.frame[self.at + ahead : min(self.end, self.at + ahead + length)]

    def take(
        self,
        length: int,
        field: str,
        says: str = "",
        *,
        right: bool | None = None,
        plain: bytes = b"",
        first: int = 0,
        width: int = 0,
    ) -> bytes:
        """Takes so many bytes as a piece, fewer where the frame ends before; none make no piece.

        `right`: whether they are what they must be; None: that cannot be told.
        """
        data = self.peek(max(length, 0))
        missing = length - len(data)
        state: State = "" if right is None else "right" if right else "wrong"
        if missing > 0:
            lack = _("cut short: {missing} byte{missing_2} missing", missing=missing, missing_2="s" * (missing != 1))
            says, state = (f"{says}, {lack}" if says else lack), "wrong"
        if data:
            shown = plain if len(plain) == len(data) else b""
            self.pieces.append(Piece(self.at, data, _(field), _(says), state, shown, first, width))
            self.at += len(data)
        return data

    def constant(self, value: bytes, field: str, says: str = "") -> bool:
        """Takes bytes that are always the same; whether they are."""
        same = self.peek(len(value)) == value
        self.take(len(value), field, says if same else _("{upper}H must stand here", upper=value.hex(" ").upper()), right=same)
        return same

    def checked(self, right: bytes, field: str) -> None:
        """Takes a checksum, which is right if it is these bytes."""
        same = self.peek(len(right)) == right
        self.take(len(right), field, N_("right") if same else _("{right} would be right", right=right.hex(" ")), right=same)

    def rest(self, field: str, says: str = "", right: bool | None = None) -> list[Piece]:
        """Takes what is left; all pieces."""
        self.take(self.left, field, says, right=right)
        return self.pieces


def shifted(pieces: Iterable[Piece], by: int) -> list[Piece]:
    """The same pieces so many bytes further behind."""
    return [replace(piece, start=piece.start + by) for piece in pieces]


def arrived(request: bytes, answer: bytes, span: tuple[int, int] | None) -> tuple[list[Piece], int, int]:
    """What stands in front of the frame in what arrived, and the places where that frame begins and ends.

    `span`: where the driver finds a whole frame; None: nowhere, and what is behind the request's own echo is taken for it.
    """
    cut = Cut(answer)
    if request and answer.startswith(request):
        cut.take(len(request), N_("echo"), _("the request's own bytes, come back"))
    start, end = span if span and span[0] >= cut.at else (cut.at, len(answer))
    if start > cut.at:
        cut.take(start - cut.at, N_("noise"), _("belongs to no answer"))
    return cut.pieces, start, end
