"""`bench evaluate`: test an imported model, trained elsewhere, on the cohorts of a grid."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli import options
from bench.cli.group import ELSEWHERE
from reports.schemas.select import select

if TYPE_CHECKING:
    import pandas as pd

    from bench.extensions.imported.evaluation import ModelEvaluation

EVALUATE_EXAMPLES = options.examples(
    "bench evaluate --model model.yaml --grid demo",
    "bench evaluate --model model.yaml --grid main-study --data data.yaml",
)


def add(app: typer.Typer) -> None:
    """Add the command `bench evaluate`."""
    app.command("evaluate", rich_help_panel=ELSEWHERE, epilog=EVALUATE_EXAMPLES)(evaluate)


def evaluate(
    context: typer.Context,
    model: Annotated[
        Path, typer.Option("--model", help="Description of the model (docs/extensions/your-own-model.md).")
    ],
    grid: options.GridOption,
    data: options.DataOption = None,
    store: options.StoreOption = Path("runs"),
    registry: options.RegistryOption = None,
    device: options.DeviceOption = "auto",
    workers: options.WorkersOption = 0,
    quiet: options.QuietOption = False,
    as_json: options.JsonOption = False,
) -> None:
    """Test a model trained elsewhere on the cohorts of a grid.

    The grid may be one of the store. The leaderboard lists the model next to the grid's own runs. A table of predictions
    for one hospital is enough.
    """
    from bench.cli.progress_bars import choose_display
    from bench.extensions.imported.request import EvaluationRequest
    from bench.store.store import Store
    from bench.system.devices import Devices, first_device

    devices = Devices.of(device, workers, here=False)
    request = EvaluationRequest.read(model, grid, registry, data, store)
    is_network = request.declared.kind != "predictions"
    options.only_valid(context, is_network, "for a network, not for predictions", "--device")
    opened = Store.open(store)
    chosen_device = first_device(device)
    # this module imports torch, which takes seconds: a wrong request was refused above
    from bench.extensions.imported.evaluation import evaluate as evaluate_imported

    with choose_display(quiet) as display:
        result = evaluate_imported(request, opened, data, chosen_device, devices.workers, display)
    rows = _rows(result)
    if as_json:
        facts = {"run": result.run.id, "name": result.run.name, "seen": result.run.passport["seen"]}
        facts |= {
            "answers": {name: stated["answer"] for name, stated in result.manifest.exposure(result.run).items()},
            "synthetic": result.manifest.phantom,
            "remarks": list(result.remarks),
            "rows": json.loads(rows.to_json(orient="records")),
            "page": str(result.report.page),
        }
        typer.echo(json.dumps(facts))
    else:
        typer.echo("\n".join(_lines(result, rows)))
    for line in result.report.failures():
        typer.echo(line, err=True)
    if result.report.failed:
        raise typer.Exit(1)


REMARKS = {  # what a model had seen of a hospital -> remark on its score there
    "labels": "trained on it: not external",
    "text": "had seen its images and reports: not ranked there",
    "images": "had seen its images: not ranked there",
    "unknown": "may have seen it: not ranked there",
}


def _rows(result: "ModelEvaluation") -> "pd.DataFrame":
    """Return the macro AUROC of the imported model, one row for the internal test split and for each external cohort.

    One more row, with the dataset "external", has the mean over the external cohorts. The columns are dataset, value, low, high,
    num_findings, seen (whether the model had seen data of the cohort), answer (what it had seen, "" for "external"), and rank and
    num_ranked (the rank among the models that had not seen the hospital; NaN or 0 without a rank).
    """
    import pandas as pd

    from bench.results.read_predictions import load_scores

    scores = load_scores(result.manifest, [result.run.id], "scores")
    auroc = select(scores, internal=result.manifest.source)
    seen = result.run.passport["seen"]
    answers = {name: stated["answer"] for name, stated in result.manifest.exposure(result.run).items()}
    rows: pd.DataFrame = auroc[["dataset", "value", "low", "high", "num_findings"]].assign(
        seen=auroc["dataset"].isin(seen), answer=[answers.get(dataset, "") for dataset in auroc["dataset"]]
    )
    table = pd.read_parquet(result.report.page.parent / "tables" / "exposure.parquet")
    ranks = table[table["run_id"] == result.run.id][["dataset", "rank", "num_ranked"]]
    return rows.merge(ranks, on="dataset", how="left")


def _lines(result: "ModelEvaluation", rows: "pd.DataFrame") -> list[str]:
    """Return the result as lines of text: a table with one row per cohort, remarks, and the path of the page."""
    from bench.cli.text_tables import interval, table_lines, wrapped
    from harmonize.cohorts.hospital_names import SYNTHETIC_NOTICE
    from reports.formatting import is_number, number
    from reports.tables import records_of

    titles = result.manifest.titles  # has no mean over hospitals, which keeps its name
    cells = [["hospital", "AUROC", "95 % interval", "findings", ""]]
    for row in records_of(rows):
        title = titles.get(row["dataset"], row["dataset"])
        bounds = interval(row["low"], row["high"]) if is_number(row["value"]) else "too few patients"
        rank = f"rank {row['rank']:.0f} of {row['num_ranked']:.0f}"
        remark = rank if row["rank"] > 0 else REMARKS.get(row["answer"], "")
        cells.append([title, number(row["value"]), bounds, str(row["num_findings"]), remark])
    notice = [SYNTHETIC_NOTICE] if result.manifest.phantom else []
    lines = [*notice, f"run {result.run.id}: {result.run.name}, trained elsewhere"]
    lines += [f"  {line}" for line in table_lines(cells)]
    notes = [f"note: {remark}" for remark in result.remarks]
    return [*wrapped([*lines, *notes]), f"leaderboard: {result.report.page}"]
