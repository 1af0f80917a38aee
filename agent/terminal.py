"""What all verbs of the command line share: their options, and how errors are told. Imports are late on purpose:
a verb loads only what it needs, `--help` nothing at all.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from config.language import _
from config.system_words import reason_of


@contextmanager
def told() -> Iterator[None]:
    """Turns the errors a person can do something about into one message and exit code 2."""
    from agent.faults import code_of_error
    from agent.findings import CannotCheck
    from agent.keys import KeyFileError
    from agent.ledger_file import LedgerError
    from agent.state import AgentRunningError
    from config.mistake import ConfigError
    from drivers.errors import LinkDown

    try:
        yield
    except ConfigError as error:
        raise failure(str(error), error.code) from None
    except CannotCheck as error:
        raise failure(str(error), "MS-404") from None
    except (KeyFileError, LedgerError) as error:
        raise failure(f"{error}\n{error.hint}".rstrip(), "MS-701" if isinstance(error, KeyFileError) else error.code) from None
    except LinkDown as error:
        raise failure(f"{error}\n{error.hint}".rstrip(), code_of_error(error)) from None
    except AgentRunningError as error:
        raise failure(
            _("{error}\nStop it first (systemctl stop meterseal), or take another --state.", error=error), "MS-903"
        ) from None
    except OSError as error:
        what = error.filename or _("the system")
        raise failure(_("{what}: the system says: {reason}", what=what, reason=reason_of(error)), "MS-905") from None


def failure(message: str, code: str = "MS-901") -> click.exceptions.Exit:
    """Prints a message and its fault's code to standard error; raise what it returns to end with exit code 2."""
    from agent.faults import with_code

    click.echo(with_code(message, code), err=True)
    return click.exceptions.Exit(2)


def read_settings(site: Path | None, state: Path | None) -> Any:
    """The settings in force; what the command line gives comes before the environment."""
    from config.settings import load_settings

    return load_settings(site=site, state=state)


def site_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --site and --state to a command."""
    site = click.option(
        "--site",
        type=click.Path(path_type=Path),
        help="The site file; else METERSEAL_SITE, ./site.yaml, /etc/meterseal/site.yaml.",
    )
    state = click.option(
        "--state", type=click.Path(path_type=Path), help="The state directory; else METERSEAL_STATE, /var/lib/meterseal."
    )
    return site(state(command))


async def until_stopped(work: Coroutine[Any, Any, None]) -> None:
    """Works until SIGTERM or SIGINT."""
    import asyncio
    import signal

    task = asyncio.create_task(work)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        return
