"""What a threshold that reaches a goal on internal validation gives at each hospital: calls to read, and missed findings.

A goal is a stated sensitivity or specificity. The threshold is fixed at the internal hospital and applied unchanged.
Shapes: K findings, G goals, V quantities, H hospitals, B replicates. Index 0 of an axis 1 + B is the value.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.scoring.bootstrap.bootstrap import divide
from bench.scoring.bootstrap.intervals import mean_of, percentile, rare_share_interval, wilson
from bench.scoring.decision_counts import DecisionCounts
from bench.scoring.gaps.gap import EXTERNAL
from bench.scoring.metrics_of_split import SplitMetrics
from bench.scoring.thresholds import GOALS

Array = NDArray[np.float64]
Row = tuple[Any, ...]

# called: share of all images that are called positive, which a reader then reads
# missed: share of all images that have the finding and are not called positive
QUANTITIES = ("sensitivity", "specificity", "called", "missed", "ppv", "npv")
MISSED = QUANTITIES.index("missed")


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
        of_split[EXTERNAL] = _mean(np.stack([of_split[split.scored.dataset] for split in external]))
    num_patients = {split.scored.dataset: split.counts.num_patients for split in (*internal, *external)}
    num_images = {split.scored.dataset: _num_images(split) for split in (*internal, *external)}
    if external:
        num_images[EXTERNAL] = np.stack([num_images[split.scored.dataset] for split in external]).sum(0)
    out: list[Row] = []
    for dataset, quantities in of_split.items():
        value = quantities[..., 0]
        bounds = np.stack([value, *percentile(value, quantities[..., 1:])], -1)  # [K, V, G, 3]
        # a share of 0 or 1 is the same in all resamples, but it is not known exactly
        certain = ((value == 0) | (value == 1)) & np.isfinite(bounds[..., 1])
        low, high = wilson(value, np.maximum(num_images[dataset], 1))
        bounds[certain, 1:] = np.stack([low, high], -1)[certain]
        if dataset in num_patients:  # the mean over hospitals has enough missed images
            missed = quantities[:, MISSED]
            rare = rare_share_interval(missed[..., 0], missed[..., 1:], num_patients[dataset][:, None])
            bounds[:, MISSED, :, 1:] = np.stack(rare, -1)
        for k, finding in enumerate(findings):
            for g, (goal, level) in enumerate(GOALS):
                numbers = bounds[k, :, g]
                if np.isfinite(numbers[0, 0]):
                    threshold = float(thresholds[g, k])
                    out.append((run_id, dataset, finding, goal, level, threshold, *numbers.ravel().tolist()))
    return out


def _num_images(split: SplitMetrics) -> Array:
    """Return the number of images that each of the QUANTITIES is a share of [K, V, G], at most the number of patients."""
    of_findings = []
    for counts, num_patients in zip(split.decisions, split.counts.num_patients, strict=True):
        called = counts.goals[..., 0].sum(1)
        negatives, positives = counts.total[:, 0]
        num = negatives + positives
        numbers = [positives, negatives, num, num, called, num - called]
        of_findings.append(np.minimum(np.stack(np.broadcast_arrays(*numbers)), num_patients))
    return np.stack(of_findings)


def _mean(quantities: Array) -> Array:
    """Return the mean over hospitals of quantities [H, K, V, G, 1 + B]; a hospital without a value is left out."""
    out = np.empty(quantities.shape[1:])
    for index in np.ndindex(*out.shape[:3]):
        numbers = quantities[(slice(None), *index)]
        center, replicates = mean_of(numbers[:, 0], numbers[:, 1:])
        out[index] = np.append(center, replicates)
    return out
