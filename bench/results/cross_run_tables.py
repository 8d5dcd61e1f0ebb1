"""Build the report tables that compare several runs, such as ranks, paired differences and ablations."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from bench.planning.manifest import Manifest
from bench.scoring.across_runs.ablation_tables import ablation, frontier, metrics
from bench.scoring.across_runs.agreement import agreement, seed_groups, seed_variance
from bench.scoring.across_runs.all_pairs import pairs
from bench.scoring.across_runs.frontier import device_hours
from bench.scoring.across_runs.label_policies import Evaluation, matrix
from bench.scoring.across_runs.ranks import Replicates, mean_gaps, ranks, stack_replicates, with_gaps
from bench.scoring.across_runs.robustness import robustness
from bench.scoring.across_runs.run_selection import selection
from bench.scoring.gaps.gap import MACRO
from bench.scoring.gaps.label_mappings import reversals


def across(manifest: Manifest, frames: Mapping[str, pd.DataFrame], replicates: Replicates) -> dict[str, pd.DataFrame]:
    """Return {name of the report table: table} of the tables that compare several runs.

    `frames`: {name: table} of scores, gaps, mappings, costs, history and runs. `replicates`: bootstrap replicates by
    run id. The compared runs must have learned the same findings.
    """
    internal = str(manifest.content["source"])
    # A hundred runs have half a million rows of scores, so only the rows that the tables need are kept.
    scores = frames["scores"]
    plain = scores[(scores["finding"] == MACRO) & (scores["metric"] == "auroc") & (scores["calibrator"] == "none")]
    runs = [run for run in manifest.ranked if run["id"] in replicates]
    configs = {run["id"]: manifest.flat_config(run) | dict(run["titles"]) for run in runs}
    metric_values = metrics(plain, frames["gaps"], replicates)
    effects, importance, single = ablation(configs, metric_values)
    out = {
        "ranks": ranks(plain, replicates),
        "pairs": pairs(plain, frames["gaps"], replicates, internal),
        "mean_gaps": mean_gaps(frames["gaps"], replicates),
        "agreement": agreement(plain, replicates, internal),
        "seeds": seed_variance(seed_groups({run["id"]: run["config"] for run in runs}), plain, replicates, internal),
        "ablation": effects,
        "surrogate": importance,
        "factor_shap": single,
        "reversals": reversals(frames["mappings"], manifest.settings.mapping),
        "robustness": robustness(frames["gaps"], replicates),
        "selection": selection(plain, internal, replicates),
        "policies": matrix(list(configs.values()), _evaluations(plain, list(configs), internal, replicates)),
    }
    if "gap" in metric_values:
        out["ranks"] = with_gaps(out["ranks"], *metric_values["gap"])
    if "auroc" in metric_values:
        costs = frames["costs"].set_index("run_id")
        kinds = {"macs": costs["macs"], "params": costs["params"]}
        by_run = {kind: {str(k): float(v) for k, v in amount.items()} for kind, amount in kinds.items()}
        by_run["device_hours"] = device_hours(*_training(manifest, frames))
        out["frontier"] = frontier(by_run, *metric_values["auroc"])
    return out


def _training(manifest: Manifest, frames: Mapping[str, pd.DataFrame]) -> tuple[dict[str, float], dict[str, str]]:
    """Return two mappings from run id: training seconds and device.

    The seconds of a panel are the sum over its networks.
    """
    spent = frames["history"].groupby("run_id")["seconds"].sum(min_count=1)
    seconds = {str(run_id): float(value) for run_id, value in spent.items()}
    runs = frames["runs"]
    devices = dict(zip(runs["run_id"].astype(str), runs["device"].astype(str), strict=True))
    for run in manifest.derived:
        if run["kind"] == "panel" and all(part in seconds for part in run["of"]):
            seconds[run["id"]] = sum(seconds[part] for part in run["of"])
    return seconds, devices


def _evaluations(scores: pd.DataFrame, run_ids: list[str], internal: str, replicates: Replicates) -> list[Evaluation]:
    """List every labeled split on which all runs are scored, with the macro AUROC of each run.

    Internal splits come first.
    """
    chosen = scores[(scores["finding"] == MACRO) & (scores["metric"] == "auroc") & (scores["subgroup"] == "all")]
    labeled_splits: list[tuple[str, str, str]] = list(
        chosen[["dataset", "split", "reference"]].drop_duplicates().itertuples(index=False, name=None)
    )
    evaluations = []
    for dataset, split, reference in sorted(labeled_splits, key=lambda labeled_split: labeled_split[0] != internal):
        name = f"auroc/{dataset}" if dataset != internal or split == "test" else f"auroc/{dataset}/{split}"
        if not run_ids or any(name not in replicates[run_id] for run_id in run_ids):
            continue
        rows = chosen[(chosen["dataset"] == dataset) & (chosen["split"] == split)].set_index("run_id")
        value = rows["value"].reindex(run_ids).to_numpy(np.float64)
        evaluations.append(Evaluation(dataset, split, reference, value, stack_replicates(run_ids, name, replicates)))
    return evaluations
