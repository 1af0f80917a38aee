"""A record's frames byte by byte, as a page to read and as JSON.

     at    bytes        field             meaning
      0    01           unit address      meter 1
      3  > 01 19 1a 55  register value    registers 0 to 1                     active_energy_import

What this file does not know: how the words are found (`agent.explain`), whether a record is genuine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Any

from agent.columns import filled, width_of
from agent.declaration import Fields, frames_of
from agent.explain import Explained, Explanation
from agent.findings import printable
from agent.working import places, working_or_why
from config.cause_words import cause_words
from config.language import _
from drivers.words import Piece

# What is said, and in which colour; the colour is left off where nobody could see it.
Paint = Callable[[str, str], str]
_PROTOCOLS = {
    "modbus": "Modbus",
    "dlt645": "DL/T 645",
    "cjt188": "CJ/T 188",
    "mbus": "M-Bus",
    "iec62056_21": "IEC 62056-21",
    "opcua": "OPC UA",
}
_A_LINE = 8  # bytes
_VALUE, _WRONG, _RIGHT, _FAINT, _TITLE = "cyan", "red", "green", "bright_black", "bold"


def explain_text(told: Explanation, zone: tzinfo = UTC, paint: Paint = lambda text, _colour: text) -> str:
    """The page; `zone`: the site's, for times a person reads."""
    return "\n".join(_lines(told, zone, paint)) + "\n"


def _lines(told: Explanation, zone: tzinfo, paint: Paint) -> Iterator[str]:
    fields = told.fields
    yield paint(printable(_title(fields, zone)), _TITLE)
    protocol = _PROTOCOLS[told.protocol]
    yield (
        _("{protocol}, guessed from the bytes: the meter's model is not at hand", protocol=protocol) if told.guessed else protocol
    )
    shown = [*told.frames, *([told.changes] if told.changes else [])]
    width = max((width_of(piece.field) for frame in shown for piece in [*frame.request, *frame.answer]), default=0)
    if not told.frames:
        yield ""
        yield _("No bytes belong to it: nobody tried.")
    for frame in told.frames:
        yield ""
        yield from _exchange(frame, width, paint)
    if told.changes:
        yield ""
        yield paint(_("CHANGES  what the server told since the reading before: {count}", count=len(told.changed)), _TITLE)
        yield from _table([*told.changes.request, *told.changes.answer], width, paint)
        yield from (paint(printable(_stated(value)), _VALUE) for value in told.changed)
    if told.values:
        yield ""
        yield paint(_("VALUES"), _TITLE)
        yield from _values(told, paint)
    yield ""
    yield paint(_("Whether the record is genuine: meterseal trace --record {n}, meterseal verify", n=fields["n"]), _FAINT)


def _title(fields: Fields, zone: tzinfo) -> str:
    moment = datetime.fromisoformat(fields["time"]).astimezone(zone).isoformat(" ", "seconds")
    due = (
        _(", due {due}", due=datetime.fromisoformat(fields["due"]).astimezone(zone).isoformat(" ", "seconds"))
        if "due" in fields
        else ""
    )
    cause = _(" by {cause}", cause=fields["cause"]) if fields["kind"] == "gap" else ""
    return _(
        "RECORD {n}  {kind}{cause} of {meter}{due}, sealed {moment}",
        n=fields["n"],
        kind=fields["kind"],
        cause=cause,
        meter=fields["meter"]["id"],
        due=due,
        moment=moment,
    )


def _exchange(frame: Explained, width: int, paint: Paint) -> Iterator[str]:
    of = _("FRAME {number}", number=frame.number)
    size = sum(len(piece.data) for piece in frame.request)
    yield paint(
        _("{of}  ASKED  {size} bytes", of=of, size=size) if size else _("{of}  LISTENED, nothing was sent", of=of), _TITLE
    )
    yield from _table(frame.request, width, paint)
    size = sum(len(piece.data) for piece in frame.answer)
    fault = _("  {upper}: no value comes from it", upper=cause_words(frame.fault).upper()) if frame.fault else ""
    words = _("ANSWERED  {size} bytes after {ms} ms", size=size, ms=frame.ms) if size else _("NOTHING CAME BACK")
    yield paint(f"{of}  {words}", _TITLE) + paint(fault, _WRONG)
    yield from _table(frame.answer, width, paint)


def _table(pieces: Sequence[Piece], width: int, paint: Paint) -> Iterator[str]:
    for piece in pieces:
        colour = _VALUE if piece.values else {"wrong": _WRONG, "right": _RIGHT}.get(piece.state, "")
        rows = [piece.data[at : at + _A_LINE].hex(" ") for at in range(0, len(piece.data), _A_LINE)]
        says = printable(_says(piece))
        mark = ">" if piece.values else "!" if piece.state == "wrong" else " "
        yield paint(f"{piece.start:5d} {mark} {rows[0]:<{3 * _A_LINE}} {filled(piece.field, width)}  {says}".rstrip(), colour)
        for row, data in enumerate(rows[1:], 1):
            yield paint(f"{piece.start + row * _A_LINE:5d} {mark} {data}", colour)


def _says(piece: Piece) -> str:
    words = [piece.says] if piece.says else []
    if piece.width:
        first, last = piece.first, piece.first + max(0, (len(piece.data) - 1) // piece.width)
        words.insert(
            0, _("register {first}", first=first) if first == last else _("registers {first} to {last}", first=first, last=last)
        )
    if piece.plain:
        words.append(f"= {piece.plain.hex(' ')}")
    if piece.values:
        words.append(f"<- {', '.join(piece.values)}")
    return "  ".join(words)


def _values(told: Explanation, paint: Paint) -> Iterator[str]:
    frames = frames_of(told.fields)
    for value in told.values:
        yield paint(printable(_stated(value)), _VALUE)
        if "formula" not in value:
            yield _("      no good frame holds it")
            continue
        for where in _where(value["formula"], frames.answers):
            yield f"      {where}"
        for line in working_or_why(value["formula"], frames.usable):
            yield f"      {printable(line)}"


def _stated(value: Fields) -> str:
    quality = f"   {_(value['quality'])}: {cause_words(value['cause'])}" if "quality" in value else ""
    stated = f"{value['value']} {value.get('unit', '')}".strip() if "value" in value else _("no value")
    return f"  {value['quantity']} = {stated}{quality}"


def _where(formula: str, answers: Sequence[bytes]) -> Iterator[str]:
    for place in places(formula):
        start, end = place.span()
        named = _("byte {start}", start=start) if end == start + 1 else _("bytes {start} to {last}", start=start, last=end - 1)
        yield _("{named} of the answer in frame {answer}: {of}", named=named, answer=place.answer, of=place.of(answers).hex(" "))


def explain_fields(told: Explanation) -> dict[str, Any]:
    """For `--json`: places are counted from 0, `end` is the place behind the last byte, bytes are hexadecimal."""
    fields = told.fields
    return {
        "n": fields["n"],
        "kind": fields["kind"],
        "meter": fields["meter"]["id"],
        "protocol": told.protocol,
        "protocol_guessed": told.guessed,
        "frames": [{"number": frame.number, **_pieces(frame), "fault": frame.fault, "ms": frame.ms} for frame in told.frames],
        "values": [_read(value) for value in told.values],
        **({"changes": {**_pieces(told.changes), "values": [_read(value) for value in told.changed]}} if told.changes else {}),
    }


def _pieces(frame: Explained) -> dict[str, Any]:
    return {"request": [_piece(piece) for piece in frame.request], "answer": [_piece(piece) for piece in frame.answer]}


def _read(value: Fields) -> dict[str, Any]:
    return {**value, "bytes": [_place(place.answer, *place.span()) for place in places(value.get("formula", ""))]}


def _piece(piece: Piece) -> dict[str, Any]:
    made: dict[str, Any] = {"start": piece.start, "end": piece.end, "bytes": piece.data.hex(), "field": piece.field}
    made |= {"says": _says(piece)} if _says(piece) else {}
    made |= {"state": piece.state} if piece.state else {}
    made |= {"plain": piece.plain.hex()} if piece.plain else {}
    return made | ({"values": list(piece.values)} if piece.values else {})


def _place(answer: int, start: int, end: int) -> dict[str, int]:
    return {"frame": answer, "start": start, "end": end}
