"""The verb `consumption`: what meters consumed, recomputed from the log. It reads a ledger or a bundle and changes neither."""

from __future__ import annotations

import json
from contextlib import closing
from datetime import date, datetime
from pathlib import Path

import click

from agent.cli_audit import all_known, named_zone, opened, path_among
from agent.terminal import failure, read_settings, site_options, told
from config.language import _

_DATE = click.DateTime(["%Y-%m-%d", "%Y-%m", "%Y"])


@click.command(short_help="What meters consumed, per day, month or year.")
@click.argument("words", metavar="[METER]... [PATH]", nargs=-1)
@click.option("--from", "begin", type=_DATE, help="The first day, such as 2026-11-01; else of the month, or of the records.")
@click.option("--to", "end", type=_DATE, help="The last day; else the newest one in the records.")
@click.option("--per", type=click.Choice(["day", "month", "year"]), default="day", help="How long a period is; else a day.")
@click.option("--zone", help="Whose midnight begins a day, such as Asia/Shanghai; else the site's, or UTC.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@site_options
def consumption(
    words: tuple[str, ...],
    begin: datetime | None,
    end: datetime | None,
    per: str,
    zone: str | None,
    as_json: bool,
    site: Path | None,
    state: Path | None,
) -> None:
    """What METERs (else all) consumed per day, month or year, recomputed from the readings, corrections applied.

    PATH (with a / or a dot in it): a bundle, a ledger file or a state directory; else this gateway's own ledger. Exit code 1 if a
    period that is over does not begin or end with midnight's own reading. `meterseal verify` tells whether records are genuine.
    """
    from agent.consumption import consumption as summed
    from agent.consumption import first_day, meters_in
    from agent.consumption_text import consumption_text
    from agent.days import last_day

    with told():
        settings = read_settings(site, state)
        name, tz = named_zone(zone, settings.site)
        path, meters = path_among(words)
        with closing(opened(path, settings.state)) as log:
            newest = last_day(log, tz)
            if newest is None:
                raise failure(_("{path}: there is no record in it", path=path or settings.state))
            known = meters_in(log)
            all_known(meters, known)
            last = end.date() if end else newest
            first = begin.date() if begin else max(first_day(log, tz), last.replace(day=1) if per == "day" else date.min)
            if last < first:
                raise failure(_("--to {last} lies before --from {first}", last=last, first=first))
            if (last - first).days > 40_000:
                raise failure(_("That is more than a hundred years: give --from and --to."))
            periods = summed(log, meters or known, tz, first, last, per)  # type: ignore[arg-type]  # click gives one of the choices
    told_as = {"consumption": 1, "zone": name, "periods": [period.fields() for period in periods]}
    click.echo(json.dumps(told_as, indent=2) if as_json else consumption_text(periods, tz, name))
    raise click.exceptions.Exit(0 if all(period.complete or not period.over for period in periods) else 1)
