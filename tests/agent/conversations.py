"""One poll of a simulated meter over a real link, as far as it gets, and what its answers say."""

from __future__ import annotations

from dataclasses import dataclass, field

from config.protocols import PROTOCOLS
from drivers import Driver, Exchange, Request, Target, load
from drivers.errors import NoValue
from drivers.formula import evaluate
from drivers.link import Link
from tests.agent.plants import models

OWN = "own"


@dataclass
class Conversation:
    """The exchanges of one poll.

    Attributes:
        exchanges: what was asked and answered, a wake-up or an end that nobody answers too.
    """

    driver: Driver
    target: Target
    exchanges: list[Exchange] = field(default_factory=list)

    @property
    def cause(self) -> str:
        """Why it ended early; empty if it did not."""
        errors = [exchange.error.cause for exchange in self.exchanges if exchange.error]
        return errors[0] if errors else ""

    def value(self, quantity: str) -> str | None:
        """What the answers say of a quantity; a cause in angle brackets where they hold no value of it."""
        asked, told = self._frames()
        try:
            formula = self.driver.locate(self.target, asked, self.target.model.point(quantity), told)
        except NoValue as error:
            return f"<{error.cause}>"
        except KeyError:
            return "<failed>"
        if not told[int(formula.partition("@")[0].rstrip("p"))]:
            return "<failed>"
        found = evaluate(formula, told)
        return found.value or f"<{found.cause}>"

    @property
    def serial(self) -> str | None:
        """The meter's own number in its answers."""
        formula = self.driver.frame_serial(self.target, *self._frames())
        return formula and evaluate(formula, self._frames()[1]).value

    def _frames(self) -> tuple[list[bytes], list[bytes]]:
        asked = [exchange.request for exchange in self.exchanges]
        return asked, [b"" if exchange.error else exchange.answer for exchange in self.exchanges]


def target_of(model: str, address: str) -> Target:
    """A meter of a shipped model, transformers of ratio 1 where it wants to know one."""
    declared = models()[model].declared
    return Target(declared, PROTOCOLS[declared.protocol].address(address), OWN, ct="1", vt="1")


async def poll(link: Link, model: str, address: str) -> Conversation:
    """Asks a meter for what its model tells unless it is asked otherwise, up to the first failure."""
    target = target_of(model, address)
    driver = load(target.model.protocol)
    made = Conversation(driver, target)
    pending: list[Request] = list(driver.requests(target, [point for point in target.model.points if point.default]))
    while pending and not made.cause:
        exchange = await link.exchange(driver, pending.pop(0))
        made.exchanges.append(exchange)
        if not exchange.error and (following := driver.following(target, exchange.request, exchange.answer)):
            pending.insert(0, following)
    return made
