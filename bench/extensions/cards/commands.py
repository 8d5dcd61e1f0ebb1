"""`bench errors`, `bench card` and `bench checklist`.

They list the most confident errors of a run, write its model card, and fill the items of reporting checklists that the store answers.
"""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from bench.cli import options
from bench.cli.completion import one_of
from bench.cli.group import READ
from bench.cli.predict import check_rule
from bench.cli.text_tables import printable, table_lines, wrapped
from bench.system.disclaimer import TRAINED_ON_SYNTHETIC
from harmonize.errors import ConfigError

ERRORS_EXAMPLES = options.examples("bench errors 3fa9 --cohort nih --finding Edema --kind fn -n 50 --csv")
CARD_EXAMPLES = options.examples("bench card 3fa9")
CHECKLIST_EXAMPLES = options.examples(
    "bench checklist --grid main-study", "bench checklist --grid main-study -o methods.md"
)
_FIRST_COLUMNS = ("image_id", "dataset", "finding", "kind", "calibrated")  # a narrow terminal shows only these


def add(app: typer.Typer) -> None:
    """Add the commands `bench errors`, `bench card` and `bench checklist`."""
    for command, lines in ((errors, ERRORS_EXAMPLES), (card, CARD_EXAMPLES), (checklist, CHECKLIST_EXAMPLES)):
        app.command(rich_help_panel=READ, epilog=lines)(command)


def errors(
    run: options.RunArgument,
    cohort: options.CohortsOption = None,
    finding: options.FindingsOption = None,
    kind: Annotated[
        str,
        typer.Option(
            "--kind", help="fp: false positives; fn: false negatives. Default: both.", autocompletion=one_of("fp", "fn")
        ),
    ] = "",
    most: Annotated[int, typer.Option("-n", min=1, help="Number of errors, the most confident first.")] = 20,
    at: options.ThresholdOption = "f1_max",
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
    from bench.extensions.cards.worst_errors import COLUMNS, mistakes  # slow imports: a wrong name was refused above
    from bench.planning.manifest import trained_on_synthetic
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
    from bench.extensions.cards.model_card import write_card  # imports pandas: a wrong name was refused above

    typer.echo(f"model card: {write_card(opened, run, grid)}")


def checklist(
    grid: options.StoredGridOption = None,
    store: options.StoreOption = Path("runs"),
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The Markdown file. Default: in the report's folder.")
    ] = None,
    as_json: options.JsonOption = False,
) -> None:
    """Fill the reporting checklists of journals.

    Fills the items of TRIPOD+AI, CLAIM and TRIPOD-Cluster that stored values answer, with links to these values, and names
    who has to write the others. Needs the report of the grid.
    """
    from bench.planning.stored_names import store_with

    opened = store_with(store, grid)
    from bench.extensions.cards.checklist_text import json_document, write_checklists
    from bench.extensions.cards.checklists import filled_checklists
    from bench.planning.manifest import read_manifest  # slow imports: a wrong name was refused above

    manifest = read_manifest(opened, grid)
    filled = filled_checklists(manifest)
    path = write_checklists(manifest, filled, output)
    if as_json:
        typer.echo(json.dumps(json_document(manifest, filled), indent=1))
    else:
        typer.echo("\n".join(wrapped([each.summary for each in filled])))
    typer.echo(f"checklists: {path}", err=as_json)
