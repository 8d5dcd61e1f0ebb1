"""`bench labels-needed`: how many labeled patients a new hospital needs."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cli import options
from bench.cli.group import NEW_HOSPITAL
from bench.cli.text_tables import table_lines, wrapped
from reports.formatting import number

if TYPE_CHECKING:
    from bench.extensions.label_needs.needs import LabelNeeds

LABELS_NEEDED_EXAMPLES = options.examples(
    "bench labels-needed --grid demo",
    "bench labels-needed --grid demo --finding Edema --ece .1",
    "bench labels-needed --run 3fa9",
)


def add(app: typer.Typer) -> None:
    """Add the command `bench labels-needed`."""
    app.command("labels-needed", rich_help_panel=NEW_HOSPITAL, epilog=LABELS_NEEDED_EXAMPLES)(labels_needed)


def labels_needed(
    grid: options.StoredGridOption = None,
    run: Annotated[
        str | None,
        typer.Option("--run", help="A run id, or its first characters. Default: all runs of the grid."),
    ] = None,
    finding: options.FindingsOption = None,
    ece: Annotated[
        float, typer.Option("--ece", min=0, max=1, help="Highest calibration error (ECE) after recalibration.")
    ] = 0.05,
    store: options.StoreOption = Path("runs"),
    quiet: options.QuietOption = False,
    as_json: options.JsonOption = False,
    as_csv: options.CsvOption = False,
) -> None:
    """Estimate how many labeled patients a new hospital needs.

    Each external hospital of the grid plays the new hospital: labels of a few of its patients are drawn at random. They
    recalibrate the run. Other patients show the result.
    """
    from bench.planning.stored_names import store_with

    opened = store_with(store, grid, [run] if run else [])
    from bench.cli.progress_bars import choose_display  # slow imports: a wrong name was refused above
    from bench.extensions.label_needs.needs import labels_needed as measure
    from bench.store.safe_csv import csv_text

    with choose_display(quiet) as display:
        result = measure(opened, grid, run, finding or (), ece, display.progress)
    if as_json:
        tables = {
            name: json.loads(table.to_json(orient="records", double_precision=15))
            for name, table in (("needed", result.needs), ("curves", result.curves))
        }
        facts = {"runs": list(result.runs), "hospitals": dict(result.hospitals)}
        typer.echo(json.dumps({**facts, "synthetic": result.synthetic, "left_out": list(result.left_out), **tables}))
    elif as_csv:
        typer.echo(csv_text(result.curves.assign(synthetic=result.synthetic)), nl=False)
    else:
        typer.echo("\n".join(lines(result)))


def lines(result: "LabelNeeds") -> list[str]:
    """Return the answer as lines of text: runs, a table of findings, and notes."""
    from bench.extensions.label_needs.draws import SHARE
    from harmonize.cohorts.hospital_names import SYNTHETIC_NOTICE

    needs, curve = (table[table["dataset"] == table["dataset"].iloc[0]] for table in (result.needs, result.curves))
    out = [SYNTHETIC_NOTICE, ""] if result.synthetic else []
    goal = f"Recalibrate to an ECE of at most {result.goal:g} in {100 * SHARE:.0f} % of the draws (Platt scaling)"
    rows = needs.to_dict("records")
    out += [*(f"run     {name}" for name in result.runs), "", goal]
    out += [f"  {line}" for line in table_lines([_HEADER, *(_answer(row, _at(curve, row)) for row in rows)])]
    return [*out, "", *wrapped([*_NOTES, *result.left_out])]


_HEADER = ["finding", "patients needed", "share", "ECE", "10-90 %", "with 0 labels", "best possible", "hospitals"]


def _at(curve: Any, row: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the row of the curve that an answer is about, and the median without labels as `start`."""
    of_finding = curve[curve["finding"] == row["finding"]]
    n = row["largest"] if row["needed"] != row["needed"] else row["needed"]
    start = of_finding.loc[of_finding["n"] == 0, "median"]
    return {**of_finding[of_finding["n"] == n].iloc[0].to_dict(), "start": start.iloc[0] if len(start) else None}


def _answer(row: Mapping[Any, Any], at: Mapping[str, Any]) -> list[str]:
    """Return the cells of a finding's answer; share, median and spread are those with the needed or the most labels."""
    needed = row["note"] or f"{row['needed']:,.0f}"
    spread = f"{number(at['low'])} to {number(at['high'])}"
    values = [number(at["share"], ".2f"), number(at["median"]), spread, number(at["start"]), number(row["best"])]
    return [row["finding"], needed, *values, str(at["hospitals"])]


_NOTES = (
    "patients needed: the smallest number of labeled patients with enough draws at the goal. 0: the run as it is.",
    "Each share is over the draws at all hospitals and of all runs listed above.",
    "share, and all columns after it: with this number of patients, or with the most that were tried. --csv: the curves.",
    "best possible ECE: that of perfectly calibrated probabilities on the same images.",
    "too few patients to measure: even perfectly calibrated probabilities have an ECE above the goal too often.",
)
