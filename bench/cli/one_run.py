"""`bench errors` and `bench card`: list the most confident errors of a run, write its model card."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from bench.cli import options
from bench.cli.predict import check_rule
from bench.cli.text_tables import printable, table_lines
from bench.system.disclaimer import TRAINED_ON_SYNTHETIC
from harmonize.errors import ConfigError

ERRORS_EXAMPLES = options.examples("bench errors 3fa9 --cohort nih --finding Edema --kind fn -n 50 --csv")
CARD_EXAMPLES = options.examples("bench card 3fa9")
_FIRST_COLUMNS = ("image_id", "dataset", "finding", "kind", "calibrated")  # a narrow terminal shows only these


def errors(
    run: options.RunArgument,
    cohort: options.CohortsOption = None,
    finding: options.FindingsOption = None,
    kind: Annotated[
        str,
        typer.Option("--kind", help="fp: false positives; fn: false negatives. Default: both."),
    ] = "",
    most: Annotated[int, typer.Option("-n", min=1, help="Number of errors, the most confident first.")] = 20,
    at: options.ThresholdOption = None,
    grid: options.GridOfRunOption = None,
    store: options.StoreOption = Path("runs"),
    as_json: options.JsonOption = False,
    as_csv: options.CsvOption = False,
) -> None:
    """List a run's most confident errors.

    The list contains image ids and paths, so show it only to people who may see the images.
    """
    from bench.planning.stored_names import check_entries, find_run, store_with

    check_rule(at)
    ConfigError.check_choices("kind", [kind] if kind else [], ("fp", "fn"))
    opened = store_with(store, grid, [run])
    check_entries(opened, "cohort", cohort or ())
    from bench.planning.manifest import trained_on_synthetic  # slow imports: a wrong name was refused above
    from bench.results.worst_errors import COLUMNS, mistakes
    from bench.store.safe_csv import csv_text

    table = mistakes(opened, run, grid, cohort or (), finding or (), kind, at, most)
    if trained_on_synthetic(opened, find_run(opened, run)):
        typer.echo(TRAINED_ON_SYNTHETIC, err=as_json or as_csv)
    if as_json:
        typer.echo(table.to_json(orient="records", double_precision=15))
    elif as_csv:
        typer.echo(csv_text(table), nl=False)
    elif len(table):
        table = table[[*_FIRST_COLUMNS, *(name for name in COLUMNS if name not in _FIRST_COLUMNS)]]
        if sys.stdout.isatty():
            table = table.assign(image_id=[i if len(i) <= 26 else f"{i[:8]}…{i[-17:]}" for i in table["image_id"]])
        rows = [[printable(v) if isinstance(v, str) else f"{v:.3f}" for v in row] for row in table.to_numpy(object)]
        typer.echo("\n".join(table_lines([list(table.columns), *rows])))
    else:
        typer.echo("no such errors")


def card(
    run: options.RunArgument, grid: options.GridOfRunOption = None, store: options.StoreOption = Path("runs")
) -> None:
    """Write a model card into the run's folder.

    The file is MODEL_CARD.md, in Markdown.
    """
    from bench.planning.stored_names import store_with

    opened = store_with(store, grid, [run])
    from bench.results.model_card import write_card  # imports pandas: a wrong name was refused above

    typer.echo(f"model card: {write_card(opened, run, grid)}")
