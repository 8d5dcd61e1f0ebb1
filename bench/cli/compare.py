"""`bench compare`: two runs on the same patients."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cli.completion import run_ids
from bench.cli.options import CohortsOption, CsvOption, JsonOption, RunArgument, StoredGridOption, StoreOption
from harmonize.errors import ConfigError

if TYPE_CHECKING:
    from bench.results.compare_two_runs import Contrast

POINTS = ("f1_max", "youden", "sens_90", "f1_grid")
CALIBRATORS = ("none", "platt", "temperature", "isotonic")
EXAMPLES = (
    "Examples:  bench compare 3fa9 81c2   |   bench compare 3fa9 81c2 --cohort nih --metric sensitivity --at youden   |   "
    "bench compare 3fa9 81c2 --metric ece --calibrator platt --csv > ece.csv"
)


def compare(
    first: RunArgument,
    second: Annotated[str, typer.Argument(help="The run it is compared with.", autocompletion=run_ids)],
    store: StoreOption = Path("runs"),
    grid: StoredGridOption = None,
    cohort: CohortsOption = None,
    metric: Annotated[str, typer.Option("--metric", help="A metric of `bench list metrics`, or auroc_gap.")] = "auroc",
    at: Annotated[str, typer.Option("--at", help=f"Threshold of internal validation: {', '.join(POINTS)}.")] = "f1_max",
    calibrator: Annotated[str, typer.Option("--calibrator", help=f"One of {', '.join(CALIBRATORS)}.")] = "none",
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """Compare two finished runs on the same resampled patients. Finding by finding, on the same images."""
    from bench.results.compare_two_runs import contrast
    from bench.store.safe_csv import csv_text
    from bench.store.store import Store

    for given, known, option in (
        (at, POINTS, "--at"),
        (calibrator, CALIBRATORS, "--calibrator"),
    ):
        if given not in known:
            raise ConfigError(f"no {option[2:]} {given!r}", option, f"choose from: {', '.join(known)}")
    found = contrast(Store.open(store, create=False), first, second, metric, at, calibrator, cohort or (), grid)
    if as_json:
        rows = json.loads(found.table.to_json(orient="records", double_precision=15))
        typer.echo(json.dumps({"first": found.first, "second": found.second, "metric": metric, "rows": rows}))
    elif as_csv:
        typer.echo(csv_text(found.table), nl=False)
    else:
        typer.echo("\n".join(lines(found)))


def lines(found: "Contrast") -> list[str]:
    """Return the comparison as text: what is compared, one table per cohort, what the columns mean."""
    key, table = found.key, found.table
    how = [key.metric, f"at {key.operating_point}" if key.operating_point else "", key.calibrator.replace("none", "")]
    tested = int(table["p"].notna()[(table["finding"] != "macro") & (table["dataset"] != "external")].sum())
    out = [f"first   {found.first}", f"second  {found.second}", ""]
    head = ["finding", "first", "second", "difference", "95 % interval", "p", "Holm", "BH", "DeLong", "clustered"]
    head += ["positive/n", "patients"]
    for (dataset, split), rows in table.groupby(["dataset", "split"], sort=False):
        cells = [head, *(_cells(row) for row in rows.to_dict("records"))]
        widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
        out.append(f"{dataset}/{split}  {' '.join(filter(None, how))}")
        for row in cells:
            first, *others = (
                cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
            )
            out.append("  ".join(["", first, *others]).rstrip())
        out.append("")
    return [
        *out,
        f"difference = first - second; {found.settings.num_resamples:,} resamples of patients, the same for both.",
        f"Holm, BH: adjusted over the {tested} findings above (macros: over the cohorts above; externally is one question).",
        "DeLong takes images for independent; clustered is the same test with images added up by patient.",
    ]


def _cells(row: Mapping[Any, Any]) -> list[str]:
    def number(name: str, sign: str = "") -> str:
        return "-" if row[name] is None or row[name] != row[name] else format(row[name], f"{sign}.3f")

    interval = "-" if number("low") == "-" else f"[{number('low', '+')}, {number('high', '+')}]"
    p = [number(name).replace("0.000", "<.001") for name in ("p", "p_holm", "p_bh", "p_delong", "p_patient")]
    finding = f"macro of {row['num_findings']}" if row["finding"] == "macro" else str(row["finding"])
    counts = [f"{row['num_positive']:,}/{row['n']:,}", f"{row['num_patients']:,}"]
    return [finding, number("first"), number("second"), number("difference", "+"), interval, *p, *counts]
