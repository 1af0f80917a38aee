"""The command line: `meterseal`, one verb a task. Every failure is one message with what to do, never a traceback.

Exit codes: 0 done and nothing to complain about; 1 something was found (a meter silent, a record changed); 2 it could
not be done (a mistake in site.yaml, no such file, wrong use).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agent import __version__
from agent.cli_audit import completeness, export, trace, verify
from agent.cli_collect import collect
from agent.cli_commission import commission, verify_report
from agent.cli_consumption import consumption
from agent.cli_doctor import doctor
from agent.cli_dump import dump, replay
from agent.cli_explain import explain
from agent.cli_fault import fault
from agent.cli_health import health, metrics
from agent.cli_key import init, key
from agent.cli_life import confirm, manual, pair, replace, spot
from agent.cli_models import models
from agent.cli_opcua import browse, trust
from agent.cli_person import correct
from agent.cli_program import Program, lang_option
from agent.cli_salvage import salvage
from agent.cli_scan import scan
from agent.cli_sheet import export_meters, import_
from agent.cli_try import try_
from agent.cli_watch import watch
from agent.cli_witness import witness
from agent.faults import with_code
from agent.terminal import failure, read_settings, site_options, told
from config.language import _

if TYPE_CHECKING:
    from config.check import SiteFile


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@lang_option
@click.version_option(__version__, prog_name="meterseal")
def main() -> None:
    """Reads energy and water meters, seals every reading with the bytes it came from, and delivers it over MQTT."""
    _only_our_packages()


def _only_our_packages() -> None:
    """A stranger's package called agent, drivers or config in this environment would be run instead of ours."""
    parents = set()
    for name in ("agent", "drivers", "config"):
        found = find_spec(name)
        parents.add(Path(found.origin).parent.parent if found and found.origin else None)
    if len(parents) != 1:
        raise failure(
            _(
                "Another package named agent, drivers or config is installed here.\n"
                "Install meterseal into a virtual environment of its own."
            ),
            "MS-906",
        )


@main.command(short_help="Check the site file, all mistakes at once.")
@site_options
def check(site: Path | None, state: Path | None) -> None:
    """Check the site file: every mistake at once, with line and column."""
    with told():
        from agent.broker_words import broker_words
        from agent.forecast import described, line_times
        from agent.page_site import check_page
        from agent.polled import polled_meters
        from agent.server_way import described_server
        from config.check import load_site
        from config.protocols import spoken
        from config.settings import unused_passwords
        from drivers.adapter import adapter_of

        settings = read_settings(site, state)
        loaded = load_site(settings.site)
        meters_of = {name: polled_meters(loaded, name) for name in loaded.site.links}
        lines = line_times(loaded, meters_of)
        page = check_page(loaded)
        users = [name for name, link in loaded.site.links.items() if link.opcua and link.user]
        for mistake in unused_passwords([broker.name for broker in loaded.site.mqtt], users):
            click.echo(str(mistake), err=True)
    plan = loaded.site
    click.echo(_("{site}: no mistakes.", site=settings.site))
    for name, link in plan.links.items():
        meters = [meter.id for meter in plan.meters if meter.link == name]
        where = link.opcua or link.tcp or " ".join([str(link.serial), *map(str, loaded.serial_settings(name))])
        titles = dict.fromkeys(spoken(loaded.models[meter].declared.protocol, link.frames) for meter in meters)
        click.echo(f"  {name} ({', '.join([where, *titles])}): {', '.join(meters) or _('no meters')}")
        lasting = adapter_of(link.serial) if link.serial else None
        if lasting and str(lasting) != link.serial:
            advice = _(
                "write  serial: {lasting}  there, for {serial} may have another number when it is plugged in again.",
                lasting=lasting,
                serial=link.serial,
            )
            click.echo(f"  {name}: {advice}")
    click.echo("".join(f"  {each}\n" for each in _looked_at(loaded)), nl=False)
    for line in lines:
        click.echo("\n".join(described(line)))
    click.echo("".join(f"  {each}.\n" for each in page), nl=False)
    for broker in plan.mqtt:
        click.echo("".join(f"  {broker.name}: {words}\n" for words in broker_words(broker)), nl=False)
    for name in (name for name, link in plan.links.items() if link.opcua):
        click.echo("\n".join(described_server(loaded, name, meters_of[name], settings.state, settings)))


def _looked_at(loaded: SiteFile) -> Iterator[str]:
    """What is right in a site file and yet worth a person's look, meter by meter."""
    from datetime import datetime

    from config.plate import certificate_words
    from config.ratio import ratio_advice, unknown_words
    from config.zone import zone_of

    today = datetime.now(zone_of(loaded.site.timezone)).date()
    for meter in loaded.site.meters:
        model = loaded.model_of(meter).declared
        if words := unknown_words(meter):
            yield f"{meter.id}: {with_code(words, 'MS-105')}"
            yield f"    -> {ratio_advice(meter)}"
        if model.trust.level in "CD":
            map_trust = _("the register map of {model} is trust level {level}", model=model.model, level=model.trust.level)
            yield _("{id}: {map_trust}: compare its display: `meterseal pair {id}`.", id=meter.id, map_trust=map_trust)
        if words := certificate_words(meter.certificate, today):
            yield f"{meter.id}: {words}"


@main.command(short_help="Run the agent until stopped.")
@site_options
def run(site: Path | None, state: Path | None) -> None:
    """Run the agent: poll, seal, keep and forward, until stopped."""
    with told():
        import asyncio

        from agent.journal import configure, journal
        from agent.run import run_agent
        from config.check import load_site

        settings = read_settings(site, state)
        configure(settings.log_level)
        asyncio.run(run_agent(load_site(settings.site), settings.state, settings, journal()))


@main.command(short_help="Read one meter now; nothing is sealed.")
@click.argument("meter")
@site_options
@click.option("--identify", is_flag=True, help="Also ask the meter who it is (Modbus device identification).")
def read(meter: str, identify: bool, site: Path | None, state: Path | None) -> None:
    """Read one METER now and show frames and values. Nothing is sealed."""
    with told():
        import asyncio

        from agent.clock import Clock
        from agent.control import ControlError, ask, whole
        from agent.polled import polled_meters
        from agent.read_once import read_meter
        from agent.ways import directly, way_to
        from config.check import load_site
        from config.mistake import did_you_mean

        settings = read_settings(site, state)
        loaded = load_site(settings.site)
        found = next((each for each in loaded.site.meters if each.id == meter), None)
        if found is None:
            names = [each.id for each in loaded.site.meters]
            raise failure(
                _(
                    "There is no meter {meter} in the site file.{did_you_mean}",
                    meter=meter,
                    did_you_mean=did_you_mean(meter, names),
                )
            )
        polled = whole([each for each in polled_meters(loaded, found.link) if each.id == meter])

        async def once() -> tuple[str, bool]:
            async with directly(way_to(loaded, found.link, settings.state, settings, Clock())) as asked:
                return await read_meter(asked, polled, identify)

        address = (
            _("address {address} on {link}", address=found.address, link=found.link)
            if found.address
            else _("on {link}", link=found.link)
        )
        click.echo(f"{meter}  {polled.target.model.maker} {polled.target.model.product}, {address}")
        # The agent that runs holds the port: it reads the meter between its own polls.
        try:
            answer = ask(settings.state, {"do": "read", "meter": meter, "introduce": identify})
        except ControlError as error:
            raise failure(str(error), "MS-904") from None
        if answer and "error" in answer:
            raise failure(f"{answer['error']}. {answer.get('hint', '')}".strip(), answer.get("code", "MS-904"))
        text, complete = (answer["text"], answer["complete"]) if answer else asyncio.run(once())
    click.echo(text)
    if not complete:
        raise click.exceptions.Exit(1)


@main.command(short_help="Newest readings, today's account, open gaps, what is delivered.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.option("--alive", is_flag=True, help="Only say whether the agent runs.")
@click.option("--metrics", "as_metrics", is_flag=True, help="The running agent's metrics for Prometheus, as text.")
@click.option("--health", "as_health", is_flag=True, help="Only one line: healthy, or what ails the agent (for health checks).")
@site_options
def status(as_json: bool, alive: bool, as_health: bool, as_metrics: bool, site: Path | None, state: Path | None) -> None:
    """Show every meter's newest reading and its day so far, open gaps, how busy the lines are and what is delivered."""
    with told():
        import time

        from agent.ledger_file import LedgerReader
        from agent.state import LEDGER_FILE, is_running
        from agent.status import status_of
        from agent.status_text import as_text
        from config.check import load_site

        settings = read_settings(site, state)
        if alive:
            raise click.exceptions.Exit(0 if is_running(settings.state) else 1)
        if as_health:
            raise click.exceptions.Exit(health(settings))
        if as_metrics:
            raise click.exceptions.Exit(metrics(settings))
        with closing(LedgerReader(settings.state / LEDGER_FILE)) as reader:
            seen = status_of(reader, load_site(settings.site), settings.state, time.time_ns(), _live(settings.state))
    click.echo(json.dumps(seen.as_json(), indent=2) if as_json else as_text(seen))
    if not seen.ok:
        raise click.exceptions.Exit(1)


def _live(state: Path) -> dict[str, Any] | None:
    """What the running agent tells of itself; None where none runs, or it does not answer."""
    from agent.state import is_running

    if not is_running(state):
        return None
    from agent.control import ControlError, ask

    try:
        return ask(state, {"do": "live"})
    except ControlError as error:
        click.echo(with_code(str(error), "MS-904"), err=True)
        return None


@main.command(short_help="Run the simulated meters of a plant file.")
@click.argument("plant", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--directory", type=click.Path(path_type=Path, file_okay=False), default=Path(), help="Where the ptys appear; default here."
)
def simulate(plant: Path, directory: Path) -> None:
    """Run the simulated meters of a PLANT file until stopped."""
    with told():
        import asyncio

        from agent.simulate import run_plant

        asyncio.run(run_plant(plant, directory))


@main.command(short_help="Show the whole agent at work, in two minutes.")
def demo() -> None:
    """Show the whole agent at work on simulated meters, in two minutes."""
    with told():
        import asyncio

        from agent.demo import show

        code = asyncio.run(show())
    sys.exit(code)


for _verb in (verify, trace, explain, completeness, export, consumption, try_, init, key, witness, collect, trust, browse, fault):
    main.add_command(_verb)
for _verb in (correct, replace, confirm, pair, manual, spot, models, import_, export_meters):
    main.add_command(_verb)
for _verb in (scan, doctor, watch, commission, verify_report, dump, replay, salvage):
    main.add_command(_verb)
