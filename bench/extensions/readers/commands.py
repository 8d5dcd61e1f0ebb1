"""`bench readers`: store what single readers answered; the page compares them with the networks of a grid."""

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.group import READ
from bench.cli.options import StoredGridOption, StoreOption, examples
from bench.cli.text_tables import wrapped
from harmonize.errors import ConfigError


def add(app: typer.Typer) -> None:
    """Add the command `bench readers`."""
    app.command(rich_help_panel=READ, epilog=examples("bench readers --grid demo --table nih=readers.csv"))(readers)


def readers(
    table: Annotated[
        list[str],
        typer.Option("--table", help="COHORT=FILE: a CSV with image_id, reader, and a column for each finding."),
    ],
    grid: StoredGridOption = None,
    store: StoreOption = Path("runs"),
) -> None:
    """Compare single radiologists with the networks of a grid.

    Stores the readers' tables without the readers' names. The next page of the grid has a section on them.
    """
    from bench.planning.stored_names import store_with

    opened = store_with(store, grid)
    files: dict[str, str] = {}
    for text in table:
        name, equals, file = text.partition("=")
        if not equals or name in files:
            raise ConfigError(f"--table is {text!r}", "--table", "write each cohort once, as COHORT=FILE")
        files[name] = file
    from bench.extensions.readers.cohorts import save  # slow imports: a wrong name was refused above
    from bench.planning.manifest import read_manifest

    manifest = read_manifest(opened, grid)
    ConfigError.check_choices("table", files, [cohort.name for cohort in manifest.cohorts])
    lines = [save(manifest, cohort, Path(files[cohort.name])) for cohort in manifest.cohorts if cohort.name in files]
    typer.echo("\n".join(wrapped([*lines, f"section of the page: bench report --grid {manifest.name}"])))
