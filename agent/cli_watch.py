"""The verb `watch`: what the meters show now, again and again, until Ctrl-C.

While the agent runs, its newest sealed readings are shown, so that watching costs its lines nothing. Without an agent the
meters are read directly, one after the other.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agent.terminal import failure, read_settings, site_options, told
from config.language import _

if TYPE_CHECKING:
    from agent.live_table import Row

_HOME_AND_CLEAR = "\x1b[H\x1b[2J"
Round = Callable[[], "list[Row]"]


@click.command(short_help="Show what the meters read, again and again.")
@click.argument("meters", nargs=-1)
@click.option("--every", type=click.IntRange(1, 3600), default=2, show_default=True, help="Seconds from one round to the next.")
@click.option("--count", type=click.IntRange(1), help="So many rounds; else until Ctrl-C.")
@site_options
def watch(meters: tuple[str, ...], every: int, count: int | None, site: Path | None, state: Path | None) -> None:
    """Show what all meters of the site (or only METERS) read: a live table on a terminal, plain lines between tabs elsewhere.

    While the agent runs, these are its newest sealed readings; without it the meters are read now.
    """
    with told():
        from agent.state import LEDGER_FILE, is_running
        from config.check import load_site
        from config.mistake import did_you_mean

        settings = read_settings(site, state)
        loaded = load_site(settings.site)
        known = [meter.id for meter in loaded.site.meters]
        for name in meters:
            if name not in known:
                raise failure(_("There is no meter {meter} in the site file.", meter=name) + did_you_mean(name, known))
        chosen = list(meters) or known
        sealed = is_running(settings.state) and (settings.state / LEDGER_FILE).exists()
        made = _sealed(settings, chosen) if sealed else _read(loaded, settings, chosen)
        title = _("newest sealed readings of the running agent") if sealed else _("read now; no agent runs")
        _show(made, title, every, count)


def _show(made: Round, title: str, every: int, count: int | None) -> None:
    from agent.findings import printable
    from agent.live_table import plain, table

    seen: set[str] = set()
    done = 0
    while True:
        rows = made()
        if sys.stdout.isatty():
            height = shutil.get_terminal_size().lines - 2
            head = _("{title}, every {every} s; Ctrl-C ends", title=title, every=every)
            click.echo(f"{_HOME_AND_CLEAR}{time.strftime('%H:%M:%S')}  {head}")
            click.echo(printable("\n".join(table(rows, height))))
        else:
            fresh = [line for line in plain(rows) if line not in seen]  # a line that stands there already tells nothing new
            seen = set(plain(rows))
            click.echo("\n".join(fresh), nl=bool(fresh))
        done += 1
        if count is not None and done >= count:
            return
        time.sleep(every)


def _sealed(settings: Any, chosen: list[str]) -> Round:
    from agent.ledger_file import LedgerReader
    from agent.live_table import sealed_rows
    from agent.state import LEDGER_FILE

    def round_of() -> list[Row]:
        with closing(LedgerReader(settings.state / LEDGER_FILE)) as reader:
            return [row for meter in chosen for row in sealed_rows(reader, meter, time.time_ns() // 1_000_000)]

    return round_of


def _read(loaded: Any, settings: Any, chosen: list[str]) -> Round:
    from agent.by_hand import together
    from agent.clock import Clock, stamp
    from agent.control import whole
    from agent.live_table import Row, rows_of
    from agent.polled import polled_meters
    from agent.reading import values_of
    from agent.ways import directly, way_to
    from drivers.errors import LinkDown, NoAnswer

    links = dict.fromkeys(meter.link for meter in loaded.site.meters if meter.id in chosen)

    async def link_of(name: str) -> list[Row]:
        rows: list[Row] = []
        mine = polled_meters(loaded, name)
        ids = [meter for meter in dict.fromkeys(each.id for each in mine) if meter in chosen]
        try:
            async with directly(way_to(loaded, name, settings.state, settings, Clock())) as ask:
                for meter in ids:
                    polled = whole([each for each in mine if each.id == meter])
                    exchanges = []
                    for requests in together(polled.driver.requests(polled.target, polled.points)):
                        exchanges += await ask(polled, requests)
                        if isinstance(exchanges[-1].error, NoAnswer):
                            break  # the rest would only meet the same silence
                    values = values_of(polled.driver, polled.target, polled.points, exchanges)
                    rows += rows_of(meter, [value.fields() for value in values], stamp(time.time_ns()), 0)
        except LinkDown as error:
            done = {row.meter for row in rows}
            rows += [Row(meter, "", str(error), "bad", "", -1) for meter in ids if meter not in done]
        return rows

    async def all_of() -> list[Row]:
        made = await asyncio.gather(*(link_of(name) for name in links))
        order = {meter: number for number, meter in enumerate(chosen)}
        return sorted((row for rows in made for row in rows), key=lambda row: order[row.meter])

    return lambda: asyncio.run(all_of())
