"""The table `policies`: macro AUROC for each training label policy and each source of evaluation labels.

Shapes: R runs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.extensions.labels.schemas import SCHEMAS
from bench.results.cross_run_tables import ScoredRuns
from bench.scoring.across_runs.covariances import Covariances
from bench.scoring.across_runs.recipes import macro_auroc
from bench.scoring.area_intervals import mean_interval
from bench.scoring.influence import correlations
from reports.schemas.select import select

Array = NDArray[np.float64]

POLICY = ("label_source", "uncertainty", "blank")  # configuration fields that determine the training targets


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Macro AUROC [R] of every run on one set of labeled images, with bounds [R] and covariance [R, R]."""

    dataset: str
    split: str
    reference: str  # report, radiologist or phantom
    value: Array
    low: Array
    high: Array
    covariance: Array


def policies_table(runs: ScoredRuns) -> pd.DataFrame:
    """Return the table `policies` of the compared recipes."""
    recipes = runs.recipes
    planned = {run.id: run for run in runs.manifest.ranked}
    configs = {recipe: planned[run_ids[0]].flat_config for recipe, run_ids in recipes.runs_of.items()}
    if len({policy(config) for config in configs.values()}) < 2:
        return matrix([], [])
    scores = macro_auroc(runs.frames["scores"])
    of_recipes = recipes.replaced(scores, recipes.of_scores(scores))
    evaluations = _evaluations(of_recipes, list(configs), runs.manifest.source, runs.covariances)
    return matrix(list(configs.values()), evaluations)


def policy(config: Mapping[str, object]) -> str:
    """Return a description of a training label policy; fields with their default values are left out.

    >>> policy({"label_source": "default", "uncertainty": "U-Ones", "blank": "ignore"})
    'U-Ones, blank ignore'
    """
    source, uncertainty, blank = (str(config[name]) for name in POLICY)
    phrases = [
        uncertainty,
        *([source] if source != "default" else []),
        *([f"blank {blank}"] if blank != "zero" else []),
    ]
    return ", ".join(phrases)


def matrix(configs: Sequence[Mapping[str, object]], evaluations: Sequence[Evaluation]) -> pd.DataFrame:
    """Build the table `policies`: for each policy and evaluation, the mean macro AUROC over the runs with this policy.

    The interval describes the variation over patients, but not over runs. The table is empty if all runs have the same
    policy. configs: configuration of each run, in the order of the R values of each evaluation.
    """
    policies = np.array([policy(config) for config in configs], object)
    rows: list[tuple[object, ...]] = []
    for name in dict.fromkeys(policies) if len(set(policies)) > 1 else ():
        for evaluation in evaluations:
            runs = np.flatnonzero((policies == name) & np.isfinite(evaluation.value))
            if not len(runs):
                continue
            value, low, high = (array[runs] for array in (evaluation.value, evaluation.low, evaluation.high))
            # the runs share their patients
            correlation = correlations(evaluation.covariance[np.ix_(runs, runs)], unknown=1.0)
            bounds = mean_interval("auroc", value, (low, high), correlation)
            prefix = (name, evaluation.dataset, evaluation.split, evaluation.reference)
            rows.append((*prefix, float(value.mean()), *bounds, len(runs)))
    return pd.DataFrame(rows, columns=list(SCHEMAS["policies"]))


def _evaluations(scores: pd.DataFrame, run_ids: list[str], internal: str, covariances: Covariances) -> list[Evaluation]:
    """List every labeled split on which all runs are scored, with the macro AUROC of each run.

    Internal splits come first. A pool has only its whole splits, which are means over its hospitals.
    """
    chosen = select(scores)
    chosen = chosen[~chosen["split"].str.contains(":")]
    labeled_splits: list[tuple[str, str, str]] = list(
        chosen[["dataset", "split", "reference"]].drop_duplicates().itertuples(index=False, name=None)
    )
    evaluations = []
    for dataset, split, reference in sorted(labeled_splits, key=lambda labeled_split: labeled_split[0] != internal):
        name = f"auroc/{dataset}" if dataset != internal or split == "test" else f"auroc/{dataset}/{split}"
        if not run_ids or not all(covariances.has(run_id, name) for run_id in run_ids):
            continue
        rows = chosen[(chosen["dataset"] == dataset) & (chosen["split"] == split)].set_index("run_id")
        value, low, high = rows[["value", "low", "high"]].reindex(run_ids).to_numpy(np.float64).T
        evaluations.append(Evaluation(dataset, split, reference, value, low, high, covariances.of_score(name, run_ids)))
    return evaluations
