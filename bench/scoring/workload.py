"""What a threshold that reaches a goal on internal validation gives at each hospital: calls to read, and missed findings.

A goal is a stated sensitivity or specificity. The threshold is fixed at the internal hospital and applied unchanged.
Shapes: K findings, G goals, V quantities, H hospitals, B replicates. Index 0 of an axis 1 + B is the value.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.scoring.bootstrap.bootstrap import divide
from bench.scoring.bootstrap.intervals import independent, mean_over, share_interval
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
    sizes = {split.scored.dataset: _sizes(split) for split in (*internal, *external)}
    if external:
        sizes[EXTERNAL] = independent(np.stack([sizes[split.scored.dataset] for split in external]))
    out: list[Row] = []
    for dataset, quantities in of_split.items():
        value = quantities[..., 0]
        interval = share_interval(value, quantities[..., 1:], *np.maximum(sizes[dataset], 1.0))
        bounds = np.stack([value, *interval], -1)  # [K, V, G, 3]
        for k, finding in enumerate(findings):
            for g, (goal, level) in enumerate(GOALS):
                numbers = bounds[k, :, g]
                if np.isfinite(numbers[0, 0]):
                    threshold = float(thresholds[g, k])
                    out.append((run_id, dataset, finding, goal, level, threshold, *numbers.ravel().tolist()))
    return out


def _sizes(split: SplitMetrics) -> Array:
    """Return the sizes of the shares of each finding [2, K, V, G], see `DecisionCounts.sizes_of_shares`."""
    of_findings = []
    for k, counts in enumerate(split.decisions):
        positive, negative = np.count_nonzero(split.images_of_patients[:, k], axis=1).tolist()
        of_findings.append(counts.sizes_of_shares(positive, negative, int(split.counts.num_patients[k])))
    return np.stack(of_findings, 1)
