"""What the agent does about a meter's settings once it has read them, and about what a person had sealed of a meter.

What this file does not know: when settings are read (`agent.poll`), what follows from them (`agent.standing`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from agent.agenda import PolledMeter
from agent.book import Book
from agent.by_hand import conversation, together
from agent.draft import Fields
from agent.ledger import Ledger
from agent.ledger_file import LedgerReader
from agent.polled import Polled
from agent.reading import frame_fields
from agent.record import parse
from agent.seal import Record
from agent.settings import settings_in
from agent.standing import UNREAD, standing_in, told_settings
from agent.turn import Turn
from config.language import _
from drivers import Exchange
from drivers.errors import Refused
from drivers.link import Link

_MOST_UNREAD = 3


async def read_settings(link: Link, polled: Polled) -> tuple[list[Exchange], bool]:
    """Asks a meter for its settings: the exchanges, and whether it told, or refused to tell, each of them.

    Raises:
        LinkDown: the port or connection was lost.
    """
    exchanges: list[Exchange] = []
    for watch in polled.watches:
        for requests in together(polled.driver.requests(polled.target, [watch])):
            exchanges += await conversation(link, polled, requests)
            error = exchanges[-1].error if exchanges else None
            if error and not (isinstance(error, Refused) and error.lasting):
                return exchanges, False
    return exchanges, True


def must_settle(turn: Turn, meter: PolledMeter, book: Book) -> bool:
    """Whether a meter that has answered in a turn is to be asked how it is set: once it is connected, and every day."""
    if turn.probe or turn.settled or not turn.usable or not turn.meter.watches:
        return False
    unread = book.standing(turn.meter.id).doubt == UNREAD and meter.unset < _MOST_UNREAD
    return meter.asked_s is None or unread


async def settle(turn: Turn, meter: PolledMeter, book: Book, link: Link, now: float, log: Any) -> None:
    """Asks a meter how it is set, before what was read of it is sealed. `now`: monotonic seconds. Raises LinkDown."""
    turn.settled = True
    exchanges, complete = await read_settings(link, turn.meter)
    meter.unset = 0 if complete else meter.unset + 1
    if complete:
        await settings_read(book, turn.meter, exchanges, log)
    elif meter.unset == _MOST_UNREAD:
        hint = _("Its readings are sealed, but they are not evidence grade until it tells. Tried again tomorrow.")
        log.warning("meter.settings_unread", meter=turn.meter.id, reason=str(exchanges[-1].error), hint=hint)
    if complete or meter.unset >= _MOST_UNREAD:
        meter.asked_s = now


async def settings_read(book: Book, polled: Polled, exchanges: Sequence[Exchange], log: Any) -> None:
    """Pins a meter's settings with its declaration, or seals that they have changed. Nothing where all is as it was."""
    async with book.held(polled.id):
        await _settings_read(book, polled, exchanges, log)


async def _settings_read(book: Book, polled: Polled, exchanges: Sequence[Exchange], log: Any) -> None:
    standing = book.standing(polled.id)
    if standing.declared is None:
        return
    settings = settings_in(polled.driver, polled.target, exchanges)
    found, frames = told_settings(settings), frame_fields(exchanges)
    in_force = standing.alarm[1] if standing.alarm else standing.pinned
    if standing.alarm or standing.changed(found):
        if found == in_force or not await book.alarm(polled.id, settings, frames):
            return
        todo = _("If it is meant to be so, run  meterseal confirm {id}", id=polled.id)
        hint = _("Look at the meter. {todo}; until then its readings are not evidence grade.", todo=todo)
        log.error("meter.settings_changed", meter=polled.id, changed=_difference(standing.pinned or {}, found), hint=hint)
    elif told_settings(standing.declared.get("settings", ())) != found:
        await book.declare(polled.id, {**standing.declared, "settings": settings}, frames)


def _difference(pinned: Mapping[str, str | None], found: Mapping[str, str | None]) -> str:
    told = [f"{name} {pinned.get(name) or 'not known'} -> {value}" for name, value in found.items() if value != pinned.get(name)]
    return ", ".join(told) or _("as they were before")


def by_person(book: Book, ledger: Ledger, past: LedgerReader) -> Callable[[Fields], Awaitable[Record]]:
    """How the agent seals a person's record: with what follows from it, and no reading of the meter in between."""

    async def sealed(drafted: Fields) -> Record:
        meter = drafted.get("meter", {}).get("id", "")
        if drafted["kind"] not in ("replacement", "manual", "audit") or not book.knows(meter):
            return (await ledger.append(drafted))[0]
        async with book.held(meter):
            (record,) = await ledger.append(drafted)
            await _take_up(book, past, meter, record)
            return record

    return sealed


async def _take_up(book: Book, past: LedgerReader, meter: str, record: Record) -> None:
    """Declares a meter anew where a person's record says that it is another, or is meant to be set as it is."""
    before = book.standing(meter)
    standing = standing_in(past, meter, before.watched, before.codes)
    book.standing_changed(meter, standing)
    declared = _without_settings(standing.declared or {})
    if record.fields["kind"] == "replacement":
        await book.declare(meter, {**declared, "serial": record.fields["new"]})
    elif before.alarm and not standing.alarm:
        alarm = parse(past.payload(before.alarm[0]))
        await book.declare(meter, {**declared, "settings": alarm["settings"]}, alarm["frames"])


def _without_settings(declared: Mapping[str, Any]) -> Fields:
    return {name: value for name, value in declared.items() if name != "settings"}
