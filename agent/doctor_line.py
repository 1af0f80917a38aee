"""What is wrong with a line, from the mix of silence and damage in the frames that were sealed. Pure.

    all meters silent, nothing damaged         no power on the line, A and B swapped, another speed, the wrong port
    one meter silent, the others good          that meter: its power, its address, its two terminals
    silent ones and the request comes back     the adapter hears itself: harmless, but nobody answered
    damage at all meters                       termination (120 ohms at both ends), biasing, shield
    damage at one meter                        its stub, its terminals, or a second meter with its address
    bytes where nobody answers                 no biasing: the idle line floats; or another master talks
    answers of other meters                    late answers, or a second master on the line

These are symptoms, no measurement: what they point at is for a person with an instrument to find.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from agent.doctor import Finding, coded
from config.language import _

_DAMAGED = ("bad_checksum", "short_answer", "wrong_length", "bad_parity", "noise")
_FOREIGN = ("wrong_unit", "wrong_transaction", "wrong_sequence", "wrong_identifier", "other_meter")
_ENOUGH = 20
_SHARE = 0.01


@dataclass(slots=True)
class Answers:
    """How a meter answered: good frames, failed ones by cause."""

    good: int = 0
    faults: Counter[str] = field(default_factory=Counter)

    @property
    def asked(self) -> int:
        """How often it was asked."""
        return self.good + self.faults.total()

    @property
    def damaged(self) -> int:
        """Answers that arrived spoilt."""
        return sum(self.faults[cause] for cause in _DAMAGED)

    @property
    def silent(self) -> bool:
        """Whether it never answered."""
        return not self.good and self.faults["no_answer"] + self.faults["only_echo"] + self.faults["gateway_target"] > 0

    @property
    def is_damaged(self) -> bool:
        """Whether more than one answer in a hundred is spoilt."""
        return self.damaged > _SHARE * max(1, self.asked)


def line_findings(link: str, meters: Mapping[str, Answers], *, serial: bool) -> Iterator[Finding]:
    """What the meters' answers say of their line. `serial`: whether it is a pair of wires, not a network."""
    place = _("line {name}", name=link)
    asked = sum(each.asked for each in meters.values())
    if not asked:
        yield Finding("look", place, _("nothing was read over it yet"), _("Start the agent, and ask again after an hour."))
        return
    silent = sorted(name for name, each in meters.items() if each.silent)
    damaged = sorted(name for name, each in meters.items() if each.is_damaged)
    found = [
        *coded("MS-203" if len(silent) == len(meters) else "MS-204", _silence(place, meters, silent, serial=serial)),
        *coded("MS-205", _damage(place, meters, damaged, serial=serial)),
        *coded("MS-206", _strangers(place, meters)),
    ]
    yield from found
    if not found:
        few = "" if asked >= _ENOUGH else _("; that is few, ask again later")
        spoilt = sum(each.damaged for each in meters.values())
        yield Finding(
            "ok",
            place,
            _(
                "{asked} questions, {asked_2} failed, {spoilt} answers spoilt{few}",
                asked=asked,
                asked_2=asked - sum(each.good for each in meters.values()),
                spoilt=spoilt,
                few=few,
            ),
        )


def _silence(place: str, meters: Mapping[str, Answers], silent: list[str], *, serial: bool) -> Iterator[Finding]:
    echo = sum(each.faults["only_echo"] for each in meters.values())
    heard = _(" (the adapter hears its own requests, so it sends)") if echo else ""
    if silent and len(silent) == len(meters):
        todo = _("Measure the line's and the meters' power; swap A and B; compare baud rate and format with a meter's display.")
        if not serial:
            todo = _("Check cable, address and port; `meterseal read METER` tells how far it comes.")
        yield Finding(
            "wrong", place, _("none of its {meters} meters has ever answered{heard}", meters=len(meters), heard=heard), todo
        )
    elif silent:
        todo = _("Look at their power, address and speed, and at their two terminals; the line itself works, others answer.")
        yield Finding("wrong", place, _("silent: {meters}{heard}", meters=", ".join(silent), heard=heard), todo)


def _damage(place: str, meters: Mapping[str, Answers], damaged: list[str], *, serial: bool) -> Iterator[Finding]:
    if not damaged:
        return
    causes: Counter[str] = sum((meters[name].faults for name in damaged), Counter())
    shown = ", ".join(f"{cause.replace('_', ' ')} {causes[cause]}" for cause in _DAMAGED if causes[cause])
    if not serial:
        yield Finding(
            "look",
            place,
            _("spoilt answers ({shown})", shown=shown),
            _("Look at the converter's settings: frame gap, speed, other clients."),
        )
        return
    answering = [name for name, each in meters.items() if not each.silent]
    if len(damaged) > 1 and len(damaged) * 2 > len(answering):
        todo = _("Measure 60 ohms between A and B without power: 120 ohms at each end, none between; shield grounded at one end.")
        yield Finding(
            "wrong",
            place,
            _(
                "spoilt answers from {damaged} of {answering} meters ({shown})",
                damaged=len(damaged),
                answering=len(answering),
                shown=shown,
            ),
            todo,
        )
    else:
        todo = _("Look at its terminals and stub, and whether a second meter has its address.")
        yield Finding(
            "look",
            place,
            _("spoilt answers from {damaged} ({shown}); the others are good", damaged=", ".join(damaged), shown=shown),
            todo,
        )
    if causes["noise"] > causes["bad_checksum"] and causes["noise"] > 2:
        todo = _("Give the line biasing resistors at one place (the adapter's switch), and look for another master on it.")
        yield Finding("look", place, _("bytes arrive that nobody answered with ({noise})", noise=causes["noise"]), todo)


def _strangers(place: str, meters: Mapping[str, Answers]) -> Iterator[Finding]:
    count = sum(each.faults[cause] for each in meters.values() for cause in _FOREIGN)
    if count > 2:
        todo = _(
            "Raise longest_answer_ms of the link if a meter is slow; look for another master, or two meters with one address."
        )
        yield Finding("look", place, _("answers of others arrived in place of a meter's own ({count})", count=count), todo)
