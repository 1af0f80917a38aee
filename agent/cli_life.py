"""The verbs of a meter's life: exchanged, its changed settings confirmed, compared with its display, read by hand or for an
auditor. Each adds sealed records, says their numbers, and changes nothing that stands there.

Exit codes: 0 sealed; 1 sealed, and it says that something is wrong; 2 not sealed, and why.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import click

from agent.cli_person import reason_option, seal_or_fail, utc, who_option
from agent.columns import filled
from agent.terminal import failure, read_settings, site_options, told
from config.cause_words import cause_words
from config.language import _


@click.command(short_help="Say that a meter was exchanged.")
@click.argument("meter")
@click.option("--last", metavar="VALUE", help="What the old meter's main counter showed; else its newest sealed reading.")
@click.option("--first", metavar="VALUE", help="What the new meter's main counter showed when it was put in.")
@click.option("--serial", metavar="NUMBER", help="The serial number on the new meter's plate, where the meter does not tell it.")
@reason_option
@who_option
@site_options
def replace(
    meter: str,
    last: str | None,
    first: str | None,
    serial: str | None,
    reason: str,
    who: str,
    site: Path | None,
    state: Path | None,
) -> None:
    """Say that METER was exchanged: from here on its readings belong to the new one. What was read before stays as it is."""
    from agent.replacement import exchange_of

    with told(), closing(_past(site, state)) as past:
        try:
            fields = exchange_of(past, meter, last, first, serial)
        except ValueError as error:
            raise failure(str(error), "MS-307") from None
    sealed = seal_or_fail("replacement", {**fields, "reason": reason, "who": who}, site, state)
    click.echo(
        _(
            "Sealed as record {n}: {meter} was {old} and is {new} from now on.",
            n=sealed["n"],
            meter=meter,
            old=fields["old"] or _("not known"),
            new=fields["new"],
        )
    )
    for title, values in ((_("last"), fields["last"]), (_("first"), fields["first"])):
        for value in values:
            where = _(" (record {n})", n=value["record"]) if "record" in value else ""
            click.echo(f"  {filled(title, 5)}  {value['quantity']} {value['value']}{where}")
    click.echo(_("Write  serial: {new}  for {meter} into site.yaml, so that it says the same.", new=fields["new"], meter=meter))


@click.command(short_help="Confirm a meter's changed settings.")
@click.argument("meter")
@reason_option
@who_option
@site_options
def confirm(meter: str, reason: str, who: str, site: Path | None, state: Path | None) -> None:
    """Confirm that METER's settings are meant to be as it tells them now: its readings are evidence grade again."""
    from agent.standing import standing_in

    with told(), closing(_past(site, state)) as past:
        alarm = standing_in(past, meter).alarm
    if alarm is None:
        raise failure(_("There is nothing to confirm: no changed settings of {meter} are told of.", meter=meter))
    n, settings = alarm
    fields = {"command": "confirm", "meter": {"id": meter}, "record": n, "reason": reason, "who": who}
    sealed = seal_or_fail("audit", fields, site, state)
    click.echo(_("Sealed as record {n}. It confirms record {n_2}, in which {meter} told:", n=sealed["n"], n_2=n, meter=meter))
    for name, value in settings.items():
        click.echo(f"  {name.replace('_', ' ')}: {value if value is not None else _('not told')}")


@click.command(short_help="Compare a meter's display with what is read.")
@click.argument("meter")
@click.option("--display", metavar="VALUE", required=True, help="What its display shows now, with all its digits.")
@click.option("--quantity", help="What the display shows; else the meter's main counter.")
@who_option
@site_options
def pair(meter: str, display: str, quantity: str | None, who: str, site: Path | None, state: Path | None) -> None:
    """Compare METER's display with what is read over the line in the same minute. A register map of trust level C or D is
    confirmed by that. Stand in front of the meter; the agent must be running.

    VALUE in the unit in which readings are sealed (kWh, m3, ...).
    """
    paired = compare(read_now(meter, who, site, state), meter, display, quantity, who, site, state)
    click.echo(
        _(
            "display  {display} {unit}\nread     {read} {unit}   {quantity}, record {compared}",
            display=display,
            unit=paired.unit,
            read=paired.read,
            quantity=paired.quantity,
            compared=paired.compared,
        )
    )
    if paired.agrees:
        click.echo(_("They agree: sealed as record {n}.", n=paired.n))
        return
    click.echo(
        _(
            "They do NOT agree: sealed as record {n}. Check unit, transformer ratio and model of {meter}.",
            n=paired.n,
            meter=meter,
        )
    )
    raise click.exceptions.Exit(1)


class Paired(NamedTuple):
    """A display compared with what was read: what was compared, the spot reading's record, and the comparison's own."""

    quantity: str
    unit: str
    read: str
    compared: int
    n: int
    leaf: str
    agrees: bool


def read_now(meter: str, who: str, site: Path | None, state: Path | None) -> dict[str, Any]:
    """What the running agent tells of a spot reading with a nonce of our own. Ends the command where there is none."""
    import secrets

    return _spot(meter, secrets.token_hex(8), who, site, state)


def compare(
    read: Mapping[str, Any], meter: str, display: str, quantity: str | None, who: str, site: Path | None, state: Path | None
) -> Paired:
    """Seals that a display was compared with a spot reading. `quantity`: what it shows; None: the meter's main counter.

    Ends the command with exit code 2 where there is nothing to compare.
    """
    from agent.standing import agrees

    stated = {value["quantity"]: value for value in read["values"]}
    name = quantity or next((each for each in stated if "value" in stated[each]), "")
    if "value" not in stated.get(name, {}):
        known = ", ".join(each for each in stated if "value" in stated[each])
        raise failure(
            _(
                "{meter} told no {name} just now. It told {known}: give one of them as --quantity.",
                meter=meter,
                name=name or _("value"),
                known=known or _("nothing"),
            )
        )
    decoded = stated[name]
    try:
        same = agrees(display, decoded["value"])
    except ArithmeticError:
        raise failure(
            _("{display} is not a number: write the digits on the display, such as 184223.5", display=display)
        ) from None
    fields: dict[str, Any] = {"meter": {"id": meter}, "quantity": name, "value": display, "unit": decoded["unit"]}
    fields |= {"read_at": read["time"], "reference": "display", "compared": read["n"], "agrees": same, "who": who}
    sealed = seal_or_fail("manual", fields, site, state)
    return Paired(name, decoded["unit"], decoded["value"], read["n"], sealed["n"], sealed["leaf"], same)


@click.command(short_help="Seal a value read by hand.")
@click.argument("meter")
@click.argument("quantity")
@click.argument("value")
@click.option("--at", "at", help="When it was read, such as 2026-03-01T08:15; else now.")
@click.option("--paper", required=True, help="Where it is written down: the sheet or book, and its number.")
@who_option
@site_options
def manual(
    meter: str, quantity: str, value: str, at: str | None, paper: str, who: str, site: Path | None, state: Path | None
) -> None:
    """Seal a VALUE of METER that somebody read by hand. It stands beside the readings and is never taken for one."""
    from datetime import UTC, datetime

    from config.mistake import did_you_mean
    from config.quantity import QUANTITIES, quantity_of

    try:
        unit = quantity_of(quantity).unit
    except KeyError:
        raise failure(
            _(
                "There is no quantity {quantity}.{did_you_mean}",
                quantity=quantity,
                did_you_mean=did_you_mean(quantity, QUANTITIES),
            )
        ) from None
    now = datetime.now(UTC)
    read_at = utc(at, site, state) if at else f"{now:%Y-%m-%dT%H:%M:%S}.{now.microsecond // 1000:03d}Z"
    fields = {"meter": {"id": meter}, "quantity": quantity, "value": value, "unit": unit, "read_at": read_at}
    sealed = seal_or_fail("manual", {**fields, "reference": paper, "who": who}, site, state)
    click.echo(
        _(
            "Sealed as record {n}: {meter} {quantity} {value} {unit}, read by hand at {read_at}.",
            n=sealed["n"],
            meter=meter,
            quantity=quantity,
            value=value,
            unit=unit,
            read_at=read_at,
        )
    )


@click.command(short_help="Read a meter now and seal it, for an auditor.")
@click.argument("meter")
@click.option("--nonce", required=True, help="What the auditor has just thought of: 8 to 64 letters, digits, - and _.")
@who_option
@site_options
def spot(meter: str, nonce: str, who: str, site: Path | None, state: Path | None) -> None:
    """Read METER now and seal it with an auditor's nonce: no such record can have been made before. The agent must be running."""
    read = _spot(meter, nonce, who, site, state)
    click.echo(_("Sealed as record {n} at {time}, nonce {nonce}.", n=read["n"], time=read["time"], nonce=nonce))
    for value in read["values"]:
        shown = (
            f"{value['value']} {value['unit']}" if "value" in value else _("no value: {cause}", cause=cause_words(value["cause"]))
        )
        click.echo(f"  {value['quantity']:<28}{shown}")


def _spot(meter: str, nonce: str, who: str, site: Path | None, state: Path | None) -> dict[str, Any]:
    """What the running agent tells of a spot reading. Ends the command where there is none."""
    from agent.control import ControlError, ask

    with told():
        directory = read_settings(site, state).state
    try:
        answer = ask(directory, {"do": "spot", "meter": meter, "nonce": nonce, "who": who})
    except ControlError as error:
        raise failure(str(error), "MS-904") from None
    if answer is None:
        start = _("The agent is not running. Start it (systemctl start meterseal): it reads the meter and seals it.")
        raise failure(start, "MS-902")
    if "error" in answer:
        raise failure(f"{answer['error']}. {answer.get('hint', '')}".strip(), answer.get("code", "MS-904"))
    return answer


def _past(site: Path | None, state: Path | None) -> Any:
    from agent.ledger_file import LedgerReader
    from agent.state import LEDGER_FILE

    return LedgerReader(read_settings(site, state).state / LEDGER_FILE)
