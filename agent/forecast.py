"""What `check` says of each line's time, and the refusal of what cannot fit. Pure: nothing is read, nothing is sent.

 1. What does not fit although no time is counted for the meters themselves (`LineTime.busy.least` above 1) is refused.
 2. Warnings and advice go by what is usual (`busy.usual`), and leave a fifth of the time free: for silent meters, for
    requests asked twice, for meters slower than assumed. The text states what was assumed.

What this file does not know: what an exchange costs (`agent.line_time`), and how quick the meters really are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from agent.line_time import ROUND_TRIP_S, TURNAROUND_S, UNSTATED, Asked, LineTime, exchange_bytes
from agent.link_settings import settings_of
from agent.polled import Polled
from config.check import SiteFile
from config.language import _
from config.mistake import ConfigError
from config.site import Link
from config.text import read_text

BUSY = 0.8
_STEPS = (1, 5, 10, 15, 30, 60, 300, 600, 900, 1800, 3600)
_BAUD_RATES = (1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200)


def line_times(site: SiteFile, meters: Mapping[str, Sequence[Polled]]) -> list[LineTime]:
    """The time needed by each link that has meters. A server has no line whose time could run out.

    Args:
        site: the site file.
        meters: the meters of each link, by its name, as `agent.polled.polled_meters` gives them.

    Raises:
        ConfigError: what is asked of a line takes longer than there is time, however quick its meters are.
    """
    made = []
    for name, polled in meters.items():
        if polled and not site.site.links[name].opcua:
            stated, hole = _is_stated(site.site.links[name]), settings_of(site, name).hole_bytes
            made.append(LineTime.of(name, (_asked(meter, stated, hole) for meter in polled)))
    full = [line for line in made if line.busy.least > 1]
    if full:
        document = read_text(site.text, str(site.path))
        raise ConfigError([document.mistake(("links", line.link), refusal(line), at_key=True) for line in full], "MS-104")
    return made


def _is_stated(link: Link) -> bool:
    """A port is set to what the site or the models say; what a serial server's is set to, only the site could say."""
    return link.baud is not None or (link.serial is not None and not link.serial.startswith("socket://"))


def _asked(meter: Polled, stated: bool, hole: int) -> Asked:
    """What is asked as long as the meter refuses nothing: see `agent.plan`."""
    framing = meter.target.framing
    requests = meter.driver.requests(meter.target, meter.points, hole)
    exchanges = tuple((request, exchange_bytes(meter.driver, request, framing)) for request in requests)
    baud, character = meter.port or UNSTATED
    return Asked(meter.id, meter.every_ms / 1000, framing, exchanges, baud, character, stated)


def described(line: LineTime) -> list[str]:
    """What `check` prints of a line: how busy it is, how long a round takes, and warnings."""
    times = line.round
    assumed = _("{turnaround_s:.0f} ms until a meter answers", turnaround_s=TURNAROUND_S * 1000)
    if line.on_tcp:
        assumed = _("{round_trip_s:.0f} ms for each answer", round_trip_s=ROUND_TRIP_S * 1000)
    if not line.told:
        assumed += _(" and answers at their longest")
    return [
        f"{line.link}: {_meters(line.meters)}, {_settings(line)}: {_shares(line)}{_too_often(line)}",
        _(
            "  one round takes {seconds}, at least {seconds_2} (counted with {assumed})",
            seconds=_seconds(times.usual),
            seconds_2=_seconds(times.least),
            assumed=assumed,
        ),
        *_warnings(line),
    ]


def refusal(line: LineTime) -> str:
    """Why a line cannot do what is asked of it, and what to write."""
    wanted = _(" and ").join(
        _("{meters} every {span}", meters=_meters(count), span=_span(every_s)) for every_s, count, _unused in line.intervals()
    )
    takes = _(
        "asking all once takes at least {seconds} ({settings})", seconds=_seconds(line.round.least), settings=_settings(line)
    )
    return _(
        "there is no time for {wanted}: {takes}, {percent} of the time there is; {advice}",
        wanted=wanted,
        takes=takes,
        percent=_percent(line.busy.least),
        advice=_advice(line),
    )


def _warnings(line: LineTime) -> list[str]:
    busy, shortest = line.busy.usual, line.shortest_s
    if busy > BUSY:
        why = _("polls will be missed") if busy > 1 else _("a silent meter or a repeated request is enough to miss polls")
        return [_("  more than {percent} busy: {why} (overrun); {advice}", percent=_percent(BUSY), why=why, advice=_advice(line))]
    if len(line.intervals()) > 1 and line.collides():
        often = _("what is read every {span} has to wait too long and misses polls (overrun)", span=_span(shortest))
        return [_("  when all meters are due at once, {often}; give it a line of its own, or read it less often", often=often)]
    return []


def _advice(line: LineTime) -> str:
    """What makes the line fit: each thing with a number does so by itself, with a fifth of the time to spare."""
    found = []
    every_s = next((step for step in _STEPS if step > line.shortest_s and _fits(line.not_under(step))), None)
    if every_s:
        found.append(_("write  every: {span}  where it is shorter", span=_span(every_s).replace(" min", "m").replace(" ", "")))
    slowest = min(each.baud for each in line.asked)
    baud = next((rate for rate in _BAUD_RATES if rate > slowest and _fits(line.at_baud(rate))), None)
    if baud and line.stated and not line.on_tcp:
        found.append(_("set line and meters to {baud} baud, if all can", baud=baud))
    found.append(_("list fewer quantities"))
    lines = math.ceil(line.busy.usual / BUSY)
    if not line.on_tcp and 1 < lines <= line.meters:
        found.append(_("spread the meters over {lines} lines", lines=lines))
    return _("{others} or {last}", others=", ".join(found[:-1]), last=found[-1]) if len(found) > 1 else found[0]


def _fits(line: LineTime) -> bool:
    return line.busy.usual <= BUSY


def _settings(line: LineTime) -> str:
    if line.on_tcp:
        return _("Modbus TCP")
    if not line.stated:
        return _("behind a serial server")
    return _(" and ").join(
        sorted(
            {
                _("{baud} baud {character}", baud=each.baud, character=each.character)
                for each in line.asked
                if each.framing != "tcp"
            }
        )
    )


def _shares(line: LineTime) -> str:
    intervals = line.intervals()
    text = _("{percent} busy", percent=_percent(line.busy.usual))
    if len(intervals) == 1:
        text += _(" every {span}", span=_span(intervals[0][0]))
    else:
        shares = [
            _("{percent} every {span}", percent=_percent(share.usual), span=_span(every_s))
            for every_s, _unused, share in intervals
        ]
        text += f" ({', '.join(shares)})"
    if not line.stated:
        if_so = line.if_stated()
        text += _(
            " without the time of the bytes, {percent} if the server is set to {settings}",
            percent=_percent(if_so.busy.usual),
            settings=_settings(if_so),
        )
    return text


def _too_often(line: LineTime) -> str:
    """The next shorter interval at which the meters that are read most often would make the line overrun."""
    known, shortest = line.if_stated(), line.shortest_s
    too_often = [step for step in _STEPS if step < shortest and known.hastened(step).busy.usual > 1]
    if not too_often:
        return ""
    instead = "" if len(line.intervals()) == 1 else _(" in place of {span}", span=_span(shortest))
    return _("; at {span}{instead} it would not fit", span=_span(too_often[-1]), instead=instead)


def _meters(count: int) -> str:
    return _("1 meter") if count == 1 else _("{count} meters", count=count)


def _percent(share: float) -> str:
    """Rounded up: a line is never called less busy than it is."""
    return f"{math.ceil(round(share * 100, 6))} %"


def _seconds(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds < 1 else f"{seconds:.1f} s"


def _span(seconds: float) -> str:
    """An interval as in site.yaml, with a space: `15 s`, `15 min`, `1 h`."""
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:g} s"
