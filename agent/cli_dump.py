"""The verbs of a support bundle: `dump` writes it, `replay` runs its frames through the drivers again."""

from __future__ import annotations

import zipfile
from contextlib import closing
from pathlib import Path
from typing import Any

import click

from agent.terminal import failure, read_settings, site_options, told
from config.language import _

_LARGEST = 64 * 2**20


@click.command(short_help="Write a support bundle: versions, configuration, last frames. Nothing secret.")
@click.argument("bundle", type=click.Path(path_type=Path, dir_okay=False))
@site_options
def dump(bundle: Path, site: Path | None, state: Path | None) -> None:
    """Write a support BUNDLE (.zip) for somebody who is not here: versions, the site file without user names, what the doctor and
    the status say, and each meter's last frames. No key, password or recovery code is in it.
    """
    with told():
        from agent.dump import members
        from agent.ledger_file import LedgerReader
        from agent.state import LEDGER_FILE

        settings = read_settings(site, state)
        path = settings.state / LEDGER_FILE
        texts = {"doctor.txt": _doctor(settings), "status.txt": _status(settings)}
        if path.exists():
            with closing(LedgerReader(path)) as reader:
                made = members(settings.site, reader, texts, _live(settings))
        else:
            made = members(settings.site, None, texts, None)
        try:
            with zipfile.ZipFile(bundle, "x", zipfile.ZIP_DEFLATED) as file:
                for name, content in made.items():
                    file.writestr(name, content)
        except FileExistsError:
            raise failure(_("There is a file {name} already; choose a new name.", name=bundle)) from None
    names = ", ".join(sorted(name for name in made if not name.startswith("models/")))
    count = sum(name.startswith("models/") for name in made)
    click.echo(_("Wrote {bundle}: {names}, and meter models: {count}.", bundle=bundle, names=names, count=count))
    click.echo(
        _("It holds names and addresses of meters and hosts, their last values, nothing secret. Look into it before you send it.")
    )


def _doctor(settings: Any) -> str:
    from agent.cli_doctor import findings_of
    from agent.doctor import report

    lines: list[str] = []
    report(list(findings_of(settings, offline=True)), lines.append)
    return "\n".join(lines) + "\n"


def _status(settings: Any) -> str:
    import time

    from agent.ledger_file import LedgerError, LedgerReader
    from agent.state import LEDGER_FILE
    from agent.status import status_of
    from agent.status_text import as_text
    from config.check import load_site
    from config.mistake import ConfigError

    try:
        with closing(LedgerReader(settings.state / LEDGER_FILE)) as reader:
            return as_text(status_of(reader, load_site(settings.site), settings.state, time.time_ns(), _live(settings))) + "\n"
    except (LedgerError, ConfigError) as error:
        return f"{error}\n"


def _live(settings: Any) -> dict[str, Any] | None:
    from agent.control import ControlError, ask

    try:
        return ask(settings.state, {"do": "live"})
    except ControlError:
        return None


@click.command(short_help="Run a support bundle's frames through the drivers again.")
@click.argument("bundle", type=click.Path(path_type=Path, exists=True, dir_okay=False))
def replay(bundle: Path) -> None:
    """Run the frames of a support BUNDLE through this program's drivers, and tell where results are others than those sealed.

    Exit code 1 if something differs.
    """
    from agent.replay import Replayed
    from agent.replay import replay as run_again
    from config.library import load_model, shipped_models

    lines, models = _opened(bundle)
    shipped = shipped_models()
    done = Replayed()
    differences = list(run_again(lines, models, lambda name: load_model(shipped[name]) if name in shipped else None, done))
    for each in differences:
        click.echo(f"{_('record')} {each.n}  {each.meter}  {each.what}")
        click.echo(f"    {_('then')}  {each.then}\n    {_('now')}   {each.now}")
    for why in done.skipped:
        click.echo(_("left out: {why}", why=why), err=True)
    click.echo(
        _(
            "{records} records with {frames} frames and {values} values run again: {differences} differ.",
            records=done.records,
            frames=done.frames,
            values=done.values,
            differences=len(differences),
        )
    )
    if differences or not done.records:
        raise click.exceptions.Exit(1)


def _opened(bundle: Path) -> tuple[list[bytes], dict[str, bytes]]:
    from agent.dump import RECORDS

    try:
        with zipfile.ZipFile(bundle) as file:
            if sum(each.file_size for each in file.infolist()) > _LARGEST:
                raise failure(_("{bundle} is larger than any support bundle: it is none.", bundle=bundle), "MS-404")
            if RECORDS not in file.namelist():
                raise failure(
                    _("{bundle} has no frames in it: it was written where nothing had been read yet, or is none.", bundle=bundle),
                    "MS-404",
                )
            models = {Path(name).stem: file.read(name) for name in file.namelist() if name.startswith("models/")}
            return file.read(RECORDS).splitlines(), models
    except (zipfile.BadZipFile, OSError, EOFError, RuntimeError):
        raise failure(
            _("{bundle} is no support bundle, or is damaged. Ask for it again: `meterseal dump support.zip`.", bundle=bundle),
            "MS-404",
        ) from None
