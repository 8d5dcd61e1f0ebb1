"""Distributions of the predicted probability by outcome: images with the finding, and images without it.

Shapes: n images of one outcome, L levels, G bins.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from bench.scoring.metrics_of_split import DECIDING, SplitMetrics

Array = NDArray[np.float64]
Row = tuple[Any, ...]

OUTCOMES = ("present", "absent")
LEVELS = np.array([0.05, 0.25, 0.5, 0.75, 0.95])
# Bins have equal widths on the logit scale, because most probabilities of a rare finding are close to 0.
EDGES = np.concatenate([[0.0], expit(np.linspace(-6, 6, 25)), [1.0]])


def quantiles(rising: Array) -> Array:
    """Compute the quantiles LEVELS [L] of sorted numbers [n], with linear interpolation as in numpy; NaN without numbers."""
    if not len(rising):
        return np.full(len(LEVELS), np.nan)
    at = LEVELS * (len(rising) - 1)
    below = at.astype(np.intp)
    first, second = rising[below], rising[np.minimum(below + 1, len(rising) - 1)]
    return np.asarray(first + (second - first) * (at - below), np.float64)


def shares(rising: Array) -> Array:
    """Compute the share of sorted probabilities [n] in each bin between EDGES [G]; the last bin includes the probability 1."""
    counts = np.diff(np.searchsorted(rising, EDGES[:-1], side="left"), append=len(rising))
    return np.asarray(counts / max(len(rising), 1), np.float64)


def rows(run_id: str, findings: Sequence[str], split: SplitMetrics) -> list[Row]:
    """Return the rows of the table `probabilities` for one split; none for a finding without scores or without a calibrator."""
    out: list[Row] = []
    for finding, column, probabilities in zip(findings, split.columns, split.probabilities, strict=True):
        prob, positive = probabilities[DECIDING].prob, column.positive
        if not len(prob) or not probabilities[DECIDING].fitted:
            continue
        if prob[0] > prob[-1]:  # columns are sorted by falling logit
            prob, positive = prob[::-1], positive[::-1]
        for outcome, mask in zip(OUTCOMES, (positive, ~positive), strict=True):
            of_outcome = prob[mask]
            numbers = (len(of_outcome), float(of_outcome.mean()), *quantiles(of_outcome).tolist())
            edges, heights = np.round(EDGES, 6).tolist(), np.round(shares(of_outcome), 6).tolist()
            out.append((run_id, split.scored.dataset, finding, outcome, *numbers, edges, heights))
    return out
