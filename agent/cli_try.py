"""The verb `try`: which encoding of a meter's registers gives the number on its display."""

from __future__ import annotations

import asyncio
from decimal import Decimal, InvalidOperation
from pathlib import Path

import click

from agent.decoding import Decoding, decodings
from agent.terminal import failure, read_settings, site_options, told
from config.language import _

_SHOWN = 8


@click.command("try", short_help="Find how a number on the display stands in the registers.")
@click.argument("meter", required=False)
@click.option("--address", type=click.IntRange(0, 65535), required=True, help="Where the manual has it, counted from 0.")
@click.option("--expect", required=True, help="The number on the display now, in the quantity's unit, such as 230.1.")
@click.option("--function", type=click.Choice(["3", "4"]), help="3 holding registers, 4 input registers; else both are tried.")
@click.option("--within", default="2", show_default=True, help="How far off a candidate may be, in percent.")
@click.option("--registers", help="Registers from --address on in hexadecimal, such as '4366 4000'; nothing is read then.")
@site_options
def try_(
    meter: str | None,
    address: int,
    expect: str,
    function: str | None,
    within: str,
    registers: str | None,
    site: Path | None,
    state: Path | None,
) -> None:
    """Read the registers of METER around an address and show which type, order, scale and offset give the number expected.

    The likeliest stands first, as it is written in a model or under a meter's points. Try a second number before you rely on it.
    Exit code 1 if nothing comes near.
    """
    expected, share = _number(expect, "--expect"), _number(within, "--within") / 100
    if registers is not None:
        blocks = {int(function or 3): (address, _given(registers))}
    elif meter:
        blocks = _read(meter, address, [int(function)] if function else [3, 4], site, state)
    else:
        raise failure(_("Say which meter to read, by its id in site.yaml, or give what you have read: --registers '4366 4000'."))
    near = [(each, kind) for kind, (first, held) in blocks.items() for each in decodings(held, first, address, expected, share)]
    near.sort(key=lambda pair: pair[0].cost)
    if not near:
        click.echo(
            _("Nothing around {address} comes within {within} % of {expect}.", address=address, within=within, expect=expect)
        )
        click.echo(_("Look at the display again: its unit (kWh or MWh), primary or secondary value. Then try other addresses."))
        raise click.exceptions.Exit(1)
    for place, (each, kind) in enumerate(near[:_SHOWN], 1):
        click.echo(f"{place}  {_plain(each.value):<16} {_yaml(each, kind)}{_remark(each)}")
    if len(near) > _SHOWN:
        click.echo(
            _(
                "   and {near} less likely ones; a number with more digits, or a second one, tells them apart",
                near=len(near) - _SHOWN,
            )
        )


def _number(text: str, option: str) -> Decimal:
    try:
        number = Decimal(text.replace(",", "."))
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite():
        raise failure(_("{option} {text} is not a number; write for example {option} 230.1", option=option, text=text))
    return number


def _given(text: str) -> list[int | None]:
    digits = "".join(text.split())
    try:
        data = bytes.fromhex(digits)
    except ValueError:
        data = b""
    if not data or len(data) % 2:
        raise failure(
            _("--registers {text} is not a row of registers; write four hexadecimal digits each, such as '4366 4000'", text=text)
        )
    return [int.from_bytes(data[index : index + 2], "big") for index in range(0, len(data), 2)]


def _read(
    meter: str, address: int, functions: list[int], site: Path | None, state: Path | None
) -> dict[int, tuple[int, list[int | None]]]:
    """The registers around the address by function, with what went over the wire shown."""
    from agent.clock import Clock
    from agent.control import whole
    from agent.polled import polled_meters
    from agent.registers import registers_around
    from agent.state import is_running
    from agent.ways import directly, way_to
    from config.check import load_site
    from config.mistake import did_you_mean

    with told():
        settings = read_settings(site, state)
        loaded = load_site(settings.site)
        found = next((each for each in loaded.site.meters if each.id == meter), None)
        if found is None:
            raise failure(
                _(
                    "There is no meter {meter} in the site file.{did_you_mean}",
                    meter=meter,
                    did_you_mean=did_you_mean(meter, [m.id for m in loaded.site.meters]),
                )
            )
        polled = whole([each for each in polled_meters(loaded, found.link) if each.id == meter])
        if polled.target.model.protocol != "modbus":
            raise failure(
                _(
                    "{meter} has no registers: it speaks another protocol than Modbus. `meterseal read {meter}` shows it all.",
                    meter=meter,
                )
            )
        if is_running(settings.state):
            raise failure(
                _(
                    "The running agent holds the line. Stop it for a moment (systemctl stop meterseal), "
                    "or give what you have read:\n--registers and the registers in hexadecimal."
                )
            )

        async def once() -> dict[int, tuple[int, list[int | None]]]:
            held = {}
            async with directly(way_to(loaded, found.link, settings.state, settings, Clock())) as ask:
                for function in functions:
                    first, values, made = await registers_around(ask, polled, address, function)
                    for exchange in made:
                        click.echo(f">> {exchange.request.hex(' ')}\n<< {exchange.answer.hex(' ') or 'nothing'}")
                    held[function] = (first, values)
            return held

        return asyncio.run(once())


def _plain(value: Decimal) -> str:
    return f"{value:f}"


def _yaml(each: Decoding, function: int) -> str:
    """The place as it is written in YAML; what a model has by default is left out."""
    at = {"address": str(each.address), "type": each.type}
    at |= {"count": str(each.count)} if each.count else {}
    at |= {"function": str(function)} if function != 3 else {}
    at |= {"word_order": each.word_order} if each.word_order != "big" else {}
    at |= {"byte_order": each.byte_order} if each.byte_order != "big" else {}
    scale = "" if each.scale == "1" else f", scale: {each.scale}"
    return f"at: {{{', '.join(f'{key}: {word}' for key, word in at.items())}}}{scale}"


def _remark(each: Decoding) -> str:
    return _("   (or {alike}: the same so far)", alike=", ".join(each.alike)) if each.alike else ""
