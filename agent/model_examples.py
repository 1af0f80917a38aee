"""A model's own examples, run: frames that must be answers to their requests and hold exactly the values stated. Pure.

What this file does not know: how a model's file is written (`config.library`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from config.language import _
from config.model import Example, Finding, MeterModel
from drivers import Target, load
from drivers.errors import FormulaError, MeterError, NoValue
from drivers.formula import evaluate

_WAKE_UP = bytes([0xFE])

# The address that a request of an example is sent to, by protocol.
_ADDRESSES: dict[str, Callable[[bytes], str]] = {
    "modbus": lambda request: str(request[0]),
    "dlt645": lambda request: request.lstrip(_WAKE_UP)[6:0:-1].hex().upper(),
    "cjt188": lambda request: f"{request.lstrip(_WAKE_UP)[1]:02X}-{request.lstrip(_WAKE_UP)[8:1:-1].hex()}",
    "iec62056_21": lambda request: request[2:-3].decode("ascii"),
    "opcua": lambda request: "",
    "mbus": lambda request: str(request[2]) if request[0] == 0x10 else request[10:6:-1].hex() + request[11:15].hex().upper(),
}


def framing_of(model: MeterModel) -> str:
    """How frames of examples are carried: as on a serial line."""
    return "rtu" if model.protocol == "modbus" else "own"


def frames_of(example: Example) -> tuple[list[bytes], list[bytes]]:
    """The requests and the answers of an example."""
    return [bytes.fromhex(frame.request) for frame in example.frames], [bytes.fromhex(frame.answer) for frame in example.frames]


def address_of(model: MeterModel, request: bytes) -> str:
    """The address that a request of an example is sent to. Raises IndexError, UnicodeError: it is none of the protocol."""
    return _ADDRESSES[model.protocol](request)


def target_of(model: MeterModel, example: Example) -> Target:
    """The meter of an example. Raises as `address_of`."""
    address = address_of(model, frames_of(example)[0][0])
    return Target(model, address, framing_of(model), ct=example.ct, vt=example.vt)


def values_of(model: MeterModel, example: Example) -> dict[str, str | None]:
    """All that an example's frames hold, by quantity; None where the meter says it has no value. Raises FormulaError."""
    requests, answers = frames_of(example)
    made: dict[str, str | None] = {}
    for point in model.points:
        try:
            formula = load(model.protocol).locate(target_of(model, example), requests, point, answers)
        except KeyError:
            continue
        except NoValue:
            made[point.quantity] = None
            continue
        made[point.quantity] = evaluate(formula, answers).value
    return made


def example_findings(model: MeterModel) -> Iterator[Finding]:
    """What is wrong with a model's examples, each with its place in the file."""
    for index, example in enumerate(model.examples):
        place = ("examples", index)
        wrong = list(_frame_findings(model, example))
        yield from (((*place, "frames", number), message) for number, message in wrong)
        if wrong:
            continue
        try:
            held = {quantity: value for quantity, value in values_of(model, example).items() if value is not None}
        except (FormulaError, IndexError, UnicodeError) as error:
            yield (*place, "frames"), _("no value can be taken from these frames: {error}", error=error)
            continue
        for quantity, stated in example.values.items():
            if quantity not in held:
                yield (*place, "values", quantity), _("no frame of this example holds {quantity}", quantity=quantity)
            elif held[quantity] != stated:
                yield (
                    (*place, "values", quantity),
                    _("{stated} is stated, the frames give {held}", stated=stated, held=held[quantity]),
                )
        if missing := [f"{quantity}: {value}" for quantity, value in held.items() if quantity not in example.values]:
            yield (
                (*place, "values"),
                _("the frames also hold {missing}; state that too, or correct the model", missing=", ".join(missing)),
            )


def _frame_findings(model: MeterModel, example: Example) -> Iterator[tuple[int, str]]:
    driver, framing = load(model.protocol), framing_of(model)
    for number, (request, answer) in enumerate(zip(*frames_of(example), strict=True)):
        try:
            driver.check(request, answer, framing)
        except MeterError as error:
            yield number, _("this is no answer to its request: {error}", error=error)
        except (IndexError, ValueError) as error:
            yield number, _("this is no frame of {protocol}: {error}", protocol=model.protocol, error=error)


def unproven(model: MeterModel) -> list[str]:
    """Quantities of a model that no example shows."""
    shown = {quantity for example in model.examples for quantity in example.values}
    return [point.quantity for point in model.points if point.quantity not in shown]
