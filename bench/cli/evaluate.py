"""`bench evaluate`: a model from elsewhere on the cohorts of a grid."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.options import (
    DataOption,
    DeviceOption,
    GridOption,
    JsonOption,
    QuietOption,
    RegistryOption,
    StoreOption,
    WorkersOption,
)

if TYPE_CHECKING:
    import pandas as pd

    from bench.study.evaluate_imported import Evaluated

EVALUATE_EXAMPLES = (
    "Examples:  bench evaluate --model model.yaml --grid demo   |   bench evaluate --model model.yaml --grid main-study --data data.yaml   |   "
    "bench evaluate --model exported.yaml --grid demo --trust"
)


def evaluate(
    model: Annotated[
        Path, typer.Option("--model", help="What the model is, as a model.yaml (docs/your-own-model.md).")
    ],
    grid: GridOption,
    data: DataOption = None,
    store: StoreOption = Path("runs"),
    registry: RegistryOption = None,
    device: DeviceOption = "auto",
    workers: WorkersOption = 0,
    trust: Annotated[
        bool, typer.Option("--trust", help="Open a torch.export file, which can run code that is hidden in it.")
    ] = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Test a model trained elsewhere on every cohort of a grid. Its row stands beside the grid's own runs."""
    from bench.cli.progress_bars import choose_display
    from bench.store.store import Store
    from bench.study.evaluate_imported import evaluate as work
    from bench.system.devices import check_device, choose_devices, default_workers

    check_device(device)
    number = workers or default_workers()
    on = choose_devices(device, number, 1)[0]
    with choose_display(quiet) as display:
        found = work(model, grid, Store.open(store), data, registry, on, number, trust, display)
    rows = _rows(found)
    if as_json:
        said = {"run": found.run_id, "name": found.row["name"], "seen": found.row["passport"]["seen"]}
        said |= {
            "remarks": list(found.remarks),
            "rows": json.loads(rows.to_json(orient="records")),
            "page": str(found.page),
        }
        typer.echo(json.dumps(said))
        return
    typer.echo("\n".join(_lines(found, rows)))


def _rows(found: "Evaluated") -> "pd.DataFrame":
    """Return the macro AUROC on the internal test split, on each external cohort and over all of these."""
    from bench.results.read_predictions import load_scores

    scores = load_scores(found.manifest, [found.run_id], "scores")
    plain = scores[(scores["metric"] == "auroc") & (scores["calibrator"] == "none") & (scores["finding"] == "macro")]
    internal = found.manifest.content["source"]
    plain = plain[(plain["subgroup"] == "all") & ((plain["dataset"] != internal) | (plain["split"] == "test"))]
    seen = found.row["passport"]["seen"]
    shown: pd.DataFrame = plain[["dataset", "value", "low", "high", "num_findings"]].assign(
        seen=plain["dataset"].isin(seen)
    )
    return shown


def _lines(found: "Evaluated", rows: "pd.DataFrame") -> list[str]:
    from bench.cli.list_tables import aligned

    cells = [["cohort", "AUROC", "95 % interval", "findings", ""]]
    for row in rows.to_dict("records"):
        known = row["value"] == row["value"]
        interval = f"[{row['low']:.3f}, {row['high']:.3f}]" if known else "too few patients"
        cells.append([str(row["dataset"]), f"{row['value']:.3f}" if known else "", interval, str(row["num_findings"]),
                      "trained on it: not unseen" if row["seen"] else ""])  # fmt: skip
    lines = [f"run {found.run_id}: {found.row['name']}, trained elsewhere", *(f"  {line}" for line in aligned(cells))]
    return [*lines, *(f"note: {remark}" for remark in found.remarks), f"leaderboard: {found.page}"]
