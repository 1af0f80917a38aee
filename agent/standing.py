"""What stands of one meter beyond its newest declaration: its number through replacements, its settings, its grade. Pure.

The agent builds it from the ledger and goes on with what it seals; an audit builds it from the records as they go by, and
whatever the two would not agree in is a finding.

 1. A meter's serial number changes only by a `replacement`.
 2. Its settings (`identity` and `attest` of its model, the serial number apart) are pinned by the first declaration that
    states them. Found changed, they are told by an `alarm`, and a person confirms them (`audit`) before they are pinned anew.
 3. A reading is evidence grade if no alarm is open, the settings that its model asks for are pinned by the declaration in
    force, and the model's register map is trusted (A or B) or was confirmed by a paired reading. Else it says why not.

What this file does not know: frames and formulas (`agent.evidence`), how a ledger is kept.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal, InvalidOperation
from itertools import islice
from typing import Any, Protocol

from agent.record import parse
from config.language import _
from config.plate import same_serial
from config.quantity import quantity_of

Fields = Mapping[str, Any]
Problem = tuple[str, str]

CHANGED, UNREAD, UNCONFIRMED = "settings_changed", "settings_unread", "map_unconfirmed"
KINDS = ("meter", "alarm", "audit", "manual", "replacement", "spot")  # readings apart: only the newest of them matter
_PAIRED_SECONDS = 60
_MOST_KEPT = 8  # readings that a record sealed at the same moment may still speak of


def told_settings(settings: Iterable[Fields]) -> dict[str, str | None]:
    """Settings by name: their values, None of one that the meter does not tell."""
    return {setting["name"]: setting.get("value") for setting in settings}


def agrees(shown: str, decoded: str) -> bool:
    """Whether a display that shows so many digits shows a decoded value: off by one unit of its last digit at most."""
    last_digit = Decimal(1).scaleb(-len(shown.partition(".")[2]))
    return abs(Decimal(shown) - Decimal(decoded)) <= last_digit


class Past(Protocol):
    """A ledger's records by meter: `agent.ledger_file.LedgerReader`."""

    def meter_records(self, meter: str, kind: str | None = None, newest_first: bool = False) -> Iterator[tuple[int, bytes]]:
        """A meter's records of one kind or all, each with its n."""


@dataclass(slots=True)
class Standing:
    """One meter.

    Attributes:
        watched: the settings that its model asks for, each with the values under which its map is valid (empty: any).
        codes: those of them by which the meter tells its type.
        declared: the declaration in force; None before the first.
        serial: the number it was last declared with, of those that had one.
        replaced: old and new number of a replacement, until a declaration follows it.
        renamed: old and new number of the newest replacement.
        pinned: its settings in force; None before they were pinned.
        alarm: the number of the alarm that is open and the settings it told; None without one.
        paired: for which registers a display was compared and agreed.
    """

    watched: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    codes: frozenset[str] = frozenset()
    declared: Fields | None = None
    serial: str = ""
    replaced: tuple[str, str] | None = None
    renamed: tuple[str, str] | None = None
    pinned: dict[str, str | None] | None = None
    alarm: tuple[int, dict[str, str | None]] | None = None
    paired: dict[tuple[Any, ...], bool] = field(default_factory=dict)
    _unseen: int = 0
    _told: deque[tuple[int, Fields]] = field(default_factory=lambda: deque(maxlen=_MOST_KEPT))

    @property
    def doubt(self) -> str:
        """Why its readings are not evidence grade now; empty if they are."""
        if self.alarm:
            return CHANGED
        declared = self.declared or {}
        if self.watched and not self.watched.keys() <= told_settings(declared.get("settings", ())).keys():
            return UNREAD
        if declared.get("trust") in ("C", "D") and not self.paired.get(_registers(declared)):
            return UNCONFIRMED
        return ""

    @property
    def fingerprint(self) -> bool:
        """Whether the declaration in force pins a code by which the meter tells its type, and it still tells the same."""
        told = told_settings((self.declared or {}).get("settings", ()))
        return self.alarm is None and any(told.get(code) is not None for code in self.codes)

    def serial_by(self, site: str) -> str:
        """The number to declare where the site file has this one: the file may still name the meter that was replaced."""
        if site and self.renamed and same_serial(site, self.renamed[0]):
            return self.renamed[1]
        return site

    def is_other(self, serial: str) -> bool:
        """Whether a number is another meter's than the one declared last, and no replacement says so."""
        if not (serial and self.serial) or same_serial(serial, self.serial):
            return False
        return not (self.replaced and same_serial(serial, self.replaced[1]))

    def changed(self, found: Mapping[str, str | None]) -> bool:
        """Whether settings are not those that are pinned, or, where nothing is, not such that the model's map is valid."""
        pinned = self.pinned or {}
        return any(
            value != pinned[name] if name in pinned else not _fits(value, self.watched.get(name, ()))
            for name, value in found.items()
        )

    def torn(self) -> None:
        """Records of the log are gone: what is quoted of the meter's next few readings' time cannot be held against them."""
        self._unseen = _MOST_KEPT

    # --- records, in the order of n ----------------------------------------------------------------------------

    def take(self, n: int, fields: Fields) -> Iterator[Problem]:
        """Takes a record of the meter; problems with it as far as they follow from the records before it."""
        kind = fields["kind"]
        if kind in ("reading", "spot"):
            self._told.append((n, fields))
            self._unseen = max(0, self._unseen - 1)
        if kind == "reading":
            return
        take = {
            "meter": self._declared,
            "alarm": self._alarm,
            "audit": self._confirmed,
            "manual": self._by_hand,
            "replacement": self._replaced,
        }.get(kind)
        if take:
            yield from take(n, fields)

    def _declared(self, _n: int, fields: Fields) -> Iterator[Problem]:
        declared: Fields = fields["meter"]
        if self.is_other(declared["serial"]):
            yield (
                "REPLACEMENT",
                _(
                    "declares serial number {serial} after {serial_2}, and no replacement says why",
                    serial=declared["serial"],
                    serial_2=self.serial,
                ),
            )
        found = told_settings(declared.get("settings", ()))
        if found and self.changed(found):
            yield "SETTINGS", _("pins settings that are not the ones in force, and nobody has confirmed them")
        self.serial = declared["serial"] or self.serial
        self.pinned = (self.pinned or {}) | found if found else self.pinned
        self.declared, self.replaced = declared, None

    def _alarm(self, n: int, fields: Fields) -> Iterator[Problem]:
        found = told_settings(fields["settings"])
        if not self.changed(found) and self.alarm is None:
            yield "SETTINGS", _("tells of changed settings, yet they are the ones in force")
        self.alarm = n, found

    def _confirmed(self, _n: int, fields: Fields) -> Iterator[Problem]:
        if fields["command"] != "confirm":
            return
        if self.alarm is None or fields.get("record") != self.alarm[0]:
            yield (
                "SETTINGS",
                _(
                    "confirms record {fields}, which is no alarm of this meter that was open",
                    fields=fields.get("record", "nothing"),
                ),
            )
            return
        self.pinned, self.alarm = (self.pinned or {}) | self.alarm[1], None

    def _replaced(self, _n: int, fields: Fields) -> Iterator[Problem]:
        if self.serial and not same_serial(fields["old"], self.serial):
            yield (
                "REPLACEMENT",
                _(
                    "takes out serial number {old}, the one declared was {serial}",
                    old=fields["old"] or _("none"),
                    serial=self.serial,
                ),
            )
        yield from self._read_off(fields["last"])
        self.replaced = self.renamed = (fields["old"], fields["new"])
        self.serial = fields["new"] or self.serial
        self.pinned, self.alarm, self.paired = None, None, {}

    def _read_off(self, last: Iterable[Fields]) -> Iterator[Problem]:
        """Problems with the last values of a meter that was taken out, as far as they quote a reading."""
        for value in last:
            if "record" not in value:
                continue
            told = self._value(value["record"], value["quantity"])
            if told is None and self._unseen:
                continue
            if told is None:
                yield (
                    "REPLACEMENT",
                    _(
                        "takes {quantity} from record {record}, which is none of its newest readings",
                        quantity=value["quantity"],
                        record=value["record"],
                    ),
                )
            elif told != value["value"]:
                yield (
                    "REPLACEMENT",
                    _(
                        "states {value} as the last {quantity}, record {record} has {told}",
                        value=value["value"],
                        quantity=value["quantity"],
                        record=value["record"],
                        told=told,
                    ),
                )

    def _by_hand(self, _n: int, fields: Fields) -> Iterator[Problem]:
        try:
            unit = quantity_of(fields["quantity"]).unit
        except KeyError:
            yield "DECLARATION", _("there is no quantity {quantity}", quantity=fields["quantity"])
            return
        if fields["unit"] != unit:
            yield (
                "UNIT",
                _(
                    "is stated in {unit}, the unit of {quantity} is {unit_2}",
                    unit=fields["unit"],
                    quantity=fields["quantity"],
                    unit_2=unit,
                ),
            )
        if "compared" not in fields:
            if "agrees" in fields:
                yield "PAIR", _("says whether a display agrees, but not with which record")
            return
        n, quantity = fields["compared"], fields["quantity"]
        told = self._value(n, quantity)
        if told is None:
            yield from self._not_at_hand(fields)
            return
        time = next(each["time"] for number, each in self._told if number == n)
        apart = abs((datetime.fromisoformat(fields["read_at"]) - datetime.fromisoformat(time)).total_seconds())
        right = agrees(fields["value"], told)
        if apart > _PAIRED_SECONDS:
            yield (
                "PAIR",
                _(
                    "compares a display read at {read_at} with record {n} of {time}: not the same minute",
                    read_at=fields["read_at"],
                    n=n,
                    time=time,
                ),
            )
        elif fields.get("agrees") != right:
            yield (
                "PAIR",
                _(
                    "says that {value} on the display and {told} in record {n} {right}",
                    value=fields["value"],
                    told=told,
                    n=n,
                    right=_("disagree") if right else _("agree"),
                ),
            )
        elif self.declared is not None:
            self.paired[_registers(self.declared)] = right

    def _not_at_hand(self, fields: Fields) -> Iterator[Problem]:
        """A display was compared with a reading that is none of the newest; where records are gone, the record's word counts."""
        if not self._unseen:
            what = _("compares {quantity} with record {compared}", quantity=fields["quantity"], compared=fields["compared"])
            yield "PAIR", _("{what}, which is none of its newest readings that states it", what=what)
        elif self.declared is not None:
            self.paired[_registers(self.declared)] = bool(fields.get("agrees"))

    def _value(self, n: int, quantity: str) -> str | None:
        """What one of the newest readings states of a quantity."""
        for number, fields in self._told:
            if number == n:
                stated = (value.get("value") for value in fields["values"] if value["quantity"] == quantity)
                return next(stated, None)
        return None


def standing_in(
    past: Past, meter: str, watched: Mapping[str, tuple[str, ...]] | None = None, codes: frozenset[str] = frozenset()
) -> Standing:
    """A meter's standing as a ledger has it. `watched`, `codes`: what its model asks for, where that matters."""
    rows = [row for kind in KINDS for row in past.meter_records(meter, kind)]
    rows += islice(past.meter_records(meter, "reading", newest_first=True), _MOST_KEPT)
    standing = Standing(watched or {}, codes)
    for n, payload in sorted(rows):
        spend(standing.take(n, parse(payload)))
    return standing


def spend(problems: Iterable[object]) -> None:
    """Lets a record be taken whose problems are for an audit to tell."""
    for _unused in problems:
        pass


def _registers(declared: Fields) -> tuple[Any, ...]:
    """What a paired reading confirms: this register map with these ratios."""
    return declared.get("digest"), declared.get("ct"), declared.get("vt")


def _fits(value: str | None, allowed: tuple[str, ...]) -> bool:
    if not allowed:
        return True
    try:
        return value is not None and Decimal(value) in {Decimal(each) for each in allowed}
    except InvalidOperation:
        return value in allowed
