"""Which declarations must be sealed when the agent begins: what the site file says of its meters, beside what the ledger says.

1. A declaration that says the same as the newest one stays in force, with the settings that were pinned in it.
2. A meter that was replaced (`meterseal replace`) is declared with the new serial number, also where the site file still has
   the old one.
3. A site file that names another serial number without such a record is a replacement of its own: that is sealed first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from agent import draft
from agent.by_person import own_account
from agent.clock import Clock
from agent.ledger_file import LedgerReader
from agent.polled import target_of
from agent.record import parse
from agent.settings import codes, watched
from agent.standing import Standing, standing_in
from config.check import SiteFile
from config.language import _
from config.site import Meter


@dataclass(frozen=True, slots=True)
class Declaring:
    """One meter at the start.

    Attributes:
        fields: its declaration.
        leaf: the leaf hash of the one in force that says the same; None where it must be sealed.
        standing: what stands of it.
        frames: in which it told the settings that are declared.
    """

    fields: draft.Fields
    leaf: bytes | None
    standing: Standing
    frames: Sequence[draft.Fields] = ()

    def drafts(self, clock: Clock) -> Iterator[draft.Fields]:
        """What must be sealed, its declaration last; nothing where it is in force."""
        if self.leaf is not None:
            return
        if self.standing.is_other(self.fields["serial"]):
            account = own_account()
            words = {"old": self.standing.serial, "new": self.fields["serial"], "last": [], "first": []}
            why = {"reason": "the site file names another serial number", "who": account, "account": account}
            yield draft.by_person(clock, "replacement", {"meter": {"id": self.fields["id"]}, **words, **why})
        yield draft.declared(clock, self.fields, self.frames)


def declaring(site: SiteFile, meter: Meter, past: LedgerReader, log: Any, *, undisturbed: bool = False) -> Declaring:
    """A meter of the site file, beside its newest declaration in the ledger.

    `undisturbed`: nothing by which it is asked has changed, so that what it told of its settings still stands.
    """
    model = site.model_of(meter)
    schedules = [(every_ms, [point.quantity for point in points]) for every_ms, points in site.schedules_of(meter)]
    fields = draft.declaration(meter, model, target_of(site, meter).framing, schedules, site.link_of(meter))
    standing = standing_in(past, meter.id, watched(model.declared), codes(model.declared))
    fields["serial"] = standing.serial_by(meter.serial)
    if fields["serial"] != meter.serial:
        hint = _("Write  serial: {serial}  into site.yaml: this meter was replaced.", serial=fields["serial"])
        log.warning("meter.replaced", meter=meter.id, serial=fields["serial"], site=meter.serial, hint=hint)
    leaf = _in_force(past, fields)
    if leaf is None and undisturbed:
        told, frames = _told(past, meter.id)
        return Declaring(fields | told, None, standing, frames)
    return Declaring(fields, leaf, standing)


def _told(past: LedgerReader, meter: str) -> tuple[draft.Fields, Sequence[draft.Fields]]:
    """The settings that are pinned in a meter's newest declaration, and the frames in which it told them."""
    for _unused, payload in past.meter_records(meter, "meter", newest_first=True):
        newest = parse(payload)
        told = {"settings": newest["meter"]["settings"]} if "settings" in newest["meter"] else {}
        return told, newest.get("frames", ())
    return {}, ()


def _in_force(past: LedgerReader, fields: draft.Fields) -> bytes | None:
    """The leaf hash of a meter's newest declaration, if it says the same, settings apart."""
    for n, payload in past.meter_records(fields["id"], "meter", newest_first=True):
        declared = {name: value for name, value in parse(payload)["meter"].items() if name != "settings"}
        return past.leaf(n) if declared == fields else None
    return None
