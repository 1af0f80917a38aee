"""The verbs of a witness: init makes its key, run watches gateways. A witness runs on another machine than the gateway."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import click

from agent.terminal import told, until_stopped
from config.language import _

_PATH = click.Path(path_type=Path)
_state = click.option("--state", type=_PATH, required=True, help="The witness's own directory: its key and what it has seen.")


@click.group(short_help="Cosign the checkpoints of gateways, on another machine than theirs.")
def witness() -> None:
    """Watch gateways from outside: cosign their checkpoints, and refuse whatever contradicts what was seen before."""


@witness.command(name="init", short_help="Make a witness's key.")
@click.argument("name")
@_state
def make(name: str, state: Path) -> None:
    """Make the key of a witness called NAME, such as plant-it or assessor.example/w1, and print its key line."""
    from agent.terminal import failure
    from agent.witness_state import make_witness

    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9./-]{0,99}", name):
        raise failure(_("{name!r} is not a witness's name; write letters, digits, dots, dashes and slashes.", name=name[:100]))
    with told():
        line = make_witness(state, name)
    click.echo(line)
    click.echo(_("Give this line to the gateways (`witnesses:` in site.yaml) and to auditors (verify --witness)."), err=True)


@witness.command(short_help="Watch gateways until stopped.")
@click.argument("file", type=_PATH)
@_state
def run(file: Path, state: Path) -> None:
    """Watch the gateways of a witness FILE until stopped (docs/witness.md shows one)."""
    from agent.clock import Clock
    from agent.journal import configure, journal
    from agent.state import only_agent
    from agent.witness import WitnessAtWork
    from config.beside import load_declared
    from config.settings import load_settings, mqtt_password
    from config.witness import WitnessFile

    with told():
        settings, declared = load_settings(), load_declared(WitnessFile, file)
        configure(settings.log_level)
        secret = mqtt_password(settings, declared.mqtt.name)
        with only_agent(state):
            at_work = WitnessAtWork(declared, state, Clock(), secret.get_secret_value() if secret else None, journal())
            asyncio.run(until_stopped(at_work.run()))
