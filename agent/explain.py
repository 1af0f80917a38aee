"""A record's frames byte by byte: which bytes are address, function, value and checksum, and what was read from them. Pure.

The words come from the protocol's own file in `drivers`. Of a failed exchange, what arrived is told as far as it makes sense:
echo and noise in front, and where the frame breaks.

What this file does not know: whether a record is genuine (`agent.verify`, `agent.trace`), how it is shown (`agent.explain_text`).
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, cast

from agent.findings import CannotCheck
from agent.log import Log
from agent.record import RecordError, parse
from agent.schema import check_record
from agent.seal import unsigned
from agent.story import kind_of
from agent.working import Place, places
from config.language import _
from config.library import read_model
from config.mistake import ConfigError
from drivers import load
from drivers.modbus_frame import asked_in
from drivers.words import Piece, arrived, shifted

Fields = Mapping[str, Any]
SERIAL = "serial number"
_WAKE_UP, _START = b"\xfe", b"\x68"


@dataclass(frozen=True, slots=True)
class Explained:
    """One exchange in pieces.

    Attributes:
        number: its place among the record's frames, from 0.
        request, answer: their pieces, from the first byte to the last.
        fault: why the answer is none; empty where it is one.
        ms: from the request to the last byte of the answer.
    """

    number: int
    request: list[Piece]
    answer: list[Piece]
    fault: str
    ms: int


@dataclass(frozen=True, slots=True)
class Explanation:
    """A record's exchanges in pieces.

    Attributes:
        fields: the record.
        protocol: by which its frames were read; `guessed`: from the frames, because no model is at hand.
        frames: its exchanges, each with its number in the record.
        values: the values that are shown.
        changes: OPC UA: what the server told of changes since the reading before, in the form of an exchange; None where nothing.
        changed: what of it is shown.
    """

    fields: Fields
    protocol: str
    guessed: bool
    frames: list[Explained]
    values: list[Fields]
    changes: Explained | None = None
    changed: tuple[Fields, ...] = ()

    def only(self, quantity: str) -> Explanation:
        """The exchanges whose answer holds a quantity, and that value alone."""
        held = [frame for frame in self.frames if any(quantity in piece.values for piece in frame.answer)]
        values = [value for value in self.fields.get("values", []) if value["quantity"] == quantity]
        changed = tuple(value for value in self.changed if value["quantity"] == quantity)
        return replace(self, frames=held, values=values, changes=self.changes if changed else None, changed=changed)


def record_at(log: Log, n: int) -> bytes:
    """The record with a number. Raises CannotCheck: there is none."""
    for _unused, payload in log.payloads(n, n + 1):
        return payload
    raise CannotCheck(_("there is no record {n}; the log holds {size}", n=n, size=log.size()))


def explain(payload: bytes, log: Log | None = None) -> Explanation:
    """A record's exchanges in pieces.

    Args:
        payload: the record.
        log: where its meter's declaration and model are; None: the protocol is told from the frames.

    Raises:
        CannotCheck: it is no record, or one without frames.
    """
    try:
        fields = parse(payload)
        check_record(unsigned(fields))
    except RecordError as error:
        raise CannotCheck(_("this is not a record: {error}", error=error)) from None
    if "frames" not in fields:
        raise CannotCheck(_("record {n} is a {kind} record: it holds no frames", n=fields["n"], kind=fields["kind"]))
    frames = fields["frames"]
    declared = _declared(log, fields) if log else None
    protocol = _protocol(log, declared) if log and declared else ""
    guessed = protocol or _guess([bytes.fromhex(frame[name]) for frame in frames for name in ("request", "answer")])
    framing = declared["framing"] if declared else _framing(frames, guessed)
    read = _read(fields)
    made = [_exchange(frame, index, guessed, framing, read) for index, frame in enumerate(frames)]
    return Explanation(fields, guessed, not protocol, made, _values(fields), *_changes(fields.get("changes", {})))


def _changes(stated: Fields) -> tuple[Explained | None, tuple[Fields, ...]]:
    """What a server told of changes, in pieces."""
    if not stated.get("answer"):
        return None, ()
    read = _read({"kind": "reading", "values": stated["values"]})
    told = {"request": stated["request"], "answer": stated["answer"], "ms": 0}
    return _exchange(told, 0, "opcua", "own", read), tuple(stated["values"])


def pieces_of(protocol: str, framing: str, request: bytes, answer: bytes, fault: str = "") -> tuple[list[Piece], list[Piece]]:
    """The pieces of a request and of what arrived after it; each covers its bytes from the first to the last."""
    words = importlib.import_module(f"drivers.{protocol}_words")
    asked = cast("list[Piece]", words.request(request, framing))
    if not fault:
        return asked, words.answer(request, answer, framing)
    span = None if protocol == "opcua" else load(protocol).answer_span(request, answer, framing)
    made, start, end = arrived(request, answer, span)
    made = made + shifted(words.answer(request, answer[start:end], framing), start)
    return asked, made + ([Piece(end, answer[end:], "surplus", _("behind the answer"))] if end < len(answer) else [])


def _exchange(frame: Fields, index: int, protocol: str, framing: str, read: Mapping[int, list[tuple[str, Place]]]) -> Explained:
    fault = frame.get("fault", "")
    request, answer = bytes.fromhex(frame["request"]), bytes.fromhex(frame["answer"])
    asked, told = pieces_of(protocol, framing, request, answer, fault)
    marks = [] if fault else [(name, *place.span()) for name, place in read.get(index, [])]
    return Explained(index, asked, list(_marked(told, marks)), fault, frame["ms"])


def _read(fields: Fields) -> dict[int, list[tuple[str, Place]]]:
    """Which bytes of which answer are read, and for which quantity."""
    found: dict[int, list[tuple[str, Place]]] = {}
    for value in [
        *fields.get("values", []),
        *([{**fields, "quantity": _("serial number")}] if fields["kind"] == "identity" else []),
    ]:
        for place in places(value.get("formula", "")):
            found.setdefault(place.answer, []).append((value["quantity"], place))
    return found


def _values(fields: Fields) -> list[Fields]:
    """What a record states of its frames: the values of a reading, the serial number of an identity record."""
    if fields["kind"] == "identity":
        return [{"quantity": SERIAL, "value": fields["found"], "formula": fields["formula"]}]
    return list(fields.get("values", []))


def _marked(pieces: Sequence[Piece], marks: Sequence[tuple[str, int, int]]) -> Iterator[Piece]:
    """The pieces, cut where a value begins and ends, with the names of what is read from them."""
    edges = sorted({edge for _unused, start, end in marks for edge in (start, end)})
    for piece in pieces:
        bounds = [piece.start, *(edge for edge in edges if piece.start < edge < piece.end), piece.end]
        for start, end in pairwise(bounds):
            names = tuple(dict.fromkeys(name for name, first, last in marks if first <= start and end <= last))
            yield piece.part(start, end, names) if names or len(bounds) > 2 else piece


# --- which protocol -----------------------------------------------------------------------------------------------


def _declared(log: Log, fields: Fields) -> Fields | None:
    """The newest declaration of the record's meter in front of it; None where there is none."""
    meter, found = fields["meter"]["id"], None
    needle = f'"{meter}"'.encode()
    for _unused, payload in log.payloads(0, fields["n"]):
        if kind_of(payload) == b"meter" and needle in payload:
            try:
                told = parse(payload)
                check_record(unsigned(told))
            except RecordError:
                continue
            found = told["meter"] if told["meter"]["id"] == meter else found
    return found


def _protocol(log: Log, declared: Fields) -> str:
    """The protocol of the declared model; empty where its file is not at hand."""
    text = log.models().get(declared["digest"])
    if text is None:
        return "" if declared["framing"] == "own" else "modbus"
    try:
        return str(read_model(text, "model").declared.protocol)
    except ConfigError:
        return ""


def _guess(frames: Sequence[bytes]) -> str:
    """The protocol that frames look like."""
    for frame in frames:
        bare = frame.lstrip(_WAKE_UP)
        if frame[:1] in (b"/", b"\x02", b"\x06"):
            return "iec62056_21"
        if bare[:1] == _START:
            if bare[7:8] == _START:
                return "dlt645"
            return "mbus" if bare[3:4] == _START and bare[1:2] == bare[2:3] else "cjt188"
        if len(frame) == 5 and frame[0] == 0x10 and frame[-1] == 0x16:
            return "mbus"
        if len(frame) > 4 and frame[1:4] == b"\0\0\0" and frame[4:5] < b"\x06":
            return "opcua"
    return "modbus"


def _framing(frames: Sequence[Fields], protocol: str) -> str:
    """How Modbus frames are carried: as the first request can be read, else by how it begins."""
    if protocol != "modbus":
        return "own"
    request = bytes.fromhex(frames[0]["request"]) if frames else b""
    known = (framing for framing in ("rtu", "tcp", "ascii") if asked_in(request, framing))
    return next(known, "ascii" if request.startswith(b":") else "rtu")
