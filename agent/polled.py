"""The meters of a site as they are polled: driver, target, points and interval of each. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from agent.declaration import watches_of
from config.check import SiteFile
from config.language import _
from config.mistake import ConfigError, Mistake
from config.model import Point, Watch
from config.ratio import known_ratios
from config.site import Changes, Meter
from drivers import Driver, Target, load
from drivers.errors import NoValue
from drivers.formula import LONGEST_FORMULA

_LONGEST = LONGEST_FORMULA - 40  # a poll with repeated exchanges has larger numbers in its formulas


@dataclass(frozen=True, slots=True)
class Polled:
    """One schedule of a meter as its link's poller needs it.

    Attributes:
        id: the meter's.
        driver, target: how it is spoken to.
        points: what is read.
        every_ms: how often, in milliseconds.
        port: baud rate and format of its port; None on TCP.
        changes: of which points every change is told as well, and how; None: of none.
    """

    id: str
    driver: Driver
    target: Target
    points: tuple[Point, ...]
    every_ms: int
    port: tuple[int, str] | None = None
    changes: Changes | None = None

    @property
    def watches(self) -> tuple[Watch, ...]:
        """Its settings."""
        return watches_of(self.target.model)

    @property
    def serial(self) -> Watch | None:
        """The register that holds the serial number, if the model knows one."""
        return next((watch for watch in self.target.model.identity if watch.name == "serial"), None)


def polled_meters(site: SiteFile, link: str) -> list[Polled]:
    """The meters of one link, ready to be polled.

    Raises:
        ConfigError: a point is put together from so many parts that its formula is no record's any more.
    """
    polled = [each for meter in site.site.meters if meter.link == link for each in _polled(site, meter)]
    mistakes = [mistake for meter in polled for mistake in _formulas_too_long(site, meter)]
    if mistakes:
        raise ConfigError(mistakes)
    return polled


def target_of(site: SiteFile, meter: Meter) -> Target:
    """A meter as its driver needs it."""
    model = site.model_of(meter).declared
    link = site.link_of(meter)
    framing = link.frames if model.protocol == "modbus" else "own"
    return Target(model, meter.address, framing, **known_ratios(meter), server=link.server)


def _polled(site: SiteFile, meter: Meter) -> list[Polled]:
    target = target_of(site, meter)
    driver = load(target.model.protocol)
    port = site.port_of(meter) if site.link_of(meter).serial else None
    return [
        Polled(meter.id, driver, target, points, every_ms, port, meter.changes) for every_ms, points in site.schedules_of(meter)
    ]


def _formulas_too_long(site: SiteFile, meter: Polled) -> Iterator[Mistake]:
    requests = [request.data for request in meter.driver.requests(meter.target, meter.points)]
    for point in meter.points:
        if len(_formula(meter, requests, point)) > _LONGEST:
            message = _(
                "{quantity} has too many parts: its formula is longer than {longest} characters",
                quantity=point.quantity,
                longest=_LONGEST,
            )
            yield Mistake(str(site.path), 0, 0, meter.id, message)


def _formula(meter: Polled, requests: list[bytes], point: Point) -> str:
    """A point's formula; empty where it depends on what the meter answers."""
    try:
        return meter.driver.locate(meter.target, requests, point, [b""] * len(requests))
    except (KeyError, NoValue):
        return ""
