"""The verbs between a plant's list of meters and the site file: `import` reads a spreadsheet, `export-meters` writes one."""

from __future__ import annotations

from pathlib import Path

import click

from agent.terminal import failure, read_settings, site_options, told
from config.language import _


@click.command("import", short_help="Make the meters of a site file from a spreadsheet.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--link", help="The line of rows that name none.")
@click.option("--model", help="The model of rows that name none.")
@click.option("--output", type=click.Path(path_type=Path), help="Write it into this file; else it is shown.")
def import_(file: Path, link: str | None, model: str | None, output: Path | None) -> None:
    """Make the `meters:` of a site file from a spreadsheet FILE (.csv or .xlsx).

    The columns are those of the ledger of measuring instruments (GB 17167), in Chinese or English, in any order. Every mistake
    is told with its row and column.
    """
    with told():
        from config.sheet import as_yaml, read_rows
        from config.sheet_file import read_sheet

        imported = read_rows(read_sheet(file), str(file), link, model)
        text = as_yaml(imported)
        if output:
            if output.exists():
                raise failure(_("{output} is there already: name another file, or take it away first.", output=output))
            output.write_text(text, "utf-8")
    if not output:
        click.echo(text, nl=False)
    for note in imported.notes:
        click.echo(note, err=True)
    click.echo(_("{count} meters. Put them into site.yaml, then run  meterseal check", count=len(imported.meters)), err=True)


@click.command("export-meters", short_help="Write the site's meters into a spreadsheet.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--english", is_flag=True, help="English titles; else those of GB 17167.")
@site_options
def export_meters(file: Path, english: bool, site: Path | None, state: Path | None) -> None:
    """Write the meters of the site file into a spreadsheet FILE (.csv or .xlsx), as `import` reads it."""
    with told():
        from config.check import load_site
        from config.sheet import not_written, to_rows
        from config.sheet_file import write_sheet

        meters = load_site(read_settings(site, state).site).site.meters
        if file.suffix.lower() not in (".csv", ".xlsx"):
            raise failure(_("Name a file that ends in .csv or .xlsx."))
        write_sheet(file, to_rows(meters, english=english))
    for line in not_written(meters):
        click.echo(line, err=True)
    click.echo(_("{file}: {count} meters", file=file, count=len(meters)))
