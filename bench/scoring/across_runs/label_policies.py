"""The table `policies`: macro AUROC for each training label policy and each source of evaluation labels.

Shapes: R runs, B replicates.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.scoring.bootstrap.area_intervals import mean_interval
from reports.schemas.tables import SCHEMAS

Array = NDArray[np.float64]

POLICY = ("label_source", "uncertainty", "blank")  # configuration fields that determine the training targets


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Macro AUROC [R] of every run on one set of labeled images, with bounds [R] and replicates [R, B]."""

    dataset: str
    split: str
    reference: str  # report, radiologist or phantom
    value: Array
    low: Array
    high: Array
    replicates: Array


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
            value, low, high, drawn = (
                array[runs] for array in (evaluation.value, evaluation.low, evaluation.high, evaluation.replicates)
            )
            bounds = mean_interval("auroc", value, (low, high), drawn, correlation=1.0)  # the runs share their patients
            prefix = (name, evaluation.dataset, evaluation.split, evaluation.reference)
            rows.append((*prefix, float(value.mean()), *bounds, len(runs)))
    return pd.DataFrame(rows, columns=list(SCHEMAS["policies"]))
