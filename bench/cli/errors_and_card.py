"""`bench errors` and `bench card`: the most confident errors of a run, and its model card."""

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.completion import one_of
from bench.cli.options import (
    CohortsOption,
    CsvOption,
    FindingsOption,
    JsonOption,
    RunArgument,
    StoredGridOption,
    StoreOption,
    ThresholdOption,
    examples,
)
from bench.cli.predict import check_rule
from bench.cli.text_tables import printable, table_lines

ERRORS_EXAMPLES = examples("bench errors 3fa9 --cohort nih --finding Edema --kind fn -n 50 --csv")
CARD_EXAMPLES = examples("bench card 3fa9")
_FIRST_COLUMNS = ("image_id", "dataset", "finding", "kind", "calibrated")  # a narrow terminal shows only these


def errors(
    run: RunArgument,
    cohort: CohortsOption = None,
    finding: FindingsOption = None,
    kind: Annotated[
        str,
        typer.Option("--kind", help="fp: false positives; fn: false negatives.", autocompletion=one_of("fp", "fn")),
    ] = "",
    most: Annotated[int, typer.Option("-n", min=1, help="Number of errors, the most confident first.")] = 20,
    at: ThresholdOption = "f1_max",
    grid: StoredGridOption = None,
    store: StoreOption = Path("runs"),
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """List a run's most confident errors.

    The list contains image ids and paths, so show it only to people who may see the images.
    """
    from bench.results.worst_errors import COLUMNS, mistakes
    from bench.store.safe_csv import csv_text
    from bench.store.store import Store

    check_rule(at)
    table = mistakes(Store.open(store, create=False), run, grid, cohort or (), finding or (), kind, at, most)
    if as_json:
        typer.echo(table.to_json(orient="records", double_precision=15))
    elif as_csv:
        typer.echo(csv_text(table), nl=False)
    elif len(table):
        table = table[[*_FIRST_COLUMNS, *(name for name in COLUMNS if name not in _FIRST_COLUMNS)]]
        rows = [[printable(v) if isinstance(v, str) else f"{v:.3f}" for v in row] for row in table.to_numpy(object)]
        typer.echo("\n".join(table_lines([list(table.columns), *rows])))
    else:
        typer.echo("no such errors")


def card(
    run: RunArgument,
    grid: StoredGridOption = None,
    store: StoreOption = Path("runs"),
) -> None:
    """Write a model card into the run's folder.

    The file is MODEL_CARD.md, in Markdown.
    """
    from bench.results.model_card import write_card
    from bench.store.store import Store

    typer.echo(f"model card: {write_card(Store.open(store, create=False), run, grid)}")
