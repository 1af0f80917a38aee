"""The verbs about OPC UA servers: trust one, and look for the nodes to read. Nothing of them is sealed.

asyncua is imported only here and by a site that has such a link. The `meter` declaration that the agent seals says which
certificate and application URI were in force.
"""

from __future__ import annotations

import asyncio
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agent.terminal import failure, read_settings, site_options, told
from config.language import _

if TYPE_CHECKING:
    from config.site import Link
    from drivers.opcua_browse import Limits, Offer, Seen

_NEW_LINK = "opcua-server"
_METER = r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}"


def own_certificate(state: Path, gateway: str) -> None:
    """Makes this gateway's OPC UA certificate if there is none yet, and says where it lies. Raises KeyFileError."""
    from agent.opcua_certificate import FOLDER, KEY_FILE, load_certificate, make_certificate

    there = (state / FOLDER / KEY_FILE).exists()
    own = load_certificate(state) if there else make_certificate(state, gateway)
    click.echo(
        _("The certificate for OPC UA servers lies in {path}: SHA-256 {fingerprint}", path=own.path, fingerprint=own.fingerprint),
        err=True,
    )


@click.command(short_help="Confirm which OPC UA server answers on a link.")
@click.argument("link")
@click.option("--fingerprint", help="The SHA-256 fingerprint as the server's own program shows it, instead of the question.")
@click.option("--who", help="Who confirms it: your name. Else the account.")
@site_options
def trust(link: str, fingerprint: str | None, who: str | None, site: Path | None, state: Path | None) -> None:
    """Show who answers on a LINK, and keep its certificate once you have compared the fingerprint at the server."""
    _needs_asyncua()
    with told():
        from agent.opcua_certificate import load_certificate
        from agent.opcua_link import server_settings
        from agent.opcua_text import changed_text, offers_text, own_text, server_text
        from agent.opcua_trust import keep_trusted, trusted_server
        from drivers.opcua_browse import offers

        settings = read_settings(site, state)
        declared = _link_named(settings.site, link)
        own = load_certificate(settings.state) if declared.policy != "None" else None
        reached = server_settings(link, declared, settings.state, settings)
        found = asyncio.run(offers(reached))
        click.echo(f"{link}  {declared.opcua}\n\n{offers_text(found, declared)}")
        offer = _offer_asked_for(found, declared)
        click.echo("\n" + server_text(offer, _now()))
        if declared.policy == "None":
            offer = replace(offer, certificate=b"")  # it was shown, but without security nobody has to prove that it is his
        kept = trusted_server(settings.state, link)
        changed = changed_text(kept, offer) if kept else ""
        if kept and not changed:
            click.echo(
                _(
                    "\n{confirmed_by} has confirmed this server on {confirmed_at}.",
                    confirmed_by=kept.confirmed_by,
                    confirmed_at=kept.confirmed_at[:10],
                )
            )
        else:
            click.echo(f"\n{changed}\n" if changed else "")
            _confirm(offer, fingerprint)
            path = keep_trusted(settings.state, _confirmed(link, declared, offer, who))
            click.echo(_("Kept in {path}. An agent that runs takes it when it is started anew.", path=path))
        if own:
            click.echo("\n" + own_text(own))
        reached = server_settings(link, declared, settings.state, settings)
        asyncio.run(_tried(reached))


def _needs_asyncua() -> None:
    from importlib.util import find_spec

    if find_spec("asyncua") is None:
        raise failure(
            _("OPC UA needs the package asyncua, which is not installed here.\nInstall it with  pip install 'meterseal[opcua]'"),
            "MS-906",
        )


def _now() -> Any:
    from agent.opcua_text import now_utc

    return now_utc()


def _link_named(site: Path, name: str) -> Link:
    from config.links import load_links
    from config.mistake import did_you_mean

    links = {each: link for each, link in load_links(site).links.items() if link.opcua}
    if name not in links:
        advice = did_you_mean(name, list(links)) if links else ""
        raise failure(
            _(
                "{site}: there is no OPC UA link {name}.{advice} Write  {name}: {{opcua: opc.tcp://host:4840}}  under links.",
                site=site,
                name=name,
                advice=advice,
            )
        )
    return links[name]


def _offer_asked_for(found: list[Offer], link: Link) -> Offer:
    from agent.opcua_text import is_asked_for

    for offer in found:
        if is_asked_for(offer, link):
            return offer
    asked = link.policy if link.policy == "None" else f"{link.policy} {link.protection}"
    advice = _("Switch it on in the server, or write security: and mode: of what it offers.")
    raise failure(_("It does not offer {asked}, which site.yaml asks for.\n{advice}", asked=asked, advice=advice))


def _confirm(offer: Offer, given: str | None) -> None:
    """Returns once a person has compared the fingerprint."""
    from agent.opcua_certificate import fingerprint_of

    if not offer.certificate:
        question = _("Without security nothing proves who answers. Is this application URI the server's?")
        shown = offer.server
    else:
        question, shown = _("Does the server's own program show the same SHA-256 (or SHA-1)?"), fingerprint_of(offer.certificate)
    if given is not None:
        plain = re.sub(r"[\s:]", "", given.lower().removeprefix("sha256:")) if offer.certificate else given
        if plain != shown:
            raise failure(_("The fingerprint is not the one given: nothing was kept. Find out which server answers here."))
        return
    if not sys.stdin.isatty():
        raise failure(
            _("Nobody is here to compare: run it at a terminal, or give --fingerprint with what the server's program shows.")
        )
    if not click.confirm(question, default=False):
        raise failure(_("Nothing was kept."))


def _confirmed(name: str, link: Link, offer: Offer, who: str | None) -> Any:
    import time

    from agent.by_person import own_account
    from agent.clock import stamp
    from agent.opcua_trust import TrustedServer

    return TrustedServer(name, str(link.opcua), offer.server, offer.certificate, who or own_account(), stamp(time.time_ns()))


async def _tried(reached: Any) -> None:
    """Logs in once, so that the server has seen our certificate, and says whether it lets us in."""
    from config.typed import opcua_password_names
    from drivers.errors import LinkDown
    from drivers.opcua_browse import looking

    if reached.login == "user" and not reached.password:
        variable, file = opcua_password_names(reached.name)
        advice = _("set {variable}, or write it into a file {file} in the secrets folder.", variable=variable, file=file)
        raise failure(_("\nThere is no password for {user}: {advice}", user=reached.user, advice=advice))
    try:
        async with looking(reached):
            pass
    except LinkDown as error:
        click.echo(_("\nNot let in yet: {error}\n{hint}", error=error, hint=error.hint))
        raise click.exceptions.Exit(1) from None
    click.echo(_("\nThe server lets this gateway in."))


@click.command(short_help="Show what an OPC UA server holds; write the points to read.")
@click.argument("link", metavar="LINK|opc.tcp://HOST:PORT")
@click.option("--under", default="i=85", help="Begin at this node, as the tree shows it; else at the server's Objects.")
@click.option("--depth", type=click.IntRange(1, 30), default=4, help="So many levels; else 4.")
@click.option("--most", type=click.IntRange(1, 100_000), default=100, help="So many nodes of each folder; else 100.")
@click.option(
    "--pick", "picks", multiple=True, metavar="QUANTITY=NODE", help="Write the lines for site.yaml; #2 behind a list's node."
)
@click.option("--meter", default="meter-1", help="The meter's id in these lines.")
@site_options
def browse(
    link: str, under: str, depth: int, most: int, picks: tuple[str, ...], meter: str, site: Path | None, state: Path | None
) -> None:
    """Show the nodes of an OPC UA server with type, value, unit and quality.

    LINK is one of site.yaml; an address is looked at without security. With --pick the lines for site.yaml are printed
    instead of the tree: --pick 'active_energy_import=nsu=http://plant.example;s=Energy'.
    """
    _needs_asyncua()
    with told():
        from agent.opcua_link import server_settings
        from agent.opcua_points import PickError, pick_of, site_lines
        from agent.opcua_text import tree_text
        from config.site import Link
        from drivers.opcua_browse import Limits

        settings = read_settings(site, state)
        new_link = link.startswith("opc.tcp://")
        declared = Link(opcua=link, security="None") if new_link else _link_named(settings.site, link)
        name = _NEW_LINK if new_link else link
        reached = server_settings(name, declared, settings.state, settings)
        if not re.fullmatch(_METER, meter):
            raise failure(_("{meter} is not a meter's name; take letters, digits, - and _, at most 40", meter=meter))
        try:
            wanted = [pick_of(each) for each in picks]
            seen = asyncio.run(_look(reached, under, Limits(depth, most), [each.node for each in wanted]))
            if wanted:
                click.echo(site_lines(name, declared, meter, list(zip(wanted, seen, strict=True)), new_link), nl=False)
                return
        except (PickError, ValueError) as error:
            raise failure(str(error)) from None
    for line in tree_text(seen):
        click.echo(line)
    if any(each.note for each in seen):
        click.echo(_("\nMore: meterseal browse {link} --under 'NODE', or with a larger --depth or --most.", link=link), err=True)


async def _look(reached: Any, under: str, limits: Limits, nodes: list[str]) -> list[Seen]:
    """The tree, or only these nodes. Raises LinkDown, ValueError for a node that is none."""
    from drivers.opcua_browse import looked_at, looking, node_of, tree

    async with looking(reached) as made:
        session = made.client.uaclient.session
        if nodes:
            return await looked_at(session, made.namespaces, [node_of(each, made.namespaces) for each in nodes])
        return await tree(session, made.namespaces, node_of(under, made.namespaces), limits)
