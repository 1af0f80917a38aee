"""The verbs about the gateway's key: init, key show, key rotate, key revoke.

A recovery code is shown or written once and never kept; everything else that these verbs print may be seen by anybody.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agent.terminal import failure, read_settings, site_options, told
from config.language import _

if TYPE_CHECKING:
    from agent.seal import Key, Record

EXAMPLE = "site.example.yaml"
_FORM = "enrolment"
_PATH = click.Path(path_type=Path, dir_okay=False)
_SHEET = "Write the recovery code to this new file (such as on a USB stick) instead of the terminal."
_who = click.option("--who", help="Who does it: your name. Else the account.")


@click.command(short_help="Make the gateway's key and its enrolment form.")
@click.option("--recovery", "sheet", type=_PATH, help=_SHEET)
@click.option("--opcua", "only_opcua", is_flag=True, help="Only make the certificate for OPC UA servers.")
@site_options
def init(sheet: Path | None, only_opcua: bool, site: Path | None, state: Path | None) -> None:
    """Make this gateway's key and print its enrolment form; write a first site.yaml if there is none."""
    with told():
        from importlib.resources import files

        from agent.cli_opcua import own_certificate
        from agent.enrolment import Enrolment
        from agent.keys import make_key, write_recovery
        from agent.recovery import new_recovery_key
        from config.links import load_links

        settings = read_settings(site, state)
        if not settings.site.exists():
            settings.site.parent.mkdir(parents=True, exist_ok=True)
            settings.site.write_bytes((files("config") / EXAMPLE).read_bytes())
            click.echo(
                _("Wrote a first {site}: change it to your meters, then run `meterseal check`.", site=settings.site),
                err=True,
            )
        declared = load_links(settings.site)
        gateway = declared.gateway
        if only_opcua:
            own_certificate(settings.state, gateway)
            return
        _elsewhere(sheet, settings.state)
        key, recovery = make_key(settings.state, gateway), new_recovery_key()
        write_recovery(settings.state, gateway, recovery.public)
        form = Enrolment(gateway, key.public, recovery.public)
        (settings.state / f"{_FORM}.txt").write_text(form.text(), "utf-8")
        (settings.state / f"{_FORM}.html").write_text(form.html(), "utf-8")
        click.echo(form.text())
        _hand_over(recovery, gateway, sheet)
        if any(link.opcua for link in declared.links.values()):
            own_certificate(settings.state, gateway)
    page = settings.state / f"{_FORM}.html"
    click.echo(
        _("The key lies in {state}. Print {page} (or .txt) and have it signed by two people.", state=settings.state, page=page),
        err=True,
    )


@click.group(short_help="The gateway's signing key: show, rotate, revoke.")
def key() -> None:
    """The gateway's signing key: show it, rotate it, or revoke one that was lost or stolen."""


@key.command(short_help="Which keys this log has had, and which is in force.")
@site_options
def show(site: Path | None, state: Path | None) -> None:
    """Show which keys this log has had, for which records, and the recovery key's name. Nothing of it is secret."""
    with told():
        from agent.checkpoint import origin_of, verifier_key
        from agent.enrolment import fingerprint
        from agent.key_change import key_in_force, keys_in_ledger
        from agent.keys import read_recovery, source_of
        from agent.seal import key_name
        from config.check import load_site

        settings = read_settings(site, state)
        gateway = load_site(settings.site).site.gateway
        held, ring = key_in_force(settings.state), keys_in_ledger(settings.state)
        recovery = ring.recovery if ring else read_recovery(settings.state, gateway)
        terms = [(term.first, term.public) for term in ring.terms] if ring else [(0, held.public)]
        lasts = [_("record {n}", n=first - 1) for first, _unused in terms[1:]] + [_("now")]
        for (first, public), last in zip(terms, lasts, strict=True):
            click.echo(
                _("key {key_name}   signs from record {first} to {last}", key_name=key_name(public), first=first, last=last)
            )
            click.echo(_("    fingerprint  {fingerprint}", fingerprint=fingerprint(public)))
            click.echo(_("    key line     {verifier_key}", verifier_key=verifier_key(origin_of(gateway), public)))
    click.echo(_("private key  {source_of}", source_of=source_of(settings.state)))
    click.echo(
        _("recovery     key {name}", name=key_name(recovery))
        if recovery
        else _("recovery     none: a lost key cannot be replaced in this log")
    )


@key.command(short_help="Put a new key into force (the agent must be stopped).")
@_who
@site_options
def rotate(who: str | None, site: Path | None, state: Path | None) -> None:
    """Make a new key and put it into force, signed for by the old one. The agent must be stopped: it alone writes the ledger."""
    from agent.clock import Clock
    from agent.key_change import rotate as change

    settings, gateway = _gateway(site, state)
    with told():
        record = asyncio.run(change(settings.state, gateway, who or _account(), Clock()))
    _tell_change(record, settings.state, "rotated")


@key.command(short_help="Revoke a lost or stolen key with the recovery key (the agent must be stopped).")
@click.option("--code", type=_PATH, help="The file with the recovery code; else it is asked for.")
@click.option("--recovery", "sheet", type=_PATH, help=_SHEET)
@click.option("--since", type=click.IntRange(min=0), help="Stolen: the first record you do not trust.")
@_who
@site_options
def revoke(
    code: Path | None, sheet: Path | None, since: int | None, who: str | None, site: Path | None, state: Path | None
) -> None:
    """Revoke the key in force, also one that is lost, and put a new one and a new recovery key into force."""
    from agent.clock import Clock
    from agent.key_change import check_recovery, check_since, keys_in_ledger
    from agent.key_change import revoke as change
    from agent.recovery import RecoveryCodeError, new_recovery_key, read_recovery_code

    settings, gateway = _gateway(site, state)
    _elsewhere(sheet, settings.state)
    with told():
        ring = keys_in_ledger(settings.state)
        if ring is None:
            raise failure(_("The log has not begun: there is no key to revoke. Take a new --state and run `meterseal init`."))
        typed = code.read_text("utf-8", "replace").split("\n")[0] if code else click.prompt(_("Recovery code"), hide_input=True)
        try:
            recovery = read_recovery_code(typed)
        except RecoveryCodeError as error:
            raise failure(f"{error}.", "MS-702") from None
        check_recovery(ring, recovery)
        check_since(settings.state, ring, since)
        following = new_recovery_key()
        _hand_over(following, gateway, sheet)
        if not sheet:
            click.confirm(_("Is the new recovery code written down? The old one is worth nothing afterwards"), abort=True)
        record = asyncio.run(change(settings.state, gateway, who or _account(), Clock(), recovery, following, since))
    _tell_change(record, settings.state, _("key {revoked} revoked, replaced", revoked=record.fields["revoked"]))


def _tell_change(record: Record, state: Path, how: str) -> None:
    from agent.checkpoint import origin_of, verifier_key
    from agent.keys import CREDENTIAL, KEY_FILE
    from agent.seal import from_base64url, key_name

    public = from_base64url(record.fields["public"])
    click.echo(_("{how}: from record {n} on key {key_name} signs", how=how, n=record.n + 1, key_name=key_name(public)))
    click.echo(_("    key line     {verifier_key}", verifier_key=verifier_key(origin_of(record.fields["gateway"]), public)))
    click.echo(
        _("The signed enrolment form stays valid: it names the log's first key, and the records lead from it to this one.")
    )
    click.echo(_("Give the new key line to whoever runs a witness for this gateway."))
    if os.environ.get("CREDENTIALS_DIRECTORY"):
        click.echo(
            _(
                "The new key is {state}: put it in the place of systemd's credential {credential}.",
                state=state / KEY_FILE,
                credential=CREDENTIAL,
            )
        )


def _gateway(site: Path | None, state: Path | None) -> tuple[Any, str]:
    from config.check import load_site

    with told():
        settings = read_settings(site, state)
        return settings, load_site(settings.site).site.gateway


def _account() -> str:
    from agent.by_person import own_account

    return own_account()


def _elsewhere(sheet: Path | None, state: Path) -> None:
    """Refuses a place for the recovery code where whoever steals the key finds it too, or that is taken."""
    if sheet is None:
        return
    if sheet.resolve().is_relative_to(state.resolve()):
        raise failure(
            _("{sheet} lies in the state directory, beside the key that it is to revoke. Choose a place elsewhere.", sheet=sheet)
        )
    if sheet.exists():
        raise failure(_("There is a file {sheet} already; choose a new name.", sheet=sheet))


def _hand_over(recovery: Key, gateway: str, sheet: Path | None) -> None:
    """Gives the recovery code to a person, once."""
    from agent.recovery import recovery_code

    lines = [
        _("RECOVERY CODE of gateway {gateway}   (recovery key {name})", gateway=gateway, name=recovery.name),
        _("Keep it in the safe, away from the gateway. It is not stored and will not be shown again."),
        _("Whoever has it can put a key of his own into force; without it a lost or stolen key cannot be replaced."),
    ]
    if sheet is None:
        click.echo("\n".join([*lines[:1], "", f"    {recovery_code(recovery)}", "", *lines[1:], ""]))
        return
    with os.fdopen(os.open(sheet, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write("\n".join([recovery_code(recovery), "", *lines, ""]))
        file.flush()
        os.fsync(file.fileno())
    click.echo(_("The recovery code is in {sheet}: bring it to the safe, away from the gateway.", sheet=sheet), err=True)
