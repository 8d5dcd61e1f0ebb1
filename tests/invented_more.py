"""More of the invented study: differences between runs, made from its scores and gaps."""

import math
from itertools import combinations
from typing import Any

import numpy as np

Row = dict[str, Any]


def pairs(scores: list[Row], gaps: list[Row], order: list[str], half: float, wide: float, most: int = 40) -> list[Row]:
    """Invent the difference of any two of the best runs in every place, with two intervals of these half widths."""
    found: dict[tuple[str, str], dict[str, float]] = {}
    for metric, rows in (("auroc", scores), ("gap", gaps)):
        for row in rows:
            if row["finding"] == "macro" and row.get("metric", metric) == metric:
                found.setdefault((row["dataset"], metric), {})[row["run_id"]] = row["value"]
    return [
        {
            "first": a, "second": b, "dataset": dataset, "metric": metric, "value": value[a] - value[b],
            "low": value[a] - value[b] - half, "high": value[a] - value[b] + half,
            "all_low": value[a] - value[b] - wide, "all_high": value[a] - value[b] + wide,
        }
        for (dataset, metric), value in found.items()
        for a, b in combinations([run for run in order[:most] if run in value], 2)
    ]  # fmt: skip


def curves(scores: list[Row], points: int = 30) -> list[Row]:
    """Invent the curves of every run: those of two normal distributions as far apart as its AUROC says."""
    rows = []
    grid = (np.arange(points) / (points - 1)) ** 2
    for row in scores:
        if row["metric"] != "auroc" or row["dataset"] == "external" or math.isnan(row["value"]):
            continue
        power = max(1 / max(row["value"], 0.02) - 1, 0.01)
        place = {"run_id": row["run_id"], "dataset": row["dataset"], "finding": row["finding"]}
        of_threshold = (
            ("f1", 4 * grid * (1 - grid) * row["value"]),
            ("sensitivity", 1 - grid),
            ("specificity", grid**0.3),
        )
        for kind, y in (("roc", grid**power), ("pr", 1 - row["value"] * grid**2 * 0.8), *of_threshold):
            rows.append(place | {"kind": kind, "x": grid.tolist(), "y": y.round(4).tolist()})
    return rows


def confusion(scores: list[Row]) -> list[Row]:
    """Invent calls at two thresholds."""
    rows = []
    for row in scores:
        if (
            row["metric"] == "auroc"
            and row["dataset"] != "external"
            and row["finding"] != "macro"
            and not math.isnan(row["value"])
        ):
            with_it, without = row["num_positive"], row["num_negative"]
            hit, false = round(0.8 * with_it), round(0.3 * without)
            place = {
                "run_id": row["run_id"],
                "dataset": row["dataset"],
                "split": row["split"],
                "finding": row["finding"],
            }
            rows += [
                place | {"operating_point": rule, "threshold": at, "true_positive": hit, "false_negative": with_it - hit,
                         "false_positive": false, "true_negative": without - false}
                for rule, at in (("f1_max", -1.2), ("sens_90", -2.5))
            ]  # fmt: skip
    return rows


def subgroups(scores: list[Row], score: tuple[str, ...]) -> list[Row]:
    """Invent the macro AUROC of women, men and three ages in every hospital, and the largest less the least."""
    rows = []
    for row in scores:
        if row["metric"] == "auroc" and row["finding"] == "macro" and row["dataset"] != "external":
            values = {"sex=F": 0.01, "sex=M": -0.01, "age=<40": 0.02, "age=40-60": 0.0, "age=>80": -0.03}
            for group, shift in values.items():
                number = row["value"] + shift
                rows.append(row | {"subgroup": group, "value": number, "low": number - 0.03, "high": number + 0.03})
            for group, spread in (("sex", 0.02), ("age", 0.05)):
                rows.append(
                    row | {"subgroup": group, "metric": "auroc_spread", "value": spread, "low": 0.0, "high": 0.08}
                )
    return [{column: row[column] for column in score} for row in rows]
