"""The verb `fault`: what a code such as MS-204 means, what causes it and how to find out."""

from __future__ import annotations

import click

from agent.terminal import failure
from config.language import _


@click.command(short_help="Explain a fault code, or list them all.")
@click.argument("code", required=False)
def fault(code: str | None) -> None:
    """Explain a fault CODE, such as MS-204: what is seen, what causes it, what to measure. Without CODE, list them all."""
    from agent.fault_text import fault_list, fault_text
    from agent.faults import FAULTS, fault_of

    if code is None:
        click.echo(fault_list(FAULTS))
        return
    found = fault_of(code)
    if found is None:
        raise failure(_("There is no fault code {code}. See them all: meterseal fault", code=code[:40]))
    click.echo(fault_text(found))
