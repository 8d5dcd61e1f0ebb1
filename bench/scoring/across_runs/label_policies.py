"""Which labels to learn from, judged by whose labels: training policy x evaluation label source.

Shapes: R runs, B replicates.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.scoring.bootstrap.intervals import of_area
from reports.schemas.tables import SCHEMAS

Array = NDArray[np.float64]

POLICY = ("label_source", "uncertainty", "blank")  # fields of a configuration that decide what a label teaches


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One set of labelled images that every run was scored on: macro AUROC [R] and its replicates [R, B]."""

    dataset: str
    split: str
    reference: str  # who labelled it
    value: Array
    replicates: Array


def policy(config: Mapping[str, object]) -> str:
    """Return a training policy in words: the fields that a grid varies are joined, usual values left out.

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
    """Return the `policies` table: the mean macro AUROC of the runs of each policy on each evaluation.

    The interval is over patients, for these runs. Nothing when the runs were all taught alike: one row says nothing.
    """
    named = np.array([policy(config) for config in configs], object)
    rows: list[tuple[object, ...]] = []
    for name in dict.fromkeys(named) if len(set(named)) > 1 else ():
        for each in evaluations:
            runs = np.flatnonzero((named == name) & np.isfinite(each.value))
            if not len(runs):
                continue
            mean, drawn = each.value[runs].mean(keepdims=True), each.replicates[runs].mean(0, keepdims=True)
            (low,), (high,) = of_area(mean, drawn)
            place = (name, each.dataset, each.split, each.reference)
            rows.append((*place, float(mean[0]), float(low), float(high), len(runs)))
    return pd.DataFrame(rows, columns=list(SCHEMAS["policies"]))
