"""Reading one meter by hand: what goes over the wire and what it means. Nothing is sealed."""

from __future__ import annotations

from collections.abc import Sequence

from agent.polled import Polled
from agent.reading import values_of
from config.model import Watch
from drivers import Exchange
from drivers.errors import MeterError, NoAnswer
from drivers.formula import evaluate
from drivers.link import Link


async def read_meter(link: Link, meter: Polled, introduce: bool = False) -> tuple[str, bool]:
    """The meter's frames, values and identity as text, and whether every value was read.

    Args:
        link, meter: what to read over which line.
        introduce: also ask the meter by its protocol's own means who it is (Modbus: device identification).

    Raises:
        LinkDown: the port or connection cannot be opened, or was lost.
    """
    await link.open()
    try:
        lines: list[str] = []
        exchanges: list[Exchange] = []
        for request in meter.driver.requests(meter.target, meter.points):
            exchange = await link.exchange(meter.driver, request)
            exchanges.append(exchange)
            lines += _frames(exchange)
            if isinstance(exchange.error, NoAnswer):
                break  # the rest would only meet the same silence
        if not any(exchange.error is None for exchange in exchanges):
            return "\n".join(lines), False
        values = values_of(meter.driver, meter.target, meter.points, exchanges)
        lines.append("")
        width = max(len(value.quantity) for value in values)
        for value in values:
            shown = f"{value.value} {value.unit}" if value.value is not None else f"no value: {value.cause.replace('_', ' ')}"
            doubt = f"   ({value.cause.replace('_', ' ')})" if value.value is not None and value.cause else ""
            lines.append(f"{value.quantity:<{width}}  {shown:<22}  {value.formula}{doubt}".rstrip())
        identified = await _identity(link, meter, meter.target.model.identity)
        if introduce:
            identified += ["", *await _introduction(link, meter)]
        return "\n".join(lines + identified), all(value.value is not None for value in values)
    finally:
        await link.close()


def _frames(exchange: Exchange) -> list[str]:
    lines = [f">> {exchange.request.hex(' ')}"]
    if exchange.answer:
        lines.append(f"<< {exchange.answer.hex(' ')}   {exchange.ms} ms")
    if exchange.error:
        lines += _trouble(exchange.error)
    return lines


def _trouble(error: MeterError) -> list[str]:
    return [f"   {error}", f"   {error.hint}"]


async def _identity(link: Link, meter: Polled, watches: Sequence[Watch]) -> list[str]:
    lines: list[str] = []
    for watch in watches:
        exchange = await link.exchange(meter.driver, meter.driver.requests(meter.target, [watch])[0])
        if exchange.error:
            lines.append(f"{watch.name.replace('_', ' ')}: not readable ({exchange.error})")
            continue
        formula = meter.driver.locate(meter.target, [exchange.request], watch, [exchange.answer])
        lines.append(f"{watch.name.replace('_', ' ')}: {evaluate(formula, [exchange.answer]).value or 'empty'}")
    return ["", *lines] if lines else []


async def _introduction(link: Link, meter: Polled) -> list[str]:
    """What the meter says of itself; most meters do not know the question."""
    lines: list[str] = []
    asked: set[int] = set()
    following: int | None = 0
    while following is not None and following not in asked:
        asked.add(following)
        request = meter.driver.identification_request(meter.target, following)
        if request is None:
            return ["this protocol has no identification of its own"]
        exchange = await link.exchange(meter.driver, request)
        lines += _frames(exchange)
        if exchange.error:
            break
        said, following = meter.driver.identification(exchange.answer, meter.target.framing)
        lines += [f"{name}: {text}" for name, text in said.items()]
    return lines
