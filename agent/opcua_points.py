"""From the nodes that a person picked on an OPC UA server to the lines for site.yaml.

The person says what is measured, the server says in which unit: the scale follows from both. Nothing is guessed: where
the server states no unit, the lines say that the scale is the person's word.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import get_args

from agent.opcua_text import one_line
from config.language import _
from config.opcua import OpcuaType, node_name
from config.opcua_units import is_known, quantities_in, scale_into
from config.quantity import quantity_of
from config.site import Link
from drivers.opcua_browse import Seen
from drivers.opcua_status import cause_of, is_bad

_INDEX = "#"


class PickError(Exception):
    """A node that cannot be read as a quantity, in plain words with what to do."""


@dataclass(frozen=True, slots=True)
class Pick:
    """What a person picked.

    Attributes:
        quantity: such as `active_energy_import`.
        node: as the server's tree shows it.
        index: which element of a list; None for a single value.
    """

    quantity: str
    node: str
    index: int | None = None


def pick_of(text: str) -> Pick:
    """What `QUANTITY=NODE` or `QUANTITY=NODE#2` says (#2: the third element of a list). Raises PickError."""
    quantity, _unused, rest = text.partition("=")
    try:
        quantity_of(quantity)
    except KeyError:
        message = _("{text}: say what the node tells, such as  --pick 'active_energy_import={text}'", text=one_line(text))
        raise PickError(message) from None
    node, mark, index = rest.rpartition(_INDEX)
    if mark and index.isdecimal():
        return Pick(quantity, node, int(index))
    return Pick(quantity, rest)


def site_lines(link_name: str, link: Link, meter: str, picked: Sequence[tuple[Pick, Seen]], new_link: bool = False) -> str:
    """The lines for site.yaml.

    Args:
        link_name, link: the server's link.
        meter: the id of the meter.
        picked: what was picked, with what the server tells of it.
        new_link: also write the link.

    Raises:
        PickError: one of them cannot be read as its quantity.
    """
    lines = []
    if new_link:
        security = f", security: {link.policy}" if link.policy == "None" else ""
        lines += ["links:", f"  {link_name}: {{opcua: {quoted(str(link.opcua))}{security}}}"]
    lines += ["meters:", f"  - id: {meter}", f"    link: {link_name}", "    model: generic-opcua", "    points:"]
    for pick, seen in picked:
        lines += _point(pick, seen)
    return "\n".join(lines) + "\n"


def _point(pick: Pick, seen: Seen) -> list[str]:
    place = one_line(seen.node)
    _fits(pick, seen, place)
    index = "" if pick.index is None else f", index: {pick.index}"
    scale, remark = _scale(pick, seen)
    return [
        f"      - quantity: {pick.quantity}",
        f"        at: {{node: {quoted(seen.node)}, type: {seen.type}{index}}}",
        f"        scale: {format(scale, 'f')}{remark}",
    ]


def _fits(pick: Pick, seen: Seen, place: str) -> None:
    """Raises PickError for a node that the agent could not read."""
    try:
        node_name(seen.node)
    except ValueError as error:
        raise PickError(
            _("{place}: cannot be written into site.yaml: {error}", place=place, error=one_line(str(error)))
        ) from None
    if is_bad(seen.status or 0) and not seen.value:
        raise PickError(
            _(
                "{place}: the server gives no value of it ({cause_of})",
                place=place,
                cause_of=cause_of(seen.status or 0).replace("_", " "),
            )
        )
    if seen.type not in get_args(OpcuaType) or seen.type == "String":
        raise PickError(
            _(
                "{place}: holds {type}, which is no number meterseal reads; pick another node",
                place=place,
                type=seen.type or _("no value"),
            )
        )
    if seen.length is None and pick.index is not None:
        raise PickError(_("{place}: is no list; take #{index} away", place=place, index=pick.index))
    if seen.length is not None and (pick.index is None or pick.index >= seen.length):
        raise PickError(
            _(
                "{place}: is a list of {length}; write which element, from #0 to #{max}",
                place=place,
                length=seen.length,
                max=max(0, seen.length - 1),
            )
        )


def _scale(pick: Pick, seen: Seen) -> tuple[Decimal, str]:
    unit = quantity_of(pick.quantity).unit
    if not seen.unit_id:
        return Decimal(1), _("    # the server states no unit: check that one count is one {unit}", unit=unit)
    shown = one_line(seen.unit) or str(seen.unit_id)
    if not is_known(seen.unit_id):
        return Decimal(1), _(
            "    # the server's unit {shown} is not known here: write what one is worth in {unit}", shown=shown, unit=unit
        )
    try:
        return scale_into(seen.unit_id, pick.quantity), f"    # {shown} to {unit}"
    except ValueError as error:
        fitting = ", ".join(quantities_in(seen.unit_id)) or _("none")
        message = _(
            "{node} is in {shown}: {error}. Quantities that fit: {fitting}",
            node=one_line(seen.node),
            shown=shown,
            error=error,
            fitting=fitting,
        )
        raise PickError(message) from None


def quoted(text: str) -> str:
    """A text in quotes, as YAML and JSON write it."""
    return json.dumps(text, ensure_ascii=False)
