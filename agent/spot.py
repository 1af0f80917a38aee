"""A reading that somebody asks for: taken between the agent's own polls and sealed with what was asked (an auditor's nonce).

Such a record cannot have been made before the nonce was known, and says what the meter showed at that moment.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from agent.book import Book
from agent.by_hand import Asked, together
from agent.by_person import receipt
from agent.faults import code_of_error
from agent.polled import Polled
from agent.reading import Reading, meter_number, tells, values_of
from config.language import _
from drivers import Exchange
from drivers.errors import LinkDown

_NONCE = re.compile("[A-Za-z0-9_-]{8,64}")


async def take_spot(ask: Asked, polled: Polled, book: Book, asked: Mapping[str, str]) -> dict[str, Any]:
    """Reads a meter now and seals it: number, time and leaf hash of the record with its values, or what is wrong and what to do.

    Args:
        ask: asks requests of one conversation.
        polled: the meter with all that is read of it.
        book: seals.
        asked: `nonce`, `who` and `account`.
    """
    if not _NONCE.fullmatch(asked["nonce"]):
        return {"error": _("the nonce is not 8 to 64 letters, digits, - and _"), "hint": _("Write another one.")}
    exchanges: list[Exchange] = []
    try:
        for requests in together(polled.driver.requests(polled.target, polled.points)):
            exchanges += await ask(polled, requests)
    except LinkDown as error:
        return {"error": str(error), "hint": error.hint, "code": code_of_error(error)}
    if not tells(polled.driver, polled.target, polled.points, exchanges):
        why = next((each.error for each in reversed(exchanges) if each.error), None)
        told = {"hint": why.hint, "code": code_of_error(why)} if why else {}
        return {"error": _("{id} did not answer: {why}", id=polled.id, why=why), **told}
    number, formula = meter_number(polled.driver, polled.target, exchanges)
    if number and not await book.own_number(polled.id, number, formula, exchanges, polled.target.address):
        return {
            "error": _("another meter answers for {id}: {number}", id=polled.id, number=number),
            "hint": _("See  meterseal status."),
            "code": "MS-301",
        }
    values = values_of(polled.driver, polled.target, polled.points, exchanges)
    first = next(each.first for each in exchanges if each.error is None and each.first)
    record = await book.spot(Reading(polled.id, 0, first.wall_ns, first, tuple(exchanges), values), dict(asked))
    if record is None:
        return {"error": _("the record was not sealed"), "hint": _("See the agent's journal."), "code": "MS-401"}
    return receipt(record) | {"values": record.fields["values"]}
