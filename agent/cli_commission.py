"""The verbs of commissioning: `commission` compares meter by meter with the displays and writes the signed report; and
`verify-report` checks one.

Exit codes: 0 all meters agree; 1 some do not, were left out, or have transformers of unknown ratio; 2 it could not be done.
"""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agent.cli_life import compare, read_now
from agent.cli_person import who_option
from agent.terminal import failure, read_settings, site_options, told
from config.cause_words import cause_words
from config.language import _

if TYPE_CHECKING:
    from agent.commissioning import Compared
    from config.site import Meter

_FRESH_S = 60.0  # so long a display that was read may be held against the same reading


@click.command(short_help="Compare meter by meter with the displays, and write the signed report.")
@click.argument("meters", nargs=-1)
@click.option(
    "--report", "target", type=click.Path(path_type=Path, dir_okay=False), help="The report's file; else commissioning-DATE.html."
)
@who_option
@site_options
def commission(meters: tuple[str, ...], target: Path | None, who: str, site: Path | None, state: Path | None) -> None:
    """Walk through the site meter by meter (or only METERS): each is read, you type what its display shows, and both are sealed.

    Nothing typed leaves a meter out, q ends the walk. The signed report is one page to print. The agent must be running.
    """
    with told():
        from agent.commissioning import AGREES
        from agent.faults import with_code
        from agent.key_change import key_in_force
        from config.check import load_site
        from config.mistake import did_you_mean
        from config.ratio import unknown_ratios

        settings = read_settings(site, state)
        loaded = load_site(settings.site)
        key = key_in_force(settings.state)
        known = {meter.id: meter for meter in loaded.site.meters}
        for name in meters:
            if name not in known:
                raise failure(_("There is no meter {meter} in the site file.", meter=name) + did_you_mean(name, list(known)))
        page = target or Path(f"commissioning-{datetime.now(UTC):%Y-%m-%d}.html")
        if page.exists():
            raise failure(_("There is a file {page} already; choose a new name with --report.", page=page))
    chosen = [known[name] for name in meters] or list(known.values())
    rows = _walk(chosen, who, site, state)
    with told():
        _write(page, loaded, key, who, rows)
    agreeing = sum(row.outcome == AGREES for row in rows)
    click.echo(
        _(
            "{agreeing} of {count} meters agree. The report: {page}  (print it and have it signed)",
            agreeing=agreeing,
            count=len(rows),
            page=page,
        )
    )
    unknown = [meter.id for meter in chosen if unknown_ratios(meter)]
    if unknown:
        click.echo(
            with_code(_("Not finished: the transformers' ratio of {meters} is unknown.", meters=", ".join(unknown)), "MS-105")
        )
    if agreeing < len(rows) or unknown:
        raise click.exceptions.Exit(1)


def _walk(chosen: list[Meter], who: str, site: Path | None, state: Path | None) -> list[Compared]:
    from agent.commissioning import LEFT_OUT, NOT_READ
    from agent.faults import with_code
    from config.ratio import ratio_advice, unknown_words

    rows: list[Compared] = []
    ended = False
    for number, meter in enumerate(chosen, 1):
        if ended:
            rows.append(_row(meter, outcome=LEFT_OUT))
            continue
        where = _("address {address} on {link}", address=meter.address or _("(none)"), link=meter.link)
        click.echo(f"\n{number}/{len(chosen)}  {meter.id}  {meter.model}, {where}  {meter.place}".rstrip())
        if words := unknown_words(meter):
            click.echo(f"      {with_code(words, 'MS-105')}\n      -> {ratio_advice(meter)}")
        try:
            made = _one(meter, who, site, state)
        except click.exceptions.Exit:
            rows.append(_row(meter, outcome=NOT_READ))  # why, was told
            continue
        ended = made is None
        rows.append(made or _row(meter, outcome=LEFT_OUT))
    return rows


def _one(meter: Meter, who: str, site: Path | None, state: Path | None) -> Compared | None:
    """One meter: read, asked for, sealed. None: the person ends the walk."""
    from agent.commissioning import AGREES, DIFFERS, LEFT_OUT, NOT_READ

    read = read_now(meter.id, who, site, state)
    begun = time.monotonic()
    for value in read["values"][:6]:
        cause = cause_words(str(value.get("cause", "")))
        doubt = f" ({cause})" if cause else ""
        shown = f"{value['value']} {value['unit']}{doubt}" if "value" in value else _("no value: {cause}", cause=cause)
        click.echo(f"      {value['quantity']:<28}{shown}")
    main = next((value["quantity"] for value in read["values"] if "value" in value), None)
    if main is None:
        click.echo("      " + _("It tells no value: nothing can be compared."))
        return _row(meter, outcome=NOT_READ)
    typed = _typed("      " + _("its display shows {quantity} =", quantity=main))
    if typed == "q":
        return None
    if not typed:
        return _row(meter, outcome=LEFT_OUT)
    if time.monotonic() - begun > _FRESH_S:
        read = read_now(meter.id, who, site, state)  # the counter went on while you walked to the display
    paired = compare(read, meter.id, typed, main, who, site, state)
    word = _("agrees") if paired.agrees else _("DOES NOT AGREE: check unit, transformer ratio and model")
    said = _("{read} {unit} read, {display} shown", read=paired.read, unit=paired.unit, display=typed)
    click.echo(f"      {said}: {word} ({paired.compared}, {paired.n})")
    return _row(
        meter,
        outcome=AGREES if paired.agrees else DIFFERS,
        quantity=paired.quantity,
        unit=paired.unit,
        read=paired.read,
        display=typed,
        read_at=read["time"],
        reading=paired.compared,
        comparison=paired.n,
        reading_leaf=read["leaf"],
        comparison_leaf=paired.leaf,
    )


def _typed(question: str) -> str:
    """What is typed, a number, `q` or nothing; asked again as long as it is something else."""
    import signal
    from decimal import Decimal, InvalidOperation

    with suppress(
        ValueError
    ):  # Ctrl-C ends the walk, not the report of what was done; elsewhere than in a terminal nobody types it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    while True:
        try:
            typed = str(click.prompt(question, default="", show_default=False, prompt_suffix=" ")).strip().replace(",", ".")
        except click.Abort:
            return "q"
        if typed in ("", "q"):
            return typed
        try:
            if Decimal(typed).is_finite() and "e" not in typed.lower():
                return typed
        except InvalidOperation:
            pass
        advice = _("Write the digits on the display, such as 184223.5; nothing to leave this meter out, q to end.")
        click.echo(f"      {advice}")


def _row(meter: Meter, outcome: str, **more: Any) -> Compared:
    from agent.commissioning import Compared

    plate = (meter.link, meter.address, meter.model, meter.serial, meter.place, meter.ct or "", meter.vt or "")
    return Compared(meter.id, *plate, outcome, **more)


def _write(page: Path, loaded: Any, key: Any, who: str, rows: list[Compared]) -> None:
    from agent import __version__
    from agent.checkpoint import origin_of, verifier_key
    from agent.commissioning import content_of, report

    gateway = loaded.site.gateway
    made_at = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    content = content_of(gateway, who, made_at, loaded.digest, __version__, rows)
    with page.open("x", encoding="utf-8") as file:
        file.write(report(content, key, verifier_key(origin_of(gateway), key.public)))


@click.command("verify-report", short_help="Check a commissioning report's signature.")
@click.argument("page", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--key", "line", help="The gateway's key line, from the enrolment form.")
def verify_report(page: Path, line: str | None) -> None:
    """Check that the commissioning report PAGE is what the gateway signed. Needs no gateway and no network."""
    from agent.checkpoint import CheckpointError, origin_of, read_verifier_key
    from agent.commissioning import OUTCOMES, ReportError, checked, line_in, rows_of
    from agent.findings import printable

    try:
        text = page.read_text("utf-8")
        origin, public = read_verifier_key(line or line_in(text))
        found = checked(text, public)
    except (ReportError, CheckpointError, UnicodeDecodeError) as error:
        raise failure(_("{page}: {error}. Do not rely on it.", page=page, error=error), "MS-404") from None
    content = found.content
    if origin != origin_of(content["gateway"]):
        words = _("it is the report of {gateway}, the key line is of {origin}", gateway=content["gateway"], origin=origin)
        raise failure(_("{page}: {error}. Do not rely on it.", page=page, error=words), "MS-404")
    head = f"{content['gateway']}, {content['made_at']}"
    click.echo(printable(_("{head}, compared by {who}; signed by key {key}", head=head, who=content["who"], key=found.key)))
    for row in rows_of(content):
        click.echo(printable("  " + "  ".join(_(cell) if cell in OUTCOMES else cell for cell in row if cell)))
    if not found.same_page:
        raise failure(_("The page shows something else than what was signed; what was signed stands above."), "MS-404")
    if line is None:
        click.echo(_("Compare this key line with the one on the enrolment form, or give it as --key: {line}", line=found.line))
