"""A meter's declaration as the checks of its records need it, and a record's frames as bytes. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from config.model import MeterModel, Point, Watch
from drivers import Driver, Request, Target
from drivers.errors import NoValue

Fields = Mapping[str, Any]
_MOST_JUDGED = 1024  # a meter has a few requests; a log that somebody made up may hold any number


def watches_of(model: MeterModel) -> tuple[Watch, ...]:
    """What of a model is watched beside the serial number: its settings."""
    return (*(watch for watch in model.identity if watch.name != "serial"), *model.attest)


@dataclass(frozen=True, slots=True)
class Frames:
    """A record's frames as bytes.

    Attributes:
        requests, answers, faults: of each frame; the fault is empty where there is none.
        plain: the requests without transaction numbers.
        asked, usable: `plain` and `answers` with empty bytes in place of those that have a fault.
    """

    requests: list[bytes]
    answers: list[bytes]
    faults: list[str]
    plain: list[bytes]
    asked: tuple[bytes, ...]
    usable: list[bytes]


@dataclass(frozen=True, slots=True)
class Declaration:
    """A meter's declaration and what follows from it.

    Attributes:
        n, leaf: its record and that record's leaf hash (base64url).
        fields: as declared.
        driver, target: None where the model is not usable.
        points: the declared quantities' points.
        serial: where the model keeps the serial number; None if it does not.

    It remembers which requests its model prescribes: that depends on nothing but the declaration and the request's own bytes.
    """

    n: int
    leaf: str
    fields: Fields
    driver: Driver | None = None
    target: Target | None = None
    points: Mapping[str, Point] = field(default_factory=dict)
    serial: Watch | None = None
    _judged: dict[tuple[str, bytes], bool] = field(default_factory=dict, repr=False, compare=False)

    def quantities(self, every_ms: int | None = None) -> list[str]:
        """What is declared to be read, or to be read at one interval."""
        return [
            name
            for schedule in self.fields["schedules"]
            if every_ms in (None, schedule["every_ms"])
            for name in schedule["quantities"]
        ]

    def reads(self, request: bytes) -> bool:
        """Whether a request without transaction number is one that fetches the meter's declared quantities."""
        return self._judge("reads", request, self.points.values())

    def identifies(self, request: bytes) -> bool:
        """Whether it is one that fetches the meter's serial number."""
        return self.serial is not None and self._judge("identifies", request, [self.serial])

    def sets(self, request: bytes) -> bool:
        """Whether it is one that fetches a setting of the meter."""
        return self.target is not None and any(self._prescribed(request, [watch]) for watch in watches_of(self.target.model))

    @property
    def tells_number(self) -> bool:
        """Whether its answers to reading requests may carry the meter's own number."""
        return self.target is not None and self.target.framing == "own"

    def asks(self, request: bytes) -> bool:
        """Whether it is one of either."""
        return self.reads(request) or self.identifies(request)

    def located(self, frames: Frames, point: Point | Watch) -> tuple[str | None, str]:
        """The formula of a point over a record's good frames, None without one; and why a good answer holds no value of it."""
        if self.driver is None or self.target is None:
            return None, ""
        try:
            return self.driver.locate(self.target, frames.asked, point, frames.usable), ""
        except NoValue as error:
            return None, error.cause
        except KeyError:
            return None, ""

    def doubted(self, frames: Frames, point: Point) -> str:
        """What the answers, or else the declaration, say against a value of a point; empty: nothing, or there is none."""
        if self.driver is None or self.target is None:
            return ""
        try:
            return self.driver.doubt(self.target, frames.asked, point, frames.usable) or self.target.doubt(point)
        except (KeyError, NoValue):
            return ""

    def number_formula(self, frames: Frames) -> str | None:
        """Where the meter's own number stands in its answers; None where it does not."""
        if self.driver is None or self.target is None:
            return None
        return self.driver.frame_serial(self.target, frames.asked, frames.usable)

    def _judge(self, purpose: str, request: bytes, points: Iterable[Point | Watch]) -> bool:
        """`_prescribed`, remembered. `purpose`: stands for the points, which are always the same for it."""
        known = self._judged.get((purpose, request))
        if known is None:
            if len(self._judged) >= _MOST_JUDGED:
                self._judged.clear()
            known = self._judged[purpose, request] = self._prescribed(request, list(points))
        return known

    def _prescribed(self, request: bytes, points: Sequence[Point | Watch]) -> bool:
        return bool(self.driver and self.target and self.driver.prescribes(self.target, points, request))


def frames_of(fields: Fields, declaration: Declaration | None = None) -> Frames:
    """A record's frames as bytes; their transaction numbers are known by the declared meter's driver."""
    stated = fields["frames"]
    requests = [bytes.fromhex(frame["request"]) for frame in stated]
    answers = [bytes.fromhex(frame["answer"]) for frame in stated]
    faults = [frame.get("fault", "") for frame in stated]
    plain = requests
    if declaration and declaration.driver and declaration.target:
        plain = _plain(declaration.driver, declaration.target, requests)
    asked = tuple(b"" if fault else request for request, fault in zip(plain, faults, strict=True))
    usable = [b"" if fault else answer for answer, fault in zip(answers, faults, strict=True)]
    return Frames(requests, answers, faults, plain, asked, usable)


def _plain(driver: Driver, target: Target, requests: Sequence[bytes]) -> list[bytes]:
    """Requests without their transaction numbers, so that two polls of the same registers are the same."""
    return [driver.numbered(Request(data, 0, 0, 0), 0, target.framing).data if data else b"" for data in requests]
