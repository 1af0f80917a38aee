"""Data identifiers of DL/T 645: which reads fetch a set of points, and where a point stands in their answers.

The answers to one identifier are put together in their order before a place is looked for in them:

    requests   11H 0001FF00    12H 0001FF00 01   12H 0001FF00 02
    answers    ..............  ................  ........          a value may lie across two of them

What this file does not know: control codes of answers, and whether an answer is the one that was asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import cast

from config.dlt645 import Dlt645At, Dlt645Limits, Dlt645Model, Dlt645Point, Dlt645Watch
from config.dlt645_identifiers import Item, members_of
from config.language import _
from config.model import Point, Watch
from drivers import Target
from drivers.dlt645_frame import (
    HEAD,
    IDENTIFIER_BYTES,
    MORE,
    READ,
    READ_1997,
    READ_ON,
    READ_ON_1997,
    TAIL,
    Asked,
    asked_in,
    is_frame,
    minus_33,
    wire_address,
)
from drivers.errors import NoValue
from drivers.factor import times
from drivers.formula import plain

_SEPARATOR = 0xDD  # AAH plus 33H: some meters of the edition of 1997 send it behind a block
_LONGEST_DATA = 4096  # what a block can have that has not been answered yet


def limits_of(target: Target) -> Dlt645Limits:
    """What a DL/T 645 meter bears."""
    return cast("Dlt645Model", target.model).dlt645


def _at(point: Point | Watch) -> Dlt645At:
    return cast("Dlt645Point | Dlt645Watch", point).at


def plan(limits: Dlt645Limits, points: Sequence[Point | Watch], blocks: bool = True) -> list[str]:
    """The fewest identifiers to read, in the order of the points: blocks where they bring several of them.

    `blocks`: False for none, whatever the model says.
    """
    wanted = list(dict.fromkeys(_at(point).id for point in points))
    chosen: dict[str, str] = {}
    while blocks:
        left = [identifier for identifier in wanted if identifier not in chosen]
        brought = {block: [each for each in left if each in members_of(block)] for block in limits.blocks}
        block = max(brought, key=lambda name: len(brought[name]), default="")
        if not block or len(brought[block]) < 2:
            break
        chosen |= dict.fromkeys(brought[block], block)
    return list(dict.fromkeys(chosen.get(identifier, identifier) for identifier in wanted))


def readable(limits: Dlt645Limits, points: Sequence[Point | Watch]) -> set[str]:
    """All identifiers that `plan` can come to for some of the points."""
    return set(_readable(limits.blocks, tuple(sorted({_at(point).id for point in points}))))


@lru_cache(maxsize=64)
def _readable(blocks: tuple[str, ...], wanted: tuple[str, ...]) -> tuple[str, ...]:
    return (*wanted, *(block for block in blocks if len(set(members_of(block)) & set(wanted)) > 1))


@dataclass(frozen=True, slots=True)
class _Part:
    """The data one answer has behind identifier and before sum: answer's number, first byte and count of bytes."""

    answer: int
    first: int
    count: int


@dataclass(slots=True)
class _Data:
    """All data of one read, put together.

    Attributes:
        parts: in their order.
        whole: whether nothing more follows.
        trailing: whether its last byte is the separator of 1997.
        sent: False where the answer is not there yet, so that its length is unknown.
    """

    parts: list[_Part]
    whole: bool
    trailing: bool = False
    sent: bool = True

    @property
    def count(self) -> int:
        return sum(part.count for part in self.parts)


@lru_cache(maxsize=64)
def _reads(address: str, requests: tuple[bytes, ...], answers: tuple[bytes, ...]) -> dict[str, list[_Data]]:
    """The data of each identifier that was read, once for each time it was asked for. The same for all points of a poll."""
    found: dict[str, list[_Data]] = {}
    speaking = next((answer[1:7] for answer in answers if answer), b"")  # where AA was asked, only one meter is listened to
    broken = True
    for index, request in enumerate(requests):
        answer = answers[index] if index < len(answers) else b""
        asked = asked_in(request)
        if asked is None or asked.address != wire_address(address) or (answer and not _holds(asked, answer, speaking)):
            broken = True
            continue
        reads = found.setdefault(asked.identifier, [])
        if asked.function in (READ, READ_1997):
            reads.append(_begun(index, asked.function, answer))
            broken = False
        elif not answer or not reads or reads[-1].whole or not reads[-1].sent:
            broken = True
        elif asked.sequence == len(reads[-1].parts) if asked.function == READ_ON else not broken:
            _go_on(reads[-1], index, asked.function, answer)
    return found


def _holds(asked: Asked, answer: bytes, speaking: bytes) -> bool:
    """Whether an answer brings data of the identifier that was asked for, from the meter that speaks."""
    if asked.function not in IDENTIFIER_BYTES or not is_frame(answer) or answer[1:7] != speaking:
        return False
    head = HEAD + IDENTIFIER_BYTES[asked.function]
    return minus_33(answer[HEAD:head])[::-1].hex().upper() == asked.identifier and len(answer) > head + TAIL


def _part(index: int, function: int, answer: bytes) -> _Part:
    head = HEAD + IDENTIFIER_BYTES[function]
    return _Part(index, head, len(answer) - TAIL - head - (function == READ_ON))


def _begun(index: int, function: int, answer: bytes) -> _Data:
    if not answer:
        return _Data([_Part(index, HEAD + IDENTIFIER_BYTES[function], _LONGEST_DATA)], whole=False, sent=False)
    return _Data(
        [_part(index, function, answer)], not answer[8] & MORE, function == READ_1997 and answer[-TAIL - 1] == _SEPARATOR
    )


def _go_on(data: _Data, index: int, function: int, answer: bytes) -> None:
    data.parts.append(_part(index, function, answer))
    data.whole = not answer[8] & MORE
    data.trailing = function == READ_ON_1997 and answer[-TAIL - 1] == _SEPARATOR


def formula_of(target: Target, requests: Sequence[bytes], point: Point | Watch, answers: Sequence[bytes]) -> str:
    """The formula of a point. Raises KeyError and NoValue, see `drivers.dlt645.locate`."""
    at, limits = _at(point), limits_of(target)
    item = at.item
    if item is None:
        raise KeyError(_("nothing says how long the data of {id} is", id=at.id))
    reads = _reads(target.address, tuple(requests), tuple(answers))
    causes = []
    for data, before, alone in _holding(limits, reads, at.id, item):
        try:
            terms = _terms(data, before + at.offset, alone, at, item, answers)
        except NoValue as error:
            causes.append(error.cause)
            continue
        if terms:
            factors = [plain(point.scale), *target.ratios(point)]
            return "+".join(source + times(*more, *factors) for source, *more in terms)
    if causes:
        raise NoValue(causes[0])
    raise KeyError(_("no request reads {id}", id=at.id))


def _holding(limits: Dlt645Limits, reads: dict[str, list[_Data]], wanted: str, item: Item) -> Iterator[tuple[_Data, int, bool]]:
    """What was read that can hold an identifier's data, the newest first: data, bytes in front of it, and whether it is alone."""
    for data in reversed(reads.get(wanted, ())):
        yield data, 0, True
    for block in limits.blocks:
        members = members_of(block)
        if wanted in members:
            for data in reversed(reads.get(block, ())):
                yield data, members.index(wanted) * item.size, False


def _terms(data: _Data, start: int, alone: bool, at: Dlt645At, item: Item, answers: Sequence[bytes]) -> list[tuple[str, ...]]:
    """The sources of a value, each with its further factor; none where the rest of the data was not got.

    Raises:
        NoValue: all of the data is there, and it is not in it.
    """
    if data.whole and (data.count != item.size if alone else not _is_row(data, item.size)):
        raise NoValue("wrong_length")
    if start + item.value > data.count:
        if data.whole:
            raise NoValue("not_in_answer")
        return []
    pieces = list(_pieces(data, start, item.value))
    if len(pieces) > 1 and at.type == "digits":
        raise NoValue("split")
    made: list[tuple[str, ...]] = []
    done = 0
    for answer, first, count in pieces:  # the low digits come first, the sign with the last ones
        last = done + count == item.value
        sign = "s" if item.signed and at.type == "bcd" and last else ""
        minus = "-" if item.signed and not last and _is_below_zero(answers, pieces[-1]) else ""
        made.append((f"{answer}@{first}:{at.type}{count}le33{sign}", minus + plain(Decimal(100**done))))
        done += count
    return made


def _is_below_zero(answers: Sequence[bytes], piece: tuple[int, int, int]) -> bool:
    """Whether the number whose highest digits stand in a piece has a minus."""
    answer, first, count = piece
    return bool(minus_33(answers[answer][first + count - 1 : first + count])[0] & 0x80)


def _is_row(data: _Data, size: int) -> bool:
    """Whether a block's data are whole members, a separator behind them not counted."""
    return data.count % size == 0 or (data.trailing and data.count % size == 1)


def _pieces(data: _Data, start: int, count: int) -> Iterator[tuple[int, int, int]]:
    """Where bytes of the data stand: answer, first byte in it, and how many."""
    at = 0
    for part in data.parts:
        first, end = max(start, at), min(start + count, at + part.count)
        if first < end:
            yield part.answer, part.first + first - at, end - first
        at += part.count
