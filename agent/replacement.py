"""What a replacement record says of a meter that was exchanged, put together from the ledger and what a person saw.

What this file does not know: whether it is right (`agent.standing`), how it is sealed (`agent.by_person`).
"""

from __future__ import annotations

from typing import Any

from agent.ledger_file import LedgerReader
from agent.record import parse
from agent.standing import standing_in
from config.language import _
from config.quantity import quantity_of


def exchange_of(past: LedgerReader, meter: str, last: str | None, first: str | None, serial: str | None) -> dict[str, Any]:
    """The fields of a replacement, but for reason and who.

    Args:
        past: the ledger.
        meter: its id.
        last, first: what the main counter of the old and of the new meter showed; without `last` it is the newest reading.
        serial: of the new meter; None: what answered under the address last.

    Raises:
        ValueError: something is missing; the message says what to give.
    """
    standing = standing_in(past, meter)
    if standing.declared is None:
        raise ValueError(_("There is no meter {meter} in the ledger. Write its id as it stands in site.yaml.", meter=meter))
    new = serial or _stranger(past, meter)
    if not new:
        raise ValueError(_("No other meter has answered for {meter}: give the new meter's number with --serial.", meter=meter))
    n, values = _newest(past, meter)
    counters = {name: value for name, value in values.items() if quantity_of(name).kind == "counter"}
    main = next((name for each in standing.declared["schedules"] for name in each["quantities"] if _counts(name)), "")
    if (last or first) and not main:
        raise ValueError(_("{meter} has no counter that a value could belong to: leave --last and --first out.", meter=meter))
    told = [{"quantity": name, "value": value, "record": n} for name, value in counters.items() if not (last and name == main)]
    return {
        "meter": {"id": meter},
        "old": standing.serial or _told(past, meter),
        "new": new,
        "last": [{"quantity": main, "value": last}, *told] if last else told,
        "first": [{"quantity": main, "value": first}] if first else [],
    }


def _counts(quantity: str) -> bool:
    return quantity_of(quantity).kind == "counter"


def _newest(past: LedgerReader, meter: str) -> tuple[int, dict[str, str]]:
    """The newest reading's number, and its values by quantity."""
    for n, payload in past.meter_records(meter, "reading", newest_first=True):
        return n, {each["quantity"]: each["value"] for each in parse(payload)["values"] if "value" in each}
    return 0, {}


def _stranger(past: LedgerReader, meter: str) -> str:
    """The number that another meter told; empty where the newest one told is the meter's own."""
    for _unused, payload in past.meter_records(meter, "identity", newest_first=True):
        fields = parse(payload)
        return "" if fields["match"] else str(fields["found"])
    return ""


def _told(past: LedgerReader, meter: str) -> str:
    """The number that a meter without a declared one told of itself."""
    for _unused, payload in past.meter_records(meter, "identity", newest_first=True):
        fields = parse(payload)
        if fields["match"]:
            return str(fields["found"])
    return ""
