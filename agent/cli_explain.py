"""The verb `explain`: the frames of a record, byte by byte. It reads a ledger or a bundle and changes neither."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import click

from agent.cli_audit import opened, site_zone
from agent.terminal import failure, read_settings, site_options, told
from config.language import _

_PATH = click.Path(path_type=Path)


@click.command(short_help="Show a record's frames byte by byte, in words.")
@click.argument("what", metavar="RECORD|METER")
@click.argument("quantity", required=False)
@click.argument("time", required=False)
@click.option("--in", "path", type=_PATH, help="A bundle, a ledger file or one record as JSON; else this gateway's own ledger.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@site_options
def explain(
    what: str,
    quantity: str | None,
    time: str | None,
    path: Path | None,
    as_json: bool,
    site: Path | None,
    state: Path | None,
) -> None:
    """Show a record's frames byte by byte: address, function, length, value, checksum, and what is wrong with them.

    RECORD is its number. With METER QUANTITY TIME, as for `trace`, it is the reading that answers for that time, and only the
    exchange that holds the quantity is shown; without a time the newest one. Exit code 0: shown; whether the record is genuine,
    `meterseal verify` tells.
    """
    from agent.explain import explain as explained
    from agent.explain import record_at
    from agent.explain_text import explain_fields, explain_text
    from agent.trace import due_reading, read_time

    with told():
        settings = read_settings(site, state)
        zone = site_zone(settings.site)
        if path and path.suffix == ".json":
            found = explained(path.read_bytes())
        else:
            with closing(opened(path, settings.state)) as log:
                numbered = what.isdecimal() and quantity is None
                n = int(what) if numbered else due_reading(log, what, read_time(time, zone) if time else None)
                found = explained(record_at(log, n), log)
        if quantity:
            found = found.only(quantity)
            if not found.frames:
                raise failure(
                    _(
                        "Record {n}: no good answer in it holds {quantity}. Show all: meterseal explain {what}",
                        n=found.fields["n"],
                        quantity=quantity,
                        what=what,
                    )
                )
    if as_json:
        click.echo(json.dumps(explain_fields(found), indent=2))
    else:
        click.echo(explain_text(found, zone, _paint), nl=False)


def _paint(text: str, colour: str) -> str:
    """Coloured text; what is no terminal gets it without."""
    if not colour:
        return text
    return click.style(text, bold=True) if colour == "bold" else click.style(text, fg=colour)
