"""`bench data lungs`: compare the detected lungs with CheXmask's."""

import json
from pathlib import Path
from typing import Annotated

import typer

from bench.cli.data import data_app
from bench.cli.options import JsonOption, QuietOption, examples
from harmonize.errors import ConfigError


def add(_app: typer.Typer) -> None:
    """Add the command `lungs` to the group `bench data`."""
    data_app.command(
        epilog=examples("bench data lungs --data data.yaml", "bench data lungs --data /data --images 1000")
    )(lungs)


def lungs(
    data: Annotated[Path, typer.Option("--data", help="Folder with the datasets, or a data file.")],
    images: Annotated[int, typer.Option(min=1, help="Number of random images, per cohort.")] = 200,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Compare detected lungs with CheXmask's (IoU by hospital)."""
    from bench.cli.progress_bars import choose_display
    from bench.cli.text_tables import table_lines
    from bench.extensions.chexmask.detector import agreement
    from harmonize.cohorts.cohort import load
    from harmonize.cohorts.specs import read_data

    with choose_display(quiet) as display:
        measured = [agreement(load(spec), images, display.progress) for spec in read_data(data).values()]
    rows = [row for row in measured if row is not None]
    if not rows:
        fix = "put the tables of CheXmask into a folder CheXmask/ next to the datasets (docs/real-data.md)"
        raise ConfigError("no dataset has a table of CheXmask", str(data), fix)
    if as_json:
        typer.echo(json.dumps([row._asdict() for row in rows]))
        return
    head = ("cohort", "masks", "lungs detected", "mean IoU", "10th percentile", "median")
    cells = [
        (r.cohort, f"{r.images:,}", f"{r.detected:,}", *(f"{v:.3f}" for v in (r.mean, r.low, r.median))) for r in rows
    ]
    typer.echo("\n".join(table_lines([head, *cells])))
