"""What a trace tells of a value that an OPC UA server held: its node, type, status and times. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from agent.declaration import Declaration, Frames
from config.language import _
from config.opcua import OpcuaPoint
from drivers.errors import NoValue
from drivers.opcua import data_value
from drivers.opcua_binary import TYPES, Variant

_BEGINNING = datetime(1601, 1, 1, tzinfo=UTC)
_LAST = 2_650_467_743_990_000_000  # the end of the year 9999, in steps of 100 ns


def node_of(declaration: Declaration | None, quantity: str, frames: Frames) -> str:
    """The node of a quantity and what its server said beside the value; empty for values of other protocols."""
    point = declaration.points.get(quantity) if declaration else None
    if declaration is None or declaration.target is None or not isinstance(point, OpcuaPoint):
        return ""
    element = "" if point.at.index is None else _(" element {index}", index=point.at.index)
    try:
        told = data_value(declaration.target, frames.asked, point, frames.usable)
    except (KeyError, NoValue):
        return _("node {node}{element}", node=point.at.node, element=element)
    times = _("source time {time}, server time {time_2}", time=_time(told.source), time_2=_time(told.server))
    return _(
        "node {node}{element}, {type}, status {status:08X}, {times}",
        node=point.at.node,
        element=element,
        type=_type(told.value),
        status=told.status,
        times=times,
    )


def _type(value: Variant | None) -> str:
    if value is None or value.type not in TYPES:
        return _("no value")
    many = "" if value.count is None else _("list of {max} ", max=max(value.count, 0))
    return many + TYPES[value.type]


def _time(ticks: int | None) -> str:
    if ticks is None:
        return "none"
    if not 0 < ticks < _LAST:
        return "unusable"
    return (_BEGINNING + timedelta(microseconds=ticks // 10)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
