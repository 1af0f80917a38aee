"""Where what a search found is written: a new site file, or one that it is added to. Nothing is destroyed, nothing is lost.

What cannot be written is shown, for a search takes a quarter of an hour.
"""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import click

from agent.scan import Found
from agent.scan_write import Place, added, new_site, place_in
from agent.terminal import failure
from config.check import load_site
from config.language import _
from config.mistake import ConfigError
from config.model import MeterModel
from config.text import read_text


def check_target(target: Path) -> None:
    """Ends the command where a file cannot be written, or cannot be added to because it is none of YAML."""
    if target.exists():
        read_text(target.read_bytes(), str(target))
    if not os.access(target.parent, os.W_OK):
        folder = target.parent.absolute()
        raise failure(
            _("{target} cannot be written: is there a folder {folder}, and may you write there?", target=target, folder=folder)
        )


def write(target: Path | None, place: Place, found: Found, known: Mapping[str, MeterModel]) -> None:
    """Writes what was found into a new site file, or adds it to one; without a target it goes to the terminal."""
    gateway = f"my-plant/{_host()}"
    if target is None:
        click.echo(new_site(gateway, place, found.meters, known), nl=False)
        return
    with _alone_at(target):
        _write_file(target, gateway, place, found, known)


@contextmanager
def _alone_at(target: Path) -> Iterator[None]:
    """Two lines may be searched at once by two programs that write one file: the second waits until the first has written."""
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _write_file(target: Path, gateway: str, place: Place, found: Found, known: Mapping[str, MeterModel]) -> None:
    if not target.exists():
        checked_in_place(new_site(gateway, place, found.meters, known), target)
        click.echo(_("Wrote {target}. Change its first lines, then: meterseal check --site {target}", target=target), err=True)
        return
    data = target.read_bytes()
    try:
        document = read_text(data, str(target))
        text, count = added(data.decode("utf-8"), document, place_in(document, place), found.meters, known)
    except ValueError as error:
        click.echo(new_site(gateway, place, found.meters, known), nl=False)
        raise failure(_("{target} was left as it is: {error}. The lines stand above.", target=target, error=error)) from None
    if not count:
        click.echo(_("{target} has all of them already and was left as it is.", target=target), err=True)
        return
    checked_in_place(text, target)
    click.echo(
        _(
            "Added {count} meters to {target}; nothing else in it was changed. Now: meterseal check --site {target}",
            count=count,
            target=target,
        ),
        err=True,
    )


def checked_in_place(text: str, target: Path) -> None:
    """Puts a text in a file's place once it is a site file without mistakes; else it is shown, and the file stays as it was."""
    draft = target.with_name(f"{target.name}.{os.getpid()}")
    with draft.open("x", encoding="utf-8") as file:
        file.write(text)
    try:
        load_site(draft)
    except ConfigError:
        draft.unlink()
        click.echo(text, nl=False)
        raise
    if target.exists():
        draft.chmod(target.stat().st_mode & 0o777)
    draft.replace(target)


def _host() -> str:
    name = "".join(each if each.isascii() and each.isalnum() else "-" for each in socket.gethostname().lower()).strip("-")
    return name[:40].strip("-") or "gateway-1"
