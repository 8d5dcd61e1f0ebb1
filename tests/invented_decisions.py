"""Tables of decisions of the invented study, made from its AUROCs: net benefit, decision curves, workload, triage."""

import math
from typing import Any

Row = dict[str, Any]

# this module imports nothing of `bench`: a test renders its tables in a copy of the project without `bench`
CURVE = (0.01, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)
QUANTITIES = ("sensitivity", "specificity", "called", "missed", "ppv", "npv")


def decisions(scores: list[Row], noise: float) -> dict[str, list[Row]]:
    """Invent the rows of all tables of decisions: {name: rows}."""
    tables: dict[str, list[Row]] = {name: [] for name in ("net_benefit", "decision_curves", "workload", "triage")}
    for row in scores:
        if row["metric"] != "auroc":
            continue
        place = {name: row[name] for name in ("run_id", "dataset", "finding")}
        macro, value = row["finding"] == "macro", 0.3 * (row["value"] - 0.72)
        _stated(tables["net_benefit"], row, place, value, math.nan if macro else 0.16, 0.01 * noise)
        if math.isnan(value):
            continue
        for t in CURVE:
            benefit, of_all = max(value + 0.1, 0) * (1 - t) ** 2, 0.16 - 0.84 * t / (1 - t)
            curve = {"threshold": t, "value": benefit, "low": benefit - 0.02, "high": benefit + 0.02}
            curve |= {"standardized": benefit / 0.16, "standardized_low": 0.0, "standardized_high": 0.9}
            tables["decision_curves"].append(place | curve | {"treat_all": of_all})
        if not macro:
            _triaged(tables, place, row["value"])
            tables["workload"] += [
                place | {"goal": goal, "level": level, "threshold": -1.5} | workload
                for goal in ("sensitivity", "specificity")
                for workload in [_workload(row["value"], goal)]
                for level in (0.9, 0.95)
            ]
    # the tables of scores have no external mean of a finding
    for name in ("decision_curves", "workload", "triage"):
        internal = [row for row in tables[name] if row["dataset"] == "mimic" and row["finding"] != "macro"]
        tables[name] += [row | {"dataset": "external"} for row in internal]
    return tables


def _stated(rows: list[Row], row: Row, place: Row, value: float, threshold: float, half: float) -> None:
    sizes = {name: row[name] for name in ("n", "num_positive", "num_negative", "num_patients", "num_findings")}
    for metric, number in (("net_benefit", value), ("standardized", value / 0.16), ("over_all", value + 0.01)):
        bounds = {"value": number, "low": number - half, "high": number + half}
        rows.append(place | {"metric": metric, "threshold": threshold} | bounds | sizes)


def _workload(auroc: float, goal: str) -> Row:
    sensitivity, specificity = (0.9, auroc - 0.2) if goal == "sensitivity" else (auroc - 0.2, 0.9)
    called, missed = 0.16 * sensitivity + 0.84 * (1 - specificity), 0.16 * (1 - sensitivity)
    ppv, npv = 0.16 * sensitivity / called, 0.84 * specificity / (1 - called)
    values = dict(zip(QUANTITIES, (sensitivity, specificity, called, missed, ppv, npv), strict=True))
    return {
        f"{name}{end}": min(max(value + shift, 0), 1)
        for name, value in values.items()
        for end, shift in (("", 0.0), ("_low", -0.02), ("_high", 0.02))
    }


def _triaged(tables: dict[str, list[Row]], place: Row, auroc: float) -> None:
    miss = max(0.95 - auroc, 0.0)
    shares = {"miss_rate": miss, "false_positive_rate": 0.08, "released": 0.5, "flagged": 0.2, "deferred": 0.3}
    values = {
        f"{name}{end}": min(max(value + shift, 0), 1)
        for name, value in shares.items()
        for end, shift in (("", 0.0), ("_low", -0.03), ("_high", 0.05))
    }
    at = {"release_threshold": -2.0, "flag_threshold": 1.0}
    sizes = {"num_internal_positive": 40, "num_internal_negative": 300, "num_positive": 30, "num_negative": 200}
    chance = {"miss_rate_by_chance": 0.2, "false_positive_rate_by_chance": 0.14}
    for level in (0.05, 0.1):
        tables["triage"].append(place | {"level": level} | at | values | sizes | chance | {"n": 260})
