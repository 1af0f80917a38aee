"""The verbs by which a person's word is sealed. Each adds one record, says its number, and changes nothing that stands there.

Exit codes: 0 sealed; 2 it was not, and why.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from agent.terminal import failure, read_settings, site_options, told
from config.language import _

who_option = click.option("--who", required=True, help="Who says so: your name as it stands on the roster.")
reason_option = click.option("--reason", required=True, help="Why, in a sentence an auditor understands.")


def seal_or_fail(kind: str, fields: Mapping[str, Any], site: Path | None, state: Path | None) -> dict[str, Any]:
    """Has a person's record sealed; its number, time and leaf hash. Ends the command with exit code 2 where it is refused."""
    from agent.by_person import NotSealed
    from agent.by_person_seal import seal_by_person
    from agent.control import ControlError
    from config.check import load_site

    with told():
        settings = read_settings(site, state)
        gateway = load_site(settings.site).site.gateway
        try:
            return seal_by_person(settings.state, gateway, kind, fields)
        except NotSealed as error:
            raise failure(str(error), error.code) from None
        except ControlError as error:
            raise failure(str(error), "MS-904") from None


def utc(text: str, site: Path | None, state: Path | None) -> str:
    """A time as a person writes it, in the site's zone unless it has an offset, as records have it."""
    from agent.trace import read_time
    from config.check import load_site
    from config.zone import zone_of

    with told():
        settings = read_settings(site, state)
        moment: datetime = read_time(text, zone_of(load_site(settings.site).site.timezone)).astimezone(UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


@click.command(short_help="Correct a wrong ratio or time, without editing anything.")
@click.argument("meter")
@click.option("--from", "begin", required=True, help="From which reading on it was wrong, such as 2026-03-01T00:00.")
@click.option("--to", "end", required=True, help="From which reading on it is right again.")
@click.option("--ct", nargs=2, metavar="OLD NEW", help="The current transformer's ratio that was taken, and the right one.")
@click.option("--vt", nargs=2, metavar="OLD NEW", help="The same of the voltage transformer.")
@click.option("--time", nargs=2, metavar="SHOWN TRUE", help="A time that was shown, and what it truly was.")
@reason_option
@who_option
@site_options
def correct(
    meter: str,
    begin: str,
    end: str,
    ct: tuple[str, str] | None,
    vt: tuple[str, str] | None,
    time: tuple[str, str] | None,
    reason: str,
    who: str,
    site: Path | None,
    state: Path | None,
) -> None:
    """Seal a correction of METER's readings from one time to another: what was read stays, what is computed from it is put right.

    `meterseal consumption` applies it and says so. Exactly one of --ct, --vt and --time.
    """
    given = [(name, pair) for name, pair in (("ct", ct), ("vt", vt), ("time", time)) if pair]
    if len(given) != 1:
        raise failure(_("Say what was wrong: one of --ct OLD NEW, --vt OLD NEW, --time SHOWN TRUE."))
    ((what, (old, new)),) = given
    if what == "time":
        old, new = utc(old, site, state), utc(new, site, state)
    span = {"from": utc(begin, site, state), "to": utc(end, site, state)}
    fields = {"meter": {"id": meter}, **span, "what": what, "old": old, "new": new, "reason": reason, "who": who}
    sealed = seal_or_fail("correction", fields, site, state)
    click.echo(_("Sealed as record {n} at {time}. Nothing that was read is changed by it.", n=sealed["n"], time=sealed["time"]))
    click.echo(_("See what it does: meterseal consumption {meter} --per month", meter=meter))
