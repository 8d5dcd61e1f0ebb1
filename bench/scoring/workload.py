"""What a threshold that reaches a goal on internal validation gives at each hospital: calls to read, and missed findings.

A goal is a stated sensitivity or specificity. The threshold is fixed at the internal hospital and applied unchanged.
Shapes: K findings, G goals, V quantities, H hospitals, B replicates. Index 0 of an axis 1 + B is the value.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.scoring import rates
from bench.scoring.bootstrap.area_intervals import effective_patients
from bench.scoring.bootstrap.bootstrap import divide
from bench.scoring.bootstrap.intervals import independent, mean_over, share_interval
from bench.scoring.bootstrap.sorted_images import Column
from bench.scoring.decision_counts import DecisionCounts
from bench.scoring.gaps.gap import EXTERNAL
from bench.scoring.metrics_of_split import SplitMetrics
from bench.scoring.thresholds import GOALS

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


def rows(
    run_id: str,
    findings: Sequence[str],
    thresholds: Array,
    internal: Sequence[SplitMetrics],
    external: Sequence[SplitMetrics],
) -> list[Row]:
    """Return the rows of the table `workload`: each split, then the unweighted mean over the external hospitals.

    thresholds [G, K]: logits. A finding without a value has no row.
    """
    of_split = {
        split.scored.dataset: np.stack([quantities_of(counts) for counts in split.decisions])
        for split in (*internal, *external)
    }
    if external:
        of_split[EXTERNAL] = mean_over(np.stack([of_split[split.scored.dataset] for split in external]))
    sizes_of = {
        split.scored.dataset: np.stack(
            [sizes(*of, split.resamples.num_patients) for of in zip(split.columns, split.decisions, strict=True)], 1
        )
        for split in (*internal, *external)
    }
    if external:
        sizes_of[EXTERNAL] = independent(np.stack([sizes_of[split.scored.dataset] for split in external]))
    out: list[Row] = []
    for dataset, quantities in of_split.items():
        value = quantities[..., 0]
        interval = share_interval(value, quantities[..., 1:], *sizes_of[dataset])
        bounds = np.stack([value, *interval], -1)  # [K, V, G, 3]
        for k, finding in enumerate(findings):
            for g, (goal, level) in enumerate(GOALS):
                numbers = bounds[k, :, g]
                if np.isfinite(numbers[0, 0]):
                    threshold = float(thresholds[g, k])
                    out.append((run_id, dataset, finding, goal, level, threshold, *numbers.ravel().tolist()))
    return out


def sizes(column: Column, counts: DecisionCounts, num_patients: int) -> Array:
    """Return numbers of images and effective numbers of patients that the QUANTITIES of a finding are shares of [2, V, G]."""
    called = np.nan_to_num(counts.goals[..., 0].sum(1)).astype(np.int64)  # the images with the highest scores
    _, precision, sensitivity, specificity, npv = rates.sizes(column, called, num_patients).swapaxes(0, 1)
    labeled = np.bincount(column.patient, minlength=num_patients)[None]
    of_all = np.broadcast_to([labeled.sum(1), effective_patients(labeled)], sensitivity.shape)
    return np.stack([sensitivity, specificity, of_all, of_all, precision, npv], 1)
