"""What a threshold that reaches a goal on internal validation gives at each hospital: calls to read, and missed findings.

A goal is a stated sensitivity or specificity. The threshold is fixed at the internal hospital and applied unchanged.
Shapes: K findings, G goals, V quantities, H hospitals, B replicates. Index 0 of an axis 1 + B is the value.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.extensions.decisions.calls import GOALS, DecisionCounts
from bench.scoring import rates
from bench.scoring.bootstrap.bootstrap import divide
from bench.scoring.bootstrap.intervals import independent, mean_over, share_interval
from bench.scoring.bootstrap.sorted_images import Column
from bench.scoring.gaps.gap import EXTERNAL
from bench.scoring.score_run import RunMetrics

Array = NDArray[np.float64]
Row = tuple[Any, ...]

# called: share of all images that are called positive, which a reader then reads
# missed: share of all images that have the finding and are not called positive
QUANTITIES = ("sensitivity", "specificity", "called", "missed", "ppv", "npv")


def quantities_of(counts: DecisionCounts) -> Array:
    """Compute the QUANTITIES [V, G, 1 + B] at the thresholds of the goals; NaN where a denominator is 0."""
    false, found = counts.goals[:, 0], counts.goals[:, 1]
    negatives, positives = (np.broadcast_to(number, false.shape) for number in counts.total)
    num, called = negatives + positives, false + found
    return np.stack(
        [
            divide(found, positives),
            divide(negatives - false, negatives),
            divide(called, num),
            divide(positives - found, num),
            divide(found, called),
            divide(negatives - false, num - called),
        ]
    )


def rows(run: RunMetrics, thresholds: Array, decisions: Sequence[Sequence[DecisionCounts]]) -> list[Row]:
    """Return the rows of the table `workload`: each split, then the unweighted mean over the external hospitals.

    thresholds [G, K]: logits. decisions: calls of each finding for each headline split. A finding without a value has no row.
    """
    of_split, sizes_of = {}, {}
    for split, counts in zip(run.headline, decisions, strict=True):
        dataset, of_findings = split.scored.dataset, zip(split.columns, counts, strict=True)
        of_split[dataset] = np.stack([quantities_of(of_finding) for of_finding in counts])
        sizes_of[dataset] = np.stack([sizes(*of, split.resamples.num_patients) for of in of_findings], 1)
    if run.external:
        external = [split.scored.dataset for split in run.external]
        of_split[EXTERNAL] = mean_over(np.stack([of_split[dataset] for dataset in external]))
        sizes_of[EXTERNAL] = independent(np.stack([sizes_of[dataset] for dataset in external]))
    out: list[Row] = []
    for dataset, quantities in of_split.items():
        value = quantities[..., 0]
        interval = share_interval(value, quantities[..., 1:], *sizes_of[dataset])
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
    called = np.nan_to_num(counts.goals[..., 0].sum(1)).astype(np.int64)  # the images with the highest scores
    _, precision, sensitivity, specificity, npv = rates.sizes(column, called, num_patients).swapaxes(0, 1)
    of_all = np.broadcast_to(rates.sizes_of_all(column, num_patients)[:, None], sensitivity.shape)
    return np.stack([sensitivity, specificity, of_all, of_all, precision, npv], 1)
