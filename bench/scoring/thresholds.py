"""Rules for operating points: thresholds chosen on the internal validation split and applied unchanged to all other splits.

An image is called positive when score >= threshold. Each rule tries every distinct score; only f1_grid tries fixed
probabilities. If several thresholds are equally good, a rule returns the highest. If a class is absent, a rule returns
NaN.
Shapes: label [N] of 0 and 1, score [N].
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from bench.scoring.column import falling
from bench.scoring.metrics import Label, Score, require_finite

Counts = NDArray[np.int64]
SENSITIVITY = 0.90  # minimum sensitivity of the rule sens_90
GRID = np.arange(5, 96) / 100  # thresholds (probabilities) that the rule f1_grid tries


def candidates(label: Label, score: Score) -> tuple[NDArray[np.float64], Counts, Counts, int, int]:
    """Return the distinct scores in falling order, with the numbers of true and false positives at each threshold.

    The last two values are the numbers of positive and of negative images.
    """
    require_finite(score, "scores")
    order = falling(score)
    positive, sorted_score = label[order] == 1, score[order]
    last_of_tie = np.append(sorted_score[1:] != sorted_score[:-1], True) if len(sorted_score) else np.zeros(0, bool)
    num_hits = np.cumsum(positive, dtype=np.int64)[last_of_tie]
    num_called = np.flatnonzero(last_of_tie).astype(np.int64) + 1
    num_positive = int(positive.sum())
    return (
        sorted_score[last_of_tie].astype(np.float64),
        num_hits,
        num_called - num_hits,
        num_positive,
        len(label) - num_positive,
    )


def f1_max(label: Label, score: Score) -> float:
    """Choose the threshold with the highest F1."""
    candidate, hit, false, num_positive, num_negative = candidates(label, score)
    if num_positive == 0 or num_negative == 0:
        return float("nan")
    return float(candidate[np.argmax(2 * hit / (hit + false + num_positive))])


def f1_grid(label: Label, score: Score) -> float:
    """Choose the threshold with the highest F1 among the probabilities .05, .06 ... .95; scores and threshold are logits.

    This rule is coarser than f1_max, and useless if all probabilities are below .05. The rule exists for comparisons
    with studies that use it.
    """
    candidate, hit, false, num_positive, num_negative = candidates(label, score)
    if num_positive == 0 or num_negative == 0:
        return float("nan")
    grid = np.log(GRID / (1 - GRID))[::-1]
    called = len(candidate) - np.searchsorted(candidate[::-1], grid, side="left")  # distinct scores >= threshold
    hit, false = (np.append(0, counts)[called] for counts in (hit, false))
    return float(grid[np.argmax(2 * hit / (hit + false + num_positive))])


def youden(label: Label, score: Score) -> float:
    """Choose the threshold with the highest sensitivity + specificity - 1 (Youden's J).

    Source: Youden 1950, doi:10.1002/1097-0142(1950)3:1<32::AID-CNCR2820030106>3.0.CO;2-3.
    """
    candidate, hit, false, num_positive, num_negative = candidates(label, score)
    if num_positive == 0 or num_negative == 0:
        return float("nan")
    # J is multiplied by num_positive and by num_negative, so that the product is an integer and ties are exact.
    return float(candidate[np.argmax(hit * num_negative - false * num_positive)])


def sens_90(label: Label, score: Score) -> float:
    """Choose the highest threshold with a sensitivity of at least 90 %."""
    candidate, hit, _, num_positive, num_negative = candidates(label, score)
    if num_positive == 0 or num_negative == 0:
        return float("nan")
    return at_sensitivity(candidate, hit, num_positive, SENSITIVITY)


def at_sensitivity(candidate: NDArray[np.float64], hit: Counts, num_positive: int, level: float) -> float:
    """Choose the highest threshold with a sensitivity of at least `level`."""
    # 1e-9 is subtracted, so that a rounding error cannot make the result of ceil too large by 1.
    return float(candidate[np.argmax(hit >= np.ceil(level * num_positive - 1e-9))])


RULES: Mapping[str, Callable[[Label, Score], float]] = MappingProxyType(
    {"f1_max": f1_max, "youden": youden, "sens_90": sens_90, "f1_grid": f1_grid}
)
