"""What only many runs together can say: ranks, ties, ablations, frontiers, and who would have been chosen."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from bench.manifest import Manifest
from bench.scoring.across import Replicates, mean_gaps, ranks, together
from bench.scoring.agreement import agreement, seed_groups, seed_variance
from bench.scoring.gap import MACRO
from bench.scoring.mappings import reversals
from bench.scoring.policies import Evaluation, matrix
from bench.scoring.reading import ablation, flat, frontier, metrics
from bench.scoring.robustness import robustness
from bench.scoring.selection import selection


def across(manifest: Manifest, frames: Mapping[str, pd.DataFrame], replicates: Replicates) -> dict[str, pd.DataFrame]:
    """Return the tables over runs that learn the same findings; frames hold the scores, gaps, costs ... of these alone."""
    home = str(manifest.content["source"])
    plain = frames["scores"][frames["scores"]["calibrator"] == "none"]
    configs = {
        run["id"]: flat(run["config"]) | dict(run["titles"]) for run in manifest.ranked if run["id"] in replicates
    }
    found = metrics(frames["scores"], frames["gaps"], replicates)
    effects, importance = ablation(configs, found)
    out = {
        "ranks": ranks(plain, replicates),
        "mean_gaps": mean_gaps(frames["gaps"], replicates),
        "agreement": agreement(plain, replicates, home),
        "seeds": seed_variance(seed_groups(_nested(manifest, replicates)), plain, replicates, home),
        "ablation": effects,
        "surrogate": importance,
        "reversals": reversals(frames["mappings"], manifest.settings.mapping),
        "robustness": robustness(frames["gaps"], replicates),
        "selection": selection(plain, home, replicates),
        "policies": matrix(
            [configs[run_id] for run_id in configs], _evaluations(plain, list(configs), home, replicates)
        ),
    }
    if "auroc" in found:
        costs = frames["costs"].set_index("run_id")
        seconds = frames["history"].groupby("run_id")["seconds"].sum()
        kinds = {"macs": costs["macs"], "params": costs["params"], "train_seconds": seconds}
        by_run = {kind: {str(k): float(v) for k, v in amount.items()} for kind, amount in kinds.items()}
        out["frontier"] = frontier(by_run, *found["auroc"])
    return out


def _nested(manifest: Manifest, replicates: Replicates) -> dict[str, Mapping[str, object]]:
    return {run["id"]: run["config"] for run in manifest.ranked if run["id"] in replicates}


def _evaluations(scores: pd.DataFrame, run_ids: list[str], home: str, replicates: Replicates) -> list[Evaluation]:
    """Return every labelled set that all runs were scored on, home's splits first, with the macro AUROC of each run."""
    chosen = scores[(scores["finding"] == MACRO) & (scores["metric"] == "auroc") & (scores["subgroup"] == "all")]
    places: list[tuple[str, str, str]] = list(
        chosen[["dataset", "split", "reference"]].drop_duplicates().itertuples(index=False, name=None)
    )
    out = []
    for dataset, split, reference in sorted(places, key=lambda place: place[0] != home):
        name = f"auroc/{dataset}" if dataset != home or split == "test" else f"auroc/{dataset}/{split}"
        if not run_ids or any(name not in replicates[run_id] for run_id in run_ids):
            continue
        rows = chosen[(chosen["dataset"] == dataset) & (chosen["split"] == split)].set_index("run_id")
        value = rows["value"].reindex(run_ids).to_numpy(np.float64)
        out.append(Evaluation(dataset, split, reference, value, together(run_ids, name, replicates)))
    return out
