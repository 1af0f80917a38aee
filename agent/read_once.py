"""Reading one meter by hand: what goes over the wire and what it means. Nothing is sealed."""

from __future__ import annotations

from collections.abc import Sequence

from agent.by_hand import Asked, together
from agent.clock import stamp
from agent.faults import code_of_error
from agent.polled import Polled
from agent.reading import meter_number, serial_in, values_of
from config.cause_words import cause_words
from config.language import _
from config.model import Watch
from drivers import Exchange
from drivers.errors import MeterError, NoAnswer
from drivers.mbus_listing import listing


async def read_meter(ask: Asked, meter: Polled, introduce: bool = False) -> tuple[str, bool]:
    """The meter's frames, values and identity as text, and whether every value was read.

    Args:
        ask: asks requests of one conversation, with all that follows from them.
        meter: what to read.
        introduce: also ask the meter by its protocol's own means who it is (Modbus: device identification).

    Raises:
        LinkDown: the port or connection was lost.
    """
    lines: list[str] = []
    exchanges: list[Exchange] = []
    for requests in together(meter.driver.requests(meter.target, meter.points)):
        made = await ask(meter, requests)
        exchanges += made
        lines += [line for exchange in made for line in _frames(exchange)]
        if isinstance(made[-1].error, NoAnswer):
            break  # the rest would only meet the same silence
    if not any(exchange.error is None for exchange in exchanges):
        return "\n".join(lines), False
    values = values_of(meter.driver, meter.target, meter.points, exchanges)
    lines.append("")
    width = max(len(value.quantity) for value in values)
    for value in values:
        shown = (
            f"{value.value} {value.unit}" if value.value is not None else _("no value: {cause}", cause=cause_words(value.cause))
        )
        doubt = f"   ({_(value.quality)}: {cause_words(value.cause)})" if value.value is not None and value.cause else ""
        lines.append(f"{value.quantity:<{width}}  {shown:<22}  {value.formula}{doubt}".rstrip())
    at, took = stamp(exchanges[0].sent.wall_ns), sum(exchange.ms for exchange in exchanges)
    lines += ["", _("read at {at}, {questions} questions, {took} ms", at=at, questions=len(exchanges), took=took)]
    if besides := _said_besides(meter, exchanges):
        lines += ["", _("all that it says:"), *(f"  {line}" for line in besides)]
    number, _unused = meter_number(meter.driver, meter.target, exchanges)
    if number:
        lines += ["", _("its own number, in every answer: {number}", number=number)]
    lines += await _identity(ask, meter, meter.target.model.identity)
    if introduce:
        lines += ["", *await _introduction(ask, meter)]
    return "\n".join(lines), all(value.value is not None for value in values)


def _frames(exchange: Exchange) -> list[str]:
    lines = [f">> {exchange.request.hex(' ')}"] if exchange.request else []
    if exchange.answer:
        lines.append(f"<< {exchange.answer.hex(' ')}   {exchange.ms} ms")
    if exchange.error:
        lines += _trouble(exchange.error)
    return lines


def _said_besides(meter: Polled, exchanges: Sequence[Exchange]) -> list[str]:
    """All that answers say where they name their values themselves; nothing in other protocols."""
    if meter.target.model.protocol != "mbus":
        return []
    return listing([exchange.answer for exchange in exchanges if exchange.error is None])


def _trouble(error: MeterError) -> list[str]:
    return [f"   {error} [{code_of_error(error)}]", f"   {error.hint}"]


async def _identity(ask: Asked, meter: Polled, watches: Sequence[Watch]) -> list[str]:
    lines: list[str] = []
    for watch in watches:
        conversations = together(meter.driver.requests(meter.target, [watch]))
        exchanges = [made for requests in conversations for made in await ask(meter, requests)]
        name = watch.name.replace("_", " ")
        if exchanges and exchanges[-1].error:
            lines.append(_("{name}: not readable ({error})", name=name, error=exchanges[-1].error))
        elif exchanges:
            found, _unused = serial_in(meter.driver, meter.target, watch, exchanges)
            lines.append(f"{name}: {found or 'empty'}")
    return ["", *lines] if lines else []


async def _introduction(ask: Asked, meter: Polled) -> list[str]:
    """What the meter says of itself; most meters do not know the question."""
    lines: list[str] = []
    asked: set[int] = set()
    following: int | None = 0
    while following is not None and following not in asked:
        asked.add(following)
        request = meter.driver.identification_request(meter.target, following)
        if request is None:
            return [_("this protocol has no identification of its own")]
        exchange = (await ask(meter, [request]))[-1]
        lines += _frames(exchange)
        if exchange.error:
            break
        said, following = meter.driver.identification(exchange.answer, meter.target.framing)
        lines += [f"{name}: {text}" for name, text in said.items()]
    return lines
