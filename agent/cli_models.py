"""The verbs around meter models: `models` lists them, `models show` tells all of one, `models check` tries one's own file."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from agent.terminal import failure, read_settings, site_options, told
from config.language import _

if TYPE_CHECKING:
    from config.model import ModelFile


@click.group(invoke_without_command=True, short_help="List the meter models; show one, or check a file of your own.")
@site_options
@click.pass_context
def models(context: click.Context, site: Path | None, state: Path | None) -> None:
    """List the meter models: the shipped ones and those of the site's own folders."""
    if context.invoked_subcommand:
        return
    with told():
        from config.library import load_model, shipped_models

        shipped = shipped_models()
        known = {name: load_model(path) for name, path in known_models(site, state).items()}
    for name in sorted(known):
        declared = known[name].declared
        own = "" if name in shipped else _("  (your own)")
        click.echo(f"{name:<32} {declared.trust.level}  {declared.medium:<12} {declared.maker} {declared.product}{own}")


@models.command(short_help="Tell all of one model.")
@click.argument("name")
@click.option("--file", "as_file", is_flag=True, help="Its file, as it is.")
@site_options
def show(name: str, as_file: bool, site: Path | None, state: Path | None) -> None:
    """Tell what the model NAME says: its sources and how far it is trusted, what it tells and where, what is open."""
    with told():
        from agent.model_text import described
        from config.library import load_model
        from config.mistake import did_you_mean

        known = known_models(site, state)
        if name not in known:
            raise failure(_("There is no model {name}.{did_you_mean}", name=name, did_you_mean=did_you_mean(name, list(known))))
        model = load_model(known[name])
    click.echo(model.text.decode("utf-8") if as_file else described(model, str(known[name])))


@models.command(short_help="Check a model file: all mistakes, its examples, how it differs from a shipped one.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--against", help="The shipped model to compare it with; else the one it is named after.")
def check(file: Path, against: str | None) -> None:
    """Check a model FILE: every mistake with line and column, all examples run, and what a shipped model says otherwise."""
    with told():
        from agent.model_examples import example_findings, unproven
        from agent.model_text import differences
        from config.library import load_model
        from config.mistake import ConfigError
        from config.text import read_text

        model = load_model(file)
        found = list(example_findings(model.declared))
        if found:
            document = read_text(model.text, str(file))
            raise ConfigError([document.mistake(place, message) for place, message in found])
        other = _shipped_like(model, against)
    declared = model.declared
    values = sum(len(example.values) for example in declared.examples)
    click.echo(
        _(
            "{file}: no mistakes. {model}, revision {revision}, SHA-256 {digest}",
            file=file,
            model=declared.model,
            revision=declared.revision,
            digest=model.digest,
        )
    )
    click.echo(
        _("  {examples} examples hold exactly the {values} values they state.", examples=len(declared.examples), values=values)
    )
    if missing := unproven(declared):
        click.echo(
            _("  No example shows {missing}: compare them with the display (`meterseal pair`).", missing=", ".join(missing))
        )
    if other is None:
        click.echo(_("  No shipped model is named like it; compare it with one: --against NAME."))
        return
    if other.declared.model == declared.model and other.digest != model.digest:
        click.echo(_("  A shipped model has this name: give yours one of its own, such as {model}-own.", model=declared.model))
    told_otherwise = list(differences(declared, other.declared))
    same = _(
        "says the same as the shipped {model}, revision {revision}", model=other.declared.model, revision=other.declared.revision
    )
    click.echo(
        _("  It {same}.", same=same)
        if not told_otherwise
        else _("  Otherwise than in the shipped {model}:", model=other.declared.model)
    )
    for line in told_otherwise:
        click.echo(f"    {line}")


def known_models(site: Path | None, state: Path | None) -> Mapping[str, Path]:
    """Every model's file by name: the shipped ones and, where there is a site file, those of its folders. Raises ConfigError."""
    from config.library import find_models, model_folders, read_bytes
    from config.mistake import ConfigError
    from config.text import read_text

    path = read_settings(site, state).site
    folders: list[Path] = []
    if path.is_file():
        named: object = None
        with suppress(ConfigError):  # `meterseal check` tells what is wrong with it
            top = read_text(read_bytes(path), str(path)).value
            named = top.get("models") if isinstance(top, dict) else None
        listed = [each for each in named if isinstance(each, str)] if isinstance(named, list) else []
        folders = [folder for folder in model_folders(path.parent, listed) if folder.is_dir()]
    return find_models(folders)


def _shipped_like(model: ModelFile, against: str | None) -> ModelFile | None:
    """The shipped model that one is to be compared with: the one asked for, else the longest name it begins with."""
    from config.library import load_model, shipped_models
    from config.mistake import did_you_mean

    shipped, name = shipped_models(), model.declared.model
    if against is not None:
        if against not in shipped:
            raise failure(
                _(
                    "There is no shipped model {against}.{did_you_mean}",
                    against=against,
                    did_you_mean=did_you_mean(against, list(shipped)),
                )
            )
        return load_model(shipped[against])
    near = [each for each in shipped if name == each or name.startswith(f"{each}-")]
    return load_model(shipped[max(near, key=len)]) if near else None
