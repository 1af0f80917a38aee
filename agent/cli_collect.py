"""The verbs of a collector: the program on another machine that takes gateways' records and gives receipts."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from secrets import token_hex

import click

from agent.terminal import failure, told, until_stopped
from config.language import _

_PATH = click.Path(path_type=Path)
_state = click.option("--state", type=_PATH, required=True, help="The collector's own directory: its key, copies and alarms.")


@click.group(short_help="Take gateways' records on another machine, and give receipts.")
def collect() -> None:
    """Take the records of gateways on another machine: check each, store it byte for byte, and give receipts for it."""


@collect.command(name="init", short_help="Make a collector's key.")
@click.argument("name")
@_state
def make(name: str, state: Path) -> None:
    """Make the key of a collector called NAME, such as plant-it/collector, and print its key line."""
    from agent.collect import KEY

    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9./-]{0,99}", name):
        raise failure(_("{name!r} is not a collector's name; write letters, digits, dots, dashes and slashes.", name=name[:100]))
    with told():
        line = KEY.make(state, name)
    click.echo(line)
    click.echo(_("Give this line to the gateways: `collector:` under `mqtt:` in site.yaml."), err=True)


@collect.command(short_help="Collect until stopped.")
@click.argument("file", type=_PATH)
@_state
def run(file: Path, state: Path) -> None:
    """Collect the records of the gateways in FILE until stopped (docs/collect.md shows one)."""
    import asyncio

    from agent.clock import Clock
    from agent.collect import CollectorAtWork
    from agent.journal import configure, journal
    from agent.state import only_agent
    from config.beside import load_declared
    from config.collect import CollectFile
    from config.settings import load_settings, mqtt_password

    with told():
        settings, declared = load_settings(), load_declared(CollectFile, file)
        store_of = None
        if declared.postgres:
            _only_with_psycopg()
            from agent.collect_postgres import stores

            store_of = stores(declared.postgres)
        elif declared.share:
            raise failure(_("`share:` is for several collectors on one database: write `postgres:` too, or take it out."))
        configure(settings.log_level)
        secret = mqtt_password(settings, declared.mqtt.name)
        state.mkdir(parents=True, exist_ok=True)
        with only_agent(state):
            password, client = secret.get_secret_value() if secret else None, token_hex(4) if declared.share else ""
            at_work = CollectorAtWork(declared, state, Clock(), password, journal(), store_of, client)
            asyncio.run(until_stopped(at_work.run()))


@collect.command(short_help="How far each gateway's copy has got, and alarms.")
@click.argument("file", type=_PATH)
@_state
def status(file: Path, state: Path) -> None:
    """Show how many records of each gateway in FILE are stored and checked, and which alarms stand; exit code 1 with an alarm."""
    from agent.collect import folder_of, known_gateways
    from agent.outside import Alarm
    from agent.state import is_running
    from config.beside import load_declared
    from config.collect import CollectFile

    alarms = False
    with told():
        declared = load_declared(CollectFile, file)
        for gateway in known_gateways(declared.gateways):
            size, sealed = _in_database(declared.postgres, gateway) if declared.postgres else _in_copy(folder_of(state, gateway))
            words = _("all up to record {n}, sealed {sealed}", n=size - 1, sealed=sealed) if size else _("nothing yet")
            alarm = Alarm(folder_of(state, gateway).with_suffix(".alarm"))
            alarms = alarms or bool(alarm.text)
            click.echo(f"{gateway}: {words}" + (f"\n  {alarm.text}: {alarm.path}" if alarm.text else ""))
        if not is_running(state):
            click.echo(_("No collector runs on {state}: nothing new is stored. Start it.", state=state))
    raise click.exceptions.Exit(1 if alarms else 0)


def _in_copy(folder: Path) -> tuple[int, str]:
    """How many records a gateway's copy holds, and when the newest was sealed. Raises LedgerError."""
    from contextlib import closing

    from agent.ledger_file import LedgerReader
    from agent.state import LEDGER_FILE

    if not (folder / LEDGER_FILE).exists():
        return 0, ""
    with closing(LedgerReader(folder / LEDGER_FILE)) as reader:
        size = reader.tree()[0]
        return size, _sealed(reader.payloads(size - 1, size)) if size else ""


def _sealed(records: Iterable[tuple[int, bytes]]) -> str:
    """The time of the last of some records."""
    from agent.record import parse

    return "".join(str(parse(payload)["time"]) for _unused, payload in records)


def _in_database(reached: str, gateway: str) -> tuple[int, str]:
    """How many of a gateway's records are settled in a database, and when the newest was sealed."""
    _only_with_psycopg()
    from agent.collect_copy import StoreError
    from agent.collect_postgres import Postgres

    store = Postgres(reached, gateway)
    try:
        with store.transaction():
            size = store.edge()[0].size
            return size, _sealed(store.settled(size - 1, size)) if size else ""
    except StoreError as error:
        raise failure(f"{error}\n{error.hint}", "MS-825") from None
    finally:
        store.close()


def _only_with_psycopg() -> None:
    if find_spec("psycopg") is None:
        raise failure(_("For `postgres:` the extra `postgres` must be installed: pip install meterseal[postgres]."))
