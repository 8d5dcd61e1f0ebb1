"""`bench readers`: read what single readers answered, and compare them with the networks of a grid."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cli.group import READ
from bench.cli.options import JsonOption, StoredGridOption, StoreOption, examples
from bench.cli.text_tables import interval, table_lines, wrapped
from harmonize.errors import ConfigError
from reports.formatting import number

if TYPE_CHECKING:
    import pandas as pd

    from bench.planning.manifest import Manifest

READERS_EXAMPLES = examples(
    "bench readers --grid demo --table nih=readers.csv",
    "bench readers --json",
)
NOTE = (
    "A reader is below the curve if the network has a higher sensitivity at the reader's specificity, on these images and against"
    " the majority of the other readers. Readers of a dataset see one image without the patient's history, so this says nothing"
    " about clinical work. Intervals are over patients, not over readers."
)


def add(app: typer.Typer) -> None:
    """Add the command `bench readers`."""
    app.command(rich_help_panel=READ, epilog=READERS_EXAMPLES)(readers)


def readers(
    grid: StoredGridOption = None,
    table: Annotated[
        list[str] | None,
        typer.Option("--table", help="COHORT=FILE: a CSV with image_id, reader, and a column for each finding."),
    ] = None,
    store: StoreOption = Path("runs"),
    as_json: JsonOption = False,
) -> None:
    """Compare single radiologists with the networks of a grid.

    Stores the readers' tables without the readers' names. The next page of the grid has a section on them.
    """
    from bench.planning.stored_names import store_with

    opened = store_with(store, grid)
    own = {name.partition("=")[0]: name.partition("=")[2] for name in table or () if "=" in name}
    if table and len(own) != len(table):
        wrong = next((name for name in table if "=" not in name), table[-1])
        raise ConfigError(f"--table is {wrong!r}", "--table", "write each cohort once, as COHORT=FILE")
    from bench.extensions.readers.cohorts import save  # slow imports: a wrong name was refused above
    from bench.extensions.readers.report_tables import measured
    from bench.planning.manifest import read_manifest
    from bench.results.read_predictions import unfinished

    manifest = read_manifest(opened, grid)
    names = [cohort.name for cohort in manifest.cohorts]
    for name in own:
        if name not in names:
            fix = f"{ConfigError.hint(name, names)}the grid has {', '.join(names)}"
            raise ConfigError(f"no cohort {name!r} in the grid", "--table", fix)
    said = [save(manifest, cohort, Path(own[cohort.name])) for cohort in manifest.cohorts if cohort.name in own]
    if not said and not (opened.root / "readers").is_dir():
        raise ConfigError("no table of readers", "--table", "give one: --table COHORT=FILE")
    runs = {run.id: (run.id,) for run in manifest.ranked if not unfinished(manifest, run)}
    tables = measured(manifest, runs)
    if as_json:
        texts = {name: json.loads(of.to_json(orient="records", double_precision=15)) for name, of in tables.items()}
        typer.echo(json.dumps({"stored": said, **texts}))
    else:
        typer.echo("\n".join(wrapped([*said, "", *lines(tables, manifest), "", NOTE, ""])))
        typer.echo(f"section of the page: bench report --grid {manifest.name}")


def lines(tables: "Mapping[str, pd.DataFrame]", manifest: "Manifest") -> list[str]:
    """Return the answer as lines of text: for each cohort the agreement, and for each run the readers below its curve."""
    from reports.tables import records_of

    def bounds(row: "Mapping[str, Any]") -> str:
        return interval(row["low"], row["high"])

    out: list[str] = []
    names = {run.id: str(manifest.names.get(run.id, run.id)) for run in manifest.ranked}
    for dataset, agreement in tables["reader_agreement"].groupby("dataset", sort=False):
        rows = [("finding", "readers", "Fleiss' kappa", "interval", "images")]
        rows += [
            (r["finding"], str(r["num_readers"]), number(r["fleiss"]), bounds(r), f"{r['n']:,}")
            for r in records_of(agreement)
        ]
        shares = tables["reader_shares"]
        shares = shares[shares["dataset"] == dataset]
        below = [("run", "finding", "readers below the ROC curve", "share", "interval")]
        below += [
            (names[r["run_id"]], r["finding"], f"{r['num_below']} of {r['num_readers']}", number(r["value"]), bounds(r))
            for r in records_of(shares)
        ]
        out += [f"{dataset}: agreement of the readers", *(f"  {line}" for line in table_lines(rows)), ""]
        if len(below) > 1:
            out += [*(f"  {line}" for line in table_lines(below)), ""]
        else:
            out += [
                f"  No finding has {manifest.settings.min_count} patients with it and without it by the other readers.",
                "",
            ]
    return out[:-1] or ["The networks predicted no image that a reader answered."]
