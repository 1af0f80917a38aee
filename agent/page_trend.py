"""Drawings for the status page: a line over a day and bars over days, as SVG. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, tzinfo
from decimal import Decimal

from agent.page_html import Html, element, joined

WIDTH, HEIGHT = 640, 170
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 26, 12, 26
_DAY_MS = 86_400_000
_LABEL_HOURS = 6

Point = tuple[int, Decimal]


def line(points: Sequence[Point], begin_ms: int, step_ms: int, zone: tzinfo, title: str) -> Html:
    """Values over 24 hours. Where one is missing, nothing is drawn.

    Args:
        points: time in milliseconds and value, in the order of time.
        begin_ms: where the day begins.
        step_ms: what is farther apart is not joined.
        zone: of the labels.
        title: what it shows, for those who cannot see it.
    """
    low, high = _bounds([value for _, value in points])
    parts = [*_grid(low, high), *_hours(begin_ms, zone)]
    for run in _runs(points, step_ms):
        at = " ".join(f"{_x(time, begin_ms):.1f},{_y(value, low, high):.1f}" for time, value in run)
        if len(run) == 1:
            x, y = at.split(",")
            parts.append(element("circle", cx=x, cy=y, r="1.5", class_="dot"))
        else:
            parts.append(element("polyline", points=at, class_="line"))
    return _drawing(parts, title)


def bars(days: Sequence[tuple[str, Decimal | None]], title: str) -> Html:
    """A bar for each day, by its label; None: what was consumed is not known, which is drawn as such."""
    low, high = _bounds([value for _, value in days if value is not None], from_zero=True)
    parts = list(_grid(low, high))
    wide = (WIDTH - _LEFT - _RIGHT) / max(1, len(days))
    for place, (label, value) in enumerate(days):
        x = _LEFT + place * wide
        told = element("title", f"{label}: {value if value is not None else '?'}")
        top = _y(value, low, high) if value is not None else float(_TOP)
        base = _y(max(low, Decimal(0)), low, high) if value is not None else float(HEIGHT - _BOTTOM)
        size = {"y": f"{min(top, base):.1f}", "height": f"{max(1.0, abs(base - top)):.1f}"}
        kind = "bar" if value is not None else "none"
        parts.append(element("rect", told, x=f"{x + 1:.1f}", width=f"{max(1.0, wide - 2):.1f}", class_=kind, **size))
        if place % 5 == 0 or len(days) <= 8:
            parts.append(_text(label[-5:], x + wide / 2, HEIGHT - 7, "middle"))
    return _drawing(parts, title)


def _drawing(parts: Sequence[str], title: str) -> Html:
    return element("svg", *parts, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=title, class_="trend")


def _bounds(values: Sequence[Decimal], *, from_zero: bool = False) -> tuple[Decimal, Decimal]:
    low, high = min(values, default=Decimal(0)), max(values, default=Decimal(1))
    if from_zero:
        low, high = min(low, Decimal(0)), max(high, Decimal(0))
    if low == high:
        spread = abs(low) / 10 or Decimal(1)
        return (low if from_zero else low - spread), high + spread
    return low, high


def _x(time_ms: int, begin_ms: int) -> float:
    return _LEFT + (WIDTH - _LEFT - _RIGHT) * (time_ms - begin_ms) / _DAY_MS


def _y(value: Decimal, low: Decimal, high: Decimal) -> float:
    return _TOP + (HEIGHT - _TOP - _BOTTOM) * float((high - value) / (high - low))


def _grid(low: Decimal, high: Decimal) -> Iterator[Html]:
    for part in range(3):
        value = low + (high - low) * part / 2
        y = _y(value, low, high)
        yield element("path", d=f"M{_LEFT} {y:.1f}H{WIDTH - _RIGHT}", class_="grid")
        yield _text(_short(value), _LEFT - 6, y + 4, "end")


def _hours(begin_ms: int, zone: tzinfo) -> Iterator[Html]:
    for hour in range(25):
        time_ms = begin_ms + hour * 3_600_000
        here = datetime.fromtimestamp(time_ms / 1000, zone)
        whole = time_ms - (here.minute * 60 + here.second) * 1000
        here = datetime.fromtimestamp(whole / 1000, zone)
        if here.hour % _LABEL_HOURS == 0 and whole >= begin_ms:
            yield _text(f"{here:%H:%M}", _x(whole, begin_ms), HEIGHT - 7, "middle")


def _runs(points: Sequence[Point], step_ms: int) -> Iterator[list[Point]]:
    run: list[Point] = []
    for point in points:
        if run and point[0] - run[-1][0] > step_ms:
            yield run
            run = []
        run.append(point)
    if run:
        yield run


def _text(text: str, x: float, y: float, anchor: str) -> Html:
    return element("text", text, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor)


def _short(value: Decimal) -> str:
    """At most five digits: an axis says roughly, the table exactly."""
    size = abs(value)
    for factor, sign in ((Decimal(10) ** 9, "G"), (Decimal(10) ** 6, "M"), (Decimal(10) ** 4, "k")):
        if size >= factor:
            shown = value / (Decimal(1000) if sign == "k" else factor)
            return f"{shown:.1f}{sign}"
    return f"{value:.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.2f}"


def legend(text: str) -> Html:
    """What a drawing shows, over it."""
    return joined(element("p", text, class_="legend"))
