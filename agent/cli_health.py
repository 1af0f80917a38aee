"""`meterseal status --health`: one line and an exit code, for containers, monitoring and whoever has ten seconds.

0: healthy. 1: something ails the agent; the line begins with its name (docs/install.md lists them) and says what to do.
The running agent is asked; where none runs or answers, what stands in the way of its next start is looked for.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from config.language import _

_PATIENCE_S = 8.0  # a container's health check waits ten seconds


def health(settings: Any) -> int:
    """Prints the one line; the exit code. `settings`: where the site file and the state directory are."""
    from agent.condition import CODES
    from agent.faults import with_code

    name, words = _judged(settings.site, settings.state)
    click.echo(with_code(f"{name}: {words}", CODES.get(name, "")) if name else words)
    return 1 if name else 0


def metrics(settings: Any) -> int:
    """Prints the running agent's metrics; the exit code: 1 where none answers."""
    from agent.control import ControlError, ask

    try:
        answer = ask(settings.state, {"do": "condition"}, _PATIENCE_S)
    except ControlError as error:
        click.echo(str(error), err=True)
        return 1
    if answer is None:
        click.echo(_("no agent runs on {state}: it has no metrics.", state=settings.state), err=True)
        return 1
    click.echo(answer["metrics"], nl=False)
    return 0


def _judged(site: Path, state: Path) -> tuple[str, str]:
    """The name of the worst ailment, empty if there is none, and the line about all of them."""
    from agent.control import ControlError, ask
    from agent.state import is_running

    if not is_running(state):
        return _not_running(site, state)
    try:
        answer = ask(state, {"do": "condition"}, _PATIENCE_S)
    except ControlError as error:
        return "not_answering", _("{error}. Restart it (systemctl restart meterseal) if it stays so for a minute.", error=error)
    if answer is None:
        return "not_answering", _("an agent holds the state directory and is just starting or stopping. Ask again in a minute.")
    found = [each["name"] for each in answer["ailments"]]
    return (found[0] if found else ""), answer["words"]


def _not_running(site: Path, state: Path) -> tuple[str, str]:
    from agent.condition import key_trouble
    from config.check import load_site
    from config.mistake import ConfigError

    try:
        load_site(site)
    except ConfigError as error:
        return "site_mistake", _("no agent runs, and none can start: {split}", split="; ".join(str(error).split(chr(10))))
    if trouble := key_trouble(state):
        return "key_unreadable", _("no agent runs, and none can start: {trouble}. {hint}", trouble=trouble, hint=trouble.hint)
    return "not_running", _("no agent runs on {state}. Start it: systemctl start meterseal", state=state)
