"""`bench compare`: compare two runs on the same patients."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cli import options
from bench.cli.predict import check_rule
from bench.cli.text_tables import interval, table_lines, wrapped
from harmonize.errors import ConfigError
from reports.formatting import number

if TYPE_CHECKING:
    import pandas as pd

    from bench.results.compare_two_runs import Contrast

AT_THRESHOLD = ("f1", "precision", "sensitivity", "specificity", "npv")  # metrics that need a threshold
CALIBRATORS = ("none", "platt", "temperature", "isotonic")
EXAMPLES = options.examples(
    "bench compare 3fa9 81c2",
    "bench compare 3fa9 81c2 --all",
    "bench compare 3fa9 81c2 --cohort nih --metric sensitivity --at youden",
    "bench compare 3fa9 81c2 --metric ece --calibrator platt --csv > ece.csv",
)


def compare(
    context: typer.Context,
    first: options.RunArgument,
    second: Annotated[str, typer.Argument(help="Second run: its id, or its first characters.")],
    store: options.StoreOption = Path("runs"),
    grid: options.GridOfRunOption = None,
    cohort: options.CohortsOption = None,
    metric: Annotated[str, typer.Option("--metric", help="A metric of `bench list metrics`, or auroc_gap.")] = "auroc",
    at: options.ThresholdOption = None,
    calibrator: Annotated[str, typer.Option("--calibrator", help=f"One of {', '.join(CALIBRATORS)}.")] = "none",
    every: Annotated[bool, typer.Option("--all", help="Also print each finding, with corrected p values.")] = False,
    as_json: options.JsonOption = False,
    as_csv: options.CsvOption = False,
) -> None:
    """Compare two finished runs, finding by finding.

    Prints the means over findings, at each hospital; --all prints the findings, too. Both runs are scored on the same images,
    and compared in pairs over their patients.
    """
    from bench.planning.stored_names import check_entries, store_with

    check_rule(at)
    at_threshold = f"with --metric {', '.join(AT_THRESHOLD[:-1])} or {AT_THRESHOLD[-1]}"
    options.only_valid(context, metric in AT_THRESHOLD, at_threshold, "--at")
    options.only_valid(context, not (as_json or as_csv), "without --json and --csv, which have each finding", "--all")
    ConfigError.check_choices("calibrator", [calibrator], CALIBRATORS)
    opened = store_with(store, grid, (first, second))
    check_entries(opened, "metric", [metric], "auroc_gap")
    check_entries(opened, "cohort", cohort or ())
    from bench.results.compare_two_runs import contrast  # slow imports: a wrong name was refused above
    from bench.store.safe_csv import csv_text

    result = contrast(opened, first, second, metric, at, calibrator, cohort or (), grid)
    if as_json:
        places = zip(result.table["dataset"], result.table["split"], strict=True)
        table = result.table.assign(hospital=[result.hospital(*place) for place in places])
        rows = json.loads(table.to_json(orient="records", double_precision=15))
        runs = {"first": result.first, "second": result.second}
        facts = {"metric": metric, "synthetic": result.synthetic, "notes": list(result.notes)}
        typer.echo(json.dumps({**runs, **facts, "rows": rows}, indent=1))
    elif as_csv:
        typer.echo(csv_text(result.table.assign(synthetic=result.synthetic)), nl=False)
    else:
        typer.echo("\n".join(lines(result, every=every)))


def lines(result: "Contrast", *, every: bool = False) -> list[str]:
    """Return a comparison as lines of text: names of the runs, a table of the means over findings, and notes on the columns.

    `every`: two tables per cohort and split, which also have each finding, in place of the table of means.
    """
    from harmonize.cohorts.hospital_names import SYNTHETIC_NOTICE

    key, table = result.key, result.table
    settings = [key.metric, f"at {key.operating_point}" if key.operating_point else "", key.calibrator]
    heading = " ".join(word for word in settings if word not in ("", "none"))
    notice = [SYNTHETIC_NOTICE, ""] if result.synthetic else []
    if every:
        shown, drawn, mean = table, _every_finding(result, heading), "macro: mean"
        num_tests = int(table["p"].notna()[(table["finding"] != "macro") & (table["dataset"] != "external")].sum())
        further = [
            f"Holm, BH: p adjusted for the {num_tests} findings above (macro: for the cohorts; `external` is one test).",
            "DeLong treats images as independent. clustered: the DeLong test with images grouped by patient.",
            "All p values treat the two runs as chosen in advance. The leaderboard corrects for all pairs of its ranking.",
        ]
    else:
        shown, mean = table[table["finding"] == "macro"], "Each row: mean"
        further = ["Findings and corrected p values: --all"]
        drawn = _means(result, shown, heading)
    means = table[(table["dataset"] == "external") & (table["finding"] == "macro")]
    reasons = means.loc[means["first"].isna() & (means["note"] != ""), "note"]
    notes = [
        *result.notes,
        *_same(shown),
        *(f"There is no mean over findings and hospitals, because of {reason}." for reason in reasons),
        f"{mean} over findings: the same at all external hospitals, estimated from the others where a hospital lacks one.",
        "difference = first - second. Intervals and p: from the influence of each patient on the difference.",
        "The intervals do not include the variation between seeds.",
        *further,
    ]
    return [*notice, f"first   {result.first}", f"second  {result.second}", "", *drawn, "", *wrapped(notes)]


def _means(result: "Contrast", macros: "pd.DataFrame", heading: str) -> list[str]:
    """Return a table of the means over findings: a row for each cohort and split, the external mean first."""
    rows = [[heading, "first", "second", "difference", "95 % interval", "p", "patients"]]
    for row in macros.sort_values("dataset", key=lambda names: names != "external", kind="stable").to_dict("records"):
        _, *numbers = _estimate(row | {"num_scored": 0})
        rows.append([_place(result, row["dataset"], row["split"]), *numbers, f"{row['num_patients']:,}"])
    return table_lines(rows)


def _every_finding(result: "Contrast", heading: str) -> list[str]:
    """Return two tables for each cohort and split: estimates, then tests."""
    out: list[str] = []
    for (dataset, split), frame in result.table.groupby(["dataset", "split"], sort=False):
        of_findings = frame.loc[frame["finding"] != "macro", ["first", "second"]].notna().all(axis=1)
        rows = [row | {"num_scored": int(of_findings.sum())} for row in frame.to_dict("records")]
        estimates = [["finding", "first", "second", "difference", "95 % interval", "p"], *map(_estimate, rows)]
        tests = [["finding", "Holm", "BH", "DeLong", "clustered", "positive/n", "patients"], *map(_tests, rows)]
        out += [f"{_place(result, str(dataset), str(split))}  {heading}"]
        for cells in (estimates, tests):
            out += [*(f"  {line}" for line in table_lines(cells)), ""]
    return out[:-1]


def _place(result: "Contrast", dataset: str, split: str) -> str:
    of_split = "" if dataset == "external" else f", {split.partition(':')[0]}"  # external hospitals have several splits
    return f"{result.hospital(dataset, split)}{of_split}"


def _same(table: "pd.DataFrame") -> list[str]:
    """Return a sentence on the rows in which both runs have the same logits."""
    rows = table[(table["note"] != "") & table["first"].notna()]
    places = ", ".join(f"{row.finding} ({row.dataset}, {row.split})" for row in rows.itertuples())
    return [f"Both runs have the same logits, so the difference is exactly 0: {places}."] if places else []


def _estimate(row: Mapping[Any, Any]) -> list[str]:
    """Return the cells of a finding's row in the first table: finding, value of each run, difference, its interval, p value."""
    values = [number(row["first"]), number(row["second"]), number(row["difference"], "+.3f")]
    return [_finding(row), *values, interval(row["low"], row["high"], "+.3f"), _p_value(row["p"])]


def _tests(row: Mapping[Any, Any]) -> list[str]:
    """Return the cells of a finding's row in the second table.

    The cells are the finding, two adjusted p values, the p values of two DeLong tests, positive images / images, and patients.
    """
    p_values = [_p_value(row[name]) for name in ("p_holm", "p_bh", "p_delong", "p_patient")]
    return [_finding(row), *p_values, f"{row['num_positive']:,}/{row['n']:,}", f"{row['num_patients']:,}"]


def _finding(row: Mapping[Any, Any]) -> str:
    if row["finding"] != "macro":
        return str(row["finding"])
    fewer = f" of {row['num_scored']}" if row["num_findings"] < row["num_scored"] else ""
    return f"macro of {row['num_findings']}{fewer}"


def _p_value(value: Any) -> str:
    return number(value).replace("0.000", "<.001")
