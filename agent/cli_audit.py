"""The auditor's verbs: verify, trace, completeness, export. They read a ledger or a bundle and never change either.

Exit codes: 0 nothing found; 1 something found; 2 it could not be checked, or nobody confirmed the key.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agent.terminal import failure, read_settings, site_options, told
from config.language import N_, _

if TYPE_CHECKING:
    from agent.report import Report

_LONGEST_NAME = 1024
_PATH = click.Path(path_type=Path)
_KEY_HELP = (
    "The key line of the enrolment form, or a file that holds it; on the gateway itself it is taken from the state directory."
)
_WITNESS_HELP = N_("The key line of a witness whose cosignatures count, or a file that holds it; may be given several times.")
_AUTHORITY_HELP = N_("A file with the certificate (PEM) of a timestamp authority; may be given several times.")
_OUTSIDE_HELP = "A file with a checkpoint that was kept outside; may be given several times."


def opened(path: Path | None, state: Path) -> Any:
    """The log in a bundle, a ledger file or a state directory; the gateway's own where no path is given."""
    from agent.source import open_log
    from agent.state import LEDGER_FILE

    return open_log(path or state / LEDGER_FILE)


def _key(given: str | None, path: Path | None, state: Path) -> str | None:
    """The key line: as given, or in the file given, else the gateway's own for the gateway's own ledger."""
    from agent.keys import PUBLIC_FILE

    if given:
        return _given(given)
    own = state / PUBLIC_FILE
    return _line_in(own.read_text("utf-8")) if path is None and own.is_file() else None


def _given(line: str) -> str:
    """A key line as given, or in the file given."""
    file = Path(line)
    return _line_in(file.read_text("utf-8", "replace")) if len(line) < _LONGEST_NAME and file.is_file() else line


def _line_in(text: str) -> str:
    """The key line in a file: a `.vkey` file holds nothing else, the enrolment form shows it among other lines."""
    found = re.search(r"meterseal/[^\s+]+\+[0-9a-f]{8}\+[A-Za-z0-9+/=]{40,}", text)
    return found[0] if found else text.strip()


def _outside(files: tuple[Path, ...]) -> list[str]:
    return [file.read_text("utf-8") for file in files]


def _checking(command: Any) -> Any:
    """Adds --key and --checkpoint to a command."""
    key = click.option("--key", help=_KEY_HELP)
    outside = click.option("--checkpoint", "outside", type=_PATH, multiple=True, help=_OUTSIDE_HELP)
    return key(outside(command))


@click.command(short_help="Verify a ledger or an exported bundle.")
@click.argument("path", type=_PATH, required=False)
@_checking
@click.option("--witness", "witnesses", multiple=True, help=_WITNESS_HELP)
@click.option("--tsa", "authorities", type=_PATH, multiple=True, help=_AUTHORITY_HELP)
@click.option("--fast", is_flag=True, help="Only the chain, the checkpoints and the last signature.")
@click.option("--jobs", type=click.IntRange(1, 64), default=1, help="Check signatures in so many processes; else in one.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.option("--page", type=_PATH, help="Write the report to this file (.html) too, as a page to print and to file.")
@site_options
def verify(
    path: Path | None,
    key: str | None,
    outside: tuple[Path, ...],
    witnesses: tuple[str, ...],
    authorities: tuple[Path, ...],
    fast: bool,
    jobs: int,
    as_json: bool,
    page: Path | None,
    site: Path | None,
    state: Path | None,
) -> None:
    """Verify a whole log: PATH is an exported bundle, a ledger file or a state directory; else this gateway's own."""
    from agent.ahead import Ahead
    from agent.verify import key_line
    from agent.verify import verify as check

    with told():
        directory = read_settings(site, state).state
        confirmed = _key(key, path, directory)
        known = [key_line(confirmed)[1]] if confirmed else []
        with closing(opened(path, directory)) as log, _bar(log.size()) as bar:
            read = Ahead(log, known, jobs if jobs > 1 and not fast else 0, bar.update)
            report = check(
                read,
                key=confirmed,
                outside=_outside(outside),
                witnesses=[_given(each) for each in witnesses],
                authorities=[each.read_bytes() for each in authorities],
                fast=fast,
                is_signed=read.is_signed,
            )
        if page:
            _write_page(page, report, path or directory, confirmed)
    click.echo(report.json() if as_json else report.text())
    raise click.exceptions.Exit(report.exit_code)


def _write_page(page: Path, report: Report, of: Path, key: str | None) -> None:
    """Writes the report's page, with what was verified: of a bundle also its SHA-256."""
    from agent import __version__
    from agent.report_page import Verified, report_page

    digest = ""
    if of.suffix == ".zip":
        with of.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    when = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    page.write_text(report_page(report, Verified(of.name, digest, key or "", when, __version__)), "utf-8")
    click.echo(_("Wrote {page}: print it from a browser.", page=page), err=True)


def _bar(records: int) -> Any:
    """A bar on standard error that shows how many records were read; nothing where that is no terminal."""
    hidden = not sys.stderr.isatty()
    return click.progressbar(length=records, label="Verifying", file=sys.stderr, hidden=hidden, item_show_func=None)


@click.command(short_help="Trace one value back to its meter and bytes.")
@click.argument("meter", required=False)
@click.argument("quantity", required=False)
@click.argument("time", required=False)
@click.option("--record", "n", type=click.IntRange(min=0), help="A record by its number, instead of METER and TIME.")
@click.option("--in", "path", type=_PATH, help="A bundle, a ledger file or one record as JSON; else this gateway's own ledger.")
@_checking
@site_options
def trace(
    meter: str | None,
    quantity: str | None,
    time: str | None,
    n: int | None,
    path: Path | None,
    key: str | None,
    outside: tuple[Path, ...],
    site: Path | None,
    state: Path | None,
) -> None:
    """Trace one value back to its meter and bytes.

    QUANTITY such as active_energy_import, else all; TIME such as 2026-03-01T08:15 (the site's time, or with an offset),
    else the newest reading.
    """
    from agent.trace import read_time, trace_record
    from agent.trace import trace as story_of
    from agent.trace_text import trace_text

    with told():
        settings = read_settings(site, state)
        zone = site_zone(settings.site)
        confirmed = _key(key, path, settings.state)
        if path and path.suffix == ".json":
            story = trace_record(path.read_bytes(), key=confirmed)
        elif meter is None and n is None:
            raise failure(_("Say which meter, such as EM-001, or --record and a number."))
        else:
            when = read_time(time, zone) if time else None
            with closing(opened(path, settings.state)) as log:
                story = story_of(log, meter=meter or "", when=when, n=n, key=confirmed, outside=_outside(outside))
        text = trace_text(story, quantity, zone)
    click.echo(text)
    raise click.exceptions.Exit(story.exit_code)


@click.command(short_help="How many polls were read, per meter and day.")
@click.argument("words", metavar="[METER]... [PATH]", nargs=-1)
@click.option(
    "--day", type=click.DateTime(["%Y-%m-%d"]), help="Up to this day, such as 2026-11-22; else the newest in the records."
)
@click.option("--days", type=click.IntRange(1, 4000), help="How many days; else 7, or the one of --day.")
@click.option("--zone", help="Whose midnight begins a day, such as Asia/Shanghai; else the site's, or UTC.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@site_options
def completeness(
    words: tuple[str, ...],
    day: datetime | None,
    days: int | None,
    zone: str | None,
    as_json: bool,
    site: Path | None,
    state: Path | None,
) -> None:
    """How many polls were due, read and missed, per meter and day, from the records alone.

    METERs, else all; PATH (with a / or a dot in it): a bundle, a ledger file or a state directory; else this gateway's own
    ledger. Exit code 1 if a meter's day is below 90 %. Whether the records are genuine, `meterseal verify` tells.
    """
    from agent.days import completeness as count
    from agent.days import last_day
    from agent.days_text import days_text

    with told():
        settings = read_settings(site, state)
        name, tz = named_zone(zone, settings.site)
        path, meters = path_among(words)
        with closing(opened(path, settings.state)) as log:
            newest = day.date() if day else last_day(log, tz)
            if newest is None:
                raise failure(_("{path}: there is no record in it", path=path or settings.state))
            first = newest - timedelta(days=(days or (1 if day else 7)) - 1)
            seen = count(log, tz, name, first, newest, meters)
        all_known(meters, seen.meters)
    click.echo(json.dumps(seen.fields(), indent=2) if as_json else days_text(seen, tz))
    raise click.exceptions.Exit(1 if seen.low else 0)


def path_among(words: tuple[str, ...]) -> tuple[Path | None, list[str]]:
    """The path and the meters among words; a meter's id has neither a slash nor a dot."""
    paths = [word for word in words if "/" in word or "." in word]
    if len(paths) > 1:
        raise failure(_("Give one file or directory, not {paths}: {paths_2}", paths=len(paths), paths_2=", ".join(paths)))
    return Path(paths[0]) if paths else None, [word for word in words if word not in paths]


def all_known(meters: list[str], known: list[str]) -> None:
    """Ends the command with exit code 2 where a meter is not among those known."""
    from config.mistake import did_you_mean

    for meter in meters:
        if meter not in known:
            path = _("\nIf it is a file or a directory, write ./{meter}", meter=meter) if Path(meter).exists() else ""
            raise failure(
                _(
                    "There is no record of a meter {meter}.{did_you_mean}{path}",
                    meter=meter,
                    did_you_mean=did_you_mean(meter, known),
                    path=path,
                )
            )


@click.command(short_help="Write a bundle for an auditor.")
@click.argument("file", type=_PATH)
@click.option("--until", type=click.IntRange(min=1), help="Only records before this number.")
@site_options
def export(file: Path, until: int | None, site: Path | None, state: Path | None) -> None:
    """Write records, keys, models and checkpoints to FILE (a .zip), to be verified without this gateway."""
    from agent.export import export as write

    with told():
        if file.suffix != ".zip":
            raise failure(_("{file}: call it something that ends in .zip", file=file))
        with closing(opened(None, read_settings(site, state).state)) as log:
            try:
                summary = write(log, file, until)
            except ValueError as error:
                raise failure(str(error)) from None
    counts = _(
        "{records} records, {checkpoints} checkpoints, {models} meter models",
        records=summary.records,
        checkpoints=summary.checkpoints,
        models=summary.models,
    )
    click.echo(_("{path}: {counts}, {size} bytes", path=summary.path, counts=counts, size=summary.size))
    click.echo(f"SHA-256 {summary.sha256}")
    click.echo(_('To verify: meterseal verify {name} --key "the key line of the enrolment form"', name=summary.path.name))


def site_zone(site: Path) -> tzinfo:
    """The site's time zone; UTC where there is no site file at hand."""
    return named_zone(None, site)[1]


def named_zone(given: str | None, site: Path) -> tuple[str, tzinfo]:
    """A zone's name and the zone: the one given, else the site's; UTC where there is no site file at hand."""
    from config.check import load_site
    from config.zone import zone_of

    if given is None and not site.is_file():
        return "UTC", UTC
    name = given or load_site(site).site.timezone
    try:
        return name, zone_of(name)
    except KeyError as error:
        raise failure(f"--zone: {error.args[0]}") from None
