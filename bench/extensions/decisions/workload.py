"""What a threshold that reaches a goal on internal validation gives at each hospital: calls to read, and missed findings.

A goal is a stated sensitivity or specificity. The threshold is fixed at the internal hospital and applied unchanged.
Shapes: K findings, G goals, V quantities, H hospitals, P patients (or groups of patients, see `Sample`).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.extensions.decisions.calls import GOALS, DecisionCounts, mean_over
from bench.scoring import rates
from bench.scoring.column import Column
from bench.scoring.gaps.gap import EXTERNAL
from bench.scoring.influence import error_of, ratio
from bench.scoring.intervals import independent, share_interval
from bench.scoring.score_run import RunMetrics

Array = NDArray[np.float64]
Row = tuple[Any, ...]

# called: share of all images that are called positive, which a reader then reads
# missed: share of all images that have the finding and are not called positive
QUANTITIES = ("sensitivity", "specificity", "called", "missed", "ppv", "npv")


def quantities_of(counts: DecisionCounts) -> tuple[Array, Array]:
    """Compute the QUANTITIES [V, G] at the thresholds of the goals, and their standard errors; NaN where a denominator is 0."""
    false, found = counts.goals[:, 0], counts.goals[:, 1]
    negatives, positives = (np.broadcast_to(number, false.shape) for number in counts.total)
    num, called = negatives + positives, false + found
    parts = np.stack([found, negatives - false, called, positives - found, found, negatives - false])
    value, influence = ratio(parts, np.stack([positives, negatives, num, num, called, num - called]))
    return value, error_of(influence)


def rows(run: RunMetrics, thresholds: Array, decisions: Sequence[Sequence[DecisionCounts]]) -> list[Row]:
    """Return the rows of the table `workload`: each split, then the unweighted mean over the external hospitals.

    thresholds [G, K]: logits. decisions: calls of each finding for each headline split. A finding without a value has no row.
    """
    of_split: dict[str, tuple[Array, Array]] = {}
    sizes_of: dict[str, Array] = {}
    for split, counts in zip(run.headline, decisions, strict=True):
        values: list[Array] = []
        errors: list[Array] = []
        sizes_of_findings: list[Array] = []
        for column, of_finding in zip(split.columns, counts, strict=True):
            value, error = quantities_of(of_finding)
            values.append(value)
            errors.append(error)
            sizes_of_findings.append(sizes(column, of_finding, split.sample.num_patients))
        of_split[split.scored.dataset] = (np.stack(values), np.stack(errors))
        sizes_of[split.scored.dataset] = np.stack(sizes_of_findings, 1)
    if run.external:
        external = [split.scored.dataset for split in run.external]
        external_values = np.stack([of_split[dataset][0] for dataset in external])
        external_errors = np.stack([of_split[dataset][1] for dataset in external])
        of_split[EXTERNAL] = mean_over(external_values, external_errors)
        sizes_of[EXTERNAL] = independent(np.stack([sizes_of[dataset] for dataset in external]))
    out: list[Row] = []
    for dataset, (value, error) in of_split.items():
        interval = share_interval(value, error, *sizes_of[dataset])
        bounds = np.stack([value, *interval], -1)  # [K, V, G, 3]
        for k, finding in enumerate(run.findings):
            for g, (goal, level) in enumerate(GOALS):
                numbers = bounds[k, :, g]
                if np.isfinite(numbers[0, 0]):
                    threshold = float(thresholds[g, k])
                    out.append((run.run_id, dataset, finding, goal, level, threshold, *numbers.ravel().tolist()))
    return out


def sizes(column: Column, counts: DecisionCounts, num_patients: int) -> Array:
    """Return numbers of images and effective numbers of patients that the QUANTITIES of a finding are shares of [2, V, G]."""
    called = np.nan_to_num(counts.goals.sum((1, 2))).astype(np.int64)  # the images with the highest scores
    _, denominators = rates.shares(column, called)
    _, precision, sensitivity, specificity, npv = rates.sizes_of(column, denominators, num_patients).swapaxes(0, 1)
    everyone = rates.sizes_of(column, np.ones(len(column.rows), bool), num_patients)
    of_all = np.broadcast_to(everyone[:, None], sensitivity.shape)
    return np.stack([sensitivity, specificity, of_all, of_all, precision, npv], 1)
