"""`bench labels-needed`: how many labeled patients a new hospital needs."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cli import options
from bench.cli.completion import run_ids
from bench.cli.group import NEW_HOSPITAL
from bench.cli.text_tables import table_lines, wrapped
from reports.formatting import number

if TYPE_CHECKING:
    from bench.extensions.label_needs.needs import LabelNeeds

LABELS_NEEDED_EXAMPLES = options.examples(
    "bench labels-needed --grid demo",
    "bench labels-needed --grid demo --finding Edema --ece .1",
    "bench labels-needed --run 3fa9 --second 81c2",
)


def add(app: typer.Typer) -> None:
    """Add the command `bench labels-needed`."""
    app.command("labels-needed", rich_help_panel=NEW_HOSPITAL, epilog=LABELS_NEEDED_EXAMPLES)(labels_needed)


def labels_needed(
    grid: options.StoredGridOption = None,
    run: Annotated[
        str | None,
        typer.Option(
            "--run", help="A run id, or its first characters. Default: all runs of the grid.", autocompletion=run_ids
        ),
    ] = None,
    second: Annotated[
        str | None,
        typer.Option("--second", help="A second run: how many labels tell the two apart?", autocompletion=run_ids),
    ] = None,
    finding: options.FindingsOption = None,
    ece: Annotated[float, typer.Option("--ece", help="Highest calibration error (ECE) after recalibration.")] = 0.05,
    share: Annotated[float, typer.Option("--share", help="Share of draws that must reach the goal.")] = 0.8,
    store: options.StoreOption = Path("runs"),
    quiet: options.QuietOption = False,
    as_json: options.JsonOption = False,
    as_csv: options.CsvOption = False,
) -> None:
    """Estimate how many labeled patients a new hospital needs.

    Each external hospital of the grid plays the new hospital: labels of a few of its patients are drawn at random. They
    recalibrate the run, or compare two runs. Other patients show the result.
    """
    from bench.extensions.label_needs.goals import Goals
    from bench.planning.stored_names import store_with

    goals = Goals(ece, share)
    opened = store_with(store, grid, [prefix for prefix in (run, second) if prefix])
    from bench.cli.progress_bars import choose_display  # slow imports: a wrong name was refused above
    from bench.extensions.label_needs.needs import labels_needed as measure
    from bench.store.safe_csv import csv_text

    with choose_display(quiet) as display:
        result = measure(opened, grid, run, second, finding or (), goals, display.progress)
    if as_json:
        tables = {
            name: json.loads(table.to_json(orient="records", double_precision=15))
            for name, table in (("needed", result.needs), ("curves", result.curves))
        }
        facts = {"runs": list(result.runs), "pair": list(result.pair), "hospitals": dict(result.hospitals)}
        typer.echo(json.dumps({**facts, "synthetic": result.synthetic, "left_out": list(result.left_out), **tables}))
    elif as_csv:
        typer.echo(csv_text(result.curves.assign(synthetic=result.synthetic)), nl=False)
    else:
        typer.echo("\n".join(lines(result)))


def lines(result: "LabelNeeds") -> list[str]:
    """Return the answer as lines of text: runs, one table per goal, the curve of a single finding, and notes."""
    from harmonize.cohorts.hospital_names import SYNTHETIC_NOTICE

    needs, curves = (table[table["dataset"] == table["dataset"].iloc[0]] for table in (result.needs, result.curves))
    runs = [f"run     {name}" for name in result.runs]
    out = [SYNTHETIC_NOTICE, ""] if result.synthetic else []
    out += [*runs, *(f"second  {name}" for name in result.pair[1:]), ""]
    headings = _headings(result)
    for goal in needs["goal"].unique():
        rows = needs[needs["goal"] == goal].to_dict("records")
        curve = curves[curves["goal"] == goal]
        out += [headings[goal], *_indented([_HEADERS[goal], *(_answer(row, _at(curve, row)) for row in rows)]), ""]
        if needs["finding"].nunique() == 1:
            out += [*_indented([_CURVE_HEADER, *(_step(row) for row in curve.to_dict("records"))]), ""]
    return [*out, *wrapped([*_notes(result), *result.left_out])]


def _headings(result: "LabelNeeds") -> dict[str, str]:
    goals, share = result.goals, f"in {result.goals.share:.0%} of the draws".replace("%", " %")
    return {
        "calibration": f"Recalibrate to an ECE of at most {goals.ece:g} {share} (Platt scaling)",
        "difference": f"Tell the two runs apart by AUROC {share} (95 % interval)",
    }


_HEADERS = {
    "calibration": [
        "finding",
        "patients needed",
        "share",
        "ECE",
        "10-90 %",
        "with 0 labels",
        "best possible",
        "hospitals",
    ],
    "difference": ["finding", "patients needed", "share", "difference", "10-90 %", "hospitals"],
}
_CURVE_HEADER = ["patients", "share", "share by hospital", "median", "10-90 %", "hospitals", "draws"]


def _at(curve: Any, row: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the row of the curve that an answer is about, and the median without labels as `start`."""
    of_finding = curve[curve["finding"] == row["finding"]]
    n = row["largest"] if row["needed"] != row["needed"] else row["needed"]
    start = of_finding.loc[of_finding["n"] == 0, "median"]
    return {**of_finding[of_finding["n"] == n].iloc[0].to_dict(), "start": start.iloc[0] if len(start) else None}


def _answer(row: Mapping[Any, Any], at: Mapping[str, Any]) -> list[str]:
    """Return the cells of a finding's answer; share, median and spread are those with the needed or the most labels."""
    needed = row["note"] or f"{row['needed']:,.0f}"
    form = "+.3f" if row["goal"] == "difference" else ".3f"
    cells = [row["finding"], needed, number(at["share"], ".2f"), number(at["median"], form), _spread(at, form)]
    if row["goal"] == "calibration":
        cells += [number(at["start"]), number(row["best"])]
    return [*cells, str(at["hospitals"])]


def _step(row: Mapping[Any, Any]) -> list[str]:
    """Return the cells of one point of a curve."""
    form = "+.3f" if row["goal"] == "difference" else ".3f"
    hospitals = f"{row['share_low']:.2f} to {row['share_high']:.2f}"
    values = [f"{row['share']:.2f}", hospitals, number(row["median"], form), _spread(row, form)]
    return [f"{row['n']:,}", *values, str(row["hospitals"]), f"{row['draws']:,}"]


def _spread(row: Mapping[Any, Any], form: str) -> str:
    return f"{number(row['low'], form)} to {number(row['high'], form)}"


def _indented(rows: list[list[str]]) -> list[str]:
    return [f"  {line}" for line in table_lines(rows)]


def _notes(result: "LabelNeeds") -> list[str]:
    """Return sentences that explain the columns."""
    notes = [
        "patients needed: the smallest number of labeled patients with enough draws at the goal. 0: the run as it is.",
        "Each share is over the draws at all hospitals and of all runs listed above.",
        "share, and all columns after it: with this number of patients, or with the most that were tried.",
    ]
    goals = set(result.needs["goal"])
    if "calibration" in goals:
        notes.append("best possible ECE: that of perfectly calibrated probabilities on the same images.")
        notes.append(
            "too few patients to measure: even perfectly calibrated probabilities have an ECE above the goal too often."
        )
    if "difference" in goals:
        notes.append("not clear with all patients: at no hospital does the interval over all patients exclude 0.")
    else:
        notes.append("--run RUN --second RUN: how many labeled patients tell the two runs apart.")
    return notes
