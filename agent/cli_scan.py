"""The verb `scan`: who answers on a line, which models they are likely to be, and the lines of a site file for them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agent.terminal import failure, read_settings, site_options, told, until_stopped
from config.language import _

if TYPE_CHECKING:
    from agent.scan import Found, Progress
    from agent.scan_plan import Round
    from agent.scan_write import Place
    from config.model import MeterModel

_WORTH_TELLING_S = 0.5  # over a network nearly nothing is known of the time that bytes take
_PROTOCOLS = ("modbus", "dlt645", "cjt188", "mbus", "iec62056_21")


@click.command(short_help="Find the meters on a line and write their site file.")
@click.argument("link", required=False)
@click.option("--serial", "port", metavar="PORT", help="A port in place of a link, such as /dev/ttyUSB0 or rfc2217://host:port.")
@click.option("--tcp", "endpoint", metavar="HOST:PORT", help="A Modbus TCP device or a serial server in place of a link.")
@click.option(
    "--framing", type=click.Choice(["tcp", "rtu", "ascii"]), help="rtu with --tcp: a serial server that passes bytes on."
)
@click.option("--protocol", "protocols", multiple=True, type=click.Choice(_PROTOCOLS), help="Only this one; may be given again.")
@click.option("--baud", "bauds", multiple=True, type=click.IntRange(300, 921600), help="Only this speed; may be given again.")
@click.option(
    "--format", "formats", multiple=True, metavar="8N1", help="Format of Modbus characters; may be given again. [8N1, 8E1]"
)
@click.option(
    "--addresses", default="1-247", show_default=True, help="Modbus addresses and M-Bus primary ones, such as 1-32,100."
)
@click.option("--timeout", type=click.IntRange(20, 5000), default=200, show_default=True, help="Milliseconds a Modbus meter has.")
@click.option("--write", "target", type=click.Path(path_type=Path, dir_okay=False), help="A site file to write, or to add to.")
@site_options
def scan(link: str | None, port: str | None, endpoint: str | None, framing: str | None, target: Path | None,
         site: Path | None, state: Path | None, **asked: Any) -> None:  # fmt: skip
    """Find the meters on a LINK of the site file, or on a bare port, and write the lines of a site file for them.

    It asks in all protocols at all usual speeds, and only reads: nothing in a meter is changed. It takes some minutes; Ctrl-C
    ends it and keeps what was found. Exit code 1 if nobody answers.
    """
    with told():
        from agent.scan_file import write
        from agent.scan_plan import Wanted
        from agent.scan_write import Place

        settings = read_settings(site, state)
        place = _place_of(link, port, endpoint, framing, settings)
        _refuse_mistyped(place, asked["formats"], target)
        _refuse_held(place, settings)
        modbus = place.framing or ("tcp" if place.tcp else "rtu")
        chosen = {"formats": tuple(asked["formats"])} if asked["formats"] else {}
        wanted = Wanted(
            tuple(asked["protocols"]) or _PROTOCOLS, tuple(asked["bauds"]), units=_units(asked["addresses"]),
            timeout_s=asked["timeout"] / 1000, **chosen,
        )  # fmt: skip
        known = _models(site, state) if link else _models(None, None)
        found = _searched(place, wanted, modbus, known)
    click.echo("\n".join(_told_of(found)), err=True)
    if any(each.model for each in found.meters):
        with told():
            write(target, Place(place.link, place.serial, place.tcp, place.framing), found, known)
    if not found.meters:
        raise click.exceptions.Exit(1)


def _place_of(link: str | None, port: str | None, endpoint: str | None, framing: str | None, settings: Any) -> Place:
    from agent.scan_write import Place
    from config.links import load_links
    from config.mistake import did_you_mean

    if sum(each is not None for each in (link, port, endpoint)) != 1:
        raise failure(_("Say where to search: a link of the site file, --serial /dev/ttyUSB0 or --tcp 192.168.1.20:502."))
    if link is None:
        name = "line1" if port else "net1"
        return Place(name, port, endpoint, framing if framing != ("tcp" if endpoint else "rtu") else None)
    links = load_links(settings.site).links
    if link not in links:
        raise failure(
            _("There is no link {link} in the site file.{did_you_mean}", link=link, did_you_mean=did_you_mean(link, links))
        )
    if links[link].opcua:
        raise failure(_("{link} is an OPC UA server: `meterseal browse {link}` shows what it has.", link=link))
    return Place(link, links[link].serial, links[link].tcp, framing or links[link].framing)


def _refuse_mistyped(place: Place, formats: Iterable[str], target: Path | None) -> None:
    """What could not be written in the end is told before the search, not after it."""
    from agent.scan_file import check_target
    from config.site import Link
    from config.text import Document
    from config.typed import typed

    where = {"serial": place.serial} if place.serial else {"tcp": place.tcp or ""}
    for words in (where, *({**where, "format": each} for each in formats)):
        _unused, mistakes = typed(Link, Document("", {**words}))
        if mistakes:
            raise failure(mistakes[0].message)
    if target is not None:
        check_target(target)


def _refuse_held(place: Place, settings: Any) -> None:
    """Two programs that ask on one line spoil each other's answers, so the agent has to give it up first."""
    import os

    from agent.state import is_running
    from config.links import load_links
    from config.mistake import ConfigError

    if not is_running(settings.state):
        return
    try:
        links = load_links(settings.site).links
    except ConfigError:
        return
    wanted = os.path.realpath(place.serial) if place.serial else place.tcp
    for name, link in links.items():
        held = os.path.realpath(link.serial) if link.serial else link.tcp
        if name == place.link or held == wanted:
            where = place.serial or place.tcp
            raise failure(
                _(
                    "The running agent holds {where} (link {name}): two programs on one line spoil each other's "
                    "answers.\nStop it (systemctl stop meterseal), search, and start it again.",
                    where=where,
                    name=name,
                ),
                "MS-903",
            )


def _units(text: str) -> tuple[int, ...]:
    units: list[int] = []
    for part in text.replace(" ", "").split(","):
        first, _unused, last = part.partition("-")
        if not (first.isdecimal() and (last or first).isdecimal()) or not int(first) <= int(last or first) <= 255:
            raise failure(_("--addresses {text} are no addresses; write for example --addresses 1-32,100", text=text))
        units += range(int(first), int(last or first) + 1)
    return tuple(dict.fromkeys(units))


def _models(site: Path | None, state: Path | None) -> dict[str, MeterModel]:
    """The models that a meter can be: the shipped ones, and those of the site's own folders."""
    from agent.cli_models import known_models
    from config.library import load_model

    return {name: load_model(path).declared for name, path in known_models(site, state).items()}


def _searched(place: Place, wanted: Any, framing: str, models: dict[str, MeterModel]) -> Found:
    from agent.clock import Clock
    from agent.scan import CountedLink, Scan
    from config.protocols import spoken
    from drivers.errors import LinkDown
    from drivers.link_settings import LinkSettings

    settable = place.serial is not None and not place.serial.startswith("socket://")
    rounds = wanted.rounds(settable=settable, framing=framing)
    if not rounds:
        raise failure(_("There is nothing to ask: on Modbus TCP no other protocol is spoken."))
    first = rounds[0]
    link = CountedLink(
        LinkSettings(
            place.link, framing, tcp=place.tcp, serial=place.serial, baud=first.baud or 9600, character=first.character or "8N1"
        ),
        Clock(),
    )
    told_of = _Progress()
    scan_of = Scan(link, rounds, list(models.values()), told_of.tell)

    def title(here: Round) -> str:
        return f"{spoken(here.protocol, framing)} {here.speed}".strip()

    async def once() -> None:
        await link.open()
        try:
            await until_stopped(scan_of.run(title))
        finally:
            await link.close()

    try:
        asyncio.run(once())
    except LinkDown as error:
        if not scan_of.found.meters:
            raise
        click.echo(f"\n{error}", err=True)
    told_of.end()
    if not scan_of.found.complete:
        click.echo(_("Broken off: what was found until now stands below."), err=True)
    return scan_of.found


class _Progress:
    """How far a search is: a bar on a terminal, else a line for each round."""

    def __init__(self) -> None:
        self._bar = sys.stderr.isatty()
        self._round = ""

    def tell(self, now: Progress) -> None:
        left = _span(now.left_s)
        if self._bar:
            done = 20 * now.asked // max(1, now.questions)
            bar = "#" * done + "." * (20 - done)
            text = _(
                "[{bar}] {at}/{rounds} {round}, {found} found, about {left} left",
                bar=bar,
                at=now.at,
                rounds=now.rounds,
                round=now.round,
                found=now.found,
                left=left,
            )
            click.echo(f"\r\x1b[K{text}", nl=False, err=True)
        elif now.round != self._round:
            click.echo(
                _(
                    "{at}/{rounds} {round}, {found} found, about {left} left",
                    at=now.at,
                    rounds=now.rounds,
                    round=now.round,
                    found=now.found,
                    left=left,
                ),
                err=True,
            )
        self._round = now.round

    def end(self) -> None:
        if self._bar:
            click.echo("\r\x1b[K", nl=False, err=True)


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def _told_of(found: Found) -> list[str]:
    from config.protocols import PROTOCOLS

    lines: list[str] = []
    for each in found.meters:
        met = each.met
        title = PROTOCOLS[met.protocol].title
        where = f"{title} {met.address}".strip() + (f", {met.baud} {met.character}" if met.baud else "")
        lines.append(f"{where}: {each.model or _('no model fits')} ({_(each.sure)})")
        lines += [f"    {why}" for why in each.why]
        lines += [_("    fits as well: {others}", others=", ".join(each.others))] if each.others else []
        lines += [f"    {', '.join(each.shown)}"] if each.shown else []
    lines += [_("LOOK: {doubt}", doubt=doubt) for doubt in found.doubts]
    if not found.meters:
        lines.append(_("Nobody answers. Check the meters' power, A and B of the pair, and that the port is the line's."))
    if found.least_s < _WORTH_TELLING_S:
        return [*lines, _("{meters} found with {questions} questions in {took_s:.1f} s.", **_figures(found))]
    lines.append(
        _(
            "{meters} found with {questions} questions in {took_s:.1f} s; bytes, silences and timeouts alone "
            "take {least_s:.1f} s ({times:.2f} times that).",
            **_figures(found),
        )
    )
    return lines


def _figures(found: Found) -> dict[str, float]:
    times = found.took_s / max(found.least_s, 0.001)
    meters, questions = len(found.meters), found.questions
    return {"meters": meters, "questions": questions, "took_s": found.took_s, "least_s": found.least_s, "times": times}
