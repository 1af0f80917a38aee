"""The verb `salvage`: saving what can be read out of a damaged ledger by hand. The agent does it by itself when it begins."""

from __future__ import annotations

from pathlib import Path

import click

from agent.terminal import site_options, told
from config.cause_words import cause_words
from config.language import _


@click.command(short_help="Save what can be read out of a damaged ledger (the agent must be stopped).")
@click.option("--force", is_flag=True, help="Also where the file can be read: records that are not what was sealed stay aside.")
@site_options
def salvage(force: bool, site: Path | None, state: Path | None) -> None:
    """Save what can be read out of a damaged ledger into a new one; the damaged file is kept. The agent must be stopped.

    The agent does this by itself when it begins. What was lost becomes a sealed record at its next start.
    """
    with told():
        import time

        from agent import damage
        from agent.state import LEDGER_FILE, only_agent
        from config.settings import load_settings

        path = load_settings(site=site, state=state).state / LEDGER_FILE
        with only_agent(path.parent):
            saved = damage.begin(path, time.time_ns())
            if saved is None and force:
                saved = damage.forced(path, "damaged_pages", time.time_ns(), thorough=True)
    if saved is None:
        click.echo(_("{path} can be read to its end; nothing was done. `meterseal verify` looks at every record.", path=path))
        return
    click.echo(
        _(
            "{saved} records were saved, {lost} are lost ({cause}).",
            saved=saved.saved,
            lost=saved.lost,
            cause=cause_words(saved.cause),
        )
    )
    for first, end in saved.ranges[:20]:
        click.echo(_("  lost: record {first}", first=first) + (f" to {end - 1}" if end - first > 1 else ""))
    if saved.aside:
        click.echo(
            _("The damaged file lies in {aside}: copy it to another disk before you do anything with it.", aside=saved.aside)
        )
    click.echo(_("Start the agent: it goes on sealing, and seals what was lost as a record of its own."))
