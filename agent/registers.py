"""The registers around an address of one Modbus meter, read for a person who looks for a number among them.

One read for all of them; where the meter refuses that, one for each. What cannot be read is None. Nothing is sealed.
"""

from __future__ import annotations

from agent.by_hand import Asked
from agent.polled import Polled
from agent.reading import masked
from config.modbus import At, ModbusPoint
from drivers import Exchange
from drivers.errors import Refused
from drivers.formula import evaluate

BEFORE, BEHIND = 4, 8  # registers looked at in front of the address and from it on


async def registers_around(
    ask: Asked, meter: Polled, address: int, function: int
) -> tuple[int, list[int | None], list[Exchange]]:
    """The first address that was looked at, the registers from there on, and the exchanges.

    Args:
        ask: asks requests of one conversation.
        meter: whom to ask.
        address: on the wire, counted from 0.
        function: 3 holding registers, 4 input registers.

    Raises:
        LinkDown: the port or connection was lost.
    """
    first, end = max(0, address - BEFORE), min(0x10000, address + BEHIND)
    points = {at: _register(at, function) for at in range(first, end)}
    whole = meter.driver.requests(meter.target, list(points.values()), 0)
    made = [exchange for request in whole for exchange in await ask(meter, [request])]
    if any(isinstance(exchange.error, Refused) for exchange in made):
        each = [meter.driver.requests(meter.target, [point], 0)[0] for point in points.values()]
        made += [exchange for request in each for exchange in await ask(meter, [request])]
    return first, [_value(meter, point, made) for point in points.values()], made


def _register(address: int, function: int) -> ModbusPoint:
    return ModbusPoint(quantity="pulse_count", at=At.model_validate({"address": address, "type": "u16", "function": function}))


def _value(meter: Polled, point: ModbusPoint, made: list[Exchange]) -> int | None:
    asked, answers = masked(made)
    try:
        found = evaluate(meter.driver.locate(meter.target, asked, point, answers), answers).value
    except KeyError:
        return None
    return None if found is None else int(found)
