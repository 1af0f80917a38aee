"""The demo: a simulated plant, a real broker and the real agent; then trace, verify, and a forgery that is found.

Everything happens in the folder `demo` and through the same commands a user types. Whatever ends it, also Ctrl-C,
ends the broker and the agent with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any

import click

from agent.demo_broker import demo_broker, end
from agent.ledger_file import LedgerError, LedgerReader
from agent.record import parse
from agent.simulate import Simulator, load_plant, site_for
from agent.state import LEDGER_FILE
from agent.status import Status, status_of
from agent.status_text import as_text, delivery_text, notes
from config.check import SiteFile, load_models, load_site
from config.language import _
from config.protocols import PROTOCOLS

FOLDER = Path("demo")
_MARK = "made-by-meterseal-demo"
_WATCHED_SECONDS = 30
_READY_SECONDS = 120
_TRACED = "active_energy_import"
_GATEWAY = "demo-plant/gw1"


async def show() -> int:
    """Runs the whole demo; the exit code: 0 if everything was as it should be."""
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, lambda: task and task.cancel())
    try:
        return await _show(_fresh_folder())
    except asyncio.CancelledError:
        click.echo(_("\nStopped. Nothing is left running."))
        return 130


def _fresh_folder() -> Path:
    """An empty demo folder; only one that a demo made is ever cleared."""
    folder = FOLDER.absolute()
    if folder.exists() and any(folder.iterdir()) and not (folder / _MARK).exists():
        raise OSError(None, _("is not empty and was not made by the demo: move it away"), str(folder))
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / _MARK).touch()
    return folder


async def _show(folder: Path) -> int:
    plant_file = folder / "plant.yaml"
    plant_file.write_bytes((files("config") / "plant.example.yaml").read_bytes())
    plant = load_plant(plant_file)
    async with demo_broker(folder) as (broker, port), Simulator(plant, load_models(()), folder) as simulator:
        spoken = dict.fromkeys(_title(simulator.meter(meter.id).model.protocol) for meter in plant.meters)
        _step(
            _(
                "{meters} simulated meters are on their lines and speak {listed}; the broker is {broker}.",
                meters=len(plant.meters),
                listed=_listed(spoken),
                broker=broker,
            )
        )
        site_file = folder / "site.yaml"
        mqtt = f"mqtt:\n  - host: 127.0.0.1\n    port: {port}\n"
        site_file.write_text(site_for(plant, simulator, gateway=_GATEWAY) + "commit_seconds: 0.2\n" + mqtt, "utf-8")
        await _meterseal(folder, "check")
        await _meterseal(folder, "init", quiet=True)
        site = load_site(site_file)
        async with _agent(folder):
            await _watch(folder, site)
        newest = _last_reading(folder, next(m.id for m in plant.meters if _TRACED in str(m.start)))
    return await _audit(folder, newest, site)


async def _audit(folder: Path, newest: tuple[str, str], site: SiteFile) -> int:
    """What an auditor does: trace one value, verify everything, and find a forgery."""
    _step(_("One value, traced back to its meter and to the bytes it came from:"))
    traced = await _meterseal(folder, "trace", newest[0], _TRACED, newest[1])
    _step(_("The whole ledger, verified:"))
    clean = await _meterseal(folder, "verify")
    forged, changed = _forge(folder)
    _step(_("A copy of the ledger in which one digit of record {changed} was changed:", changed=changed))
    found = await _meterseal(folder, "verify", str(forged), "--key", (folder / "state" / "key.vkey").read_text("utf-8").strip())
    with contextlib.closing(LedgerReader(folder / "state" / LEDGER_FILE)) as reader:
        records, unread = reader.size(), _unread(reader, site)
    click.echo(f"\nShown: {_meters_read(site, unread)};")
    click.echo(_("       {records} records sealed and delivered, one value traced, the ledger verified,", records=records))
    click.echo(
        _(
            "       and the forgery in record {changed} {found}.",
            changed=changed,
            found=_("found and named") if found == 1 else _("NOT FOUND"),
        )
    )
    click.echo(_("Files: {folder} (site.yaml, plant.yaml, state/ with ledger and key, agent.log, forged.sqlite)", folder=folder))
    return 0 if (traced, clean, found, unread) == (0, 0, 1, []) else 1


def _meters_read(site: SiteFile, unread: list[str]) -> str:
    """How many meters were read, by protocol, and which were not."""
    read = Counter(_title(site.model_of(meter).declared.protocol) for meter in site.site.meters if meter.id not in unread)
    text = _(
        "{total} of {meters} meters read, {listed}",
        total=read.total(),
        meters=len(site.site.meters),
        listed=_listed((f"{count} {name}" for name, count in read.items())),
    )
    return _("{text}; NOT READ: {listed}", text=text, listed=_listed(unread)) if unread else text


def _title(protocol: str) -> str:
    return PROTOCOLS[protocol].title


def _listed(names: Iterable[str]) -> str:
    *first, last = [*names] or [_("none")]
    return _("{others} and {last}", others=", ".join(first), last=last) if first else last


def _step(text: str) -> None:
    click.echo(f"\n{text}" if not sys.stdout.isatty() else click.style(f"\n{text}", bold=True))


def _command(folder: Path, *words: str) -> list[str]:
    program = Path(sys.executable).with_name("meterseal")
    start = [str(program)] if program.exists() else [sys.executable, "-P", "-m", "agent"]
    return [*start, *words]


def _surroundings(folder: Path) -> dict[str, str]:
    mine = {name: text for name, text in os.environ.items() if not name.startswith("METERSEAL_")}
    return mine | {"METERSEAL_SITE": str(folder / "site.yaml"), "METERSEAL_STATE": str(folder / "state")}


async def _meterseal(folder: Path, *words: str, quiet: bool = False) -> int:
    """Runs one command as a user would, showing it; its exit code.

    In a process group of its own, as the agent and the broker: a Ctrl-C reaches the demo alone, which ends the others. One that
    is still importing would answer it with a traceback.
    """
    shown = [word if len(word) < 60 else f"{word[:57]}..." for word in words]
    click.echo(click.style(f"$ meterseal {' '.join(shown)}", dim=True))
    output = asyncio.subprocess.DEVNULL if quiet else None
    process = await asyncio.create_subprocess_exec(
        *_command(folder, *words),
        env=_surroundings(folder),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        process_group=0,
    )
    try:
        return await process.wait()
    finally:
        await end(process)


@contextlib.asynccontextmanager
async def _agent(folder: Path) -> AsyncIterator[None]:
    """The real agent, a process of its own; its journal goes to agent.log."""
    click.echo(click.style(_("$ meterseal run"), dim=True))
    with (folder / "agent.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *_command(folder, "run"),
            env=_surroundings(folder),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            process_group=0,
        )
        try:
            yield
            if process.returncode is not None:
                raise OSError(
                    None,
                    _("the agent ended too early, with code {returncode}", returncode=process.returncode),
                    str(folder / "agent.log"),
                )
        finally:
            await end(process)


async def _watch(folder: Path, site: SiteFile) -> None:
    """Shows the table while the agent works: live on a terminal, else three times."""
    until = time.monotonic() + _WATCHED_SECONDS
    reader = await _first_light(folder)
    try:
        if sys.stdout.isatty():
            await _live(folder, site, reader, until)
            return
        for _unused in range(3):
            await asyncio.sleep(_WATCHED_SECONDS / 3)
            click.echo(as_text(status_of(reader, site, folder / "state", time.time_ns())) + "\n")
    finally:
        reader.close()


async def _first_light(folder: Path) -> LedgerReader:
    """The agent's ledger, as soon as the agent has made it. Raises OSError: it has made none for two minutes."""
    until = time.monotonic() + _READY_SECONDS
    while True:
        try:
            return LedgerReader(folder / "state" / LEDGER_FILE)
        except LedgerError:
            if time.monotonic() > until:
                raise OSError(None, _("the agent has not begun for two minutes"), str(folder / "agent.log")) from None
            await asyncio.sleep(0.1)


async def _live(folder: Path, site: SiteFile, reader: LedgerReader, until: float) -> None:
    from rich.live import Live

    with Live(refresh_per_second=4) as live:
        while (rest := until - time.monotonic()) > 0:
            live.update(_table(status_of(reader, site, folder / "state", time.time_ns()), rest))
            await asyncio.sleep(0.5)


def _table(status: Status, rest: float) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    delivered = "; ".join(f"{name}: {delivery_text(count, status.records)}" for name, count in status.delivered.items())
    title = _(
        "meterseal  {records} records sealed, delivered to {delivered}   {rest:.0f} s left",
        records=status.records,
        delivered=delivered,
        rest=rest,
    )
    table = Table(title=title, box=SIMPLE_HEAD, show_edge=False, min_width=78)  # 20 meters fit into a terminal of 24 lines
    for column in ("Meter", _("Last values"), "Age", "Record", ""):
        table.add_column(column, justify="right" if column in ("Age", "Record") else "left", no_wrap=True)
    words = notes(status)
    for meter in status.meters:
        age = "" if meter.age_s is None else f"{meter.age_s} s"
        table.add_row(meter.meter, "   ".join(meter.values), age, "" if meter.n is None else str(meter.n), words[meter.meter])
    return table


def _last_reading(folder: Path, meter: str) -> tuple[str, str]:
    """A meter and the due time of its newest reading."""
    reader = LedgerReader(folder / "state" / LEDGER_FILE)
    try:
        for _unused, payload in reader.meter_records(meter, "reading", newest_first=True):
            return meter, str(parse(payload)["due"])
    finally:
        reader.close()
    raise OSError(None, _("{meter} was never read", meter=meter), str(folder / "agent.log"))


def _unread(reader: LedgerReader, site: SiteFile) -> list[str]:
    """The meters of which no reading holds a good value."""
    return [
        meter.id
        for meter in site.site.meters
        if not any(
            "quality" not in value
            for _unused, payload in reader.meter_records(meter.id, "reading", newest_first=True)
            for value in parse(payload)["values"]
        )
    ]


def _forge(folder: Path) -> tuple[Path, int]:
    """A copy of the ledger in which somebody who owns the file raised one digit of one value."""
    path = folder / "forged.sqlite"
    with (
        contextlib.closing(sqlite3.connect(folder / "state" / LEDGER_FILE)) as ledger,
        contextlib.closing(sqlite3.connect(path)) as copy,
    ):
        ledger.backup(copy)
        copy.execute("DROP TRIGGER record_is_never_changed")
        row = copy.execute("SELECT n, payload FROM record WHERE kind = 'reading' ORDER BY n LIMIT 1 OFFSET 20").fetchone()
        n, payload = int(row[0]), bytes(row[1])
        at = payload.index(b'"value":"') + len(b'"value":"')
        digit = payload[at : at + 1]
        forged = payload[:at] + (b"8" if digit == b"9" else b"9") + payload[at + 1 :]
        copy.execute("UPDATE record SET payload = ? WHERE n = ?", (forged, n))
        copy.commit()
    return path, n
